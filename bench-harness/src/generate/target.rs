//! Where a load may go: loopback and private address space, and elsewhere only where somebody says that it is theirs.
//!
//! A name may have several addresses. They are tried in turn, and the first at which somebody answers is taken for the whole
//! run: a load on two servers at once would be a figure of neither.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use ringmx::reactor::listening::Bind;

use crate::failure::Failure;

/// How long an address may take to answer where there is another one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads a target, looks its name up, makes sure that it may be loaded, and finds out where it is.
pub fn resolve(text: &str, operated: Option<&str>) -> Result<Bind, Failure> {
    let mut targets = read(text, operated)?;
    match targets.as_slice() {
        [_] => Ok(targets.swap_remove(0)),
        _ => choose(text, targets, |address| TcpStream::connect_timeout(address, PATIENCE).map(drop)),
    }
}

/// The first address at which somebody answers.
fn choose(text: &str, targets: Vec<Bind>, try_it: impl Fn(&SocketAddr) -> io::Result<()>) -> Result<Bind, Failure> {
    let mut refusals = Vec::new();
    for target in targets {
        let Bind::Tcp(address) = &target else { return Ok(target) };
        match try_it(address) {
            Ok(()) => return Ok(target),
            Err(error) => refusals.push(format!("{address}: {error}")),
        }
    }
    Err(Failure::Unavailable(format!("cannot connect to {text}: {}", refusals.join("; "))))
}

/// Where a target may be; all of it may be loaded.
fn read(text: &str, operated: Option<&str>) -> Result<Vec<Bind>, Failure> {
    if text.starts_with('/') || text.starts_with("./") {
        return Ok(vec![Bind::Unix(text.into())]);
    }
    let wrong =
        || Failure::Usage(format!("'{text}' is no target: 127.0.0.1:2525, [::1]:25, mx.lab:25 or /path/of/socket"));
    let (host, _) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match text.parse::<SocketAddr>() {
        Ok(address) => vec![address],
        Err(_) if host.is_empty() || text.rsplit(':').next().is_none_or(|port| port.parse::<u16>().is_err()) => {
            return Err(wrong());
        }
        Err(_) => text
            .to_socket_addrs()
            .ok()
            .map(distinct)
            .filter(|addresses| !addresses.is_empty())
            .ok_or_else(|| Failure::Unavailable(format!("no address is known for '{host}'")))?,
    };
    let foreign = addresses.iter().find(|address| !is_private(address.ip()) && operated != Some(host));
    match foreign {
        None => Ok(addresses.into_iter().map(Bind::Tcp).collect()),
        Some(address) => Err(Failure::Usage(format!(
            "{} is outside of private address space: a load on a server that is not yours is an attack. If you operate it, \
             say so: --i-operate {host}",
            address.ip()
        ))),
    }
}

/// Each once, in their order.
fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Loopback, RFC 1918, link-local, unique local (RFC 4193); mapped addresses are what they map.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_that_answers_is_taken() {
        let addresses: Vec<SocketAddr> =
            ["[::1]:25", "127.0.0.1:25", "127.0.0.2:25"].map(|text| text.parse().unwrap()).into();
        let targets = || addresses.iter().copied().map(Bind::Tcp).collect::<Vec<_>>();
        let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        let v4 = |address: &SocketAddr| if address.is_ipv4() { Ok(()) } else { refused() };
        assert_eq!(choose("mx.lab:25", targets(), v4), Ok(Bind::Tcp(addresses[1])));
        let why = choose("mx.lab:25", targets(), |_| refused()).unwrap_err().to_string();
        assert!(why.contains("mx.lab:25: [::1]:25: ") && why.contains("; 127.0.0.2:25: "), "{why}");
        assert_eq!(distinct(addresses.iter().chain(&addresses).copied()), addresses);
    }

    #[test]
    fn private_targets_are_loaded_and_others_only_by_their_operator() {
        for private in [
            "127.0.0.1:25",
            "10.1.2.3:25",
            "172.16.0.1:1",
            "192.168.1.1:25",
            "169.254.1.1:25",
            "[::1]:25",
            "[fd00::1]:25",
        ] {
            assert!(read(private, None).is_ok(), "{private}");
        }
        for public in [
            "192.0.2.1:25",
            "172.32.0.1:25",
            "100.64.0.1:25",
            "[2001:db8::1]:25",
            "[::ffff:192.0.2.1]:25",
            "0.0.0.0:25",
        ] {
            let refusal = read(public, None).unwrap_err();
            assert!(refusal.to_string().contains("--i-operate"), "{public}: {refusal}");
            assert!(read(public, Some("other.example")).is_err(), "{public}");
        }
        assert!(read("192.0.2.1:25", Some("192.0.2.1")).is_ok());
        assert!(read("[2001:db8::1]:25", Some("2001:db8::1")).is_ok());
        assert!(matches!(resolve("/run/x.sock", None), Ok(Bind::Unix(_))));
        for wrong in ["", "127.0.0.1", ":25", "localhost:", "localhost:smtp", "[::1]"] {
            assert!(matches!(resolve(wrong, None), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
