//! The format of the spool for a message of 4 KiB, and how fast a log of 256 MiB is read whole, from memory: recovery may not be slower than a
//! disk (1 GB/s). The same log from a disk and past the page cache, by all of recovery, and by the reader of a sink that is far behind, with its
//! letters dropped a batch at a time; beside how fast that disk is with the same calls and nothing else.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use ringmx::handoff::backlog::Backlog;
use ringmx::handoff::place::{LogId, LogKind, Position};
use ringmx::limits;
use ringmx::mail::id::MessageId;
use ringmx::memory::region::AlignedBuffer;
use ringmx::memory::write::File;
use ringmx::spool::format::{self, Chain, End, Header, Kind, Record, encode_end, encode_segment, put_record};
use ringmx::spool::reader::{Reader, SegmentAt, Source};
use ringmx::spool::recovery::{Wanted, inspect};
use ringmx::spool::scan::assembly::{Assembler, Event};
use ringmx::spool::scan::{Found, Owner, SegmentScan};
use ringmx::spool::storage::disk::Disk;
use ringmx::spool::storage::{Access, Storage, StorageError, StoredFile};

#[path = "../tests/common/letter.rs"]
mod letter;

const OWNER: Owner = Owner { chain: Chain::Durable, shard: 0, node: 7 };
const LOG_OCTETS: usize = 256 << 20;
const MESSAGES_PER_BLOCK: u64 = 15;

fn header(sequence: u64, address: u64) -> Header {
    let Owner { chain, shard, node } = OWNER;
    Header { chain, shard, node, epoch: 1, sequence, address, durable_upto: sequence }
}

/// The records of one message.
fn put_message(number: u64, first: u64, content: &[u8], body: &mut Vec<u8>) {
    put_message_as(number, first, content, &[7; 200], body);
}

fn put_message_as(number: u64, first: u64, content: &[u8], manifest: &[u8], body: &mut Vec<u8>) {
    put_record(Kind::Part, number, content, body);
    let (content_octets, content_crc) = (content.len() as u64, crc32c::crc32c(content));
    let end = End { first, retain: first, content_octets, content_crc, parts: 1, manifest };
    let mut payload = Vec::with_capacity(300);
    encode_end(&end, &mut payload);
    put_record(Kind::End, number, &payload, body);
}

/// A log in memory, of blocks with 15 messages each.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl Memory {
    fn new() -> Self {
        let content: Vec<u8> = (0..4096_u32).map(|octet| octet as u8).collect();
        let mut octets = Vec::with_capacity(LOG_OCTETS);
        let (mut sequence, mut number) = (0, 0);
        let mut body = Vec::new();
        loop {
            let address = octets.len() as u64;
            body.clear();
            for _ in 0..MESSAGES_PER_BLOCK {
                number += 1;
                put_message(number, address, &content, &mut body);
            }
            if octets.len() + body.len() + 2 * format::ALIGNMENT > LOG_OCTETS {
                octets.resize(LOG_OCTETS, 0);
                return Self(octets);
            }
            header(sequence, address).put(&body, &mut octets);
            sequence += 1;
        }
    }
}

