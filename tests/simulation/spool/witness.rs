//! What the disk was given of the logs, and what became of it: it stands between the simulated kernel and the disk, and beside the intake.
//!
//! An answer is true when the block in which its message ends is on the disk, and every block of its log before that is, or is recorded as
//! void by one that is. What the log is told of a write is what the disk said, and it is told in time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustix::io::Errno;

use crate::limits;
use crate::mail::manifest::Manifest;
use crate::memory::write::{File, Write};
use crate::reactor::io::Time;
use crate::simulation::chance::Chance;
use crate::simulation::disk::SimDisk;
use crate::simulation::files::Files;
use crate::simulation::world::{Clock, Network};
use crate::spool::format::{self, Record};
use crate::spool::scan::Voids;

use super::super::book::Book;
use super::{CHAINS, SpoolPlan, image};

/// A block of a log.
#[derive(Debug)]
struct Block {
    file: u64,
    octets: usize,
    /// Messages that end in it, by their numbers.
    ends: Vec<u64>,
    voids: Vec<(u64, u64)>,
    begun_at: Option<Time>,
    ended: Option<(Time, Result<u32, Errno>)>,
}

impl Block {
    fn is_written(&self) -> bool {
        self.ended.is_some_and(|(_, result)| result == Ok(self.octets as u32))
    }
}

/// A log, as far as the disk has it.
#[derive(Debug)]
struct Log {
    blocks: BTreeMap<u64, Block>,
    voids: Voids,
    /// All blocks before this are written, or recorded as void.
    upto: u64,
    /// The block in which each message ends, and its name in the log.
    ends: BTreeMap<u64, (u64, u64)>,
    /// By their names in the log: the blocks in which parts of messages lie.
    parts: BTreeMap<u64, Vec<u64>>,
    /// Files of which the log knows that a write to them failed.
    failed_files: BTreeSet<u64>,
}

#[derive(Debug)]
struct Seen {
    disk: SimDisk,
    clock: Clock,
    book: Rc<RefCell<Book>>,
    logs: [Log; 3],
    /// By the numbers that the intake gave: log and block.
    numbers: BTreeMap<u32, (usize, u64)>,
    /// By file and place: log and block.
    offered: BTreeMap<(u64, u64), (usize, u64)>,
    /// By the numbers that the disk gave.
    under_way: BTreeMap<u64, (usize, u64)>,
    /// Blocks whose writes have ended, and whose log does not know.
    untold: BTreeSet<(usize, u64)>,
    /// Messages that may be answered, since when.
    safe: BTreeMap<u64, Time>,
    slack_ms: u64,
    has_odd_time: bool,
    /// As the kernel has it when it calls.
    now: Time,
    ends_at: Option<u64>,
    moments: u64,
    chance: Chance,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Witness(Rc<RefCell<Seen>>);

impl Witness {
    pub fn new(
        plan: &SpoolPlan,
        (slack_ms, has_odd_time): (u64, bool),
        disk: &SimDisk,
        network: &Network,
        book: &Rc<RefCell<Book>>,
        chance: Chance,
    ) -> Self {
        let log = || Log {
            blocks: BTreeMap::new(),
            voids: Voids::default(),
            upto: 1,
            ends: BTreeMap::new(),
            parts: BTreeMap::new(),
            failed_files: BTreeSet::new(),
        };
        Self(Rc::new(RefCell::new(Seen {
            disk: disk.clone(),
            clock: network.clock(),
            book: Rc::clone(book),
            logs: [log(), log(), log()],
            numbers: BTreeMap::new(),
            offered: BTreeMap::new(),
            under_way: BTreeMap::new(),
            untold: BTreeSet::new(),
            safe: BTreeMap::new(),
            slack_ms,
            has_odd_time,
            now: network.now(),
            ends_at: plan.ends_at,
            moments: 0,
            chance,
        })))
    }

    /// The intake asks for a write.
    pub fn offered(&self, number: u32, write: &Write) {
        let fault = self.0.borrow_mut().offer(number, write).err();
        self.note(fault);
    }

    /// The intake is told what became of a write.
    pub fn told(&self, number: u32, result: Result<u32, Errno>) {
        let fault = self.0.borrow_mut().tell(number, result).err();
        self.note(fault);
    }

    /// Whether what the log says of this message is so.
    pub fn is_safe(&self, log: usize, message: u64) -> bool {
        let mut seen = self.0.borrow_mut();
        let Log { blocks, voids, upto, ends, parts, .. } = &seen.logs[log];
        let is_there = |sequence: &u64| !voids.has(*sequence) && blocks.get(sequence).is_some_and(Block::is_written);
        let is_safe = ends.get(&message).is_some_and(|(sequence, name)| {
            sequence < upto && is_there(sequence) && parts.get(name).is_none_or(|parts| parts.iter().all(is_there))
        });
        seen.safe.remove(&message);
        is_safe
    }

