//! The address of a listener, a [`Bind`]: read in any of its spellings, kept in one.
//!
//! *Does not* bind anything, nor look names up: an address that only a resolver knows is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::error::{Mistake, shown};
use crate::reactor::listening::Bind;

/// Octets of a Unix socket's path: `sun_path` of `struct sockaddr_un` is 108 with its NUL.
const UNIX_PATH_OCTETS: usize = 107;

/// Whether only processes of this machine can reach it.
pub(super) fn is_local(bind: &Bind) -> bool {
    match bind {
        Bind::Tcp(address) => address.ip().is_loopback(),
        Bind::Unix(_) => true,
    }
}

/// The TCP port; 0 lets the kernel choose.
pub(super) fn port(bind: &Bind) -> Option<u16> {
    match bind {
        Bind::Tcp(address) => Some(address.port()),
        Bind::Unix(_) => None,
    }
}

/// Reads `*:25`, `:25`, `127.0.0.1:25`, `[*]:25`, `[::1]:25` and `/run/mx.sock`. All spellings of one address are equal
/// afterwards, and printed alike. A wildcard is of its own address family only.
impl FromStr for Bind {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if text.contains('/') {
            return unix(text);
        }
        let (host, port) = if let Some(inner) = text.strip_prefix('[') {
            let (host, rest) = inner.split_once(']').ok_or_else(|| unreadable(text, "has no ']'"))?;
            (ipv6(text, host)?, rest)
        } else {
            let end = text.find(':').unwrap_or(text.len());
            (ipv4(text, &text[..end])?, &text[end..])
        };
        Ok(Self::Tcp(with_port(host, port_number(text, host, port)?)))
    }
}

/// A host of an address, before its port.
#[derive(Clone, Copy)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr, u32),
}

fn with_port(host: Host, port: u16) -> SocketAddr {
    match host {
        Host::V4(ip) => SocketAddrV4::new(ip, port).into(),
        Host::V6(ip, zone) => SocketAddrV6::new(ip, port, 0, zone).into(),
    }
}

fn ipv4(text: &str, host: &str) -> Result<Host, Mistake> {
    if host == "*" {
        return Ok(Host::V4(Ipv4Addr::UNSPECIFIED));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return listenable(text, ip.into()).map(|()| Host::V4(ip));
    }
    if text.matches(':').count() > 1 {
        return Err(unreadable(text, "looks like IPv6 without its brackets"));
    }
    if host.is_empty() {
        // Nothing at all is no wildcard: only ":25" is.
        return if text.is_empty() { Err(unreadable(text, "is empty")) } else { Ok(Host::V4(Ipv4Addr::UNSPECIFIED)) };
    }
    if host.bytes().all(|octet| octet.is_ascii_digit()) && text == host {
        return Err(Mistake::new(
            format!("{} is only a port", shown(text)),
            format!("\":{host}\" is that port of every IPv4 address"),
        ));
    }
    if host.chars().all(|character| character.is_ascii_digit() || character == '.') {
        return Err(unreadable(text, "has no IPv4 address of four numbers from 0 to 255"));
    }
    Err(Mistake::new(
        format!("{} has the host name {}", shown(text), shown(host)),
        "an IP address is wanted, such as \"127.0.0.1:25\", \"[::1]:25\" or, for all, \"*:25\"",
    ))
}

fn ipv6(text: &str, host: &str) -> Result<Host, Mistake> {
    if host == "*" {
        return Ok(Host::V6(Ipv6Addr::UNSPECIFIED, 0));
    }
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    if ip.parse::<Ipv4Addr>().is_ok() {
        return Err(Mistake::new(
            format!("{} has an IPv4 address in brackets", shown(text)),
            format!("\"{ip}:25\" is written without"),
        ));
    }
    let ip: Ipv6Addr = ip.parse().map_err(|_| unreadable(text, "has no IPv6 address in its brackets"))?;
    if let Some(mapped) = ip.to_ipv4_mapped() {
        // The socket is IPv6 only, so such an address would never be reached.
        return Err(Mistake::new(
            format!("{} is an IPv4 address in the form of an IPv6 one", shown(text)),
            format!("\"{mapped}:25\" is written as what it is"),
        ));
    }
    listenable(text, ip.into())?;
    let zone = match (zone, ip.is_unicast_link_local()) {
        (None, false) => 0,
        (Some(zone), true) => zone.parse().ok().filter(|zone| *zone > 0).ok_or_else(|| {
            Mistake::new(
                format!("{} names its interface {}", shown(text), shown(zone)),
                "the interface's number is wanted, which `ip link` shows",
            )
        })?,
        (None, true) => {
            return Err(Mistake::new(
                format!("{} is a link-local address without its interface", shown(text)),
                format!("\"[{ip}%2]:25\" is the one on interface number 2, which `ip link` shows"),
            ));
        }
        (Some(_), false) => {
            return Err(Mistake::new(
                format!("{} names an interface", shown(text)),
                format!("only a link-local address has one; \"[{ip}]:25\""),
            ));
        }
    };
    Ok(Host::V6(ip, zone))
}

