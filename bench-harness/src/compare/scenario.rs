//! The scenarios of PERFORMANCE.md: who is measured under which load, and what is wanted of which ratio.

use clap::ValueEnum;

use ringmx::limits;

use super::traffic::{Pace, Traffic};
use crate::ceiling::disk::Shape;
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
    /// Each command a round trip, 200 connections: a durable MX, and ringmx without disk
    P5,
    /// BDAT pipelined 32 deep: octets that a durable MX takes, and what the disk takes
    P6,
    /// One client, one message at a time: how long a durable MX takes for its 250, and the disk for one block
    P7,
    /// P1's load: what the disk costs a blackhole, in processor time
    P8,
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
    /// A durable MX on 16 shards, and on two
    P21,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ringmx sink`, or the engine within this program.
    Ringmx,
    /// The same, and each message is written before it is discarded.
    Written,
    /// ringmx as a public MX: durable, with a sink that throws away what is delivered to it.
    Mx,
    /// This program's `floor`.
    Floor,
    /// This program's `byte-sink`.
    ByteSink,
    /// Postfix's smtp-sink.
    SmtpSink,
    /// The disk alone: [`Traffic::Blocks`].
    Disk,
}

impl Program {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ringmx => "ringmx",
            Self::Written => "ringmx with disk",
            Self::Mx => "durable MX",
            Self::Floor => "floor",
            Self::ByteSink => "byte sink",
            Self::SmtpSink => "smtp-sink",
            Self::Disk => "disk ceiling",
        }
    }

    /// Whether it is ours, and is told what it counted.
    pub fn is_ringmx(self) -> bool {
        matches!(self, Self::Ringmx | Self::Written | Self::Mx)
    }

    /// Whether it writes what it takes.
    pub fn writes(self) -> bool {
        matches!(self, Self::Written | Self::Mx)
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
    pub fn messages_before(&self, messages: u64) -> u64 {
        let few = (self.messages_small / 5).max(CONNECTIONS / 2);
        // Segments go round only when some were filled and are free again.
        if self.program.writes() { few.max(messages / 4) } else { few }
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
    /// The same, and not divided: by how many µs one contestant's is above the other's. Less is better.
    CpuMore,
    /// Messages per second: more is better.
    Rate,
    /// Octets per second, of content or of blocks: more is better.
    Octets,
    /// Half of the times from the end of data to its reply, or of one write: less is better.
    Median,
    /// 99.9 % of the times from the end of data to its reply: less is better.
    Tail,
}

impl Figure {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU/message",
            Self::CpuMore => "CPU µs/message",
            Self::Rate => "messages/s",
            Self::Octets => "octets/s",
            Self::Median => "p50 of the reply to the end of data",
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
            Figure::Cpu | Figure::CpuMore | Figure::Tail | Figure::Median => ratio <= bound,
            Figure::Rate | Figure::Octets => ratio >= bound,
        }
    }

    /// Between the names of the two.
    pub fn sign(&self) -> char {
        if self.figure == Figure::CpuMore { '−' } else { '÷' }
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
/// The same as `smtp-source -d -s 200` does it.
const CROWD: &str = "--no-pipelining --size 4096 --connections 200";
/// Chunks that are as large as a block of the spool at least must be.
const LARGE_CHUNKS: &str = "--depth 8 --bdat --size 65536 --threads 20";

/// The largest blocks of a spool, as many as two shards have in flight: no log can do better.
const BLOCKS: Shape = Shape { block_octets: limits::BLOCK_OCTETS as u64, depth: 2 * limits::GROUPS_UNDER_WAY as u16 };
/// A message of 4 KiB alone in its block, with all that stands around it.
const ONE_BLOCK: Shape = Shape { block_octets: 8 << 10, depth: 1 };

impl Scenario {
    /// As PERFORMANCE.md numbers it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
            Self::P6 => "P6",
            Self::P7 => "P7",
            Self::P8 => "P8",
            Self::P9 => "P9",
            Self::P10 => "P10",
            Self::P11 => "P11",
            Self::P17 => "P17",
            Self::P18 => "P18",
            Self::P20 => "P20",
            Self::P21 => "P21",
        }
    }

    /// Who is measured, in this order.
    pub fn contestants(self) -> Vec<Contestant> {
        use Program::{ByteSink, Disk, Floor, Mx, Ringmx, SmtpSink, Written};
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
            Self::P5 => [Mx, Ringmx].map(|program| Contestant::new(program, &closed(CROWD), 2_000)).to_vec(),
            Self::P6 => {
                let rows = [("BDAT of 4 KiB", CHUNKS, 6_400), ("BDAT of 64 KiB", LARGE_CHUNKS, 400)];
                let mx = |(remark, words, small)| Contestant::new(Mx, &closed(words), small).called(remark);
                let mut rows = rows.map(mx).to_vec();
                rows.push(Contestant::new(Disk, &Traffic::Blocks(BLOCKS), 1));
                rows
            }
            Self::P7 => {
                let one = closed("--connections 1 --threads 1 --size 4096");
                vec![Contestant::new(Mx, &one, 200), Contestant::new(Disk, &Traffic::Blocks(ONE_BLOCK), 1)]
            }
            Self::P8 => [Written, Ringmx].map(|program| Contestant::new(program, &closed(CHUNKS), 6_400)).to_vec(),
            Self::P21 => {
                let many = closed("--depth 32 --bdat --size 4096 --connections 64 --threads 2");
                let row = |(shards, remark)| Contestant {
                    shards: Some(shards),
                    ..Contestant::new(Mx, &many, 6_400).called(remark)
                };
                [(16, "16 shards"), (2, "2 shards")].map(row).to_vec()
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
            Self::P5 => vec![Goal { figure: Figure::Rate, above: 0, below: 1, goal: 0.75, stretch: 0.9 }],
            Self::P6 => {
                let octets = |above| Goal { figure: Figure::Octets, above, below: 2, goal: 0.7, stretch: 0.9 };
                vec![octets(0), octets(1)]
            }
            Self::P7 => vec![Goal { figure: Figure::Median, above: 0, below: 1, goal: 1.5, stretch: 1.2 }],
            Self::P8 => vec![Goal { figure: Figure::CpuMore, above: 0, below: 1, goal: 1.0, stretch: 0.5 }],
            Self::P21 => vec![Goal { figure: Figure::Rate, above: 0, below: 1, goal: 0.9, stretch: 1.0 }],
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
            Self::P6 => format!("20 connections, messages of 4 KiB and of 64 KiB, {load} and --size 65536"),
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
                assert!(contestants[goal.above].program.is_ringmx(), "{scenario:?}");
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
