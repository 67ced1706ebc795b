//! Who has connected: the address that the kernel writes when it accepts.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for a peer's address.
#[derive(Debug)]
#[repr(C)]
pub struct Address {
    storage: libc::sockaddr_storage,
    octets: libc::socklen_t,
}

impl Address {
    /// Room for any family's.
    pub fn new() -> Box<Self> {
        // SAFETY: `sockaddr_storage` is plain old data, for which zeros are valid.
        let storage = unsafe { std::mem::zeroed() };
        Box::new(Self { storage, octets: size_of::<libc::sockaddr_storage>() as libc::socklen_t })
    }

    /// Forgets who was here, and gives the kernel where to write who is next, and how much room there is.
    pub fn offer(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        self.octets = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        self.storage.ss_family = 0;
        ((&raw mut self.storage).cast(), &raw mut self.octets)
    }

    /// Who has connected; `None` for a family that has no address.
    pub fn peer(&self) -> Option<SocketAddr> {
        let storage = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which type the storage, which is large and aligned enough for any, holds.
                let address = unsafe { &*storage.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let address = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}
