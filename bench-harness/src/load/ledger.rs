//! What was sent and accepted, and how long it took.

use std::time::Duration;

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