    /// Something was answered that is no acceptance.
    pub fn forget(&self, message: u64) {
        self.0.borrow_mut().safe.remove(&message);
    }

    /// Writes that the kernel has, or that nobody was told of.
    pub fn writes(&self) -> usize {
        self.0.borrow().numbers.len()
    }

    /// A turn is over: what should have been done by now.
    pub fn look(&self) {
        self.0.borrow().note_silence();
        let fault = self.0.borrow().late();
        self.note(fault);
    }

    /// Something has changed on the disk, or was promised: here the process may be killed, or the power go.
    pub fn pass(&self) {
        let (disk, mut chance) = {
            let mut seen = self.0.borrow_mut();
            seen.moments += 1;
            if seen.ends_at != Some(seen.moments) {
                return;
            }
            (seen.disk.clone(), seen.chance.of("cut", 0))
        };
        self.check_image(&disk, &mut chance);
    }

    /// At the end of all.
    pub fn check_end(&self) {
        let (disk, mut chance) = {
            let seen = self.0.borrow();
            (seen.disk.clone(), seen.chance.of("end", 0))
        };
        // COST: two in three see what there is to see.
        if chance.percent(35) {
            return;
        }
        self.check_image(&disk, &mut chance);
    }

    fn check_image(&self, disk: &SimDisk, chance: &mut Chance) {
        let book = Rc::clone(&self.0.borrow().book);
        if book.borrow().logs.iter().all(|notes| notes.begun == 0) {
            return;
        }
        let checked = image::check(disk, &book.borrow(), chance);
        let mut book = book.borrow_mut();
        match checked {
            Ok(found) => {
                book.tally.images += 1;
                book.tally.found += found.messages;
                book.tally.unasked += found.unasked;
            }
            Err(why) => book.faults.push(why),
        }
    }

    fn note(&self, fault: Option<String>) {
        if let Some(fault) = fault {
            let book = Rc::clone(&self.0.borrow().book);
            book.borrow_mut().faults.push(fault);
        }
    }
}

impl Seen {
    fn offer(&mut self, number: u32, write: &Write) -> Result<(), String> {
        let Write { file, octets, at, is_synced } = write;
        let File::Numbered(file) = **file else { return Err("a write goes to a file of another disk".to_owned()) };
        let octets = octets.octets();
        let block = format::open(octets).map_err(|error| format!("what is written is no block: {error}"))?;
        let sequence = block.header.sequence;
        let index = CHAINS.iter().position(|chain| *chain == block.header.chain).ok_or("a block of no log")?;
        if *is_synced != CHAINS[index].is_synced() {
            return Err(format!("block {sequence} of {:?} is written with synced {is_synced}", CHAINS[index]));
        }
        if self.numbers.insert(number, (index, sequence)).is_some() {
            return Err(format!("number {number} is given to a write while another has it"));
        }
        let log = &mut self.logs[index];
        if log.failed_files.contains(&file) {
            return Err(format!("block {sequence} goes to a segment to which a write has failed"));
        }
        let mut found =
            Block { file, octets: octets.len(), ends: Vec::new(), voids: Vec::new(), begun_at: None, ended: None };
        for located in block.records() {
            match located.map_err(|error| format!("block {sequence}: {error}"))?.record {
                Record::Part { message, .. } | Record::Manifest { message, .. } => {
                    log.parts.entry(message).or_default().push(sequence);
                }
                Record::End { message: name, end } => {
                    let manifest = Manifest::decode(end.manifest).map_err(|error| format!("an end: {error}"))?;
                    let message = manifest.id.sequence();
                    found.ends.push(message);
                    log.ends.insert(message, (sequence, name));
                }
                Record::Void { from, to } => found.voids.push((from, to)),
                _ => {}
            }
        }
        log.blocks.insert(sequence, found);
        self.book.borrow_mut().logs[index].begun += 1;
        self.offered.insert((file, *at), (index, sequence));
        let of_log = self.numbers.values().filter(|(other, _)| *other == index).count();
        // Those that are given up are replaced once.
        if of_log > 2 * limits::GROUPS_UNDER_WAY {
            return Err(format!("{of_log} writes of one log are under way"));
        }
        Ok(())
    }

