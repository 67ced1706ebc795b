//! The servers of a comparison, as children on free loopback ports.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use super::home::Home;
use super::process::Process;
use super::round::Spooled;
use super::scenario::{Contestant, Program};
use super::stats::Stats;
use super::traffic::postfix_tool;
use crate::ceiling::byte_sink::Answer;
use crate::ceiling::disk::place::Place;
use crate::failure::Failure;
use crate::generate::load::Load;

/// How long a server may take to start, or to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long an MX may take to deliver what it has.
const PATIENCE_AT_END: Duration = Duration::from_secs(60);

/// What ringmx must not have counted.
pub const NEVER: [&str; 6] = [
    "messages_void",
    "connections_lost_in_transaction",
    "stale_completions",
    "accept_failures",
    "spool_failures",
    "spool_messages_doubtful",
];

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

    /// Serves a configuration; its file is to follow, and options.
    pub fn serving(&self) -> Result<Command, Failure> {
        match self {
            Self::Own => {
                let mut command = this_program()?;
                command.args(["engine", "127.0.0.1:0", "--config"]);
                Ok(command)
            }
            Self::Program(path) => {
                let mut command = Command::new(path);
                command.arg("--config");
                Ok(command)
            }
        }
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
    /// What it has written, if it does.
    pub spool: Option<Spooled>,
}

