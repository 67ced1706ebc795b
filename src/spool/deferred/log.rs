//! The log of one class: where it ends, what is found of it after a restart, and how much waits in it.
//!
//! Its segments are files `0000.segment`, `0001.segment`, …, numbered without gaps in the order in which they were written, so that
//! nothing has to be known of those between the first and the last. A message's records are `Wait`, `Part`s, `End`, with no other's
//! between them. *Invariant*: messages are numbered in their order; so one number says which are done with.
//!
//! *After a restart* the last segment is read whole, and [`survey`](super::survey) says where it ends: before what a crash may have torn,
//! not before what was durable and went bad. A new segment follows with the first message that is written, and says that the blocks
//! behind the end are void.

use std::path::PathBuf;
use std::sync::Arc;

use crate::limits;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::gone::Gone;
use crate::spool::deferred::read::Reader;
use crate::spool::deferred::survey::survey;
use crate::spool::deferred::yard::Yard;
use crate::spool::format::{ALIGNMENT, segment_name, segment_number};
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
                let is_damaged = log.find_end(yard, &left, *last, cursor)?;
                // Those that the operator puts there begin anew, each.
                let message = if is_replay { 0 } else { cursor.message };
                let at_start = Position { segment: *first, at: 0, message, sequence: 0 };
                log.reader = Reader::at(if *first == cursor.segment { cursor } else { at_start });
                if is_damaged {
                    // Now: what waits for the operator may not be read for years.
                    log.reader.note_damage(*last);
                }
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

    /// Reads the last segment: where it ends, and which numbers were used. Says whether something of it is missing.
    fn find_end(
        &mut self,
        yard: &mut Yard,
        numbers: &[u32],
        last: u32,
        cursor: Position,
    ) -> Result<bool, DeferredError> {
        let path = self.path(last);
        let found = survey(yard, &path)?;
        let passed = if cursor.segment == last { cursor.at } else { 0 };
        let ending = found.ending(passed, cursor.sequence);
        // A process that was killed may have left there what the kernel alone has.
        yard.storage.open(&path, Access::Write)?.sync()?;
        let (mut message, mut first_void) = (found.message, ending.first_void);
        let mut is_known = message.is_some() && found.has_beginning() && !ending.has_unknown;
        // A large message fills whole segments, and a new one may have none; what cannot be read says nothing.
        for number in numbers.iter().rev().skip(1) {
            if is_known {
                break;
            }
            let before = survey(yard, &self.path(*number))?;
            (message, first_void) = (message.max(before.message), first_void.max(before.behind()));
            is_known = before.message.is_some();
        }
        // Numbers that it may have, if the disk gives it one day, are nobody else's: a reader takes what it is behind for old.
        let left_out = if ending.has_unknown { limits::DEFERRED_LEFT_OUT } else { 0 };
        let octets = yard.sizes.segment_octets.max(found.octets);
        yard.next_base = match found.base {
            Some(base) => yard.next_base.max(base + octets),
            None => yard.next_base + limits::DEFERRED_LEFT_OUT,
        };
        let first_void = first_void + left_out;
        self.next = Next {
            segment: last + 1,
            sequence: first_void + octets / ALIGNMENT as u64,
            message: message.map_or(0, |message| message + 1).max(cursor.message) + left_out,
        };
        self.voids = vec![(first_void, self.next.sequence - 1)];
        self.end = (last, ending.end);
        Ok(ending.is_damaged)
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
        // What cannot be read may have said otherwise.
        self.next.message.saturating_sub(self.reader.done.message).saturating_sub(self.gone.count())
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
