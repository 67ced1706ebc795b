//! Logs that are written by a naive writer to a disk that loses power, and what recovery makes of each image.
//!
//! The writer is the oracle: it is written anew, out of the description of the format alone, and knows what it acknowledged, what it
//! made void, and what it never ended.
//!
//! `RINGMX_SPOOL_IMAGES` is how many images there are; the release gate has 100,000.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::*;
use crate::memory::write::File;
use crate::simulation::chance::Chance;
use crate::simulation::disk::SimDisk;
use crate::simulation::files::Files;
use crate::spool::format::{self, Chain, End, HEADER_OCTETS, Header, Kind, put_record, record_octets};
use crate::spool::scan::assembly::{Assembler, Event, Message};
use crate::spool::scan::content::ContentReader;
use crate::spool::scan::{Found, LogScan};

pub(super) const OWNER: Owner = Owner { chain: Chain::Durable, shard: 2, node: 0xABCD };
pub(super) const SEGMENT: u64 = 64 << 10;
/// Octets of a block, at most, in these logs.
const BLOCK: usize = 24 << 10;

pub(super) fn directory() -> &'static Path {
    Path::new("/spool/durable-0002")
}

pub(super) fn path(number: u32) -> PathBuf {
    directory().join(format::segment_name(number))
}

pub(super) fn wanted(epoch: u32) -> Wanted<'static> {
    let entropy = epoch.wrapping_mul(0x9E37_79B9);
    Wanted { owner: OWNER, epoch: Some(epoch), least_base: 0, needed_from: 0, entropy, others: &["cursors"] }
}

/// What the writer said of a message that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nothing yet.
    Nothing,
    /// 250.
    Kept,
    /// 451; the block that says so is durable when this one is.
    Refused(u64),
    /// 451, or nothing, and that is so for good.
    Void,
    /// It was kept, and nobody needs it any more.
    Gone,
}

#[derive(Clone, Debug)]
struct Known {
    content: Vec<u8>,
    first: u64,
    /// Of the blocks that it has records in.
    blocks: BTreeSet<u64>,
    said: Said,
}

#[derive(Debug)]
struct Coming {
    number: u64,
    name: u64,
    first: Option<u64>,
    content: Vec<u8>,
    parts: u32,
    blocks: BTreeSet<u64>,
    is_refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    UnderWay(u64),
    Done,
    /// Until the block of this sequence is done, of which nobody knows yet.
    Void(Option<u64>),
}

#[derive(Debug)]
struct Group {
    sequence: u64,
    file: u32,
    state: State,
    is_opening: bool,
    names: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct InUse {
    number: u32,
    base: u64,
    /// The address behind its last block.
    end: u64,
    has_failed: bool,
}

/// All that is known of a log over its epochs.
pub(super) struct Writer {
    pub(super) disk: SimDisk,
    chance: Chance,
    pub(super) epoch: u32,
    in_use: Vec<InUse>,
    spare: Vec<u32>,
    files: u32,
    next_base: u64,
    at: u64,
    sequence: u64,
    pub(super) durable_upto: u64,
    groups: Vec<Group>,
    voids: Vec<(u64, u64)>,
    coming: Vec<Coming>,
    number: u64,
    name: u64,
    known: BTreeMap<u64, Known>,
    failures: u8,
    /// As the cursors of those who read it.
    pub(super) needed_from: u64,
}

impl Writer {
    pub(super) fn new(seed: u64, failures: u8) -> Self {
        let disk = SimDisk::new(seed);
        disk.make_directory(directory()).unwrap();
        let chance = Chance::new(seed);
        let mut writer = Self {
            disk,
            chance,
            epoch: 1,
            in_use: Vec::new(),
            spare: Vec::new(),
            files: 0,
            next_base: 7 << 12,
            at: SEGMENT,
            sequence: 0,
            durable_upto: 0,
            groups: Vec::new(),
            voids: Vec::new(),
            coming: Vec::new(),
            number: 0,
            name: 0,
            known: BTreeMap::new(),
            failures,
            needed_from: 0,
        };
        (0..2).for_each(|_| writer.make_file());
        writer
    }

