//! Where a recipient's maildir lies: the template filled in with names that strangers chose.
//!
//! *Invariants*: what is made is a path below the root of as many components as the template has, none of which is empty, `.`
//! or `..`, has a `/` or a NUL, or more than [`limits::FILE_NAME_OCTETS`]. Different names never make the same component,
//! but for domains that differ in the case of their letters, and `postmaster`, which has none (RFC 5321 §4.5.1).
//!
//! *How a name is written*: letters, digits and `+ - _ . =` stand for themselves, and so do letters and digits beyond ASCII;
//! every other octet is `%` and two digits of base 16, and so is a dot or hyphen that comes first (a hidden file, an option). An
//! empty name is `%empty`. What is too long then is cut, and `%=` and the SHA-256 of the whole name follow: no escape begins so,
//! and nobody finds two names with one hash. A local-part is taken without its quotes: `"a"@x` is `a@x`.
//!
//! *Does not* touch the file system. One that takes names of different case, or of different Unicode forms, for the same puts
//! such mailboxes together.

use sha2::{Digest, Sha256};

use super::options::{PathTemplate, Piece, texts};
use crate::limits;
use crate::mail::address::{Mailbox, Path};

/// Stands behind what is left of a name that was cut, before its hash.
const CUT: &[u8] = b"%=";
const HASH_OCTETS: usize = CUT.len() + 2 * 32;
const _: () = assert!((limits::FILE_NAME_OCTETS - limits::MAILDIR_TEXT_OCTETS) / 2 > HASH_OCTETS);

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Octets that stand for themselves in a name.
pub(super) const fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'_' | b'.' | b'=')
}

/// Fills templates in; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Filler {
    local_part: Vec<u8>,
    domain: Vec<u8>,
}

impl Filler {
    /// Appends the path of a recipient's maildir from the root, components parted by `/`; nothing where there is one maildir
    /// for all. `host` is the domain of who has none.
    pub(super) fn fill(&mut self, template: &PathTemplate, recipient: Path<'_>, host: &str, out: &mut Vec<u8>) {
        let (local_part, domain) = match recipient {
            Path::Null => (&[][..], host.as_bytes()),
            Path::Local(local_part) => (local_part, host.as_bytes()),
            Path::Mailbox(Mailbox { local_part, domain }) => (local_part, domain),
        };
        self.local_part.clear();
        unquote(local_part, &mut self.local_part);
        if self.local_part.eq_ignore_ascii_case(b"postmaster") {
            self.local_part.make_ascii_lowercase();
        }
        self.domain.clear();
        self.domain.extend_from_slice(domain);
        self.domain.make_ascii_lowercase();

        for (index, component) in template.below().iter().enumerate() {
            if index > 0 {
                out.push(b'/');
            }
            let written = texts(component).map(str::len).sum::<usize>();
            let names = component.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count();
            let room = (limits::FILE_NAME_OCTETS - written) / names.max(1);
            for piece in component {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Piece::Domain => escape(&self.domain, room, out),
                    Piece::Local => escape(&self.local_part, room, out),
                }
            }
        }
    }
}

/// A quoted string's content (RFC 5321 §4.1.2); anything else as it is.
fn unquote(local_part: &[u8], out: &mut Vec<u8>) {
    let Some(quoted) = local_part.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return out.extend_from_slice(local_part);
    };
    let mut is_pair = false;
    for octet in quoted {
        is_pair = *octet == b'\\' && !is_pair;
        if !is_pair {
            out.push(*octet);
        }
    }
}

