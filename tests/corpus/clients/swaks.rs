//! swaks, which mends what it is given.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::corpus::house::{Client, Given, HELLO, SENDER, round_trip, same};
use crate::corpus::messages::Message;
use crate::corpus::transcript::find as position;
use crate::peers::tool::{find, run};

struct Swaks;

/// Words for which it puts something else.
const WORDS: [&[u8]; 9] = [
    b"\\n",
    b"%BODY%",
    b"%NEWLINE%",
    b"%NEW_HEADERS%",
    b"%FROM_ADDRESS%",
    b"%TO_ADDRESS%",
    b"%MESSAGEID%",
    b"%DATE%",
    b"%SWAKS_VERSION%",
];

impl Client for Swaks {
    fn takes(&self, message: &Message) -> bool {
        let octets = &message.octets;
        // What has no LF it takes for the name of a file, and nothing for a message of its own. A first line of a dot would end
        // the mail data, as the first line gets no transparency.
        octets.contains(&b'\n')
            && !octets.starts_with(b".\n")
            && !octets.starts_with(b".\r\n")
            && WORDS.iter().all(|word| position(octets, word).is_none())
    }

    fn send(&self, given: &[Given], _: &Path) {
        for Given { place, to, path } in given {
            let mut command = Command::new(find("swaks", "swaks"));
            // No configuration of whoever runs the tests.
            command.arg("--config").args(["--server", "127.0.0.1", "--port", &place.port().to_string()]);
            command.args(["--ehlo", HELLO, "--from", SENDER, "--to", &to.join(","), "--hide-all", "--data", "-"]);
            command.stdin(Stdio::from(std::fs::File::open(path).expect("it was written")));
            run(command);
        }
    }

    fn check(&self, message: &Message, wire: &[u8]) {
        same(&message.name, wire, &mended(&message.octets));
    }
}

/// What it makes of a message, in the steps in which it does.
fn mended(given: &[u8]) -> Vec<u8> {
    let (header, body) = cut(given);
    let mut data = Vec::new();
    // Each line of the header is ended anew. Empty ones at its end are lost.
    let mut lines: Vec<&[u8]> = header.split(|octet| *octet == b'\n').collect();
    while lines.last().is_some_and(|line| line.is_empty() || *line == b"\r") {
        lines.pop();
    }
    let last = lines.len();
    for (number, line) in lines.into_iter().enumerate() {
        let has_end = number + 1 < last || header.ends_with(b"\n");
        data.extend_from_slice(if has_end { line.strip_suffix(b"\r").unwrap_or(line) } else { line });
        data.extend_from_slice(b"\r\n");
    }
    data.extend_from_slice(b"\r\n");
    data.extend_from_slice(body);
    // The line of an mbox is none of a message.
    if data.starts_with(b"From ") {
        let end = position(&data, b"\n").expect("the header has ends");
        data.drain(..=end);
    }
    without_last_dot(&mut data);
    // Transparency behind LF, bare or not, but for the first line, which is thought to be of a header.
    let mut wire = Vec::new();
    for (at, octet) in data.iter().enumerate() {
        wire.push(*octet);
        if *octet == b'\n' && data.get(at + 1) == Some(&b'.') {
            wire.push(b'.');
        }
    }
    // Bare LF becomes CRLF, and one CRLF is added in any case.
    let mut wire = whole(&whole(&wire));
    wire.extend_from_slice(b"\r\n");
    wire
}

/// Header and body, without the line ends between them.
fn cut(given: &[u8]) -> (&[u8], &[u8]) {
    for at in 0..given.len() {
        for gap in [&b"\r\n\r\n"[..], b"\r\n\n", b"\n\r\n", b"\n\n"] {
            if given[at..].starts_with(gap) {
                return (&given[..at], &given[at + gap.len()..]);
            }
        }
    }
    (given, b"")
}

/// A line of one dot at the end, which is thought to be the end of mail data, is removed.
fn without_last_dot(data: &mut Vec<u8>) {
    for begin in [&b"\r\n."[..], b"\n."] {
        for (end, kept) in [("\r\n\n", 1), ("\n\n", 1), ("\r\n", 0), ("\n", 0), ("\r", 0), ("", 0)] {
            let all = [begin, end.as_bytes()].concat();
            if data.ends_with(&all) {
                let length = data.len() - all.len();
                data.truncate(length);
                data.extend_from_slice(&b"\n"[..kept]);
                return;
            }
        }
    }
}

/// One pass of its substitution: an LF behind anything but a CR, which it takes as well.
fn whole(octets: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(octets.len()), 0);
    while at < octets.len() {
        out.push(octets[at]);
        if octets[at] != b'\r' && octets.get(at + 1) == Some(&b'\n') {
            out.extend_from_slice(b"\r\n");
            at += 1;
        }
        at += 1;
    }
    out
}

#[test]
fn what_swaks_sent_is_kept() {
    round_trip(&Swaks, 0);
}
