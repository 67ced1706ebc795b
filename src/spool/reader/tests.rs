//! Logs that are written here by hand, block by block, and read as a sink reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::handoff::place::LogKind;
use crate::mail::address::{Mailbox, Path as MailPath};
use crate::mail::envelope::{Envelope, MailParameters, RcptParameters};
use crate::mail::id::MessageId;
use crate::mail::manifest::Origin;
use crate::mail::marks::Marks;
use crate::mail::trace::{Transfer, With};
use crate::simulation::chance::Chance;
use crate::simulation::disk::{Fate, SimDisk, What};
use crate::spool::format::{
    ALIGNMENT, Chain, Header, Kind, encode_end, encode_segment, encode_void, put_record, record_octets, segment_name,
};
use crate::spool::storage::Storage;

const LOG: LogId = LogId { kind: LogKind::Durable, shard: 2 };
const NODE: u32 = 7;

/// A message as it was written.
#[derive(Clone, Debug)]
struct Sent {
    id: MessageId,
    content: Vec<u8>,
    place: Place,
    /// Recipients of the sinks, by their names.
    sinks: BTreeMap<&'static str, u32>,
}

/// One that is open.
struct Opened {
    number: u64,
    first: u64,
    content: Vec<u8>,
    written: usize,
    parts: u32,
}

/// Writes a log.
struct Pen {
    disk: SimDisk,
    directory: PathBuf,
    segment_octets: u64,
    routes: Vec<&'static str>,
    segments: Arc<Mutex<Vec<SegmentAt>>>,
    segment: SegmentAt,
    at: u64,
    sequence: u64,
    epoch: u32,
    numbers: u64,
    sent: Vec<Sent>,
}

