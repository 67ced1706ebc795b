//! One recipient of a hundred is refused for now, for ever, at the full rate of the sink: what that does to the others, to the disk and to
//! memory.
//!
//! Two durable MX with a maildir for each of a hundred users take turns. In one of them a file stands where one user's maildir should be,
//! so that this user's mail is deferred again and again. In each round each of them is sent the same number of messages as fast as it takes
//! them, and is waited for until all is delivered or waits. Then the maildirs are emptied, and what was in them is counted.
//!
//! *Invariants*: each message is delivered once or waits, and both ledgers and the maildirs agree on that in every round; the disk that
//! deferred mail takes is at most twice its octets, and some segments; memory is flat once the first rounds are over. What breaks one of
//! these leaves no figure.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ringmx::metrics::report::{grouped, size};

use crate::arguments::DeferredArguments;
use crate::compare::home::{self, Home};
use crate::compare::server::{Engine, Server};
use crate::failure::Failure;
use crate::generate::load::Load;
use crate::measure::machine;
use crate::measure::memory::Resident;
use crate::measure::progress::Progress;
use crate::measure::statistics::Spread;

/// Of whom one is refused.
const USERS: u32 = 100;
/// The one.
const REFUSED: &str = "user000000";
/// Delays of retries: short ones, so that the same mail is tried many times, in s.
const RETRIES: &str = "[2, 4, 8, 16, 32, 64]";

const ROUNDS_SMALL: u64 = 3;
const MESSAGES_SMALL: u64 = 2_000;

/// How long a round may go on after its last message was accepted.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(10);

/// Disk that deferred mail takes, to its octets.
const DISK_MOST: f64 = 2.0;
/// And beside that: of each class a segment that is being written and one that is being read, of each thread of the sink.
const DISK_SLACK_OCTETS: u64 = 7 * 2 * 2 * (4 << 20);
/// Memory at the end to memory after the first third.
const MEMORY_MOST: f64 = 1.25;
/// And beside that: what a block more or less for each shard comes to.
const MEMORY_SLACK_OCTETS: u64 = 32 << 20;
/// Of all messages, those that must be delivered: one of a hundred is refused, as chance has it.
const DELIVERED_LEAST: f64 = 0.98;

/// An MX, and what is known of it.
struct Mx {
    server: Server,
    sent: u64,
    /// In the maildirs, so far.
    found: u64,
}

/// What a round has shown of an MX.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Recipients delivered to, for each second.
    rate: f64,
    /// Messages that wait.
    waiting: u64,
    /// Octets of the disk that deferred mail takes.
    disk: u64,
    /// RssAnon.
    memory: u64,
}

/// The command `deferred`.
pub fn run(options: &DeferredArguments) -> Result<(), Failure> {
    let engine = Engine::find(options.ringmx.as_deref())?;
    let place = home::place(options.data_dir.as_deref())?;
    println!(
        "One recipient of {USERS} is refused for now, for ever; a durable MX with a maildir for each, on loopback"
    );
    println!("disk {} ({})", place.directory.display(), place.file_system);
    println!("machine {}\ncommit {}, {}\n", machine::describe(), machine::commit(), engine.describe());
    let messages = if options.small { MESSAGES_SMALL } else { options.messages };
    let load = Load::new(&format!("--depth 8 --bdat --size {} --users {USERS}", options.size));
    let start = |refuses| Mx::start(&engine, Home::new(&place)?, options.shards, refuses);
    let (mut with, mut without) = (start(true)?, start(false)?);
    let (began, span) = (Instant::now(), Duration::from_secs_f64(options.seconds));
    let mut progress = Progress::new();
    let mut rounds: Vec<(Round, Round)> = Vec::new();
    let is_over = |rounds: usize| match options.small {
        true => rounds as u64 >= ROUNDS_SMALL,
        false => rounds >= 6 && began.elapsed() >= span,
    };
    while !is_over(rounds.len()) {
        progress.step(&format!("round {}, {} s", rounds.len() + 1, began.elapsed().as_secs()));
        rounds.push((with.round(&load, messages, true)?, without.round(&load, messages, false)?));
        let round = rounds[rounds.len() - 1].0;
        check_disk(round, options.size)?;
    }
    progress.clear();
    check_memory(&rounds)?;
    let sent = with.sent;
    with.end(options.size)?;
    without.end(options.size)?;
    print(&rounds, sent, options.size);
    if options.small {
        println!("\nA small run checks that both sides agree, and what deferred mail takes; its rates mean nothing.");
    }
    Ok(())
}

