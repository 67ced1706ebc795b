//! A log on a disk that is a list of vectors, read back by what the format says and nothing else.

mod failures;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustix::io::Errno;

use super::{Log, LogOptions, Start};
use crate::handoff::gather::Described;
use crate::limits;
use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::memory::slab::Slab;
use crate::memory::write::{File, Write};
use crate::policy::decision::Ticket;
use crate::smtp::reply::Reply;
use crate::spool::format::{self, ALIGNMENT, Chain, Record};
use crate::spool::segment::Segment;
use crate::spool::steward::{Broken, Lack, Supply};

const SEGMENT: u64 = 1 << 20;

/// A log and what it stands on.
struct House {
    log: Log,
    supply: Supply,
    slab: Slab,
    files: Vec<Vec<u8>>,
    under_way: Vec<(u32, Write)>,
    now_ms: u64,
    next: u64,
}

/// A message as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    id: MessageId,
    content: Vec<u8>,
    first: u64,
    retain: u64,
    place: u64,
}

impl House {
    fn new(chain: Chain, files: usize) -> Self {
        let supply = Supply::default();
        let slab = Slab::new(64);
        let routes: Arc<[String]> = ["store".to_owned(), "hop".to_owned()].into();
        let options = LogOptions { chain, shard: 3, node: 7, epoch: 9, routes, segment_octets: SEGMENT };
        let start = Start { sequence: 100, base: 1 << 30, voids: vec![(97, 99)] };
        let log = Log::new(options, start, supply.clone(), &slab);
        let mut house = Self { log, supply, slab, files: Vec::new(), under_way: Vec::new(), now_ms: 0, next: 0 };
        (0..files).for_each(|_| house.prepare());
        house
    }

    fn prepare(&mut self) {
        let number = self.files.len();
        self.files.push(vec![0; SEGMENT as usize]);
        self.supply.put(Arc::new(Segment::new(number as u32, Arc::new(File::Numbered(number as u64)), SEGMENT)));
    }

    fn ticket(slot: u32, question: u32) -> Ticket {
        Ticket { shard: 3, slot, generation: 0, question }
    }

    /// Ends the message of a slot. Its id says so, too.
    fn end(&mut self, slot: u32) -> Result<MessageId, Reply> {
        self.next += 1;
        let id = MessageId::new(7, 9, 3, self.next);
        let manifest = id.to_string();
        self.end_as(slot, id, manifest.as_bytes()).map(|()| id)
    }

    fn end_as(&mut self, slot: u32, id: MessageId, manifest: &[u8]) -> Result<(), Reply> {
        let routes = &[(Route(1), 2)];
        self.log.end(Self::ticket(slot, id.sequence() as u32), &Described { id, manifest, routes })
    }

    fn message(&mut self, slot: u32, content: &[u8]) -> MessageId {
        assert_eq!(self.log.content(slot, content), content.len());
        self.end(slot).unwrap()
    }

    /// The end of a turn. Gives how many writes were started.
    fn turn(&mut self) -> usize {
        self.log.hand_on(self.now_ms);
        let before = self.under_way.len();
        while let Some(write) = self.log.write() {
            self.under_way.push(write);
        }
        self.under_way.len() - before
    }

    fn complete(&mut self, index: usize) {
        let (number, Write { file, octets, at, is_synced }) = self.under_way.remove(index);
        assert!(is_synced);
        let File::Numbered(file) = *file else { panic!("no descriptors here") };
        let (at, octets) = (at as usize, octets.octets());
        assert!(at.is_multiple_of(ALIGNMENT) && octets.len().is_multiple_of(ALIGNMENT));
        assert!((octets.as_ptr() as usize).is_multiple_of(ALIGNMENT), "direct writes want it");
        self.files[file as usize][at..at + octets.len()].copy_from_slice(octets);
        self.log.written(number, Ok(octets.len() as u32));
    }

