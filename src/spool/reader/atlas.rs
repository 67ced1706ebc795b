//! Which segments a log has in use, what the first block of each says, and which blocks are void.
//!
//! *Invariant*: who asks for what is void after it has seen a watermark knows all that is void below it: the watermark passes a void
//! block when the segment whose first block says so is on stable storage, and is in use by then.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::spool::format::{ALIGNMENT, Block, BlockError, Chain, Record, open, segment_name};
use crate::spool::storage::{Access, Cause, Storage, StorageError, StoredFile};

/// A segment that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentAt {
    /// Of its file.
    pub number: u32,
    /// The address of its first octet.
    pub base: u64,
    /// How long it is.
    pub octets: u64,
}

/// A log that is read.
#[derive(Clone)]
pub struct Source {
    /// Where it lies.
    pub storage: Arc<dyn Storage>,
    /// There.
    pub directory: PathBuf,
    /// What it is for.
    pub chain: Chain,
    /// Whose it is.
    pub shard: u16,
    /// The random number of the data directory.
    pub node: u32,
    /// Gives the segments that are in use, in any order.
    pub segments: Arc<dyn Fn() -> Vec<SegmentAt> + Send + Sync>,
    /// Blocks of before this start that count for nothing, though no segment may say so yet: first and last sequences.
    pub voids: Arc<[(u64, u64)]>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Source {
    /// Whether a block that stands at this address is one of this log's, and not what an earlier use of the file left.
    pub(super) fn owns(&self, block: &Block<'_>, address: u64) -> bool {
        let header = &block.header;
        (header.chain, header.shard, header.node, header.address) == (self.chain, self.shard, self.node, address)
    }
}

/// What is known of a segment.
#[derive(Clone, Debug)]
struct Known {
    at: SegmentAt,
    /// Once that was read.
    opening: Option<Opened>,
    /// How often it was asked for, and the disk refused.
    refused: u32,
}

/// What the first block of a segment says.
#[derive(Clone, Copy, Debug)]
struct Opened {
    /// Its number.
    sequence: u64,
    epoch: u32,
    /// The index of the sink's route.
    route: Option<u16>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Atlas {
    pub(super) source: Source,
    /// The sink, by name.
    sink: String,
    /// By base.
    segments: BTreeMap<u64, Known>,
    /// First and last sequences.
    voids: Vec<(u64, u64)>,
    /// The file that was used last.
    file: Option<(SegmentAt, Arc<dyn StoredFile>)>,
}

impl Atlas {
    pub(super) fn new(source: Source, sink: String) -> Self {
        let voids = source.voids.to_vec();
        Self { source, sink, segments: BTreeMap::new(), voids, file: None }
    }

