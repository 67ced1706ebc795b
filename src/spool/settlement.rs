//! What becomes of a batch of spooled mail that a sink has had: what it took is done with, what it refused is kept, and then nobody
//! needs the log that the mail came from.
//!
//! *Invariants*: when [`Settlement::settle`] is done, every recipient of the batch has the message, or a copy for those who do not is on
//! stable storage in the class where it waits. Before that nothing may be told to the log that it came from. What failed can be settled
//! again, and what was written of it already is not written twice. *Pure but for the disk*: what is decided follows from batch and time.
//!
//! *What there is no room for*: a copy that finds the disk full is not made, the message stays where it is, and the sink gets nothing
//! new until it is: mail waits in its log, whose own bounds refuse new mail by 452 in the end. Mail that should wait for the operator,
//! and finds no room among what does, is kept with that which is tried again, in the class that waits longest: nothing is thrown away
//! for it, and no fresh mail waits for the operator; that it is so is counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::handoff::delivery::{Delivery, Verdict};
use crate::handoff::place::{LogKind, Spooled};
use crate::mail::envelope::Recipient;
use crate::spool::deferred::schedule::{Next, Outcome, State};
use crate::spool::deferred::{Carried, Class, Copier, Deferred, DeferredError, History, Parcel};
use crate::spool::format::Wait;

/// A copy of a message that is to be kept, for some of its recipients.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The place of its delivery in the batch.
    pub delivery: usize,
    /// How the attempt ended for these recipients.
    pub outcome: Outcome,
    /// Where they wait.
    pub next: Next,
    /// There was no room where they should wait for the operator.
    pub is_displaced: bool,
    /// Of the last reply; 0 if there was none.
    pub code: u16,
    /// In words.
    pub why: Arc<str>,
}

impl Copy {
    /// Whether this recipient is one of those.
    fn has(&self, verdict: Option<&Verdict>, is_mishap: bool) -> bool {
        outcome(verdict, is_mishap) == Some(self.outcome)
    }

    /// The code, and why, of one of those recipients: the copy has that of the last of them alone.
    pub fn said_of<'a>(&'a self, verdict: Option<&'a Verdict>) -> (u16, &'a str) {
        match verdict {
            Some(Err(refusal)) if self.outcome != Outcome::Mishap => (refusal.reply.code(), &refusal.why),
            _ => (self.code, &self.why),
        }
    }
}

/// What is to be done with a batch.
#[derive(Debug, Default)]
pub struct Plan {
    copies: Vec<Copy>,
    /// Places in the batch of deliveries that went wrong without a word.
    mishaps: BTreeSet<usize>,
    /// Classes that have their part.
    written: BTreeSet<Class>,
}

impl Plan {
    /// The copy that a recipient has its part in.
    pub fn copy_for(&self, delivery: usize, verdict: Option<&Verdict>) -> Option<&Copy> {
        let is_mishap = self.mishaps.contains(&delivery);
        // COST: as few as there are refused messages in a batch; they are in order.
        let first = self.copies.partition_point(|copy| copy.delivery < delivery);
        self.copies[first..]
            .iter()
            .take_while(|copy| copy.delivery == delivery)
            .find(|copy| copy.has(verdict, is_mishap))
    }

    /// The copies.
    pub fn copies(&self) -> &[Copy] {
        &self.copies
    }
}

/// How the attempt ended for a recipient who does not have the message.
fn outcome(verdict: Option<&Verdict>, is_mishap: bool) -> Option<Outcome> {
    match verdict {
        Some(Ok(())) => None,
        _ if is_mishap => Some(Outcome::Mishap),
        Some(Err(refusal)) if refusal.is_temporary() => Some(Outcome::RefusedForNow),
        Some(Err(_)) => Some(Outcome::RefusedForGood),
        None => Some(Outcome::Mishap),
    }
}

/// See the module.
pub struct Settlement {
    deferred: Deferred,
    copier: Copier,
}

impl Settlement {
    /// With what the sink has not taken so far.
    pub fn new(deferred: Deferred) -> Self {
        Self { deferred, copier: Copier::default() }
    }

    /// What the sink has not taken.
    pub fn deferred(&self) -> &Deferred {
        &self.deferred
    }

    #[cfg(test)]
    pub(super) fn deferred_mut(&mut self) -> &mut Deferred {
        &mut self.deferred
    }

    /// The same, for whoever makes deliveries of them.
    pub fn take_due_letters(
        &mut self,
        now_ms: u64,
        most: usize,
        out: &mut Vec<Spooled>,
    ) -> Result<usize, DeferredError> {
        self.deferred.take_due(now_ms, most, out)
    }

    /// Carries out some of what an operator has ordered, unless something is taken out. Gives what was done.
    pub fn carry_out(&mut self, now_ms: u64) -> Result<Vec<Carried>, DeferredError> {
        self.deferred.carry_out(now_ms)
    }

    /// Takes deliveries out that are due.
    pub fn take_due(&mut self, now_ms: u64, most: usize, out: &mut Vec<Delivery>) -> Result<usize, DeferredError> {
        let mut spooled = Vec::new();
        let taken = self.take_due_letters(now_ms, most, &mut spooled);
        // What was taken out before a failure is delivered all the same.
        out.extend(spooled.into_iter().map(Delivery::of_log));
        taken
    }

