//! What an operator writes, and what the engine runs: TOML with its places becomes a resolved, immutable [`Plan`].
//!
//! The way of a value: the text → a tree with places (`toml`) → typed values, key by key (`file`, by means of `table` and
//! `value`, in the words of `vocabulary`) → held against each other (`rules`, `purpose`), every default filled in (`resolve`
//! with `defaults`, `routing`) → a [`Plan`]. Each step goes on behind a mistake, so that one run of `--check` names them all.
//!
//! *Why not* `serde`'s derive: it stops at the first mistake, and can tell neither an unknown key from one that this build
//! lacks, nor which key was meant.
//!
//! *Does not* open sockets or start threads: of the reactor it knows the words for an address and its options, of sinks and
//! the spool those for what they are told. It reads one file and asks the machine its name and its number of cores, nothing else.

#![forbid(unsafe_code)]

mod address;
mod defaults;
mod describe;
mod destination;
mod error;
mod file;
mod hostname;
mod machine;
mod netblock;
mod plan;
mod purpose;
mod resolve;
mod routing;
mod rules;
mod sink;
mod spool;
mod suggestion;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod vocabulary;

pub use error::{Errors, Mistake, Place, Problem};
pub use plan::{
    Chains, DeliveryLog, Destination, Durability, Kind, Listener, LogPlan, Named, Plan, Protocol, RoutePlan, SinkKind,
    SinkPlan,
};
pub use sink::SinkOptions;

pub use crate::reactor::listening::{Bind, SocketOptions};
pub use crate::spool::options::{Reserve, SpoolOptions};
