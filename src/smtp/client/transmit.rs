//! What is sent of a transaction, and when: grouping (RFC 2920), chunks (RFC 3030), content.
//!
//! *Invariants*: without PIPELINING a command is written when all before it are answered. DATA is the last of its group, and
//! content follows its 354. No chunk follows one that was refused. A DATA that is accepted though no recipient is gets the
//! lone dot (RFC 2920 §3.1). *Does not* know what replies say beyond what the flight keeps of them.

use crate::limits;
use crate::mail::address::Path;
use crate::smtp::client::command;
use crate::smtp::client::content::DataEncoder;
use crate::smtp::client::flight::{Asked, Flight};
use crate::smtp::client::machine::{Entry, Machine, Phase};
use crate::smtp::client::message::{Begun, Message, Protocol, Refusal, Transfer};

/// What [`Session::poll_transmit`](crate::smtp::client::Session::poll_transmit) leaves to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Nothing is left to be sent of the last transaction; another may begin.
    Idle,
    /// Nothing can be sent before a reply has come.
    Wait,
    /// Send what is written, and call again.
    More,
    /// Give content ([`Session::put`](crate::smtp::client::Session::put)), behind what is written.
    Content,
}

/// Why content was not taken. The caller's fault, each of them; but for [`ContentFault::NotNow`] the session is over, because
/// mail data and chunks cannot be ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// No content is awaited.
    #[error("no content is awaited")]
    NotNow,
    /// A bare CR or LF, and [`BareLineEnd::Refuse`](crate::smtp::client::BareLineEnd). Send none of the content any more.
    #[error("the content has a bare carriage return or line feed")]
    BareLineEnd,
    /// Less than was announced in chunks.
    #[error("the content is shorter than was announced")]
    Short,
    /// More than was announced in chunks.
    #[error("the content is longer than was announced")]
    Long,
}

/// Where the sending of the last transaction stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sending {
    Nothing,
    Mail {
        /// Recipients to try.
        recipients: u32,
    },
    Recipients {
        next: u32,
        recipients: u32,
    },
    /// DATA or BDAT is next, if anything is.
    Announcement,
    /// DATA is sent.
    GoAhead,
    Data(DataEncoder),
    Chunk {
        left: u64,
        /// Octets of chunks behind this one.
        behind: u64,
        chunk_octets: u64,
    },
    BetweenChunks {
        behind: u64,
        chunk_octets: u64,
    },
}

impl Sending {
    pub(super) fn is_content(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Chunk { .. } | Self::BetweenChunks { .. })
    }
}

