//! `through`: the generator loads a server that relays to a sink of ours, and each message is followed to its arrival there.
//!
//! `stamp` is what a message carries to be known again · `track` where each one is · `catcher` the sink, on our own engine's
//! shards, in this process · `times` what shards time · `watch` looks on and waits · `deliveries` what it comes to · `report` how
//! it is told. *Invariants*: generator and sink read the same clock. Nothing that the server took over is left out of judgement
//! but by an end before its time, and then nothing is said to be lost. *Does not* start the server, or know what it is.

pub mod arguments;
mod catcher;
mod deliveries;
mod report;
pub mod stamp;
mod times;
mod track;
mod watch;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use ringmx::config::{Plan as EnginePlan, Protocol, SinkOptions};
use ringmx::engine::Engine;
use ringmx::shard::slots_for;

use crate::failure::Failure;
use crate::generate::assertion::Assertion;
use crate::generate::plan::{Plan, random_seed};
use crate::generate::{self, End, Measured};
use crate::measure::descriptors;
use arguments::ThroughArguments;
use catcher::{Arrivals, Catcher};
use deliveries::Deliveries;
use track::Track;
use watch::{LOOK, Watch};

/// Descriptors beside those of a shard's connections.
const DESCRIPTORS_SPARE: u64 = 256;

/// How long sessions of the sink may take to end: those that are left are idle, or too late.
const GOODBYE: Duration = Duration::from_millis(200);

/// The command `through`.
pub fn run(options: &ThroughArguments) -> Result<(), Failure> {
    let load = &options.load;
    if load.find_max || load.abort_on.iter().any(Assertion::is_of_delivery) {
        return Err(Failure::Usage(
            "`through` has no --find-max, and --abort-on knows the counts of `run` only".to_owned(),
        ));
    }
    let run = random_seed();
    let (plan, track) = plan(options, run)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(Failure::while_doing("cannot listen for signals"))?;
    }
    let (mut engine, shards) = start_sink(options, run, &track, &plan)?;
    if load.json.as_deref() != Some(Path::new("-")) && !load.once {
        let addresses: Vec<String> = engine.listening().map(|(_, address)| address.to_string()).collect();
        let protocol = if options.sink_lmtp { "LMTP" } else { "SMTP" };
        println!("sink {}, {protocol}, {} shards, run {run:016x}", addresses.join(" "), shards.len());
        print!("{}", generate::report::heading(&plan));
        // Who starts the server when the sink is there waits for this line.
        let _ = std::io::stdout().flush();
    }
    let mut watch = Watch::new(&track, &shards, load)?;
    let measured = inject(&plan, options, &mut watch)?;
    let is_whole = measured.1 == End::Done && watch.drain(options.drain_patience, &interrupted)?;
    // The sink's threads end before they are asked for the last time.
    engine.drain(GOODBYE);
    engine.join();
    watch.finish()?;
    let deliveries = Deliveries::new(&track, &shards, watch.backlog_most, !is_whole);
    conclude(&plan, options, measured, &deliveries, run)
}

/// What the generator does, and where it is written down.
fn plan(options: &ThroughArguments, run: u64) -> Result<(Plan, Arc<Track>), Failure> {
    let mut plan = Plan::new(&options.load)?;
    let recipients_most = plan.recipients_most();
    let capacity = Track::capacity(recipients_most);
    if let Some(messages) = plan.messages.filter(|messages| *messages > capacity) {
        return Err(Failure::Usage(format!(
            "{messages} messages to up to {recipients_most} recipients are too many to be followed: {capacity} are not"
        )));
    }
    let messages = *plan.messages.get_or_insert(capacity);
    let track = Arc::new(Track::new(messages, recipients_most));
    plan.stamp = Some(run);
    plan.witness = Some(track.clone());
    Ok((plan, track))
}

