//! A log that is written by the production writer to a disk that loses power: its clients, its segments, and those who read it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::handoff::gather::Described;
use crate::limits;
use crate::mail::envelope::Route;
use crate::memory::slab::Slab;
use crate::memory::write::{File, Write};
use crate::policy::decision::Ticket;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{DiskFaults, SimDisk};
use crate::spool::format::{Header, Record};
use crate::spool::recovery::Recovered;
use crate::spool::segment::Segment;
use crate::spool::steward::{KeepOptions, Keeping, LogPlan};
use crate::spool::storage::{Access, Storage};
use crate::spool::writer::{Log, LogOptions, Start};

use super::ledger::{DIRECTORY, Ledger, NODE, OWNER, Shown, State};

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    pub segment_octets: u64,
    pub blocks: usize,
    pub slots: u32,
    pub turns: u64,
    pub epochs: u32,
    pub faults: DiskFaults,
    /// In percent: of turns, of writes, of messages.
    pub hangs: u8,
    pub fills_up: u8,
    pub aborts: u8,
    pub is_large: u8,
    pub deals: u8,
    pub cuts: u8,
}

impl Plan {
    pub fn new(chance: &mut Chance) -> Self {
        let often = |chance: &mut Chance, percent: u8| if chance.percent(50) { 0 } else { percent };
        let faults = DiskFaults {
            write_fails: often(chance, 3),
            short_write: often(chance, 2),
            sync_fails: often(chance, 5),
            full: often(chance, 10),
            ..DiskFaults::default()
        };
        Self {
            segment_octets: *chance.pick(&[272 << 10, 320 << 10, 512 << 10, 1 << 20]),
            blocks: *chance.pick(&[4, 6, 12, 40]),
            slots: *chance.pick(&[1, 2, 4, 12]),
            turns: chance.between(10, 80),
            epochs: chance.between(1, 4) as u32,
            faults,
            hangs: often(chance, 2),
            fills_up: often(chance, 3),
            aborts: *chance.pick(&[0, 5, 30]),
            is_large: *chance.pick(&[0, 2, 10]),
            deals: *chance.pick(&[0, 20, 80]),
            cuts: 10,
        }
    }
}

/// A message that is coming: its number, and how much of it is there.
#[derive(Clone, Copy, Debug)]
struct Coming {
    number: usize,
    sent: usize,
}

struct UnderWay {
    number: u32,
    sequence: u64,
    octets: usize,
    write: u64,
    hangs: bool,
}

/// One epoch.
pub struct Desk<'t> {
    plan: &'t Plan,
    pub chance: Chance,
    pub disk: SimDisk,
    log: Log,
    keeping: Keeping,
    low: Arc<AtomicU64>,
    cursor: Arc<AtomicU64>,
    coming: BTreeMap<u32, Coming>,
    under_way: Vec<UnderWay>,
    now_ms: u64,
    /// Of the questions of its clients, by which answers are told apart.
    pub asked: BTreeMap<u32, usize>,
    next_question: u32,
    /// Sequences of blocks of which a write failed.
    failed: Vec<u64>,
    pub traces: bool,
}