impl Pen {
    fn new(segment_octets: u64, routes: &[&'static str]) -> Self {
        let disk = SimDisk::new(1);
        let directory = PathBuf::from("/spool/durable-0002");
        disk.make_directory(&directory).unwrap();
        let segment = SegmentAt { number: u32::MAX, base: 0, octets: 0 };
        let mut pen = Self {
            disk,
            directory,
            segment_octets,
            routes: routes.to_vec(),
            segments: Arc::default(),
            segment,
            at: 0,
            sequence: 0,
            epoch: 1,
            numbers: 0,
            sent: Vec::new(),
        };
        pen.begin(&[]);
        pen
    }

    fn path(&self) -> PathBuf {
        self.directory.join(segment_name(self.segment.number))
    }

    /// Another segment, whose first block says this.
    fn begin(&mut self, voids: &[(u64, u64)]) {
        let base = self.segment.base + self.segment.octets;
        self.segment = SegmentAt { number: self.segment.number.wrapping_add(1), base, octets: self.segment_octets };
        self.disk.create(&self.path(), self.segment_octets).unwrap();
        self.segments.lock().unwrap().push(self.segment);
        self.at = base;
        let (mut payload, mut body) = (Vec::new(), Vec::new());
        encode_segment(self.segment_octets, base, base, self.routes.iter().copied(), &mut payload);
        put_record(Kind::Segment, 0, &payload, &mut body);
        for (from, to) in voids {
            payload.clear();
            encode_void(*from, *to, &mut payload);
            put_record(Kind::Void, 0, &payload, &mut body);
        }
        self.block(&body);
    }

    /// Writes a block, in another segment if it must be; gives its address and its number.
    fn block(&mut self, body: &[u8]) -> (u64, u64) {
        let (address, sequence) = (self.at, self.sequence);
        let header = Header {
            chain: Chain::Durable,
            shard: LOG.shard,
            node: NODE,
            epoch: self.epoch,
            sequence,
            address,
            durable_upto: sequence,
        };
        let mut octets = Vec::new();
        header.put(body, &mut octets);
        assert!(address + octets.len() as u64 <= self.segment.base + self.segment_octets);
        self.disk.forge(&self.path(), address - self.segment.base, &octets);
        self.at += octets.len() as u64;
        self.sequence += 1;
        (address, sequence)
    }

    /// Makes room for a block of so many octets.
    fn make_room(&mut self, octets: usize) {
        if self.at + (octets + HEADER_OCTETS).next_multiple_of(ALIGNMENT) as u64
            > self.segment.base + self.segment_octets
        {
            self.begin(&[]);
        }
    }

    fn manifest(&self, id: MessageId, content_octets: u64, routes: &[u16]) -> Vec<u8> {
        let mut envelope = Envelope::default();
        envelope.begin(MailPath::Null, &MailParameters::default());
        for (number, route) in routes.iter().enumerate() {
            let local_part = number.to_string();
            let path = MailPath::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: b"ok.test" });
            let place = envelope.add(path, &RcptParameters::default()).unwrap();
            envelope.set_route(place, Route(*route));
        }
        let mut octets = Vec::new();
        let manifest = Manifest {
            id,
            received_at_ms: 1,
            content_octets,
            recipients: routes.len() as u32,
            marks: Marks::default(),
            with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
            origin: Origin::Unknown,
            listener: "mx",
            by: "mx.test",
            hello: b"there",
            envelope: envelope.view(),
        };
        manifest.encode(&mut octets);
        octets
    }

    fn open(&mut self, octets: usize, chance: &mut Chance) -> Opened {
        self.numbers += 1;
        let content = (0..octets).map(|_| chance.draw() as u8).collect();
        Opened { number: self.numbers, first: u64::MAX, content, written: 0, parts: 0 }
    }

    /// Blocks with a random part of these messages each, until all have ended or were given up.
    fn write(&mut self, mut open: Vec<Opened>, block_octets: usize, chance: &mut Chance) {
        while !open.is_empty() {
            self.make_room(block_octets);
            let (mut body, address) = (Vec::new(), self.at);
            while !open.is_empty() && body.len() + 1024 < block_octets {
                let at = chance.below(open.len());
                open[at].first = open[at].first.min(address);
                let left = open[at].content.len() - open[at].written;
                if chance.percent(3) {
                    put_record(Kind::Abort, open.remove(at).number, &[], &mut body);
                } else if left == 0 {
                    let retain = open.iter().map(|open| open.first).min().unwrap_or(address).min(open[at].first);
                    let one = open.remove(at);
                    self.end(one, retain.min(address), address, &mut body, chance);
                } else {
                    let most =
                        left.min(block_octets - body.len() - record_octets(0) - 8).min(1 + chance.below(block_octets));
                    let one = &mut open[at];
                    put_record(Kind::Part, one.number, &one.content[one.written..][..most], &mut body);
                    (one.written, one.parts) = (one.written + most, one.parts + 1);
                }
                if chance.percent(10) {
                    break;
                }
            }
            self.block(&body);
        }
    }

    fn end(&mut self, one: Opened, retain: u64, address: u64, body: &mut Vec<u8>, chance: &mut Chance) {
        let id = MessageId::new(NODE, self.epoch, LOG.shard, one.number);
        let routes: Vec<u16> = (0..=chance.below(3)).map(|_| chance.below(self.routes.len()) as u16).collect();
        let manifest = self.manifest(id, one.content.len() as u64, &routes);
        let mut payload = Vec::new();
        let end = End {
            first: one.first,
            retain,
            content_octets: one.content.len() as u64,
            content_crc: crc32c::crc32c(&one.content),
            parts: one.parts,
            manifest: &manifest,
        };
        encode_end(&end, &mut payload);
        let place = Place { log: LOG, address: address + (HEADER_OCTETS + body.len()) as u64, retain };
        put_record(Kind::End, one.number, &payload, body);
        let mut sinks = BTreeMap::new();
        routes.iter().for_each(|route| *sinks.entry(self.routes[usize::from(*route)]).or_insert(0) += 1);
        self.sent.push(Sent { id, content: one.content, place, sinks });
    }

    /// A small message in a block of its own; gives its place in `sent` and the block's number.
    fn small(&mut self, chance: &mut Chance) -> (usize, u64) {
        self.make_room(2048);
        let mut one = self.open(100, chance);
        let (mut body, address) = (Vec::new(), self.at);
        one.first = address;
        put_record(Kind::Part, one.number, &one.content, &mut body);
        one.parts = 1;
        self.end(one, address, address, &mut body, chance);
        let (_, sequence) = self.block(&body);
        (self.sent.len() - 1, sequence)
    }

    fn source(&self) -> Source {
        let segments = Arc::clone(&self.segments);
        Source {
            storage: Arc::new(self.disk.clone()),
            directory: self.directory.clone(),
            chain: Chain::Durable,
            shard: LOG.shard,
            node: NODE,
            segments: Arc::new(move || segments.lock().unwrap().clone()),
            voids: Arc::new([]),
        }
    }

    fn reader(&self, sink: &str, runs: usize) -> (Reader, Arc<Findings>) {
        let findings = Arc::new(Findings::default());
        let slab = Slab::with_blocks_of(limits::LOG_READ_OCTETS, runs);
        (Reader::new(LOG, self.source(), sink, &slab, None, Arc::clone(&findings)), findings)
    }

    /// What a sink must get that begins there.
    fn due(&self, sink: &str, from: Position) -> Vec<MessageId> {
        let due = self.sent.iter().filter(|sent| sent.place.address >= from.address && sent.sinks.contains_key(sink));
        due.map(|sent| sent.id).collect()
    }

    fn check(&self, sink: &str, spooled: &Spooled) {
        let sent = self.sent.iter().find(|sent| sent.id == spooled.id).expect("it was sent");
        assert_eq!(spooled.place, sent.place);
        assert_eq!(spooled.recipients, sent.sinks[sink]);
        assert!(
            spooled.content.pieces().eq([&sent.content[..]].into_iter().filter(|all| !all.is_empty())) || {
                spooled.content.pieces().collect::<Vec<_>>().concat() == sent.content
            }
        );
        assert_eq!(Manifest::decode(spooled.manifest.octets()).unwrap().id, sent.id);
    }
}

