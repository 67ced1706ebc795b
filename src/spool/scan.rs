//! Reads a log as it lies there: the blocks of a segment, the blocks of a log, and the messages in them.
//!
//! * [`SegmentScan`]: one file, from any block on; yields what is a block of this log at its place, and the stretches that are not.
//! * [`LogScan`]: the same of all files of a log, in the order of their addresses.
//! * [`assembly::Assembler`]: blocks in, whole messages out, each with where its content lies.
//! * [`content::ContentReader`]: that content, checked.
//!
//! *A block is good* when its checksum is right, it is of this log, it says the very address where it lies, and its epoch and sequence
//! are not below those of the block before it. Nothing else is taken from a segment: behind the last block there may be old ones, and
//! content that its sender made look like blocks. The address is what neither has: it is never used twice, and nobody outside knows
//! where a log began (`recovery`).
//!
//! *Invariants*: total, whatever lies there; memory is bounded by the longest block. A page that the disk cannot read is a page of zeros,
//! and counted, so that what lies around it is found. *Does not* know which bad stretch matters.

pub mod assembly;
pub mod content;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustix::io::Errno;

use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::spool::format::{self, ALIGNMENT, Block, BlockError, Chain, Header};
use crate::spool::storage::{Cause, StorageError, StoredFile};

const PAGE: u64 = ALIGNMENT as u64;

/// Whose log it is: what each of its blocks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is for.
    pub chain: Chain,
    /// The shard.
    pub shard: u16,
    /// The random number of the data directory.
    pub node: u32,
}

impl Owner {
    /// Whether the block is of this log.
    pub fn has(&self, header: &Header) -> bool {
        (header.chain, header.shard, header.node) == (self.chain, self.shard, self.node)
    }
}

/// What a scan comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A good block. Its address is in its header.
    Block(Block<'a>),
    /// No good block begins anywhere in this stretch. What was never written is such, too.
    Bad {
        /// Its first octet.
        address: u64,
        /// Its length, a multiple of [`ALIGNMENT`].
        octets: u64,
    },
}

/// A sound block that cannot be of this log. What is old is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strange {
    /// Of another version of this program.
    Version(u16),
    /// Of another log.
    Owner(Owner),
}

/// Where the scan of a segment is: what was read last, and what it says.
enum Step {
    Good { header: Header, length: usize },
    Bad { octets: u64 },
}

/// The blocks of one segment.
#[derive(Debug)]
pub struct SegmentScan {
    file: Arc<dyn StoredFile>,
    owner: Owner,
    base: u64,
    /// The next octet of the file to be looked at, and the one behind the last.
    at: u64,
    until: u64,
    /// The buffer has the file's octets from there on, so many.
    buffer: AlignedBuffer,
    buffer_at: u64,
    filled: usize,
    /// Epoch and sequence of the last good block.
    last: Option<(u32, u64)>,
    strange: Option<Strange>,
    elsewhere: Option<u64>,
    /// With its sequence.
    elsewhere_last: Option<(u64, u64)>,
    unreadable: Option<StorageError>,
    unreadable_until: Option<u64>,
    octets_read: u64,
}

impl SegmentScan {
    /// Of a segment that begins at `base`: from one address to another, which are those of blocks or of the segment's ends.
    pub fn new(
        file: Arc<dyn StoredFile>,
        owner: Owner,
        base: u64,
        (from, until): (u64, u64),
    ) -> Result<Self, StorageError> {
        let end = file.octets() / PAGE * PAGE;
        let offset = |address: u64| (address.saturating_sub(base) / PAGE * PAGE).min(end);
        let (at, until) = (offset(from), offset(until));
        let most = limits::SCAN_OCTETS + limits::BLOCK_OCTETS;
        let octets = (until.saturating_sub(at)).min(most as u64) as usize;
        let buffer = AlignedBuffer::new(octets).map_err(no_memory)?;
        Ok(Self {
            file,
            owner,
            base,
            at,
            until,
            buffer,
            buffer_at: at,
            filled: 0,
            last: None,
            strange: None,
            elsewhere: None,
            elsewhere_last: None,
            unreadable: None,
            unreadable_until: None,
            octets_read: 0,
        })
    }

    /// All of a segment.
    pub fn whole(file: Arc<dyn StoredFile>, owner: Owner, base: u64) -> Result<Self, StorageError> {
        Self::new(file, owner, base, (base, u64::MAX))
    }

    /// Only blocks that follow this one, of this epoch and sequence, are good.
    pub fn follow(&mut self, epoch: u32, sequence: u64) {
        self.last = Some((epoch, sequence));
    }