    /// What is to be done with a batch, in which these deliveries went wrong without a word.
    pub fn plan(&self, batch: &[Delivery], mishaps: BTreeSet<usize>, now_ms: u64) -> Plan {
        let mut copies = Vec::new();
        // Octets of this batch that go to a class which waits for the operator.
        let mut aside: Vec<(Class, u64)> = Vec::new();
        for (number, delivery) in batch.iter().enumerate().filter(|(_, delivery)| delivery.is_spooled()) {
            let is_mishap = mishaps.contains(&number);
            let first = copies.len();
            for (_, verdict) in delivery.outcomes() {
                let Some(outcome) = outcome(verdict, is_mishap) else { continue };
                let known: &mut [Copy] = &mut copies[first..];
                let (code, why) = match verdict {
                    Some(Err(refusal)) => (refusal.reply.code(), Arc::clone(&refusal.why)),
                    _ => (0, Arc::from("the sink said nothing")),
                };
                match known.iter_mut().find(|copy| copy.outcome == outcome) {
                    Some(copy) => (copy.code, copy.why) = (code, why),
                    None => {
                        let (next, is_displaced) = self.next(delivery, outcome, now_ms, &mut aside);
                        copies.push(Copy { delivery: number, outcome, next, is_displaced, code, why });
                    }
                }
            }
        }
        Plan { copies, mishaps, written: BTreeSet::new() }
    }

    fn next(&self, delivery: &Delivery, outcome: Outcome, now_ms: u64, aside: &mut Vec<(Class, u64)>) -> (Next, bool) {
        let options = self.deferred.retry_options();
        let next = options.next(delivery.id(), self.history(delivery), outcome, now_ms);
        if !next.class.is_aside() {
            return (next, false);
        }
        let place = aside.iter().position(|(class, _)| *class == next.class).unwrap_or_else(|| {
            aside.push((next.class, self.deferred.waiting_in(next.class).octets));
            aside.len() - 1
        });
        let octets = &mut aside[place].1;
        if *octets + delivery.content_octets() > options.aside_octets {
            return (options.instead_of_aside(delivery.id(), next.history, now_ms), true);
        }
        *octets += delivery.content_octets();
        (next, false)
    }

    /// What is behind a delivery that is spooled.
    fn history(&self, delivery: &Delivery) -> History {
        let known = delivery.place().and_then(|place| self.deferred.history(place));
        known.unwrap_or(History { attempts: delivery.attempts(), ..History::default() })
    }

    /// Does it. All of the batch is done with where it came from when this is done; when it fails it can be tried again.
    pub fn settle(&mut self, batch: &[Delivery], plan: &mut Plan) -> Result<(), DeferredError> {
        self.keep(batch, plan)?;
        self.deferred.commit()
    }

    /// The same of a batch in which nothing is that was taken out.
    pub fn keep(&mut self, batch: &[Delivery], plan: &mut Plan) -> Result<(), DeferredError> {
        let classes: BTreeSet<Class> = plan.copies.iter().map(|copy| copy.next.class).collect();
        for class in classes {
            if plan.written.contains(&class) {
                continue;
            }
            self.write(class, batch, plan)?;
            plan.written.insert(class);
        }
        Ok(())
    }

    /// What is due was not tried: it comes again.
    pub fn roll_back(&mut self) {
        self.deferred.roll_back();
    }

    fn write(&mut self, class: Class, batch: &[Delivery], plan: &Plan) -> Result<(), DeferredError> {
        let copies: Vec<&Copy> = plan.copies.iter().filter(|copy| copy.next.class == class).collect();
        let mut manifests = Vec::with_capacity(copies.len());
        for copy in &copies {
            let delivery = &batch[copy.delivery];
            let is_mishap = plan.mishaps.contains(&copy.delivery);
            let left = delivery.outcomes().filter(|(_, verdict)| copy.has(*verdict, is_mishap));
            let mut octets = Vec::new();
            let left = left.map(|(recipient, _): (Recipient<'_>, _)| recipient);
            self.copier.copy(&delivery.manifest(), left, &mut octets)?;
            manifests.push(octets);
        }
        let parcels = copies.iter().zip(&manifests).map(|(copy, manifest)| {
            let delivery = &batch[copy.delivery];
            let History { attempts, mishaps, since_ms } = copy.next.history;
            let wait = Wait {
                state: State::of(class, mishaps).code(),
                attempts,
                since_ms: since_ms.unwrap_or_default(),
                next_ms: copy.next.next_ms,
                code: copy.code,
                reply: copy.why.as_bytes(),
            };
            let content_octets = delivery.content_octets();
            Parcel { wait, manifest, content_octets, content: Box::new(delivery.content()) }
        });
        self.deferred.append(class, parcels)
    }
}

/// Whether a delivery came from deferred mail.
pub fn is_retried(delivery: &Delivery) -> bool {
    delivery.place().is_some_and(|place| place.log.kind == LogKind::Deferred)
}
