//! What is to be done for a log, of what is known about it. Pure.

#[cfg(test)]
mod tests;

use crate::limits;
use crate::spool::steward::supply::Lack;

/// A segment, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentView {
    pub(super) number: u32,
    pub(super) octets: u64,
    /// In use, from there on.
    pub(super) base: Option<u64>,
    pub(super) end: u64,
    pub(super) has_failed: bool,
    pub(super) is_past: bool,
    /// Its file is about to go.
    pub(super) is_going: bool,
    /// When it was first seen that nobody writes it any more.
    pub(super) left_ms: Option<u64>,
}

/// A log, as it is now.
#[derive(Clone, Debug)]
pub(super) struct LogView {
    pub(super) segments: Vec<SegmentView>,
    /// Segments on the shelf, and how many have room there.
    pub(super) ready: usize,
    pub(super) ready_most: usize,
    /// So many are wanted there.
    pub(super) wanted: usize,
    /// So many of those there were not needed for a while.
    pub(super) surplus: usize,
    /// Everything from this address on is needed by somebody.
    pub(super) needed_from: u64,
    /// A shard writes it.
    pub(super) is_written_on: bool,
    /// Its shard uses again what it has taken.
    pub(super) is_recycled_by_shard: bool,
    pub(super) is_preparing: bool,
    /// What went wrong last, and when it is to be tried again.
    pub(super) trouble: Option<(Lack, u64)>,
    /// Of a new segment.
    pub(super) segment_octets: u64,
    pub(super) retain_ms: u64,
}

/// The disk, as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskView {
    /// `None`: it does not say.
    pub(super) free: Option<u64>,
    pub(super) reserve: u64,
    /// Octets that segments take which are being made, as far as `free` may not know of it.
    pub(super) claimed: u64,
    /// Octets of files that are about to go.
    pub(super) going: u64,
    /// Octets that new segments of all logs may have.
    pub(super) allowed: u64,
    /// Some log has no segment ready, and there is no room to make one.
    pub(super) is_contended: bool,
    /// It was too full when it was looked at before.
    pub(super) was_short: bool,
}

impl DiskView {
    /// Whether it is too full. It has to have more room than the least before it is not any more, so that it does not go back and forth
    /// with each file that somebody writes and removes.
    pub(super) fn is_short(&self) -> bool {
        self.missing() > 0
    }

    /// Octets that it would have to have more, not to be too full.
    fn missing(&self) -> u64 {
        let slack = if self.was_short { self.reserve / limits::RESERVE_SLACK_PART } else { 0 };
        self.free.map_or(0, |free| self.reserve.saturating_add(slack).saturating_sub(free))
    }

