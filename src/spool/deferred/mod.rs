//! What a sink has not taken yet: kept on the service side, apart from the logs that mail comes in by, so that a sink which is dead
//! costs disk in proportion to what waits for it, and one slow recipient pins nothing (DESIGN decision 17).
//!
//! ```text
//! spool/deferred/SINK-THREAD/
//!     cursors                        how far each class is done with
//!     300/ 600/ … 14400/             a log for each delay: 0000.segment, 0001.segment, …
//!     held/ quarantined/ dead/       the same, for what waits for the operator
//!     0/                             the same, for what the operator has released
//!     inbox/ replay/                 what the operator wants to be tried at once, and what he has ordered
//!     gone                           what is gone out of the middle of a class
//!     spare/                         segments that have nothing
//!     damaged/                       segments of which something could not be read
//! ```
//!
//! A message that is refused for now goes to the class of its next delay, with those of its recipients that are left. A class is written
//! in the order of deferral, which is nearly that of the next times, so its reader waits for the first alone: however much waits,
//! what is resident is a few numbers for each class. What is read through is free, and its segments are written again.
//!
//! *Invariants*: a message is done with where it was when it is on stable storage where it goes, so a crash at any point loses
//! nothing; it may leave a message in two places, with one id, and then it is delivered twice. *Does not* know sinks.

mod append;
mod carry;
pub mod class;
pub mod clock;
pub mod copy;
mod cursors;
pub mod error;
mod gone;
mod inbox;
mod log;
mod middle;
pub mod order;
mod read;
pub mod schedule;
mod store;
mod survey;
#[cfg(test)]
mod tests;
mod yard;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::handoff::place::{LogKind, Place, Spooled};
use crate::limits;
use crate::memory::slab::Slab;
use crate::spool::storage::{EntryKind, Storage};
pub use append::Parcel;
use carry::Desk;
pub use carry::{Carried, OrderCounts};
pub use class::Class;
pub(super) use copy::Copier;
pub use cursors::done_with;
pub use error::DeferredError;
pub use gone::{Gone, gone as gone_of};
pub use schedule::{History, RetryOptions};
pub use store::Waiting;
use store::{Budget, Store};
pub use yard::{Owner, Sizes};

/// What deferred mail is kept with.
#[derive(Clone, Debug)]
pub struct DeferredOptions {
    /// Where.
    pub storage: Arc<dyn Storage>,
    /// The directory of all sinks' deferred mail.
    pub directory: PathBuf,
    /// Whose it is.
    pub owner: Owner,
    /// Threads that the sink has.
    pub threads: u16,
    /// How long it waits.
    pub retry: RetryOptions,
    /// How large things are.
    pub sizes: Sizes,
}

/// The deferred mail of one thread of a sink, and that of threads that it had once.
pub struct Deferred {
    /// The thread's own is the first.
    stores: Vec<Store>,
    retry: RetryOptions,
    slab: Slab,
    desk: Desk,
}

