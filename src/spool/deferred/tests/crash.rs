//! A power cut, or a disk that fails, at any point.

use super::house::{self, Fate, House};
use crate::simulation::chance::Chance;
use crate::simulation::disk::{self, DiskFaults, SimDisk, What};
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
