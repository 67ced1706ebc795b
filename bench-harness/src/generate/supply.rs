//! Which message is next: fresh numbers, and those that are tried again.
//!
//! *Invariant*: a number is given out again only when its last try has certainly not been taken over, so that a retry is no
//! duplicate.

use std::collections::VecDeque;

use ringmx::reactor::io::Time;

/// How long a message waits before it is tried again, in ms; each further try waits as long again, up to sixteen times.
const RETRY_MS: u64 = 500;

/// A message to be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub number: u64,
    /// Tries before this one.
    pub tries: u32,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    from: Time,
    due: Due,
}

/// See the module.
#[derive(Debug)]
pub struct Supply {
    next: u64,
    stride: u64,
    end: Option<u64>,
    waiting: VecDeque<Waiting>,
    /// Given out, and not ended.
    outstanding: u64,
    may_return: bool,
}

impl Supply {
    /// Of one of so many threads; all of them together have so many messages.
    pub fn new(thread: usize, threads: usize, messages: Option<u64>, may_return: bool) -> Self {
        Self {
            next: thread as u64,
            stride: threads as u64,
            end: messages,
            waiting: VecDeque::new(),
            outstanding: 0,
            may_return,
        }
    }

    /// No message ever; but it is not exhausted, so that connections stay.
    pub fn of_nothing() -> Self {
        Self { outstanding: 1, ..Self::new(0, 1, Some(0), true) }
    }

    /// A message that waits to be tried again, if its time has come.
    pub fn peek_retry(&self, now: Time) -> Option<Due> {
        self.waiting.front().filter(|waiting| waiting.from <= now).map(|waiting| waiting.due)
    }

    /// The next fresh one.
    pub fn peek_fresh(&self) -> Option<Due> {
        self.end.is_none_or(|end| self.next < end).then_some(Due { number: self.next, tries: 0 })
    }

    /// What was looked at is begun, or cannot be sent at all.
    pub fn take(&mut self, due: Due) {
        if due.tries > 0 {
            self.waiting.pop_front();
        } else {
            self.next += self.stride;
        }
        self.outstanding += 1;
    }

    /// A message that was taken has ended; `again` puts it back, if messages may come back. Returns whether it does.
    pub fn end(&mut self, due: Due, again: bool, now: Time) -> bool {
        self.outstanding -= 1;
        let again = again && self.may_return;
        if again {
            let from = now.plus_ms(RETRY_MS << due.tries.min(4));
            let at = self.waiting.partition_point(|waiting| waiting.from <= from);
            self.waiting.insert(at, Waiting { from, due: Due { tries: due.tries + 1, ..due } });
        }
        again
    }

    /// When a message can be tried again.
    pub fn next_retry(&self) -> Option<Time> {
        self.waiting.front().map(|waiting| waiting.from)
    }

    /// Whether no message is left, nor will come back.
    pub fn is_exhausted(&self) -> bool {
        self.peek_fresh().is_none() && self.waiting.is_empty() && !(self.may_return && self.outstanding > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_numbers() {
        let mut all = Vec::new();
        for thread in 0..3 {
            let mut supply = Supply::new(thread, 3, Some(10), false);
            while let Some(due) = supply.peek_fresh() {
                supply.take(due);
                all.push(due.number);
            }
            assert!(supply.is_exhausted());
        }
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_never_exhausted() {
        let supply = Supply::of_nothing();
        assert!(supply.peek_fresh().is_none() && supply.peek_retry(Time(u64::MAX)).is_none());
        assert!(!supply.is_exhausted());
    }

    #[test]
    fn a_message_comes_back_later_and_later() {
        let mut supply = Supply::new(0, 1, Some(1), true);
        let mut now = Time(0);
        let mut due = supply.peek_fresh().unwrap();
        for wait in [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS] {
            supply.take(due);
            assert!(!supply.is_exhausted(), "it may come back");
            assert!(supply.end(due, true, now));
            assert_eq!(supply.peek_retry(now.plus_ms(wait - 1)), None);
            now = now.plus_ms(wait);
            due = supply.peek_retry(now).unwrap();
        }
        assert_eq!(due, Due { number: 0, tries: 3 });
        supply.take(due);
        assert!(!supply.end(due, false, now) && supply.is_exhausted());
    }
}
