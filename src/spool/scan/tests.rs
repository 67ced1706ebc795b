//! A log in memory, read in every way.

use std::path::{Path, PathBuf};

use super::assembly::{Assembler, Damage, Event, Message};
use super::content::{ContentError, ContentReader};
use super::*;
use crate::simulation::disk::{Fate, SimDisk, What};
use crate::spool::format::{End, Kind, RecordError, put_record};
use crate::spool::storage::{Access, Storage};

const OWNER: Owner = Owner { chain: Chain::Durable, shard: 3, node: 7 };
const SEGMENT: u64 = 1 << 20;
const BASE: u64 = 100 << 20;

fn header(sequence: u64, address: u64) -> Header {
    let Owner { chain, shard, node } = OWNER;
    Header { chain, shard, node, epoch: 5, sequence, address, durable_upto: sequence }
}

fn path(number: u32) -> PathBuf {
    Path::new("/log").join(format::segment_name(number))
}

/// Segments of zeros, in use one after the other.
fn log(segments: u32) -> (SimDisk, LogFiles) {
    let disk = SimDisk::default();
    disk.make_directory(Path::new("/log")).unwrap();
    let make = |number| {
        let file = disk.create(&path(number), SEGMENT).unwrap();
        LogFile { number, base: BASE + u64::from(number) * SEGMENT, file }
    };
    // In any order.
    let files = LogFiles::new((0..segments).rev().map(make).collect());
    (disk, files)
}

fn put_block(disk: &SimDisk, files: &LogFiles, header: &Header, body: &[u8]) -> u64 {
    let mut octets = Vec::new();
    header.put(body, &mut octets);
    let file = files.at(header.address).unwrap();
    disk.forge(&path(file.number), header.address - file.base, &octets);
    header.address + octets.len() as u64
}

fn part(message: u64, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_record(Kind::Part, message, content, &mut body);
    body
}

fn end(message: u64, first: u64, parts: u32, content: &[u8]) -> Vec<u8> {
    let (content_octets, content_crc) = (content.len() as u64, crc32c::crc32c(content));
    let end = End { first, retain: first, content_octets, content_crc, parts, manifest: b"none" };
    let mut payload = Vec::new();
    format::encode_end(&end, &mut payload);
    let mut body = Vec::new();
    put_record(Kind::End, message, &payload, &mut body);
    body
}

/// Sequences of blocks, and bad stretches.
fn all(mut scan: SegmentScan) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut blocks, mut bad) = (Vec::new(), Vec::new());
    while let Some(found) = scan.next_found().unwrap() {
        match found {
            Found::Block(block) => blocks.push(block.header.sequence),
            Found::Bad { address, octets } => bad.push((address - scan.base, octets)),
        }
    }
    assert_eq!(scan.next_found().unwrap(), None);
    (blocks, bad)
}

fn whole(files: &LogFiles, number: usize) -> SegmentScan {
    let file = &files.as_slice()[number];
    SegmentScan::whole(Arc::clone(&file.file), OWNER, file.base).unwrap()
}

#[test]
fn good_blocks_are_found_wherever_they_are_and_nothing_else() {
    let (disk, files) = log(1);
    assert_eq!(all(whole(&files, 0)), (vec![], vec![(0, SEGMENT)]));
    let mut at = put_block(&disk, &files, &header(1, BASE), &part(1, b"x"));
    // Blocks of every length, the longest among them.
    at = put_block(&disk, &files, &header(2, at), &part(1, &vec![2; format::PAYLOAD_OCTETS]));
    let third = at;
    at = put_block(&disk, &files, &header(3, at), &part(1, &[3; 9000]));
    // Not of this log, not at its place, not behind the one before: each is left out as a whole.
    let foreign = Header { node: 8, ..header(4, at) };
    at = put_block(&disk, &files, &foreign, &part(1, &[4; 5000]));
    let mut octets = Vec::new();
    header(4, at + PAGE).put(&part(1, b"elsewhere"), &mut octets);
    disk.forge(&path(0), at - BASE, &octets);
    at += PAGE;
    at = put_block(&disk, &files, &header(2, at), b"");
    at = put_block(&disk, &files, &Header { epoch: 4, ..header(9, at) }, b"");
    let fifth = put_block(&disk, &files, &header(5, at), b"");
    let (before, behind) = (at - 5 * PAGE - BASE, fifth - BASE);
    assert_eq!(all(whole(&files, 0)), (vec![1, 2, 3, 5], vec![(before, 5 * PAGE), (behind, SEGMENT - behind)]));

    // From a block on, and up to one.
    let file = Arc::clone(&files.as_slice()[0].file);
    let scan = SegmentScan::new(file, OWNER, BASE, (third, at)).unwrap();
    assert_eq!(all(scan), (vec![3], vec![(before, 5 * PAGE)]));
    // What follows another block is held against it.
    let mut scan = whole(&files, 0);
    scan.follow(5, 2);
    assert_eq!(all(scan).0, [3, 5]);
    // One that is broken takes no other with it.
    disk.flip(&path(0), 8 * (third - BASE + 100));
    assert_eq!(all(whole(&files, 0)).0, [1, 2, 5]);
}

