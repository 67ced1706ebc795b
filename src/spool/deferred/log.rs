//! The log of one class: where it ends, what is found of it after a restart, and how much waits in it.
//!
//! Its segments are files `0000.segment`, `0001.segment`, …, numbered without gaps in the order in which they were written, so that
//! nothing has to be known of those between the first and the last. A message's records are `Wait`, `Part`s, `End`, with no other's
//! between them. *Invariant*: messages are numbered in their order; so one number says which are done with.
//!
//! *After a restart* the last segment is read whole. It ends before the first block that is not good; what lies behind was never
//! relied on by anybody, since a batch counts when all of its blocks are on stable storage. A new segment follows with the first
//! message that is written, and says that those blocks are void.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spool::deferred::class::Class;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::gone::Gone;
use crate::spool::deferred::read::Reader;
use crate::spool::deferred::yard::Yard;
use crate::spool::format::{self, ALIGNMENT, Record, segment_name, segment_number};
use crate::spool::storage::{Access, EntryKind, StoredFile};

/// A place in a class: a block, and which of its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The segment.
    pub(super) segment: u32,
    /// Octets from its start to the block.
    pub(super) at: u64,
    /// Messages with lower numbers are before it.
    pub(super) message: u64,
    /// The block's sequence is no less.
    pub(super) sequence: u64,
}

/// Where the next things go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next {
    pub(super) segment: u32,
    pub(super) sequence: u64,
    pub(super) message: u64,
}

/// The segment that is written.
pub(super) struct Tail {
    pub(super) number: u32,
    pub(super) base: u64,
    pub(super) file: Arc<dyn StoredFile>,
    /// Octets of it that are written.
    pub(super) written: u64,
}

/// See the module.
pub(super) struct ClassLog {
    pub(super) class: Class,
    pub(super) directory: PathBuf,
    /// `None` when the next message begins a segment.
    pub(super) tail: Option<Tail>,
    pub(super) next: Next,
    /// Up to here all is on stable storage, and may be read: a segment, and octets of it.
    pub(super) end: (u32, u64),
    /// Blocks that are void, by sequence, which the next segment is to say.
    pub(super) voids: Vec<(u64, u64)>,
    /// Blocks with lower sequences are on stable storage, or void.
    pub(super) durable_upto: u64,
    /// The directory is there.
    pub(super) is_made: bool,
    /// The first message that was written in this run: those before it were written by another, whose clock may have been wrong.
    pub(super) first_of_run: u64,
    pub(super) reader: Reader,
    /// Of those that the reader is not behind.
    pub(super) gone: Gone,
    /// What is left at its beginning is being written to its end.
    pub(super) is_turning: bool,
}

impl ClassLog {
    /// Finds what is there. The cursor says what is done with, if there is one.
    pub(super) fn open(yard: &mut Yard, class: Class, cursor: Option<Position>) -> Result<Self, DeferredError> {
        let directory = yard.root.join(class.to_string());
        let mut log = Self {
            class,
            directory,
            tail: None,
            next: Next::default(),
            end: (0, 0),
            voids: Vec::new(),
            durable_upto: 0,
            is_made: false,
            first_of_run: 0,
            reader: Reader::default(),
            gone: Gone::default(),
            is_turning: false,
        };
        let numbers = log.numbers(yard)?;
        let cursor = cursor.unwrap_or_default();
        let is_replay = class == Class::Replay;
        // What is done with, and was not taken away before the end.
        for number in numbers.iter().filter(|number| **number < cursor.segment) {
            let path = log.path(*number);
            if is_replay { yard.storage.remove(&path)? } else { yard.retire(&path)? }
        }
        let mut left: Vec<u32> = numbers.into_iter().filter(|number| *number >= cursor.segment).collect();
        left.sort_unstable();
        match (left.first(), left.last()) {
            (Some(first), Some(last)) => {
                log.find_end(yard, &left, *last, cursor)?;
                // Those that the operator puts there begin anew, each.
                let message = if is_replay { 0 } else { cursor.message };
                let at_start = Position { segment: *first, at: 0, message, sequence: 0 };
                log.reader = Reader::at(if *first == cursor.segment { cursor } else { at_start });
            }
            _ => {
                // Its segments are gone, or there never were any: numbers go on.
                let before = u64::from(cursor.segment) + u64::from(cursor != Position::default());
                let blocks = yard.sizes.segment_octets / ALIGNMENT as u64;
                log.next = Next { segment: before as u32, sequence: before * 2 * blocks, message: cursor.message };
                log.end = (log.next.segment, 0);
                let (segment, message) = (log.next.segment, cursor.message);
                log.reader = Reader::at(Position { segment, at: 0, message, sequence: 0 });
            }
        }
        log.first_of_run = log.next.message;
        log.durable_upto = log.next.sequence;
        Ok(log)
    }

