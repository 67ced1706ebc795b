//! One connection: its stage, its session, and what is under way for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::limits;
use crate::mutant::Mutant;
use crate::policy::scope::Scope;
use crate::reactor::io::{Kind, Time, Token};
use crate::shard::preamble::Awaited;
use crate::smtp::session::Session;
use crate::tls::transport::Transport;

/// Where a connection stands. It goes through the stages in this order, and may leave early for `Closing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The slot is free.
    Free,
    /// An accept is outstanding for the slot.
    Accepting,
    /// It is on its way to another shard.
    Leaving,
    /// The PROXY header is read.
    Preamble,
    /// The scope is resolved.
    Scope,
    /// The TLS handshake of an implicit listener.
    Handshake,
    /// The pause before the greeting.
    Pause,
    /// The greeting is decided and given.
    Greeting,
    /// Commands and mail data.
    Session,
    /// The session is over; its last replies are being sent.
    Closing,
    /// The sending side is shut; input is discarded until the client's end.
    Lingering,
    /// The descriptor is being given up.
    Gone,
}

/// The receive of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// None is outstanding.
    Off,
    /// Outstanding.
    Armed,
    /// Being cancelled.
    Cancelling,
    /// The client has sent all that it will.
    Ended,
}

/// The send of a connection: one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// None is outstanding.
    Idle,
    /// Outstanding.
    Underway {
        /// Octets that it sends in all.
        octets: u32,
        /// Octets of them that were sent before.
        from: u32,
        /// Octets of replies in them, as they count against the shard's memory.
        held: u32,
    },
}

/// Moments that latencies are taken from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// Whether the greeting is given and not sent.
    pub is_greeting: bool,
    /// Of the MAIL whose 354 has not been given.
    pub mail: Option<Time>,
    /// Of the MAIL whose 354 has not been sent.
    pub data: Option<Time>,
    /// Of the first end of mail data whose reply has not been sent.
    pub ended: Option<Time>,
    /// How many ends of mail data that is.
    pub endings: u32,
}

/// A question whose answer comes later.
#[derive(Clone, Copy, Debug)]
pub struct Deferred {
    /// Its number.
    pub question: u32,
    /// When it was asked.
    pub at: Time,
    /// Of the message that it is about, where its content is summed.
    pub checksum: u32,
    /// It is about a message that is complete.
    pub is_ending: bool,
}

/// Plain text that a session could not take yet.
#[derive(Debug)]
pub struct Paused {
    /// All that was kept since the session was paused.
    pub octets: Vec<u8>,
    /// So many of them were taken since.
    pub taken: usize,
}

impl Paused {
    /// Keeps more. Growing by doubling would hold twice of what came, and there is no more to come than one receive brings.
    pub fn keep(&mut self, plain: &[u8]) {
        self.octets.reserve_exact(plain.len());
        self.octets.extend_from_slice(plain);
    }

    /// What it counts against the shard's memory: all that it holds, used or not.
    pub fn held(&self) -> usize {
        self.octets.capacity()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    /// Counts the connections of this slot.
    pub generation: u32,
    /// Operations whose last completion has not come.
    pub in_flight: u16,
    /// Cancels among them.
    pub cancels: u8,
    /// One of those has found nothing.
    pub has_missed_cancel: bool,
    /// Where it stands.
    pub stage: Stage,
    /// The door at which its accept was posted, while it stands outstanding.
    pub door: usize,
    /// What it is held to.
    pub scope: Option<Arc<Scope>>,
    /// Who has connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// A peer that may say for whom it speaks said that it does not know.
    pub is_peer_unknown: bool,
    /// The PROXY header that is required, until it has come.
    pub preamble: Option<Box<Awaited>>,
    /// How its octets become plain text.
    pub transport: Transport,
    /// The protocol.
    pub session: Session,
    /// Replies that are not being sent yet.
    pub output: Vec<u8>,
    /// Whether the slot is in the list of those with output.
    pub is_listed: bool,
    /// See [`Sending`].
    pub sending: Sending,
    /// See [`Receiving`].
    pub receiving: Receiving,
    /// Input that the session could not take; `Some` while it is paused.
    pub paused: Option<Box<Paused>>,
    /// When it was accepted.
    pub accepted_at: Time,
    /// When octets came last.
    pub heard_at: Time,
    /// The transaction that is open, by its number, and when it was opened.
    pub transaction: Option<(u32, Time)>,
    /// When the command line was begun whose end has not come.
    pub line_at: Option<Time>,
    /// Questions that were deferred, oldest first; the first is one whose answer is out.
    pub asked: VecDeque<Deferred>,
    /// CRC32C of the content that came of the message under way, where that is wanted.
    pub checksum: u32,
    /// When the stage was entered, for stages that have a time of their own.
    pub stage_at: Time,
    /// Octets discarded since the end of the session.
    pub discarded: u64,
    /// The time that the wheel was set to; it may be earlier than the deadline by now.
    pub timer_at: Option<Time>,
    /// Whether its client is not served, but only told why.
    pub is_turned_away: bool,
    /// Whether the close of the descriptor is under way.
    pub is_descriptor_closing: bool,
    /// See [`Moments`].
    pub moments: Moments,
}

impl Connection {
    /// A free slot.
    pub fn new() -> Self {
        Self {
            generation: 0,
            in_flight: 0,
            cancels: 0,
            has_missed_cancel: false,
            stage: Stage::Free,
            door: 0,
            scope: None,
            peer: None,
            is_peer_unknown: false,
            preamble: None,
            transport: Transport::Plain,
            session: Session::new(),
            output: Vec::new(),
            is_listed: false,
            sending: Sending::Idle,
            receiving: Receiving::Off,
            paused: None,
            accepted_at: Time(0),
            heard_at: Time(0),
            transaction: None,
            line_at: None,
            asked: VecDeque::new(),
            checksum: 0,
            stage_at: Time(0),
            discarded: 0,
            timer_at: None,
            is_turned_away: false,
            is_descriptor_closing: false,
            moments: Moments::default(),
        }
    }

