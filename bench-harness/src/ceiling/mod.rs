//! Ceilings: what this machine can do for a shape of traffic when nothing is parsed (PERFORMANCE.md).
//!
//! `responder` is the loop on the engine's own reactor, `serving` its threads; `floor` and `byte_sink` say what to answer. `disk` is what a disk can do when there is no
//! mail.

pub mod byte_sink;
pub mod disk;
pub mod floor;
pub mod responder;
pub mod serving;
