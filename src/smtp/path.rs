//! Paths and domains: RFC 5321 §4.1.2 and §4.1.3, strict or as loosely as real senders write them.
//!
//! *Invariant*: what is accepted is a slice of the line, octet for octet, so that it re-serialises to itself. Source
//! routes are accepted and left out (RFC 5321 appendix C).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits;
use crate::smtp::line::trim_start;
use crate::smtp::settings::AddressSyntax;

/// A mailbox: local-part and domain as the client wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// With its quotes, if it has any.
    pub local_part: &'a [u8],
    /// A domain, or an address literal with its brackets.
    pub domain: &'a [u8],
}

/// What stands between the angle brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path<'a> {
    /// `<>`, the null reverse-path.
    Null,
    /// A local-part alone, as in `<postmaster>`.
    Local(&'a [u8]),
    /// A full mailbox.
    Mailbox(Mailbox<'a>),
}

/// Why a path was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Nothing where a path should stand.
    Missing,
    /// Brackets or spaces that strict syntax does not have.
    Unbracketed,
    /// Something that cannot be an address.
    Malformed,
    /// An octet above 127.
    NonAscii,
}

/// Reads a path and returns what follows it, without the space between.
///
/// `text` begins behind the colon of `FROM:` or `TO:`.
pub fn parse(text: &[u8], syntax: AddressSyntax) -> Result<(Path<'_>, &[u8]), PathError> {
    let loose = syntax == AddressSyntax::Loose;
    let text = if loose { trim_start(text) } else { text };
    let Some(&first) = text.first() else { return Err(PathError::Missing) };
    let (inner, rest, brackets) = if first == b'<' {
        let end = closing_bracket(text).ok_or(PathError::Malformed)?;
        (&text[1..end], &text[end + 1..], 0)
    } else if loose {
        let end = memchr::memchr(b' ', text).unwrap_or(text.len());
        (&text[..end], &text[end..], 2)
    } else {
        return Err(PathError::Unbracketed);
    };
    let octets_most = if loose { limits::PATH_OCTETS_LOOSE } else { limits::PATH_OCTETS };
    if inner.len() + 2 > octets_most {
        return Err(PathError::Malformed);
    }
    let rest = match rest.first() {
        None => rest,
        Some(b' ') => &rest[1..],
        Some(_) => return Err(PathError::Malformed),
    };
    if inner.is_empty() {
        return if brackets == 0 { Ok((Path::Null, rest)) } else { Err(PathError::Missing) };
    }
    Ok((parse_inner(inner, loose)?, rest))
}

/// Index of the bracket that closes the one at 0; brackets within quotes do not count.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b'>', text)?;
    if memchr::memchr(b'"', &text[..end]).is_none() {
        return Some(end);
    }
    let mut quoted = false;
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn parse_inner(inner: &[u8], loose: bool) -> Result<Path<'_>, PathError> {
    if !inner.is_ascii() {
        return Err(PathError::NonAscii);
    }
    let inner = skip_source_route(inner, loose)?;
    let local_octets = local_part_octets(inner, loose)?;
    let (local_part, rest) = inner.split_at(local_octets);
    let local_most = if loose { limits::LOCAL_PART_OCTETS_LOOSE } else { limits::LOCAL_PART_OCTETS };
    if local_part.len() > local_most {
        return Err(PathError::Malformed);
    }
    match rest.split_first() {
        None => Ok(Path::Local(local_part)),
        Some((b'@', domain)) if is_domain_or_literal(domain, loose) => {
            Ok(Path::Mailbox(Mailbox { local_part, domain }))
        }
        Some(_) => Err(PathError::Malformed),
    }
}

/// `@one,@two:` before the mailbox. RFC 5321 §4.1.1.3: it should be ignored.
fn skip_source_route(inner: &[u8], loose: bool) -> Result<&[u8], PathError> {
    if inner[0] != b'@' {
        return Ok(inner);
    }
    // A colon may stand in an IPv6 literal too; hosts of a route with literals are not worth the ambiguity.
    let colon = memchr::memchr(b':', inner).ok_or(PathError::Malformed)?;
    for host in inner[..colon].split(|octet| *octet == b',') {
        match host.split_first() {
            Some((b'@', domain)) if is_domain(domain, loose) => {}
            _ => return Err(PathError::Malformed),
        }
    }
    let rest = &inner[colon + 1..];
    if rest.is_empty() { Err(PathError::Malformed) } else { Ok(rest) }
}

