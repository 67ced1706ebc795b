//! Address literals: RFC 5321 §4.1.3.
//!
//! Strict is the ABNF to the letter, which differs from what the standard library reads: a number of an IPv4 address may
//! have zeros before it (and is decimal then too), and `::` stands for two groups at least. Loose is either. A tag that is
//! not registered makes no literal: `IPv6` is the only one that is.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether what stands between the brackets is an address.
pub fn is_address(text: &[u8], loose: bool) -> bool {
    match text.split_first_chunk::<5>() {
        Some((tag, address)) if tag.eq_ignore_ascii_case(b"IPv6:") => {
            is_ipv6(address) || (loose && is_parsed::<Ipv6Addr>(address))
        }
        _ => is_ipv4(text) || (loose && is_parsed::<Ipv4Addr>(text)),
    }
}

fn is_parsed<A: std::str::FromStr>(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<A>().is_ok())
}

/// `IPv4-address-literal`: four numbers of one to three digits, none above 255.
fn is_ipv4(text: &[u8]) -> bool {
    let mut numbers = 0;
    let all = text.split(|octet| *octet == b'.').all(|digits| {
        numbers += 1;
        let is_number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_number && digits.iter().fold(0, |sum: u16, digit| sum * 10 + u16::from(digit - b'0')) <= 255
    });
    all && numbers == 4
}

/// `IPv6-addr`: eight groups, the last two of which may be written as an IPv4 address; or at most six, and `::` for the rest.
fn is_ipv6(text: &[u8]) -> bool {
    match memchr::memmem::find(text, b"::") {
        None => groups(text, true) == Some(8),
        Some(at) => {
            let (before, after) = (&text[..at], &text[at + 2..]);
            let before = if before.is_empty() { Some(0) } else { groups(before, false) };
            let after = if after.is_empty() { Some(0) } else { groups(after, true) };
            matches!((before, after), (Some(before), Some(after)) if before + after <= 6)
        }
    }
}

/// How many groups of 16 bits the text has, where an IPv4 address at its end is two; `None` when it is no such list.
fn groups(text: &[u8], may_end_with_ipv4: bool) -> Option<usize> {
    let mut groups = 0;
    let mut rest = text;
    // BOUND: each turn takes a group.
    loop {
        let end = memchr::memchr(b':', rest);
        let group = &rest[..end.unwrap_or(rest.len())];
        if (1..=4).contains(&group.len()) && group.iter().all(u8::is_ascii_hexdigit) {
            groups += 1;
        } else if may_end_with_ipv4 && end.is_none() && is_ipv4(group) {
            groups += 2;
        } else {
            return None;
        }
        match end {
            None => return Some(groups),
            Some(end) => rest = &rest[end + 1..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_those_of_the_abnf() {
        for ok in [
            "192.0.2.1",
            "0.0.0.0",
            "255.255.255.255",
            "001.02.3.010",
            "IPv6:1:2:3:4:5:6:7:8",
            "ipv6:ABCD:ef01:0:0:0:0:0:0",
            "IPv6:::",
            "IPv6:::1",
            "IPv6:1::",
            "IPv6:1:2:3::4:5:6",
            "IPv6:1:2:3:4:5:6::",
            "IPv6:::1:2:3:4:5:6",
            "IPv6:1:2:3:4:5:6:192.0.2.1",
            "IPv6:::192.0.2.1",
            "IPv6:::ffff:192.0.2.1",
            "IPv6:1:2::3:4:192.0.2.1",
        ] {
            assert!(is_address(ok.as_bytes(), false) && is_address(ok.as_bytes(), true), "{ok}");
        }
        for bad in [
            "",
            "192.0.2",
            "192.0.2.1.5",
            "192.0.2.256",
            "192.0.2.0001",
            "192.0.2.",
            ".192.0.2.1",
            "+1.0.0.1",
            "0x1.0.0.1",
            "IPv6:",
            "IPv6::",
            "IPv6:1:2:3:4:5:6:7",
            "IPv6:1:2:3:4:5:6:7:8:9",
            "IPv6:12345::",
            "IPv6:1::2::3",
            "IPv6:::::",
            "IPv6::1",
            "IPv6:1:",
            "IPv6:g::",
            "IPv6:1:2:3:4:5:6:7:192.0.2.1",
            "IPv6:192.0.2.1::",
            "IPv6:::192.0.2.1:1",
            "IPv6:::1%eth0",
            "IPv6 :::1",
            "2001:db8::1",
            "IPv4:192.0.2.1",
            "tag:content",
        ] {
            assert!(!is_address(bad.as_bytes(), false) && !is_address(bad.as_bytes(), true), "{bad}");
        }
        // `::` for one group, which the standard library takes.
        for loose in ["IPv6:1:2:3:4:5:6:7::", "IPv6:1:2:3:4:5::192.0.2.1"] {
            assert!(!is_address(loose.as_bytes(), false) && is_address(loose.as_bytes(), true), "{loose}");
        }
    }
}
