//! What a shard counts and times.
//!
//! Counters have one writer and may be read by anybody at any time; histograms are the shard's own, and are swapped for
//! empty ones on request. *Does not* know who reads.

#![forbid(unsafe_code)]

pub mod counter;
pub mod counters;
pub mod histograms;
pub mod report;
pub mod sinks;