    fn make_file(&mut self) {
        let file = self.disk.create(&path(self.files), SEGMENT).unwrap();
        file.sync().unwrap();
        self.disk.sync_directory(directory()).unwrap();
        self.spare.push(self.files);
        self.files += 1;
    }

    pub(super) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.chance.below(10) {
                0..=3 => self.write_block(),
                4..=7 => self.complete(),
                8 => self.use_again(),
                _ => {}
            }
        }
    }

    /// Everything is durable, and everybody has his answer.
    pub(super) fn settle(&mut self) {
        while self.groups.iter().any(|group| matches!(group.state, State::UnderWay(_))) {
            self.complete();
        }
        if !self.voids.is_empty() {
            self.open_segment();
            self.settle();
        }
    }

    fn header(&self, address: u64) -> Header {
        let Owner { chain, shard, node } = OWNER;
        let (epoch, sequence, durable_upto) = (self.epoch, self.sequence, self.durable_upto);
        Header { chain, shard, node, epoch, sequence, address, durable_upto }
    }

    fn base(&self) -> u64 {
        self.in_use.last().expect("one is open").base
    }

    fn open_segment(&mut self) {
        if self.spare.is_empty() {
            self.make_file();
        }
        let number = self.spare.remove(0);
        let base = self.next_base;
        self.next_base += SEGMENT;
        self.in_use.push(InUse { number, base, end: base, has_failed: false });
        self.at = 0;
        let mut payload = Vec::new();
        format::encode_segment(SEGMENT, base, base, ["store", "hop"], &mut payload);
        let mut body = Vec::new();
        put_record(Kind::Segment, 0, &payload, &mut body);
        let names = std::mem::take(&mut self.voids);
        for (from, to) in &names {
            payload.clear();
            format::encode_void(*from, *to, &mut payload);
            put_record(Kind::Void, 0, &payload, &mut body);
        }
        for group in &mut self.groups {
            if group.state == State::Void(None) {
                group.state = State::Void(Some(self.sequence));
            }
        }
        for known in self.known.values_mut().filter(|known| known.said == Said::Refused(u64::MAX)) {
            known.said = Said::Refused(self.sequence);
        }
        self.push(&body, names);
    }

    fn push(&mut self, body: &[u8], names: Vec<(u64, u64)>) {
        let mut octets = Vec::new();
        self.header(self.base() + self.at).put(body, &mut octets);
        let file = self.in_use.last().expect("one is open").number;
        let File::Numbered(number) =
            *self.disk.open(&path(file), crate::spool::storage::Access::Write).unwrap().shared()
        else {
            unreachable!("of this disk")
        };
        let write = Files::begin_write(&self.disk, number, self.at, &octets, true).unwrap();
        let (sequence, is_opening) = (self.sequence, self.at == 0);
        self.groups.push(Group { sequence, file, state: State::UnderWay(write), is_opening, names });
        self.at += octets.len() as u64;
        let segment = self.in_use.last_mut().expect("one is open");
        segment.end = segment.base + self.at;
        self.sequence += 1;
    }

    /// A block with parts and ends of some messages.
    fn write_block(&mut self) {
        let under_way = self.groups.iter().filter(|group| matches!(group.state, State::UnderWay(_))).count();
        if under_way >= 4 {
            return;
        }
        let has_failed = self.in_use.last().is_none_or(|segment| segment.has_failed);
        if has_failed || self.at + BLOCK as u64 > SEGMENT {
            self.open_segment();
        }
        let address = self.base() + self.at;
        let mut body = Vec::new();
        for _ in 0..self.chance.between(1, 6) {
            if self.coming.len() < 3 && self.chance.percent(50) {
                self.number += 1;
                self.name += 1;
                let (number, name) = (self.number, self.name);
                let (content, blocks) = (Vec::new(), BTreeSet::new());
                let coming = Coming { number, name, first: None, content, parts: 0, blocks, is_refused: false };
                self.coming.push(coming);
            }
            if self.coming.is_empty() {
                continue;
            }
            let which = self.chance.below(self.coming.len());
            let room = BLOCK - HEADER_OCTETS - body.len();
            match self.chance.below(8) {
                0 => self.abort(which, &mut body),
                1..=3 => self.end(which, address, &mut body),
                _ if room > 4096 => self.part(which, address, room, &mut body),
                _ => {}
            }
        }
        if !body.is_empty() {
            self.push(&body, Vec::new());
        }
    }

    fn part(&mut self, which: usize, address: u64, room: usize, body: &mut Vec<u8>) {
        let most = [100, 5000, 16_000][self.chance.below(3)];
        let octets = self.chance.below(most.min(room - 2048));
        let draw = self.chance.draw();
        // Now and then a sender makes it look like a block.
        let mut content: Vec<u8> = (0..octets).map(|at| (draw >> (at % 57)) as u8).collect();
        if draw.is_multiple_of(16) {
            content.clear();
            let forged = Header { sequence: u64::MAX / 2, durable_upto: u64::MAX / 2, ..self.header(address) };
            let mut void = Vec::new();
            put_record(Kind::Void, 0, &[[0; 8], [0xFF; 8]].concat(), &mut void);
            forged.put(&void, &mut content);
            content.truncate(room - 2048);
        }
        let coming = &mut self.coming[which];
        put_record(Kind::Part, coming.number, &content, body);
        coming.first.get_or_insert(address);
        coming.content.extend_from_slice(&content);
        coming.parts += 1;
        coming.blocks.insert(self.sequence);
    }

    fn abort(&mut self, which: usize, body: &mut Vec<u8>) {
        let coming = self.coming.swap_remove(which);
        put_record(Kind::Abort, coming.number, b"", body);
    }

    fn end(&mut self, which: usize, address: u64, body: &mut Vec<u8>) {
        let coming = self.coming.swap_remove(which);
        if coming.is_refused {
            return;
        }
        let Coming { number, name, first, content, parts, mut blocks, .. } = coming;
        let first = first.unwrap_or(address);
        let (content_octets, content_crc) = (content.len() as u64, crc32c::crc32c(&content));
        let manifest = name.to_le_bytes();
        let end = End { first, retain: first, content_octets, content_crc, parts, manifest: &manifest };
        let mut payload = Vec::new();
        format::encode_end(&end, &mut payload);
        assert_eq!(record_octets(payload.len()) % 8, 0);
        put_record(Kind::End, number, &payload, body);
        blocks.insert(self.sequence);
        self.known.insert(name, Known { content, first, blocks, said: Said::Nothing });
    }

    /// One of the writes that are under way comes to its end.
    fn complete(&mut self) {
        let under_way = self.groups.iter().enumerate();
        let under_way: Vec<usize> =
            under_way.filter(|(_, group)| matches!(group.state, State::UnderWay(_))).map(|(at, _)| at).collect();
        if under_way.is_empty() {
            return;
        }
        let at = *self.chance.pick(&under_way);
        let State::UnderWay(write) = self.groups[at].state else { return };
        let octets = 1 << 20;
        if self.chance.percent(self.failures) {
            let short = self.chance.percent(50).then(|| self.chance.below(2) * 4096);
            let _ = self.disk.end_write(write, short.map_or(Err(Errno::IO), |octets| Ok(octets as u32)));
            self.fail(at);
        } else {
            let _ = self.disk.end_write(write, Ok(octets));
            self.groups[at].state = State::Done;
        }
        self.commit();
    }

    fn fail(&mut self, at: usize) {
        let file = self.groups[at].file;
        // A segment that nothing says of what it is: all that is under way there is void, too.
        let is_opening = self.groups[at].is_opening;
        let all: Vec<usize> = (at..self.groups.len())
            .filter(|other| *other == at || is_opening && self.groups[*other].file == file)
            .collect();
        for other in all {
            let sequence = self.groups[other].sequence;
            if let State::UnderWay(write) = self.groups[other].state
                && other != at
            {
                let _ = self.disk.end_write(write, Err(Errno::IO));
            }
            self.groups[other].state = State::Void(None);
            self.voids.push((sequence, sequence));
            let names = std::mem::take(&mut self.groups[other].names);
            self.void_again(&names);
            for known in self.known.values_mut().filter(|known| known.blocks.contains(&sequence)) {
                known.said = Said::Refused(u64::MAX);
            }
            for coming in self.coming.iter_mut().filter(|coming| coming.blocks.contains(&sequence)) {
                coming.is_refused = true;
            }
        }
        if let Some(segment) = self.in_use.iter_mut().find(|segment| segment.number == file) {
            segment.has_failed = true;
        }
    }

    /// What a block that failed said to be void is to be said again.
    fn void_again(&mut self, names: &[(u64, u64)]) {
        self.voids.extend(names);
        let within = |sequence: u64| names.iter().any(|(from, to)| (*from..=*to).contains(&sequence));
        for group in self.groups.iter_mut().filter(|group| within(group.sequence)) {
            group.state = State::Void(None);
        }
        for known in self.known.values_mut() {
            if matches!(known.said, Said::Refused(_)) && known.blocks.iter().any(|block| within(*block)) {
                known.said = Said::Refused(u64::MAX);
            }
        }
    }

    fn commit(&mut self) {
        let done: BTreeSet<u64> =
            self.groups.iter().filter(|group| group.state == State::Done).map(|group| group.sequence).collect();
        while let Some(group) = self.groups.first() {
            match group.state {
                State::Done => {}
                State::Void(Some(by)) if by < self.durable_upto || done.contains(&by) => {}
                _ => break,
            }
            self.durable_upto = group.sequence + 1;
            self.groups.remove(0);
        }
        let durable_upto = self.durable_upto;
        for known in self.known.values_mut() {
            let is_committed = known.blocks.iter().all(|block| *block < durable_upto);
            if known.said == Said::Nothing && is_committed {
                known.said = Said::Kept;
            }
            if let Said::Refused(by) = known.said
                && (by < durable_upto || done.contains(&by))
            {
                known.said = Said::Void;
            }
        }
    }

    /// The oldest segment, if nobody needs it.
    fn use_again(&mut self) {
        let [oldest, next, ..] = &self.in_use[..] else { return };
        let end = next.base;
        // Readers come to what is behind a torn tail when it is on stable storage that the tail is void.
        let is_unsaid = !self.voids.is_empty() || self.groups.iter().any(|group| !group.names.is_empty());
        let is_busy = is_unsaid
            || self.groups.iter().any(|group| group.file == oldest.number)
            || self.coming.iter().any(|coming| coming.first.is_some_and(|first| first < end))
            || self
                .known
                .values()
                .any(|known| known.first < end && matches!(known.said, Said::Nothing | Said::Refused(_)));
        if is_busy {
            return;
        }
        let oldest = self.in_use.remove(0);
        self.needed_from = self.needed_from.max(oldest.end);
        self.spare.push(oldest.number);
        for known in self.known.values_mut().filter(|known| known.first < end && known.said == Said::Kept) {
            known.said = Said::Gone;
        }
    }

    /// The power goes and comes back, and what is there is looked at and gone on with.
    pub(super) fn cut(mut self) -> Self {
        self.disk = self.disk.power_cut(&mut self.chance);
        self.epoch += 1;
        let (recovered, found) = look(&self.disk, self.epoch, self.needed_from);
        assert_eq!(recovered.corruption, [], "nothing that was on stable storage is missing");
        assert!(recovered.next_sequence >= self.durable_upto, "a sequence is never used twice");
        let addresses = self.known.values().filter(|known| known.said == Said::Kept).map(|known| known.first);
        let highest = addresses.chain([self.needed_from]).max().unwrap_or(0);
        assert!(recovered.next_base >= highest, "an address is never used twice");
        for (name, content) in &found {
            let known = self.known.get(name).unwrap_or_else(|| panic!("message {name} never had an end"));
            assert!(known.content == *content, "message {name} is another");
            assert_ne!(known.said, Said::Void, "message {name} is void");
        }
        for (name, known) in &mut self.known {
            let is_there = found.contains_key(name);
            assert!(is_there || known.said != Said::Kept, "message {name} was acknowledged");
            known.said = match known.said {
                Said::Gone => Said::Gone,
                _ if is_there => Said::Kept,
                _ => Said::Void,
            };
        }
        let (again, found_again) = look(&self.disk, self.epoch, self.needed_from);
        assert!(
            found == found_again && again.new_voids == recovered.new_voids && again.next_base == recovered.next_base
        );
        self.go_on(&recovered);
        self
    }

    fn go_on(&mut self, recovered: &Recovered) {
        let in_use = recovered.in_use.iter();
        self.in_use = in_use
            .map(|segment| InUse {
                number: segment.file.number,
                base: segment.file.base,
                end: segment.end,
                has_failed: true,
            })
            .collect();
        self.spare = recovered.spare.iter().filter(|spare| spare.octets == SEGMENT).map(|spare| spare.number).collect();
        (self.next_base, self.sequence) = (recovered.next_base, recovered.next_sequence);
        // Not before the first block is durable, which says that they are void.
        self.durable_upto = recovered.durable_upto;
        (self.groups, self.coming, self.number) = (Vec::new(), Vec::new(), 0);
        self.voids.clone_from(&recovered.new_voids);
        self.at = SEGMENT;
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.known.values().filter(|known| known.said == Said::Kept).count()
    }
}