impl<'t> Desk<'t> {
    /// Goes on with what was recovered.
    pub fn new(
        plan: &'t Plan,
        chance: Chance,
        disk: &SimDisk,
        epoch: u32,
        recovered: &Recovered,
        ledger: &Ledger,
    ) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let directory = Path::new(DIRECTORY);
        let open = |number: u32| {
            let path = directory.join(crate::spool::format::segment_name(number));
            disk.open(&path, Access::Write).expect("recovery has read it")
        };
        let in_use = recovered.in_use.iter().map(|found| {
            let file = open(found.file.number);
            Segment::found(found.file.number, file.shared(), file.octets(), found.file.base, found.end)
        });
        let spare = recovered.spare.iter().map(|spare| {
            let segment = Segment::new(spare.number, open(spare.number).shared(), spare.octets);
            // As the engine does it: a write of the process before may be on its way to it.
            segment.fail();
            segment
        });
        let cursor = Arc::new(AtomicU64::new(ledger.cursor.from));
        let low = Arc::new(AtomicU64::new(0));
        let log_plan = LogPlan {
            chain: OWNER.chain,
            directory: directory.to_owned(),
            segment_octets: plan.segment_octets,
            found: in_use.chain(spare).map(Arc::new).collect(),
            cursors: vec![Arc::clone(&cursor) as _],
            low: Arc::clone(&low),
            waker: None,
            is_written_on: true,
        };
        let options = KeepOptions {
            directory: directory.to_owned(),
            reserve: Arc::new(AtomicU64::new(1 << 20)),
            size_octets: None,
            retain_s: 0,
        };
        let (keeping, ends) = Keeping::new(storage, options, vec![log_plan]);
        let (supply, _) = ends.into_iter().next().expect("there is one log");
        let options = LogOptions {
            chain: OWNER.chain,
            shard: OWNER.shard,
            node: NODE,
            epoch,
            routes: ["store".to_owned()].into(),
            segment_octets: plan.segment_octets,
        };
        let Recovered { next_sequence, next_base, new_voids, .. } = recovered;
        let start = Start { sequence: *next_sequence, base: *next_base, voids: new_voids.clone() };
        let log = Log::new(options, start, supply, &Slab::new(plan.blocks));
        Self {
            plan,
            chance,
            disk: disk.clone(),
            log,
            keeping,
            low,
            cursor,
            coming: BTreeMap::new(),
            under_way: Vec::new(),
            now_ms: 0,
            asked: BTreeMap::new(),
            next_question: 0,
            failed: Vec::new(),
            traces: false,
        }
    }

    /// A turn of the shard, with what comes between. `image` is called where the power may go.
    pub fn turn(
        &mut self,
        ledger: &mut Ledger,
        image: &mut impl FnMut(&SimDisk, &mut Ledger) -> Result<(), String>,
    ) -> Result<(), String> {
        self.now_ms += self.chance.between(0, 200);
        if self.plan.hangs > 0 && self.chance.percent(5) {
            self.now_ms += limits::WRITE_HUNG_MS;
        }
        if self.chance.percent(70) {
            self.keeping.step(self.now_ms);
        }
        for _ in 0..self.chance.below(6) {
            self.client(ledger);
        }
        self.log.hand_on(self.now_ms);
        self.hear(ledger)?;
        while let Some((number, Write { file, octets, at, is_synced })) = self.log.write() {
            let File::Numbered(file) = *file else { return Err("a file of another disk".to_owned()) };
            self.note(|| {
                format!(
                    "write {number}: {} octets to {file}, {at}: {}",
                    octets.octets().len(),
                    described(octets.octets())
                )
            });
            let write = self.disk.begin_write(file, octets.octets(), at, is_synced);
            let sequence = crate::spool::format::open(octets.octets()).map_or(0, |block| block.header.sequence);
            let (octets, hangs) = (octets.octets().len(), self.chance.percent(self.plan.hangs));
            self.under_way.push(UnderWay { number, sequence, octets, write, hangs });
        }
        // What a mutant says too soon is heard before anything is done.
        self.hear(ledger)?;
        if self.chance.percent(self.plan.cuts) {
            image(&self.disk, ledger)?;
        }
        for _ in 0..self.chance.below(4) {
            self.complete();
            self.hear(ledger)?;
            if self.chance.percent(self.plan.cuts) {
                image(&self.disk, ledger)?;
            }
        }
        if self.chance.percent(self.plan.fills_up) {
            let octets = if self.chance.percent(50) { 0 } else { 1 << 40 };
            self.disk.set_free_octets(octets);
        }
        if self.chance.percent(self.plan.deals) {
            let low = self.log.published().1;
            ledger.deal(self.chance.below(30), low);
            self.cursor.store(ledger.cursor.from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// One that is under way comes to its end, if it ever does.
    fn complete(&mut self) {
        let free: Vec<usize> = (0..self.under_way.len()).filter(|at| !self.under_way[*at].hangs).collect();
        if free.is_empty() {
            if !self.under_way.is_empty() && self.chance.percent(10) {
                let at = self.chance.below(self.under_way.len());
                self.under_way[at].hangs = false;
            }
            return;
        }
        let at = *self.chance.pick(&free);
        let (number, result) = self.end(at);
        self.note(|| format!("write {number} ends: {result:?}"));
        self.log.written(number, result);
    }

    fn end(&mut self, at: usize) -> (u32, Result<u32, Errno>) {
        let UnderWay { number, sequence, octets, write, .. } = self.under_way.swap_remove(at);
        let result = self.disk.complete_write(write);
        if result != Ok(octets as u32) {
            self.failed.push(sequence);
        }
        (number, result)
    }

    /// The process ends, and the machine does not: what is under way comes to its end.
    pub fn kill(mut self, ledger: &mut Ledger) {
        while !self.under_way.is_empty() {
            let at = self.chance.below(self.under_way.len());
            let _ = self.end(at);
        }
        self.failed.iter().for_each(|sequence| ledger.doubtful.add(*sequence, *sequence));
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.traces {
            println!("{:>8} {}", self.now_ms, what());
        }
    }

    fn hear(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        while let Some((ticket, said)) = self.log.take_answer() {
            let number = self.asked.get(&ticket.question).copied().ok_or("an answer to nobody")?;
            let state = match said {
                Ok(id) if id == Ledger::id(number) => State::Accepted,
                Ok(id) => return Err(format!("message {number} is answered as {id}")),
                Err(_) => State::Refused,
            };
            self.note(|| format!("message {number} is {state:?}"));
            ledger.answered(number, state)?;
        }
        while let Some(committed) = self.log.take_committed() {
            ledger.committed(&committed)?;
        }
        self.low.store(self.log.needed_from(), Ordering::Relaxed);
        Ok(())
    }

    /// Some client does something.
    fn client(&mut self, ledger: &mut Ledger) {
        let slot = self.chance.below(self.plan.slots as usize) as u32;
        let chance = &mut self.chance;
        let Some(mut coming) = self.coming.remove(&slot) else {
            if self.log.refuses().is_some() && chance.percent(80) {
                return;
            }
            let octets = match chance.below(10) {
                0 => 0,
                1..6 => chance.below(4_000),
                6..9 => chance.below(60_000),
                _ if chance.percent(self.plan.is_large * 5) => chance.below(ledger.most()),
                _ => chance.below(300_000),
            };
            let number = ledger.begin(octets);
            self.coming.insert(slot, Coming { number, sent: 0 });
            return;
        };
        if chance.percent(self.plan.aborts) {
            return self.log.abort(slot);
        }
        let rest = &ledger.content(coming.number)[coming.sent..];
        let piece = if chance.percent(50) { rest } else { &rest[..chance.below(rest.len() + 1)] };
        if !piece.is_empty() {
            self.log.content(slot, piece);
        }
        coming.sent += piece.len();
        if piece.len() < rest.len() || chance.percent(20) {
            self.coming.insert(slot, coming);
            return;
        }
        let octets = if chance.percent(4) { chance.below(limits::MANIFEST_OCTETS - 16) } else { chance.below(500) };
        ledger.entries[coming.number].manifest = octets;
        let (id, manifest) = (Ledger::id(coming.number), ledger.manifest(coming.number));
        self.next_question += 1;
        let ticket = Ticket { shard: OWNER.shard, slot, generation: 0, question: self.next_question };
        let routes = &[(Route(0), 1)];
        if self.log.end(ticket, &Described { id, manifest: &manifest, routes }).is_ok() {
            ledger.entries[coming.number].state = State::Unanswered;
            self.asked.insert(self.next_question, coming.number);
        }
    }
}

/// Where a log begins that there is nothing of; and what is found is what is there from now on.
pub fn note_shown(ledger: &mut Ledger, shown: &Shown, stays: bool) {
    let mut all: Vec<_> = shown.iter().map(|(number, message)| (*number, message.place, message.retain)).collect();
    all.sort_by_key(|(_, place, _)| *place);
    ledger.waiting.clear();
    for (number, place, retain) in all {
        let entry = &mut ledger.entries[number];
        entry.place = Some(place);
        entry.is_shown |= stays;
        ledger.waiting.push_back(super::ledger::Waiting { place, retain });
    }
}

/// What a block says of itself.
fn described(block: &[u8]) -> String {
    let Ok(block) = crate::spool::format::open(block) else { return "no block".to_owned() };
    let Header { epoch, sequence, address, durable_upto, .. } = block.header;
    let records: Vec<String> = block
        .records()
        .map_while(Result::ok)
        .map(|located| match located.record {
            Record::Part { message, .. } => format!("part {message}"),
            Record::Manifest { message, .. } => format!("manifest {message}"),
            Record::End { message, end } => format!("end {message} first {} retain {}", end.first, end.retain),
            Record::Abort { message } => format!("abort {message}"),
            Record::Void { from, to } => format!("void {from}..={to}"),
            Record::Segment(opening) => format!("segment, oldest {}", opening.oldest),
            Record::Wait { .. } => "wait".to_owned(),
        })
        .collect();
    format!("block {epoch}/{sequence} at {address}, durable up to {durable_upto}: {}", records.join(", "))
}