/// Appends a name as the head of this file says, at most `room` octets.
fn escape(name: &[u8], room: usize, out: &mut Vec<u8>) {
    let start = out.len();
    // Where the name is cut if it turns out to be too long: behind a whole escape, a whole character.
    let mut cut = start;
    if name.is_empty() {
        out.extend_from_slice(b"%empty");
    }
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut octets = [0; 4];
            let octets = character.encode_utf8(&mut octets).as_bytes();
            let stands = match octets {
                [b'.' | b'-'] => out.len() > start,
                [octet] => is_plain(*octet),
                _ => character.is_alphanumeric(),
            };
            if stands {
                out.extend_from_slice(octets);
            } else {
                octets.iter().for_each(|octet| push_escaped(*octet, out));
            }
            if out.len() - start <= room - HASH_OCTETS {
                cut = out.len();
            }
        }
        for octet in chunk.invalid() {
            push_escaped(*octet, out);
            if out.len() - start <= room - HASH_OCTETS {
                cut = out.len();
            }
        }
    }
    if out.len() - start > room {
        out.truncate(cut);
        out.extend_from_slice(CUT);
        for octet in Sha256::digest(name) {
            push_hex(octet, out);
        }
    }
}

fn push_escaped(octet: u8, out: &mut Vec<u8>) {
    out.push(b'%');
    push_hex(octet, out);
}