/// The engine that the server relays to.
fn start_sink(
    options: &ThroughArguments,
    run: u64,
    track: &Arc<Track>,
    load: &Plan,
) -> Result<(Engine, Vec<Arc<Arrivals>>), Failure> {
    let plan = EnginePlan::sink(SinkOptions {
        binds: options.sink.clone(),
        protocol: if options.sink_lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        shards: options.sink_shards,
        connections_per_shard: options.sink_connections,
        discards_mail: options.discards_mail,
        // Who has received it is known by the envelope alone.
        keeps_envelope: true,
        ..SinkOptions::default()
    })
    .map_err(|error| Failure::Usage(error.to_string()))?;
    descriptors::raise(u64::from(slots_for(plan.connections_per_shard())) + DESCRIPTORS_SPARE)?;
    let shards: Vec<Arc<Arrivals>> = (0..plan.shards().get()).map(|_| Arc::new(Arrivals::new())).collect();
    let places: Arc<[u32]> = load.people.places().into();
    let catcher = |shard: u16| Catcher::new(run, track.clone(), places.clone(), shards[usize::from(shard)].clone());
    let engine =
        Engine::start_with(plan, false, catcher).map_err(|error| Failure::Unavailable(format!("--sink: {error}")))?;
    Ok((engine, shards))
}

/// Lets the generator run, and looks on.
fn inject(plan: &Plan, options: &ThroughArguments, watch: &mut Watch<'_>) -> Result<Measured, Failure> {
    let mut load = options.load.clone();
    // The lines of each second are told by who looks on.
    load.ndjson = None;
    thread::scope(|scope| {
        let generator = thread::Builder::new()
            .name("load".to_owned())
            .spawn_scoped(scope, || generate::measure(plan, &load))
            .map_err(Failure::while_doing("cannot start a thread"))?;
        let mut looked = Ok(());
        while !generator.is_finished() {
            if looked.is_ok() {
                looked = watch.look().map(drop);
            }
            thread::sleep(LOOK);
        }
        let panicked = |_| Err(Failure::System("the generator has panicked".to_owned()));
        let measured = generator.join().unwrap_or_else(panicked)?;
        looked.map(|()| measured)
    })
}

/// Tells what it has come to, and whether that is what was asked for.
fn conclude(
    plan: &Plan,
    options: &ThroughArguments,
    measured: Measured,
    deliveries: &Deliveries,
    run: u64,
) -> Result<(), Failure> {
    let load = &options.load;
    let (mut figures, end, ledger) = measured;
    let verdict = deliveries.judge(options.allow_duplicates).and(ledger.into_result());
    figures.void = verdict.as_ref().err().map(Failure::to_string);
    let is_void = figures.void.is_some();
    let counts = figures.tally.counts;
    // An LMTP server may have taken such a message for some, and it may have it for all.
    let may_have = counts.undecided * u64::from(plan.recipients_most());
    figures.warnings.extend(deliveries.warnings(may_have));
    if Some(counts.offered) == plan.messages && load.messages.is_none() && !load.once {
        figures.warnings.push(format!("{} messages are as many as can be followed: no more were sent", counts.offered));
    }
    let words = match &verdict {
        Err(_) => "DISAGREES",
        Ok(()) if deliveries.is_partial => "not compared",
        Ok(()) => "agrees",
    };
    if let Some(path) = &load.json {
        let mut json = generate::report::json(plan, &mut figures, words, deliveries.is_partial);
        report::add_json(&mut json, deliveries, run, is_void);
        writeln!(generate::report::open(path)?, "{json}").map_err(Failure::while_doing("cannot write the report"))?;
    }
    if load.json.as_deref() != Some(Path::new("-")) && !plan.verbose {
        print!("{}", generate::report::table(&mut figures, words, deliveries.is_partial));
        print!("{}", report::table(deliveries, is_void));
    }
    match end {
        End::Aborted => {
            let conditions: Vec<String> = load.abort_on.iter().map(Assertion::to_string).collect();
            return Err(Failure::Aborted(conditions.join(", ")));
        }
        End::Gone => return Err(Failure::Unavailable(figures.gone.unwrap_or_default())),
        End::Done if !deliveries.is_partial => {}
        End::Done | End::Interrupted => return Err(Failure::Interrupted),
    }
    verdict?;
    if let Some(why) = figures.saturated {
        return Err(Failure::Saturated(why));
    }
    let (behind, own): (Vec<Assertion>, Vec<Assertion>) =
        load.assertions.iter().cloned().partition(Assertion::is_of_delivery);
    let failing = [figures.failing(&own), deliveries.failing(&behind)].concat();
    if failing.is_empty() { Ok(()) } else { Err(Failure::Assertion(failing.join("; "))) }
}
