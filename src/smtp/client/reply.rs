//! Reads replies (RFC 5321 §4.2.1) out of pieces of what the server sends.
//!
//! *Invariants*: a reply that lies whole in the input is lent from it; of one that was cut, what came is copied once. Each
//! octet is looked at a fixed number of times, however the input is cut. Memory is bounded by
//! [`limits::CLIENT_REPLY_OCTETS`]. All lines of a reply have its code.
//!
//! *Tolerant* where nothing can be mistaken: LF alone ends a line; a code without text, and one without the space, is a reply
//! (RFC 5321 §4.2 asks for it); any second digit. *Does not* know what was asked.

use std::fmt;

use crate::limits;

/// A reply code: RFC 5321 §4.2.1. Its first digit is 2 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

impl Code {
    /// The server is closing the connection: RFC 5321 §3.8.
    pub const CLOSING: Self = Self(421);

    fn parse(digits: [u8; 3]) -> Result<Self, ReplyFault> {
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(ReplyFault::NotAReply);
        }
        let code = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        if (200..600).contains(&code) { Ok(Self(code)) } else { Err(ReplyFault::CodeOutOfRange(code)) }
    }

    /// As a number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// What its first digit says: what a client may rely on (RFC 5321 §4.2).
    pub const fn class(self) -> Class {
        match self.0 / 100 {
            2 => Class::Positive,
            3 => Class::GoAhead,
            4 => Class::Temporary,
            _ => Class::Permanent,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// The first digit of a code: RFC 5321 §4.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 2yz: done.
    Positive,
    /// 3yz: the server waits for more.
    GoAhead,
    /// 4yz: not now.
    Temporary,
    /// 5yz: not so.
    Permanent,
}

/// An enhanced status code: RFC 3463 §2. Its class is that of the reply code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// What the text of a reply begins with, if that is a code of this class.
    fn parse(text: &[u8], class: u8) -> Option<Self> {
        let word = &text[..memchr::memchr(b' ', text).unwrap_or(text.len())];
        let mut parts = word.split(|octet| *octet == b'.');
        let first = parts.next()?;
        let (subject, detail) = (digits(parts.next()?)?, digits(parts.next()?)?);
        (first == [b'0' + class] && matches!(class, 2 | 4 | 5) && parts.next().is_none()).then_some(Self {
            class,
            subject,
            detail,
        })
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One to three digits.
fn digits(text: &[u8]) -> Option<u16> {
    let is_number = (1..=3).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
}

/// What is left of a reply when its text is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Its code.
    pub code: Code,
    /// Its enhanced status code, if it has one.
    pub enhanced: Option<Enhanced>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.enhanced {
            Some(enhanced) => write!(f, "{} {enhanced}", self.code),
            None => self.code.fmt(f),
        }
    }
}

/// A whole reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    code: Code,
    /// All lines, with codes and line ends.
    octets: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Its code.
    pub fn code(self) -> Code {
        self.code
    }

    /// Its class.
    pub fn class(self) -> Class {
        self.code.class()
    }

    /// Its enhanced status code, if its first line begins with one: RFC 2034 §4 puts it on every line.
    pub fn enhanced(self) -> Option<Enhanced> {
        Enhanced::parse(self.lines().next()?, (self.code.0 / 100) as u8)
    }

    /// Both codes.
    pub fn verdict(self) -> Verdict {
        Verdict { code: self.code, enhanced: self.enhanced() }
    }

    /// The texts of its lines, without codes and line ends; one at least. They are the server's: any octets but LF.
    pub fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.octets;
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            Some(line.get(4..).unwrap_or_default())
        })
    }

    /// All of it as it came, with codes and line ends.
    pub fn octets(self) -> &'a [u8] {
        self.octets
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply(\"{}\")", self.octets.escape_ascii())
    }
}

/// What cannot be read as a reply. The server's fault, each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// A line that does not begin with three digits and a space, a hyphen or nothing.
    #[error("the server sent a line that is no reply")]
    NotAReply,
    /// A code outside of 200 to 599: RFC 5321 §4.2.1 has none in use.
    #[error("the server sent a reply with the code {0}")]
    CodeOutOfRange(u16),
    /// A line of a reply with another code than its first: RFC 5321 §4.2.1.
    #[error("the server sent a reply whose lines have different codes")]
    CodesDiffer,
    /// [`limits::CLIENT_REPLY_LINE_OCTETS`].
    #[error("the server sent a reply line that is too long")]
    LineTooLong,
    /// [`limits::CLIENT_REPLY_LINES`] or [`limits::CLIENT_REPLY_OCTETS`].
    #[error("the server sent a reply that is too long")]
    TooLong,
}

