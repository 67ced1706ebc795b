//! What can be said to `run`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::assertion::Assertion;
use super::login::Login;
use super::people::{Domain, parse_domain};
use super::plan::Share;
use super::sizes::{self, Sizes};

/// Examples and exit statuses.
pub const RUN_HELP: &str = "\
Examples:
  ringmx-bench run 127.0.0.1:2525                                   20 connections as fast as they can, for 10 s
  ringmx-bench run 127.0.0.1:2525 --depth 32 --bdat --size 4k       pipelined chunks
  ringmx-bench run [::1]:25 --rate 5000 --poisson --duration 60s    an open loop: latency from the intended time
  ringmx-bench run mx.lab:25 --rate 100..20000 --duration 5m        a ramp; `100,1000,10000` are steps
  ringmx-bench run /run/lmtp.sock --lmtp --corpus ~/Maildir         real messages over a Unix socket
  ringmx-bench run 127.0.0.1:25 --rate 9000 --assert 'p99<5ms' --assert 'refused<1'
  ringmx-bench run 127.0.0.1:25 --find-max --slo 'p99<50ms'         the highest rate that keeps it

Times of a report: `message` is from the time at which a message was meant to be sent to its last reply; `end_of_data` is \
from the end of its data to the reply, and what it was late. In a closed loop a message is meant to be sent when it is.

Exit status: 0 done, and every assertion holds; 3 the ledgers disagree (a message lost, doubled or altered): no figure; \
4 an assertion does not hold; 5 the generator was saturated: no figure; 6 stopped by --abort-on; 64 wrong usage; 69 the \
target is not to be had; 71 the system failed; 130 interrupted, the report is partial.";

/// What a scenario says instead.
const SCENARIO_HAS: [&str; 7] = ["size", "corpus", "bdat", "chunk", "recipients", "domains", "sender_domains"];

