//! What a worker does by the clock: when it starts, measures, tells, ends, gives up; and how long it may sleep.

use ringmx::reactor::io::{Io, Time};

use super::arrivals::Foresight;
use super::{GRACE_MS, LOOK_MS, Mark, Snapshot, Worker};
use crate::failure::Failure;
use crate::generate::steps::Steps;
use crate::measure::processor;

impl Worker<'_> {
    /// Once in a turn: what depends on the time, and on others.
    pub fn look_around(&mut self) {
        let now = self.io.now();
        self.maker.look_at_clock();
        if self.start.is_none()
            && let Some(start) = self.gate.start()
        {
            self.start = Some(start);
            if !self.gate.has_session() && !self.gate.is_stopped() {
                self.failure.get_or_insert(self.no_session());
            }
            self.measure_from = Time(start.0 + self.plan.warm_up.as_nanos() as u64);
            self.deadline = self.plan.duration.map(|duration| Time(start.0 + duration.as_nanos() as u64));
            self.next_snapshot = start.plus_ms(1000);
            self.foresight = self.arrivals.clone().map(|arrivals| Foresight::new(arrivals, start));
            self.next_arrival = self.arrivals.as_mut().map(|arrivals| Time(start.0 + arrivals.next_ns()));
            self.roomy_since = start;
            if !self.plan.spans.is_empty() {
                self.tally.steps = Some(Box::new(Steps::new(&self.plan.spans, start, self.measure_from)));
            }
            self.list_all();
        }
        if self.start.is_some() && self.window.0.is_none() && now >= self.measure_from {
            self.window.0 = Some(self.mark());
        }
        if self.window.1.is_none() && self.tally.steps.as_ref().is_some_and(|steps| steps.wants_mark(now)) {
            self.mark_steps(Steps::mark);
        }
        while self.start.is_some() && now >= self.next_snapshot {
            self.snapshot();
        }
        let is_late = self.deadline.is_some_and(|deadline| now >= deadline) || self.gate.is_finished();
        let is_stopped = self.gate.is_stopped();
        if !self.is_ending && (is_late || is_stopped || (self.start.is_some() && self.supply.is_exhausted())) {
            self.is_ending = true;
            if is_late || is_stopped {
                self.window.1 = Some(self.mark());
            }
            self.list_all();
        }
        if is_stopped && self.give_up_at.is_none() {
            self.give_up_at = Some(now.plus_ms(GRACE_MS));
        }
        if self.give_up_at.is_some_and(|at| now >= at) {
            self.give_up_all();
        }
        if self.arrivals.is_none() && self.supply.peek_retry(now).is_some() {
            while let Some(&index) = self.roomy.front() {
                self.leave_room();
                self.list(index);
            }
        }
        self.wheel.expire(now, &mut self.fired);
        while let Some(index) = self.fired.pop() {
            self.on_timer(index, now);
        }
    }

    /// The server wants none of it: what did it say?
    pub fn no_session(&self) -> Failure {
        let replies = self.tally.replies().into_iter().filter(|(_, code, _)| *code >= 400);
        let said: Vec<String> = replies.map(|(command, code, _)| format!("{code} to {command}")).collect();
        let said = if said.is_empty() { "nothing that can be read".to_owned() } else { said.join(", ") };
        Failure::Unavailable(format!("no session could be opened with {}: it said {said}", self.plan.target_text))
    }

    pub fn snapshot(&mut self) {
        self.seconds += 1;
        self.next_snapshot = self.next_snapshot.plus_ms(1000);
        let interval = self.tally.take_interval();
        // Whoever listened may be gone at the end.
        let _ =
            self.tell.send(Snapshot { thread: self.thread, second: self.seconds, counts: self.tally.counts, interval });
    }

    pub fn until(&mut self) -> Time {
        let now = self.io.read_clock();
        if self.start.is_none() && self.gate.start().is_some() {
            return now;
        }
        self.foresee(now);
        // Where the clock has not started, another thread may start it.
        let mut until = now.plus_ms(if self.start.is_none() && self.opening == 0 { 1 } else { LOOK_MS });
        let mut earlier = |time: Option<Time>| {
            if let Some(time) = time {
                until = until.min(time);
            }
        };
        earlier(self.wheel.next());
        if self.start.is_some() && !self.is_ending {
            earlier(self.deadline);
            earlier(Some(self.next_snapshot));
            if !self.roomy.is_empty() {
                earlier(self.next_arrival.filter(|_| self.supply.peek_fresh().is_some()));
            }
            earlier(self.supply.next_retry().filter(|retry| *retry > now));
        }
        until
    }

    /// Tells the steps of the rate, if there are any, of the thread's account.
    pub fn mark_steps(&mut self, tell: impl FnOnce(&mut Steps, Mark)) {
        let mark = self.mark();
        if let Some(steps) = &mut self.tally.steps {
            tell(steps, mark);
        }
    }

    pub fn mark(&self) -> Mark {
        let (cpu_ns, delay_ns) = processor::thread_ns().unwrap_or((0, 0));
        Mark { at: self.io.now(), counts: self.tally.counts, cpu_ns, delay_ns }
    }
}
