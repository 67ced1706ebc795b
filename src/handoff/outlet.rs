//! The way from a shard to one consumer: what is posted, what waits for room, and what is left to a log.
//!
//! *Invariant*: memory letters wait here when there is no room; spooled ones never do, their consumer reads the log then.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::handoff::handshake::Posting;
use crate::handoff::letter::{Awaited, Letter};
use crate::handoff::link::Link;
use crate::handoff::place::{LogId, LogKind};
use crate::handoff::ring::Pusher;
use crate::mutant::Mutant;
use crate::policy::scope::Promise;

/// Whether a consumer that sleeps is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// There is nothing for it.
    Nothing,
    /// A log has what there is: nobody waits for it, and more may come.
    InTime,
    /// Senders wait for its word, or soon for room.
    AtOnce,
}

/// The way to one consumer.
#[derive(Debug)]
pub(super) struct Outlet {
    /// `None` only while it is dropped.
    letters: Option<Pusher<Letter>>,
    pub(super) link: Arc<Link>,
    /// By the kind of the log.
    posting: [Posting; LogKind::OF_SHARDS.len()],
    /// Letters that were put into the ring so far.
    posted: u64,
    /// Of those, letters that are not lost with the ring: somebody waits for them, or a log has them.
    posted_awaited: u64,
    /// Something was put there in this turn; and something that no log has.
    is_news: bool,
    is_urgent: bool,
    /// Something was published, and the consumer was not woken for it.
    owed: Wake,
    /// Letters for which there is no room, some of which nobody waits for any more.
    pub(super) parked: VecDeque<Letter>,
    /// How many those are, at most.
    dead: usize,
}

