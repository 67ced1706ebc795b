//! What an operator orders, at any moment, on any disk: nothing is lost by it but what was to be removed.

use rustix::io::Errno;

use super::house::{self, Fate, House, ROOT};
use crate::limits;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{self, DiskFaults, SimDisk};
use crate::spool::deferred::order::{self, Kinds, Order, Verb, copy_print};
use crate::spool::deferred::schedule::Kind;
use crate::spool::deferred::{Class, OrderCounts, done_with, gone_of};
use crate::spool::tools::hand::Hand;

const HOUR_MS: u64 = 3_600_000;

/// With so many messages that wait for hours, of which each is taken then.
fn waiting(messages: u64, octets: usize) -> House {
    let mut house = House::new(1, &[14_400]);
    for _ in 0..messages {
        house.post(octets, &[Fate::TakenAt(2)]);
    }
    while house.turn(0, 64) > 0 {}
    house
}

fn in_class(house: &House, class: Class) -> u64 {
    house.settlement.deferred().waiting_in(class).messages
}

fn delivered(house: &House) -> Vec<u64> {
    house.posted.iter().filter(|(_, posted)| posted.delivered[0] > 0).map(|(number, _)| *number).collect()
}

#[test]
fn what_is_held_is_not_tried_until_it_is_released_and_then_at_once() {
    let mut house = waiting(30, 2_000);
    assert!(house.order(Verb::Hold, (0..30).step_by(3)));
    let held = house.carry_all_out();
    assert_eq!(held, (0..30).step_by(3).map(|number| (Verb::Hold, number)).collect::<Vec<_>>());
    assert_eq!((in_class(&house, Class::Held), house.settlement.deferred().waiting_for_retry().messages), (10, 20));
    house.now_ms += 10 * HOUR_MS;
    while house.turn(64, 0) > 0 {}
    assert_eq!(delivered(&house), (0..30).filter(|number| number % 3 != 0).collect::<Vec<_>>());
    assert_eq!(house.settlement.deferred().waiting_for_retry().messages, 0);

    assert!(house.order(Verb::Release, [3, 27]));
    assert_eq!(house.carry_all_out(), [(Verb::Release, 3), (Verb::Release, 27)]);
    assert_eq!(house.turn(64, 0), 2, "now");
    assert_eq!(in_class(&house, Class::Held), 8);
    let disk = house.disk.clone();
    house.restart(disk);
    assert_eq!(in_class(&house, Class::Held), 8, "and no more after a restart");
    assert!(house.order(Verb::Release, 0..30));
    assert_eq!(house.carry_all_out().len(), 8);
    house.run_dry();
    house.check();
    let missed = house.settlement.deferred().order_counts();
    assert_eq!(missed, OrderCounts { missed: 22, doubled: 0 });
}

#[test]
fn what_waits_for_hours_is_tried_at_once_when_it_is_released() {
    let mut house = waiting(30, 2_000);
    assert!(house.order(Verb::Release, [12]));
    house.carry_all_out();
    assert_eq!((house.turn(64, 0), delivered(&house)), (1, vec![12]));
    house.run_dry();
    house.check();
}

#[test]
fn what_is_removed_is_gone_and_its_room_is_free() {
    let mut house = House::new(1, &[5]);
    for _ in 0..400 {
        house.post(3_000, &[Fate::RefusedAt(1)]);
    }
    while house.turn(0, 64) > 0 {}
    let octets = |house: &House| house.disk_octets()["dead"];
    let before = octets(&house);
    // The first one stays: without being written anew it would keep all that lies behind it.
    let removed: Vec<u64> = (0..400).filter(|number| number % 8 != 0).collect();
    assert!(house.order(Verb::Remove, removed.iter().copied()));
    assert_eq!(house.carry_all_out().len(), 350);
    for _ in 0..100 {
        house.now_ms += limits::DEFERRED_INBOX_MS;
        assert_eq!(house.carry_out().unwrap(), []);
    }
    assert_eq!(in_class(&house, Class::Dead), 50);
    assert!(octets(&house) <= before / 3, "{} of {before}", octets(&house));
    for _ in 0..2 {
        house.check();
        let dead = house.settlement.deferred_mut().dump(Class::Dead);
        assert_eq!(dead.len(), 50, "each once");
        assert!(dead.iter().all(|(taken, _)| taken.waited.as_ref().unwrap().code == 550), "as it was");
        let disk = house.disk.clone();
        house.restart(disk);
    }
    assert!(house.order(Verb::Remove, 0..400));
    assert_eq!(house.carry_all_out().len(), 50);
    assert_eq!(in_class(&house, Class::Dead), 0);
    assert_eq!(house.settlement.deferred().damages(), 0);
}

