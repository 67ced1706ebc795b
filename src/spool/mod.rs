//! What makes a 250 durable: a log for each shard, which sinks read.

#![forbid(unsafe_code)]

pub mod cursor;
pub mod deferred;
pub mod findings;
pub mod format;
pub mod intake;
pub mod options;
pub mod reader;
pub mod recovery;
pub mod scan;
pub mod segment;
pub mod settlement;
pub mod steward;
pub mod storage;
pub mod tools;
pub mod writer;