/// Of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// The server: ADDRESS:PORT, HOST:PORT, or the path of a Unix socket
    #[arg(value_name = "TARGET")]
    pub target: String,

    /// Connections at a time
    #[arg(short, long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,

    /// Threads, each with a ring of its own; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub threads: u16,

    /// Transactions in flight on a connection, where the server offers PIPELINING
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub depth: u32,

    /// One command at a time, even where the server offers PIPELINING
    #[arg(long, conflicts_with = "depth")]
    pub no_pipelining: bool,

    /// Speak LMTP
    #[arg(long)]
    pub lmtp: bool,

    /// Send content with BDAT, in one chunk
    #[arg(long)]
    pub bdat: bool,

    /// Send content with BDAT, in chunks of so many octets, such as 64k
    #[arg(long, value_name = "OCTETS", value_parser = octets)]
    pub chunk: Option<u64>,

    /// Octets of content: 4096, 4k, 1k-64k (uniform), lognormal(16k,1.2) (median, sigma)
    #[arg(short, long, value_name = "SIZE", default_value = "4k", conflicts_with = "corpus")]
    pub size: Sizes,

    /// Send real messages: .eml files, a directory of them, a maildir, an mbox; repeated for more
    #[arg(long, value_name = "PATH")]
    pub corpus: Vec<PathBuf>,

    /// Recipients of each message: 1, or 1-5
    #[arg(short, long, value_name = "N", default_value = "1")]
    pub recipients: Share,

    /// A domain of recipients with its weight, such as example.test=3; repeated for more
    #[arg(long = "domain", value_name = "DOMAIN", value_parser = parse_domain)]
    pub domains: Vec<Domain>,

    /// A domain of senders with its weight; repeated for more
    #[arg(long = "from-domain", value_name = "DOMAIN", value_parser = parse_domain)]
    pub sender_domains: Vec<Domain>,

    /// Different recipients, user000000 and so on, drawn at random; 1000, or as many as a message can have, unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub users: Option<u32>,

    /// A TOML file with classes of messages, domains, and their weights (README)
    #[arg(long, value_name = "FILE", conflicts_with_all = SCENARIO_HAS)]
    pub scenario: Option<PathBuf>,

    /// Messages in all
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,

    /// How long, such as 30s or 5m; 10s unless --messages is given
    #[arg(short = 't', long, value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,

    /// What is left out of the figures at the beginning; such a message still stands in the ledger
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub warm_up: Duration,

    /// Open loop: so many messages/s whatever the server does; 1000..5000 is a ramp, 1000,2000,5000 are steps
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,

    /// Open loop: messages come by chance, as from many senders, and not at equal distances
    #[arg(long)]
    pub poisson: bool,

    /// Open loop: the generator counts as saturated when 1 % of the messages begin so much too late by its own fault
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = time)]
    pub lag_most: Duration,

    /// Hold the connections: each says EHLO, and QUIT when the time is over
    #[arg(long, conflicts_with_all = ["rate", "messages", "messages_per_connection", "find_max", "once"])]
    pub idle: bool,

    /// Churn: close a connection after so many messages, and open another one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages_per_connection: Option<u64>,

    /// Come from these addresses in turn; from 127.0.1.1 on by itself where loopback has too few ports
    #[arg(long = "source", value_name = "ADDRESS")]
    pub sources: Vec<IpAddr>,

    /// A share of the connections misbehaves, such as 10%: silent, stalling, dribbling, cutting, babbling, deaf in turn
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = per_thousand)]
    pub misbehave: u32,

    /// What becomes of a message that is refused with 4yz, or cut off before its end
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnTempfail::Count)]
    pub on_tempfail: OnTempfail,

    /// Send RSET between chunked messages in flight: for servers that refuse recipients
    #[arg(long)]
    pub reset_between: bool,

    /// How long a reply may take before the connection is given up
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub patience: Duration,

    /// What the client calls itself
    #[arg(long, value_name = "NAME", default_value = "bench.example")]
    pub helo: String,

    /// Decides all that is random; Date then counts from 1 January 2026, so that the same seed gives the same octets
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Put a PROXY header before each connection, with the address of another peer each time
    #[arg(long, value_enum, value_name = "VERSION")]
    pub proxy: Option<ProxyVersion>,

    /// Send XCLIENT with the address of another peer each time
    #[arg(long)]
    pub xclient: bool,

    /// Log in with AUTH PLAIN on each connection. Only to loopback, private addresses and Unix sockets, as there is no TLS; what
    /// stands here can be seen by all who see processes
    #[arg(long, value_name = "USER:PASSWORD", value_parser = login)]
    pub auth: Option<Login>,

    /// The same, from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "auth")]
    pub auth_file: Option<PathBuf>,

    /// The same, from a variable of the environment
    #[arg(long, value_name = "NAME", conflicts_with_all = ["auth", "auth_file"])]
    pub auth_env: Option<String>,

    /// Peers that --proxy and --xclient name: addresses from 198.18.0.0/15
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub peers: u32,

    /// Hold the result to this: p50, p90, p99, p99.9, max (of `message`, or of another time as mail.p99), rate, goodput, or a
    /// count, with < or >, such as 'p99<5ms', 'rate>100000', 'refused<1'; repeated for more
    #[arg(long = "assert", value_name = "CONDITION")]
    pub assertions: Vec<Assertion>,

    /// Stop as soon as this holds: a count, with >, such as 'refused>100'; repeated for more
    #[arg(long = "abort-on", value_name = "CONDITION")]
    pub abort_on: Vec<Assertion>,

    /// Look for the highest rate that keeps the --slo, each try lasting --duration
    #[arg(long, requires = "slo", conflicts_with_all = ["rate", "messages"])]
    pub find_max: bool,

    /// What --find-max keeps, such as 'p99<50ms'; repeated for more
    #[arg(long, value_name = "CONDITION", requires = "find_max")]
    pub slo: Vec<Assertion>,

    /// Send one message and end
    #[arg(long, conflicts_with_all = ["messages", "rate", "find_max", "connections", "threads"])]
    pub once: bool,

    /// With --once: show the dialogue
    #[arg(short, long, requires = "once")]
    pub verbose: bool,

    /// Write the report as JSON to this file; - is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a line of JSON for each second to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub ndjson: Option<PathBuf>,

    /// Write a line for each message that was taken over: number, Message-ID, octets, checksum, the server's reply
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Sum the CRC32C of the content of each accepted message, and write it into the ledger
    #[arg(long)]
    pub checksum: bool,

    /// The counters of a ringmx (its --stats-json), asked for with SIGUSR1 before and after: both sides must agree
    #[arg(long, value_name = "FILE", requires = "server_pid")]
    pub server_stats: Option<PathBuf>,

    /// The server's process: its processor time is reported too
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Say that you operate the target, named as in TARGET, where it is outside of private address space
    #[arg(long, value_name = "HOST")]
    pub i_operate: Option<String>,
}

/// Of `merge`.
#[derive(Clone, Debug, Args)]
pub struct MergeArguments {
    /// Reports that `run --json` has written, of machines that ran at the same time
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Hold the sum to this, as with `run`; repeated for more
    #[arg(long = "assert", value_name = "CONDITION")]
    pub assertions: Vec<Assertion>,
}

/// What becomes of a message that is refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnTempfail {
    /// It is counted.
    Count,
    /// It is counted, and tried again after a while, until the end of the run.
    Retry,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

fn login(text: &str) -> Result<Login, String> {
    text.parse()
}

/// `4096` and `64k`.
pub fn octets(text: &str) -> Result<u64, String> {
    sizes::octets(text).ok_or_else(|| format!("'{text}' is no number of octets, such as 4096 or 64k"))
}

/// `10%` and `0.5%`, in thousandths.
fn per_thousand(text: &str) -> Result<u32, String> {
    let share = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match share {
        Some(share) if (0.0..=95.0).contains(&share) => Ok((share * 10.0).round() as u32),
        _ => Err(format!("'{text}' is no share, such as 10%, up to 95%")),
    }
}

/// `250ms`, `30s`, `5m`, `1h`, `100us`.
pub fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time, such as 250ms, 30s, 5m or 1h");
    let at = text.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(30 * 86_400))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "5d", "-1s", "1e9s", "99999h"] {
            assert!(time(wrong).unwrap_err().contains("30s"), "{wrong}");
        }
    }
}
