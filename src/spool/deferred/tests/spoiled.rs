//! What cannot be read, what was lost, and what others put there.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::house::{Fate, House, ROOT};
use super::lying::lying;
use crate::limits;
use crate::simulation::disk::{self, Fate as DiskFate, SimDisk, What};
use crate::spool::deferred::{Class, Deferred};
use crate::spool::storage::{Storage, StorageError};

fn root() -> PathBuf {
    Path::new(ROOT).join("store-0")
}

fn put(disk: &SimDisk, path: &Path, octets: &[u8]) -> Result<(), StorageError> {
    let file = disk.create(path, octets.len() as u64)?;
    file.write_at(octets, 0, true)
}

fn names(disk: &SimDisk, directory: &str) -> Vec<String> {
    let entries = disk.entries(&root().join(directory)).unwrap_or_default();
    entries.into_iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_bit_that_turned_costs_the_messages_of_its_block_and_no_other() {
    // Three segments; a bit of a block in the second. Whether the server runs on or is started anew.
    for is_restarted in [false, true] {
        let mut house = House::new(1, &[5, 10]);
        for _ in 0..60 {
            house.post(2_500, &[Fate::TakenAt(2)]);
        }
        while house.turn(0, 6) > 0 {}
        house.disk.flip(&root().join("5/0001.segment"), (4096 + 5 * 4096 + 300) * 8);
        if is_restarted {
            let disk = house.disk.clone();
            house.restart(disk);
        }
        house.run_dry();
        let lost = house.posted.values().filter(|posted| posted.delivered == [0]).count();
        assert!((1..=5).contains(&lost), "{lost}");
        assert!(house.settlement.deferred().damages() > 0);
        // The file is kept for a human, and for nobody else.
        let kept = names(&house.disk, "damaged");
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].starts_with("5-0001.segment"), "{kept:?}");
    }
}

#[test]
fn without_cursors_all_is_tried_again_and_nothing_is_lost() {
    let mut house = House::new(1, &[5, 10]);
    for _ in 0..20 {
        house.post(900, &[Fate::TakenAt(2)]);
    }
    while house.turn(0, 4) > 0 {}
    house.now_ms += 6_000;
    house.turn(5, 0);
    house.posted.values_mut().for_each(|posted| posted.may_double = true);
    house.disk.remove(&root().join("cursors")).unwrap();
    let disk = house.disk.clone();
    house.restart(disk);
    house.run_dry();
    house.check();
}

/// A house in which some of what waits was done with, and a cursor says so.
fn house_with_cursors() -> House {
    let mut house = House::new(1, &[5, 10]);
    for _ in 0..60 {
        house.post(2_500, &[Fate::TakenAt(2)]);
    }
    while house.turn(0, 6) > 0 {}
    house.now_ms += 6_000;
    house.turn(40, 0);
    house
}

#[test]
fn a_disk_that_does_not_give_the_cursors_now_refuses_the_start_and_loses_nothing() {
    for slot in 0..2 {
        let mut house = house_with_cursors();
        house.disk.set_plan(move |call| match call.what {
            What::Read if call.path.ends_with("cursors") && call.at == slot * 4096 => DiskFate::Fails(Errno::IO),
            _ => DiskFate::Done,
        });
        let refused = Deferred::open(&house.options, house.now_ms).err().expect("it is not known what is done with");
        assert!(refused.to_string().contains("store-0/cursors"), "{refused}");
        all_are_there_again(&mut house);
    }
}

/// After another start all 20 wait, and come.
fn all_are_there_again(house: &mut House) {
    let disk = house.disk.clone();
    house.restart(disk);
    assert_eq!(house.settlement.deferred().waiting_for_retry().messages, 20);
    house.run_dry();
    house.check();
}

#[test]
fn cursors_that_say_nothing_are_told_of_and_all_is_tried_again() {
    let mut house = house_with_cursors();
    for slot in 0..2 {
        house.disk.flip(&root().join("cursors"), (slot * 4096 + 100) * 8);
    }
    house.posted.values_mut().for_each(|posted| posted.may_double = true);
    let begun_again = |house: &House| {
        let deferred = house.settlement.deferred();
        (deferred.begun_again().map(Path::to_owned).collect::<Vec<_>>(), deferred.damages())
    };
    assert_eq!(begun_again(&house), (vec![], 0));
    let disk = house.disk.clone();
    house.restart(disk);
    assert_eq!(begun_again(&house), (vec![root()], 1));
    let kept = names(&house.disk, "damaged");
    assert!(kept.len() == 1 && kept[0].starts_with("cursors-"), "{kept:?}");
    house.turn(40, 0);
    let disk = house.disk.clone();
    house.restart(disk);
    assert_eq!(begun_again(&house), (vec![], 0), "it is told once");
    house.run_dry();
    house.check();
}

