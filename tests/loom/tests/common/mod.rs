//! What the models of the hand-off share.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// What has an end that is an event, such as a receiver, is not dropped while a model fails: after a failure loom takes no more
/// events.
pub struct Held<R>(ManuallyDrop<R>);

impl<R> Held<R> {
    pub fn new(held: R) -> Self {
        Self(ManuallyDrop::new(held))
    }
}

impl<R> Deref for Held<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

impl<R> DerefMut for Held<R> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.0
    }
}

impl<R> Drop for Held<R> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped once, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

/// Tries every order in which a thread is interrupted so many times at most; `run --thorough` allows more.
pub fn model(events: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(INTERRUPTIONS);
    builder.check(events);
}

const INTERRUPTIONS: usize = 3;
