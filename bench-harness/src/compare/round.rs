//! One run of one server: its processor time, the machine's, the rate; and whether client and server agree.

use std::path::Path;
use std::time::Duration;

use super::home;
use super::scenario::{Contestant, Program};
use super::server::{Counted, Engine, Server};
use super::stats::Stats;
use super::traffic::{Rate, Sent, Traffic};
use crate::ceiling::disk::place::Place;
use crate::ceiling::disk::{Bed, Shape};
use crate::failure::Failure;
use crate::generate::load::Held;
use crate::measure::account::Account;
use crate::measure::processor::{ProcessTime, Source};

/// How long a server is left alone before its account is read: connections close, threads fall asleep.
const SETTLING: Duration = Duration::from_millis(50);

/// Counters of ringmx that figures and ledgers are taken from.
#[cfg(test)]
pub const COUNTERS: [&str; 18] = [
    "messages",
    "message_octets",
    "octets_received",
    "messages_void",
    "connections_lost_in_transaction",
    "stale_completions",
    "accept_failures",
    "octets_copied_content",
    "octets_copied_commands",
    "octets_copied_paused",
    "system_calls",
    "turns",
    "recipients",
    "spool_commits",
    "spool_messages",
    "spool_octets",
    "spool_failures",
    "spool_messages_doubtful",
];

/// Octets of the file of the disk ceiling.
const DISK_OCTETS: u64 = 128 << 20;

/// What all runs of a comparison have in common.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The ringmx to measure.
    pub engine: Engine,
    /// Threads of each server that has them; 0 is one for each core.
    pub shards: u16,
    /// Whether ringmx is looked at in the steady state.
    pub looks: bool,
    /// Where servers write that do.
    pub place: Option<Place>,
    /// How long the disk is written to in a round.
    pub disk_span: Duration,
}

/// What a run has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Processor time of the server for each message, in µs.
    pub cpu_us: f64,
    /// Where that comes from.
    pub source: Source,
    /// Processor time of the whole machine for each message, in µs.
    pub machine_us: f64,
    /// What neither server nor client used of that, as a share of all processors' time: the noise.
    pub others: f64,
    /// Messages per second.
    pub rate: f64,
    /// Octets of content, or of blocks, per second.
    pub octets: f64,
    /// 99.9 % of the times from the end of data to its reply, or of a write, in µs; 0 where the client does not know.
    pub tail_us: f64,
    /// Half of them, in the same way.
    pub median_us: f64,
    /// What ringmx counted until its end, if it writes.
    pub spool: Option<Spooled>,
    /// Of what an MX had accepted, the share that its sink had when the last 250 had come.
    pub delivered: f64,
    /// What ringmx counted meanwhile, where the scenario asks for it.
    pub steady: Option<Stats>,
}

/// What a ringmx that writes has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Blocks.
    pub blocks: u64,
    /// Octets of them.
    pub octets: u64,
    /// Messages in them.
    pub messages: u64,
}

impl Bench {
    /// One for a comparison of these. Where one of them writes there is a place for it, or it is said why not.
    pub fn new(
        engine: Engine,
        shards: u16,
        contestants: &[Contestant],
        data_dir: Option<&Path>,
        disk_span: Duration,
    ) -> Result<Self, Failure> {
        let writes = contestants.iter().any(|each| each.program.writes() || each.program == Program::Disk);
        let place = writes.then(|| home::place(data_dir)).transpose()?;
        Ok(Self { engine, shards, looks: false, place, disk_span })
    }

    /// The disk, without any mail.
    fn write(&self, shape: Shape) -> Result<Run, Failure> {
        let place = self.place.as_ref().ok_or_else(|| Failure::System("no place to write was said".to_owned()))?;
        let bed = Bed::prepare(&place.directory, DISK_OCTETS, true)?;
        let pid = std::process::id();
        let account = Account::read(|| ProcessTime::of(pid))?;
        let speed = bed.write(shape, self.disk_span)?;
        let later = Account::read(|| ProcessTime::of(pid))?;
        let (own_ns, source) = later.server.since_ns(account.server);
        // It is its own client.
        let used = later.since(&account, 0);
        let writes = (speed.writes * used.elapsed.as_secs_f64()).max(1.0);
        Ok(Run {
            cpu_us: own_ns as f64 / 1000.0 / writes,
            source,
            machine_us: used.machine_ns as f64 / 1000.0 / writes,
            others: used.others(),
            rate: speed.writes,
            octets: speed.octets,
            tail_us: speed.p99_ns as f64 / 1000.0,
            median_us: speed.p50_ns as f64 / 1000.0,
            spool: None,
            delivered: 1.0,
            steady: None,
        })
    }

