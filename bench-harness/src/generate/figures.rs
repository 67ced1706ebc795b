//! What a run has come to, and whether that is a figure at all.

use std::time::Duration;

use super::assertion::{Assertion, Figure};
use super::plan::{Loop, Plan};
use super::steps::Step;
use super::tally::{Counts, Tally, Timed};
use super::worker::Outcome;

/// From this share of a thread's time on the generator itself may be what is measured.
const BUSY: f64 = 0.8;

/// From this share on it never slept.
const NEVER_IDLE: f64 = 0.9;

/// Of the messages that were due, so many may not have begun at the end before the rate counts as missed.
const BEHIND: f64 = 0.01;

/// Where threads differ by more than this in what they got accepted, they are uneven.
const UNEVEN: f64 = 1.5;

/// From so many connections on chance alone does not make shards so uneven.
const MANY_CONNECTIONS: usize = 100;

/// See the module.
#[derive(Debug)]
pub struct Figures {
    /// All that was counted and timed.
    pub tally: Tally,
    /// Whether messages were meant to be sent at times of their own.
    pub is_open_loop: bool,
    /// What was counted while figures were taken.
    pub window: Counts,
    /// For how long, in s.
    pub seconds: f64,
    /// Messages whose time had come, and which had not begun.
    pub behind: u64,
    /// Processor time of the generator, in ns.
    pub cpu_ns: u64,
    /// Share of their time in which threads used a processor: the busiest one's.
    pub busy: f64,
    /// Share of their time in which threads used a processor or waited for one, on average.
    pub not_idle: f64,
    /// Processor time of the server in ns, if its process was named.
    pub server_ns: Option<u64>,
    /// What is to be known about these figures.
    pub warnings: Vec<String>,
    /// Why there is no figure: the generator was the limit.
    pub saturated: Option<String>,
    /// Of each step of a rate that has several, and of which something was measured.
    pub steps: Vec<Step>,
    /// Whether the checksums of content were compared, and agree.
    pub checksums_agree: bool,
    /// Why there is no figure: the ledgers do not agree.
    pub void: Option<String>,
    /// Why the run came to its end before its time.
    pub gone: Option<String>,
}

/// A word about a server of which one shard did more than its share. A few connections are never spread evenly.
pub fn uneven_shards(plan: &Plan, unevenness: f64) -> Option<String> {
    let is_worth_saying = unevenness > UNEVEN && plan.connections >= MANY_CONNECTIONS;
    is_worth_saying.then(|| format!("the server's shards are uneven: one took {unevenness:.1} times the mean"))
}

impl Figures {
    /// Nothing yet.
    pub fn empty() -> Self {
        Self {
            tally: Tally::new(),
            is_open_loop: false,
            window: Counts::default(),
            seconds: 0.0,
            behind: 0,
            cpu_ns: 0,
            busy: 0.0,
            not_idle: 0.0,
            server_ns: None,
            warnings: Vec::new(),
            saturated: None,
            steps: Vec::new(),
            checksums_agree: false,
            void: None,
            gone: None,
        }
    }

    /// Whether what was measured may be taken for the server's.
    pub fn is_valid(&self) -> bool {
        self.saturated.is_none() && self.void.is_none()
    }

    /// From what threads came to.
    pub fn new(plan: &Plan, outcomes: Vec<Outcome>) -> Self {
        let mut figures = Self { is_open_loop: matches!(plan.pace, Loop::Open(..)), ..Self::empty() };
        let threads = outcomes.len().max(1) as f64;
        let mut shares = Vec::new();
        for mut outcome in outcomes {
            figures.add_steps(outcome.tally.steps.take().map_or_else(Vec::new, |steps| steps.into_steps()));
            let (from, to) = outcome.window;
            let ns = to.at.since_ns(from.at).max(1) as f64;
            let used = (to.cpu_ns - from.cpu_ns) as f64 / ns;
            let waited = (to.delay_ns - from.delay_ns) as f64 / ns;
            let counts = to.counts.since(&from.counts);
            shares.push(counts.accepted as f64);
            figures.window.add(&counts);
            figures.seconds = figures.seconds.max(ns / 1e9);
            figures.behind += outcome.behind;
            figures.cpu_ns += outcome.cpu_ns;
            figures.busy = figures.busy.max(used);
            figures.not_idle += (used + waited) / threads;
            figures.tally.add(outcome.tally);
            figures.gone = figures.gone.or(outcome.gone);
        }
        figures.judge(plan, &shares);
        figures.steps.retain(|step| step.ns > 0);
        for step in &mut figures.steps {
            let own_lag = Duration::from_nanos(step.own_lag.value_at_quantile(0.99));
            let is_behind = step.late > 1 && step.late as f64 > BEHIND * step.offered as f64;
            step.is_saturated = own_lag > plan.lag_most || (is_behind && step.not_idle() > NEVER_IDLE);
        }
        figures
    }

