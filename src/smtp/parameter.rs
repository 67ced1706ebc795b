//! Parameters of MAIL and RCPT: RFC 5321 §4.1.1.11, RFC 1870 (SIZE), RFC 6152 (BODY).

use crate::smtp::extension::{Extension, Extensions};

/// What BODY declares: RFC 6152 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    /// Lines of ASCII; also when nothing is declared.
    #[default]
    SevenBit,
    /// Lines of any octets.
    EightBitMime,
}

/// The parameters of MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// Declared size in octets; saturated, so that any number too large is above every limit.
    pub size_bytes: Option<u64>,
    /// Declared body type.
    pub body: Body,
}

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
pub fn parse_mail(text: &[u8], offered: Extensions) -> Result<MailParameters, ParameterError> {
    let mut parameters = MailParameters::default();
    let mut body_seen = false;
    for (keyword, value) in each(text) {
        let (keyword, value) = check(keyword, value)?;
        if keyword.eq_ignore_ascii_case(b"SIZE") && offered.has(Extension::Size) {
            let size = value.and_then(parse_size).ok_or(ParameterError::BadValue)?;
            if parameters.size_bytes.replace(size).is_some() {
                return Err(ParameterError::BadValue);
            }
        } else if keyword.eq_ignore_ascii_case(b"BODY") && offered.has(Extension::EightBitMime) {
            parameters.body = match value {
                Some(value) if !body_seen && value.eq_ignore_ascii_case(b"7BIT") => Body::SevenBit,
                Some(value) if !body_seen && value.eq_ignore_ascii_case(b"8BITMIME") => Body::EightBitMime,
                _ => return Err(ParameterError::BadValue),
            };
            body_seen = true;
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(parameters)
}

/// Reads the parameters of RCPT: no extension of this build defines one.
pub fn parse_rcpt(text: &[u8]) -> Result<(), ParameterError> {
    match each(text).next() {
        None => Ok(()),
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
fn check<'a>(keyword: &'a [u8], value: Option<&'a [u8]>) -> Result<(&'a [u8], Option<&'a [u8]>), ParameterError> {
    let keyword_ok = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
        && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    let value_ok = value.is_none_or(|value| value.iter().all(|octet| (33..=126).contains(octet) && *octet != b'='));
    if keyword_ok && value_ok { Ok((keyword, value)) } else { Err(ParameterError::Malformed) }
}

/// RFC 1870 §3: one to twenty digits.
fn parse_size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CONFORMANCE T069 to T075.
    #[test]
    fn parameters_are_read_as_the_table_says() {
        use ParameterError::{BadValue, Malformed, Unknown};
        let all = Extensions::all();
        let read = |text: &str| parse_mail(text.as_bytes(), all);
        let size = |size| Ok(MailParameters { size_bytes: Some(size), body: Body::SevenBit });
        assert_eq!(read(""), Ok(MailParameters::default()));
        assert_eq!(read("SIZE=1000000"), size(1_000_000));
        assert_eq!(read("size=99999999999999999999"), size(u64::MAX));
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
        assert_eq!(parse_rcpt(b""), Ok(()));
        assert_eq!(parse_rcpt(b"FOO=1"), Err(Unknown));
    }
}