/// Refuses addresses on which no connection can arrive.
fn listenable(text: &str, ip: IpAddr) -> Result<(), Mistake> {
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Mistake::new(
            format!("{} is no address of one machine", shown(text)),
            "an address of an interface of this machine is wanted, or \"*:25\" for all",
        ));
    }
    Ok(())
}

fn port_number(text: &str, host: Host, rest: &str) -> Result<u16, Mistake> {
    let Some(digits) = rest.strip_prefix(':').filter(|digits| !digits.is_empty()) else {
        let right = format!("an address ends with its port: \"{}\"", Bind::Tcp(with_port(host, 25)));
        return Err(Mistake::new(format!("{} has no port behind a ':'", shown(text)), right));
    };
    let number = digits.bytes().all(|octet| octet.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    number.ok_or_else(|| {
        let wrong = format!("{} has the port {}", shown(text), shown(digits));
        Mistake::new(wrong, "a port is a number from 0 to 65535, where 0 lets the kernel choose")
    })
}

fn unix(text: &str) -> Result<Bind, Mistake> {
    if let Some((scheme, path)) = text.split_once(':').filter(|(scheme, _)| !scheme.contains('/')) {
        let right = format!("the path alone is wanted: \"/{}\"", path.trim_start_matches('/'));
        return Err(Mistake::new(format!("{} begins with {}", shown(text), shown(scheme)), right));
    }
    let path = Path::new(text);
    if path.is_relative() {
        return Err(Mistake::new(
            format!("{} is a relative path", shown(text)),
            "the path of a Unix socket begins with '/', such as \"/run/mx.sock\"",
        ));
    }
    let wrong = |what: &str| Mistake::new(format!("{} {what}", shown(text)), "such as \"/run/mx.sock\"");
    // `components` drops "//" and "/./"; ".." cannot be dropped without asking the file system about links.
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(wrong("has \"..\" in it; the path without it is wanted"));
    }
    if text.ends_with('/') || text.ends_with("/.") {
        return Err(wrong("is a directory; the path of a socket in it is wanted"));
    }
    if text.contains('\0') {
        return Err(wrong("has a NUL in it; a path cannot"));
    }
    let path: PathBuf = path.components().collect();
    let octets = path.as_os_str().len();
    if octets > UNIX_PATH_OCTETS {
        let wrong = format!("{} is a path of {octets} octets", shown(text));
        return Err(Mistake::new(wrong, format!("the path of a Unix socket has at most {UNIX_PATH_OCTETS}")));
    }
    Ok(Bind::Unix(path))
}

