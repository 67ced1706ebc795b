//! What became of the messages of a run behind the server, summed over the sink's shards, and whether that is a figure.

use std::sync::{Arc, PoisonError};

use hdrhistogram::Histogram;
use ringmx::reactor::io::Time;

use super::catcher::{Arrivals, EXAMPLES};
use super::times;
use super::track::Track;
use crate::failure::Failure;
use crate::generate::assertion::{Assertion, Delivery, Figure};

/// Sums at a moment. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Deliveries that the server took over.
    pub accepted: u64,
    /// Deliveries that arrived, each for the first time.
    pub arrived: u64,
    /// Deliveries that were taken over and have arrived.
    pub settled: u64,
    /// Messages of this run that arrived.
    pub messages: u64,
    /// Deliveries that arrived again.
    pub duplicates: u64,
    /// Deliveries to somebody else.
    pub misaddressed: u64,
    /// Messages with another body.
    pub altered: u64,
    /// Messages whose number cannot be read, or is none.
    pub unreadable: u64,
    /// Messages with more or fewer empty lines at the end.
    pub trimmed: u64,
    /// Messages of somebody else.
    pub foreign: u64,
}

impl Standing {
    /// Now.
    pub fn of(track: &Track, shards: &[Arc<Arrivals>]) -> Self {
        // What has arrived is read before what was taken over, so that it is never more.
        let mut standing = Self { settled: track.overtaken(), ..Self::default() };
        for shard in shards {
            standing.settled += shard.awaited.get();
            standing.arrived += shard.arrived.get();
            standing.messages += shard.messages.get();
            standing.duplicates += shard.duplicates.get();
            standing.misaddressed += shard.misaddressed.get();
            standing.altered += shard.altered.get();
            standing.unreadable += shard.unreadable.get();
            standing.trimmed += shard.trimmed.get();
            standing.foreign += shard.foreign.get();
        }
        Self { accepted: track.accepted(), ..standing }
    }

    /// What was taken over and has not arrived.
    pub fn outstanding(&self) -> u64 {
        self.accepted.saturating_sub(self.settled)
    }

