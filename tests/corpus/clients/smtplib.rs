//! Python's smtplib, given octets: it sends them as they are, but for a CRLF at the end of what has none. Transparency is for what
//! is behind LF, bare or not: a dot behind a bare LF becomes two, and the second is content.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{ended, script, stuffed};
use crate::corpus::house::{Client, Given, round_trip, same};
use crate::corpus::messages::Message;
use crate::peers::tool::{find, run};

struct Smtplib;

impl Client for Smtplib {
    fn takes(&self, _: &Message) -> bool {
        true
    }

    fn send(&self, given: &[Given], directory: &Path) {
        let path = directory.join("given.txt");
        std::fs::write(&path, given.iter().map(Given::line).collect::<String>()).expect("a file can be written");
        let mut command = Command::new(find("python3", "python3"));
        command.arg(script("smtplib_sends.py")).arg(path).stdin(Stdio::null());
        run(command);
    }

    fn check(&self, message: &Message, wire: &[u8]) {
        same(&message.name, wire, &ended(stuffed(&message.octets, b"\n")));
    }
}

#[test]
fn what_smtplib_sent_is_kept() {
    round_trip(&Smtplib, 1);
}
