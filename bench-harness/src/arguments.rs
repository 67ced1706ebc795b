//! What can be said on the command line.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ringmx::config::Bind;

use crate::ceiling::byte_sink::Answer;
use crate::ceiling::disk;
use crate::compare::scenario::Scenario;
use crate::compare::servers::arguments::CompareCommand;
use crate::failure::Failure;
use crate::generate::arguments::{MergeArguments, RUN_HELP, RunArguments};
use crate::generate::scenario;
use crate::through::arguments::{THROUGH_HELP, ThroughArguments};

/// Loads SMTP and LMTP servers, and measures ringmx against what the machine can do, and against others.
///
/// Without a command it runs the canonical workload: the engine's blackhole beside its ceilings, in less than a minute.
///
/// Figures of `compare` are server CPU per message (user and system, from the kernel) and messages per second, as medians of the
/// ratios of alternating runs.
#[derive(Debug, Parser)]
#[command(name = "ringmx-bench", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Of the canonical workload
    #[command(flatten)]
    pub canonical: CanonicalArguments,
}

/// When there is no command.
#[derive(Debug, Args)]
pub struct CanonicalArguments {
    /// Threads of ringmx and of the ceilings; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,

    /// The ringmx to measure; without it $RINGMX_BIN, or else the engine within this program
    #[arg(long, value_name = "FILE")]
    pub ringmx: Option<PathBuf>,

    /// Where servers write that do: a directory on a disk; without it, where this program lies. Nothing is left in it
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// One short round that only checks that both sides agree; its figures mean nothing
    #[arg(long, visible_alias = "quick")]
    pub small: bool,
}

/// Why arguments cannot be used.
#[derive(Debug)]
pub enum Misuse {
    /// They are wrong, or help was asked for.
    Arguments(clap::Error),
    /// The scenario that they name is.
    Scenario(Failure),
}

/// Reads the command line. What a scenario of `run` says, and the command line does not, is read as if it stood there.
pub fn parse(mut line: Vec<OsString>) -> Result<Arguments, Misuse> {
    let read = |line: &[OsString]| {
        let matches = Arguments::command().try_get_matches_from(line)?;
        Arguments::from_arg_matches(&matches).map(|arguments| (arguments, matches))
    };
    let (arguments, matches) = read(&line).map_err(Misuse::Arguments)?;
    let (Some(Command::Run(options)), Some(("run", matches))) = (&arguments.command, matches.subcommand()) else {
        return Ok(arguments);
    };
    let Some(file) = &options.scenario else { return Ok(arguments) };
    let is_given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let more = scenario::arguments(file, is_given).map_err(Misuse::Scenario)?;
    // Behind the name of the subcommand, which is the first.
    line.splice(2..2, more.into_iter().map(OsString::from));
    let wrong = |error: clap::Error| {
        let text = error.to_string();
        let said = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Misuse::Scenario(Failure::Usage(format!("{}: {said}", file.display())))
    };
    read(&line).map(|(arguments, _)| arguments).map_err(wrong)
}

const AFTER_HELP: &str = "\
Exit status: 0 done (whether or not a goal was met); 3 client and server disagree on what was sent, or a reply was not as \
expected, so there is no figure; 4 to 6 and 130 see `run --help`; 64 wrong usage; 69 a program or an address is not to be had; 71 the system failed.";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A responder that looks at the first octets of each receive and answers by rote, until its input ends
    #[command(after_help = CEILING_HELP)]
    Floor(CeilingArguments),
    /// A responder that counts octets and answers by count, until its input ends
    #[command(after_help = CEILING_HELP)]
    ByteSink(ByteSinkArguments),
    /// Writes blocks as a durable spool does, with no mail in them, and tells what the disk takes
    DiskCeiling(DiskArguments),
    /// Loads a server: closed or open loop, every reply counted, every time in a histogram
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArguments>),
    /// Loads a server that relays to a sink of this program, and follows each message to its arrival there
    #[command(after_help = THROUGH_HELP)]
    Through(Box<ThroughArguments>),
    /// Adds up the reports of several machines that loaded a server together
    Merge(MergeArguments),
    /// Measures a scenario of PERFORMANCE.md, or the mail servers that are installed: servers in turn, ratios of pairs
    Compare(CompareCommand),
    /// Opens connections that say EHLO and then nothing, and tells what they cost the server
    Idle(IdleArguments),
    /// An MX whose sink refuses one recipient of a hundred for now, for ever: what the others, the disk and memory have of it
    Deferred(DeferredArguments),
    /// The engine as a child of comparisons, until SIGTERM or until its input ends
    #[command(hide = true)]
    Engine(EngineArguments),
}

const CEILING_HELP: &str = "\
It stops when its standard input ends, and prints what it counted as JSON.";

/// Of `floor`.
#[derive(Debug, Args)]
pub struct CeilingArguments {
    /// Where to listen, such as 127.0.0.1:2599; port 0 lets the kernel choose
    #[arg(value_name = "ADDRESS", value_parser = loopback_bind)]
    pub bind: Bind,

    /// Threads, each with a core, a socket and a ring of its own; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,
}

/// Of `byte-sink`.
#[derive(Debug, Args)]
pub struct ByteSinkArguments {
    /// Where and on how many threads
    #[command(flatten)]
    pub ceiling: CeilingArguments,

    /// Answer the first so many octets of a connection, as `OCTETS=REPLY,REPLY…` with ringmx's names of replies, such as
    /// 20=Ehlo; repeated for what comes after
    #[arg(long, value_name = "OCTETS=REPLIES")]
    pub opening: Vec<Answer>,

