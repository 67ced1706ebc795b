//! A power cut, or a disk that fails, at any point.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::house::{self, Fate, House, ROOT};
use super::lying::{Lying, lying};
use crate::simulation::chance::Chance;
use crate::simulation::disk::{self, DiskFaults, SimDisk, What};
use crate::spool::format::segment_number;
use crate::spool::storage::{EntryKind, Storage};
use rustix::io::Errno;

fn fates(chance: &mut Chance) -> Vec<Fate> {
    let of = |chance: &mut Chance| match chance.below(10) {
        0..=4 => Fate::TakenAt(1 + chance.below(6) as u32),
        5 | 6 => Fate::TakenAt(1),
        7 => Fate::RefusedAt(1 + chance.below(4) as u32),
        _ => Fate::Never,
    };
    if chance.percent(5) {
        return vec![Fate::Panics];
    }
    (0..chance.between(1, 3)).map(|_| of(chance)).collect()
}

fn octets(chance: &mut Chance) -> usize {
    match chance.below(20) {
        0 => 0,
        1 => chance.between(60_000, 200_000) as usize,
        2..=6 => chance.between(5_000, 30_000) as usize,
        _ => chance.between(1, 4_000) as usize,
    }
}

/// Posts and delivers for some turns; a message or more each.
fn live(house: &mut House, chance: &mut Chance, turns: usize) {
    for _ in 0..turns {
        for _ in 0..chance.below(6) {
            let (octets, fates) = (octets(chance), fates(chance));
            house.post(octets, &fates);
        }
        house.turn(chance.between(1, 8) as usize, chance.below(8));
        house.now_ms += chance.between(0, 6_000);
    }
}

