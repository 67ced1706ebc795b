//! Parameters of MAIL and RCPT: RFC 5321 §4.1.1.11, RFC 1870 (SIZE), RFC 6152 (BODY).

use crate::mail::envelope::{Body, MailParameters, RcptParameters};
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::line::after;

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

/// Reads the parameters of MAIL.
#[inline]
pub fn parse_mail(text: &[u8], offered: Extensions) -> Result<MailParameters<'_>, ParameterError> {
    let mut parameters = MailParameters::default();
    let mut body_seen = false;
    let mut rest = text;
    // BOUND: each turn takes a parameter.
    loop {
        rest = skip_spaces(rest);
        if rest.is_empty() {
            return Ok(parameters);
        }
        if offered.has(Extension::Size)
            && let Some(value) = after(rest, b"SIZE=")
        {
            let (size, behind) = number(value).ok_or_else(|| refused(rest, offered))?;
            if parameters.size_bytes.replace(size).is_some() {
                return Err(ParameterError::BadValue);
            }
            rest = behind;
        } else if offered.has(Extension::EightBitMime)
            && let Some(value) = after(rest, b"BODY=")
        {
            let (body, behind) = body(value).ok_or_else(|| refused(rest, offered))?;
            if body_seen {
                return Err(ParameterError::BadValue);
            }
            (parameters.body, body_seen, rest) = (body, true, behind);
        } else {
            return Err(refused(rest, offered));
        }
    }
}

#[inline]
fn skip_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Whether a parameter can end here.
#[inline]
fn is_end(rest: &[u8]) -> bool {
    matches!(rest, [] | [b' ', ..])
}

/// The value of SIZE, and what follows it. RFC 1870 §3: one to twenty digits.
#[inline]
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut rest = text;
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = behind;
    }
    let digits = text.len() - rest.len();
    if !is_end(rest) || !(1..=20).contains(&digits) {
        return None;
    }
    // Nineteen digits always fit.
    Some((if digits < 20 { number } else { saturated(&text[..digits]) }, rest))
}

#[cold]
fn saturated(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// The value of BODY, and what follows it: RFC 6152 §3.
#[inline]
fn body(text: &[u8]) -> Option<(Body, &[u8])> {
    let (body, rest) = if let Some(rest) = after(text, b"8BITMIME") {
        (Body::EightBitMime, rest)
    } else {
        (Body::SevenBit, after(text, b"7BIT")?)
    };
    is_end(rest).then_some((body, rest))
}

/// What is wrong with the first parameter of the text.
#[cold]
fn refused(text: &[u8], offered: Extensions) -> ParameterError {
    let Some((keyword, value)) = each(text).next() else { return ParameterError::Malformed };
    let is = |name: &[u8], extension| keyword.eq_ignore_ascii_case(name) && offered.has(extension);
    match check(keyword, value) {
        Err(error) => error,
        Ok(_) if is(b"SIZE", Extension::Size) || is(b"BODY", Extension::EightBitMime) => ParameterError::BadValue,
        Ok(_) => ParameterError::Unknown,
    }
}

/// Reads the parameters of RCPT: no extension of this build defines one.
pub fn parse_rcpt(text: &[u8], _offered: Extensions) -> Result<RcptParameters<'_>, ParameterError> {
    match each(text).next() {
        None => Ok(RcptParameters::default()),
        Some((keyword, value)) => check(keyword, value).and(Err(ParameterError::Unknown)),
    }
}

fn each(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    text.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(|word| match memchr::memchr(b'=', word) {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    })
}

/// RFC 5321 §4.1.2 `esmtp-param`.
fn check(keyword: &[u8], value: Option<&[u8]>) -> Result<(), ParameterError> {
    let keyword_ok = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
        && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    let value_ok = value.is_none_or(|value| value.iter().all(|octet| (33..=126).contains(octet) && *octet != b'='));
    if keyword_ok && value_ok { Ok(()) } else { Err(ParameterError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CONFORMANCE T069 to T075.
    #[test]
    fn parameters_are_read_as_the_table_says() {
        use ParameterError::{BadValue, Malformed, Unknown};
        let all = Extensions::all();
        let read = |text: &'static str| parse_mail(text.as_bytes(), all);
        let size = |size| Ok(MailParameters { size_bytes: Some(size), ..MailParameters::default() });
        assert_eq!(read(""), Ok(MailParameters::default()));
        assert_eq!(read("SIZE=1000000"), size(1_000_000));
        assert_eq!(read("size=99999999999999999999"), size(u64::MAX));
        assert_eq!(read("SIZE=00000000000000000005"), size(5));
        assert_eq!(read("SIZE=18446744073709551614"), size(u64::MAX - 1));
        assert_eq!(read("SIZE=999999999999999999999"), Err(BadValue));
        for bad in ["SIZE=", "SIZE", "SIZE=-1", "SIZE=1 SIZE=1", "BODY=FOO", "BODY=", "BODY=7BIT BODY=7BIT"] {
            assert_eq!(read(bad), Err(BadValue), "{bad}");
        }
        assert_eq!(read("body=8bitmime").unwrap().body, Body::EightBitMime);
        assert_eq!(read("BODY=7BIT  SIZE=5").unwrap().size_bytes, Some(5));
        for unknown in ["FOO=bar", "FOO", "SMTPUTF8", "SIZE=1 AUTH=<>"] {
            assert_eq!(read(unknown), Err(Unknown), "{unknown}");
        }
        for malformed in ["=x", "A=b=c", "F\u{1}O=1", "-A=1"] {
            assert_eq!(read(malformed), Err(Malformed), "{malformed}");
        }
        assert_eq!(parse_mail(b"SIZE=1", Extensions::NONE), Err(Unknown));
        assert_eq!(parse_rcpt(b"", all), Ok(RcptParameters::default()));
        assert_eq!(parse_rcpt(b"FOO=1", all), Err(Unknown));
    }
}
