//! A log as one sink reads it: from a position up to a watermark, the messages that have a recipient of its, with their content where
//! it was read to.
//!
//! *Invariants*: nothing at or behind the watermark is read. Messages come in the order of their ends. What is not sound is not given:
//! it is counted and named ([`Findings`]), and what is around it goes on. Old logs number routes in their own way: the sink is found by
//! its name in the first block of each segment.
//!
//! *Bounds*: what is read lies in a slab. Messages whose parts lie far apart, and those that are larger than it, are read once more when their
//! end has come, one at a time, into memory of their own.
//!
//! *Does not* know who else reads, nor what becomes of a message.

mod atlas;
mod large;
mod walk;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

pub use atlas::{SegmentAt, Source};

use crate::handoff::backlog::{self, Backlog, Reading};
use crate::handoff::place::{LogId, Place, Position, Spooled};
use crate::limits;
use crate::mail::checksum;
use crate::mail::envelope::Route;
use crate::mail::manifest::Manifest;
use crate::memory::slab::{Lease, Leases, Slab};
use crate::spool::cursor::CursorFile;
use crate::spool::findings::{Finding, Findings};
use crate::spool::format::{Block, End, HEADER_OCTETS, Record, span};
use atlas::Atlas;
use large::{Large, Loaded};
use walk::{Found, Stuck, Walk};

/// A message whose end has not come.
#[derive(Debug, Default)]
struct Open {
    /// The address of the block with its first part.
    first: u64,
    content: Leases,
    manifest: Vec<Lease>,
    /// `Part` and `Manifest` records.
    parts: u32,
    octets: u64,
    /// The run of octets in which its first part lies.
    run: u64,
    /// There was no memory to keep what came of it.
    is_shed: bool,
}

/// A message that is for this sink.
#[derive(Debug)]
enum Ready {
    /// It is whole.
    Whole(Spooled),
    /// It must be read once more.
    Far(Box<Far>),
}

/// A message that must be read once more.
#[derive(Debug)]
struct Far {
    /// Without its content.
    spooled: Spooled,
    /// Its number in its log.
    message: u64,
    epoch: u32,
    first: u64,
    /// Behind the block in which it ends.
    behind: u64,
    parts: u32,
    content_octets: u64,
    content_crc: u32,
}

/// See the module.
pub struct Reader {
    log: LogId,
    atlas: Atlas,
    walk: Walk,
    slab: Slab,
    large: Large,
    open: HashMap<u64, Open>,
    epoch: u32,
    /// Messages that end before this were given before.
    wanted: u64,
    ready: VecDeque<Ready>,
    /// All before this was given.
    reached: Position,
    /// No message that is open begins before this.
    floor: u64,
    /// Every message that is wanted begins here or behind.
    begun: u64,
    /// There was no memory when it was asked for last.
    is_starved: bool,
    /// Some block that is void, or lost, stood right before this address.
    hole_at: Option<u64>,
    cursor: Option<CursorFile>,
    findings: Arc<Findings>,
}

impl Reader {
    /// Of a log, for the sink of this name, in memory that other readers of its thread share: blocks of
    /// [`limits::LOG_READ_OCTETS`]. What is done with is noted in `cursor`, if there is one.
    pub fn new(
        log: LogId,
        source: Source,
        sink: &str,
        slab: &Slab,
        cursor: Option<CursorFile>,
        findings: Arc<Findings>,
    ) -> Self {
        Self {
            log,
            atlas: Atlas::new(source, sink.to_owned()),
            walk: Walk::from(0),
            slab: slab.sibling(),
            large: Large::default(),
            open: HashMap::new(),
            epoch: 0,
            wanted: 0,
            ready: VecDeque::new(),
            // No reading begins there.
            reached: Position { address: u64::MAX, from: u64::MAX },
            floor: 0,
            begun: 0,
            is_starved: false,
            hole_at: None,
            cursor,
            findings,
        }
    }

    /// Memory for the readers of so many logs, on one thread. None is taken before it is needed.
    pub fn memory(logs: usize) -> Slab {
        Slab::with_blocks_of(limits::LOG_READ_OCTETS, Self::memory_octets(logs) as usize / limits::LOG_READ_OCTETS)
    }

    /// So many octets are that at most.
    pub fn memory_octets(logs: usize) -> u64 {
        let runs = limits::LOG_READ_RUNS.max(limits::LOG_READ_RUNS_OF_EACH * logs);
        (runs * limits::LOG_READ_OCTETS) as u64
    }