    /// Runs a server once with so many messages, at this rate if there is one. Without agreement there is no figure.
    pub fn run(&self, contestant: &Contestant, messages: u64, rate: Option<Rate>) -> Result<Run, Failure> {
        if let Traffic::Blocks(shape) = contestant.traffic {
            return self.write(shape);
        }
        let before = contestant.messages_before(messages);
        let looks = self.looks && contestant.program.is_ringmx();
        let shards = contestant.shards.unwrap_or(self.shards);

        let server = Server::start(&self.engine, contestant, self.place.as_ref(), (shards, before + messages))?;
        let held = match contestant.held {
            0 => None,
            held => Some(Held::open(server.address(), held, 0, "")?),
        };
        let warmed = contestant.traffic.send(server.address(), before, rate)?;
        std::thread::sleep(SETTLING);
        let steady = if looks { Some(server.look()?) } else { None };
        let account = Account::read(|| ProcessTime::of(server.pid()))?;
        let sent = contestant.traffic.send(server.address(), messages, rate)?;
        std::thread::sleep(SETTLING);
        let later = Account::read(|| ProcessTime::of(server.pid()))?;
        let (server_ns, source) = later.server.since_ns(account.server);
        let used = later.since(&account, server_ns);
        let steady = match steady {
            Some(earlier) => Some(server.look()?.since(&earlier)),
            None => None,
        };
        // Their octets are in no ledger of the load's.
        let are_others = held.is_some();
        if let Some(held) = held {
            held.release()?;
        }
        let all = warmed.and(sent);
        let all = Sent { octets: all.octets.filter(|_| !are_others), ..all };
        let delivered = server.settle(all.messages)?;
        let counted = server.stop(all.messages)?;
        agree(contestant, &all, &counted)?;

        let each_us = |ns: u64| ns as f64 / 1000.0 / messages as f64;
        Ok(Run {
            cpu_us: each_us(used.server_ns),
            source,
            machine_us: each_us(used.machine_ns),
            others: used.others(),
            rate: sent.rate,
            octets: sent.rate * sent.content_octets.0 as f64 / sent.messages.max(1) as f64,
            tail_us: sent.tail_ns.unwrap_or(0) as f64 / 1000.0,
            median_us: sent.median_ns.unwrap_or(0) as f64 / 1000.0,
            spool: counted.spool,
            delivered,
            steady,
        })
    }
}

/// Counts always agree; octets wherever both sides count them.
fn agree(contestant: &Contestant, sent: &Sent, counted: &Counted) -> Result<(), Failure> {
    let mut wrong = counted.complaints.clone();
    if sent.messages != counted.messages {
        wrong.push(format!("{} messages were accepted and {} counted", sent.messages, counted.messages));
    }
    let (least, most) = sent.content_octets;
    if let Some(octets) = counted.content_octets
        && !(least..=most).contains(&octets)
    {
        wrong.push(format!("{least} to {most} octets of content were sent and {octets} counted"));
    }
    if let (Some(octets), Some(heard)) = (sent.octets, counted.octets)
        && octets != heard
    {
        wrong.push(format!("{octets} octets were sent and {heard} counted"));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::Disagreement(format!("{}: {}", contestant.name(), wrong.join("; ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::scenario::Scenario;

    #[test]
    fn ledgers_must_agree() {
        let sent = Sent { messages: 10, content_octets: (100, 120), octets: Some(300), ..Sent::default() };
        let counted = Counted { messages: 10, content_octets: Some(110), octets: Some(300), ..Counted::default() };
        let contestant = &Scenario::P1.contestants()[0];
        let check = |sent: &Sent, counted: &Counted| agree(contestant, sent, counted);
        assert_eq!(check(&sent, &counted), Ok(()));
        for wrong in [
            Counted { messages: 9, ..counted.clone() },
            Counted { messages: 11, ..counted.clone() },
            Counted { content_octets: Some(99), ..counted.clone() },
            Counted { octets: Some(301), ..counted.clone() },
            Counted { complaints: vec!["lost".to_owned()], ..counted.clone() },
        ] {
            assert!(matches!(check(&sent, &wrong), Err(Failure::Disagreement(_))), "{wrong:?}");
        }
        let uncounted = Counted { content_octets: None, octets: None, ..counted };
        assert_eq!(check(&Sent { octets: None, ..sent }, &uncounted), Ok(()));
    }
}
