//! The encodings of parameter values: `xtext` (RFC 3461 §4) and, for `utf-8` addresses in ORCPT, that of RFC 6533 §3.
//!
//! *Does not* know which parameter has what in it.

use std::str;

/// Decodes xtext into the buffer; `None` when it is none, or when there is no room.
pub fn decode<'b>(text: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut octets = 0;
    for octet in each(text) {
        *buffer.get_mut(octets)? = octet?;
        octets += 1;
    }
    Some(&buffer[..octets])
}

/// Whether the text is xtext, and what it says is printable: RFC 3461 §4.2 and §4.4, graphic characters and white space of
/// ASCII.
pub fn is_printable(text: &[u8]) -> bool {
    each(text).all(|octet| matches!(octet, Some(b'\t' | 32..=126)))
}

/// Each octet that the xtext says, or `None` for what is no xtext.
fn each(text: &[u8]) -> impl Iterator<Item = Option<u8>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (octet, behind) = match rest {
            [] => return None,
            [b'+', high, low, behind @ ..] => (hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low), behind),
            [octet @ 33..=126, behind @ ..] if !matches!(octet, b'+' | b'=') => (Some(*octet), behind),
            [_, behind @ ..] => (None, behind),
        };
        rest = behind;
        Some(octet)
    })
}

/// An upper-case hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Whether the text is `utf-8-addr-xtext`, or `utf-8-addr-unitext` where that is allowed: RFC 6533 §3.
///
/// A control character is refused in every form, as in [`is_printable`], although `HEXPOINT` could write most of them.
pub fn is_utf8_address(text: &[u8], unitext: bool) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let mut rest = text;
    // BOUND: each turn takes a character.
    while let Some(first) = rest.chars().next() {
        let octets = match first {
            '\\' => match embedded_octets(rest) {
                Some(octets) => octets,
                None => return false,
            },
            '!'..='~' if !matches!(first, '+' | '=') => 1,
            _ if unitext && !first.is_ascii() => first.len_utf8(),
            _ => return false,
        };
        rest = &rest[octets..];
    }
    !text.is_empty()
}

/// How many octets at the start of the text are `EmbeddedUnicodeChar`: `\x{`, a code point in upper-case hexadecimal digits
/// without zeros before it, `}`.
fn embedded_octets(text: &str) -> Option<usize> {
    let (digits, _) = text.strip_prefix("\\x{")?.split_once('}')?;
    let well_written =
        (2..=6).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|digit| hex(digit).is_some());
    let point = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
    // Of ASCII, only what cannot stand for itself.
    let well_chosen = !point.is_ascii() || matches!(point, ' ' | '+' | '=' | '\\');
    (well_written && well_chosen).then_some(digits.len() + "\\x{}".len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext_is_what_rfc_3461_says() {
        let decoded = |text: &str| decode(text.as_bytes(), &mut [0; 20]).map(<[u8]>::to_vec);
        assert_eq!(decoded("e+3Dmc2@x.test"), Some(b"e=mc2@x.test".to_vec()));
        assert_eq!(decoded("+C3+B6"), Some("ö".as_bytes().to_vec()));
        assert_eq!(decoded(""), Some(Vec::new()));
        assert_eq!(decoded("123456789012345678901"), None);
        for bad in ["+", "+4", "+4g", "+3d", "+ZZ", "a=b", "a b", "ö", "\x7f"] {
            assert_eq!(decoded(bad), None, "{bad}");
            assert!(!is_printable(bad.as_bytes()), "{bad}");
        }
        assert!(is_printable(b"QQ314159") && is_printable(b"a+20b+09+2B"));
        assert!(!is_printable(b"a+0D+0A") && !is_printable(b"a+7F") && !is_printable(b"+C3+B6"));
    }

    #[test]
    fn utf8_addresses_are_what_rfc_6533_says() {
        for ok in [r"j\x{F6}rg@x.test", r"a\x{2B}b", r"\x{10FFFF}", r"\x{20}\x{5C}\x{3D}", "a@x.test"] {
            assert!(is_utf8_address(ok.as_bytes(), false) && is_utf8_address(ok.as_bytes(), true), "{ok}");
        }
        for bad in [
            "",
            r"\x{}",
            r"\x{4}",
            r"\x{41}",
            r"\x{f6}",
            r"\x{0F6}",
            r"\x{D800}",
            r"\x{110000}",
            r"\x{0A}",
            r"\x{7F}",
            r"\x{F6",
            r"\y",
            r"\",
            "a+b",
            "a=b",
            "a b",
        ] {
            assert!(!is_utf8_address(bad.as_bytes(), false) && !is_utf8_address(bad.as_bytes(), true), "{bad}");
        }
        assert!(is_utf8_address("jörg@müller.test".as_bytes(), true));
        assert!(!is_utf8_address("jörg@müller.test".as_bytes(), false));
        assert!(!is_utf8_address(b"j\xF6rg@x.test", true));
    }

    proptest! {
        #[test]
        fn encoded_octets_are_decoded(octets in prop::collection::vec(any::<u8>(), 0..30)) {
            let encoded: String = octets
                .iter()
                .map(|octet| match octet {
                    b'+' | b'=' | ..33 | 127.. => format!("+{octet:02X}"),
                    _ => char::from(*octet).to_string(),
                })
                .collect();
            let mut buffer = [0; 30];
            prop_assert_eq!(decode(encoded.as_bytes(), &mut buffer), Some(octets.as_slice()));
        }
    }
}
