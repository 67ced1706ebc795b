//! The form in which a recipient is looked up: what all spellings of one address have in common, written on the stack.
//!
//! *Invariant*: a key is `local-part@host`. The local-part is without quotes (`"a"@x` is `a@x`, RFC 5321 §4.1.2), octet for
//! octet but for `postmaster`, whose case does not count (§4.5.1). A domain is in lower case, as far as it is ASCII, and
//! without the dot that may end it; an address literal is the address in its shortest form.
//!
//! *Does not* know that a U-label and an A-label are one name: they are two, as the client wrote them.

use std::io::{Cursor, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::RECIPIENT_KEY_OCTETS;

/// See the module.
#[derive(Clone)]
pub(super) struct Key {
    octets: [u8; RECIPIENT_KEY_OCTETS],
    /// Where the sign is between local-part and host.
    sign: usize,
    end: usize,
}

/// As keys have it.
const POSTMASTER: &[u8] = b"postmaster";

/// Signs in a local-part that some servers take for a further address: the percent hack, bang paths, an address in quotes.
const RELAY_SIGNS: [u8; 3] = *b"@%!";

impl Key {
    /// `None`: it is longer than any path that is read.
    #[inline]
    pub(super) fn of(local_part: &[u8], host: &[u8]) -> Option<Self> {
        let mut key = Self { octets: [0; RECIPIENT_KEY_OCTETS], sign: 0, end: 0 };
        key.put_local_part(local_part)?;
        if key.end == POSTMASTER.len() && key.octets[..key.end].eq_ignore_ascii_case(POSTMASTER) {
            key.octets[..key.end].make_ascii_lowercase();
        }
        key.sign = key.end;
        key.put(b"@")?;
        key.put_host(host)?;
        Some(key)
    }

    /// The whole: `local-part@host`.
    pub(super) fn mailbox(&self) -> &[u8] {
        &self.octets[..self.end]
    }

    /// `local-part@`.
    pub(super) fn user(&self) -> &[u8] {
        &self.octets[..=self.sign]
    }

    /// The domain or address literal.
    pub(super) fn host(&self) -> &[u8] {
        &self.octets[self.sign + 1..self.end]
    }

    /// Whether it is a postmaster's.
    pub(super) fn is_postmaster(&self) -> bool {
        self.local_part() == POSTMASTER
    }

    /// Whether the local-part may be meant as an address elsewhere.
    pub(super) fn seeks_relay(&self) -> bool {
        let [at, percent, bang] = RELAY_SIGNS;
        memchr::memchr3(at, percent, bang, self.local_part()).is_some()
    }

    fn local_part(&self) -> &[u8] {
        &self.octets[..self.sign]
    }

    #[inline]
    fn put(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.end + octets.len();
        self.octets.get_mut(self.end..end)?.copy_from_slice(octets);
        self.end = end;
        Some(())
    }

    /// Without its quotes, and without the backslashes that quote one octet each.
    fn put_local_part(&mut self, local_part: &[u8]) -> Option<()> {
        let Some(quoted) = local_part.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
            return self.put(local_part);
        };
        let mut rest = quoted;
        // BOUND: each turn takes all octets to behind the next backslash.
        while let Some(at) = memchr::memchr(b'\\', rest) {
            self.put(&rest[..at])?;
            let behind = &rest[at + 1..];
            let quoted = behind.len().min(1);
            self.put(&behind[..quoted])?;
            rest = &behind[quoted..];
        }
        self.put(rest)
    }

    fn put_host(&mut self, host: &[u8]) -> Option<()> {
        let literal = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        if let Some(address) = literal.and_then(address) {
            return self.put_literal(address);
        }
        let start = self.end;
        self.put(host.strip_suffix(b".").unwrap_or(host))?;
        self.octets[start..self.end].make_ascii_lowercase();
        Some(())
    }

    fn put_literal(&mut self, address: IpAddr) -> Option<()> {
        let mut room = Cursor::new(&mut self.octets[self.end..]);
        match address.to_canonical() {
            IpAddr::V4(address) => write!(room, "[{address}]"),
            IpAddr::V6(address) => write!(room, "[IPv6:{address}]"),
        }
        .ok()?;
        self.end += room.position() as usize;
        Some(())
    }
}

