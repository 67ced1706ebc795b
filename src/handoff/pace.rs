//! How often a consumer notes how far it is done with a log: at once at first, then after as long as it has been at it, until that
//! is about a second. So one that is killed again and again soon after its start gets on, and loses half of what it did at most;
//! noted at steady times alone, it would come back to the same mail each time, while what waits behind it grows.

use std::time::{Duration, Instant};

use crate::limits;

const MOST: Duration = Duration::from_millis(limits::CURSOR_MS);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When there was something to note for the first time.
    begun: Option<Instant>,
    noted: Option<Instant>,
    /// Before that it is not tried again.
    rests_until: Option<Instant>,
}

impl Pace {
    /// Whether it is time to note what was done, so many octets of the log since the last time.
    pub(super) fn is_due(&mut self, now: Instant, octets: u64) -> bool {
        let begun = *self.begun.get_or_insert(now);
        let is_due = match self.noted {
            None => true,
            Some(noted) => {
                let gap = noted.saturating_duration_since(begun).min(MOST);
                now.saturating_duration_since(noted) >= gap || octets >= limits::CURSOR_OCTETS
            }
        };
        is_due && self.rests_until.is_none_or(|until| now >= until)
    }

    pub(super) fn noted(&mut self, now: Instant) {
        (self.noted, self.rests_until) = (Some(now), None);
    }

    /// It could not be noted.
    pub(super) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something is done in each millisecond.
    #[test]
    fn it_notes_at_once_then_ever_less_often_up_to_a_second() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let (mut at, now) = (Vec::new(), |ms| start + Duration::from_millis(ms));
        for ms in 0..10_000 {
            if pace.is_due(now(ms), 1) {
                pace.noted(now(ms));
                at.push(ms);
            }
        }
        assert_eq!(at[..2], [0, 1]);
        assert!(at[1..].windows(2).all(|two| two[1] - two[0] == two[0].min(limits::CURSOR_MS)), "{at:?}");
        assert!(at.len() < 25 && at.iter().any(|ms| *ms > 9_000), "{at:?}");
    }

    #[test]
    fn it_notes_earlier_when_much_was_done() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for ms in [0, 5_000] {
            assert!(pace.is_due(start + Duration::from_millis(ms), 1));
            pace.noted(start + Duration::from_millis(ms));
        }
        let soon = start + Duration::from_millis(5_001);
        assert!(!pace.is_due(soon, limits::CURSOR_OCTETS - 1));
        assert!(pace.is_due(soon, limits::CURSOR_OCTETS));
    }

    #[test]
    fn it_rests_when_it_could_not() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        assert!(pace.is_due(start, 1));
        pace.rest(start);
        assert!(!pace.is_due(start + MOST / 2, limits::CURSOR_OCTETS));
        assert!(pace.is_due(start + MOST, 1));
    }
}
