//! Clocks that jump, within a run and between two.

use super::house::{Fate, House, START_MS};
use crate::limits;
use crate::spool::deferred::clock::RetryClock;

const HOUR_MS: i64 = 3_600_000;
const MESSAGES: u32 = 40;

fn house() -> House {
    let mut house = House::new(1, &[300, 600, 1200, 2400, 4800, 9600, 14400]);
    house.options.retry.lifetime_s = 1_000_000;
    let disk = house.disk.clone();
    house.restart(disk);
    for _ in 0..MESSAGES {
        house.post(500, &[Fate::Never]);
    }
    house
}

/// Attempts in eight hours of which the wall jumps after the first, and the most in any minute.
fn attempts(jump_ms: i64) -> (u32, u32) {
    let mut house = house();
    let mut clock = RetryClock::new(START_MS, 0);
    let mut most = 0;
    for minute in 0..8 * 60_u64 {
        let steady_ms = minute * 60_000;
        let jumped = if minute >= 60 { jump_ms } else { 0 };
        house.now_ms = clock.now((START_MS + steady_ms).strict_add_signed(jumped), steady_ms);
        let before: u32 = house.posted.values().map(|posted| posted.attempts).sum();
        while house.turn(16, 16) > 0 {}
        let after: u32 = house.posted.values().map(|posted| posted.attempts).sum();
        if minute > 0 {
            most = most.max(after - before);
        }
    }
    (house.posted.values().map(|posted| posted.attempts).sum(), most)
}

#[test]
fn a_jump_of_an_hour_makes_no_storm_and_stalls_nothing() {
    let (steady, most_steady) = attempts(0);
    // After 5, 15, 35, 75, 155, 315 min, each some per cent later.
    assert_eq!(steady, MESSAGES * 7);
    for jump_ms in [HOUR_MS, -HOUR_MS] {
        let (jumped, most) = attempts(jump_ms);
        // An eighth of 420 min faster or slower brings one attempt more or less.
        assert!(jumped.abs_diff(steady) <= MESSAGES, "{jump_ms}: {jumped}, and {steady} without");
        // A tenth of a delay is the time over which a round is spread: it does not shrink by more than an eighth.
        assert!(most <= most_steady + most_steady / 4 + 2, "{jump_ms}: {most} in a minute, and {most_steady} without");
    }
}

#[test]
fn after_a_restart_with_a_clock_that_was_set_back_nothing_waits_longer_than_its_class() {
    let mut house = house();
    while house.turn(16, 16) > 0 {}
    house.now_ms = START_MS - HOUR_MS as u64;
    let disk = house.disk.clone();
    house.restart(disk);
    let restarted_ms = house.now_ms;
    let mut tried_ms = None;
    for minute in 0..60 {
        house.now_ms = restarted_ms + minute * 60_000;
        while house.turn(16, 16) > 0 {
            tried_ms.get_or_insert(house.now_ms - restarted_ms);
        }
        if house.posted.values().all(|posted| posted.attempts >= 2) {
            break;
        }
    }
    assert!(house.posted.values().all(|posted| posted.attempts == 2));
    assert_eq!(tried_ms, Some(6 * 60_000), "300 s and a tenth, in whole minutes");
}

#[test]
fn after_a_restart_with_a_clock_that_was_set_forward_each_is_tried_once() {
    let mut house = house();
    while house.turn(16, 16) > 0 {}
    house.now_ms = START_MS + HOUR_MS as u64;
    let disk = house.disk.clone();
    house.restart(disk);
    let mut batches = 0;
    while house.turn(16, 16) > 0 {
        batches += 1;
    }
    assert_eq!(batches, MESSAGES.div_ceil(16), "in batches of what was asked for");
    assert!(house.posted.values().all(|posted| posted.attempts == 2));
}

#[test]
fn each_class_is_tried_in_its_order() {
    let mut house = house();
    while house.turn(16, 16) > 0 {}
    for _ in 0..4 {
        house.now_ms += 20 * HOUR_MS as u64;
        let mut order = Vec::new();
        loop {
            let mut batch = house.take(7, 0).unwrap();
            if batch.is_empty() {
                break;
            }
            order.extend(batch.iter().map(|delivery| delivery.id().sequence()));
            let mut plan = house.deliver(&mut batch);
            house.settle(&batch, &mut plan).unwrap();
        }
        assert_eq!(order, (0..u64::from(MESSAGES)).collect::<Vec<_>>());
    }
}

/// What waits in a delay that is configured no more goes on from there; of one that is empty nothing is left to be in the way.
#[test]
fn delays_may_be_changed_as_often_as_one_likes() {
    let mut house = House::new(3, &[5]);
    house.options.retry.lifetime_s = 1_000_000;
    let changes = 2 * limits::DEFERRED_CLASSES / limits::RETRY_DELAYS;
    for change in 0..changes as u32 {
        let delays = (1..=limits::RETRY_DELAYS as u32).map(|delay| 1_000 * change + delay).collect();
        house.options.retry.delays_s = delays;
        let disk = house.disk.clone();
        house.restart(disk);
        for _ in 0..3 {
            house.post(500, &[Fate::TakenAt(1 + limits::RETRY_DELAYS as u32)]);
        }
        // One is on its way through the delays when they change.
        let late = house.post(500, &[Fate::TakenAt(20)]);
        while house.posted[&late].attempts < 9 {
            if house.turn(16, 16) == 0 {
                house.now_ms = house.settlement.deferred().next_due_ms().expect("some wait");
            }
        }
        if change % 2 == 0 {
            house.run_dry();
        }
    }
    house.run_dry();
    house.check();
}
