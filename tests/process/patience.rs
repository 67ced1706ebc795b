//! Waiting for conditions, with bounds that only a fault reaches.

use std::time::{Duration, Instant};

/// How long anything may take. It is not a measure of anything: it ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until there is something to see, and gives it.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
