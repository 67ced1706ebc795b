//! What a shard is told and asked from other threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;

use crate::metrics::histograms::Histograms;
use crate::policy::decision::Ticket;
use crate::policy::scope::Scopes;
use crate::reactor::listening::Bind;
use crate::shard::balance::Moved;
use crate::smtp::session::Outcome;

/// A message in the control mailbox. `L` is a listening socket of the shard's back end, `S` a connection.
#[derive(Debug)]
pub enum Control<L, S = L> {
    /// These are the doors from now on. One that is open already keeps its socket and gets the scope; one that is not
    /// listed is closed. No session is closed for it.
    Swap(Vec<Door<L>>),
    /// Stop accepting, let what is under way end, close the rest with 421. What is left after so many ms is cut.
    Drain {
        /// How long transactions in mail data may go on.
        patience_ms: u64,
    },
    /// Say what your sessions do, from this slot on, a page at a time.
    List {
        /// First slot.
        from: u32,
        /// Where to.
        reply: mpsc::Sender<Page>,
    },
    /// Give your histograms for these empty ones.
    Snapshot {
        /// Empty.
        empty: Box<Histograms>,
        /// Where to.
        reply: mpsc::Sender<Box<Histograms>>,
    },
    /// A question that was deferred is answered.
    Outcome {
        /// Which.
        ticket: Ticket,
        /// The answer.
        outcome: Outcome,
    },
    /// Serve a connection that another shard has accepted.
    Adopt(Box<Moved<S>>),
}

/// An address that a shard accepts from.
#[derive(Debug)]
pub struct Door<L> {
    /// Where.
    pub bind: Bind,
    /// What its connections are held to. This shard's own: its count of references is shared with no other thread.
    pub scopes: Arc<Scopes>,
    /// The socket; `None` when the shard has it already.
    pub socket: Option<L>,
}

/// Some sessions of a shard.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of their slots.
    pub sessions: Vec<SessionInfo>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<u32>,
}

/// One session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The slot of its connection.
    pub slot: u32,
    /// The listener's name.
    pub listener: String,
    /// Who has connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Where it stands.
    pub phase: &'static str,
    /// Since it was accepted, in ms.
    pub age_ms: u64,
    /// Messages so far.
    pub messages: u32,
}