fn configuration(home: &Path, shards: u16) -> String {
    format!(
        "[server]\ndata_dir = {:?}\nshards = {shards}\n[spool]\nretry_s = {RETRIES}\n\
         [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\nmessages_per_connection = 0\nrecipients = 'ALL'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = {:?}\n",
        home.join("data"),
        home.join("mail/{local}"),
    )
}

impl Mx {
    fn start(engine: &Engine, home: Home, shards: u16, refuses: bool) -> Result<Self, Failure> {
        let mail = home.path().join("mail");
        let cannot = Failure::while_doing("cannot make a directory for mail");
        fs::create_dir(&mail).map_err(cannot)?;
        if refuses {
            fs::write(mail.join(REFUSED), "no maildir").map_err(Failure::while_doing("cannot spoil a maildir"))?;
        }
        let text = configuration(home.path(), shards);
        Ok(Self { server: Server::configured(engine, home, &text)?, sent: 0, found: 0 })
    }

    fn path(&self) -> &Path {
        self.server.home().unwrap_or(Path::new("/"))
    }

    /// So many messages, until all are delivered or wait. The maildirs are then emptied.
    fn round(&mut self, load: &Load, messages: u64, refuses: bool) -> Result<Round, Failure> {
        let before = self.found;
        let began = Instant::now();
        load.send(self.server.address(), messages)?;
        self.sent += messages;
        let (delivered, waiting) = self.settled()?;
        let took = began.elapsed();
        self.found += empty(&self.path().join("mail")).map_err(Failure::while_doing("cannot empty the maildirs"))?;
        let wrong = |text: String| Err(Failure::Disagreement(text));
        if self.found != delivered {
            return wrong(format!("{delivered} messages were delivered, and {} found in maildirs", self.found));
        }
        if !refuses && waiting > 0 {
            return wrong(format!("{waiting} messages wait, though nothing was refused"));
        }
        let share = (delivered - before) as f64 / messages as f64;
        if share < DELIVERED_LEAST || refuses && waiting == 0 {
            return wrong(format!("of {messages} messages {:.1} % were delivered, and {waiting} wait", 100.0 * share));
        }
        let memory =
            Resident::of(self.server.pid()).map_err(Failure::while_doing("cannot read the server's memory"))?;
        let disk = allocated(&self.path().join("data/spool/deferred"));
        let rate = (delivered - before) as f64 / took.as_secs_f64();
        Ok(Round { rate, waiting, disk, memory: memory.anonymous })
    }

    /// Waits until all that was sent is delivered or waits. Gives how much of each.
    fn settled(&self) -> Result<(u64, u64), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.server.look()?;
            let (delivered, waiting) = (stats.of_sinks("delivered")?, stats.of_sinks("waiting")?);
            for name in ["dead", "quarantined", "held", "failed", "damages", "deferral_failures", "panics"] {
                let count = stats.of_sinks(name)?;
                if count > 0 {
                    return Err(Failure::Disagreement(format!("the sink counted {name} {count}")));
                }
            }
            if delivered + waiting == self.sent {
                return Ok((delivered, waiting));
            }
            // What is being tried again is counted when that is over.
            if Instant::now() >= deadline {
                return Err(Failure::Disagreement(format!(
                    "of {} messages {delivered} were delivered and {waiting} wait, {} s after the last",
                    self.sent,
                    PATIENCE.as_secs()
                )));
            }
            thread::sleep(LOOK);
        }
    }

    /// Stops it; its own ledger must agree, too.
    fn end(self, octets: u64) -> Result<(), Failure> {
        let (sent, stats) = (self.sent, self.server.end()?);
        let (messages, written) = (stats.total("messages")?, stats.total("spool_messages")?);
        let content = stats.total("message_octets")?;
        match (messages, written, content) == (sent, sent, sent * octets) {
            true => Ok(()),
            false => Err(Failure::Disagreement(format!(
                "{sent} messages of {octets} octets were sent, {messages} accepted with {content}, and {written} written"
            ))),
        }
    }
}

