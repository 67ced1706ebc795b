//! How many octets may lie below the root, and how many do.
//!
//! *Invariants*: what is written and what is about to be never exceed the quota together, whatever the number of workers. What was
//! counted is at most too high: readers delete mail, and a message that is repeated is counted again. When a message does not fit, all is
//! counted anew by a thread of its own, not more often than each [`limits::MAILDIR_RECOUNT_MS`]; until it is done, mail that does not fit
//! is refused.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::walk;

/// See the module. One for all workers of a sink.
#[derive(Debug)]
pub(super) struct Quota {
    most: u64,
    interval: Duration,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Octets that were counted, and written since.
    used: u64,
    /// Octets that may be written any moment.
    reserved: u64,
    /// Octets that were written since the start, so that those are known which came while a count was under way.
    written: u64,
    counted_at: Instant,
    is_counting: bool,
}

impl Quota {
    /// Counts what is there.
    pub(super) fn new(most: u64, interval: Duration, root: &OwnedFd, stop: Arc<AtomicBool>) -> Self {
        let used = walk::octets(root.as_fd(), most, &stop);
        let state = State { used, reserved: 0, written: 0, counted_at: Instant::now(), is_counting: false };
        Self { most, interval, stop, state: Mutex::new(state) }
    }

    /// The bound.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Octets that count now.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.state().used
    }

    /// Sets room aside. Where there is none, it is counted again, if that is due.
    pub(super) fn reserve(self: &Arc<Self>, octets: u64, root: impl AsFd) -> bool {
        let mut state = self.state();
        if state.used.saturating_add(state.reserved).saturating_add(octets) <= self.most {
            state.reserved += octets;
            return true;
        }
        if !state.is_counting && state.counted_at.elapsed() >= self.interval {
            state.is_counting = true;
            let written = state.written;
            drop(state);
            self.count_again(root, written);
        }
        false
    }

    /// Gives back what was reserved: so much was written.
    pub(super) fn settle(&self, reserved: u64, written: u64) {
        let mut state = self.state();
        state.reserved -= reserved;
        state.used += written;
        state.written += written;
    }

    /// So much of what was written was removed again.
    pub(super) fn remove(&self, octets: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_sub(octets);
    }

    fn count_again(self: &Arc<Self>, root: impl AsFd, written_before: u64) {
        let quota = self.clone();
        let counted = root.as_fd().try_clone_to_owned().and_then(|root| {
            let count = move || {
                let used = walk::octets(root.as_fd(), quota.most, &quota.stop);
                let mut state = quota.state();
                // What came meanwhile may have been seen or not.
                state.used = used.saturating_add(state.written - written_before);
                state.counted_at = Instant::now();
                state.is_counting = false;
            };
            std::thread::Builder::new().name("maildir-count".to_owned()).spawn(count)
        });
        if counted.is_err() {
            self.state().is_counting = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are never half-changed.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
