//! The sink that keeps nothing: content is discarded where it lies.

use crate::policy::decision::{Decision, Ticket};
use crate::sink::Sink;
use crate::smtp::session::{Ended, Outcome};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blackhole;

impl Sink for Blackhole {
    #[inline]
    fn content(&mut self, _slot: u32, _piece: &[u8]) {}

    #[inline]
    fn abort(&mut self, _slot: u32) {}

    #[inline]
    fn end(&mut self, _ticket: Ticket, _message: &Ended<'_>) -> Decision {
        Decision::Now(Outcome::Accept)
    }
}
