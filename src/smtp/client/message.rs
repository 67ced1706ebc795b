//! What a caller asks for: the terms of a session, and a message with its envelope. What the server must offer for it is
//! decided here, before anything is sent.

use crate::limits;
use crate::mail::address::{Mailbox, Path};
use crate::mail::envelope::{Body, Notify};
use crate::smtp::client::content::BareLineEnd;
use crate::smtp::client::offer::Offer;
use crate::smtp::command::{MailCommand, RcptCommand};
use crate::smtp::extension::Extension;
use crate::smtp::path::is_domain_or_literal;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and at the end of data a reply for each accepted recipient.
    Lmtp,
}

/// The name that a client gives in EHLO: a domain or an address literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Box<str>);

impl Name {
    /// Reads one: RFC 5321 §4.1.1.1.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if is_domain_or_literal(text.as_bytes(), true) { Ok(Self(text.into())) } else { Err(BadName) }
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client holds itself to, for any number of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What it calls itself.
    pub name: Name,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Whether PIPELINING is used where it is offered.
    pub pipelining: bool,
    /// Transactions that may be under way at once where PIPELINING is used; 1 to [`limits::CLIENT_TRANSACTIONS_IN_FLIGHT`].
    pub depth: u32,
    /// Whether RSET is sent before a MAIL that follows chunks of which the replies are still out. Without it, a transaction
    /// whose recipients were all refused may still be open at the server, so that the recipients of the next one join it. A
    /// client that knows its recipients to be accepted does without; a recipient accepted under a refused MAIL is then a
    /// [`Fault::AcceptedWithoutMail`](crate::smtp::client::Fault).
    pub resets_between: bool,
    /// What becomes of a bare CR or LF in mail data.
    pub bare_line_end: BareLineEnd,
}

/// The text is not a [`Name`]. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's name is neither a domain nor an address literal")]
pub struct BadName;

impl Terms {
    /// Pipelines one transaction at a time, resets, normalises line ends.
    pub fn new(protocol: Protocol, name: &str) -> Result<Self, BadName> {
        Ok(Self {
            name: Name::parse(name)?,
            protocol,
            pipelining: true,
            depth: 1,
            resets_between: true,
            bare_line_end: BareLineEnd::Normalize,
        })
    }

    pub(super) fn depth(&self) -> usize {
        self.depth.clamp(1, limits::CLIENT_TRANSACTIONS_IN_FLIGHT) as usize
    }
}

/// How content is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Not at all: the transaction ends behind RCPT (recipient verification, "call-ahead").
    None,
    /// As mail data.
    Data,
    /// In chunks: RFC 3030.
    Chunks {
        /// Octets of content.
        octets: u64,
        /// Most octets in one chunk; 0 counts as 1.
        chunk_octets: u64,
    },
}

/// What happens when some recipients are refused, and others accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The message goes to those that are accepted.
    Any,
    /// It goes to none. Content is announced when all have been accepted, whether commands are pipelined or not: a message
    /// that is announced can only be sent.
    All,
}

/// A message to send: the caller's, lent for [`Session::begin`](crate::smtp::client::Session::begin) and each
/// [`Session::poll_transmit`](crate::smtp::client::Session::poll_transmit) after it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// The reverse-path and what goes with it. SIZE is sent where it is offered.
    pub mail: MailCommand<'m>,
    /// One at least.
    pub recipients: &'m [RcptCommand<'m>],
    /// How its content is sent.
    pub transfer: Transfer,
    /// See [`Recipients`].
    pub rule: Recipients,
}

/// A transaction has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number; events name it so. They count from 0 in each session.
    pub transaction: u32,
    /// The first so many recipients are tried. The others are above a limit that the server has set (RCPTMAX,
    /// RCPTDOMAINMAX): they want another transaction, or another connection.
    pub recipients: u32,
    /// What the envelope asks for and the server does not offer.
    pub dropped: Dropped,
}

/// Parameters that are not sent, because the server does not offer their extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dropped {
    /// BODY: RFC 6152. Whether 8-bit content is sent all the same is the caller's decision.
    pub body: bool,
    /// RET, ENVID, NOTIFY or ORCPT: RFC 3461. The caller may have to report in the server's place (§5.2.2).
    pub dsn: bool,
    /// AUTH: RFC 4954 §5.
    pub auth: bool,
}

/// Why a transaction was not begun. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session is not open, or is ending. The caller's fault.
    #[error("the session is not open for messages")]
    NotOpen,
    /// As many transactions as may be are under way, or the last one is not sent yet. Nobody's: try again after an event.
    #[error("the transactions before are not done")]
    Busy,
    /// No recipients. The caller's fault.
    #[error("the message has no recipients")]
    NoRecipients,
    /// An address or a parameter that cannot be on a command line. The caller's fault.
    #[error("the envelope has octets that cannot be sent")]
    Malformed,
    /// The server lacks what the message cannot do without: SMTPUTF8 (RFC 6531 §3.1), BINARYMIME or CHUNKING (RFC 3030), or
    /// REQUIRETLS (RFC 8689 §4.2.1, also where there is no TLS). This server will not do.
    #[error("the server does not offer {}", .0.keyword())]
    Lacks(Extension),
    /// The declared size is above what the server takes: RFC 1870 §6.1. This server will not do.
    #[error("the server takes {0} octets at most")]
    TooBig(u64),
    /// MAILMAX (RFC 9422 §4.1) is reached. Another connection will do.
    #[error("the server takes no more messages in this session")]
    MailMax,
    /// RCPTDOMAINMAX (RFC 9422 §4.3) leaves no room for the first recipient. Another connection will do.
    #[error("the server takes no more recipient domains in this session")]
    RcptDomainMax,
}

