//! Where mail goes: each sink takes deliveries in batches, on threads of its own.
//!
//! *Does not* know shards, sessions or sockets, nor how deliveries come.

#![forbid(unsafe_code)]

pub mod blackhole;
pub mod kept;
pub mod log;
pub mod maildir;
pub mod trouble;
pub mod worker;

use crate::handoff::delivery::Delivery;

/// Takes mail for good. One for each of its threads; it may block there.
pub trait Sink: Send {
    /// Says of each delivery what became of it for each of its recipients. What nothing is said of comes again.
    fn deliver(&mut self, batch: &mut [Delivery]);
}
