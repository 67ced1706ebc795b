//! One log as its consumer gets it, by the ring and out of the log, and what it is done with.
//!
//! *Invariants*: messages come out in order of place, each once. What is noted as done with never passes one that is not; a segment
//! may only go when that is noted on stable storage, so a start finds all that it asks for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handoff::backlog::{Attached, Backlog, Reading, Stuck};
use crate::handoff::delivery::Delivery;
use crate::handoff::handshake::{Following, Handshake, Look, Marks, Step};
use crate::handoff::letter::Letter;
use crate::handoff::link::Link;
use crate::handoff::pace::Pace;
use crate::handoff::place::{LogId, Place, Position, Spooled};
use crate::handoff::tracker::Tracker;
use crate::limits;

/// See the module.
pub(super) struct Stream {
    log: LogId,
    /// What ends before this was there before this start.
    end: u64,
    shared: Arc<Handshake>,
    following: Following,
    /// Letters that came by the ring, while what is before them is read.
    held: VecDeque<Letter>,
    tracker: Tracker,
    backlog: Box<dyn Backlog>,
    /// Kept for its memory.
    read: Vec<Spooled>,
    noted: Position,
    pace: Pace,
    /// Until then the log is left alone, and why.
    stuck: Option<(Instant, Stuck)>,
}

impl Stream {
    /// Of a log that goes as far as `marks` say.
    pub(super) fn new(attached: Attached, shared: Arc<Handshake>, marks: Arc<Marks>) -> Self {
        let Attached { log, start, end, is_written_on, backlog } = attached;
        if !is_written_on {
            marks.publish(end, end);
        }
        shared.settle(start.address);
        shared.note(start.from);
        let is_near = is_written_on && start.address >= end;
        let following = Following::new(Arc::clone(&shared), marks, (start.address, start.from), is_near);
        Self {
            log,
            end,
            shared,
            following,
            held: VecDeque::new(),
            tracker: Tracker::default(),
            backlog,
            read: Vec::new(),
            noted: start,
            pace: Pace::default(),
            stuck: None,
        }
    }

    pub(super) fn log(&self) -> LogId {
        self.log
    }

    pub(super) fn progress(&self) -> Arc<Handshake> {
        Arc::clone(&self.shared)
    }

    /// To be asked before the ring is emptied.
    pub(super) fn look(&self) -> Look {
        self.following.look()
    }

    /// A letter that came by the ring.
    pub(super) fn hold(&mut self, letter: Letter) {
        self.held.push_back(letter);
    }

    /// Gives so many deliveries at most, of which so many at most out of the log; says how many those were. `is_emptied`: the ring
    /// has been emptied since the look. The log is read once, for a bounded time.
    pub(super) fn take(
        &mut self,
        link: &Arc<Link>,
        (look, is_emptied): (Look, bool),
        (most, most_read): (usize, usize),
        now: Instant,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let (before, mut read) = (out.len(), None);
        while out.len() - before < most {
            let oldest = self.held.front().and_then(|letter| Some((letter.place?.address, letter.live_from)));
            if oldest.is_none() && !is_emptied {
                break;
            }
            match self.following.step(look, oldest) {
                Step::Nothing => break,
                Step::Letter => {
                    if let Some(letter) = self.held.pop_front() {
                        self.let_out(letter, link, out);
                    }
                }
                Step::Read(upto) => {
                    let room = most_read.min(most - (out.len() - before));
                    if read.is_some() || room == 0 || self.stuck.is_some_and(|(until, _)| now < until) {
                        break;
                    }
                    read = Some(self.read(upto, room, now, link, out));
                    if self.reached().address < upto {
                        break;
                    }
                }
            }
        }
        read.unwrap_or(0)
    }

    fn let_out(&mut self, letter: Letter, link: &Arc<Link>, out: &mut Vec<Delivery>) {
        if let Some(place) = letter.place {
            self.tracker.hand_out(place);
            let Position { address, from } = Position::behind(place);
            self.following.pass(address, from);
        }
        out.push(Delivery::new(letter, Arc::clone(link)));
    }

    /// Reads on in the log; gives how many deliveries came of it.
    fn read(&mut self, upto: u64, most: usize, now: Instant, link: &Arc<Link>, out: &mut Vec<Delivery>) -> usize {
        let mut all = std::mem::take(&mut self.read);
        let Reading { reached, stuck } = self.backlog.read(self.reached(), upto, most, &mut all);
        let count = all.len();
        for spooled in all.drain(..) {
            debug_assert!(spooled.place.address >= self.reached().address && spooled.place.address < upto);
            let is_of_before = spooled.place.address < self.end;
            self.let_out(Letter { is_of_before, ..Letter::of_log(spooled) }, link, out);
        }
        self.read = all;
        self.following.pass(reached.address.min(upto), reached.from);
        self.stuck = stuck.map(|stuck| (now + Duration::from_millis(limits::LOG_RETRY_MS), stuck));
        count
    }

    fn reached(&self) -> Position {
        let (address, from) = self.following.reached();
        Position { address, from }
    }

    /// Whether a letter that came by the ring can be taken.
    pub(super) fn has_letter(&self) -> bool {
        self.held.front().is_some_and(|letter| letter.live_from <= self.reached().address)
    }

    /// Whether the log is to be read.
    pub(super) fn has_unread(&self, now: Instant) -> bool {
        let is_missing = self.following.is_behind() || !(self.held.is_empty() || self.has_letter());
        is_missing && self.stuck.is_none_or(|(until, _)| now >= until)
    }

    /// When the log is tried again.
    pub(super) fn stuck_until(&self) -> Option<Instant> {
        self.stuck.map(|(until, _)| until)
    }

    /// A message of it is done with.
    pub(super) fn settle(&mut self, place: Place) {
        self.tracker.settle(place.address);
        // What it held may be what was wanted. A disk has its time: tries without any would be used up in a moment.
        self.stuck.take_if(|(_, stuck)| *stuck == Stuck::Memory);
    }

    /// Says how far all is done with, and notes it now and then, or at once.
    pub(super) fn keep(&mut self, now: Instant, is_last: bool) {
        let kept = self.tracker.kept(self.reached());
        self.shared.settle(kept.address);
        if kept == self.noted {
            return;
        }
        if !(self.pace.is_due(now, kept.address - self.noted.address) || is_last) {
            return;
        }
        if self.backlog.keep(kept) {
            self.noted = kept;
            self.shared.note(kept.from);
            self.pace.noted(now);
        } else {
            self.pace.rest(now);
        }
    }

    /// Lets go of what came by the ring and was not handed out: the log has it.
    pub(super) fn let_go(&mut self, link: &Link) {
        self.held.drain(..).for_each(|letter| link.release(letter));
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("log", &self.log).field("following", &self.following).finish_non_exhaustive()
    }
}
