//! What can be said to `compare servers`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use super::kind::{self, Kind};
use crate::arguments::CompareArguments;

/// Of `compare`: a scenario, or the servers that are installed.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, arg_required_else_help = true)]
pub struct CompareCommand {
    /// A scenario
    #[command(flatten)]
    pub scenario: Option<CompareArguments>,

    /// Something else
    #[command(subcommand)]
    pub other: Option<Other>,
}

/// What else can be compared.
#[derive(Clone, Debug, Subcommand)]
pub enum Other {
    /// Runs the mail servers that are installed, each with a configuration and a directory of its own, under the same load
    #[command(after_help = SERVERS_HELP)]
    Servers(ServersArguments),
}

const SERVERS_HELP: &str = "\
Each server is started on a free port of 127.0.0.1, with a configuration, a queue and a log in a temporary directory; what the \
machine has configured is neither read nor touched. Postfix, exim and OpenSMTPD are started by root only. All throw away what \
they took over; the account of a server that has a queue is closed when the queue is empty.

Servers are grouped by what their 250 promises. Ratios are within a group.

Debian has one mail server at a time: installing exim or OpenSMTPD takes Postfix away. Another one is unpacked beside it \
(apt-get download, dpkg -x), given its user (useradd --system Debian-exim; opensmtpd, opensmtpq), and named with --program.

Examples:
  ringmx-bench compare servers                                         all that is installed
  ringmx-bench compare servers --servers ringmx,smtp-sink --load connection
  ringmx-bench compare servers --packages ~/peers --program exim=/opt/exim/bin/exim
  ringmx-bench compare servers --ringmx-options --shards 1             the rest of the line is ringmx's

Exit status: 0 done; 3 a server lost, refused or miscounted a message: no figure; 69 a server that was asked for by its name is \
not to be had.";

/// Of `compare servers`.
#[derive(Clone, Debug, Args)]
pub struct ServersArguments {
    /// Which; without it, all that are installed
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = kinds())]
    pub servers: Vec<&'static Kind>,

    /// The load, the same for all of them
    #[arg(long, value_enum, value_name = "LOAD", default_value_t = Load::Session)]
    pub load: Load,

    /// Measured rounds, each of which runs every server once
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub pairs: u64,

    /// About how long a run of each server lasts, in s
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = crate::arguments::seconds)]
    pub seconds: f64,

    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub connections: u32,

    /// Octets of each message
    #[arg(long, value_name = "OCTETS", default_value = "4k")]
    pub size: String,

    /// One short round that only checks that both sides agree; its figures mean nothing
    #[arg(long)]
    pub small: bool,

    /// Threads of ringmx and of the floor; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shards: u16,

    /// Where servers have their queues; without it, the directory for temporary files. It decides what a synced write costs
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// Where the packages of Node.js and Python are: of `npm install --prefix DIR`, `pip install --target DIR`, or a venv;
    /// repeated for more
    #[arg(long, value_name = "DIR")]
    pub packages: Vec<PathBuf>,

    /// A server's program, where it is not on the PATH; for aiosmtpd the Python, for smtp-server the Node.js that runs it, for
    /// Postfix its postconf; repeated for more
    #[arg(long = "program", value_name = "NAME=FILE", value_parser = program)]
    pub programs: Vec<(&'static Kind, PathBuf)>,

    /// The ringmx to measure; without it $RINGMX_BIN, or the one beside this program
    #[arg(long, value_name = "FILE")]
    pub ringmx: Option<PathBuf>,

    /// Options for `ringmx sink`; it takes the rest of the line
    #[arg(long, value_name = "OPTION", num_args = 1.., allow_hyphen_values = true)]
    pub ringmx_options: Vec<String>,
}

/// What the generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// One command for each round trip, many messages on a connection
    Session,
    /// The end of a message and the next MAIL, RCPT and DATA in one segment, where the server offers PIPELINING
    Pipelined,
    /// A connection for each message, one command for each round trip
    Connection,
}

impl Load {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Session => "one command for each round trip",
            Self::Pipelined => "pipelined, where it is offered",
            Self::Connection => "a connection for each message, one command for each round trip",
        }
    }

    /// For the generator.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Session => &["--no-pipelining"],
            Self::Pipelined => &["--depth", "2"],
            Self::Connection => &["--no-pipelining", "--messages-per-connection", "1"],
        }
    }
}

fn kinds() -> impl TypedValueParser<Value = &'static Kind> {
    // The names are those of kinds.
    PossibleValuesParser::new(kind::ALL.map(|kind| kind.name)).try_map(|name| known(&name))
}

fn known(name: &str) -> Result<&'static Kind, String> {
    let found = kind::ALL.into_iter().find(|kind| kind.name == name);
    found.ok_or_else(|| format!("'{name}' is none of {}", kind::ALL.map(|kind| kind.name).join(", ")))
}

fn program(text: &str) -> Result<(&'static Kind, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=FILE"))?;
    Ok((known(name)?, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn parse(words: &[&str]) -> Result<CompareCommand, clap::Error> {
        let words = [&["ringmx-bench", "compare"], words].concat();
        match Arguments::try_parse_from(words)?.command {
            Some(Command::Compare(command)) => Ok(command),
            other => panic!("{other:?}"),
        }
    }

    fn servers(words: &[&str]) -> ServersArguments {
        match parse(words).unwrap() {
            CompareCommand { scenario: None, other: Some(Other::Servers(servers)) } => servers,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_scenario_or_servers_are_compared() {
        let scenario = parse(&["p3", "--small"]).unwrap();
        assert!(scenario.other.is_none() && scenario.scenario.unwrap().small);
        let asked = servers(&["servers", "--servers", "ringmx,exim", "--ringmx-options", "--shards", "1", "--small"]);
        assert_eq!(asked.servers.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["ringmx", "exim"]);
        assert_eq!(asked.ringmx_options, ["--shards", "1", "--small"]);
        assert!(!asked.small);
        let asked = servers(&["servers", "--program", "exim=/opt/a=b"]);
        assert_eq!((asked.programs[0].0.name, &asked.programs[0].1), ("exim", &PathBuf::from("/opt/a=b")));
        for wrong in [&["servers", "p3"][..], &["p3", "servers"], &["servers", "--servers", "sendmail"], &[]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
