//! QMQP (D. J. Bernstein, *QMQP*, 1998): a trusted client hands one message over, whole, and hears one answer: `K` (taken),
//! `Z` (try again) or `D` (never), as a netstring.
//!
//! [`reader`] cuts the octets, [`Session`] asks and answers. It speaks in the questions, outcomes and effects of
//! [`smtp::session`](crate::smtp::session), so that policy and sinks need not know which protocol a message came by.

pub mod reader;
mod session;

pub use session::Session;
