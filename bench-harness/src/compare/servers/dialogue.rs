//! A few words with a server: whether it is there, what it offers, and one message.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(15);

struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    fn begin(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut dialogue = Self(BufReader::new(stream));
        dialogue.hear('2')?;
        Ok(dialogue)
    }

    /// Says a command, and hears its reply, whose code has to begin with this digit.
    fn say(&mut self, command: &str, wanted: char) -> io::Result<Vec<String>> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.hear(wanted)
    }

    fn hear(&mut self, wanted: char) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !line.starts_with(wanted) {
                return Err(io::Error::other(format!("'{}' is not expected", line.trim_end())));
            }
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            if is_last {
                return Ok(lines);
            }
        }
    }
}

/// Whether a server that is there offers PIPELINING.
pub fn offers_pipelining(address: SocketAddr) -> io::Result<bool> {
    let mut dialogue = Dialogue::begin(address)?;
    let offered = dialogue.say("EHLO bench.example", '2')?;
    dialogue.say("QUIT", '2')?;
    Ok(offered.iter().any(|keyword| keyword.eq_ignore_ascii_case("PIPELINING")))
}

/// Sends it one message.
pub fn send_one(address: SocketAddr) -> io::Result<()> {
    let mut dialogue = Dialogue::begin(address)?;
    for (command, wanted) in [
        ("EHLO bench.example", '2'),
        ("MAIL FROM:<a@bench.example>", '2'),
        ("RCPT TO:<b@bench.example>", '2'),
        ("DATA", '3'),
        ("Subject: last\r\n\r\nlast\r\n.", '2'),
        ("QUIT", '2'),
    ] {
        dialogue.say(command, wanted)?;
    }
    Ok(())
}
