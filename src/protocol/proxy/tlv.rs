//! What a header of version 2 tells beside the addresses: type, length, value (§2.2, §2.2.1 to §2.2.8).
//!
//! *Invariant*: [`Tlvs`] holds what [`check`] has seen whole; to walk it cannot fail.

use super::ProxyError;
use crate::limits::PROXY_UNIQUE_ID_OCTETS;
use crate::mail::checksum;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIGNATURE_ALGORITHM: u8 = 0x24;
const SSL_KEY_ALGORITHM: u8 = 0x25;
const NETNS: u8 = 0x30;

/// Octets of a type and a length.
const FRONT_OCTETS: usize = 3;
/// Octets of a checksum.
const CHECKSUM_OCTETS: usize = 4;

/// One thing that a proxy tells. Texts may hold control characters: whoever writes them down makes sure of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv<'a> {
    /// The protocol that the client negotiated: RFC 7301.
    Alpn(&'a [u8]),
    /// The host name that the client asked for, as in TLS' `server_name`.
    Authority(&'a str),
    /// The proxy's name for the connection: at most 128 octets.
    UniqueId(&'a [u8]),
    /// The client's TLS.
    Ssl(Ssl<'a>),
    /// The network namespace's name.
    Netns(&'a str),
    /// A type that this build does not know, such as those of 0xE0 to 0xEF, which are an application's own.
    Other {
        /// Its type.
        kind: u8,
        /// Its value.
        value: &'a [u8],
    },
}

/// What a proxy tells of its client's TLS (§2.2.6). Parts of types that this build does not know are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// The bits [`Ssl::CLIENT_SSL`], [`Ssl::CLIENT_CERT_CONN`], [`Ssl::CLIENT_CERT_SESS`], and others as they came.
    pub client: u8,
    /// Zero when the client gave a certificate and it was found good.
    pub verify: u32,
    /// Version of TLS, such as `TLSv1.3`; ASCII.
    pub version: Option<&'a str>,
    /// Common name of the client certificate's subject.
    pub common_name: Option<&'a str>,
    /// Cipher suite, such as `ECDHE-RSA-AES128-GCM-SHA256`; ASCII.
    pub cipher: Option<&'a str>,
    /// How the proxy's certificate is signed, such as `RSA-SHA256`; ASCII.
    pub signature_algorithm: Option<&'a str>,
    /// What made the key of the proxy's certificate, such as `RSA2048`; ASCII.
    pub key_algorithm: Option<&'a str>,
}

impl Ssl<'_> {
    /// Bit of [`Ssl::client`]: the client came over TLS.
    pub const CLIENT_SSL: u8 = 0x01;
    /// Bit of [`Ssl::client`]: it gave a certificate over this connection.
    pub const CLIENT_CERT_CONN: u8 = 0x02;
    /// Bit of [`Ssl::client`]: it gave a certificate over this TLS session at least once.
    pub const CLIENT_CERT_SESS: u8 = 0x04;

    /// Whether the client gave a certificate, now or earlier in its TLS session, and it was found good.
    pub fn is_verified(&self) -> bool {
        self.verify == 0 && self.client & (Self::CLIENT_CERT_CONN | Self::CLIENT_CERT_SESS) != 0
    }
}

/// The TLVs of a header in their order. Padding and the checksum, which tell nothing more, are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        // BOUND: each turn takes a TLV.
        while let Ok(Some((kind, value))) = split(&mut self.rest) {
            if let Ok(Some(tlv)) = read(kind, value) {
                return Some(tlv);
            }
        }
        None
    }
}

/// Takes type and value from the front of the octets; `None` at their end.
fn split<'a>(octets: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, ProxyError> {
    let Some(&kind) = octets.first() else { return Ok(None) };
    let Some(([_, high, low], rest)) = octets.split_first_chunk::<FRONT_OCTETS>() else {
        return Err(ProxyError::TlvCut(kind));
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = rest.split_at_checked(length).ok_or(ProxyError::TlvCut(kind))?;
    *octets = rest;
    Ok(Some((kind, value)))
}

/// `None` for one that tells nothing more.
fn read(kind: u8, value: &[u8]) -> Result<Option<Tlv<'_>>, ProxyError> {
    let malformed = ProxyError::TlvValue(kind);
    Ok(Some(match kind {
        NOOP => return Ok(None),
        CRC32C if value.len() == CHECKSUM_OCTETS => return Ok(None),
        CRC32C => return Err(malformed),
        ALPN => Tlv::Alpn(value),
        AUTHORITY => Tlv::Authority(text(kind, value)?),
        UNIQUE_ID if value.len() > PROXY_UNIQUE_ID_OCTETS => return Err(malformed),
        UNIQUE_ID => Tlv::UniqueId(value),
        SSL => Tlv::Ssl(ssl(value)?),
        NETNS => Tlv::Netns(ascii(kind, value)?),
        _ => Tlv::Other { kind, value },
    }))
}