    fn fail(&mut self, index: usize, result: Result<u32, Errno>) -> u64 {
        let (number, write) = self.under_way.remove(index);
        self.log.written(number, result);
        let File::Numbered(file) = *write.file else { panic!("no descriptors here") };
        file
    }

    /// Turns until nothing is under way or to be written; all goes well.
    fn settle(&mut self) {
        while self.turn() > 0 || !self.under_way.is_empty() {
            while !self.under_way.is_empty() {
                self.complete(0);
            }
        }
    }

    fn answers(&mut self) -> Vec<(u32, Result<MessageId, Reply>)> {
        std::iter::from_fn(|| self.log.take_answer()).map(|(ticket, said)| (ticket.slot, said)).collect()
    }

    fn accepted(&mut self) -> Vec<MessageId> {
        self.answers().into_iter().map(|(_, said)| said.unwrap()).collect()
    }

    /// What a reader finds; and the blocks that are void.
    fn read(&self) -> (Vec<Found>, BTreeSet<u64>) {
        let mut blocks = BTreeMap::new();
        for file in &self.files {
            let Ok(first) = format::open(file) else { continue };
            let Some(Ok(opening)) = first.records().next() else { panic!("it begins with nothing") };
            let Record::Segment(opening) = opening.record else { panic!("it begins with {opening:?}") };
            assert_eq!((opening.base, opening.segment_octets), (first.header.address, SEGMENT));
            assert_eq!(opening.routes.names().collect::<Vec<_>>(), ["store", "hop"]);
            let mut at = 0;
            while at < file.len() {
                match format::open(&file[at..]) {
                    Ok(block) if block.header.address == opening.base + at as u64 => {
                        assert_eq!((block.header.node, block.header.epoch, block.header.shard), (7, 9, 3));
                        assert!(blocks.insert(block.header.sequence, block).is_none(), "a number is used once");
                        at += block.span();
                    }
                    _ => at += ALIGNMENT,
                }
            }
        }
        let mut voids = BTreeSet::new();
        for record in blocks.values().flat_map(|block| block.records()) {
            if let Record::Void { from, to } = record.unwrap().record {
                voids.extend(from..=to);
            }
        }
        let mut last = None;
        let mut parts = BTreeMap::<u64, (u64, Vec<u8>)>::new();
        let (mut manifests, mut found) = (BTreeMap::<u64, Vec<u8>>::new(), Vec::<(u64, Found)>::new());
        for (sequence, block) in &blocks {
            assert!(last.is_none_or(|last| last < block.header.address), "addresses grow with numbers");
            last = Some(block.header.address);
            assert!(block.header.durable_upto <= *sequence);
            if voids.contains(sequence) {
                continue;
            }
            for located in block.records() {
                let located = located.unwrap();
                match located.record {
                    Record::Part { message, content } => {
                        let part = parts.entry(message).or_insert((block.header.address, Vec::new()));
                        part.1.extend_from_slice(content);
                    }
                    Record::Manifest { message, octets } => {
                        parts.entry(message).or_insert((block.header.address, Vec::new()));
                        manifests.entry(message).or_default().extend_from_slice(octets);
                    }
                    Record::End { message, end } => {
                        let mut manifest = manifests.remove(&message).unwrap_or_default();
                        manifest.extend_from_slice(end.manifest);
                        let (first, content) = parts.remove(&message).unwrap_or((block.header.address, Vec::new()));
                        if content.len() as u64 != end.content_octets {
                            continue;
                        }
                        assert_eq!((first, crc32c::crc32c(&content)), (end.first, end.content_crc));
                        let id = str::from_utf8(&manifest).unwrap();
                        let id = id.trim_end_matches('.').parse().unwrap();
                        let place = block.header.address + located.at as u64;
                        found.push((message, Found { id, content, first, retain: end.retain, place }));
                    }
                    Record::Abort { message } => {
                        parts.remove(&message);
                        found.retain(|(tag, _)| *tag != message);
                    }
                    _ => {}
                }
            }
        }
        (found.into_iter().map(|(_, found)| found).collect(), voids)
    }

