//! Timers: one for each slot, on a hashed wheel; setting and clearing cost the same whatever their number.
//!
//! *Invariant*: a timer fires at the first tick at or after its deadline, never before. *Why this way*: a kernel timer
//! costs 343 ns to re-arm (URING §1), a place on the wheel a few; sessions move theirs lazily, when they fire.

use crate::limits::{WHEEL_SLOTS, WHEEL_TICK_MS};
use crate::reactor::io::Time;

/// No timer.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Timer {
    before: u32,
    after: u32,
    /// The tick at which it fires; 0 when it is not set.
    tick: u64,
}

/// A wheel. Timers are named by small numbers that the caller gives out.
#[derive(Debug)]
pub struct Wheel {
    timers: Vec<Timer>,
    /// The first timer of each place.
    heads: Vec<u32>,
    /// Which places have timers, a bit for each.
    taken: Vec<u64>,
    /// The last tick that was expired.
    tick: u64,
}

impl Wheel {
    /// A wheel that starts at `now`.
    pub fn new(now: Time) -> Self {
        Self {
            timers: Vec::new(),
            heads: vec![NONE; WHEEL_SLOTS],
            taken: vec![0; WHEEL_SLOTS.div_ceil(64)],
            tick: now.ms() / WHEEL_TICK_MS,
        }
    }

    /// Sets the timer, or moves it.
    pub fn set(&mut self, id: u32, deadline: Time) {
        self.clear(id);
        if self.timers.len() <= id as usize {
            self.timers.resize(id as usize + 1, Timer { before: NONE, after: NONE, tick: 0 });
        }
        let tick = deadline.0.div_ceil(WHEEL_TICK_MS * 1_000_000).max(self.tick + 1);
        let place = place_of(tick);
        let head = self.heads[place];
        self.timers[id as usize] = Timer { before: NONE, after: head, tick };
        if head != NONE {
            self.timers[head as usize].before = id;
        }
        self.heads[place] = id;
        self.taken[place / 64] |= 1 << (place % 64);
    }

    /// Clears the timer; it may not be set.
    pub fn clear(&mut self, id: u32) {
        let Some(timer) = self.timers.get_mut(id as usize) else { return };
        let Timer { before, after, tick } = *timer;
        if tick == 0 {
            return;
        }
        timer.tick = 0;
        if after != NONE {
            self.timers[after as usize].before = before;
        }
        if before != NONE {
            self.timers[before as usize].after = after;
        } else {
            let place = place_of(tick);
            self.heads[place] = after;
            if after == NONE {
                self.taken[place / 64] &= !(1 << (place % 64));
            }
        }
    }

    /// Moves the timers whose time has come into `fired`.
    pub fn expire(&mut self, now: Time, fired: &mut Vec<u32>) {
        let until = now.ms() / WHEEL_TICK_MS;
        // After a long stall each place is looked at once, not once for each missed tick.
        let first = (self.tick + 1).max(until.saturating_sub(WHEEL_SLOTS as u64 - 1));
        self.tick = self.tick.max(until);
        for tick in first..=until {
            let mut id = self.heads[place_of(tick)];
            while id != NONE {
                let timer = self.timers[id as usize];
                if timer.tick <= until {
                    self.clear(id);
                    fired.push(id);
                }
                id = timer.after;
            }
        }
    }

    /// When to call [`Wheel::expire`] next; a timer of a later round may make it early. `None` when none is set.
    pub fn next(&self) -> Option<Time> {
        if self.taken.iter().all(|word| *word == 0) {
            return None;
        }
        let mut tick = self.tick + 1;
        loop {
            let place = place_of(tick);
            let word = self.taken[place / 64] >> (place % 64);
            if word != 0 {
                tick += u64::from(word.trailing_zeros());
                return Some(Time(tick * WHEEL_TICK_MS * 1_000_000));
            }
            tick += 64 - place as u64 % 64;
        }
    }
}

fn place_of(tick: u64) -> usize {
    tick as usize & (WHEEL_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn fires_at_the_deadline_and_not_before() {
        let mut wheel = Wheel::new(Time(0));
        wheel.set(3, Time(1_000 * MS));
        wheel.set(5, Time(200_000 * MS));
        let mut fired = Vec::new();
        wheel.expire(Time(999 * MS), &mut fired);
        assert!(fired.is_empty());
        wheel.expire(Time((1_000 + WHEEL_TICK_MS) * MS), &mut fired);
        assert_eq!(fired, [3]);
        wheel.set(5, Time(2_000 * MS));
        wheel.clear(5);
        wheel.expire(Time(1_000_000 * MS), &mut fired);
        assert_eq!(fired, [3]);
        assert_eq!(wheel.next(), None);
    }

    proptest! {
        /// The same timers fire as in a plain list, within one tick, for any sequence of sets, clears and waits.
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0_u32..20, 0_u64..300_000, any::<bool>(), 0_u64..100_000), 1..60)) {
            let mut wheel = Wheel::new(Time(0));
            let mut list = std::collections::BTreeMap::new();
            let mut now = 0_u64;
            for (id, ahead, set, wait) in steps {
                if set {
                    wheel.set(id, Time((now + ahead) * MS));
                    list.insert(id, now + ahead);
                } else {
                    wheel.clear(id);
                    list.remove(&id);
                }
                now += wait;
                let mut fired = Vec::new();
                wheel.expire(Time(now * MS), &mut fired);
                for id in fired {
                    let deadline = list.remove(&id);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{id} {deadline:?} at {now}");
                }
                prop_assert!(list.values().all(|deadline| now < deadline + 2 * WHEEL_TICK_MS));
                prop_assert_eq!(wheel.next().is_none(), list.is_empty());
            }
        }
    }
}
