//! A pattern of recipients: `domain`, `.domain`, `user@`, `user@domain`, an address literal, or `ALL`.
//!
//! *Invariant*: a pattern is held as the key by which it is found; two that mean the same are equal.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::key::Key;
use crate::limits::DOMAIN_OCTETS;
use crate::mail::address::Path;
use crate::smtp::path::is_mailbox;
use crate::smtp::settings::AddressSyntax;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    breadth: Breadth,
    /// Of a host: itself; of subdomains: that with a dot before it; of a user: the local-part and the sign; empty for all.
    key: Box<str>,
}

/// Whom a pattern can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Breadth {
    /// Everyone.
    All,
    /// All at a domain or an address literal.
    Host,
    /// All at any subdomain of a domain, but not at itself.
    Subdomains,
    /// A local-part at any domain.
    User,
    /// One mailbox.
    Mailbox,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {right}")]
pub struct BadPattern {
    /// What is wrong, to be said behind the text.
    pub wrong: &'static str,
    /// What would be right.
    pub right: String,
}

impl Pattern {
    /// Of everyone.
    pub fn all() -> Self {
        Self { breadth: Breadth::All, key: "".into() }
    }

    /// Whether it is about this path, whoever looks for it: a host's patterns are about no path that has none.
    pub fn matches(&self, path: Path<'_>) -> bool {
        let (local_part, host) = match path {
            Path::Null => return false,
            Path::Local(local_part) => (local_part, &b""[..]),
            Path::Mailbox(mailbox) => (mailbox.local_part, mailbox.domain),
        };
        let Some(key) = Key::of(local_part, host) else { return false };
        match self.breadth {
            Breadth::All => true,
            Breadth::Host => key.host() == self.key(),
            Breadth::Subdomains => key.host().ends_with(self.key()),
            Breadth::User => key.user() == self.key(),
            Breadth::Mailbox => key.mailbox() == self.key(),
        }
    }

    pub(super) fn breadth(&self) -> Breadth {
        self.breadth
    }

    pub(super) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// The pattern of all at the host that this one names, if it names one: of the subdomains, where it is about those.
    pub(super) fn host(&self) -> Option<&[u8]> {
        match self.breadth {
            Breadth::Host | Breadth::Subdomains => Some(self.key()),
            Breadth::Mailbox => self.key.rsplit_once('@').map(|(_, host)| host.as_bytes()),
            Breadth::All | Breadth::User => None,
        }
    }

    /// Whether it names a postmaster.
    pub(super) fn is_postmaster(&self) -> bool {
        self.local_part() == Some("postmaster")
    }

    /// Whether its local-part may be meant as an address elsewhere: see [`Key::seeks_relay`].
    pub(super) fn seeks_relay(&self) -> bool {
        self.local_part().is_some_and(|local_part| local_part.contains(['@', '%', '!']))
    }

    fn local_part(&self) -> Option<&str> {
        match self.breadth {
            Breadth::User | Breadth::Mailbox => self.key.rsplit_once('@').map(|(local_part, _)| local_part),
            _ => None,
        }
    }
}

/// Reads one. Domains in any case; a dot at their end does not count. A name beyond ASCII is compared as it is written, so
/// that its form of `xn--` is another name, to be listed beside it. Local-parts octet for octet, in quotes or without.
impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if text == "ALL" {
            return Ok(Self::all());
        }
        refuse_lookalikes(text)?;
        // No host has the sign in it.
        match text.rsplit_once('@') {
            Some((local_part, "")) => {
                let key = key(local_part, "x").ok_or_else(no_local_part)?;
                Ok(Self::new(Breadth::User, key.user()))
            }
            Some((local_part, host)) => {
                let key = key(local_part, host);
                let key = key.ok_or_else(|| if is_host(host) { no_local_part() } else { no_host(host) })?;
                Ok(Self::new(Breadth::Mailbox, key.mailbox()))
            }
            None => match text.strip_prefix('.') {
                Some(domain) if domain.starts_with('[') => Err(no_host(domain)),
                Some(domain) => {
                    let key = key("x", domain).ok_or_else(|| no_host(domain))?;
                    Ok(Self::new(Breadth::Subdomains, &[b".", key.host()].concat()))
                }
                None => {
                    let key = key("x", text).ok_or_else(|| no_host(text))?;
                    Ok(Self::new(Breadth::Host, key.host()))
                }
            },
        }
    }
}

impl Pattern {
    fn new(breadth: Breadth, key: &[u8]) -> Self {
        Self { breadth, key: String::from_utf8_lossy(key).into() }
    }
}

