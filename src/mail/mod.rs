//! PURE. What a message is beside its content: addresses, envelope, id, trace fields; and what is noticed of its header
//! section and its lines while they pass.
//!
//! *Does not* know any protocol: how an address was read, and to whom an envelope is given, are others' matters.

#![forbid(unsafe_code)]

pub mod address;
pub mod date;
pub mod envelope;
pub mod header;
pub mod id;
pub mod trace;
