//! Paths, domains and address literals: the ABNF of RFC 5321 §4.1.2 and §4.1.3, one function for each rule.
//!
//! Loose syntax is what CONFORMANCE T049 to T066 say of it.

use ringmx::limits;

use super::Rules;

/// Reads octets from the front.
pub struct Cursor<'a> {
    octets: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    pub fn next(&mut self) -> Option<u8> {
        let octet = self.peek()?;
        self.at += 1;
        Some(octet)
    }

    pub fn take(&mut self, octet: u8) -> bool {
        let is_there = self.peek() == Some(octet);
        self.at += usize::from(is_there);
        is_there
    }

    pub fn take_while(&mut self, is_wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let from = self.at;
        while self.peek().is_some_and(&is_wanted) {
            self.at += 1;
        }
        &self.octets[from..self.at]
    }

    pub fn since(&self, from: usize) -> &'a [u8] {
        &self.octets[from..self.at]
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.octets[self.at..]
    }
}

/// A path that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Empty, with no domain: the null reverse-path.
    pub local_part: Vec<u8>,
    pub domain: Option<Vec<u8>>,
}

impl Address {
    pub fn is_null(&self) -> bool {
        self.local_part.is_empty() && self.domain.is_none()
    }

    pub fn is_postmaster(&self) -> bool {
        self.domain.is_none() && self.local_part.eq_ignore_ascii_case(b"postmaster")
    }

    pub fn written(&self) -> String {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        match &self.domain {
            Some(domain) => format!("<{}@{}>", text(&self.local_part), text(domain)),
            None => format!("<{}>", text(&self.local_part)),
        }
    }
}

/// Why a path could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is nothing.
    Missing,
    /// Strict syntax: it does not begin with its bracket.
    NoBracket,
    /// It cannot be an address.
    Bad,
}

/// `Reverse-path` or `Forward-path`, with its brackets. What is left begins with a space, or is nothing.
pub fn path(cursor: &mut Cursor<'_>, rules: Rules) -> Result<Address, Fault> {
    if !rules.strict {
        cursor.take_while(|octet| octet == b' ' || octet == b'\t');
    }
    let from = cursor.at;
    let address = match cursor.peek() {
        None => return Err(Fault::Missing),
        Some(b'<') => {
            cursor.next();
            bracketed(cursor, rules)
        }
        Some(_) if rules.strict => return Err(Fault::NoBracket),
        Some(_) => mailbox(cursor, rules),
    };
    let address = address.ok_or(Fault::Bad)?;
    let is_bracketed = cursor.since(from).starts_with(b"<");
    let size = cursor.at - from + if is_bracketed { 0 } else { 2 };
    let most = if rules.strict { limits::PATH_OCTETS } else { limits::PATH_OCTETS_LOOSE };
    if size > most || !matches!(cursor.peek(), None | Some(b' ')) {
        return Err(Fault::Bad);
    }
    Ok(address)
}

/// What stands behind `<`, up to and with `>`.
fn bracketed(cursor: &mut Cursor<'_>, rules: Rules) -> Option<Address> {
    if cursor.take(b'>') {
        return Some(Address { local_part: Vec::new(), domain: None });
    }
    // A-d-l ":"
    if cursor.peek() == Some(b'@') {
        loop {
            if !cursor.take(b'@') {
                return None;
            }
            domain(cursor, rules)?;
            if cursor.take(b':') {
                break;
            }
            if !cursor.take(b',') {
                return None;
            }
        }
    }
    let address = mailbox(cursor, rules)?;
    cursor.take(b'>').then_some(address)
}

/// Whether that is a mailbox with its domain, and nothing else. Its octets are bound as with brackets.
pub fn is_mailbox(octets: &[u8], rules: Rules) -> bool {
    let mut cursor = Cursor::new(octets);
    let address = mailbox(&mut cursor, rules);
    let most = if rules.strict { limits::PATH_OCTETS } else { limits::PATH_OCTETS_LOOSE };
    cursor.rest().is_empty() && octets.len() + 2 <= most && address.is_some_and(|address| address.domain.is_some())
}

/// `Local-part [ "@" ( Domain / address-literal ) ]`
fn mailbox(cursor: &mut Cursor<'_>, rules: Rules) -> Option<Address> {
    let local_part = local_part(cursor, rules)?;
    if !cursor.take(b'@') {
        return Some(Address { local_part, domain: None });
    }
    let domain = if cursor.peek() == Some(b'[') { literal(cursor, rules)? } else { domain(cursor, rules)? };
    Some(Address { local_part, domain: Some(domain) })
}

fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// One character above ASCII, RFC 6532 §3.1 `UTF8-non-ascii` (RFC 3629 §4).
fn utf8_non_ascii(cursor: &mut Cursor<'_>) -> Option<()> {
    let first = cursor.next()?;
    let (count, least, most) = match first {
        0xC2..=0xDF => (1, 0x80, 0xBF),
        0xE0 => (2, 0xA0, 0xBF),
        0xED => (2, 0x80, 0x9F),
        0xE1..=0xEF => (2, 0x80, 0xBF),
        0xF0 => (3, 0x90, 0xBF),
        0xF1..=0xF3 => (3, 0x80, 0xBF),
        0xF4 => (3, 0x80, 0x8F),
        _ => return None,
    };
    let second = cursor.next()?;
    if !(least..=most).contains(&second) {
        return None;
    }
    for _ in 1..count {
        if !(0x80..=0xBF).contains(&cursor.next()?) {
            return None;
        }
    }
    Some(())
}

