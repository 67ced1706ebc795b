//! Paths and domains: RFC 5321 §4.1.2, strict or as loosely as real senders write them, with the UTF-8 of RFC 6531 §3.3.
//!
//! *Invariant*: what is accepted is a slice of the line, octet for octet, so that it re-serialises to itself. Source
//! routes are accepted and left out (RFC 5321 appendix C).
//!
//! *Why this way*: the plain path that nearly every line has is read by the bits of [`Classes`]; every other, and every one
//! that is wrong, octet by octet from its start. Tests hold the first to the second.
//!
//! *Does not* know whether the client may use UTF-8: that stands behind the path. So a path is read with octets above 127
//! wherever RFC 6531 has them, and says what they are.

use crate::limits;
use crate::mail::address::{Mailbox, Path};
use crate::smtp::line::trim_start;
use crate::smtp::literal;
use crate::smtp::scan::classes::Classes;
use crate::smtp::settings::AddressSyntax;

/// A path, and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// The path.
    pub path: Path<'a>,
    /// What its octets are.
    pub charset: Charset,
    /// What follows it, without the space between.
    pub rest: &'a [u8],
}

/// What the octets of an address are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// ASCII.
    Ascii,
    /// UTF-8 (RFC 3629) with characters beyond ASCII: it needs SMTPUTF8.
    Utf8,
    /// Octets above 127 that are no UTF-8: no address for anyone.
    Unknown,
}

impl Charset {
    fn of(address: &[u8]) -> Self {
        match std::str::from_utf8(address) {
            Ok(text) if text.is_ascii() => Self::Ascii,
            Ok(_) => Self::Utf8,
            Err(_) => Self::Unknown,
        }
    }
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
}

/// Reads `<local-part@domain>` where that is of ASCII, without quotes, literals and routes, and ends within the first 64
/// octets. `None` says nothing: [`parse`] is asked then.
///
/// Returned is the mailbox, and what follows the path, without the space between.
#[inline(always)]
pub fn parse_plain(text: &[u8], syntax: AddressSyntax) -> Option<(Mailbox<'_>, &[u8])> {
    let loose = syntax == AddressSyntax::Loose;
    if text.first() != Some(&b'<') {
        return None;
    }
    let mut classes = Classes::default();
    for start in (0..Classes::OCTETS).step_by(Classes::STEP) {
        classes.extend(text, start)?;
        if let Some(places) = places(text, &classes, loose) {
            return between(text, places, &classes, loose);
        }
    }
    None
}

/// Where the sign between local-part and domain is, and the closing bracket: index and bit of each.
struct Places {
    sign: usize,
    sign_bit: u64,
    closing: usize,
    closing_bit: u64,
}

/// Goes from stop to stop: the octets behind the opening bracket that are of no class, or not classified yet.
#[inline(always)]
fn places(text: &[u8], classes: &Classes, loose: bool) -> Option<Places> {
    let mut stops = !(classes.alphanumeric | classes.hyphen | classes.dot | 1);
    let mut next = || {
        let bit = stops & stops.wrapping_neg();
        let at = stops.trailing_zeros() as usize;
        stops ^= bit;
        (bit != 0).then_some((at, bit))
    };
    // BOUND: each turn of either takes a stop, and there are 64 at most.
    let (sign, sign_bit) = loop {
        let (at, bit) = next()?;
        match *text.get(at)? {
            b'@' => break (at, bit),
            octet if CLASSES[usize::from(octet)] & ATEXT != 0 => {}
            _ => return None,
        }
    };
    let (closing, closing_bit) = loop {
        let (at, bit) = next()?;
        match *text.get(at)? {
            b'>' => break (at, bit),
            b'_' if loose => {}
            _ => return None,
        }
    };
    Some(Places { sign, sign_bit, closing, closing_bit })
}

/// What is between the places, if its dots and hyphens stand where they may; and what follows.
#[inline(always)]
fn between<'a>(text: &'a [u8], places: Places, classes: &Classes, loose: bool) -> Option<(Mailbox<'a>, &'a [u8])> {
    let Places { sign, sign_bit, closing, closing_bit } = places;
    let in_domain = closing_bit.wrapping_sub(sign_bit);
    let misplaced = if loose {
        classes.dot & (classes.dot | sign_bit) << 1 & in_domain
    } else {
        let ends = classes.dot | 1 | sign_bit | closing_bit;
        (classes.dot | classes.hyphen & in_domain) & (ends << 1 | ends >> 1) & closing_bit.wrapping_sub(1)
    };
    if misplaced != 0 || sign < 2 || closing < sign + 2 {
        return None;
    }
    let rest = match &text[closing + 1..] {
        [] => &[],
        [b' ', rest @ ..] => rest,
        _ => return None,
    };
    Some((Mailbox { local_part: &text[1..sign], domain: &text[sign + 1..closing] }, rest))
}