/// Reads up to an address, so many at a time, letting go of what came before each time; gives the names in order.
fn read_all(
    pen: &Pen,
    reader: &mut Reader,
    sink: &str,
    mut at: Position,
    upto: u64,
    most: usize,
) -> (Vec<MessageId>, Position) {
    let (mut names, mut out, mut idle) = (Vec::new(), Vec::new(), 0);
    while at.address < upto || !reader.ready.is_empty() {
        let Reading { reached, .. } = reader.read(at, upto, most, &mut out);
        assert!(out.len() <= most && reached.address <= upto && reached.from <= reached.address);
        assert!(reached.address >= at.address && reached.from >= at.from, "{at:?} {reached:?}");
        idle = if reached == at && out.is_empty() { idle + 1 } else { 0 };
        assert!(idle < 100, "it does not get on");
        at = reached;
        for spooled in out.drain(..) {
            pen.check(sink, &spooled);
            names.push(spooled.id);
        }
    }
    (names, at)
}

/// Some hundred messages, of which a few are large, interleaved over several segments.
fn log(seed: u64, most_octets: usize) -> (Pen, Chance) {
    let mut chance = Chance::new(seed);
    let mut pen = Pen::new(2 << 20, &["a", "b", "c"]);
    for epoch in 1..=2 {
        pen.epoch = epoch;
        if epoch > 1 {
            // Routes are others after a start.
            pen.routes = vec!["c", "new", "a"];
            pen.begin(&[]);
        }
        for _ in 0..2 {
            let count = 1 + chance.below(30);
            let open = (0..count).map(|_| {
                let octets = if chance.percent(10) { chance.below(most_octets) } else { chance.below(5000) };
                pen.open(octets, &mut chance)
            });
            let open = open.collect();
            let block_octets = *chance.pick(&[4096, 16_384, limits::BLOCK_OCTETS - ALIGNMENT]);
            pen.write(open, block_octets, &mut chance);
        }
    }
    (pen, chance)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// From each position that there can be: all from there on, once, in order, whatever the memory; in steps of any length, by one
    /// reader or by one that begins anew.
    #[test]
    fn a_sink_gets_all_of_its_messages(seed: u64, runs in 2..9_usize, most in 1..40_usize) {
        let (pen, mut chance) = log(seed, 1 << 20);
        for sink in ["a", "b", "c", "new", "none"] {
            for start in [Position::default(), Position::behind(chance.pick(&pen.sent).place)] {
                // Watermarks stand where blocks do.
                let watermark = chance.pick(&pen.sent).place.retain;
                let (mut reader, findings) = pen.reader(sink, runs);
                let (first, at) = read_all(&pen, &mut reader, sink, start, watermark, most);
                if chance.percent(50) {
                    reader = pen.reader(sink, runs).0;
                }
                let (rest, _) = read_all(&pen, &mut reader, sink, at, pen.at, most);
                prop_assert_eq!([first, rest].concat(), pen.due(sink, start));
                prop_assert_eq!((findings.blocks(), findings.messages(), findings.refusals()), (0, 0, 0));
            }
        }
    }
}