impl Message<'_> {
    /// What the message needs and the server lacks, or what cannot be said at all.
    pub(super) fn check(&self, offer: &Offer, is_secure: bool) -> Result<Dropped, Refusal> {
        let parameters = &self.mail.parameters;
        let lacks = |extension| if offer.has(extension) { Ok(()) } else { Err(Refusal::Lacks(extension)) };
        if self.recipients.is_empty() {
            return Err(Refusal::NoRecipients);
        }
        if parameters.smtputf8 {
            lacks(Extension::SmtpUtf8)?;
        }
        if parameters.requiretls {
            lacks(Extension::RequireTls)?;
            if !is_secure {
                return Err(Refusal::Lacks(Extension::RequireTls));
            }
        }
        if parameters.body == Body::BinaryMime {
            lacks(Extension::BinaryMime)?;
            // RFC 3030 §3: not with DATA.
            if self.transfer == Transfer::Data {
                return Err(Refusal::Lacks(Extension::Chunking));
            }
        }
        if matches!(self.transfer, Transfer::Chunks { .. }) {
            lacks(Extension::Chunking)?;
        }
        if let (Some(size), Some(most)) = (parameters.size_bytes, offer.size_bytes())
            && size > most
        {
            return Err(Refusal::TooBig(most));
        }
        self.check_octets()?;
        let asks_dsn = parameters.ret.is_some()
            || parameters.envid.is_some()
            || self.recipients.iter().any(|rcpt| rcpt.parameters.notify.is_some() || rcpt.parameters.orcpt.is_some());
        Ok(Dropped {
            body: parameters.body == Body::EightBitMime && !offer.has(Extension::EightBitMime),
            dsn: asks_dsn && !offer.has(Extension::Dsn),
            auth: parameters.auth.is_some() && !offer.has(Extension::Auth),
        })
    }

    /// Nothing in the envelope ends a path, a parameter or a line early.
    fn check_octets(&self) -> Result<(), Refusal> {
        let utf8 = self.mail.parameters.smtputf8;
        let parameters = &self.mail.parameters;
        check_path(self.mail.reverse_path, utf8)?;
        for value in [parameters.envid, parameters.auth].into_iter().flatten() {
            check_value(value, false)?;
        }
        for rcpt in self.recipients {
            if rcpt.forward_path == Path::Null {
                return Err(Refusal::Malformed);
            }
            check_path(rcpt.forward_path, utf8)?;
            if rcpt.parameters.notify == Some(Notify::On { success: false, failure: false, delay: false }) {
                return Err(Refusal::Malformed);
            }
            rcpt.parameters.orcpt.map_or(Ok(()), |value| check_value(value, utf8))?;
        }
        Ok(())
    }
}

fn check_path(path: Path<'_>, utf8: bool) -> Result<(), Refusal> {
    let (local_part, domain) = match path {
        Path::Null => return Ok(()),
        Path::Local(local_part) => (local_part, None),
        Path::Mailbox(Mailbox { local_part, domain }) => (local_part, Some(domain)),
    };
    let is_plain = |text: &[u8]| !text.is_empty() && text.iter().all(|octet| is_plain_octet(*octet));
    let local_ok = is_plain(local_part) || is_quoted(local_part);
    if !local_ok || !domain.is_none_or(is_plain) {
        return Err(Refusal::Malformed);
    }
    let is_ascii = local_part.is_ascii() && domain.is_none_or(<[u8]>::is_ascii);
    if utf8 || is_ascii { Ok(()) } else { Err(Refusal::Lacks(Extension::SmtpUtf8)) }
}

/// What stands in an address outside of quotes. The brackets and colons of address literals are among it.
fn is_plain_octet(octet: u8) -> bool {
    octet > b' ' && !matches!(octet, 127 | b'<' | b'>' | b'"' | b'\\' | b'@' | b',')
}

/// RFC 5321 §4.1.2 `Quoted-string`; RFC 6531 §3.3 adds what is above 127.
fn is_quoted(text: &[u8]) -> bool {
    let [b'"', inner @ .., b'"'] = text else { return false };
    let mut octets = inner.iter();
    // BOUND: each turn takes an octet.
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'\\' => octets.next(),
            b'"' => None,
            other => Some(other),
        };
        if octet.is_none_or(|octet| *octet < b' ' || *octet == 127) {
            return false;
        }
    }
    true
}

/// RFC 5321 §4.1.2 `esmtp-value`; an `=` in it, which that has not, does no harm.
fn check_value(value: &[u8], utf8: bool) -> Result<(), Refusal> {
    let is_good = |octet: &u8| (33..=126).contains(octet) || (utf8 && *octet > 127);
    if !value.is_empty() && value.iter().all(is_good) { Ok(()) } else { Err(Refusal::Malformed) }
}
