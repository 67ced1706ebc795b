//! The ring: items come whole, in order and once, and none outlives both sides.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Held, model};
use loom::thread;

/// Counted while it is anywhere.
#[derive(Debug)]
struct Item {
    number: usize,
    alive: Arc<AtomicUsize>,
}

impl Item {
    fn new(number: usize, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number, alive: Arc::clone(alive) }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A ring as it is, or with a fault.
trait Ring {
    type Pusher: Pushing;
    type Taker: Taking;
    fn open(capacity: usize) -> (Held<Self::Pusher>, Held<Self::Taker>);
}

trait Pushing: Send + 'static {
    /// Whether there was room.
    fn push(&mut self, number: usize, alive: &Arc<AtomicUsize>) -> bool;
    fn push_all(&mut self, numbers: std::ops::Range<usize>, alive: &Arc<AtomicUsize>) -> usize;
    fn publish(&mut self);
    fn is_abandoned(&self) -> bool;
}

trait Taking {
    fn take(&mut self) -> Option<Item>;
    fn take_batch(&mut self, most: usize) -> Vec<Item>;
    fn is_abandoned(&self) -> bool;
}

macro_rules! ring {
    ($type:ident, $variant:ident) => {
        struct $type;

        impl Ring for $type {
            type Pusher = ringmx_loom::$variant::Pusher<Item>;
            type Taker = ringmx_loom::$variant::Taker<Item>;

            fn open(capacity: usize) -> (Held<Self::Pusher>, Held<Self::Taker>) {
                let (pusher, taker) = ringmx_loom::$variant::ring(capacity);
                (Held::new(pusher), Held::new(taker))
            }
        }

        impl Pushing for ringmx_loom::$variant::Pusher<Item> {
            fn push(&mut self, number: usize, alive: &Arc<AtomicUsize>) -> bool {
                self.push(Item::new(number, alive)).is_ok()
            }

            fn push_all(&mut self, numbers: std::ops::Range<usize>, alive: &Arc<AtomicUsize>) -> usize {
                self.push_all(&mut numbers.map(|number| Item::new(number, alive)))
            }

            fn publish(&mut self) {
                self.publish();
            }

            fn is_abandoned(&self) -> bool {
                self.is_abandoned()
            }
        }

        impl Taking for ringmx_loom::$variant::Taker<Item> {
            fn take(&mut self) -> Option<Item> {
                self.take()
            }

            fn take_batch(&mut self, most: usize) -> Vec<Item> {
                let mut out = Vec::new();
                assert_eq!(self.take_batch(&mut out, most), out.len());
                out
            }

            fn is_abandoned(&self) -> bool {
                self.is_abandoned()
            }
        }
    };
}

ring!(AsItIs, ring);
ring!(PublishesUnordered, publishes_unordered);
ring!(TakesUnordered, takes_unordered);
ring!(TakesBatchesUnordered, takes_batches_unordered);
ring!(GivesBackUnordered, gives_back_unordered);
ring!(SeesRoomUnordered, sees_room_unordered);
ring!(GivesBackBeforeItReads, gives_back_before_it_reads);
ring!(PublishesBeforeItWrites, publishes_before_it_writes);
ring!(FillsOver, fills_over);
ring!(LeavesUnpublishedItems, leaves_unpublished_items);
ring!(LeavesPublishedItems, leaves_published_items);
ring!(EndsUnordered, ends_unordered);
ring!(HearsTheEndUnordered, hears_the_end_unordered);

/// How the items of a batch get in and out.
#[derive(Clone, Copy, PartialEq)]
enum By {
    One,
    Batch,
}

