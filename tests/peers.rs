//! Programs that others wrote deliver to the real binary: what they sent is what it counts.
//!
//! And a server that others wrote gets the same dialogues: what the two answer differs only where it is said why.
//!
//! A program that is not installed is a failure that names its package; `.ci/install` installs them all.

#[path = "process"]
#[allow(dead_code, reason = "shared with tests/process.rs, which needs all of it")]
mod process {
    pub mod client;
    pub mod directory;
    pub mod lines;
    pub mod patience;
    pub mod server;
    pub mod stats;
}

mod peers {
    mod npm;
    mod tool;

    mod curl;
    mod msmtp;
    mod nodemailer;
    mod postfix;
    mod smtp_source;
    mod smtplib;
    mod smuggling;
    mod swaks;
}
