//! The open loop of a worker: messages begin when their time has come, on connections with room in turn.

use ringmx::reactor::io::{Io, Time};

use super::{BEGUN_PER_TURN, Worker};
use crate::generate::tally::Timed;

impl Worker<'_> {
    /// The connection is among those that messages are begun on, if it has room.
    pub fn make_room(&mut self, index: u32) {
        if self.has_room(index) && !self.slots[index as usize].is_roomy {
            self.slots[index as usize].is_roomy = true;
            if self.roomy.is_empty() {
                self.roomy_since = self.io.read_clock();
            }
            self.roomy.push_back(index);
        }
    }

    /// Open loop: messages whose time has come begin, on connections with room in turn.
    pub fn offer(&mut self) {
        if self.is_ending || self.start.is_none() || self.arrivals.is_none() {
            return;
        }
        let mut now = self.io.read_clock();
        for _ in 0..BEGUN_PER_TURN {
            let Some(&index) = self.roomy.front() else { return };
            if !self.has_room(index) {
                self.leave_room();
                continue;
            }
            let retry = self.supply.peek_retry(now).map(|due| (due, now));
            let fresh = || Some((self.supply.peek_fresh()?, self.next_arrival.filter(|next| *next <= now)?));
            let Some((due, intended)) = retry.or_else(fresh) else { return };
            now = self.io.read_clock();
            if self.begin(index, due, intended, now) && due.tries == 0 {
                self.on_arrival(intended, now);
            }
            self.leave_room();
            self.sends.push(index);
            self.make_room(index);
            if self.failure.is_some() {
                return;
            }
        }
    }

    pub fn leave_room(&mut self) {
        if let Some(index) = self.roomy.pop_front() {
            self.slots[index as usize].is_roomy = false;
        }
    }

    /// A fresh message has begun: how late, and by whose fault?
    pub fn on_arrival(&mut self, intended: Time, now: Time) {
        self.tally.counts.offered += 1;
        let (lag, own_lag) = (now.since_ns(intended), now.since_ns(intended.max(self.roomy_since)));
        if intended >= self.measure_from {
            self.tally.time(Timed::Lag, lag);
            self.tally.time(Timed::OwnLag, own_lag);
        }
        if let Some(steps) = &mut self.tally.steps {
            steps.begin(intended, now, lag, own_lag);
        }
        if let (Some(start), Some(arrivals)) = (self.start, &mut self.arrivals) {
            self.next_arrival = Some(Time(start.0.saturating_add(arrivals.next_ns())));
        }
    }

    /// Fresh messages whose time had come by then and which had not begun.
    pub fn arrivals_by(&mut self, end: Time) -> u64 {
        let (Some(start), Some(arrivals)) = (self.start, &mut self.arrivals) else { return 0 };
        let mut behind = 0;
        let mut next = self.next_arrival;
        // BOUND: what was asked for in all.
        while let Some(intended) = next.filter(|next| *next < end && behind < 1 << 30) {
            behind += 1;
            if let Some(steps) = &mut self.tally.steps {
                steps.leave_out(intended);
            }
            next = Some(Time(start.0.saturating_add(arrivals.next_ns())));
        }
        behind
    }
}
