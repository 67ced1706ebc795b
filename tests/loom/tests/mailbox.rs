//! The control mailbox: nothing is lost, nobody sleeps through a message, nobody waits for an owner that is gone.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Held, model};
use loom::thread;
use ringmx_loom::handoff::sync::Awaited;

/// A message that is counted while it is anywhere.
struct Letter {
    sender: usize,
    number: usize,
    alive: Arc<AtomicUsize>,
}

impl Letter {
    fn new(sender: usize, number: usize, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { sender, number, alive: Arc::clone(alive) }
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A mailbox as it is, or with a fault.
trait Mailbox {
    type Sender: Sending;
    type Receiver: Taking;
    fn open() -> (Self::Sender, Self::Receiver, Awaited);
}

trait Sending: Clone + 'static {
    /// The letter comes back when nobody is there to take it.
    fn send(&self, letter: Letter) -> Option<Letter>;
}

trait Taking {
    fn take(&self) -> Option<Letter>;
}

macro_rules! mailbox {
    ($type:ident, $variant:ident) => {
        struct $type;

        impl Mailbox for $type {
            type Sender = ringmx_loom::$variant::Sender<Letter>;
            type Receiver = ringmx_loom::$variant::Receiver<Letter>;

            fn open() -> (Self::Sender, Self::Receiver, Awaited) {
                ringmx_loom::$variant::mailbox().unwrap()
            }
        }

        impl Sending for ringmx_loom::$variant::Sender<Letter> {
            fn send(&self, letter: Letter) -> Option<Letter> {
                self.send(letter).err().map(|gone| gone.0)
            }
        }

        impl Taking for ringmx_loom::$variant::Receiver<Letter> {
            fn take(&self) -> Option<Letter> {
                self.take()
            }
        }
    };
}

mailbox!(AsItIs, mailbox);
mailbox!(WakesFirst, wakes_first);
mailbox!(TakesTheNewerFirst, takes_the_newer_first);
mailbox!(GoesSilently, goes_silently);
mailbox!(LeavesMessages, leaves_messages);
mailbox!(SendsBlindly, sends_blindly);
mailbox!(SendsWithoutFence, sends_without_fence);
mailbox!(GoesWithoutFence, goes_without_fence);
mailbox!(OnAnUnorderedQueue, on_an_unordered_queue);

/// What a receiver does after a turn in which it took as many messages as it may.
#[derive(Clone, Copy, PartialEq)]
enum AfterFullTurn {
    LooksAgain,
    /// A fault: nobody wakes it for what it has left.
    Sleeps,
}

/// The receiver takes one message in a turn, as a shard takes a bounded number, and sleeps when there was none. Every
/// message comes, and in the order of its sender; no wake is lost, or the receiver sleeps for ever.
fn all_are_taken_in_order<M: Mailbox>(senders: usize, each: usize, after_full_turn: AfterFullTurn) {
    model(move || {
        let alive = Arc::default();
        let (sender, receiver, awaited) = M::open();
        let threads: Vec<_> = (0..senders)
            .map(|name| {
                let (sender, alive) = (sender.clone(), Arc::clone(&alive));
                thread::spawn(move || {
                    for number in 0..each {
                        let back = sender.send(Letter::new(name, number, &alive));
                        assert!(back.is_none(), "the receiver is there");
                    }
                })
            })
            .collect();
        let receiver = Held::new(receiver);
        let mut next = vec![0; senders];
        while next.iter().sum::<usize>() < senders * each {
            let taken = receiver.take();
            if let Some(letter) = &taken {
                assert_eq!(letter.number, next[letter.sender], "the order of sender {}", letter.sender);
                next[letter.sender] += 1;
            }
            if taken.is_none() || after_full_turn == AfterFullTurn::Sleeps {
                awaited.sleep();
            }
        }
        assert!(receiver.take().is_none(), "nothing came twice");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The receiver goes at any moment, after so many messages. Senders end, though the mailbox may be full; what they get
/// back is what they sent; and no message stays anywhere, though the mailbox can still be sent to.
fn none_outlives_its_receiver<M: Mailbox>(senders: usize, each: usize, taken: usize) {
    model(move || {
        let alive = Arc::default();
        let (sender, receiver, awaited) = M::open();
        let threads: Vec<_> = (0..senders)
            .map(|name| {
                let (sender, alive) = (sender.clone(), Arc::clone(&alive));
                thread::spawn(move || {
                    for number in 0..each {
                        let back = sender.send(Letter::new(name, number, &alive));
                        assert!(back.is_none_or(|letter| (letter.sender, letter.number) == (name, number)));
                    }
                })
            })
            .collect();
        for _ in 0..taken {
            while receiver.take().is_none() {
                awaited.sleep();
            }
        }
        drop(receiver);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(alive.load(Ordering::Relaxed), 0, "messages outlive their receiver");
        assert!(sender.send(Letter::new(0, each, &alive)).is_some(), "a sender after the end is told");
    });
}

use AfterFullTurn::{LooksAgain, Sleeps};

#[test]
fn messages_of_two_senders_are_taken_in_order() {
    all_are_taken_in_order::<AsItIs>(2, 1, LooksAgain);
}

/// The mailbox has room for two.
#[test]
fn a_full_mailbox_makes_its_sender_wait() {
    all_are_taken_in_order::<AsItIs>(1, 3, LooksAgain);
}

#[test]
fn no_message_outlives_its_receiver() {
    none_outlives_its_receiver::<AsItIs>(2, 1, 0);
}

#[test]
fn a_sender_on_a_full_mailbox_ends_with_the_receiver() {
    none_outlives_its_receiver::<AsItIs>(1, 3, 0);
}

#[test]
fn the_end_may_come_between_messages() {
    none_outlives_its_receiver::<AsItIs>(1, 2, 1);
}

mod this_sees {
    //! The faults that a mailbox can have, each found by the model that is for it.

    use super::*;

    #[test]
    #[should_panic = "deadlock"]
    fn a_wake_before_its_message() {
        all_are_taken_in_order::<WakesFirst>(1, 1, LooksAgain);
    }

    #[test]
    #[should_panic = "deadlock"]
    fn a_receiver_that_sleeps_with_messages_left() {
        all_are_taken_in_order::<AsItIs>(2, 1, Sleeps);
    }

    #[test]
    #[should_panic = "the order of sender 0"]
    fn a_message_that_overtakes() {
        all_are_taken_in_order::<TakesTheNewerFirst>(1, 2, LooksAgain);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn a_message_that_is_taken_before_it_is_whole() {
        all_are_taken_in_order::<OnAnUnorderedQueue>(1, 1, LooksAgain);
    }

    #[test]
    #[should_panic = "exceeded maximum number of branches"]
    fn a_sender_that_waits_for_ever() {
        none_outlives_its_receiver::<GoesSilently>(1, 3, 0);
    }

    #[test]
    #[should_panic = "messages outlive their receiver"]
    fn a_receiver_that_leaves_messages() {
        none_outlives_its_receiver::<LeavesMessages>(1, 1, 0);
    }

    #[test]
    #[should_panic = "messages outlive their receiver"]
    fn a_sender_that_does_not_look_again() {
        none_outlives_its_receiver::<SendsBlindly>(1, 1, 0);
    }

    #[test]
    #[should_panic = "messages outlive their receiver"]
    fn a_sender_without_its_fence() {
        none_outlives_its_receiver::<SendsWithoutFence>(1, 1, 0);
    }

    #[test]
    #[should_panic = "messages outlive their receiver"]
    fn a_receiver_without_its_fence() {
        none_outlives_its_receiver::<GoesWithoutFence>(1, 1, 0);
    }
}