/// Four messages that their sink refused and takes now, and so many files in the inbox which have all of them.
fn house_with_files(files: u32) -> House {
    let mut house = House::new(1, &[5]);
    for _ in 0..4 {
        house.post(2_000, &[Fate::RefusedAt(1)]);
    }
    house.run_dry();
    for posted in house.posted.values_mut() {
        (posted.fates[0], posted.may_double) = (Fate::TakenAt(1), true);
    }
    let octets = house.disk.octets(&root().join("dead/0000.segment"));
    for file in 0..files {
        put(&house.disk, &root().join(format!("inbox/{file}.segment")), &octets).unwrap();
    }
    house
}

#[test]
fn files_of_the_inbox_follow_one_another_on_a_sink_that_has_nothing_else() {
    // What is left of a file may end with the last place of a batch.
    for most in 1..=5 {
        let mut house = house_with_files(3);
        for _ in 0..30 {
            house.now_ms += 200;
            house.turn(most, 0);
        }
        assert!(house.posted.values().all(|posted| posted.delivered == [3]), "{most} at once");
        assert_eq!((names(&house.disk, "inbox"), names(&house.disk, "replay")), (vec![], vec![]));
    }
}

#[test]
fn files_of_the_inbox_all_come_though_names_cannot_be_changed_for_a_while() {
    // A file that is done with stays; or it is not known whether the next one's name lasts.
    for (what, until) in (1..12).flat_map(|until| [(What::Remove, until), (What::SyncDirectory, until)]) {
        let mut house = house_with_files(3);
        let replayed = root().join("replay");
        house.disk.set_plan(move |call| {
            let is_bad = call.what == what && call.path.starts_with(&replayed);
            if is_bad { disk::Fate::Fails(Errno::IO) } else { disk::Fate::Done }
        });
        for round in 0..40 {
            house.now_ms += 200;
            if round == until {
                // Another process finds what this one left.
                house.disk.set_plan(|_| disk::Fate::Done);
                house.reopen();
            }
            let Ok(mut batch) = house.take(3, 0) else { continue };
            let mut plan = house.deliver(&mut batch);
            house.settle(&batch, &mut plan).unwrap();
        }
        assert!(house.posted.values().all(|posted| posted.delivered == [3]), "{what:?} until {until}");
        assert_eq!(
            (names(&house.disk, "inbox"), names(&house.disk, "replay")),
            (vec![], vec![]),
            "{what:?} until {until}"
        );
    }
}

#[test]
fn what_the_operator_puts_into_the_inbox_is_tried_at_once() {
    let mut house = House::new(1, &[5, 10]);
    for number in 0..20 {
        house.post(2_000, &[if number % 2 == 0 { Fate::RefusedAt(1) } else { Fate::Panics }]);
    }
    house.run_dry();
    for class in [Class::Dead, Class::Quarantined] {
        assert_eq!(house.settlement.deferred().waiting_in(class).messages, 10);
    }
    // The sink takes them now.
    for posted in house.posted.values_mut() {
        (posted.fates[0], posted.may_double) = (Fate::TakenAt(1), true);
    }
    // Each has its mail in one segment, which is a log by itself.
    for class in ["dead", "quarantined"] {
        assert_eq!(names(&house.disk, class), ["0000.segment"]);
        let octets = house.disk.octets(&root().join(class).join("0000.segment"));
        put(&house.disk, &root().join(format!("inbox/.{class}.segment")), &octets).unwrap();
    }
    house.turn(8, 0);
    assert!(house.posted.values().all(|posted| posted.delivered == [0]), "nothing is complete");
    for class in ["dead", "quarantined"] {
        let path = |dot: &str| root().join(format!("inbox/{dot}{class}.segment"));
        house.disk.rename(&path("."), &path("")).unwrap();
    }
    put(&house.disk, &root().join("inbox/other.segment"), &[7; 8192]).unwrap();
    for round in 0..40 {
        house.now_ms += 2_000;
        house.turn(4, 0);
        if round == 3 {
            // A restart between two of a file repeats nothing.
            let disk = house.disk.clone();
            house.restart(disk);
        }
    }
    assert!(house.posted.values().all(|posted| posted.delivered == [1]), "each once");
    assert_eq!(names(&house.disk, "inbox"), ["other.segment.refused"]);
    assert_eq!(names(&house.disk, "replay"), [""; 0]);
}