impl StoredFile for Memory {
    fn octets(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<(), StorageError> {
        into.copy_from_slice(&self.0[at as usize..][..into.len()]);
        Ok(())
    }

    fn write_at(&self, _octets: &[u8], _at: u64, _is_synced: bool) -> Result<(), StorageError> {
        unreachable!("nothing is written")
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn shared(&self) -> Arc<File> {
        Arc::new(File::Numbered(0))
    }
}

/// Messages of a log, with its blocks read and put together.
fn scan(log: &Arc<dyn StoredFile>) -> u64 {
    let mut scan = SegmentScan::whole(Arc::clone(log), OWNER, 0).expect("there is memory");
    let mut assembler = Assembler::new(0);
    let mut messages = 0;
    while let Some(found) = scan.next_found().expect("it can be read") {
        if let Found::Block(block) = found {
            assembler.block(&block, |event| messages += u64::from(matches!(event, Event::Message(..))));
        }
    }
    messages
}

/// What is known of a message with one recipient.
fn manifest(number: u64) -> Vec<u8> {
    let envelope = letter::envelope("", [("a@ok.test", 0)]);
    letter::encoded(&letter::manifest(&envelope, MessageId::new(OWNER.node, 1, 0, number), 4096))
}

/// A log of segments on a disk, which goes with this.
struct OnDisk {
    root: PathBuf,
    disk: Arc<Disk>,
    segments: Vec<SegmentAt>,
    messages: u64,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl OnDisk {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("ringmx-bench-spool-{}", std::process::id()));
        let disk = Arc::new(Disk::new(&root));
        disk.make_directory(&root).expect("a directory for the log");
        let mut this = Self { root, disk, segments: Vec::new(), messages: 0 };
        let (content, mut sequence) = (vec![b'x'; 4096], 0);
        for number in 0..LOG_OCTETS as u64 / limits::SEGMENT_OCTETS {
            let at = SegmentAt {
                number: number as u32,
                base: number * limits::SEGMENT_OCTETS,
                octets: limits::SEGMENT_OCTETS,
            };
            this.segments.push(at);
            this.write(at, &content, &mut sequence);
        }
        this
    }

    fn write(&mut self, at: SegmentAt, content: &[u8], sequence: &mut u64) {
        let (mut octets, mut body, mut payload) = (Vec::new(), Vec::new(), Vec::new());
        encode_segment(at.octets, at.base, 0, ["store"], &mut payload);
        put_record(Kind::Segment, 0, &payload, &mut body);
        while octets.len() + body.len() + format::HEADER_OCTETS <= at.octets as usize {
            header(*sequence, at.base + octets.len() as u64).put(&body, &mut octets);
            *sequence += 1;
            body.clear();
            for _ in 0..MESSAGES_PER_BLOCK {
                self.messages += 1;
                put_message_as(
                    self.messages,
                    at.base + octets.len() as u64,
                    content,
                    &manifest(self.messages),
                    &mut body,
                );
            }
        }
        // The last was not written.
        self.messages -= MESSAGES_PER_BLOCK;
        octets.resize(at.octets as usize, 0);
        let path = self.root.join(format::segment_name(at.number));
        let file = self.disk.create(&path, at.octets).expect("there is room");
        let aligned = AlignedBuffer::new(octets.len()).map(|mut buffer| {
            buffer.copy_from_slice(&octets);
            buffer
        });
        file.write_at(&aligned.expect("there is memory"), 0, true).expect("it can be written");
    }

    /// Reads it as a sink does that was away.
    fn catch_up(&self) -> u64 {
        let segments = self.segments.clone();
        let source = Source {
            storage: Arc::clone(&self.disk) as Arc<dyn Storage>,
            directory: self.root.clone(),
            chain: OWNER.chain,
            shard: OWNER.shard,
            node: OWNER.node,
            segments: Arc::new(move || segments.clone()),
            voids: Arc::new([]),
        };
        let log = LogId { kind: LogKind::Durable, shard: OWNER.shard };
        let mut reader = Reader::new(log, source, "store", &Reader::memory(1), None, Arc::default());
        let (mut at, mut messages, mut batch) = (Position::default(), 0, Vec::new());
        while at.address < LOG_OCTETS as u64 {
            let reading = reader.read(at, LOG_OCTETS as u64, limits::DELIVERY_BATCH, &mut batch);
            assert!(reading.stuck.is_none(), "nothing is held");
            at = reading.reached;
            messages += batch.drain(..).filter(|spooled| spooled.content.len() == 4096).count() as u64;
        }
        messages
    }

    /// Finds what is there, as a start does. Gives its blocks.
    fn recover(&self) -> u64 {
        let wanted = Wanted { owner: OWNER, epoch: Some(2), least_base: 0, needed_from: 0, entropy: 7, others: &[] };
        let found = inspect(&*self.disk, &self.root, &wanted, &mut |_| ()).expect("it can be read");
        assert_eq!((&found.corruption[..], found.unfinished), (&[][..], 0));
        found.blocks
    }

    /// The same octets by the same calls: so many at once.
    fn read(&self, at_once: usize) -> u64 {
        let mut buffer = AlignedBuffer::new(at_once).expect("there is memory");
        let mut sum = 0;
        for at in &self.segments {
            let path: &Path = &self.root.join(format::segment_name(at.number));
            let file = self.disk.open(path, Access::Read).expect("it is there");
            for from in (0..at.octets).step_by(at_once) {
                file.read_at(&mut buffer, from).expect("it can be read");
                sum += u64::from(black_box(buffer[0]));
            }
        }
        sum
    }
}

/// Writes a block with one message. Gives its octets.
fn encode(content: &[u8], body: &mut Vec<u8>, block: &mut Vec<u8>) -> usize {
    body.clear();
    block.clear();
    put_message(1, 4096, content, body);
    header(1, 4096).put(body, block);
    block.len()
}

/// Reads it. Gives the octets of content.
fn decode(block: &[u8]) -> usize {
    let block = format::open(block).expect("it is a block");
    let content = |record: Record<'_>| if let Record::Part { content, .. } = record { content.len() } else { 0 };
    block.records().map(|located| content(located.expect("it is a record").record)).sum()
}

fn benches(criterion: &mut Criterion) {
    let content = vec![b'x'; 4096];
    let (mut body, mut block) = (Vec::new(), Vec::new());
    assert_eq!(encode(&content, &mut body, &mut block), 2 * format::ALIGNMENT);
    assert_eq!(decode(&block), 4096);
    let mut group = criterion.benchmark_group("spool");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode, 4 KiB", |bencher| {
        bencher.iter(|| encode(black_box(&content), &mut body, &mut block));
    });
    group.bench_function("decode, 4 KiB", |bencher| bencher.iter(|| decode(black_box(&block))));
    let memory = Memory::new();
    let blocks = memory.0.chunks(format::ALIGNMENT).filter(|page| page.starts_with(b"ringmxS1")).count() as u64;
    let log: Arc<dyn StoredFile> = Arc::new(memory);
    assert_eq!(scan(&log), blocks * MESSAGES_PER_BLOCK);
    group.throughput(Throughput::Bytes(LOG_OCTETS as u64)).sample_size(10);
    group.bench_function("scan, 256 MiB", |bencher| bencher.iter(|| scan(&log)));
    let on_disk = OnDisk::new();
    assert_eq!(on_disk.catch_up(), on_disk.messages);
    // An opening block for each segment.
    assert_eq!(on_disk.recover(), on_disk.messages / MESSAGES_PER_BLOCK + on_disk.segments.len() as u64);
    group.bench_function("disk, 256 MiB, as recovery reads", |bencher| {
        bencher.iter(|| on_disk.read(limits::SCAN_OCTETS))
    });
    group.bench_function("recovery, 256 MiB", |bencher| bencher.iter(|| on_disk.recover()));
    group.bench_function("disk, 256 MiB", |bencher| bencher.iter(|| on_disk.read(limits::LOG_READ_OCTETS)));
    group.bench_function("reader that catches up, 256 MiB", |bencher| bencher.iter(|| on_disk.catch_up()));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
