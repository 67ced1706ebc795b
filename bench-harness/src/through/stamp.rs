//! What a message carries so that it can be told from all others where it arrives, and be seen to be what was sent: one header
//! field with run, number, checksum and length of the body, and whom it is for.
//!
//! *Why the body alone*: a server that relays adds trace fields, and may fold or reorder the header. The body is not its to
//! change, but for one thing: empty lines at the end, which some add and some cut. So what stands before the last run of CRLF
//! is summed, and that run is only measured. *Invariants*: sender and sink read content with the same [`Scan`], whatever pieces
//! it comes in; nothing is allocated for a message once a scan has seen one.

/// Its name, with what stands before its value.
const NAME: &[u8] = b"X-Ringmx-Message:";

/// Octets of a header field that are kept: ours is a line of 78, and a server that folds it adds few.
const FIELD_OCTETS: usize = 256;

/// What the trailing run of CRLF is told apart up to.
const TRAILING_MOST: u64 = 0xffff;

/// Pieces of a run of CRLF are summed from this.
const CRLFS: [u8; 64] = {
    let mut crlfs = [b'\r'; 64];
    let mut at = 1;
    while at < crlfs.len() {
        crlfs[at] = b'\n';
        at += 2;
    }
    crlfs
};

/// A body in three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// CRC32C of all before the trailing run of CRLF.
    pub crc: u32,
    /// Octets of that, modulo 2³²; a sink takes no message of more.
    pub octets: u32,
    /// Octets of the run, up to 65,535.
    pub trailing: u16,
}

impl Sum {
    /// Whether it is the same body but for empty lines at its end.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.crc, self.octets) == (other.crc, other.octets)
    }
}

/// What the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which run: drawn anew for each, so that what an earlier one left in a queue does not count for this one.
    pub run: u64,
    /// Which message of it.
    pub number: u32,
    /// Its body as it was sent.
    pub body: Sum,
    /// Where its first recipient stands among all people; the others stand behind it, and behind the last the first again.
    pub first: u32,
    /// Recipients.
    pub recipients: u32,
}

impl Stamp {
    /// Octets of the field, with its CRLF: always as many, so that its values can be put in when the body is known.
    pub const OCTETS: usize = 80;

    /// Writes the field over so many octets.
    pub fn write(&self, field: &mut [u8]) {
        let Sum { crc, octets, trailing } = self.body;
        let values = [
            (self.run, 16),
            (self.number.into(), 8),
            (crc.into(), 8),
            (octets.into(), 8),
            (trailing.into(), 4),
            (self.first.into(), 5),
            (self.recipients.into(), 5),
        ];
        let (name, mut rest) = field.split_at_mut(NAME.len());
        name.copy_from_slice(NAME);
        for (value, digits) in values {
            let (text, behind) = rest.split_at_mut(1 + digits);
            text[0] = b' ';
            for (place, digit) in text[1..].iter_mut().rev().enumerate() {
                *digit = b"0123456789abcdef"[(value >> (4 * place) & 15) as usize];
            }
            rest = behind;
        }
        rest.copy_from_slice(b"\r\n");
    }

    /// Reads the value of a field, which may be folded.
    fn read(value: &[u8]) -> Option<Self> {
        let mut words =
            value.split(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
        let mut number = |digits: usize| {
            let word = words.next().filter(|word| word.len() == digits)?;
            word.iter().try_fold(0, |sum: u64, digit| Some(sum << 4 | u64::from(char::from(*digit).to_digit(16)?)))
        };
        let stamp = Self {
            run: number(16)?,
            number: number(8)? as u32,
            body: Sum { crc: number(8)? as u32, octets: number(8)? as u32, trailing: number(4)? as u16 },
            first: number(5)? as u32,
            recipients: number(5)? as u32,
        };
        words.next().is_none().then_some(stamp)
    }
}

/// What a message turned out to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// The stamp of this run.
    Stamp(Stamp),
    /// A field of that name that cannot be read.
    Garbage,
    /// No stamp, or another run's.
    Nothing,
}

/// Where a scan stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// What came of this field so far may be ours, and is kept.
    Kept,
    /// It is not.
    Other,
}

/// Looks at the content of one message after another, piece by piece.
#[derive(Debug)]
pub struct Scan {
    run: u64,
    in_body: bool,
    /// Octets of the line in hand that have come.
    line_octets: usize,
    /// Whether they can still be an empty line.
    is_empty_line: bool,
    field: Field,
    kept: Vec<u8>,
    carries: Carries,
    crc: u32,
    octets: u64,
    /// Octets of a run of CRLF at the end of what came: not summed while nothing else follows.
    held: u64,
}

