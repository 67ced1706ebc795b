//! The format of the spool for a message of 4 KiB, and how fast a log of 256 MiB is read whole, from memory: recovery may not be slower than a
//! disk (1 GB/s).

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use ringmx::memory::write::File;
use ringmx::spool::format::{self, Chain, End, Header, Kind, Record, encode_end, put_record};
use ringmx::spool::scan::assembly::{Assembler, Event};
use ringmx::spool::scan::{Found, Owner, SegmentScan};
use ringmx::spool::storage::{StorageError, StoredFile};

const OWNER: Owner = Owner { chain: Chain::Durable, shard: 0, node: 7 };
const LOG_OCTETS: usize = 256 << 20;
const MESSAGES_PER_BLOCK: u64 = 15;

fn header(sequence: u64, address: u64) -> Header {
    let Owner { chain, shard, node } = OWNER;
    Header { chain, shard, node, epoch: 1, sequence, address, durable_upto: sequence }
}

/// The records of one message.
fn put_message(number: u64, first: u64, content: &[u8], body: &mut Vec<u8>) {
    put_record(Kind::Part, number, content, body);
    let (content_octets, content_crc) = (content.len() as u64, crc32c::crc32c(content));
    let manifest = [7; 200];
    let end = End { first, retain: first, content_octets, content_crc, parts: 1, manifest: &manifest };
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
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
