//! A netblock: an address with the number of its leading bits that count, or an address alone.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::error::{Mistake, shown};

/// Bits before the IPv4 address in an IPv6 one that stands for it: RFC 4291 §2.5.5.2.
const MAPPED_BITS: u8 = 96;

/// Reads `127.0.0.1`, `10.0.0.0/8`, `::1` and `2001:db8::/32`. Bits that do not count must be 0, because somebody who wrote
/// others may have meant another length.
pub(super) fn read(text: &str) -> Result<IpNet, Mistake> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| {
        let right = "an address or a netblock is wanted, such as \"127.0.0.1\", \"10.0.0.0/8\" or \"2001:db8::/32\"";
        Mistake::new(format!("{} is neither an IP address nor a netblock", shown(text)), right)
    })?;
    let single = IpNet::from(address);
    let netblock = match length {
        None => single,
        Some(length) => with_length(text, single, length)?,
    };
    if let Some(written) = unmapped(netblock) {
        return Err(Mistake::new(
            format!("{} is of IPv4 in the form of IPv6", shown(text)),
            format!("\"{written}\" is written as what it is"),
        ));
    }
    if netblock.trunc() != netblock {
        return Err(Mistake::new(
            format!("{} has bits of a host behind its first {}", shown(text), netblock.prefix_len()),
            format!("the netblock is \"{}\", the address alone \"{address}\"", netblock.trunc()),
        ));
    }
    Ok(netblock)
}

/// As an operator would write it: a single address without a length.
pub(super) fn written(netblock: &IpNet) -> String {
    match netblock.prefix_len() == netblock.max_prefix_len() {
        true => netblock.addr().to_string(),
        false => netblock.to_string(),
    }
}

fn with_length(text: &str, single: IpNet, length: &str) -> Result<IpNet, Mistake> {
    let digits = !length.is_empty() && length.bytes().all(|octet| octet.is_ascii_digit());
    let number = if digits { length.parse().ok() } else { None };
    number.and_then(|number| IpNet::new(single.addr(), number).ok()).ok_or_else(|| {
        let family = if single.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        let right = format!("the length of an {family} netblock is a number from 0 to {}", single.max_prefix_len());
        Mistake::new(format!("{} has the length {}", shown(text), shown(length)), right)
    })
}

/// What a netblock of IPv4 addresses in the form of IPv6 ones amounts to. Peers are compared as IPv4 then, so it would never
/// match.
fn unmapped(netblock: IpNet) -> Option<String> {
    let IpNet::V6(block) = netblock else { return None };
    let address = block.addr().to_ipv4_mapped()?;
    let length = block.prefix_len().checked_sub(MAPPED_BITS)?;
    Ipv4Net::new(address, length).ok().map(|block| written(&block.trunc().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netblocks_are_read_and_written_alike() {
        for (spelling, canonical) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1/32", "127.0.0.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1", "::1"),
            ("0::1/128", "::1"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(written(&read(spelling).unwrap()), canonical, "{spelling}");
        }
    }

    #[test]
    fn a_wrong_netblock_is_told_what_would_be_right() {
        for (text, wrong, right) in [
            ("", "neither", "\"10.0.0.0/8\""),
            ("/8", "neither", "\"10.0.0.0/8\""),
            ("10/8", "neither", "\"10.0.0.0/8\""),
            ("10.0.0.0.0/8", "neither", "\"10.0.0.0/8\""),
            ("localhost", "neither", "\"127.0.0.1\""),
            ("127.0.0.1:25", "neither", "\"127.0.0.1\""),
            ("[::1]", "neither", "\"127.0.0.1\""),
            ("fe80::1%2", "neither", "\"127.0.0.1\""),
            ("10.0.0.0/", "has the length \"\"", "IPv4 netblock is a number from 0 to 32"),
            ("10.0.0.0/33", "has the length \"33\"", "from 0 to 32"),
            ("10.0.0.0/+8", "has the length \"+8\"", "from 0 to 32"),
            ("10.0.0.0/-1", "has the length \"-1\"", "from 0 to 32"),
            ("10.0.0.0/8/8", "has the length \"8/8\"", "from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "has the length \"255.0.0.0\"", "from 0 to 32"),
            ("::/129", "has the length \"129\"", "IPv6 netblock is a number from 0 to 128"),
            ("::/999", "has the length \"999\"", "from 0 to 128"),
            ("10.0.0.1/8", "behind its first 8", "the netblock is \"10.0.0.0/8\", the address alone \"10.0.0.1\""),
            ("2001:db8::1/32", "behind its first 32", "is \"2001:db8::/32\", the address alone \"2001:db8::1\""),
            ("::ffff:10.0.0.1", "in the form of IPv6", "\"10.0.0.1\" is"),
            ("::ffff:10.0.0.0/104", "in the form of IPv6", "\"10.0.0.0/8\" is"),
            ("::ffff:10.0.0.1/104", "in the form of IPv6", "\"10.0.0.0/8\" is"),
            ("::ffff:10.0.0.1/64", "behind its first 64", "is \"::/64\""),
        ] {
            let mistake = read(text).expect_err(text);
            assert!(mistake.wrong.contains(wrong) && mistake.right.contains(right), "{text}: {mistake}");
        }
    }
}
