//! What readers of the spool, and sinks, came upon that should not be: counted, and the last of it named, for whoever tells the operator.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::handoff::place::LogId;
use crate::limits;
use crate::mail::id::MessageId;
use crate::spool::storage::StorageError;

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Blocks that were on stable storage are not there, or are not sound.
    Blocks {
        /// In this log.
        log: LogId,
        /// Right before this address.
        before: u64,
        /// So many.
        count: u64,
    },
    /// A message whose end is there, and some of whose content is not.
    Message {
        /// In this log.
        log: LogId,
        /// It ends there.
        address: u64,
        /// Its name, where that can be read.
        id: Option<MessageId>,
    },
    /// A log or a cursor could not be read or written; that is tried again.
    Storage {
        /// Of this log.
        log: LogId,
        /// Why.
        error: StorageError,
    },
    /// What a sink has not taken cannot be kept, or not be read: its mail waits until it can.
    Held {
        /// The sink.
        sink: String,
        /// What is wrong, and where.
        cause: String,
        /// What the operator can do.
        cure: &'static str,
    },
    /// That is over.
    GoesOn {
        /// The sink.
        sink: String,
    },
    /// A cursor that says nothing: all that its log has comes again.
    Cursor {
        /// Of this log.
        log: LogId,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |log: &LogId| format!("the log of {:?} mail of shard {}", log.kind, log.shard);
        match self {
            Self::Blocks { log, before, count } => {
                write!(f, "{} has lost {count} block(s) before address {before}", name(log))
            }
            Self::Message { log, address, id: Some(id) } => {
                write!(f, "message {id} cannot be read in full: {}, address {address}", name(log))
            }
            Self::Message { log, address, id: None } => {
                write!(f, "a message cannot be read: {}, address {address}", name(log))
            }
            Self::Storage { log, error } => write!(f, "{}: {error}", name(log)),
            Self::Held { sink, cause, cure } => {
                write!(f, "mail for sink {sink:?} waits where it is: {cause}; {cure}")
            }
            Self::GoesOn { sink } => write!(f, "mail for sink {sink:?} goes on"),
            Self::Cursor { log } => write!(f, "a cursor is damaged: {} is delivered again", name(log)),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Findings {
    blocks: AtomicU64,
    messages: AtomicU64,
    refusals: AtomicU64,
    last: Mutex<VecDeque<Finding>>,
}

impl Findings {
    /// Blocks that are lost.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Messages that are lost, each for each of its sinks.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// How often a disk refused.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// The last ones since this was asked, oldest first.
    pub fn take(&self) -> Vec<Finding> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub(crate) fn add(&self, finding: Finding) {
        match &finding {
            Finding::Blocks { count, .. } => self.blocks.fetch_add(*count, Ordering::Relaxed),
            Finding::Message { .. } => self.messages.fetch_add(1, Ordering::Relaxed),
            Finding::Storage { .. } | Finding::Cursor { .. } => self.refusals.fetch_add(1, Ordering::Relaxed),
            // The sink counts it.
            Finding::Held { .. } | Finding::GoesOn { .. } => 0,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == limits::FINDINGS {
            last.pop_front();
        }
        last.push_back(finding);
    }
}
