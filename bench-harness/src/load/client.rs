//! One connection of the load: writes an exchange, reads its replies, checks each.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmx::smtp::reply::Reply;

use super::ledger::Ledger;
use super::script::Exchange;
use crate::failure::Failure;

/// How long a server may say nothing, or take nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Octets of replies that are read at once.
const READ_OCTETS: usize = 16 * 1024;

const LINE_OCTETS_MOST: u64 = 4096;

/// Why a conversation broke off.
#[derive(Debug)]
pub enum Trouble {
    /// The connection failed, or the server was silent for [`PATIENCE`].
    Io(io::Error),
    /// The server answered something else.
    Unexpected {
        /// The code that was expected.
        expected: u16,
        /// What came; empty at the end of the connection.
        line: String,
    },
    /// The client itself is wrong.
    Panicked,
}

impl Trouble {
    /// With the server's address.
    pub fn failure(&self, target: SocketAddr) -> Failure {
        Failure::Disagreement(match self {
            Self::Io(error) => format!("the connection to {target} failed: {error}"),
            Self::Unexpected { expected, line } if line.is_empty() => {
                format!("{target} closed the connection where a {expected} was expected")
            }
            Self::Unexpected { expected, line } => {
                format!("{target} answered '{}' where a {expected} was expected", line.trim_end().escape_debug())
            }
            Self::Panicked => "a thread of the load has panicked".to_owned(),
        })
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
    line: Vec<u8>,
    ledger: Ledger,
}

impl Client {
    /// Connects.
    pub fn connect(target: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&target, PATIENCE)?, READ_OCTETS)
    }

    /// A client that will not say much, over a connection that stands: it costs little memory.
    pub fn idle_over(stream: TcpStream) -> io::Result<Self> {
        Self::over(stream, 512)
    }

    fn over(stream: TcpStream, read_octets: usize) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(read_octets, stream);
        Ok(Self { reader, line: Vec::new(), ledger: Ledger::default() })
    }

    /// Reads the greeting, and says hello.
    pub fn begin(&mut self, hello: &Exchange) -> Result<(), Trouble> {
        self.expect(Reply::Greeting)?;
        self.perform(hello)
    }

    /// Writes, reads the replies, and enters what was accepted.
    pub fn perform(&mut self, exchange: &Exchange) -> Result<(), Trouble> {
        let began = Instant::now();
        self.reader.get_ref().write_all(&exchange.octets)?;
        self.ledger.octets_sent += exchange.octets.len() as u64;
        self.read_replies(exchange)?;
        if exchange.messages > 0 {
            self.ledger.round_trips_ns.push(began.elapsed().as_nanos() as u64);
        }
        Ok(())
    }

    /// The last exchange: this side is shut, and the server must close its own. Gives what was entered.
    pub fn finish(mut self, ending: &Exchange) -> Result<Ledger, Trouble> {
        self.reader.get_ref().write_all(&ending.octets)?;
        self.ledger.octets_sent += ending.octets.len() as u64;
        self.reader.get_ref().shutdown(Shutdown::Write)?;
        self.read_replies(ending)?;
        match self.reader.read(&mut [0])? {
            0 => Ok(self.ledger),
            _ => Err(Trouble::Unexpected { expected: 0, line: "more than was asked for".to_owned() }),
        }
    }

    fn read_replies(&mut self, exchange: &Exchange) -> Result<(), Trouble> {
        for _ in 0..exchange.times {
            for reply in &exchange.replies {
                self.expect(*reply)?;
            }
        }
        self.ledger.messages += exchange.messages;
        self.ledger.content_octets += exchange.content_octets;
        Ok(())
    }

    /// Reads one reply, of one line or more, which must have this code.
    fn expect(&mut self, reply: Reply) -> Result<(), Trouble> {
        let expected = reply.code();
        let digits = [b'0' + (expected / 100) as u8, b'0' + (expected / 10 % 10) as u8, b'0' + (expected % 10) as u8];
        // BOUND: a reply has as many lines as EHLO lists keywords; a server that never ends one is cut off.
        for _ in 0..1000 {
            self.line.clear();
            let octets = (&mut self.reader).take(LINE_OCTETS_MOST).read_until(b'\n', &mut self.line)?;
            self.ledger.octets_received += octets as u64;
            match self.line.get(..4) {
                Some([code @ .., b' ']) if *code == digits && self.line.ends_with(b"\r\n") => return Ok(()),
                Some([code @ .., b'-']) if *code == digits => {}
                _ => break,
            }
        }
        Err(Trouble::Unexpected { expected, line: String::from_utf8_lossy(&self.line).into_owned() })
    }
}
