//! A block of a log from its first record to the answers of those whose messages end in it: one group of the group commit.

use std::sync::Arc;

use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::memory::slab::{Lease, Leases};
use crate::policy::decision::Ticket;
use crate::smtp::reply::Reply;
use crate::spool::segment::Segment;

/// The routes of a message's recipients, each with their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routes {
    /// COST: nearly every message goes to one sink, and nothing is allocated for it.
    One((Route, u32)),
    /// Others.
    Many(Box<[(Route, u32)]>),
}

impl Routes {
    /// The same.
    pub fn of(routes: &[(Route, u32)]) -> Self {
        match routes {
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    /// All of them.
    pub fn as_slice(&self) -> &[(Route, u32)] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A message that is complete, and not committed.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    pub(super) id: MessageId,
    pub(super) routes: Routes,
    /// Its name in the log.
    pub(super) tag: u64,
    /// The address of the block with its first part, or with its end.
    pub(super) first: u64,
    /// The address of its end.
    pub(super) place: u64,
    /// The lowest `first` of all messages that were open when it ended.
    pub(super) retain: u64,
    /// Of a log that is read.
    pub(super) manifest: Option<Lease>,
    /// `None` when it is only on disk, or nobody reads it.
    pub(super) content: Option<Leases>,
    /// Its `first` is counted among those of messages that span blocks.
    pub(super) is_spanning: bool,
    /// It was refused, and waits for nothing any more.
    pub(super) is_refused: bool,
}

/// A message of which a part lies in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) slot: u32,
    pub(super) tag: u64,
}

/// How far a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For a segment, or for those before it.
    Waiting,
    UnderWay {
        since_ms: u64,
    },
    Durable,
    /// It counts for nothing; once that is on stable storage, too, those behind it go on.
    Void {
        is_recorded: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    /// Of its write.
    pub(super) number: u32,
    pub(super) sequence: u64,
    pub(super) address: u64,
    /// As its header says: all blocks before this sequence are durable or void.
    pub(super) durable_upto: u64,
    /// The base of its segment.
    pub(super) base: u64,
    /// The whole block.
    pub(super) octets: Lease,
    pub(super) ends: Vec<Ended>,
    pub(super) touched: Vec<Touched>,
    /// It opens its segment, and names these blocks as void.
    pub(super) opens: Option<Vec<(u64, u64)>>,
    pub(super) state: State,
    /// Where it is written.
    pub(super) segment: Option<Arc<Segment>>,
}

impl Group {
    /// The address behind it.
    pub(super) fn end(&self) -> u64 {
        self.address + self.octets.octets().len() as u64
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay { .. })
    }
}

/// A message that is coming.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) tag: u64,
    /// The address of the block with its first part; none yet.
    pub(super) first: Option<u64>,
    /// It is counted among those that span blocks.
    pub(super) is_spanning: bool,
    /// The block that it was last in, as [`Gathering`](super::gathering::Gathering) counts them: sequences and addresses change.
    pub(super) last: u64,
    pub(super) parts: u32,
    pub(super) octets: u64,
    pub(super) checksum: u32,
    /// In memory, for sinks that keep up; `None` when it is only on disk, or nobody reads it.
    pub(super) content: Option<Leases>,
    /// It will be refused at its end, and nothing of it is kept.
    pub(super) refusal: Option<Reply>,
}