#[test]
fn the_mail_of_a_thread_that_is_no_more_is_taken_over() {
    let mut house = House::new(1, &[5, 10]);
    house.options.owner.thread = 3;
    house.options.threads = 4;
    let disk = house.disk.clone();
    house.restart(disk);
    for _ in 0..20 {
        house.post(3_000, &[Fate::TakenAt(3)]);
    }
    while house.turn(0, 4) > 0 {}
    house.options.owner.thread = 1;
    house.options.threads = 2;
    all_are_there_again(&mut house);
}

#[test]
fn what_is_none_of_ours_is_refused_and_left_alone() {
    let mut house = House::new(1, &[5]);
    house.post(100, &[Fate::Never]);
    house.turn(0, 1);
    let before = house.disk.octets(&root().join("5/0000.segment"));
    let mut options = house.options.clone();
    options.owner.node = 1;
    let refused = Deferred::open(&options, house.now_ms).err().expect("another's");
    assert!(refused.to_string().contains("5/0000.segment is none of this program's"), "{refused}");
    assert_eq!(house.disk.octets(&root().join("5/0000.segment")), before);
    // Others' files lie where they lie.
    put(&house.disk, &root().join("5/notes"), &[1; 4096]).unwrap();
    let disk = house.disk.clone();
    house.restart(disk);
    house.run_dry();
    assert!(names(&house.disk, "5").contains(&"notes".to_owned()));
}

/// Seven batches of two messages, each a block, in the one segment of its class: behind the block that says what it is.
fn one_segment() -> House {
    let mut house = House::new(1, &[5, 10]);
    for _ in 0..14 {
        house.post(2_500, &[Fate::TakenAt(2)]);
    }
    while house.turn(0, 2) > 0 {}
    assert_eq!(names(&house.disk, "5"), ["0000.segment"]);
    assert_eq!(lying(&house.disk, &root().join("5/0000.segment")).len(), 8);
    house
}

/// Turns a bit of a block of the class's segment; of a record, not of zeros behind them.
fn spoil(house: &House, block: usize) {
    let path = root().join("5/0000.segment");
    let at = lying(&house.disk, &path)[block].at;
    house.disk.flip(&path, (at + 80) * 8);
}

fn restart(house: &mut House) {
    let disk = house.disk.clone();
    house.restart(disk);
}

fn lost(house: &House) -> Vec<u64> {
    house.posted.iter().filter(|(_, posted)| posted.delivered == [0]).map(|(number, _)| *number).collect()
}

#[test]
fn a_bit_that_turned_in_the_last_segment_costs_the_messages_of_its_block_and_no_other() {
    for block in 1..=6 {
        let mut house = one_segment();
        spoil(&house, block);
        restart(&mut house);
        assert!(house.settlement.deferred().damages() > 0, "it is told at once");
        // What comes now goes into another segment, which says what is void.
        for _ in 0..6 {
            house.post(2_500, &[Fate::TakenAt(2)]);
        }
        house.turn(0, 6);
        restart(&mut house);
        house.run_dry();
        assert_eq!(lost(&house), [2 * block as u64 - 2, 2 * block as u64 - 1]);
        let kept = names(&house.disk, "damaged");
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].starts_with("5-0000.segment"), "{kept:?}");
    }
}

#[test]
fn a_bit_that_turned_before_the_cursor_costs_nothing() {
    for block in 0..=3 {
        let mut house = one_segment();
        house.now_ms += 6_000;
        assert_eq!(house.turn(6, 0), 6);
        spoil(&house, block);
        restart(&mut house);
        assert!(house.settlement.deferred().damages() > 0);
        // Into another segment: so this one is done with in the end, and kept for a human.
        house.post(2_500, &[Fate::TakenAt(2)]);
        house.run_dry();
        house.check();
        assert_eq!(names(&house.disk, "damaged").len(), 1);
    }
}

#[test]
fn all_that_was_read_before_the_log_ends_stays_read_when_it_turns_bad() {
    // All of it is bad behind the first block, and all of it is done with; or the last batch alone.
    for from in [1, 7] {
        let mut house = one_segment();
        house.now_ms += 6_000;
        assert_eq!(house.turn(14, 0), 14);
        (from..=7).rev().for_each(|block| spoil(&house, block));
        restart(&mut house);
        for _ in 0..6 {
            house.post(2_500, &[Fate::TakenAt(2)]);
        }
        house.run_dry();
        house.check();
    }
}

