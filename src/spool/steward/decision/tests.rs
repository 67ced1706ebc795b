//! Every reason to do something, and not to.

use proptest::prelude::*;

use super::*;

const OCTETS: u64 = 1 << 20;

fn disk() -> DiskView {
    DiskView {
        free: Some(100 * OCTETS),
        reserve: 10 * OCTETS,
        claimed: 0,
        going: 0,
        allowed: u64::MAX,
        is_contended: false,
        was_short: false,
    }
}

/// In use from there on, with so much in it.
fn used(number: u32, base: u64, filled: u64) -> SegmentView {
    SegmentView {
        number,
        octets: OCTETS,
        base: Some(base),
        end: base + filled,
        has_failed: false,
        is_past: false,
        is_going: false,
        left_ms: Some(1_000),
    }
}

/// A log with two segments ready, two that are full, and one that is written.
fn log() -> LogView {
    let idle = |number| SegmentView { base: None, left_ms: None, ..used(number, 0, 0) };
    LogView {
        segments: vec![
            used(0, 0, OCTETS),
            used(1, OCTETS, OCTETS),
            SegmentView { left_ms: None, ..used(2, 2 * OCTETS, 4096) },
            idle(3),
            idle(5),
        ],
        ready: 2,
        ready_most: 4,
        wanted: 2,
        surplus: 0,
        needed_from: 0,
        is_written_on: true,
        is_recycled_by_shard: false,
        is_preparing: false,
        trouble: None,
        segment_octets: OCTETS,
        retain_ms: 0,
    }
}

fn actions(log: &LogView) -> Vec<Action> {
    decide(log, &disk(), 5_000).0
}

#[test]
fn what_somebody_needs_stays() {
    let mut log = log();
    assert_eq!(actions(&log), []);
    log.needed_from = OCTETS - 1;
    assert_eq!(actions(&log), []);
    log.needed_from = OCTETS;
    assert_eq!(actions(&log), [Action::Recycle(0)]);
    // Whatever nobody needs: the one that is written stays, and so does the one before it until this has something that counts.
    log.needed_from = u64::MAX;
    assert_eq!(actions(&log), [Action::Recycle(0), Action::Recycle(1)]);
    log.segments[2].end = 2 * OCTETS;
    assert_eq!(actions(&log), [Action::Recycle(0)]);
    // Of the past all are left.
    log.segments[..2].iter_mut().for_each(|segment| segment.is_past = true);
    assert_eq!(actions(&log), [Action::Remove(0), Action::Remove(1)], "a late write may come to them");
    log.segments.iter_mut().for_each(|segment| segment.is_past = true);
    log.segments[2].left_ms = Some(0);
    assert_eq!(actions(&log).len(), 3);
    // What is behind counts only if this shard wrote it.
    log.segments[0].is_past = false;
    assert_eq!(actions(&log), [Action::Remove(1), Action::Remove(2)]);
    log.segments[1].is_going = true;
    assert_eq!(actions(&log), [Action::Remove(2)]);
}

#[test]
fn what_is_free_goes_in_the_order_in_which_it_was_written() {
    let mut log = LogView { needed_from: u64::MAX, ..log() };
    log.segments.swap(0, 1);
    assert_eq!(actions(&log), [Action::Recycle(0), Action::Recycle(1)]);
    log.segments.iter_mut().for_each(|segment| segment.has_failed = true);
    assert_eq!(actions(&log), [Action::Remove(0), Action::Remove(1)]);
}

/// Who stands at the end of what is in a segment does not say that nothing is missing up to the next.
#[test]
fn what_is_left_free_in_a_segment_is_its_own() {
    let mut log = log();
    log.segments[1].end = OCTETS + 4096;
    log.needed_from = 2 * OCTETS - 4096;
    assert_eq!(actions(&log), [Action::Recycle(0)]);
    log.needed_from = 2 * OCTETS;
    assert_eq!(actions(&log), [Action::Recycle(0), Action::Recycle(1)]);
    // Nothing follows in a log of the past.
    log.segments.iter_mut().for_each(|segment| (segment.is_past, segment.left_ms) = (true, Some(0)));
    log.needed_from = 2 * OCTETS + 4096;
    assert_eq!(actions(&log), [Action::Remove(0), Action::Remove(1)]);
    log.is_written_on = false;
    assert_eq!(actions(&log).len(), 3);
}

