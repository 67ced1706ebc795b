//! One run of one server: its processor time, the machine's, the rate; and whether client and server agree.

use std::time::Duration;

use super::scenario::{Contestant, Program};
use super::server::{Counted, Engine, Server};
use super::stats::Stats;
use super::traffic::{Rate, Sent};
use crate::failure::Failure;
use crate::generate::load::Held;
use crate::measure::account::Account;
use crate::measure::processor::{ProcessTime, Source};

/// How long a server is left alone before its account is read: connections close, threads fall asleep.
const SETTLING: Duration = Duration::from_millis(50);

/// Counters of ringmx that figures and ledgers are taken from.
#[cfg(test)]
pub const COUNTERS: [&str; 12] = [
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
];

/// What all runs of a comparison have in common.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The ringmx to measure.
    pub engine: Engine,
    /// Threads of each server that has them; 0 is one for each core.
    pub shards: u16,
    /// Whether ringmx is looked at in the steady state.
    pub looks: bool,
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
    /// 99.9 % of the times from the end of data to its reply, in µs; 0 where the client does not know.
    pub tail_us: f64,
    /// What ringmx counted meanwhile, where the scenario asks for it.
    pub steady: Option<Stats>,
}

impl Bench {
    /// Runs a server once with so many messages, at this rate if there is one. Without agreement there is no figure.
    pub fn run(&self, contestant: &Contestant, messages: u64, rate: Option<Rate>) -> Result<Run, Failure> {
        let before = contestant.messages_before();
        let looks = self.looks && contestant.program == Program::Ringmx;
        let shards = contestant.shards.unwrap_or(self.shards);

        let server = Server::start(&self.engine, contestant, shards, before + messages)?;
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
        agree(contestant, &all, &server.stop(all.messages)?)?;

        let each_us = |ns: u64| ns as f64 / 1000.0 / messages as f64;
        Ok(Run {
            cpu_us: each_us(used.server_ns),
            source,
            machine_us: each_us(used.machine_ns),
            others: used.others(),
            rate: sent.rate,
            tail_us: sent.tail_ns.unwrap_or(0) as f64 / 1000.0,
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
