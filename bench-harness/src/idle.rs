//! Connections that say EHLO and then nothing: what each costs the server, and what they cost those that work.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use ringmx::metrics::report::{grouped, size, time};

use crate::arguments::{CompareArguments, IdleArguments};
use crate::compare::round::Bench;
use crate::compare::scenario::{ROUND_TRIP, Scenario};
use crate::compare::server::Server;
use crate::compare::table;
use crate::failure::Failure;
use crate::generate::load::{Held, Load, Sent};
use crate::measure::machine;
use crate::measure::memory::Resident;
use crate::measure::processor::ProcessTime;
use crate::measure::progress::Progress;
use crate::measure::statistics::Spread;

/// Of P10. A process may have few descriptors, but each ring has as many: so there are several rings on both sides.
const CONNECTIONS: u32 = 100_000;
const CONNECTIONS_SMALL: u32 = 500;
const SHARDS: u16 = 8;

/// What P10 wants of each connection, in octets.
const GOAL: f64 = 1024.0;
const STRETCH: f64 = 512.0;

/// How long connections are held before memory is looked at.
const HOLD: Duration = Duration::from_millis(500);

/// The command `idle`.
pub fn run(options: &IdleArguments) -> Result<(), Failure> {
    println!("{} idle connections on {} threads", grouped(options.connections.into()), options.threads);
    println!("machine {}\ncommit {}\n", machine::describe(), machine::commit());
    let alone = options.active.then(|| active(options)).transpose()?;

    let look = |pid| Resident::of(pid).map_err(Failure::while_doing("cannot read the server's memory"));
    let before = options.pid.map(look).transpose()?;
    let began = Instant::now();
    let sources: Vec<String> = options.sources.iter().map(|source| format!("--source {source}")).collect();
    let held = Held::open(options.target, options.connections, options.threads, &sources.join(" "))?;
    println!("opened in {:.2} s, each greeted and answered", began.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs_f64(options.hold));
    if let (Some(before), Some(now)) = (before, options.pid.map(look).transpose()?) {
        print_memory(before, now, options.connections);
    }
    if let Some(alone) = alone {
        print_active(&alone, &active(options)?);
    }
    println!("all {} connections still answer", grouped(held.release()?));
    Ok(())
}

fn print_memory(before: Resident, now: Resident, connections: u32) {
    println!("{:<20} {:>12} {:>12} {:>20}", "server's memory", "before", "with them", "each connection");
    for (name, before, now) in [("RssAnon", before.anonymous, now.anonymous), ("VmRSS", before.all, now.all)] {
        let each = format!("{:.0} B", each(before, now, connections));
        println!("{name:<20} {:>12} {:>12} {each:>20}", size(before), size(now));
    }
}

fn each(before: u64, now: u64, connections: u32) -> f64 {
    (now as f64 - before as f64) / f64::from(connections)
}

/// What the active connections reached, and what they cost the server.
struct Active {
    sent: Sent,
    cpu_us: Option<f64>,
}

fn active(options: &IdleArguments) -> Result<Active, Failure> {
    let account = |pid| ProcessTime::of(pid).map_err(Failure::while_doing("cannot read the server's account"));
    let load = Load::new(ROUND_TRIP);
    // A tenth of it first, so that memory is touched and threads are awake.
    load.send(options.target, (options.messages / 10).max(1))?;
    let before = options.pid.map(account).transpose()?;
    let sent = load.send(options.target, options.messages)?;
    thread::sleep(Duration::from_millis(50));
    let after = options.pid.map(account).transpose()?;
    let used = before.zip(after).map(|(before, after)| after.since_ns(before).0);
    Ok(Active { cpu_us: used.map(|ns| ns as f64 / 1000.0 / sent.counts.accepted as f64), sent })
}

fn print_active(alone: &Active, beside: &Active) {
    println!("{:<20} {:>12} {:>20} {:>16}", "20 active", "messages/s", "p99.9 end of data", "CPU µs/message");
    for (name, active) in [("alone", alone), ("beside the idle", beside)] {
        let cpu = active.cpu_us.map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
        let (rate, tail) = (grouped(active.sent.rate as u64), time(active.sent.tail_ns));
        println!("{name:<20} {rate:>12} {tail:>20} {cpu:>16}");
    }
    if let (Some(alone), Some(beside)) = (alone.cpu_us, beside.cpu_us) {
        println!("CPU/message beside the idle ÷ alone: {:.2}", beside / alone);
    }
}

/// `compare p10`: a ringmx of its own for each round, whose memory is touched by nothing else.
pub fn compare(bench: &Bench, options: &CompareArguments) -> Result<(), Failure> {
    let connections = if options.small { CONNECTIONS_SMALL } else { CONNECTIONS };
    let rounds = if options.small { 1 } else { options.pairs };
    let shards = if options.shards == 0 { SHARDS } else { options.shards };
    let bench = Bench { shards, ..bench.clone() };
    let title = format!("P10: {} idle connections that have said EHLO", grouped(connections.into()));
    print!("{}", table::heading(&title, &bench, &[]));
    let mut progress = Progress::new();
    progress.expect(rounds);
    let mut weights = Vec::new();
    for round in 1..=rounds {
        progress.step(&format!("round {round} of {rounds}: opens and closes connections"));
        weights.push(weigh(&bench, connections)?);
    }
    progress.clear();
    println!("{rounds} rounds, a fresh ringmx each; every connection was still answered at the end\n");
    println!("{:<24} {:>28} {:>20} {:>20}", "each connection", "octets", "goal", "stretch");
    for (name, of, is_judged) in [
        ("RssAnon", (|weight: &Weight| weight.anonymous) as fn(&Weight) -> f64, true),
        ("VmRSS", |weight: &Weight| weight.all, false),
    ] {
        let Some(spread) = Spread::of(weights.iter().map(of)) else { continue };
        let verdict = |bound: f64| match is_judged {
            true => format!("≤ {bound:.0} {}", if spread.median <= bound { "met" } else { "missed" }),
            false => String::new(),
        };
        println!("{name:<24} {:>28} {:>20} {:>20}", format!("{spread:.0}"), verdict(GOAL), verdict(STRETCH));
    }
    println!("median (least–most); growth of the process's own resident memory, RssAnon, is the figure");
    if options.small {
        println!("\nA small run checks that connections are held; its figures mean nothing.");
    }
    Ok(())
}

/// What each connection has added to a server's memory, in octets.
struct Weight {
    anonymous: f64,
    all: f64,
}

fn weigh(bench: &Bench, connections: u32) -> Result<Weight, Failure> {
    let server = Server::ringmx(&bench.engine, bench.shards, true)?;
    let address: SocketAddr = server.address();
    let look = || Resident::of(server.pid()).map_err(Failure::while_doing("cannot read the server's memory"));
    let before = look()?;
    let held = Held::open(address, connections, bench.shards, "")?;
    thread::sleep(HOLD);
    let now = look()?;
    held.release()?;
    let counted = server.stop(0)?;
    if counted.messages != 0 || !counted.complaints.is_empty() {
        return Err(Failure::Disagreement(format!("{}: {counted:?}", Scenario::P10.name())));
    }
    Ok(Weight {
        anonymous: each(before.anonymous, now.anonymous, connections),
        all: each(before.all, now.all, connections),
    })
}
