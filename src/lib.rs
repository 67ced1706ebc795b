//! ringmx
pub mod config;
pub mod engine;
pub mod handoff;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod policy;
pub mod reactor;
pub mod shard;
pub mod sink;
pub mod smtp;
pub mod tls;
