//! The sound blocks of a log, in order, from an address on.
//!
//! *Invariants*: nothing behind `upto` is read. Void blocks are passed over. What cannot be read otherwise is counted, and those behind it
//! are found: a sound block whose number does not follow says how many are missing. *Bound*: one run of octets at a time, in memory of
//! the slab that it is given.

use super::atlas::{Atlas, SegmentAt};
use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::memory::slab::{Lease, Slab, SlabFull};
use crate::spool::format::{ALIGNMENT, BlockError, Header, open};
use crate::spool::storage::{StorageError, StoredFile};

/// Why it does not get on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    /// What was read before must be let go of.
    #[error("no memory to read a log")]
    Memory(#[from] SlabFull),
    /// The disk refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A sound block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) address: u64,
    /// From there on it lies in the run of octets.
    pub(super) from: usize,
    /// So long, without the zeros at its end.
    pub(super) length: usize,
    /// Blocks right before it that should be there, and are not.
    pub(super) lost: u64,
    /// Blocks right before it that are void.
    pub(super) is_behind_void: bool,
}

/// A run of octets.
#[derive(Debug)]
struct Run {
    address: u64,
    octets: Lease,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Walk {
    /// It began here.
    start: u64,
    /// The next block stands here, or behind.
    at: u64,
    /// The number of the last one.
    last: Option<u64>,
    run: Option<Run>,
    /// Runs so far.
    runs: u64,
    /// How often this run could not be read.
    refused: u32,
}

impl Walk {
    pub(super) fn from(at: u64) -> Self {
        Self::again(at, 0)
    }

    /// The same of one that the disk refused so often before.
    pub(super) fn again(at: u64, refused: u32) -> Self {
        Self { start: at, at, last: None, run: None, runs: 0, refused }
    }

    /// What stands before this was given.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Counts the runs of octets.
    pub(super) fn runs(&self) -> u64 {
        self.runs
    }

    /// Lets go of what it has in memory.
    pub(super) fn rest(&mut self) {
        self.run = None;
    }

    /// The run in which the block lies that was found last.
    pub(super) fn octets(&self) -> &Lease {
        &self.run.as_ref().expect("a block was found in it").octets
    }

    /// The next block before `upto`; `None` when there is none.
    pub(super) fn next(&mut self, atlas: &mut Atlas, slab: &mut Slab, upto: u64) -> Result<Option<Found>, Stuck> {
        let begun = self.at;
        while self.at < upto {
            let Some(segment) = atlas.at(self.at) else {
                self.at = atlas.behind(self.at).map_or(upto, |(next, _)| next.base.min(upto));
                continue;
            };
            if let Some((next, Some(sequence))) = atlas.behind(segment.base)
                && self.last.is_some_and(|last| last + 1 == sequence)
            {
                // What is left of this segment was not used.
                self.at = next.base.min(upto);
                continue;
            }
            let limit = upto.min(segment.base + segment.octets);
            if let Some(found) = self.look(atlas, slab, segment, (begun, limit))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What stands at the next place, if that is a block which counts; goes on behind it.
    fn look(
        &mut self,
        atlas: &mut Atlas,
        slab: &mut Slab,
        segment: SegmentAt,
        (begun, limit): (u64, u64),
    ) -> Result<Option<Found>, Stuck> {
        let from = match &self.run {
            Some(run) if run.address <= self.at && self.at < run.address + run.octets.octets().len() as u64 => {
                (self.at - run.address) as usize
            }
            _ => {
                self.load(atlas, slab, segment, limit)?;
                0
            }
        };
        let octets = &self.octets().octets()[from..];
        let block = match open(octets) {
            Ok(block) => block,
            // It may go on behind the run.
            Err(BlockError::Cut) if from > 0 => {
                self.load(atlas, slab, segment, limit)?;
                return Ok(None);
            }
            Err(_) => {
                self.at += ALIGNMENT as u64;
                return Ok(None);
            }
        };
        let (header, length, address, span) = (block.header, block.length, self.at, block.span() as u64);
        if !atlas.source.owns(&block, address) || self.last.is_some_and(|last| header.sequence <= last) {
            self.at += ALIGNMENT as u64;
            return Ok(None);
        }
        self.at += span;
        if atlas.is_void(header.sequence) {
            return Ok(None);
        }
        // Of what is before the first nothing is known, unless a block stood where it was to begin, or right before that.
        let is_after_hole = begun < address && begun >= segment.base;
        let first = match self.last {
            None if self.start < address => before(atlas, self.start).filter(|last| *last < header.sequence),
            last => last,
        };
        let before = first.map_or(header.sequence - u64::from(is_after_hole && header.sequence > 0), |last| last + 1);
        let lost = atlas.lost(before, header.sequence);
        // Nor, then, of how many are void: the nearest says enough.
        let is_first_behind_void = || {
            self.last.is_none()
                && begun < address
                && header.sequence.checked_sub(1).is_some_and(|one| atlas.is_void(one))
        };
        let is_behind_void = lost < header.sequence - before || is_first_behind_void();
        self.last = Some(header.sequence);
        Ok(Some(Found { header, address, from, length, lost, is_behind_void }))
    }

    /// Reads a run of octets from the next place on.
    fn load(&mut self, atlas: &mut Atlas, slab: &mut Slab, segment: SegmentAt, limit: u64) -> Result<(), Stuck> {
        let octets = (limit - self.at).next_multiple_of(ALIGNMENT as u64).min(limits::LOG_READ_OCTETS as u64) as usize;
        let file = atlas.file(segment)?;
        let offset = self.at - segment.base;
        self.run = None;
        let is_given_up = self.refused >= limits::LOG_READ_TRIES;
        let read = slab.read_whole(octets, |room| match file.read_at(room, offset) {
            Err(error) if is_given_up && error.is_unreadable() => {
                read_pages(&*file, room, offset);
                Ok(())
            }
            read => read,
        })?;
        let octets = read.inspect_err(|error| self.refused += u32::from(error.is_unreadable()))?;
        self.refused = 0;
        self.runs += 1;
        self.run = Some(Run { address: self.at, octets });
        Ok(())
    }
}

/// The number of the sound block that ends at an address, if there is one in its segment. What the disk refuses is no reason to ask again:
/// it only says what is missing behind it.
fn before(atlas: &mut Atlas, address: u64) -> Option<u64> {
    let segment = atlas.at(address.checked_sub(1)?)?;
    let from = segment.base.max(address.saturating_sub(limits::BLOCK_OCTETS as u64));
    let mut octets = AlignedBuffer::new((address - from) as usize).ok()?;
    atlas.file(segment).ok()?.read_at(&mut octets, from - segment.base).ok()?;
    // The nearest begins last.
    (0..octets.len()).step_by(ALIGNMENT).rev().find_map(|at| {
        let block = open(&octets[at..]).ok()?;
        let is_it = at + block.span() == octets.len() && atlas.source.owns(&block, from + at as u64);
        is_it.then_some(block.header.sequence)
    })
}

/// Reads what can be read: what stays away is zero, and so no block.
fn read_pages(file: &dyn StoredFile, room: &mut [u8], offset: u64) {
    for (page, octets) in room.chunks_mut(ALIGNMENT).enumerate() {
        if file.read_at(octets, offset + (page * ALIGNMENT) as u64).is_err() {
            octets.fill(0);
        }
    }
}
