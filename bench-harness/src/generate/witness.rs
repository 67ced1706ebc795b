//! Who hears of each message of a load besides its counts: for a command that follows messages further than to the server's
//! reply.
//!
//! *Invariants*: [`Witness::begin`] comes before the message's first octet is sent, once whatever tries it takes; all others
//! come behind it. Threads of the generator call at the same time.

use std::fmt::Debug;

use ringmx::reactor::io::Time;

/// See the module. It is heard on the generator's threads, and must not block.
pub trait Witness: Debug + Send + Sync {
    /// A message begins, which was meant to at `intended`; behind the warm-up it `is_measured`.
    fn begin(&self, number: u64, intended: Time, is_measured: bool);

    /// The server has taken it over for this recipient, counted from 0.
    fn accept(&self, number: u64, recipient: u32, now: Time);
}
