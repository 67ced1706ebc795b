//! Where accepted mail goes.
//!
//! A sink takes a message's content piece by piece while it arrives, on the shard, and says at its end when the reply may
//! go out. *Does not* know sessions or sockets.

#![forbid(unsafe_code)]

pub mod blackhole;

use crate::policy::decision::{Decision, Ticket};
use crate::smtp::session::Ended;

/// Takes messages. One for each shard; messages of several connections interleave, each named by its connection's slot.
pub trait Sink {
    /// A piece of the content of a message. It must be copied if it is needed after the call.
    fn content(&mut self, slot: u32, piece: &[u8]);

    /// What came of a message since the last end is void, if anything did.
    fn abort(&mut self, slot: u32);

    /// The message is complete, and accepted as far as policy goes. It is the sink's from now on, whatever becomes of its
    /// connection. A sink that says [`Decision::Elsewhere`] answers by the ticket.
    fn end(&mut self, ticket: Ticket, message: &Ended<'_>) -> Decision;
}