/// Letters that are held hold memory; when there is no more the reader waits, and goes on when they are let go of.
#[test]
fn memory_is_bounded_by_what_it_was_given() {
    let mut chance = Chance::new(3);
    let mut pen = Pen::new(32 << 20, &["a"]);
    for _ in 0..20 {
        let open = (0..8).map(|_| pen.open(60_000, &mut chance)).collect();
        pen.write(open, 128 * 1024, &mut chance);
    }
    let slab = Slab::with_blocks_of(limits::LOG_READ_OCTETS, 4);
    let used = slab.watch();
    let mut reader = Reader::new(LOG, pen.source(), "a", &slab, None, Arc::default());
    let (mut at, mut held, mut names, mut stuck) = (Position::default(), Vec::new(), Vec::new(), 0);
    for _ in 0..10_000 {
        let reading = reader.read(at, pen.at, 7, &mut held);
        assert!(used() <= 4);
        at = reading.reached;
        if reading.stuck.is_some() {
            stuck += 1;
            names.extend(held.drain(..).map(|spooled: Spooled| spooled.id));
        }
        if at.address >= pen.at {
            break;
        }
    }
    names.extend(held.drain(..).map(|spooled| spooled.id));
    assert!(stuck > 0, "it was not short of memory");
    assert_eq!(names, pen.due("a", Position::default()));
}

/// Readers on one thread share what they have, whoever of them holds how much: each waits for others at times, and all come to the end.
#[test]
fn readers_share_their_memory_and_all_get_on() {
    const READERS: usize = 6;
    let mut chance = Chance::new(13);
    let mut pen = Pen::new(32 << 20, &["a"]);
    for _ in 0..20 {
        let open = (0..8).map(|_| pen.open(60_000, &mut chance)).collect();
        pen.write(open, 128 * 1024, &mut chance);
    }
    let most = Reader::memory_octets(READERS);
    assert!(most < READERS as u64 * Reader::memory_octets(1), "as much as each for itself");
    let slab = Reader::memory(READERS);
    let used = slab.watch();
    let reader = || Reader::new(LOG, pen.source(), "a", &slab, None, Arc::default());
    // What each was given, and what it still holds of that.
    let mut all: Vec<_> =
        (0..READERS).map(|_| (reader(), Position::default(), Vec::new(), Vec::<Spooled>::new())).collect();
    let (mut stuck, mut highest) = (0, 0);
    for turn in 0..100_000 {
        assert!(turn < 99_999, "they do not get on");
        for (reader, at, names, held) in &mut all {
            let reading = reader.read(*at, pen.at, 7, held);
            *at = reading.reached;
            highest = highest.max(used());
            if reading.stuck.is_some() {
                stuck += 1;
                names.extend(held.drain(..).map(|spooled| spooled.id));
            }
        }
        if all.iter().all(|(_, at, ..)| at.address >= pen.at) {
            break;
        }
    }
    assert!(stuck > 0 && highest as u64 * limits::LOG_READ_OCTETS as u64 <= most, "{stuck} {highest}");
    for (_, _, mut names, held) in all {
        names.extend(held.iter().map(|spooled| spooled.id));
        assert_eq!(names, pen.due("a", Position::default()));
    }
    assert_eq!(used(), 0, "and give it back");
}

