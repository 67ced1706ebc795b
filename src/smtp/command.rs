//! A command line, cut into verb and argument, and the arguments read: RFC 5321 §4.1.1.

use crate::limits;
use crate::mail::address::Path;
use crate::mail::envelope::{MailParameters, RcptParameters};
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::line::{after, trim, trim_start};
use crate::smtp::parameter::{self, ParameterError};
use crate::smtp::path::{self, Charset, PathError};
use crate::smtp::reply::Reply;
use crate::smtp::settings::{AddressSyntax, Dialect, Terms};

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

    /// The verb as it is known under these terms: LMTP has LHLO in place of EHLO and HELO (RFC 2033 §4.1), and a verb of an
    /// extension is there when that is offered.
    #[inline]
    pub fn under(self, terms: &Terms) -> Self {
        let absent_without = |extension| if terms.extensions.has(extension) { self } else { Self::Absent };
        match (terms.dialect, self) {
            (Dialect::Smtp, Self::Lhlo) | (Dialect::Lmtp, Self::Ehlo | Self::Helo) => Self::Unknown,
            (Dialect::Lmtp, Self::Lhlo) => Self::Ehlo,
            (_, Self::StartTls) => absent_without(Extension::StartTls),
            (_, Self::Auth) => absent_without(Extension::Auth),
            (_, verb) => verb,
        }
    }

    /// Whether it is acted on without TLS where TLS is required: RFC 3207 §4. What is no command at all is refused as that.
    pub fn is_allowed_before_tls(self) -> bool {
        matches!(
            self,
            Self::Ehlo
                | Self::Noop
                | Self::Quit
                | Self::StartTls
                | Self::Http
                | Self::Blank
                | Self::Unknown
                | Self::Absent
        )
    }

    /// Cuts a line (without its line end) at its first space.
    #[inline(always)]
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

    /// COST: a letter in upper and in lower case differ in one bit, so that four are read at once; and they are told apart as
    /// numbers, with a third of the instructions that as many octets take.
    #[inline]
    fn of_four(word: [u8; 4]) -> Option<Self> {
        const fn number(word: &str) -> u32 {
            match word.as_bytes().first_chunk() {
                Some(four) => u32::from_be_bytes(*four),
                None => panic!("a verb has four letters"),
            }
        }
        macro_rules! told_apart {
            ($($($word:ident)|+ => $verb:ident,)*) => {{
                $($(const $word: u32 = number(stringify!($word));)+)*
                match u32::from_be_bytes(word) & u32::from_be_bytes([!0x20; 4]) {
                    $($($word)|+ => Some(Self::$verb),)*
                    _ => None,
                }
            }};
        }
        told_apart! {
            MAIL => Mail,
            RCPT => Rcpt,
            BDAT => Bdat,
            DATA => Data,
            EHLO => Ehlo,
            HELO => Helo,
            RSET => Rset,
            NOOP => Noop,
            QUIT => Quit,
            VRFY => Vrfy,
            HELP => Help,
            LHLO => Lhlo,
            AUTH => Auth,
            EXPN | TURN | SEND | SOML | SAML => Absent,
            POST | HEAD => Http,
        }
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
///
/// COST: nearly every line is plain, and is read in registers; every other is read again from its start.
#[inline]
pub fn parse_mail(argument: &[u8], syntax: AddressSyntax, offered: Extensions) -> Result<MailCommand<'_>, Reply> {
    if let Some(text) = after(argument, b"FROM:")
        && let Some((mailbox, rest)) = path::parse_plain(text, syntax)
        && let Some((size_bytes, body)) = parameter::parse_mail_plain(rest, offered)
    {
        let parameters = MailParameters { size_bytes, body, ..MailParameters::default() };
        return Ok(MailCommand { reverse_path: Path::Mailbox(mailbox), parameters });
    }
    parse_any_mail(argument, syntax, offered)
}

