//! The simulated back end: a network and a clock in memory, behind the same [`Io`](crate::reactor::io::Io) as the kernel's
//! ring (test builds only).
//!
//! [`world`] holds what is simulated and is the test's side of it; [`io`] is the shard's side; `fidelity` runs one script on
//! this and on the kernel, and compares. *Does not* know SMTP.

#![forbid(unsafe_code)]

#[cfg(test)]
mod fidelity;
pub mod io;
pub mod world;
