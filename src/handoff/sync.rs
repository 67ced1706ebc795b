//! What passes between threads is built from this, and from nothing else: the models of `tests/loom` put a file of
//! their own in the place of this one, so that the orders of events can be tried.
//!
//! *Why this way*: no `cfg` stands in the code under test, and the server's build knows nothing of its models.

use std::os::fd::OwnedFd;
use std::time::Duration;

pub(super) use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
pub(super) use rustix::io::Errno;
pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};

/// What a thread sleeps on, by its ring: an eventfd.
pub(super) type Awaited = OwnedFd;

/// Wakes whoever sleeps on the eventfd, or will next.
#[derive(Debug)]
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new() -> Result<(Self, Awaited), Errno> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let awaited = rustix::io::fcntl_dupfd_cloexec(&wake, 0)?;
        Ok((Self(wake), awaited))
    }

    pub(super) fn wake(&self) {
        // Fails only when the counter is at its maximum, and then the owner is awake anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// Waits a moment for another thread to get on.
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
