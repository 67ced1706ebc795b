//! The blocks of a log between their last record and their commit; and what becomes of them when the disk fails, hangs or is full.

use std::collections::VecDeque;

use crate::limits;
use crate::memory::slab::{Lease, SlabFull};
use crate::mutant::Mutant;
use crate::smtp::reply::Reply;
use crate::spool::format::{ALIGNMENT, End, HEAD_OCTETS, HEADER_OCTETS, Kind, encode_segment, encode_void, put_record};
use crate::spool::scan::Voids;
use crate::spool::steward::{Broken, Lack};
use crate::spool::writer::group::{Ended, Group, Open, State, Touched};
use crate::spool::writer::{Committed, Log, Standing};

/// Why a block failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The disk said so.
    Error,
    /// The disk said nothing.
    Silence,
}

/// Where a block is that was laid out anew.
fn now(moved: &[(u64, u64)], before: u64) -> u64 {
    moved.iter().find(|(from, _)| *from == before).map_or(before, |(_, to)| *to)
}

impl Log {
    /// A place for a block of so many octets; another segment is laid out if need be.
    pub(super) fn lay_out(&mut self, octets: u64) -> Result<u64, SlabFull> {
        match self.at {
            Some(at) if at + octets <= self.options.segment_octets => Ok(at),
            _ => self.open_segment(),
        }
    }

    /// The first block of the next segment. Gives the place behind it.
    fn open_segment(&mut self) -> Result<u64, SlabFull> {
        let base = match self.at {
            Some(_) => self.base + self.options.segment_octets,
            None => self.base,
        };
        let mut payload = Vec::new();
        let routes = self.options.routes.iter().map(String::as_str);
        encode_segment(self.options.segment_octets, base, self.low(), routes, &mut payload);
        let mut body = Vec::new();
        put_record(Kind::Segment, 0, &payload, &mut body);
        // BOUND: joined they are few, however often something failed: what lies between two of them was written.
        let mut joined = Voids::default();
        self.voids.drain(..).for_each(|(from, to)| joined.add(from, to));
        self.voids.extend_from_slice(joined.ranges());
        for (from, to) in &self.voids {
            payload.clear();
            encode_void(*from, *to, &mut payload);
            put_record(Kind::Void, 0, &payload, &mut body);
        }
        let before = (self.base, self.at);
        (self.base, self.at) = (base, Some(0));
        let voids = self.voids.clone();
        if let Err(full) = self.push_whole(0, &body, Vec::new(), Some(voids)) {
            (self.base, self.at) = before;
            return Err(full);
        }
        self.voids.clear();
        Ok(self.at.unwrap_or(0))
    }

    /// Copies a block that is made whole to where it can be written from.
    pub(super) fn append_aligned(&mut self, octets: &[u8]) -> Result<Lease, SlabFull> {
        debug_assert!(octets.len().is_multiple_of(ALIGNMENT), "all that is in this slab is");
        self.whole.append_whole(octets)
    }

    /// Commits what can be: blocks that are durable or void, from the front.
    pub(super) fn commit(&mut self) {
        if Mutant::SpoolAnswersOutOfOrder.is_on() {
            self.groups.make_contiguous().sort_by_key(|group| group.state != State::Durable);
        }
        while let Some(group) = self.groups.front() {
            let is_void = match group.state {
                State::Durable => false,
                State::Void { is_recorded } if is_recorded || Mutant::SpoolForgetsVoid.is_on() => true,
                _ => break,
            };
            let Some(group) = self.groups.pop_front() else { break };
            self.watermark = group.end();
            self.durable_upto = group.sequence + 1;
            self.note_committed(&group);
            if let Some(segment) = &group.segment {
                segment.publish(self.watermark);
            }
            if is_void {
                continue;
            }
            self.counts.commits += 1;
            self.counts.octets += group.octets.octets().len() as u64;
            if group.opens.is_some() && self.failed.is_some_and(|(_, instead)| group.base > instead) {
                // The one before was filled without a failure.
                self.failed = None;
            }
            for ended in group.ends {
                self.commit_message(ended);
            }
        }
    }

