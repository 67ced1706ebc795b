//! The time by which deliveries come again: the system's, or one that a test or a simulation sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Set>);

/// A clock that goes when it is told to.
#[derive(Clone, Debug)]
struct Set {
    start: Instant,
    ns: Arc<AtomicU64>,
}

impl Clock {
    /// One that stands where this number is set to, in ns since its start.
    pub fn set_by(ns: Arc<AtomicU64>) -> Self {
        Self(Some(Set { start: Instant::now(), ns }))
    }

    pub(super) fn now(&self) -> Instant {
        match &self.0 {
            None => Instant::now(),
            Some(Set { start, ns }) => *start + Duration::from_nanos(ns.load(Ordering::Relaxed)),
        }
    }
}
