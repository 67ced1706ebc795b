//! PURE. What a message is beside its content: addresses, envelope, id, trace fields, and all of it in one run of octets
//! (`manifest`); the checksum of what is kept (`checksum`); what others wrote as it is shown (`shown`); and what is noticed of its header section, its lines and its octets while they pass.
//!
//! *Does not* know any protocol: how an address was read, and to whom an envelope is given, are others' matters.

#![forbid(unsafe_code)]

pub mod address;
pub mod checksum;
pub mod date;
pub mod envelope;
pub mod header;
pub mod id;
pub mod manifest;
pub mod marks;
pub mod shown;
pub mod trace;
