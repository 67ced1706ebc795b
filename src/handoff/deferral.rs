//! What a consumer of spooled mail has refused: it is kept elsewhere, so that its log need not keep it, and comes again from there.
//!
//! *Invariants*: a log is told that it need not keep a message when that is kept elsewhere, and not before. What was taken out to come
//! again is done with when each of it has come back. While nothing can be kept nothing is lost of it, and it is tried again.
//!
//! *Does not* know where that is, nor when something is due.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handoff::backlog::Keeper;
use crate::handoff::delivery::Delivery;
use crate::handoff::letter::Letter;
use crate::handoff::link::Link;
use crate::limits;

/// See the module.
pub(super) struct Deferral {
    keeper: Box<dyn Keeper>,
    /// Out of logs of shards, and since when there are some.
    refused: Vec<Delivery>,
    refused_at: Option<Instant>,
    /// What is being kept, until it is; and whether it is all that is left of what was taken out.
    under_way: Option<(Vec<Delivery>, bool)>,
    /// Taken out, and not handed on yet.
    due: VecDeque<Delivery>,
    /// Something was taken out, and is not done with.
    is_out: bool,
    /// So many of it are neither done with nor given back.
    out: usize,
    /// Of it, those that were refused again.
    back: Vec<Delivery>,
    look_at: Option<Instant>,
    retry_at: Option<Instant>,
    pause: Duration,
    /// Counts places of batches that are none of its own yet.
    places: usize,
}

impl Deferral {
    pub(super) fn new(keeper: Box<dyn Keeper>) -> Self {
        Self {
            keeper,
            refused: Vec::new(),
            refused_at: None,
            under_way: None,
            due: VecDeque::new(),
            is_out: false,
            out: 0,
            back: Vec::new(),
            look_at: None,
            retry_at: None,
            pause: Duration::ZERO,
            places: 0,
        }
    }

    /// A delivery was refused. BOUND: those that are out.
    pub(super) fn refuse(&mut self, letter: Letter, link: &Arc<Link>) {
        let is_due = letter.came_from_deferral();
        let delivery = Delivery::new(letter, Arc::clone(link));
        if is_due {
            self.out -= 1;
            self.back.push(delivery);
        } else {
            self.refused.push(delivery);
        }
    }

    /// One that was taken out is done with.
    pub(super) fn settle(&mut self) {
        // Those that came back were counted then.
        self.out = self.out.saturating_sub(1);
    }

    /// Keeps what there is to be kept, if there is enough to be worth the disk's while, or its consumer has nothing else to do. `is_closing`:
    /// what cannot be is left to its log.
    pub(super) fn work(&mut self, now: Instant, is_idle: bool, is_closing: bool) {
        let gathered = Duration::from_millis(limits::REFUSED_GATHER_MS);
        let is_enough = |at: Instant| self.refused.len() >= limits::DELIVERY_BATCH || now >= at + gathered;
        if !self.refused.is_empty() && !is_enough(*self.refused_at.get_or_insert(now)) && !is_idle && !is_closing {
            return;
        }
        if self.retry_at.is_some_and(|at| now < at) && !is_closing {
            return;
        }
        // BOUND: what was refused by now, and what was taken out.
        while let Some((batch, is_all)) = self.next_batch() {
            let is_kept = if is_all { self.keeper.conclude(&batch) } else { self.keeper.keep(&batch) };
            if is_kept {
                (self.retry_at, self.pause) = (None, Duration::ZERO);
                self.is_out &= !is_all;
                batch.into_iter().for_each(|delivery| if is_all { delivery.release() } else { delivery.settle() });
            } else if is_closing {
                // It comes again after the next start.
                self.keeper.give_up(is_all);
                self.is_out &= !is_all;
                batch.into_iter().for_each(Delivery::release);
            } else {
                let first = Duration::from_millis(limits::SETTLEMENT_PAUSE_FIRST_MS);
                self.pause = (2 * self.pause).clamp(first, Duration::from_millis(limits::SETTLEMENT_PAUSE_MOST_MS));
                self.retry_at = Some(now + self.pause);
                self.under_way = Some((batch, is_all));
                return;
            }
        }
    }

    fn next_batch(&mut self) -> Option<(Vec<Delivery>, bool)> {
        if let Some(batch) = self.under_way.take() {
            return Some(batch);
        }
        if self.is_out && self.out == 0 {
            return Some((std::mem::take(&mut self.back), true));
        }
        self.refused_at = None;
        let refused = std::mem::take(&mut self.refused);
        (!refused.is_empty()).then_some((refused, false))
    }

    /// How many of so many places are for what comes again while there is enough that is fresh.
    pub(super) fn share(&mut self, most: usize) -> usize {
        self.places += most;
        let share = self.places / limits::DEFERRED_SHARE;
        self.places %= limits::DEFERRED_SHARE;
        share
    }

    /// Hands on so many at most of what is due, of which so many at most are taken out; says how many those were.
    pub(super) fn take(
        &mut self,
        (most, most_taken): (usize, usize),
        now: Instant,
        link: &Arc<Link>,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let mut taken = 0;
        let is_time = self.look_at.is_none_or(|at| now >= at);
        if most > 0 && most_taken > 0 && !self.is_out && is_time && self.under_way.is_none() {
            let mut spooled = Vec::new();
            let share = limits::DELIVERY_BATCH / limits::DEFERRED_SHARE;
            self.keeper.take_due(share.min(most_taken), &mut spooled);
            taken = spooled.len();
            (self.is_out, self.out) = (taken > 0, taken);
            let made = spooled.into_iter().map(|one| Delivery::new(Letter::of_log(one), Arc::clone(link)));
            self.due.extend(made);
            self.look_at = (taken == 0).then(|| now + Duration::from_millis(limits::WORKER_LOOK_MS));
        }
        out.extend(self.due.drain(..most.min(self.due.len())));
        taken
    }

    /// When it is to be asked again, though nothing comes.
    pub(super) fn until(&self, now: Instant) -> Duration {
        let look = Duration::from_millis(limits::WORKER_LOOK_MS);
        self.retry_at.map_or(look, |at| at.saturating_duration_since(now).min(look))
    }

    /// Whether there is something that can be handed on at once.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }
}

impl fmt::Debug for Deferral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = (self.refused.len(), self.out, self.back.len());
        f.debug_struct("Deferral").field("waiting", &waiting).finish_non_exhaustive()
    }
}
