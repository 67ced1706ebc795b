//! The generator as comparisons use it: a load in the words of `run`, sent from within this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Parser;

use super::arguments::RunArguments;
use super::figures::Figures;
use super::plan::Plan;
use super::rehearsal::{Script, rehearse};
use super::tally::{Counts, Timed};
use super::{End, Reins, perform};
use crate::failure::Failure;
use crate::measure::descriptors;

/// How often it is looked whether all connections stand.
const LOOK: Duration = Duration::from_millis(5);

/// A load without a target, such as `--depth 32 --bdat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    words: String,
}

/// What can be said, with the program's name before it.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    run: RunArguments,
}

/// What a load has come to.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What was counted, over all of it.
    pub counts: Counts,
    /// Messages per second.
    pub rate: f64,
    /// 99.9 % of the times from the end of data to its reply, from the intended time, in ns.
    pub tail_ns: u64,
    /// Half of them.
    pub median_ns: u64,
}

impl Load {
    /// In the words of `run`.
    pub fn new(words: &str) -> Self {
        Self { words: words.to_owned() }
    }

    /// With more of them.
    pub fn with(&self, words: &str) -> Self {
        Self { words: format!("{} {words}", self.words) }
    }

    /// As they can be said to `run`.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// What a connection will say.
    pub fn script(&self) -> Result<Script, Failure> {
        rehearse(&Plan::new(&self.arguments("127.0.0.1:25")?)?)
    }

    /// Sends so many messages. Fails unless each was accepted, on the first try, by one of the connections made for it.
    pub fn send(&self, target: SocketAddr, messages: u64) -> Result<Sent, Failure> {
        let options = self.with(&format!("--messages {messages}")).arguments(&target.to_string())?;
        let mut figures = run(&options, &Reins::default())?;
        let counts = figures.tally.counts;
        if let Some(why) = figures.saturated {
            return Err(Failure::Saturated(why));
        }
        if (counts.attempted, counts.accepted) != (messages, messages) || counts.connects_failed > 0 {
            let replies = figures.tally.replies().into_iter().filter(|(_, code, _)| *code >= 400);
            let said = replies.map(|(command, code, count)| format!(", {code} to {command} {count} times"));
            return Err(Failure::Disagreement(format!(
                "of {messages} messages {} were begun and {} accepted by {target}; {} connections failed{}",
                counts.attempted,
                counts.accepted,
                counts.connects_failed,
                said.collect::<String>()
            )));
        }
        let times = figures.tally.histogram(Timed::EndOfDataCorrected);
        let (tail_ns, median_ns) = (times.value_at_quantile(0.999), times.value_at_quantile(0.5));
        Ok(Sent { counts, rate: figures.rate(), tail_ns, median_ns })
    }

    fn arguments(&self, target: &str) -> Result<RunArguments, Failure> {
        // Standard output is not the generator's here.
        let fixed = ["run", target, "--json", "-"];
        let words = fixed.into_iter().chain(self.words.split_ascii_whitespace());
        Line::try_parse_from(words).map(|line| line.run).map_err(|error| Failure::Usage(error.to_string()))
    }
}

fn run(options: &RunArguments, reins: &Reins) -> Result<Figures, Failure> {
    let plan = Plan::new(options)?;
    descriptors::raise(plan.connections_of(0) as u64 + super::DESCRIPTORS_SPARE)?;
    let (outcomes, end) = perform(&plan, options, reins)?;
    match end {
        End::Interrupted => Err(Failure::Interrupted),
        End::Done | End::Aborted | End::Gone => {
            let figures = Figures::new(&plan, outcomes);
            match figures.gone {
                Some(why) => Err(Failure::Unavailable(why)),
                None => Ok(figures),
            }
        }
    }
}

/// Connections that were opened, have said EHLO, and say nothing until they are released.
#[derive(Debug)]
pub struct Held {
    thread: JoinHandle<Result<Figures, Failure>>,
    reins: Arc<Reins>,
    connections: u64,
}

impl Held {
    /// Opens them, which is over when this returns.
    pub fn open(target: SocketAddr, connections: u32, threads: u16, sources: &str) -> Result<Self, Failure> {
        let words = format!("--idle --duration 24h --connections {connections} --threads {threads} {sources}");
        let options = Load::new(&words).arguments(&target.to_string())?;
        let reins = Arc::new(Reins::default());
        let of_thread = reins.clone();
        let work = move || run(&options, &of_thread);
        let thread = thread::Builder::new()
            .name("held".to_owned())
            .spawn(work)
            .map_err(Failure::while_doing("cannot start a thread"))?;
        let held = Self { thread, reins, connections: connections.into() };
        // BOUND: the generator gives up by itself when connections do not come to stand.
        while !held.reins.is_open() {
            if held.thread.is_finished() {
                return Err(held.release().err().unwrap_or(Failure::Interrupted));
            }
            thread::sleep(LOOK);
        }
        Ok(held)
    }

    /// Each says QUIT. Gives how many were answered: all that were opened, or there is a failure.
    pub fn release(self) -> Result<u64, Failure> {
        self.reins.finish();
        let figures = self
            .thread
            .join()
            .unwrap_or_else(|_| Err(Failure::System("a thread of the generator has panicked".to_owned())))?;
        let counts = figures.tally.counts;
        let replies = figures.tally.replies();
        let answered = replies.iter().find(|(command, code, _)| (*command, *code) == ("QUIT", 221));
        let answered = answered.map_or(0, |(_, _, count)| *count);
        match answered == self.connections && counts.connects == self.connections {
            true => Ok(answered),
            false => Err(Failure::Disagreement(format!(
                "{} connections were to be held, {} were tried, {} failed, and {answered} still answered",
                self.connections, counts.connects, counts.connects_failed
            ))),
        }
    }
}