/// Reads any path.
///
/// `text` begins behind the colon of `FROM:` or `TO:`.
pub fn parse(text: &[u8], syntax: AddressSyntax) -> Result<Read<'_>, PathError> {
    let loose = syntax == AddressSyntax::Loose;
    let text = if loose { trim_start(text) } else { text };
    let is_bracketed = match text {
        [] => return Err(PathError::Missing),
        [b'<', ..] => true,
        _ if loose => false,
        _ => return Err(PathError::Unbracketed),
    };
    let (path, end) = read(text, is_bracketed, loose).ok_or(PathError::Malformed)?;
    let rest = match &text[end..] {
        [] => &[],
        [b' ', rest @ ..] => rest,
        _ => return Err(PathError::Malformed),
    };
    Ok(Read { path, charset: Charset::of(&text[..end]), rest })
}

/// Whether the text is a mailbox, without brackets; in UTF-8 where that is allowed.
pub fn is_mailbox(text: &[u8], syntax: AddressSyntax, utf8: bool) -> bool {
    let loose = syntax == AddressSyntax::Loose;
    let is_charset_ok = match Charset::of(text) {
        Charset::Ascii => true,
        Charset::Utf8 => utf8,
        Charset::Unknown => false,
    };
    is_charset_ok
        && !text.starts_with(b"@")
        && matches!(read(text, false, loose), Some((Path::Mailbox(_), end)) if end == text.len())
}

/// A path, and where it ends.
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
fn source_route_octets(text: &[u8], loose: bool) -> Option<usize> {
    let mut at = 0;
    // BOUND: each turn takes a host. Hosts of a route are domains, not literals.
    while text.get(at) == Some(&b'@') {
        at += 1;
        at += domain_octets(&text[at..], loose)?;
        match text.get(at)? {
            b',' if text.get(at + 1) == Some(&b'@') => at += 1,
            b':' => return Some(at + 1),
            _ => return None,
        }
    }
    Some(0)
}

/// How many octets at the start of the text are a local-part: a dot-string or a quoted string.
fn local_part_octets(text: &[u8], loose: bool) -> Option<usize> {
    let octets = octets_of(text, ATEXT | DOT | HIGH);
    if octets == 0 {
        return quoted_octets(text);
    }
    (loose || !has_misplaced_dots(&text[..octets])).then_some(octets)
}

fn has_misplaced_dots(local_part: &[u8]) -> bool {
    local_part.starts_with(b".") || local_part.ends_with(b".") || local_part.windows(2).any(|pair| pair == b"..")
}

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
            32..=126 | 128.. => at += 1,
            _ => return None,
        }
    }
}

/// RFC 5322 §3.2.3 `atext`.
pub const ATEXT: u8 = 1 << 0;
/// The dot, between atoms.
const DOT: u8 = 1 << 1;
/// RFC 5321 §4.1.2: letters, digits and hyphens, of which a label is made.
const LABEL: u8 = 1 << 2;
/// The underscore, which labels have in the wild.
const UNDERSCORE: u8 = 1 << 3;
/// Above 127: RFC 6531 §3.3 has it in atoms, quoted strings and labels.
const HIGH: u8 = 1 << 4;

