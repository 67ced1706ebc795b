//! Parameters of MAIL and RCPT: RFC 5321 §4.1.1.11, RFC 1870 (SIZE), RFC 6152 and 3030 (BODY), RFC 6531 (SMTPUTF8),
//! RFC 3461 and 6533 (RET, ENVID, NOTIFY, ORCPT), RFC 8689 (REQUIRETLS), RFC 4954 (AUTH).
//!
//! *Why this way*: the two parameters that nearly every line has are read as they come; a line with any other, and every one
//! that is wrong, is read again from its start, in the order of the words. Tests hold the first way to the second.

use crate::limits;
use crate::mail::envelope::{Body, MailParameters, Notify, RcptParameters, Return};
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::line::after;
use crate::smtp::path;
use crate::smtp::settings::AddressSyntax;
use crate::smtp::xtext;

/// Why parameters were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// Not of the grammar `keyword[=value]`.
    Malformed,
    /// No offered extension defines it.
    Unknown,
    /// Its value is not of its grammar, or it stands twice.
    BadValue,
}

/// Reads SIZE and then BODY, or one of them, or neither, where nothing else is. `None` says nothing: [`parse_mail`] is asked
/// then.
#[inline(always)]
pub fn parse_mail_plain(text: &[u8], offered: Extensions) -> Option<(Option<u64>, Body)> {
    let (mut size, mut body) = (None, Body::default());
    let mut rest = text;
    if offered.has(Extension::Size)
        && let Some(value) = after(rest, b"SIZE=")
    {
        let (octets, behind) = short_number(value).or_else(|| number(value))?;
        size = Some(octets);
        rest = match behind {
            [] => behind,
            [b' ', behind @ ..] => behind,
            _ => return None,
        };
    }
    if offered.has(Extension::EightBitMime)
        && let Some(value) = after(rest, b"BODY=")
    {
        (body, rest) = body_value(value)?;
    }
    rest.is_empty().then_some((size, body))
}

/// The number at the start of the text, and what follows it, where it has one to seven digits and a word is there to read.
///
/// COST: the digits are put together in three steps, each of which makes one number of two neighbours: thirty instructions
/// less for four digits than one by one.
#[inline(always)]
fn short_number(text: &[u8]) -> Option<(u64, &[u8])> {
    const fn each(octet: u8) -> u64 {
        u64::from_ne_bytes([octet; 8])
    }
    let digits = u64::from_le_bytes(*text.first_chunk()?) ^ each(b'0');
    // The highest bit of each octet that is no digit; what a carry does behind the first of them does not matter.
    let others = (digits.wrapping_add(each(0x80 - 10)) | digits) & each(0x80);
    let bits = others.trailing_zeros() & !7;
    if !(8..64).contains(&bits) {
        return None;
    }
    let ones = digits << (64 - bits);
    let tens = (ones.wrapping_mul(10 << 8 | 1) >> 8) & 0x00FF_00FF_00FF_00FF;
    let hundreds = (tens.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_FFFF_0000_FFFF;
    Some((hundreds.wrapping_mul(10_000 << 32 | 1) >> 32, &text[bits as usize / 8..]))
}

/// The number at the start of the text, and what follows it. RFC 1870 §3: one to twenty digits; it saturates.
#[inline(always)]
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut rest = text;
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = behind;
    }
    let digits = text.len() - rest.len();
    if !(1..=20).contains(&digits) {
        return None;
    }
    // Nineteen digits always fit.
    Some((if digits < 20 { number } else { saturated(&text[..digits]) }, rest))
}

#[cold]
fn saturated(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// The body type at the start of the text, and what follows it: RFC 6152 §3. BINARYMIME is not looked for here.
#[inline(always)]
fn body_value(text: &[u8]) -> Option<(Body, &[u8])> {
    match after(text, b"8BITMIME") {
        Some(rest) => Some((Body::EightBitMime, rest)),
        None => after(text, b"7BIT").map(|rest| (Body::SevenBit, rest)),
    }
}

/// The parameters that an extension defines, by where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Keyword {
    Size,
    Body,
    SmtpUtf8,
    Ret,
    Envid,
    RequireTls,
    Auth,
    Notify,
    Orcpt,
}