    /// A block is needed until one that is committed says that it is durable: where neither was there, recovery would take all that is
    /// behind it for a torn tail.
    fn note_committed(&mut self, group: &Group) {
        // BOUND: blocks that were sealed before one in front of them was committed, which lay in memory then.
        self.unsaid.push_back((group.sequence, group.address));
        self.said_upto = self.said_upto.max(group.durable_upto);
        while self.unsaid.pop_front_if(|(sequence, _)| *sequence < self.said_upto).is_some() {}
    }

    fn commit_message(&mut self, ended: Ended) {
        let Ended { ticket, id, routes, first, place, retain, manifest, content, is_refused, is_spanning, .. } = ended;
        if is_spanning {
            self.forget_first(first);
        }
        if is_refused {
            return;
        }
        self.counts.messages += 1;
        self.answers.push_back((ticket, Ok(id)));
        if let Some(manifest) = manifest {
            self.committed.push_back(Committed { id, routes, first, place, retain, manifest, content });
        }
    }

    /// Blocks that are void are recorded to be.
    pub(super) fn record_voids(&mut self, named: &[(u64, u64)]) {
        for group in &mut self.groups {
            if matches!(group.state, State::Void { .. })
                && named.iter().any(|(from, to)| (*from..=*to).contains(&group.sequence))
            {
                group.state = State::Void { is_recorded: true };
            }
        }
    }

    /// A block could not be written, or nobody knows whether it was.
    pub(super) fn fail_group(&mut self, index: usize, fault: Fault) {
        let base = self.groups[index].base;
        let mut touched = self.void_group(index);
        if self.groups[index].opens.take().is_some() {
            // What stands in a segment that does not say which it is might not be found.
            for behind in index + 1..self.groups.len() {
                let group = &self.groups[behind];
                if group.base == base && group.state != State::Waiting {
                    if group.is_under_way() {
                        self.unheard.push(group.number);
                    }
                    touched.append(&mut self.void_group(behind));
                }
            }
        }
        for touched in touched.into_iter().filter(|_| !Mutant::SpoolKeepsPartOfFailed.is_on()) {
            self.refuse_message(touched.slot, touched.tag, Reply::DeliveryFailed);
        }
        match self.failed {
            // One that was begun after the first had failed.
            Some((_, instead)) if base >= instead => self.fail(fault),
            // What fails at once with it, in the same segment or in the next, is the same fault.
            Some(_) => self.move_on(),
            None => {
                self.failed = Some((base, self.base + self.options.segment_octets));
                self.move_on();
            }
        }
    }

    /// A block counts for nothing: the next segment says so. Gives the messages that have parts in it.
    fn void_group(&mut self, index: usize) -> Vec<Touched> {
        self.counts.failures += 1;
        let group = &mut self.groups[index];
        group.state = State::Void { is_recorded: false };
        self.voids.push((group.sequence, group.sequence));
        // What it said of others is to be said again.
        self.voids.extend(group.opens.iter().flatten());
        if let Some(segment) = group.segment.take() {
            segment.fail();
        }
        let touched = std::mem::take(&mut group.touched);
        self.refuse_ends(index, Reply::DeliveryFailed);
        touched
    }

    fn refuse_ends(&mut self, index: usize, reply: Reply) {
        let mut spanning = Vec::new();
        for ended in &mut self.groups[index].ends {
            if !std::mem::replace(&mut ended.is_refused, true) {
                self.answers.push_back((ended.ticket, Err(reply)));
                self.counts.doubtful += 1;
            }
            (ended.manifest, ended.content) = (None, None);
            if std::mem::take(&mut ended.is_spanning) {
                spanning.push(ended.first);
            }
        }
        spanning.into_iter().for_each(|first| self.forget_first(first));
    }

    /// A message of which a part is lost.
    fn refuse_message(&mut self, slot: u32, tag: u64, reply: Reply) {
        let open = self.open.get(slot as usize).and_then(Option::as_ref);
        if open.is_some_and(|open| open.tag == tag) {
            return self.cut(slot, reply);
        }
        let gathering = self.gathering.iter_mut().flat_map(|gathering| &mut gathering.ends);
        let ends = self.groups.iter_mut().flat_map(|group| &mut group.ends).chain(gathering);
        let Some(ended) = ends.filter(|ended| !ended.is_refused).find(|ended| ended.tag == tag) else { return };
        ended.is_refused = true;
        (ended.manifest, ended.content) = (None, None);
        self.answers.push_back((ended.ticket, Err(reply)));
        self.counts.doubtful += 1;
        self.add_abort(tag);
    }

