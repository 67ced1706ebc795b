//! Sockets that connect: where to, and from which of our addresses.
//!
//! *Idea*: a route is rendered once and shared by all connections that take it; the kernel reads the address in it while a
//! connect is under way. *Why plain calls*: making and binding a socket never waits, and two or three calls for a connection
//! are far below what a handshake costs; only the connect itself can wait, and goes through the ring.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::reactor::listening::Bind;

/// Where a connection goes, and where it comes from.
#[derive(Clone, Debug)]
pub struct Route {
    to: Bind,
    from: Option<IpAddr>,
    address: SockAddr,
    source: Option<SockAddr>,
}

impl Route {
    /// A route; without `from` the kernel chooses. Fails for a path that is too long for a socket, and for an address of the
    /// other family to come from, or any for a path.
    pub fn new(to: Bind, from: Option<IpAddr>) -> io::Result<Self> {
        let address = match &to {
            Bind::Tcp(address) => SockAddr::from(*address),
            Bind::Unix(path) => SockAddr::unix(path)?,
        };
        let is_apt = match (&to, from) {
            (_, None) => true,
            (Bind::Tcp(to), Some(from)) => to.is_ipv4() == from.is_ipv4(),
            (Bind::Unix(_), Some(_)) => false,
        };
        if !is_apt {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the source address is of another family"));
        }
        Ok(Self { to, from, address, source: from.map(|ip| SocketAddr::new(ip, 0).into()) })
    }

    /// Where it goes.
    pub fn to(&self) -> &Bind {
        &self.to
    }

    /// Where it comes from, if that was chosen.
    pub fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// For the kernel to read.
    pub(super) fn address(&self) -> &SockAddr {
        &self.address
    }

    /// A socket that is bound to its source, and sends at once what it is given.
    pub(super) fn socket(&self) -> io::Result<Socket> {
        let domain = match &self.to {
            Bind::Tcp(address) => Domain::for_address(*address),
            Bind::Unix(_) => Domain::UNIX,
        };
        let is_tcp = domain != Domain::UNIX;
        let socket = Socket::new(domain, Type::STREAM, is_tcp.then_some(Protocol::TCP))?;
        if is_tcp {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(source) = &self.source {
            // The port is chosen at the connect, when the other side is known: a port can then serve many destinations.
            choose_port_late(&socket)?;
            socket.bind(source)?;
        }
        Ok(socket)
    }
}

/// IP_BIND_ADDRESS_NO_PORT, for both families.
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    let (on, octets) = (1_i32, size_of::<i32>() as libc::socklen_t);
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    // SAFETY: the option is a C int, which is read during the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, (&raw const on).cast(), octets) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_one_family() {
        let v4 = || Bind::Tcp("127.0.0.1:25".parse().unwrap());
        assert!(Route::new(v4(), Some("127.0.0.2".parse().unwrap())).is_ok());
        assert!(Route::new(v4(), Some("::1".parse().unwrap())).is_err());
        assert!(Route::new(Bind::Unix("/tmp/socket".into()), Some("127.0.0.1".parse().unwrap())).is_err());
        assert!(Route::new(Bind::Unix("x".repeat(200).into()), None).is_err());
    }
}
