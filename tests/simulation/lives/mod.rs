//! The spool as a whole, through kills and power cuts: what was acknowledged comes to its sinks.
//!
//! One seed is several lives of one spool: the production intake with its log, the steward, and for each sink the production deliveries,
//! reader, cursor, settlement and deferred mail, on a disk in memory that fails and loses power ([`crate::simulation::disk`]). A life ends in order, by a kill
//! or a power cut, at any turn; the next begins with recovery. In the last nothing fails, and sinks take all.
//!
//! What is configured may be another in each life: the length of segments, and the delays of what is tried again.
//!
//! Held against a ledger outside: each message that was acknowledged came to each of its recipients, or was refused by the sink for good and
//! lies there still, as the tools find it; octet for octet, with its manifest; none that was never sent to its end; none twice within a life. Duplicates after a crash are counted. Memory
//! stays in its bound and comes back, and so do segments.

mod house;
mod ledger;
mod sinks;

use std::ops::ControlFlow;
use std::sync::OnceLock;

use super::mutants::Deliberate;
use super::quietly::quietly;
use super::{TOLD_MOST, setting};
use crate::mutant::Mutant;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{DiskFaults, SimDisk};
use crate::spool::tools::filter::Filter;
use crate::spool::tools::message::State;
use crate::spool::tools::survey::Survey;
use house::{End, House};
use ledger::{Ledger, Tally};
use sinks::SinkPlan;

/// Seeds of each run of the test suite.
const SEEDS: u64 = 50;

/// Turns after which what has not come never will: many times the most that was seen.
const TURNS_MOST: u32 = 5_000;

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    segment_octets: u64,
    blocks: usize,
    letters: usize,
    slots: u32,
    lives: u32,
    faults: DiskFaults,
    hangs: u8,
    aborts: u8,
    is_large: u8,
    clients: usize,
    delays_s: Vec<u32>,
    sinks: [SinkPlan; 2],
}

impl Plan {
    fn new(chance: &mut Chance) -> Self {
        let often = |chance: &mut Chance, percent: u8| if chance.percent(50) { 0 } else { percent };
        let faults = DiskFaults {
            write_fails: often(chance, 2),
            short_write: often(chance, 2),
            sync_fails: often(chance, 3),
            full: often(chance, 5),
            ..DiskFaults::default()
        };
        let sink = |chance: &mut Chance| SinkPlan {
            later: *chance.pick(&[0, 0, 20, 60]),
            never: *chance.pick(&[0, 0, 10]),
            stops: *chance.pick(&[0, 1, 10]),
            batch: *chance.pick(&[1, 8, 64]),
        };
        Self {
            segment_octets: *chance.pick(&SEGMENTS),
            blocks: *chance.pick(&[8, 16, 40]),
            letters: *chance.pick(&[2, 8, 64]),
            slots: *chance.pick(&[1, 4, 12]),
            lives: chance.between(1, 4) as u32,
            faults,
            hangs: often(chance, 2),
            aborts: *chance.pick(&[0, 10]),
            is_large: *chance.pick(&[0, 30]),
            clients: *chance.pick(&[2, 6, 20]),
            delays_s: chance.pick(&DELAYS_S).to_vec(),
            sinks: [sink(chance), sink(chance)],
        }
    }

    /// As it is configured for another life: mostly as before.
    fn changed(&self, chance: &mut Chance) -> Self {
        let mut plan = self.clone();
        if chance.percent(30) {
            plan.segment_octets = *chance.pick(&SEGMENTS);
        }
        if chance.percent(30) {
            plan.delays_s = chance.pick(&DELAYS_S).to_vec();
        }
        plan
    }
}

const SEGMENTS: [u64; 3] = [320 << 10, 512 << 10, 1 << 20];
const DELAYS_S: [&[u32]; 3] = [&[5, 20, 60], &[1], &[30, 600]];

/// All contents are pieces of it.
fn text() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut chance = Chance::new(1);
        (0..1 << 19).flat_map(|_| chance.draw().to_le_bytes()).collect()
    })
}

fn run(seed: u64) -> Result<Tally, String> {
    quietly(|| live(seed)).unwrap_or_else(Err)
}

fn live(seed: u64) -> Result<Tally, String> {
    let chance = Chance::new(seed);
    let plan = Plan::new(&mut chance.of("plan", 0));
    let mut ledger = Ledger::default();
    let mut cuts = chance.of("cuts", 0);
    let mut disk = SimDisk::new(chance.of("disk", 0).draw());
    let mut now_ms = 1_000_000;
    for life in 1..=plan.lives {
        let plan = plan.changed(&mut chance.of("changes", life.into()));
        let mut house =
            House::start(&plan, life, &chance, &disk, now_ms).map_err(|error| format!("life {life}: {error}"))?;
        disk.set_plan(plan.faults.plan(chance.of("faults", life.into())));
        for _ in 0..cuts.between(5, 100) {
            now_ms += cuts.between(0, 300);
            if cuts.percent(2) {
                now_ms += cuts.between(0, 60_000);
            }
            house.turn(&mut ledger, now_ms, plan.clients).map_err(|why| format!("life {life}: {why}"))?;
        }
        house.check_findings()?;
        let end = *cuts.pick(&[End::Stop, End::Kill, End::PowerCut, End::PowerCut]);
        disk = house.end_life(end, &mut cuts);
        disk.set_plan(DiskFaults::default().plan(chance.of("none", 0)));
        ledger.tally.lives += 1;
    }
    finish(&plan, &chance, &disk, &mut ledger, now_ms)?;
    Ok(ledger.tally)
}

