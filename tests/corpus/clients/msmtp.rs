//! msmtp: on top of a message without them it puts Date and Message-ID. A bare LF becomes CRLF, a bare CR in the header is
//! dropped, and a last line is ended. Transparency
//! is for what is behind LF, which all are CRLF by then. Told to leave Bcc and From alone, it changes nothing else.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{ended, stuffed};
use crate::corpus::house::{Client, Given, HELLO, SENDER, round_trip, same};
use crate::corpus::messages::Message;
use crate::corpus::transcript::find as position;
use crate::peers::tool::{find, run};

struct Msmtp;

impl Client for Msmtp {
    fn takes(&self, message: &Message) -> bool {
        // Of many bare CR in a line that is longer than its buffer it loses some.
        let is_long = |line: &[u8]| line.len() > 500 && line[..line.len() - 1].contains(&b'\r');
        !message.octets.split(|octet| *octet == b'\n').any(is_long)
    }

    fn send(&self, given: &[Given], _: &Path) {
        for Given { place, to, path } in given {
            let mut command = Command::new(find("msmtp", "msmtp"));
            // A host on the command line keeps configuration files out.
            command.args(["--host=127.0.0.1", &format!("--port={}", place.port()), &format!("--domain={HELLO}")]);
            command.args([&format!("--from={SENDER}"), "--tls=off", "--auth=off", "--timeout=60"]);
            command.args(["--set-from-header=off", "--remove-bcc-headers=off", "--"]).args(to);
            command.stdin(Stdio::from(std::fs::File::open(path).expect("it was written")));
            run(command);
        }
    }

    fn check(&self, message: &Message, wire: &[u8]) {
        let mut rest = wire;
        for (field, is_well_formed) in [("Date: ", is_date as fn(&str) -> bool), ("Message-ID: ", is_message_id)] {
            if has_field(&message.octets, field.trim_end()) {
                continue;
            }
            let end = position(rest, b"\r\n").unwrap_or(rest.len());
            let line = String::from_utf8_lossy(&rest[..end]);
            let value = line.strip_prefix(field).unwrap_or_else(|| panic!("{}: {field:?} in {line:?}", message.name));
            assert!(is_well_formed(value), "{}: {line:?}", message.name);
            rest = &rest[end + 2..];
        }
        let whole = whole(&message.octets);
        let wanted = stuffed(&whole, b"\n");
        same(&message.name, rest, &if wanted.is_empty() { wanted } else { ended(wanted) });
    }
}

/// With CRLF at the end of each line. In the header no CR is kept but those.
fn whole(given: &[u8]) -> Vec<u8> {
    let (mut whole, mut is_header, mut line_octets) = (Vec::new(), true, 0);
    for (at, octet) in given.iter().enumerate() {
        match octet {
            b'\r' if is_header => {}
            b'\n' => {
                whole.extend_from_slice(if !is_header && given[..at].ends_with(b"\r") { b"\n" } else { b"\r\n" });
                is_header &= line_octets > 0;
                line_octets = 0;
            }
            octet => {
                whole.push(*octet);
                line_octets += 1;
            }
        }
    }
    whole
}

/// Whether the header has the field: a line that begins so, before the first that is empty.
fn has_field(octets: &[u8], field: &str) -> bool {
    octets
        .split(|octet| *octet == b'\n')
        .take_while(|line| !matches!(line, [] | [b'\r']))
        .any(|line| line.get(..field.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(field.as_bytes())))
}

/// `Sat, 21 Nov 2026 12:14:26 +0000`
fn is_date(value: &str) -> bool {
    let words: Vec<&str> = value.split(' ').collect();
    matches!(&words[..], [day, _, _, _, time, zone] if day.ends_with(',') && time.len() == 8 && zone.len() == 5)
}

/// `<32 DIGITS.SENDER>`
fn is_message_id(value: &str) -> bool {
    let digits = value.strip_prefix('<').and_then(|value| value.strip_suffix(&format!(".{SENDER}>")));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|octet| octet.is_ascii_hexdigit()))
}

#[test]
fn what_msmtp_sent_is_kept() {
    round_trip(&Msmtp, 1);
}
