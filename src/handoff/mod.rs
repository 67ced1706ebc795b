//! UNSAFE ISLAND (none needed yet). How things pass between threads: bounded, without locks.
//!
//! *Does not* know what passes.

pub mod mailbox;