    fn ids(&self) -> Vec<MessageId> {
        self.read().0.into_iter().map(|found| found.id).collect()
    }
}

#[test]
fn a_message_is_answered_when_its_block_is_durable_and_not_before() {
    let mut house = House::new(Chain::Durable, 2);
    assert_eq!((house.turn(), house.log.next_time_ms()), (0, None), "nothing is written for nothing");
    let id = house.message(4, b"From: me\r\n\r\nhello\r\n");
    assert_eq!(house.turn(), 2, "the block that opens the segment, and the message's");
    assert_eq!(house.log.next_time_ms(), Some(limits::WRITE_HUNG_MS));
    assert!(house.answers().is_empty() && house.log.take_committed().is_none());
    // The second alone is not enough: what is before it is not durable.
    house.complete(1);
    assert!(house.answers().is_empty() && house.log.take_committed().is_none());
    house.complete(0);
    assert_eq!(house.answers(), [(4, Ok(id))]);
    let committed = house.log.take_committed().unwrap();
    let (found, voids) = house.read();
    assert_eq!(voids, BTreeSet::from([97, 98, 99]), "of the epoch before");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, &*found[0].content), (id, &b"From: me\r\n\r\nhello\r\n"[..]));
    assert_eq!((committed.id, committed.place, committed.retain), (id, found[0].place, found[0].retain));
    let content = committed.content.unwrap();
    assert_eq!(content.pieces().collect::<Vec<_>>(), [&found[0].content[..]]);
    assert_eq!(
        (committed.manifest.octets(), committed.routes.as_slice()),
        (id.to_string().as_bytes(), &[(Route(1), 2)][..])
    );
    let (watermark, low) = house.log.published();
    assert!(watermark > committed.place && watermark.is_multiple_of(ALIGNMENT as u64) && low == watermark);
}

#[test]
fn no_block_claims_what_is_void_by_another_that_may_be_lost() {
    let mut house = House::new(Chain::Durable, 2);
    house.message(0, b"beside the block that names what is void");
    assert_eq!(house.turn(), 2);
    let durable_upto = |house: &House| -> Vec<u64> {
        let blocks = house.under_way.iter().map(|(_, write)| format::open(write.octets.octets()).unwrap());
        blocks.map(|block| block.header.durable_upto).collect()
    };
    assert_eq!(durable_upto(&house), [97, 97]);
    house.settle();
    house.message(0, b"behind it");
    house.turn();
    assert_eq!(durable_upto(&house), [102]);
}

#[test]
fn while_one_block_is_under_way_the_next_gathers() {
    let mut house = House::new(Chain::Durable, 2);
    house.message(0, b"first");
    house.settle();
    let mut ids = house.accepted();
    ids.push(house.message(0, b"second"));
    assert_eq!(house.turn(), 1);
    for slot in 1..100 {
        ids.push(house.message(slot, format!("of {slot}").as_bytes()));
        assert_eq!(house.turn(), 0, "they wait for company");
    }
    house.complete(0);
    assert_eq!(house.accepted(), ids[1..2]);
    assert_eq!(house.turn(), 1, "one block for all of them");
    house.complete(0);
    assert_eq!(house.accepted(), ids[2..]);
    assert_eq!(house.ids(), ids);
    assert_eq!((house.log.counts().messages, house.log.counts().commits), (101, 4));
    // One that is large does not wait.
    house.message(0, b"again");
    assert_eq!(house.turn(), 1);
    house.message(1, &vec![b'x'; limits::GROUP_OCTETS]);
    assert_eq!(house.turn(), 1);
}

#[test]
fn answers_come_in_the_order_of_the_log() {
    let mut house = House::new(Chain::Durable, 4);
    house.message(0, b"opens it");
    house.settle();
    house.answers();
    let large = vec![b'x'; limits::GROUP_OCTETS];
    let ids: Vec<_> = (0..3)
        .map(|slot| {
            let id = house.message(slot, &large);
            assert_eq!(house.turn(), 1);
            id
        })
        .collect();
    for index in [2, 1] {
        house.complete(index);
        assert!(house.answers().is_empty());
    }
    house.complete(0);
    // The last may have its end in a block that waited for company.
    house.settle();
    assert_eq!(house.accepted(), ids);
}