    /// The next block, or what is there instead; `None` at the end.
    pub fn next_found(&mut self) -> Result<Option<Found<'_>>, StorageError> {
        let from = self.at;
        while self.at < self.until {
            match self.step()? {
                Step::Bad { octets } => self.at += octets,
                // It is looked at again the next time, as what it is.
                Step::Good { .. } if self.at > from => break,
                Step::Good { header, length } => {
                    let within = (self.at - self.buffer_at) as usize;
                    self.at += format::span(length) as u64;
                    self.last = Some((header.epoch, header.sequence));
                    let body = &self.buffer[within + format::HEADER_OCTETS..within + length];
                    return Ok(Some(Found::Block(Block { header, length, body })));
                }
            }
        }
        let octets = self.at.min(self.until) - from;
        Ok((octets > 0).then_some(Found::Bad { address: self.base + from, octets }))
    }

    /// The first sound block that is of another version or, where no good one came before it, of another log.
    pub fn strange(&self) -> Option<Strange> {
        self.strange
    }

    /// The base of a segment in which the first sound block of this log that is not good here would be in its place.
    pub fn elsewhere(&self) -> Option<u64> {
        self.elsewhere
    }

    /// The same by that one of them which was written last.
    pub fn elsewhere_last(&self) -> Option<u64> {
        self.elsewhere_last.map(|(_, base)| base)
    }

    /// What the disk said of the first page that it could not read.
    pub fn unreadable(&self) -> Option<&StorageError> {
        self.unreadable.as_ref()
    }

    /// The address behind the last page that the disk could not read.
    pub fn unreadable_until(&self) -> Option<u64> {
        self.unreadable_until
    }

    /// Octets that were read.
    pub fn octets_read(&self) -> u64 {
        self.octets_read
    }

    fn step(&mut self) -> Result<Step, StorageError> {
        self.have(ALIGNMENT)?;
        let mut opened = format::open(self.here()).map(|block| (block.header, block.length));
        if opened == Err(BlockError::Cut) && self.have(limits::BLOCK_OCTETS)? {
            opened = format::open(self.here()).map(|block| (block.header, block.length));
        }
        let (header, length) = match opened {
            Ok(good) => good,
            Err(BlockError::Version(version)) => {
                self.strange.get_or_insert(Strange::Version(version));
                return Ok(Step::Bad { octets: PAGE });
            }
            Err(_) => return Ok(Step::Bad { octets: PAGE }),
        };
        if !self.owner.has(&header) {
            if self.last.is_none() {
                let Header { chain, shard, node, .. } = header;
                self.strange.get_or_insert(Strange::Owner(Owner { chain, shard, node }));
            }
        } else if header.address == self.base.wrapping_add(self.at)
            && self.last.is_none_or(|(epoch, sequence)| header.epoch >= epoch && header.sequence > sequence)
        {
            return Ok(Step::Good { header, length });
        } else if let Some(base) = header.address.checked_sub(self.at) {
            self.elsewhere.get_or_insert(base);
            self.elsewhere_last = self.elsewhere_last.max(Some((header.sequence, base)));
        }
        // It is whole, so nothing was written over any of it.
        Ok(Step::Bad { octets: format::span(length) as u64 })
    }

    /// What is in the buffer from the next octet on.
    fn here(&self) -> &[u8] {
        &self.buffer[(self.at - self.buffer_at) as usize..self.filled]
    }

    /// Reads on until the buffer has so many octets from here on, or all that there are. Says whether it read anything.
    fn have(&mut self, octets: usize) -> Result<bool, StorageError> {
        let end = self.buffer_at + self.filled as u64;
        let wanted = (self.at + octets as u64).min(self.until);
        if wanted <= end {
            return Ok(false);
        }
        let kept = if self.at < end {
            let from = (self.at - self.buffer_at) as usize;
            self.buffer.copy_within(from..self.filled, 0);
            self.filled - from
        } else {
            0
        };
        self.buffer_at = self.at;
        let read_at = self.at + kept as u64;
        let most = (self.buffer.len() - kept).min((self.until - read_at) as usize);
        let octets = most.min((wanted - read_at) as usize + limits::SCAN_OCTETS - ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        self.filled = kept + octets;
        let into = &mut self.buffer[kept..kept + octets];
        if let Err(error) = self.file.read_at(into, read_at) {
            self.read_pages(kept, octets, read_at, error)?;
        }
        self.octets_read += octets as u64;
        Ok(true)
    }

    /// Page by page, so that one that cannot be read does not take others with it.
    fn read_pages(&mut self, from: usize, octets: usize, at: u64, error: StorageError) -> Result<(), StorageError> {
        if !error.is_unreadable() {
            return Err(error);
        }
        for (number, page) in self.buffer[from..from + octets].chunks_mut(ALIGNMENT).enumerate() {
            match self.file.read_at(page, at + number as u64 * PAGE) {
                Err(error) if error.is_unreadable() => {
                    page.fill(0);
                    self.unreadable.get_or_insert(error);
                    self.unreadable_until = Some(self.base.wrapping_add(at + (number as u64 + 1) * PAGE));
                }
                done => done?,
            }
        }
        Ok(())
    }
}