/// Nothing fails any more, and everything that is owed comes.
fn finish(plan: &Plan, chance: &Chance, disk: &SimDisk, ledger: &mut Ledger, mut now_ms: u64) -> Result<(), String> {
    let life = plan.lives + 1;
    let plan = plan.changed(&mut chance.of("changes", life.into()));
    let plan = Plan { hangs: 0, aborts: 0, is_large: 0, ..plan };
    let mut house =
        House::start(&plan, life, chance, disk, now_ms).map_err(|error| format!("the last life: {error}"))?;
    house.sinks.iter_mut().for_each(|sink| sink.hurries = true);
    let mut idle = 0;
    for turn in 0..TURNS_MOST {
        // Something comes, so that what was before is left behind.
        let clients = if turn < 20 { 6 } else { 0 };
        if turn == 20 {
            house.hang_up();
        }
        let before = ledger.tally.deliveries;
        now_ms += if turn % 4 == 0 { 5_000 } else { 50 };
        house.turn(ledger, now_ms, clients).map_err(|why| format!("the last life: {why}"))?;
        idle = if ledger.tally.deliveries == before && turn > 20 { idle + 1 } else { 0 };
        let waits = house.sinks.iter().any(|sink| sink.settlement.deferred().waiting_for_retry().messages > 0);
        if idle > 60 && !waits {
            break;
        }
    }
    find_dead(disk, ledger)?;
    if let Some(missing) = ledger.missing() {
        return Err(missing);
    }
    house.check_findings()?;
    let in_use = house.keeping.figures().lock().map_or(0, |figures| figures.logs[0].in_use);
    // What the last messages needed, until others come.
    if in_use > 5 {
        return Err(format!("nobody needs anything, and {in_use} segments are in use"));
    }
    // One that is written to by the gather, and two by the log.
    let used = house.used();
    if used > 3 { Err(format!("nobody has anything, and {used} blocks are in use")) } else { Ok(()) }
}

/// What lies there that was refused for good, as an operator's tools find it.
fn find_dead(disk: &SimDisk, ledger: &mut Ledger) -> Result<(), String> {
    let survey = Survey { storage: disk, spool: house::SPOOL.into(), node: house::NODE };
    let filter = Filter { states: vec![State::Dead], ..Filter::default() };
    let mut found = Ok(());
    let looked = survey.messages(&filter, &mut |_, _| (), &mut |message| {
        let sink = message.recipients().next().map(|(_, sink)| sink.to_owned());
        let route = (0..).zip(house::SINKS).find(|(_, name)| sink.as_deref() == Some(*name)).map(|(route, _)| route);
        let recipients = message.recipients().map(|(recipient, _)| recipient.path);
        found = survey.content(&message).map_err(|error| format!("{}: {error}", message.id())).and_then(|content| {
            ledger.lies_dead(route.ok_or("of no sink")?, (message.id(), &content), text(), recipients)
        });
        if found.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    looked.map_err(|error| error.to_string())?;
    found
}

fn run_all(first: u64, count: u64) -> (Tally, Vec<(u64, String)>) {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
    let share = |thread: u64| {
        let (mut tally, mut faults) = (Tally::default(), Vec::new());
        for seed in (first + thread..first + count).step_by(threads as usize) {
            match run(seed) {
                Ok(more) => tally = tally.plus(more),
                Err(why) => faults.push((seed, why)),
            }
            if faults.len() == TOLD_MOST {
                break;
            }
        }
        (tally, faults)
    };
    let shares: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
    });
    let (mut all, mut faults) = (Tally::default(), Vec::new());
    for (tally, others) in shares {
        all = all.plus(tally);
        faults.extend(others);
    }
    (all, faults)
}

#[test]
fn what_was_acknowledged_comes() {
    let (first, count) = (setting("SIMULATION_FIRST").unwrap_or(0), setting("SIMULATION_LIVES").unwrap_or(SEEDS));
    let begin = std::time::Instant::now();
    let (tally, faults) = run_all(first, count);
    let mut report = String::new();
    for (seed, why) in faults.iter().take(TOLD_MOST) {
        report += &format!("\ntests/simulation/run --lives --seed {seed}\n  {why}\n");
    }
    assert!(faults.is_empty(), "{report}");
    println!("{count} seeds from {first} are clean, in {:.1?}: {tally:?}", begin.elapsed());
    let Tally { again, unasked, retried, dead, .. } = tally;
    assert!([again, unasked, retried, dead].iter().all(|count| *count > 0), "it has gone blind: {tally:?}");
}

/// Each with the number of seeds within which it is seen.
const MUTANTS: &[Deliberate] = &[
    (Mutant::SpoolAnswersBeforeDurable, 0, 50),
    (Mutant::SpoolForgetsBeginning, 0, 200),
    (Mutant::RecoveryTruncates, 4, 200),
    (Mutant::ForgetsSettled, 0, 50),
];

#[test]
fn mutants_are_caught() {
    super::mutants::are_caught(MUTANTS, |seed| run(seed).map(drop));
}

#[test]
#[ignore = "wants a seed: tests/simulation/run --lives --seed N"]
fn replay() {
    let seed = setting("SIMULATION_SEED").expect("SIMULATION_SEED is the seed");
    println!("{:#?}", Plan::new(&mut Chance::new(seed).of("plan", 0)));
    let result = run(seed);
    println!("seed {seed}: {result:?}");
    assert!(result.is_ok());
}
