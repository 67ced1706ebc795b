//! What a session asks, and what is answered: every point of it where something can be refused, or waited for.

use std::fmt;

use crate::mail::envelope::{Place, Route};
use crate::mail::id::MessageId;
use crate::mail::trace::With;
use crate::smtp::command::{Chunk, MailCommand, RcptCommand};
use crate::smtp::data::Marks;
use crate::smtp::reply::Reply;
use crate::smtp::session::record::Record;

/// Where something can be refused, or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A client has connected; the greeting is due.
    Connect,
    /// EHLO or HELO.
    Hello,
    /// XCLIENT of a peer that may have it.
    Xclient,
    /// AUTH, when the exchange is complete.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// The end of mail data, or the last chunk.
    EndOfData,
}

impl Point {
    /// All, in the order of a session.
    pub const ALL: [Self; 8] =
        [Self::Connect, Self::Hello, Self::Xclient, Self::Auth, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfData];

    /// As scripts and logs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Hello => "hello",
            Self::Xclient => "xclient",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::EndOfData => "end",
        }
    }

    /// The point of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name().eq_ignore_ascii_case(name))
    }
}

/// A question, with what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'q> {
    /// See [`Point::Connect`].
    Connect,
    /// See [`Point::Hello`].
    Hello {
        /// As the client wrote it: not yet escaped.
        name: &'q [u8],
    },
    /// See [`Point::Xclient`].
    Xclient {
        /// As the client wrote them. Accepted, the session begins anew, with a greeting.
        attributes: &'q [u8],
    },
    /// See [`Point::Auth`].
    Auth(&'q Credentials),
    /// See [`Point::Mail`].
    Mail(MailCommand<'q>),
    /// See [`Point::Rcpt`].
    Rcpt(RcptCommand<'q>),
    /// See [`Point::Data`].
    Data,
    /// See [`Point::EndOfData`].
    EndOfData(Ended<'q>),
}

impl Question<'_> {
    /// Where it arises.
    pub fn point(&self) -> Point {
        match self {
            Self::Connect => Point::Connect,
            Self::Hello { .. } => Point::Hello,
            Self::Xclient { .. } => Point::Xclient,
            Self::Auth(_) => Point::Auth,
            Self::Mail(_) => Point::Mail,
            Self::Rcpt(_) => Point::Rcpt,
            Self::Data => Point::Data,
            Self::EndOfData(_) => Point::EndOfData,
        }
    }
}

/// How AUTH was done: RFC 4954 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Never specified, and widely used: user name and password, one after the other.
    Login,
}

/// What a client shows for being who it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How.
    pub mechanism: Mechanism,
    /// As whom it wants to act; empty for as itself.
    pub authorization_id: Vec<u8>,
    /// Who it is.
    pub authentication_id: Vec<u8>,
    /// Its password.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password must not get into a log.
        f.debug_struct("Credentials").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// A message whose content has come in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<'q> {
    /// Octets of content.
    pub content_octets: u64,
    /// Accepted recipients.
    pub recipients: u32,
    /// What was seen in the content. Chunks are not looked into where nobody would read it: see
    /// [`Terms::looks_into_chunks`](crate::smtp::settings::Terms::looks_into_chunks).
    pub marks: Marks,
    /// How it came, as its Received field will say.
    pub with: With,
    /// Name and envelope; kept where [`Terms::keeps_record`](crate::smtp::settings::Terms::keeps_record).
    pub record: Option<&'q Record>,
}

/// What is answered to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Accept,
    /// At RCPT: go on, and keep that the mail of this recipient goes there.
    AcceptFor(Route),
    /// At the end of mail data: the message is taken over under this id, which the reply names.
    AcceptAs(MessageId),
    /// With this reply; one that closes ends the session.
    Refuse(Reply),
    /// At the end of mail data: what became of it for each accepted recipient. LMTP gives a reply for each (RFC 2033 §4.2); SMTP
    /// has one, and asks the client to try again unless all is well, or all is refused.
    Each(Box<Each>),
}

/// What became of a message for each of its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The id under which those have it who took it, which their replies name.
    pub id: Option<MessageId>,
    /// For each accepted recipient, in their order.
    pub recipients: Box<[Result<(), Reply>]>,
}

impl Outcome {
    /// [`Outcome::Each`] of these.
    pub fn each(id: Option<MessageId>, recipients: impl IntoIterator<Item = Result<(), Reply>>) -> Self {
        Self::Each(Box::new(Each { id, recipients: recipients.into_iter().collect() }))
    }
}

/// A question that is being answered, with what its answer needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking {
    /// See [`Point::Connect`].
    Connect,
    /// See [`Point::Hello`].
    Hello {
        /// EHLO rather than HELO.
        extended: bool,
    },
    /// See [`Point::Xclient`].
    Xclient,
    /// See [`Point::Auth`].
    Auth,
    /// See [`Point::Mail`].
    Mail {
        /// The transaction's number.
        transaction: u32,
    },
    /// See [`Point::Rcpt`].
    Rcpt {
        /// The transaction's number.
        transaction: u32,
        /// In the envelope that is kept.
        place: Option<Place>,
    },
    /// DATA.
    Data {
        /// More input stood behind it.
        behind: bool,
    },
    /// The first BDAT.
    FirstChunk(Chunk),
    /// See [`Point::EndOfData`].
    EndOfData {
        /// Accepted ones.
        recipients: u32,
        /// Of content.
        octets: u64,
    },
}

impl Asking {
    /// The transaction whose recipients are not all known while the question is open.
    pub(super) fn transaction(self) -> Option<u32> {
        match self {
            Self::Mail { transaction } | Self::Rcpt { transaction, .. } => Some(transaction),
            _ => None,
        }
    }

    /// The transaction whose RCPT it is.
    pub(super) fn rcpt_of(self) -> Option<u32> {
        match self {
            Self::Rcpt { transaction, .. } => Some(transaction),
            _ => None,
        }
    }

    /// MAIL, RCPT and the end of mail data may be answered later than the commands behind them are read; the rest stops
    /// the reading.
    pub(super) fn stops_reading(self) -> bool {
        !matches!(self, Self::Mail { .. } | Self::Rcpt { .. } | Self::EndOfData { .. })
    }
}
