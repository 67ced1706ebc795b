//! The way through a log, file by file and then block by block, and the decision at its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    Corruption, Lost, Progress, Recovered, RecoveryError, RouteFound, SegmentFound, Spare, Wanted, base_after,
};
use crate::limits;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::memory::region::AlignedBuffer;
use crate::mutant::Mutant;
use crate::spool::format::{self, ALIGNMENT, Block, BlockError, Header, Opening, Record};
use crate::spool::scan::assembly::{Assembler, Event, Unfinished};
use crate::spool::scan::{Found, LogFile, LogFiles, Owner, SegmentScan, Strange, Voids};
use crate::spool::storage::{Access, EntryKind, Storage, StoredFile};

/// A base that no segment has.
const NOWHERE: u64 = 1;

pub(super) struct OpenFile {
    number: u32,
    path: PathBuf,
    file: Arc<dyn StoredFile>,
}

impl OpenFile {
    fn at(&self, base: u64) -> LogFile {
        LogFile { number: self.number, base, file: Arc::clone(&self.file) }
    }
}

/// How it is known that a segment is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// Its first block says so.
    Sound,
    /// So does its first block, of which a bit has turned.
    Turned { epoch: u32, sequence: u64, span: u64 },
    /// Its first block is bad, and others are good.
    Bad,
}

/// A segment in use.
pub(super) struct Segment {
    base: u64,
    file: OpenFile,
    head: Head,
}

/// Sequences that are missing between two blocks.
#[derive(Clone, Copy, Debug)]
struct Hole {
    address: u64,
    /// The address of the block behind it.
    until: u64,
    from: u64,
    to: u64,
    /// It is the end of its segment.
    is_end: bool,
    /// The last of them, unless it is void, was the first block of the next one.
    has_head: bool,
}

impl Hole {
    /// Of one block, in the middle of its segment.
    fn of_block(address: u64, until: u64, sequence: u64) -> Self {
        Self { address, until, from: sequence, to: sequence, is_end: false, has_head: false }
    }

    /// Whether something that lies from the one address to the other, which is included, may have lain there in part.
    fn touches(&self, first: u64, last: u64) -> bool {
        self.address <= last && self.until >= first
    }
}

/// A message that was ended, and of which not everything is there.
struct Damaged {
    id: Option<MessageId>,
    /// Of the block with its end.
    sequence: u64,
    first: u64,
    place: u64,
}

pub(super) struct Walk<'w> {
    directory: &'w Path,
    wanted: &'w Wanted<'w>,
    progress: &'w mut dyn FnMut(Progress),
    read: u64,
    of: u64,
    /// Octets of the longest file.
    longest: u64,
    recovered: Recovered,
    assembler: Assembler,
    /// Of the last block that was good, or is known, and the address behind it.
    last: Option<(u32, u64)>,
    behind: u64,
    holes: Vec<Hole>,
    /// Ranges, and the sequence of the block that says so.
    void_records: Vec<(u64, (u64, u64))>,
    damaged: Vec<Damaged>,
    /// With the address at which nothing was to follow any more.
    unended: Vec<(Unfinished, u64)>,
    /// Good blocks that have no records: sequence and address.
    strange: Vec<(u64, u64)>,
    unnamed: u64,
    /// The sequences of good blocks, as ranges without gaps.
    runs: Vec<(u64, u64)>,
}

impl<'w> Walk<'w> {
    pub(super) fn new(directory: &'w Path, wanted: &'w Wanted<'w>, progress: &'w mut dyn FnMut(Progress)) -> Self {
        Self {
            directory,
            wanted,
            progress,
            read: 0,
            of: 0,
            longest: 0,
            recovered: Recovered::default(),
            assembler: Assembler::new(0),
            last: None,
            behind: 0,
            holes: Vec::new(),
            void_records: Vec::new(),
            damaged: Vec::new(),
            unended: Vec::new(),
            strange: Vec::new(),
            unnamed: 0,
            runs: Vec::new(),
        }
    }

