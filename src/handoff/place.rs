//! Where a message stands in a log of the spool, as far as the hand-off must know: an address, and how far back its log is needed.
//!
//! *Invariants*: addresses of one log are never used again, and grow in the order in which messages were committed. *Does not* know
//! files, nor what a log looks like.

use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::memory::slab::{Lease, Leases};

/// What a log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogKind {
    /// Mail that is on stable storage.
    Durable,
    /// Mail that the kernel has.
    Written,
    /// Mail that a sink could not take yet: it comes from there alone, never through a ring.
    Deferred,
}

impl LogKind {
    /// Those whose mail comes through rings while its consumer keeps up.
    pub const OF_SHARDS: [Self; 2] = [Self::Durable, Self::Written];

    /// Its place among [`Self::OF_SHARDS`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Durable => 0,
            Self::Written => 1,
            Self::Deferred => unreachable!("no ring has deferred mail"),
        }
    }
}

/// Names a log of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// What it is for.
    pub kind: LogKind,
    /// The shard that writes it.
    pub shard: u16,
}

/// Where a message that is committed stands in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In this one.
    pub log: LogId,
    /// Of the record that ends it: the address of its block, and its offset there.
    pub address: u64,
    /// Who has not dealt with it needs everything from here on: no message that was open when this one ended begins before.
    pub retain: u64,
}

/// From where on a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Messages that end here or behind are; those before are dealt with.
    pub address: u64,
    /// A block begins here, and all those messages do here or behind.
    pub from: u64,
}

impl Position {
    /// Behind a message.
    pub fn behind(place: Place) -> Self {
        Self { address: place.address + 1, from: place.retain }
    }

    /// At a message.
    pub fn at(place: Place) -> Self {
        Self { address: place.address, from: place.retain }
    }
}

/// A message that was read out of a log, for one of its routes.
#[derive(Debug)]
pub struct Spooled {
    /// Its name.
    pub id: MessageId,
    /// Where it stands.
    pub place: Place,
    /// Whose it is, as its manifest numbers routes.
    pub route: Route,
    /// Recipients with this route.
    pub recipients: u32,
    /// How often it was handed out before.
    pub attempts: u32,
    /// What is known of it.
    pub manifest: Lease,
    /// Its content.
    pub content: Leases,
}

/// A message that was committed, for its sinks.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'m> {
    /// Its name.
    pub id: MessageId,
    /// Where it stands.
    pub place: Place,
    /// Where its first part does.
    pub first: u64,
    /// The routes of its recipients, each with their number.
    pub routes: &'m [(Route, u32)],
    /// Its manifest and its content, unless they must be read from the log.
    pub memory: Option<(&'m Lease, &'m Leases)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter has one, whether its mail is spooled or not.
    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Option<Place>>(), 24);
    }
}
