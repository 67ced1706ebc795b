//! The shard's side of a log: content becomes records in blocks, blocks become writes, and a message is committed when its end is
//! durable with all that was written before it (DESIGN decisions 13 and 14).
//!
//! *Invariants*: a message is committed only when the block that it ends in, and every block before that, is durable or recorded as
//! void; a block that failed is void, and so is each message that has a part in it; its segment is never written again, and no
//! write is tried twice. Each octet of content is copied once. Nothing blocks.
//!
//! *Why this way*: while blocks are under way the next one gathers what comes, so a group is as large as the disk is slow, and one
//! synced write pays for all of it. *Does not* know files, rings, clients, or who reads the log.

mod gathering;
mod group;
mod message;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustix::io::Errno;

use crate::handoff::intake::LogCounts;
use crate::limits;
use crate::mail::id::MessageId;
use crate::memory::slab::{Lease, Leases, Slab, SlabFull};
use crate::memory::write::Write;
use crate::mutant::Mutant;
use crate::policy::decision::Ticket;
use crate::smtp::reply::Reply;
use crate::spool::format::{ALIGNMENT, Chain, HEADER_OCTETS, Header};
use crate::spool::segment::Segment;
use crate::spool::steward::Supply;
use crate::spool::writer::gathering::Gathering;
use crate::spool::writer::group::{Group, Open, Routes, State};
use crate::spool::writer::queue::Fault;

/// Numbers of writes are below this, and used again.
pub const WRITE_NUMBERS: u32 = 1 << 30;

/// What a log is.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// What is promised of it.
    pub chain: Chain,
    /// Whose.
    pub shard: u16,
    /// The random number of the data directory.
    pub node: u32,
    /// The count of starts on it.
    pub epoch: u32,
    /// The names of the sinks, by route.
    pub routes: Arc<[String]>,
    /// Octets of each of its segments.
    pub segment_octets: u64,
}

/// Where a log goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The number of its next block.
    pub sequence: u64,
    /// The base of its next segment: above every address that was used.
    pub base: u64,
    /// Blocks of earlier epochs that count for nothing.
    pub voids: Vec<(u64, u64)>,
}

/// A message that is committed, for those who read it.
#[derive(Debug)]
pub struct Committed {
    /// Its name.
    pub id: MessageId,
    /// Of its recipients.
    pub routes: Routes,
    /// Where it begins.
    pub first: u64,
    /// The address of its end.
    pub place: u64,
    /// From there on all must be kept for who has not dealt with it.
    pub retain: u64,
    /// What is known of it.
    pub manifest: Lease,
    /// `None` when it is only on disk.
    pub content: Option<Leases>,
}

/// Why a log takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    /// There is no segment to come, for now.
    Lacking(Reply),
    /// It failed twice.
    Failed {
        /// Because nothing was heard of its writes.
        is_hung: bool,
    },
}

/// See the module. One for each promise of a shard.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    supply: Supply,
    slab: Slab,
    /// For blocks that are made whole.
    whole: Slab,
    /// By the slots of their connections.
    open: Vec<Option<Open>>,
    next_tag: u64,
    gathering: Option<Gathering>,
    /// Blocks that records were added to.
    begun: u64,
    /// In the order of the log.
    groups: VecDeque<Group>,
    next_number: u32,
    /// Of the next block.
    sequence: u64,
    /// Of the segment that blocks are laid out for.
    base: u64,
    /// The next block's place in it; none until it is opened.
    at: Option<u64>,
    /// What is being written to, with its base.
    segment: Option<(u64, Arc<Segment>)>,
    /// Of a log that nobody reads: segments to be used again.
    spent: VecDeque<Arc<Segment>>,
    /// Blocks that the next segment is to name.
    voids: Vec<(u64, u64)>,
    /// All blocks before it are durable or void.
    durable_upto: u64,
    /// The same, as far as a block that is committed says it; and the blocks that are committed and of which none says it, by sequence and
    /// address.
    said_upto: u64,
    unsaid: VecDeque<(u64, u64)>,
    /// Addresses of blocks with the first parts of messages that span blocks, and how many begin in each.
    firsts: BTreeMap<u64, u32>,
    standing: Standing,
    /// The base of the segment that failed, until one that took its place was filled; and the base from which on segments do.
    failed: Option<(u64, u64)>,
    /// Writes of which nothing was heard in time.
    unheard: Vec<u32>,
    committed: VecDeque<Committed>,
    answers: VecDeque<(Ticket, Result<MessageId, Reply>)>,
    watermark: u64,
    now_ms: u64,
    counts: LogCounts,
}

