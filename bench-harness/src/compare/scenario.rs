//! The scenarios of PERFORMANCE.md: who is measured under which load, and what is wanted of which ratio.

use clap::ValueEnum;

use super::traffic::{Pace, Traffic};
use crate::generate::load::Load;

/// Which scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// BDAT of 4 KiB pipelined 32 deep, 20 connections: ringmx and the byte sink
    P1,
    /// DATA of 4 KiB with one round trip for each message, 20 connections: ringmx and the byte sink
    P2,
    /// smtp-source -d, four round trips for each message: ringmx, the floor and Postfix smtp-sink
    P3,
    /// smtp-source, a connection for each message: ringmx, the floor and Postfix smtp-sink
    P4,
    /// Messages of 100 KiB and of 10 MiB, BDAT and DATA: ringmx and the byte sink
    P9,
    /// Memory of 100,000 idle connections
    P10,
    /// 100 connections that work, beside 9,900 that do not: ringmx, and ringmx with 20 connections
    P11,
    /// P1's load: what ringmx copies, and how often it calls the kernel
    P17,
    /// Open loops at 40 % of the highest rate, pipelined, and at 10 %, each command a round trip: ringmx on two shards, and on one
    P18,
    /// An open loop at half of the highest rate: slow replies of ringmx and of the floor
    P20,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ringmx sink`, or the engine within this program.
    Ringmx,
    /// This program's `floor`.
    Floor,
    /// This program's `byte-sink`.
    ByteSink,
    /// Postfix's smtp-sink.
    SmtpSink,
}

impl Program {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ringmx => "ringmx",
            Self::Floor => "floor",
            Self::ByteSink => "byte sink",
            Self::SmtpSink => "smtp-sink",
        }
    }
}

/// A server under a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Contestant {
    /// What runs.
    pub program: Program,
    /// What it is called beside others with the same program.
    pub remark: &'static str,
    /// What it gets.
    pub traffic: Traffic,
    /// Its threads, where the scenario says how many.
    pub shards: Option<u16>,
    /// Connections that were opened before, and say nothing meanwhile.
    pub held: u32,
    /// Messages of a run of the test suite.
    pub messages_small: u64,
}

impl Contestant {
    /// A server under a load, nothing else said.
    pub fn new(program: Program, traffic: &Traffic, messages_small: u64) -> Self {
        Self { program, remark: "", traffic: traffic.clone(), shards: None, held: 0, messages_small }
    }

    fn called(self, remark: &'static str) -> Self {
        Self { remark, ..self }
    }

    /// As tables name it.
    pub fn name(&self) -> String {
        match self.remark {
            "" => self.program.name().to_owned(),
            remark => format!("{}, {remark}", self.program.name()),
        }
    }

    /// Messages that its server gets before the account is opened, so that memory is touched.
    pub fn messages_before(&self) -> u64 {
        (self.messages_small / 5).max(CONNECTIONS / 2)
    }

    /// Messages of a run of the round that does not count.
    pub fn messages_of_warm_up(&self) -> u64 {
        match self.traffic {
            // The rate comes of it.
            Traffic::Run { pace: Pace::OfHighest { .. }, .. } => self.messages_small * 100,
            _ => self.messages_small * 20,
        }
    }

    /// Messages that take so long at this rate; at least those of a small run, should the rate have been an accident.
    pub fn messages_for(&self, rate: f64, seconds: f64) -> u64 {
        let messages = (rate * seconds) as u64;
        match self.traffic {
            // A connection each: a client has some 28,000 ports for one server, and keeps them for a minute.
            Traffic::Source { connection_each: true, .. } => {
                messages.clamp(self.messages_of_warm_up().min(24_000), 24_000)
            }
            _ => messages.max(self.messages_small),
        }
    }
}

/// What is divided by what another contestant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Server CPU per message: less is better.
    Cpu,
    /// Messages per second: more is better.
    Rate,
    /// 99.9 % of the times from the end of data to its reply: less is better.
    Tail,
}

impl Figure {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU/message",
            Self::Rate => "messages/s",
            Self::Tail => "p99.9 of the reply to the end of data",
        }
    }
}

/// A goal: the ratio of one contestant's figure to another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Which figure.
    pub figure: Figure,
    /// Whose, by its place.
    pub above: usize,
    /// Divided by whose.
    pub below: usize,
    /// At most this, or at least, as the figure goes.
    pub goal: f64,
    /// How far to go.
    pub stretch: f64,
}

impl Goal {
    /// Whether a ratio is as good as the bound.
    pub fn is_met(&self, ratio: f64, bound: f64) -> bool {
        match self.figure {
            Figure::Cpu | Figure::Tail => ratio <= bound,
            Figure::Rate => ratio >= bound,
        }
    }
}

/// Server CPU per message of one contestant ÷ another's.
pub const fn cpu(above: usize, below: usize, goal: f64, stretch: f64) -> Goal {
    Goal { figure: Figure::Cpu, above, below, goal, stretch }
}

/// A generator on the same cores is late now and then. Times count from when messages were meant to begin, on both sides; beyond
/// this they would tell of the generator alone.
const LAG_MOST: &str = "100ms";
/// Where no time is a figure.
pub const ANY_LAG: &str = "1m";

/// Sessions of smtp-source and connections of the load.
pub const CONNECTIONS: u64 = 20;

/// Pipelined chunks, up to 32 in flight. A thread for each connection: one that serves ten of them writes 1.3 MB before it
/// sleeps, which is out of a core's cache when the server reads it; then memory is what is measured, on both sides.
pub const CHUNKS: &str = "--depth 32 --bdat --size 4096 --threads 20";
/// The end of data and the next MAIL, RCPT, DATA in one segment: a second transaction may begin before the first has ended.
pub const ROUND_TRIP: &str = "--depth 2 --size 4096";
/// Every command is a round trip.
pub const NO_PIPELINING: &str = "--no-pipelining --size 4096";

impl Scenario {
    /// As PERFORMANCE.md numbers it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P9 => "P9",
            Self::P10 => "P10",
            Self::P11 => "P11",
            Self::P17 => "P17",
            Self::P18 => "P18",
            Self::P20 => "P20",
        }
    }

    /// Who is measured, in this order.
    pub fn contestants(self) -> Vec<Contestant> {
        use Program::{ByteSink, Floor, Ringmx, SmtpSink};
        let closed = |words: &str| Traffic::Run { load: Load::new(words), pace: Pace::Closed };
        let open = |words: &str, share, lag_most| {
            let pace = Pace::OfHighest { share, lag_most };
            Traffic::Run { load: Load::new(words), pace }
        };
        let pair = |below, traffic: &Traffic, small| {
            [Ringmx, below].map(|program| Contestant::new(program, traffic, small)).to_vec()
        };
        let source = |connection_each| Traffic::Source { sessions: CONNECTIONS, size: 4096, connection_each };
        match self {
            Self::P1 => pair(ByteSink, &closed(CHUNKS), 6_400),
            Self::P2 => pair(ByteSink, &closed(ROUND_TRIP), 1_000),
            Self::P3 | Self::P4 => {
                let (traffic, small) = if self == Self::P3 { (source(false), 1_000) } else { (source(true), 250) };
                [Ringmx, Floor, SmtpSink].map(|program| Contestant::new(program, &traffic, small)).to_vec()
            }
            Self::P9 => {
                let loads = [
                    ("BDAT, 100 KiB", "--bdat --depth 2 --size 100k --threads 20", 100),
                    ("DATA, 100 KiB", "--depth 2 --size 100k --threads 20", 100),
                    ("BDAT, 10 MiB", "--bdat --depth 2 --size 10m --threads 20", 10),
                    ("DATA, 10 MiB", "--depth 2 --size 10m --threads 20", 10),
                ];
                let rows = loads.map(|(remark, words, small)| {
                    pair(ByteSink, &closed(words), small).into_iter().map(move |row| row.called(remark))
                });
                rows.into_iter().flatten().collect()
            }
            Self::P11 => {
                let few = Contestant::new(Ringmx, &closed(ROUND_TRIP), 1_000).called("20 connections");
                let many = closed(&format!("{ROUND_TRIP} --connections 100"));
                let many = Contestant::new(Ringmx, &many, 1_000).called("100 beside 9,900 idle");
                vec![Contestant { held: 9_900, ..many }, few]
            }
            Self::P17 => vec![Contestant::new(Ringmx, &closed(CHUNKS), 6_400)],
            // The client takes no more of the machine than it must.
            Self::P18 => {
                let chunks = open("--depth 32 --bdat --size 4096 --threads 1", 0.4, ANY_LAG);
                let commands = open("--no-pipelining --size 4096 --threads 1", 0.1, ANY_LAG);
                let rows = [
                    (2, "2 shards, BDAT at 40 %", &chunks, 2_000),
                    (1, "1 shard, BDAT at 40 %", &chunks, 2_000),
                    (2, "2 shards, each command at 10 %", &commands, 200),
                    (1, "1 shard, each command at 10 %", &commands, 200),
                ];
                let row = |(shards, remark, traffic, small)| Contestant {
                    shards: Some(shards),
                    ..Contestant::new(Ringmx, traffic, small).called(remark)
                };
                rows.map(row).to_vec()
            }
            Self::P20 => pair(Floor, &open(NO_PIPELINING, 0.5, LAG_MOST), 500),
            // It is about memory (`idle`).
            Self::P10 => Vec::new(),
        }
    }

    /// Whether what ringmx counts meanwhile is part of the figures.
    pub fn looks_inside(self) -> bool {
        matches!(self, Self::P17 | Self::P18)
    }

    /// What PERFORMANCE.md wants of the ratios.
    pub fn goals(self) -> Vec<Goal> {
        match self {
            Self::P1 => vec![cpu(0, 1, 1.5, 1.25)],
            Self::P2 => vec![cpu(0, 1, 1.3, 1.15)],
            Self::P3 => vec![cpu(0, 1, 1.25, 1.10), cpu(0, 2, 0.60, 0.53)],
            Self::P4 => {
                let rate = Goal { figure: Figure::Rate, above: 0, below: 2, goal: 1.0, stretch: 1.1 };
                vec![cpu(0, 1, 1.25, 1.10), cpu(0, 2, 0.65, 0.56), rate]
            }
            // As many octets on both sides: what holds for each message holds for each octet.
            Self::P9 => {
                vec![cpu(0, 1, 1.10, 1.03), cpu(2, 3, 1.25, 1.15), cpu(4, 5, 1.10, 1.03), cpu(6, 7, 1.25, 1.15)]
            }
            Self::P11 => vec![cpu(0, 1, 1.5, 1.2)],
            Self::P18 => vec![cpu(0, 1, 1.15, 1.05), cpu(2, 3, 1.15, 1.05)],
            Self::P20 => vec![Goal { figure: Figure::Tail, above: 0, below: 1, goal: 2.0, stretch: 1.3 }],
            Self::P10 | Self::P17 => Vec::new(),
        }
    }

    /// In words.
    pub fn title(self) -> String {
        let load = match self.contestants().first() {
            Some(first) => first.traffic.title(),
            None => String::new(),
        };
        match self {
            Self::P9 => "20 connections, messages of 100 KiB and of 10 MiB, BDAT and DATA".to_owned(),
            Self::P10 => "100,000 idle connections".to_owned(),
            Self::P18 => "open loops at equal rates, two shards and one".to_owned(),
            Self::P11 => format!("10,000 connections of which 100 work, and 20 connections; {load}"),
            _ => load,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_about_somebody_who_runs() {
        for scenario in Scenario::value_variants() {
            let contestants = scenario.contestants();
            for goal in scenario.goals() {
                assert_eq!(contestants[goal.above].program, Program::Ringmx, "{scenario:?}");
                assert!(goal.below < contestants.len() && goal.above != goal.below, "{scenario:?}");
                assert!(goal.is_met(goal.stretch, goal.goal), "{scenario:?}: a stretch goes farther than the goal");
            }
            for contestant in contestants {
                assert!(contestant.messages_for(100_000.0, 2.0) >= contestant.messages_small, "{scenario:?}");
            }
        }
    }

    /// The byte sink can be told of every load that it stands below.
    #[test]
    fn what_the_byte_sink_answers_is_known() {
        for contestant in Scenario::value_variants().iter().flat_map(|scenario| scenario.contestants()) {
            if contestant.program == Program::ByteSink {
                assert!(contestant.traffic.script().is_ok(), "{contestant:?}");
            }
        }
    }
}
