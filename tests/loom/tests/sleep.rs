//! The sleeper: nobody sleeps through what is published, and who is awake is not woken.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Held, model};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use ringmx_loom::handoff::sync::Waker as Bell;

/// A sleeper as it is, or with a fault.
trait Sleeping {
    type Thread: AThread;
    type Sleeper: ASleeper;
    type Waker: Waking;
    fn thread() -> (Self::Thread, Self::Waker);
    fn sleeper(bell: Bell) -> (Self::Sleeper, Self::Waker);
}

trait AThread {
    fn sleep_unless(&mut self, finds: impl FnOnce() -> bool, most: Option<Duration>);
}

trait ASleeper {
    fn announce(&mut self);
    fn withdraw(&mut self);
}

trait Waking: Clone + Send + 'static {
    fn wake(&self);
}

macro_rules! sleeping {
    ($type:ident, $variant:ident) => {
        struct $type;

        impl Sleeping for $type {
            type Thread = ringmx_loom::$variant::Thread;
            type Sleeper = ringmx_loom::$variant::Sleeper;
            type Waker = ringmx_loom::$variant::Waker;

            fn thread() -> (Self::Thread, Self::Waker) {
                ringmx_loom::$variant::thread().unwrap()
            }

            fn sleeper(bell: Bell) -> (Self::Sleeper, Self::Waker) {
                ringmx_loom::$variant::sleeper(bell)
            }
        }

        impl AThread for ringmx_loom::$variant::Thread {
            fn sleep_unless(&mut self, finds: impl FnOnce() -> bool, most: Option<Duration>) {
                self.sleep_unless(finds, most);
            }
        }

        impl ASleeper for ringmx_loom::$variant::Sleeper {
            fn announce(&mut self) {
                self.announce();
            }

            fn withdraw(&mut self) {
                self.withdraw();
            }
        }

        impl Waking for ringmx_loom::$variant::Waker {
            fn wake(&self) {
                self.wake();
            }
        }
    };
}

sleeping!(AsItIs, sleep);
sleeping!(AnnouncesWithoutFence, announces_without_fence);
sleeping!(AnnouncesWeakly, announces_weakly);
sleeping!(WakesWithoutFence, wakes_without_fence);
sleeping!(LooksOnce, looks_once);
sleeping!(LooksBeforeItAnnounces, looks_before_it_announces);
sleeping!(TakesTheWordSilently, takes_the_word_silently);
sleeping!(WakesEachTime, wakes_each_time);
sleeping!(LeavesTheWord, leaves_the_word);
sleeping!(StaysAnnounced, stays_announced);

