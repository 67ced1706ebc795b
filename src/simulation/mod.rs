//! The simulated back end: a network, a kernel and a clock in memory, behind the same [`Io`](crate::reactor::io::Io) as the
//! kernel's ring (test builds only).
//!
//! [`world`] holds clients, sockets and time, and is the test's side of it; `kernel` does what operations ask for; [`faults`]
//! is what may go wrong; [`files`] is where writes go, and `writes` what becomes of them; [`chance`] where that comes from; [`io`]
//! is the shard's side; `fidelity` runs one script on this and on the kernel, and compares; [`disk`] is a disk that loses power.
//! *Does not* know SMTP.

#![forbid(unsafe_code)]

pub mod chance;
pub mod disk;
pub mod faults;
#[cfg(test)]
mod fidelity;
pub mod files;
pub mod io;
mod kernel;
pub mod world;
mod writes;
