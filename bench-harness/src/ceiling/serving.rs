//! The threads of a ceiling: one for each shard, pinned as the engine's are, until standard input ends.

use std::io::Read;
use std::sync::mpsc;
use std::thread::JoinHandle;

use ringmx::config::{Plan, SinkOptions};
use ringmx::handoff::mailbox::{self, Sender};
use ringmx::reactor::io::IoCounts;
use ringmx::reactor::listening;
use ringmx::reactor::ring::{Ring, RingOptions};
use ringmx::shard::slots_for;
use ringmx::smtp::settings::Settings;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;

use super::responder::{Responder, Rote, Stop};
use crate::arguments::CeilingArguments;
use crate::failure::Failure;

/// What a ceiling has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were greeted.
    pub connections: u64,
    /// Messages answered with a 250.
    pub messages: u64,
    /// Octets, of content or in all: the kind of ceiling says.
    pub octets: u64,
    /// What cannot be if the client does as the ceiling was told.
    pub mismatches: u64,
    /// Sum of the CRC32C of what each connection sent, where that was asked for.
    pub checksum_sum: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.octets += other.octets;
        self.mismatches += other.mismatches;
        self.checksum_sum = self.checksum_sum.wrapping_add(other.checksum_sum);
    }
}

struct Serving {
    stop: Sender<Stop>,
    thread: JoinHandle<Result<(Tally, IoCounts), Failure>>,
}

/// Serves until standard input ends, then prints the sum of what was counted as a line of JSON.
pub fn serve<R: Rote + Send + 'static>(
    options: &CeilingArguments,
    make: impl Fn(&Settings) -> R,
    tally: fn(&R) -> Tally,
) -> Result<(), Failure> {
    // The plan of the engine's own sink: the same shards, sockets, slots and texts.
    let sink = SinkOptions { binds: vec![options.bind.clone()], shards: options.shards, ..SinkOptions::default() };
    let plan = Plan::sink(sink).map_err(|errors| Failure::Usage(errors.to_string()))?;
    let listener = &plan.listeners()[0];
    let shards = usize::from(plan.shards().get());
    let listening = listening::open(&options.bind, listener.socket(), shards, false)
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    let slots = slots_for(plan.connections_per_shard());
    let processors = allowed_processors();
    let mut serving = Vec::new();
    for (number, socket) in listening.sockets.into_iter().enumerate() {
        let (stop, stops, wake) = mailbox::mailbox().map_err(Failure::while_doing("cannot make a mailbox"))?;
        let (tell, ready) = mpsc::channel();
        let processor = processors.get(number % processors.len().max(1)).copied();
        let rote = make(&listener.scope().settings);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || {
                pin(processor);
                let ring = Ring::new(&RingOptions::for_sockets(slots), wake)
                    .map_err(|error| Failure::Unavailable(error.to_string()))?;
                // Whoever started this waits for the word; it cannot be gone.
                let _ = tell.send(());
                let (rote, counts) = Responder::new(ring, socket, slots, rote, stops)
                    .run()
                    .map_err(Failure::while_doing("the ring failed"))?;
                Ok((tally(&rote), counts))
            })
            .map_err(Failure::while_doing("cannot start a thread"))?;
        if ready.recv().is_err() {
            return join(thread).map(drop);
        }
        serving.push(Serving { stop, thread });
    }
    println!("ringmx-bench: ready on {}", listening.bind);
    wait_for_the_end();
    let mut sum = Tally::default();
    let (mut system_calls, mut operations) = (0, 0);
    for shard in serving {
        // A thread that is gone has a failure to tell.
        let _ = shard.stop.send(Stop);
        let (tally, counts) = join(shard.thread)?;
        sum.add(tally);
        system_calls += counts.enters;
        operations += counts.operations;
    }
    let counted = json!({
        "connections": sum.connections,
        "messages": sum.messages,
        "octets": sum.octets,
        "mismatches": sum.mismatches,
        "checksum_sum": sum.checksum_sum,
        "system_calls": system_calls,
        "operations": operations,
    });
    println!("{counted}");
    Ok(())
}

fn join(thread: JoinHandle<Result<(Tally, IoCounts), Failure>>) -> Result<(Tally, IoCounts), Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::System("a responder's thread has panicked".to_owned())))
}

/// Whoever started this holds the other end of its standard input.
pub fn wait_for_the_end() {
    let mut ignored = [0; 64];
    // A failure to read is an end too.
    while std::io::stdin().lock().read(&mut ignored).is_ok_and(|octets| octets > 0) {}
}

/// The processors that this process may use, as the engine takes them.
fn allowed_processors() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect()
}

/// Keeps this thread on one processor; where that is refused it runs unpinned.
fn pin(processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut set = CpuSet::new();
        set.set(processor);
        let _ = sched_setaffinity(None, &set);
    }
}
