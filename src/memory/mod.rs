//! UNSAFE ISLAND. Memory that the kernel may write or read while we do not look.
//!
//! *Invariant*: such memory is never a `&mut [u8]` before the kernel has said which range of it is complete.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod region;