/// What is known of it is in few numbers, however much was ordered, once the class has been read past it.
#[test]
fn nothing_is_kept_in_memory_of_what_was_carried_out() {
    let resident = |messages: u64| {
        let mut house = waiting(messages, 500);
        let before = house.settlement.deferred().resident();
        assert!(house.order(Verb::Hold, (0..messages).step_by(2)));
        house.carry_all_out();
        assert!(house.order(Verb::Release, 0..messages));
        house.carry_all_out();
        house.run_dry();
        house.check();
        let gone = gone_of(&house.disk, &std::path::Path::new(ROOT).join("store-0"), 0xFEED);
        assert_eq!(gone, [], "nothing is noted any more");
        assert!(house.settlement.deferred().resident() <= before + limits::DEFERRED_SPARES);
    };
    resident(40);
    resident(700);
}

/// There is little room to note what is gone out of the middle: it is done when it comes to the head, and never tried.
#[test]
fn without_room_for_what_is_gone_orders_wait_and_hold_all_the_same() {
    let disk = SimDisk::new(1);
    let mut options = house::options(&disk, &[20]);
    options.sizes.gone_runs = 4;
    let mut house = House::with(options, disk);
    for _ in 0..60 {
        house.post(2_000, &[Fate::TakenAt(2)]);
        house.turn(0, 1);
        house.now_ms += 1_000;
        if house.posted.len() == 15 {
            assert!(house.order(Verb::Hold, (0..60).step_by(2).filter(|number| *number < 15)));
        }
    }
    let rest: Vec<u64> = (0..60).step_by(2).filter(|number| *number >= 15).collect();
    assert!(house.order(Verb::Hold, rest));
    for _ in 0..200 {
        house.turn(8, 0);
        house.now_ms += 500;
    }
    assert_eq!(house.order_files(), 0, "all is carried out");
    for (number, posted) in house.posted.iter().filter(|(_, posted)| posted.attempts > 1) {
        assert!(number % 2 == 1 || *number >= 15, "{number} was tried {} times", posted.attempts);
    }
    assert!(in_class(&house, Class::Held) >= 8, "{}", in_class(&house, Class::Held));
    // Every second one is released, and what is left is written anew for that.
    let mut held = in_class(&house, Class::Held);
    assert!(house.order(Verb::Release, (0..60).step_by(4)));
    for _ in 0..400 {
        house.turn(8, 0);
        house.now_ms += 500;
    }
    assert_eq!(house.order_files(), 0);
    assert!(in_class(&house, Class::Held) < held);
    held = in_class(&house, Class::Held);
    assert!(held > 0);
    assert!(house.order(Verb::Release, 0..60));
    for _ in 0..400 {
        house.turn(8, 0);
        house.now_ms += 500;
    }
    house.run_dry();
    house.check();
}

#[test]
fn what_is_no_order_is_refused_and_kept() {
    let mut house = waiting(3, 500);
    let inbox = std::path::Path::new(ROOT).join("store-0/inbox");
    let orders = [Order { id: house::id(1), verb: Verb::Remove, kinds: Kinds::of(Verb::Remove.kinds()), copy: None }];
    let mut broken = order::encode(&orders, 0xFEED);
    broken[70] ^= 1;
    let hand = Hand { node: 1, epoch: 1, name: "a".into() };
    for octets in [broken, order::encode(&orders, 0xBEEF), vec![0; 8192]] {
        hand.put(&house.disk, &inbox, 0, ".orders", &octets).unwrap();
    }
    assert_eq!(house.carry_all_out(), []);
    assert_eq!(house.settlement.deferred().damages(), 3);
    assert_eq!(house.settlement.deferred().waiting_for_retry().messages, 3);
    house.run_dry();
    house.check();
}

/// A message that was handed over anew and refused again meanwhile is another copy, which the order does not mean.
#[test]
fn an_order_for_one_copy_leaves_the_others() {
    let mut house = House::new(1, &[5]);
    house.post(700, &[Fate::RefusedAt(1), Fate::Panics]);
    house.post(700, &[Fate::RefusedAt(1)]);
    while house.turn(0, 64) > 0 {}
    let dead = house.settlement.deferred_mut().dump(Class::Dead);
    let (taken, _) = &dead[0];
    let waited = taken.waited.as_ref().unwrap();
    let print = copy_print(waited.attempts, waited.since_ms, taken.manifest.octets());
    let give = |house: &House, name: &str, copy| {
        let orders =
            [Order { id: house::id(1), verb: Verb::Replayed, kinds: Kinds::of(&[Kind::Dead]), copy: Some(copy) }];
        let inbox = std::path::Path::new(ROOT).join("store-0/inbox");
        let hand = Hand { node: 1, epoch: 1, name: name.into() };
        hand.put(&house.disk, &inbox, 0, ".orders", &order::encode(&orders, 0xFEED)).unwrap();
    };
    drop(dead);
    give(&house, "a", print ^ 1);
    assert_eq!(house.carry_all_out(), []);
    assert_eq!(house.settlement.deferred().order_counts().missed, 1);
    give(&house, "b", print);
    assert_eq!(house.carry_all_out(), [(Verb::Replayed, 1)]);
    assert_eq!(in_class(&house, Class::Dead), 0);
}