/// `Dot-string / Quoted-string`
fn local_part(cursor: &mut Cursor<'_>, rules: Rules) -> Option<Vec<u8>> {
    let from = cursor.at;
    if cursor.take(b'"') {
        loop {
            match cursor.peek()? {
                b'"' => {
                    cursor.next();
                    break;
                }
                // quoted-pairSMTP
                b'\\' => {
                    cursor.next();
                    if !(32..=126).contains(&cursor.next()?) {
                        return None;
                    }
                }
                32..=126 => {
                    cursor.next();
                }
                0x80.. => utf8_non_ascii(cursor)?,
                _ => return None,
            }
        }
    } else {
        // Dots at the ends, or beside each other, make no Dot-string.
        let mut wants_atom = true;
        loop {
            match cursor.peek() {
                Some(b'.') if rules.strict && wants_atom => return None,
                Some(b'.') => {
                    cursor.next();
                    wants_atom = true;
                }
                Some(octet) if is_atext(octet) => {
                    cursor.next();
                    wants_atom = false;
                }
                Some(0x80..) => {
                    utf8_non_ascii(cursor)?;
                    wants_atom = false;
                }
                _ => break,
            }
        }
        if cursor.at == from || (rules.strict && wants_atom) {
            return None;
        }
    }
    let most = if rules.strict { limits::LOCAL_PART_OCTETS } else { limits::LOCAL_PART_OCTETS_LOOSE };
    let octets = cursor.since(from);
    (octets.len() <= most).then(|| octets.to_vec())
}

/// `Domain`
pub fn domain(cursor: &mut Cursor<'_>, rules: Rules) -> Option<Vec<u8>> {
    let from = cursor.at;
    loop {
        let label = label(cursor)?;
        // RFC 5890 §4.2: the bound is of the form in ASCII.
        if label.is_ascii() && label.len() > limits::DOMAIN_LABEL_OCTETS {
            return None;
        }
        let is_bad = label.starts_with(b"-") || label.ends_with(b"-") || label.contains(&b'_');
        if rules.strict && is_bad {
            return None;
        }
        if !cursor.take(b'.') {
            break;
        }
        // A dot at the very end.
        let is_end = !matches!(cursor.peek(), Some(octet) if is_label_octet(octet) || octet == b'.');
        if is_end && !rules.strict {
            break;
        }
    }
    let octets = cursor.since(from);
    (octets.len() <= limits::DOMAIN_OCTETS).then(|| octets.to_vec())
}

fn is_label_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' || octet >= 0x80
}

fn label<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let from = cursor.at;
    while let Some(octet) = cursor.peek().filter(|octet| is_label_octet(*octet)) {
        if octet >= 0x80 {
            utf8_non_ascii(cursor)?;
        } else {
            cursor.next();
        }
    }
    (cursor.at > from).then(|| cursor.since(from))
}

/// `address-literal`; of `General-address-literal` no tag but IPv6 is registered. Open: loose syntax has "::" for one group,
/// too, as RFC 4291 §2.2 does.
pub fn literal(cursor: &mut Cursor<'_>, rules: Rules) -> Option<Vec<u8>> {
    let from = cursor.at;
    if !cursor.take(b'[') {
        return None;
    }
    let inner = cursor.take_while(|octet| octet != b']');
    if !cursor.take(b']') {
        return None;
    }
    let is_address = match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case(b"IPv6:") => is_ipv6(&inner[5..], rules),
        _ => is_ipv4(inner),
    };
    is_address.then(|| cursor.since(from).to_vec())
}

/// `Snum 3("." Snum)`, `Snum = 1*3DIGIT`
fn is_ipv4(octets: &[u8]) -> bool {
    let parts: Vec<&[u8]> = octets.split(|octet| *octet == b'.').collect();
    let is_snum = |part: &&[u8]| {
        (1..=3).contains(&part.len())
            && part.iter().all(u8::is_ascii_digit)
            && part.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 255
    };
    parts.len() == 4 && parts.iter().all(is_snum)
}

/// `IPv6-full / IPv6-comp / IPv6v4-full / IPv6v4-comp`
fn is_ipv6(octets: &[u8], rules: Rules) -> bool {
    let Ok(text) = std::str::from_utf8(octets) else { return false };
    // How many groups a part has that holds no "::"; the last may be an IPv4 address, which stands for two.
    let groups = |part: &str, v4_may_end: bool| -> Option<usize> {
        if part.is_empty() {
            return Some(0);
        }
        let words: Vec<&str> = part.split(':').collect();
        let mut count = 0;
        for (at, word) in words.iter().enumerate() {
            let is_hex = (1..=4).contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_hexdigit());
            if is_hex {
                count += 1;
            } else if v4_may_end && at + 1 == words.len() && is_ipv4(word.as_bytes()) {
                count += 2;
            } else {
                return None;
            }
        }
        Some(count)
    };
    match text.split_once("::") {
        None => groups(text, true) == Some(8),
        // In the ABNF "::" stands for two groups of zeros at least.
        Some((before, behind)) => match (groups(before, false), groups(behind, true)) {
            (Some(before), Some(behind)) => before + behind <= if rules.strict { 6 } else { 7 },
            _ => false,
        },
    }
}
