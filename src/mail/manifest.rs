//! What is known of a message beside its content, in one run of octets: the form in which it goes with the content from the
//! shard that took it over to whoever delivers it.
//!
//! *Invariant*: what [`Manifest::encode`] wrote is what [`Manifest::decode`] reads. Octets that it did not write are refused or
//! read as something; never a panic, never beyond their end.
//!
//! *Why this way*: the octets lie beside the content in memory that passes between threads, so that a message costs no
//! allocation of its own, and nothing is read twice. *Does not* hold what follows from the rest: Received is rendered by the reader.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits;
use crate::mail::envelope::EnvelopeView;
use crate::mail::id::MessageId;
use crate::mail::marks::Marks;
use crate::mail::trace::{Peer, Trace, Transfer, With};

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another host, or another process by way of IP.
    Host(SocketAddr),
    /// A process of this machine, by a Unix socket.
    UnixSocket,
    /// Nothing is known.
    Unknown,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// The message's name.
    pub id: MessageId,
    /// When it was taken over, in ms since 1970.
    pub received_at_ms: u64,
    /// Octets of content.
    pub content_octets: u64,
    /// Recipients that were accepted, whatever their routes.
    pub recipients: u32,
    /// What was noticed in the content.
    pub marks: Marks,
    /// How it came.
    pub with: With,
    /// Where it came from.
    pub origin: Origin,
    /// The listener that it came to, by its name in the configuration.
    pub listener: &'a str,
    /// Our own name.
    pub by: &'a str,
    /// The name in HELO, EHLO or LHLO, as the client wrote it.
    pub hello: &'a [u8],
    /// Who sends, and to whom.
    pub envelope: EnvelopeView<'a>,
}

/// Octets that are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Of another version of this program.
    #[error("a manifest of version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// They end too early, or mean nothing.
    #[error("octets that are no manifest")]
    Malformed,
}

/// The first octet of every manifest.
const VERSION: u8 = 1;

/// Kinds of origins.
const UNKNOWN: u8 = 0;
const UNIX_SOCKET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 3;

impl<'a> Manifest<'a> {
    /// Appends it, at most [`limits::MANIFEST_OCTETS`] of it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(flags(self.with));
        out.push(self.marks.bits());
        out.extend_from_slice(&self.id.bits().to_le_bytes());
        out.extend_from_slice(&self.received_at_ms.to_le_bytes());
        out.extend_from_slice(&self.content_octets.to_le_bytes());
        out.extend_from_slice(&self.recipients.to_le_bytes());
        match self.origin {
            Origin::Unknown => out.push(UNKNOWN),
            Origin::UnixSocket => out.push(UNIX_SOCKET),
            Origin::Host(host) => {
                match host.ip() {
                    IpAddr::V4(address) => {
                        out.push(IPV4);
                        out.extend_from_slice(&address.octets());
                    }
                    IpAddr::V6(address) => {
                        out.push(IPV6);
                        out.extend_from_slice(&address.octets());
                    }
                }
                out.extend_from_slice(&host.port().to_le_bytes());
            }
        }
        put(out, self.listener.as_bytes());
        put(out, self.by.as_bytes());
        put(out, self.hello);
        let (envelope, recipients_at) = self.envelope.parts();
        out.extend_from_slice(&(recipients_at as u32).to_le_bytes());
        out.extend_from_slice(envelope);
    }

    /// Reads all of these octets.
    pub fn decode(octets: &'a [u8]) -> Result<Self, ManifestError> {
        let (version, octets) = octets.split_first().ok_or(ManifestError::Malformed)?;
        match *version {
            VERSION => Self::read(octets).ok_or(ManifestError::Malformed),
            other => Err(ManifestError::Version(other)),
        }
    }

    fn read(mut rest: &'a [u8]) -> Option<Self> {
        let rest = &mut rest;
        let with = with(*rest.split_off_first()?)?;
        let marks = Marks::from_bits(*rest.split_off_first()?);
        let id = MessageId::from_bits(u128::from_le_bytes(*take(rest)?));
        let received_at_ms = u64::from_le_bytes(*take(rest)?);
        let content_octets = u64::from_le_bytes(*take(rest)?);
        let recipients = u32::from_le_bytes(*take(rest)?);
        let origin = match *rest.split_off_first()? {
            UNKNOWN => Origin::Unknown,
            UNIX_SOCKET => Origin::UnixSocket,
            IPV4 => {
                let address = Ipv4Addr::from(*take::<4>(rest)?);
                Origin::Host(SocketAddr::new(address.into(), u16::from_le_bytes(*take(rest)?)))
            }
            IPV6 => {
                let address = Ipv6Addr::from(*take::<16>(rest)?);
                Origin::Host(SocketAddr::new(address.into(), u16::from_le_bytes(*take(rest)?)))
            }
            _ => return None,
        };
        let listener = str::from_utf8(text(rest)?).ok()?;
        let by = str::from_utf8(text(rest)?).ok()?;
        let hello = text(rest)?;
        let recipients_at = u32::from_le_bytes(*take(rest)?) as usize;
        let envelope = EnvelopeView::of(rest, recipients_at);
        Some(Self {
            id,
            received_at_ms,
            content_octets,
            recipients,
            marks,
            with,
            origin,
            listener,
            by,
            hello,
            envelope,
        })
    }

    /// What its Received field tells.
    pub fn trace(&self) -> Trace<'a> {
        let only = || self.envelope.recipients().next().map(|recipient| recipient.path);
        Trace {
            hello: self.hello,
            peer: match self.origin {
                Origin::Host(host) => Peer::Host { address: host.ip(), name: None },
                Origin::UnixSocket => Peer::UnixSocket,
                Origin::Unknown => Peer::Unknown,
            },
            by: self.by,
            with: self.with,
            id: self.id,
            tls: None,
            recipient: if self.recipients == 1 { only() } else { None },
            received_at_s: self.received_at_ms / 1000,
        }
    }
}

