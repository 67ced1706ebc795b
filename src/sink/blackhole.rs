//! The sink that keeps nothing.

use crate::handoff::delivery::Delivery;
use crate::sink::Sink;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blackhole;

impl Sink for Blackhole {
    fn deliver(&mut self, batch: &mut [Delivery]) {
        batch.iter_mut().for_each(Delivery::take_for_the_rest);
    }
}