    /// Reads until something is ready, for a bounded time.
    fn read_on(&mut self, upto: u64) -> Result<(), Stuck> {
        self.atlas.refresh()?;
        let begun = self.walk.at();
        while self.ready.is_empty() && self.walk.at() < upto && self.walk.at() - begun < limits::LOG_TURN_OCTETS {
            let found = match self.walk.next(&mut self.atlas, &mut self.slab, upto) {
                Err(Stuck::Memory(_)) if self.shed() => continue,
                found => found?,
            };
            self.is_starved = false;
            let Some(found) = found else { break };
            self.take(found);
        }
        Ok(())
    }

    /// Forgets what came of the messages whose first parts lie furthest back; whether there were some.
    fn shed(&mut self) -> bool {
        // Others may hold what there is: who was turned away twice keeps nothing.
        let kept = if std::mem::replace(&mut self.is_starved, true) { 0 } else { limits::LOG_READ_RUNS as u64 / 2 };
        let least = (self.walk.runs() + 1).saturating_sub(kept);
        let mut has_shed = false;
        for open in self.open.values_mut().filter(|open| !open.is_shed && open.run < least) {
            (open.content, open.is_shed) = (Leases::default(), true);
            has_shed = true;
        }
        has_shed
    }

    /// Takes what is in a block.
    fn take(&mut self, found: Found) {
        if found.lost > 0 {
            self.findings.add(Finding::Blocks { log: self.log, before: found.address, count: found.lost });
        }
        if found.lost > 0 || found.is_behind_void {
            self.hole_at = Some(found.address);
        }
        if found.header.epoch != self.epoch {
            // What was open when its process ended never ends.
            self.open.clear();
            self.epoch = found.header.epoch;
        }
        let run = self.walk.octets().share();
        let octets = &run.octets()[found.from..][..found.length];
        let block = Block { header: found.header, length: found.length, body: &octets[HEADER_OCTETS..] };
        for located in block.records() {
            let Ok(located) = located else {
                self.findings.add(Finding::Blocks { log: self.log, before: found.address + 1, count: 1 });
                self.hole_at = Some(found.address);
                return;
            };
            let part = |octets: usize| run.part(found.from + located.payload_at(), octets);
            match located.record {
                Record::Part { message, content } => {
                    let open = self.open_of(message, found.address);
                    (open.parts, open.octets) = (open.parts + 1, open.octets + content.len() as u64);
                    if !open.is_shed {
                        open.content.add(part(content.len()));
                    }
                }
                Record::Manifest { message, octets } => {
                    let open = self.open_of(message, found.address);
                    open.parts += 1;
                    open.manifest.push(part(octets.len()));
                }
                Record::End { message, end } => {
                    let open = self.open.remove(&message).unwrap_or_default();
                    let last = run.part(found.from + located.payload_at() + End::FIXED_OCTETS, end.manifest.len());
                    self.end(message, &end, open, last, (found, located.at));
                }
                Record::Abort { message } => _ = self.open.remove(&message),
                Record::Segment(_) | Record::Void { .. } | Record::Wait { .. } => {}
            }
        }
    }

    fn open_of(&mut self, message: u64, address: u64) -> &mut Open {
        let run = self.walk.runs();
        self.open.entry(message).or_insert_with(|| Open { first: address, run, ..Open::default() })
    }

    /// A message has ended: it is ready if this sink has a recipient of it.
    fn end(&mut self, message: u64, end: &End<'_>, open: Open, last: Lease, (found, at): (Found, usize)) {
        let place = Place { log: self.log, address: found.address + at as u64, retain: end.retain };
        if self.floor < end.retain {
            self.floor = end.retain;
            // They were given up, and the word of it is lost.
            self.open.retain(|_, open| open.first >= end.retain);
        }
        // One that begins before all that is kept for this sink was refused, and is void by a record behind it.
        if place.address < self.wanted || end.first < self.begun {
            return;
        }
        let lost = |id| Finding::Message { log: self.log, address: place.address, id };
        let Some(route) = self.atlas.route(found.address, self.epoch) else {
            return self.findings.add(lost(None));
        };
        let Some(route) = route else { return };
        let has_hole = self.hole_at.is_some_and(|hole| hole > end.first);
        let is_whole = open.parts == end.parts && open.octets == end.content_octets;
        let joined: Vec<u8> = match open.manifest.is_empty() {
            true => Vec::new(),
            false => open.manifest.iter().chain([&last]).flat_map(|piece| piece.octets()).copied().collect(),
        };
        let manifest = if joined.is_empty() { last.octets() } else { &joined };
        let Ok(known) = Manifest::decode(manifest) else {
            // Of a message with a hole nobody was told that it is kept.
            if !has_hole {
                self.findings.add(lost(None));
            }
            return;
        };
        let recipients = known.envelope.recipients().filter(|recipient| recipient.route.0 == route).count() as u32;
        if recipients == 0 {
            return;
        }
        let (id, route, content) = (known.id, Route(route), Leases::default());
        let spooled = Spooled { id, place, route, recipients, attempts: 0, manifest: last.share(), content };
        let is_sound = || crc_of(&open.content) == end.content_crc;
        let ready = if is_whole && !open.is_shed && joined.is_empty() && is_sound() {
            Ready::Whole(Spooled { content: open.content, ..spooled })
        } else {
            Ready::Far(Box::new(Far {
                spooled,
                message,
                epoch: self.epoch,
                first: end.first,
                behind: found.address + span(found.length) as u64,
                parts: end.parts,
                content_octets: end.content_octets,
                content_crc: end.content_crc,
            }))
        };
        self.ready.push_back(ready);
    }