    /// Looks again. A segment whose first block is not there yet is looked at the next time.
    pub(super) fn refresh(&mut self) -> Result<(), StorageError> {
        let now = (self.source.segments)();
        self.segments.retain(|_, known| now.contains(&known.at));
        for at in now {
            self.segments.entry(at.base).or_insert(Known { at, opening: None, refused: 0 });
        }
        let unread: Vec<SegmentAt> =
            self.segments.values().filter(|known| known.opening.is_none()).map(|known| known.at).collect();
        for at in unread {
            let opening = self.read_opening(at);
            let Some(known) = self.segments.get_mut(&at.base) else { continue };
            match opening {
                Ok(opening) => known.opening = opening,
                // What is lost with it is seen when its blocks are read.
                Err(error) if error.is_unreadable() && known.refused >= limits::LOG_READ_TRIES => {}
                Err(error) => {
                    known.refused += 1;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn read_opening(&mut self, at: SegmentAt) -> Result<Option<Opened>, StorageError> {
        let file = self.file(at)?;
        let mut octets = ALIGNMENT;
        loop {
            let mut buffer = AlignedBuffer::new(octets).map_err(|errno| self.no_memory(errno))?;
            file.read_at(&mut buffer, 0)?;
            let block = match open(&buffer) {
                Ok(block) => block,
                Err(BlockError::Cut) if octets == ALIGNMENT => {
                    octets = (limits::BLOCK_OCTETS as u64).min(at.octets) as usize;
                    continue;
                }
                Err(_) => return Ok(None),
            };
            if !self.source.owns(&block, at.base) {
                return Ok(None);
            }
            let mut route = None;
            for located in block.records().map_while(Result::ok) {
                match located.record {
                    Record::Segment(opening) => {
                        let index = opening.routes.names().position(|name| name == self.sink);
                        route = index.map(|index| index as u16);
                    }
                    Record::Void { from, to } => self.voids.push((from, to)),
                    _ => {}
                }
            }
            let (sequence, epoch) = (block.header.sequence, block.header.epoch);
            return Ok(Some(Opened { sequence, epoch, route }));
        }
    }

    fn no_memory(&self, errno: rustix::io::Errno) -> StorageError {
        let cause = Cause::System(errno);
        StorageError { path: self.source.directory.clone(), what: "have memory to read it", cause }
    }

    /// The file of a segment.
    pub(super) fn file(&mut self, at: SegmentAt) -> Result<Arc<dyn StoredFile>, StorageError> {
        // One that was used again may be another file of that name.
        if let Some((known, file)) = &self.file
            && *known == at
        {
            return Ok(Arc::clone(file));
        }
        let path = self.source.directory.join(segment_name(at.number));
        let file = self.source.storage.open(&path, Access::Read)?;
        self.file = Some((at, Arc::clone(&file)));
        Ok(file)
    }

    /// The segment in which an address lies.
    pub(super) fn at(&self, address: u64) -> Option<SegmentAt> {
        let (_, known) = self.segments.range(..=address).next_back()?;
        (address - known.at.base < known.at.octets).then_some(known.at)
    }

    /// The first segment that begins behind an address, and the number of its first block, if that was read.
    pub(super) fn behind(&self, address: u64) -> Option<(SegmentAt, Option<u64>)> {
        let (_, known) = self.segments.range(address + 1..).next()?;
        Some((known.at, known.opening.map(|opening| opening.sequence)))
    }

    /// The index of the sink's route at an address, if it has one; `None` if that cannot be known. What the first block of a segment
    /// said that is lost stands in others of the same start.
    pub(super) fn route(&self, address: u64, epoch: u32) -> Option<Option<u16>> {
        let before = self.segments.range(..=address).rev();
        let mut near = before.chain(self.segments.range(address + 1..)).filter_map(|(_, known)| known.opening);
        near.find(|opening| opening.epoch == epoch).map(|opening| opening.route)
    }

    /// Whether a block is void.
    pub(super) fn is_void(&self, sequence: u64) -> bool {
        self.voids.iter().any(|(from, to)| (*from..=*to).contains(&sequence))
    }

    /// How many of these blocks, the last not included, are not void.
    pub(super) fn lost(&self, from: u64, end: u64) -> u64 {
        let mut lost = end.saturating_sub(from);
        let mut at = from;
        while at < end {
            let void = self.voids.iter().filter(|(_, to)| *to >= at).min_by_key(|(from, _)| (*from).max(at));
            let Some((first, last)) = void else { break };
            let (first, behind) = ((*first).max(at).min(end), last.saturating_add(1).min(end));
            lost -= behind.saturating_sub(first);
            at = behind.max(first);
            if at < end && first >= end {
                break;
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulation::disk::SimDisk;

    proptest! {
        #[test]
        fn what_is_lost_is_what_is_not_void(voids in prop::collection::vec((0..40_u64, 0..9_u64), 0..6), from in 0..40_u64, more in 0..30_u64) {
            let source = Source {
                storage: Arc::new(SimDisk::new(1)),
                directory: "/".into(),
                chain: Chain::Durable,
                shard: 0,
                node: 0,
                segments: Arc::new(Vec::new),
                voids: Arc::new([]),
            };
            let mut atlas = Atlas::new(source, String::new());
            atlas.voids = voids.into_iter().map(|(from, more)| (from, from + more)).collect();
            let counted = (from..from + more).filter(|sequence| !atlas.is_void(*sequence)).count() as u64;
            prop_assert_eq!(atlas.lost(from, from + more), counted);
        }
    }
}
