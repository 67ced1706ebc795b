//! What an operator orders to be done with deferred mail, and the file in which that waits.
//!
//! A tool puts such a file into the inbox of the sink's thread, whole and on stable storage or not at all, whether a server runs or not;
//! it is taken away when all of it is carried out, so what a crash interrupts is carried out again. **Another order** is another [`Verb`]:
//! what it applies to, and where it moves mail, is said here and nowhere else.
//!
//! *Pure*: octets in, orders out. *Does not* know how they are carried out.

use std::ffi::OsStr;

use crate::limits::{self, PAGE_OCTETS};
use crate::mail::checksum;
use crate::mail::id::MessageId;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::schedule::{Kind, State};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// It is not tried until it is released.
    Hold,
    /// It is tried at once.
    Release,
    /// It is thrown away.
    Remove,
    /// It was handed to a sink anew, by a copy that is on stable storage: the original goes.
    Replayed,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hold, Self::Release, Self::Remove, Self::Replayed];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Remove => "remove",
            Self::Replayed => "replayed",
        }
    }

    /// The states that it applies to.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Hold => &[Kind::Deferred],
            Self::Release | Self::Remove => &[Kind::Deferred, Kind::Held, Kind::Quarantined, Kind::Dead],
            Self::Replayed => &[Kind::Held, Kind::Quarantined, Kind::Dead],
        }
    }

    /// Where mail goes; `None`: nowhere.
    pub const fn target(self) -> Option<Class> {
        match self {
            Self::Hold => Some(Class::Held),
            Self::Release => Some(Class::RELEASED),
            Self::Remove | Self::Replayed => None,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Hold => 1,
            Self::Release => 2,
            Self::Remove => 3,
            Self::Replayed => 4,
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// For this message.
    pub id: MessageId,
    /// To do this.
    pub verb: Verb,
    /// Where it waits in one of these states.
    pub kinds: Kinds,
    /// Only for this [copy](copy_print) of it; `None`: for all.
    pub copy: Option<u64>,
}

impl Order {
    /// Whether it applies to what is in a class. What is where it should go is there already, and what is on its way by a replay is none of
    /// this order's.
    pub fn applies_in(&self, class: Class) -> bool {
        let is_there = self.verb.target() == Some(class) || class == Class::Replay;
        !is_there && self.kinds.has(State::of(class, 0).kind)
    }
}

/// States, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Of these.
    pub fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | 1 << *kind as u8))
    }

    /// Whether it has this one.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

/// Tells copies of a message apart that wait in the same way: those that were deferred at another time, or for others. It is the same where
/// an order has moved the copy.
pub fn copy_print(attempts: u32, since_ms: u64, manifest: &[u8]) -> u64 {
    let history = checksum::crc32c_append(checksum::crc32c(&attempts.to_le_bytes()), &since_ms.to_le_bytes());
    u64::from(history) << 32 | u64::from(checksum::crc32c(manifest))
}

/// Whether a file in an inbox has orders, by its name.
pub fn is_order_file(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(SUFFIX) && !name.starts_with('.'))
}

/// How the name of such a file ends.
pub const SUFFIX: &str = ".orders";

const MAGIC: [u8; 8] = *b"ringmxO1";
/// Magic, checksum, node, number of orders; the rest is kept for later.
const HEAD_OCTETS: usize = 64;
const ENTRY_OCTETS: usize = 32;
const CHECKSUM: std::ops::Range<usize> = 8..12;

/// Octets of the longest file.
pub const FILE_OCTETS_MOST: usize =
    (HEAD_OCTETS + limits::DEFERRED_ORDERS_AT_ONCE * ENTRY_OCTETS).next_multiple_of(PAGE_OCTETS);

