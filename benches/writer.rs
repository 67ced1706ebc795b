//! The shard's side of a log, on a disk that is done at once: processor time for a message of 4 KiB from its content to its answer
//! (PERFORMANCE.md, P8), beside what of it is the copy and the checksums.
//!
//! Twenty connections send 32 messages each, a turn ends, its blocks are written and done, and the answers are taken, as a shard
//! has it under P1's load. Every run checks that each message was accepted once, by its name, and that the blocks have the octets of all
//! of them; before anything is timed the blocks of a run are read back by what the format says. `cargo bench --bench writer` ends with
//! the shares, medians of rounds that take turns; `-- --test` only checks.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ringmx::handoff::gather::Described;
use ringmx::limits;
use ringmx::mail::envelope::Route;
use ringmx::mail::id::MessageId;
use ringmx::memory::slab::Slab;
use ringmx::memory::write::File;
use ringmx::policy::decision::Ticket;
use ringmx::spool::format::{self, Chain, Record};
use ringmx::spool::segment::Segment;
use ringmx::spool::steward::{Shelf, supply};
use ringmx::spool::writer::{Log, LogOptions, Start};

/// Content of a message.
const OCTETS: usize = 4096;
/// Octets of what is known of one, about.
const MANIFEST_OCTETS: usize = 160;
/// Connections, and what each sends in a turn.
const CONNECTIONS: u32 = 20;
const DEPTH: u32 = 32;
/// Messages of a turn, and turns of a timed run: some milliseconds.
const TURN: u64 = CONNECTIONS as u64 * DEPTH as u64;
const TURNS: u64 = 8;
/// Turns where only the result counts.
const TURNS_CHECKED: u64 = 3;
/// Rounds of which the median is taken.
const ROUNDS: usize = 61;

/// A log, and the steward of its segments.
struct House {
    log: Log,
    shelf: Shelf,
    segments: Vec<Arc<Segment>>,
    /// Of all segments that were put out.
    put: usize,
    content: Vec<u8>,
    manifest: Vec<u8>,
    sent: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    accepted: u64,
    /// Of the numbers of those that were.
    names: u64,
    /// Messages that readers hear of.
    posted: u64,
}

impl House {
    fn new(chain: Chain) -> Self {
        let (shelf, supply) = supply(limits::SEGMENTS_READY_MOST, Arc::default(), None);
        let file = |number| Arc::new(File::Numbered(u64::from(number)));
        let segment = |number| Arc::new(Segment::new(number, file(number), limits::SEGMENT_OCTETS));
        let routes: Arc<[String]> = ["store".to_owned()].into();
        let segment_octets = limits::SEGMENT_OCTETS;
        let options = LogOptions { chain, shard: 0, node: 7, epoch: 1, routes, segment_octets };
        let log = Log::new(options, Start::default(), supply, &Slab::new(limits::BLOCKS));
        let content = (0..OCTETS).map(|octet| (octet * 7 % 251) as u8).collect();
        let manifest = vec![b'm'; MANIFEST_OCTETS];
        Self { log, shelf, segments: (0..8).map(segment).collect(), put: 0, content, manifest, sent: 0 }
    }

    /// Two are ready, always: none is in use as long as it takes for its turn to come again.
    fn keep(&mut self) {
        while self.shelf.ready() < 2 {
            let segment = &self.segments[self.put % self.segments.len()];
            self.shelf.put(Arc::clone(segment)).expect("there is room");
            self.put += 1;
        }
    }

    /// So many turns. `see` is shown each block.
    fn run(&mut self, turns: u64, mut see: impl FnMut(&[u8])) -> Sums {
        let mut sums = Sums::default();
        let mut last = 0;
        let goal = turns * TURN;
        let mut turn = 0;
        while sums.accepted < goal {
            self.keep();
            turn += 1;
            if turn <= turns {
                self.send();
            }
            assert!(turn < 100 * turns, "it comes to an end: {sums:?} of {goal}");
            self.log.hand_on(turn);
            while let Some((number, write)) = self.log.write() {
                see(write.octets.octets());
                self.log.written(number, Ok(write.octets.octets().len() as u32));
            }
            while let Some((ticket, answer)) = self.log.take_answer() {
                let id = answer.expect("it is accepted");
                assert!(ticket.slot < CONNECTIONS && id.sequence() > last, "in order, each once");
                last = id.sequence();
                sums.accepted += 1;
                sums.names = sums.names.wrapping_add(last);
            }
            while let Some(committed) = self.log.take_committed() {
                sums.posted += u64::from(black_box(committed).content.is_some());
            }
        }
        sums
    }

    fn send(&mut self) {
        for slot in 0..CONNECTIONS {
            for question in 0..DEPTH {
                self.sent += 1;
                let copied = self.log.content(slot, &self.content);
                assert_eq!(copied, OCTETS);
                let id = MessageId::new(7, 1, 0, self.sent);
                let message = Described { id, manifest: &self.manifest, routes: &[(Route(0), 1)] };
                let ticket = Ticket { shard: 0, slot, generation: 0, question };
                self.log.end(ticket, &message).expect("there is memory");
            }
        }
    }

