//! Version 2: a fixed part of 16 octets, addresses, TLVs (§2.2).

use std::net::{SocketAddrV4, SocketAddrV6};

use super::tlv::{self, Tlv, Tlvs};
use super::{Extent, Header, Origin, ProxyError};
use crate::limits::{PROXY_UNIX_PATH_OCTETS as UNIX_PATH_OCTETS, PROXY_V2_OCTETS};

/// How the header begins. Its first octet is an empty line's: no SMTP client begins with one.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Octets of signature, version and command, family and transport, length.
const FIXED_OCTETS: usize = 16;

/// The fixed part, understood.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    addresses: Addresses,
    /// Octets that follow the fixed part.
    length: u16,
}

/// What addresses follow.
#[derive(Clone, Copy, Debug)]
enum Addresses {
    /// LOCAL: what follows is to be skipped.
    Local,
    /// UNSPEC, or datagrams, to which §2.2 has a receiver without them do the same: what follows is skipped, because where
    /// the addresses end is not known.
    Unknown,
    V4,
    V6,
    Unix,
}

impl Addresses {
    const fn octets(self) -> usize {
        match self {
            Self::Local | Self::Unknown => 0,
            Self::V4 => 2 * 4 + 2 * 2,
            Self::V6 => 2 * 16 + 2 * 2,
            Self::Unix => 2 * UNIX_PATH_OCTETS,
        }
    }

    /// The octet that names family and transport.
    const fn family(self) -> u8 {
        match self {
            Self::Local | Self::Unknown => 0x00,
            Self::V4 => 0x11,
            Self::V6 => 0x21,
            Self::Unix => 0x31,
        }
    }
}

fn fixed(start: &[u8; FIXED_OCTETS]) -> Result<Fixed, ProxyError> {
    let [.., version_command, family, high, low] = *start;
    if version_command >> 4 != 2 {
        return Err(ProxyError::Version(version_command >> 4));
    }
    let addresses = match (version_command & 0x0F, family >> 4, family & 0x0F) {
        (0, _, _) => Addresses::Local,
        (1, 0x1, 0x1) => Addresses::V4,
        (1, 0x2, 0x1) => Addresses::V6,
        (1, 0x3, 0x1) => Addresses::Unix,
        (1, 0x0..=0x3, 0x0..=0x2) => Addresses::Unknown,
        (1, _, _) => return Err(ProxyError::Family(family)),
        (command, _, _) => return Err(ProxyError::Command(command)),
    };
    let length = u16::from_be_bytes([high, low]);
    match usize::from(length) {
        octets if octets < addresses.octets() => Err(ProxyError::TooShort(length)),
        octets if octets > PROXY_V2_OCTETS - FIXED_OCTETS => Err(ProxyError::TooLong(length)),
        _ => Ok(Fixed { addresses, length }),
    }
}

pub(super) fn extent(start: &[u8]) -> Result<Extent, ProxyError> {
    let Some(first) = start.first_chunk() else { return Ok(Extent::Open(FIXED_OCTETS)) };
    let octets = FIXED_OCTETS + usize::from(fixed(first)?.length);
    Ok(if start.len() < octets { Extent::Open(octets) } else { Extent::Whole(octets) })
}

/// Reads a header of exactly these octets.
pub(super) fn read(header: &[u8]) -> Result<Header<'_>, ProxyError> {
    let Some((start, body)) = header.split_first_chunk() else { return Err(ProxyError::NotProxy) };
    let addresses = fixed(start)?.addresses;
    let Some((block, tlvs)) = body.split_at_checked(addresses.octets()) else {
        return Err(ProxyError::TooShort(body.len() as u16));
    };
    let origin = match addresses {
        Addresses::Local => Origin::Local,
        Addresses::Unknown => Origin::Unknown,
        Addresses::V4 => {
            let (source, destination) = inet::<4>(block).ok_or(ProxyError::TooShort(block.len() as u16))?;
            let end = |(address, port): ([u8; 4], u16)| SocketAddrV4::new(address.into(), port);
            Origin::V4 { source: end(source), destination: end(destination) }
        }
        Addresses::V6 => {
            let (source, destination) = inet::<16>(block).ok_or(ProxyError::TooShort(block.len() as u16))?;
            let end = |(address, port): ([u8; 16], u16)| SocketAddrV6::new(address.into(), port, 0, 0);
            Origin::V6 { source: end(source), destination: end(destination) }
        }
        Addresses::Unix => {
            let (source, destination) = block.split_at(UNIX_PATH_OCTETS);
            Origin::Unix { source: unix_path(source), destination: unix_path(destination) }
        }
    };
    let tlvs = match addresses {
        Addresses::Local | Addresses::Unknown => Tlvs::default(),
        Addresses::V4 | Addresses::V6 | Addresses::Unix => tlv::check(header, tlvs)?,
    };
    Ok(Header { origin, tlvs })
}