/// The file of these orders.
pub fn encode(orders: &[Order], node: u32) -> Vec<u8> {
    let mut octets = vec![0; (HEAD_OCTETS + orders.len() * ENTRY_OCTETS).next_multiple_of(PAGE_OCTETS)];
    octets[..8].copy_from_slice(&MAGIC);
    octets[12..16].copy_from_slice(&node.to_le_bytes());
    octets[16..24].copy_from_slice(&(orders.len() as u64).to_le_bytes());
    for (order, entry) in orders.iter().zip(octets[HEAD_OCTETS..].chunks_exact_mut(ENTRY_OCTETS)) {
        entry[..16].copy_from_slice(&order.id.bits().to_le_bytes());
        (entry[16], entry[17], entry[18]) = (order.verb.code(), order.kinds.0, u8::from(order.copy.is_some()));
        entry[24..].copy_from_slice(&order.copy.unwrap_or_default().to_le_bytes());
    }
    let checksum = checksum::crc32c(&octets);
    octets[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    octets
}

/// What a file says; `None`: it is none, or another data directory's.
pub fn decode(octets: &[u8], node: u32) -> Option<Vec<Order>> {
    let mut unsealed = octets.to_vec();
    unsealed.get_mut(CHECKSUM)?.fill(0);
    let is_ours = octets.starts_with(&MAGIC) && octets.get(12..16)? == node.to_le_bytes();
    if !is_ours || octets.get(CHECKSUM)? != checksum::crc32c(&unsealed).to_le_bytes() {
        return None;
    }
    let count = usize::try_from(u64::from_le_bytes(*octets.get(16..)?.first_chunk()?)).ok()?;
    let entries = octets.get(HEAD_OCTETS..)?.chunks_exact(ENTRY_OCTETS);
    if count > entries.len().min(limits::DEFERRED_ORDERS_AT_ONCE) {
        return None;
    }
    let order = |entry: &[u8]| {
        Some(Order {
            id: MessageId::from_bits(u128::from_le_bytes(*entry.first_chunk()?)),
            verb: Verb::ALL.into_iter().find(|verb| verb.code() == entry[16])?,
            kinds: Kinds(entry[17]),
            copy: (entry[18] != 0).then_some(u64::from_le_bytes(*entry.last_chunk()?)),
        })
    };
    entries.take(count).map(order).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order() -> impl Strategy<Value = Order> {
        (any::<u128>(), prop::sample::select(Verb::ALL.to_vec()), 0..16_u8, any::<Option<u64>>())
            .prop_map(|(id, verb, kinds, copy)| Order { id: MessageId::from_bits(id), verb, kinds: Kinds(kinds), copy })
    }

    proptest! {
        #[test]
        fn a_file_says_what_was_ordered(orders in prop::collection::vec(order(), 0..300)) {
            let octets = encode(&orders, 7);
            prop_assert!(octets.len().is_multiple_of(PAGE_OCTETS) && octets.len() <= FILE_OCTETS_MOST);
            prop_assert_eq!(decode(&octets, 7), Some(orders));
            prop_assert_eq!(decode(&octets, 8), None);
        }

        /// Nobody is thrown away for octets that a disk made up.
        #[test]
        fn a_file_that_is_not_whole_says_nothing(orders in prop::collection::vec(order(), 1..100), at in any::<prop::sample::Index>()) {
            let octets = encode(&orders, 7);
            let mut other = octets.clone();
            other[at.index(octets.len())] ^= 16;
            prop_assert_eq!(decode(&other, 7), None);
            prop_assert_eq!(decode(&octets[..at.index(octets.len())], 7), None);
        }
    }

    #[test]
    fn an_order_applies_where_something_is_to_be_done() {
        let all = [Class::Retry(300), Class::RELEASED, Class::Replay, Class::Held, Class::Quarantined, Class::Dead];
        let applies = |verb: Verb| {
            let order = Order { id: MessageId::from_bits(1), verb, kinds: Kinds::of(verb.kinds()), copy: None };
            all.into_iter().filter(|class| order.applies_in(*class)).collect::<Vec<_>>()
        };
        assert_eq!(applies(Verb::Hold), [Class::Retry(300), Class::RELEASED]);
        assert_eq!(applies(Verb::Release), [Class::Retry(300), Class::Held, Class::Quarantined, Class::Dead]);
        assert_eq!(
            applies(Verb::Remove),
            [Class::Retry(300), Class::RELEASED, Class::Held, Class::Quarantined, Class::Dead]
        );
        assert_eq!(applies(Verb::Replayed), [Class::Held, Class::Quarantined, Class::Dead]);
        let of_one =
            Order { id: MessageId::from_bits(1), verb: Verb::Remove, kinds: Kinds::of(&[Kind::Dead]), copy: None };
        assert!(of_one.applies_in(Class::Dead) && !of_one.applies_in(Class::Held));
    }

    #[test]
    fn copies_are_told_apart() {
        let print = copy_print(1, 2, b"manifest");
        assert_eq!(print, copy_print(1, 2, b"manifest"));
        for other in [copy_print(2, 2, b"manifest"), copy_print(1, 3, b"manifest"), copy_print(1, 2, b"manifesto")] {
            assert_ne!(print, other);
        }
    }
}