#[test]
fn numbers_go_on_where_the_last_segment_says_nothing_of_them() {
    // Its first block; its first and what follows; everything.
    for bad in [0..=0, 0..=2, 0..=7] {
        for is_read in [false, true] {
            let mut house = one_segment();
            if is_read {
                house.now_ms += 6_000;
                assert_eq!(house.turn(10, 0), 10);
            }
            bad.clone().rev().for_each(|block| spoil(&house, block));
            restart(&mut house);
            assert!(house.settlement.deferred().damages() > 0);
            let fresh: Vec<u64> = (0..10).map(|_| house.post(2_500, &[Fate::TakenAt(2)])).collect();
            house.turn(0, 5);
            restart(&mut house);
            house.turn(0, 5);
            house.run_dry();
            let lost = lost(&house);
            let waited = if is_read { 10 } else { 0 };
            let may_be_lost: Vec<u64> = (waited..2 * *bad.end() as u64).collect();
            assert_eq!(lost, may_be_lost, "{bad:?} {is_read}");
            assert!(fresh.iter().all(|number| !lost.contains(number)));
            assert_eq!(house.settlement.deferred().waiting_for_retry().messages, 0);
        }
    }
}

#[test]
fn a_page_that_the_disk_does_not_give_for_a_while_costs_nothing() {
    // Pages of the first block, of one in the middle, of the last, of all; and one in which nothing was ever written.
    let every: Vec<u64> = (0..16).map(|page| page * 4096).collect();
    for bad in [vec![0], vec![5 * 4096], vec![14 * 4096], vec![15 * 4096], every] {
        for errno in [Errno::IO, Errno::NODATA] {
            let mut house = one_segment();
            let path = root().join("5/0000.segment");
            let pages = bad.clone();
            house.disk.set_plan(move |call| {
                let is_there = |page: &u64| (call.at..call.at + call.octets as u64).contains(page);
                let is_bad = call.what == What::Read && call.path == path && pages.iter().any(is_there);
                if is_bad { disk::Fate::Fails(errno) } else { disk::Fate::Done }
            });
            house.reopen();
            assert!(house.settlement.deferred().damages() > 0, "it is told");
            // Mail comes, and another process with it, before the disk is well again.
            for _ in 0..4 {
                house.post(2_500, &[Fate::TakenAt(2)]);
            }
            while house.turn(0, 2) > 0 {}
            house.reopen();
            house.disk.set_plan(|_| disk::Fate::Done);
            house.run_dry();
            house.check();
        }
    }
}

#[test]
fn a_segment_that_cannot_be_begun_leaves_no_file_behind() {
    let spare = root().join("spare");
    // Its class is not ours; it cannot be written; it cannot even be removed then.
    for what in [&[What::Rename][..], &[What::SyncedWrite], &[What::SyncedWrite, What::Remove]] {
        let mut house = House::new(1, &[5, 10]);
        house.post(2_500, &[Fate::TakenAt(2)]);
        let below = spare.clone();
        house.disk.set_plan(move |call| {
            let is_bad = call.path.starts_with(&below) && what.contains(&call.what);
            if is_bad { disk::Fate::Fails(Errno::ACCESS) } else { disk::Fate::Done }
        });
        let mut batch = house.take(0, 1).unwrap();
        let mut plan = house.deliver(&mut batch);
        for _ in 0..20 {
            assert!(house.settle(&batch, &mut plan).is_err());
            assert!(names(&house.disk, "spare").len() <= limits::DEFERRED_SPARES, "{what:?}");
        }
        house.disk.set_plan(|_| disk::Fate::Done);
        house.settle(&batch, &mut plan).unwrap();
        drop(batch);
        house.run_dry();
        house.check();
    }
    // One that was given to somebody else is not ours to be removed.
    let mut house = House::new(1, &[5, 10]);
    house.post(2_500, &[Fate::TakenAt(2)]);
    let mut batch = house.take(0, 1).unwrap();
    let mut plan = house.deliver(&mut batch);
    house.disk.set_plan(|call| match call.what {
        What::Rename => disk::Fate::Fails(Errno::ACCESS),
        _ => disk::Fate::Done,
    });
    assert!(house.settle(&batch, &mut plan).is_err());
    house.disk.set_plan(|_| disk::Fate::Done);
    names(&house.disk, "spare").iter().for_each(|name| house.disk.give_away(&spare.join(name)));
    for _ in 0..20 {
        assert!(house.settle(&batch, &mut plan).is_err());
        assert!(names(&house.disk, "spare").len() <= limits::DEFERRED_SPARES);
    }
}
