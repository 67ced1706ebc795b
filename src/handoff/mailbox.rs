//! The control mailbox of a shard: messages from other threads, and an eventfd that wakes it (DESIGN decision 11).
//!
//! *Why this way*: several threads send (signals, the admin API, look-ups), so the queue is `ArrayQueue`; control is rare, so
//! every message wakes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::limits;

#[derive(Debug)]
struct Shared<M> {
    queue: ArrayQueue<M>,
    /// Cleared when the receiver goes.
    received: AtomicBool,
    wake: OwnedFd,
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
        self.0.received.store(false, Ordering::Release);
    }
}

/// The shard is gone; the message comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone<M>(pub M);

/// A mailbox of [`limits::CONTROL_MESSAGES`], and the eventfd that its owner waits on.
pub fn mailbox<M>() -> Result<(Sender<M>, Receiver<M>, OwnedFd), Errno> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
    let awaited = rustix::io::fcntl_dupfd_cloexec(&wake, 0)?;
    let queue = ArrayQueue::new(limits::CONTROL_MESSAGES);
    let shared = Arc::new(Shared { queue, received: AtomicBool::new(true), wake });
    Ok((Sender(Arc::clone(&shared)), Receiver(shared), awaited))
}

impl<M> Sender<M> {
    /// Sends a message and wakes the owner. Waits while the mailbox is full; fails when the owner is gone.
    pub fn send(&self, message: M) -> Result<(), Gone<M>> {
        let mut message = message;
        loop {
            if !self.0.received.load(Ordering::Acquire) {
                return Err(Gone(message));
            }
            let pushed = self.0.queue.push(message);
            // Fails only when the counter is at its maximum, and then the owner is awake anyway.
            let _ = rustix::io::write(&self.0.wake, &1_u64.to_ne_bytes());
            match pushed {
                Ok(()) => return Ok(()),
                Err(back) => message = back,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
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
