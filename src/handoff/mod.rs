//! UNSAFE ISLAND (none needed yet). How things pass between threads: bounded, without locks.
//!
//! Every order of events is tried by the models of `tests/loom`. *Does not* know what passes.

pub mod mailbox;
mod sync;
