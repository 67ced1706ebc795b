//! The servers of a comparison, as children on free loopback ports.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use super::process::Process;
use super::scenario::{Contestant, Program};
use super::stats::Stats;
use super::traffic::postfix_tool;
use crate::ceiling::byte_sink::Answer;
use crate::failure::Failure;
use crate::generate::load::Load;

/// How long a server may take to start, or to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connections of a shard of ringmx where many are held: 100,000 spread over eight shards as chance has it, and some.
const MANY_CONNECTIONS: &str = "14000";

/// The ringmx that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The engine within this program.
    Own,
    /// A program of its own.
    Program(PathBuf),
}

impl Engine {
    /// The one that was named, here or with RINGMX_BIN; else our own.
    pub fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let named = named.map(Path::to_owned).or_else(|| std::env::var_os("RINGMX_BIN").map(PathBuf::from));
        match named {
            None => Ok(Self::Own),
            Some(path) if path.is_file() => Ok(Self::Program(path)),
            Some(path) => Err(Failure::Unavailable(format!("there is no ringmx at {}", path.display()))),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Own => "the engine within this program".to_owned(),
            Self::Program(path) => path.display().to_string(),
        }
    }

    /// Starts it as a sink; an address and options are to follow.
    pub fn command(&self) -> Result<Command, Failure> {
        let (mut command, word) = match self {
            Self::Own => (this_program()?, "engine"),
            Self::Program(path) => (Command::new(path), "sink"),
        };
        command.arg(word);
        Ok(command)
    }
}

/// What a server says that it got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Messages.
    pub messages: u64,
    /// Octets of their content, if it counts them.
    pub content_octets: Option<u64>,
    /// All octets, if it counts them.
    pub octets: Option<u64>,
    /// What must not be.
    pub complaints: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Server {
    program: Program,
    process: Process,
    address: SocketAddr,
    /// Where ringmx writes its counters.
    stats: StatsFile,
}

/// A file that goes when the server does, whatever happened.
#[derive(Debug)]
struct StatsFile(PathBuf);

