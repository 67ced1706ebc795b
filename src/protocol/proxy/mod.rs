//! The header with which a proxy says whose connection it passes on: HAProxy's PROXY protocol, versions 1 and 2
//! (`doc/proxy-protocol.txt` of HAProxy; sections below are that document's).
//!
//! *Invariants*: a header's octets are taken and none behind it; the result is the same however they were cut; a header
//! that comes whole is read where it lies, a cut one is kept up to its bound.
//!
//! *Why this way*: both versions are read on every listener that awaits a header. Neither is the beginning of an SMTP
//! command, so what begins as neither is refused at its first octet that differs.
//!
//! *Does not* know whether the sender is a trusted proxy, nor how long to wait: a header that stops is for its caller's timer
//! (§2: some seconds, at least 3).

mod tlv;
mod v1;
mod v2;

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

pub use tlv::{Ssl, Tlv, Tlvs};
pub use v1::write_v1;
pub use v2::{WriteError, write_v2};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whose connection this is.
    pub origin: Origin<'a>,
    /// What else the proxy tells; nothing where there are no addresses.
    pub tlvs: Tlvs<'a>,
}

/// Whose connection is passed on. Source is who opened it, destination where it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The proxy's own, such as a check of our health: the real addresses are to be used (§2.2, LOCAL).
    Local,
    /// Somebody's of whom the proxy cannot tell, or by a transport that cannot carry SMTP: the real addresses are to be
    /// used (§2.1 UNKNOWN, §2.2 UNSPEC, and datagrams).
    Unknown,
    /// TCP over IPv4.
    V4 {
        /// Who opened it.
        source: SocketAddrV4,
        /// Where it went to.
        destination: SocketAddrV4,
    },
    /// TCP over IPv6. An address that maps an IPv4 one is given as it was sent.
    V6 {
        /// Who opened it.
        source: SocketAddrV6,
        /// Where it went to.
        destination: SocketAddrV6,
    },
    /// A stream of the Unix domain.
    Unix {
        /// Who opened it: see [`Endpoint::Unix`].
        source: &'a [u8],
        /// Where it went to: see [`Endpoint::Unix`].
        destination: &'a [u8],
    },
}

/// One end of the connection that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// An address and a port.
    Inet(SocketAddr),
    /// A path; an abstract name with its NUL in front; empty for a socket without a name. At most 108 octets.
    Unix(&'a [u8]),
}

impl<'a> Header<'a> {
    /// Who opened the connection; `None` when that is the real peer.
    pub fn source(&self) -> Option<Endpoint<'a>> {
        self.ends().map(|(source, _)| source)
    }

    /// Where the connection went to; `None` when that is the real address.
    pub fn destination(&self) -> Option<Endpoint<'a>> {
        self.ends().map(|(_, destination)| destination)
    }

    fn ends(&self) -> Option<(Endpoint<'a>, Endpoint<'a>)> {
        match self.origin {
            Origin::Local | Origin::Unknown => None,
            Origin::V4 { source, destination } => {
                Some((Endpoint::Inet(source.into()), Endpoint::Inet(destination.into())))
            }
            Origin::V6 { source, destination } => {
                Some((Endpoint::Inet(source.into()), Endpoint::Inet(destination.into())))
            }
            Origin::Unix { source, destination } => Some((Endpoint::Unix(source), Endpoint::Unix(destination))),
        }
    }
}

