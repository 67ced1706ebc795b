//! What a session holds itself to: its limits, modes and extensions, with the texts that depend on them rendered once.
//!
//! *Does not* know where a value came from: scopes resolve it (`policy::scope`).

use crate::limits;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::{Extension, Extensions};

/// How a client that runs ahead of a synchronisation point is treated (RFC 2920 §3.1; CONFORMANCE "Grouping").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronization {
    /// Bytes already received behind EHLO, HELO or DATA when that line is acted on: 554 5.5.0 and close.
    Strict,
    /// They are answered in order.
    Tolerant,
}

/// What happens to a message whose content holds NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nul {
    /// Accepted, and marked.
    Accept,
    /// Refused with 550 5.6.0 at the true end of mail data.
    Reject,
}

/// How paths are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSyntax {
    /// RFC 5321 §4.1.2, to the letter and the octet.
    Strict,
    /// What real senders use besides: spaces after the colon, a path without brackets, dots anywhere in a local-part,
    /// underscores in domains, longer local-parts.
    Loose,
}

/// The values that a session obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The name in the greeting and in replies to EHLO and HELO.
    pub hostname: String,
    /// The text behind the host name in the greeting; printable ASCII.
    pub banner: String,
    /// What EHLO offers.
    pub extensions: Extensions,
    /// Largest message, in octets of content.
    pub message_size_bytes: u64,
    /// Most recipients of one message.
    pub recipients_per_message: u32,
    /// Most messages in one session; `None` is no limit.
    pub messages_per_connection: Option<u32>,
    /// Errors since the last accepted message after which the session is closed; `None` is no limit.
    pub errors: Option<u32>,
    /// Commands that further no message, since the last accepted one, after which the session is closed.
    pub junk_commands: Option<u32>,
    /// See [`Synchronization`].
    pub synchronization: Synchronization,
    /// See [`BareNewline`].
    pub bare_newline: BareNewline,
    /// See [`Nul`].
    pub nul: Nul,
    /// See [`AddressSyntax`].
    pub address_syntax: AddressSyntax,
    /// Whether accepted messages are thrown away; the greeting and every 250 then say so.
    pub discards: bool,
}

impl Terms {
    /// Whether chunks are looked into for marks. Not where the message is thrown away whatever is in it: nobody would read
    /// the marks, and 66 ns for 4 KiB are much beside the 101 ns that all else of such a message takes (`benches/session`).
    pub fn looks_into_chunks(&self) -> bool {
        !self.discards || self.nul == Nul::Reject
    }
}

/// [`Terms`] with the replies that depend on them rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    terms: Terms,
    greeting: Box<[u8]>,
    ehlo: Box<[u8]>,
    helo: Box<[u8]>,
}

impl Settings {
    /// Renders greeting, EHLO and HELO once, for every session under these terms.
    pub fn new(terms: Terms) -> Self {
        let greeting = format!("220 {} {}\r\n", terms.hostname, terms.banner);
        let mut lines = vec![terms.hostname.clone()];
        for extension in terms.extensions.iter() {
            lines.push(match extension {
                Extension::Size => format!("SIZE {}", terms.message_size_bytes),
                other => other.keyword().to_owned(),
            });
        }
        let last = lines.len() - 1;
        let ehlo: String = lines
            .iter()
            .enumerate()
            .map(|(index, line)| format!("250{}{line}\r\n", if index == last { ' ' } else { '-' }))
            .collect();
        let helo = format!("250 {}\r\n", terms.hostname);
        assert!(greeting.len() <= limits::REPLY_LINE_OCTETS, "a validated banner fits a reply line");
        assert!(ehlo.len() <= limits::REPLY_OCTETS, "sixteen keywords fit a reply");
        Self {
            terms,
            greeting: greeting.into_bytes().into(),
            ehlo: ehlo.into_bytes().into(),
            helo: helo.into_bytes().into(),
        }
    }

    /// The values behind the texts.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The 220 line.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// All lines of the reply to EHLO.
    pub fn ehlo(&self) -> &[u8] {
        &self.ehlo
    }

    /// The reply to HELO.
    pub fn helo(&self) -> &[u8] {
        &self.helo
    }

    /// Octets of a message that is already refused which are swallowed to stay in step (CONFORMANCE T121).
    pub fn discard_octets(&self) -> u64 {
        self.terms.message_size_bytes.saturating_mul(limits::DISCARD_FACTOR).max(limits::DISCARD_OCTETS_LEAST)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The fixture of CONFORMANCE, as far as this build offers it.
    pub(crate) fn terms() -> Terms {
        Terms {
            hostname: "mx.test".into(),
            banner: "ESMTP ringmx".into(),
            extensions: Extensions::unconditional(),
            message_size_bytes: 1_000_000,
            recipients_per_message: 100,
            messages_per_connection: None,
            errors: Some(20),
            junk_commands: Some(100),
            synchronization: Synchronization::Strict,
            bare_newline: BareNewline::Normalize,
            nul: Nul::Accept,
            address_syntax: AddressSyntax::Loose,
            discards: false,
        }
    }

    pub(crate) fn settings() -> Settings {
        Settings::new(terms())
    }

    /// CONFORMANCE T002: multi-line, the host name first, a space only on the last line.
    #[test]
    fn ehlo_lists_each_extension_once() {
        let settings = settings();
        let text = std::str::from_utf8(settings.ehlo()).unwrap();
        assert_eq!(
            text,
            "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n"
        );
        let bare = Settings::new(Terms { extensions: Extensions::NONE, ..terms() });
        assert_eq!(bare.ehlo(), b"250 mx.test\r\n");
    }
}
