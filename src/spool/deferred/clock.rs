//! The time by which deferred mail waits: that of the wall, without its jumps.
//!
//! *Invariants*: it never goes back, and within one run it goes between 7/8 and 9/8 as fast as time passes. So a wall clock that is
//! set forward by an hour (RELIABILITY F12) makes no storm of retries, which come an eighth sooner until the hour is made good, and
//! one that is set back stalls none.
//!
//! *Why this way*: what waits must survive a restart, so its times are those of the wall. Within a run the steady clock says how
//! much time has passed. A run begins with the wall's time; what a jump between two runs does, the longest wait of a class bounds
//! (`super::store`): nothing waits longer for its next attempt than its class's delay from the start on. *Does not* count the time in
//! which the machine was suspended, but makes it good.

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RetryClock {
    /// What it shows, in ms since 1970.
    shown_ms: u64,
    /// The steady clock when it showed that.
    steady_ms: u64,
    /// What is left of the last step, in eighths of a ms, so that many small steps are as good as one.
    eighths: u64,
}

/// It goes faster or slower by this part of the time that passes.
const SLEW: u64 = 8;

impl RetryClock {
    /// Shows what the wall shows.
    pub fn new(wall_ms: u64, steady_ms: u64) -> Self {
        Self { shown_ms: wall_ms, steady_ms, eighths: 0 }
    }

    /// What it shows now, in ms since 1970, when the others show these. The steady one never goes back.
    pub fn now(&mut self, wall_ms: u64, steady_ms: u64) -> u64 {
        let passed_ms = steady_ms.saturating_sub(self.steady_ms);
        self.steady_ms += passed_ms;
        let shown_ms = self.shown_ms.saturating_add(passed_ms);
        let most_eighths = self.eighths + passed_ms;
        let most_ms = most_eighths / SLEW;
        self.shown_ms = wall_ms.clamp(shown_ms - most_ms.min(passed_ms), shown_ms.saturating_add(most_ms));
        // What was not needed is not saved up.
        let is_behind = self.shown_ms.abs_diff(shown_ms) == most_ms;
        self.eighths = if is_behind { most_eighths % SLEW } else { 0 };
        self.shown_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const START_MS: u64 = 1_900_000_000_000;

    proptest! {
        #[test]
        fn it_goes_at_a_bounded_rate_whatever_the_wall_does(
            walls in prop::collection::vec((any::<u64>(), 0..10_000_u64), 1..200),
        ) {
            let mut clock = RetryClock::new(START_MS, 0);
            let (mut steady_ms, mut last) = (0, START_MS);
            for (wall_ms, step_ms) in walls {
                steady_ms += step_ms;
                let now = clock.now(wall_ms, steady_ms);
                prop_assert!(now >= last);
                prop_assert!(now - last <= step_ms + step_ms.div_ceil(8), "{} in {}", now - last, step_ms);
                prop_assert!((now - last) + step_ms.div_ceil(8) >= step_ms, "{} in {}", now - last, step_ms);
                last = now;
            }
        }
    }

    #[test]
    fn an_hour_is_made_good_in_eight() {
        for (jump, sign) in [(HOUR_MS as i64, "forward"), (-(HOUR_MS as i64), "back")] {
            // However often it is asked.
            for step_ms in [1_u64, 7, 500, 60_000] {
                let mut clock = RetryClock::new(START_MS, 0);
                let (mut steady_ms, mut steps_until_right) = (0, None);
                while steady_ms < 9 * HOUR_MS && steps_until_right.is_none() {
                    steady_ms += step_ms;
                    let wall_ms = (START_MS + steady_ms).strict_add_signed(jump);
                    if clock.now(wall_ms, steady_ms) == wall_ms {
                        steps_until_right = Some(steady_ms);
                    }
                }
                let until_right = steps_until_right.unwrap_or_else(|| panic!("{sign} by {step_ms}"));
                assert!(until_right.abs_diff(8 * HOUR_MS) <= 60_000, "{sign}: {until_right} by {step_ms}");
            }
        }
    }

    #[test]
    fn it_is_the_walls_while_that_is_right() {
        let mut clock = RetryClock::new(START_MS, 50);
        for passed_ms in (0..100_000).step_by(37) {
            assert_eq!(clock.now(START_MS + passed_ms, 50 + passed_ms), START_MS + passed_ms);
        }
    }
}
