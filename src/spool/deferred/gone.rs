//! Messages that are gone out of the middle of a class: an operator had them moved or removed, and the class's cursor is not behind them
//! yet.
//!
//! *Invariants*: a message is noted here after what takes its place is on stable storage, so a crash leaves it where it was, or where
//! it goes, or in both. The file is written anew, synced, and renamed over the one before: a crash leaves the one or the other. What a
//! class's cursor is behind is forgotten; a number that no message had yet is never noted, whatever the file says, so that none of a
//! message to come is.
//!
//! *Without the file* what is noted in it comes again, and is never lost. *Why runs*: numbers follow each other, and who orders something
//! mostly does so for many that lie side by side.

use std::collections::BTreeMap;
use std::path::Path;

use crate::limits::{self, PAGE_OCTETS};
use crate::mail::checksum;
use crate::memory::region::AlignedBuffer;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::log::ClassLog;
use crate::spool::deferred::yard::Yard;
use crate::spool::storage::{Access, Storage, StorageError};

const NAME: &str = "gone";
/// Until it is whole.
const FRESH: &str = "gone.new";
const MAGIC: [u8; 8] = *b"ringmxG1";
/// Magic, checksum, node, number of entries; the rest is kept for later.
const HEAD_OCTETS: usize = 64;
/// A class, the first number of a run, and the last.
const ENTRY_OCTETS: usize = 24;
const CHECKSUM: std::ops::Range<usize> = 8..12;

/// Octets of the longest file: each class may have one run beyond the bound, at its head.
const OCTETS_MOST: usize = HEAD_OCTETS + (limits::DEFERRED_GONE_RUNS + limits::DEFERRED_CLASSES) * ENTRY_OCTETS;

/// Numbers of messages of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// From the first of each run to the last.
    runs: BTreeMap<u64, u64>,
    count: u64,
}