/// The address between the brackets of a literal: RFC 5321 §4.1.3. What the standard library does not read has zeros before a
/// number of its IPv4 part.
fn address(text: &[u8]) -> Option<IpAddr> {
    let Some((tag, ipv6)) = text.split_first_chunk::<5>().filter(|(tag, _)| tag.eq_ignore_ascii_case(b"IPv6:")) else {
        return ipv4(text).map(IpAddr::V4);
    };
    debug_assert_eq!(tag.len() + ipv6.len(), text.len());
    let parse = |text: &[u8]| str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok();
    if let Some(address) = parse(ipv6) {
        return Some(address.into());
    }
    // Its end is an IPv4 address, then: written as the two groups that it is.
    let (groups, end) = ipv6.split_at(memchr::memrchr(b':', ipv6)? + 1);
    let [a, b, c, d] = ipv4(end)?.octets();
    let mut octets = [0; RECIPIENT_KEY_OCTETS];
    let mut room = Cursor::new(&mut octets[..]);
    room.write_all(groups).ok()?;
    write!(room, "{:x}:{:x}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])).ok()?;
    let written = room.position() as usize;
    parse(&octets[..written]).map(IpAddr::V6)
}

/// Four decimal numbers, which may have zeros before them.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut numbers = text.split(|octet| *octet == b'.').map(|digits| {
        let is_number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        let number = digits.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit & 0xf));
        if is_number { u8::try_from(number).ok() } else { None }
    });
    let mut next = || numbers.next().flatten();
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    numbers.next().is_none().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::path::is_domain_or_literal;

    fn key(local_part: &str, host: &str) -> String {
        let key = Key::of(local_part.as_bytes(), host.as_bytes()).unwrap();
        assert_eq!([key.user(), key.host()].concat(), key.mailbox());
        String::from_utf8(key.mailbox().to_vec()).unwrap()
    }

    #[test]
    fn all_spellings_of_an_address_have_one_key() {
        for (local_part, host, wanted) in [
            ("a", "ok.test", "a@ok.test"),
            ("A", "OK.Test", "A@ok.test"),
            ("a", "ok.test.", "a@ok.test"),
            ("\"a\"", "ok.test", "a@ok.test"),
            ("\"\\a\"", "ok.test", "a@ok.test"),
            ("\"a b\"", "ok.test", "a b@ok.test"),
            ("\"a\\\"\\\\b\"", "ok.test", "a\"\\b@ok.test"),
            ("\"\"", "ok.test", "@ok.test"),
            ("PostMaster", "ok.test", "postmaster@ok.test"),
            ("\"POSTMASTER\"", "ok.test", "postmaster@ok.test"),
            ("Postmasters", "ok.test", "Postmasters@ok.test"),
            ("a", "[192.0.2.1]", "a@[192.0.2.1]"),
            ("a", "[192.000.02.001]", "a@[192.0.2.1]"),
            ("a", "[IPv6:2001:DB8:0::0001]", "a@[IPv6:2001:db8::1]"),
            ("a", "[ipv6:2001:db8:0:0:0:0:0:1]", "a@[IPv6:2001:db8::1]"),
            ("a", "[IPv6:::ffff:192.0.2.1]", "a@[192.0.2.1]"),
            ("a", "[IPv6:::ffff:192.00.2.01]", "a@[192.0.2.1]"),
            ("a", "[IPv6:1:2:3:4:5:6:001.002.003.004]", "a@[IPv6:1:2:3:4:5:6:102:304]"),
            ("ä", "MÜLLER.test", "ä@mÜller.test"),
        ] {
            assert_eq!(key(local_part, host), wanted, "{local_part} {host}");
        }
    }

    #[test]
    fn what_may_be_meant_for_elsewhere_is_seen_behind_its_quotes() {
        for (local_part, seeks) in [
            ("a", false),
            ("a+b=c#d", false),
            ("u%other", true),
            ("other!u", true),
            ("\"u@other\"", true),
            ("\"u%other\"", true),
            ("\"u\\@other\"", true),
            ("\"\\!\"", true),
            ("\"a b\"", false),
        ] {
            assert_eq!(Key::of(local_part.as_bytes(), b"ok.test").unwrap().seeks_relay(), seeks, "{local_part}");
        }
    }

    #[test]
    fn every_path_fits_and_nothing_longer() {
        let (local_part, host) = ([b'x'; 256], [b'y'; 255]);
        assert_eq!(Key::of(&local_part, &host).unwrap().mailbox().len(), RECIPIENT_KEY_OCTETS);
        assert!(Key::of(&[b'x'; 257], &host).is_none());
        assert!(Key::of(&local_part, &[b'y'; 256]).is_none());
        assert!(Key::of(&[b'x'; 600], b"").is_none());
    }

    /// Every literal that a path can have is known as the address that it is.
    #[test]
    fn no_literal_is_compared_as_text() {
        for text in [
            "001.02.3.010",
            "255.255.255.255",
            "IPv6:::",
            "IPv6:1::",
            "IPv6:1:2:3::4:5:6",
            "IPv6:::1:2:3:4:5:6",
            "IPv6:::192.0.2.01",
            "IPv6:1:2::3:4:192.0.2.1",
            "IPv6:1:2:3:4:5:6:7::",
            "IPv6:1:2:3:4:5::192.0.2.1",
        ] {
            let is_read = is_domain_or_literal(format!("[{text}]").as_bytes(), true);
            assert!(is_read && address(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.0004", "IPv6:", "IPv6:1.2.3.4", "tag:x", "::1"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
