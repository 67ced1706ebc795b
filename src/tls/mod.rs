//! How a connection's octets are turned into plain text and back. rustls comes with its own issue; the seam is here.

#![forbid(unsafe_code)]

pub mod transport;
