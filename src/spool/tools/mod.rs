//! What an operator's tools do with a spool, whether a server runs on it or not: they read, and never take its lock. What they hand
//! to a sink again goes into that sink's inbox, as a file that is there whole or not at all.
//!
//! *Does not* print, or know a terminal: the program's `cli` does.

pub mod assemble;
pub mod contents;
pub mod export;
pub mod filter;
pub mod hand;
pub mod log;
pub mod message;
pub mod order;
pub mod replay;
pub mod survey;
pub mod verify;

#[cfg(test)]
#[path = "../../../tests/common/spool.rs"]
mod fixture;
#[cfg(test)]
mod tests;