/// SMTPUTF8 stands behind the path that it is for: so a path with octets above 127 is judged last, and what is wrong with
/// the parameters is said first.
#[inline(never)]
fn parse_any_mail(argument: &[u8], syntax: AddressSyntax, offered: Extensions) -> Result<MailCommand<'_>, Reply> {
    let refuse = |reply| Err(line_fault(argument).unwrap_or(reply));
    let Some(text) = after(trim_start(argument), b"FROM:") else { return refuse(Reply::BadArguments) };
    let read = match path::parse(text, syntax) {
        Ok(read) => read,
        Err(PathError::Missing) => return refuse(Reply::BadArguments),
        Err(PathError::Unbracketed) => return refuse(Reply::BadPath),
        Err(PathError::Malformed) => return refuse(Reply::BadReversePath),
    };
    let parameters = match parameter::parse_mail(read.rest, syntax, offered) {
        Ok(parameters) => parameters,
        Err(error) => return refuse(refuse_parameter(error)),
    };
    match (read.charset, parameters.smtputf8) {
        (Charset::Ascii, _) | (Charset::Utf8, true) => Ok(MailCommand { reverse_path: read.path, parameters }),
        (Charset::Unknown, true) => refuse(Reply::BadReversePath),
        (_, false) => refuse(Reply::NonAsciiReversePath),
    }
}

/// Reads the argument of RCPT. `smtputf8` says whether MAIL had that parameter.
#[inline]
pub fn parse_rcpt(
    argument: &[u8],
    syntax: AddressSyntax,
    offered: Extensions,
    smtputf8: bool,
) -> Result<RcptCommand<'_>, Reply> {
    if let Some(text) = after(argument, b"TO:")
        && let Some((mailbox, [])) = path::parse_plain(text, syntax)
    {
        return Ok(RcptCommand { forward_path: Path::Mailbox(mailbox), parameters: RcptParameters::default() });
    }
    parse_any_rcpt(argument, syntax, offered, smtputf8)
}

#[inline(never)]
fn parse_any_rcpt(
    argument: &[u8],
    syntax: AddressSyntax,
    offered: Extensions,
    smtputf8: bool,
) -> Result<RcptCommand<'_>, Reply> {
    let refuse = |reply| Err(line_fault(argument).unwrap_or(reply));
    let Some(text) = after(trim_start(argument), b"TO:") else { return refuse(Reply::BadArguments) };
    let read = match path::parse(text, syntax) {
        Ok(read) if read.path == Path::Null => return refuse(Reply::BadForwardPath),
        Ok(read) => read,
        Err(PathError::Missing) => return refuse(Reply::BadArguments),
        Err(PathError::Unbracketed) => return refuse(Reply::BadPath),
        Err(PathError::Malformed) => return refuse(Reply::BadForwardPath),
    };
    let parameters = match parameter::parse_rcpt(read.rest, offered, smtputf8) {
        Ok(parameters) => parameters,
        Err(error) => return refuse(refuse_parameter(error)),
    };
    match (read.charset, smtputf8) {
        (Charset::Ascii, _) | (Charset::Utf8, true) => Ok(RcptCommand { forward_path: read.path, parameters }),
        (Charset::Unknown, true) => refuse(Reply::BadForwardPath),
        (_, false) => refuse(Reply::NonAsciiForwardPath),
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

/// Reads the argument of BDAT. A size is as large as it says, saturated: any number of digits is one.
pub fn parse_bdat(argument: &[u8]) -> Option<Chunk> {
    let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let digits = words.next()?;
    let mut octets = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        octets = octets.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Chunk { octets, last })
}

