//! Where accepted mail goes.
//!
//! A sink takes a message's content piece by piece while it arrives, on the shard, and says at its end when the reply may
//! go out. *Does not* know sessions or sockets.

#![forbid(unsafe_code)]

pub mod blackhole;

use crate::policy::decision::Decision;
use crate::smtp::session::Ended;

/// Takes messages. One for each shard; messages of several connections interleave.
pub trait Sink {
    /// A piece of a message's content. It must be copied if it is needed after the call.
    fn content(&mut self, piece: &[u8]);

    /// The message is complete, and accepted as far as policy goes.
    fn end(&mut self, message: &Ended) -> Decision;
}