#[test]
fn void_blocks_are_passed_over_however_they_look() {
    let mut chance = Chance::new(5);
    for is_readable in [true, false] {
        let mut pen = Pen::new(1 << 20, &["a"]);
        pen.small(&mut chance);
        let (void, sequence) = pen.small(&mut chance);
        let failed = pen.segment;
        let address = pen.sent[void].place.retain;
        if !is_readable {
            pen.disk.flip(&pen.path(), 8 * (address - failed.base + 200));
        }
        pen.small(&mut chance);
        // It is said later, and in another segment.
        pen.begin(&[(sequence, sequence)]);
        pen.small(&mut chance);
        let gone = pen.sent.remove(void);
        for start in [Position::default(), Position { address, from: address }] {
            let (mut reader, findings) = pen.reader("a", 2);
            let (names, _) = read_all(&pen, &mut reader, "a", start, pen.at, 9);
            assert_eq!(names, pen.due("a", start), "and not {gone:?}");
            assert_eq!((findings.blocks(), findings.messages()), (0, 0));
        }
    }
}

/// A message of which some stood in a void block was refused: nobody misses it.
#[test]
fn a_message_with_a_void_part_is_none() {
    let mut chance = Chance::new(6);
    let mut pen = Pen::new(1 << 20, &["a"]);
    let mut one = pen.open(2000, &mut chance);
    let mut parts = Vec::new();
    for half in 0..2 {
        let mut body = Vec::new();
        put_record(Kind::Part, one.number, &one.content[half * 1000..][..1000], &mut body);
        parts.push(pen.block(&body));
    }
    (one.first, one.parts) = (parts[0].0, 2);
    let (mut body, address) = (Vec::new(), pen.at);
    pen.end(one, parts[0].0, address, &mut body, &mut chance);
    pen.block(&body);
    pen.small(&mut chance);
    pen.begin(&[(parts[1].1, parts[1].1)]);
    pen.sent.remove(0);
    let (mut reader, findings) = pen.reader("a", 2);
    let (names, _) = read_all(&pen, &mut reader, "a", Position::default(), pen.at, 9);
    assert_eq!(names, pen.due("a", Position::default()));
    assert_eq!((findings.blocks(), findings.messages()), (0, 0));
}

/// What cannot be read is counted and named; what is around it comes.
#[test]
fn damage_is_named_and_its_neighbours_come() {
    for seed in 0..60 {
        let (mut pen, mut chance) = log(seed, 200_000);
        let mut at = Vec::new();
        for number in 0..12 {
            at.push(pen.small(&mut chance).0);
            if number == 5 {
                pen.begin(&[]);
            }
        }
        let sunk = *chance.pick(&at[1..]);
        let address = pen.sent[sunk].place.retain;
        let segments = pen.segments.lock().unwrap().clone();
        let of = segments.iter().rev().find(|segment| segment.base <= address).unwrap();
        let path = pen.directory.join(segment_name(of.number));
        if seed % 2 == 0 {
            pen.disk.flip(&path, 8 * (address - of.base + 70));
        } else {
            let (bad, from) = (path, address - of.base);
            pen.disk.set_plan(move |call| match call.what {
                What::Read if call.path == bad && call.at <= from && from < call.at + call.octets as u64 => {
                    Fate::Fails(Errno::IO)
                }
                _ => Fate::Done,
            });
        }
        let gone = pen.sent.remove(sunk);
        for sink in gone.sinks.keys() {
            let (mut reader, findings) = pen.reader(sink, 4);
            let (names, _) = read_all(&pen, &mut reader, sink, Position::default(), pen.at, 9);
            assert_eq!(names, pen.due(sink, Position::default()), "seed {seed}");
            let is_last = pen.sent.iter().all(|sent| sent.place.address < gone.place.address);
            assert_eq!(findings.blocks(), u64::from(!is_last), "seed {seed}");
        }
    }
}

