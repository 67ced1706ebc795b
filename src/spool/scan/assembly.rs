//! Messages out of blocks.
//!
//! Whoever has the blocks gives them in the order of the log: those that count by [`Assembler::block`], those that are void by
//! [`Assembler::void`], and what is no block by [`Assembler::bad`]. A message comes out when its end was seen and every piece before it.
//! Recovery, the tools and the tests all read by this one.
//!
//! *Invariant*: what comes out as a message has all of its records, in blocks that were given as counting; its content is still to be read
//! and checked ([`content`](super::content)). Memory is bounded for each message that is open. *Does not* know sequences: which
//! blocks count is the caller's to know.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::limits;
use crate::mail::checksum;
use crate::spool::format::{Block, End, Record, RecordError, Wait};

/// A piece of content in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of its first octet.
    pub address: u64,
    /// Its length.
    pub octets: u32,
}

/// How a deferred message waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    state: u8,
    attempts: u32,
    since_ms: u64,
    next_ms: u64,
    code: u16,
    reply: Box<[u8]>,
}

impl Waiting {
    fn of(wait: &Wait<'_>) -> Self {
        let Wait { state, attempts, since_ms, next_ms, code, reply } = *wait;
        Self { state, attempts, since_ms, next_ms, code, reply: reply.into() }
    }

    /// What was written.
    pub fn wait(&self) -> Wait<'_> {
        let Self { state, attempts, since_ms, next_ms, code, reply } = self;
        Wait { state: *state, attempts: *attempts, since_ms: *since_ms, next_ms: *next_ms, code: *code, reply }
    }
}

/// A message that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Among those of its epoch.
    pub number: u64,
    /// Of the blocks that it lies in.
    pub epoch: u32,
    /// Of the block with its end.
    pub sequence: u64,
    /// The address of the block with its first record.
    pub first: u64,
    /// The address of the block with its end.
    pub block: u64,
    /// The address behind that block.
    pub behind: u64,
    /// The address of its end.
    pub place: u64,
    /// From there on all must be kept for who has not dealt with it.
    pub retain: u64,
    /// Octets of content.
    pub content_octets: u64,
    /// Their checksum.
    pub content_crc: u32,
    /// Where they lie; `None` when there are too many pieces to remember.
    pub extents: Option<Vec<Extent>>,
    /// Of deferred mail.
    pub waiting: Option<Waiting>,
}

/// What is wrong with a message that was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Not all of its records are there.
    Part,
    /// They are, and say something else than what was summed. Only who asked for it is told ([`Assembler::summing`]).
    Content,
}

/// A message without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Among those of its epoch.
    pub number: u64,
    /// The address of the block with the first of its records that was seen.
    pub first: u64,
    /// Octets of content that were seen.
    pub content_octets: u64,
}

