//! Where a load may go: loopback and private address space, and elsewhere only where somebody says that it is theirs.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use ringmx::reactor::listening::Bind;

use crate::failure::Failure;

/// Reads a target, looks its name up, and makes sure that it may be loaded.
pub fn resolve(text: &str, operated: Option<&str>) -> Result<Bind, Failure> {
    if text.starts_with('/') || text.starts_with("./") {
        return Ok(Bind::Unix(text.into()));
    }
    let wrong =
        || Failure::Usage(format!("'{text}' is no target: 127.0.0.1:2525, [::1]:25, mx.lab:25 or /path/of/socket"));
    let (host, _) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) if host.is_empty() || text.rsplit(':').next().is_none_or(|port| port.parse::<u16>().is_err()) => {
            return Err(wrong());
        }
        Err(_) => text
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| Failure::Unavailable(format!("no address is known for '{host}'")))?,
    };
    match is_private(address.ip()) || operated == Some(host) {
        true => Ok(Bind::Tcp(address)),
        false => Err(Failure::Usage(format!(
            "{} is outside of private address space: a load on a server that is not yours is an attack. If you operate it, \
             say so: --i-operate {host}",
            address.ip()
        ))),
    }
}

/// Loopback, RFC 1918, link-local, unique local (RFC 4193); mapped addresses are what they map.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(resolve(private, None).is_ok(), "{private}");
        }
        for public in [
            "192.0.2.1:25",
            "172.32.0.1:25",
            "100.64.0.1:25",
            "[2001:db8::1]:25",
            "[::ffff:192.0.2.1]:25",
            "0.0.0.0:25",
        ] {
            let refusal = resolve(public, None).unwrap_err();
            assert!(refusal.to_string().contains("--i-operate"), "{public}: {refusal}");
            assert!(resolve(public, Some("other.example")).is_err(), "{public}");
        }
        assert!(resolve("192.0.2.1:25", Some("192.0.2.1")).is_ok());
        assert!(resolve("[2001:db8::1]:25", Some("2001:db8::1")).is_ok());
        assert!(matches!(resolve("/run/x.sock", None), Ok(Bind::Unix(_))));
        for wrong in ["", "127.0.0.1", ":25", "localhost:", "localhost:smtp", "[::1]"] {
            assert!(matches!(resolve(wrong, None), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