/// Else recovery, which does not find what was done with, would take what is behind it for a torn tail.
#[test]
fn a_block_is_needed_until_another_says_that_it_is_durable() {
    let mut house = House::new(Chain::Durable, 4);
    house.message(0, b"opens it");
    house.settle();
    let before = house.log.needed_from();
    assert!(before < house.log.published().0, "the last block is durable, and nobody says so");
    // Two are sealed before one of them is committed.
    let large = vec![b'x'; limits::GROUP_OCTETS];
    for slot in [0, 1] {
        house.message(slot, &large);
        house.turn();
    }
    assert_eq!(house.under_way.len(), 2);
    let sealed: Vec<u64> = house.log.groups.iter().map(|group| group.address).collect();
    house.complete(1);
    house.complete(0);
    assert!(house.log.published().0 > sealed[1], "both are durable");
    assert_eq!(house.log.needed_from(), sealed[0], "of neither is it said");
    house.settle();
    house.message(0, b"another");
    house.settle();
    let (watermark, low) = house.log.published();
    assert_eq!((low, house.log.needed_from()), (watermark, watermark - ALIGNMENT as u64), "that one says it of both");
}

#[test]
fn content_interleaves_and_spans_blocks_and_segments() {
    let mut house = House::new(Chain::Durable, 6);
    let text = |slot: u32, round: usize| format!("{slot}/{round} ").repeat(3_000 + slot as usize * 100);
    for round in 0..12 {
        for slot in 0..8 {
            assert!(house.log.content(slot, text(slot, round).as_bytes()) > 0);
        }
        house.turn();
        while !house.under_way.is_empty() {
            house.complete(0);
        }
    }
    house.log.abort(5);
    let ids: Vec<_> = (0..8).filter(|slot| *slot != 5).map(|slot| (slot, house.end(slot).unwrap())).collect();
    house.settle();
    assert_eq!(house.accepted(), ids.iter().map(|(_, id)| *id).collect::<Vec<_>>());
    let (found, _) = house.read();
    assert_eq!(found.len(), 7);
    for (found, (slot, id)) in found.iter().zip(&ids) {
        let whole: String = (0..12).map(|round| text(*slot, round)).collect();
        assert_eq!((found.id, found.content == whole.as_bytes()), (*id, true));
        assert!(found.first < found.place && found.retain <= found.first);
    }
    // What begins first is what all must be kept for.
    assert_eq!(found[0].retain, found[0].first);
    let (watermark, low) = house.log.published();
    assert_eq!(low, watermark, "nothing is open any more");
    let opened = house.files.iter().filter(|file| format::open(file).is_ok()).count();
    assert!(opened >= 2, "{opened} segments");
}

#[test]
fn what_a_message_began_with_is_kept_while_it_comes_and_until_it_is_dealt_with() {
    let mut house = House::new(Chain::Durable, 6);
    // Nobody else sends anything: each block is closed by the very message that goes on in the next.
    let large = vec![b'x'; limits::BLOCK_OCTETS];
    for manifest_octets in [100, limits::BLOCK_OCTETS] {
        house.log.content(1, b"begins");
        for _ in 0..3 {
            house.log.content(1, &large[..large.len() - manifest_octets / 2]);
            house.settle();
        }
        let (watermark, low) = house.log.published();
        house.next += 1;
        let id = MessageId::new(7, 9, 3, house.next);
        house.end_as(1, id, format!("{id}{}", ".".repeat(manifest_octets)).as_bytes()).unwrap();
        house.settle();
        assert_eq!(house.accepted(), [id]);
        let committed = house.log.take_committed().unwrap();
        let found = house.read().0.pop().unwrap();
        assert!(committed.first == found.first && low <= found.first && found.first < watermark);
        assert_eq!((found.retain, committed.retain), (found.first, found.first));
        let (watermark, low) = house.log.published();
        assert_eq!(low, watermark, "nothing is open any more");
    }
}

