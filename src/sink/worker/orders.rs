//! What an operator has ordered for mail that the sink does not have: it is carried out between two batches, counted, and written down.
//!
//! *Invariant*: nothing is thrown away in silence: each message that goes has its line and its count.

use std::time::Instant;

use super::{Time, Worker, now_ms};
use crate::mail::manifest::Manifest;
use crate::sink::log::{Fate, Line, Lines};
use crate::spool::deferred::Carried;
use crate::spool::deferred::order::Verb;

impl Worker {
    /// Whether orders wait for nothing but their turn.
    pub(super) fn has_orders(&self, time: &mut Time) -> bool {
        let settlement = self.settlement.as_ref().filter(|_| !self.deliveries.is_closing());
        settlement.is_some_and(|settlement| settlement.deferred().has_orders(time.retry_ms()))
    }

    /// Does some of what is ordered; nothing is under way now. When the engine stops the rest waits for the next start.
    pub(super) fn carry_out(&mut self, time: &mut Time) {
        let Some(settlement) = self.settlement.as_mut().filter(|_| !self.deliveries.is_closing()) else { return };
        match settlement.carry_out(time.retry_ms()) {
            Ok(carried) => self.account_for(&carried),
            Err(error) => {
                self.figures.deferral_failures.one();
                self.trouble.fail(&error, Instant::now());
            }
        }
    }

    fn account_for(&self, carried: &[Carried]) {
        let (mut lines, now_ms) = (Lines::new(), now_ms());
        for Carried { verb, manifest, attempts } in carried {
            let (fate, counter, why) = match verb {
                Verb::Hold => (Fate::Held, &self.figures.ordered_held, "an operator holds it"),
                Verb::Release => (Fate::Released, &self.figures.ordered_released, "an operator has released it"),
                Verb::Remove => (Fate::Removed, &self.figures.ordered_removed, "an operator has removed it"),
                Verb::Replayed => (Fate::Replayed, &self.figures.ordered_replayed, "an operator has it tried anew"),
            };
            counter.one();
            let Ok(manifest) = Manifest::decode(manifest.octets()) else { continue };
            for recipient in manifest.envelope.recipients().filter(|_| self.log.is_some()) {
                lines.add(&Line { why, ..self.line(now_ms, *attempts, &manifest, recipient.path, (fate, 0, "")) });
            }
        }
        self.write(lines);
    }
}