/// What is wrong with a header. All of it is the sender's fault, and the connection is to be closed (§2.1, §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The beginning of neither version.
    #[error("the connection does not begin with a PROXY header")]
    NotProxy,
    /// Version 1: no line end within 107 octets.
    #[error("PROXY v1: the line has more than 107 octets")]
    LineTooLong,
    /// Version 1: a line that ends with LF alone.
    #[error("PROXY v1: the line does not end with CRLF")]
    BareNewline,
    /// Version 1: none of TCP4, TCP6 and UNKNOWN.
    #[error("PROXY v1: the protocol is none of TCP4, TCP6, UNKNOWN")]
    Protocol,
    /// Version 1: not four words behind the protocol, or not one space between two.
    #[error("PROXY v1: there must be two addresses and two ports, with one space before each")]
    Fields,
    /// Version 1: not an address of the protocol's family.
    #[error("PROXY v1: an address is not of its family's form")]
    Address,
    /// Version 1: not a decimal number from 0 to 65535 without zeros in front.
    #[error("PROXY v1: a port is not a number from 0 to 65535")]
    Port,
    /// Version 2's signature with another version behind it.
    #[error("PROXY v2: the version is {0}")]
    Version(u8),
    /// Version 2: neither LOCAL nor PROXY.
    #[error("PROXY v2: the command is {0}")]
    Command(u8),
    /// Version 2: an address family or a transport that is not assigned.
    #[error("PROXY v2: address family and transport are {0:#04x}")]
    Family(u8),
    /// Version 2: more octets than [`crate::limits::PROXY_V2_OCTETS`].
    #[error("PROXY v2: {0} octets follow the fixed part")]
    TooLong(u16),
    /// Version 2: fewer octets than the addresses have.
    #[error("PROXY v2: {0} octets do not hold the addresses")]
    TooShort(u16),
    /// Version 2: a TLV, or one within it, reaches beyond what holds it.
    #[error("PROXY v2: TLV {0:#04x} is cut")]
    TlvCut(u8),
    /// Version 2: the value of this TLV, or of one within it, is not of its form.
    #[error("PROXY v2: TLV {0:#04x} has a malformed value")]
    TlvValue(u8),
    /// Version 2: the checksum is wrong, or there are two.
    #[error("PROXY v2: the checksum is wrong")]
    Checksum,
}

/// Reads the header at the beginning of one connection. Done with after a header or an error.
///
/// ```
/// use ringmx::protocol::proxy::{Endpoint, Preamble};
///
/// let mut preamble = Preamble::default();
/// let mut piece: &[u8] = b"PROXY TCP4 192.0.2.7 ";
/// assert_eq!(preamble.take(&mut piece), Ok(None));
/// let mut piece: &[u8] = b"198.51.100.1 5000 25\r\nEHLO x.test\r\n";
/// let header = preamble.take(&mut piece).unwrap().unwrap();
/// assert_eq!(header.source(), Some(Endpoint::Inet("192.0.2.7:5000".parse().unwrap())));
/// assert_eq!(piece, b"EHLO x.test\r\n");
/// ```
#[derive(Debug, Default)]
pub struct Preamble {
    /// The beginning of a cut header; without memory until one comes.
    carry: Vec<u8>,
}

/// How far the header reaches, as its beginning tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// So many octets, which are there.
    Whole(usize),
    /// Some are missing. It has no octet beyond so many, or says more when it has them.
    Open(usize),
}

impl Preamble {
    /// Takes the header's octets from the front of `input`; `None` while some are missing.
    ///
    /// # Errors
    ///
    /// What is wrong with the header; `input` is then left as it was.
    pub fn take<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Header<'a>>, ProxyError> {
        let mut rest = *input;
        if self.carry.is_empty()
            && let Extent::Whole(octets) = extent(rest)?
        {
            let (header, behind) = rest.split_at(octets);
            let header = read(header)?;
            *input = behind;
            return Ok(Some(header));
        }
        // BOUND: each turn takes an octet at least, and no version has an extent beyond its bound.
        let octets = loop {
            let most = match extent(&self.carry)? {
                Extent::Whole(octets) => break octets,
                Extent::Open(most) => most,
            };
            let (piece, behind) = rest.split_at(rest.len().min(most - self.carry.len()));
            if piece.is_empty() {
                *input = rest;
                return Ok(None);
            }
            self.carry.extend_from_slice(piece);
            rest = behind;
        };
        // Of a line, octets behind it may have been taken from this input: earlier ones had no line end.
        let surplus = self.carry.len() - octets;
        self.carry.truncate(octets);
        let header = read(&self.carry)?;
        *input = &input[input.len() - rest.len() - surplus..];
        Ok(Some(header))
    }
}

fn extent(start: &[u8]) -> Result<Extent, ProxyError> {
    if begins(start, &v2::SIGNATURE) {
        v2::extent(start)
    } else if begins(start, v1::SIGNATURE) {
        v1::extent(start)
    } else {
        Err(ProxyError::NotProxy)
    }
}

/// Whether the octets are the signature's beginning, or begin with all of it.
fn begins(start: &[u8], signature: &[u8]) -> bool {
    start.iter().zip(signature).all(|(octet, expected)| octet == expected)
}

fn read(header: &[u8]) -> Result<Header<'_>, ProxyError> {
    if header.starts_with(v1::SIGNATURE) {
        let origin = v1::read(header)?;
        Ok(Header { origin, tlvs: Tlvs::default() })
    } else {
        v2::read(header)
    }
}

#[cfg(test)]
mod tests;
