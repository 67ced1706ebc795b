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
use super::round::Bench;
use super::scenario::Contestant;
use super::stats::Stats;
use super::traffic::{Traffic, postfix_tool};
use crate::failure::Failure;
use crate::load;
use crate::load::script::{Mode, Script, Shape};

/// How long a server may take to start, or to stop.
const PATIENCE: Duration = Duration::from_secs(15);

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
    contestant: Contestant,
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
    pub fn start(bench: &Bench, contestant: Contestant, messages: u64) -> Result<Self, Failure> {
        let stats = StatsFile(stats_path());
        let shards = bench.shards.to_string();
        let (process, address) = match contestant {
            Contestant::Ringmx => {
                let mut command = Command::new(&bench.ringmx);
                command.args(["sink", "127.0.0.1:0", "--shards", &shards, "--stats-json"]).arg(&stats.0);
                announced(Process::start("ringmx", &mut command)?)?
            }
            Contestant::Floor => {
                let mut command = this_program()?;
                command.args(["floor", "127.0.0.1:0", "--shards", &shards]);
                announced(Process::start("floor", &mut command)?)?
            }
            Contestant::ByteSink => {
                let mut command = this_program()?;
                command.args(["byte-sink", "127.0.0.1:0", "--shards", &shards]);
                command.args(counts_of(bench.scenario.traffic())?);
                announced(Process::start("byte-sink", &mut command)?)?
            }
            Contestant::SmtpSink => start_smtp_sink(messages)?,
        };
        Ok(Self { contestant, process, address, stats })
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
        match self.contestant {
            Contestant::Ringmx => {
                self.process.signal(Signal::TERM);
                self.process.finish(PATIENCE)?;
                ringmx_ledger(&Stats::read(&self.stats.0)?)
            }
            Contestant::Floor | Contestant::ByteSink => {
                self.process.end_input();
                let lines = self.process.finish(PATIENCE)?;
                ceiling_ledger(&lines, self.contestant)
            }
            Contestant::SmtpSink => {
                let refused = |text: &str| Counted { complaints: vec![text.to_owned()], ..Counted::default() };
                if self.process.is_over() {
                    return Ok(refused("smtp-sink has counted more messages than were sent"));
                }
                // It ends with the message after the last one: if it does, it has counted as we did. It does so before it
                // answers, so this one fails.
                let shape = Shape { mode: Mode::Data, depth: 1, size: 512, recipients: 1 };
                let _ = load::send(self.address, 1, 1, &shape);
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

fn ceiling_ledger(lines: &[String], contestant: Contestant) -> Result<Counted, Failure> {
    let json = lines.iter().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let number = |name: &str| json.as_ref().and_then(|json| json[name].as_u64());
    let missing = || Failure::System(format!("the {} has not told what it counted", contestant.name()));
    let octets = number("octets").ok_or_else(missing)?;
    let mismatches = number("mismatches").ok_or_else(missing)?;
    Ok(Counted {
        messages: number("messages").ok_or_else(missing)?,
        content_octets: (contestant == Contestant::Floor).then_some(octets),
        octets: (contestant == Contestant::ByteSink).then_some(octets),
        complaints: match mismatches {
            0 => Vec::new(),
            _ => vec![format!("{mismatches} connections did not end as the byte sink was told")],
        },
    })
}

/// What the byte sink is told of the load.
fn counts_of(traffic: Traffic) -> Result<Vec<String>, Failure> {
    let Traffic::Load { shape, .. } = traffic else {
        return Err(Failure::Usage("the byte sink answers only loads whose octets are known".to_owned()));
    };
    // How many messages there are does not matter to the exchanges.
    let script = Script::new(&shape, shape.depth)?;
    let mut counts = Vec::new();
    for opening in [Some(&script.hello), script.opening.as_ref()].into_iter().flatten() {
        counts.extend(["--opening".to_owned(), opening.answer().to_string()]);
    }
    counts.extend(["--unit".to_owned(), script.unit.answer().to_string()]);
    counts.extend(["--ending".to_owned(), script.ending.answer().to_string()]);
    Ok(counts)
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
        let counted = ceiling_ledger(&lines, Contestant::ByteSink).unwrap();
        assert_eq!((counted.messages, counted.octets, counted.content_octets), (3, Some(9), None));
        assert_eq!(counted.complaints.len(), 1);
        assert!(ceiling_ledger(&lines[..1], Contestant::Floor).is_err());
    }
}