/// So many batches of two through a ring for two: the second waits for room. Each comes in order; the end is heard after
/// the last, and not before.
fn all_are_taken_in_order<R: Ring>(batches: usize, by: By) {
    model(move || {
        let alive = Arc::default();
        let (mut pusher, mut taker) = R::open(2);
        let counts = Arc::clone(&alive);
        let thread = thread::spawn(move || {
            for batch in 0..batches {
                let (mut number, end) = (2 * batch, 2 * batch + 2);
                while number < end {
                    number += match by {
                        By::One => usize::from(pusher.push(number, &counts)),
                        By::Batch => pusher.push_all(number..end, &counts),
                    };
                    pusher.publish();
                    if number < end {
                        thread::yield_now();
                    }
                }
            }
        });
        let mut next = 0;
        loop {
            let is_last = taker.is_abandoned();
            let items = if by == By::One { Vec::from_iter(taker.take()) } else { taker.take_batch(2) };
            if items.is_empty() && is_last {
                break;
            }
            if items.is_empty() {
                thread::yield_now();
            }
            for item in items {
                assert_eq!(item.number, next, "the order of items");
                next += 1;
            }
        }
        assert_eq!(next, 2 * batches, "the end hides items");
        thread.join().unwrap();
        drop(taker);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "items outlive both sides");
    });
}

/// Both sides go at any moment: two items are published, a third is not, and so many are taken at most.
fn none_outlives_both_sides<R: Ring>(taken: usize) {
    model(move || {
        let alive = Arc::default();
        let (mut pusher, mut taker) = R::open(4);
        let counts = Arc::clone(&alive);
        let thread = thread::spawn(move || {
            pusher.push(0, &counts);
            pusher.push(1, &counts);
            pusher.publish();
            pusher.push(2, &counts);
            let told = pusher.is_abandoned();
            drop(pusher);
            told
        });
        let items: Vec<_> = (0..taken).filter_map(|_| taker.take()).collect();
        assert!(items.iter().enumerate().all(|(number, item)| item.number == number));
        drop(items);
        drop(taker);
        thread.join().unwrap();
        assert_eq!(alive.load(Ordering::Relaxed), 0, "items outlive both sides");
    });
}

#[test]
fn items_come_one_by_one_in_order() {
    all_are_taken_in_order::<AsItIs>(2, By::One);
}

#[test]
fn batches_come_in_order() {
    all_are_taken_in_order::<AsItIs>(2, By::Batch);
}

#[test]
fn the_end_comes_after_the_last_item() {
    all_are_taken_in_order::<AsItIs>(1, By::Batch);
}

#[test]
fn no_item_outlives_both_sides() {
    none_outlives_both_sides::<AsItIs>(0);
    none_outlives_both_sides::<AsItIs>(2);
}

mod this_sees {
    //! The faults that a ring can have, each found by the model that is for it.

    use super::*;

    #[test]
    #[should_panic = "Causality violation"]
    fn items_that_are_published_before_they_are_whole() {
        all_are_taken_in_order::<PublishesUnordered>(1, By::One);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn an_index_that_is_stored_before_its_item() {
        all_are_taken_in_order::<PublishesBeforeItWrites>(1, By::One);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn items_that_are_taken_before_they_are_whole() {
        all_are_taken_in_order::<TakesUnordered>(1, By::One);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn batches_that_are_taken_before_they_are_whole() {
        all_are_taken_in_order::<TakesBatchesUnordered>(1, By::Batch);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn slots_that_are_given_back_while_they_are_read() {
        all_are_taken_in_order::<GivesBackUnordered>(2, By::One);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn slots_that_are_given_back_before_they_are_read() {
        all_are_taken_in_order::<GivesBackBeforeItReads>(2, By::Batch);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn slots_that_are_written_while_they_are_read() {
        all_are_taken_in_order::<SeesRoomUnordered>(2, By::One);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn one_item_more_than_there_is_room_for() {
        all_are_taken_in_order::<FillsOver>(2, By::One);
    }

    #[test]
    #[should_panic = "items outlive both sides"]
    fn unpublished_items_that_are_left() {
        none_outlives_both_sides::<LeavesUnpublishedItems>(2);
    }

    #[test]
    #[should_panic = "items outlive both sides"]
    fn published_items_that_are_left() {
        none_outlives_both_sides::<LeavesPublishedItems>(0);
    }

    #[test]
    #[should_panic = "the end hides items"]
    fn an_end_that_overtakes_the_last_item() {
        all_are_taken_in_order::<EndsUnordered>(1, By::Batch);
    }

    #[test]
    #[should_panic = "the end hides items"]
    fn an_end_that_is_heard_before_the_last_item() {
        all_are_taken_in_order::<HearsTheEndUnordered>(1, By::Batch);
    }
}