/// How many octets of the text are its local-part: a dot-string or a quoted string.
fn local_part_octets(text: &[u8], loose: bool) -> Result<usize, PathError> {
    if text[0] == b'"' {
        let mut at = 1;
        while at < text.len() {
            match text[at] {
                b'"' => return Ok(at + 1),
                b'\\' => match text.get(at + 1) {
                    Some(32..=126) => at += 2,
                    _ => return Err(PathError::Malformed),
                },
                32..=126 => at += 1,
                _ => return Err(PathError::Malformed),
            }
        }
        return Err(PathError::Malformed);
    }
    let octets = text.iter().position(|octet| !(is_atext(*octet) || *octet == b'.')).unwrap_or(text.len());
    let local_part = &text[..octets];
    let dots_misplaced = || {
        local_part[0] == b'.'
            || local_part[local_part.len() - 1] == b'.'
            || local_part.windows(2).any(|pair| pair == b"..")
    };
    if octets == 0 || (!loose && dots_misplaced()) { Err(PathError::Malformed) } else { Ok(octets) }
}

/// RFC 5322 §3.2.3 `atext`.
fn is_atext(octet: u8) -> bool {
    const ATEXT: [bool; 256] = {
        let mut table = [false; 256];
        let mut octet = 0;
        while octet < 128 {
            table[octet] = (octet as u8).is_ascii_alphanumeric();
            octet += 1;
        }
        let others = b"!#$%&'*+-/=?^_`{|}~";
        let mut index = 0;
        while index < others.len() {
            table[others[index] as usize] = true;
            index += 1;
        }
        table
    };
    ATEXT[octet as usize]
}

/// Whether the text can be a domain or an address literal: RFC 5321 §4.1.2 and §4.1.3.
pub fn is_domain_or_literal(text: &[u8], loose: bool) -> bool {
    match text {
        [b'[', literal @ .., b']'] => is_address_literal(literal),
        _ => is_domain(text, loose),
    }
}

