//! The sink that keeps nothing: content is discarded where it lies.

use crate::policy::decision::Decision;
use crate::sink::Sink;
use crate::smtp::session::{Ended, Outcome};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blackhole;

impl Sink for Blackhole {
    #[inline]
    fn content(&mut self, _piece: &[u8]) {}

    #[inline]
    fn end(&mut self, _message: &Ended) -> Decision {
        Decision::Now(Outcome::Accept)
    }
}