#[test]
fn without_trouble_each_recipient_has_it_once() {
    for seed in house::seeds(15) {
        let mut chance = Chance::new(seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        live(&mut house, &mut chance, 60);
        house.run_dry();
        house.check();
        assert_eq!(house.settlement.deferred().damages(), 0);
    }
}

#[test]
fn a_restart_without_a_cut_repeats_nothing() {
    for seed in house::seeds(15) {
        let mut chance = Chance::new(1000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        for _ in 0..8 {
            live(&mut house, &mut chance, 10);
            let disk = house.disk.clone();
            house.restart(disk);
        }
        house.run_dry();
        house.check();
        assert_eq!(house.settlement.deferred().damages(), 0);
    }
}

/// From the call of this number on every call fails, as far as this process sees any more.
fn cut_at(house: &House, call: u64) {
    let mut calls = 0;
    house.disk.set_plan(move |_| {
        calls += 1;
        if calls > call { disk::Fate::Fails(Errno::IO) } else { disk::Fate::Done }
    });
}

/// Goes on until the disk is gone; what was under way may come twice.
fn until_cut(house: &mut House, chance: &mut Chance) {
    for _ in 0..10_000 {
        for _ in 0..chance.below(6) {
            let (octets, fates) = (octets(chance), fates(chance));
            house.post(octets, &fates);
        }
        let Ok(mut batch) = house.take(chance.between(1, 8) as usize, chance.below(8)) else { return };
        let mut plan = house.deliver(&mut batch);
        if house.settle(&batch, &mut plan).is_err() {
            return house.doubt(&batch);
        }
        house.now_ms += chance.between(0, 6_000);
    }
    panic!("the disk never failed");
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_and_invents_nothing() {
    let mut doubled = 0;
    for seed in house::seeds(40) {
        let mut chance = Chance::new(2000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        for _ in 0..chance.between(1, 6) {
            cut_at(&house, chance.below(150) as u64);
            until_cut(&mut house, &mut chance);
            let after = house.disk.power_cut(&mut chance);
            house.restart(after);
            // A crash while it starts is one more.
            assert_eq!(house.settlement.deferred().damages(), 0, "seed {seed}");
        }
        house.run_dry();
        house.check();
        assert_eq!(house.settlement.deferred().damages(), 0, "seed {seed}");
        doubled += house.posted.values().flat_map(|posted| &posted.delivered).filter(|times| **times > 1).count();
    }
    assert!(doubled > 0, "the test cuts between delivery and settlement, too");
}

/// What a bit costs at most.
#[derive(Default)]
struct Rot {
    /// Messages that may be lost, if it is told that something is.
    told: BTreeSet<u64>,
    /// Those that may be lost all the same: the part of a batch after which its class had no other looks as if it had been torn.
    untold: BTreeSet<u64>,
    /// It was where a segment says what it is, and what is void.
    is_of_beginning: bool,
}

/// The segments of each class, in order.
fn segments(disk: &SimDisk) -> Vec<Vec<PathBuf>> {
    let root = Path::new(ROOT).join("store-0");
    let directories = disk.entries(&root).unwrap().into_iter().filter(|entry| entry.kind == EntryKind::Directory);
    let of = |directory: PathBuf| {
        let names = disk.entries(&directory).unwrap().into_iter().map(|entry| entry.name);
        let mut names: Vec<_> = names.filter(|name| name.to_str().and_then(segment_number).is_some()).collect();
        names.sort();
        names.into_iter().map(|name| directory.join(name)).collect::<Vec<_>>()
    };
    let classes = directories.map(|entry| of(root.join(entry.name)));
    classes.filter(|segments| !segments.is_empty()).collect()
}

/// Turns a bit of some block of some segment of some class.
fn rot(disk: &SimDisk, chance: &mut Chance) -> Rot {
    let mut rot = Rot::default();
    let classes = segments(disk);
    if classes.is_empty() {
        return rot;
    }
    let class = &classes[chance.below(classes.len())];
    // The last one more often than others.
    let place = if chance.percent(60) { class.len() - 1 } else { chance.below(class.len()) };
    let all: Vec<Vec<Lying>> = class.iter().map(|path| lying(disk, path)).collect();
    let blocks = &all[place];
    if blocks.is_empty() {
        return rot;
    }
    let spoilt = chance.below(blocks.len());
    let Lying { at, length, sequence, .. } = blocks[spoilt];
    disk.flip(&class[place], at * 8 + chance.below(length as usize * 8) as u64);
    rot.is_of_beginning = at == 0;
    let is_told = place + 1 < class.len() || blocks.iter().any(|block| block.durable_upto > sequence);
    let (gone, names) =
        if is_told { (spoilt..=spoilt, &mut rot.told) } else { (spoilt..=blocks.len() - 1, &mut rot.untold) };
    let numbers: BTreeSet<u64> = blocks[gone].iter().flat_map(|block| block.messages.iter().copied()).collect();
    let ends = all.iter().flatten().flat_map(|block| &block.ends);
    names.extend(ends.filter(|(number, _)| numbers.contains(number)).map(|(_, name)| *name));
    rot
}

#[test]
fn a_bit_that_turns_between_two_lives_costs_what_lay_there_and_is_told() {
    let (mut lost_and_told, mut lost_untold) = (0, 0);
    for seed in house::seeds(60) {
        let mut chance = Chance::new(5000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        let (mut told, mut untold, mut is_told) = (BTreeSet::new(), BTreeSet::new(), false);
        for _ in 0..chance.between(1, 5) {
            let after = if chance.percent(50) {
                cut_at(&house, chance.below(200) as u64);
                until_cut(&mut house, &mut chance);
                house.disk.power_cut(&mut chance)
            } else {
                let turns = chance.between(1, 25) as usize;
                live(&mut house, &mut chance, turns);
                house.disk.clone()
            };
            is_told |= house.settlement.deferred().damages() > 0;
            let rot = rot(&after, &mut chance);
            for number in rot.told.iter().chain(&rot.untold) {
                house.posted.get_mut(number).unwrap().may_be_removed = true;
            }
            told.extend(rot.told);
            untold.extend(rot.untold);
            if rot.is_of_beginning {
                // What was void may be taken for mail: it has its place elsewhere, too.
                house.posted.values_mut().for_each(|posted| posted.may_double = true);
            }
            house.restart(after);
        }
        house.run_dry();
        // What waits for the operator was not read before, but for what is last.
        let lost = house.check();
        is_told |= house.settlement.deferred().damages() > 0;
        for number in lost {
            assert!(told.contains(&number) || untold.contains(&number), "seed {seed}: {number} is lost");
            assert!(is_told || untold.contains(&number), "seed {seed}: nobody says that {number} is lost");
            *(if untold.contains(&number) { &mut lost_untold } else { &mut lost_and_told }) += 1;
        }
    }
    assert!(lost_and_told > 0 && lost_untold > 0, "the test sees both: {lost_and_told} {lost_untold}");
}

#[test]
fn every_call_can_be_the_last() {
    // One small history, cut before each of its calls, until it comes to its end.
    for call in 0.. {
        let disk = SimDisk::new(7);
        let mut options = house::options(&disk, &[5, 10]);
        options.retry.lifetime_s = 40;
        let mut house = House::with(options, disk);
        for number in 0..8 {
            house.post(
                700 * (1 + number % 5) * (1 + 9 * (number % 3)),
                &[Fate::TakenAt(1 + number as u32 % 4), Fate::Never],
            );
        }
        cut_at(&house, call);
        let mut is_cut = false;
        for _ in 0..8 {
            let Ok(mut batch) = house.take(4, 3) else {
                is_cut = true;
                break;
            };
            let mut plan = house.deliver(&mut batch);
            if house.settle(&batch, &mut plan).is_err() {
                house.doubt(&batch);
                is_cut = true;
                break;
            }
            house.now_ms += 3_000;
        }
        if !is_cut {
            assert!(call > 50, "{call}");
            return;
        }
        for cut in 0..2 {
            let mut chance = Chance::new(call * 3 + cut);
            let mut after = house.restarted(house.disk.power_cut(&mut chance));
            after.run_dry();
            after.check();
        }
    }
}

#[test]
fn a_disk_that_fails_now_and_then_loses_nothing() {
    let (mut failures, seeds) = (0_u64, house::seeds(25));
    for seed in seeds.clone() {
        let mut chance = Chance::new(3000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        let faults = DiskFaults { write_fails: 4, sync_fails: 4, short_write: 2, read_fails: 0, full: 10 };
        house.disk.set_plan(faults.plan(chance.of("disk", seed)));
        for _ in 0..60 {
            for _ in 0..chance.below(6) {
                let (octets, fates) = (octets(&mut chance), fates(&mut chance));
                house.post(octets, &fates);
            }
            let Ok(mut batch) = house.take(8, 4) else {
                failures += 1;
                continue;
            };
            let mut plan = house.deliver(&mut batch);
            // It waits until it is done, as a worker does.
            let mut tries = 0;
            while house.settle(&batch, &mut plan).is_err() {
                (tries, failures) = (tries + 1, failures + 1);
                assert!(tries < 1000);
            }
            house.now_ms += chance.between(0, 6_000);
            if chance.percent(3) {
                let after = house.disk.power_cut(&mut chance);
                // What was not synced, or not truly, may be there all the same.
                house.posted.values_mut().for_each(|posted| posted.may_double = true);
                house.restart(after);
                house.disk.set_plan(faults.plan(chance.of("disk again", seed)));
            }
        }
        house.disk.set_plan(|_| disk::Fate::Done);
        house.run_dry();
        house.check();
    }
    assert!(failures > 4 * seeds.end, "{failures}");
}

#[test]
fn a_full_disk_keeps_mail_where_it_is_and_lets_what_is_there_go() {
    let mut house = House::new(1, &[5, 10]);
    for _ in 0..40 {
        house.post(3_000, &[Fate::TakenAt(2)]);
    }
    while house.turn(0, 8) > 0 {}
    house.now_ms += 6_000;
    // From now on nothing can be made.
    house.disk.set_plan(|call| match call.what {
        What::Create => disk::Fate::Fails(Errno::NOSPC),
        _ => disk::Fate::Done,
    });
    // What waits goes: for that no room is needed.
    while house.turn(8, 0) > 0 {}
    assert_eq!(house.settlement.deferred().waiting_for_retry().messages, 0);
    // The segments that it had are there for others; when they are full nothing more is taken, and nothing is lost.
    let mut refused = None;
    for _ in 0..200 {
        house.post(3_000, &[Fate::TakenAt(2)]);
        let mut batch = house.take(0, 1).unwrap();
        let mut plan = house.deliver(&mut batch);
        if let Err(error) = house.settle(&batch, &mut plan) {
            refused = Some((error.is_full(), batch, plan));
            break;
        }
    }
    let (is_full, batch, mut plan) = refused.expect("the disk is full");
    assert!(is_full);
    let last = *house.posted.keys().last().unwrap();
    assert!(house.posted[&last].is_in_log);
    // With room again the same batch is settled.
    house.disk.set_plan(|_| disk::Fate::Done);
    house.settle(&batch, &mut plan).unwrap();
    drop(batch);
    house.run_dry();
    house.check();
}

#[test]
fn a_move_from_class_to_class_needs_no_room() {
    let mut house = House::new(1, &[5, 10, 20]);
    for _ in 0..60 {
        house.post(3_000, &[Fate::TakenAt(4)]);
    }
    while house.turn(0, 8) > 0 {}
    // The next class has its first segment, and there is one to spare.
    house.now_ms += 6_000;
    house.turn(8, 0);
    house.disk.set_plan(|call| match call.what {
        What::Create => disk::Fate::Fails(Errno::NOSPC),
        _ => disk::Fate::Done,
    });
    while house.turn(8, 0) > 0 {}
    house.disk.set_plan(|_| disk::Fate::Done);
    house.run_dry();
    house.check();
}
