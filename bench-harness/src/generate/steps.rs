//! Figures of each step of a rate that changes: of `100,1000,10000` each, of a ramp in ten parts.
//!
//! *What belongs to a step*: messages that were meant to be sent in it are offered in it, and their times are its times,
//! however late they were; what is accepted in its time is its rate, whenever it was meant to be. So a step that the server
//! cannot keep has a rate below the offered one, and the next one has what it left behind.
//!
//! *Invariant*: nothing is allocated behind the start. Nothing of the warm-up counts.

use hdrhistogram::Histogram;
use ringmx::reactor::io::Time;

use super::schedule::Span;
use super::tally::histogram;
use super::worker::Mark;

/// See the module.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, and at which rate.
    pub span: Span,
    /// For how long it was measured, in ns; 0 if the run did not come to it.
    pub ns: u64,
    /// Messages that were meant to be sent in it.
    pub offered: u64,
    /// Of these: begun when it was over, or never.
    pub late: u64,
    /// Messages that were accepted in its time.
    pub accepted: u64,
    /// From when a message was meant to be sent to its last reply.
    pub message: Histogram<u64>,
    /// From when it was meant to be sent to its beginning.
    pub lag: Histogram<u64>,
    /// The part of that for which the generator is to blame.
    pub own_lag: Histogram<u64>,
    /// Time in which a thread used a processor or waited for one.
    pub busy_ns: u64,
    /// Time of all threads.
    pub thread_ns: u64,
    /// Whether the generator was the limit.
    pub is_saturated: bool,
}

impl Step {
    /// Nothing yet.
    pub fn new(span: Span) -> Self {
        Self {
            span,
            ns: 0,
            offered: 0,
            late: 0,
            accepted: 0,
            message: histogram(),
            lag: histogram(),
            own_lag: histogram(),
            busy_ns: 0,
            thread_ns: 0,
            is_saturated: false,
        }
    }

    /// Adds another thread's, or machine's, of the same span.
    pub fn add(&mut self, other: &Self) {
        self.ns = self.ns.max(other.ns);
        self.offered += other.offered;
        self.late += other.late;
        self.accepted += other.accepted;
        for (sum, more) in
            [(&mut self.message, &other.message), (&mut self.lag, &other.lag), (&mut self.own_lag, &other.own_lag)]
        {
            sum.add(more).expect("all have the same bounds");
        }
        self.busy_ns += other.busy_ns;
        self.thread_ns += other.thread_ns;
        self.is_saturated |= other.is_saturated;
    }

    /// In s.
    pub fn seconds(&self) -> f64 {
        self.ns as f64 / 1e9
    }

    /// Messages accepted per second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.seconds().max(1e-9)
    }

    /// Share of their time in which threads used a processor or waited for one.
    pub fn not_idle(&self) -> f64 {
        self.busy_ns as f64 / self.thread_ns.max(1) as f64
    }
}

/// The steps of one thread.
#[derive(Clone, Debug)]
pub struct Steps {
    start: Time,
    measure_from: Time,
    steps: Vec<Step>,
    /// The one that runs, and its beginning.
    running: usize,
    since: Mark,
}

impl Steps {
    /// From the start of the clock on.
    pub fn new(spans: &[Span], start: Time, measure_from: Time) -> Self {
        let steps = spans.iter().map(|span| Step::new(*span)).collect();
        Self { start, measure_from, steps, running: 0, since: Mark::default() }
    }

    /// The step of a time, if it is one that counts.
    fn of(&mut self, time: Time) -> Option<&mut Step> {
        if time < self.measure_from {
            return None;
        }
        let ns = time.since_ns(self.start);
        self.steps.iter_mut().find(|step| step.span.has(ns))
    }

    /// A message has begun that was meant to at `intended`.
    pub fn begin(&mut self, intended: Time, now: Time, lag_ns: u64, own_lag_ns: u64) {
        let ns = now.since_ns(self.start);
        if let Some(step) = self.of(intended) {
            step.offered += 1;
            step.late += u64::from(ns >= step.span.to_ns);
            step.lag.saturating_record(lag_ns.max(1));
            step.own_lag.saturating_record(own_lag_ns.max(1));
        }
    }

    /// A message that was meant to begin never has.
    pub fn leave_out(&mut self, intended: Time) {
        if let Some(step) = self.of(intended) {
            step.offered += 1;
            step.late += 1;
        }
    }

    /// A message is accepted.
    pub fn accept(&mut self, intended: Time, now: Time) {
        if let Some(step) = self.of(intended) {
            step.message.saturating_record(now.since_ns(intended).max(1));
        }
        if let Some(step) = self.of(now) {
            step.accepted += 1;
        }
    }