/// A whole reply that was found. It lies in the input, or else in the reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'i> {
    pub(super) code: Code,
    of_input: Option<&'i [u8]>,
}

impl<'i> Found<'i> {
    pub(super) fn reply(self, reader: &'i ReplyReader) -> Reply<'i> {
        Reply { code: self.code, octets: self.of_input.unwrap_or(&reader.carry) }
    }
}

/// Puts replies together.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    /// The reply so far, or one that was lent and is now done with.
    carry: Vec<u8>,
    /// Whether the carry is done with.
    is_spent: bool,
    /// Of the reply so far: where its open line begins in the carry.
    line_start: usize,
    lines: usize,
    code: Option<Code>,
}

impl ReplyReader {
    /// Takes the next reply from the front of `input`, or what there is of it. After an error nothing is read any more.
    #[inline]
    pub(super) fn find<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Found<'i>>, ReplyFault> {
        if self.is_spent {
            self.is_spent = false;
            self.carry.clear();
            self.carry.shrink_to(limits::CLIENT_REPLY_KEPT_OCTETS);
        }
        if self.carry.is_empty() {
            (self.line_start, self.lines, self.code) = (0, 0, None);
        }
        // What lies in the input before `start` are lines of this reply, when nothing of it is in the carry.
        let mut start = 0;
        // BOUND: each turn takes a line, of which a reply has so many at most.
        loop {
            let rest = &input[start..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return self.keep(input, start).map(|()| None);
            };
            let line = &rest[..end + 1];
            let before = if self.carry.is_empty() { start } else { self.carry.len() };
            let open = if self.carry.is_empty() { 0 } else { self.carry.len() - self.line_start };
            self.check(open + line.len(), before + line.len())?;
            let is_last = if self.carry.is_empty() {
                start += line.len();
                self.take(line)?
            } else {
                self.carry.extend_from_slice(line);
                *input = &input[line.len()..];
                let carry = std::mem::take(&mut self.carry);
                let is_last = self.take(&carry[self.line_start..]);
                self.carry = carry;
                self.line_start = self.carry.len();
                is_last?
            };
            if let (true, Some(code)) = (is_last, self.code) {
                let of_input = self.carry.is_empty().then(|| &input[..start]);
                *input = &input[start..];
                self.is_spent = !self.carry.is_empty();
                (self.line_start, self.lines, self.code) = (0, 0, None);
                return Ok(Some(Found { code, of_input }));
            }
        }
    }

    /// Puts the input, which has no whole line from `start` on, into the carry.
    fn keep(&mut self, input: &mut &[u8], start: usize) -> Result<(), ReplyFault> {
        let open = if self.carry.is_empty() { 0 } else { self.carry.len() - self.line_start };
        self.check(open + input.len() - start, self.carry.len() + input.len())?;
        if self.carry.is_empty() {
            self.line_start = start;
        }
        self.carry.extend_from_slice(input);
        *input = &[];
        Ok(())
    }

    fn check(&self, line: usize, reply: usize) -> Result<(), ReplyFault> {
        if line > limits::CLIENT_REPLY_LINE_OCTETS {
            Err(ReplyFault::LineTooLong)
        } else if reply > limits::CLIENT_REPLY_OCTETS || self.lines >= limits::CLIENT_REPLY_LINES {
            Err(ReplyFault::TooLong)
        } else {
            Ok(())
        }
    }

    /// Takes a whole line, and returns whether it is the reply's last.
    #[inline]
    fn take(&mut self, line: &[u8]) -> Result<bool, ReplyFault> {
        let (digits, rest) = line.split_first_chunk().ok_or(ReplyFault::NotAReply)?;
        let code = Code::parse(*digits)?;
        let is_last = match rest {
            [b' ' | b'\n', ..] | [b'\r', b'\n'] => true,
            [b'-', ..] => false,
            _ => return Err(ReplyFault::NotAReply),
        };
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyFault::CodesDiffer);
        }
        self.lines += 1;
        Ok(is_last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = (Vec<(u16, Vec<u8>)>, Option<ReplyFault>);

    /// All replies of the pieces, and what was wrong.
    fn read<'i>(pieces: impl IntoIterator<Item = &'i [u8]>) -> Read {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for mut piece in pieces {
            loop {
                match reader.find(&mut piece) {
                    Ok(Some(found)) => {
                        let reply = found.reply(&reader);
                        replies.push((reply.code().number(), reply.octets().to_vec()));
                    }
                    Ok(None) => break,
                    Err(fault) => return (replies, Some(fault)),
                }
            }
            assert!(piece.is_empty());
            assert!(reader.carry.len() <= limits::CLIENT_REPLY_OCTETS);
        }
        (replies, None)
    }

    fn whole(stream: &[u8]) -> Read {
        read([stream])
    }

    #[test]
    fn a_reply_has_a_code_texts_and_perhaps_an_enhanced_code() {
        let mut reader = ReplyReader::default();
        let mut input: &[u8] =
            b"250-2.1.5 one\r\n250-\r\n250\r\n550 5.7.26 no\n421 4.3.2\r\n550 2.0.0 x\r\n550 5.1.1.1\r\n";
        let mut next = || {
            let found = reader.find(&mut input).unwrap().expect("a whole reply");
            let reply = found.reply(&reader);
            let lines: Vec<String> = reply.lines().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
            (reply.verdict().to_string(), lines.join("|"))
        };
        assert_eq!(next(), ("250 2.1.5".into(), "2.1.5 one||".into()));
        assert_eq!(next(), ("550 5.7.26".into(), "5.7.26 no".into()));
        assert_eq!(next(), ("421 4.3.2".into(), "4.3.2".into()));
        assert_eq!(next(), ("550".into(), "2.0.0 x".into()), "an enhanced code of another class is text");
        assert_eq!(next(), ("550".into(), "5.1.1.1".into()));
    }

    #[test]
    fn what_is_no_reply_is_told_apart() {
        use ReplyFault::{CodeOutOfRange, CodesDiffer, NotAReply};
        for (text, fault) in [
            ("\r\n", NotAReply),
            ("25\r\n", NotAReply),
            ("250x\r\n", NotAReply),
            ("250\rx\r\n", NotAReply),
            ("HTTP/1.1 400\r\n", NotAReply),
            ("100 go on\r\n", CodeOutOfRange(100)),
            ("199-a\r\n", CodeOutOfRange(199)),
            ("600 x\r\n", CodeOutOfRange(600)),
            ("250-a\r\n251 b\r\n", CodesDiffer),
            ("250-a\r\n\r\n", NotAReply),
        ] {
            assert_eq!(whole(text.as_bytes()), (vec![], Some(fault)), "{text:?}");
        }
        assert_eq!(whole(b"299 x\r\n").0, [(299, b"299 x\r\n".to_vec())]);
    }

    #[test]
    fn lines_and_replies_are_bounded_however_they_come() {
        let line = |octets: usize| [b"250 ".to_vec(), vec![b'x'; octets - 6], b"\r\n".to_vec()].concat();
        assert_eq!(whole(&line(limits::CLIENT_REPLY_LINE_OCTETS)).0.len(), 1);
        assert_eq!(whole(&line(limits::CLIENT_REPLY_LINE_OCTETS + 1)).1, Some(ReplyFault::LineTooLong));
        let endless = vec![b'2'; limits::CLIENT_REPLY_LINE_OCTETS + 1];
        for size in [1, 7, 5000] {
            assert_eq!(read(endless.chunks(size)).1, Some(ReplyFault::LineTooLong), "{size}");
        }
        let lines = |lines: usize| [b"250-a\r\n".repeat(lines - 1), b"250 a\r\n".to_vec()].concat();
        for size in [1, 7, 100_000] {
            assert_eq!(read(lines(limits::CLIENT_REPLY_LINES).chunks(size)).0.len(), 1, "{size}");
            assert_eq!(read(lines(limits::CLIENT_REPLY_LINES + 1).chunks(size)).1, Some(ReplyFault::TooLong), "{size}");
        }
        let long = [b"250-".to_vec(), vec![b'x'; 4000], b"\r\n".to_vec()].concat().repeat(17);
        for size in [100, 100_000] {
            assert_eq!(read(long.chunks(size)).1, Some(ReplyFault::TooLong), "{size}");
        }
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let lines: Vec<&[u8]> = vec![
            b"250 ok\r\n",
            b"250-more\r\n",
            b"250\n",
            b"550 5.1.1 no\r\n",
            b"421 bye\r\n",
            b"354 go\r\n",
            b"250-\n",
            b"\r\n",
            b"100 x\r\n",
            b"2",
            b"50 cut",
        ];
        prop::collection::vec(prop::sample::select(lines), 0..12).prop_map(|lines| lines.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn replies_are_the_same_for_every_split(stream in stream(), sizes in prop::collection::vec(1..9_usize, 1..8)) {
            let mut pieces = Vec::new();
            let mut rest = stream.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            prop_assert_eq!(read(pieces), whole(&stream));
        }
    }
}
