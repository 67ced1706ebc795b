//! The generator in the steady state: whatever the shape of the load, nothing is allocated for a message.

use ringmx::config::{Bind, Plan as EnginePlan, SinkOptions};
use ringmx::engine::Engine;

use super::plan::Plan;
use super::{End, perform};
use crate::allocations;
use crate::arguments::{Command, parse};

/// Messages of a short run; a long one has four times as many.
const MESSAGES: u64 = 2_000;

/// What a long run may allocate more: memory grows to its size at times of its own, and each second is told of. A message that
/// allocated would make it thirty times as many.
const MORE_MOST: u64 = MESSAGES * 3 / 30;

/// Allocations of the generator's threads for so many messages.
fn allocations(address: &str, messages: u64, shape: &[&str]) -> u64 {
    let messages = messages.to_string();
    let line = [&["ringmx-bench", "run", address, "-c", "4", "--threads", "2", "-n", &messages], shape].concat();
    let Ok(arguments) = parse(line.into_iter().map(Into::into).collect()) else { panic!("{shape:?} are arguments") };
    let Some(Command::Run(options)) = arguments.command else { panic!("it is a run") };
    let plan = Plan::new(&options).unwrap();
    let before = allocations::counted();
    let (outcomes, end) = perform(&plan, &options, &super::Reins::default()).unwrap();
    let accepted: u64 = outcomes.iter().map(|outcome| outcome.tally.counts.accepted).sum();
    assert_eq!((accepted.to_string(), end), (messages, End::Done));
    allocations::counted() - before
}

#[test]
fn a_message_costs_no_allocation() {
    let bind: Bind = "127.0.0.1:0".parse().unwrap();
    let plan = EnginePlan::sink(SinkOptions { binds: vec![bind], shards: 1, ..SinkOptions::default() }).unwrap();
    let engine = Engine::start(plan, false).unwrap();
    let Some((_, Bind::Tcp(address))) = engine.listening().next() else { panic!("it listens") };
    let address = address.to_string();
    for shape in [
        &["--size", "300-9k"][..],
        &["--no-pipelining", "--recipients", "1-5", "--checksum"],
        &["--depth", "16", "--bdat"],
        &["--depth", "4", "--chunk", "1k", "--reset-between"],
        &["--rate", "20000,40000", "--poisson", "--depth", "4"],
        &["--depth", "8", "--checksum", "--ledger", "/dev/null"],
    ] {
        let few = allocations(&address, MESSAGES, shape);
        let many = allocations(&address, 4 * MESSAGES, shape);
        println!("{shape:?}: {few} allocations for {MESSAGES} messages, {many} for four times as many");
        assert!(few > 0, "its threads are counted");
        assert!(many < few + MORE_MOST, "{shape:?}: {few} for {MESSAGES} messages, {many} for four times as many");
    }
    engine.stop();
}