    /// Once in a turn: whether a mark is needed, because a step is over, or the first one begins.
    pub fn wants_mark(&self, now: Time) -> bool {
        let ns = now.since_ns(self.start);
        let is_over = self.steps.get(self.running).is_some_and(|step| ns >= step.span.to_ns);
        now >= self.measure_from && (is_over || self.since.at == Time(0))
    }

    /// The thread's account at this moment.
    pub fn mark(&mut self, mark: Mark) {
        if self.since.at == Time(0) {
            self.since = mark;
        }
        let ns = mark.at.since_ns(self.start);
        while let Some(step) = self.steps.get(self.running).filter(|step| ns >= step.span.to_ns) {
            self.end_step(mark, Time(self.start.0 + step.span.to_ns));
        }
    }

    /// No more is measured.
    pub fn end(&mut self, mark: Mark) {
        self.mark(mark);
        if self.since.at != Time(0) && self.running < self.steps.len() {
            self.end_step(mark, mark.at);
        }
    }

    /// The step that runs ended at `end`, of which the thread knew at `mark`.
    fn end_step(&mut self, mark: Mark, end: Time) {
        let begin = Time(self.start.0 + self.steps[self.running].span.from_ns).max(self.measure_from);
        let step = &mut self.steps[self.running];
        step.ns = end.since_ns(begin);
        step.thread_ns = mark.at.since_ns(self.since.at);
        step.busy_ns = (mark.cpu_ns + mark.delay_ns).saturating_sub(self.since.cpu_ns + self.since.delay_ns);
        self.since = mark;
        self.running += 1;
    }

    /// What they came to.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::schedule::Rate;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time(1_000 * MS + ms * MS)
    }

    fn mark(ms: u64, cpu_ms: u64) -> Mark {
        Mark { at: at(ms), cpu_ns: cpu_ms * MS, ..Mark::default() }
    }

    #[test]
    fn messages_are_of_the_step_that_they_were_meant_for() {
        let spans = Rate::parse("10,20", 2.0).unwrap().spans(Some(2.0));
        let mut steps = Steps::new(&spans, at(0), at(200));
        assert!(!steps.wants_mark(at(100)) && steps.wants_mark(at(200)));
        steps.mark(mark(210, 5));
        for (intended, begun, accepted) in
            [(100, 100, 300), (300, 310, 900), (900, 1_100, 1_500), (1_900, 1_900, 2_050)]
        {
            let lag = (begun - intended) * MS;
            steps.begin(at(intended), at(begun), lag, lag / 2);
            steps.accept(at(intended), at(accepted));
        }
        steps.leave_out(at(1_999));
        assert!(!steps.wants_mark(at(999)) && steps.wants_mark(at(1_000)));
        steps.mark(mark(1_010, 405));
        steps.end(mark(2_000, 900));
        let steps = steps.into_steps();
        let counts: Vec<_> = steps.iter().map(|step| (step.offered, step.late, step.accepted)).collect();
        assert_eq!(counts, [(2, 1, 2), (2, 1, 1)], "one was in the warm-up, one accepted too late, one never begun");
        assert_eq!(steps.iter().map(|step| step.ns / MS).collect::<Vec<_>>(), [800, 1_000]);
        assert_eq!((steps[0].not_idle(), steps[1].not_idle()), (0.5, 0.5));
        assert!(steps[0].message.max() >= 600 * MS && steps[0].lag.max() >= 200 * MS && steps[1].lag.max() == 1);
    }

    #[test]
    fn a_run_that_is_broken_off_has_the_steps_that_it_came_to() {
        let spans = Rate::parse("1,2,3", 3.0).unwrap().spans(Some(3.0));
        let mut steps = Steps::new(&spans, at(0), at(0));
        steps.mark(mark(0, 0));
        steps.end(mark(1_500, 100));
        let mut sum = steps.clone().into_steps();
        assert_eq!(sum.iter().map(|step| step.ns / MS).collect::<Vec<_>>(), [1_000, 500, 0]);
        sum.iter_mut().zip(steps.into_steps()).for_each(|(step, other)| step.add(&other));
        assert_eq!((sum[0].ns / MS, sum[0].thread_ns / MS), (1_000, 3_000));
        // A process that stood still knows of several ends at once.
        let mut steps = Steps::new(&spans, at(0), at(0));
        steps.mark(mark(10, 0));
        steps.mark(mark(2_500, 0));
        steps.end(mark(2_600, 0));
        assert_eq!(steps.into_steps().iter().map(|step| step.ns / MS).collect::<Vec<_>>(), [1_000, 1_000, 600]);
    }
}