/// So many threads publish so often each; the sleeper ends when it has seen all, or sleeps for ever. With `naps` its first
/// sleep has a time, which is over at once.
fn none_sleeps_on<S: Sleeping>(threads: usize, each: usize, naps: bool) {
    model(move || {
        let (mut sleeper, waker) = S::thread();
        let published: Vec<_> = (0..threads).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let publishers: Vec<_> = published
            .iter()
            .map(|published| {
                let (published, waker) = (Arc::clone(published), waker.clone());
                thread::spawn(move || {
                    for number in 1..=each {
                        published.store(number, Ordering::Release);
                        waker.wake();
                    }
                })
            })
            .collect();
        let seen = || published.iter().map(|published| published.load(Ordering::Acquire)).sum::<usize>();
        let (mut last, mut most) = (0, naps.then_some(Duration::from_secs(1)));
        while last < threads * each {
            sleeper.sleep_unless(|| seen() > last, most.take());
            last = seen();
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
}

/// A ring's items are taken by a thread that sleeps when there are none.
fn items_of_a_ring_wake<S: Sleeping>(items: usize) {
    model(move || {
        let (mut sleeper, waker) = S::thread();
        let (pusher, taker) = ringmx_loom::ring::ring::<usize>(4);
        let (mut pusher, mut taker) = (Held::new(pusher), Held::new(taker));
        let publisher = thread::spawn(move || {
            for number in 0..items {
                pusher.push(number).expect("there is room");
                pusher.publish();
                waker.wake();
            }
        });
        for number in 0..items {
            let item = loop {
                match taker.take() {
                    Some(item) => break item,
                    None => sleeper.sleep_unless(|| !taker.is_empty(), None),
                }
            };
            assert_eq!(item, number);
        }
        publisher.join().unwrap();
    });
}

/// A shard's turn: it sleeps on one bell for its mailbox and for what others publish.
fn a_shard_hears_both<S: Sleeping>() {
    model(|| {
        let (sender, receiver, awaited) = ringmx_loom::mailbox::mailbox::<()>().unwrap();
        let receiver = Held::new(receiver);
        let (mut sleeper, waker) = S::sleeper(sender.bell());
        let published = Arc::new(AtomicUsize::new(0));
        let publishes = Arc::clone(&published);
        let publisher = thread::spawn(move || {
            publishes.store(1, Ordering::Release);
            waker.wake();
        });
        let sends = thread::spawn(move || sender.send(()).unwrap());
        let (mut messages, mut seen) = (0, 0);
        while messages + seen < 2 {
            sleeper.announce();
            let message = receiver.take();
            let now = published.load(Ordering::Acquire);
            if message.is_none() && now == seen {
                awaited.sleep();
            }
            sleeper.withdraw();
            messages += usize::from(message.is_some());
            seen = now;
        }
        publisher.join().unwrap();
        sends.join().unwrap();
    });
}

/// Two threads wake a sleeper that has given its word so often: it is woken so often at most, and where it slept all the
/// while, once.
fn one_word_is_one_wake<S: Sleeping>(announces: bool, withdraws: bool) {
    model(move || {
        let (bell, awaited) = Bell::new().unwrap();
        let (mut sleeper, waker) = S::sleeper(bell);
        if announces {
            sleeper.announce();
        }
        if withdraws {
            sleeper.withdraw();
        }
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let waker = waker.clone();
                thread::spawn(move || waker.wake())
            })
            .collect();
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        assert_eq!(awaited.rings(), u64::from(announces && !withdraws), "wakes of who is awake");
    });
}

#[test]
fn nobody_sleeps_through_what_one_publishes() {
    none_sleeps_on::<AsItIs>(1, 2, false);
}

#[test]
fn nobody_sleeps_through_what_two_publish() {
    none_sleeps_on::<AsItIs>(2, 1, false);
}

#[test]
fn a_sleep_with_a_time_leaves_no_word_behind() {
    none_sleeps_on::<AsItIs>(1, 2, true);
    none_sleeps_on::<AsItIs>(2, 1, true);
}

#[test]
fn nobody_sleeps_through_items_of_a_ring() {
    items_of_a_ring_wake::<AsItIs>(2);
}

#[test]
fn a_shard_sleeps_for_its_mailbox_and_for_what_is_published() {
    a_shard_hears_both::<AsItIs>();
}

#[test]
fn who_sleeps_is_woken_once_and_who_is_awake_never() {
    one_word_is_one_wake::<AsItIs>(true, false);
    one_word_is_one_wake::<AsItIs>(true, true);
    one_word_is_one_wake::<AsItIs>(false, false);
}

mod this_sees {
    //! The faults that a sleeper can have, each found by the model that is for it.

    use super::*;

    #[test]
    #[should_panic = "deadlock"]
    fn a_sleeper_without_its_fence() {
        none_sleeps_on::<AnnouncesWithoutFence>(1, 1, false);
    }

    #[test]
    #[should_panic = "deadlock"]
    fn a_sleeper_with_a_weaker_fence() {
        none_sleeps_on::<AnnouncesWeakly>(1, 1, false);
    }

    #[test]
    #[should_panic = "deadlock"]
    fn a_waker_without_its_fence() {
        none_sleeps_on::<WakesWithoutFence>(1, 1, false);
    }

    #[test]
    #[should_panic = "deadlock"]
    fn a_sleeper_without_its_second_look() {
        items_of_a_ring_wake::<LooksOnce>(1);
    }

    #[test]
    #[should_panic = "deadlock"]
    fn a_second_look_that_comes_too_early() {
        none_sleeps_on::<LooksBeforeItAnnounces>(1, 1, false);
    }

    #[test]
    #[should_panic = "deadlock"]
    fn a_word_that_is_taken_without_a_wake() {
        a_shard_hears_both::<TakesTheWordSilently>();
    }

    #[test]
    #[should_panic = "wakes of who is awake"]
    fn wakes_of_who_never_slept() {
        one_word_is_one_wake::<WakesEachTime>(false, false);
    }

    #[test]
    #[should_panic = "wakes of who is awake"]
    fn more_wakes_than_words() {
        one_word_is_one_wake::<LeavesTheWord>(true, false);
    }

    #[test]
    #[should_panic = "wakes of who is awake"]
    fn wakes_of_who_is_up_again() {
        one_word_is_one_wake::<StaysAnnounced>(true, true);
    }
}