fn push_hex(octet: u8, out: &mut Vec<u8>) {
    out.extend([HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str, local_part: &[u8], domain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let path = Path::Mailbox(Mailbox { local_part, domain });
        Filler::default().fill(&template.parse().unwrap(), path, "mx.example.net", &mut out);
        out
    }

    fn escaped(name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escape(name, limits::FILE_NAME_OCTETS, &mut out);
        out
    }

    /// What [`escape`] wrote, unless it was cut.
    fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
        let mut rest = text;
        let mut name = Vec::new();
        while let Some((octet, behind)) = rest.split_first() {
            rest = behind;
            if *octet != b'%' {
                name.push(*octet);
                continue;
            }
            if rest == b"empty" {
                return Some(name);
            }
            let digits = str::from_utf8(rest.split_off(..2)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
        }
        Some(name)
    }

    #[test]
    fn usual_names_are_readable_and_others_harmless() {
        for (local_part, domain, wanted) in [
            ("a.b+c", "example.org", "example.org/a.b+c"),
            ("First_Last=x-1", "EXAMPLE.Org", "example.org/First_Last=x-1"),
            ("..", "..", "%2E./%2E."),
            (".", ".", "%2E/%2E"),
            (".hidden", "x", "x/%2Ehidden"),
            ("-rf", "-x", "%2Dx/%2Drf"),
            ("../../etc/passwd", "x", "x/%2E.%2F..%2Fetc%2Fpasswd"),
            ("a\0b\nc\x7f", "x", "x/a%00b%0Ac%7F"),
            ("100%", "x", "x/100%25"),
            ("%2E", "x", "x/%252E"),
            ("", "", "%empty/%empty"),
            ("%empty", "x", "x/%25empty"),
            ("jörg", "müller.example", "müller.example/jörg"),
            ("\u{202e}gnp\u{85}", "x", "x/%E2%80%AEgnp%C2%85"),
            ("\"a\"", "x", "x/a"),
            (r#""a\"b\\""#, "x", "x/a%22b%5C"),
            (r#""a b@c""#, "x", "x/a%20b%40c"),
            ("\"\"", "x", "x/%empty"),
            ("\"", "x", "x/%22"),
            ("a", "[192.0.2.1]", "%5B192.0.2.1%5D/a"),
            ("a", "[IPv6:2001:DB8::1]", "%5Bipv6%3A2001%3Adb8%3A%3A1%5D/a"),
            ("PostMaster", "x", "x/postmaster"),
            ("cur", "new", "new/cur"),
        ] {
            let path = filled("m/{domain}/{local}", local_part.as_bytes(), domain.as_bytes());
            assert_eq!(String::from_utf8(path).unwrap(), wanted);
        }
        assert_eq!(filled("m/{local}", b"a\xFF\xC3", b"x"), b"a%FF%C3");
        assert_eq!(filled("m/{domain}/u/x{local}y/Maildir", b".a", b"x"), b"x/u/x%2Eay/Maildir");
        assert_eq!(filled("m/{local}@{domain}", b"a@b", b"c"), b"a%40b@c");
        assert_eq!(filled("m", b"a", b"b"), b"");
    }

    #[test]
    fn who_has_no_domain_has_the_hosts() {
        let template = "m/{domain}/{local}".parse().unwrap();
        let mut out = Vec::new();
        Filler::default().fill(&template, Path::Local(b"Postmaster"), "MX.example.net", &mut out);
        assert_eq!(out, b"mx.example.net/postmaster");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let just = [b'x'; 255];
        assert_eq!(escaped(&just), just);
        let long = escaped(&[b'x'; 256]);
        assert_eq!(long.len(), 255);
        assert!(long.starts_with(&[b'x'; 255 - HASH_OCTETS]) && long[255 - HASH_OCTETS..].starts_with(CUT));
        assert_ne!(long, escaped(&[b'x'; 257]));
        // What looks like a name that was cut is none.
        assert_ne!(escaped(&long), long);
        // No character is cut in two.
        let wide = escaped("ö".repeat(200).as_bytes());
        assert!(wide.len() <= 255 && str::from_utf8(&wide).is_ok());
        let escapes = escaped(&[0xFF; 100]);
        assert_eq!((escapes.len(), escapes.starts_with(b"%FF%FF")), (63 * 3 + HASH_OCTETS, true));
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let parts: Vec<&[u8]> = vec![
            b".",
            b"..",
            b"/",
            b"\0",
            b"%",
            b"%2E",
            b"=",
            b"-",
            b"\"",
            b"\\",
            b"a",
            b"A",
            b"@",
            b" ",
            b"\n",
            b"%empty",
            b"\xC3\xB6",
            b"\xC3",
            b"\xFF",
            b"%=",
            &[b'x'; 190],
            &[b'/'; 70],
        ];
        prop_oneof![
            prop::collection::vec(prop::sample::select(parts), 0..8).prop_map(|parts| parts.concat()),
            prop::collection::vec(any::<u8>(), 0..8),
        ]
    }

    /// Names of which many are the same, or nearly.
    fn two_names() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        (name(), name(), any::<prop::sample::Index>(), 0..4_u8, any::<u8>()).prop_map(|(one, other, at, how, octet)| {
            let mut near = one.clone();
            match how {
                0 => near = other,
                1 if !near.is_empty() => *at.get_mut(&mut near) = octet,
                2 => near = escaped(&one),
                _ => near.push(octet),
            }
            (one, near)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_path_stays_below_its_root(local_part in name(), domain in name()) {
            for (template, depth) in [("m/{domain}/{local}", 2), ("{local}@{domain}", 1), ("m/{local}/x/{domain}.d", 3)] {
                let path = filled(template, &local_part, &domain);
                let components: Vec<&[u8]> = path.split(|octet| *octet == b'/').collect();
                prop_assert_eq!(components.len(), depth);
                for component in components {
                    prop_assert!((1..=limits::FILE_NAME_OCTETS).contains(&component.len()));
                    prop_assert!(component != b"." && component != b".." && !component.contains(&0));
                }
            }
        }

        #[test]
        fn an_escaped_name_is_read_back(name in name()) {
            let text = escaped(&name);
            if !text.windows(2).any(|pair| pair == CUT) {
                prop_assert_eq!(unescaped(&text), Some(name));
            } else {
                prop_assert!(name.len() > (limits::FILE_NAME_OCTETS - HASH_OCTETS) / 3);
                prop_assert_eq!(unescaped(&text), None, "it is nobody else's");
            }
        }

        #[test]
        fn different_mailboxes_lie_apart((one, other) in two_names(), domain in name(), (first, second) in two_names()) {
            let unquoted = |local_part: &[u8]| {
                let mut name = Vec::new();
                unquote(local_part, &mut name);
                if name.eq_ignore_ascii_case(b"postmaster") { name.to_ascii_lowercase() } else { name }
            };
            for template in ["m/{domain}/{local}", "{local}@{domain}", "{domain}, {local}"] {
                let same = filled(template, &one, &domain) == filled(template, &other, &domain);
                prop_assert_eq!(same, unquoted(&one) == unquoted(&other), "{:?} {:?}", &one, &other);
                let same = filled(template, &one, &first) == filled(template, &other, &second);
                let equal = unquoted(&one) == unquoted(&other) && first.eq_ignore_ascii_case(&second);
                prop_assert_eq!(same, equal);
            }
        }
    }
}
