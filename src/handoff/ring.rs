//! A bounded queue from one thread to one other, without locks and in batches (DESIGN decision 16).
//!
//! *Invariants*: indices count items and only grow, modulo 2^64; slot `index & mask`. With `taken ≤ published ≤ pushed ≤
//! taken + capacity`, the slots `taken..published` are the taker's and hold items, `published..pushed` are the pusher's and
//! hold items, and the others are the pusher's and hold nothing. An index is stored with Release when what it hands over is
//! done, and loaded with Acquire by the other side before that is touched. Every item is taken or dropped once.
//!
//! *Why this way*: each side keeps its own index, and what it last saw of the other's, in plain fields: the line of an index
//! crosses between cores once for a batch, and not at all while what was seen suffices. Figures stand in
//! `benches/handoff.rs`.
//!
//! *Does not* wake: see [`crate::handoff::sleep`].

use std::fmt;
use std::mem::MaybeUninit;

use crate::handoff::sync::{AtomicBool, AtomicUsize, CachePadded, OrderedArc, Ordering, UnsafeCell, move_out};

type Slot<T> = UnsafeCell<MaybeUninit<T>>;

struct Shared<T> {
    /// As many as a power of two.
    slots: Box<[Slot<T>]>,
    /// These two are written once, so they lie with what is only read.
    pusher_gone: AtomicBool,
    taker_gone: AtomicBool,
    /// Items that the taker may have. The pusher stores it.
    published: CachePadded<AtomicUsize>,
    /// Items whose slots the pusher may have again. The taker stores it.
    taken: CachePadded<AtomicUsize>,
}

// SAFETY: a slot is touched by the one side that it belongs to, which is handed on by `published` and `taken`; items go
// from one thread to the other, hence T: Send; no reference to an item is given to either.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, index: usize) -> &Slot<T> {
        &self.slots[index & (self.slots.len() - 1)]
    }

    /// Drops the items of these slots.
    ///
    /// # Safety
    /// They hold items, belong to the caller, and are not read again.
    unsafe fn drop_items(&self, from: usize, to: usize) {
        let mut index = from;
        while index != to {
            // SAFETY: as the caller says; each index comes once, and they are no more than there are slots.
            drop(self.slot(index).with(|slot| unsafe { slot.cast::<T>().read() }));
            index = index.wrapping_add(1);
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (taken, published) = (self.taken.load(Ordering::Relaxed), self.published.load(Ordering::Relaxed));
        // SAFETY: both sides are gone, and the count of references orders what they did before this. What was published
        // and not taken lies in these slots; what was not published the pusher has dropped.
        unsafe { self.drop_items(taken, published) };
    }
}

/// The side that items are put in at.
pub struct Pusher<T> {
    shared: OrderedArc<Shared<T>>,
    /// Items ever pushed.
    pushed: usize,
    /// The value of `Shared::published`.
    published: usize,
    /// The last value seen of `Shared::taken`.
    taken: usize,
}

/// The side that items come out at.
pub struct Taker<T> {
    shared: OrderedArc<Shared<T>>,
    /// The value of `Shared::taken`.
    taken: usize,
    /// The last value seen of `Shared::published`.
    published: usize,
}

/// Makes a queue with room for so many items, rounded up to a power of two.
///
/// # Panics
/// When there can be no such power.
pub fn ring<T>(capacity: usize) -> (Pusher<T>, Taker<T>) {
    ring_from(capacity, 0)
}

/// The same with indices that begin elsewhere.
fn ring_from<T>(capacity: usize, first: usize) -> (Pusher<T>, Taker<T>) {
    let capacity = capacity.checked_next_power_of_two().expect("no memory holds that many");
    let shared = OrderedArc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        pusher_gone: AtomicBool::new(false),
        taker_gone: AtomicBool::new(false),
        published: CachePadded::new(AtomicUsize::new(first)),
        taken: CachePadded::new(AtomicUsize::new(first)),
    });
    let taker = Taker { shared: OrderedArc::clone(&shared), taken: first, published: first };
    (Pusher { shared, pushed: first, published: first, taken: first }, taker)
}

