//! Nodemailer, given a raw message: a bare LF becomes CRLF, and a last line is ended, by LF alone where it ends with CR. Transparency is
//! for what is behind LF, which all are CRLF by then. A bare CR stays.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{ended, script, stuffed};
use crate::corpus::house::{Client, Given, round_trip, same};
use crate::corpus::messages::Message;
use crate::peers::npm::installed;
use crate::peers::tool::{find, run};

struct Nodemailer;

impl Client for Nodemailer {
    fn takes(&self, _: &Message) -> bool {
        true
    }

    fn send(&self, given: &[Given], directory: &Path) {
        let path = directory.join("given.txt");
        std::fs::write(&path, given.iter().map(Given::line).collect::<String>()).expect("a file can be written");
        let mut command = Command::new(find("node", "nodejs"));
        command.arg(script("nodemailer_sends.cjs")).arg(path).stdin(Stdio::null());
        command.env("NODE_PATH", installed().join("node_modules"));
        run(command);
    }

    fn check(&self, message: &Message, wire: &[u8]) {
        let mut whole = Vec::new();
        for (at, octet) in message.octets.iter().enumerate() {
            if *octet == b'\n' && (at == 0 || message.octets[at - 1] != b'\r') {
                whole.push(b'\r');
            }
            whole.push(*octet);
        }
        if whole.ends_with(b"\r") {
            whole.push(b'\n');
        }
        same(&message.name, wire, &ended(stuffed(&whole, b"\n")));
    }
}

#[test]
fn what_nodemailer_sent_is_kept() {
    round_trip(&Nodemailer, 0);
}
