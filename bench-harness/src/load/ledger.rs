//! What was sent and accepted, and how long it took.

use std::fmt;
use std::time::Duration;

use ringmx::metrics::report::{grouped, size, time};

use crate::measure::statistics;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Messages that were accepted.
    pub messages: u64,
    /// Octets of their content.
    pub content_octets: u64,
    /// Octets written, all of them.
    pub octets_sent: u64,
    /// Octets of replies.
    pub octets_received: u64,
    /// From the first transaction to the last reply.
    pub elapsed: Duration,
    /// From the write of each exchange that brought messages to its last reply.
    pub round_trips_ns: Vec<u64>,
}

impl Ledger {
    /// Adds another connection's; the time is the run's own.
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.content_octets += other.content_octets;
        self.octets_sent += other.octets_sent;
        self.octets_received += other.octets_received;
        self.round_trips_ns.extend(other.round_trips_ns);
    }

    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// The round trip that this share of them does not exceed.
    pub fn round_trip_ns(&self, share: f64) -> u64 {
        let mut sorted = self.round_trips_ns.clone();
        sorted.sort_unstable();
        statistics::quantile(&sorted, share)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.octets_sent as f64 / seconds;
        writeln!(f, "messages accepted       {:>16}", grouped(self.messages))?;
        writeln!(f, "octets of content       {:>16}", grouped(self.content_octets))?;
        writeln!(f, "octets sent             {:>16}", grouped(self.octets_sent))?;
        writeln!(f, "octets of replies       {:>16}", grouped(self.octets_received))?;
        writeln!(f, "seconds                 {seconds:>16.3}")?;
        writeln!(f, "messages/s              {:>16}", grouped(self.rate() as u64))?;
        writeln!(f, "octets sent/s           {:>16}", size(rate as u64))?;
        writeln!(f, "round trip p50          {:>16}  (closed loop)", time(self.round_trip_ns(0.5)))?;
        writeln!(f, "round trip p99          {:>16}", time(self.round_trip_ns(0.99)))
    }
}
