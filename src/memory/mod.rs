//! UNSAFE ISLAND. Memory that the kernel, or another thread, may write or read while we do not look.
//!
//! *Invariant*: such memory is never a `&mut [u8]` before the kernel has said which range of it is complete. Whose it
//! is at the moment is told to AddressSanitizer, where a build has it (`tests/memory/run`).

#![deny(unsafe_op_in_unsafe_fn)]

pub mod region;
pub mod slab;
pub mod write;
