//! Between one shard and one consumer: what they share beside the ring of letters.
//!
//! *Invariant*: letters that are posted and not acknowledged, and those of which the shard has not heard what became of them, are
//! together no more than there is room for, so nothing that comes back is without. *Why this way*: deliveries may be let go of on any thread, so what they leave goes into queues of many
//! senders; the ring to the consumer has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::handoff::clock::Clock;
use crate::handoff::delivery::Refusal;
use crate::handoff::handshake::Handshake;
use crate::handoff::letter::{Done, Letter, Waiting};
use crate::handoff::place::{LogKind, Place};
use crate::handoff::sleep::Waker;
use crate::limits;
use crate::mutant::{self, Mutant};
use crate::smtp::reply::Reply;

/// What a shard shares with all of its consumers.
#[derive(Debug)]
pub(super) struct Home {
    /// Which messages it awaits.
    pub(super) waiting: Arc<Waiting>,
    /// It wants to be woken when memory is given back.
    pub(super) wants_room: AtomicBool,
    pub(super) waker: Waker,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    acknowledged: CachePadded<AtomicU64>,
    /// Letters that were accepted, and that no consumer will have.
    lost: AtomicU64,
    /// Of those, letters that somebody waited for.
    answered: AtomicU64,
    /// What the shard has published.
    posted: CachePadded<Posted>,
    done: ArrayQueue<Done>,
    back: ArrayQueue<Returned>,
    /// What is done with of that which logs have.
    settled: ArrayQueue<Place>,
    /// Letters out of logs that hold nothing any more.
    put_away: AtomicU64,
    /// What is dropped of logs is not done with, and does not come again either: others see to it.
    is_settled_apart: AtomicBool,
    /// What is refused of logs is kept elsewhere.
    keeps_refused: AtomicBool,
    /// Of the logs of the shard, by their kind.
    pub(super) handshakes: [Arc<Handshake>; LogKind::OF_SHARDS.len()],
    /// Nobody takes what comes back.
    is_closed: AtomicBool,
    pub(super) home: Arc<Home>,
    pub(super) consumer: Waker,
    pub(super) clock: Clock,
}

/// Letters that a shard has published, by its own count.
#[derive(Debug, Default)]
struct Posted {
    all: AtomicU64,
    awaited: AtomicU64,
}

/// A letter that is not done with.
#[derive(Debug)]
pub(super) struct Returned {
    /// When it comes again.
    pub(super) at: Instant,
    pub(super) letter: Letter,
    /// It does not, but is kept elsewhere.
    pub(super) is_refused: bool,
}

impl Link {
    /// With room for so many letters, of which those of one log span so many octets of it at most.
    pub(super) fn new(letters: usize, window: u64, home: Arc<Home>, consumer: Waker, clock: Clock) -> Self {
        Self {
            acknowledged: CachePadded::default(),
            lost: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            posted: CachePadded::default(),
            done: ArrayQueue::new(letters),
            // BOUND: letters that are out, by the ring or out of a log.
            back: ArrayQueue::new(letters + limits::LOG_LETTERS),
            settled: ArrayQueue::new(letters + limits::LOG_LETTERS),
            put_away: AtomicU64::new(0),
            is_settled_apart: AtomicBool::new(false),
            keeps_refused: AtomicBool::new(false),
            handshakes: std::array::from_fn(|_| Handshake::new(window)),
            is_closed: AtomicBool::new(false),
            home,
            consumer,
            clock,
        }
    }

    /// Letters that it has room for.
    pub(super) fn letters(&self) -> u64 {
        self.done.capacity() as u64
    }

    /// Letters that are done with.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Letters that were accepted, and that no consumer will have.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// So many letters have been published, of which so many are awaited.
    pub(super) fn set_posted(&self, all: u64, awaited: u64) {
        self.posted.awaited.store(awaited, Ordering::Relaxed);
        self.posted.all.store(all, Ordering::Relaxed);
    }

    /// Letters that nobody waits for, whose senders have their answer, and that are not done with. Exact when the shard has ended
    /// and no consumer is at work.
    pub(super) fn promised(&self) -> u64 {
        let done_with = self.acknowledged().saturating_sub(self.answered.load(Ordering::Relaxed));
        let (all, awaited) = (self.posted.all.load(Ordering::Relaxed), self.posted.awaited.load(Ordering::Relaxed));
        all.saturating_sub(awaited).saturating_sub(done_with)
    }

    /// A letter is done with: who waits for it hears what became of it, and its log needs it no more.
    pub(super) fn acknowledge(&self, letter: Letter) {
        if let Some(place) = letter.place
            && !Mutant::ForgetsSettled.is_on()
        {
            let queued = self.settled.push(place);
            debug_assert!(queued.is_ok(), "there is room for each letter");
        }
        self.release(letter);
    }

