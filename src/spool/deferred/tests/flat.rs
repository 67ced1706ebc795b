//! What waits costs disk in proportion, and no memory.

use super::house::{Fate, House};

const SEGMENT: u64 = 64 * 1024;
const OCTETS: u64 = 4096;

/// Defers so many messages, and has them refused again for some rounds. Gives what is resident in the end.
fn rounds(messages: u64) -> usize {
    let mut house = House::new(1, &[5, 10, 20]);
    house.options.retry.lifetime_s = 1_000_000;
    let disk = house.disk.clone();
    house.restart(disk);
    for _ in 0..messages {
        house.post(OCTETS as usize, &[Fate::Never]);
    }
    while house.turn(0, 64) > 0 {}
    let waiting = messages * OCTETS;
    // Each class has a segment that is begun and one that is not read through; and there are spares.
    let rest = SEGMENT * (4 * 2 + 3);
    let mut most = 0;
    for _ in 0..5 {
        let until_ms = house.now_ms + 30_000;
        while house.now_ms < until_ms {
            while house.turn(64, 0) > 0 {
                let octets: u64 = house.disk_octets().values().sum();
                most = most.max(octets);
                assert!(octets <= waiting + waiting / 2 + rest, "{octets} for {waiting}: {:?}", house.disk_octets());
            }
            house.now_ms += 1_000;
        }
    }
    assert!(house.posted.values().all(|posted| posted.attempts >= 5), "all go through the classes");
    assert_eq!(house.settlement.deferred().waiting_for_retry().messages, messages);
    assert!(most >= waiting, "it is all there");
    if messages >= 1_000 {
        assert!(most <= 2 * waiting, "{most} for {waiting}");
    }
    house.settlement.deferred().resident()
}

#[test]
fn the_disk_is_at_most_twice_what_waits_and_what_is_resident_does_not_grow() {
    let few = rounds(100);
    let many = rounds(1_500);
    assert_eq!(few, many);
}

#[test]
fn what_trickles_in_is_tried_again_in_batches() {
    let mut house = House::new(1, &[300, 600]);
    for _ in 0..120 {
        house.post(700, &[Fate::TakenAt(2)]);
        house.turn(0, 1);
        house.now_ms += 1_000;
    }
    let settled = house.settled;
    assert_eq!(settled, 120, "each by itself");
    house.run_dry();
    house.check();
    // 120 s in windows of 15 s, and those that jitter puts off.
    assert!(house.settled - settled <= 20, "{}", house.settled - settled);
}

#[test]
fn dead_mail_without_room_is_kept_with_that_which_is_tried_again() {
    let mut house = House::new(1, &[5, 10]);
    house.options.retry.aside_octets = 40_000;
    let disk = house.disk.clone();
    house.restart(disk);
    for _ in 0..20 {
        house.post(8_000, &[Fate::RefusedAt(1)]);
    }
    while house.turn(0, 4) > 0 {}
    let deferred = house.settlement.deferred();
    let dead = deferred.waiting_in(crate::spool::deferred::Class::Dead).messages;
    assert!((1..20).contains(&dead), "{dead}");
    assert_eq!(deferred.waiting_for_retry().messages, 20 - dead);
    // With room again they go where they belong.
    house.options.retry.aside_octets = 1 << 30;
    let disk = house.disk.clone();
    house.restart(disk);
    house.run_dry();
    house.check();
}
