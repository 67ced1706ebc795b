//! A log as it lies there, block by block: what is sound, what is missing, and whether that matters.
//!
//! *Invariants*: blocks come in the order of their addresses. What is missing below the highest `durable_upto` that follows, and that
//! no `Void` names, was promised to somebody: it is damage, and its neighbours are read. What is missing above it is where a writer
//! was cut short, or is at work: it and everything behind it counts for nothing; so does what is void, though it is there. A log that is being written is read like any
//! other: what is missing is looked at once more, since it may have been half there, and a segment that is used anew ends.
//!
//! *Does not* know messages, nor which of them wait.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::spool::format::{self, ALIGNMENT, Block, BlockError, Record, segment_number};
use crate::spool::scan::assembly;
use crate::spool::scan::content::{ContentError, ContentReader};
use crate::spool::scan::{Found, LogFile, LogFiles, LogScan, Owner, Voids};
use crate::spool::storage::{Access, Cause, EntryKind, Storage, StorageError, StoredFile};

/// A segment that is in use.
#[derive(Debug)]
pub struct Segment {
    /// The file's name.
    pub name: String,
    /// Where it begins.
    pub base: u64,
    /// Names of sinks by the index of a route.
    pub sinks: Arc<[String]>,
}

/// See the module.
#[derive(Debug)]
pub struct Log {
    /// Its directory, below that of the spool.
    pub name: Arc<str>,
    /// In order of their addresses.
    pub segments: Vec<Segment>,
    /// What is not looked at, and why.
    pub strange: Vec<String>,
    /// Files that hold nothing, and are there to be used.
    pub spare: usize,
    owner: Owner,
    files: LogFiles,
    void: Voids,
}

/// What is met on the way through a log.
#[derive(Debug)]
pub enum Met<'a> {
    /// A block that counts.
    Block(Block<'a>),
    /// Blocks are missing that somebody relied on.
    Damage {
        /// Their sequences.
        sequences: Range<u64>,
        /// Where they lay, or those before them: in the file.
        offset: u64,
        /// They lay before this address.
        before: u64,
    },
    /// Blocks that count for nothing, whatever is in them: what had a part in them was never acknowledged.
    Void {
        /// They lie, or lay, before this address.
        before: u64,
    },
    /// A writer was cut short here, or is at work.
    Tail {
        /// Blocks behind it that count for nothing.
        ignored: u64,
    },
}

/// What should come next.
#[derive(Clone, Copy)]
struct Expected {
    sequence: u64,
    epoch: u32,
    /// Behind the block before it.
    address: u64,
}

impl Expected {
    fn behind(block: &Block<'_>) -> Self {
        let header = block.header;
        let address = header.address + block.span() as u64;
        Self { sequence: header.sequence + 1, epoch: header.epoch, address }
    }
}

