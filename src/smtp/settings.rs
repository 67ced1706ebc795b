//! What a session holds itself to: its limits, modes and extensions, with the texts that depend on them rendered once.
//!
//! *Does not* know where a value came from: scopes resolve it (`policy::scope`).

use crate::limits;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::reply::Reply;

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

/// Which protocol a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and one reply for each accepted recipient at the end of mail data.
    Lmtp,
}

/// The values that a session obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// See [`Dialect`].
    pub dialect: Dialect,
    /// The name in the greeting and in replies to EHLO and HELO.
    pub hostname: String,
    /// The text behind the host name in the greeting; printable ASCII.
    pub banner: String,
    /// What EHLO offers, when its time has come: STARTTLS before TLS; AUTH and REQUIRETLS within it.
    pub extensions: Extensions,
    /// Whether mail is taken within TLS only.
    pub requires_tls: bool,
    /// Whether mail is taken from authenticated clients only.
    pub requires_auth: bool,
    /// Largest message, in octets of content.
    pub message_size_bytes: u64,
    /// Most recipients of one message.
    pub recipients_per_message: u32,
    /// Most different domains of the recipients of one message; `None` is no limit.
    pub recipient_domains_per_message: Option<u32>,
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
    /// Completes addresses that have none. A recipient `postmaster` is taken as it is.
    pub default_domain: Option<String>,
    /// Most Received fields of a message; `None` is no limit.
    pub received_fields: Option<u32>,
    /// Longest line of content, in octets without its line end; `None` is no limit.
    pub line_octets: Option<u32>,
    /// Whether accepted messages are thrown away; the greeting and every 250 then say so.
    pub discards: bool,
    /// Whether a session keeps the envelope even of messages that are thrown away, for a sink that looks at it.
    pub keeps_envelope: bool,
}

impl Terms {
    /// DESIGN §6's terms of a public listener.
    pub fn public(hostname: &str) -> Self {
        Self {
            dialect: Dialect::Smtp,
            hostname: hostname.to_owned(),
            banner: "ESMTP ringmx".to_owned(),
            extensions: Extensions::unconditional(),
            requires_tls: false,
            requires_auth: false,
            message_size_bytes: limits::MESSAGE_OCTETS,
            recipients_per_message: limits::RECIPIENTS,
            recipient_domains_per_message: None,
            messages_per_connection: Some(limits::MESSAGES_PER_CONNECTION),
            errors: Some(limits::ERRORS),
            junk_commands: Some(limits::JUNK_COMMANDS),
            synchronization: Synchronization::Strict,
            bare_newline: BareNewline::Normalize,
            nul: Nul::Accept,
            address_syntax: AddressSyntax::Loose,
            default_domain: None,
            received_fields: Some(limits::RECEIVED_FIELDS),
            line_octets: None,
            discards: false,
            keeps_envelope: false,
        }
    }

    /// The reply to a message that is taken over without an id.
    pub fn taken(&self) -> Reply {
        if self.discards { Reply::Discarded } else { Reply::Accepted }
    }

    /// Whether the session keeps what its client said, and looks into the lines of content. Not where nobody would read it.
    pub fn keeps_record(&self) -> bool {
        !self.discards
            || self.keeps_envelope
            || self.recipient_domains_per_message.is_some()
            || self.received_fields.is_some()
            || self.line_octets.is_some()
    }

    /// What is offered to a client, within TLS or without.
    pub fn offered(&self, is_secure: bool) -> Extensions {
        match is_secure {
            true => self.extensions.without(Extension::StartTls),
            false => self.extensions.without(Extension::Auth).without(Extension::RequireTls),
        }
    }

    /// What EHLO says of an extension: its keyword, and what it tells of these terms.
    fn line_of(&self, extension: Extension) -> String {
        let keyword = extension.keyword();
        match extension {
            Extension::Size => format!("{keyword} {}", self.message_size_bytes),
            Extension::Auth => format!("{keyword} PLAIN LOGIN"),
            Extension::Xclient => format!("{keyword} NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"),
            Extension::Limits => {
                // RFC 9422 §4: values have six digits at most; what is larger is no limit that a client could meet.
                let limits = [
                    ("MAILMAX", self.messages_per_connection),
                    ("RCPTMAX", Some(self.recipients_per_message)),
                    ("RCPTDOMAINMAX", self.recipient_domains_per_message),
                ];
                let told = limits
                    .into_iter()
                    .filter_map(|(name, limit)| Some(format!(" {name}={}", limit.filter(|limit| *limit <= 999_999)?)));
                std::iter::once(keyword.to_owned()).chain(told).collect()
            }
            _ => keyword.to_owned(),
        }
    }

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
    ehlo_secure: Box<[u8]>,
    helo: Box<[u8]>,
}