/// Those of MAIL, with the extension that each needs.
const OF_MAIL: [(&[u8], Keyword, Extension); 7] = [
    (b"SIZE", Keyword::Size, Extension::Size),
    (b"BODY", Keyword::Body, Extension::EightBitMime),
    (b"SMTPUTF8", Keyword::SmtpUtf8, Extension::SmtpUtf8),
    (b"RET", Keyword::Ret, Extension::Dsn),
    (b"ENVID", Keyword::Envid, Extension::Dsn),
    (b"REQUIRETLS", Keyword::RequireTls, Extension::RequireTls),
    (b"AUTH", Keyword::Auth, Extension::Auth),
];

/// Those of RCPT.
const OF_RCPT: [(&[u8], Keyword, Extension); 2] =
    [(b"NOTIFY", Keyword::Notify, Extension::Dsn), (b"ORCPT", Keyword::Orcpt, Extension::Dsn)];

/// Reads the parameters of MAIL. The syntax is that of the mailbox in AUTH.
pub fn parse_mail(
    text: &[u8],
    syntax: AddressSyntax,
    offered: Extensions,
) -> Result<MailParameters<'_>, ParameterError> {
    // It is in force for the whole line, wherever it stands.
    let smtputf8 = offered.has(Extension::SmtpUtf8) && words(text).any(|word| word.eq_ignore_ascii_case(b"SMTPUTF8"));
    let mut parameters = MailParameters { smtputf8, ..MailParameters::default() };
    each(text, &OF_MAIL, offered, smtputf8, |keyword, value| {
        match (keyword, value) {
            (Keyword::SmtpUtf8, None) => {}
            (Keyword::RequireTls, None) => parameters.requiretls = true,
            (Keyword::Size, Some(value)) => parameters.size_bytes = Some(whole(number(value))?),
            (Keyword::Body, Some(value)) if value.eq_ignore_ascii_case(b"BINARYMIME") => {
                parameters.body = offered.has(Extension::BinaryMime).then_some(Body::BinaryMime)?;
            }
            (Keyword::Body, Some(value)) => parameters.body = whole(body_value(value))?,
            (Keyword::Ret, Some(value)) => parameters.ret = Some(ret(value)?),
            (Keyword::Envid, Some(value)) => parameters.envid = is_envid(value).then_some(Some(value))?,
            (Keyword::Auth, Some(value)) => {
                parameters.auth = is_auth(value, syntax, smtputf8).then_some(Some(value))?
            }
            _ => return None,
        }
        Some(())
    })?;
    Ok(parameters)
}

/// Reads the parameters of RCPT. `smtputf8` says whether MAIL had that parameter.
pub fn parse_rcpt(text: &[u8], offered: Extensions, smtputf8: bool) -> Result<RcptParameters<'_>, ParameterError> {
    let mut parameters = RcptParameters::default();
    each(text, &OF_RCPT, offered, smtputf8, |keyword, value| {
        match (keyword, value) {
            (Keyword::Notify, Some(value)) => parameters.notify = Some(notify(value)?),
            (Keyword::Orcpt, Some(value)) => parameters.orcpt = is_orcpt(value, smtputf8).then_some(Some(value))?,
            _ => return None,
        }
        Some(())
    })?;
    Ok(parameters)
}

/// What is read, when nothing follows it.
fn whole<T>(read: Option<(T, &[u8])>) -> Option<T> {
    read.and_then(|(value, rest)| rest.is_empty().then_some(value))
}

