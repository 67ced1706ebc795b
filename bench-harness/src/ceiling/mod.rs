//! Ceilings: what this machine can do for a shape of traffic when nothing is parsed (PERFORMANCE.md).
//!
//! `responder` is the loop on the engine's own reactor, `serving` its threads; `floor` and `byte_sink` say what to answer.

pub mod byte_sink;
pub mod floor;
pub mod responder;
pub mod serving;