impl Drop for StatsFile {
    fn drop(&mut self) {
        // Only ringmx writes one.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Server {
    /// Starts one that will get so many messages in all.
    pub fn start(engine: &Engine, contestant: &Contestant, shards: u16, messages: u64) -> Result<Self, Failure> {
        let program = contestant.program;
        let (process, address) = match program {
            Program::Ringmx => return Self::ringmx(engine, shards, contestant.held > 0),
            Program::Floor => {
                let mut command = this_program()?;
                command.args(["floor", "127.0.0.1:0", "--shards", &shards.to_string()]);
                announced(Process::start("floor", &mut command)?)?
            }
            Program::ByteSink => {
                let mut command = this_program()?;
                command.args(["byte-sink", "127.0.0.1:0", "--shards", &shards.to_string()]);
                let script = contestant.traffic.script()?;
                let said = |option: &'static str| move |answer: &Answer| [option.to_owned(), answer.to_string()];
                command.args(script.opening.iter().flat_map(said("--opening")));
                command.args(script.units.iter().flat_map(said("--unit")));
                announced(Process::start("byte-sink", &mut command)?)?
            }
            Program::SmtpSink => start_smtp_sink(messages)?,
        };
        Ok(Self { program, process, address, stats: StatsFile(stats_path()) })
    }

    /// Starts ringmx, with room for many connections or for the usual number.
    pub fn ringmx(engine: &Engine, shards: u16, has_many: bool) -> Result<Self, Failure> {
        let stats = StatsFile(stats_path());
        let mut command = engine.command()?;
        command.args(["127.0.0.1:0", "--shards", &shards.to_string()]);
        command.args(if has_many { &["--connections", MANY_CONNECTIONS][..] } else { &[] });
        command.arg("--stats-json").arg(&stats.0);
        let (process, address) = announced(Process::start("ringmx", &mut command)?)?;
        Ok(Self { program: Program::Ringmx, process, address, stats })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What ringmx has counted so far.
    pub fn look(&self) -> Result<Stats, Failure> {
        Stats::ask(&self.stats.0, self.pid())
    }

    /// Stops it and takes its ledger.
    pub fn stop(mut self, messages: u64) -> Result<Counted, Failure> {
        match self.program {
            Program::Ringmx => {
                self.process.signal(Signal::TERM);
                self.process.finish(PATIENCE)?;
                ringmx_ledger(&Stats::read(&self.stats.0)?)
            }
            Program::Floor | Program::ByteSink => {
                self.process.end_input();
                let lines = self.process.finish(PATIENCE)?;
                ceiling_ledger(&lines, self.program)
            }
            Program::SmtpSink => {
                let refused = |text: &str| Counted { complaints: vec![text.to_owned()], ..Counted::default() };
                if self.process.is_over() {
                    return Ok(refused("smtp-sink has counted more messages than were sent"));
                }
                // It ends with the message after the last one: if it does, it has counted as we did. It does so before it
                // answers, so this one fails.
                let _ = Load::new("--connections 1 --size 512 --patience 5s").send(self.address, 1);
                match self.process.finish(Duration::from_secs(5)) {
                    Ok(_) => Ok(Counted { messages, ..Counted::default() }),
                    Err(_) => Ok(refused("smtp-sink has counted fewer messages than were sent")),
                }
            }
        }
    }
}

fn ringmx_ledger(stats: &Stats) -> Result<Counted, Failure> {
    let mut complaints = Vec::new();
    for name in ["messages_void", "connections_lost_in_transaction", "stale_completions", "accept_failures"] {
        let count = stats.total(name)?;
        if count > 0 {
            complaints.push(format!("ringmx counted {name} {count}"));
        }
    }
    Ok(Counted {
        messages: stats.total("messages")?,
        content_octets: Some(stats.total("message_octets")?),
        octets: Some(stats.total("octets_received")?),
        complaints,
    })
}

fn ceiling_ledger(lines: &[String], program: Program) -> Result<Counted, Failure> {
    let json = lines.iter().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let number = |name: &str| json.as_ref().and_then(|json| json[name].as_u64());
    let missing = || Failure::System(format!("the {} has not told what it counted", program.name()));
    let octets = number("octets").ok_or_else(missing)?;
    let mismatches = number("mismatches").ok_or_else(missing)?;
    Ok(Counted {
        messages: number("messages").ok_or_else(missing)?,
        content_octets: (program == Program::Floor).then_some(octets),
        octets: (program == Program::ByteSink).then_some(octets),
        complaints: match mismatches {
            0 => Vec::new(),
            _ => vec![format!("{mismatches} connections did not end as the byte sink was told")],
        },
    })
}

fn this_program() -> Result<Command, Failure> {
    std::env::current_exe().map(Command::new).map_err(Failure::while_doing("cannot find this program"))
}

/// A server that says where it listens.
fn announced(mut process: Process) -> Result<(Process, SocketAddr), Failure> {
    let address = process.await_line("ready on ", PATIENCE)?;
    let address = address.parse().map_err(Failure::while_doing("a server listens on no address"))?;
    Ok((process, address))
}

fn start_smtp_sink(messages: u64) -> Result<(Process, SocketAddr), Failure> {
    let mut command = postfix_tool("smtp-sink")?;
    let address = free_address().map_err(Failure::while_doing("cannot find a free port"))?;
    if geteuid().is_root() {
        // It insists on giving root up.
        command.args(["-u", "nobody"]);
    }
    command.args(["-M", &(messages + 1).to_string(), &format!("inet:{address}"), "1024"]);
    let mut process = Process::start("smtp-sink", &mut command)?;
    let deadline = Instant::now() + PATIENCE;
    while greets(address).is_err() {
        if process.is_over() || Instant::now() >= deadline {
            process.finish(Duration::ZERO)?;
            return Err(Failure::Unavailable(format!("smtp-sink does not listen on {address}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((process, address))
}

/// A port that nobody listens on, now.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn greets(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    stream.write_all(b"QUIT\r\n")?;
    reader.read_line(&mut line)?;
    Ok(())
}

fn stats_path() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Path::new(&std::env::temp_dir()).join(format!("ringmx-bench-{}-{number}.json", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledgers_of_ceilings_are_read() {
        let lines = ["ringmx-bench: ready on 127.0.0.1:1", r#"{"messages": 3, "octets": 9, "mismatches": 1}"#];
        let lines = lines.map(str::to_owned);
        let counted = ceiling_ledger(&lines, Program::ByteSink).unwrap();
        assert_eq!((counted.messages, counted.octets, counted.content_octets), (3, Some(9), None));
        assert_eq!(counted.complaints.len(), 1);
        assert!(ceiling_ledger(&lines[..1], Program::Floor).is_err());
    }
}