/// RET of RFC 3461 §4.3.
fn ret(value: &[u8]) -> Option<Return> {
    match () {
        () if value.eq_ignore_ascii_case(b"FULL") => Some(Return::Full),
        () if value.eq_ignore_ascii_case(b"HDRS") => Some(Return::Headers),
        () => None,
    }
}

/// ENVID of RFC 3461 §4.4.
fn is_envid(value: &[u8]) -> bool {
    (1..=limits::ENVID_OCTETS).contains(&value.len()) && xtext::is_printable(value)
}

/// AUTH of RFC 4954 §5; the mailbox that its xtext says may be in UTF-8 where SMTPUTF8 extends what a mailbox is.
fn is_auth(value: &[u8], syntax: AddressSyntax, smtputf8: bool) -> bool {
    let mut buffer = [0; limits::AUTH_OCTETS];
    value == b"<>"
        || value.len() <= limits::AUTH_OCTETS
            && xtext::decode(value, &mut buffer).is_some_and(|mailbox| path::is_mailbox(mailbox, syntax, smtputf8))
}

/// NOTIFY of RFC 3461 §4.1.
fn notify(value: &[u8]) -> Option<Notify> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(|octet| *octet == b',') {
        // Nothing forbids a word twice: `1#notify-list-element`.
        *match () {
            () if word.eq_ignore_ascii_case(b"SUCCESS") => &mut success,
            () if word.eq_ignore_ascii_case(b"FAILURE") => &mut failure,
            () if word.eq_ignore_ascii_case(b"DELAY") => &mut delay,
            () => return None,
        } = true;
    }
    Some(Notify::On { success, failure, delay })
}

/// ORCPT of RFC 3461 §4.2: an address type, which is an atom, and the address in xtext, or for `utf-8` as in RFC 6533 §3.
fn is_orcpt(value: &[u8], smtputf8: bool) -> bool {
    let Some(semicolon) = memchr::memchr(b';', value) else { return false };
    let (kind, address) = (&value[..semicolon], &value[semicolon + 1..]);
    let is_kind = !kind.is_empty() && path::octets_of(kind, path::ATEXT) == kind.len();
    let is_address = if kind.eq_ignore_ascii_case(b"utf-8") {
        xtext::is_utf8_address(address, smtputf8)
    } else {
        xtext::is_printable(address)
    };
    is_kind && is_address && value.len() <= limits::ORCPT_OCTETS
}

/// Takes each parameter, in order: one that is offered, for the first time, with a value that `take` likes.
fn each<'a>(
    text: &'a [u8],
    defined: &[(&[u8], Keyword, Extension)],
    offered: Extensions,
    smtputf8: bool,
    mut take: impl FnMut(Keyword, Option<&'a [u8]>) -> Option<()>,
) -> Result<(), ParameterError> {
    let mut seen = 0_u16;
    for word in words(text) {
        let (keyword, value) = parameter(word, smtputf8).ok_or(ParameterError::Malformed)?;
        let (_, keyword, _) = defined
            .iter()
            .find(|(name, _, extension)| keyword.eq_ignore_ascii_case(name) && offered.has(*extension))
            .ok_or(ParameterError::Unknown)?;
        let bit = 1 << *keyword as u8;
        if seen & bit != 0 {
            return Err(ParameterError::BadValue);
        }
        seen |= bit;
        take(*keyword, value).ok_or(ParameterError::BadValue)?;
    }
    Ok(())
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty())
}