impl<T> Pusher<T> {
    /// How many items there is room for in all.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Puts an item in, which the other side gets to see with the next [`Self::publish`]. It comes back when there is no
    /// room.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.pushed.wrapping_sub(self.taken) == self.capacity() && self.free() == 0 {
            return Err(item);
        }
        self.shared.slot(self.pushed).with_mut(|slot| {
            // SAFETY: there is room, so the slot is the pusher's and holds nothing; and this is the one pusher.
            unsafe { slot.write(MaybeUninit::new(item)) }
        });
        self.pushed = self.pushed.wrapping_add(1);
        Ok(())
    }

    /// Puts items in as long as there are some and there is room, and says how many. None is taken out of the iterator that
    /// there is no room for.
    #[inline]
    pub fn push_all(&mut self, items: &mut impl Iterator<Item = T>) -> usize {
        let mut room = self.capacity() - self.pushed.wrapping_sub(self.taken);
        if room < items.size_hint().0 || room == 0 {
            room = self.free();
        }
        let slots = &self.shared.slots;
        let begin = self.pushed & (slots.len() - 1);
        let to_the_end = room.min(slots.len() - begin);
        // Counted even if the iterator panics: what is in a slot by then is dropped in its time.
        let mut pushed = Counted { index: &mut self.pushed, count: 0 };
        for run in [&slots[begin..begin + to_the_end], &slots[..room - to_the_end]] {
            for (slot, item) in run.iter().zip(&mut *items) {
                // SAFETY: there is room, so the slot is the pusher's and holds nothing; and this is the one pusher.
                slot.with_mut(|slot| unsafe { slot.write(MaybeUninit::new(item)) });
                pushed.count += 1;
            }
        }
        pushed.count
    }

    /// Hands over what was pushed. Then wake the other side: [`crate::handoff::sleep::Waker::wake`].
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.pushed {
            self.published = self.pushed;
            self.shared.published.store(self.pushed, Ordering::Release);
        }
    }

    /// For how many items there is room now; more, as the other side takes.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.taken = self.shared.taken.load(Ordering::Acquire);
        self.capacity() - self.pushed.wrapping_sub(self.taken)
    }

    /// Whether nobody takes any more. What was not taken is dropped with this side.
    pub fn is_abandoned(&self) -> bool {
        self.shared.taker_gone.load(Ordering::Acquire)
    }
}

/// Moves an index on when it goes.
struct Counted<'a> {
    index: &'a mut usize,
    count: usize,
}

impl Drop for Counted<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.index = self.index.wrapping_add(self.count);
    }
}

impl<T> Drop for Pusher<T> {
    fn drop(&mut self) {
        // Now, so that an item whose drop panics leaves the other side told.
        self.shared.pusher_gone.store(true, Ordering::Release);
        // SAFETY: what was pushed and not published is the pusher's, and this is its end.
        unsafe { self.shared.drop_items(self.published, self.pushed) };
    }
}

impl<T> Taker<T> {
    /// The oldest item that was published, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if self.published == self.taken {
            self.published = self.shared.published.load(Ordering::Acquire);
            if self.published == self.taken {
                return None;
            }
        }
        // SAFETY: the item is published and not taken, so it is here, and the taker's; it is not read again.
        let item = self.shared.slot(self.taken).with(|slot| unsafe { slot.cast::<T>().read() });
        self.advance(1);
        Some(item)
    }

    /// Appends the oldest items, so many at most, and says how many they were.
    #[inline]
    pub fn take_batch(&mut self, out: &mut Vec<T>, most: usize) -> usize {
        if self.published.wrapping_sub(self.taken) < most {
            self.published = self.shared.published.load(Ordering::Acquire);
        }
        let count = self.published.wrapping_sub(self.taken).min(most);
        if count == 0 {
            return 0;
        }
        let slots = &self.shared.slots;
        let begin = self.taken & (slots.len() - 1);
        let to_the_end = count.min(slots.len() - begin);
        // Room is made before the first item is read: should that panic, none is lost.
        out.reserve(count);
        for run in [&slots[begin..begin + to_the_end], &slots[..count - to_the_end]] {
            // SAFETY: these items are published and not taken, so they are here, and the taker's; they are not read again.
            // There is room for them.
            unsafe { move_out(run, out) };
        }
        self.advance(count);
        count
    }

    /// Gives so many slots back.
    #[inline(always)]
    fn advance(&mut self, count: usize) {
        self.taken = self.taken.wrapping_add(count);
        self.shared.taken.store(self.taken, Ordering::Release);
    }

    /// Whether there is nothing to take now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.published == self.taken && self.shared.published.load(Ordering::Acquire) == self.taken
    }

    /// Whether nobody publishes any more. All that was published is there to be taken then: look once more.
    pub fn is_abandoned(&self) -> bool {
        self.shared.pusher_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.shared.taker_gone.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for Pusher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher")
            .field("capacity", &self.shared.slots.len())
            .field("pushed", &self.pushed)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Taker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taker")
            .field("capacity", &self.shared.slots.len())
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "ring/tests.rs"]
mod tests;
