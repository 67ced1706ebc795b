//! UNSAFE ISLAND (the slots of [`ring`]). How things pass between threads: bounded, without locks.
//!
//! The orders of events are tried by the models of `tests/loom`. *Does not* know what passes.

pub mod mailbox;
pub mod ring;
pub mod sleep;
mod sync;
