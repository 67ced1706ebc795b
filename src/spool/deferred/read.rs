//! Reads a class in its order: from what is not done with to where it ends.
//!
//! *Invariants*: what comes out is as it was put in, by its checksums, or does not come out. Blocks that are void are passed over. What
//! cannot be read is passed over page by page, so that its neighbours are kept, and noted: its segment is kept for a human, and is
//! never used again. Memory: one block, and the messages that are let out.

use std::path::Path;
use std::sync::Arc;

use crate::limits;
use crate::mail::checksum;
use crate::memory::slab::{Lease, Leases, Slab, SlabFull};
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::gone::Gone;
use crate::spool::deferred::log::Position;
use crate::spool::deferred::schedule::State;
use crate::spool::deferred::yard::Yard;
use crate::spool::format::{self, ALIGNMENT, Block, End, HEADER_OCTETS, Header, Record, Wait, segment_name};
use crate::spool::storage::{Access, StorageError, StoredFile};

/// How the first message that is not taken out waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) at: Position,
    pub(super) next_ms: u64,
}

/// A message as it lay there, but for its envelope's meaning.
#[derive(Debug)]
pub(super) struct Assembled {
    /// `None` if it was never tried.
    pub(super) waited: Option<Waited>,
    pub(super) manifest: Lease,
    pub(super) content_octets: u64,
    /// None of it where none was wanted.
    pub(super) content: Leases,
}

/// How a message waited, as its log has it.
#[derive(Clone, Debug)]
pub(super) struct Waited {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) since_ms: u64,
    pub(super) next_ms: u64,
    /// Of the last reply, and what it said.
    pub(super) code: u16,
    pub(super) reply: Box<[u8]>,
}

/// What is taken of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    Whole,
    /// All but its content.
    Manifest,
}

/// What a walk needs of the log that is read.
pub(super) struct Log<'l> {
    pub(super) directory: &'l Path,
    /// A segment, and octets of it, up to which all is there.
    pub(super) end: (u32, u64),
    /// Messages that are passed over.
    pub(super) gone: &'l Gone,
}

/// The segment that is read.
#[derive(Debug)]
struct Segment {
    number: u32,
    /// `None` until a block says so, if its first one cannot be read.
    base: Option<u64>,
    file: Arc<dyn StoredFile>,
    /// What the next one says, once it is known.
    following: Option<Following>,
}

#[derive(Debug, Default)]
struct Following {
    /// The sequence of its first block; `None` if that cannot be read.
    first: Option<u64>,
    voids: Vec<(u64, u64)>,
}

impl Following {
    fn is_void(&self, sequence: u64) -> bool {
        self.voids.iter().any(|(from, to)| (*from..=*to).contains(&sequence))
    }

    /// Whether nothing is missing between the block before this sequence and that one.
    fn closes(&self, expected: u64, found: u64) -> bool {
        let mut at = expected;
        // BOUND: each turn passes a void.
        while at < found {
            let Some((_, to)) = self.voids.iter().find(|(from, to)| (*from..=*to).contains(&at)) else { return false };
            at = to + 1;
        }
        true
    }
}

/// The block that is in the yard's buffer.
#[derive(Clone, Copy, Debug)]
struct Loaded {
    segment: u32,
    at: u64,
    header: Header,
    length: usize,
}

impl Loaded {
    fn block<'b>(&self, buffer: &'b [u8]) -> Block<'b> {
        Block { header: self.header, length: self.length, body: &buffer[HEADER_OCTETS..self.length] }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Everything before it is done with.
    pub(super) done: Position,
    /// Everything before it is taken out.
    pub(super) read: Position,
    pub(super) head: Option<Head>,
    /// Those that are due until then go with the first, in ms since 1970.
    pub(super) gather_to_ms: u64,
    /// Segments in which something could not be read: up to the one that is being read, and the last that there was at the start.
    pub(super) damaged: Vec<u32>,
    /// Times that something could not be read, or was not what it should be.
    pub(super) damages: u64,
    failures: Failures,
    segment: Option<Segment>,
    /// Only within one call from outside.
    loaded: Option<Loaded>,
    epoch: u32,
}

/// Why there is no message.
pub(super) enum NoMessage {
    /// It is not whole, and passed over.
    Incomplete,
    /// There is no memory for it now.
    NoMemory,
}

impl From<SlabFull> for NoMessage {
    fn from(_: SlabFull) -> Self {
        Self::NoMemory
    }
}

impl Reader {
    /// Begins there.
    pub(super) fn at(position: Position) -> Self {
        Self { done: position, read: position, ..Self::default() }
    }

