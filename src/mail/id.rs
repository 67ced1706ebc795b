//! The name of a message: 128 bits, made once when the message is taken over, the same everywhere afterwards (DESIGN
//! decision 15).

use std::fmt;

/// Names one message. Those of one shard grow with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// From the random number of the data directory, the count of starts on it, the shard, and the message's number there,
    /// of which 48 bits count.
    pub const fn new(node: u32, epoch: u32, shard: u16, sequence: u64) -> Self {
        let sequence = sequence & ((1 << 48) - 1);
        Self((node as u128) << 96 | (epoch as u128) << 64 | (shard as u128) << 48 | sequence as u128)
    }

    /// As a number, whose order is that of the ids.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