pub(super) fn no_memory(errno: Errno) -> StorageError {
    StorageError { path: Default::default(), what: "take memory to read it", cause: Cause::System(errno) }
}

/// A segment in use.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// The number in its name.
    pub number: u32,
    /// The address of its first octet.
    pub base: u64,
    /// Open to be read at least.
    pub file: Arc<dyn StoredFile>,
}

impl LogFile {
    /// The address behind its last octet.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.file.octets())
    }
}

/// The segments of a log that are in use, in order.
#[derive(Clone, Debug, Default)]
pub struct LogFiles(Vec<LogFile>);

impl LogFiles {
    /// Those, in whatever order.
    pub fn new(mut files: Vec<LogFile>) -> Self {
        files.sort_by_key(|file| file.base);
        Self(files)
    }

    /// In order.
    pub fn as_slice(&self) -> &[LogFile] {
        &self.0
    }

    /// The one that this address lies in.
    pub fn at(&self, address: u64) -> Option<&LogFile> {
        let behind = self.0.partition_point(|file| file.base <= address);
        self.0[..behind].last().filter(|file| address < file.end())
    }
}

/// The blocks of a log from one address to another, in order.
#[derive(Debug)]
pub struct LogScan<'l> {
    files: std::slice::Iter<'l, LogFile>,
    owner: Owner,
    from: u64,
    until: u64,
    current: Option<SegmentScan>,
}

impl<'l> LogScan<'l> {
    /// From the block at this address, or the first one behind it, to the other address.
    pub fn new(files: &'l LogFiles, owner: Owner, from: u64, until: u64) -> Self {
        let first = files.0.partition_point(|file| file.end() <= from);
        Self { files: files.0[first..].iter(), owner, from, until, current: None }
    }

    /// The next block, or what is there instead; `None` at the end.
    pub fn next_found(&mut self) -> Result<Option<Found<'_>>, StorageError> {
        loop {
            let is_over = self.current.as_ref().is_none_or(|scan| scan.at >= scan.until);
            if !is_over {
                break;
            }
            let Some(file) = self.files.next().filter(|file| file.base < self.until) else { return Ok(None) };
            let last = self.current.take().and_then(|scan| scan.last);
            let mut next = SegmentScan::new(Arc::clone(&file.file), self.owner, file.base, (self.from, self.until))?;
            next.last = last;
            self.current = Some(next);
        }
        match &mut self.current {
            Some(scan) => scan.next_found(),
            None => Ok(None),
        }
    }
}

/// Blocks that count for nothing, by sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voids(Vec<(u64, u64)>);

impl Voids {
    /// These, too, both included.
    pub fn add(&mut self, from: u64, to: u64) {
        let first = self.0.partition_point(|(_, last)| last.saturating_add(1) < from);
        let behind = self.0.partition_point(|(begin, _)| *begin <= to.saturating_add(1));
        let joined = self.0[first..behind].iter().fold((from, to), |(from, to), one| (from.min(one.0), to.max(one.1)));
        self.0.splice(first..behind, [joined]);
    }

    /// Whether this one does.
    pub fn has(&self, sequence: u64) -> bool {
        self.has_any(sequence, sequence)
    }

    /// Whether any of these does, both included.
    pub fn has_any(&self, from: u64, to: u64) -> bool {
        let first = self.0.partition_point(|(_, last)| *last < from);
        self.0.get(first).is_some_and(|(begin, _)| *begin <= to)
    }

    /// What is left of a range without them, in order.
    pub fn without(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut left = Vec::new();
        let mut next = Some(from);
        for (begin, last) in self.0.iter().filter(|(begin, last)| *last >= from && *begin <= to) {
            if let Some(at) = next.filter(|at| at < begin) {
                left.push((at, begin - 1));
            }
            next = last.checked_add(1);
        }
        left.extend(next.filter(|at| *at <= to).map(|at| (at, to)));
        left
    }

    /// All of them, in order; none touches another.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }
}
