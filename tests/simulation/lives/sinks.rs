//! A sink and what its worker does for it, by the clock of the simulation.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::handoff::consumer::Deliveries;
use crate::handoff::delivery::{Delivery, Refusal};
use crate::simulation::chance::Chance;
use crate::smtp::reply::Reply;
use crate::spool::findings::Findings;
use crate::spool::settlement::{Plan, Settlement};

use super::ledger::Ledger;

/// In percent.
#[derive(Clone, Copy, Debug)]
pub struct SinkPlan {
    pub later: u8,
    pub never: u8,
    /// It begins to stand still.
    pub stops: u8,
    pub batch: usize,
}

/// What was said of a recipient: which message, whom, and whether it is taken or never will be.
type Word = (usize, u32, Option<bool>);

/// See the module.
pub struct Sink {
    route: u16,
    plan: SinkPlan,
    chance: Chance,
    pub deliveries: Deliveries,
    pub settlement: Settlement,
    pub findings: Arc<Findings>,
    /// What was delivered and is not settled.
    batch: Vec<Delivery>,
    words: Vec<Word>,
    unsettled: Option<Plan>,
    still_until_ms: u64,
    /// It takes all, as fast as it can.
    pub hurries: bool,
}

impl Sink {
    pub fn new(
        route: u16,
        plan: SinkPlan,
        chance: Chance,
        deliveries: Deliveries,
        settlement: Settlement,
        findings: Arc<Findings>,
    ) -> Self {
        let (batch, words) = (Vec::new(), Vec::new());
        Self {
            route,
            plan,
            chance,
            deliveries,
            settlement,
            findings,
            batch,
            words,
            unsettled: None,
            still_until_ms: 0,
            hurries: false,
        }
    }

    pub fn act(&mut self, ledger: &mut Ledger, life: u32, now_ms: u64) -> Result<(), String> {
        if !self.hurries {
            if now_ms < self.still_until_ms {
                return Ok(());
            }
            if self.chance.percent(self.plan.stops) {
                self.still_until_ms = now_ms + self.chance.between(100, 100_000);
            }
        }
        if self.unsettled.is_none() {
            self.take(now_ms);
            if self.batch.is_empty() {
                return Ok(());
            }
            self.deliver(ledger, life)?;
            self.unsettled = Some(self.settlement.plan(&self.batch, BTreeSet::new(), now_ms));
        }
        let Some(mut plan) = self.unsettled.take() else { return Ok(()) };
        if self.settlement.settle(&self.batch, &mut plan).is_err() {
            self.unsettled = Some(plan);
            return Ok(());
        }
        for (number, place, word) in self.words.drain(..) {
            let Some(is_taken) = word else { continue };
            let had = ledger.entries[number].had.get_mut(&(self.route, place)).ok_or("no such recipient")?;
            had.settled_in = Some(life);
            had.refused |= !is_taken;
            ledger.tally.dead += u64::from(!is_taken);
        }
        for delivery in self.batch.drain(..) {
            if !delivery.is_spooled() {
                return Err(format!("{} is in no log", delivery.id()));
            }
            delivery.settle();
        }
        Ok(())
    }

    fn take(&mut self, now_ms: u64) {
        let mut due = Vec::new();
        if self.settlement.take_due(now_ms, 1 + self.plan.batch / 4, &mut due).is_err() {
            self.settlement.roll_back();
            due.clear();
        }
        self.deliveries.take_batch(&mut self.batch, self.plan.batch);
        self.batch.append(&mut due);
    }

    fn deliver(&mut self, ledger: &mut Ledger, life: u32) -> Result<(), String> {
        for delivery in &mut self.batch {
            let (number, places) = ledger.come(self.route, delivery, super::text(), life)?;
            let indices: Vec<u32> = delivery.recipients().map(|to| to.index).collect();
            for (index, place) in indices.into_iter().zip(places) {
                let (verdict, word) = if self.hurries || !self.chance.percent(self.plan.later + self.plan.never) {
                    (Ok(()), Some(true))
                } else if self
                    .chance
                    .percent((100 * u32::from(self.plan.never) / u32::from(self.plan.later + self.plan.never)) as u8)
                {
                    (Err(Refusal::new(Reply::Scripted550, "never")), Some(false))
                } else {
                    (Err(Refusal::new(Reply::MailboxFull, "later")), None)
                };
                if word == Some(true) {
                    ledger.entries[number].had.entry((self.route, place)).or_default().taken += 1;
                }
                delivery.conclude(index, verdict);
                self.words.push((number, place, word));
            }
        }
        Ok(())
    }
}
