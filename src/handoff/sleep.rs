//! Wakes who sleeps, and nobody else (DESIGN decision 16): a wake is a system call, and who is awake needs none.
//!
//! The sleeper says that it is about to sleep, looks again, and sleeps. Who has something for it publishes that, and wakes
//! it only if it has said so; the first to see it takes the word back, so that one of many wakes.
//!
//! *Invariant*: no wake is lost. Between the sleeper's word and its second look, and between what is published and the look
//! for that word, stands a SeqCst fence each. One of the fences is the first of the two in the order of all such fences. If
//! it is the sleeper's, who publishes sees the word, and wakes; else the sleeper sees what was published, and stays up. A
//! word that was taken back by a waker is followed by a wake, which a sleeper that was up meanwhile finds when it sleeps next:
//! it may wake for nothing, and never sleeps for ever.
//!
//! *Why swaps*: stores of the sleeper's would do, because a waker's swap stands right behind what it has read. The models
//! know that only of swaps among themselves, and would see wakes lost that are not. It costs nothing beside a sleep.
//!
//! *Does not* know what is published, nor look itself.

use std::time::Duration;

pub use crate::handoff::sync::Waker as Bell;
use crate::handoff::sync::{Arc, AtomicBool, Awaited, CachePadded, Errno, Ordering, fence, sleep};

/// Whether the sleeper has said that it sleeps. Who wakes reads it for each batch, so it shares its line with nothing.
type Asleep = Arc<CachePadded<AtomicBool>>;

/// The word of one who sleeps by means of its own, such as a shard whose ring awaits the eventfd.
#[derive(Debug)]
pub struct Sleeper {
    asleep: Asleep,
}

/// Wakes one sleeper; cloned for each thread that has something for it.
#[derive(Clone, Debug)]
pub struct Waker {
    asleep: Asleep,
    bell: Bell,
}

/// A sleeper for one who sleeps on that bell already, such as that of its mailbox
/// ([`crate::handoff::mailbox::Sender::bell`]).
pub fn sleeper(bell: Bell) -> (Sleeper, Waker) {
    let asleep = Asleep::default();
    (Sleeper { asleep: Arc::clone(&asleep) }, Waker { asleep, bell })
}

/// A sleeper that is a thread, and sleeps on an eventfd of its own.
pub fn thread() -> Result<(Thread, Waker), Errno> {
    let (bell, awaited) = Bell::new()?;
    let (sleeper, waker) = sleeper(bell);
    Ok((Thread { sleeper, awaited }, waker))
}

impl Sleeper {
    /// From here on it is woken for what is published. What was published before must be looked for after this, and before
    /// it sleeps.
    #[inline]
    pub fn announce(&mut self) {
        self.asleep.swap(true, Ordering::Relaxed);
        // With its like in `wake`: see the head.
        fence(Ordering::SeqCst);
    }

    /// It is up, whatever woke it. To be called after each announcement; what is left of a wake wakes it once more at most.
    #[inline]
    pub fn withdraw(&mut self) {
        self.asleep.swap(false, Ordering::Relaxed);
    }
}

impl Waker {
    /// Whether the sleeper sleeps, and does not see what is published. To be called after that is: who is awake then looks at it
    /// before it sleeps.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        // As in `wake`.
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed)
    }

    /// Wakes the sleeper, if it sleeps. To be called after what it shall see is published.
    #[inline]
    pub fn wake(&self) {
        // With its like in `announce`: see the head.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.bell.wake();
        }
    }
}

/// A thread that sleeps when there is nothing to do.
#[derive(Debug)]
pub struct Thread {
    sleeper: Sleeper,
    awaited: Awaited,
}

impl Thread {
    /// Sleeps until woken, or until the time is over, unless a second look finds something. May end for nothing. Says whether
    /// it was found or woken.
    pub fn sleep_unless(&mut self, finds: impl FnOnce() -> bool, most: Option<Duration>) -> bool {
        self.sleeper.announce();
        let up = finds() || sleep(&self.awaited, most);
        self.sleeper.withdraw();
        up
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc;

    use super::*;
    use crate::handoff::mailbox::mailbox;

    /// How often the eventfd was rung since it was last asked.
    fn rings(awaited: &Awaited) -> u64 {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::new(awaited, PollFlags::IN)], Some(&at_once)).unwrap() == 0 {
            return 0;
        }
        let mut count = [0; 8];
        rustix::io::read(awaited, &mut count).unwrap();
        u64::from_ne_bytes(count)
    }

    #[test]
    fn who_is_awake_is_not_woken_and_who_sleeps_is_once() {
        let (mut thread, waker) = thread().unwrap();
        (0..10).for_each(|_| waker.wake());
        assert_eq!(rings(&thread.awaited), 0);
        thread.sleeper.announce();
        let other = waker.clone();
        (0..10).for_each(|_| [&waker, &other].into_iter().for_each(Waker::wake));
        assert_eq!(rings(&thread.awaited), 1);
        thread.sleeper.announce();
        thread.sleeper.withdraw();
        waker.wake();
        assert_eq!(rings(&thread.awaited), 0);
    }

    #[test]
    fn the_second_look_and_the_time_end_a_sleep() {
        let (mut thread, waker) = thread().unwrap();
        assert!(thread.sleep_unless(|| true, None));
        assert!(!thread.sleep_unless(|| false, Some(Duration::from_millis(1))));
        // Woken between the word and the sleep.
        let wakes = || {
            waker.wake();
            false
        };
        assert!(thread.sleep_unless(wakes, None));
        assert!(!thread.sleep_unless(|| false, Some(Duration::ZERO)), "one wake is for one sleep");
    }

    /// A shard sleeps on its mailbox's eventfd, for both.
    #[test]
    fn a_mailbox_and_a_waker_ring_the_same_bell() {
        let (sender, receiver, awaited) = mailbox::<u32>().unwrap();
        let (mut sleeper, waker) = sleeper(sender.bell());
        waker.wake();
        assert_eq!(rings(&awaited), 0);
        sleeper.announce();
        waker.wake();
        sender.send(1).unwrap();
        assert_eq!((rings(&awaited), receiver.take()), (2, Some(1)));
        drop((sender, receiver));
        sleeper.announce();
        waker.wake();
        assert_eq!(rings(&awaited), 1, "wakers outlive the mailbox");
    }

    /// Each number is published when the one before was seen, so the sleeper sleeps, or is about to, nearly every time.
    #[test]
    fn no_wake_is_lost_between_two_threads() {
        const LAST: u64 = 20_000;
        let (mut thread, waker) = thread().unwrap();
        let published = Arc::new(AtomicU64::new(0));
        let (seen, sees) = mpsc::channel();
        let publishes = Arc::clone(&published);
        let producer = std::thread::spawn(move || {
            for number in 1..=LAST {
                publishes.store(number, Ordering::Release);
                waker.wake();
                assert_eq!(sees.recv_timeout(Duration::from_secs(60)), Ok(number), "the sleeper slept on");
            }
        });
        let mut last = 0;
        while last < LAST {
            thread.sleep_unless(|| published.load(Ordering::Acquire) > last, None);
            let now = published.load(Ordering::Acquire);
            if now > last {
                last = now;
                seen.send(now).unwrap();
            }
        }
        producer.join().unwrap();
    }
}
