//! Paths and domains: RFC 5321 §4.1.2 and §4.1.3, strict or as loosely as real senders write them.
//!
//! *Invariant*: what is accepted is a slice of the line, octet for octet, so that it re-serialises to itself. Source
//! routes are accepted and left out (RFC 5321 appendix C).
//!
//! *Why this way*: one pass, each part says how far it reaches; what is wrong is asked only when something is. To look for
//! the closing bracket first, and then at what is inside, took three times the instructions. COST: what every MAIL and RCPT
//! passes through is inlined into one function (70 of 560 instructions for a MAIL line); what few do is kept out of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits;
use crate::mail::address::{Mailbox, Path};
use crate::smtp::line::trim_start;
use crate::smtp::settings::AddressSyntax;

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
#[inline(always)]
pub fn parse(text: &[u8], syntax: AddressSyntax) -> Result<(Path<'_>, &[u8]), PathError> {
    let loose = syntax == AddressSyntax::Loose;
    let text = if loose { trim_start(text) } else { text };
    let is_bracketed = match text {
        [] => return Err(PathError::Missing),
        [b'<', ..] => true,
        _ if loose => false,
        _ => return Err(PathError::Unbracketed),
    };
    let Some((path, end)) = read(text, is_bracketed, loose) else { return Err(fault(text)) };
    match &text[end..] {
        [] => Ok((path, &[])),
        [b' ', parameters @ ..] => Ok((path, parameters)),
        _ => Err(fault(text)),
    }
}

/// Why a text is no path: so far as one would go, it is not ASCII, or else it is no address.
#[cold]
fn fault(text: &[u8]) -> PathError {
    let path = text.split(|octet| *octet == b'>').next().unwrap_or(text);
    if path.is_ascii() { PathError::Malformed } else { PathError::NonAscii }
}

/// A path, and where it ends.
#[inline(always)]
fn read(text: &[u8], is_bracketed: bool, loose: bool) -> Option<(Path<'_>, usize)> {
    let bounds = if loose { &LOOSE } else { &STRICT };
    let start = usize::from(is_bracketed);
    if text.get(start) == Some(&b'>') {
        return is_bracketed.then_some((Path::Null, 2));
    }
    let mailbox = &text[start + source_route_octets(&text[start..], loose)?..];
    let local_octets = local_part_octets(mailbox, loose)?;
    let (local_part, domain) = mailbox.split_at(local_octets);
    let (path, rest) = match domain {
        [b'@', domain @ ..] => {
            let (domain, rest) = domain.split_at(domain_or_literal_octets(domain, loose)?);
            (Path::Mailbox(Mailbox { local_part, domain }), rest)
        }
        rest => (Path::Local(local_part), rest),
    };
    let end = text.len() - rest.len() + start;
    let is_closed = !is_bracketed || rest.first() == Some(&b'>');
    // The octets of a path are counted with its brackets, also where it has none.
    let octets = if is_bracketed { end } else { end + 2 };
    (is_closed && octets <= bounds.path && local_octets <= bounds.local_part).then_some((path, end))
}

/// Highest numbers of octets.
struct Bounds {
    path: usize,
    local_part: usize,
}

const STRICT: Bounds = Bounds { path: limits::PATH_OCTETS, local_part: limits::LOCAL_PART_OCTETS };
const LOOSE: Bounds = Bounds { path: limits::PATH_OCTETS_LOOSE, local_part: limits::LOCAL_PART_OCTETS_LOOSE };

/// How many octets at the start of the text are `@one,@two:`. RFC 5321 §4.1.1.3: it should be ignored.
#[inline(always)]
fn source_route_octets(text: &[u8], loose: bool) -> Option<usize> {
    if text.first() == Some(&b'@') { route_octets(text, loose) } else { Some(0) }
}

#[cold]
fn route_octets(text: &[u8], loose: bool) -> Option<usize> {
    let mut at = 0;
    // BOUND: each turn takes a host. Hosts of a route with literals are not worth the ambiguity of their colons.
    while text.get(at) == Some(&b'@') {
        at += 1;
        at += domain_octets(&text[at..], loose)?;
        match text.get(at)? {
            b',' => at += 1,
            b':' => return Some(at + 1),
            _ => return None,
        }
    }
    None
}

/// How many octets at the start of the text are a local-part: a dot-string or a quoted string.
#[inline(always)]
fn local_part_octets(text: &[u8], loose: bool) -> Option<usize> {
    let octets = octets_of(text, ATEXT | DOT);
    if octets == 0 {
        return quoted_octets(text);
    }
    (loose || !has_misplaced_dots(&text[..octets])).then_some(octets)
}

