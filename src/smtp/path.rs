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
    let read = match text {
        [] => return Err(PathError::Missing),
        [b'<', inner @ ..] => read_in_brackets(inner, loose),
        _ if loose => read_inner(text, loose),
        _ => return Err(PathError::Unbracketed),
    };
    let octets_most = if loose { limits::PATH_OCTETS_LOOSE } else { limits::PATH_OCTETS };
    match read {
        Some((path, rest)) if path_octets(text, rest) <= octets_most => match rest {
            [] => Ok((path, rest)),
            [b' ', parameters @ ..] => Ok((path, parameters)),
            _ => Err(fault(text)),
        },
        _ => Err(fault(text)),
    }
}

/// Octets of a path with its brackets, also if it has none.
fn path_octets(text: &[u8], rest: &[u8]) -> usize {
    text.len() - rest.len() + if text[0] == b'<' { 0 } else { 2 }
}

/// Why a text is no path: so far as one would go, it is not ASCII, or else it is no address.
#[cold]
fn fault(text: &[u8]) -> PathError {
    let path = text.split(|octet| *octet == b'>').next().unwrap_or(text);
    if path.is_ascii() { PathError::Malformed } else { PathError::NonAscii }
}

/// What stands behind an opening bracket, and what follows the closing one.
#[inline]
fn read_in_brackets(text: &[u8], loose: bool) -> Option<(Path<'_>, &[u8])> {
    if let [b'>', rest @ ..] = text {
        return Some((Path::Null, rest));
    }
    match read_inner(text, loose)? {
        (path, [b'>', rest @ ..]) => Some((path, rest)),
        _ => None,
    }
}

/// A source route, which is left out, and a mailbox or a local-part alone; with what follows.
#[inline]
fn read_inner(text: &[u8], loose: bool) -> Option<(Path<'_>, &[u8])> {
    let text = skip_source_route(text, loose)?;
    let (local_part, rest) = text.split_at(local_part_octets(text, loose)?);
    let local_most = if loose { limits::LOCAL_PART_OCTETS_LOOSE } else { limits::LOCAL_PART_OCTETS };
    if local_part.len() > local_most {
        return None;
    }
    let [b'@', rest @ ..] = rest else { return Some((Path::Local(local_part), rest)) };
    let (domain, rest) = rest.split_at(domain_or_literal_octets(rest, loose)?);
    Some((Path::Mailbox(Mailbox { local_part, domain }), rest))
}

/// `@one,@two:` before the mailbox. RFC 5321 §4.1.1.3: it should be ignored.
fn skip_source_route(text: &[u8], loose: bool) -> Option<&[u8]> {
    let mut rest = text;
    // BOUND: each turn takes a host. Hosts of a route with literals are not worth the ambiguity of their colons.
    while let [b'@', host @ ..] = rest {
        match host.split_at(domain_octets(host, loose)?).1 {
            [b',', next @ ..] if next.first() == Some(&b'@') => rest = next,
            [b':', mailbox @ ..] => return Some(mailbox),
            _ => return None,
        }
    }
    Some(rest)
}

/// How many octets at the start of the text are a local-part: a dot-string or a quoted string.
#[inline]
fn local_part_octets(text: &[u8], loose: bool) -> Option<usize> {
    if text.first() == Some(&b'"') {
        return quoted_octets(text);
    }
    let octets = octets_of(text, ATEXT | DOT);
    let local_part = &text[..octets];
    let dots_misplaced = || {
        local_part.starts_with(b".") || local_part.ends_with(b".") || local_part.windows(2).any(|pair| pair == b"..")
    };
    (octets > 0 && (loose || !dots_misplaced())).then_some(octets)
}

fn quoted_octets(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if matches!(text.get(at + 1), Some(32..=126)) => at += 2,
            b'\\' => return None,
            32..=126 => at += 1,
            _ => return None,
        }
    }
}

/// RFC 5322 §3.2.3 `atext`.
const ATEXT: u8 = 1 << 0;
/// The dot, between atoms.
const DOT: u8 = 1 << 1;
/// RFC 5321 §4.1.2: letters, digits and hyphens, of which a label is made.
const LABEL: u8 = 1 << 2;
/// The underscore, which labels have in the wild.
const UNDERSCORE: u8 = 1 << 3;

/// What each octet can be part of.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0;
    while octet < 128 {
        if (octet as u8).is_ascii_alphanumeric() {
            classes[octet] = ATEXT | LABEL;
        }
        octet += 1;
    }
    let others = b"!#$%&'*+-/=?^_`{|}~";
    let mut index = 0;
    while index < others.len() {
        classes[others[index] as usize] = ATEXT;
        index += 1;
    }
    classes[b'.' as usize] = DOT;
    classes[b'-' as usize] |= LABEL;
    classes[b'_' as usize] |= UNDERSCORE;
    classes
};

/// How many octets at the start of the text are of any of the classes.
#[inline]
fn octets_of(text: &[u8], classes: u8) -> usize {
    text.iter().position(|octet| CLASSES[usize::from(*octet)] & classes == 0).unwrap_or(text.len())
}

/// Whether the text can be a domain or an address literal: RFC 5321 §4.1.2 and §4.1.3.
pub fn is_domain_or_literal(text: &[u8], loose: bool) -> bool {
    domain_or_literal_octets(text, loose) == Some(text.len())
}

/// How many octets at the start of the text are a domain or an address literal.
#[inline]
fn domain_or_literal_octets(text: &[u8], loose: bool) -> Option<usize> {
    let [b'[', literal @ ..] = text else { return domain_octets(text, loose) };
    let octets = memchr::memchr(b']', literal)?;
    is_address_literal(&literal[..octets]).then_some(octets + 2)
}

fn is_address_literal(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else { return false };
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => text[5..].parse::<Ipv6Addr>().is_ok(),
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

/// How many octets at the start of the text are a domain. Loose syntax takes underscores, hyphens anywhere, and a dot at
/// the end.
#[inline]
fn domain_octets(text: &[u8], loose: bool) -> Option<usize> {
    let classes = if loose { LABEL | UNDERSCORE } else { LABEL };
    let mut at = 0;
    // BOUND: each turn takes a label.
    loop {
        let label = at;
        at += octets_of(&text[at..], classes);
        let is_ended_by_dot = loose && at == label && at > 0;
        let hyphen_misplaced = || text[label] == b'-' || text[at - 1] == b'-';
        if !is_ended_by_dot {
            if at == label || at - label > limits::DOMAIN_LABEL_OCTETS || (!loose && hyphen_misplaced()) {
                return None;
            }
            if text.get(at) == Some(&b'.') {
                at += 1;
                continue;
            }
        }
        return (at <= limits::DOMAIN_OCTETS).then_some(at);
    }
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
