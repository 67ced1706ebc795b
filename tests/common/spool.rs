//! A spool that no server wrote: logs made block by block with the library's format, for tools and tests that read one.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ringmx::mail::id::MessageId;
use ringmx::mail::manifest::Manifest;
use ringmx::spool::format::{
    Chain, End, Header, Kind, Wait, encode_end, encode_segment, encode_void, encode_wait, put_record, segment_name,
};

use crate::letter;

/// The random number of its data directory.
pub const NODE: u32 = 0x0FEE_DBED;

/// The id of the message with this number.
pub fn id(sequence: u64) -> MessageId {
    MessageId::new(NODE, 1, 0, sequence)
}

/// The manifest of a message, of which each recipient has a route.
pub fn manifest(sequence: u64, from: &str, to: &[(&str, u16)], received_at_ms: u64, content: &[u8]) -> Vec<u8> {
    let envelope = letter::envelope(from, to.iter().copied());
    let plain = letter::manifest(&envelope, id(sequence), content.len());
    letter::encoded(&Manifest { received_at_ms, by: "host.test", hello: b"client.test", ..plain })
}

/// A log that is being made.
pub struct LogMaker {
    directory: PathBuf,
    chain: Chain,
    sinks: Vec<String>,
    segment_octets: usize,
    /// What its blocks say from here on.
    pub epoch: u32,
    pub node: u32,
    pub sequence: u64,
    pub base: u64,
    pub number: u32,
    /// Whether each block says that those before it are durable; otherwise none does.
    pub tells_durable: bool,
    /// The number of the next message.
    pub message: u64,
    segment: Vec<u8>,
    body: Vec<u8>,
}

impl LogMaker {
    /// In a directory of the spool, with segments of 64 KiB; the first is begun.
    pub fn new(spool: &Path, name: &str, chain: Chain, sinks: &[&str]) -> Self {
        let directory = spool.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).expect("a directory can be made");
        let sinks = sinks.iter().map(|sink| (*sink).to_owned()).collect();
        let mut maker = Self {
            directory,
            chain,
            sinks,
            segment_octets: 64 << 10,
            epoch: 1,
            node: NODE,
            sequence: 0,
            base: 1 << 20,
            number: 0,
            tells_durable: true,
            message: 1,
            segment: Vec::new(),
            body: Vec::new(),
        };
        maker.begin(&[]);
        maker
    }

    /// Begins a segment, which says that these blocks are void.
    pub fn begin(&mut self, void: &[(u64, u64)]) {
        let (mut opening, base) = (Vec::new(), self.base);
        let sinks = self.sinks.iter().map(String::as_str);
        encode_segment(self.segment_octets as u64, base, base, sinks, &mut opening);
        put_record(Kind::Segment, 0, &opening, &mut self.body);
        for (from, to) in void {
            let mut payload = Vec::new();
            encode_void(*from, *to, &mut payload);
            put_record(Kind::Void, 0, &payload, &mut self.body);
        }
        self.block();
    }

    /// Where the next block begins.
    pub fn address(&self) -> u64 {
        self.base + self.segment.len() as u64
    }

    /// Adds a piece of a message to the block.
    pub fn part(&mut self, message: u64, content: &[u8]) {
        put_record(Kind::Part, message, content, &mut self.body);
    }

    /// Adds how a message waits to the block.
    pub fn wait(&mut self, message: u64, wait: &Wait<'_>) {
        let mut payload = Vec::new();
        encode_wait(wait, &mut payload);
        put_record(Kind::Wait, message, &payload, &mut self.body);
    }

    /// Adds the end of a message to the block, which began in the block at this address with so many parts before its end.
    pub fn end(&mut self, message: u64, first: u64, parts: u32, content: &[u8], manifest: &[u8]) {
        let content_crc = crc32c::crc32c(content);
        let end = End { first, retain: first, content_octets: content.len() as u64, content_crc, parts, manifest };
        let mut payload = Vec::new();
        encode_end(&end, &mut payload);
        put_record(Kind::End, message, &payload, &mut self.body);
    }

    /// Adds a void message.
    pub fn abort(&mut self, message: u64) {
        put_record(Kind::Abort, message, b"", &mut self.body);
    }

    /// Adds a whole message in one part, and ends the block.
    pub fn message(&mut self, manifest: &[u8], content: &[u8], wait: Option<&Wait<'_>>) {
        let (message, first) = (self.message, self.address());
        if let Some(wait) = wait {
            self.wait(message, wait);
        }
        self.part(message, content);
        self.end(message, first, 1, content, manifest);
        self.message += 1;
        self.block();
    }

    /// Ends the block.
    pub fn block(&mut self) {
        let header = Header {
            chain: self.chain,
            shard: 0,
            node: self.node,
            epoch: self.epoch,
            sequence: self.sequence,
            address: self.address(),
            durable_upto: if self.tells_durable { self.sequence } else { 0 },
        };
        header.put(&self.body, &mut self.segment);
        assert!(self.segment.len() <= self.segment_octets, "the segment has room");
        self.body.clear();
        self.sequence += 1;
    }

    /// Writes the segment, and goes on to where the next one begins.
    pub fn write(&mut self) -> PathBuf {
        let path = self.directory.join(segment_name(self.number));
        self.segment.resize(self.segment_octets, 0);
        let mut file = fs::OpenOptions::new();
        let mut file =
            file.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file can be made");
        std::io::Write::write_all(&mut file, &self.segment).expect("it can be written");
        self.segment.clear();
        self.number += 1;
        self.base += self.segment_octets as u64;
        path
    }
}

/// Turns a bit of a file.
pub fn spoil(path: &Path, at: usize) {
    let mut octets = fs::read(path).expect("it can be read");
    octets[at] ^= 1;
    fs::write(path, octets).expect("it can be written");
}