/// What means something else to other programs than it would here.
fn refuse_lookalikes(text: &str) -> Result<(), BadPattern> {
    let wrong = |wrong, right: String| Err(BadPattern { wrong, right });
    let example = |domain| if str::len(domain) <= DOMAIN_OCTETS { domain } else { "example.net" };
    // A dot at the end does not count.
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.eq_ignore_ascii_case("ALL") {
        return wrong("is a word in the wrong case", "everyone is \"ALL\"".into());
    }
    if let Some(domain) = text.strip_prefix('@').or_else(|| text.strip_prefix("*@")) {
        return wrong("has no local-part", format!("all at a domain is the domain alone: {:?}", example(domain)));
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return wrong("has a wildcard", format!("all subdomains are {:?}", format!(".{}", example(domain))));
    }
    if text == "*" {
        return wrong("is a wildcard", "everyone is \"ALL\"".into());
    }
    // It would be read as a domain of one label.
    if text.eq_ignore_ascii_case("postmaster") {
        return wrong("is a local-part without its '@'", "the postmaster of any domain is \"postmaster@\"".into());
    }
    // It would be read as a domain of four labels.
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host).trim_start_matches('.');
    if host.parse::<IpAddr>().is_ok() {
        return Err(no_host(host));
    }
    Ok(())
}

/// The key of a mailbox, if it is one that a client can write.
fn key(local_part: &str, host: &str) -> Option<Key> {
    let mailbox = format!("{local_part}@{host}");
    // A domain that is too long, or a literal of no address, is not looked up either.
    is_mailbox(mailbox.as_bytes(), AddressSyntax::Loose, true)
        .then(|| Key::of(local_part.as_bytes(), host.as_bytes()))
        .flatten()
}

fn is_host(host: &str) -> bool {
    key("x", host).is_some()
}

fn no_local_part() -> BadPattern {
    let right = "such as \"user@\" or \"user@example.net\"; what is not of letters, digits and a few signs is in double \
                 quotes: '\"a b\"@example.net'";
    BadPattern { wrong: "has no local-part before its '@'", right: right.into() }
}

fn no_host(host: &str) -> BadPattern {
    let hint = match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(ip)) => Some(format!("[{ip}]")),
        Ok(IpAddr::V6(ip)) => Some(format!("[IPv6:{ip}]")),
        Err(_) => None,
    };
    match hint {
        Some(literal) => BadPattern {
            wrong: "has an address that is no literal",
            right: format!("the literal, which has no subdomains, is \"{literal}\""),
        },
        None => BadPattern {
            wrong: "has no domain",
            right: "a pattern is \"example.net\", \".example.net\" (its subdomains), \"user@\", \"user@example.net\", \
                    \"[192.0.2.1]\" or \"ALL\""
                .into(),
        },
    }
}