fn check_disk(round: Round, octets: u64) -> Result<(), Failure> {
    let most = (DISK_MOST * (round.waiting * octets) as f64) as u64 + DISK_SLACK_OCTETS;
    match round.disk <= most {
        true => Ok(()),
        false => Err(Failure::Disagreement(format!(
            "deferred mail takes {} of the disk; {} messages of {octets} octets wait, which may take {}",
            size(round.disk),
            grouped(round.waiting),
            size(most)
        ))),
    }
}

fn check_memory(rounds: &[(Round, Round)]) -> Result<(), Failure> {
    // What is used again and again is there after the first third.
    let early = rounds[..=rounds.len() / 3].iter().map(|(with, _)| with.memory).max().unwrap_or(0);
    let last = rounds.last().map_or(0, |(with, _)| with.memory);
    match last <= (MEMORY_MOST * early as f64) as u64 + MEMORY_SLACK_OCTETS {
        true => Ok(()),
        false => Err(Failure::Disagreement(format!("memory grew from {} to {}", size(early), size(last)))),
    }
}

fn print(rounds: &[(Round, Round)], sent: u64, octets: u64) {
    println!(
        "{:>8} {:>16} {:>16} {:>12} {:>12} {:>14} {:>14} {:>16}",
        "round", "delivered/s", "without", "ratio", "waiting", "disk", "disk ÷ octets", "memory (Anon)"
    );
    let shown = rounds.len().div_ceil(20);
    for (number, (with, without)) in rounds.iter().enumerate() {
        if !(number + 1).is_multiple_of(shown) && number + 1 < rounds.len() {
            continue;
        }
        println!(
            "{:>8} {:>16} {:>16} {:>12.2} {:>12} {:>14} {:>14.2} {:>16}",
            number + 1,
            grouped(with.rate as u64),
            grouped(without.rate as u64),
            with.rate / without.rate,
            grouped(with.waiting),
            size(with.disk),
            with.disk as f64 / (with.waiting * octets) as f64,
            size(with.memory)
        );
    }
    let of = |rate: fn(&(Round, Round)) -> f64| rounds.iter().map(rate).collect::<Vec<_>>();
    if let Some(ratio) = Spread::of_ratios(&of(|(with, _)| with.rate), &of(|(_, without)| without.rate)) {
        println!(
            "\nrate of those that are not refused ÷ rate without: {ratio:.2}, median (least–most) of {} pairs",
            rounds.len()
        );
    }
    println!("{} messages to each; every one was delivered once, or waits", grouped(sent));
}

/// Removes what was delivered. Gives how many messages that were.
fn empty(mail: &Path) -> std::io::Result<u64> {
    let mut found = 0;
    for user in fs::read_dir(mail)? {
        let new = user?.path().join("new");
        // There is one that has none.
        for message in fs::read_dir(new).into_iter().flatten() {
            fs::remove_file(message?.path())?;
            found += 1;
        }
    }
    Ok(found)
}

/// Octets of the disk that everything below takes. What goes meanwhile is not there.
fn allocated(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let each = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(each).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(waiting: u64, disk: u64, memory: u64) -> Round {
        Round { rate: 1.0, waiting, disk, memory }
    }

    #[test]
    fn disk_and_memory_are_held_to_bounds() {
        assert!(check_disk(round(1 << 20, 8 << 30, 0), 4096).is_ok());
        assert!(check_disk(round(1 << 20, 9 << 30, 0), 4096).is_err());
        let rounds = |last: u64| {
            let mib = [100, 200, 210, 200, 220, last];
            mib.map(|mib| (round(1, 0, mib << 20), round(0, 0, 0)))
        };
        assert!(check_memory(&rounds(290)).is_ok());
        assert!(check_memory(&rounds(300)).is_err());
    }
}
