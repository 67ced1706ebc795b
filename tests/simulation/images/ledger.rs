//! What was offered to a log and what was said of it, kept outside; and what must be found of it when the power comes back.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::OnceLock;

use crate::mail::id::MessageId;
use crate::simulation::chance::Chance;
use crate::simulation::disk::SimDisk;
use crate::spool::format::Chain;
use crate::spool::recovery::{Recovered, Wanted, inspect, recover};
use crate::spool::scan::assembly::{Assembler, Event, Message};
use crate::spool::scan::content::ContentReader;
use crate::spool::scan::{Found, LogFiles, LogScan, Owner, Voids};
use crate::spool::writer::Committed;

pub const NODE: u32 = 7;
pub const OWNER: Owner = Owner { chain: Chain::Durable, shard: 3, node: NODE };
pub const DIRECTORY: &str = "/spool/durable-0003";

/// How far a message is, as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not ended, or refused when it was: there is no such message.
    Nothing,
    /// Ended, and nothing was said of it.
    Unanswered,
    Accepted,
    Refused,
}

/// A message, as its sender sent it. Contents are pieces of one long text, so that nothing is copied to know them.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub content: (usize, usize),
    pub manifest: usize,
    pub state: State,
    /// The address of its end, once it is known.
    pub place: Option<u64>,
    /// A recovery has shown it and made sure that it stays: from then on it is there like one that was acknowledged.
    pub is_shown: bool,
}

/// What readers have of the log, and keep though the power goes: messages that end before the address are dealt with, and others
/// begin at `from` or behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    pub address: u64,
    pub from: u64,
}

/// A message that was committed, and that no reader has dealt with.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub place: u64,
    pub retain: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub images: u64,
    /// Messages found, in all images.
    pub found: u64,
    /// Of those, such that were refused or not answered.
    pub unasked: u64,
    /// Images in which a bit was turned, and such of which it was told that something is lost.
    pub flipped: u64,
    pub hit: u64,
}