    /// Adds the steps of a thread, or of a machine that had the same.
    pub fn add_steps(&mut self, steps: Vec<Step>) {
        if self.steps.is_empty() {
            self.steps = steps;
        } else {
            self.steps.iter_mut().zip(&steps).for_each(|(sum, more)| sum.add(more));
        }
    }

    fn judge(&mut self, plan: &Plan, shares: &[f64]) {
        let percent = |share: f64| (share * 100.0).round();
        if self.busy > BUSY {
            let text = format!("the generator used {} % of a thread's time: it may be what limits", percent(self.busy));
            self.warnings.push(text);
        }
        let mean = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        let most = shares.iter().copied().fold(0.0, f64::max);
        if plan.connections >= 4 * shares.len() && most > UNEVEN * mean {
            self.warnings.push(format!("threads are uneven: one got {:.1} times the mean accepted", most / mean));
        }
        let counts = self.tally.counts;
        if counts.ports_exhausted > 0 {
            let text =
                format!("{} connections found no free port: give more addresses with --source", counts.ports_exhausted);
            self.warnings.push(text);
        }
        if counts.recipients_cut > 0 {
            self.warnings
                .push(format!("{} recipients were left out: the server limits them (RCPTMAX)", counts.recipients_cut));
        }
        if counts.unsendable > 0 {
            self.warnings.push(format!("{} messages are larger than the server takes (SIZE)", counts.unsendable));
        }
        if !self.is_open_loop {
            return;
        }
        let due = counts.offered + self.behind;
        let is_behind = self.is_behind();
        if is_behind {
            let text = format!(
                "{} of {due} messages had not begun when the time was over: the rate was not reached",
                self.behind
            );
            self.warnings.push(text);
        }
        let own_lag = Duration::from_nanos(self.tally.histogram(Timed::OwnLag).value_at_quantile(0.99));
        if own_lag > plan.lag_most {
            self.saturated = Some(format!(
                "1 % of the messages began {own_lag:.1?} or more too late, though there were connections with room (--lag-most \
                 is {:.1?})",
                plan.lag_most
            ));
        } else if is_behind && self.not_idle > NEVER_IDLE {
            self.saturated =
                Some(format!("its threads were idle for less than {} % of the time", percent(1.0 - NEVER_IDLE)));
        }
    }

    /// Whether the rate that was asked for was not reached.
    pub fn is_behind(&self) -> bool {
        // The last one may have been due a moment before the end.
        self.behind > 1 && self.behind as f64 > BEHIND * (self.tally.counts.offered + self.behind) as f64
    }

    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.window.accepted as f64 / self.seconds.max(1e-9)
    }

    /// Octets of accepted content per second.
    pub fn goodput(&self) -> f64 {
        self.window.accepted_octets as f64 / self.seconds.max(1e-9)
    }

    /// Processor time for each message that was accepted, in µs: of the generator, and of the server.
    pub fn cpu_us(&self) -> (f64, Option<f64>) {
        let each = |ns: u64| ns as f64 / 1000.0 / self.tally.counts.accepted.max(1) as f64;
        (each(self.cpu_ns), self.server_ns.map(each))
    }

    /// The value of what is held to a condition.
    pub fn value(&mut self, figure: Figure) -> f64 {
        match figure {
            Figure::Quantile(what, share) => self.tally.histogram(what).value_at_quantile(share) as f64,
            Figure::Rate => self.rate(),
            Figure::Goodput => self.goodput(),
            Figure::Count(name) => self.tally.counts.by_name(name).copied().unwrap_or(0) as f64,
            // Nothing here knows it; `through` judges it, and `run` does not take it.
            Figure::Delivery(_) => f64::NAN,
        }
    }

    /// The conditions that do not hold, each with the value. A time of which nothing is known holds to nothing.
    pub fn failing(&mut self, assertions: &[Assertion]) -> Vec<String> {
        let mut failing = Vec::new();
        for assertion in assertions {
            if assertion.is_of_delivery() {
                failing.push(format!("{assertion}: only `through` can know it"));
                continue;
            }
            let value = self.value(assertion.figure);
            let is_known = match assertion.figure {
                Figure::Quantile(what, _) => !self.tally.histogram(what).is_empty(),
                _ => true,
            };
            if !is_known {
                failing.push(format!("{assertion}: nothing was timed"));
            } else if !assertion.holds(value) {
                let value = match assertion.figure {
                    Figure::Quantile(..) => format!("{:.3?}", Duration::from_nanos(value as u64)),
                    _ => format!("{value:.0}"),
                };
                failing.push(format!("{assertion}: it is {value}"));
            }
        }
        failing
    }
}