/// The content of a broken block is the sender's.
#[test]
fn what_a_sender_made_look_like_a_block_is_none() {
    let (disk, files) = log(1);
    let mut content = vec![0; 4096 - 64 - 16];
    for guess in 0..20_u64 {
        header(1_000_000, guess * 4096).put(&part(1, b"forged"), &mut content);
    }
    put_block(&disk, &files, &header(1, BASE), &part(1, &content));
    disk.flip(&path(0), 8 * 70);
    assert_eq!(all(whole(&files, 0)).0, [] as [u64; 0]);
}

#[test]
fn what_is_strange_is_told() {
    let (disk, files) = log(2);
    let other = Owner { shard: 4, ..OWNER };
    put_block(&disk, &files, &Header { shard: 4, ..header(1, BASE) }, b"");
    let mut scan = whole(&files, 0);
    while scan.next_found().unwrap().is_some() {}
    assert_eq!(scan.strange(), Some(Strange::Owner(other)));
    // Behind a block of ours it is old.
    put_block(&disk, &files, &header(1, BASE), b"");
    put_block(&disk, &files, &Header { shard: 4, ..header(1, BASE + PAGE) }, b"");
    let mut scan = whole(&files, 0);
    while scan.next_found().unwrap().is_some() {}
    assert_eq!(scan.strange(), None);
}

#[test]
fn a_page_that_cannot_be_read_takes_no_other_with_it() {
    let (disk, files) = log(1);
    let second = put_block(&disk, &files, &header(1, BASE), b"");
    let third = put_block(&disk, &files, &header(2, second), b"");
    put_block(&disk, &files, &header(3, third), b"");
    let bad = second - BASE;
    // As the kernel calls it with the page cache, and past it.
    for errno in [Errno::IO, Errno::NODATA, Errno::ILSEQ] {
        disk.set_plan(move |call| {
            let hits = (call.at..call.at + call.octets as u64).contains(&bad);
            if call.what == What::Read && hits { Fate::Fails(errno) } else { Fate::Done }
        });
        let mut scan = whole(&files, 0);
        let mut blocks = Vec::new();
        while let Some(found) = scan.next_found().unwrap() {
            blocks.extend(if let Found::Block(block) = found { Some(block.header.sequence) } else { None });
        }
        assert_eq!(blocks, [1, 3]);
        assert!(scan.unreadable().unwrap().to_string().contains("0000.segment: cannot read it: "));
        assert_eq!(scan.unreadable_until(), Some(BASE + bad + PAGE));
        assert_eq!(scan.octets_read(), SEGMENT);
    }
    // What else goes wrong is no matter of one page.
    disk.set_plan(|_| Fate::Fails(Errno::NXIO));
    assert!(whole(&files, 0).next_found().is_err());
}

#[test]
fn a_log_is_read_from_segment_to_segment() {
    let (disk, files) = log(3);
    for number in 0..3 {
        let base = BASE + number * SEGMENT;
        let next = put_block(&disk, &files, &header(number * 10 + 1, base), b"");
        // One of an earlier use, though nothing in its segment says so.
        let sequence = if number == 2 { 5 } else { number * 10 + 2 };
        put_block(&disk, &files, &header(sequence, next), b"");
    }
    let read = |from, until| {
        let mut scan = LogScan::new(&files, OWNER, from, until);
        let mut blocks = Vec::new();
        while let Some(found) = scan.next_found().unwrap() {
            blocks.extend(if let Found::Block(block) = found { Some(block.header.sequence) } else { None });
        }
        blocks
    };
    assert_eq!(read(0, u64::MAX), [1, 2, 11, 12, 21]);
    assert_eq!(read(BASE + PAGE, BASE + SEGMENT + PAGE), [2, 11]);
    assert_eq!(read(BASE + SEGMENT, BASE + SEGMENT), [] as [u64; 0]);
    assert_eq!(files.at(BASE - 1).map(|file| file.number), None);
    assert_eq!(files.at(BASE + SEGMENT).map(|file| file.number), Some(1));
    assert_eq!(files.at(BASE + 3 * SEGMENT).map(|file| file.number), None);
}