impl Deferred {
    /// Finds what is there, and makes what is not.
    pub fn open(options: &DeferredOptions, now_ms: u64) -> Result<Self, DeferredError> {
        let DeferredOptions { storage, directory, owner, threads, retry, sizes } = options;
        storage.make_directory(directory)?;
        let mut all = vec![owner.thread];
        for entry in storage.entries(directory)?.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let number = entry.name.to_str().and_then(|name| thread_of(name, &owner.sink));
            // What was another thread's before there were fewer.
            all.extend(number.filter(|number| *number >= *threads && number % threads == owner.thread % threads));
        }
        let open = |thread: u16| {
            let owner = Owner { thread, ..owner.clone() };
            let root = directory.join(directory_name(&owner.sink, thread));
            Store::open(Arc::clone(storage), root, owner, *sizes, &retry.delays_s, now_ms)
        };
        let stores = all.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { stores, retry: retry.clone(), slab: Slab::new(limits::DEFERRED_BLOCKS), desk: Desk::default() })
    }

    /// Takes out up to so many messages that are due, or none when there is no memory. Gives how many.
    pub fn take_due(&mut self, now_ms: u64, most: usize, out: &mut Vec<Spooled>) -> Result<usize, DeferredError> {
        let before = out.len();
        let mut budget = Budget { messages: most, octets: limits::DEFERRED_BATCH_OCTETS };
        for store in &mut self.stores {
            store.take_due(now_ms, &mut budget, self.desk.orders(), &mut self.slab, out)?;
        }
        Ok(out.len() - before)
    }

    /// Carries out some of what an operator has ordered, unless something is taken out. Gives what was done, which is on stable storage. What
    /// failed is tried again, by a later call.
    pub fn carry_out(&mut self, now_ms: u64) -> Result<Vec<Carried>, DeferredError> {
        if self.stores.iter().any(Store::has_taken) {
            return Ok(Vec::new());
        }
        self.desk.step(&mut self.stores, &mut self.slab, now_ms)
    }

    /// Whether there is more to be carried out at once.
    pub fn has_orders(&self, now_ms: u64) -> bool {
        self.desk.is_busy(now_ms)
    }

    /// What came of orders so far.
    pub fn order_counts(&self) -> OrderCounts {
        self.desk.counts
    }

    /// When something is due next, in ms since 1970, as far as is known.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.stores.iter().filter_map(Store::next_due_ms).min()
    }

    /// How long mail waits.
    pub fn retry_options(&self) -> &RetryOptions {
        &self.retry
    }

    /// What is known of a message that is taken out.
    pub fn history(&self, place: Place) -> Option<History> {
        let store = self.stores.iter().find(|store| store.thread() == place.log.shard)?;
        store.history(place.address).filter(|_| place.log.kind == LogKind::Deferred)
    }

    /// Writes messages to a class: on stable storage when this is done, or not there at all.
    pub fn append<'p>(&mut self, class: Class, parcels: impl Iterator<Item = Parcel<'p>>) -> Result<(), DeferredError> {
        self.stores[0].append(class, parcels)
    }

    /// All that is taken out is done with, on stable storage when this is done.
    pub fn commit(&mut self) -> Result<(), DeferredError> {
        let committed = self.stores.iter_mut().try_for_each(Store::commit);
        for _ in 0..limits::DEFERRED_BLOCKS_KEPT {
            self.slab.trim(limits::DEFERRED_BLOCKS_KEPT);
        }
        committed
    }

    /// What is taken out is not done with, and comes again.
    pub fn roll_back(&mut self) {
        self.stores.iter_mut().for_each(Store::roll_back);
    }

    /// What waits in a class.
    pub fn waiting_in(&self, class: Class) -> Waiting {
        self.sum(|of| of == class)
    }

    /// What waits to be tried again.
    pub fn waiting_for_retry(&self) -> Waiting {
        self.sum(|class| !class.is_aside())
    }

    fn sum(&self, counts: impl Fn(Class) -> bool) -> Waiting {
        let mut sum = Waiting::default();
        for store in &self.stores {
            for waiting in store.classes().filter(|class| counts(*class)).map(|class| store.waiting(class)) {
                sum.messages += waiting.messages;
                sum.octets += waiting.octets;
            }
        }
        sum
    }

    /// All messages of a class of the thread's own that are not taken out, in order, each with its next time.
    #[cfg(test)]
    fn dump(&mut self, class: Class) -> Vec<(read::Assembled, u64)> {
        self.stores[0].dump(class, &mut self.slab)
    }

    /// Things that are kept in memory between two batches.
    #[cfg(test)]
    fn resident(&self) -> usize {
        self.stores.iter().map(Store::resident).sum()
    }

    /// Directories of which it was not known any more at the start how far they are done with: what is there is delivered again.
    pub fn begun_again(&self) -> impl Iterator<Item = &Path> {
        self.stores.iter().filter_map(Store::begun_again)
    }

    /// Times that something could not be read.
    pub fn damages(&self) -> u64 {
        self.stores.iter().map(Store::damages).sum()
    }
}

/// The directory of a thread's deferred mail.
pub fn directory_name(sink: &str, thread: u16) -> String {
    format!("{sink}-{thread}")
}

/// The thread whose directory this is, if it is one of the sink's.
fn thread_of(name: &str, sink: &str) -> Option<u16> {
    let thread = name.strip_prefix(sink)?.strip_prefix('-')?.parse().ok()?;
    (directory_name(sink, thread) == name).then_some(thread)
}