    /// The numbers of its segments.
    fn numbers(&mut self, yard: &Yard) -> Result<Vec<u32>, DeferredError> {
        let entries = match yard.storage.entries(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        self.is_made = true;
        let mut numbers = Vec::with_capacity(entries.len());
        for entry in entries {
            let number = entry.name.to_str().and_then(segment_number);
            match (number, entry.kind) {
                (Some(number), EntryKind::File) => numbers.push(number),
                (Some(_), _) => {
                    let path = self.directory.join(entry.name);
                    return Err(DeferredError::Foreign { path, why: "a segment is a file" });
                }
                // What others keep here is theirs.
                (None, _) => {}
            }
        }
        Ok(numbers)
    }

    /// Reads the last segment: where it ends, and which numbers were used.
    fn find_end(&mut self, yard: &mut Yard, numbers: &[u32], last: u32, cursor: Position) -> Result<(), DeferredError> {
        let path = self.path(last);
        let segment = survey(yard, &path, last)?;
        let blocks = yard.sizes.segment_octets.max(segment.octets) / ALIGNMENT as u64;
        // A process that was killed may have left there what the kernel alone has.
        yard.storage.open(&path, Access::Write)?.sync()?;
        let mut message = segment.message;
        // A large message fills whole segments, and a new one may have none.
        for number in numbers.iter().rev().skip(1) {
            if message.is_some() {
                break;
            }
            message = survey(yard, &self.path(*number), *number)?.message;
        }
        let first_void = segment.sequence + 1;
        yard.next_base = yard.next_base.max(segment.base + yard.sizes.segment_octets.max(segment.octets));
        self.next = Next {
            segment: last + 1,
            sequence: first_void + blocks,
            message: message.map_or(0, |message| message + 1).max(cursor.message),
        };
        self.voids = vec![(first_void, self.next.sequence - 1)];
        self.end = (last, segment.end);
        Ok(())
    }

    /// Takes its segments away, all of which are done with, for good.
    pub(super) fn dismiss(mut self, yard: &mut Yard) -> Result<(), DeferredError> {
        for number in self.numbers(yard)? {
            yard.retire(&self.path(number))?;
        }
        if self.is_made {
            yard.storage.sync_directory(&self.directory)?;
        }
        Ok(())
    }

    /// The file of a segment.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.directory.join(segment_name(number))
    }

    /// Messages that wait here; some more where a write failed, until they would be read.
    pub(super) fn messages(&self) -> u64 {
        self.next.message - self.reader.done.message - self.gone.count()
    }

    /// Octets of segments from the first message that is not done with to the last.
    pub(super) fn octets(&self, yard: &Yard) -> u64 {
        if self.messages() == 0 {
            return 0;
        }
        let done = self.reader.done;
        let segments = u64::from(self.end.0.saturating_sub(done.segment));
        (segments * yard.sizes.segment_octets + self.end.1).saturating_sub(done.at)
    }

    /// The longest that its mail waits, in ms from its deferral on.
    pub(super) fn delay_s(&self) -> Option<u32> {
        match self.class {
            Class::Retry(delay_s) => Some(delay_s),
            _ => None,
        }
    }
}

/// Reads a segment up to the first block that is not good.
pub(super) fn survey(yard: &mut Yard, path: &Path, number: u32) -> Result<Survey, DeferredError> {
    let file = yard.storage.open(path, Access::Read)?;
    let octets = file.octets();
    // What is said of a segment whose first block cannot be read: its addresses and sequences lie beyond all that it may have.
    let sequence = u64::from(number) * 2 * (octets / ALIGNMENT as u64);
    let mut survey = Survey { base: 0, octets, sequence, end: octets, message: None };
    let mut at = 0;
    let mut last: Option<(u64, u32)> = None;
    while at + (ALIGNMENT as u64) <= octets {
        let length = yard.sizes.block_octets.min((octets - at) as usize);
        if let Err(error) = file.read_at(&mut yard.buffer[..length], at) {
            // It is not the end of the log that cannot be read there: the reader finds out.
            if last.is_some() || error.is_not_found() {
                return Err(error.into());
            }
            return Ok(survey);
        }
        let Ok(block) = format::open(&yard.buffer[..length]) else { break };
        if !yard.is_ours(&block.header) {
            return Err(DeferredError::Foreign {
                path: path.to_owned(),
                why: "it is of another data directory, or no deferred mail",
            });
        }
        let records = || block.records().map_while(Result::ok).map(|located| located.record);
        if at == 0 {
            let Some(Record::Segment(opening)) = records().next() else { break };
            (survey.base, survey.octets) = (opening.base, octets);
        }
        let (base, sequence, epoch) = (survey.base, block.header.sequence, block.header.epoch);
        let follows = last.is_none_or(|(before, of)| sequence == before + 1 && epoch >= of);
        if block.header.address != base + at || !follows {
            break;
        }
        last = Some((sequence, epoch));
        let messages = records().map(|record| record.message()).filter(|_| at > 0).max();
        survey.message = messages.or(survey.message);
        at += block.span() as u64;
    }
    if let Some((sequence, _)) = last {
        (survey.sequence, survey.end) = (sequence, at);
    }
    Ok(survey)
}

/// What a segment has.
pub(super) struct Survey {
    base: u64,
    octets: u64,
    /// Of its last good block, or more than that.
    sequence: u64,
    /// Octets up to the end of the last good block.
    pub(super) end: u64,
    /// The highest number of a message.
    pub(super) message: Option<u64>,
}