impl Log {
    /// With memory that counts together with this slab's.
    pub fn new(options: LogOptions, start: Start, supply: Supply, slab: &Slab) -> Self {
        let Start { sequence, base, voids } = start;
        // What is void is so when the block that says it is durable: until then no block claims it, which may be there without that.
        let first_void = voids.iter().map(|(from, _)| *from).filter(|_| !Mutant::SpoolClaimsVoid.is_on());
        let durable_upto = first_void.fold(sequence, u64::min);
        Self {
            options,
            supply,
            slab: slab.sibling(),
            whole: slab.sibling(),
            open: Vec::new(),
            next_tag: 0,
            gathering: None,
            begun: 0,
            groups: VecDeque::new(),
            next_number: 0,
            sequence,
            base,
            at: None,
            segment: None,
            spent: VecDeque::new(),
            voids,
            durable_upto,
            said_upto: durable_upto,
            unsaid: VecDeque::new(),
            firsts: BTreeMap::new(),
            standing: Standing::Open,
            failed: None,
            unheard: Vec::new(),
            committed: VecDeque::new(),
            answers: VecDeque::new(),
            watermark: base,
            now_ms: 0,
            counts: LogCounts::default(),
        }
    }

    /// Whether somebody reads what it keeps.
    fn is_read(&self) -> bool {
        self.options.chain != Chain::Blackhole
    }

    /// Why no mail is taken for now, if there is a reason.
    pub fn refuses(&self) -> Option<Reply> {
        match self.standing {
            Standing::Open => None,
            Standing::Lacking(reply) => Some(reply),
            Standing::Failed { .. } => Some(Reply::SpoolFailed),
        }
    }

    /// What was committed since it was asked last, in the order of the log.
    pub fn take_committed(&mut self) -> Option<Committed> {
        self.committed.pop_front()
    }

    /// What is to be said of a message that [`Log::end`] took.
    pub fn take_answer(&mut self) -> Option<(Ticket, Result<MessageId, Reply>)> {
        self.answers.pop_front()
    }

    /// Blocks that are written, or will be, and not committed.
    pub fn writes(&self) -> u64 {
        self.groups.len() as u64
    }

    /// Whether answers wait to be taken.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The address behind the last block that is committed; and the lowest at which a message begins that is not.
    pub fn published(&self) -> (u64, u64) {
        (self.watermark, self.low())
    }

    /// What lies before that address it does not need: where a message begins that is not committed, or a block that none says to be
    /// durable.
    pub fn needed_from(&self) -> u64 {
        self.unsaid.front().map_or(u64::MAX, |(_, address)| *address).min(self.low())
    }

    /// What it did.
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    fn low(&self) -> u64 {
        let next = match (&self.groups.front(), &self.gathering) {
            (Some(group), _) => group.address,
            (None, Some(gathering)) => gathering.address,
            (None, None) => self.watermark,
        };
        self.firsts.keys().next().map_or(next, |first| next.min(*first))
    }