/// Recovers, and reads what is there.
pub(super) fn look(disk: &SimDisk, epoch: u32, needed_from: u64) -> (Recovered, BTreeMap<u64, Vec<u8>>) {
    let recovered = recover(disk, directory(), &Wanted { needed_from, ..wanted(epoch) }, &mut |_| ()).unwrap();
    let found = read(&recovered, needed_from);
    (recovered, found)
}

/// As somebody does who has not dealt with what begins there and behind it.
pub(super) fn read(recovered: &Recovered, start: u64) -> BTreeMap<u64, Vec<u8>> {
    let files = recovered.files();
    let start = files.as_slice().first().map_or(start, |file| start.max(file.base));
    let mut scan = LogScan::new(&files, OWNER, start, u64::MAX);
    let mut assembler = Assembler::new(start);
    let mut messages: Vec<(u64, Message)> = Vec::new();
    while let Some(found) = scan.next_found().unwrap() {
        match found {
            Found::Block(block) if recovered.voids.has(block.header.sequence) => assembler.void(block.header.address),
            Found::Block(block) => assembler.block(&block, |event| {
                if let Event::Message(message, manifest) = event {
                    messages.push((u64::from_le_bytes(manifest[..].try_into().unwrap()), message));
                }
            }),
            Found::Bad { address, .. } => assembler.bad(address),
        }
    }
    let mut reader = ContentReader::new().unwrap();
    let mut contents = BTreeMap::new();
    for (name, message) in messages {
        let mut content = Vec::new();
        reader.read(&files, OWNER, &message, |piece| content.extend_from_slice(piece)).unwrap();
        assert_eq!(contents.insert(name, content), None, "message {name} is there twice");
    }
    contents
}

fn images() -> u64 {
    std::env::var("RINGMX_SPOOL_IMAGES").map_or(1500, |images| images.parse().expect("a number of images"))
}

/// Three epochs a log, each cut anywhere.
#[test]
fn what_was_acknowledged_is_there_after_every_cut() {
    let began = std::time::Instant::now();
    let (mut acknowledged, mut cuts) = (0, 0);
    let mut seed = 0;
    while cuts < images() {
        seed += 1;
        let mut writer = Writer::new(seed, if seed % 2 == 0 { 0 } else { 12 });
        for _ in 0..3 {
            let steps = writer.chance.below(120);
            writer.run(steps);
            writer = writer.cut();
            cuts += 1;
        }
        acknowledged += writer.acknowledged();
    }
    assert!(acknowledged as u64 > cuts / 2, "there was something to lose: {acknowledged}");
    println!("{cuts} images, {acknowledged} messages, {:?} each", began.elapsed() / cuts as u32);
}