impl Gone {
    /// Whether it has this number.
    pub fn has(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Whether it has none.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether it has one behind this number.
    pub(super) fn has_behind(&self, number: u64) -> bool {
        self.runs.last_key_value().is_some_and(|(_, last)| *last > number)
    }

    /// How many numbers it has.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many runs.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Adds a number.
    pub(super) fn add(&mut self, number: u64) {
        self.add_run(number, number);
    }

    fn add_run(&mut self, mut first: u64, mut last: u64) {
        // Those that it touches are one with it.
        // BOUND: each turn takes one away.
        while let Some((from, to)) =
            self.runs.range(..=last.saturating_add(1)).next_back().map(|(from, to)| (*from, *to))
        {
            if to.saturating_add(1) < first {
                break;
            }
            self.runs.remove(&from);
            self.count -= to - from + 1;
            (first, last) = (first.min(from), last.max(to));
        }
        self.runs.insert(first, last);
        self.count += last - first + 1;
    }

    /// Keeps those from `first` on, up to but not including `end`.
    pub(super) fn keep(&mut self, first: u64, end: u64) {
        let kept: Vec<(u64, u64)> =
            self.runs.range(..end).map(|(from, to)| ((*from).max(first), (*to).min(end - 1))).collect();
        *self = Self::default();
        kept.into_iter().filter(|(from, to)| from <= to).for_each(|(from, to)| self.add_run(from, to));
    }

    /// Forgets those below.
    pub(super) fn forget_below(&mut self, number: u64) {
        // BOUND: each turn takes one away.
        while let Some((from, to)) =
            self.runs.first_key_value().map(|(from, to)| (*from, *to)).filter(|(from, _)| *from < number)
        {
            self.runs.remove(&from);
            self.count -= to.min(number - 1) - from + 1;
            if to >= number {
                self.runs.insert(number, to);
            }
        }
    }
}

/// Writes what is gone of each class. On stable storage when this is done.
pub(super) fn write(yard: &Yard, classes: &[ClassLog]) -> Result<(), DeferredError> {
    let runs = || classes.iter().flat_map(|log| log.gone.runs.iter().map(|run| (log.class, run)));
    let octets = (HEAD_OCTETS + runs().count() * ENTRY_OCTETS).next_multiple_of(PAGE_OCTETS);
    let mut buffer = AlignedBuffer::new(octets).map_err(DeferredError::Memory)?;
    buffer[..8].copy_from_slice(&MAGIC);
    buffer[12..16].copy_from_slice(&yard.owner.node.to_le_bytes());
    buffer[16..24].copy_from_slice(&(runs().count() as u64).to_le_bytes());
    for ((class, (from, to)), entry) in runs().zip(buffer[HEAD_OCTETS..].chunks_exact_mut(ENTRY_OCTETS)) {
        for (octets, number) in entry.chunks_exact_mut(8).zip([class.number(), *from, *to]) {
            octets.copy_from_slice(&number.to_le_bytes());
        }
    }
    let checksum = checksum::crc32c(&buffer[..octets]);
    buffer[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    let fresh = yard.root.join(FRESH);
    // One that a crash left, or a failure.
    ignore_missing(yard.storage.remove(&fresh))?;
    let file = yard.storage.create(&fresh, octets as u64)?;
    file.write_at(&buffer[..octets], 0, true)?;
    file.sync()?;
    yard.storage.rename(&fresh, &yard.root.join(NAME))?;
    yard.storage.sync_directory(&yard.root)?;
    Ok(())
}

/// Takes the file away: nothing is noted in it that counts any more, so it may come back with the power.
pub(super) fn forget(yard: &Yard) -> Result<(), DeferredError> {
    Ok(ignore_missing(yard.storage.remove(&yard.root.join(NAME)))?)
}

fn ignore_missing(removed: Result<(), StorageError>) -> Result<(), StorageError> {
    removed.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}

/// What the file says of each class; `None`: there is one that cannot be read, and it is kept for a human.
pub(super) fn open(yard: &mut Yard) -> Result<Option<Vec<(Class, Gone)>>, DeferredError> {
    match find(&*yard.storage, &yard.root, yard.owner.node) {
        Ok(found) => Ok(Some(found)),
        Err(Unreadable) => {
            let path = yard.root.join(NAME);
            yard.set_apart(&path)?;
            Ok(None)
        }
    }
}

/// For tools: what is gone of each class of a sink's thread, in the directory of that. What cannot be read says nothing.
pub fn gone(storage: &dyn Storage, root: &Path, node: u32) -> Vec<(Class, Gone)> {
    find(storage, root, node).unwrap_or_default()
}

#[derive(Debug)]
struct Unreadable;

fn find(storage: &dyn Storage, root: &Path, node: u32) -> Result<Vec<(Class, Gone)>, Unreadable> {
    let file = match storage.open(&root.join(NAME), Access::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(_) => return Err(Unreadable),
    };
    let octets = usize::try_from(file.octets()).unwrap_or(usize::MAX);
    if octets < PAGE_OCTETS || octets > OCTETS_MOST.next_multiple_of(PAGE_OCTETS) || !octets.is_multiple_of(PAGE_OCTETS)
    {
        return Err(Unreadable);
    }
    let mut buffer = AlignedBuffer::new(octets).map_err(|_| Unreadable)?;
    file.read_at(&mut buffer[..octets], 0).map_err(|_| Unreadable)?;
    read(&mut buffer[..octets], node).ok_or(Unreadable)
}

fn read(octets: &mut [u8], node: u32) -> Option<Vec<(Class, Gone)>> {
    let number = |octets: &[u8], at: usize| Some(u64::from_le_bytes(*octets.get(at..)?.first_chunk()?));
    let checksum: [u8; 4] = *octets.get(CHECKSUM)?.first_chunk()?;
    octets[CHECKSUM].fill(0);
    let is_ours = octets.starts_with(&MAGIC) && octets.get(12..16)? == node.to_le_bytes();
    if !is_ours || checksum::crc32c(octets).to_le_bytes() != checksum {
        return None;
    }
    let count = usize::try_from(number(octets, 16)?).ok()?;
    if count > (octets.len() - HEAD_OCTETS) / ENTRY_OCTETS {
        return None;
    }
    let mut all: Vec<(Class, Gone)> = Vec::new();
    for entry in octets[HEAD_OCTETS..].chunks_exact(ENTRY_OCTETS).take(count) {
        let class = Class::of_number(number(entry, 0)?)?;
        let (from, to) = (number(entry, 8)?, number(entry, 16)?);
        if from > to || to == u64::MAX {
            return None;
        }
        let place = all.iter().position(|(of, _)| *of == class).unwrap_or_else(|| {
            all.push((class, Gone::default()));
            all.len() - 1
        });
        all[place].1.add_run(from, to);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a set of numbers, with runs that neither touch nor are empty.
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((0..4_u8, 0..60_u64, 0..60_u64), 0..80)) {
            let (mut gone, mut plain) = (Gone::default(), BTreeSet::new());
            for (step, one, other) in steps {
                match step {
                    0 | 1 => {
                        gone.add(one);
                        plain.insert(one);
                    }
                    2 => {
                        gone.forget_below(one);
                        plain.retain(|number| *number >= one);
                    }
                    _ => {
                        let (first, end) = (one.min(other), one.max(other));
                        gone.keep(first, end);
                        plain.retain(|number| (first..end).contains(number));
                    }
                }
                prop_assert_eq!(gone.count(), plain.len() as u64);
                prop_assert_eq!(gone.is_empty(), plain.is_empty());
                for number in 0..62 {
                    prop_assert_eq!(gone.has(number), plain.contains(&number), "{}", number);
                }
                let runs = plain.iter().filter(|number| **number == 0 || !plain.contains(&(**number - 1))).count();
                prop_assert_eq!(gone.runs(), runs);
            }
        }
    }

    #[test]
    fn what_is_no_such_file_says_nothing() {
        let mut octets = vec![0; PAGE_OCTETS];
        octets[..8].copy_from_slice(&MAGIC);
        octets[12..16].copy_from_slice(&7_u32.to_le_bytes());
        octets[16] = 1;
        for (at, number) in [(64, Class::Dead.number()), (72, 3), (80, 9)] {
            octets[at..at + 8].copy_from_slice(&u64::to_le_bytes(number));
        }
        let seal = |octets: &mut Vec<u8>| {
            octets[CHECKSUM].fill(0);
            let checksum = checksum::crc32c(octets);
            octets[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        };
        seal(&mut octets);
        let found = read(&mut octets.clone(), 7).unwrap();
        assert_eq!((found.len(), found[0].0, found[0].1.count()), (1, Class::Dead, 7));
        assert_eq!(read(&mut octets.clone(), 8), None, "another data directory's");
        for at in [0, 9, 13, 17, 65, 72, 81, PAGE_OCTETS - 1] {
            let mut other = octets.clone();
            other[at] ^= 1;
            assert_eq!(read(&mut other, 7), None, "{at}");
        }
        // More than there is room for, and a run that ends before it begins.
        for (at, octet) in [(17, 1), (72, 10)] {
            let mut other = octets.clone();
            other[at] = octet;
            seal(&mut other);
            assert_eq!(read(&mut other, 7), None, "{at}");
        }
    }
}