    fn tell(&mut self, number: u32, result: Result<u32, Errno>) -> Result<(), String> {
        let (index, sequence) =
            self.numbers.remove(&number).ok_or_else(|| format!("the end of write {number}, which nobody began"))?;
        self.untold.remove(&(index, sequence));
        let log = &mut self.logs[index];
        let Some(block) = log.blocks.get(&sequence) else { return Err(format!("no block {sequence}")) };
        if !block.is_written() {
            log.failed_files.insert(block.file);
        }
        match block.ended {
            Some((_, ended)) if ended == result => Ok(()),
            ended => Err(format!("the write of block {sequence} is told as {result:?}, and it is {ended:?}")),
        }
    }

    /// Of which logs the disk has said nothing for so long that they may give writes up.
    fn note_silence(&self) {
        let now = self.clock.now().plus_ms(self.slack_ms);
        for (index, sequence) in self.under_way.values() {
            let begun_at = self.logs[*index].blocks.get(sequence).and_then(|block| block.begun_at);
            if begun_at.is_some_and(|since| now >= since.plus_ms(limits::WRITE_HUNG_MS)) {
                self.book.borrow_mut().logs[*index].was_silent = true;
            }
        }
    }

    /// What should have been said by now. A completion may be late.
    fn late(&self) -> Option<String> {
        if self.has_odd_time {
            return None;
        }
        let now = self.clock.now();
        let is_past = |since: Time, ms: u64| now > since.plus_ms(ms + self.slack_ms);
        for (index, sequence) in &self.untold {
            let ended = self.logs[*index].blocks.get(sequence).and_then(|block| block.ended);
            if ended.is_some_and(|(at, _)| is_past(at, 0)) {
                return Some(format!("the log does not hear that the write of block {sequence} has ended"));
            }
        }
        let book = self.book.borrow();
        let unsaid = self.safe.iter().find(|(message, since)| is_past(**since, 0) && book.is_unsaid(**message));
        if let Some((message, _)) = unsaid {
            return Some(format!("message number {message} is on the disk, and nobody says so"));
        }
        for (index, sequence) in self.under_way.values() {
            let Some(block) = self.logs[*index].blocks.get(sequence) else { continue };
            if block.begun_at.is_some_and(|since| is_past(since, limits::WRITE_HUNG_MS))
                && let Some(message) = block.ends.iter().find(|message| book.is_unsaid(**message))
            {
                return Some(format!("nothing is heard of block {sequence}, and message number {message} waits"));
            }
        }
        None
    }

    fn end(&mut self, now: Time, (index, sequence): (usize, u64), result: Result<u32, Errno>) {
        let log = &mut self.logs[index];
        let Some(block) = log.blocks.get_mut(&sequence) else { return };
        block.ended = Some((now, result));
        self.untold.insert((index, sequence));
        // The shard counts from when it asked, and until it hears.
        let heard_at = now.plus_ms(self.slack_ms);
        let has_lasted = block.begun_at.is_some_and(|since| heard_at >= since.plus_ms(limits::WRITE_HUNG_MS));
        let mut book = self.book.borrow_mut();
        let notes = &mut book.logs[index];
        notes.has_failed |= !block.is_written();
        notes.was_silent |= has_lasted;
        if !block.is_written() {
            return;
        }
        notes.octets += block.octets as u64;
        notes.blocks += 1;
        block.voids.iter().for_each(|(from, to)| log.voids.add(*from, *to));
        // BOUND: the blocks of the log.
        loop {
            let is_void = log.voids.has(log.upto);
            match log.blocks.get(&log.upto) {
                Some(block) if block.is_written() && !is_void => {
                    let waiting = block.ends.iter().filter(|message| book.is_unsaid(**message));
                    self.safe.extend(waiting.map(|message| (*message, now)));
                }
                _ if is_void => {}
                _ => break,
            }
            log.upto += 1;
        }
    }
}

impl Files for Witness {
    fn set_now(&self, now: Time) {
        self.0.borrow_mut().now = now;
    }

    fn begin_write(&self, file: u64, at: u64, octets: &[u8], is_synced: bool) -> Option<u64> {
        let write = {
            let mut seen = self.0.borrow_mut();
            let write = Files::begin_write(&seen.disk, file, at, octets, is_synced)?;
            let now = seen.now;
            if let Some((index, sequence)) = seen.offered.remove(&(file, at)) {
                seen.under_way.insert(write, (index, sequence));
                if let Some(block) = seen.logs[index].blocks.get_mut(&sequence) {
                    block.begun_at = Some(now);
                }
            }
            write
        };
        self.pass();
        Some(write)
    }

    fn end_write(&self, write: u64, result: Result<u32, Errno>) -> Result<u32, Errno> {
        let result = {
            let mut seen = self.0.borrow_mut();
            let result = Files::end_write(&seen.disk, write, result);
            let now = seen.now;
            if let Some(block) = seen.under_way.remove(&write) {
                seen.end(now, block, result);
            }
            result
        };
        self.pass();
        result
    }
}