#[test]
fn void_ranges_are_joined_and_asked() {
    let mut voids = Voids::default();
    for (from, to) in [(10, 12), (20, 20), (13, 14), (5, 6), (u64::MAX, u64::MAX), (19, 19), (30, 40), (32, 50)] {
        voids.add(from, to);
    }
    assert_eq!(voids.ranges(), [(5, 6), (10, 14), (19, 20), (30, 50), (u64::MAX, u64::MAX)]);
    for (sequence, is_void) in [(4, false), (5, true), (7, false), (14, true), (15, false), (u64::MAX, true)] {
        assert_eq!(voids.has(sequence), is_void, "{sequence}");
    }
    assert_eq!(voids.without(0, 25), [(0, 4), (7, 9), (15, 18), (21, 25)]);
    assert_eq!(voids.without(11, 13), []);
    assert_eq!(voids.without(12, 19), [(15, 18)]);
    assert_eq!(voids.without(60, u64::MAX), [(60, u64::MAX - 1)]);
    voids.add(0, u64::MAX);
    assert_eq!(voids.ranges(), [(0, u64::MAX)]);
}

/// Messages and their contents; what else came.
fn messages(files: &LogFiles, voids: &Voids, start: u64) -> (Vec<(u64, Vec<u8>)>, Vec<Event<'static>>) {
    let mut scan = LogScan::new(files, OWNER, start, u64::MAX);
    let mut assembler = Assembler::new(start);
    let mut found: Vec<Message> = Vec::new();
    let mut others = Vec::new();
    let mut each = |event: Event<'_>| match event {
        Event::Message(message, manifest) => {
            assert_eq!(&*manifest, b"none");
            found.push(message);
        }
        Event::Damaged(damaged, manifest, why) => {
            others.push(Event::Damaged(damaged, manifest.into_owned().into(), why));
        }
        Event::Aborted(_) => {}
        Event::Unfinished(unfinished) => others.push(Event::Unfinished(unfinished)),
        Event::Strange(address, error) => others.push(Event::Strange(address, error)),
    };
    while let Some(next) = scan.next_found().unwrap() {
        match next {
            Found::Block(block) if voids.has(block.header.sequence) => assembler.void(block.header.address),
            Found::Block(block) => assembler.block(&block, &mut each),
            Found::Bad { address, octets } if octets < SEGMENT / 2 => assembler.bad(address),
            Found::Bad { .. } => {}
        }
    }
    assembler.finish(&mut each);
    let mut reader = ContentReader::new().unwrap();
    let content = |message: Message| {
        let mut content = Vec::new();
        reader.read(files, OWNER, &message, |piece| content.extend_from_slice(piece)).unwrap();
        (message.number, content)
    };
    (found.into_iter().map(content).collect(), others)
}

#[test]
fn messages_come_whole_or_not_at_all() {
    let (disk, files) = log(2);
    let long = vec![b'l'; 400_000];
    // One in three blocks of two segments, one between them, one aborted, one without an end.
    let one = [part(1, &long[..200_000]), part(2, b"short"), end(2, BASE, 1, b"short"), part(3, b"void")].concat();
    let second = put_block(&disk, &files, &header(1, BASE), &one);
    let mut abort = Vec::new();
    put_record(Kind::Abort, 3, b"", &mut abort);
    let two = [part(1, &long[200_000..300_000]), abort, end(3, BASE, 1, b"void"), part(4, b"?")].concat();
    put_block(&disk, &files, &header(2, second), &two);
    let base = BASE + SEGMENT;
    let three = [part(1, &long[300_000..]), end(1, BASE, 3, &long), end(5, base, 0, b"")].concat();
    put_block(&disk, &files, &header(3, base), &three);

    let none = Voids::default();
    let (found, others) = messages(&files, &none, BASE);
    assert_eq!(found, [(2, b"short".to_vec()), (1, long.clone()), (5, vec![])]);
    // That with an end behind its abort cannot be; it is damaged, not delivered.
    assert!(matches!(&others[..], [Event::Damaged(three, _, Damage::Part), Event::Unfinished(four)]
        if three.first == BASE && four.number == 4 && four.first == second && four.content_octets == 1));

    // Without a block that is void: what had a part in it was refused.
    let mut voids = Voids::default();
    voids.add(2, 2);
    let (found, others) = messages(&files, &voids, BASE);
    assert_eq!(found.len(), 2);
    assert!(
        matches!(others[..], [Event::Unfinished(three)] if three.number == 3),
        "its abort is void, too: {others:?}"
    );
    // From the second block on: what began before it is no matter any more.
    let (found, others) = messages(&files, &none, second);
    assert_eq!((found, others.len()), (vec![(5, vec![])], 1));
    // With a block that is broken it is damaged.
    disk.flip(&path(0), 8 * (second - BASE + 99));
    let (found, others) = messages(&files, &none, BASE);
    assert_eq!(found.len(), 2);
    assert!(
        matches!(&others[..], [Event::Damaged(one, _, Damage::Part), Event::Unfinished(_)] if one.first == BASE && one.sequence == 3),
        "{others:?}"
    );
}

