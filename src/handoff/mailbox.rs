//! The control mailbox of a shard: messages from other threads, and an eventfd that wakes it (DESIGN decision 11).
//!
//! *Invariant*: no message stays in the mailbox of an owner that is gone, so that who waits for an answer hears at once
//! that there will be none.
//!
//! *Why this way*: several threads send (signals, the admin API, look-ups), so the queue is `ArrayQueue`; control is
//! rare, so every message wakes.

use crate::handoff::sync::{Arc, ArrayQueue, AtomicBool, Awaited, Errno, Ordering, Waker, fence, pause};
use crate::limits;

#[derive(Debug)]
struct Shared<M> {
    queue: ArrayQueue<M>,
    /// Cleared when the receiver goes.
    received: AtomicBool,
    waker: Waker,
}

impl<M> Shared<M> {
    /// Drops what nobody will take any more.
    fn empty(&self) {
        while self.queue.pop().is_some() {}
    }
}

/// The sending side; cloned for each thread that sends.
#[derive(Debug)]
pub struct Sender<M>(Arc<Shared<M>>);

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Receiver<M>(Arc<Shared<M>>);

impl<M> Drop for Receiver<M> {
    fn drop(&mut self) {
        self.0.received.store(false, Ordering::Relaxed);
        // With its like in `send`: what a sender has pushed is seen here, or the sender sees that nobody takes it.
        fence(Ordering::SeqCst);
        self.0.empty();
    }
}

/// The shard is gone; the message comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone<M>(pub M);

/// Why a message was not sent; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsent<M> {
    /// The mailbox is full.
    Full(M),
    /// The shard is gone.
    Gone(M),
}

/// A mailbox of [`limits::CONTROL_MESSAGES`], and the eventfd that its owner waits on.
pub fn mailbox<M>() -> Result<(Sender<M>, Receiver<M>, Awaited), Errno> {
    let (waker, awaited) = Waker::new()?;
    let queue = ArrayQueue::new(limits::CONTROL_MESSAGES);
    let shared = Arc::new(Shared { queue, received: AtomicBool::new(true), waker });
    Ok((Sender(Arc::clone(&shared)), Receiver(shared), awaited))
}

impl<M> Sender<M> {
    /// Sends a message and wakes the owner. Waits while the mailbox is full; fails when the owner is gone. A message
    /// that the owner has not taken when it goes is dropped.
    pub fn send(&self, message: M) -> Result<(), Gone<M>> {
        let mut message = message;
        loop {
            match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(Unsent::Gone(back)) => return Err(Gone(back)),
                Err(Unsent::Full(back)) => message = back,
            }
            pause();
        }
    }

    /// The same, but never waits: for senders that are owners of mailboxes themselves, and would wait for each other.
    pub fn try_send(&self, message: M) -> Result<(), Unsent<M>> {
        if !self.0.received.load(Ordering::Relaxed) {
            return Err(Unsent::Gone(message));
        }
        let pushed = self.0.queue.push(message);
        self.0.waker.wake();
        if let Err(back) = pushed {
            return Err(Unsent::Full(back));
        }
        // With its like in the receiver's end.
        fence(Ordering::SeqCst);
        if !self.0.received.load(Ordering::Relaxed) {
            self.0.empty();
        }
        Ok(())
    }

    /// What wakes the owner: for a [`crate::handoff::sleep::sleeper`] that sleeps on the very eventfd of its mailbox.
    pub fn bell(&self) -> Waker {
        self.0.waker.clone()
    }
}

impl<M> Receiver<M> {
    /// The oldest message, if there is one.
    pub fn take(&self) -> Option<M> {
        self.0.queue.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_wake() {
        let (sender, receiver, wake) = mailbox::<u32>().unwrap();
        let other = sender.clone();
        sender.send(1).unwrap();
        other.send(2).unwrap();
        let mut count = [0; 8];
        rustix::io::read(&wake, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 2);
        assert_eq!((receiver.take(), receiver.take(), receiver.take()), (Some(1), Some(2), None));
        drop(receiver);
        assert_eq!(sender.send(3), Err(Gone(3)));
        drop(other);
        assert_eq!(sender.send(4), Err(Gone(4)));
    }

    /// One that asks hears at once that nobody answers.
    #[test]
    fn messages_that_nobody_took_are_dropped_with_the_receiver() {
        let (sender, receiver, _wake) = mailbox().unwrap();
        let (reply, answer) = std::sync::mpsc::channel::<()>();
        sender.send(reply).unwrap();
        assert_eq!(answer.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        drop(receiver);
        assert_eq!(answer.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn a_full_mailbox_makes_the_sender_wait() {
        let (sender, receiver, _wake) = mailbox::<usize>().unwrap();
        let most = 3 * limits::CONTROL_MESSAGES;
        let thread = std::thread::spawn(move || (0..most).for_each(|number| sender.send(number).unwrap()));
        let mut next = 0;
        while next < most {
            if let Some(number) = receiver.take() {
                assert_eq!(number, next);
                next += 1;
            } else {
                std::thread::yield_now();
            }
        }
        thread.join().unwrap();
    }
}