impl Machine {
    /// Whether another transaction may begin.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        let has_room = match self.is_pipelining() {
            true => self.in_flight < self.terms.depth(),
            false => self.entries.is_empty(),
        };
        match self.phase {
            // Nothing follows QUIT.
            Phase::Ready if !matches!(self.entries.back(), Some(Entry::Quit)) => {}
            _ => return Err(Refusal::NotOpen),
        }
        let is_sent = matches!(self.sending, Sending::Nothing);
        if has_room && is_sent { Ok(()) } else { Err(Refusal::Busy) }
    }

    pub(super) fn begin(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<Begun, Refusal> {
        self.check_room()?;
        let dropped = message.check(&self.offer, self.is_secure)?;
        let limits = self.offer.limits();
        if limits.mail_max.is_some_and(|most| self.transactions >= most) {
            return Err(Refusal::MailMax);
        }
        let mut recipients = u32::try_from(message.recipients.len()).unwrap_or(u32::MAX);
        recipients = recipients.min(limits.rcpt_max.unwrap_or(u32::MAX));
        if let Some(most) = limits.rcpt_domain_max {
            recipients = self.within_domains(message, recipients, most.min(limits::CLIENT_DOMAINS) as usize);
            if recipients == 0 {
                return Err(Refusal::RcptDomainMax);
            }
        }
        if self.needs_reset() {
            self.reset(out);
        }
        let transaction = self.transactions;
        self.transactions += 1;
        self.in_flight += 1;
        self.entries.push_back(Entry::Transaction(Flight::new(
            transaction,
            self.terms.protocol,
            message.transfer,
            message.rule,
        )));
        self.sending = Sending::Mail { recipients };
        Ok(Begun { transaction, recipients, dropped })
    }

    /// How many of the first recipients have no more domains than this, with those of the session so far; these are noted.
    fn within_domains(&mut self, message: &Message<'_>, recipients: u32, most: usize) -> u32 {
        for (index, rcpt) in message.recipients[..recipients as usize].iter().enumerate() {
            let Path::Mailbox(mailbox) = rcpt.forward_path else { continue };
            // BOUND: CLIENT_DOMAINS.
            if self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(mailbox.domain)) {
                continue;
            }
            if self.domains.len() >= most {
                return index as u32;
            }
            self.domains.push(mailbox.domain.into());
        }
        recipients
    }

    /// Whether a transaction may be open at the server when it reads on.
    pub(super) fn needs_reset(&self) -> bool {
        self.is_left_open
            || match self.entries.back() {
                Some(Entry::Transaction(last)) => {
                    last.leaves_open() && (self.terms.resets_between || !last.is_chunked())
                }
                _ => false,
            }
    }

    /// RSET: RFC 5321 §4.1.1.5.
    pub(super) fn reset(&mut self, out: &mut Vec<u8>) {
        command::line(b"RSET", b"", out);
        self.entries.push_back(Entry::Reset);
        self.is_left_open = false;
    }

    pub(super) fn transmit(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Transmit {
        // BOUND: each turn writes a command, goes a step on, or ends the loop.
        loop {
            self.settle();
            match self.sending {
                Sending::Nothing => return Transmit::Idle,
                Sending::Data(_) | Sending::Chunk { .. } => return Transmit::Content,
                _ => {}
            }
            if let Some(transmit) = self.step(message, out) {
                return transmit;
            }
        }
    }

    /// Ends the sending of a transaction of which, by what is known, nothing more is to be sent. Called when something
    /// becomes known, so that its end is reported at once.
    #[inline]
    pub(super) fn settle(&mut self) {
        let sending = self.sending;
        if matches!(sending, Sending::Nothing | Sending::Data(_) | Sending::Chunk { .. }) {
            return;
        }
        let Some(flight) = self.current() else { return };
        let is_over = match sending {
            Sending::Recipients { .. } => flight.refused.is_some(),
            Sending::BetweenChunks { .. } => flight.is_hopeless(),
            Sending::Announcement => {
                flight.is_abandoned = flight.is_spoilt();
                flight.has_no_content() || flight.is_hopeless() || flight.is_abandoned
            }
            Sending::GoAhead => flight.data == Asked::Refused,
            _ => false,
        };
        if is_over {
            self.end_sending();
        }
    }

    /// Nothing more is sent of the transaction.
    pub(super) fn end_sending(&mut self) {
        if let Some(flight) = self.current() {
            flight.is_sent = true;
        }
        self.sending = Sending::Nothing;
    }

    /// One command at most. `None`: there may be more.
    #[inline]
    fn step(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Option<Transmit> {
        let may_write = self.may_write();
        match self.sending {
            Sending::Mail { recipients } => {
                if !may_write {
                    return Some(Transmit::Wait);
                }
                command::mail(&message.mail, &self.offer, out);
                self.current()?.mail = Asked::Sent;
                self.sending = Sending::Recipients { next: 0, recipients };
                None
            }
            Sending::Recipients { next, recipients } => {
                let Some(rcpt) = message.recipients.get(next as usize).filter(|_| next < recipients) else {
                    self.sending = Sending::Announcement;
                    return None;
                };
                if !may_write {
                    return Some(Transmit::Wait);
                }
                if out.len() >= limits::CLIENT_GROUP_OCTETS {
                    return Some(Transmit::More);
                }
                command::rcpt(rcpt, &self.offer, out);
                self.current()?.recipients_sent += 1;
                self.sending = Sending::Recipients { next: next + 1, recipients };
                None
            }
            Sending::Announcement => self.announce(message, may_write, out),
            Sending::GoAhead => self.go_ahead(out),
            Sending::BetweenChunks { behind, chunk_octets } => {
                let is_lmtp = self.terms.protocol == Protocol::Lmtp;
                let flight = self.current()?;
                // LMTP: how many replies a last chunk has is known only when those before it were taken.
                if !may_write || (is_lmtp && flight.awaits().is_some()) {
                    return Some(Transmit::Wait);
                }
                self.chunk(behind, chunk_octets, out);
                None
            }
            Sending::Nothing | Sending::Data(_) | Sending::Chunk { .. } => None,
        }
    }

    /// The envelope is sent: DATA or BDAT, if the message is still to be sent, and that can be said.
    fn announce(&mut self, message: &Message<'_>, may_write: bool, out: &mut Vec<u8>) -> Option<Transmit> {
        let flight = self.current()?;
        if flight.must_know_recipients() || !may_write {
            return Some(Transmit::Wait);
        }
        if let Transfer::Chunks { octets, chunk_octets } = message.transfer {
            self.chunk(octets, chunk_octets.max(1), out);
        } else {
            flight.data = Asked::Sent;
            command::line(b"DATA", b"", out);
            self.sending = Sending::GoAhead;
        }
        None
    }

    /// DATA is sent: content follows its 354.
    fn go_ahead(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        let bare = self.terms.bare_line_end;
        let flight = self.current()?;
        if flight.data == Asked::Sent {
            return Some(Transmit::Wait);
        }
        if flight.accepted > 0 {
            self.sending = Sending::Data(DataEncoder::new(bare));
            return Some(Transmit::Content);
        }
        flight.give();
        command::line(b".", b"", out);
        self.sending = Sending::Nothing;
        Some(Transmit::Idle)
    }

    /// Announces the next chunk of what is left.
    fn chunk(&mut self, octets: u64, chunk_octets: u64, out: &mut Vec<u8>) {
        let left = octets.min(chunk_octets);
        let behind = octets - left;
        command::bdat(left, behind == 0, out);
        self.sending = Sending::Chunk { left, behind, chunk_octets };
        let Some(flight) = self.current() else { return };
        flight.chunks_sent += u32::from(behind > 0);
        flight.is_last_chunk_sent = behind == 0;
        if octets == 0 {
            flight.give();
        }
    }

    pub(super) fn put<'c>(&mut self, content: &mut &'c [u8]) -> Result<&'c [u8], ContentFault> {
        match &mut self.sending {
            Sending::Data(encoder) => match encoder.step(content) {
                Ok(piece) => Ok(piece),
                Err(_) => self.give_up(ContentFault::BareLineEnd),
            },
            Sending::Chunk { left, behind, chunk_octets } => {
                if *behind == 0 && content.len() as u64 > *left {
                    return self.give_up(ContentFault::Long);
                }
                let (piece, rest) = content.split_at((*left).min(content.len() as u64) as usize);
                *content = rest;
                *left -= piece.len() as u64;
                if *left > 0 {
                    return Ok(piece);
                }
                if *behind > 0 {
                    self.sending = Sending::BetweenChunks { behind: *behind, chunk_octets: *chunk_octets };
                } else if let Some(flight) = self.current() {
                    flight.give();
                }
                Ok(piece)
            }
            Sending::BetweenChunks { .. } => Ok(&[]),
            _ => Err(ContentFault::NotNow),
        }
    }

    pub(super) fn finish(&mut self) -> Result<&'static [u8], ContentFault> {
        let is_refused = self.current().is_some_and(|flight| flight.refused.is_some());
        match self.sending {
            Sending::Data(encoder) => {
                let Ok(end) = encoder.end() else { return self.give_up(ContentFault::BareLineEnd) };
                if let Some(flight) = self.current() {
                    flight.give();
                }
                self.sending = Sending::Nothing;
                Ok(end)
            }
            Sending::Chunk { left: 0, behind: 0, .. } => {
                self.sending = Sending::Nothing;
                Ok(&[])
            }
            // Chunks behind one that was refused are not announced: RFC 3030 §2.
            Sending::BetweenChunks { .. } if is_refused => {
                self.end_sending();
                Ok(&[])
            }
            Sending::Chunk { .. } | Sending::BetweenChunks { .. } => self.give_up(ContentFault::Short),
            _ => Err(ContentFault::NotNow),
        }
    }

    /// Content cannot be ended as it should be: nothing but the connection's end says so to the server.
    fn give_up<T>(&mut self, fault: ContentFault) -> Result<T, ContentFault> {
        if let Some(flight) = self.current() {
            flight.is_abandoned = true;
        }
        self.close();
        Err(fault)
    }

    /// Gives the transaction up that is being sent. Returns whether the session goes on.
    pub(super) fn abandon(&mut self) -> bool {
        let must_close = match self.sending {
            Sending::Nothing | Sending::Chunk { left: 0, behind: 0, .. } => return true,
            Sending::Mail { .. }
            | Sending::Recipients { .. }
            | Sending::Announcement
            | Sending::BetweenChunks { .. } => false,
            Sending::GoAhead | Sending::Data(_) | Sending::Chunk { .. } => true,
        };
        if let Some(flight) = self.current() {
            flight.is_abandoned = true;
        }
        if must_close {
            self.close();
        } else {
            self.end_sending();
        }
        !must_close
    }
}