#[test]
fn its_time_begins_when_it_is_left() {
    let mut log = LogView { needed_from: u64::MAX, retain_ms: 10_000, ..log() };
    log.segments[1].left_ms = None;
    assert_eq!(decide(&log, &disk(), 10_999).0, [Action::Note(1)]);
    assert_eq!(decide(&log, &disk(), 11_000).0, [Action::Recycle(0), Action::Note(1)]);
    log.retain_ms = 0;
    assert_eq!(decide(&log, &disk(), 1_000).0, [Action::Recycle(0), Action::Note(1), Action::Recycle(1)]);
}

#[test]
fn what_is_kept_for_its_time_alone_gives_way_before_mail_is_refused() {
    let kept = LogView { needed_from: u64::MAX, retain_ms: 10_000, ..log() };
    assert_eq!(actions(&kept), []);
    // The oldest, and no more than there is need of.
    let gives_way = [Action::Recycle(0), Action::GiveUp(0)];
    let no_room = DiskView { allowed: OCTETS - 1, ..disk() };
    assert_eq!(decide(&LogView { ready: 1, ..kept.clone() }, &no_room, 5_000).0, gives_way);
    assert_eq!(decide(&kept, &no_room, 5_000).0, [], "enough are ready");
    // On a full disk a file goes for each.
    let short = DiskView { free: Some(9 * OCTETS), ..disk() };
    assert_eq!(decide(&kept, &short, 5_000).0, [&gives_way[..], &[Action::Shrink]].concat());
    let shorter = DiskView { free: Some(8 * OCTETS), ..disk() };
    let next = [Action::Recycle(1), Action::GiveUp(1), Action::Shrink, Action::Shrink];
    assert_eq!(decide(&kept, &shorter, 5_000).0, [&gives_way[..], &next].concat());
    // What goes already is enough, or goes before: files that are about to go, and those on the shelf beyond what is wanted.
    assert_eq!(decide(&kept, &DiskView { going: OCTETS, ..short }, 5_000).0, []);
    assert_eq!(decide(&LogView { ready: 3, ..kept.clone() }, &short, 5_000).0, [Action::Shrink]);
    // Those whose time is over do not give way; and what somebody needs never does.
    let over = decide(&kept, &short, 11_000).0;
    assert_eq!(over, [Action::Recycle(0), Action::Recycle(1), Action::Shrink, Action::Shrink]);
    assert_eq!(decide(&LogView { needed_from: 0, ..kept.clone() }, &shorter, 5_000).0, []);
    // Another log may want the room, and what lies idle here, too.
    let contended = DiskView { is_contended: true, ..disk() };
    let busy = LogView { ready: 6, wanted: 6, ready_most: 8, needed_from: 0, ..kept.clone() };
    assert_eq!(decide(&busy, &contended, 5_000).0, [Action::Shrink; 4]);
    assert_eq!(decide(&kept, &contended, 5_000).0, [&gives_way[..], &[Action::Shrink]].concat());
    // One that cannot be removed now was not given up.
    let mut failed = LogView { trouble: Some((Lack::Failed, 5_001)), ..kept };
    failed.segments[0].has_failed = true;
    assert_eq!(decide(&failed, &short, 5_000).0, [Action::Recycle(1), Action::GiveUp(1)], "nor is another");
}

