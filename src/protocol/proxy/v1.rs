//! Version 1: one line of text (§2.1).

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

use super::{Extent, Origin, ProxyError};
use crate::limits::PROXY_V1_OCTETS;

/// How the line begins. SMTP has no such verb.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn extent(start: &[u8]) -> Result<Extent, ProxyError> {
    let line = &start[..start.len().min(PROXY_V1_OCTETS)];
    match memchr::memchr(b'\n', line) {
        Some(at) if line[..at].ends_with(b"\r") => Ok(Extent::Whole(at + 1)),
        Some(_) => Err(ProxyError::BareNewline),
        None if line.len() == PROXY_V1_OCTETS => Err(ProxyError::LineTooLong),
        None => Ok(Extent::Open(PROXY_V1_OCTETS)),
    }
}

/// Reads a line with its signature and its line end.
pub(super) fn read(line: &[u8]) -> Result<Origin<'static>, ProxyError> {
    let line = line.strip_prefix(SIGNATURE).ok_or(ProxyError::NotProxy)?;
    let line = line.strip_suffix(b"\r\n").ok_or(ProxyError::BareNewline)?;
    let mut words = line.split(|octet| *octet == b' ');
    // A split gives one word at least.
    match words.next().unwrap_or_default() {
        b"TCP4" => {
            let (source, destination) = ends::<Ipv4Addr>(words)?;
            let end = |(address, port)| SocketAddrV4::new(address, port);
            Ok(Origin::V4 { source: end(source), destination: end(destination) })
        }
        b"TCP6" => {
            let (source, destination) = ends::<Ipv6Addr>(words)?;
            let end = |(address, port)| SocketAddrV6::new(address, port, 0, 0);
            Ok(Origin::V6 { source: end(source), destination: end(destination) })
        }
        // What follows must be ignored.
        b"UNKNOWN" => Ok(Origin::Unknown),
        _ => Err(ProxyError::Protocol),
    }
}

type End<A> = (A, u16);

/// Source and destination, out of two addresses and two ports.
fn ends<'l, A: FromStr>(words: impl Iterator<Item = &'l [u8]>) -> Result<(End<A>, End<A>), ProxyError> {
    let mut words = words.fuse();
    let mut word = || words.next().filter(|word| !word.is_empty()).ok_or(ProxyError::Fields);
    let [source, destination, source_port, destination_port] = [word()?, word()?, word()?, word()?];
    if words.next().is_some() {
        return Err(ProxyError::Fields);
    }
    let (source, destination) = (address(source)?, address(destination)?);
    Ok(((source, port(source_port)?), (destination, port(destination_port)?)))
}

fn address<A: FromStr>(word: &[u8]) -> Result<A, ProxyError> {
    std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).ok_or(ProxyError::Address)
}

fn port(word: &[u8]) -> Result<u16, ProxyError> {
    let is_canonical = word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word[0] != b'0');
    let port = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    port.filter(|_| is_canonical).ok_or(ProxyError::Port)
}

/// Appends a header of version 1. It says UNKNOWN of all that it has no words for: LOCAL, and the Unix domain.
pub fn write_v1(origin: &Origin<'_>, out: &mut Vec<u8>) {
    let written = match origin {
        Origin::V4 { source: from, destination: to } => {
            write!(out, "PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        Origin::V6 { source: from, destination: to } => {
            write!(out, "PROXY TCP6 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        Origin::Local | Origin::Unknown | Origin::Unix { .. } => write!(out, "PROXY UNKNOWN\r\n"),
    };
    written.expect("a vector takes all that is written");
}
