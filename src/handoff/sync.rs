//! What passes between threads is built from this, and from nothing else: the models of `tests/loom` put a file of
//! their own in the place of this one, so that the orders of events can be tried.
//!
//! *Why this way*: no `cfg` stands in the code under test, and the server's build knows nothing of its models.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

pub(super) use crossbeam::queue::ArrayQueue;
pub(super) use crossbeam::utils::CachePadded;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
pub(super) use rustix::io::Errno;
pub(super) use std::sync::Arc;
/// One whose count orders: what its holders did is seen by the last of them, who drops. The models have another for it.
pub(super) use std::sync::Arc as OrderedArc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// What a thread sleeps on, by its ring or by itself: an eventfd.
pub(super) type Awaited = OwnedFd;

/// Wakes whoever sleeps on the eventfd, or will next. Whether anybody does is for others to know.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> Result<(Self, Awaited), Errno> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let awaited = rustix::io::fcntl_dupfd_cloexec(&wake, 0)?;
        Ok((Self(Arc::new(wake)), awaited))
    }

    pub(super) fn wake(&self) {
        // Fails only when the counter is at its maximum, and then the owner is awake anyway.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// Sleeps until woken, once for all wakes so far, or until the time is over, or a signal comes. Says whether it was a wake.
pub(super) fn sleep(awaited: &Awaited, most: Option<Duration>) -> bool {
    let most = most.map(|most| {
        let seconds = most.as_secs().try_into().unwrap_or(i64::MAX);
        Timespec { tv_sec: seconds, tv_nsec: most.subsec_nanos().into() }
    });
    let rung = poll(&mut [PollFd::new(awaited, PollFlags::IN)], most.as_ref()).is_ok_and(|ready| ready > 0);
    // The eventfd has one sleeper, so nobody else reads what was seen here.
    rung && rustix::io::read(awaited, &mut [0; size_of::<u64>()]).is_ok()
}

/// Waits a moment for another thread to get on.
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// A place that is lent as a pointer, for the time of a call: the models see who has it when.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Lends it to be read.
    #[inline(always)]
    pub(super) fn with<R>(&self, reads: impl FnOnce(*const T) -> R) -> R {
        reads(self.0.get())
    }

    /// Lends it to be written.
    #[inline(always)]
    pub(super) fn with_mut<R>(&self, writes: impl FnOnce(*mut T) -> R) -> R {
        writes(self.0.get())
    }
}

/// Moves the items of a run of places to the end of `out`, in one copy.
///
/// # Safety
/// All hold items, which are not read again, and nobody else touches them now. `out` has room.
#[inline(always)]
pub(super) unsafe fn move_out<T>(places: &[UnsafeCell<MaybeUninit<T>>], out: &mut Vec<T>) {
    let end = out.len();
    debug_assert!(out.capacity() - end >= places.len());
    // SAFETY: `out` has room behind its end.
    let room = unsafe { out.as_mut_ptr().add(end) };
    // SAFETY: a place lies as the item in it does, both wrappers being transparent; the room is none of the places.
    unsafe { std::ptr::copy_nonoverlapping(places.as_ptr().cast::<T>(), room, places.len()) };
    // SAFETY: so many were copied there.
    unsafe { out.set_len(end + places.len()) };
}