    /// What has arrived, and was not taken over as far as is known.
    pub fn unacknowledged(&self) -> u64 {
        self.arrived.saturating_sub(self.settled)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Deliveries {
    /// At the end.
    pub standing: Standing,
    /// The most that was outstanding.
    pub backlog_most: u64,
    /// From the last reply to the last arrival, in ns; 0 if that came first.
    pub drain_ns: u64,
    /// From the first arrival to the last, in s.
    pub seconds: f64,
    /// From the time at which messages were meant to be sent to their arrival.
    pub end_to_end: Histogram<u64>,
    /// The first faults, in words.
    pub faults: Vec<String>,
    /// Whether it ended before all had time to arrive.
    pub is_partial: bool,
}

impl Deliveries {
    /// At the end.
    pub fn new(track: &Track, shards: &[Arc<Arrivals>], backlog_most: u64, is_partial: bool) -> Self {
        let standing = Standing::of(track, shards);
        let mut end_to_end = times::histogram();
        let mut faults = Vec::new();
        for shard in shards {
            shard.end_to_end.add_to(&mut end_to_end, None);
            faults.extend(shard.examples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        }
        faults.truncate(EXAMPLES);
        if !is_partial {
            let lost = track.missing(EXAMPLES);
            let words =
                |(number, recipient): &(u64, u32)| format!("message {number} is lost for recipient {recipient}");
            faults.extend(lost.iter().map(words));
        }
        let with_any = || shards.iter().filter(|shard| shard.messages.get() > 0);
        let first = Time(with_any().map(|shard| shard.first_ns.get()).min().unwrap_or(0));
        let last = Time(with_any().map(|shard| shard.last_ns.get()).max().unwrap_or(0));
        Self {
            standing,
            backlog_most,
            drain_ns: last.since_ns(track.last_accepted().min(last)),
            seconds: last.since_ns(first) as f64 / 1e9,
            end_to_end,
            faults,
            is_partial,
        }
    }

    /// What was taken over and never came. Of a partial run nobody can say.
    pub fn lost(&self) -> u64 {
        if self.is_partial { 0 } else { self.standing.outstanding() }
    }

    /// Deliveries per second between the first arrival and the last.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.standing.arrived.saturating_sub(1) as f64 / self.seconds } else { 0.0 }
    }

    /// Whether what was sent is what arrived.
    pub fn judge(&self, allows_duplicates: bool) -> Result<(), Failure> {
        let Standing { accepted, duplicates, misaddressed, altered, unreadable, .. } = self.standing;
        let judged_duplicates = if allows_duplicates { 0 } else { duplicates };
        let wrong: Vec<String> = [
            (self.lost(), format!("deliveries of {accepted} are lost: they were taken over and never arrived")),
            (judged_duplicates, "deliveries arrived twice".to_owned()),
            (altered, "messages are altered".to_owned()),
            (unreadable, "messages have a number that cannot be read, or is none".to_owned()),
            (misaddressed, "deliveries are to somebody who was no recipient".to_owned()),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        if wrong.is_empty() { Ok(()) } else { Err(Failure::Disagreement(wrong.join("; "))) }
    }

    /// What is to be known about these.
    pub fn warnings(&self, may_have: u64) -> Vec<String> {
        let Standing { trimmed, foreign, .. } = self.standing;
        let refused = self.standing.unacknowledged().saturating_sub(may_have);
        [
            (trimmed, "messages have other empty lines at their end than were sent"),
            (foreign, "messages arrived that are not of this run: bounces, or left in a queue by an earlier one"),
            (refused, "deliveries arrived that the server had refused: whoever tries again sends them twice"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// The conditions about deliveries that do not hold, each with the value.
    pub fn failing(&self, assertions: &[Assertion]) -> Vec<String> {
        let mut failing = Vec::new();
        for assertion in assertions {
            let Figure::Delivery(what) = assertion.figure else { continue };
            let value = self.value(what);
            if matches!(what, Delivery::EndToEnd(_)) && self.end_to_end.is_empty() {
                failing.push(format!("{assertion}: nothing was timed"));
            } else if !assertion.holds(value) {
                let value = match what.is_time() {
                    true => format!("{:.3?}", std::time::Duration::from_nanos(value as u64)),
                    false => format!("{value:.0}"),
                };
                failing.push(format!("{assertion}: it is {value}"));
            }
        }
        failing
    }

    fn value(&self, what: Delivery) -> f64 {
        match what {
            Delivery::EndToEnd(share) => self.end_to_end.value_at_quantile(share) as f64,
            Delivery::ArrivalRate => self.rate(),
            Delivery::Backlog => self.backlog_most as f64,
            Delivery::Drain => self.drain_ns as f64,
            Delivery::Count(name) => {
                let count = self.counts().into_iter().find(|(known, _)| *known == name);
                count.map_or(f64::NAN, |(_, count)| count as f64)
            }
        }
    }

    /// Each count with its name.
    pub fn counts(&self) -> [(&'static str, u64); 11] {
        let standing = &self.standing;
        [
            ("accepted", standing.accepted),
            ("arrived", standing.arrived),
            ("messages", standing.messages),
            ("lost", self.lost()),
            ("duplicates", standing.duplicates),
            ("altered", standing.altered),
            ("unreadable", standing.unreadable),
            ("misaddressed", standing.misaddressed),
            ("unacknowledged", standing.unacknowledged()),
            ("trimmed", standing.trimmed),
            ("foreign", standing.foreign),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliveries() -> Deliveries {
        let shards = [Arc::new(Arrivals::new())];
        Deliveries::new(&Track::new(10, 1), &shards, 7, false)
    }

    #[test]
    fn every_count_that_can_be_asserted_is_there() {
        for name in Delivery::COUNTS {
            assert_eq!(deliveries().value(Delivery::Count(name)), 0.0, "{name}");
        }
    }

    #[test]
    fn conditions_are_held_to_what_happened() {
        let mut deliveries = deliveries();
        deliveries.standing.foreign = 2;
        let failing = |text: &str, deliveries: &Deliveries| deliveries.failing(&[text.parse().unwrap()]).concat();
        assert_eq!(failing("e2e.p99<1s", &deliveries), "e2e.p99<1s: nothing was timed");
        deliveries.end_to_end.record(2_000_000).unwrap();
        assert_eq!(failing("e2e.p99<1s", &deliveries), "");
        assert_eq!(failing("e2e.p99<1ms", &deliveries), "e2e.p99<1ms: it is 2.001ms");
        assert_eq!(failing("backlog<7", &deliveries), "backlog<7: it is 7");
        assert_eq!(failing("foreign<2", &deliveries), "foreign<2: it is 2");
        assert_eq!(failing("refused<0", &deliveries), "", "that one is the generator's");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut deliveries = deliveries();
        assert_eq!(deliveries.judge(false), Ok(()));
        deliveries.standing = Standing { accepted: 9, settled: 7, duplicates: 3, altered: 1, ..Standing::default() };
        let words = |allows| deliveries.judge(allows).unwrap_err().to_string();
        for text in ["2 deliveries of 9 are lost", "3 deliveries arrived twice", "1 messages are altered"] {
            assert!(words(false).contains(text), "{text} in {}", words(false));
        }
        assert!(!words(true).contains("twice"), "{}", words(true));
        let partial = Deliveries { is_partial: true, ..deliveries.clone() };
        assert!(!partial.judge(false).unwrap_err().to_string().contains("lost"));
    }
}
