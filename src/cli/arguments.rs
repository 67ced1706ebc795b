//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringmx::config::Bind;
use ringmx::policy::script::Refusal;

use super::spool::arguments::SpoolArguments;

/// A mail ingestion engine on io_uring: load-test sink, benchmark instrument, inbound MX.
///
/// Without a configuration it starts an MX for any recipient on 127.0.0.1:2525, which keeps mail as files under ./ringmx-data,
/// and blackholes on 127.0.0.1:2526 and 2527, which take any message, keep nothing, and say so; 2527 writes it to the disk first.
#[derive(Debug, Parser)]
#[command(name = "ringmx", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Read the configuration, say what is wrong with it or what it amounts to, and exit
    #[arg(long)]
    pub check: bool,

    /// Write counters and histograms as JSON to this file, at exit and on SIGUSR1
    #[arg(long, value_name = "FILE")]
    pub stats_json: Option<PathBuf>,

    /// Share addresses that another process listens on, instead of refusing to start
    #[arg(long)]
    pub takeover: bool,

    /// What to do; without it, serve the configuration
    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER_HELP: &str = "\
Signals: SIGTERM and SIGINT drain and stop (a second one stops at once), SIGHUP reads the configuration again, SIGUSR1 \
prints counters, latencies and sessions.

Exit status: 0 stopped as asked; 64 wrong usage; 65 something in the data directory is not this server's, or of another version; \
69 an address, or io_uring, is not to be had; 70 a mistake of this program's; 71 the system lacks something; 73 a file cannot be \
written, or a directory not be used; 74 messages that were accepted into memory could not be delivered any more, or a disk cannot \
be read; 77 a file is somebody else's, or a link; 78 the configuration is wrong.";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A load-test sink without any file: accepts all mail, keeps nothing, reports
    #[command(after_help = "Example: ringmx sink :2525 --for 60s --reject 'rcpt 5% 451' --delay 50ms")]
    Sink(SinkArguments),
    /// Look into a spool, and hand its messages to their sinks again; whether a server runs on it or not
    Spool(SpoolArguments),
}

/// Of `sink`.
#[derive(Debug, Args)]
pub struct SinkArguments {
    /// Where to listen: :2525, 127.0.0.1:2525, [::1]:2525, [*]:2525 or /path/of/a.sock
    #[arg(value_name = "ADDRESS", required = true)]
    pub addresses: Vec<Bind>,

    /// Speak LMTP (RFC 2033): LHLO, and a reply for each recipient at the end of mail data
    #[arg(long)]
    pub lmtp: bool,

    /// Await a PROXY header, version 1 or 2, before anything else of each connection
    #[arg(long)]
    pub proxy_protocol: bool,

    /// Add up the CRC32C of the content of each message, for `ringmx-bench run --checksum`
    #[arg(long)]
    pub checksum: bool,

    /// Write each message to the disk before its 250, as a durable listener does, and then throw it away
    #[arg(long)]
    pub disk: bool,

    /// Where, with --disk; what lies there is the engine's own
    #[arg(long, value_name = "DIR", default_value = "ringmx-data", requires = "disk")]
    pub data_dir: PathBuf,

    /// Wait so long before each reply to the end of mail data, such as 50ms or 2s
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub delay: Option<Duration>,

    /// Refuse a share at a point: 'POINT ODDS% CODE'; points are connect, hello, mail, rcpt, data, end; 521 is for
    /// connect only, 556 for mail and rcpt. May be repeated
    #[arg(long, value_name = "RULE")]
    pub reject: Vec<Refusal>,

    /// Stop after so many messages
    #[arg(long, value_name = "N", conflicts_with = "for_time")]
    pub count: Option<u64>,

    /// Stop after so long, such as 60s or 5m
    #[arg(long = "for", id = "for_time", value_name = "TIME", value_parser = parse_time)]
    pub for_time: Option<Duration>,

    /// Threads, each with a core, sockets and a ring of its own; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,

    /// Most connections of each shard
    #[arg(long, value_name = "N", default_value_t = ringmx::limits::CONNECTIONS_PER_SHARD)]
    pub connections: u32,

    /// Write counters and histograms as JSON to this file, at exit and on SIGUSR1
    #[arg(long, value_name = "FILE")]
    pub stats_json: Option<PathBuf>,

    /// Share addresses that another process listens on, instead of refusing to start
    #[arg(long)]
    pub takeover: bool,

    /// Yes, throw away what comes to port 25, 465 or 587 of an address that others can reach
    #[arg(long)]
    pub discards_mail: bool,
}

/// Reads `50ms`, `2s`, `5m`, `1h` or `2d`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time; wanted a number with ms, s, m, h or d, such as 50ms or 2s");
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_names_what_can_be_refused_where() {
        let mut command = Arguments::command();
        let sink = command.find_subcommand_mut("sink").unwrap();
        let help = sink.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let said = "nowhere 1% 451".parse::<Refusal>().unwrap_err().to_string();
        let points = said.split("(there are ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
        assert!(
            help.contains(&format!("points are {points}; 521 is for connect only, 556 for mail and rcpt")),
            "{help}"
        );
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_time("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["50", "s", "1w", "-1s", "99999999999999999999s", "9999999999999999h"] {
            assert!(parse_time(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
