//! Orders for mail that waits: a file of them for each thread of a sink that has some of it.
//!
//! *Invariants*: an order is on stable storage when it is given. Of what waits no more orders are given than the server keeps
//! ([`limits::DEFERRED_ORDERS`]); too many are refused before the first is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::spool::deferred::order::{self, Kinds, Order, Verb, is_order_file};
use crate::spool::deferred::schedule::Kind;
use crate::spool::storage::{Access, EntryKind, Storage, StorageError};
use crate::spool::tools::hand::Hand;
use crate::spool::tools::message::{Message, State};
use crate::spool::tools::survey::INBOX;

/// Why an order was not given.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// More would wait than are kept.
    #[error(
        "{waiting} orders wait for {thread} already, and {more} more would be over the {most} that are kept; a server that runs on this \
         spool carries them out",
        most = limits::DEFERRED_ORDERS
    )]
    TooMany {
        /// So many.
        waiting: u64,
        /// So many were to be given.
        more: u64,
        /// The thread of a sink, as its directory is called.
        thread: String,
    },
}

/// Gives orders.
#[derive(Debug)]
pub struct Orders<'s> {
    storage: &'s dyn Storage,
    spool: PathBuf,
    hand: Hand,
    /// By the directory of the sink's thread.
    all: BTreeMap<String, Vec<Order>>,
}

/// The state of deferred mail, as orders know it; `None`: it is none.
pub const fn kind_of(state: State) -> Option<Kind> {
    match state {
        State::Deferred => Some(Kind::Deferred),
        State::Held => Some(Kind::Held),
        State::Quarantined => Some(Kind::Quarantined),
        State::Dead => Some(Kind::Dead),
        State::Active | State::Delivered => None,
    }
}

/// The states that an order applies to.
pub fn states_of(verb: Verb) -> Vec<State> {
    State::ALL.into_iter().filter(|state| kind_of(*state).is_some_and(|kind| verb.kinds().contains(&kind))).collect()
}

impl<'s> Orders<'s> {
    /// For this spool.
    pub fn new(storage: &'s dyn Storage, spool: &Path, hand: Hand) -> Self {
        Self { storage, spool: spool.to_owned(), hand, all: BTreeMap::new() }
    }

    /// Adds one for a message. `is_exact`: for it as it waits now, and not for others with its id, nor in whatever state it is by then; what
    /// is tried by itself may have been, and waits in another class. False: an order like this is for no mail that waits like that.
    pub fn add(&mut self, verb: Verb, message: &Message, is_exact: bool) -> bool {
        let Some(kind) = kind_of(message.state).filter(|kind| verb.kinds().contains(kind)) else { return false };
        let Some(thread) = message.place.log.split('/').nth(1) else { return false };
        let is_exact = is_exact || verb == Verb::Replayed;
        let order = Order {
            id: message.id(),
            verb,
            kinds: if is_exact { Kinds::of(&[kind]) } else { Kinds::of(verb.kinds()) },
            copy: (is_exact && kind != Kind::Deferred).then(|| message.print()),
        };
        let of_thread = self.all.entry(thread.to_owned()).or_default();
        // A message that waits in two places is met twice, one after the other.
        if of_thread.last() != Some(&order) {
            of_thread.push(order);
        }
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Gives them: on stable storage when this is done.
    pub fn give(self) -> Result<(), OrderError> {
        let root = |thread: &str| self.spool.join("deferred").join(thread);
        for (thread, orders) in &self.all {
            let waiting = waiting(self.storage, &root(thread), self.hand.node).len() as u64;
            let more = orders.len() as u64;
            if waiting + more > limits::DEFERRED_ORDERS as u64 {
                return Err(OrderError::TooMany { waiting, more, thread: thread.clone() });
            }
        }
        for (thread, orders) in &self.all {
            let mut number = 0;
            for some in orders.chunks(limits::DEFERRED_ORDERS_AT_ONCE) {
                let octets = order::encode(some, self.hand.node);
                number = self.hand.put(self.storage, &root(thread).join(INBOX), number, order::SUFFIX, &octets)?;
            }
        }
        Ok(())
    }
}

fn files(storage: &dyn Storage, inbox: &Path) -> Result<Vec<(PathBuf, u64)>, StorageError> {
    let entries = match storage.entries(inbox) {
        Err(error) if error.is_not_found() => Vec::new(),
        entries => entries?,
    };
    let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File && is_order_file(&entry.name));
    Ok(files.map(|entry| (inbox.join(entry.name), entry.octets)).collect())
}

/// The orders that wait for a thread of a sink, in the order in which they were given. What cannot be read, or was carried out meanwhile,
/// says nothing.
pub fn waiting(storage: &dyn Storage, root: &Path, node: u32) -> Vec<Order> {
    let mut all = Vec::new();
    for (path, octets) in files(storage, &root.join(INBOX)).unwrap_or_default() {
        let is_plausible =
            octets <= order::FILE_OCTETS_MOST as u64 && octets.is_multiple_of(limits::PAGE_OCTETS as u64);
        let Some(mut buffer) = is_plausible.then(|| AlignedBuffer::new(octets as usize).ok()).flatten() else {
            continue;
        };
        let read = storage.open(&path, Access::Read).and_then(|file| file.read_at(&mut buffer, 0));
        all.extend(read.ok().and_then(|()| order::decode(&buffer, node)).unwrap_or_default());
    }
    all
}