    /// What is not under way goes to another segment: the one before is not written again.
    fn move_on(&mut self) {
        self.close_block();
        self.segment = None;
        let from = self.groups.iter().position(|group| group.state == State::Waiting).unwrap_or(self.groups.len());
        let mut waiting: VecDeque<Group> = self.groups.drain(from..).collect();
        if let Some(first) = waiting.front() {
            self.sequence = first.sequence;
        }
        self.at = Some(self.options.segment_octets);
        // What the others were to name this one names.
        self.voids.extend(waiting.iter().flat_map(|group| group.opens.iter().flatten()));
        waiting.retain(|group| group.opens.is_none());
        let mut moved = Vec::new();
        let mut is_full = self.open_segment().is_err();
        while !is_full && let Some(group) = waiting.pop_front() {
            if let Err(group) = self.relocate(group, &mut moved) {
                waiting.push_front(*group);
                is_full = true;
            }
        }
        // Of those that are dropped, too: some began in what was moved.
        waiting.iter_mut().flat_map(|group| &mut group.ends).for_each(|ended| ended.first = now(&moved, ended.first));
        self.drop_groups(waiting, Reply::NoMemory);
    }

    /// Lays a block out anew, and notes what became of its address.
    fn relocate(&mut self, mut group: Group, moved: &mut Vec<(u64, u64)>) -> Result<(), Box<Group>> {
        let length = group.octets.octets().len() as u64;
        let Ok(at) = self.lay_out(length) else { return Err(Box::new(group)) };
        let (sequence, address) = (self.sequence, self.base + at);
        moved.push((group.address, address));
        let mut octets = group.octets.octets().to_vec();
        for ended in &group.ends {
            let offset = (ended.place - group.address) as usize + HEAD_OCTETS;
            octets[offset..offset + 8].copy_from_slice(&now(moved, ended.first).to_le_bytes());
            octets[offset + 8..offset + 16].copy_from_slice(&now(moved, ended.retain).to_le_bytes());
        }
        const _: () = assert!(End::FIXED_OCTETS >= 16);
        let length = u32::from_le_bytes(*octets[48..].first_chunk().expect("a header is longer")) as usize;
        let header = self.header(sequence, address).seal(&octets[HEADER_OCTETS..length]);
        octets[..HEADER_OCTETS].copy_from_slice(&header);
        let Ok(octets) = self.append_aligned(&octets) else {
            moved.pop();
            return Err(Box::new(group));
        };
        for ended in &mut group.ends {
            (ended.first, ended.retain) = (now(moved, ended.first), now(moved, ended.retain));
            ended.place = ended.place - group.address + address;
        }
        if let Some(count) = self.firsts.remove(&group.address) {
            self.firsts.insert(address, count);
        }
        for open in self.open.iter_mut().flatten().filter(|open| open.first == Some(group.address)) {
            open.first = Some(address);
        }
        self.at = Some(at + octets.octets().len() as u64);
        let durable_upto = self.durable_upto;
        self.push_group(Group { sequence, address, durable_upto, base: self.base, octets, ..group });
        Ok(())
    }

    /// Blocks that were never written are dropped: their messages are refused.
    fn drop_groups(&mut self, mut dropped: VecDeque<Group>, reply: Reply) {
        let from = self.groups.len();
        let touched: Vec<_> = dropped.iter_mut().flat_map(|group| std::mem::take(&mut group.touched)).collect();
        self.voids.extend(dropped.iter().flat_map(|group| group.opens.iter().flatten()));
        self.groups.append(&mut dropped);
        for index in from..self.groups.len() {
            self.refuse_ends(index, reply);
        }
        self.groups.truncate(from);
        for touched in touched {
            self.refuse_message(touched.slot, touched.tag, reply);
        }
    }