impl Log {
    /// Opens the log in a directory, or the one that is a single file there.
    pub fn open(
        storage: &dyn Storage,
        spool: &Path,
        name: &str,
        only: Option<&str>,
        owner: Owner,
    ) -> Result<Self, StorageError> {
        let directory = spool.join(name);
        let (segments, strange, files, void) = (Vec::new(), Vec::new(), LogFiles::default(), Voids::default());
        let mut log = Self { name: name.into(), segments, strange, spare: 0, owner, files, void };
        let no_memory = |errno| StorageError {
            path: directory.clone(),
            what: "take memory to read it",
            cause: Cause::System(errno),
        };
        let mut buffer = AlignedBuffer::new(limits::BLOCK_OCTETS).map_err(no_memory)?;
        let mut files = Vec::new();
        for entry in storage.entries(&directory)? {
            let file = entry.name.to_string_lossy().into_owned();
            let is_of_it = only.map_or_else(|| segment_number(&file).is_some(), |only| only == file);
            if !is_of_it {
                continue;
            }
            if entry.kind != EntryKind::File {
                log.strange.push(format!("{name}/{file} is no file, and is not looked at"));
                continue;
            }
            match storage.open(&directory.join(&file), Access::Read) {
                Ok(opened) => files.extend(log.add(file, opened, &mut buffer)?),
                // Removed meanwhile, or renamed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        log.segments.sort_by_key(|segment| segment.base);
        log.files = LogFiles::new(files);
        Ok(log)
    }

    /// Looks how a file begins, and gives it if it is one of the log that is in use.
    fn add(
        &mut self,
        name: String,
        file: Arc<dyn StoredFile>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Option<LogFile>, StorageError> {
        // A file whose length others changed ends at its last whole unit.
        let there = file.octets() / ALIGNMENT as u64 * ALIGNMENT as u64;
        let octets = &mut buffer[..there.min(limits::BLOCK_OCTETS as u64) as usize];
        file.read_at(octets, 0)?;
        let block = match format::open(octets) {
            Ok(block) => block,
            Err(BlockError::Magic) if octets.iter().all(|octet| *octet == 0) => {
                self.spare += 1;
                return Ok(None);
            }
            Err(error) => {
                self.strange.push(format!("{}/{name} begins with {error}, and is not looked at", self.name));
                return Ok(None);
            }
        };
        if !self.owner.has(&block.header) {
            let (other, this) = (block.header.node, self.owner.node);
            let whose = if other == this {
                "another log".to_owned()
            } else {
                format!("another data directory ({other:08x}, and this is {this:08x})")
            };
            self.strange.push(format!("{}/{name} is of {whose}, and is not looked at", self.name));
            return Ok(None);
        }
        let mut opening = None;
        for located in block.records().flatten() {
            match located.record {
                Record::Segment(found) => opening = Some(found),
                Record::Void { from, to } => self.void.add(from, to),
                _ => {}
            }
        }
        let Some(opening) = opening.filter(|opening| opening.base == block.header.address) else {
            self.strange.push(format!("{}/{name} does not begin as a segment does, and is not looked at", self.name));
            return Ok(None);
        };
        let sinks = opening.routes.names().map(str::to_owned).collect();
        self.segments.push(Segment { name, base: opening.base, sinks });
        Ok(Some(LogFile { number: 0, base: opening.base, file }))
    }

    /// The lowest address that lies there still.
    pub fn begins_at(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.base)
    }

    /// The segment that an address lies in; one behind the end is in the last.
    fn segment(&self, address: u64) -> &Segment {
        let behind = self.segments.partition_point(|segment| segment.base <= address);
        &self.segments[behind.saturating_sub(1)]
    }

    /// Gives the content of one of its messages, piece by piece, by a reader that has read nothing but this.
    pub fn content(
        &self,
        message: &assembly::Message,
        reader: &mut ContentReader,
        each: impl FnMut(&[u8]),
    ) -> Result<(), ContentError> {
        reader.read(&self.files, self.owner, message, each)
    }

    /// Goes through it, until the visitor breaks off.
    pub fn read(&self, visit: &mut dyn FnMut(&Segment, Met<'_>) -> ControlFlow<()>) -> Result<(), StorageError> {
        let mut scan = LogScan::new(&self.files, self.owner, 0, u64::MAX);
        let (mut expected, mut durable_upto) = (None, None);
        while let Some(found) = scan.next_found()? {
            let Found::Block(block) = found else { continue };
            let header = block.header;
            if let Some(expected) = expected.filter(|expected: &Expected| header.sequence > expected.sequence) {
                let is_void = self.void.has_any(expected.sequence, header.sequence - 1);
                let segment = self.segment(expected.address);
                if is_void && visit(segment, Met::Void { before: header.address }).is_break() {
                    return Ok(());
                }
                let missing = self.look_again(expected, header.address, header.sequence, visit)?;
                let Some(missing) = missing else { return Ok(()) };
                if !missing.is_empty() {
                    let durable = match durable_upto {
                        Some(durable) => durable,
                        None => *durable_upto.insert(self.behind(header.address)?.0),
                    };
                    // What an earlier start left unfinished, its successor declares void.
                    if header.epoch == expected.epoch && header.sequence >= durable {
                        let _ = visit(segment, Met::Tail { ignored: self.behind(header.address)?.1 });
                        return Ok(());
                    }
                    let (offset, before) = (expected.address - segment.base, header.address);
                    for (from, to) in missing {
                        let sequences = from..to.saturating_add(1);
                        if visit(segment, Met::Damage { sequences, offset, before }).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            let behind = Expected::behind(&block);
            expected = Some(behind);
            let is_void = self.void.has(header.sequence);
            let met = if is_void { Met::Void { before: behind.address } } else { Met::Block(block) };
            if visit(self.segment(header.address), met).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is missing between two blocks and not void, when it is looked at once more; what is there then is visited. `None`: the
    /// visitor broke off.
    fn look_again(
        &self,
        expected: Expected,
        address: u64,
        sequence: u64,
        visit: &mut dyn FnMut(&Segment, Met<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Vec<(u64, u64)>>, StorageError> {
        let range = (expected.sequence, sequence - 1);
        let missing = self.void.without(range.0, range.1);
        if missing.is_empty() {
            return Ok(Some(missing));
        }
        let mut known = self.void.clone();
        let mut scan = LogScan::new(&self.files, self.owner, expected.address, address);
        while let Some(found) = scan.next_found()? {
            let Found::Block(block) = found else { continue };
            let header = block.header;
            if (range.0..=range.1).contains(&header.sequence) && !known.has(header.sequence) {
                known.add(header.sequence, header.sequence);
                if visit(self.segment(header.address), Met::Block(block)).is_break() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(known.without(range.0, range.1)))
    }

    /// The highest `durable_upto` that any block says from this address on, and how many there are.
    fn behind(&self, address: u64) -> Result<(u64, u64), StorageError> {
        let mut scan = LogScan::new(&self.files, self.owner, address, u64::MAX);
        let (mut highest, mut count) = (0, 0);
        while let Some(found) = scan.next_found()? {
            if let Found::Block(block) = found {
                (highest, count) = (highest.max(block.header.durable_upto), count + 1);
            }
        }
        Ok((highest, count))
    }
}