fn fates(chance: &mut Chance) -> Vec<Fate> {
    let of = |chance: &mut Chance| match chance.below(8) {
        0..=4 => Fate::TakenAt(1 + chance.below(5) as u32),
        5 => Fate::RefusedAt(1 + chance.below(4) as u32),
        _ => Fate::Never,
    };
    (0..chance.between(1, 2)).map(|_| of(chance)).collect()
}

fn some(house: &House, chance: &mut Chance) -> Vec<u64> {
    let part = chance.between(1, 90) as u8;
    house.posted.keys().copied().filter(|_| chance.percent(part)).collect()
}

/// Posts, delivers and orders, until the disk fails; what was under way then may come twice.
fn live(house: &mut House, chance: &mut Chance, turns: usize) {
    for _ in 0..turns {
        for _ in 0..chance.below(5) {
            let (octets, fates) = (chance.between(1, 9_000) as usize, fates(chance));
            house.post(octets, &fates);
        }
        if chance.percent(30) {
            let (verb, numbers) = (Verb::ALL[chance.below(3)], some(house, chance));
            if !numbers.is_empty() && (verb != Verb::Remove || chance.percent(20)) && !house.order(verb, numbers) {
                return;
            }
        }
        let Ok(mut batch) = house.take(chance.between(1, 8) as usize, chance.below(8)) else { return };
        let mut plan = house.deliver(&mut batch);
        if house.settle(&batch, &mut plan).is_err() {
            return house.doubt(&batch);
        }
        drop(batch);
        house.now_ms += chance.between(0, 4_000);
    }
}

/// Whatever is held is released, and all comes to its end.
fn end(house: &mut House) {
    house.carry_all_out();
    let all: Vec<u64> = house.posted.keys().copied().collect();
    assert!(house.order(Verb::Release, all));
    // Dead mail, too: it dies again.
    house.carry_all_out();
    house.run_dry();
    house.check();
}

