//! Against a queue of the standard library, in one thread and in two; every item is there once, and dropped once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

/// Counted while it is anywhere.
#[derive(Debug)]
struct Item {
    number: u64,
    alive: Arc<AtomicUsize>,
}

impl Item {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number, alive: Arc::clone(alive) }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn room_is_rounded_up_to_a_power_of_two() {
    for (asked, got) in [(0, 1), (1, 1), (2, 2), (3, 4), (1000, 1024)] {
        let (mut pusher, _taker) = ring::<u8>(asked);
        assert_eq!((pusher.capacity(), pusher.free()), (got, got), "{asked}");
        assert_eq!((0..2000).take_while(|_| pusher.push(0).is_ok()).count(), got);
        assert_eq!((pusher.push(7), pusher.free()), (Err(7), 0));
    }
}

#[test]
fn what_is_not_published_is_not_seen() {
    let (mut pusher, mut taker) = ring(4);
    pusher.push(1).unwrap();
    assert!(taker.is_empty());
    assert_eq!((taker.take(), taker.take_batch(&mut Vec::new(), 4)), (None, 0));
    pusher.publish();
    pusher.push(2).unwrap();
    assert!(!taker.is_empty());
    let mut out = vec![0];
    assert_eq!((taker.take_batch(&mut out, 4), out), (1, vec![0, 1]));
    assert_eq!((pusher.free(), taker.is_empty()), (3, true));
}

#[test]
fn each_side_hears_that_the_other_is_gone() {
    let (mut pusher, taker) = ring(2);
    assert!(!pusher.is_abandoned() && !taker.is_abandoned());
    drop(taker);
    assert!(pusher.is_abandoned());
    assert_eq!((pusher.push(1), pusher.push(2), pusher.push(3)), (Ok(()), Ok(()), Err(3)), "and may go on");
    let (mut pusher, mut taker) = ring(2);
    pusher.push(1).unwrap();
    pusher.publish();
    pusher.push(2).unwrap();
    drop(pusher);
    assert!(taker.is_abandoned());
    assert_eq!((taker.take(), taker.take()), (Some(1), None), "what was not published went with its pusher");
}

/// One that panics in its drop takes nothing else with it, and is not dropped again.
#[test]
fn an_item_that_panics_is_dropped_once() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a drop that fails");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let (mut pusher, taker) = ring(2);
    assert!(pusher.push(Bomb(Arc::clone(&drops))).is_ok());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(pusher))).is_err());
    assert!(taker.is_abandoned());
    drop(taker);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn items_without_size_are_counted_too() {
    let (mut pusher, mut taker) = ring(4);
    assert_eq!((0..5).map(|_| pusher.push(())).filter(Result::is_ok).count(), 4);
    pusher.publish();
    let mut out = Vec::new();
    assert_eq!((taker.take_batch(&mut out, 3), taker.take(), taker.take()), (3, Some(()), None));
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Publish,
    Take,
    TakeBatch(usize),
    Ask,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_usize).prop_map(Step::Push),
        Just(Step::Publish),
        Just(Step::Take),
        (0..10_usize).prop_map(Step::TakeBatch),
        Just(Step::Ask),
    ]
}

proptest! {
    /// Whatever is done, in one thread, it is what two queues would do: one of what is published, one of what is not. The
    /// indices pass the end of their type now and then.
    #[test]
    fn does_what_a_queue_does(
        capacity in 1..9_usize,
        before_the_end in 0..20_usize,
        steps in prop::collection::vec(step(), 0..80),
        pusher_first in any::<bool>(),
    ) {
        let alive = Arc::default();
        let (mut pusher, mut taker) = ring_from(capacity, usize::MAX - before_the_end);
        let capacity = capacity.next_power_of_two();
        let (mut published, mut pushed) = (VecDeque::new(), VecDeque::new());
        let mut numbers = 0..;
        for step in steps {
            match step {
                Step::Push(items) => for number in numbers.by_ref().take(items) {
                    let back = pusher.push(Item::new(number, &alive)).err();
                    let full = published.len() + pushed.len() == capacity;
                    prop_assert_eq!(back.map(|item| item.number), full.then_some(number));
                    if !full {
                        pushed.push_back(number);
                    }
                },
                Step::Publish => {
                    pusher.publish();
                    published.append(&mut pushed);
                }
                Step::Take => prop_assert_eq!(taker.take().map(|item| item.number), published.pop_front()),
                Step::TakeBatch(most) => {
                    let mut out = Vec::new();
                    prop_assert_eq!(taker.take_batch(&mut out, most), out.len());
                    let expected: Vec<u64> = published.drain(..most.min(published.len())).collect();
                    prop_assert_eq!(out.iter().map(|item| item.number).collect::<Vec<_>>(), expected);
                }
                Step::Ask => {
                    prop_assert_eq!(taker.is_empty(), published.is_empty());
                    prop_assert_eq!(pusher.free(), capacity - published.len() - pushed.len());
                }
            }
            prop_assert_eq!(alive.load(Ordering::Relaxed), published.len() + pushed.len());
        }
        if pusher_first {
            drop(pusher);
            prop_assert_eq!(alive.load(Ordering::Relaxed), published.len(), "what was not published goes with its pusher");
            drop(taker);
        } else {
            drop(taker);
            drop(pusher);
        }
        prop_assert_eq!(alive.load(Ordering::Relaxed), 0);
    }
}

/// Batches of every size cross, of items that own something, and the pusher ends with some unpublished.
#[test]
fn two_threads_lose_and_double_nothing() {
    const ITEMS: u64 = if cfg!(miri) { 500 } else { 300_000 };
    let alive = Arc::default();
    let (mut pusher, mut taker) = ring(64);
    let counts = Arc::clone(&alive);
    let producer = std::thread::spawn(move || {
        let (mut number, mut batch) = (0, 1);
        while number < ITEMS {
            let to = ITEMS.min(number + batch);
            while number < to && pusher.push(Item::new(number, &counts)).is_ok() {
                number += 1;
            }
            pusher.publish();
            if number < to {
                std::thread::yield_now();
            }
            batch = batch % 100 + 1;
        }
        while pusher.free() < 3 {
            std::thread::yield_now();
        }
        (0..3).for_each(|more| pusher.push(Item::new(ITEMS + more, &counts)).unwrap());
    });
    let (mut next, mut most, mut batch) = (0, 1, Vec::new());
    loop {
        let is_last = taker.is_abandoned();
        if most % 7 == 0 {
            batch.extend(taker.take())
        } else {
            _ = taker.take_batch(&mut batch, most)
        }
        if batch.is_empty() && is_last {
            break;
        }
        if batch.is_empty() {
            std::thread::yield_now();
        }
        for item in batch.drain(..) {
            assert_eq!(item.number, next);
            next += 1;
        }
        most = most % 90 + 1;
    }
    producer.join().unwrap();
    assert_eq!(next, ITEMS, "all that was published, and no more");
    drop(taker);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