    /// The turn is over, at this time: what was collected goes on its way.
    pub fn hand_on(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.give_up_hung();
        self.heed_lack();
        self.record_failure();
        let is_short = self.slab.octets() * 100 >= self.slab.octets_most() * limits::LOG_SHORT_PERCENT;
        if is_short {
            // What is on disk, or will be, need not be in memory, too.
            self.open.iter_mut().flatten().for_each(|open| open.content = None);
        }
        let (mut waiting, mut under_way) = (0, 0);
        for group in &self.groups {
            waiting += usize::from(group.state == State::Waiting && group.opens.is_none());
            under_way += usize::from(group.is_under_way());
        }
        if let Some(gathering) = &self.gathering {
            // COST: while a block is under way others wait for a large one, so that the disk is asked seldom; when none is, nobody
            // waits for company.
            let is_awaited = !gathering.ends.is_empty();
            let is_large = gathering.octets(&self.slab) >= limits::GROUP_OCTETS;
            let may_go = waiting == 0 && under_way < limits::GROUPS_UNDER_WAY;
            if may_go && (is_short || is_awaited && (under_way == 0 || is_large)) {
                self.close_block();
            }
        }
    }

    /// When something is to be done that nothing else brings about.
    pub fn next_time_ms(&self) -> Option<u64> {
        let since = |group: &Group| match group.state {
            State::UnderWay { since_ms } => Some(since_ms + limits::WRITE_HUNG_MS),
            _ => None,
        };
        let is_waiting = self.groups.iter().any(|group| group.state == State::Waiting);
        // A segment may come, or memory to open one with.
        let is_looking = is_waiting && self.segment.is_none() || self.supply.is_waited_for() || self.is_unrecorded();
        let look = is_looking.then_some(self.now_ms + limits::SEGMENT_LOOK_MS);
        self.groups.iter().filter_map(since).chain(look).min()
    }

    /// A write that is to be started, and its number.
    pub fn write(&mut self) -> Option<(u32, Write)> {
        let mut under_way = 0;
        let mut next = None;
        for (index, group) in self.groups.iter().enumerate() {
            match group.state {
                State::Waiting => {
                    next = Some(index);
                    break;
                }
                State::UnderWay { .. } => under_way += 1,
                _ => {}
            }
        }
        let index = next.filter(|_| under_way < limits::GROUPS_UNDER_WAY)?;
        let base = self.groups[index].base;
        let segment = self.segment_for(base)?;
        let group = &mut self.groups[index];
        group.state = State::UnderWay { since_ms: self.now_ms };
        group.segment = Some(Arc::clone(&segment));
        let write = Write {
            file: Arc::clone(segment.file()),
            octets: group.octets.share(),
            at: group.address - base,
            is_synced: self.options.chain.is_synced(),
        };
        let number = group.number;
        if Mutant::SpoolAnswersBeforeDurable.is_on() {
            for ended in group.ends.iter_mut().filter(|ended| !ended.is_refused) {
                self.answers.push_back((ended.ticket, Ok(ended.id)));
            }
        }
        Some((number, write))
    }

    /// The segment with this base, which is opened if it is not.
    fn segment_for(&mut self, base: u64) -> Option<Arc<Segment>> {
        if let Some((open, segment)) = &self.segment
            && *open == base
        {
            return Some(Arc::clone(segment));
        }
        let in_use = |segment: &Arc<Segment>| {
            let is_it = |group: &Group| group.segment.as_ref().is_some_and(|other| Arc::ptr_eq(other, segment));
            self.groups.iter().any(is_it)
        };
        // One may have failed since it was left: a write to it was under way then.
        self.spent.retain(|segment| !segment.has_failed());
        let spent = self.spent.front().filter(|segment| !in_use(segment)).is_some();
        let next = if spent { self.spent.pop_front() } else { self.supply.take(self.now_ms) };
        let Some(next) = next else {
            self.counts.starved += 1;
            return None;
        };
        next.begin(base);
        if let Some((_, before)) = self.segment.replace((base, Arc::clone(&next)))
            && !self.is_read()
            && !before.has_failed()
        {
            self.spent.push_back(before);
        }
        Some(next)
    }

