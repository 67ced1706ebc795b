//! A thread of a sink: takes deliveries in batches, gives them to the sink, and keeps account of what became of them.
//!
//! *Invariants*: a batch is acknowledged after it is counted and logged. A sink that panics has refused the batch for now, and
//! is used again; spooled mail is given to it one by one then, so that one message that it cannot take stands in no other's way.
//! When the shards have ended, what is left is delivered as long as that gets on; what remains then is counted
//! and logged, never dropped in silence. What a log has stays there until it is [settled](Settlement).
//!
//! *Fresh mail first*: of a batch a share is for what was deferred, while there is enough that was not.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::handoff::consumer::Deliveries;
use crate::handoff::delivery::{Delivery, Refusal};
use crate::limits;
use crate::mail::address::Path;
use crate::mail::manifest::Manifest;
use crate::metrics::sinks::SinkFigures;
use crate::sink::Sink;
use crate::sink::log::{Fate, Line, Lines, LogHandle};
use crate::sink::trouble::Trouble;
use crate::smtp::reply::Reply;
use crate::spool::deferred::Class;
use crate::spool::deferred::clock::RetryClock;
use crate::spool::settlement::{Plan, Settlement, is_retried};

/// See the module.
pub struct Worker {
    /// Of the sink, in the configuration.
    pub name: String,
    /// What comes for it.
    pub deliveries: Deliveries,
    /// Where it goes.
    pub sink: Box<dyn Sink>,
    /// What is counted.
    pub figures: Arc<SinkFigures>,
    /// Where it is written down.
    pub log: Option<LogHandle>,
    /// It shall end at once.
    pub hurry: Arc<AtomicBool>,
    /// What sees to spooled mail that the sink has not taken; without it no spooled mail comes.
    pub settlement: Option<Settlement>,
    /// What keeps that from being done.
    pub trouble: Trouble,
}

/// The time, as the wall and as a steady clock show it.
pub(super) struct Time {
    start: Instant,
    retry: RetryClock,
}

impl Time {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), retry: RetryClock::new(now_ms(), 0) }
    }

    /// That by which deferred mail waits, in ms since 1970.
    pub(super) fn retry_ms(&mut self) -> u64 {
        self.retry.now(now_ms(), self.start.elapsed().as_millis() as u64)
    }
}

impl Worker {
    /// Works until nothing more can come, or nothing gets on any more after the shards have ended.
    pub fn run(mut self) {
        let patience = Duration::from_millis(limits::DRAIN_MS);
        let mut batch = Vec::with_capacity(limits::DELIVERY_BATCH);
        let mut delivered_at = Instant::now();
        let mut time = Time::new();
        if self.settlement.is_some() {
            self.deliveries.settle_apart();
        }
        loop {
            if !self.deliveries.is_closing() {
                delivered_at = Instant::now();
            } else if delivered_at.elapsed() > patience || self.hurry.load(Ordering::Relaxed) {
                return self.leave();
            }
            self.take(&mut batch, &mut time);
            self.figures.given_up.set(self.deliveries.given_up());
            if batch.is_empty() {
                self.show_what_waits();
                if self.has_orders(&mut time) {
                    continue;
                }
                if !self.deliveries.wait(Some(Duration::from_millis(limits::WORKER_LOOK_MS))) {
                    return;
                }
                continue;
            }
            let before = self.figures.delivered.get();
            self.deliver(&mut batch, &mut time);
            if self.figures.delivered.get() > before {
                delivered_at = Instant::now();
            }
            batch.clear();
        }
    }

    /// Takes what is to be delivered next: fresh mail, and a share of what is due again, or what fresh mail leaves of it.
    fn take(&mut self, batch: &mut Vec<Delivery>, time: &mut Time) {
        self.carry_out(time);
        let share = limits::DELIVERY_BATCH / limits::DEFERRED_SHARE;
        let mut due = Vec::new();
        self.take_due(&mut due, share, time);
        self.deliveries.take_batch(batch, limits::DELIVERY_BATCH - due.len());
        let room = limits::DELIVERY_BATCH - due.len() - batch.len();
        if due.len() == share && room > 0 {
            self.take_due(&mut due, room, time);
        }
        batch.append(&mut due);
    }

    fn take_due(&mut self, due: &mut Vec<Delivery>, most: usize, time: &mut Time) {
        // When the engine stops nothing is begun that can wait.
        let Some(settlement) = self.settlement.as_mut().filter(|_| !self.deliveries.is_closing()) else { return };
        match settlement.take_due(time.retry_ms(), most, due) {
            Ok(_) => self.trouble.go_on(Instant::now()),
            Err(error) => {
                // It is looked at again soon, and comes again.
                self.figures.deferral_failures.one();
                self.trouble.fail(&error, Instant::now());
                settlement.roll_back();
                due.clear();
            }
        }
    }