    /// There is no room for another segment, or none can be made: who waits for one is refused, and nothing more is taken.
    pub(super) fn heed_lack(&mut self) {
        if matches!(self.standing, Standing::Failed { .. }) {
            return;
        }
        let reply = match self.supply.lack(self.now_ms) {
            None => {
                self.standing = Standing::Open;
                return;
            }
            Some(Lack::Full) => Reply::InsufficientStorage,
            Some(Lack::Failed | Lack::Hung) => Reply::SpoolFailed,
        };
        self.standing = Standing::Lacking(reply);
        if reply == Reply::InsufficientStorage {
            self.cut_laggards();
        }
        let Some(from) = self.groups.iter().position(|group| group.state == State::Waiting) else { return };
        let base = self.groups[from].base;
        if self.segment_for(base).is_some() {
            return;
        }
        self.close_block();
        let dropped: VecDeque<Group> = self.groups.drain(from..).collect();
        // Nobody has seen these numbers and addresses, so they are given again; the first of these opens the segment that is not there.
        if let Some(first) = dropped.front() {
            (self.sequence, self.base, self.at) = (first.sequence, first.base, None);
        }
        let reply = if reply == Reply::InsufficientStorage { reply } else { Reply::DeliveryFailed };
        self.drop_groups(dropped, reply);
    }

    /// Messages that began long ago, and have little to show for it, keep much of the log from being used again: without room they end.
    fn cut_laggards(&mut self) {
        let most = limits::LAG_SEGMENTS * self.options.segment_octets;
        let lags = |open: &Open| open.first.is_some_and(|first| self.base.saturating_sub(first) > most + open.octets);
        let slots: Vec<u32> =
            (0..).zip(&self.open).filter(|(_, open)| open.as_ref().is_some_and(lags)).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.cut(slot, Reply::InsufficientStorage);
        }
    }

    /// All that waits is refused, and nothing is taken any more.
    fn fail(&mut self, fault: Fault) {
        self.close_block();
        let reply = Reply::DeliveryFailed;
        self.standing = Standing::Failed { is_hung: fault == Fault::Silence };
        self.supply.tell(Some(if fault == Fault::Silence { Broken::Hung } else { Broken::Failed }));
        self.segment = None;
        for index in 0..self.groups.len() {
            self.refuse_ends(index, reply);
        }
        for group in std::mem::take(&mut self.groups) {
            if group.is_under_way() {
                self.unheard.push(group.number);
            }
            self.voids.push((group.sequence, group.sequence));
            self.voids.extend(group.opens.iter().flatten());
        }
        self.at = Some(self.options.segment_octets);
        for open in self.open.iter_mut().flatten() {
            (open.content, open.first, open.is_spanning) = (None, None, false);
            open.refusal.get_or_insert(reply);
        }
        self.firsts.clear();
    }

    /// Something was heard of a write that was given up: if that was the last of them the disk is alive again.
    pub(super) fn take_heart(&mut self) {
        if self.standing == (Standing::Failed { is_hung: true }) && self.unheard.is_empty() {
            self.standing = Standing::Open;
            self.supply.tell(None);
        }
    }

    /// Whether something is void, and no block that is on its way says so.
    pub(super) fn is_unrecorded(&self) -> bool {
        let is_unrecorded = |group: &Group| group.state == State::Void { is_recorded: false };
        let is_opening = |group: &Group| group.opens.is_some() && group.state != State::Durable;
        !self.voids.is_empty() && self.groups.iter().any(is_unrecorded) && !self.groups.iter().any(is_opening)
    }

    /// What is void is recorded to be, though nobody sends anything.
    pub(super) fn record_failure(&mut self) {
        if self.is_unrecorded() {
            self.close_block();
            self.at = Some(self.options.segment_octets);
            // Without memory for it, in another turn.
            let _ = self.open_segment();
        }
    }

    /// Writes of which nothing was heard for too long are given up.
    pub(super) fn give_up_hung(&mut self) {
        let now_ms = self.now_ms;
        let is_hung = |group: &Group| match group.state {
            State::UnderWay { since_ms } => now_ms >= since_ms + limits::WRITE_HUNG_MS,
            _ => false,
        };
        // BOUND: as many as may be under way.
        while let Some(index) = self.groups.iter().position(is_hung) {
            self.counts.hung += 1;
            self.unheard.push(self.groups[index].number);
            self.fail_group(index, Fault::Silence);
            self.commit();
            if matches!(self.standing, Standing::Failed { .. }) {
                break;
            }
        }
    }
}
