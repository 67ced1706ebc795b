//! PURE. What a message is beside its content: addresses, envelope, id, trace fields.
//!
//! *Does not* know any protocol: how an address was read, and to whom an envelope is given, are others' matters.

#![forbid(unsafe_code)]

pub mod address;
pub mod envelope;
pub mod id;
