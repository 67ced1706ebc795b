//! A command line, cut into verb and argument, and the arguments read: RFC 5321 §4.1.1.

use crate::limits;
use crate::mail::address::Path;
use crate::mail::envelope::{MailParameters, RcptParameters};
use crate::smtp::extension::Extensions;
use crate::smtp::line::{after, trim, trim_start};
use crate::smtp::parameter::{self, ParameterError};
use crate::smtp::path::{self, PathError};
use crate::smtp::reply::Reply;
use crate::smtp::settings::AddressSyntax;

/// The first word of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    /// RFC 5321 §4.1.1.1.
    Ehlo,
    /// RFC 5321 §4.1.1.1.
    Helo,
    /// RFC 5321 §4.1.1.2.
    Mail,
    /// RFC 5321 §4.1.1.3.
    Rcpt,
    /// RFC 5321 §4.1.1.4.
    Data,
    /// RFC 3030 §2.
    Bdat,
    /// RFC 5321 §4.1.1.5.
    Rset,
    /// RFC 5321 §4.1.1.9.
    Noop,
    /// RFC 5321 §4.1.1.6.
    Vrfy,
    /// RFC 5321 §4.1.1.8.
    Help,
    /// RFC 5321 §4.1.1.10.
    Quit,
    /// RFC 2033 §4.1.
    Lhlo,
    /// RFC 3207 §4.
    StartTls,
    /// RFC 4954 §4.
    Auth,
    /// Postfix's: a trusted proxy says for whom it speaks.
    Xclient,
    /// EXPN, TURN, SEND, SOML, SAML: known, and not done.
    Absent,
    /// A request line of HTTP, or its Host field.
    Http,
    /// None: the line is empty, or begins with a space.
    Blank,
    /// Anything else.
    Unknown,
}

impl Verb {
    /// How many there are: the rows of the table in [`crate::smtp::phase`].
    pub const COUNT: usize = Self::Unknown as usize + 1;

    /// Cuts a line (without its line end) at its first space.
    #[inline]
    pub fn split(line: &[u8]) -> (Self, &[u8]) {
        if let Some((four, rest)) = line.split_first_chunk()
            && let Some(verb) = Self::of_four(*four)
        {
            match rest {
                [] => return (verb, rest),
                [b' ', argument @ ..] => return (verb, argument),
                _ => {}
            }
        }
        Self::split_other(line)
    }

    /// COST: a letter in upper and in lower case differ in one bit, so that four are read at once.
    #[inline]
    fn of_four(word: [u8; 4]) -> Option<Self> {
        Some(match &(u32::from_ne_bytes(word) & u32::from_ne_bytes([!0x20; 4])).to_ne_bytes() {
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"BDAT" => Self::Bdat,
            b"DATA" => Self::Data,
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"RSET" => Self::Rset,
            b"NOOP" => Self::Noop,
            b"QUIT" => Self::Quit,
            b"VRFY" => Self::Vrfy,
            b"HELP" => Self::Help,
            b"LHLO" => Self::Lhlo,
            b"AUTH" => Self::Auth,
            b"EXPN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => Self::Absent,
            b"POST" | b"HEAD" => Self::Http,
            _ => return None,
        })
    }

    /// A line whose first word is not one of four octets that is known.
    #[cold]
    fn split_other(line: &[u8]) -> (Self, &[u8]) {
        const HTTP: [&[u8]; 7] = [b"GET", b"PUT", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"Host:"];
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (word, argument) = (&line[..end], line.get(end + 1..).unwrap_or_default());
        let is = |other: &[u8]| word.eq_ignore_ascii_case(other);
        let verb = if word.is_empty() {
            Self::Blank
        } else if is(b"STARTTLS") {
            Self::StartTls
        } else if is(b"XCLIENT") {
            Self::Xclient
        } else if HTTP.into_iter().any(is) {
            Self::Http
        } else {
            Self::Unknown
        };
        (verb, argument)
    }
}

/// What MAIL says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailCommand<'a> {
    /// From whom.
    pub reverse_path: Path<'a>,
    /// What stood behind it.
    pub parameters: MailParameters<'a>,
}

/// What RCPT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RcptCommand<'a> {
    /// To whom; never `Null`.
    pub forward_path: Path<'a>,
    /// What stood behind it.
    pub parameters: RcptParameters<'a>,
}