#[test]
fn an_envelope_may_be_longer_than_a_block() {
    let mut house = House::new(Chain::Durable, 8);
    for octets in [limits::BLOCK_OCTETS - 5_000, limits::BLOCK_OCTETS, limits::MANIFEST_OCTETS - limits::PAGE_OCTETS] {
        house.log.content(0, b"of many");
        house.next += 1;
        let id = MessageId::new(7, 9, 3, house.next);
        let manifest = format!("{id}{}", ".".repeat(octets));
        house.end_as(0, id, manifest.as_bytes()).unwrap();
        house.settle();
        assert_eq!(house.accepted(), [id]);
        assert_eq!(house.log.take_committed().unwrap().manifest.octets(), manifest.as_bytes());
    }
    assert_eq!(house.read().0.len(), 3);
    assert!(house.read().0.iter().all(|found| found.content == b"of many"));
}

#[test]
fn nothing_of_other_mail_is_in_what_is_written() {
    let mut house = House::new(Chain::Durable, 8);
    for round in 0..200_u32 {
        // Memory is used again: what was in it must not be in what fills a block up.
        let canary = vec![b'C'; 3_000 + round as usize % 500];
        house.message(0, &canary);
        house.settle();
        house.answers();
        while house.log.take_committed().is_some() {}
        house.slab.trim(0);
    }
    for file in &house.files {
        let mut at = 0;
        while let Ok(block) = format::open(&file[at.min(file.len())..]) {
            assert!(file[at + block.length..at + block.span()].iter().all(|octet| *octet == 0));
            at += block.span();
        }
    }
}

#[test]
fn a_log_that_nobody_reads_uses_its_segments_again() {
    let mut house = House::new(Chain::Blackhole, 3);
    let large = vec![b'x'; 100_000];
    for _ in 0..100 {
        house.message(0, &large);
        house.settle();
        assert_eq!(house.accepted().len(), 1);
        assert!(house.log.take_committed().is_none());
    }
    assert_eq!(house.log.counts().starved, 0);
    assert_eq!(house.log.counts().messages, 100);
}

#[test]
fn memory_of_what_is_committed_and_read_is_free() {
    let mut house = House::new(Chain::Durable, 40);
    let large = vec![b'x'; 200_000];
    for _ in 0..100 {
        house.message(0, &large);
        house.settle();
        assert_eq!(house.accepted().len(), 1);
        assert!(house.log.take_committed().is_some());
        assert!(house.slab.octets() <= 4 * limits::BLOCK_OCTETS as u64, "{}", house.slab.octets());
    }
    // A large one is not kept in memory, however slowly it comes.
    for _ in 0..50 {
        house.log.content(0, &large);
        house.settle();
        while !house.under_way.is_empty() {
            house.complete(0);
        }
    }
    house.end(0).unwrap();
    house.settle();
    assert!(house.log.take_committed().unwrap().content.is_none());
    assert!(house.slab.octets() <= 4 * limits::BLOCK_OCTETS as u64, "{}", house.slab.octets());
}

#[test]
fn without_memory_a_message_is_refused_whole() {
    let mut house = House::new(Chain::Durable, 4);
    let mut kept = Vec::new();
    // All memory is somebody else's.
    while let Ok(lease) = house.slab.append_whole(&[0; limits::BLOCK_OCTETS]) {
        kept.push(lease);
    }
    assert_eq!(house.end(7), Err(Reply::NoMemory), "nor has one without content any");
    assert_eq!(house.log.content(3, b"some"), 0);
    assert_eq!(house.end(3), Err(Reply::NoMemory));
    kept.clear();
    let id = house.message(3, b"again");
    house.settle();
    assert_eq!(house.accepted(), [id]);
}
