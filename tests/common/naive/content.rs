//! Mail data and chunks, taken apart one octet at a time: CONFORMANCE "Bare CR and LF, NUL: the policy", "Smuggling".

use ringmx::smtp::data::{BareNewline, Marks};

/// Mail data as it came, and how many octets it took.
pub struct MailData {
    /// Without the end.
    raw: Vec<u8>,
}

impl MailData {
    pub fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// Takes one octet; whether it is the last of the end of mail data. The CRLF of the DATA line counts as the one before.
    pub fn take(&mut self, octet: u8) -> bool {
        self.raw.push(octet);
        let is_end = self.raw == b".\r\n" || self.raw.ends_with(b"\r\n.\r\n");
        if is_end {
            self.raw.truncate(self.raw.len() - 3);
        }
        is_end
    }

    /// Without transparency (RFC 5321 §4.5.2), with the line ends that are wanted.
    pub fn content(&self, bare_newline: BareNewline) -> Vec<u8> {
        let mut content = Vec::new();
        for at in 0..self.raw.len() {
            let octet = self.raw[at];
            let before = &self.raw[..at];
            let is_line_begin = at == 0 || before.ends_with(b"\r\n");
            let is_bare_lf = octet == b'\n' && !before.ends_with(b"\r");
            let is_bare_cr = octet == b'\r' && self.raw.get(at + 1) != Some(&b'\n');
            match octet {
                b'.' if is_line_begin => {}
                _ if (is_bare_lf || is_bare_cr) && bare_newline == BareNewline::Normalize => {
                    content.extend_from_slice(b"\r\n");
                }
                _ => content.push(octet),
            }
        }
        content
    }

    pub fn marks(&self) -> Marks {
        Marks { false_end: self.has_false_end(), ..marks(&self.raw) }
    }

    /// As `Marks::false_end` says.
    fn has_false_end(&self) -> bool {
        let mut line = Vec::new();
        let mut is_after_crlf = true;
        for (at, octet) in self.raw.iter().enumerate() {
            line.push(*octet);
            let ends = match octet {
                b'\n' => true,
                b'\r' => self.raw.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            if !ends {
                continue;
            }
            let is_crlf = line.ends_with(b"\r\n");
            let text_octets = line.len() - if is_crlf { 2 } else { 1 };
            let without_nul: Vec<u8> = line[..text_octets].iter().copied().filter(|octet| *octet != 0).collect();
            let is_exact = is_after_crlf && is_crlf && text_octets == 1;
            if without_nul == b"." && !is_exact {
                return true;
            }
            is_after_crlf = is_crlf;
            line.clear();
        }
        false
    }
}

/// What is seen in octets that are kept as they are; there is no end of data in them.
pub fn marks(octets: &[u8]) -> Marks {
    let mut marks = Marks::default();
    for (at, octet) in octets.iter().enumerate() {
        match octet {
            b'\n' if at == 0 || octets[at - 1] != b'\r' => marks.bare_lf = true,
            b'\r' if octets.get(at + 1) != Some(&b'\n') => marks.bare_cr = true,
            0 => marks.nul = true,
            0x80.. => marks.eight_bit = true,
            _ => {}
        }
    }
    marks
}

/// Lines of content, each without its end; the last may have none.
fn lines(content: &[u8], is_end: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    for octet in content {
        let line = lines.last_mut().expect("there is one");
        line.push(*octet);
        if is_end(line) {
            let octets = if line.ends_with(b"\r\n") { 2 } else { 1 };
            line.truncate(line.len() - octets);
            lines.push(Vec::new());
        }
    }
    lines
}

/// Received fields of the header section: lines that begin with that name, up to the first empty one. Open: a bare LF ends a
/// line, too.
pub fn received_fields(content: &[u8]) -> usize {
    let mut count = 0;
    for line in lines(content, |line| line.ends_with(b"\n")) {
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
        let mut name = &line[..colon];
        while let [shorter @ .., b' ' | b'\t'] = name {
            name = shorter;
        }
        count += usize::from(name.eq_ignore_ascii_case(b"Received"));
    }
    count
}

/// Octets of the longest line. Open: a bare LF is an octet like another.
pub fn longest_line(content: &[u8]) -> usize {
    lines(content, |line| line.ends_with(b"\r\n")).iter().map(Vec::len).max().unwrap_or(0)
}
