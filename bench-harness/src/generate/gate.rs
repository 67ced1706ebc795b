//! What the generator's threads have in common: when the clock starts, and when all is to end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ringmx::reactor::io::Time;

/// See the module.
#[derive(Debug)]
pub struct Gate {
    /// Threads whose connections are not all opened, or tried.
    opening: AtomicUsize,
    start_ns: AtomicU64,
    stop: AtomicBool,
    finish: AtomicBool,
    has_session: AtomicBool,
}

impl Gate {
    /// For so many threads.
    pub fn new(threads: usize) -> Self {
        Self {
            opening: AtomicUsize::new(threads),
            start_ns: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            finish: AtomicBool::new(false),
            has_session: AtomicBool::new(false),
        }
    }

    /// A thread has opened its connections, or tried; `with_session`: one of them at least can be used. The last thread starts
    /// the clock.
    pub fn arrive(&self, now: Time, with_session: bool) {
        self.has_session.fetch_or(with_session, Ordering::AcqRel);
        if self.opening.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.start_ns.store(now.0.max(1), Ordering::Release);
        }
    }

    /// When the clock started, if it has.
    pub fn start(&self) -> Option<Time> {
        match self.start_ns.load(Ordering::Acquire) {
            0 => None,
            ns => Some(Time(ns)),
        }
    }

    /// Whether any connection can be used, when the clock has started.
    pub fn has_session(&self) -> bool {
        self.has_session.load(Ordering::Acquire)
    }

    /// The time is over: what is under way comes to its end.
    pub fn finish(&self) {
        self.finish.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub fn is_finished(&self) -> bool {
        self.finish.load(Ordering::Acquire)
    }

    /// No further message is begun, and what is under way has not long to live.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
