//! The power goes (RELIABILITY F7), through a file system and a block device: what the device was given is recorded while the real
//! program takes and delivers mail on it, is killed, and starts again. From that, disks as they would be if the power had gone at some
//! moment: all writes before the last flush, any of those after it, and those torn. The program starts on each. All that had its 250 by
//! that moment is delivered there.
//!
//! `RINGMX_POWER_IMAGES` says how many, `RINGMX_POWER_SEED` which.

use super::chance::{Chance, count};
use super::house::{Seen, assert_no_alarm, configuration};
use crate::faults::device::{Event, Recording};
use crate::faults::disk::Disk;
use crate::faults::machine::{is_long, needed};
use crate::faults::offers::{Ledger, Offer, Offers};
use crate::process::server::private_address;

/// Of the disk: enough that it never fills up in the time that is recorded.
const MIB: usize = 96;

/// What a disk writes as one.
const SECTOR: usize = 512;

#[test]
fn after_a_power_cut_at_any_moment_all_that_had_its_250_is_delivered() {
    let test = "after_a_power_cut_at_any_moment";
    let Some(disk) = needed(test, Disk::held(MIB, &[])) else { return };
    let Some(other) = needed(test, Disk::ext4_of(MIB as u64)) else { return };
    let images = count("RINGMX_POWER_IMAGES", if is_long() { 500 } else { 8 });
    let (mut chance, seed) = Chance::of("RINGMX_POWER_SEED");
    eprintln!("RINGMX_POWER_SEED={seed}, {images} images");
    let (ledger, recording) = record(&disk);
    let flushes = recording.journal.iter().filter(|event| matches!(event, Event::Flush)).count();
    eprintln!(
        "recorded: {} writes, {flushes} flushes, {} messages with a 250",
        recording.journal.len() - flushes,
        ledger.acknowledged.len()
    );
    drop(disk);
    let mut cuts: Vec<usize> = (0..images).map(|_| chance.below(recording.journal.len() as u64 + 1) as usize).collect();
    cuts.sort_unstable();
    let mut disks = Disks::of(recording);
    let mut sum = Sum::default();
    other.unmount();
    for cut in cuts {
        let image = disks.cut(cut, &mut chance);
        judge(&other, cut, &image, &ledger, &mut sum);
    }
    sum.pending = disks.pending;
    eprintln!("{images} images: {sum:?}");
    assert!(sum.pending > 0 && sum.waited_for > 0, "there was something to lose: {sum:?}");
}

#[derive(Debug, Default)]
struct Sum {
    /// File systems that could not be mounted as they were.
    mended: u64,
    /// Writes that the power may have cost.
    pending: u64,
    /// Messages with a 250, over all images.
    acknowledged: u64,
    /// Of those, what was in no maildir when the power was there again.
    waited_for: u64,
}

/// Takes and delivers mail on it, with a kill in the middle.
fn record(disk: &Disk) -> (Ledger, Recording) {
    let address = private_address();
    let configuration = configuration(&address, "DISK/data", "DISK/mail", "durable", "");
    let device = disk.device();
    device.record();
    let mut offer = Offer::of(address.parse().expect("an address"), 8, 2_000);
    (offer.octets_of_some, offer.clock) = (40_000, Some(device.clock()));
    let offers = Offers::start(&offer);
    for _ in 0..2 {
        let server = disk.serve(&configuration, 1);
        offers.go_on_for(300);
        drop(server);
    }
    let server = disk.serve(&configuration, 1);
    offers.go_on_for(300);
    let ledger = offers.finish();
    server.stop();
    assert_eq!(device.blocks().1, 0, "a block of a log is written once");
    ledger.assert_no_permanent_refusal();
    (ledger, device.recording())
}

/// Disks after a cut, in the order of time.
struct Disks {
    journal: Vec<Event>,
    /// With all events before `at`, of which the last is a flush.
    durable: Vec<u8>,
    at: usize,
    pending: u64,
}

impl Disks {
    fn of(recording: Recording) -> Self {
        Self { journal: recording.journal, durable: recording.before, at: 0, pending: 0 }
    }

    /// All before the last flush, and whatever of what is after it. Each is later than the one before.
    fn cut(&mut self, cut: usize, chance: &mut Chance) -> Vec<u8> {
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        let flushed = self.journal[..cut].iter().rposition(is_flush).map_or(0, |last| last + 1).max(self.at);
        for event in &self.journal[self.at..flushed] {
            put(&mut self.durable, event, |_| true);
        }
        self.at = flushed;
        let mut image = self.durable.clone();
        let share = chance.below(5);
        for event in &self.journal[flushed..cut] {
            self.pending += 1;
            let is_torn = chance.one_of(4);
            let is_kept = match share {
                0 => false,
                4 => true,
                share => chance.below(4) < share,
            };
            put(&mut image, event, |_| if is_torn { chance.one_of(2) } else { is_kept });
        }
        image
    }
}

/// Writes those sectors of it that are kept.
fn put(image: &mut [u8], event: &Event, mut is_kept: impl FnMut(usize) -> bool) {
    let Event::Write { at, octets } = event else { return };
    for (number, sector) in octets.chunks(SECTOR).enumerate() {
        if is_kept(number) {
            let at = at + number * SECTOR;
            image[at..at + sector.len()].copy_from_slice(sector);
        }
    }
}

/// The program on such a disk.
fn judge(disk: &Disk, cut: usize, image: &[u8], all: &Ledger, sum: &mut Sum) {
    // What had its 250 when the clock showed no more had it before the cut, at the latest.
    let by_then = |id: &String| all.acknowledged_at[id] <= cut as u64;
    let acknowledged = all.acknowledged.iter().filter(|(id, _)| by_then(id));
    let ledger = Ledger {
        acknowledged: acknowledged.map(|(id, number)| (id.clone(), *number)).collect(),
        offered: all.offered.clone(),
        ..Ledger::default()
    };
    disk.replace_image(image);
    if disk.mount().is_err() {
        // A superblock of which only some sectors were kept has a wrong checksum. The operator mends it out of its copies, and goes on.
        disk.repair();
        sum.mended += 1;
        disk.mount().unwrap_or_else(|missing| panic!("cut at {cut}: {missing:?}"));
    }
    let mail = disk.seen().join("mail");
    let mut seen = Seen::default();
    seen.look(&mail, false);
    sum.acknowledged += ledger.acknowledged.len() as u64;
    sum.waited_for += seen.lacks(&ledger).len() as u64;
    let server = disk.serve(&configuration("127.0.0.1:0", "DISK/data", "DISK/mail", "durable", ""), 1);
    seen.await_all(&mail, false, &ledger);
    assert_no_alarm(&server);
    // Who had no 250 may be there as well, as long as somebody offered it. One with another content would have been seen.
    let others: Vec<_> = seen.numbers().filter(|number| !all.offered.contains(number)).collect();
    assert!(others.is_empty(), "cut at {cut}: never offered: {others:?}");
    drop(server);
    disk.unmount();
}