/// In the one spelling of all that are equal, which reads back as the same.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((local_part, host)) = self.local_part().zip(self.key.rsplit_once('@').map(|(_, host)| host)) else {
            return f.write_str(if self.breadth == Breadth::All { "ALL" } else { &self.key });
        };
        if is_mailbox(format!("{local_part}@x").as_bytes(), AddressSyntax::Loose, true) && !local_part.starts_with('"')
        {
            return write!(f, "{local_part}@{host}");
        }
        f.write_str("\"")?;
        for character in local_part.chars() {
            let escape = if matches!(character, '"' | '\\') { "\\" } else { "" };
            write!(f, "{escape}{character}")?;
        }
        write!(f, "\"@{host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::Mailbox;

    #[test]
    fn patterns_are_read_and_written_alike() {
        for (spellings, canonical, breadth) in [
            (&["ALL"][..], "ALL", Breadth::All),
            (&["ok.test", "OK.Test", "ok.test."], "ok.test", Breadth::Host),
            (&["localhost"], "localhost", Breadth::Host),
            (&["a_b.test"], "a_b.test", Breadth::Host),
            (&["müller.test", "müller.TEST"], "müller.test", Breadth::Host),
            (&[".ok.test", ".OK.test."], ".ok.test", Breadth::Subdomains),
            (&[".test"], ".test", Breadth::Subdomains),
            (&["postmaster@", "PostMaster@", "\"POSTMASTER\"@"], "postmaster@", Breadth::User),
            (&["a@", "\"a\"@", "\"\\a\"@"], "a@", Breadth::User),
            (&["a@ok.test", "\"a\"@OK.test."], "a@ok.test", Breadth::Mailbox),
            (&["A@ok.test"], "A@ok.test", Breadth::Mailbox),
            (&["\"a b\"@ok.test", "\"a\\ b\"@ok.test"], "\"a b\"@ok.test", Breadth::Mailbox),
            (&["\"\"@ok.test"], "\"\"@ok.test", Breadth::Mailbox),
            (&["\"*\"@ok.test"], "*@ok.test", Breadth::Mailbox),
            (&["\"u@other.test\"@ok.test"], "\"u@other.test\"@ok.test", Breadth::Mailbox),
            (&["\"a\\\"\\\\\"@"], "\"a\\\"\\\\\"@", Breadth::User),
            (&["u%other.test@ok.test"], "u%other.test@ok.test", Breadth::Mailbox),
            (&["[192.0.2.1]", "[192.0.02.001]", "[IPv6:::ffff:192.0.2.1]"], "[192.0.2.1]", Breadth::Host),
            (&["[IPv6:2001:DB8::1]", "[ipv6:2001:db8:0::0:1]"], "[IPv6:2001:db8::1]", Breadth::Host),
            (&["a@[192.0.2.1]"], "a@[192.0.2.1]", Breadth::Mailbox),
        ] {
            for spelling in spellings {
                let pattern: Pattern = spelling.parse().unwrap_or_else(|bad| panic!("{spelling}: {bad}"));
                assert_eq!((pattern.to_string().as_str(), pattern.breadth), (canonical, breadth), "{spelling}");
            }
            if canonical != "*@ok.test" {
                assert_eq!(canonical.parse::<Pattern>().unwrap().to_string(), canonical);
            }
        }
    }

    #[test]
    fn a_pattern_is_about_some_paths() {
        let mailbox = |local_part: &'static [u8], domain: &'static [u8]| Path::Mailbox(Mailbox { local_part, domain });
        let (user, other) = (mailbox(b"\"a\"", b"OK.test."), mailbox(b"a", b"sub.ok.test"));
        for (pattern, wanted) in [
            ("ALL", [true, true, true, false]),
            ("ok.test", [true, false, false, false]),
            (".ok.test", [false, true, false, false]),
            ("a@", [true, true, true, false]),
            ("a@ok.test", [true, false, false, false]),
            ("b@", [false; 4]),
            ("k.test", [false; 4]),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            let found = [user, other, Path::Local(b"a"), Path::Null].map(|path| pattern.matches(path));
            assert_eq!(found, wanted, "{pattern}");
        }
    }

    #[test]
    fn a_wrong_pattern_is_told_what_would_be_right() {
        for (text, wrong, right) in [
            ("", "has no domain", "\"ALL\""),
            (".", "has no domain", "\"ALL\""),
            ("..test", "has no domain", "\"ALL\""),
            ("a..test", "has no domain", "\"ALL\""),
            ("a b", "has no domain", "\"ALL\""),
            ("<a@ok.test>", "has no domain", "\"ALL\""),
            ("a@b c", "has no domain", "\"ALL\""),
            ("ok.test/x", "has no domain", "\"ALL\""),
            ("all", "wrong case", "\"ALL\""),
            ("ALL.", "wrong case", "\"ALL\""),
            ("All", "wrong case", "\"ALL\""),
            ("*", "is a wildcard", "\"ALL\""),
            ("*.ok.test", "has a wildcard", "\".ok.test\""),
            ("*@ok.test", "has no local-part", "\"ok.test\""),
            ("@ok.test", "has no local-part", "\"ok.test\""),
            (&format!("*.{}", "x".repeat(256)), "has a wildcard", "\".example.net\""),
            ("PostMaster", "without its '@'", "\"postmaster@\""),
            ("a b@ok.test", "has no local-part", "in double quotes"),
            ("\"a@ok.test", "has no local-part", "in double quotes"),
            ("a\u{7}@", "has no local-part", "in double quotes"),
            ("192.0.2.1", "no literal", "\"[192.0.2.1]\""),
            ("a@192.0.2.1", "no literal", "\"[192.0.2.1]\""),
            (".2001:db8::1", "no literal", "\"[IPv6:2001:db8::1]\""),
            ("[2001:db8::1]", "no literal", "\"[IPv6:2001:db8::1]\""),
            (".[192.0.2.1]", "no literal", "\"[192.0.2.1]\""),
            ("a@[::1]", "no literal", "\"[IPv6:::1]\""),
            ("[tag:x]", "has no domain", "\"ALL\""),
        ] {
            let bad = text.parse::<Pattern>().expect_err(text);
            assert!(bad.wrong.contains(wrong) && bad.right.contains(right), "{text}: {bad}");
        }
    }
}