fn is_address_literal(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else { return false };
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => text[5..].parse::<Ipv6Addr>().is_ok(),
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

fn is_domain(domain: &[u8], loose: bool) -> bool {
    let labels = match domain {
        [labels @ .., b'.'] if loose => labels,
        _ => domain,
    };
    if labels.is_empty() || domain.len() > limits::DOMAIN_OCTETS {
        return false;
    }
    let mut label_octets = 0;
    let mut before = b'.';
    for &octet in labels {
        match octet {
            b'.' => {
                if label_octets == 0 || (!loose && before == b'-') {
                    return false;
                }
                label_octets = 0;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => label_octets += 1,
            b'-' if loose || label_octets > 0 => label_octets += 1,
            b'_' if loose => label_octets += 1,
            _ => return false,
        }
        if label_octets > limits::DOMAIN_LABEL_OCTETS {
            return false;
        }
        before = octet;
    }
    label_octets > 0 && (loose || before != b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str, syntax: AddressSyntax) -> Result<String, PathError> {
        parse(text.as_bytes(), syntax).map(|(path, rest)| {
            let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
            let path = match path {
                Path::Null => "<>".to_owned(),
                Path::Local(local_part) => text(local_part),
                Path::Mailbox(mailbox) => format!("{}@{}", text(mailbox.local_part), text(mailbox.domain)),
            };
            if rest.is_empty() { path } else { format!("{path} + {}", text(rest)) }
        })
    }

    /// CONFORMANCE T046 to T066, both syntaxes: text, loose, strict (`Ok` as written when `""`).
    #[test]
    fn paths_are_read_as_the_table_says() {
        use PathError::{Malformed as Bad, Missing, NonAscii, Unbracketed};
        let long = |local: usize, domain: usize| {
            let labels = "d".repeat(60) + ".";
            let domain_text: String = labels.repeat(5).chars().take(domain - 1).collect::<String>() + "d";
            format!("<{}@{domain_text}>", "l".repeat(local))
        };
        let ok = |text: &str| Ok(text.to_owned());
        let inner = |text: &str| Ok(text[1..text.len() - 1].to_owned());
        let rows: Vec<(String, Result<String, PathError>, Result<String, PathError>)> = vec![
            ("<s@x.test>".into(), ok("s@x.test"), ok("s@x.test")),
            ("<>".into(), ok("<>"), ok("<>")),
            ("<s@x.test> SIZE=1".into(), ok("s@x.test + SIZE=1"), ok("s@x.test + SIZE=1")),
            ("s@x.test".into(), ok("s@x.test"), Err(Unbracketed)),
            (" <s@x.test>".into(), ok("s@x.test"), Err(Unbracketed)),
            ("<s@x.test".into(), Err(Bad), Err(Bad)),
            ("s@x.test>".into(), Err(Bad), Err(Unbracketed)),
            ("<<s@x.test>>".into(), Err(Bad), Err(Bad)),
            ("<s@x.test>x".into(), Err(Bad), Err(Bad)),
            ("".into(), Err(Missing), Err(Missing)),
            ("<@:s@x.test>".into(), Err(Bad), Err(Bad)),
            ("<@h1.test:>".into(), Err(Bad), Err(Bad)),
            ("<@h1.test,@h2.test:s@x.test>".into(), ok("s@x.test"), ok("s@x.test")),
            (r#"<"a b"@x.test>"#.into(), ok(r#""a b"@x.test"#), ok(r#""a b"@x.test"#)),
            (r#"<"a\"b"@x.test>"#.into(), ok(r#""a\"b"@x.test"#), ok(r#""a\"b"@x.test"#)),
            (r#"<"a@b"@x.test>"#.into(), ok(r#""a@b"@x.test"#), ok(r#""a@b"@x.test"#)),
            (r#"<"a>b"@x.test>"#.into(), ok(r#""a>b"@x.test"#), ok(r#""a>b"@x.test"#)),
            (r#"<""@x.test>"#.into(), ok(r#"""@x.test"#), ok(r#"""@x.test"#)),
            ("<\"a\0b\"@x.test>".into(), Err(Bad), Err(Bad)),
            ("<\"a\tb\"@x.test>".into(), Err(Bad), Err(Bad)),
            ("<a..b@x.test>".into(), ok("a..b@x.test"), Err(Bad)),
            ("<.a@x.test>".into(), ok(".a@x.test"), Err(Bad)),
            ("<a.@x.test>".into(), ok("a.@x.test"), Err(Bad)),
            ("<a b@x.test>".into(), Err(Bad), Err(Bad)),
            ("<@x.test>".into(), Err(Bad), Err(Bad)),
            ("<a@>".into(), Err(Bad), Err(Bad)),
            (long(64, 20), inner(&long(64, 20)), inner(&long(64, 20))),
            (long(65, 20), inner(&long(65, 20)), Err(Bad)),
            (long(256, 20), inner(&long(256, 20)), Err(Bad)),
            (long(257, 20), Err(Bad), Err(Bad)),
            (long(254, 255), inner(&long(254, 255)), Err(Bad)),
            (long(255, 255), Err(Bad), Err(Bad)),
            (long(1, 256), Err(Bad), Err(Bad)),
            (
                format!("<s@{}.test>", "l".repeat(63)),
                ok(&format!("s@{}.test", "l".repeat(63))),
                ok(&format!("s@{}.test", "l".repeat(63))),
            ),
            (format!("<s@{}.test>", "l".repeat(64)), Err(Bad), Err(Bad)),
            ("<s@[192.0.2.1]>".into(), ok("s@[192.0.2.1]"), ok("s@[192.0.2.1]")),
            ("<s@[IPv6:2001:db8::1]>".into(), ok("s@[IPv6:2001:db8::1]"), ok("s@[IPv6:2001:db8::1]")),
            ("<s@[IPv6:::ffff:192.0.2.1]>".into(), ok("s@[IPv6:::ffff:192.0.2.1]"), ok("s@[IPv6:::ffff:192.0.2.1]")),
            ("<s@[192.0.2]>".into(), Err(Bad), Err(Bad)),
            ("<s@x.test.>".into(), ok("s@x.test."), Err(Bad)),
            ("<s@x_y.test>".into(), ok("s@x_y.test"), Err(Bad)),
            ("<s@localhost>".into(), ok("s@localhost"), ok("s@localhost")),
            ("<s@-x.test>".into(), ok("s@-x.test"), Err(Bad)),
            ("<s@x..test>".into(), Err(Bad), Err(Bad)),
            ("<s>".into(), ok("s"), ok("s")),
            ("<jörg@x.test>".into(), Err(NonAscii), Err(NonAscii)),
        ];
        for (text, loose, strict) in rows {
            assert_eq!(outcome(&text, AddressSyntax::Loose), loose, "loose {text:?}");
            assert_eq!(outcome(&text, AddressSyntax::Strict), strict, "strict {text:?}");
        }
    }

    #[test]
    fn path_octets_are_bounded_with_their_brackets() {
        let path = |octets: usize| format!("<{}@{}>", "l".repeat(60), "d.".repeat(octets).split_at(octets - 63).0);
        for (octets, loose, strict) in [(256, true, true), (257, true, false)] {
            let text = path(octets).replace(".>", "d>");
            assert_eq!(text.len(), octets);
            assert_eq!(outcome(&text, AddressSyntax::Loose).is_ok(), loose, "{octets}");
            assert_eq!(outcome(&text, AddressSyntax::Strict).is_ok(), strict, "{octets}");
        }
    }
}