    /// All segment files; anything else is refused.
    pub(super) fn open_all(&mut self, storage: &dyn Storage) -> Result<Vec<OpenFile>, RecoveryError> {
        let mut files = Vec::new();
        for entry in storage.entries(self.directory)? {
            let path = self.directory.join(&entry.name);
            let what = match entry.kind {
                EntryKind::File => None,
                EntryKind::Directory => Some("a directory"),
                EntryKind::Link => Some("a symbolic link"),
                EntryKind::Other => Some("neither a file nor a directory"),
            };
            if let Some(what) = what {
                return Err(RecoveryError::Foreign { path, what });
            }
            let name = entry.name.to_str().unwrap_or_default();
            if self.wanted.others.contains(&name) {
                continue;
            }
            let Some(number) = format::segment_number(name) else {
                return Err(RecoveryError::Foreign { path, what: "a file that this program does not know" });
            };
            let file = storage.open(&path, Access::Read)?;
            self.of += file.octets();
            self.longest = self.longest.max(file.octets());
            files.push(OpenFile { number, path, file });
        }
        Ok(files)
    }

    /// Tells them apart by their first blocks: those in use, in order of their bases, and those that nothing is in.
    pub(super) fn classify(&mut self, files: Vec<OpenFile>) -> Result<(Vec<Segment>, Vec<Spare>), RecoveryError> {
        let (mut in_use, mut spare) = (Vec::new(), Vec::new());
        let mut buffer = AlignedBuffer::new(limits::BLOCK_OCTETS).map_err(super::super::scan::no_memory)?;
        for file in files {
            let octets = file.file.octets();
            let there = (octets.min(buffer.len() as u64) as usize) / ALIGNMENT * ALIGNMENT;
            // What cannot be read is bad, and seen to be again when all is read.
            let first = match file.file.read_at(&mut buffer[..there], 0) {
                Ok(()) => &mut buffer[..there],
                Err(_) => &mut [],
            };
            let found = match self.opening(&file, first)? {
                Some(block) => Some((block.header.address, Head::Sound)),
                None => match self.turned(&file, first) {
                    Some(found) => Some(found),
                    None => self.guess(&file)?.map(|base| (base, Head::Bad)),
                },
            };
            match found {
                Some((base, head)) => in_use.push(Segment { base, file, head }),
                None => spare.push(Spare { number: file.number, octets }),
            }
        }
        in_use.sort_by_key(|segment| segment.base);
        Ok((in_use, spare))
    }