#[test]
fn what_is_no_record_is_told_and_what_is_before_it_counts() {
    let (disk, files) = log(1);
    let body = [part(1, b"x"), end(1, BASE, 1, b"x"), vec![9; 16], end(2, BASE, 0, b"")].concat();
    put_block(&disk, &files, &header(1, BASE), &body);
    let (found, others) = messages(&files, &Voids::default(), BASE);
    assert_eq!(found, [(1, b"x".to_vec())]);
    assert_eq!(others, [Event::Strange(BASE, RecordError::Kind(9))]);
}

#[test]
fn a_new_epoch_goes_on_with_nothing() {
    let (disk, files) = log(1);
    let next = put_block(&disk, &files, &header(1, BASE), &part(1, b"old"));
    let body = [part(1, b"new"), end(1, next, 1, b"new")].concat();
    put_block(&disk, &files, &Header { epoch: 6, ..header(2, next) }, &body);
    let (found, others) = messages(&files, &Voids::default(), BASE);
    assert_eq!(found, [(1, b"new".to_vec())]);
    assert!(matches!(others[..], [Event::Unfinished(old)] if old.first == BASE));
}

/// Line by line, among others.
#[test]
fn a_message_of_many_pieces_is_found_again() {
    let (disk, files) = log(1);
    let mut content = Vec::new();
    let (mut at, mut parts) = (BASE, 0);
    for sequence in 1..=30 {
        let mut body = Vec::new();
        for _ in 0..60 {
            let line = format!("line {parts}\r\n");
            body.extend(part(1, line.as_bytes()));
            body.extend(part(2, b"another's"));
            content.extend_from_slice(line.as_bytes());
            parts += 1;
        }
        if sequence == 30 {
            body.extend(end(1, BASE, parts, &content));
        }
        at = put_block(&disk, &files, &header(sequence, at), &body);
    }
    assert!(parts as usize > limits::EXTENTS);
    let (found, _) = messages(&files, &Voids::default(), BASE);
    assert_eq!(found, [(1, content)]);
}

#[test]
fn content_that_is_not_what_was_written_is_refused() {
    let (disk, files) = log(1);
    let body = [part(1, &[1; 9000]), end(1, BASE, 1, &[1; 9000])].concat();
    put_block(&disk, &files, &header(1, BASE), &body);
    let mut scan = whole(&files, 0);
    let mut found = None;
    let Some(Found::Block(block)) = scan.next_found().unwrap() else { panic!() };
    Assembler::new(0)
        .block(&block, |event| found = if let Event::Message(message, _) = event { Some(message) } else { None });
    let message = found.unwrap();
    let mut reader = ContentReader::new().unwrap();
    let mut read = |files: &LogFiles, message: &Message| {
        reader.forget();
        let mut content = Vec::new();
        reader.read(files, OWNER, message, |piece| content.extend_from_slice(piece)).map(|()| content)
    };
    assert_eq!(read(&files, &message).unwrap(), [1; 9000]);
    let gone = read(&LogFiles::default(), &message).unwrap_err();
    assert!(matches!(gone, ContentError::Gone(_)));
    disk.flip(&path(0), 8 * 5000);
    assert!(matches!(read(&files, &message).unwrap_err(), ContentError::Checksum(BASE)));
    let scattered = Message { extents: None, ..message };
    assert!(matches!(read(&files, &scattered).unwrap_err(), ContentError::Checksum(BASE)));
    disk.set_plan(|_| Fate::Fails(Errno::IO));
    assert!(matches!(read(&files, &scattered), Err(ContentError::Checksum(_))));
    assert!(disk.open(&path(0), Access::Read).is_ok());
}