impl Outlet {
    pub(super) fn new(letters: Pusher<Letter>, link: Arc<Link>) -> Self {
        let posting = link.handshakes.each_ref().map(|shared| Posting::new(Arc::clone(shared)));
        Self {
            letters: Some(letters),
            link,
            posting,
            posted: 0,
            posted_awaited: 0,
            is_news: false,
            is_urgent: false,
            owed: Wake::Nothing,
            parked: VecDeque::new(),
            dead: 0,
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.letters.as_ref().is_none_or(Pusher::is_abandoned)
    }

    /// Letters that are posted and not acknowledged.
    pub(super) fn outstanding(&self) -> u64 {
        self.posted - self.link.acknowledged()
    }

    /// Whether one more can be posted: what comes back of it has a place, too.
    pub(super) fn has_place(&self) -> bool {
        // In this order: what is acknowledged between the two is counted twice, and not left out.
        let outstanding = self.outstanding();
        outstanding + self.link.unheard() < self.link.letters()
    }

    /// Whether a letter would be posted at once.
    pub(super) fn has_room(&self) -> bool {
        self.parked.is_empty() && self.has_place() && !self.is_abandoned()
    }

    /// Posts a letter if there is room, and keeps it until there is if not. Whether it is posted.
    pub(super) fn post(&mut self, letter: Letter) -> bool {
        if !self.has_room() {
            self.parked.push_back(letter);
            return false;
        }
        self.put(letter);
        true
    }

    pub(super) fn put(&mut self, mut letter: Letter) {
        let Some(letters) = &mut self.letters else { return };
        if letter.promise == Promise::Memory {
            // Nobody waits for what its sink says: to be there is all.
            letter.awaited = None;
        }
        if Mutant::PostsTwice.is_on() && letters.push(letter.twin()).is_ok() {
            self.posted += 1;
        }
        let is_awaited = letter.awaited.is_some() || letter.place.is_some();
        let is_urgent = letter.place.is_none();
        match letters.push(letter) {
            Ok(()) => {
                self.is_urgent |= is_urgent;
                self.posted += 1;
                self.posted_awaited += u64::from(is_awaited);
                self.is_news = true;
            }
            // Cannot be: the ring has room for each letter that is not acknowledged.
            Err(letter) => self.parked.push_front(letter),
        }
    }

    /// Posts a message that a log has, if its consumer keeps up, and leaves it to the log if not. The letter has its memory only
    /// if there is such.
    pub(super) fn post_spooled(
        &mut self,
        log: LogId,
        address: u64,
        first: u64,
        letter: Option<impl FnOnce() -> Letter>,
    ) {
        let has_room = letter.is_some() && self.has_room();
        if let Some(live_from) = self.posting[log.kind.index()].admit(address, first, has_room)
            && let Some(letter) = letter
        {
            self.put(Letter { live_from, ..letter() });
        }
    }

    /// A log's watermark is published, and what was posted before that, too.
    pub(super) fn pass(&mut self, log: LogId, watermark: u64) {
        if self.is_abandoned() {
            return;
        }
        let has_room = self.has_room();
        let posting = &mut self.posting[log.kind.index()];
        let was_behind = posting.is_behind();
        posting.pass(watermark, has_room);
        if was_behind {
            self.owed = self.owed.max(Wake::InTime);
        }
    }

    /// Posts the first that was parked, if there is room by now; gives whose sender waits for no more than that.
    pub(super) fn post_parked(&mut self) -> Option<Option<Awaited>> {
        if self.parked.is_empty() || !self.has_place() {
            return None;
        }
        let letter = self.parked.pop_front()?;
        let is_dead = letter.awaited.is_some_and(|awaited| !self.link.home.waiting.has(awaited));
        if is_dead && !Mutant::KeepsGivenUp.is_on() {
            self.dead = self.dead.saturating_sub(1);
            return Some(None);
        }
        let awaited = letter.awaited.filter(|_| letter.promise == Promise::Memory);
        if !Mutant::ForgetsParked.is_on() {
            self.put(letter);
        }
        Some(awaited)
    }

    /// Nobody waits any more for a letter that may be parked here.
    pub(super) fn forget_parked(&mut self) {
        if self.parked.is_empty() || Mutant::KeepsGivenUp.is_on() {
            return;
        }
        self.dead += 1;
        // COST: a look at all is paid for by half as many that were given up; fewer than half are ever kept for nothing.
        if 2 * self.dead >= self.parked.len() {
            let waiting = &self.link.home.waiting;
            self.parked.retain(|letter| letter.awaited.is_none_or(|awaited| waiting.has(awaited)));
            self.dead = 0;
        }
    }

    /// Whether its consumer is gone, and that was not acted upon.
    pub(super) fn must_close(&self) -> bool {
        self.letters.is_some() && self.is_abandoned()
    }

    /// Takes back what its consumer left in the ring; gives what is parked.
    pub(super) fn close(&mut self) -> VecDeque<Letter> {
        if let Some(mut letters) = self.letters.take() {
            let left = letters.capacity() - letters.free();
            self.posted -= left as u64;
        }
        self.is_news = false;
        std::mem::take(&mut self.parked)
    }

    /// What was posted in this turn can be seen. Who sleeps does not see it before [`Outlet::wake`].
    pub(super) fn publish(&mut self) {
        if std::mem::take(&mut self.is_news)
            && !Mutant::ForgetsToPublish.is_on()
            && let Some(letters) = &mut self.letters
        {
            self.link.set_posted(self.posted, self.posted_awaited);
            letters.publish();
            let is_urgent = std::mem::take(&mut self.is_urgent) || 2 * self.outstanding() >= self.link.letters();
            self.owed = self.owed.max(if is_urgent { Wake::AtOnce } else { Wake::InTime });
        }
    }

    /// What the consumer is owed, if it sleeps.
    pub(super) fn owed(&mut self) -> Wake {
        if self.owed > Wake::Nothing && !self.link.consumer.is_wanted() {
            self.owed = Wake::Nothing;
        }
        self.owed
    }

    /// Wakes the consumer, if something was published and it sleeps.
    pub(super) fn wake(&mut self) {
        if std::mem::replace(&mut self.owed, Wake::Nothing) > Wake::Nothing {
            self.link.consumer.wake();
        }
    }
}

impl Drop for Outlet {
    /// The consumer hears that nothing more comes.
    fn drop(&mut self) {
        self.publish();
        drop(self.letters.take());
        self.link.consumer.wake();
    }
}