    /// Its first block, if that says that it is a segment's.
    fn opening<'b>(&self, file: &OpenFile, octets: &'b [u8]) -> Result<Option<Block<'b>>, RecoveryError> {
        let path = || file.path.clone();
        let block = match format::open(octets) {
            Ok(block) => block,
            Err(BlockError::Version(version)) => return Err(RecoveryError::Version { path: path(), version }),
            Err(_) => return Ok(None),
        };
        let owner = Owner { chain: block.header.chain, shard: block.header.shard, node: block.header.node };
        if owner != self.wanted.owner {
            return Err(RecoveryError::Owner { path: path(), found: owner, wanted: self.wanted.owner });
        }
        let Some(opening) = opening_of(&block) else { return Ok(None) };
        let (says, has) = (opening.segment_octets, file.file.octets());
        if says != has {
            return Err(RecoveryError::Size { path: path(), says, has });
        }
        if opening.base.checked_add(has).is_none() {
            return Err(RecoveryError::Exhausted { path: path() });
        }
        Ok((opening.base == block.header.address).then_some(block))
    }

    /// The same of a block of which a bit has turned. Others that lie there need not be of that use of the file.
    fn turned(&self, file: &OpenFile, octets: &mut [u8]) -> Option<(u64, Head)> {
        format::mend(octets)?;
        let block = self.opening(file, octets).ok().flatten()?;
        let (header, span) = (block.header, block.span() as u64);
        Some((header.address, Head::Turned { epoch: header.epoch, sequence: header.sequence, span }))
    }

    /// The base of a segment whose first block is bad, by the last one that was written there; `None` if there is none. Blocks of an
    /// earlier use of the file may lie before it, where a write failed.
    fn guess(&mut self, file: &OpenFile) -> Result<Option<u64>, RecoveryError> {
        let mut scan = SegmentScan::whole(Arc::clone(&file.file), self.wanted.owner, NOWHERE)?;
        while scan.next_found()?.is_some() {}
        self.refuse_strange(file, &scan)?;
        let base = scan.elsewhere_last().filter(|base| base.checked_add(file.file.octets()).is_some());
        match (base, scan.unreadable(), scan.strange()) {
            (None, Some(error), _) => Err(error.clone().into()),
            (None, _, Some(Strange::Owner(found))) => {
                Err(RecoveryError::Owner { path: file.path.clone(), found, wanted: self.wanted.owner })
            }
            _ => {
                if base.is_none() {
                    self.advance(file.file.octets());
                }
                Ok(base)
            }
        }
    }

    fn refuse_strange(&self, file: &OpenFile, scan: &SegmentScan) -> Result<(), RecoveryError> {
        match scan.strange() {
            Some(Strange::Version(version)) => Err(RecoveryError::Version { path: file.path.clone(), version }),
            _ => Ok(()),
        }
    }

    fn advance(&mut self, octets: u64) {
        self.read += octets;
        (self.progress)(Progress { octets: self.read, of: self.of });
    }

    /// Reads them in order.
    pub(super) fn read_all(mut self, segments: Vec<Segment>) -> Result<Recovered, RecoveryError> {
        if let Some([one, next]) =
            segments.array_windows::<2>().find(|[one, next]| one.base + one.file.file.octets() > next.base)
        {
            let (path, other) = (next.file.path.clone(), one.file.path.clone());
            return Err(RecoveryError::Twice { path, other, base: next.base });
        }
        self.assembler = Assembler::new(segments.first().map_or(0, |segment| segment.base));
        for Segment { base, file, head } in segments {
            self.read_segment(base, &file, head)?;
        }
        self.finish()
    }

    fn read_segment(&mut self, base: u64, file: &OpenFile, head: Head) -> Result<(), RecoveryError> {
        let mut end = base;
        if let Head::Turned { epoch, sequence, span } = head
            && self.last.is_none_or(|(_, last)| sequence > last)
        {
            self.miss_until(base, sequence);
            self.miss(Hole::of_block(base, base + span, sequence));
            (self.last, self.behind) = (Some((epoch, sequence)), base + span);
            end = self.behind;
        }
        let mut is_missed = head == Head::Bad;
        let mut scan = SegmentScan::whole(Arc::clone(&file.file), self.wanted.owner, base)?;
        if let Some((epoch, sequence)) = self.last {
            scan.follow(epoch, sequence);
        }
        let before = self.read;
        loop {
            let octets_read = scan.octets_read();
            match scan.next_found()? {
                None => break,
                Some(Found::Bad { .. }) => {}
                Some(Found::Block(block)) => {
                    if let Some(ours) = self.wanted.epoch.filter(|ours| block.header.epoch >= *ours) {
                        let (path, found) = (file.path.clone(), block.header.epoch);
                        return Err(RecoveryError::Epoch { path, found, ours });
                    }
                    if std::mem::take(&mut is_missed) {
                        self.miss_head(base, &block);
                    }
                    self.read_block(&block, base);
                    end = self.behind;
                }
            }
            let more = scan.octets_read() - octets_read;
            if more > 0 {
                self.advance(more);
            }
        }
        self.refuse_strange(file, &scan)?;
        self.advance((before + file.file.octets()).saturating_sub(self.read));
        self.recovered.octets_read += scan.octets_read();
        self.recovered.in_use.push(SegmentFound { file: file.at(base), end });
        Ok(())
    }

    /// Nothing may be there between the last block and one of this address and sequence.
    fn miss_until(&mut self, until: u64, sequence: u64) {
        if let Some((_, last)) = self.last
            && sequence - last > 1
        {
            let address = self.behind;
            let is_end = self.recovered.in_use.last().is_some_and(|segment| segment.end == address);
            self.miss(Hole { address, until, from: last + 1, to: sequence - 1, is_end, has_head: false });
        }
    }

    /// The first block of a segment is bad, and this is the first that is not.
    fn miss_head(&mut self, base: u64, first: &Block<'_>) {
        let Header { epoch, address: until, sequence, .. } = first.header;
        let Some(to) = sequence.checked_sub(1) else { return };
        let (from, address) = self.last.map_or((to, base), |(_, last)| (last + 1, self.behind));
        if from <= to {
            self.miss(Hole { address, until, from, to, is_end: address < base, has_head: true });
            (self.last, self.behind) = (Some((epoch, to)), until);
        }
    }

    fn miss(&mut self, hole: Hole) {
        self.assembler.bad(hole.address);
        self.holes.push(hole);
    }

    fn read_block(&mut self, block: &Block<'_>, base: u64) {
        let header = block.header;
        self.miss_until(header.address, header.sequence);
        match self.runs.last_mut() {
            Some((_, to)) if *to + 1 == header.sequence => *to += 1,
            _ => self.runs.push((header.sequence, header.sequence)),
        }
        self.last = Some((header.epoch, header.sequence));
        self.behind = header.address + block.span() as u64;
        self.recovered.durable_upto = self.recovered.durable_upto.max(header.durable_upto);
        for record in block.records().map_while(Result::ok) {
            match record.record {
                Record::Void { from, to } => self.void_records.push((header.sequence, (from, to))),
                Record::Segment(opening) => self.note_routes(&opening, base),
                _ => {}
            }
        }
        let Self { assembler, damaged, unended, strange, unnamed, holes, recovered, behind, .. } = self;
        assembler.block(block, |event| match event {
            Event::Message(..) | Event::Aborted(_) => {}
            Event::Damaged(one, manifest, _) => {
                let id = Manifest::decode(&manifest).ok().map(|manifest| manifest.id);
                let (sequence, first, place) = (one.sequence, one.first, one.place);
                keep(damaged, Damaged { id, sequence, first, place }, unnamed);
            }
            Event::Strange(address, _) => strange.push((header.sequence, address)),
            Event::Unfinished(one) => {
                note_unfinished((one, *behind), holes, unended, unnamed, &mut recovered.unfinished)
            }
        });
    }

    fn note_routes(&mut self, opening: &Opening<'_>, base: u64) {
        for name in opening.routes.names() {
            let routes = &mut self.recovered.routes;
            if !routes.iter().any(|route| route.name == name) {
                routes.push(RouteFound { name: name.to_owned(), from: base });
            }
        }
    }

    fn finish(mut self) -> Result<Recovered, RecoveryError> {
        let Self { assembler, unended, unnamed, holes, recovered, behind, .. } = &mut self;
        assembler.finish(|event| {
            if let Event::Unfinished(one) = event {
                note_unfinished((one, *behind), holes, unended, unnamed, &mut recovered.unfinished);
            }
        });
        let exhausted = || RecoveryError::Exhausted { path: self.directory.to_owned() };
        let mut recovered = std::mem::take(&mut self.recovered);
        let mut named = Voids::default();
        let void_records = self.void_records.iter().filter(|_| !Mutant::RecoveryForgetsVoids.is_on());
        void_records.for_each(|(_, (from, to))| named.add(*from, *to));
        let durable_upto = recovered.durable_upto;
        let missing = |hole: &Hole| {
            let ranges = named.without(hole.from, hole.to).into_iter();
            let is_end = |to: u64| hole.is_end && !(hole.has_head && to == hole.to);
            ranges.map(|(from, to)| Hole { from, to, is_end: is_end(to), ..*hole }).collect::<Vec<_>>()
        };
        let missing: Vec<Hole> = self.holes.iter().flat_map(missing).collect();

        // What was never used, what may still come late, and the torn tail before it.
        let behind = match (self.last, self.of) {
            (Some((_, last)), _) => last.checked_add(1).ok_or_else(exhausted)?,
            (None, _) => 0,
        };
        let late = if self.of > 0 { limits::LATE_BLOCKS } else { 0 };
        recovered.next_sequence = behind.checked_add(late).ok_or_else(exhausted)?;
        // Whoever had read on had read what was durable, though no block that is there says so.
        let was_durable = |hole: &&Hole| hole.until <= self.wanted.needed_from;
        let mut torn = missing.iter().filter(|hole| !was_durable(hole));
        let torn = torn.find(|hole| hole.to >= durable_upto).map(|hole| hole.from.max(durable_upto));
        let torn = match torn {
            _ if Mutant::RecoveryTakesTornTail.is_on() => behind,
            _ if Mutant::RecoveryTruncates.is_on() => missing.first().map_or(behind, |hole| hole.from),
            torn => torn.unwrap_or(behind),
        };
        if torn < recovered.next_sequence {
            recovered.new_voids.push((torn, recovered.next_sequence - 1));
        }
        // What counts for nothing says what is void for the last time.
        let said_there = self.void_records.iter().filter(|(by, _)| *by >= torn).map(|(_, range)| *range);
        recovered.new_voids.extend(said_there);
        recovered.voids = named;
        recovered.new_voids.iter().for_each(|(from, to)| recovered.voids.add(*from, *to));
        if Mutant::RecoveryRevivesTail.is_on() {
            recovered.new_voids.clear();
        }
        let counting = self.runs.iter().flat_map(|(from, to)| recovered.voids.without(*from, *to));
        recovered.blocks = counting.map(|(from, to)| to - from + 1).sum();

        let files = recovered.files();
        let ends = files.as_slice().iter().map(LogFile::end).max().unwrap_or(0);
        let above = ends.max(self.wanted.least_base);
        let above = if Mutant::RecoveryUsesAddressesAgain.is_on() { 0 } else { above };
        recovered.next_base = base_after(above, self.longest, self.wanted.entropy).ok_or_else(exhausted)?;

        let lost = missing.into_iter().filter(|hole| hole.from < durable_upto).filter(|hole| self.is_needed(hole));
        let lost = lost.map(|hole| Hole { to: hole.to.min(durable_upto - 1), ..hole });
        recovered.corruption = self.corruption(lost.collect(), &recovered, &files);
        Ok(recovered)
    }

    /// A segment that was done with may have been written over, in any part, by blocks that the power took. All of its addresses had been
    /// passed then, up to that behind its last block.
    fn is_needed(&self, hole: &Hole) -> bool {
        let needed_from = self.wanted.needed_from;
        if hole.is_end { hole.address >= needed_from } else { hole.until > needed_from }
    }

    /// Names what is lost.
    fn corruption(&self, holes: Vec<Hole>, recovered: &Recovered, files: &LogFiles) -> Vec<Corruption> {
        let strange = self.strange.iter().filter(|(sequence, _)| !recovered.voids.has(*sequence));
        let at = |address: u64, sequence: u64| Hole::of_block(address, address, sequence);
        let needed_from = self.wanted.needed_from;
        let strange = strange.filter(|(_, address)| *address >= needed_from);
        let strange = strange.map(|(sequence, address)| at(*address, *sequence));
        let mut holes: Vec<Hole> = holes.into_iter().chain(strange).collect();
        // What began before that was dealt with, wherever it ended.
        let counts = |one: &&Damaged| !recovered.voids.has(one.sequence) && one.first >= needed_from;
        let damaged: Vec<&Damaged> = self.damaged.iter().filter(counts).collect();
        // Nothing is missing, and yet it is not whole: it was written so.
        for one in &damaged {
            let is_within = |hole: &Hole| hole.touches(one.first, one.place);
            if !holes.iter().chain(&self.holes).any(is_within) {
                holes.push(at(one.place, one.sequence));
            }
        }
        holes.sort_by_key(|hole| hole.from);
        let corruption = |hole: Hole| {
            let within = |first: u64, last: u64| hole.touches(first, last);
            let ended = damaged.iter().filter(|one| within(one.first, one.place));
            let ended = ended.map(|one| Lost { id: one.id, first: one.first, place: Some(one.place) });
            let unended = self.unended.iter().filter(|(one, until)| within(one.first, *until));
            let unended = unended.map(|(one, _)| Lost { id: None, first: one.first, place: None });
            Corruption {
                address: hole.address,
                segment: files.at(hole.address).map(|file| file.number),
                sequences: (hole.from, hole.to),
                lost: ended.chain(unended).collect(),
                more: self.unnamed,
            }
        };
        holes.into_iter().map(corruption).collect()
    }
}

fn keep<T>(list: &mut Vec<T>, one: T, unnamed: &mut u64) {
    if list.len() < limits::LOST_MESSAGES_NAMED {
        list.push(one);
    } else {
        *unnamed += 1;
    }
}

/// A message without an end may have had one where something is missing.
fn note_unfinished(
    one: (Unfinished, u64),
    holes: &[Hole],
    unended: &mut Vec<(Unfinished, u64)>,
    unnamed: &mut u64,
    count: &mut u64,
) {
    *count += 1;
    if holes.last().is_some_and(|hole| hole.address >= one.0.first) {
        keep(unended, one, unnamed);
    }
}

/// What the first block of a segment says of it, if it is one.
fn opening_of<'b>(block: &Block<'b>) -> Option<Opening<'b>> {
    match block.records().next()?.ok()?.record {
        Record::Segment(opening) => Some(opening),
        _ => None,
    }
}