/// See the module.
#[derive(Debug)]
pub struct Server {
    program: Program,
    process: Process,
    address: SocketAddr,
    /// Where ringmx writes its counters.
    stats: StatsFile,
    /// Where it writes mail. It goes after the process.
    home: Option<Home>,
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
    /// Starts one that will get so many messages in all, and writes there if it does.
    pub fn start(
        engine: &Engine,
        contestant: &Contestant,
        place: Option<&Place>,
        (shards, messages): (u16, u64),
    ) -> Result<Self, Failure> {
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
            Program::Written | Program::Mx => {
                let home =
                    place.map(Home::new).ok_or_else(|| Failure::System("no place to write was said".to_owned()))?;
                return Self::writing(engine, program, shards, home?);
            }
            Program::Disk => return Err(Failure::System("a disk is no server".to_owned())),
        };
        Ok(Self { program, process, address, stats: StatsFile(stats_path()), home: None })
    }

    /// Starts ringmx, with room for many connections or for the usual number.
    pub fn ringmx(engine: &Engine, shards: u16, has_many: bool) -> Result<Self, Failure> {
        let stats = StatsFile(stats_path());
        let mut command = engine.command()?;
        command.args(["127.0.0.1:0", "--shards", &shards.to_string()]);
        command.args(if has_many { &["--connections", MANY_CONNECTIONS][..] } else { &[] });
        command.arg("--stats-json").arg(&stats.0);
        let (process, address) = announced(Process::start("ringmx", &mut command)?)?;
        Ok(Self { program: Program::Ringmx, process, address, stats, home: None })
    }

    /// Starts a ringmx that writes: as a blackhole, or as an MX with a sink that throws away what is delivered to it.
    fn writing(engine: &Engine, program: Program, shards: u16, home: Home) -> Result<Self, Failure> {
        if program == Program::Mx {
            let text = mx(shards, home.path());
            return Self::configured(engine, home, &text);
        }
        let mut command = engine.command()?;
        command.args(["127.0.0.1:0", "--shards", &shards.to_string(), "--disk", "--data-dir"]);
        command.arg(home.path().join("data"));
        Self::with_home(program, command, home)
    }

    /// Starts an MX with this configuration, which has one listener.
    pub fn configured(engine: &Engine, home: Home, text: &str) -> Result<Self, Failure> {
        let mut command = engine.serving()?;
        command.arg(home.write("mx.toml", text)?);
        Self::with_home(Program::Mx, command, home)
    }

    fn with_home(program: Program, mut command: Command, home: Home) -> Result<Self, Failure> {
        let stats = StatsFile(stats_path());
        command.arg("--stats-json").arg(&stats.0);
        let (process, address) = announced(Process::start("ringmx", &mut command)?)?;
        Ok(Self { program, process, address, stats, home: Some(home) })
    }

    /// Where it writes, if it does.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_ref().map(Home::path)
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

    /// Waits until an MX has delivered to so many recipients. Gives the share that it had delivered when this was asked.
    pub fn settle(&self, recipients: u64) -> Result<f64, Failure> {
        if self.program != Program::Mx {
            return Ok(1.0);
        }
        let deadline = Instant::now() + PATIENCE_AT_END;
        let mut first = None;
        loop {
            let delivered = self.look()?.of_sinks("delivered")?;
            let share = *first.get_or_insert(delivered as f64 / recipients.max(1) as f64);
            // More than there were is for the ledger.
            if delivered >= recipients {
                return Ok(share);
            }
            if Instant::now() >= deadline {
                return Err(Failure::Disagreement(format!(
                    "{recipients} recipients were accepted, and {delivered} delivered {} s later",
                    PATIENCE_AT_END.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops a ringmx and takes what it counted.
    pub fn end(self) -> Result<Stats, Failure> {
        self.process.signal(Signal::TERM);
        self.process.finish(PATIENCE_AT_END)?;
        Stats::read(&self.stats.0)
    }

    /// Stops it and takes its ledger.
    pub fn stop(mut self, messages: u64) -> Result<Counted, Failure> {
        match self.program {
            program @ (Program::Ringmx | Program::Written | Program::Mx) => ringmx_ledger(&self.end()?, program),
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
            Program::Disk => Err(Failure::System("a disk is no server".to_owned())),
        }
    }
}

/// A public MX for everybody, with so many shards, or one for each core if that is 0. What it delivers is thrown away.
pub fn mx(shards: u16, home: &Path) -> String {
    let shards = NonZeroU16::new(shards).map_or_else(String::new, |shards| format!("shards = {shards}\n"));
    format!(
        "[server]\ndata_dir = {:?}\n{shards}\
         [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\nmessages_per_connection = 0\nrecipients = 'ALL'\nsink = 'away'\n\
         [sink.away]\nkind = 'blackhole'\n",
        home.join("data")
    )
}

fn ringmx_ledger(stats: &Stats, program: Program) -> Result<Counted, Failure> {
    let mut complaints = Vec::new();
    for name in NEVER {
        let count = stats.total(name)?;
        if count > 0 {
            complaints.push(format!("ringmx counted {name} {count}"));
        }
    }
    let (messages, written) = (stats.total("messages")?, stats.total("spool_messages")?);
    if written != if program.writes() { messages } else { 0 } {
        complaints.push(format!("{messages} messages were accepted, and the spool has {written}"));
    }
    let (octets, of_spool) = (stats.total("message_octets")?, stats.total("spool_octets")?);
    if program.writes() && of_spool < octets {
        complaints.push(format!("{octets} octets of content were accepted, and {of_spool} written"));
    }
    if program == Program::Mx {
        let (delivered, recipients) = (stats.of_sinks("delivered")?, stats.total("recipients")?);
        if delivered != recipients {
            complaints.push(format!("{recipients} recipients were accepted, and {delivered} delivered"));
        }
    }
    let blocks = stats.total("spool_commits")?;
    Ok(Counted {
        messages,
        content_octets: Some(octets),
        octets: Some(stats.total("octets_received")?),
        complaints,
        spool: program.writes().then_some(Spooled { blocks, octets: of_spool, messages: written }),
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
        spool: None,
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

    /// Who writes has written all that it accepted; who does not, nothing.
    #[test]
    fn the_spool_must_agree() {
        let stats = |spooled: u64, octets: u64| {
            let counted = [("messages", 5), ("message_octets", 500), ("octets_received", 900), ("recipients", 5)];
            let never = NEVER.map(|name| (name, 0));
            let spool = [("spool_messages", spooled), ("spool_octets", octets), ("spool_commits", 1)];
            Stats::of_all(counted.iter().chain(&never).chain(&spool).copied(), [("delivered", 4)])
        };
        for (program, spooled, octets, expected) in [
            (Program::Ringmx, 0, 0, 0),
            (Program::Ringmx, 5, 700, 1),
            (Program::Written, 5, 700, 0),
            (Program::Written, 4, 700, 1),
            (Program::Written, 5, 400, 1),
            // Of what it was to deliver one is missing.
            (Program::Mx, 5, 700, 1),
        ] {
            let counted = ringmx_ledger(&stats(spooled, octets), program).unwrap();
            assert_eq!(counted.complaints.len(), expected, "{program:?}: {:?}", counted.complaints);
        }
    }

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
