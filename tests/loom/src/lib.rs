//! The lock-free structures of ringmx under loom, which tries the orders of events that the memory model allows: for
//! the mailbox, the ring and the sleeper those in which threads are interrupted three times at most (`run --thorough`: five),
//! for counters all.
//!
//! What is tried is the shipped code: `variants.rs` copies it out of `src`, where it takes what it is built from out of
//! `crate::handoff::sync`; here that is `handoff/sync.rs` beside this file. Beside the code as it is stand copies with
//! a fault each, so that a model which sees nothing is seen itself.
//!
//! What comes next to be tried takes its primitives from `handoff::sync` too, and both files get what it needs.
//!
//! *What loom overlooks*: it remembers the last access to an atomic only, so that a thread's own load of what it then
//! stores hides the loads of others before it, and orders are left out (tokio-rs/loom#166, #392). So a structure should
//! keep what it alone writes in a field of its own instead of loading it; where it does load it, the model lets the
//! writer go first. The copies with a fault tell whether that is enough.
//!
//! It also knows the order of changes to an atomic in part only: a swap and another thread's store after it may stand either
//! way for it, so that a load sees what it cannot see. Where both change an atomic, both should read it.
//!
//! *Does not* check the tail of a group of receive buffers (`src/reactor/buffers.rs`): its other side is the kernel,
//! and a model of the kernel would prove the model. One Release store publishes the entries, and the kernel's side of
//! it is an acquire load (io_uring_buf_ring); the tests of the ring exercise it, also under `tests/memory`.

#![forbid(unsafe_op_in_unsafe_fn)]

include!(concat!(env!("OUT_DIR"), "/variants.rs"));

/// What the structures are built from.
pub mod handoff {
    pub mod sync;
}

/// Small, so that it is reached: loom tries the orders of a few events, not of hundreds.
pub mod limits {
    /// Messages in a mailbox.
    pub const CONTROL_MESSAGES: usize = 2;
}