fn unreadable(text: &str, what: &str) -> Mistake {
    Mistake::new(
        format!("{} {what}", shown(text)),
        "such as \"*:25\", \":25\", \"127.0.0.1:25\", \"[*]:25\", \"[::1]:25\" or \"/run/mx.sock\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for (spellings, canonical) in [
            (&["*:25", ":25", "0.0.0.0:25", "*:0025"][..], "0.0.0.0:25"),
            (&["127.0.0.1:2525"], "127.0.0.1:2525"),
            (&["192.0.2.1:0"], "192.0.2.1:0"),
            (&["*:65535"], "0.0.0.0:65535"),
            (&["[*]:25", "[::]:25", "[0:0:0:0:0:0:0:0]:25", "[0::0]:25", "[::0.0.0.0]:25"], "[::]:25"),
            (&["[::1]:25", "[0::1]:25", "[0000:0:0::0001]:25"], "[::1]:25"),
            (&["[2001:db8::a]:587", "[2001:DB8:0:0::A]:587", "[2001:0db8::0:0.0.0.10]:587"], "[2001:db8::a]:587"),
            (&["[fe80::1%2]:25", "[FE80::1%2]:25"], "[fe80::1%2]:25"),
            (&["/run/mx.sock", "//run/mx.sock", "/run/./mx.sock", "/run//mx.sock"], "/run/mx.sock"),
            (&["/run/a:25"], "/run/a:25"),
            (&["/run/ä b.sock"], "/run/ä b.sock"),
        ] {
            let wanted: Bind = canonical.parse().unwrap();
            for spelling in spellings {
                let bind: Bind = spelling.parse().unwrap_or_else(|mistake| panic!("{spelling}: {mistake}"));
                assert_eq!(bind, wanted, "{spelling}");
                assert_eq!(bind.to_string(), canonical, "{spelling}");
            }
        }
        assert_ne!("*:25".parse::<Bind>(), "[*]:25".parse(), "a wildcard is of one family");
        assert_eq!("*:25".parse(), Ok(Bind::Tcp("0.0.0.0:25".parse().unwrap())));
        assert_eq!("[*]:25".parse(), Ok(Bind::Tcp("[::]:25".parse().unwrap())));
        let longest = format!("/{}", "x".repeat(106));
        assert_eq!(longest.parse(), Ok(Bind::Unix(longest.into())));
    }

    #[test]
    fn a_wrong_address_is_told_what_would_be_right() {
        let long = format!("/{}", "x".repeat(107));
        for (text, wrong, right) in [
            ("", "is empty", "\":25\""),
            ("*", "has no port behind a ':'", "\"0.0.0.0:25\""),
            (":", "has no port behind a ':'", "\"0.0.0.0:25\""),
            ("*:", "has no port behind a ':'", "\"0.0.0.0:25\""),
            ("127.0.0.1", "has no port behind a ':'", "\"127.0.0.1:25\""),
            ("127.0.0.1:", "has no port behind a ':'", "\"127.0.0.1:25\""),
            ("[::1]", "has no port behind a ':'", "\"[::1]:25\""),
            ("[*]", "has no port behind a ':'", "\"[::]:25\""),
            ("[fe80::1%3]", "has no port behind a ':'", "\"[fe80::1%3]:25\""),
            ("25", "is only a port", "\":25\""),
            ("*:smtp", "has the port \"smtp\"", "0 to 65535"),
            ("*:65536", "has the port \"65536\"", "0 to 65535"),
            ("*:+25", "has the port \"+25\"", "0 to 65535"),
            ("*: 25", "has the port \" 25\"", "0 to 65535"),
            ("*:25:26", "has the port \"25:26\"", "0 to 65535"),
            ("::", "without its brackets", "\"[::1]:25\""),
            ("[::1]25", "has no port behind a ':'", "\"[::1]:25\""),
            ("localhost:25", "the host name \"localhost\"", "an IP address is wanted"),
            ("mx.example.net:25", "the host name \"mx.example.net\"", "an IP address is wanted"),
            ("mx.example.net", "the host name", "an IP address is wanted"),
            (" 127.0.0.1:25", "the host name", "an IP address is wanted"),
            ("@abstract", "the host name", "an IP address is wanted"),
            ("127.1:25", "four numbers", "\"127.0.0.1:25\""),
            ("127.0.0.256:25", "four numbers", "\"127.0.0.1:25\""),
            ("127.0.0.01:25", "four numbers", "\"127.0.0.1:25\""),
            ("10.0.0.0.1:25", "four numbers", "\"127.0.0.1:25\""),
            ("::1", "without its brackets", "\"[::1]:25\""),
            ("::1:25", "without its brackets", "\"[::1]:25\""),
            (":::25", "without its brackets", "\"[::1]:25\""),
            ("[::1:25", "has no ']'", "\"[::1]:25\""),
            ("[]:25", "no IPv6 address", "\"[::1]:25\""),
            ("[::g]:25", "no IPv6 address", "\"[::1]:25\""),
            ("[localhost]:25", "no IPv6 address", "\"[::1]:25\""),
            ("[127.0.0.1]:25", "IPv4 address in brackets", "\"127.0.0.1:25\""),
            ("[::ffff:1.2.3.4]:25", "in the form of an IPv6 one", "\"1.2.3.4:25\""),
            ("[::ffff:102:304]:25", "in the form of an IPv6 one", "\"1.2.3.4:25\""),
            ("[fe80::1]:25", "without its interface", "\"[fe80::1%2]:25\""),
            ("[fe80::1%eth0]:25", "interface \"eth0\"", "number is wanted"),
            ("[fe80::1%0]:25", "interface \"0\"", "number is wanted"),
            ("[::1%2]:25", "names an interface", "\"[::1]:25\""),
            ("224.0.0.1:25", "no address of one machine", "\"*:25\""),
            ("255.255.255.255:25", "no address of one machine", "\"*:25\""),
            ("[ff02::1]:25", "no address of one machine", "\"*:25\""),
            ("run/mx.sock", "is a relative path", "begins with '/'"),
            ("./mx.sock", "is a relative path", "begins with '/'"),
            ("unix:/run/mx.sock", "begins with \"unix\"", "\"/run/mx.sock\""),
            ("unix:///run/mx.sock", "begins with \"unix\"", "\"/run/mx.sock\""),
            ("/run/../mx.sock", "has \"..\" in it", "\"/run/mx.sock\""),
            ("/run/", "is a directory", "\"/run/mx.sock\""),
            ("/run/.", "is a directory", "\"/run/mx.sock\""),
            ("/", "is a directory", "\"/run/mx.sock\""),
            ("/run/\0", "has a NUL", "\"/run/mx.sock\""),
            (&long, "a path of 108 octets", "at most 107"),
        ] {
            let mistake = text.parse::<Bind>().expect_err(text);
            assert!(mistake.wrong.contains(wrong) && mistake.right.contains(right), "{text}: {mistake}");
        }
    }

    #[test]
    fn local_addresses_and_ports_are_known() {
        for (text, local) in [
            ("127.0.0.1:25", true),
            ("127.9.9.9:25", true),
            ("[::1]:25", true),
            ("/run/mx.sock", true),
            ("*:25", false),
            ("[*]:25", false),
            ("10.0.0.1:25", false),
            ("[2001:db8::1]:25", false),
        ] {
            assert_eq!(is_local(&text.parse().unwrap()), local, "{text}");
        }
        assert_eq!(["*:0", "[::1]:25", "/0"].map(|text| port(&text.parse().unwrap())), [Some(0), Some(25), None]);
    }
}
