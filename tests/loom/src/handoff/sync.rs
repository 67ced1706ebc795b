//! Stands in for `src/handoff/sync.rs`: the same names, made of what loom sees.
//!
//! The queue is *not* crossbeam's, which loom cannot see, and which has tests of its own. It promises less: a push that
//! was begun and not ended hides those behind it, a pop may find nothing and a push no room where crossbeam's would
//! wait a moment, and there is no order between threads but from a push to the pop that takes what it brought. What
//! holds on it holds on crossbeam's. The eventfd is a number behind a lock: a sleeper waits until it is not 0, and
//! takes it all.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

pub use loom::cell::UnsafeCell;
pub use loom::sync::Arc as OrderedArc;
pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub use std::convert::Infallible as Errno;
/// Not loom's: who takes this one relies on no order that its count of references makes, and there are fewer to try.
pub use std::sync::Arc;

/// Where things lie in memory makes no order.
#[derive(Debug, Default)]
pub struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Waits until another thread got on.
pub fn pause() {
    loom::thread::yield_now();
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<u64>,
    rings: Condvar,
}

/// Rings.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bell>);

/// Hears it.
#[derive(Debug)]
pub struct Awaited(Arc<Bell>);

impl Waker {
    pub fn new() -> Result<(Self, Awaited), Errno> {
        let bell = Arc::new(Bell::default());
        Ok((Self(Arc::clone(&bell)), Awaited(bell)))
    }

    pub fn wake(&self) {
        *self.0.rung.lock().unwrap() += 1;
        self.0.rings.notify_one();
    }
}

impl Awaited {
    /// Sleeps until woken, once for all wakes so far.
    pub fn sleep(&self) {
        let mut rung = self.0.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.0.rings.wait(rung).unwrap();
        }
        *rung = 0;
    }

    /// How often it was rung since it was last heard.
    pub fn rings(&self) -> u64 {
        std::mem::take(&mut *self.0.rung.lock().unwrap())
    }
}

/// Sleeps until woken. Where there is a time, it is over at once, whatever it is.
pub fn sleep(awaited: &Awaited, most: Option<Duration>) -> bool {
    if most.is_some() {
        return awaited.rings() > 0;
    }
    awaited.sleep();
    true
}

/// A bounded queue of many senders and takers.
#[derive(Debug)]
pub struct ArrayQueue<M> {
    slots: Vec<Slot<M>>,
    /// Pushes ever begun.
    pushes: AtomicUsize,
    /// Pops ever begun.
    pops: AtomicUsize,
}

#[derive(Debug)]
struct Slot<M> {
    /// The number of the next push that may use it.
    free: AtomicUsize,
    /// One more than the number of the push that it was last filled by. Not one with `free`: see the head of `lib.rs`.
    filled: AtomicUsize,
    message: UnsafeCell<Option<M>>,
}

// SAFETY: a slot's message is touched by the one thread that has got its number, between `free` and `filled` or between
// `filled` and `free`; loom's cell checks just that.
unsafe impl<M: Send> Sync for ArrayQueue<M> {}

impl<M> ArrayQueue<M> {
    pub fn new(most: usize) -> Self {
        let slot = |number| Slot {
            free: AtomicUsize::new(number),
            filled: AtomicUsize::new(0),
            message: UnsafeCell::new(None),
        };
        Self { slots: (0..most).map(slot).collect(), pushes: AtomicUsize::new(0), pops: AtomicUsize::new(0) }
    }

    fn slot(&self, number: usize) -> &Slot<M> {
        &self.slots[number % self.slots.len()]
    }

    pub fn push(&self, message: M) -> Result<(), M> {
        let Some(number) = next(&self.pushes, |number| self.slot(number).free.load(Ordering::Acquire) == number) else {
            return Err(message);
        };
        let slot = self.slot(number);
        // SAFETY: the number is this thread's, and the slot is free for it.
        slot.message.with_mut(|place| unsafe { *place = Some(message) });
        slot.filled.store(number + 1, Ordering::Release);
        Ok(())
    }

    pub fn pop(&self) -> Option<M> {
        let number = next(&self.pops, |number| self.slot(number).filled.load(Ordering::Acquire) == number + 1)?;
        let slot = self.slot(number);
        // SAFETY: the number is this thread's, and the push that has it is done.
        let message = slot.message.with_mut(|place| unsafe { (*place).take() });
        slot.free.store(number + self.slots.len(), Ordering::Release);
        message
    }
}

/// Takes the next number for this thread, if its turn has come.
fn next(numbers: &AtomicUsize, has_come: impl Fn(usize) -> bool) -> Option<usize> {
    let mut number = numbers.load(Ordering::Relaxed);
    while has_come(number) {
        match numbers.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(number) => return Some(number),
            Err(now) => number = now,
        }
    }
    None
}

/// Moves the items of a run of places to the end of `out`: one by one, so that each is seen.
///
/// # Safety
/// All hold items, which are not read again.
pub unsafe fn move_out<T>(places: &[UnsafeCell<MaybeUninit<T>>], out: &mut Vec<T>) {
    // SAFETY: as the caller says; that nobody else touches them, loom's cell checks.
    out.extend(places.iter().map(|place| place.with(|place| unsafe { (*place).assume_init_read() })));
}