fn text(kind: u8, value: &[u8]) -> Result<&str, ProxyError> {
    std::str::from_utf8(value).map_err(|_| ProxyError::TlvValue(kind))
}

fn ascii(kind: u8, value: &[u8]) -> Result<&str, ProxyError> {
    text(kind, value).and_then(|text| if text.is_ascii() { Ok(text) } else { Err(ProxyError::TlvValue(kind)) })
}

fn ssl(value: &[u8]) -> Result<Ssl<'_>, ProxyError> {
    let Some(([client, verify @ ..], mut parts)) = value.split_first_chunk::<5>() else {
        return Err(ProxyError::TlvValue(SSL));
    };
    let mut ssl = Ssl { client: *client, verify: u32::from_be_bytes(*verify), ..Ssl::default() };
    // BOUND: each turn takes a part.
    while let Some((kind, value)) = split(&mut parts)? {
        let place = match kind {
            SSL_VERSION => &mut ssl.version,
            SSL_COMMON_NAME => &mut ssl.common_name,
            SSL_CIPHER => &mut ssl.cipher,
            SSL_SIGNATURE_ALGORITHM => &mut ssl.signature_algorithm,
            SSL_KEY_ALGORITHM => &mut ssl.key_algorithm,
            _ => continue,
        };
        let text = if kind == SSL_COMMON_NAME { text(kind, value)? } else { ascii(kind, value)? };
        if place.replace(text).is_some() {
            return Err(ProxyError::TlvValue(kind));
        }
    }
    Ok(ssl)
}

/// Looks at all TLVs, which are the end of the header.
pub(super) fn check<'a>(header: &[u8], tlvs: &'a [u8]) -> Result<Tlvs<'a>, ProxyError> {
    let mut rest = tlvs;
    let mut checksum = None;
    // BOUND: each turn takes a TLV.
    while let Some((kind, value)) = split(&mut rest)? {
        read(kind, value)?;
        if kind == CRC32C && checksum.replace(header.len() - rest.len() - CHECKSUM_OCTETS).is_some() {
            return Err(ProxyError::Checksum);
        }
    }
    match checksum {
        Some(at) if header[at..at + CHECKSUM_OCTETS] != checksum_of(header, at) => Err(ProxyError::Checksum),
        _ => Ok(Tlvs { rest: tlvs }),
    }
}

/// The checksum of a header as if it were zero where it stands, at `at` (§2.2.3).
fn checksum_of(header: &[u8], at: usize) -> [u8; CHECKSUM_OCTETS] {
    let before = checksum::crc32c(&header[..at]);
    let own = checksum::crc32c_append(before, &[0; CHECKSUM_OCTETS]);
    checksum::crc32c_append(own, &header[at + CHECKSUM_OCTETS..]).to_be_bytes()
}

/// Appends a checksum of zero.
pub(super) fn append_checksum_field(out: &mut Vec<u8>) {
    append_value(CRC32C, &[0; CHECKSUM_OCTETS], out);
}

/// Sets the checksum of a header of which it is the end.
pub(super) fn set_checksum(header: &mut [u8]) {
    let at = header.len() - CHECKSUM_OCTETS;
    let checksum = checksum_of(header, at);
    header[at..].copy_from_slice(&checksum);
}

fn append_value(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    // A longer one makes the header longer than it may be, and that is found out when the header is done.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

impl Tlv<'_> {
    /// Appends type, length and value.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Alpn(value) => append_value(ALPN, value, out),
            Self::Authority(value) => append_value(AUTHORITY, value.as_bytes(), out),
            Self::UniqueId(value) => append_value(UNIQUE_ID, value, out),
            Self::Netns(value) => append_value(NETNS, value.as_bytes(), out),
            Self::Other { kind, value } => append_value(kind, value, out),
            Self::Ssl(ssl) => {
                let mut value = vec![ssl.client];
                value.extend_from_slice(&ssl.verify.to_be_bytes());
                let parts = [
                    (SSL_VERSION, ssl.version),
                    (SSL_COMMON_NAME, ssl.common_name),
                    (SSL_CIPHER, ssl.cipher),
                    (SSL_SIGNATURE_ALGORITHM, ssl.signature_algorithm),
                    (SSL_KEY_ALGORITHM, ssl.key_algorithm),
                ];
                for (kind, text) in parts {
                    if let Some(text) = text {
                        append_value(kind, text.as_bytes(), &mut value);
                    }
                }
                append_value(SSL, &value, out);
            }
        }
    }
}
