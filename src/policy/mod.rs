//! PURE. What is decided about a peer and its mail, and under which terms its session is held.
//!
//! *Does not* know sockets, threads or files: a decision that needs them is answered `Elsewhere`.

#![forbid(unsafe_code)]

pub mod decision;
pub mod recipients;
pub mod scope;
pub mod script;
