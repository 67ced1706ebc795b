//! The highest rate that keeps a promise, by trying.

use crate::failure::Failure;

/// How near the highest rate that was kept must be to the lowest that was not.
const PRECISION: f64 = 1.05;

/// Tries at most: what a wild first guess needs, and no endless search where luck decides.
const TRIES: u32 = 16;

/// Above the first guess this much is tried first.
const STEP: f64 = 1.25;

/// Looks for it, from a first guess on; `None`: not even a hundredth of the guess was kept.
pub fn highest(guess: f64, mut keeps: impl FnMut(f64) -> Result<bool, Failure>) -> Result<Option<f64>, Failure> {
    let (mut kept, mut broken): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = guess.max(1.0);
    for _ in 0..TRIES {
        match keeps(rate)? {
            true => kept = Some(rate),
            false => broken = Some(rate),
        }
        rate = match (kept, broken) {
            (Some(kept), Some(broken)) if broken / kept <= PRECISION => break,
            (Some(kept), Some(broken)) => (kept * broken).sqrt(),
            (Some(kept), None) => kept * STEP,
            (None, Some(broken)) if broken < guess / 100.0 => break,
            (None, _) => rate / 2.0,
        };
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_found_from_both_sides() {
        for edge in [30.0, 700.0, 1000.0, 1001.0, 20_000.0] {
            let mut tries = 0;
            let found = highest(1000.0, |rate| {
                tries += 1;
                Ok(rate <= edge)
            });
            let found = found.unwrap().unwrap();
            assert!(found <= edge && edge / found <= PRECISION * PRECISION, "{edge}: {found}");
            assert!(tries <= TRIES);
        }
        assert_eq!(highest(1000.0, |_| Ok(false)), Ok(None));
        assert_eq!(highest(1000.0, |_| Err(Failure::Interrupted)), Err(Failure::Interrupted));
    }
}