    /// Behind the opening, answer every so many octets, such as 4209=MailOk,RcptOk,Discarded; repeated for what a message
    /// consists of, in turn
    #[arg(long = "unit", value_name = "OCTETS=REPLIES", required = true)]
    pub units: Vec<Answer>,

    /// Sum the CRC32C of all octets, as `ringmx sink --checksum` does of content
    #[arg(long)]
    pub checksum: bool,
}

/// Of `disk-ceiling`.
#[derive(Debug, Args)]
pub struct DiskArguments {
    /// Where to write: a directory on the disk in question; nothing is left in it
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,

    /// Octets of a block, such as 64k; without it 4k, 64k, 256k and 1m
    #[arg(long, value_name = "OCTETS", value_parser = disk::block)]
    pub block: Option<u64>,

    /// Writes in flight; without it 1, 2, 4 and 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub depth: Option<u16>,

    /// How long each block size is written at each depth, in s
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,

    /// Through the page cache, where a file system takes no direct writes
    #[arg(long)]
    pub buffered: bool,

    /// A moment for each, in a small file: its figures mean nothing
    #[arg(long)]
    pub small: bool,
}

/// Of `engine`: what `ringmx sink` understands too.
#[derive(Debug, Args)]
pub struct EngineArguments {
    /// Where to listen
    #[arg(value_name = "ADDRESS", value_parser = loopback_bind)]
    pub bind: Bind,

    /// Threads; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,

    /// Connections of each
    #[arg(long, value_name = "N", default_value_t = ringmx::limits::CONNECTIONS_PER_SHARD)]
    pub connections: u32,

    /// Where to write counters, on SIGUSR1 and at the end
    #[arg(long, value_name = "FILE")]
    pub stats_json: Option<PathBuf>,

    /// Write each message to the disk before its 250
    #[arg(long, requires = "data_dir")]
    pub disk: bool,

    /// Where to do so
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Serve this, and nothing else that is said
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Of `compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArguments {
    /// Which of PERFORMANCE.md
    #[arg(value_name = "SCENARIO", value_enum)]
    pub scenario: Scenario,

    /// Measured rounds, each of which runs every server once
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub pairs: u64,

    /// Threads of ringmx and of the ceiling; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,

    /// The ringmx to measure; without it $RINGMX_BIN, or else the engine within this program
    #[arg(long, value_name = "FILE")]
    pub ringmx: Option<PathBuf>,

    /// About how long a run of ringmx lasts, in s
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,

    /// Where servers write that do: a directory on a disk; without it, where this program lies. Nothing is left in it
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// One short round that only checks that both sides agree; its figures mean nothing
    #[arg(long, visible_alias = "quick")]
    pub small: bool,
}

/// Of `idle`.
#[derive(Clone, Debug, Args)]
pub struct IdleArguments {
    /// The server, a loopback address and port
    #[arg(value_name = "ADDRESS", value_parser = loopback)]
    pub target: SocketAddr,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub connections: u32,

    /// Threads that hold them, each with a ring of its own: a ring may have as many descriptors as a process; 0 is one for each
    /// core
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub threads: u16,

    /// Come from these addresses in turn; from 127.0.1.1 on by itself where one has too few ports
    #[arg(long = "source", value_name = "ADDRESS")]
    pub sources: Vec<IpAddr>,

    /// The server's process, whose memory is looked at
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Before and beside them, 20 connections send messages: what do the idle ones cost these?
    #[arg(long)]
    pub active: bool,

    /// Messages of the active connections, each time
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub messages: u64,

    /// How long the connections are held before memory is looked at, in s
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub hold: f64,
}

/// Of `deferred`.
#[derive(Clone, Debug, Args)]
pub struct DeferredArguments {
    /// How long, in s
    #[arg(long, value_name = "S", default_value_t = 600.0, value_parser = seconds)]
    pub seconds: f64,

    /// Messages that are sent at once, whose delivery is then waited for
    #[arg(long, value_name = "N", default_value_t = 40_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub messages: u64,

    /// Octets of each
    #[arg(long, value_name = "OCTETS", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(512..=65_536))]
    pub size: u64,

    /// Shards of the MX; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,

    /// The ringmx to measure; without it $RINGMX_BIN, or else the engine within this program
    #[arg(long, value_name = "FILE")]
    pub ringmx: Option<PathBuf>,

    /// Where it writes: a directory on a disk; without it, where this program lies. Nothing is left in it
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// A few rounds of few messages: what is held to bounds is, its rates mean nothing
    #[arg(long, visible_alias = "quick")]
    pub small: bool,
}

/// A number of seconds that a run may last.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("'{text}' is not a number of seconds from 0.05 to 600")),
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| format!("'{text}' is no address with a port, such as 127.0.0.1:2526"))?;
    is_loopback(address.ip()).then_some(address).ok_or_else(|| NOT_LOOPBACK.to_owned())
}

fn loopback_bind(text: &str) -> Result<Bind, String> {
    let bind: Bind = text.parse().map_err(|mistake| format!("{mistake}"))?;
    match &bind {
        Bind::Tcp(address) if !is_loopback(address.ip()) => Err(NOT_LOOPBACK.to_owned()),
        _ => Ok(bind),
    }
}

const NOT_LOOPBACK: &str = "benchmarks run on loopback only: 127.0.0.0/8 or [::1]";

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn only_loopback_is_loaded() {
        assert_eq!(loopback("127.1.2.3:25").unwrap().port(), 25);
        assert!(loopback("192.0.2.1:25").unwrap_err().contains("loopback"));
        assert!(loopback_bind("*:2525").unwrap_err().contains("loopback"));
        assert!(loopback_bind("[::1]:0").is_ok());
    }
}