    /// Goes on with this segment, which has to do with none before it.
    pub(super) fn begin(&mut self, segment: u32) {
        let position = Position { segment, ..Position::default() };
        *self = Self { damages: self.damages, ..Self::at(position) };
    }

    /// What was taken out last is not what it should be.
    pub(super) fn note_unreadable(&mut self) {
        self.note_damage(self.read.segment);
    }

    /// The buffer has been used for something else.
    pub(super) fn forget_buffer(&mut self) {
        self.loaded = None;
    }

    /// Finds the first message that is not taken out. `None` at the end.
    pub(super) fn find(&mut self, yard: &mut Yard, log: &Log<'_>) -> Result<Option<Head>, DeferredError> {
        if let Some(head) = self.head {
            return Ok(Some(head));
        }
        while let Some(loaded) = self.load(yard, log)? {
            let found = loaded.block(&yard.buffer).records().map_while(Result::ok).find_map(|located| {
                let message = located.record.message();
                let is_ahead = located.record.kind().has_message() && message >= self.read.message;
                let is_ahead = is_ahead && !log.gone.has(message);
                let next_ms = match located.record {
                    Record::Wait { wait, .. } => wait.next_ms,
                    _ => 0,
                };
                is_ahead.then_some((message, next_ms))
            });
            match found.filter(|_| !self.is_void(loaded.header.sequence)) {
                Some((message, next_ms)) => {
                    (self.read.message, self.read.sequence) = (message, loaded.header.sequence);
                    self.head = Some(Head { at: self.read, next_ms });
                    return Ok(self.head);
                }
                None => self.pass(&loaded),
            }
        }
        Ok(None)
    }

    /// Takes out the message that was found, and goes on behind it.
    pub(super) fn take(
        &mut self,
        yard: &mut Yard,
        log: &Log<'_>,
        wanted: Wanted,
        slab: &mut Slab,
    ) -> Result<Result<Assembled, NoMessage>, DeferredError> {
        let head = self.head.take().expect("it was found");
        self.go_to(head.at);
        let mut collected =
            Collected { message: head.at.message, is_whole: wanted == Wanted::Whole, ..Collected::default() };
        let damages = self.damages;
        while let Some(loaded) = self.load(yard, log)? {
            if !self.is_void(loaded.header.sequence) {
                let block = loaded.block(&yard.buffer);
                for located in block.records().map_while(Result::ok) {
                    match collected.add(&located.record, slab) {
                        Ok(Collecting::On) => {}
                        Ok(Collecting::Whole(assembled)) => {
                            self.read.message = head.at.message + 1;
                            return Ok(Ok(*assembled));
                        }
                        Ok(Collecting::Broken) => {
                            // In a segment of which nothing else is wrong it is what a crash has left.
                            let is_damaged = collected.is_damaged || self.damages > damages;
                            self.read.message = head.at.message + 1;
                            if is_damaged {
                                self.note_damage(loaded.segment);
                            }
                            return Ok(Err(NoMessage::Incomplete));
                        }
                        Err(SlabFull) => {
                            self.go_to(head.at);
                            self.head = Some(head);
                            return Ok(Err(NoMessage::NoMemory));
                        }
                    }
                }
            }
            self.pass(&loaded);
        }
        self.read.message = head.at.message + 1;
        Ok(Err(NoMessage::Incomplete))
    }

    /// After a failure: finds the same again.
    pub(super) fn go_back(&mut self, to: Position) {
        self.head = None;
        self.go_to(to);
    }

    fn go_to(&mut self, position: Position) {
        self.segment.take_if(|segment| segment.number != position.segment);
        self.read = position;
        self.epoch = 0;
    }

    fn is_void(&self, sequence: u64) -> bool {
        let following = self.segment.as_ref().and_then(|segment| segment.following.as_ref());
        following.is_some_and(|following| following.is_void(sequence))
    }

    /// Goes on behind a block.
    fn pass(&mut self, loaded: &Loaded) {
        self.read.at = loaded.at + loaded.block_span();
        self.read.sequence = loaded.header.sequence + 1;
        self.epoch = loaded.header.epoch;
        self.loaded = None;
    }

    /// Something of that segment is not what it should be.
    pub(super) fn note_damage(&mut self, segment: u32) {
        self.damages += 1;
        if !self.damaged.contains(&segment) {
            self.damaged.push(segment);
        }
    }

