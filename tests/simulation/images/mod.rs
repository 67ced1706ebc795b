//! Power cuts under the production writer: what is on the disk at any moment is recovered, and holds what was acknowledged.
//!
//! One seed is one life of a log: the writer that ships, on a disk in memory that loses power ([`crate::simulation::disk`]), with segments
//! from the production steward, and a random load; over several starts, each after a kill or a power cut. At any moment the power may
//! go: what is then on the disk, torn as chance will, is an *image*, which the production recovery reads.
//!
//! Held against a ledger outside: each message that was answered is there, octet for octet, unless a reader has dealt with it; none that was
//! never sent to its end; none altered, none twice. What was refused, or not answered, may be there whole, and is counted.

mod desk;
mod ledger;

use std::path::Path;

use super::mutants::Deliberate;
use super::quietly::quietly;
use super::{TOLD_MOST, setting};
use crate::mutant::Mutant;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{DiskFaults, SimDisk};
use crate::spool::recovery::Recovered;
use crate::spool::storage::Storage;
use desk::{Desk, Plan, note_shown};
use ledger::{DIRECTORY, Ledger, Shown, Tally};

/// Images of each run of the test suite.
const IMAGES: u64 = 1_500;

/// Runs a seed. Says what is wrong, if anything is; a panic is a fault like another.
fn run(seed: u64) -> Result<Tally, String> {
    quietly(|| live(seed, false)).unwrap_or_else(Err)
}

fn live(seed: u64, traces: bool) -> Result<Tally, String> {
    let chance = Chance::new(seed);
    let plan = Plan::new(&mut chance.of("plan", 0));
    let mut ledger = Ledger::new();
    let mut cuts = chance.of("cuts", 0);
    let mut disk = SimDisk::new(chance.of("disk", 0).draw());
    disk.make_directory(Path::new(DIRECTORY)).map_err(|error| error.to_string())?;
    let mut recovered = Recovered { next_sequence: 1, next_base: 1 << 30, ..Recovered::default() };
    for epoch in 1..=plan.epochs {
        disk.set_plan(plan.faults.plan(chance.of("faults", epoch.into())));
        let mut desk = Desk::new(&plan, chance.of("desk", epoch.into()), &disk, epoch, &recovered, &ledger);
        desk.traces = traces;
        let mut image = |disk: &SimDisk, ledger: &mut Ledger| {
            let entropy = cuts.draw() as u32 % 64;
            let image = disk.power_cut(&mut cuts);
            let (recovered, shown) = ledger.check(&image, epoch + 1, entropy)?;
            if cuts.percent(20) {
                turn_a_bit(&image, &recovered, (ledger, &shown), epoch + 1, &mut cuts)
            } else {
                Ok(())
            }
        };
        for _ in 0..plan.turns {
            desk.turn(&mut ledger, &mut image)?;
        }
        let has_power = desk.chance.percent(40);
        if has_power {
            desk.kill(&mut ledger);
            disk.set_plan(DiskFaults::default().plan(chance.of("none", 0)));
        } else {
            disk = disk.power_cut(&mut cuts);
        }
        let (next, shown) = ledger.check(&disk, epoch + 1, cuts.draw() as u32 % 64)?;
        // What a failed write has left in memory nobody can make last.
        note_shown(&mut ledger, &shown, !has_power || plan.faults == DiskFaults::default());
        recovered = next;
    }
    Ok(ledger.tally)
}

/// In a message that is known to have been on stable storage when something behind it was written. Of what was last written that cannot be
/// known: a bit that turns there looks like a torn tail.
fn turn_a_bit(
    image: &SimDisk,
    recovered: &Recovered,
    (ledger, shown): (&mut Ledger, &Shown),
    epoch: u32,
    chance: &mut Chance,
) -> Result<(), String> {
    let known: Vec<_> = shown.values().filter(|message| message.sequence < recovered.durable_upto).collect();
    if known.is_empty() {
        return Ok(());
    }
    let message = *chance.pick(&known);
    let address = message.block + chance.below((message.behind - message.block) as usize) as u64;
    let files = recovered.files();
    let file = files.at(address).ok_or("a message that lies in no segment")?;
    let path = Path::new(DIRECTORY).join(crate::spool::format::segment_name(file.number));
    image.flip(&path, (address - file.base) * 8 + chance.below(8) as u64);
    ledger.check_flipped(image, epoch, (shown, address))
}