fn has_misplaced_dots(local_part: &[u8]) -> bool {
    local_part.starts_with(b".") || local_part.ends_with(b".") || local_part.windows(2).any(|pair| pair == b"..")
}

#[cold]
fn quoted_octets(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    if text.first() != Some(&b'"') {
        return None;
    }
    // BOUND: each turn takes an octet.
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
#[inline(always)]
fn octets_of(text: &[u8], classes: u8) -> usize {
    text.iter().position(|octet| CLASSES[usize::from(*octet)] & classes == 0).unwrap_or(text.len())
}

/// Whether the text can be a domain or an address literal: RFC 5321 §4.1.2 and §4.1.3.
pub fn is_domain_or_literal(text: &[u8], loose: bool) -> bool {
    domain_or_literal_octets(text, loose) == Some(text.len())
}

/// How many octets at the start of the text are a domain or an address literal.
#[inline(always)]
fn domain_or_literal_octets(text: &[u8], loose: bool) -> Option<usize> {
    if text.first() == Some(&b'[') { literal_octets(text) } else { domain_octets(text, loose) }
}

#[cold]
fn literal_octets(text: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b']', text)?;
    let literal = std::str::from_utf8(&text[1..end]).ok()?;
    let is_address = match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => literal[5..].parse::<Ipv6Addr>().is_ok(),
        _ => literal.parse::<Ipv4Addr>().is_ok(),
    };
    is_address.then_some(end + 1)
}

/// How many octets at the start of the text are a domain. Loose syntax takes underscores, hyphens anywhere, and a dot at
/// the end.
#[inline(always)]
fn domain_octets(text: &[u8], loose: bool) -> Option<usize> {
    let classes = if loose { LABEL | UNDERSCORE } else { LABEL };
    let (mut at, mut label) = (0, 0);
    // BOUND: each turn takes an octet.
    while let Some(octet) = text.get(at) {
        let class = CLASSES[usize::from(*octet)];
        if class & classes == 0 {
            if class != DOT || !is_label(&text[label..at], loose) {
                break;
            }
            label = at + 1;
        }
        at += 1;
    }
    let ends_well = is_label(&text[label..at], loose) || (loose && label == at && label > 0);
    (ends_well && at <= limits::DOMAIN_OCTETS).then_some(at)
}

/// Whether octets that may stand in a label are one.
#[inline(always)]
fn is_label(octets: &[u8], loose: bool) -> bool {
    match octets {
        [] => false,
        _ if octets.len() > limits::DOMAIN_LABEL_OCTETS => false,
        [first, ..] => loose || (*first != b'-' && octets[octets.len() - 1] != b'-'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Result<String, PathError>;

    fn outcome(text: &str, syntax: AddressSyntax) -> Read {
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
        let rows: Vec<(String, Read, Read)> = vec![
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

    /// Texts of which some are paths.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![
            b"<",
            b">",
            b"@",
            b".",
            b"a",
            b"-",
            b"_",
            b"\"",
            b"\\",
            b" ",
            b",",
            b":",
            b"[",
            b"]",
            b"x.test",
            b"@x.test",
            b"@h1",
            b"192.0.2.1",
            b"IPv6:::1",
            b"\xC3",
            b"\0",
            b"\t",
        ];
        prop_oneof![
            prop::collection::vec(prop::sample::select(pieces.clone()), 0..9).prop_map(|pieces| pieces.concat()),
            prop::collection::vec(prop::sample::select(pieces), 0..6).prop_map(|pieces| [
                b"<".as_slice(),
                &pieces.concat(),
                b"> P"
            ]
            .concat()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        /// Loose syntax takes what strict does, in the same way; and a path is made of octets that stand in the text.
        #[test]
        fn loose_takes_what_strict_does(text in text()) {
            let loose = parse(&text, AddressSyntax::Loose);
            if let Ok(strict) = parse(&text, AddressSyntax::Strict) {
                prop_assert_eq!(Ok(strict), loose);
            }
            if let Ok((Path::Mailbox(mailbox), rest)) = loose {
                let written = [mailbox.local_part, b"@", mailbox.domain].concat();
                prop_assert!(text.windows(written.len()).any(|window| window == written));
                prop_assert!(is_domain_or_literal(mailbox.domain, true) && text.ends_with(rest));
                let again = [b"<".as_slice(), &written, b">"].concat();
                prop_assert_eq!(parse(&again, AddressSyntax::Loose), Ok((Path::Mailbox(mailbox), b"".as_slice())));
            }
        }
    }
}