/// What each octet can be part of.
const CLASSES: [u8; 256] = {
    let mut classes = [HIGH; 256];
    let mut octet = 0;
    while octet < 128 {
        classes[octet] = if (octet as u8).is_ascii_alphanumeric() { ATEXT | LABEL } else { 0 };
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
pub fn octets_of(text: &[u8], classes: u8) -> usize {
    text.iter().position(|octet| CLASSES[usize::from(*octet)] & classes == 0).unwrap_or(text.len())
}

/// Whether the text can be a domain of ASCII or an address literal: RFC 5321 §4.1.2 and §4.1.3.
pub fn is_domain_or_literal(text: &[u8], loose: bool) -> bool {
    text.is_ascii() && domain_or_literal_octets(text, loose) == Some(text.len())
}

/// How many octets at the start of the text are a domain or an address literal.
fn domain_or_literal_octets(text: &[u8], loose: bool) -> Option<usize> {
    if text.first() != Some(&b'[') {
        return domain_octets(text, loose);
    }
    let end = memchr::memchr(b']', text)?;
    literal::is_address(&text[1..end], loose).then_some(end + 1)
}

/// How many octets at the start of the text are a domain. Loose syntax takes underscores, hyphens anywhere, and a dot at
/// the end.
fn domain_octets(text: &[u8], loose: bool) -> Option<usize> {
    let octets = octets_of(text, LABEL | DOT | HIGH | if loose { UNDERSCORE } else { 0 });
    let domain = match &text[..octets] {
        [domain @ .., b'.'] if loose => domain,
        domain => domain,
    };
    let is_domain = domain.split(|octet| *octet == b'.').all(|label| is_label(label, loose));
    (is_domain && octets <= limits::DOMAIN_OCTETS).then_some(octets)
}

/// Whether octets that may stand in a label are one. A U-label is not held to the octets of a label: those are of its form
/// in ASCII (RFC 5890 §2.3.2.1, §4.2).
fn is_label(octets: &[u8], loose: bool) -> bool {
    let fits = octets.len() <= limits::DOMAIN_LABEL_OCTETS || !octets.is_ascii();
    fits && !octets.is_empty() && (loose || !(octets.starts_with(b"-") || octets.ends_with(b"-")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;
    use crate::smtp::abnf;

    type Outcome = Result<String, PathError>;

    fn outcome(text: &str, syntax: AddressSyntax) -> Outcome {
        parse(text.as_bytes(), syntax).map(|Read { path, rest, .. }| {
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
        use PathError::{Malformed as Bad, Missing, Unbracketed};
        let long = |local: usize, domain: usize| {
            let labels = "d".repeat(60) + ".";
            let domain_text: String = labels.repeat(5).chars().take(domain - 1).collect::<String>() + "d";
            format!("<{}@{domain_text}>", "l".repeat(local))
        };
        let ok = |text: &str| Ok(text.to_owned());
        let inner = |text: &str| Ok(text[1..text.len() - 1].to_owned());
        let rows: Vec<(String, Outcome, Outcome)> = vec![
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
            ("<jörg@müller.test>".into(), ok("jörg@müller.test"), ok("jörg@müller.test")),
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

    /// Paths that are one in most cases, of which some octets are then others.
    fn mutated() -> impl Strategy<Value = Vec<u8>> {
        let local_part = r#"[a-z0-9+_=]{1,8}(\.[a-z-]{1,3})?|[a-z]{20,70}|"([a-z @>.]|\\[ -~]|ö){0,6}"|jörg|[a-z]{1,3}\.[a-z!#]{1,3}"#;
        let host =
            r"([a-z0-9]{1,5}(-[a-z]{1,3})?(\.[a-z0-9]{1,6}){0,3}|[a-z]{60,65}\.(test\.){0,45}x|müller\.test|ö{40})";
        let literal =
            r"\[[0-9]{1,4}(\.[0-9]{1,3}){2,4}\]|\[IPv6:([0-9a-f]{1,4}:){0,7}(:?[0-9a-f]{0,4}){0,4}(:[0-9.]{7})?\]";
        let path = format!(r"<(@{host}(,@{host})?:)?({local_part})@({host}|{host}|{literal})>( SIZE=1)?");
        let octet = prop::sample::select(b"<>@.,:[]\"\\ -_a0\x00\x7F\x80\xC3\xB6\xED\xF5".to_vec());
        (prop::string::bytes_regex(&path).unwrap(), prop::collection::vec((any::<prop::sample::Index>(), octet), 0..3))
            .prop_map(|(mut text, changes)| {
                for (index, octet) in changes {
                    *index.get_mut(&mut text) = octet;
                }
                text
            })
    }

    fn parts(path: Path<'_>) -> abnf::Parts<'_> {
        match path {
            Path::Null => None,
            Path::Local(local_part) => Some((local_part, None)),
            Path::Mailbox(mailbox) => Some((mailbox.local_part, Some(mailbox.domain))),
        }
    }

    fn same_as_the_abnf(text: &[u8]) -> Result<bool, TestCaseError> {
        let read = parse(text, AddressSyntax::Strict).ok().filter(|read| read.charset != Charset::Unknown);
        prop_assert_eq!(read.map(|read| (parts(read.path), read.rest)), abnf::path(text, true));
        let ascii = read.filter(|read| read.charset == Charset::Ascii);
        prop_assert_eq!(ascii.map(|read| (parts(read.path), read.rest)), abnf::path(text, false));
        Ok(read.is_some())
    }

    fn plain_is_the_same(text: &[u8]) -> Result<(), TestCaseError> {
        for syntax in [AddressSyntax::Strict, AddressSyntax::Loose] {
            if let Some((mailbox, rest)) = parse_plain(text, syntax) {
                let read = Read { path: Path::Mailbox(mailbox), charset: Charset::Ascii, rest };
                prop_assert_eq!(parse(text, syntax), Ok(read));
            }
        }
        Ok(())
    }

    /// Octets to look at wherever one looks, and more than there are bits for.
    #[test]
    fn a_path_of_nothing_but_stops_comes_to_an_end() {
        for filler in ["!", "_", "@", ">", "<"] {
            for octets in [15, 16, 31, 32, 63, 64, 65, 2000] {
                let text = format!("<a@{}", filler.repeat(octets));
                assert_eq!(parse_plain(text.as_bytes(), AddressSyntax::Loose), None, "{filler} {octets}");
                assert_eq!(parse_plain(text[..1].repeat(octets).as_bytes(), AddressSyntax::Strict), None);
            }
        }
    }

    /// RFC 3629: nothing overlong, no surrogates, nothing above U+10FFFF; C1 controls are characters like others.
    #[test]
    fn octets_above_127_are_named() {
        let charset = |octets: &[u8]| {
            let text = [b"<a", octets, b"@x.test>"].concat();
            parse(&text, AddressSyntax::Strict).unwrap().charset
        };
        assert_eq!(charset(b""), Charset::Ascii);
        for utf8 in ["ö", "\u{80}", "\u{FFFF}", "\u{10FFFF}"] {
            assert_eq!(charset(utf8.as_bytes()), Charset::Utf8, "{utf8:?}");
        }
        for bad in [b"\x80".as_slice(), b"\xC0\x80", b"\xE0\x80\x80", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xC3"] {
            assert_eq!(charset(bad), Charset::Unknown, "{bad:?}");
        }
    }

    /// RFC 5890 §4.2: the 63 octets of a label are those of its form in ASCII.
    #[test]
    fn labels_beyond_ascii_are_bounded_by_the_domain_only() {
        let domain = |octets: usize| format!("<s@{}.test>", "ö".repeat(octets / 2));
        for (octets, ok) in [(64, true), (250, true), (252, false)] {
            assert_eq!(parse(domain(octets).as_bytes(), AddressSyntax::Loose).is_ok(), ok, "{octets}");
        }
    }

    #[test]
    fn mailboxes_are_whole() {
        let is = |text: &str, utf8| is_mailbox(text.as_bytes(), AddressSyntax::Strict, utf8);
        assert!(is("e=mc2@x.test", false) && is("\"a b\"@[192.0.2.1]", false) && is("jörg@x.test", true));
        for bad in ["", "a", "<a@x.test>", "a@x.test ", "@h.test:a@x.test", "a@", "jörg@x.test", "a@x..test"] {
            assert!(!is(bad, false), "{bad}");
        }
        assert!(!is_mailbox(b"j\xF6rg@x.test", AddressSyntax::Loose, true));
    }

    /// The generator makes paths, and such as are none.
    #[test]
    fn about_half_of_what_is_generated_is_a_path() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let paths = (0..500).filter(|_| {
            let text = mutated().new_tree(&mut runner).unwrap().current();
            parse(&text, AddressSyntax::Strict).is_ok()
        });
        let paths = paths.count();
        assert!((100..400).contains(&paths), "{paths}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn strict_is_the_abnf(text in prop_oneof![text(), mutated()]) {
            same_as_the_abnf(&text)?;
        }

        #[test]
        fn plain_paths_are_read_alike_in_both_ways(text in prop_oneof![text(), mutated()]) {
            plain_is_the_same(&text)?;
        }

        /// Each octet at each place of a path.
        #[test]
        fn any_octet_anywhere_is_read_alike(at in 0..40_usize, octet: u8) {
            let mut text = b"<first.la-st+x@mail-1.example.org> SIZE=100".to_vec();
            text[at] = octet;
            plain_is_the_same(&text)?;
        }

        /// Loose syntax takes what strict does, in the same way; and a path is made of octets that stand in the text.
        #[test]
        fn loose_takes_what_strict_does(text in prop_oneof![text(), mutated()]) {
            let loose = parse(&text, AddressSyntax::Loose);
            if let Ok(strict) = parse(&text, AddressSyntax::Strict) {
                prop_assert_eq!(Ok(strict), loose);
            }
            if let Ok(Read { path: Path::Mailbox(mailbox), rest, charset }) = loose {
                let written = [mailbox.local_part, b"@", mailbox.domain].concat();
                prop_assert!(text.windows(written.len()).any(|window| window == written));
                prop_assert!(text.ends_with(rest));
                if let Charset::Ascii = charset {
                    prop_assert!(is_domain_or_literal(mailbox.domain, true));
                }
                let again = [b"<".as_slice(), &written, b">"].concat();
                let read = parse(&again, AddressSyntax::Loose).map(|read| (read.path, read.rest));
                prop_assert_eq!(read, Ok((Path::Mailbox(mailbox), b"".as_slice())));
            }
        }
    }
}