fn run_images(first: u64, images: u64) -> (u64, Tally, Vec<(u64, String)>) {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
    let shares: Vec<_> = std::thread::scope(|scope| {
        let share = |thread: u64| {
            let (mut seeds, mut tally, mut faults) = (0, Tally::default(), Vec::new());
            let mut seed = first + thread;
            while tally.images < images / threads && faults.len() < TOLD_MOST {
                match run(seed) {
                    Ok(more) => tally = tally.plus(more),
                    Err(why) => faults.push((seed, why)),
                }
                (seeds, seed) = (seeds + 1, seed + threads);
            }
            (seeds, tally, faults)
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
    });
    let (mut seeds, mut all, mut faults) = (0, Tally::default(), Vec::new());
    for (more, tally, others) in shares {
        seeds += more;
        all = all.plus(tally);
        faults.extend(others);
    }
    (seeds, all, faults)
}

#[test]
fn what_was_acknowledged_survives_the_power() {
    let (first, images) = (setting("SIMULATION_FIRST").unwrap_or(0), setting("SIMULATION_IMAGES").unwrap_or(IMAGES));
    let begin = std::time::Instant::now();
    let (seeds, Tally { images, found, unasked, flipped, hit }, faults) = run_images(first, images);
    let mut report = String::new();
    for (seed, why) in faults.iter().take(TOLD_MOST) {
        report += &format!("\ntests/simulation/run --images --seed {seed}\n  {why}\n");
    }
    assert!(faults.is_empty(), "{report}");
    println!("{images} images of {seeds} seeds from {first} are sound, in {:.1?}", begin.elapsed());
    println!("{found} messages found in them, of which {unasked} were refused or not answered");
    println!("a bit was turned in {flipped}, which was told of {hit}");
    assert!(images < IMAGES || (unasked > 0 && hit > 0 && found > 10 * images), "it has gone blind");
}

/// Each with the number of seeds within which it is seen.
const MUTANTS: &[Deliberate] = &[
    (Mutant::SpoolAnswersBeforeDurable, 0, 50),
    (Mutant::SpoolAnswersOutOfOrder, 0, 50),
    (Mutant::SpoolTrustsShortWrite, 2, 100),
    (Mutant::SpoolForgetsVoid, 11, 200),
    (Mutant::SpoolKeepsPartOfFailed, 0, 200),
    (Mutant::SpoolRetries, 12, 100),
    (Mutant::SpoolForgetsBeginning, 1, 100),
    (Mutant::SpoolClaimsVoid, 25, 100),
    (Mutant::RecoveryTakesTornTail, 0, 50),
    (Mutant::RecoveryForgetsVoids, 0, 50),
    (Mutant::RecoveryRevivesTail, 3, 100),
    (Mutant::RecoveryTruncates, 0, 50),
    (Mutant::RecoveryUsesAddressesAgain, 0, 100),
];

#[test]
fn mutants_are_caught() {
    super::mutants::are_caught(MUTANTS, |seed| run(seed).map(drop));
}

#[test]
#[ignore = "wants a seed: tests/simulation/run --images --seed N"]
fn replay() {
    let seed = setting("SIMULATION_SEED").expect("SIMULATION_SEED is the seed");
    println!("{:#?}", Plan::new(&mut Chance::new(seed).of("plan", 0)));
    let result = quietly(|| live(seed, true)).unwrap_or_else(Err);
    println!("seed {seed}: {result:?}");
    assert!(result.is_ok());
}
