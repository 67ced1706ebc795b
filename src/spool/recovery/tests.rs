//! Bits that turn, and what is refused and left alone.

use std::path::Path;

use super::images::{OWNER, SEGMENT, Writer, directory, look, path, read, wanted};
use super::*;
use crate::simulation::chance::Chance;
use crate::simulation::disk::SimDisk;
use crate::spool::format::{Header, Kind, encode_segment, put_record};
use crate::spool::storage::Storage;

/// A disk with one segment that has a first block, sealed so.
fn with_first_block(header: Header, octets: u64, says: u64) -> SimDisk {
    let disk = SimDisk::default();
    disk.make_directory(directory()).unwrap();
    put_first_block(&disk, 0, header, octets, says);
    disk
}

fn put_first_block(disk: &SimDisk, number: u32, header: Header, octets: u64, says: u64) {
    disk.create(&path(number), octets).unwrap();
    let mut payload = Vec::new();
    encode_segment(says, header.address, header.address, ["store"], &mut payload);
    let (mut body, mut block) = (Vec::new(), Vec::new());
    put_record(Kind::Segment, 0, &payload, &mut body);
    header.put(&body, &mut block);
    disk.forge(&path(number), 0, &block);
}

fn header() -> Header {
    let Owner { chain, shard, node } = OWNER;
    Header { chain, shard, node, epoch: 1, sequence: 5, address: 1 << 20, durable_upto: 5 }
}

fn refused(disk: &SimDisk) -> String {
    let before: Vec<_> = disk.entries(directory()).unwrap();
    let error = recover(disk, directory(), &wanted(2), &mut |_| ()).unwrap_err();
    assert!((65..78).contains(&error.exit_status()), "{error}");
    assert_eq!(disk.entries(directory()).unwrap(), before, "nothing is touched");
    error.to_string()
}

#[test]
fn what_is_not_ours_is_refused_and_left() {
    let good = with_first_block(header(), SEGMENT, SEGMENT);
    let found = recover(&good, directory(), &wanted(2), &mut |_| ()).unwrap();
    assert_eq!((found.in_use.len(), found.next_sequence), (1, 6 + limits::LATE_BLOCKS));
    assert_eq!(found.routes, [RouteFound { name: "store".to_owned(), from: 1 << 20 }]);
    assert!(found.next_base > (1 << 20) + SEGMENT);

    let node = with_first_block(Header { node: 1, ..header() }, SEGMENT, SEGMENT);
    assert!(
        refused(&node).contains("belongs to durable-0002 of node 00000001, and this is durable-0002 of node 0000abcd")
    );
    let epoch = with_first_block(Header { epoch: 2, ..header() }, SEGMENT, SEGMENT);
    assert!(refused(&epoch).contains("written at start 2 of this data directory, and this is start 2"));
    let size = with_first_block(header(), SEGMENT, 2 * SEGMENT);
    assert!(refused(&size).contains("has 65536 octets, and says that segments have 131072"));
    put_first_block(&good, 1, header(), SEGMENT, SEGMENT);
    assert!(refused(&good).contains("0001.segment: claims the same part of the log as "));
    let foreign = with_first_block(header(), SEGMENT, SEGMENT);
    foreign.create(&directory().join("cursors"), 4096).unwrap();
    assert!(recover(&foreign, directory(), &wanted(2), &mut |_| ()).is_ok());
    foreign.create(&directory().join("notes.txt"), 4096).unwrap();
    assert!(refused(&foreign).contains("notes.txt: a file that this program does not know"));
    let link = with_first_block(header(), SEGMENT, SEGMENT);
    link.put_link(&directory().join("0001.segment"));
    assert!(refused(&link).contains("0001.segment: a symbolic link"));
    let owner = with_first_block(header(), SEGMENT, SEGMENT);
    owner.give_away(&path(0));
    assert!(refused(&owner).contains("belongs to user 12345"));
    assert!(recover(&owner, Path::new("/none"), &wanted(2), &mut |_| ()).is_err());
}

