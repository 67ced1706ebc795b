//! Times of one shard, in HDR histograms of three significant digits.

use hdrhistogram::Histogram;

/// Longest time that is told apart, in ns: ten minutes, RFC 5321's longest patience.
const LONGEST_NS: u64 = 600_000_000_000;

/// The histograms of one shard since they were last swapped. Times are in ns, up to the hand-over of the reply to the
/// kernel.
#[derive(Clone, Debug)]
pub struct Histograms {
    /// From the connection's acceptance to its greeting.
    pub accept_to_greeting: Histogram<u64>,
    /// From MAIL to 354.
    pub mail_to_data: Histogram<u64>,
    /// From the end of mail data, or the last chunk, to the reply.
    pub end_to_reply: Histogram<u64>,
    /// Of a write to the spool.
    pub spool_write: Histogram<u64>,
    /// Completions handled in one turn.
    pub completions_per_turn: Histogram<u64>,
}

impl Histograms {
    /// Empty ones. Allocates all that they will ever need.
    pub fn new() -> Self {
        let times = || Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are valid");
        Self {
            accept_to_greeting: times(),
            mail_to_data: times(),
            end_to_reply: times(),
            spool_write: times(),
            completions_per_turn: Histogram::new_with_bounds(1, 1 << 20, 3).expect("constant bounds are valid"),
        }
    }

    /// Adds another shard's, or another period's.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.accept_to_greeting, &other.accept_to_greeting),
            (&mut self.mail_to_data, &other.mail_to_data),
            (&mut self.end_to_reply, &other.end_to_reply),
            (&mut self.spool_write, &other.spool_write),
            (&mut self.completions_per_turn, &other.completions_per_turn),
        ] {
            sum.add(more).expect("all have the same bounds");
        }
    }

    /// Each with its name.
    pub fn each(&self) -> [(&'static str, &Histogram<u64>); 5] {
        [
            ("accept_to_greeting_ns", &self.accept_to_greeting),
            ("mail_to_data_ns", &self.mail_to_data),
            ("end_to_reply_ns", &self.end_to_reply),
            ("spool_write_ns", &self.spool_write),
            ("completions_per_turn", &self.completions_per_turn),
        ]
    }
}

impl Default for Histograms {
    fn default() -> Self {
        Self::new()
    }
}
