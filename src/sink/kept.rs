//! What a program that embeds the library has refused of spooled mail: it has the same settlement as what a sink of ours has.
//!
//! *Invariant*: what failed is done once more as it was planned, so that nothing is written twice.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::handoff::backlog::Keeper;
use crate::handoff::delivery::Delivery;
use crate::handoff::place::Spooled;
use crate::sink::trouble::Trouble;
use crate::sink::worker::Time;
use crate::spool::settlement::{Plan, Settlement};

/// See the module.
pub struct Kept {
    settlement: Settlement,
    trouble: Trouble,
    time: Time,
    /// Of what could not be done.
    plan: Option<Plan>,
}

impl Kept {
    /// With what it has not taken so far, and whom to tell what keeps that from being done.
    pub fn new(settlement: Settlement, trouble: Trouble) -> Self {
        Self { settlement, trouble, time: Time::new(), plan: None }
    }

    fn settle(&mut self, refused: &[Delivery], is_all: bool) -> bool {
        let now_ms = self.time.retry_ms();
        let mut plan = self.plan.take().unwrap_or_else(|| self.settlement.plan(refused, BTreeSet::new(), now_ms));
        let settled = match is_all {
            true => self.settlement.settle(refused, &mut plan),
            false => self.settlement.keep(refused, &mut plan),
        };
        match settled {
            Ok(()) => {
                self.trouble.go_on(Instant::now());
                true
            }
            Err(error) => {
                self.trouble.fail(&error, Instant::now());
                self.plan = Some(plan);
                false
            }
        }
    }
}

impl Keeper for Kept {
    fn keep(&mut self, refused: &[Delivery]) -> bool {
        self.settle(refused, false)
    }

    fn take_due(&mut self, most: usize, out: &mut Vec<Spooled>) {
        // What an operator has ordered comes first. Its lines and counts are the sinks' of this program; here `spool ls` says what was done.
        if let Err(error) = self.settlement.carry_out(self.time.retry_ms()) {
            self.trouble.fail(&error, Instant::now());
        }
        match self.settlement.take_due_letters(self.time.retry_ms(), most, out) {
            Ok(_) => self.trouble.go_on(Instant::now()),
            Err(error) => {
                // It is looked at again soon, and comes again.
                self.trouble.fail(&error, Instant::now());
                out.clear();
                self.settlement.roll_back();
            }
        }
    }

    fn conclude(&mut self, refused: &[Delivery]) -> bool {
        self.settle(refused, true)
    }

    fn give_up(&mut self, is_all: bool) {
        self.plan = None;
        if is_all {
            self.settlement.roll_back();
        }
    }
}

#[cfg(test)]
mod tests;
