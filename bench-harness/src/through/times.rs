//! Times that one thread enters and others read while it does, to three significant digits.
//!
//! *Why not* `hdrhistogram` itself: it has no way to be read by another thread without a lock or a hand-over, and the thread
//! that enters is a shard, which waits for nobody. The steps are the same, so that what is read becomes such a histogram.
//! *Invariant*: one writer.

use hdrhistogram::Histogram;
use ringmx::metrics::counter::Counter;

/// Longest time that is told apart, in ns: a day. Mail waits in queues.
const LONGEST_NS: u64 = 86_400_000_000_000;

/// Steps of one power of two: half of what three digits need, because the lower half is that of the power below.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 10;

/// An empty histogram for what is read.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are valid")
}

/// See the module.
#[derive(Debug)]
pub struct Times(Box<[Counter]>);

/// What was in it at a moment.
#[derive(Clone, Debug, Default)]
pub struct Earlier(Vec<u64>);

impl Times {
    /// Nothing yet. Allocates all that it will ever need.
    pub fn new() -> Self {
        Self((0..=place(LONGEST_NS)).map(|_| Counter::default()).collect())
    }

    /// Enters a time. Only one thread may.
    #[inline]
    pub fn enter(&self, ns: u64) {
        self.0[place(ns.min(LONGEST_NS))].one();
    }

    /// Adds what was entered, since an earlier look if there was one, which this look then becomes.
    pub fn add_to(&self, sum: &mut Histogram<u64>, earlier: Option<&mut Earlier>) {
        let mut none = Earlier::default();
        let earlier = &mut earlier.unwrap_or(&mut none).0;
        earlier.resize(self.0.len(), 0);
        for (place, (counter, before)) in self.0.iter().zip(earlier).enumerate() {
            let count = counter.get();
            if count > *before {
                sum.saturating_record_n(value_at(place).clamp(1, LONGEST_NS), count - *before);
                *before = count;
            }
        }
    }
}

/// Where a time is counted.
fn place(ns: u64) -> usize {
    let power = (u64::BITS - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (u64::from(power) * STEPS + (ns >> power)) as usize
}

/// The least time that is counted there.
fn value_at(place: usize) -> u64 {
    let place = place as u64;
    let power = (place / STEPS).saturating_sub(1);
    (place - power * STEPS) << power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_place_near_it() {
        let mut last = 0;
        for ns in (0..5_000).chain((0..46).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3])) {
            let least = value_at(place(ns));
            assert!(least <= ns && ns - least <= ns / 1000, "{ns}: {least}");
        }
        for at in 0..place(LONGEST_NS) {
            assert_eq!(place(value_at(at)), at);
            assert!(value_at(at) >= last);
            last = value_at(at);
        }
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let (times, mut earlier) = (Times::new(), Earlier::default());
        let read = |earlier: Option<&mut Earlier>| {
            let mut sum = histogram();
            times.add_to(&mut sum, earlier);
            (sum.len(), sum.max() / 1_000_000)
        };
        [5_000_000, 7_000_000, 7_000_000].into_iter().for_each(|ns| times.enter(ns));
        assert_eq!(read(Some(&mut earlier)), (3, 7));
        times.enter(u64::MAX);
        times.enter(0);
        let (count, most) = read(Some(&mut earlier));
        assert!(count == 2 && most.abs_diff(86_400_000) < 90_000, "{most}");
        assert_eq!(read(Some(&mut earlier)), (0, 0));
        assert_eq!(read(None).0, 5);
    }
}
