//! What a session asks, and what is answered: every point of it where something can be refused, or waited for.

use crate::smtp::command::{Chunk, MailCommand, RcptCommand};
use crate::smtp::data::Marks;
use crate::smtp::reply::Reply;

/// Where something can be refused, or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A client has connected; the greeting is due.
    Connect,
    /// EHLO or HELO.
    Hello,
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
    pub const ALL: [Self; 6] = [Self::Connect, Self::Hello, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfData];

    /// As scripts and logs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Hello => "hello",
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
    /// See [`Point::Mail`].
    Mail(MailCommand<'q>),
    /// See [`Point::Rcpt`].
    Rcpt(RcptCommand<'q>),
    /// See [`Point::Data`].
    Data,
    /// See [`Point::EndOfData`].
    EndOfData(Ended),
}

impl Question<'_> {
    /// Where it arises.
    pub fn point(&self) -> Point {
        match self {
            Self::Connect => Point::Connect,
            Self::Hello { .. } => Point::Hello,
            Self::Mail(_) => Point::Mail,
            Self::Rcpt(_) => Point::Rcpt,
            Self::Data => Point::Data,
            Self::EndOfData(_) => Point::EndOfData,
        }
    }
}

/// A message whose content has come in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Octets of content.
    pub content_octets: u64,
    /// Accepted recipients.
    pub recipients: u32,
    /// What was seen in the content. Chunks are not looked into where nobody would read it: see
    /// [`Terms::looks_into_chunks`](crate::smtp::settings::Terms::looks_into_chunks).
    pub marks: Marks,
}

/// What is answered to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Accept,
    /// With this reply; one that closes ends the session.
    Refuse(Reply),
}

/// A question that is being answered, with what its answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// See [`Point::Connect`].
    Connect,
    /// See [`Point::Hello`].
    Hello {
        /// EHLO rather than HELO.
        extended: bool,
    },
    /// See [`Point::Mail`].
    Mail {
        /// The transaction's number.
        transaction: u32,
    },
    /// See [`Point::Rcpt`].
    Rcpt {
        /// The transaction's number.
        transaction: u32,
    },
    /// DATA.
    Data {
        /// More input stood behind it.
        behind: bool,
    },
    /// The first BDAT.
    FirstChunk(Chunk),
    /// See [`Point::EndOfData`].
    EndOfData,
}

impl Asking {
    /// The transaction whose recipients are not all known while the question is open.
    pub(super) fn transaction(self) -> Option<u32> {
        match self {
            Self::Mail { transaction } | Self::Rcpt { transaction } => Some(transaction),
            _ => None,
        }
    }

    /// The transaction whose RCPT it is.
    pub(super) fn rcpt_of(self) -> Option<u32> {
        match self {
            Self::Rcpt { transaction } => Some(transaction),
            _ => None,
        }
    }

    /// MAIL, RCPT and the end of mail data may be answered later than the commands behind them are read; the rest stops
    /// the reading.
    pub(super) fn stops_reading(self) -> bool {
        matches!(self, Self::Connect | Self::Hello { .. } | Self::Data { .. } | Self::FirstChunk(_))
    }
}