    /// A letter is let go of: who waits for it hears what became of it. A log that has it has it still.
    pub(super) fn release(&self, letter: Letter) {
        let (place, came_by_ring) = (letter.place, letter.came_by_ring());
        let Letter { awaited, route, verdicts, is_taken, manifest, content, .. } = letter;
        drop(content);
        if Mutant::LeaksLease.is_on() {
            mutant::keep(manifest.share());
        }
        drop(manifest);
        if let Some(awaited) = awaited {
            let all_took_it = is_taken || verdicts.iter().all(|verdict| matches!(verdict, Some(Ok(()))));
            let each = || verdicts.into_iter().map(|verdict| verdict.unwrap_or(Ok(()))).collect();
            let done = Done { awaited, route, refusals: if all_took_it { None } else { Some(each()) } };
            let queued = self.done.push(done);
            debug_assert!(queued.is_ok(), "there is room for each letter");
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(place) = place {
            if came_by_ring {
                self.answered.fetch_add(1, Ordering::Relaxed);
                self.handshakes[place.log.kind.index()].release();
                self.acknowledged.fetch_add(1, Ordering::Release);
            } else {
                self.put_away.fetch_add(1, Ordering::Release);
            }
            self.consumer.wake();
        } else {
            self.acknowledged.fetch_add(1, Ordering::Release);
        }
        // With its like where the shard looks again before it sleeps.
        fence(Ordering::SeqCst);
        let is_wanted = awaited.is_some() || self.home.wants_room.load(Ordering::Relaxed);
        if is_wanted && !Mutant::ForgetsToWake.is_on() {
            self.home.waker.wake();
        }
    }

    /// Memory of the shard's is free: it is woken if it wants some.
    pub(super) fn tell_of_room(&self) {
        // With its like where the shard looks again before it sleeps.
        fence(Ordering::SeqCst);
        if self.home.wants_room.load(Ordering::Relaxed) {
            self.home.waker.wake();
        }
    }

    /// From now on what is dropped of logs is only let go of.
    pub(super) fn settle_apart(&self) {
        self.is_settled_apart.store(true, Ordering::Relaxed);
    }

    /// Whether others see to what is dropped of logs.
    pub(super) fn is_settled_apart(&self) -> bool {
        self.is_settled_apart.load(Ordering::Relaxed)
    }

    /// From now on what is refused of logs is kept elsewhere.
    pub(super) fn keep_refused(&self) {
        self.keeps_refused.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(super) fn keeps_refused(&self) -> bool {
        self.keeps_refused.load(Ordering::Relaxed)
    }

    /// What is done with of that which logs have.
    pub(super) fn take_settled(&self) -> Option<Place> {
        self.settled.pop()
    }

    /// Whether there is such.
    pub(super) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Letters out of logs that hold nothing any more.
    pub(super) fn put_away(&self) -> u64 {
        self.put_away.load(Ordering::Acquire)
    }

    /// A letter comes to its consumer again.
    pub(super) fn give_back(&self, returned: Returned) {
        if Mutant::LosesReturned.is_on() {
            return;
        }
        let queued = self.back.push(returned);
        debug_assert!(queued.is_ok(), "there is room for each letter");
        // With its like in `close`.
        fence(Ordering::SeqCst);
        if self.is_closed.load(Ordering::Relaxed) {
            return self.empty();
        }
        self.consumer.wake();
    }

    /// The consumer is gone: what it was given comes to nobody again, and whoever waits for it is told so.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // With its like in `give_back`: one of the two sees what the other did.
        fence(Ordering::SeqCst);
        self.empty();
    }

    fn empty(&self) {
        while let Some(Returned { letter, .. }) = self.back.pop() {
            self.fail(letter);
        }
    }

    /// A letter that no consumer will have.
    pub(super) fn fail(&self, mut letter: Letter) {
        if letter.place.is_some() {
            return self.release(letter);
        }
        if letter.awaited.is_none() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            letter.refuse_the_rest(&Refusal::new(Reply::DeliveryFailed, "nobody takes deliveries any more"));
        }
        self.acknowledge(letter);
    }

    /// What somebody waits for, and has not been heard.
    pub(super) fn unheard(&self) -> u64 {
        self.done.len() as u64
    }

    /// What somebody waits for.
    pub(super) fn take_done(&self) -> Option<Done> {
        self.done.pop()
    }

    /// Whether there is such.
    pub(super) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// What comes again.
    pub(super) fn take_back(&self) -> Option<Returned> {
        self.back.pop()
    }

    /// Whether there is such.
    pub(super) fn has_back(&self) -> bool {
        !self.back.is_empty()
    }
}
