//! What makes a 250 durable: logs, each of one shard, which sinks read.
//!
//! | on the shard | on the steward's thread | at a start | on a sink's threads | at any time |
//! |---|---|---|---|---|
//! | [`intake`], [`writer`] | [`steward`], which makes and frees [`segment`]s | [`recovery`], over [`scan`] | [`reader`], [`settlement`], [`deferred`], [`cursor`] | [`tools`] |
//!
//! [`format`](mod@format) is what stands in all logs, pure; [`storage`] the cut to the disk below all but the writer, whose writes go by the
//! shard's ring; [`findings`] what readers came upon that should not be. *Does not* know sessions, nor what a sink does with mail.

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
