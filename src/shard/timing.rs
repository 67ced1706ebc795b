//! Time limits of connections. A timer is moved lazily: octets only note when they came, and the timer looks when it fires.

use crate::handoff::intake::Intake;
use crate::limits;
use crate::reactor::io::{Io, Time};
use crate::shard::Shard;
use crate::shard::connection::{Receiving, Sending, Stage};
use crate::smtp::reply::Reply;

impl<I: Io, T: Intake> Shard<I, T> {
    /// Makes sure that the connection is looked at when its next time limit ends.
    pub(super) fn watch(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        let Some(deadline) = connection.deadline() else { return };
        if connection.timer_at.is_none_or(|timer| deadline < timer) {
            connection.timer_at = Some(deadline);
            self.wheel.set(slot, deadline);
        }
    }

    /// Acts on the time limits that have ended.
    pub(super) fn expire_timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(self.desk.now, &mut fired);
        for slot in fired.drain(..) {
            self.on_timer(slot);
        }
        self.fired = fired;
        if self.draining_until.is_some_and(|until| self.desk.now >= until) {
            // The drain's patience is over; it is not asked again, so the time moves on while the closes complete.
            self.draining_until = Some(self.desk.now.plus_ms(limits::LINGER_MS));
            for slot in 0..self.table.end() {
                if self.table.at(slot).is_open() {
                    self.abandon(slot);
                }
            }
        }
    }

    fn on_timer(&mut self, slot: u32) {
        let now = self.desk.now;
        let connection = self.table.at(slot);
        connection.timer_at = None;
        let Some(timeouts) = connection.scope.as_ref().map(|scope| scope.timeouts) else { return };
        let over = |since: Time, ms: u64| now >= since.plus_ms(ms);
        if connection.stage != Stage::Session {
            if connection.deadline().is_none_or(|deadline| now < deadline) {
                return self.watch(slot);
            }
            return match connection.stage {
                Stage::Pause => self.advance(slot),
                Stage::Preamble => {
                    self.desk.counters.timeouts.one();
                    self.give_up(slot);
                }
                _ => self.give_up(slot),
            };
        }
        let answer_is_late = connection.asked.front().is_some_and(|deferred| over(deferred.at, timeouts.answer_ms));
        let transaction_is_late = timeouts
            .transaction_ms
            .is_some_and(|most| connection.transaction.is_some_and(|(_, opened)| over(opened, most)));
        if answer_is_late {
            self.desk.answer_timeout(connection, slot);
            self.after_outcome(slot);
        } else if transaction_is_late {
            self.desk.counters.timeouts.one();
            self.cut(slot, Reply::TransactionTimeout);
        } else if over(connection.line_at.unwrap_or(connection.heard_at), timeouts.idle_ms) {
            let is_unheard = connection.receiving == Receiving::Off && connection.paused.is_none();
            if (is_unheard || connection.session.is_waiting()) && connection.sending == Sending::Idle {
                // It is us who are slow: we hold its octets back for want of memory, or owe it answers, which have a limit of
                // their own.
                connection.heard_at = now;
                connection.line_at = None;
            } else {
                self.desk.counters.timeouts.one();
                self.cut(slot, Reply::IdleTimeout);
            }
        }
        self.watch(slot);
    }
}
