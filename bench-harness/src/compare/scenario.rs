//! The scenarios of PERFORMANCE.md: who is compared under which load, and what is wanted.

use clap::ValueEnum;

use super::traffic::Traffic;
use crate::load::script::{Mode, Shape};

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
    /// P1's load: what ringmx copies, and how often it calls the kernel
    P17,
}

/// A server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// `ringmx sink`.
    Ringmx,
    /// This program's `floor`.
    Floor,
    /// This program's `byte-sink`.
    ByteSink,
    /// Postfix's smtp-sink.
    SmtpSink,
}

impl Contestant {
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

/// What is divided by what another server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Server CPU per message: less is better.
    Cpu,
    /// Messages per second: more is better.
    Rate,
}

/// A goal: the ratio of ringmx's figure to another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Which figure.
    pub figure: Figure,
    /// Whose.
    pub against: Contestant,
    /// At most this, or at least, as the figure goes.
    pub goal: f64,
    /// How far to go.
    pub stretch: f64,
}

impl Goal {
    /// Whether a ratio is as good as the bound.
    pub fn is_met(&self, ratio: f64, bound: f64) -> bool {
        match self.figure {
            Figure::Cpu => ratio <= bound,
            Figure::Rate => ratio >= bound,
        }
    }
}

const fn cpu(against: Contestant, goal: f64, stretch: f64) -> Goal {
    Goal { figure: Figure::Cpu, against, goal, stretch }
}

/// Sessions of smtp-source and connections of the load.
pub const CONNECTIONS: u64 = 20;
const DEPTH: u64 = 32;
const SIZE: usize = 4096;

impl Scenario {
    /// As PERFORMANCE.md numbers it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P17 => "P17",
        }
    }

    /// The servers; ringmx first.
    pub fn contestants(self) -> &'static [Contestant] {
        match self {
            Self::P1 | Self::P2 => &[Contestant::Ringmx, Contestant::ByteSink],
            Self::P3 | Self::P4 => &[Contestant::Ringmx, Contestant::Floor, Contestant::SmtpSink],
            Self::P17 => &[Contestant::Ringmx],
        }
    }

    /// What PERFORMANCE.md wants of the ratios.
    pub fn goals(self) -> &'static [Goal] {
        const SINK: Contestant = Contestant::SmtpSink;
        match self {
            Self::P1 => const { &[cpu(Contestant::ByteSink, 1.5, 1.25)] },
            Self::P2 => const { &[cpu(Contestant::ByteSink, 1.3, 1.15)] },
            Self::P3 => const { &[cpu(Contestant::Floor, 1.25, 1.10), cpu(SINK, 0.60, 0.53)] },
            Self::P4 => {
                const RATE: Goal = Goal { figure: Figure::Rate, against: SINK, goal: 1.0, stretch: 1.1 };
                const { &[cpu(Contestant::Floor, 1.25, 1.10), cpu(SINK, 0.65, 0.56), RATE] }
            }
            Self::P17 => &[],
        }
    }

    /// The load.
    pub fn traffic(self) -> Traffic {
        let shape = |mode| Shape { mode, depth: DEPTH, size: SIZE, recipients: 1 };
        match self {
            Self::P1 | Self::P17 => Traffic::Load { connections: CONNECTIONS, shape: shape(Mode::Bdat) },
            Self::P2 => Traffic::Load { connections: CONNECTIONS, shape: shape(Mode::Data) },
            Self::P3 => Traffic::Source { sessions: CONNECTIONS, size: SIZE, connection_each: false },
            Self::P4 => Traffic::Source { sessions: CONNECTIONS, size: SIZE, connection_each: true },
        }
    }

    /// The load in words.
    pub fn title(self) -> String {
        self.traffic().title()
    }

    /// Messages of a run of the test suite.
    pub fn messages_small(self) -> u64 {
        self.rounded(match self {
            Self::P1 | Self::P17 => 12_800,
            Self::P2 | Self::P3 => 2_000,
            Self::P4 => 500,
        })
    }

    /// Messages of a run of the round that does not count.
    pub fn messages_of_warm_up(self) -> u64 {
        self.messages_small() * 10
    }

    /// Messages that each run's server gets before its account is opened.
    pub fn messages_before(self) -> u64 {
        self.rounded(self.messages_small() / 5)
    }

    /// Messages that take so long at this rate; at least those of the warm-up, should its rate have been an accident.
    pub fn messages_for(self, rate: f64, seconds: f64) -> u64 {
        let messages = self.rounded(((rate * seconds) as u64).max(self.messages_of_warm_up()));
        match self {
            // A connection each: a client has some 28,000 ports for one server, and keeps them for a minute.
            Self::P4 => messages.min(24_000),
            _ => messages,
        }
    }

    /// The byte sink answers whole batches only, so that every connection has to send some.
    fn rounded(self, messages: u64) -> u64 {
        let step = match self {
            Self::P1 | Self::P17 => CONNECTIONS * DEPTH,
            _ => CONNECTIONS,
        };
        messages.div_ceil(step).max(1) * step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_against_somebody_who_runs() {
        for scenario in Scenario::value_variants() {
            assert_eq!(scenario.contestants()[0], Contestant::Ringmx);
            for goal in scenario.goals() {
                assert!(scenario.contestants().contains(&goal.against), "{scenario:?}");
                assert!(goal.is_met(goal.stretch, goal.goal), "{scenario:?}: a stretch goes farther than the goal");
            }
            assert_eq!(scenario.messages_for(100_000.0, 2.0) % CONNECTIONS, 0);
        }
        assert_eq!(Scenario::P1.messages_before() % 640, 0);
    }
}
