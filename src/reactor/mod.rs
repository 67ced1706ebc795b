//! UNSAFE ISLAND. The reactor: the only place with system calls on the data plane.
//!
//! [`io`] is the cut, [`ring`] the kernel behind it, [`buffers`] the memory that receives write into, [`peer`] that of
//! addresses, [`sending`] what sends read, [`writing`] what writes to files read, [`alarms`] what ends a wait, [`listening`] the sockets that connections come from,
//! [`connecting`] those that go out, [`wheel`] the timers, [`setup`] why a kernel was refused.
//!
//! *Does not* know SMTP, policy, or what a connection is.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod alarms;
pub mod buffers;
pub mod connecting;
pub mod io;
pub mod listening;
pub mod peer;
pub mod ring;
pub mod sending;
pub mod setup;
pub mod wheel;
pub mod writing;