    /// Has the next block in the buffer. `None` at the end.
    fn load(&mut self, yard: &mut Yard, log: &Log<'_>) -> Result<Option<Loaded>, DeferredError> {
        // BOUND: each turn goes on by a page or a segment.
        while (self.read.segment, self.read.at) < log.end {
            if let Some(loaded) =
                self.loaded.filter(|loaded| (loaded.segment, loaded.at) == (self.read.segment, self.read.at))
            {
                return Ok(Some(loaded));
            }
            let number = self.read.segment;
            if self.segment.as_ref().is_none_or(|segment| segment.number != number) && !self.enter(yard, log)? {
                continue;
            }
            self.look_ahead(yard, log)?;
            let Some(segment) = &self.segment else { continue };
            let (base, octets) = (segment.base, segment.file.octets());
            let upto = if number == log.end.0 { log.end.1.min(octets) } else { octets };
            if self.read.at >= upto {
                self.leave();
                continue;
            }
            let length = (yard.sizes.block_octets as u64).min(upto - self.read.at) as usize;
            let is_given_up = self.failures.is_given_up(&self.read);
            if let Err(error) = read_page_by_page(&*segment.file, &mut yard.buffer[..length], self.read.at, is_given_up)
            {
                self.failures.count(&self.read);
                return Err(error.into());
            }
            let opened = format::open(&yard.buffer[..length]).ok().filter(|block| {
                let header = &block.header;
                let is_there = base.is_none_or(|base| header.address == base + self.read.at);
                yard.is_ours(header) && is_there && header.address >= self.read.at && header.epoch >= self.epoch
            });
            let found = opened.map(|block| (block.header, block.length));
            if let Some((header, length)) = found.filter(|(header, _)| self.fits(header.sequence)) {
                let loaded = Loaded { segment: number, at: self.read.at, header, length };
                if let Some(segment) = &mut self.segment {
                    segment.base.get_or_insert(header.address - self.read.at);
                }
                self.loaded = Some(loaded);
                return Ok(Some(loaded));
            }
            if self.is_closed() {
                self.leave();
            } else {
                self.note_damage(number);
                self.read.at += ALIGNMENT as u64;
            }
        }
        Ok(None)
    }

    /// Whether a block of this sequence can come next. What is missing before it is noted.
    fn fits(&mut self, sequence: u64) -> bool {
        let following = self.segment.as_ref().and_then(|segment| segment.following.as_ref());
        let is_before_next = following.and_then(|following| following.first).is_none_or(|first| sequence < first);
        if sequence < self.read.sequence || !is_before_next {
            return false;
        }
        let is_gap = self.read.at > 0 && self.read.sequence > 0 && sequence > self.read.sequence;
        let is_void = following.is_some_and(|following| following.closes(self.read.sequence, sequence));
        if is_gap && !is_void {
            self.note_damage(self.read.segment);
        }
        true
    }

    /// Whether a segment ends here: the next one goes on with what would come now.
    fn is_closed(&self) -> bool {
        let following = self.segment.as_ref().and_then(|segment| segment.following.as_ref());
        let Some((following, first)) = following.and_then(|following| Some((following, following.first?))) else {
            return false;
        };
        self.read.sequence > 0 && following.closes(self.read.sequence, first)
    }

    /// Goes on with the next segment.
    fn leave(&mut self) {
        self.read = Position { segment: self.read.segment + 1, at: 0, ..self.read };
        self.loaded = None;
    }