/// Reads the argument of MAIL.
pub fn parse_mail(argument: &[u8], syntax: AddressSyntax, offered: Extensions) -> Result<MailCommand<'_>, Reply> {
    let refuse = |reply| Err(line_fault(argument).unwrap_or(reply));
    let Some(text) = after(trim_start(argument), b"FROM:") else { return refuse(Reply::BadArguments) };
    let (reverse_path, rest) = match path::parse(text, syntax) {
        Ok(read) => read,
        Err(PathError::Missing) => return refuse(Reply::BadArguments),
        Err(PathError::Unbracketed) => return refuse(Reply::BadPath),
        Err(PathError::Malformed) => return refuse(Reply::BadReversePath),
        Err(PathError::NonAscii) => return refuse(Reply::NonAsciiReversePath),
    };
    match parameter::parse_mail(rest, offered) {
        Ok(parameters) => Ok(MailCommand { reverse_path, parameters }),
        Err(error) => refuse(refuse_parameter(error)),
    }
}

/// Reads the argument of RCPT. `smtputf8` says whether MAIL had that parameter.
pub fn parse_rcpt(
    argument: &[u8],
    syntax: AddressSyntax,
    offered: Extensions,
    _smtputf8: bool,
) -> Result<RcptCommand<'_>, Reply> {
    let refuse = |reply| Err(line_fault(argument).unwrap_or(reply));
    let Some(text) = after(trim_start(argument), b"TO:") else { return refuse(Reply::BadArguments) };
    let (forward_path, rest) = match path::parse(text, syntax) {
        Ok((Path::Null, _)) => return refuse(Reply::BadForwardPath),
        Ok(read) => read,
        Err(PathError::Missing) => return refuse(Reply::BadArguments),
        Err(PathError::Unbracketed) => return refuse(Reply::BadPath),
        Err(PathError::Malformed) => return refuse(Reply::BadForwardPath),
        Err(PathError::NonAscii) => return refuse(Reply::NonAsciiForwardPath),
    };
    match parameter::parse_rcpt(rest, offered) {
        Ok(parameters) => Ok(RcptCommand { forward_path, parameters }),
        Err(error) => refuse(refuse_parameter(error)),
    }
}

fn refuse_parameter(error: ParameterError) -> Reply {
    match error {
        ParameterError::Malformed => Reply::BadArguments,
        ParameterError::Unknown => Reply::UnknownParameter,
        ParameterError::BadValue => Reply::BadParameterValue,
    }
}

/// The argument of BDAT: RFC 3030 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the line.
    pub octets: u64,
    /// Whether the message ends with them.
    pub last: bool,
}

/// Reads the argument of BDAT. A size of more than 18 digits is no size.
pub fn parse_bdat(argument: &[u8]) -> Option<Chunk> {
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let digits = words.next()?;
    if digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let octets = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Chunk { octets, last })
}

/// Reads the argument of EHLO or HELO: RFC 5321 §4.1.1.1. Loose syntax takes any text, because names in the wild are often
/// wrong and RFC 5321 §4.1.4 forbids refusing mail for that; it is escaped wherever it is shown.
pub fn parse_hello(argument: &[u8], syntax: AddressSyntax) -> Result<&[u8], Reply> {
    let name = trim(argument);
    let fits = !name.is_empty() && name.len() <= limits::DOMAIN_OCTETS;
    let ok = match syntax {
        AddressSyntax::Strict => path::is_domain_or_literal(name, false),
        AddressSyntax::Loose => is_text(name),
    };
    if fits && ok { Ok(name) } else { Err(line_fault(argument).unwrap_or(Reply::BadDomain)) }
}

/// What is wrong with the line as such when its argument was not taken: a CR that ends no line (RFC 5321 §2.3.8). It is
/// looked for only then, because no grammar of an argument has it.
pub fn line_fault(argument: &[u8]) -> Option<Reply> {
    memchr::memchr(b'\r', argument).map(|_| Reply::BadLine)
}