/// What is configured may change while mail waits: twice, and back.
#[test]
fn segments_of_different_lengths_are_one_log() {
    let disk = with_first_block(header(), SEGMENT, SEGMENT);
    let second = Header { sequence: 6, durable_upto: 6, address: 2 << 20, ..header() };
    put_first_block(&disk, 1, second, 4 * SEGMENT, 4 * SEGMENT);
    put_first_block(&disk, 2, Header { sequence: 7, address: 3 << 20, ..second }, 2 * SEGMENT, 2 * SEGMENT);
    let found = recover(&disk, directory(), &wanted(2), &mut |_| ()).unwrap();
    let lengths: Vec<u64> = found.in_use.iter().map(|found| found.file.file.octets() / SEGMENT).collect();
    assert_eq!((lengths, found.blocks, &found.corruption[..]), (vec![1, 4, 2], 3, &[][..]));
    let late = limits::LATE_SEGMENTS * 4 * SEGMENT;
    assert!(found.next_base > (3 << 20) + 2 * SEGMENT + late, "whatever the process before would have begun");
}

/// Its checksum is right: it is no broken block of ours.
#[test]
fn another_version_is_refused_and_a_broken_one_is_not() {
    let disk = with_first_block(header(), SEGMENT, SEGMENT);
    disk.flip(&path(0), 8 * 8 + 1);
    assert!(recover(&disk, directory(), &wanted(2), &mut |_| ()).is_ok());
    let mut block = disk.octets(&path(0));
    let length = u32::from_le_bytes(*block[48..].first_chunk().unwrap()) as usize;
    block[52..56].fill(0);
    let checksum = crc32c::crc32c(&block[..length]).to_le_bytes();
    disk.forge(&path(0), 52, &checksum);
    assert!(refused(&disk).contains("with format 3; start that one"));
    // Wherever it lies.
    let elsewhere = with_first_block(header(), SEGMENT, SEGMENT);
    block[52..56].copy_from_slice(&checksum);
    elsewhere.forge(&path(0), 8192, &block[..4096]);
    assert!(refused(&elsewhere).contains("with format 3"));
}

#[test]
fn an_empty_log_and_spare_files_are_fine() {
    let disk = SimDisk::default();
    disk.make_directory(directory()).unwrap();
    let found = recover(&disk, directory(), &wanted(2), &mut |_| ()).unwrap();
    assert_eq!((found.next_sequence, found.new_voids.len(), found.in_use.len()), (0, 0, 0));
    disk.create(&path(0), SEGMENT).unwrap();
    disk.create(&path(3), 4096).unwrap();
    let mut seen = Vec::new();
    let wanted = Wanted { least_base: 1 << 40, ..wanted(2) };
    let found = recover(&disk, directory(), &wanted, &mut |progress| seen.push(progress.octets)).unwrap();
    assert_eq!(found.spare, [Spare { number: 0, octets: SEGMENT }, Spare { number: 3, octets: 4096 }]);
    assert_eq!(found.new_voids, [(0, limits::LATE_BLOCKS - 1)]);
    assert!(found.next_base > 1 << 40);
    assert_eq!(seen.last(), Some(&(SEGMENT + 4096)));
    // A file that the disk cannot read is not taken for one that nothing is in.
    disk.set_plan(|call| match call.what {
        crate::simulation::disk::What::Read => crate::simulation::disk::Fate::Fails(rustix::io::Errno::IO),
        _ => crate::simulation::disk::Fate::Done,
    });
    assert!(recover(&disk, directory(), &wanted, &mut |_| ()).is_err());
}

