//! Which files have the time of now as their time of change already, so that a write to them notes nothing, and waits for no journal.
//!
//! A file system stamps a file that is written with a clock that stands still between two ticks of the system (4 ms, mostly), and does
//! nothing where the file has that stamp. Who knows that a write was begun, and was done, within the tick of now, knows that the stamp is of
//! this tick.
//!
//! *Where it may be wrong*: the clock may tick between this look and the kernel's (in one write of some hundred), and somebody who asks for
//! the times of files (`stat`) may move it within a tick. Then a write waits for the journal if that is being committed in this very
//! tick. On a disk that does not answer no write is done, so it is said of no file.

use std::sync::{Arc, Weak};

use rustix::time::{ClockId, clock_gettime};

use crate::memory::write::File;

/// A tick of the system, by its time in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    tick: Option<Tick>,
    /// Files with the stamp of that tick: as many as were written in it, which are few.
    files: Vec<Weak<File>>,
}

impl Tick {
    /// That of now: the time that a file is stamped with.
    pub(super) fn now() -> Self {
        let time = clock_gettime(ClockId::RealtimeCoarse);
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }
}

impl Stamps {
    /// Whether the file has the stamp of this tick.
    pub(super) fn has(&self, file: &Arc<File>, tick: Tick) -> bool {
        self.tick == Some(tick) && self.files.iter().any(|other| other.as_ptr() == Arc::as_ptr(file))
    }

    /// A write that was begun in one tick is done in another.
    pub(super) fn note(&mut self, file: &Arc<File>, began: Tick, done: Tick) {
        if began != done || self.has(file, done) {
            return;
        }
        if self.tick.replace(done) != Some(done) {
            self.files.clear();
        }
        self.files.push(Arc::downgrade(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_begun_and_done_in_this_tick_has_its_stamp() {
        let [one, two] = [1, 2].map(|number| Arc::new(File::Numbered(number)));
        let [first, second, third] = [1, 2, 3].map(Tick);
        let mut stamps = Stamps::default();
        stamps.note(&one, first, second);
        assert!(!stamps.has(&one, first) && !stamps.has(&one, second));
        stamps.note(&one, second, second);
        stamps.note(&one, second, second);
        assert!(stamps.has(&one, second) && !stamps.has(&two, second) && !stamps.has(&one, first));
        assert!(!stamps.has(&one, third), "the clock has ticked");
        assert_eq!(stamps.files.len(), 1);
        stamps.note(&two, third, third);
        assert!(!stamps.has(&one, third) && stamps.has(&two, third));
    }
}