/// RFC 5321 §4.1.2 `esmtp-param`, the value of which SMTPUTF8 extends to UTF-8: RFC 6531 §3.3.
fn parameter(word: &[u8], smtputf8: bool) -> Option<(&[u8], Option<&[u8]>)> {
    let (keyword, value) = match memchr::memchr(b'=', word) {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let keyword_ok = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
        && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    let value_ok = value.is_none_or(|value| {
        value.iter().all(|octet| matches!(octet, 33..=126 | 128..) && *octet != b'=')
            && (value.is_ascii() || smtputf8 && std::str::from_utf8(value).is_ok())
    });
    (keyword_ok && value_ok).then_some((keyword, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ParameterError::{BadValue, Malformed, Unknown};
    use super::*;
    use crate::smtp::abnf;

    fn mail(text: &str) -> Result<MailParameters<'_>, ParameterError> {
        parse_mail(text.as_bytes(), AddressSyntax::Strict, Extensions::all())
    }

    fn rcpt(text: &str) -> Result<RcptParameters<'_>, ParameterError> {
        parse_rcpt(text.as_bytes(), Extensions::all(), false)
    }

    /// CONFORMANCE T069 to T075.
    #[test]
    fn sizes_and_bodies_are_read_as_the_table_says() {
        let size = |size| Ok(MailParameters { size_bytes: Some(size), ..MailParameters::default() });
        assert_eq!(mail(""), Ok(MailParameters::default()));
        assert_eq!(mail("SIZE=1000000"), size(1_000_000));
        assert_eq!(mail("size=99999999999999999999"), size(u64::MAX));
        assert_eq!(mail("SIZE=00000000000000000005"), size(5));
        assert_eq!(mail("SIZE=18446744073709551614"), size(u64::MAX - 1));
        assert_eq!(mail("SIZE=999999999999999999999"), Err(BadValue));
        for bad in ["SIZE=", "SIZE", "SIZE=-1", "SIZE=1 SIZE=1", "BODY=FOO", "BODY=", "BODY", "BODY=7BIT BODY=7BIT"] {
            assert_eq!(mail(bad), Err(BadValue), "{bad}");
        }
        assert_eq!(mail("body=8bitmime").unwrap().body, Body::EightBitMime);
        assert_eq!(mail("BODY=BinaryMime").unwrap().body, Body::BinaryMime);
        assert_eq!(mail("BODY=7BIT  SIZE=5").unwrap().size_bytes, Some(5));
        for unknown in ["FOO=bar", "FOO", "NOTIFY=NEVER", "SIZE=1 ORCPT=rfc822;a", "X-Y"] {
            assert_eq!(mail(unknown), Err(Unknown), "{unknown}");
        }
        for malformed in ["=x", "A=b=c", "F\u{1}O=1", "-A=1", "A=\u{7f}", "FÖ=1", "A=ö"] {
            assert_eq!(mail(malformed), Err(Malformed), "{malformed}");
        }
    }

    /// CONFORMANCE T076 to T082.
    #[test]
    fn the_other_parameters_of_mail_are_read_as_the_table_says() {
        assert!(mail("smtputf8").unwrap().smtputf8 && mail("REQUIRETLS").unwrap().requiretls);
        assert_eq!(mail("RET=full").unwrap().ret, Some(Return::Full));
        assert_eq!(mail("RET=HDRS").unwrap().ret, Some(Return::Headers));
        assert_eq!(mail("ENVID=QQ314159").unwrap().envid, Some(b"QQ314159".as_slice()));
        assert_eq!(mail("AUTH=<>").unwrap().auth, Some(b"<>".as_slice()));
        assert_eq!(mail("AUTH=e+3Dmc2@x.test").unwrap().auth, Some(b"e+3Dmc2@x.test".as_slice()));
        let hundred = format!("ENVID={}", "x".repeat(100));
        assert!(mail(&hundred).is_ok() && mail(&format!("{hundred}x")) == Err(BadValue));
        let bad = [
            "SMTPUTF8=yes",
            "SMTPUTF8=",
            "REQUIRETLS=1",
            "RET=ALL",
            "RET",
            "RET=FULL RET=HDRS",
            "ENVID",
            "ENVID=",
            "ENVID=a+ZZ",
            "ENVID=a+2b",
            "ENVID=+0A",
            "ENVID=+C3+B6",
            "ENVID=a ENVID=a",
            "AUTH",
            "AUTH=",
            "AUTH=a",
            "AUTH=<a@x.test>",
            "AUTH=a+0A@x.test",
            "AUTH=<> AUTH=<>",
            "AUTH=j+C3+B6rg@x.test",
            "SMTPUTF8 SMTPUTF8",
        ];
        for bad in bad {
            assert_eq!(mail(bad), Err(BadValue), "{bad}");
        }
        // In force wherever it stands.
        assert!(mail("AUTH=j+C3+B6rg@x.test SMTPUTF8").is_ok() && mail("SMTPUTF8 AUTH=j+C3+B6rg@x.test").is_ok());
        assert_eq!(mail("AUTH=j+F6rg@x.test SMTPUTF8"), Err(BadValue));
        assert_eq!((mail("FOO=ö SMTPUTF8"), mail("FOO=ö")), (Err(Unknown), Err(Malformed)));
        let long = format!("AUTH={}@x.test", "+61".repeat(164));
        assert!(mail(&long).is_err(), "the local-part is too long for strict syntax");
        assert!(parse_mail(long.as_bytes(), AddressSyntax::Loose, Extensions::all()).is_ok());
        let all = "SIZE=1 BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=1 REQUIRETLS AUTH=<>";
        assert!(mail(all).is_ok_and(|all| all.smtputf8 && all.requiretls && all.auth.is_some() && all.ret.is_some()));
    }

    #[test]
    fn a_parameter_of_an_extension_that_is_not_offered_is_unknown() {
        let words = [
            ("SIZE=1", Extension::Size),
            ("BODY=7BIT", Extension::EightBitMime),
            ("SMTPUTF8", Extension::SmtpUtf8),
            ("RET=FULL", Extension::Dsn),
            ("ENVID=1", Extension::Dsn),
            ("REQUIRETLS", Extension::RequireTls),
            ("AUTH=<>", Extension::Auth),
        ];
        for (word, extension) in words {
            let read = |offered| parse_mail(word.as_bytes(), AddressSyntax::Loose, offered);
            assert_eq!(read(Extensions::all().without(extension)), Err(Unknown), "{word}");
            assert!(read([extension].into_iter().collect()).is_ok(), "{word}");
            assert_eq!(parse_mail_plain(word.as_bytes(), Extensions::NONE), None, "{word}");
        }
        let without = |extension| Extensions::all().without(extension);
        let body = parse_mail(b"BODY=BINARYMIME", AddressSyntax::Loose, without(Extension::BinaryMime));
        assert_eq!(body, Err(BadValue));
        for word in ["NOTIFY=NEVER", "ORCPT=rfc822;a"] {
            assert_eq!(parse_rcpt(word.as_bytes(), without(Extension::Dsn), true), Err(Unknown), "{word}");
        }
    }

    /// CONFORMANCE T101 to T105.
    #[test]
    fn the_parameters_of_rcpt_are_read_as_the_table_says() {
        assert_eq!(rcpt(""), Ok(RcptParameters::default()));
        assert_eq!(rcpt("FOO=1"), Err(Unknown));
        assert_eq!(rcpt("notify=never").unwrap().notify, Some(Notify::Never));
        let all = Notify::On { success: true, failure: true, delay: true };
        assert_eq!(rcpt("NOTIFY=SUCCESS,Failure,DELAY").unwrap().notify, Some(all));
        let delay = Notify::On { success: false, failure: false, delay: true };
        assert_eq!(rcpt("NOTIFY=DELAY ORCPT=rfc822;a").unwrap().notify, Some(delay));
        let orcpt = b"rfc822;a+2Bb@ok.test".as_slice();
        assert_eq!(rcpt("ORCPT=rfc822;a+2Bb@ok.test").unwrap().orcpt, Some(orcpt));
        let longest = format!("ORCPT=rfc822;{}", "a".repeat(493));
        assert!(rcpt(&longest).is_ok() && rcpt(&format!("{longest}a")) == Err(BadValue));
        let bad = [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=DELAY,",
            "NOTIFY=NEVER NOTIFY=NEVER",
            "ORCPT",
            "ORCPT=",
            "ORCPT=a",
            "ORCPT=;a",
            "ORCPT=a.b;c",
            "ORCPT=rfc822;a+2bb",
            "ORCPT=rfc822;+0D+0A",
            "ORCPT=utf-8;",
            "ORCPT=utf-8;a+2Bb",
            r"ORCPT=utf-8;\x{41}",
        ];
        for bad in bad {
            assert_eq!(rcpt(bad), Err(BadValue), "{bad}");
        }
        assert!(rcpt(r"ORCPT=UTF-8;j\x{F6}rg@x.test").is_ok());
        let unitext = "ORCPT=utf-8;jörg@müller.test".as_bytes();
        assert!(parse_rcpt(unitext, Extensions::all(), true).is_ok());
        assert_eq!(parse_rcpt(unitext, Extensions::all(), false), Err(Malformed));
        assert_eq!(parse_rcpt("ORCPT=rfc822;jörg".as_bytes(), Extensions::all(), true), Err(BadValue));
    }

    /// Words that are a parameter in many cases.
    fn word() -> impl Strategy<Value = String> {
        let pieces = [
            "SIZE=",
            "BODY=",
            "8BITMIME",
            "7bit",
            "BINARYMIME",
            "SMTPUTF8",
            "RET=",
            "FULL",
            "hdrs",
            "ENVID=",
            "REQUIRETLS",
            "AUTH=<>",
            "NOTIFY=",
            "NEVER",
            "SUCCESS",
            "FAILURE",
            "DELAY",
            ",",
            "ORCPT=",
            "rfc822;",
            "utf-8;",
            "a",
            "+2B",
            "+0A",
            "+",
            "=",
            "1",
            "4096",
            "ö",
            r"\x{F6}",
            r"\x{D800}",
            r"\x{10FFFF}",
            r"\x{2B}",
            "x.test",
            "@",
            ";",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..5).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn parameters_are_those_of_the_abnf(word in word()) {
            let read = mail(&word);
            prop_assert_eq!(read.is_ok(), word.is_empty() || abnf::mail_parameter().is(word.as_bytes()), "{:?}", read);
            for smtputf8 in [false, true] {
                let is_utf8 = word.starts_with("ORCPT=utf-8;");
                let rule = if is_utf8 { abnf::utf8_orcpt(smtputf8) } else { abnf::rcpt_parameter() };
                let is = rule.is(word.as_bytes());
                let read = parse_rcpt(word.as_bytes(), Extensions::all(), smtputf8);
                prop_assert_eq!(read.is_ok(), word.is_empty() || is, "{:?}", read);
            }
        }

        #[test]
        fn plain_parameters_are_read_alike_in_both_ways(
            words in prop::collection::vec(prop_oneof![word(), "(SIZE|size)=[0-9]{1,21}", "BODY=(7|8)BIT(MIME)?"], 0..4),
            space in prop::sample::select(vec![" ", "", "  "]),
        ) {
            let text = words.join(space);
            if let Some((size_bytes, body)) = parse_mail_plain(text.as_bytes(), Extensions::all()) {
                prop_assert_eq!(mail(&text), Ok(MailParameters { size_bytes, body, ..MailParameters::default() }));
            }
        }

        #[test]
        fn short_numbers_are_read_alike_in_both_ways(digits in "[0-9]{0,9}", behind in prop::collection::vec(any::<u8>(), 0..9)) {
            let text = [digits.as_bytes(), &behind].concat();
            if let Some(read) = short_number(&text) {
                prop_assert_eq!(Some(read), number(&text));
            }
            let is_short = text.len() >= 8 && (1..8).contains(&text.iter().take_while(|octet| octet.is_ascii_digit()).count());
            prop_assert_eq!(short_number(&text).is_some(), is_short);
        }
    }
}