impl Scan {
    /// For messages of this run.
    pub fn new(run: u64) -> Self {
        Self::with(run, Vec::with_capacity(FIELD_OCTETS))
    }

    fn with(run: u64, kept: Vec<u8>) -> Self {
        Self {
            run,
            in_body: false,
            line_octets: 0,
            is_empty_line: true,
            field: Field::Kept,
            kept,
            carries: Carries::Nothing,
            crc: 0,
            octets: 0,
            held: 0,
        }
    }

    /// What came is forgotten, and its memory kept.
    pub fn clear(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        *self = Self::with(self.run, kept);
    }

    /// The next piece of the content.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while !self.in_body && !piece.is_empty() {
            let end = piece.iter().position(|octet| *octet == b'\n').map_or(piece.len(), |at| at + 1);
            let (line, rest) = piece.split_at(end);
            self.header_line(line);
            piece = rest;
        }
        if !piece.is_empty() {
            self.body(piece);
        }
    }

    /// The message has come to its end. The next piece is the next message's.
    pub fn end(&mut self) -> (Carries, Sum) {
        if !self.in_body {
            self.end_field();
        }
        let trailing = self.held.min(TRAILING_MOST) as u16;
        let seen = (self.carries, Sum { crc: self.crc, octets: self.octets as u32, trailing });
        self.clear();
        seen
    }

    /// A part of one line of the header, up to its LF if that is there.
    fn header_line(&mut self, part: &[u8]) {
        if self.line_octets == 0 && !matches!(part[0], b' ' | b'\t') {
            self.end_field();
        }
        self.line_octets += part.len();
        self.is_empty_line &= matches!(part, b"\r" | b"\n" | b"\r\n");
        if self.field == Field::Kept {
            let room = FIELD_OCTETS - self.kept.len();
            self.kept.extend_from_slice(&part[..part.len().min(room)]);
            let most = self.kept.len().min(NAME.len());
            if !self.kept[..most].eq_ignore_ascii_case(&NAME[..most]) || part.len() > room {
                let is_ours = most == NAME.len() && self.kept[..most].eq_ignore_ascii_case(NAME);
                if is_ours {
                    self.note(Carries::Garbage);
                }
                self.field = Field::Other;
            }
        }
        if part.ends_with(b"\n") {
            self.in_body = self.is_empty_line;
            (self.line_octets, self.is_empty_line) = (0, true);
        }
    }

    /// A field is over, and another may begin.
    fn end_field(&mut self) {
        if self.field == Field::Kept && self.kept.len() > NAME.len() {
            match Stamp::read(&self.kept[NAME.len()..]) {
                Some(stamp) if stamp.run == self.run => self.note(Carries::Stamp(stamp)),
                // Another run's.
                Some(_) => {}
                None => self.note(Carries::Garbage),
            }
        }
        self.kept.clear();
        self.field = Field::Kept;
    }

    /// The first stamp of this run counts: a message may hold others that it was sent with once before.
    fn note(&mut self, carries: Carries) {
        if !matches!(self.carries, Carries::Stamp(_)) {
            self.carries = carries;
        }
    }

    /// A part of the body.
    fn body(&mut self, piece: &[u8]) {
        let goes_on = piece.iter().enumerate().all(|(at, octet)| *octet == CRLFS[(self.held as usize + at) % 2]);
        if goes_on {
            self.held += piece.len() as u64;
            return;
        }
        let mut held = self.held as usize;
        self.octets += self.held;
        while held > 0 {
            let part = held.min(CRLFS.len());
            self.crc = crc32c::crc32c_append(self.crc, &CRLFS[..part]);
            held -= part;
        }
        let mut text = piece.strip_suffix(b"\r").unwrap_or(piece);
        while let Some(before) = text.strip_suffix(b"\r\n") {
            text = before;
        }
        self.held = (piece.len() - text.len()) as u64;
        self.octets += text.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 0x0123_4567_89ab_cdef,
        number: 0xfedc_ba98,
        body: Sum { crc: 0xdead_beef, octets: 7, trailing: 0xffff },
        first: 999_999,
        recipients: 100_000,
    };

    fn field(stamp: &Stamp) -> Vec<u8> {
        let mut field = vec![0; Stamp::OCTETS];
        stamp.write(&mut field);
        field
    }

    fn scan(content: &[u8]) -> (Carries, Sum) {
        let mut scan = Scan::new(STAMP.run);
        scan.feed(content);
        scan.end()
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let text = String::from_utf8(field(&STAMP)).unwrap();
        assert_eq!(text, "X-Ringmx-Message: 0123456789abcdef fedcba98 deadbeef 00000007 ffff f423f 186a0\r\n");
        let other = Stamp { run: 1, ..STAMP };
        let folded = text.replace("X-Ringmx-M", "x-ringmx-m").replace(" dead", "\r\n\tdead").replace(" f4", "\n  f4");
        for (header, expected) in [
            (text.clone(), Carries::Stamp(STAMP)),
            (folded, Carries::Stamp(STAMP)),
            (format!("Received: by x\r\n\twith y\r\n{text}Subject: z\r\n"), Carries::Stamp(STAMP)),
            (text.trim_end().to_owned(), Carries::Stamp(STAMP)),
            (String::new(), Carries::Nothing),
            ("X-Ringmx: 1\r\n".to_owned(), Carries::Nothing),
            (format!("\r\n{text}"), Carries::Nothing),
            (format!("X-Other: 1\r\n {text}"), Carries::Nothing),
            (String::from_utf8(field(&other)).unwrap(), Carries::Nothing),
            (String::from_utf8([field(&other), field(&STAMP)].concat()).unwrap(), Carries::Stamp(STAMP)),
            (text.replace("dead", "xead"), Carries::Garbage),
            (text.replace("dead", "ead"), Carries::Garbage),
            (text.replace("\r\n", " 0\r\n"), Carries::Garbage),
            (text.replace("\r\n", &" ".repeat(300)), Carries::Garbage),
            (text.replace("dead", "xead") + &text, Carries::Stamp(STAMP)),
        ] {
            assert_eq!(scan(format!("{header}\r\nbody\r\n").as_bytes()).0, expected, "{header:?}");
            assert_eq!(scan(header.as_bytes()).0, expected, "{header:?} without a body");
        }
    }

    #[test]
    fn a_body_is_what_stands_behind_the_first_empty_line() {
        let sum = |text: &[u8], trailing| Sum { crc: crc32c::crc32c(text), octets: text.len() as u32, trailing };
        for (content, expected) in [
            ("a: b\r\n\r\nc\r\n", sum(b"c", 2)),
            ("\r\nc", sum(b"c", 0)),
            ("a: b\n\nc\r\n\r\n", sum(b"c", 4)),
            ("a: b\r\n\r\n\r\n\r\n", sum(b"", 4)),
            ("a: b\r\n\r\n", sum(b"", 0)),
            ("a: b\r\n", sum(b"", 0)),
            ("", sum(b"", 0)),
            ("\r\nc\n", sum(b"c\n", 0)),
            ("\r\nc\r\n\r\nd\r\n", sum(b"c\r\n\r\nd", 2)),
            ("\r\nc\r\r\n\r", sum(b"c\r", 3)),
        ] {
            assert_eq!(scan(content.as_bytes()).1, expected, "{content:?}");
        }
        let long = [b"\r\nc".as_slice(), &b"\r\n".repeat(50_000)].concat();
        assert_eq!(scan(&long).1, sum(b"c", 0xffff));
        assert_eq!(scan(&[long.as_slice(), b"d"].concat()).1, sum(&[&long[2..], b"d"].concat(), 0));
    }

    /// Pieces are as TCP makes them.
    #[test]
    fn pieces_change_nothing() {
        let header = String::from_utf8(field(&STAMP)).unwrap();
        let mut scan = Scan::new(STAMP.run);
        for body in ["one\r\n\r\ntwo\r\n\r\n\r\n", "\r\n\r\n", "a\r\r\n\r\rb\n\n\r\n", "", "\r\n.\r\nx\r"] {
            let content = format!("Received: from a\r\n by b\r\n{header}Subject: c\r\n\r\n{body}");
            let mut seen = Vec::new();
            for size in (1..=content.len()).chain([content.len()]) {
                content.as_bytes().chunks(size).for_each(|piece| scan.feed(piece));
                seen.push(scan.end());
            }
            assert_eq!(seen[0].0, Carries::Stamp(STAMP));
            assert!(seen.iter().all(|one| *one == seen[0]), "{body:?}: {seen:?}");
        }
        scan.feed(content_cut_off(&header).as_bytes());
        scan.clear();
        scan.feed(b"\r\nx");
        assert_eq!(scan.end(), (Carries::Nothing, Sum { crc: crc32c::crc32c(b"x"), octets: 1, trailing: 0 }));
    }

    fn content_cut_off(header: &str) -> String {
        format!("{header}X-Ringmx-Message: 01")
    }
}
