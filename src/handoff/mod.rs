//! UNSAFE ISLAND (the slots of [`ring`]). How mail and orders pass between threads: bounded, without locks.
//!
//! ```text
//! shard: gather ──▶ ring of letters ──▶ deliveries: a consumer's thread
//!           ▲                                │
//!           └──── link: what is done with ◀──┘
//! ```
//!
//! [`intake`] is the cut to the shard; [`gather`] takes mail there and hands it on by [`ring`]; a consumer takes it out of
//! [`consumer::Deliveries`], a [`delivery::Delivery`] each; [`exchange`] puts them into touch. [`sleep`] wakes who sleeps, and
//! [`mailbox`] has a shard's orders. The orders of events on `mailbox`, `ring` and `sleep` are tried by the models of `tests/loom`.
//!
//! *Does not* know sockets, files, or what a consumer does with mail.

pub mod clock;
pub mod consumer;
pub mod delivery;
pub mod exchange;
pub mod gather;
pub mod intake;
mod letter;
mod link;
pub mod mailbox;
pub mod ring;
pub mod sleep;
mod sync;
#[cfg(test)]
mod tests;