    /// A run whose result is what it must be.
    fn checked(&mut self, turns: u64, is_read: bool, see: impl FnMut(&[u8])) {
        let (first, before) = (self.sent + 1, self.log.counts());
        let sums = self.run(turns, see);
        let names = (first..first + turns * TURN).fold(0, u64::wrapping_add);
        let posted = if is_read { turns * TURN } else { 0 };
        assert_eq!(sums, Sums { accepted: turns * TURN, names, posted });
        let counts = self.log.counts();
        assert_eq!(counts.messages - before.messages, turns * TURN);
        assert!(counts.octets - before.octets >= turns * TURN * OCTETS as u64);
        assert_eq!((counts.failures, counts.doubtful), (0, 0));
    }
}

/// What was written is what was sent.
fn check(chain: Chain) {
    let mut house = House::new(chain);
    let (mut ends, mut octets) = (0, 0);
    let content = house.content.clone();
    let checksum = crc32c::crc32c(&content);
    let see = |block: &[u8]| {
        for located in format::open(block).expect("it is a block").records() {
            match located.expect("it is a record").record {
                Record::Part { content: part, .. } => octets += part.len() as u64,
                Record::End { end, .. } => {
                    assert_eq!((end.content_octets, end.content_crc), (OCTETS as u64, checksum));
                    ends += 1;
                }
                _ => {}
            }
        }
    };
    house.checked(TURNS_CHECKED, is_read(chain), see);
    assert_eq!((ends, octets), (TURNS_CHECKED * TURN, TURNS_CHECKED * TURN * OCTETS as u64));
}

fn is_read(chain: Chain) -> bool {
    chain != Chain::Blackhole
}

/// How long each takes for a message.
fn time(turns: u64, run: impl FnOnce(u64)) -> Duration {
    let start = Instant::now();
    run(turns);
    start.elapsed() / (turns * TURN) as u32
}

/// The copy alone, to where a log would have it.
fn copy(content: &[u8], to: &mut [u8], turns: u64) {
    for place in 0..turns * TURN {
        let at = place as usize * OCTETS % (to.len() - OCTETS);
        to[at..at + OCTETS].copy_from_slice(black_box(content));
    }
    black_box(to);
}

/// One checksum of each octet. A log has two: of the message, and of the block.
fn sum(octets: &[u8], turns: u64) {
    for _ in 0..turns * TURN {
        black_box(crc32c::crc32c(black_box(octets)));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints ns per message, and the shares.
fn shares() {
    let (mut blackhole, mut durable) = (House::new(Chain::Blackhole), House::new(Chain::Durable));
    let content = blackhole.content.clone();
    let mut to = vec![0; limits::GROUPS_UNDER_WAY * limits::BLOCK_OCTETS];
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        // Who comes first changes from round to round.
        for place in 0..4 {
            let which = (place + round) % 4;
            let took = match which {
                0 => time(TURNS, |turns| blackhole.checked(turns, false, |_| ())),
                1 => time(TURNS, |turns| durable.checked(turns, true, |_| ())),
                2 => time(TURNS, |turns| copy(&content, &mut to, turns)),
                _ => time(TURNS, |turns| sum(&content, turns)),
            };
            // The first round warms up.
            if round > 0 {
                times[which].push(took.as_secs_f64() * 1e9);
            }
        }
    }
    let [blackhole, durable, copy, sum] = times.map(median);
    println!("\nns per message of {OCTETS} octets, medians of {ROUNDS} rounds");
    println!("{:<40} {blackhole:>8.0}", "blackhole with disk");
    println!("{:<40} {durable:>8.0}", "durable, with letters for a sink");
    println!("{:<40} {copy:>8.0}", "of which one copy of the content");
    println!("{:<40} {:>8.0}", "of which CRC32C, of content and of block", 2.0 * sum);
    println!("{:<40} {:>8.0}", "all else, blackhole", blackhole - copy - 2.0 * sum);
}

fn main() {
    // `cargo bench` says so; a test run and a listing do not time.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let times = has("--bench") && !has("--test") && !has("--list");
    let chains = [(Chain::Blackhole, "blackhole"), (Chain::Durable, "durable")];
    if !has("--shares") {
        let mut criterion = Criterion::default().configure_from_args();
        let mut group = criterion.benchmark_group("writer");
        group.throughput(Throughput::Elements(TURN)).sample_size(20);
        for (chain, name) in chains {
            check(chain);
            let mut house = House::new(chain);
            group.bench_function(name, |bencher| bencher.iter(|| house.checked(1, is_read(chain), |_| ())));
        }
        group.finish();
        criterion.final_summary();
    }
    if times {
        shares();
    }
}
