//! Messages that are handed to a sink anew: a log of one segment, put whole into the sink's inbox.
//!
//! *Invariants*: what is handed over is a copy, which keeps the message's id, so that a sink which names by it (a maildir) has it once. Where
//! the message lay it stays until an order says that it was [replayed](crate::spool::deferred::order::Verb::Replayed), which is given
//! when the copy is on stable storage.

use std::path::{Path, PathBuf};

use crate::limits;
use crate::mail::checksum;
use crate::spool::deferred::Copier;
use crate::spool::format::{
    ALIGNMENT, Chain, End, HEADER_OCTETS, Header, Kind, encode_end, encode_segment, put_record, record_octets,
};
use crate::spool::storage::{Storage, StorageError};
use crate::spool::tools::hand::Hand;
use crate::spool::tools::message::Message;
use crate::spool::tools::survey;

/// Octets of a file before another is begun: a sink takes up one at a time.
const FILE_OCTETS: usize = limits::DEFERRED_SEGMENT_OCTETS as usize;

/// Octets of records in a block, at most.
const BODY_OCTETS: usize = limits::BLOCK_OCTETS - HEADER_OCTETS;

/// The most that a payload can be in a block.
const PAYLOAD_OCTETS: usize = BODY_OCTETS - record_octets(0);

/// Why a message was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No recipient is left.
    #[error("none of its recipients is one of that sink")]
    NoRecipient,
    /// An envelope that no transaction made.
    #[error("its envelope is longer than any is")]
    Envelope,
}

/// Hands messages to one sink.
#[derive(Debug)]
pub struct Replay<'s> {
    storage: &'s dyn Storage,
    inbox: PathBuf,
    sink: String,
    hand: Hand,
    copier: Copier,
    /// The blocks of the file that is being made.
    octets: Vec<u8>,
    /// The records of its last block.
    body: Vec<u8>,
    /// Its messages.
    messages: u64,
    sequence: u64,
    /// Files so far.
    files: u32,
    /// Of the next file.
    number: u32,
}

impl<'s> Replay<'s> {
    /// To this sink of a spool.
    pub fn new(storage: &'s dyn Storage, spool: &Path, sink: &str, hand: Hand) -> Self {
        let inbox = survey::inbox(spool, sink);
        let (octets, body, copier) = (Vec::new(), Vec::new(), Copier::default());
        Self {
            storage,
            inbox,
            sink: sink.to_owned(),
            hand,
            copier,
            octets,
            body,
            messages: 0,
            sequence: 0,
            files: 0,
            number: 0,
        }
    }

    /// Adds a message: for those of its recipients that are on their way to this sink, or `everyone` that is left. It is handed over when
    /// [`Self::finish`] says so, or before.
    pub fn add(&mut self, message: &Message, content: &[u8], everyone: bool) -> Result<(), ReplayError> {
        let left = || message.recipients().filter(|(_, sink)| everyone || *sink == self.sink);
        if left().next().is_none() {
            return Err(ReplayError::NoRecipient);
        }
        let mut manifest = Vec::new();
        let recipients = left().map(|(recipient, _)| recipient);
        self.copier.copy(&message.manifest(), recipients, &mut manifest).map_err(|_| ReplayError::Envelope)?;
        if self.octets.len() + self.body.len() + content.len() > FILE_OCTETS {
            self.hand_over()?;
        }
        self.messages += 1;
        let first =
            self.address_for(if content.is_empty() { End::FIXED_OCTETS + manifest.len() } else { content.len() });
        let mut parts = 0;
        for piece in content.chunks(PAYLOAD_OCTETS) {
            parts += 1;
            self.put(Kind::Part, piece);
        }
        // What has no room beside what the end says goes before it.
        let last = manifest.len().min(PAYLOAD_OCTETS - End::FIXED_OCTETS);
        let (pieces, last) = manifest.split_at(manifest.len() - last);
        for piece in pieces.chunks(PAYLOAD_OCTETS) {
            parts += 1;
            self.put(Kind::Manifest, piece);
        }
        let content_crc = checksum::crc32c(content);
        let end =
            End { first, retain: first, content_octets: content.len() as u64, content_crc, parts, manifest: last };
        let mut payload = Vec::new();
        encode_end(&end, &mut payload);
        self.put(Kind::End, &payload);
        Ok(())
    }

    /// Hands over what is left, and says how many files there were.
    pub fn finish(mut self) -> Result<u32, ReplayError> {
        self.hand_over()?;
        Ok(self.files)
    }

    /// The address of the block that the next payload, of which so many octets are there, will be in.
    fn address_for(&mut self, octets: usize) -> u64 {
        self.begin();
        if self.body.len() + record_octets(octets.min(PAYLOAD_OCTETS)) > BODY_OCTETS {
            self.seal();
        }
        self.octets.len() as u64
    }

    fn put(&mut self, kind: Kind, payload: &[u8]) {
        if self.body.len() + record_octets(payload.len()) > BODY_OCTETS {
            self.seal();
        }
        put_record(kind, self.messages, payload, &mut self.body);
    }

    /// The block that says what the file is has its place, and is written when the file's length is known.
    fn begin(&mut self) {
        if self.octets.is_empty() {
            self.octets.resize(ALIGNMENT, 0);
            self.sequence = 1;
        }
    }

    fn seal(&mut self) {
        if !self.body.is_empty() {
            self.header(self.sequence, self.octets.len() as u64).put(&self.body, &mut self.octets);
            self.sequence += 1;
            self.body.clear();
        }
    }

    fn header(&self, sequence: u64, address: u64) -> Header {
        let Hand { node, epoch, .. } = self.hand;
        // All of it is on stable storage before it is there to be read.
        Header { chain: Chain::Deferred, shard: 0, node, epoch, sequence, address, durable_upto: sequence }
    }

    fn hand_over(&mut self) -> Result<(), ReplayError> {
        self.seal();
        if self.octets.is_empty() {
            return Ok(());
        }
        let (mut payload, mut opening, mut first) = (Vec::new(), Vec::new(), Vec::new());
        encode_segment(self.octets.len() as u64, 0, 0, [self.sink.as_str()], &mut payload);
        put_record(Kind::Segment, 0, &payload, &mut opening);
        self.header(0, 0).put(&opening, &mut first);
        self.octets[..ALIGNMENT].copy_from_slice(&first[..ALIGNMENT]);
        self.number = self.hand.put(self.storage, &self.inbox, self.number, ".segment", &self.octets)?;
        self.files += 1;
        self.messages = 0;
        self.octets.clear();
        Ok(())
    }
}
