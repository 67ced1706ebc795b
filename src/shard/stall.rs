//! A shard that stood still, because its process was stopped or starved, or because a policy blocked, hears what clients
//! said meanwhile before it judges anybody's silence.
//!
//! *Why*: the kernel hands over some twenty completions in one system call, and none in one that a signal ends, so that
//! after a stall most of what has come is still to be asked for when the timers of the same turn fire.

use crate::limits;
use crate::reactor::io::Time;

/// Whether the shard catches up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// It is on time.
    #[default]
    Done,
    /// It was late just now; what its wait brought says nothing about what is left.
    Begun {
        /// It is given up then.
        until: Time,
    },
    /// It goes on until a wait brings nothing.
    GoingOn {
        /// It is given up then.
        until: Time,
    },
}

impl CatchUp {
    /// A wait that was due at one time has ended at another. Returns whether the shard stood still in between.
    pub fn note_wait(&mut self, due: Time, now: Time) -> bool {
        *self = match *self {
            Self::Done if now > due.plus_ms(limits::STALL_MS) => {
                *self = Self::Begun { until: now.plus_ms(limits::CATCH_UP_MS) };
                return true;
            }
            Self::Begun { until } | Self::GoingOn { until } if now < until => Self::GoingOn { until },
            _ => Self::Done,
        };
        false
    }

    /// The wait has brought so many completions.
    pub fn note_completions(&mut self, completions: usize) {
        if completions == 0 && matches!(self, Self::GoingOn { .. }) {
            *self = Self::Done;
        }
    }

    /// Whether it is not over.
    pub fn is_under_way(self) -> bool {
        self != Self::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Time = Time(0).plus_ms(10_000);

    #[test]
    fn a_wait_that_ends_in_time_is_no_stall() {
        let mut catch_up = CatchUp::default();
        assert!(!catch_up.note_wait(LATE, LATE) && !catch_up.is_under_way());
        assert!(!catch_up.note_wait(LATE, Time(0)) && !catch_up.is_under_way());
        assert!(!catch_up.note_wait(LATE, LATE.plus_ms(limits::STALL_MS)) && !catch_up.is_under_way());
    }

    #[test]
    fn it_goes_on_until_a_wait_brings_nothing() {
        let mut catch_up = CatchUp::default();
        assert!(catch_up.note_wait(Time(0), LATE));
        // That wait was interrupted: what is left is not known.
        catch_up.note_completions(0);
        assert!(catch_up.is_under_way());
        for completions in [20, 20, 3] {
            assert!(!catch_up.note_wait(Time(0), LATE));
            catch_up.note_completions(completions);
            assert!(catch_up.is_under_way());
        }
        assert!(!catch_up.note_wait(LATE, LATE));
        catch_up.note_completions(0);
        assert!(!catch_up.is_under_way());
    }

    #[test]
    fn it_has_an_end_under_any_load() {
        let mut catch_up = CatchUp::default();
        assert!(catch_up.note_wait(Time(0), LATE));
        assert!(!catch_up.note_wait(LATE, LATE.plus_ms(limits::CATCH_UP_MS)));
        assert!(!catch_up.is_under_way());
    }
}
