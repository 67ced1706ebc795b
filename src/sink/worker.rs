//! A thread of a sink: takes deliveries in batches, gives them to the sink, and keeps account of what became of them.
//!
//! *Invariants*: a batch is acknowledged after it is counted and logged. A sink that panics has refused the batch for now, and
//! is used again. When the shards have ended, what is left is delivered as long as that gets on; what remains then is counted
//! and logged, never dropped in silence.

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
use crate::smtp::reply::Reply;

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
}

impl Worker {
    /// Works until nothing more can come, or nothing gets on any more after the shards have ended.
    pub fn run(mut self) {
        let patience = Duration::from_millis(limits::DRAIN_MS);
        let mut batch = Vec::with_capacity(limits::DELIVERY_BATCH);
        let mut delivered_at = Instant::now();
        loop {
            if !self.deliveries.is_closing() {
                delivered_at = Instant::now();
            } else if delivered_at.elapsed() > patience || self.hurry.load(Ordering::Relaxed) {
                return self.leave();
            }
            self.deliveries.take_batch(&mut batch, limits::DELIVERY_BATCH);
            self.figures.given_up.set(self.deliveries.given_up());
            if batch.is_empty() {
                if !self.deliveries.wait(Some(Duration::from_millis(limits::WORKER_LOOK_MS))) {
                    return;
                }
                continue;
            }
            let before = self.figures.delivered.get();
            self.deliver(&mut batch);
            if self.figures.delivered.get() > before {
                delivered_at = Instant::now();
            }
            batch.clear();
        }
    }

    fn deliver(&mut self, batch: &mut [Delivery]) {
        let is_sound = catch_unwind(AssertUnwindSafe(|| self.sink.deliver(batch))).is_ok();
        if !is_sound {
            self.figures.panics.one();
            let refusal = Refusal::new(Reply::DeliveryFailed, "the sink panicked: a fault of this program");
            batch.iter_mut().for_each(|delivery| delivery.refuse_the_rest(&refusal));
        }
        self.figures.batches.one();
        self.figures.messages.add(batch.len() as u64);
        self.account(batch);
    }

    /// Counts and writes down what was said of each recipient.
    fn account(&self, batch: &[Delivery]) {
        let figures = &*self.figures;
        let now_ms = now_ms();
        let mut lines = Lines::new();
        let mut delays_ms = Vec::with_capacity(batch.len());
        for delivery in batch {
            let manifest = delivery.manifest();
            let mut took = 0;
            for (recipient, said) in delivery.said() {
                let fate = match said {
                    Ok(()) => Fate::Delivered,
                    Err(_) if delivery.is_awaited() => Fate::Refused,
                    Err(refusal) if refusal.is_temporary() => Fate::Deferred,
                    Err(_) => Fate::Failed,
                };
                match fate {
                    Fate::Delivered => took += 1,
                    Fate::Deferred => figures.deferred.one(),
                    Fate::Refused => figures.refused.one(),
                    Fate::Failed => figures.failed.one(),
                }
                if self.log.is_some() {
                    let (code, why) = said.map_or_else(|refusal| (refusal.reply.code(), &*refusal.why), |()| (250, ""));
                    lines.add(&self.line(now_ms, delivery, &manifest, recipient, (fate, code, why)));
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
        delivery: &Delivery,
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
            attempts: delivery.attempts() + 1,
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
            // Who waits for it was told nothing, and comes again.
            let is_lost = !delivery.is_awaited();
            if is_lost {
                self.figures.left_behind.one();
            }
            for addressee in delivery.recipients().filter(|_| is_lost) {
                let said = (Fate::Failed, Reply::DeliveryFailed.code(), "the server stopped before it was delivered");
                lines.add(&self.line(now_ms, delivery, &manifest, addressee.path, said));
            }
        }
        self.write(lines);
        left.into_iter().for_each(Delivery::accept);
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
