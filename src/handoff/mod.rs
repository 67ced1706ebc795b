//! UNSAFE ISLAND (the slots of [`ring`]). How mail and orders pass between threads: bounded, without locks.
//!
//! ```text
//! shard: gather ──▶ ring of letters ──▶ deliveries: a consumer's thread
//!           ▲                                │
//!           └──── link: what is done with ◀──┘
//! ```
//!
//! Mail that is spooled comes by the ring while its consumer keeps up, and else out of the log ([`place`], `handshake`).
//!
//! [`intake`] is the cut to the shard; [`gather`] takes mail there and hands it on by [`ring`]; a consumer takes it out of
//! [`consumer::Deliveries`], a [`delivery::Delivery`] each; [`exchange`] puts them into touch. [`sleep`] wakes who sleeps, and
//! [`mailbox`] has a shard's orders. The orders of events on `handshake`, `mailbox`, `ring` and `sleep` are tried by the models of `tests/loom`.
//!
//! *Does not* know sockets, files, or what a consumer does with mail.

pub mod backlog;
pub mod clock;
pub mod consumer;
mod deferral;
pub mod delivery;
pub mod exchange;
pub mod gather;
mod handshake;
pub mod intake;
mod letter;
mod link;
pub mod mailbox;
mod outlet;
mod pace;
pub mod place;
pub mod ring;
pub mod sleep;
mod stream;
mod sync;
mod tracker;

#[cfg(test)]
mod tests;
