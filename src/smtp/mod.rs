//! PURE. The protocol of RFC 5321 and its extensions: bytes, answers and time in; replies and effects out.
//!
//! To add a verb: a variant and its name in [`command`], a row in [`phase`], an arm in `session::machine`, replies in
//! [`reply`], a dialogue in `tests/dialog`. *Does not* know sockets, clocks, policy or sinks.

pub mod chunk;
pub mod command;
pub mod data;
pub mod extension;
pub mod line;
pub mod parameter;
pub mod path;
pub mod phase;
pub mod reply;
pub mod scan;
pub mod session;
pub mod settings;