#[test]
fn without_trouble_orders_double_and_lose_nothing() {
    let (mut done, seeds) = (0, house::seeds(40));
    for seed in seeds.clone() {
        let mut chance = Chance::new(5000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        for _ in 0..6 {
            live(&mut house, &mut chance, 25);
            if chance.percent(50) {
                let disk = house.disk.clone();
                house.restart(disk);
            }
        }
        end(&mut house);
        assert_eq!(house.settlement.deferred().damages(), 0, "seed {seed}");
        done += house.posted.values().filter(|posted| posted.is_removed).count();
    }
    assert!(done as u64 > 3 * seeds.end, "{done}");
}

#[test]
fn a_power_cut_at_any_point_of_an_order_loses_nothing() {
    let (mut is_cut, seeds) = (0, house::seeds(60));
    for seed in seeds.clone() {
        let mut chance = Chance::new(6000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        for _ in 0..chance.between(2, 6) {
            live(&mut house, &mut chance, 10);
            let (mut calls, cut) = (0, chance.below(200));
            house.disk.set_plan(move |_| {
                calls += 1;
                if calls > cut { disk::Fate::Fails(Errno::IO) } else { disk::Fate::Done }
            });
            live(&mut house, &mut chance, 10_000);
            is_cut += 1;
            let after = house.disk.power_cut(&mut chance);
            // Between two syncs a message is where it was and where it goes.
            house.posted.values_mut().for_each(|posted| posted.may_double = true);
            house.restart(after);
            assert_eq!(house.settlement.deferred().damages(), 0, "seed {seed}");
        }
        end(&mut house);
        assert_eq!(house.settlement.deferred().damages(), 0, "seed {seed}");
    }
    assert!(is_cut > 2 * seeds.end);
}

/// A small history of each order, cut before each of its calls: a message is where it was, or where it goes, and what was said to be removed is.
#[test]
fn every_call_of_an_order_can_be_the_last() {
    for verb in [Verb::Hold, Verb::Release, Verb::Remove] {
        let mut ends = 0;
        for call in 0.. {
            let mut house = waiting(9, 2_000);
            assert!(house.order(verb, [0, 2, 3, 7]));
            house.now_ms += limits::DEFERRED_INBOX_MS;
            let mut calls = 0;
            house.disk.set_plan(move |_| {
                calls += 1;
                if calls > call { disk::Fate::Fails(Errno::IO) } else { disk::Fate::Done }
            });
            let done = (0..3).try_fold(Vec::new(), |mut done, _| {
                done.extend(house.carry_out()?);
                house.now_ms += limits::DEFERRED_INBOX_MS;
                Ok::<_, crate::spool::deferred::DeferredError>(done)
            });
            let is_over = done.is_ok();
            for cut in 0..3 {
                let mut chance = Chance::new(call * 7 + cut);
                let mut after = house.restarted(house.disk.power_cut(&mut chance));
                let again = after.carry_all_out();
                assert!(!is_over || again.is_empty(), "{verb:?}: what is done is done");
                let held = after.settlement.deferred_mut().dump(Class::Held).len();
                match verb {
                    Verb::Hold => assert!((4..=8).contains(&held), "{held} at {call}"),
                    _ => assert_eq!(held, 0),
                }
                if verb == Verb::Hold {
                    after.now_ms += 10 * HOUR_MS;
                    while after.turn(64, 0) > 0 {}
                    assert_eq!(delivered(&after), [1, 4, 5, 6, 8], "held is held");
                }
                after.posted.values_mut().for_each(|posted| posted.may_double = true);
                end(&mut after);
                let gone = after.posted.values().filter(|posted| posted.delivered[0] == 0).count();
                assert_eq!(gone, if verb == Verb::Remove { 4 } else { 0 }, "{verb:?} at {call}");
            }
            if is_over {
                ends = call;
                break;
            }
        }
        assert!(ends > 8, "{verb:?}: {ends}");
    }
}

#[test]
fn a_disk_that_fails_now_and_then_loses_nothing_to_orders() {
    let (mut failures, seeds) = (0_u64, house::seeds(30));
    for seed in seeds.clone() {
        let mut chance = Chance::new(7000 + seed);
        let mut house = House::new(seed, &[5, 10, 20]);
        let faults = DiskFaults { write_fails: 4, sync_fails: 4, short_write: 2, read_fails: 2, full: 10 };
        house.disk.set_plan(faults.plan(chance.of("disk", seed)));
        for _ in 0..80 {
            for _ in 0..chance.below(4) {
                let (octets, fates) = (chance.between(1, 9_000) as usize, fates(&mut chance));
                house.post(octets, &fates);
            }
            if chance.percent(20) {
                let (verb, numbers) = (Verb::ALL[chance.below(3)], some(&house, &mut chance));
                if !numbers.is_empty() && (verb != Verb::Remove || chance.percent(20)) {
                    failures += u64::from(!house.order(verb, numbers));
                }
            }
            house.now_ms += chance.between(0, 3_000);
            let Ok(mut batch) = house.take(8, 4) else {
                failures += 1;
                continue;
            };
            let mut plan = house.deliver(&mut batch);
            // BOUND: the disk fails now and then only.
            while house.settle(&batch, &mut plan).is_err() {
                failures += 1;
                // An order that was half done is done again.
                house.doubt(&batch);
            }
        }
        house.posted.values_mut().for_each(|posted| posted.may_double = true);
        house.disk.set_plan(|_| disk::Fate::Done);
        end(&mut house);
    }
    assert!(failures > 4 * seeds.end, "{failures}");
}

/// What tools see of it.
#[test]
fn tools_see_what_is_gone() {
    let mut house = waiting(20, 500);
    let root = std::path::Path::new(ROOT).join("store-0");
    assert!(house.order(Verb::Remove, [0, 5, 6, 7, 11]));
    house.carry_all_out();
    let gone = gone_of(&house.disk, &root, 0xFEED);
    let (class, gone) = &gone[0];
    assert_eq!(*class, Class::Retry(14_400));
    let (_, done) = done_with(&house.disk, &root, 0xFEED).into_iter().find(|(of, _)| of == class).unwrap();
    let left: Vec<u64> = (0..20).filter(|number| *number >= done && !gone.has(*number)).collect();
    assert_eq!(left, (0..20).filter(|number| ![0, 5, 6, 7, 11].contains(number)).collect::<Vec<_>>());
    assert_eq!(gone_of(&house.disk, &root, 0xBEEF), [], "another data directory's says nothing");
}