    /// The write of this number has come to its end.
    pub fn written(&mut self, number: u32, result: Result<u32, Errno>) {
        if let Some(unheard) = self.unheard.iter().position(|unheard| *unheard == number) {
            self.unheard.swap_remove(unheard);
            self.take_heart();
            return;
        }
        let Some(index) = self.groups.iter().position(|group| group.number == number && group.is_under_way()) else {
            return;
        };
        let group = &mut self.groups[index];
        if Mutant::SpoolRetries.is_on() && result.is_err() {
            group.state = State::Waiting;
            return;
        }
        let is_whole = result == Ok(group.octets.octets().len() as u32);
        if is_whole || result.is_ok() && Mutant::SpoolTrustsShortWrite.is_on() {
            group.state = State::Durable;
            // What it names as void is so for good.
            if let Some(named) = group.opens.clone() {
                self.record_voids(&named);
            }
        } else {
            self.fail_group(index, Fault::Error);
        }
        self.commit();
    }

    /// A block that is not yet closed is closed: nothing more is added to it.
    fn close_block(&mut self) {
        let Some(mut gathering) = self.gathering.take() else { return };
        gathering.close_part(&mut self.slab);
        let Gathering { sequence, address, base, start, header, ends, touched, .. } = gathering;
        let sealed = self.header(sequence, address).seal(&self.slab.octets_from(start)[HEADER_OCTETS..]);
        self.slab.fill(header, &sealed);
        let octets = self.slab.written() - start;
        self.slab.pad(octets.next_multiple_of(ALIGNMENT) - octets);
        let octets = self.slab.lease_from(start);
        for touched in &touched {
            if let Some(open) = self.open.get_mut(touched.slot as usize).and_then(Option::as_mut)
                && open.tag == touched.tag
                && open.first == Some(address)
            {
                open.is_spanning = true;
                *self.firsts.entry(address).or_default() += 1;
            }
        }
        self.at = Some(address - base + octets.octets().len() as u64);
        self.push_group(Group {
            number: 0,
            sequence,
            address,
            durable_upto: self.durable_upto,
            base,
            octets,
            ends,
            touched,
            opens: None,
            state: State::Waiting,
            segment: None,
        });
    }

    fn push_group(&mut self, mut group: Group) {
        group.number = self.next_number;
        self.next_number = (self.next_number + 1) % WRITE_NUMBERS;
        self.sequence = group.sequence + 1;
        self.groups.push_back(group);
    }

    fn header(&self, sequence: u64, address: u64) -> Header {
        let LogOptions { chain, shard, node, epoch, .. } = self.options;
        Header { chain, shard, node, epoch, sequence, address, durable_upto: self.durable_upto }
    }

    /// A block that is gathering, with room for a payload of so many octets; another is begun if need be.
    fn block(&mut self, octets: usize) -> Result<&mut Gathering, SlabFull> {
        let has_room = |gathering: &Gathering| gathering.room(&self.slab).is_some_and(|room| room >= octets);
        if !self.gathering.as_ref().is_some_and(has_room) {
            self.close_block();
            self.begin_block()?;
        }
        Ok(self.gathering.as_mut().expect("it was just begun"))
    }

    fn begin_block(&mut self) -> Result<(), SlabFull> {
        if self.slab.room() < limits::BLOCK_LEAST_OCTETS {
            self.slab.turn_page()?;
        }
        let at = self.lay_out(limits::BLOCK_LEAST_OCTETS as u64)?;
        let left = usize::try_from(self.options.segment_octets - at).unwrap_or(usize::MAX);
        let place = (self.sequence, self.base + at, self.base);
        self.begun += 1;
        self.gathering = Some(Gathering::new(&mut self.slab, HEADER_OCTETS, left, self.begun, place));
        Ok(())
    }
}
