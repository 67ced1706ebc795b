//! The load of a scenario: our own client within this process, or Postfix's smtp-source as a child.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::Process;
use crate::failure::Failure;
use crate::load;
use crate::load::script::{Mode, Shape};

/// How long a run of smtp-source may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Octets that smtp-source's header may add to a message: its lines are short, and differ with host name and numbers.
const SOURCE_HEADER_OCTETS_MOST: u64 = 512;

/// Where Debian has smtp-source and smtp-sink.
pub const POSTFIX_TOOLS: &str = "/usr/sbin";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Our own.
    Load {
        /// Connections.
        connections: u64,
        /// Of what they send.
        shape: Shape,
    },
    /// smtp-source.
    Source {
        /// Sessions at a time.
        sessions: u64,
        /// Octets of each message's body.
        size: usize,
        /// Whether each message has a connection of its own.
        connection_each: bool,
    },
}

/// What a client says that it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sent {
    /// Messages, each accepted.
    pub messages: u64,
    /// Octets of their content, at least and at most.
    pub content_octets: (u64, u64),
    /// All octets, if it counts them.
    pub octets: Option<u64>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Sent {
    /// Both together; the time is that of the later.
    pub fn and(self, later: Self) -> Self {
        Self {
            messages: self.messages + later.messages,
            content_octets: (
                self.content_octets.0 + later.content_octets.0,
                self.content_octets.1 + later.content_octets.1,
            ),
            octets: self.octets.zip(later.octets).map(|(earlier, later)| earlier + later),
            elapsed: later.elapsed,
        }
    }
}

impl Traffic {
    /// In words.
    pub fn title(&self) -> String {
        match self {
            Self::Load { connections, shape } => {
                let Shape { mode, depth, size, .. } = shape;
                match mode {
                    Mode::Bdat => format!("{connections} connections, BDAT pipelined {depth} deep, {size} octets"),
                    Mode::Data => format!(
                        "{connections} connections, end of data and next MAIL/RCPT/DATA in one segment, {size} octets"
                    ),
                }
            }
            Self::Source { sessions, size, connection_each } => {
                format!("smtp-source{} -s {sessions} -l {size}", if *connection_each { "" } else { " -d" })
            }
        }
    }

    /// Sends so many messages.
    pub fn send(&self, target: SocketAddr, messages: u64) -> Result<Sent, Failure> {
        match self {
            Self::Load { connections, shape } => {
                let ledger = load::send(target, *connections, messages, shape)?;
                Ok(Sent {
                    messages: ledger.messages,
                    content_octets: (ledger.content_octets, ledger.content_octets),
                    octets: Some(ledger.octets_sent),
                    elapsed: ledger.elapsed,
                })
            }
            Self::Source { sessions, size, connection_each } => {
                let mut command = postfix_tool("smtp-source")?;
                command.args(if *connection_each { &[][..] } else { &["-d"] });
                command.args(["-s", &sessions.to_string(), "-l", &size.to_string(), "-m", &messages.to_string()]);
                command.arg(format!("inet:{target}"));
                let began = Instant::now();
                let process = Process::start("smtp-source", &mut command)?;
                // It gives up at the first reply that it does not like.
                process.finish(PATIENCE).map_err(|failure| Failure::Disagreement(failure.to_string()))?;
                let octets = messages * *size as u64;
                Ok(Sent {
                    messages,
                    content_octets: (octets, octets + messages * SOURCE_HEADER_OCTETS_MOST),
                    octets: None,
                    elapsed: began.elapsed(),
                })
            }
        }
    }
}

/// A tool that comes with Postfix.
pub fn postfix_tool(name: &str) -> Result<Command, Failure> {
    let path = format!("{POSTFIX_TOOLS}/{name}");
    match std::path::Path::new(&path).is_file() {
        true => Ok(Command::new(path)),
        false => Err(Failure::Unavailable(format!("{path} is not there: install the Debian package postfix"))),
    }
}