/// Where a cursor stands among blocks that are missing, up to the end of their segment, the block before it and the one that follows in the
/// next say how many they were. Where nothing is missing there, nothing is said.
#[test]
fn what_is_missing_at_the_end_of_a_segment_is_counted_from_any_cursor() {
    for gone in 0..4 {
        for (is_readable, is_void) in [(true, false), (false, false), (true, true)] {
            let mut chance = Chance::new(23);
            let mut pen = Pen::new(1 << 20, &["a"]);
            for _ in 0..3 {
                pen.small(&mut chance);
            }
            let (path, base, at) = (pen.path(), pen.segment.base, pen.at);
            let (first, kept) = (pen.sequence, pen.sent.len());
            for _ in 0..gone {
                pen.small(&mut chance);
            }
            let (from, behind) = (at - base, pen.at - base);
            for address in (from..behind).step_by(ALIGNMENT) {
                pen.disk.flip(&path, 8 * (address + 200));
            }
            if !is_readable {
                pen.disk.set_plan(move |call| match call.what {
                    What::Read if call.path == path && call.at < behind && from < call.at + call.octets as u64 => {
                        Fate::Fails(Errno::IO)
                    }
                    _ => Fate::Done,
                });
            }
            pen.sent.truncate(kept);
            let voids = if is_void && gone > 0 { vec![(first, first + gone - 1)] } else { Vec::new() };
            pen.begin(&voids);
            pen.small(&mut chance);
            let start = Position { address: at, from: at };
            let (mut reader, findings) = pen.reader("a", 4);
            let (names, _) = read_all(&pen, &mut reader, "a", start, pen.at, 9);
            assert_eq!(names, pen.due("a", start));
            assert_eq!(findings.blocks(), if is_void { 0 } else { gone }, "{gone} {is_readable}");
        }
    }
}

/// Content that is lost takes its message with it, which is named.
#[test]
fn a_message_whose_part_is_lost_is_named() {
    let mut chance = Chance::new(9);
    let mut pen = Pen::new(4 << 20, &["a"]);
    let open = vec![pen.open(900_000, &mut chance)];
    pen.write(open, 64 * 1024, &mut chance);
    while pen.sent.is_empty() {
        let open = vec![pen.open(900_000, &mut chance)];
        pen.write(open, 64 * 1024, &mut chance);
    }
    pen.small(&mut chance);
    let large = pen.sent.remove(0);
    pen.disk.flip(&pen.path(), 8 * (large.place.retain - pen.segment.base + 64 * 1024 * 3));
    let (mut reader, findings) = pen.reader("a", 4);
    let (names, _) = read_all(&pen, &mut reader, "a", Position::default(), pen.at, 9);
    assert_eq!(names, pen.due("a", Position::default()));
    assert_eq!((findings.blocks(), findings.messages()), (1, 1));
    let named = Finding::Message { log: LOG, address: large.place.address, id: Some(large.id) };
    assert!(findings.take().contains(&named));
    assert!(named.to_string().contains(&large.id.to_string()));
}

/// Nothing at or behind the watermark is asked for, whatever stands there.
#[test]
fn nothing_behind_the_watermark_is_read() {
    let (pen, mut chance) = log(11, 100_000);
    let place = chance.pick(&pen.sent).place;
    let upto = place.retain;
    let segments = pen.segments.lock().unwrap().clone();
    pen.disk.set_plan(move |call| {
        let name = call.path.file_name().unwrap().to_str().unwrap();
        let segment = segments.iter().find(|segment| segment_name(segment.number) == name).unwrap();
        let end = segment.base + call.at + call.octets as u64;
        let is_opening = call.at == 0 && call.octets == ALIGNMENT;
        assert!(is_opening || call.what != What::Read || end <= upto, "{call:?}");
        Fate::Done
    });
    let (mut reader, _) = pen.reader("a", 8);
    let (names, _) = read_all(&pen, &mut reader, "a", Position::default(), upto, 9);
    let due: Vec<_> =
        pen.sent.iter().filter(|sent| sent.place.address < upto && sent.sinks.contains_key("a")).collect();
    assert_eq!(names, due.iter().map(|sent| sent.id).collect::<Vec<_>>());
}