fn flags(with: With) -> u8 {
    let transfer = match with.transfer {
        Transfer::Smtp => 0,
        Transfer::Lmtp => 1,
        Transfer::Qmqp => 2,
    };
    transfer
        | u8::from(with.extended) << 2
        | u8::from(with.secure) << 3
        | u8::from(with.authenticated) << 4
        | u8::from(with.utf8) << 5
}

fn with(flags: u8) -> Option<With> {
    Some(With {
        transfer: match flags & 3 {
            0 => Transfer::Smtp,
            1 => Transfer::Lmtp,
            2 => Transfer::Qmqp,
            _ => return None,
        },
        extended: flags & 1 << 2 != 0,
        secure: flags & 1 << 3 != 0,
        authenticated: flags & 1 << 4 != 0,
        utf8: flags & 1 << 5 != 0,
    })
}

/// A text: its length in two octets, then itself.
fn put(out: &mut Vec<u8>, text: &[u8]) {
    debug_assert!(text.len() <= limits::COMMAND_LINE_OCTETS, "no text is longer than a command line");
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text);
}

fn text<'o>(rest: &mut &'o [u8]) -> Option<&'o [u8]> {
    let octets = u16::from_le_bytes(*take(rest)?);
    rest.split_off(..usize::from(octets))
}

fn take<'o, const OCTETS: usize>(rest: &mut &'o [u8]) -> Option<&'o [u8; OCTETS]> {
    rest.split_off(..OCTETS)?.first_chunk()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mail::address::{Mailbox, Path};
    use crate::mail::envelope::{Envelope, MailParameters, RcptParameters, Route};

    fn envelope(recipients: usize) -> Envelope {
        let mut envelope = Envelope::default();
        envelope.begin(Path::Null, &MailParameters::default());
        for number in 0..recipients {
            let local_part = number.to_string();
            let path = Path::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: b"ok.test" });
            let place = envelope.add(path, &RcptParameters::default()).unwrap();
            envelope.set_route(place, Route(number as u16));
        }
        envelope
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (id, received_at_ms, content_octets) in any::<(u128, u64, u64)>(),
            (marks, with_flags) in (0..32_u8, any::<u8>()),
            origin in any::<Option<Option<SocketAddr>>>(),
            (listener, by) in ("[a-z]{0,20}", "[a-z.]{1,255}"),
            hello in prop::collection::vec(any::<u8>(), 0..300),
            recipients in 0..4_usize,
            cut in any::<prop::sample::Index>(),
        ) {
            let envelope = envelope(recipients);
            let manifest = Manifest {
                id: MessageId::from_bits(id),
                received_at_ms,
                content_octets,
                recipients: recipients as u32,
                marks: Marks::from_bits(marks),
                with: with(with_flags & 0x3C).unwrap(),
                origin: match origin {
                    // What is not sent in a packet is not kept: scope and flow of an IPv6 address.
                    Some(Some(host)) => Origin::Host(SocketAddr::new(host.ip(), host.port())),
                    Some(None) => Origin::UnixSocket,
                    None => Origin::Unknown,
                },
                listener: &listener,
                by: &by,
                hello: &hello,
                envelope: envelope.view(),
            };
            let mut octets = Vec::new();
            manifest.encode(&mut octets);
            prop_assert!(octets.len() <= limits::MANIFEST_OCTETS);
            prop_assert_eq!(Manifest::decode(&octets), Ok(manifest));
            let routes: Vec<u16> = manifest.envelope.recipients().map(|recipient| recipient.route.0).collect();
            prop_assert_eq!(routes, (0..recipients as u16).collect::<Vec<_>>());
            prop_assert_eq!(manifest.trace().recipient.is_some(), recipients == 1);
            // A part of it is refused, or has fewer recipients: nothing is read beyond the end.
            let _ = Manifest::decode(&octets[..cut.index(octets.len())]);
            octets[0] = 9;
            prop_assert_eq!(Manifest::decode(&octets), Err(ManifestError::Version(9)));
        }

        #[test]
        fn what_is_none_does_no_harm(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(manifest) = Manifest::decode(&octets) {
                prop_assert!(manifest.envelope.recipients().count() <= octets.len());
            }
        }
    }
}