    fn deliver(&mut self, batch: &mut Vec<Delivery>, time: &mut Time) {
        let mishaps = self.attempt(batch);
        self.figures.batches.one();
        self.figures.messages.add(batch.len() as u64);
        let now_ms = time.retry_ms();
        let plan = self.settlement.as_ref().map(|settlement| settlement.plan(batch, mishaps, now_ms));
        self.account(batch, plan.as_ref(), now_ms);
        if let Some(plan) = plan.filter(|_| batch.iter().any(Delivery::is_spooled)) {
            self.settle(batch, plan, time);
        }
    }

    /// Gives a batch to the sink. Gives the places of those that went wrong without a word, each by itself.
    fn attempt(&mut self, batch: &mut [Delivery]) -> BTreeSet<usize> {
        if self.is_sound(batch) {
            return BTreeSet::new();
        }
        let refusal = Refusal::new(Reply::DeliveryFailed, "the sink panicked: a fault of this program");
        for delivery in batch.iter_mut().filter(|delivery| !delivery.is_spooled()) {
            delivery.refuse_the_rest(&refusal);
        }
        if batch.len() == 1 {
            return batch.iter().filter(|delivery| delivery.is_spooled()).map(|_| 0).collect();
        }
        let is_open = |delivery: &Delivery| delivery.is_spooled() && delivery.recipients().next().is_some();
        let (mut mishaps, mut tried) = (BTreeSet::new(), 0);
        for (place, delivery) in batch.iter_mut().enumerate().filter(|(_, delivery)| is_open(delivery)) {
            if tried == mishaps.len() && tried >= limits::DEFERRED_TRIED_ALONE {
                break;
            }
            tried += 1;
            if !self.is_sound(std::slice::from_mut(delivery)) {
                mishaps.insert(place);
            }
        }
        if tried > 1 && mishaps.len() == tried {
            // It is the sink's fault, and no message's.
            mishaps.clear();
        }
        for (_, delivery) in batch.iter_mut().enumerate().filter(|(place, _)| !mishaps.contains(place)) {
            if is_open(delivery) && tried > 0 {
                delivery.refuse_the_rest(&refusal);
            }
        }
        mishaps
    }

    fn is_sound(&mut self, batch: &mut [Delivery]) -> bool {
        let is_sound = catch_unwind(AssertUnwindSafe(|| self.sink.deliver(batch))).is_ok();
        if !is_sound {
            self.figures.panics.one();
        }
        is_sound
    }

    /// What the sink did not take is kept, and the logs are told that they need not. When that fails the sink waits until it can be done,
    /// and meanwhile what an operator has ordered is carried out, as far as nothing is taken out: what he removes may be the room that is
    /// missing. When the engine stops before, the logs keep it all.
    fn settle(&mut self, batch: &mut Vec<Delivery>, mut plan: Plan, time: &mut Time) {
        let mut pause_ms = limits::SETTLEMENT_PAUSE_FIRST_MS;
        let mut since_closing = Instant::now();
        while let Some(Err(error)) = self.settlement.as_mut().map(|settlement| settlement.settle(batch, &mut plan)) {
            self.figures.deferral_failures.one();
            self.trouble.fail(&error, Instant::now());
            self.figures.stuck.set(1);
            let until = Instant::now() + Duration::from_millis(pause_ms);
            pause_ms = (2 * pause_ms).min(limits::SETTLEMENT_PAUSE_MOST_MS);
            while Instant::now() < until {
                if !self.deliveries.is_closing() {
                    since_closing = Instant::now();
                }
                let is_late = since_closing.elapsed() > Duration::from_millis(limits::DRAIN_MS);
                if is_late || self.hurry.load(Ordering::Relaxed) {
                    self.settlement.iter_mut().for_each(Settlement::roll_back);
                    return;
                }
                self.carry_out(time);
                let step = until.saturating_duration_since(Instant::now());
                std::thread::sleep(step.min(Duration::from_millis(limits::WORKER_LOOK_MS)));
            }
        }
        self.figures.stuck.set(0);
        for copy in plan.copies() {
            match copy.next.class {
                Class::Dead => self.figures.died.one(),
                Class::Quarantined | Class::Held => self.figures.set_aside.one(),
                Class::Retry(_) | Class::Replay => self.figures.moved.one(),
            }
            self.figures.displaced.add(u64::from(copy.is_displaced));
        }
        self.figures.retried.add(batch.iter().filter(|delivery| is_retried(delivery)).count() as u64);
        let (spooled, rest) = std::mem::take(batch).into_iter().partition(Delivery::is_spooled);
        let spooled: Vec<Delivery> = spooled;
        spooled.into_iter().for_each(Delivery::settle);
        *batch = rest;
        self.show_what_waits();
    }

    fn show_what_waits(&self) {
        let Some(settlement) = &self.settlement else { return };
        let (deferred, figures) = (settlement.deferred(), &*self.figures);
        let waiting = deferred.waiting_for_retry();
        figures.waiting.set(waiting.messages);
        figures.waiting_octets.set(waiting.octets);
        figures.held.set(deferred.waiting_in(Class::Held).messages);
        figures.quarantined.set(deferred.waiting_in(Class::Quarantined).messages);
        figures.dead.set(deferred.waiting_in(Class::Dead).messages);
        figures.damages.set(deferred.damages());
        let orders = deferred.order_counts();
        figures.orders_missed.set(orders.missed);
        figures.orders_doubled.set(orders.doubled);
    }

