//! PURE. The protocol of RFC 5321 and its extensions: bytes, answers and time in; replies and effects out.
//!
//! [`session`] is the server's side, [`client`] the client's; both read and write with what else is here.
//!
//! To add a verb: a variant and its name in [`command`], a row in [`phase`], an arm in `session::machine`, replies in
//! [`reply`], a dialogue in `tests/dialog`. To add an extension: a variant in [`extension`], its parameters in [`parameter`] and
//! in [`mail::envelope`](crate::mail::envelope), and the naive session of the tests. *Does not* know sockets, clocks, policy or
//! sinks.

#[cfg(test)]
mod abnf;
pub mod chunk;
pub mod client;
pub mod command;
pub mod data;
pub mod extension;
pub mod line;
mod literal;
pub mod parameter;
pub mod path;
pub mod phase;
pub mod reply;
pub mod scan;
pub mod session;
pub mod settings;
mod xtext;
