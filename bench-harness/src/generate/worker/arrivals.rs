//! The open loop of a worker: messages begin when their time has come, on connections with room in turn.

use ringmx::limits;
use ringmx::reactor::io::{Io, Time};

use super::{BEGUN_PER_TURN, Worker};
use crate::generate::schedule::Arrivals;
use crate::generate::tally::Timed;

/// Arrivals that the kernel is told of at once.
const FORESEEN: usize = limits::ALARMS / 2;

/// How far ahead these may lie, in ms: beyond that a wait is rather ended by something else.
const FORESEEN_MS: u64 = 50;

/// An arrival that follows another one so closely, in ns, mostly finds the thread awake.
const CLOSE_NS: u64 = 100_000;

/// Arrivals that lie ahead. *Why*: a timer of the kernel that is the processor's next sets the hardware, which is dear in a
/// virtual machine, and is the process's cost when the process sets it. When many are set at once, only the first of them is
/// such a one; the kernel goes from one to the next by itself.
pub struct Foresight {
    arrivals: Arrivals,
    start: Time,
    /// The first that the kernel was not told of.
    next: Time,
}

impl Foresight {
    /// Of a clock that starts then.
    pub fn new(mut arrivals: Arrivals, start: Time) -> Self {
        let next = Time(start.0.saturating_add(arrivals.next_ns()));
        Self { arrivals, start, next }
    }

    /// Goes on to the next one, and gives this one's time.
    fn pass(&mut self) -> Time {
        let next = Time(self.start.0.saturating_add(self.arrivals.next_ns()));
        std::mem::replace(&mut self.next, next)
    }
}

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

    /// Tells the kernel of the arrivals to come, when all that it was told of have come.
    pub fn foresee(&mut self, now: Time) {
        let (Some(foresight), Some(next)) = (&mut self.foresight, self.next_arrival) else { return };
        if next < foresight.next || self.is_ending || self.roomy.is_empty() {
            return;
        }
        let (mut before, mut told) = (now, 0);
        // BOUND: what was asked for in FORESEEN_MS, and each of it once.
        while told < FORESEEN && foresight.next < now.plus_ms(FORESEEN_MS) {
            let at = foresight.pass();
            if at.since_ns(before) >= CLOSE_NS {
                self.io.wake_at(at);
                told += 1;
            }
            before = at;
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