    /// Counts and writes down what was said of each recipient.
    fn account(&self, batch: &[Delivery], plan: Option<&Plan>, retry_ms: u64) {
        let figures = &*self.figures;
        let now_ms = now_ms();
        let mut lines = Lines::new();
        let mut delays_ms = Vec::with_capacity(batch.len());
        for (place, delivery) in batch.iter().enumerate() {
            let manifest = delivery.manifest();
            let mut took = 0;
            let mut note = |recipient, fate, code, why: &str, next_ms| {
                match fate {
                    Fate::Delivered => took += 1,
                    Fate::Deferred | Fate::Quarantined => figures.deferred.one(),
                    Fate::Refused => figures.refused.one(),
                    Fate::Failed => figures.failed.one(),
                    // An operator's, which are counted where they are carried out.
                    Fate::Held | Fate::Released | Fate::Removed | Fate::Replayed => {}
                }
                if self.log.is_some() {
                    let line = self.line(now_ms, delivery.attempts() + 1, &manifest, recipient, (fate, code, why));
                    lines.add(&Line { next_ms, ..line });
                }
            };
            match plan.filter(|_| delivery.is_spooled()) {
                Some(plan) => {
                    for (recipient, verdict) in delivery.outcomes() {
                        let Some(copy) = plan.copy_for(place, verdict) else {
                            note(recipient.path, Fate::Delivered, 250, "", None);
                            continue;
                        };
                        let fate = match copy.next.class {
                            Class::Retry(_) | Class::Replay => Fate::Deferred,
                            Class::Held | Class::Quarantined => Fate::Quarantined,
                            Class::Dead => Fate::Failed,
                        };
                        // As the wall shows it.
                        let next_ms = copy.next.next_ms.checked_sub(retry_ms).map(|wait_ms| now_ms + wait_ms);
                        let (code, why) = copy.said_of(verdict);
                        note(recipient.path, fate, code, why, next_ms);
                    }
                }
                None => {
                    for (path, said) in delivery.said() {
                        let (code, why) =
                            said.map_or_else(|refusal| (refusal.reply.code(), &*refusal.why), |()| (250, ""));
                        note(path, fate(delivery, said), code, why, None);
                    }
                }
            }
            figures.delivered.add(took);
            if took > 0 {
                figures.octets.add(manifest.content_octets);
                delays_ms.push((now_ms.saturating_sub(manifest.received_at_ms), took));
            }
        }
        figures.record_delays(delays_ms);
        self.write(lines);
    }

    fn line<'a>(
        &'a self,
        time_ms: u64,
        attempts: u32,
        manifest: &Manifest<'a>,
        forward_path: Path<'a>,
        (fate, code, why): (Fate, u16, &'a str),
    ) -> Line<'a> {
        Line {
            time_ms,
            id: manifest.id,
            listener: manifest.listener,
            sink: &self.name,
            reverse_path: manifest.envelope.sender().0,
            forward_path,
            size_bytes: manifest.content_octets,
            fate,
            code,
            delay_ms: time_ms.saturating_sub(manifest.received_at_ms),
            attempts,
            next_ms: None,
            why,
        }
    }

    fn write(&self, lines: Lines) {
        if let Some(log) = self.log.as_ref().filter(|_| !lines.is_empty()) {
            log.write(lines);
        }
    }

    /// What is left is lost: it is said of each message which.
    fn leave(mut self) {
        let mut left = Vec::new();
        let now_ms = now_ms();
        self.deliveries.take_all(&mut left);
        let mut lines = Lines::new();
        for delivery in &left {
            let manifest = delivery.manifest();
            // Who waits for it was told nothing, and comes again; what a log has is there after the next start.
            let is_lost = !delivery.is_awaited() && !delivery.is_spooled();
            if is_lost {
                self.figures.left_behind.one();
            }
            for addressee in delivery.recipients().filter(|_| is_lost) {
                let said = (Fate::Failed, Reply::DeliveryFailed.code(), "the server stopped before it was delivered");
                lines.add(&self.line(now_ms, delivery.attempts() + 1, &manifest, addressee.path, said));
            }
        }
        self.write(lines);
        left.into_iter().filter(|delivery| !delivery.is_spooled()).for_each(Delivery::accept);
    }
}

/// What became of a message that no log has for a recipient.
fn fate(delivery: &Delivery, said: Result<(), &Refusal>) -> Fate {
    match said {
        Ok(()) => Fate::Delivered,
        Err(_) if delivery.is_awaited() => Fate::Refused,
        Err(refusal) if refusal.is_temporary() => Fate::Deferred,
        Err(_) => Fate::Failed,
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

mod orders;
#[cfg(test)]
pub(super) mod tests;