    /// Whether a new segment has room.
    fn has_room(&self, octets: u64) -> bool {
        octets <= self.allowed
            && !self.is_short()
            && self.free.is_some_and(|free| free.saturating_sub(self.claimed) >= self.reserve.saturating_add(octets))
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nobody writes it any more, as is seen for the first time.
    Note(u32),
    /// It is free, and goes back to the shelf.
    Recycle(u32),
    /// It is free, and its file goes.
    Remove(u32),
    /// It is free although its time is not over: mail has no room elsewhere.
    GiveUp(u32),
    /// One of those on the shelf goes, with its file.
    Shrink,
    /// One with this number is made.
    Prepare(u32),
}

/// What is to be done for a log, and why none comes.
pub(super) fn decide(log: &LogView, disk: &DiskView, now_ms: u64) -> (Vec<Action>, Option<Lack>) {
    let mut actions = Vec::new();
    let mut ready = log.ready;
    let may_try = log.trouble.is_none_or(|(_, again_ms)| now_ms >= again_ms);
    // What is used again first is what was written first: a crash then leaves of what is free the end, without a gap, and nobody who is
    // new to the log, or whose cursor is lost, takes one for damage.
    let mut in_use: Vec<(u64, &SegmentView)> =
        log.segments.iter().filter_map(|segment| Some((segment.base?, segment))).collect();
    in_use.sort_by_key(|(base, _)| *base);
    let mut lacking = lacking(log, disk);
    for (base, segment) in in_use {
        if !is_left(log, segment, base) {
            continue;
        }
        let left_ms = segment.left_ms.unwrap_or_else(|| {
            actions.push(Action::Note(segment.number));
            now_ms
        });
        if behind(log, segment, base) > log.needed_from {
            continue;
        }
        let is_due = now_ms.saturating_sub(left_ms) >= log.retain_ms;
        if (is_due || lacking > 0) && free(log, segment, may_try, &mut ready, &mut actions) {
            lacking = lacking.saturating_sub(segment.octets);
            if !is_due {
                actions.push(Action::GiveUp(segment.number));
            }
        }
    }
    let surplus = match (disk.is_short(), disk.is_contended) {
        (true, _) => ready.saturating_sub(log.wanted),
        // What lies idle for one log is not to cost another its mail.
        (_, true) => ready.saturating_sub(log.wanted.min(limits::SEGMENTS_READY)),
        _ => log.surplus.min(ready.saturating_sub(log.wanted)),
    };
    if may_try {
        actions.extend(std::iter::repeat_n(Action::Shrink, surplus));
        ready -= surplus;
    }
    let has_room = disk.has_room(log.segment_octets);
    let may_have_more = !disk.is_contended || ready < limits::SEGMENTS_READY;
    if ready < log.wanted && !log.is_preparing && has_room && may_have_more && may_try {
        actions.push(Action::Prepare(unused_number(log)));
    }
    (actions, lack(log, disk, ready, has_room))
}

/// Octets of segments that are to be free, even before their time is over, so that mail is not refused: what was delivered is kept for
/// convenience, and a sender is not to wait for that.
fn lacking(log: &LogView, disk: &DiskView) -> u64 {
    let wants_more = log.ready < log.wanted && !log.is_preparing && !disk.has_room(log.segment_octets);
    let wants_more = wants_more || disk.is_contended;
    let surplus = log.ready.saturating_sub(log.wanted) as u64 * log.segment_octets;
    let missing = disk.missing().saturating_sub(surplus).max(if wants_more { log.segment_octets } else { 0 });
    missing.saturating_sub(disk.going)
}

fn lack(log: &LogView, disk: &DiskView, ready: usize, has_room: bool) -> Option<Lack> {
    if disk.free.is_none() {
        return Some(Lack::Failed);
    }
    if disk.is_short() {
        return Some(Lack::Full);
    }
    if ready > 0 {
        return None;
    }
    match log.trouble {
        // That it is tried again is no reason to take mail.
        Some((lack, _)) => Some(lack),
        None if !has_room && !log.is_preparing => Some(Lack::Full),
        None => None,
    }
}

/// Whether nobody writes it any more: it is of the past, or what lies behind it is committed, which is so in order.
fn is_left(log: &LogView, segment: &SegmentView, base: u64) -> bool {
    let is_behind =
        |other: &SegmentView| other.base.is_some_and(|other_base| other_base > base && other.end > other_base);
    if segment.is_going {
        return false;
    }
    segment.is_past || !log.is_recycled_by_shard && log.segments.iter().any(|other| !other.is_past && is_behind(other))
}

/// Everything in a segment lies before this address. What is left free behind its last block counts as its own: recovery, which finds it
/// gone, knows nothing of it but where the next one begins.
fn behind(log: &LogView, segment: &SegmentView, base: u64) -> u64 {
    let next = log.segments.iter().filter_map(|other| other.base).filter(|other| *other > base).min();
    let last = if log.is_written_on { base.saturating_add(segment.octets) } else { segment.end };
    next.unwrap_or(last)
}

/// Whether it is freed now.
fn free(log: &LogView, segment: &SegmentView, may_try: bool, ready: &mut usize, actions: &mut Vec<Action>) -> bool {
    // One of the past is not written again: a write of the process before may still be on its way to it.
    let is_good = !segment.has_failed && !segment.is_past && segment.octets == log.segment_octets;
    if is_good && *ready < log.ready_most {
        actions.push(Action::Recycle(segment.number));
        *ready += 1;
        return true;
    }
    if may_try {
        actions.push(Action::Remove(segment.number));
    }
    may_try
}

fn unused_number(log: &LogView) -> u32 {
    let mut numbers: Vec<u32> = log.segments.iter().map(|segment| segment.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.iter().zip(0..).find(|(used, free)| **used != *free).map_or(numbers.len() as u32, |(_, free)| free)
}