/// What comes of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message, with its manifest.
    Message(Message, Cow<'a, [u8]>),
    /// A message that cannot be delivered as it was taken, with what there is of its manifest.
    Damaged(Message, Cow<'a, [u8]>, Damage),
    /// The message with this number is void, though its end was given, if it was: something of it was lost before anybody was told
    /// that it is kept.
    Aborted(u64),
    /// A message that no start ended, or that is still coming.
    Unfinished(Unfinished),
    /// A good block at this address has something that is no record. What is behind it in the block is not known.
    Strange(u64, RecordError),
}

#[derive(Debug)]
struct Partial {
    first: u64,
    parts: u32,
    octets: u64,
    crc: u32,
    extents: Option<Vec<Extent>>,
    manifest: Vec<u8>,
    waiting: Option<Waiting>,
}

/// See the module.
#[derive(Debug)]
pub struct Assembler {
    /// Nothing is known of what lies before.
    start: u64,
    /// Content is held against its checksum as it goes by.
    is_summing: bool,
    open: BTreeMap<u64, Partial>,
    epoch: u32,
    /// The address of the last block that was void, and of the last stretch that was none.
    void_at: Option<u64>,
    bad_at: Option<u64>,
}

impl Assembler {
    /// For blocks from this address on. A message that began before it is not seen: whoever may leave out the beginning of a log has no
    /// need of what began there.
    pub fn new(start: u64) -> Self {
        Self { start, is_summing: false, open: BTreeMap::new(), epoch: 0, void_at: None, bad_at: None }
    }

    /// The same, for whoever wants to know that contents are what they were, and reads none of them.
    pub fn summing(self) -> Self {
        Self { is_summing: true, ..self }
    }

    /// A block counts for nothing, whatever is in it.
    pub fn void(&mut self, address: u64) {
        self.void_at = Some(address);
    }

    /// Nothing can be read at an address where there was something.
    pub fn bad(&mut self, address: u64) {
        self.bad_at = Some(address);
    }

    /// Messages that are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Where the first of the messages begins that are open.
    pub fn oldest(&self) -> Option<u64> {
        self.open.values().map(|partial| partial.first).min()
    }

    /// A block that counts.
    pub fn block<'b>(&mut self, block: &Block<'b>, mut each: impl FnMut(Event<'b>)) {
        if block.header.epoch != self.epoch {
            self.finish(&mut each);
            self.epoch = block.header.epoch;
        }
        let address = block.header.address;
        for record in block.records() {
            let located = match record {
                Ok(located) => located,
                Err(error) => {
                    self.bad(address);
                    each(Event::Strange(address, error));
                    break;
                }
            };
            match located.record {
                Record::Segment(_) | Record::Void { .. } => {}
                Record::Part { message, content } => {
                    let place = address + located.payload_at() as u64;
                    let is_summing = self.is_summing;
                    let partial = self.partial(message, address);
                    partial.add(Extent { address: place, octets: content.len() as u32 });
                    if is_summing {
                        partial.crc = checksum::crc32c_append(partial.crc, content);
                    }
                }
                Record::Manifest { message, octets } => self.partial(message, address).add_manifest(octets),
                Record::Wait { message, wait } => {
                    self.partial(message, address).waiting = Some(Waiting::of(&wait));
                }
                Record::Abort { message } => {
                    if self.open.remove(&message).is_none() {
                        each(Event::Aborted(message));
                    }
                }
                Record::End { message, end } => {
                    self.end(block, message, address + located.at as u64, end).into_iter().for_each(&mut each);
                }
            }
        }
    }

    /// Nothing follows, or nothing that goes on with what was open.
    pub fn finish<'b>(&mut self, mut each: impl FnMut(Event<'b>)) {
        for (number, partial) in std::mem::take(&mut self.open) {
            let Partial { first, octets: content_octets, .. } = partial;
            each(Event::Unfinished(Unfinished { number, first, content_octets }));
        }
    }

    fn partial(&mut self, message: u64, address: u64) -> &mut Partial {
        self.open.entry(message).or_insert_with(|| Partial::new(address))
    }

    fn end<'b>(&mut self, block: &Block<'b>, number: u64, place: u64, end: End<'b>) -> Option<Event<'b>> {
        let address = block.header.address;
        let partial = self.open.remove(&number).unwrap_or_else(|| Partial::new(address));
        if end.first < self.start {
            return None;
        }
        let is_whole = (partial.first, partial.parts, partial.octets) == (end.first, end.parts, end.content_octets);
        let damage = if !is_whole {
            let is_void = self.void_at.is_some_and(|at| at >= end.first);
            let is_bad = self.bad_at.is_some_and(|at| at >= end.first);
            if is_void && !is_bad {
                // It was refused when its block was, and its end was under way then.
                return None;
            }
            Some(Damage::Part)
        } else {
            (self.is_summing && partial.crc != end.content_crc).then_some(Damage::Content)
        };
        let manifest = if partial.manifest.is_empty() {
            Cow::Borrowed(end.manifest)
        } else {
            Cow::Owned([&partial.manifest, end.manifest].concat())
        };
        let message = Message {
            number,
            epoch: block.header.epoch,
            sequence: block.header.sequence,
            first: end.first,
            block: address,
            behind: address + block.span() as u64,
            place,
            retain: end.retain,
            content_octets: end.content_octets,
            content_crc: end.content_crc,
            extents: partial.extents,
            waiting: partial.waiting,
        };
        Some(match damage {
            None => Event::Message(message, manifest),
            Some(damage) => Event::Damaged(message, manifest, damage),
        })
    }
}

impl Partial {
    fn new(first: u64) -> Self {
        Self { first, parts: 0, octets: 0, crc: 0, extents: Some(Vec::new()), manifest: Vec::new(), waiting: None }
    }

    fn add(&mut self, extent: Extent) {
        self.parts = self.parts.saturating_add(1);
        self.octets = self.octets.saturating_add(u64::from(extent.octets));
        match &mut self.extents {
            Some(extents) if extents.len() < limits::EXTENTS => extents.push(extent),
            extents => *extents = None,
        }
    }

    /// One that is longer than any is not whole.
    fn add_manifest(&mut self, octets: &[u8]) {
        if self.manifest.len() + octets.len() <= limits::MANIFEST_OCTETS {
            self.parts = self.parts.saturating_add(1);
            self.manifest.extend_from_slice(octets);
        }
    }
}