    /// Gives what is ready, so much at most.
    fn give(&mut self, most: usize, out: &mut Vec<Spooled>) -> Result<(), Stuck> {
        let before = out.len();
        while out.len() - before < most
            && let Some(first) = self.ready.front()
        {
            let (place, id) = match first {
                Ready::Whole(spooled) => (spooled.place, spooled.id),
                Ready::Far(far) => (far.spooled.place, far.spooled.id),
            };
            let loaded = match first {
                Ready::Whole(_) => None,
                Ready::Far(far) => Some(self.large.load(&mut self.atlas, far)?),
            };
            match (self.ready.pop_front(), loaded) {
                (Some(Ready::Whole(spooled)), _) => out.push(spooled),
                (Some(Ready::Far(far)), Some(Loaded::Whole(manifest, content))) => {
                    out.push(Spooled { manifest, content, ..far.spooled });
                }
                (_, Some(Loaded::Void)) => {}
                _ => self.findings.add(Finding::Message { log: self.log, address: place.address, id: Some(id) }),
            }
            self.reached = Position::behind(place);
        }
        Ok(())
    }

    /// All before this was given.
    fn position(&self) -> Position {
        if !self.ready.is_empty() {
            return self.reached;
        }
        let address = self.walk.at();
        let from = self.open.values().map(|open| open.first).min().unwrap_or(address);
        Position { address, from: from.max(self.floor).min(address) }
    }

    /// As [`Backlog::read`].
    fn read_to(&mut self, upto: u64, most: usize, out: &mut Vec<Spooled>) -> Result<(), Stuck> {
        if self.ready.is_empty() {
            self.read_on(upto)?;
        }
        self.give(most, out)
    }
}

impl Backlog for Reader {
    fn read(&mut self, from: Position, upto: u64, most: usize, out: &mut Vec<Spooled>) -> Reading {
        if from.address != self.reached.address {
            // It came by the ring meanwhile.
            self.walk = Walk::from(from.from);
            self.open.clear();
            self.ready.clear();
            (self.hole_at, self.floor) = (None, 0);
            (self.wanted, self.begun, self.reached) = (from.address, from.from, from);
        }
        let read = self.read_to(upto, most, out);
        if let Err(Stuck::Storage(error)) = &read {
            self.findings.add(Finding::Storage { log: self.log, error: error.clone() });
        }
        let position = self.position();
        if position.address >= self.reached.address {
            self.reached = position;
        }
        if self.ready.is_empty() && self.reached.address >= upto {
            // It may be long until it is read again.
            self.walk.rest();
            for _ in 0..limits::LOG_READ_RUNS {
                self.slab.trim(limits::LOG_READ_RUNS_OF_EACH);
            }
        }
        let stuck = read.err().map(|stuck| match stuck {
            Stuck::Memory(_) => backlog::Stuck::Memory,
            Stuck::Storage(_) => backlog::Stuck::Disk,
        });
        Reading { reached: self.reached, stuck }
    }

    fn keep(&mut self, kept: Position) -> bool {
        let Some(cursor) = &mut self.cursor else { return true };
        match cursor.write(kept) {
            Ok(()) => true,
            Err(error) => {
                self.findings.add(Finding::Storage { log: self.log, error });
                false
            }
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("log", &self.log).field("reached", &self.reached).finish_non_exhaustive()
    }
}

fn crc_of(content: &Leases) -> u32 {
    content.pieces().fold(0, checksum::crc32c_append)
}

#[cfg(test)]
mod tests;