/// Reads the argument of EHLO or HELO: RFC 5321 §4.1.1.1. It is ASCII also for a client that uses SMTPUTF8, which it cannot
/// yet know to be offered: RFC 6531 §3.7.1. Loose syntax takes any text, because names in the wild are often
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
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::extension::Extension;

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
        assert_eq!(mail("FROM:<s@x.test> =1"), Some(Reply::BadArguments));
        assert_eq!(mail("FROM:<s@x.test> RET=NONE"), Some(Reply::BadParameterValue));
        assert_eq!(mail("FROM:<> SIZE=1 ENVID=1"), None);
        let rcpt =
            |text: &str| parse_rcpt(text.as_bytes(), AddressSyntax::Strict, Extensions::all(), false).map(|_| ()).err();
        assert_eq!(rcpt("TO:<PostMaster>"), None);
        assert_eq!(rcpt("TO:<a>"), None);
        assert_eq!(rcpt("TO:<>"), Some(Reply::BadForwardPath));
        assert_eq!(rcpt("FROM:<a@b>"), Some(Reply::BadArguments));
    }

    /// CONFORMANCE T036, T076, T104. SMTPUTF8 stands behind the path that it is for.
    #[test]
    fn paths_beyond_ascii_need_smtputf8() {
        let offered = Extensions::all();
        let mail = |argument: &[u8], offered| parse_mail(argument, AddressSyntax::Loose, offered).map(|_| ());
        let utf8 = "FROM:<jörg@müller.test>".as_bytes();
        assert_eq!(mail(utf8, offered), Err(Reply::NonAsciiReversePath));
        assert_eq!(mail(b"FROM:<j\xF6rg@x.test>", offered), Err(Reply::NonAsciiReversePath));
        assert_eq!(mail(&[utf8, b" BODY=8BITMIME SMTPUTF8"].concat(), offered), Ok(()));
        assert_eq!(mail(b"FROM:<j\xF6rg@x.test> SMTPUTF8", offered), Err(Reply::BadReversePath));
        assert_eq!(mail(&[utf8, b" SMTPUTF8=yes"].concat(), offered), Err(Reply::BadParameterValue));
        let not_offered = offered.without(Extension::SmtpUtf8);
        assert_eq!(mail(utf8, not_offered), Err(Reply::NonAsciiReversePath));
        assert_eq!(mail(&[utf8, b" SMTPUTF8"].concat(), not_offered), Err(Reply::UnknownParameter));
        assert_eq!(mail("FROM:<jörg@@x.test> SMTPUTF8".as_bytes(), offered), Err(Reply::BadReversePath));
        let rcpt =
            |argument: &[u8], smtputf8| parse_rcpt(argument, AddressSyntax::Strict, offered, smtputf8).map(|_| ());
        let utf8 = "TO:<jörg@müller.test>".as_bytes();
        assert_eq!((rcpt(utf8, true), rcpt(utf8, false)), (Ok(()), Err(Reply::NonAsciiForwardPath)));
        assert_eq!(rcpt(b"TO:<j\xF6rg@x.test>", true), Err(Reply::BadForwardPath));
        assert_eq!(rcpt(b"TO:<j\xF6rg@x.test>", false), Err(Reply::NonAsciiForwardPath));
    }

    #[test]
    fn chunks() {
        assert_eq!(parse_bdat(b"5 LAST"), Some(Chunk { octets: 5, last: true }));
        assert_eq!(parse_bdat(b"0"), Some(Chunk { octets: 0, last: false }));
        assert_eq!(parse_bdat(b"86 last"), Some(Chunk { octets: 86, last: true }));
        let zeros = parse_bdat(b"0000000000000000000000005");
        assert_eq!(zeros, Some(Chunk { octets: 5, last: false }));
        let huge = parse_bdat(b"99999999999999999999999999");
        assert_eq!(huge, Some(Chunk { octets: u64::MAX, last: false }));
        for bad in [b"".as_slice(), b"x", b"-1", b"5 FIRST", b"5 LAST LAST", b"5\tLAST"] {
            assert_eq!(parse_bdat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hello_names() {
        assert!(parse_hello(b"[IPv6:2001:db8::1]", AddressSyntax::Strict).is_ok());
        assert!(parse_hello(b"bad_host!", AddressSyntax::Loose).is_ok());
        assert_eq!(parse_hello(b"bad_host!", AddressSyntax::Strict), Err(Reply::BadDomain));
        assert_eq!(parse_hello("müller.test".as_bytes(), AddressSyntax::Strict), Err(Reply::BadDomain));
        assert!(parse_hello("müller.test".as_bytes(), AddressSyntax::Loose).is_ok());
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        /// A plain line is read as any line is.
        #[test]
        fn plain_lines_are_read_alike_in_both_ways(
            before in prop::sample::select(vec!["FROM:", "TO:", "from:", " FROM:", "FROM: "]),
            path in "<[a-z0-9+_.ö-]{1,40}@[a-z0-9._-]{1,40}>|<>|<a>",
            behind in "( SIZE=[0-9]{1,8})?( ?BODY=(7BIT|8BITMIME))?( SMTPUTF8| ENVID=x|\\r| )?",
            strict: bool,
        ) {
            let argument = format!("{before}{path}{behind}").into_bytes();
            let syntax = if strict { AddressSyntax::Strict } else { AddressSyntax::Loose };
            let all = Extensions::all();
            prop_assert_eq!(parse_mail(&argument, syntax, all), parse_any_mail(&argument, syntax, all));
            for smtputf8 in [false, true] {
                let any = parse_any_rcpt(&argument, syntax, all, smtputf8);
                prop_assert_eq!(parse_rcpt(&argument, syntax, all, smtputf8), any);
            }
        }
    }
}
