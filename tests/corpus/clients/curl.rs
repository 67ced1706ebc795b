//! curl: sends a file as it is, but for a CRLF at the end of a last line that has none. Transparency is for what is behind CRLF.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{ended, stuffed};
use crate::corpus::house::{Client, Given, HELLO, SENDER, round_trip, same};
use crate::corpus::messages::Message;
use crate::peers::tool::{find, run};

struct Curl;

impl Client for Curl {
    fn takes(&self, _: &Message) -> bool {
        true
    }

    /// All by one process, which keeps its connections.
    fn send(&self, given: &[Given], directory: &Path) {
        let transfer = |given: &Given| {
            format!(
                "url = \"smtp://{}/{HELLO}\"\nmail-from = {SENDER}\nmail-rcpt = {}\nmail-rcpt = {}\nupload-file = \"{}\"\n\
                 noproxy = \"*\"\nsilent\nshow-error\n",
                given.place,
                given.to[0],
                given.to[1],
                given.path.display()
            )
        };
        let transfers: Vec<String> = given.iter().map(transfer).collect();
        let path = directory.join("curl.txt");
        std::fs::write(&path, transfers.join("next\n")).expect("a file can be written");
        let mut command = Command::new(find("curl", "curl"));
        command.arg("--disable").arg("--fail-early").arg("--config").arg(path).stdin(Stdio::null());
        run(command);
    }

    fn check(&self, message: &Message, wire: &[u8]) {
        // Nothing remains nothing.
        let wanted = if message.octets.is_empty() { Vec::new() } else { ended(stuffed(&message.octets, b"\r\n")) };
        same(&message.name, wire, &wanted);
    }
}

#[test]
fn what_curl_sent_is_kept() {
    round_trip(&Curl, 0);
}