impl Tally {
    pub fn plus(self, other: Self) -> Self {
        Self {
            images: self.images + other.images,
            found: self.found + other.found,
            unasked: self.unasked + other.unasked,
            flipped: self.flipped + other.flipped,
            hit: self.hit + other.hit,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    text: &'static [u8],
    pub entries: Vec<Entry>,
    pub cursor: Cursor,
    pub waiting: VecDeque<Waiting>,
    /// Sequences of blocks whose writes failed before the process was killed: they may have been there, and nothing can make them last.
    pub doubtful: Voids,
    pub tally: Tally,
}

/// What an image has: messages by their number, with their places.
pub type Shown = BTreeMap<usize, Message>;

impl Ledger {
    pub fn new() -> Self {
        static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
        let mut chance = Chance::new(1);
        let text = TEXT.get_or_init(|| (0..1 << 18).flat_map(|_| chance.draw().to_le_bytes()).collect());
        let (cursor, tally) = (Cursor::default(), Tally::default());
        let (waiting, doubtful) = (VecDeque::new(), Voids::default());
        Self { text, entries: Vec::new(), cursor, waiting, doubtful, tally }
    }

    /// The most octets that a content, or a manifest beside its number, can have.
    pub fn most(&self) -> usize {
        self.text.len() / 2
    }

    /// Another message.
    pub fn begin(&mut self, octets: usize) -> usize {
        let number = self.entries.len();
        let from = number.wrapping_mul(65_537 * 3) % (self.text.len() - self.most());
        let (state, place) = (State::Nothing, None);
        self.entries.push(Entry { content: (from, octets), manifest: 0, state, place, is_shown: false });
        number
    }

    pub fn content(&self, number: usize) -> &[u8] {
        let (from, octets) = self.entries[number].content;
        &self.text[from..from + octets]
    }

    pub fn manifest(&self, number: usize) -> Vec<u8> {
        let (from, _) = self.entries[number].content;
        [&(number as u64).to_le_bytes()[..], &self.text[from / 8..from / 8 + self.entries[number].manifest]].concat()
    }

    pub fn id(number: usize) -> MessageId {
        MessageId::new(NODE, 1, OWNER.shard, number as u64 + 1)
    }

    pub fn committed(&mut self, committed: &Committed) -> Result<(), String> {
        let number = committed.id.sequence() as usize - 1;
        let entry = &mut self.entries[number];
        if entry.place.replace(committed.place).is_some() {
            return Err(format!("message {number} was committed twice"));
        }
        self.waiting.push_back(Waiting { place: committed.place, retain: committed.retain });
        Ok(())
    }

    pub fn answered(&mut self, number: usize, state: State) -> Result<(), String> {
        match std::mem::replace(&mut self.entries[number].state, state) {
            State::Unanswered => Ok(()),
            before => Err(format!("message {number} was answered {state:?}, and is {before:?}")),
        }
    }

    /// A reader deals with some that are next; `low` is the least that those which are not committed need.
    pub fn deal(&mut self, some: usize, low: u64) {
        for dealt in self.waiting.drain(..some.min(self.waiting.len())) {
            self.cursor.address = dealt.place + 1;
        }
        let from = self.waiting.front().map_or(low, |first| first.retain);
        self.cursor.from = self.cursor.from.max(from.min(low));
        self.cursor.address = self.cursor.address.max(self.cursor.from);
    }

    /// Recovers an image, and holds what is there against what was said.
    pub fn check(&mut self, disk: &SimDisk, epoch: u32, entropy: u32) -> Result<(Recovered, Shown), String> {
        let wanted = self.wanted(epoch, entropy);
        self.tally.images += 1;
        let directory = Path::new(DIRECTORY);
        let said = |error| format!("recovery: {error}");
        let recovered = recover(disk, directory, &wanted, &mut |_| ()).map_err(said)?;
        if let Some(corruption) = recovered.corruption.iter().find(|one| !self.is_doubtful(one.sequences)) {
            return Err(format!("recovery finds corruption where there is none: {corruption:?}"));
        }
        let shown = self.read(&recovered, false)?;
        let again = inspect(disk, directory, &wanted, &mut |_| ()).map_err(|error| format!("again: {error}"))?;
        let sum = |one: &Recovered| {
            let ends: Vec<_> = one.in_use.iter().map(|found| (found.file.number, found.file.base, found.end)).collect();
            let goes_on = (one.next_sequence, one.next_base, one.new_voids.clone(), one.voids.clone());
            (ends, goes_on, one.spare.clone(), one.durable_upto)
        };
        if sum(&recovered) != sum(&again) {
            return Err(format!("recovered again it is {:?}, and was {:?}", sum(&again), sum(&recovered)));
        }
        self.judge(&shown).map_err(|why| format!("{why}; {:?}, cursor {:?}", sum(&recovered), self.cursor))?;
        Ok((recovered, shown))
    }

    /// Nobody knows whether these blocks were ever written: a write failed.
    fn is_doubtful(&self, (from, to): (u64, u64)) -> bool {
        self.doubtful.without(from, to).is_empty()
    }

    /// A bit turns in an image in which this was found: what lies there may be lost, which is then told, and nothing else.
    pub fn check_flipped(&mut self, disk: &SimDisk, epoch: u32, (shown, address): (&Shown, u64)) -> Result<(), String> {
        self.tally.flipped += 1;
        let wanted = self.wanted(epoch, 0);
        let recovered = inspect(disk, Path::new(DIRECTORY), &wanted, &mut |_| ()).map_err(|error| error.to_string())?;
        let found = self.read(&recovered, true)?;
        let is_owed = |number: usize| self.entries[number].state == State::Accepted || self.entries[number].is_shown;
        for (number, message) in shown.iter().filter(|(number, _)| is_owed(**number) && !found.contains_key(*number)) {
            if !(message.first..message.behind).contains(&address) {
                return Err(format!("a bit that turned at {address} takes message {number} with it: {message:?}"));
            }
            if recovered.corruption.is_empty() {
                return Err(format!("message {number} is lost to a bit at {address}, and nobody says so: {message:?}"));
            }
        }
        let invented = found.keys().find(|number| self.entries[**number].state == State::Nothing);
        self.tally.hit += u64::from(!recovered.corruption.is_empty());
        if let Some(number) = invented {
            return Err(format!("a bit that turned makes message {number}"));
        }
        // A start puts it right.
        let mended = recover(disk, Path::new(DIRECTORY), &wanted, &mut |_| ()).map_err(|error| error.to_string())?;
        let found = self.read(&mended, true)?;
        let is_owed = |number: usize| self.entries[number].state == State::Accepted || self.entries[number].is_shown;
        if let Some(number) = shown.keys().find(|number| is_owed(**number) && !found.contains_key(*number)) {
            return Err(format!("message {number} is lost to a bit at {address}, which can be put right"));
        }
        // Something else may be missing since a write failed, and stay so.
        let told = |found: &Recovered| found.corruption.iter().filter(|one| !self.is_doubtful(one.sequences)).count();
        match (told(&recovered), mended.mended.len(), told(&mended)) {
            (0, 0, 0) | (1, 1, 0) => Ok(()),
            numbers => Err(format!("a bit at {address}: {numbers:?} told of, put right, and left")),
        }
    }

    fn wanted(&self, epoch: u32, entropy: u32) -> Wanted<'static> {
        Wanted {
            owner: OWNER,
            epoch: Some(epoch),
            least_base: self.cursor.address,
            needed_from: self.cursor.from,
            entropy,
            others: &[".preparing"],
        }
    }

    fn judge(&mut self, shown: &Shown) -> Result<(), String> {
        for (number, entry) in self.entries.iter().enumerate() {
            let is_there = shown.contains_key(&number);
            let is_dealt_with = entry.place.is_some_and(|place| place < self.cursor.address);
            let is_owed = entry.state == State::Accepted || entry.is_shown;
            if is_owed && !is_dealt_with && !is_there {
                return Err(format!("message {number} is lost: {entry:?}"));
            }
            if is_there && entry.state == State::Nothing {
                return Err(format!("message {number} was not sent to its end, and is there: {entry:?}"));
            }
            if let (Some(place), Some(message)) = (entry.place, shown.get(&number))
                && message.place != place
            {
                return Err(format!("message {number} is at {}, and was committed at {place}", message.place));
            }
            self.tally.found += u64::from(is_there);
            self.tally.unasked += u64::from(is_there && entry.state != State::Accepted);
        }
        Ok(())
    }

    fn read(&self, recovered: &Recovered, is_damaged: bool) -> Result<Shown, String> {
        let files = recovered.files();
        let mut scan = LogScan::new(&files, OWNER, self.cursor.from, u64::MAX);
        let mut assembler = Assembler::new(self.cursor.from);
        let mut messages = Vec::new();
        let mut wrong = None;
        let mut each = |event: Event<'_>| match event {
            Event::Message(message, manifest) => messages.push((message, manifest.into_owned())),
            Event::Unfinished(_) | Event::Aborted(_) => {}
            // What it had was never acknowledged, or it is seen to be lost.
            Event::Damaged(..) if is_damaged || self.doubtful != Voids::default() => {}
            Event::Damaged(..) | Event::Strange(..) => wrong = Some(format!("{event:?}")),
        };
        let mut last = None;
        while let Some(found) = scan.next_found().map_err(|error| error.to_string())? {
            let Found::Block(block) = found else { continue };
            let sequence = block.header.sequence;
            // Where it begins to be read something may be missing, too.
            let before = last.replace(sequence).unwrap_or_else(|| {
                let before = sequence.saturating_sub(1);
                before.saturating_sub(u64::from(recovered.voids.has(before)))
            });
            if before + 1 < sequence {
                // What is missing was named, or recovery would have said so.
                let missing = recovered.voids.without(before + 1, sequence - 1);
                if !is_damaged && missing.iter().any(|range| !self.is_doubtful(*range)) {
                    return Err(format!("blocks {missing:?} are missing, and nobody says so"));
                }
                assembler.void(block.header.address);
            }
            match recovered.voids.has(sequence) {
                true => assembler.void(block.header.address),
                false => assembler.block(&block, &mut each),
            }
        }
        assembler.finish(&mut each);
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        self.contents(&files, messages)
    }

    fn contents(&self, files: &LogFiles, messages: Vec<(Message, Vec<u8>)>) -> Result<Shown, String> {
        let mut reader = ContentReader::new().map_err(|error| error.to_string())?;
        let mut shown = Shown::new();
        for (message, manifest) in messages {
            if message.place < self.cursor.address {
                continue;
            }
            let number = manifest.first_chunk().map_or(usize::MAX, |number| u64::from_le_bytes(*number) as usize);
            if number >= self.entries.len() {
                return Err(format!("a message that nobody sent: {message:?}"));
            }
            let mut content = Vec::new();
            reader
                .read(files, OWNER, &message, |piece| content.extend_from_slice(piece))
                .map_err(|error| format!("message {number}: {error}"))?;
            if content != self.content(number) || manifest != self.manifest(number) {
                return Err(format!("message {number} is altered: {message:?}"));
            }
            if shown.insert(number, message).is_some() {
                return Err(format!("message {number} is there twice"));
            }
        }
        Ok(shown)
    }
}