/// Whether an argument that is not looked into is at least text: no control octet but the tab.
pub fn is_text(argument: &[u8]) -> bool {
    argument.iter().all(|octet| *octet >= 0x20 && *octet != 0x7f || *octet == b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(Verb::split(b"mAiL FROM:<>"), (Verb::Mail, b"FROM:<>".as_slice()));
        assert_eq!(Verb::split(b"NOOP"), (Verb::Noop, b"".as_slice()));
        assert_eq!(Verb::split(b"starttls"), (Verb::StartTls, b"".as_slice()));
        assert_eq!(Verb::split(b"GET / HTTP/1.1").0, Verb::Http);
        assert_eq!(Verb::split(b"Host: x").0, Verb::Http);
        assert_eq!(Verb::split(b"").0, Verb::Blank);
        assert_eq!(Verb::split(b" NOOP").0, Verb::Blank);
        for unknown in [b"FOOBAR".as_slice(), b"NO\xC3\x96P", b"NOOP\tx", b"MAI"] {
            assert_eq!(Verb::split(unknown).0, Verb::Unknown, "{unknown:?}");
        }
    }

    /// CONFORMANCE T052, T054, T066, T092.
    #[test]
    fn mail_and_rcpt_arguments() {
        let mail = |text: &str| parse_mail(text.as_bytes(), AddressSyntax::Loose, Extensions::all()).map(|_| ()).err();
        for text in ["", "FROM", "FROM:", "TO:<s@x.test>", "FROM <s@x.test>", "FROM :<s@x.test>"] {
            assert_eq!(mail(text), Some(Reply::BadArguments), "{text:?}");
        }
        assert_eq!(mail("from:<s@x.test> SIZE=1 BODY=8BITMIME"), None);
        assert_eq!(mail("FROM:<s>"), None);
        assert_eq!(mail("FROM:<s@x.test> FOO"), Some(Reply::UnknownParameter));
        let rcpt =
            |text: &str| parse_rcpt(text.as_bytes(), AddressSyntax::Strict, Extensions::all(), false).map(|_| ()).err();
        assert_eq!(rcpt("TO:<PostMaster>"), None);
        assert_eq!(rcpt("TO:<a>"), None);
        assert_eq!(rcpt("TO:<>"), Some(Reply::BadForwardPath));
        assert_eq!(rcpt("FROM:<a@b>"), Some(Reply::BadArguments));
    }

    #[test]
    fn chunks() {
        assert_eq!(parse_bdat(b"5 LAST"), Some(Chunk { octets: 5, last: true }));
        assert_eq!(parse_bdat(b"0"), Some(Chunk { octets: 0, last: false }));
        assert_eq!(parse_bdat(b"86 last"), Some(Chunk { octets: 86, last: true }));
        for bad in [b"".as_slice(), b"x", b"-1", b"5 FIRST", b"5 LAST LAST", b"1234567890123456789"] {
            assert_eq!(parse_bdat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hello_names() {
        assert!(parse_hello(b"[IPv6:2001:db8::1]", AddressSyntax::Strict).is_ok());
        assert!(parse_hello(b"bad_host!", AddressSyntax::Loose).is_ok());
        assert_eq!(parse_hello(b"bad_host!", AddressSyntax::Strict), Err(Reply::BadDomain));
        assert_eq!(parse_hello(b"", AddressSyntax::Loose), Err(Reply::BadDomain));
        assert_eq!(parse_hello(&[b'a'; 300], AddressSyntax::Loose), Err(Reply::BadDomain));
        assert_eq!(parse_hello(b"a\x01b", AddressSyntax::Loose), Err(Reply::BadDomain));
        assert_eq!(parse_hello(b" a\t ", AddressSyntax::Loose), Ok(b"a".as_slice()));
    }

    /// CONFORMANCE T038: a CR within a line is not a blank, and makes it no text.
    #[test]
    fn a_bare_cr_is_no_blank() {
        assert_eq!(parse_hello(b"a\r", AddressSyntax::Loose), Err(Reply::BadLine));
        for argument in
            [b"\rFROM:<s@x.test>".as_slice(), b"FROM:\r<s@x.test>", b"FROM:<s@x.test>\r", b"FROM:<s@x.test> SIZE=1\r"]
        {
            assert_eq!(parse_mail(argument, AddressSyntax::Loose, Extensions::all()), Err(Reply::BadLine));
        }
        assert_eq!(
            parse_rcpt(b"TO:<a@ok.test>\rDATA", AddressSyntax::Loose, Extensions::all(), false),
            Err(Reply::BadLine)
        );
    }
}