    /// Makes the slot ready for its next connection; tokens of the last one are stale from now on.
    pub fn renew(&mut self) {
        let step = u32::from(!Mutant::KeepsGeneration.is_on());
        let generation = self.generation.wrapping_add(step) & ((1 << Token::GENERATION_BITS) - 1);
        *self = Self { generation, ..Self::new() };
    }

    /// The token of an operation for this connection.
    pub fn token(&self, kind: Kind, slot: u32) -> Token {
        Token { kind, generation: self.generation, slot }
    }

    /// Whether a client is there.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Free | Stage::Accepting)
    }

    /// Whether replies wait to be sent or are on their way.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty() || self.sending != Sending::Idle
    }

    /// Notes which transaction and which command line are begun by now.
    pub fn note_progress(&mut self, now: Time) {
        self.line_at = if self.session.is_within_line() { self.line_at.or(Some(now)) } else { None };
        let number = self.session.transaction();
        if number != self.transaction.map(|(number, _)| number) {
            self.transaction = number.map(|number| (number, now));
        }
    }

    /// Forgets the first question, if it is answered.
    #[inline]
    pub fn take_answered(&mut self) -> Option<Deferred> {
        self.asked.pop_front_if(|deferred| !self.session.is_awaiting(deferred.question))
    }

    /// When it must be looked at again: the earliest of the times that run.
    pub fn deadline(&self) -> Option<Time> {
        let scope = self.scope.as_ref()?;
        let (timeouts, proxy_ms) = (scope.timeouts, scope.proxy_timeout_ms);
        match self.stage {
            Stage::Free | Stage::Accepting | Stage::Leaving | Stage::Gone => return None,
            // Its client must read the last replies, and then go.
            Stage::Closing => return Some(self.stage_at.plus_ms(timeouts.idle_ms)),
            Stage::Lingering => return Some(self.stage_at.plus_ms(limits::LINGER_MS)),
            Stage::Preamble => return Some(self.stage_at.plus_ms(proxy_ms?)),
            Stage::Pause => return Some(self.stage_at.plus_ms(timeouts.greet_pause_ms)),
            Stage::Scope | Stage::Handshake | Stage::Greeting | Stage::Session => {}
        }
        let answer = self.asked.front().map(|deferred| deferred.at.plus_ms(timeouts.answer_ms));
        let transaction = timeouts.transaction_ms.and_then(|most| Some(self.transaction?.1.plus_ms(most)));
        // A line that trickles in has as long for all of it as a client may be silent.
        let silent_since = self.line_at.unwrap_or(self.heard_at);
        let idle = Some(silent_since.plus_ms(timeouts.idle_ms));
        [answer, transaction, idle].into_iter().flatten().min()
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

// P10: an idle connection costs this, a socket's entry in the ring (48 octets), a timer (16) and a word or two.
const _: () = assert!(size_of::<Connection>() <= 512);