#[test]
fn what_cannot_be_used_again_is_removed() {
    let mut log = LogView { needed_from: u64::MAX, ..log() };
    log.segments[0].has_failed = true;
    log.segments[1].octets = 2 * OCTETS;
    assert_eq!(actions(&log), [Action::Remove(0), Action::Remove(1)]);
    log.trouble = Some((Lack::Failed, 5_001));
    assert_eq!(actions(&log), [], "not while a removal has just failed");
    // Nor has more than so many room.
    let log = LogView { needed_from: u64::MAX, ready: 3, ..self::log() };
    assert_eq!(actions(&log), [Action::Recycle(0), Action::Remove(1)]);
    // What a shard uses again itself is not the steward's, but for what it never had.
    let mut log = LogView { needed_from: u64::MAX, is_recycled_by_shard: true, ..self::log() };
    assert_eq!(actions(&log), []);
    log.segments[0].is_past = true;
    assert_eq!(actions(&log), [Action::Remove(0)]);
}

#[test]
fn one_is_made_when_it_is_wanted_and_has_room() {
    let mut log = LogView { ready: 1, ..log() };
    assert_eq!(actions(&log), [Action::Prepare(4)], "the lowest number that is free");
    log.segments.clear();
    assert_eq!(actions(&log), [Action::Prepare(0)]);
    log.segments = (0..7).map(|number| used(number, 0, 0)).collect();
    assert_eq!(actions(&log), [Action::Prepare(7)]);
    assert_eq!(actions(&LogView { is_preparing: true, ..log.clone() }), []);
    assert_eq!(actions(&LogView { trouble: Some((Lack::Full, 5_001)), ..log.clone() }), []);
    assert_eq!(actions(&LogView { trouble: Some((Lack::Full, 5_000)), ..log.clone() }), [Action::Prepare(7)]);
    // One that comes back is enough.
    let log = LogView { ready: 1, needed_from: OCTETS, ..self::log() };
    assert_eq!(actions(&log), [Action::Recycle(0)]);
    for (disk, makes) in [
        (DiskView { free: Some(11 * OCTETS), ..disk() }, true),
        (DiskView { free: Some(11 * OCTETS - 1), ..disk() }, false),
        (DiskView { free: Some(11 * OCTETS), claimed: 1, ..disk() }, false),
        (DiskView { allowed: OCTETS - 1, ..disk() }, false),
        (DiskView { free: None, ..disk() }, false),
        (DiskView { free: Some(11 * OCTETS), was_short: true, ..disk() }, false),
        (DiskView { free: Some(12 * OCTETS), was_short: true, ..disk() }, true),
    ] {
        let log = LogView { ready: 0, ..self::log() };
        assert_eq!(decide(&log, &disk, 5_000).0.contains(&Action::Prepare(4)), makes, "{disk:?}");
    }
}

#[test]
fn a_lack_is_told_with_its_reason_and_taken_back_later_than_it_came() {
    let lack = |ready, disk: &DiskView| decide(&LogView { ready, ..log() }, disk, 5_000).1;
    assert_eq!((lack(0, &disk()), lack(1, &disk())), (None, None));
    let without_room = DiskView { free: Some(11 * OCTETS - 1), ..disk() };
    assert_eq!((lack(0, &without_room), lack(1, &without_room)), (Some(Lack::Full), None));
    let short = DiskView { free: Some(10 * OCTETS - 1), ..disk() };
    assert_eq!((lack(0, &short), lack(2, &short)), (Some(Lack::Full), Some(Lack::Full)));
    let still = DiskView { free: Some(11 * OCTETS), was_short: true, ..disk() };
    assert_eq!((lack(2, &still), lack(2, &DiskView { was_short: false, ..still })), (Some(Lack::Full), None));
    assert_eq!(lack(2, &DiskView { free: Some(12 * OCTETS), ..still }), None);
    assert_eq!(lack(2, &DiskView { free: None, ..disk() }), Some(Lack::Failed));
    // A failure is told as long as nothing is ready, also while it is tried again.
    let failed = LogView { trouble: Some((Lack::Failed, 0)), ready: 0, is_preparing: true, ..log() };
    assert_eq!(decide(&failed, &disk(), 5_000).1, Some(Lack::Failed));
    assert_eq!(decide(&LogView { ready: 1, ..failed.clone() }, &disk(), 5_000).1, None);
    assert_eq!(decide(&LogView { trouble: None, ..failed }, &without_room, 5_000).1, None, "one is coming");
}