type End<const N: usize> = ([u8; N], u16);

/// Source and destination, out of two addresses and two ports.
fn inet<const N: usize>(block: &[u8]) -> Option<(End<N>, End<N>)> {
    let (source, block) = block.split_first_chunk()?;
    let (destination, block) = block.split_first_chunk()?;
    let (source_port, block) = block.split_first_chunk()?;
    let destination_port = block.first_chunk()?;
    let port = |octets: &[u8; 2]| u16::from_be_bytes(*octets);
    Some(((*source, port(source_port)), (*destination, port(destination_port))))
}

/// A path ends at its first NUL; an abstract name begins with one, and the field is filled up with more.
fn unix_path(field: &[u8]) -> &[u8] {
    let end = match field {
        [0, ..] => field.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1),
        _ => memchr::memchr(0, field).unwrap_or(field.len()),
    };
    &field[..end]
}

/// Why a header was not written: the caller asked for one that the protocol does not have, or that no reader of ours takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// More octets than [`crate::limits::PROXY_V2_OCTETS`].
    #[error("the header would have {0} octets")]
    TooLong(usize),
    /// A path with more than 108 octets.
    #[error("a path of the Unix domain has {0} octets")]
    Path(usize),
    /// A value that a reader would refuse.
    #[error(transparent)]
    Refused(#[from] ProxyError),
}

/// Appends a header of version 2, with a checksum behind the other TLVs if asked for. Where there are no addresses, readers
/// skip what follows.
///
/// # Errors
///
/// When [`super::Preamble`] would refuse it; nothing is appended then.
pub fn write_v2(
    origin: &Origin<'_>,
    tlvs: &[Tlv<'_>],
    with_checksum: bool,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let begin = out.len();
    let written = append(origin, tlvs, with_checksum, out);
    if written.is_err() {
        out.truncate(begin);
    }
    written
}

fn append(origin: &Origin<'_>, tlvs: &[Tlv<'_>], with_checksum: bool, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let begin = out.len();
    out.extend_from_slice(&SIGNATURE);
    let (command, addresses) = match origin {
        Origin::Local => (0, Addresses::Local),
        Origin::Unknown => (1, Addresses::Unknown),
        Origin::V4 { .. } => (1, Addresses::V4),
        Origin::V6 { .. } => (1, Addresses::V6),
        Origin::Unix { .. } => (1, Addresses::Unix),
    };
    // The length is set when it is known.
    out.extend_from_slice(&[0x20 | command, addresses.family(), 0, 0]);
    match origin {
        Origin::Local | Origin::Unknown => {}
        Origin::V4 { source, destination } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            append_ports(source.port(), destination.port(), out);
        }
        Origin::V6 { source, destination } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            append_ports(source.port(), destination.port(), out);
        }
        Origin::Unix { source, destination } => {
            for path in [source, destination] {
                let padding = UNIX_PATH_OCTETS.checked_sub(path.len()).ok_or(WriteError::Path(path.len()))?;
                out.extend_from_slice(path);
                out.resize(out.len() + padding, 0);
            }
        }
    }
    for tlv in tlvs {
        tlv.append(out);
    }
    if with_checksum {
        tlv::append_checksum_field(out);
    }
    let octets = out.len() - begin;
    if octets > PROXY_V2_OCTETS {
        return Err(WriteError::TooLong(octets));
    }
    let header = &mut out[begin..];
    header[FIXED_OCTETS - 2..FIXED_OCTETS].copy_from_slice(&((octets - FIXED_OCTETS) as u16).to_be_bytes());
    if with_checksum {
        tlv::set_checksum(header);
    }
    read(header)?;
    Ok(())
}

fn append_ports(source: u16, destination: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&source.to_be_bytes());
    out.extend_from_slice(&destination.to_be_bytes());
}