impl Settings {
    /// Renders greeting, EHLO and HELO once, for every session under these terms.
    pub fn new(terms: Terms) -> Self {
        let greeting = format!("220 {} {}\r\n", terms.hostname, terms.banner);
        let [ehlo, ehlo_secure] = [false, true].map(|is_secure| ehlo(&terms, is_secure));
        let helo = format!("250 {}\r\n", terms.hostname);
        assert!(greeting.len() <= limits::REPLY_LINE_OCTETS, "a validated banner fits a reply line");
        Self { terms, greeting: greeting.into_bytes().into(), ehlo, ehlo_secure, helo: helo.into_bytes().into() }
    }

    /// The values behind the texts.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The 220 line.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// All lines of the reply to EHLO or LHLO, within TLS or without.
    pub fn ehlo(&self, is_secure: bool) -> &[u8] {
        if is_secure { &self.ehlo_secure } else { &self.ehlo }
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

/// RFC 5321 §4.1.1.1 `ehlo-ok-rsp`.
fn ehlo(terms: &Terms, is_secure: bool) -> Box<[u8]> {
    let mut lines = vec![terms.hostname.clone()];
    lines.extend(terms.offered(is_secure).iter().map(|extension| terms.line_of(extension)));
    let last = lines.len() - 1;
    let marked = lines.iter().enumerate().map(|(at, line)| (if at == last { ' ' } else { '-' }, line));
    let text: String = marked.map(|(mark, line)| format!("250{mark}{line}\r\n")).collect();
    assert!(text.len() <= limits::REPLY_OCTETS, "sixteen keywords fit a reply");
    text.into_bytes().into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The fixture of CONFORMANCE, as far as this build offers it.
    pub(crate) fn terms() -> Terms {
        Terms {
            message_size_bytes: 1_000_000,
            recipients_per_message: 100,
            messages_per_connection: None,
            ..Terms::public("mx.test")
        }
    }

    pub(crate) fn settings() -> Settings {
        Settings::new(terms())
    }

    /// CONFORMANCE T002: multi-line, the host name first, a space only on the last line.
    #[test]
    fn ehlo_lists_each_extension_once() {
        let text = |terms: Terms, is_secure| {
            let settings = Settings::new(terms);
            let text = std::str::from_utf8(settings.ehlo(is_secure)).unwrap();
            let lines: Vec<&str> = text.split_terminator("\r\n").collect();
            let (last, others) = lines.split_last().unwrap();
            assert!(last.starts_with("250 ") && others.iter().all(|line| line.starts_with("250-")), "{text}");
            lines.iter().map(|line| line[4..].to_owned()).collect::<Vec<_>>().join(",")
        };
        let unconditional = "mx.test,PIPELINING,SIZE 1000000,8BITMIME,SMTPUTF8,CHUNKING,BINARYMIME,DSN,ENHANCEDSTATUSCODES,\
                             LIMITS RCPTMAX=100";
        assert_eq!(text(terms(), false), unconditional);
        assert_eq!(text(terms(), true), unconditional);
        assert_eq!(text(Terms { extensions: Extensions::NONE, ..terms() }, false), "mx.test");
        let secured = Terms {
            extensions: [Extension::StartTls, Extension::Auth, Extension::RequireTls, Extension::Limits]
                .into_iter()
                .collect(),
            messages_per_connection: Some(10),
            recipients_per_message: 1_000_000,
            recipient_domains_per_message: Some(5),
            ..terms()
        };
        assert_eq!(text(secured.clone(), false), "mx.test,STARTTLS,LIMITS MAILMAX=10 RCPTDOMAINMAX=5");
        assert_eq!(text(secured, true), "mx.test,LIMITS MAILMAX=10 RCPTDOMAINMAX=5,REQUIRETLS,AUTH PLAIN LOGIN");
    }
}
