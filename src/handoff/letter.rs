//! What passes from a shard to a consumer: a message, for those of its recipients whose mail goes there.
//!
//! *Invariant*: a letter holds the memory that its message lies in. *Does not* know who sends it or takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::handoff::delivery::{Refusal, Verdict};
use crate::handoff::place::{LogKind, Place, Spooled};
use crate::limits;
use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::memory::slab::{self, Lease, Leases};
use crate::policy::scope::Promise;

/// Of a letter that did not come by the ring.
pub(super) const FROM_LOG: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) id: MessageId,
    /// Whose it is.
    pub(super) route: Route,
    /// The place of its message among those whose end is not answered; `None` if it is.
    pub(super) awaited: Option<Awaited>,
    pub(super) promise: Promise,
    /// Where it stands in a log, if its mail is spooled.
    pub(super) place: Option<Place>,
    /// From there on all of that log's came by the ring; [`FROM_LOG`] if it did not itself.
    pub(super) live_from: u64,
    /// Recipients with this route.
    pub(super) recipients: u32,
    /// How often it was handed to the consumer before.
    pub(super) attempts: u32,
    /// Its log had it before this start: it may have been handed out then, and the word of what became of it be lost.
    pub(super) is_of_before: bool,
    pub(super) manifest: Lease,
    pub(super) content: Leases,
    /// What became of it for each recipient; empty while nothing was said of one.
    pub(super) verdicts: Vec<Option<Verdict>>,
    /// All of its recipients have it.
    pub(super) is_taken: bool,
    /// It lies in memory of its own.
    pub(super) is_apart: bool,
}

impl Letter {
    /// The same once more, for a mutant that needs two.
    pub(super) fn twin(&self) -> Self {
        let Self { id, route, awaited, promise, place, live_from, recipients, attempts, .. } = *self;
        let Self { is_of_before, is_taken, is_apart, .. } = *self;
        let (manifest, content, verdicts) = (self.manifest.share(), self.content.share(), self.verdicts.clone());
        Self {
            id,
            route,
            awaited,
            promise,
            place,
            live_from,
            recipients,
            attempts,
            is_of_before,
            manifest,
            content,
            verdicts,
            is_taken,
            is_apart,
        }
    }

    /// One that was read out of a log.
    pub(super) fn of_log(spooled: Spooled) -> Self {
        let Spooled { id, place, route, recipients, attempts, manifest, content } = spooled;
        Self {
            id,
            route,
            awaited: None,
            promise: Promise::Durable,
            place: Some(place),
            live_from: FROM_LOG,
            recipients,
            attempts,
            is_of_before: false,
            manifest,
            content,
            verdicts: Vec::new(),
            is_taken: false,
            is_apart: true,
        }
    }

    /// Whether it came by the ring.
    pub(super) fn came_by_ring(&self) -> bool {
        self.place.is_none() || self.live_from != FROM_LOG
    }

    /// Whether it was refused before, and kept until now.
    pub(super) fn came_from_deferral(&self) -> bool {
        self.place.is_some_and(|place| place.log.kind == LogKind::Deferred)
    }

    /// It will be kept for some time: a small one leaves the blocks in which others lie. Whether it has.
    pub(super) fn move_apart(&mut self) -> bool {
        if self.is_apart || self.content.len() > limits::APART_OCTETS {
            return false;
        }
        let Some((manifest, content)) = slab::apart(&self.manifest, &self.content) else { return false };
        (self.manifest, self.content, self.is_apart) = (manifest, content, true);
        true
    }

    /// What was said of a recipient.
    pub(super) fn verdict(&self, index: u32) -> Option<&Verdict> {
        static TAKEN: Verdict = Ok(());
        match self.is_taken {
            true => Some(&TAKEN),
            false => self.verdicts.get(index as usize)?.as_ref(),
        }
    }

    /// The place for what is said of a recipient.
    pub(super) fn verdict_mut(&mut self, index: u32) -> &mut Option<Verdict> {
        if self.verdicts.is_empty() {
            // COST: where all took it, nothing is allocated.
            let said = std::mem::take(&mut self.is_taken).then_some(Ok(()));
            self.verdicts.resize(self.recipients as usize, said);
        }
        &mut self.verdicts[index as usize]
    }

    /// Refused with this for all recipients of whom nothing was said.
    pub(super) fn refuse_the_rest(&mut self, refusal: &Refusal) {
        for index in 0..self.recipients {
            self.verdict_mut(index).get_or_insert_with(|| Err(refusal.clone()));
        }
    }

    /// What is known of the message.
    pub(super) fn manifest(&self) -> Manifest<'_> {
        Manifest::decode(self.manifest.octets()).expect("this process encoded it")
    }
}

/// The place of a message among those of a shard whose end is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) place: u32,
    /// Counts the messages of the place: more than ever come, so that a letter that was out for long meets no other's.
    pub(super) generation: u64,
}

/// Which messages of a shard are awaited still: the shard writes, consumers read.
#[derive(Debug)]
pub(super) struct Waiting(Box<[AtomicU64]>);

impl Waiting {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self((0..limits::MESSAGES_AWAITED).map(|_| AtomicU64::new(0)).collect()))
    }

    /// The place has another message from now on, or none.
    pub(super) fn renew(&self, place: u32) -> u64 {
        let generation = self.0[place as usize].load(Ordering::Relaxed).wrapping_add(1);
        self.0[place as usize].store(generation, Ordering::Release);
        generation
    }

    pub(super) fn has(&self, awaited: Awaited) -> bool {
        self.0.get(awaited.place as usize).is_some_and(|now| now.load(Ordering::Acquire) == awaited.generation)
    }
}

/// What a consumer says of a letter that somebody waits for.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) awaited: Awaited,
    pub(super) route: Route,
    /// For each recipient with the route, in their order; `None` if all took it.
    pub(super) refusals: Option<Box<[Verdict]>>,
}