#[test]
fn what_is_too_many_goes_and_all_of_it_when_the_disk_is_full() {
    let log = LogView { ready: 6, surplus: 3, ready_most: 8, ..log() };
    assert_eq!(actions(&log), [Action::Shrink; 3]);
    assert_eq!(actions(&LogView { surplus: 6, ..log.clone() }), [Action::Shrink; 4]);
    assert_eq!(actions(&LogView { surplus: 6, wanted: 8, ready: 8, ..log.clone() }), []);
    let short = DiskView { free: Some(0), ..disk() };
    assert_eq!(decide(&LogView { surplus: 0, ..log }, &short, 5_000).0, [Action::Shrink; 4]);
}

fn views() -> impl Strategy<Value = LogView> {
    let segment = (0..6_u64, 0..=16_u64, any::<[bool; 4]>(), prop::option::of(0..20_u64));
    let segments = prop::collection::vec(segment, 0..8);
    (segments, 0..5_usize, 0..5_usize, 0..8_u64 * 16, any::<[bool; 2]>(), 0..10_u64, prop::option::of(0..20_u64))
        .prop_map(|(segments, ready, surplus, needed, [by_shard, is_preparing], retain_ms, again)| LogView {
            segments: (0..)
                .zip(segments)
                .map(|(number, (place, filled, [is_used, has_failed, is_past, is_going], left_ms))| SegmentView {
                    base: is_used.then_some((place * 8 + u64::from(number)) * OCTETS),
                    end: (place * 8 + u64::from(number)) * OCTETS + filled * OCTETS / 16,
                    has_failed,
                    is_past,
                    is_going,
                    left_ms,
                    ..used(number, 0, 0)
                })
                .collect(),
            ready,
            surplus,
            needed_from: needed * OCTETS / 2,
            is_recycled_by_shard: by_shard,
            is_preparing,
            trouble: again.map(|again| (Lack::Failed, again)),
            retain_ms,
            ..log()
        })
}

proptest! {
    /// Whatever a log looks like: nothing that is needed is freed, no number twice, no shelf overflows.
    #[test]
    fn nothing_that_is_needed_is_freed(log in views(), free in 0..30_u64, now_ms in 0..30_u64) {
        let disk = DiskView { free: Some(free * OCTETS), ..disk() };
        let (actions, _) = decide(&log, &disk, now_ms);
        let mut freed = Vec::new();
        let mut ready = log.ready as i64;
        for action in actions.iter().copied() {
            match action {
                Action::GiveUp(number) => prop_assert!(freed.contains(&number)),
                Action::Recycle(number) | Action::Remove(number) => {
                    let segment = log.segments.iter().find(|segment| segment.number == number).unwrap();
                    let base = segment.base.unwrap();
                    prop_assert!(segment.end <= log.needed_from && !segment.is_going && !freed.contains(&number));
                    let is_due = now_ms.saturating_sub(segment.left_ms.unwrap_or(now_ms)) >= log.retain_ms;
                    prop_assert!(is_due || disk.missing() > 0 || log.ready < log.wanted && !disk.has_room(OCTETS));
                    prop_assert_eq!(!is_due, actions.contains(&Action::GiveUp(number)));
                    let is_last = !log.segments.iter().any(|other| other.base.is_some_and(|other| other > base));
                    prop_assert!(segment.is_past || !is_last && !log.is_recycled_by_shard);
                    if action == Action::Recycle(number) {
                        prop_assert!(!segment.has_failed);
                        ready += 1;
                    }
                    freed.push(number);
                }
                Action::Shrink => ready -= 1,
                Action::Prepare(number) => {
                    prop_assert!(log.segments.iter().all(|segment| segment.number != number) && !log.is_preparing);
                    prop_assert!(free >= 11 && ready < log.wanted as i64);
                }
                Action::Note(number) => {
                    let segment = log.segments.iter().find(|segment| segment.number == number);
                    prop_assert_eq!(segment.and_then(|segment| segment.left_ms), None);
                }
            }
            prop_assert!(ready >= 0 && ready <= log.ready_most.max(log.ready) as i64);
        }
    }
}
