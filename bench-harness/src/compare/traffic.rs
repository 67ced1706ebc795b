//! The load of a scenario: our own generator within this process, or Postfix's smtp-source as a child.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::Process;
use crate::ceiling::disk::{Shape, binary};
use crate::failure::Failure;
use crate::generate::load::Load;
use crate::generate::rehearsal::Script;

/// How long a run of smtp-source may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Octets that smtp-source's header may add to a message: its lines are short, and differ with host name and numbers.
const SOURCE_HEADER_OCTETS_MOST: u64 = 512;

/// Where Debian has smtp-source and smtp-sink.
pub const POSTFIX_TOOLS: &str = "/usr/sbin";

/// Whether messages wait for each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// They do.
    Closed,
    /// They come at a share of the rate that the slowest contestant reaches when they do.
    OfHighest {
        /// Which share.
        share: f64,
        /// By how much the generator may be late by its own fault.
        lag_most: &'static str,
    },
}

/// Of an open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Messages.
    pub a_second: f64,
    /// By how much the generator may be late by its own fault (`--lag-most`).
    pub lag_most: &'static str,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Traffic {
    /// Our own.
    Run {
        /// In the generator's words.
        load: Load,
        /// Closed or open loop.
        pace: Pace,
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
    /// None: blocks are written.
    Blocks(Shape),
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
    /// Messages per second.
    pub rate: f64,
    /// 99.9 % of the times from the end of data to its reply, in ns, if it knows them.
    pub tail_ns: Option<u64>,
    /// Half of them.
    pub median_ns: Option<u64>,
}

impl Sent {
    /// Both together; rate and times are those of the later.
    pub fn and(self, later: Self) -> Self {
        Self {
            messages: self.messages + later.messages,
            content_octets: (
                self.content_octets.0 + later.content_octets.0,
                self.content_octets.1 + later.content_octets.1,
            ),
            octets: self.octets.zip(later.octets).map(|(earlier, later)| earlier + later),
            ..later
        }
    }
}

impl Traffic {
    /// In words.
    pub fn title(&self) -> String {
        match self {
            Self::Run { load, pace } => {
                let words = format!("run {}", load.words());
                match pace {
                    Pace::Closed => words,
                    Pace::OfHighest { share, .. } => {
                        format!("{words}, open loop at {:.0} % of the highest rate", 100.0 * share)
                    }
                }
            }
            Self::Blocks(Shape { block_octets, depth }) => {
                format!("blocks of {}, {depth} in flight", binary(*block_octets))
            }
            Self::Source { sessions, size, connection_each } => {
                format!("smtp-source{} -s {sessions} -l {size}", if *connection_each { "" } else { " -d" })
            }
        }
    }

    /// What a connection will say, if that is known.
    pub fn script(&self) -> Result<Script, Failure> {
        match self {
            Self::Run { load, .. } => load.script(),
            Self::Source { .. } | Self::Blocks(_) => {
                Err(Failure::Usage("the byte sink answers only loads whose octets are known".to_owned()))
            }
        }
    }

    /// Sends so many messages; at this rate, if there is one.
    pub fn send(&self, target: SocketAddr, messages: u64, rate: Option<Rate>) -> Result<Sent, Failure> {
        match self {
            Self::Run { load, .. } => {
                let load = match rate {
                    Some(Rate { a_second, lag_most }) => {
                        load.with(&format!("--rate {a_second:.0} --lag-most {lag_most}"))
                    }
                    None => load.clone(),
                };
                let sent = load.send(target, messages)?;
                Ok(Sent {
                    messages: sent.counts.accepted,
                    content_octets: (sent.counts.accepted_octets, sent.counts.accepted_octets),
                    octets: Some(sent.counts.octets_sent),
                    rate: sent.rate,
                    tail_ns: Some(sent.tail_ns),
                    median_ns: Some(sent.median_ns),
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
                    rate: messages as f64 / began.elapsed().as_secs_f64(),
                    tail_ns: None,
                    median_ns: None,
                })
            }
            Self::Blocks(_) => Err(Failure::Usage("no server takes blocks".to_owned())),
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
