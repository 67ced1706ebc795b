//! A file of a log, as the shard that writes it, those who read it, and the steward have it at the same time.
//!
//! *Invariants*: who has a segment has its file, whatever becomes of the name. Its octets have addresses while it is in use; a segment
//! that is used again has others. Only the shard that took it begins it, publishes and fails; only the steward frees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::memory::write::File;

/// The base of a segment that is not in use.
const UNUSED: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub struct Segment {
    number: u32,
    file: Arc<File>,
    octets: u64,
    /// The address of its first octet.
    base: AtomicU64,
    /// The address behind the last octet that is published.
    end: AtomicU64,
    has_failed: AtomicBool,
    /// Nobody writes it any more: it was in use before the shard that has the log now.
    is_past: AtomicBool,
}

impl Segment {
    /// One that is not in use: of this number in its log, and so long.
    pub fn new(number: u32, file: Arc<File>, octets: u64) -> Self {
        Self {
            number,
            file,
            octets,
            base: AtomicU64::new(UNUSED),
            end: AtomicU64::new(UNUSED),
            has_failed: AtomicBool::new(false),
            is_past: AtomicBool::new(false),
        }
    }

    /// One that was found in use, by whoever had the log before, with what counts in it up to `end`.
    pub fn found(number: u32, file: Arc<File>, octets: u64, base: u64, end: u64) -> Self {
        let found = Self::new(number, file, octets);
        found.begin(base);
        found.publish(end);
        found.is_past.store(true, Ordering::Relaxed);
        found
    }

    /// In its log; its file's name.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The name of its file.
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// To be written to.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// How long it is.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The address of its first octet, if it is in use.
    pub fn base(&self) -> Option<u64> {
        // With `begin`: who sees the base sees its end, too.
        Some(self.base.load(Ordering::Acquire)).filter(|base| *base != UNUSED)
    }

    /// The address behind the last octet that is published.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Whether a write to it has failed. It is never written again, then.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Whether it was in use before the shard that has the log now.
    pub fn is_past(&self) -> bool {
        self.is_past.load(Ordering::Relaxed)
    }

    /// It is written from now on, and has these addresses.
    pub fn begin(&self, base: u64) {
        self.end.store(base, Ordering::Relaxed);
        self.base.store(base, Ordering::Release);
    }

    /// All before this address counts, and can be read.
    pub fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// A write to it has failed, or nothing was heard of one.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Nobody needs what is in it.
    pub(super) fn free(&self) {
        self.is_past.store(false, Ordering::Relaxed);
        self.base.store(UNUSED, Ordering::Release);
    }
}

/// The name of the file of a segment with this number.
pub fn name(number: u32) -> String {
    format!("{number:04}.segment")
}

/// All segments of a log. The shard never waits for it.
#[derive(Debug, Default)]
pub struct Registry(Mutex<Vec<Arc<Segment>>>);

impl Registry {
    /// With these.
    pub fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self(Mutex::new(segments))
    }

    /// All of them, in use or not, in no order.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock().clone()
    }

    /// The one in which this address lies, if it is in use.
    pub fn find(&self, address: u64) -> Option<Arc<Segment>> {
        let has =
            |segment: &Segment| segment.base().is_some_and(|base| address >= base && address - base < segment.octets);
        self.lock().iter().find(|segment| has(segment)).cloned()
    }

    pub(super) fn add(&self, segment: Arc<Segment>) {
        self.lock().push(segment);
    }

    pub(super) fn remove(&self, number: u32) {
        self.lock().retain(|segment| segment.number != number);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        // It is whole between any two of its calls.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u32) -> Segment {
        Segment::new(number, Arc::new(File::Numbered(number.into())), 8192)
    }

    #[test]
    fn an_address_lies_in_one_segment_that_is_in_use() {
        let [first, second, idle] = [0, 1, 2].map(|number| Arc::new(segment(number)));
        let registry = Registry::new(vec![Arc::clone(&first), Arc::clone(&second)]);
        registry.add(Arc::clone(&idle));
        assert!(registry.find(0).is_none() && registry.segments().len() == 3);
        second.begin(4096);
        first.begin(12_288);
        let number = |address| registry.find(address).map(|segment| segment.number());
        assert_eq!(
            [4095, 4096, 12_287, 12_288, 20_479, 20_480].map(number),
            [None, Some(1), Some(1), Some(0), Some(0), None]
        );
        assert_eq!((second.base(), second.end(), idle.base()), (Some(4096), 4096, None));
        second.publish(8192);
        assert_eq!(second.end(), 8192);
        second.free();
        assert_eq!((number(4096), second.base()), (None, None));
        registry.remove(0);
        assert_eq!(number(12_288), None);
    }

    #[test]
    fn one_that_was_found_is_of_the_past_until_it_is_free() {
        let found = Segment::found(10_000, Arc::new(File::Numbered(1)), 8192, 4096, 8192);
        assert_eq!((found.base(), found.end(), found.is_past(), found.has_failed()), (Some(4096), 8192, true, false));
        assert_eq!((found.name(), segment(7).name()), ("10000.segment".to_owned(), "0007.segment".to_owned()));
        found.free();
        found.begin(20_480);
        assert_eq!((found.base(), found.end(), found.is_past()), (Some(20_480), 20_480, false));
        found.fail();
        assert!(found.has_failed());
    }
}
