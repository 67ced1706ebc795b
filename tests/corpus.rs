//! A corpus of mail that others wrote, sent by clients that others wrote: what was on the wire lies in the maildir, octet for
//! octet.
//!
//! Between each client and the program stands a proxy that records, so what was sent is not a matter of belief. Three things
//! are held against each other for each message: the file that the client was given, with what the client is known to change
//! (each change is named where the client is); what it sent; and what lies in two maildirs, one for each kind of line ends,
//! below the trace fields, which are checked octet for octet too. Then readers that others wrote must find all of it.
//!
//! The messages are those of a published package, as cargo keeps it, and what that lacks is generated from fixed seeds.

#[path = "process"]
#[allow(dead_code, reason = "shared with tests/process.rs, which needs all of it")]
mod process {
    pub mod client;
    pub mod directory;
    pub mod lines;
    pub mod maildir;
    pub mod patience;
    pub mod server;
    pub mod stats;
}

#[path = "peers"]
#[allow(dead_code, reason = "shared with tests/peers.rs, which needs all of it")]
mod peers {
    pub mod npm;
    pub mod tool;
}

mod corpus {
    mod by_hand;
    mod chance;
    mod clients;
    mod generated;
    mod house;
    mod messages;
    mod proxy;
    mod readers;
    mod transcript;
}