    /// Opens the segment that is to be read. False when there is none: it goes on with the next.
    fn enter(&mut self, yard: &mut Yard, log: &Log<'_>) -> Result<bool, DeferredError> {
        let number = self.read.segment;
        self.loaded = None;
        let file = match yard.storage.open(&log.directory.join(segment_name(number)), Access::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => {
                self.damages += 1;
                self.leave();
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let length = ALIGNMENT.min(yard.buffer.len());
        let is_given_up = self.failures.is_given_up(&self.read);
        if let Err(error) = read_page_by_page(&*file, &mut yard.buffer[..length], 0, is_given_up) {
            self.failures.count(&self.read);
            return Err(error.into());
        }
        let said =
            format::open(&yard.buffer[..length]).ok().and_then(|block| match block.records().next()?.ok()?.record {
                Record::Segment(opening) => Some(opening.base),
                _ => None,
            });
        self.segment = Some(Segment { number, base: said, file, following: None });
        Ok(true)
    }

    /// Reads what the next segment says, once there is one.
    fn look_ahead(&mut self, yard: &mut Yard, log: &Log<'_>) -> Result<(), DeferredError> {
        let Some(segment) = self.segment.as_mut().filter(|segment| segment.following.is_none()) else { return Ok(()) };
        if segment.number >= log.end.0 {
            return Ok(());
        }
        let path = log.directory.join(segment_name(segment.number + 1));
        let mut following = Following::default();
        let found = yard.storage.open(&path, Access::Read);
        if let Some(file) = found.map(Some).or_else(|error| if error.is_not_found() { Ok(None) } else { Err(error) })? {
            let length = yard.buffer.len().min(file.octets() as usize);
            self.loaded = None;
            if let Err(error) = file.read_at(&mut yard.buffer[..length], 0) {
                // Without it the end of this segment cannot be told from what is missing.
                if !self.failures.is_given_up(&self.read) {
                    self.failures.count(&self.read);
                    return Err(error.into());
                }
                yard.buffer.fill(0);
            }
            if let Ok(block) = format::open(&yard.buffer[..length]) {
                following.first = Some(block.header.sequence);
                following.voids.extend(block.records().map_while(Result::ok).filter_map(
                    |located| match located.record {
                        Record::Void { from, to } => Some((from, to)),
                        _ => None,
                    },
                ));
            }
        }
        segment.following = Some(following);
        Ok(())
    }
}

/// How often the disk failed where it is read. What fails again and again is passed over in the end, so that one bad sector stops
/// nothing for ever.
#[derive(Debug, Default)]
struct Failures {
    segment: u32,
    at: u64,
    times: u32,
}

impl Failures {
    fn is_given_up(&self, position: &Position) -> bool {
        (self.segment, self.at) == (position.segment, position.at) && self.times >= limits::DEFERRED_READ_TRIES
    }

    fn count(&mut self, position: &Position) {
        let is_same = (self.segment, self.at) == (position.segment, position.at);
        *self = Self { segment: position.segment, at: position.at, times: if is_same { self.times + 1 } else { 1 } };
    }
}

impl Loaded {
    fn block_span(&self) -> u64 {
        format::span(self.length) as u64
    }
}

/// Reads. Where the disk is given up, what it does not give page by page is zeros, which are no block; but a disk that gives nothing at
/// all is not believed.
fn read_page_by_page(file: &dyn StoredFile, into: &mut [u8], at: u64, is_given_up: bool) -> Result<(), StorageError> {
    let Err(error) = file.read_at(into, at) else { return Ok(()) };
    if !is_given_up {
        return Err(error);
    }
    let mut has_some = false;
    for (page, octets) in into.chunks_mut(ALIGNMENT).enumerate() {
        match file.read_at(octets, at + (page * ALIGNMENT) as u64) {
            Ok(()) => has_some = true,
            Err(_) => octets.fill(0),
        }
    }
    if has_some { Ok(()) } else { Err(error) }
}

/// A message whose records are read.
#[derive(Debug, Default)]
struct Collected {
    message: u64,
    wait: Option<Waited>,
    /// Its content is kept.
    is_whole: bool,
    content: Leases,
    octets: u64,
    crc: u32,
    parts: u32,
    /// Pieces that come before its end.
    manifest: Vec<u8>,
    /// It ended, and is not what its end says.
    is_damaged: bool,
}

impl Waited {
    fn of(wait: &Wait<'_>) -> Self {
        let Wait { state, attempts, since_ms, next_ms, code, reply } = *wait;
        Self { state: State::of_code(state), attempts, since_ms, next_ms, code, reply: reply.into() }
    }
}

enum Collecting {
    On,
    Whole(Box<Assembled>),
    /// Another begins, or this one is not what its end says.
    Broken,
}

impl Collected {
    fn add(&mut self, record: &Record<'_>, slab: &mut Slab) -> Result<Collecting, SlabFull> {
        if !record.kind().has_message() || record.message() < self.message {
            return Ok(Collecting::On);
        }
        if record.message() > self.message {
            return Ok(Collecting::Broken);
        }
        match record {
            Record::Wait { wait, .. } => self.wait = Some(Waited::of(wait)),
            Record::Part { content, .. } => {
                if self.is_whole {
                    slab.append(&mut self.content, content)?;
                }
                self.crc = checksum::crc32c_append(self.crc, content);
                (self.octets, self.parts) = (self.octets + content.len() as u64, self.parts + 1);
            }
            Record::Manifest { octets, .. } => {
                self.manifest.extend_from_slice(octets);
                self.parts += 1;
            }
            Record::End { end, .. } => return self.end(end, slab),
            Record::Abort { .. } | Record::Segment(_) | Record::Void { .. } => return Ok(Collecting::Broken),
        }
        Ok(Collecting::On)
    }

    fn end(&mut self, end: &End<'_>, slab: &mut Slab) -> Result<Collecting, SlabFull> {
        if (end.content_octets, end.content_crc, end.parts) != (self.octets, self.crc, self.parts) {
            self.is_damaged = true;
            return Ok(Collecting::Broken);
        }
        self.manifest.extend_from_slice(end.manifest);
        let manifest = slab.append_whole(&self.manifest)?;
        let (waited, content) = (self.wait.take(), std::mem::take(&mut self.content));
        Ok(Collecting::Whole(Box::new(Assembled { waited, manifest, content_octets: self.octets, content })))
    }
}
