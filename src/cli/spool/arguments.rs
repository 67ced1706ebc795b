//! What can be said behind `ringmx spool`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use ringmx::mail::id::MessageId;
use ringmx::policy::recipients::Pattern;
use ringmx::spool::tools::filter::{Filter, Sender};
use ringmx::spool::tools::message::State;

use crate::cli::arguments::parse_time;

/// Of `spool`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SpoolArguments {
    /// The data directory of the server; without it, that of --config, or of a server without a configuration
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    pub data_dir: Option<PathBuf>,

    /// The configuration file of the server, which names its data directory
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// What to do
    #[command(subcommand)]
    pub command: SpoolCommand,
}

const AFTER_HELP: &str = "\
States: active (its sink has not had it yet), deferred (its sink refused it for now, and is asked again), held (an operator holds \
it), quarantined (delivering it went wrong too often), dead (refused for good, or for too long), delivered (all its sinks have dealt \
with it, and it is still there: what a sink refused lies in another state, too).

A server that runs is not disturbed. Its files are its own: run this as the user that it runs as.

Exit status: 0 done; 64 wrong usage; 65 something that was promised is damaged; 66 there is no such spool or message; 70 a mistake \
of this program's; 73 a file cannot be written; 74 a file cannot be read, or not everything was done; 75 too many orders wait \
already; 77 a file is somebody else's; 78 the configuration is wrong.";

const HOLD_HELP: &str = "\
The order is on stable storage when this is done; a server that runs carries it out within moments, one that is started later when it \
starts. A held message keeps its age and its attempts. Example: ringmx spool hold --all --recipient .example.net";

const RELEASE_HELP: &str = "\
A released message keeps its age and its attempts: one that is refused again and is older than lifetime_s is dead. With --all, those that are \
held, unless --state says others. The order is on stable storage when this is done; a server that runs carries it out within moments. \
Example: ringmx spool release --all";

const REMOVE_HELP: &str = "\
A removed message is tried no more: no sender hears of it, and the delivery log has a line for each recipient. What retain_s keeps \
of its log has it still, as delivered, until its time is over. The order is on stable storage when this is done; a server that \
runs carries it out within moments. Example: ringmx spool remove --all --state dead --older-than 30d --yes";

const REPLAY_HELP: &str = "\
A message that is held, quarantined or dead is moved: when the copy that is handed over is on stable storage, the original goes. With --keep \
it stays. What is delivered already, and kept by retain_s, or goes to its sink by itself, is copied. A copy has the same id, of which a \
maildir keeps one, and no attempts behind it. Example: ringmx spool replay --all --state dead,quarantined --older-than 1h";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// A line for each message that waits
    Ls(LsArguments),
    /// All that is known of a message
    Show(ShowArguments),
    /// Read everything, and hold it against its checksums
    Verify,
    /// Write messages as files, or as an mbox
    #[command(after_help = "Example: ringmx spool export --all --state dead --to dead-letters")]
    Export(ExportArguments),
    /// Have deferred messages not tried until they are released
    #[command(after_help = HOLD_HELP)]
    Hold(OrderArguments),
    /// Have messages that are held, deferred, quarantined or dead tried at once
    #[command(after_help = RELEASE_HELP)]
    Release(OrderArguments),
    /// Throw messages away that are deferred, held, quarantined or dead
    #[command(after_help = REMOVE_HELP)]
    Remove(RemoveArguments),
    /// Hand messages to their sinks anew
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArguments),
}

/// Which messages.
#[derive(Debug, Args)]
pub struct FilterArguments {
    /// In this state: active, deferred, held, quarantined, dead or delivered; several with commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    pub state: Vec<State>,

    /// With such a recipient left: user@example.net, user@, example.net or .example.net. May be repeated, and one must match
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub recipient: Vec<Pattern>,

    /// From such a sender, or from '<>'. May be repeated
    #[arg(long, value_name = "PATTERN", value_parser = parse_sender)]
    pub sender: Vec<Sender>,

    /// Received longer ago, such as 90s, 5m, 12h or 3d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub older_than: Option<Duration>,
}

/// Of `ls`.
#[derive(Debug, Args)]
pub struct LsArguments {
    #[command(flatten)]
    pub filter: FilterArguments,

    /// On its way to this sink. May be repeated
    #[arg(long, value_name = "NAME")]
    pub sink: Vec<String>,

    /// An object of JSON for each message, on a line of its own
    #[arg(long)]
    pub json: bool,
}

/// Of `show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Its name, as in the 250, in Received and in the log
    #[arg(value_name = "ID")]
    pub id: MessageId,

    /// Print the message itself, as its sink is given it
    #[arg(long)]
    pub content: bool,
}

/// Of `export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    pub which: WhichArguments,

    /// On its way to this sink. May be repeated
    #[arg(long, value_name = "NAME")]
    pub sink: Vec<String>,

    /// A directory, in which each message is a file ID.eml, and no file is written over; or '-', for an mbox on standard output
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// Of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    #[command(flatten)]
    pub which: WhichArguments,

    /// To this sink, all recipients that are left, rather than each to its own
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,

    /// Leave what is held, quarantined or dead where it lies
    #[arg(long)]
    pub keep: bool,
}

/// Of `hold` and `release`.
#[derive(Debug, Args)]
pub struct OrderArguments {
    #[command(flatten)]
    pub which: WhichArguments,

    /// On its way to this sink. May be repeated
    #[arg(long, value_name = "NAME")]
    pub sink: Vec<String>,
}

/// Of `remove`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    #[command(flatten)]
    pub order: OrderArguments,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Messages by name, or by what they are.
#[derive(Debug, Args)]
pub struct WhichArguments {
    /// These
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<MessageId>,

    /// All that wait, or that the other options select
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub filter: FilterArguments,
}

impl FilterArguments {
    /// As the library has it.
    pub fn filter(&self, ids: &[MessageId], sinks: &[String]) -> Filter {
        let now_ms = now_ms();
        Filter {
            ids: ids.iter().copied().collect(),
            states: self.state.clone(),
            recipients: self.recipient.clone(),
            senders: self.sender.clone(),
            sinks: sinks.to_vec(),
            before_ms: self.older_than.map(|time| now_ms.saturating_sub(time.as_millis() as u64)),
        }
    }
}

/// The time, in ms since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

fn parse_state(text: &str) -> Result<State, String> {
    let names = || State::ALL.map(State::name).join(", ");
    let state = State::ALL.into_iter().find(|state| state.name() == text);
    state.ok_or_else(|| format!("'{text}' is no state; there are {}", names()))
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    text.parse().map_err(|error| format!("'{text}' {error}"))
}

fn parse_sender(text: &str) -> Result<Sender, String> {
    if text == "<>" { Ok(Sender::Null) } else { parse_pattern(text).map(Sender::Pattern) }
}