/// One bit of a block that was on stable storage is put right, and that is told. Two cost the block: that is named, and nothing else is lost.
#[test]
fn a_bit_that_turns_is_put_right_and_two_take_one_block() {
    let (mut named, mut lost_any, mut behind_void, mut heads, mut behind_done) = (0, 0, 0, 0, 0);
    for seed in 0..180 {
        // Of writes that fail nothing need lie there, and the block behind them is not where the one before ends.
        let has_failures = seed >= 60;
        let mut writer = Writer::new(seed, if has_failures { 12 } else { 0 });
        writer.run(60);
        writer.settle();
        let (whole, before) = look(&writer.disk, 2, writer.needed_from);
        assert_eq!(whole.corruption, []);
        let mut chance = Chance::new(seed);
        let mut blocks = whole.runs();
        blocks.retain(|(_, address, _)| *address >= writer.needed_from);
        if blocks.len() < 3 {
            continue;
        }
        // Not the last one, of which no other says that it is durable.
        let (sequence, address, length) = blocks[chance.below(blocks.len() - 1)];
        if sequence >= whole.durable_upto || whole.voids.has(sequence) {
            continue;
        }
        behind_void += usize::from(!blocks.iter().any(|(other, ..)| other + 1 == sequence));
        let files = whole.files();
        let file = files.at(address).unwrap();
        let is_head = address == file.base;
        heads += usize::from(is_head);
        behind_done += usize::from(is_head && whole.in_use.iter().any(|one| one.file.base < writer.needed_from));
        let first = (address - file.base) * 8;
        let bit = first + chance.between(0, length as u64 * 8 - 1);
        let sound = writer.disk.octets(&path(file.number));
        writer.disk.flip(&path(file.number), bit);
        let (found, after) = look(&writer.disk, 2, writer.needed_from);
        assert_eq!(found.mended, [Mended { segment: file.number, at: bit / 8, sequence }], "seed {seed}");
        assert_eq!((&found.corruption[..], after), (&[][..], before.clone()), "seed {seed}");
        assert!(writer.disk.octets(&path(file.number)) == sound, "seed {seed}: what lies there is what was sealed");
        writer.disk.flip(&path(file.number), bit);
        writer
            .disk
            .flip(&path(file.number), first + (bit - first + 1 + chance.below(length) as u64) % (length as u64 * 8));
        let (found, after) = look(&writer.disk, 2, writer.needed_from);
        assert_eq!(found.mended, []);
        let is_same = |name: &u64| after.get(name).is_none_or(|content| *content == before[name]);
        assert!(before.keys().all(is_same));
        let has_all = before.keys().all(|name| after.contains_key(name));
        assert!(has_all || !found.corruption.is_empty(), "seed {seed}: nobody says so");
        if has_failures {
            // It may have said what else is void.
            continue;
        }
        assert!(after.keys().all(|name| before.contains_key(name)));
        assert_eq!(found.corruption.len(), 1, "seed {seed}: block {sequence} at {address}");
        assert_eq!(found.corruption[0].sequences, (sequence, sequence));
        assert_eq!(
            (found.next_sequence, &found.new_voids),
            (whole.next_sequence, &whole.new_voids),
            "nothing is cut off"
        );
        let gone = before.len() - after.len();
        named += found.corruption[0].lost.len();
        lost_any += gone;
        assert_eq!(read(&found, writer.needed_from), after);
    }
    assert!(named > 20 && lost_any > 20, "{named} {lost_any}");
    assert!(behind_void > 10 && heads > 10 && behind_done > 1, "{behind_void} {heads} {behind_done}");
}

impl Recovered {
    /// Sequence, address and length of each good block.
    fn runs(&self) -> Vec<(u64, u64, usize)> {
        let files = self.files();
        let mut scan = crate::spool::scan::LogScan::new(&files, OWNER, 0, u64::MAX);
        let mut blocks = Vec::new();
        while let Some(found) = scan.next_found().unwrap() {
            if let crate::spool::scan::Found::Block(block) = found {
                blocks.push((block.header.sequence, block.header.address, block.length));
            }
        }
        blocks
    }
}
