//! The consumer's end of the hand-off: the deliveries of some shards.
//!
//! *Invariant*: every letter comes out, and what is let go of without a final word comes out again, until nothing more can come.
//! Neither what is fresh nor what comes again waits for the other for ever. Who waits for the end of what a consumer had that is
//! gone is told that it failed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handoff::backlog::{Attached, Keeper};
use crate::handoff::clock::Clock;
use crate::handoff::deferral::Deferral;
use crate::handoff::delivery::Delivery;
use crate::handoff::handshake::{Handshake, Look, Marks};
use crate::handoff::letter::Letter;
use crate::handoff::link::{Link, Returned};
use crate::handoff::place::{LogId, LogKind};
use crate::handoff::ring::Taker;
use crate::handoff::sleep;
use crate::handoff::stream::Stream;
use crate::limits;
use crate::mutant::{self, Mutant};

/// What comes from one shard.
#[derive(Debug)]
pub(super) struct Line {
    /// The shard.
    shard: u16,
    letters: Taker<Letter>,
    link: Arc<Link>,
    /// How far its logs go, by their kinds.
    marks: [Arc<Marks>; LogKind::OF_SHARDS.len()],
    /// Letters that have come, not counting those that came again.
    taken: u64,
    /// The logs of the shard, where there are some.
    streams: Vec<Stream>,
    /// Letters that came out of them, and not by the ring.
    read: u64,
}

impl Line {
    pub(super) fn new(
        shard: u16,
        letters: Taker<Letter>,
        link: Arc<Link>,
        marks: [Arc<Marks>; LogKind::OF_SHARDS.len()],
    ) -> Self {
        Self { shard, letters, link, marks, taken: 0, streams: Vec::new(), read: 0 }
    }

    /// Whether nothing more can come: the shard is gone, and all that it sent is acknowledged.
    fn is_over(&self) -> bool {
        self.letters.is_abandoned()
            && self.letters.is_empty()
            && self.link.acknowledged() == self.taken
            && self.link.put_away() == self.read
    }

    /// Deliveries that may come out of its logs before others are done with.
    fn may_read(&self) -> usize {
        limits::LOG_LETTERS.saturating_sub((self.read - self.link.put_away()) as usize)
    }

    /// Whether one of its logs has something that does not come by the ring.
    fn has_logged(&self, now: Instant) -> bool {
        has_logged(&self.streams, self.may_read(), now)
    }

    /// Takes what its logs have, so many at most, their rings having been emptied since the looks or not.
    fn take_logged(
        &mut self,
        looks: [Option<Look>; LogKind::OF_SHARDS.len()],
        is_emptied: bool,
        most: usize,
        now: Instant,
        out: &mut Vec<Delivery>,
    ) {
        let before = out.len();
        let is_closing = self.letters.is_abandoned();
        for at in 0..self.streams.len() {
            let may_read = if is_closing { 0 } else { self.may_read() };
            let Self { streams, link, read, .. } = self;
            let (stream, Some(look)) = (&mut streams[at], looks[at]) else { continue };
            let room = most - (out.len() - before);
            *read += stream.take(link, (look, is_emptied), (room, may_read), now, out) as u64;
            if is_closing && out.len() - before < most {
                // What is left waits for what is not read any more.
                stream.let_go(link);
            }
        }
    }
}

/// The logs of shards that have none any more.
#[derive(Debug)]
struct Attic {
    link: Arc<Link>,
    streams: Vec<Stream>,
    /// Letters that came out of them.
    read: u64,
}

impl Attic {
    fn may_read(&self) -> usize {
        limits::LOG_LETTERS.saturating_sub((self.read - self.link.put_away()) as usize)
    }

    /// Takes so many deliveries at most; the logs have their turns.
    fn take(&mut self, most: usize, now: Instant, out: &mut Vec<Delivery>) -> usize {
        let before = out.len();
        for _ in 0..self.streams.len() {
            let (room, may_read) = (most - (out.len() - before), self.may_read());
            if room == 0 {
                break;
            }
            let stream = &mut self.streams[0];
            let look = stream.look();
            self.read += stream.take(&self.link, (look, true), (room, may_read), now, out) as u64;
            self.streams.rotate_left(1);
        }
        out.len() - before
    }

    fn has_logged(&self, now: Instant) -> bool {
        has_logged(&self.streams, self.may_read(), now)
    }
}

/// A delivery whose time has not come, by the link that it came by.
struct Later {
    at: Instant,
    link: Arc<Link>,
    letter: Letter,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.letter.id).cmp(&(other.at, other.letter.id))
    }
}

/// The deliveries of a sink from some of the shards, for one thread; what comes out of it can be sent to others.
///
/// As an iterator it waits for the next, and ends when nothing more can come: the engine has stopped, and all is acknowledged.
///
/// *Does not* bound what is let out: the shards do, by what is not acknowledged.
pub struct Deliveries {
    lines: Vec<Line>,
    attic: Attic,
    /// The line that is asked first.
    next: usize,
    later: BinaryHeap<Reverse<Later>>,
    thread: sleep::Thread,
    /// Kept for its memory.
    letters: Vec<Letter>,
    /// Those whose senders had been told to come again by then.
    given_up: u64,
    clock: Clock,
    /// Of a place that cannot be halved, the next is for what comes again.
    owes_later: bool,
    /// What keeps that which was refused of logs.
    deferral: Option<Deferral>,
}

impl Deliveries {
    pub(super) fn new(lines: Vec<Line>, attic: Arc<Link>, thread: sleep::Thread, clock: Clock) -> Self {
        let (later, letters) = (BinaryHeap::new(), Vec::new());
        let attic = Attic { link: attic, streams: Vec::new(), read: 0 };
        Self { lines, attic, next: 0, later, thread, letters, given_up: 0, clock, owes_later: false, deferral: None }
    }

    /// Takes up to so many deliveries, without waiting; gives how many. Half of the places are for what comes again, as far as its
    /// time has come, and the others for what is fresh, each shard having its turn; what one does not need the other has.
    pub fn take_batch(&mut self, out: &mut Vec<Delivery>, most: usize) -> usize {
        let before = out.len();
        let now = self.clock.now();
        self.hear_back(now, false, false);
        let is_due = self.later.peek().is_some_and(|Reverse(later)| later.at <= now);
        let share = most / 2 + (most % 2) * usize::from(self.owes_later);
        self.owes_later ^= is_due && most % 2 == 1;
        let deferred = self.deferral.as_mut().map_or(0, |deferral| deferral.share(most));
        let mut room = most - self.take_deferred(now, out, deferred);
        room -= self.take_due(now, out, share.min(room));
        for _ in 0..self.lines.len() {
            if room == 0 {
                break;
            }
            let line = self.next;
            self.next = (self.next + 1) % self.lines.len();
            room -= self.take_fresh(line, now, out, room);
        }
        if !self.attic.streams.is_empty() && !self.is_closing() {
            room -= self.attic.take(room, now, out);
        }
        room -= self.take_due(now, out, room);
        self.take_deferred(now, out, room);
        out.len() - before
    }

    /// Takes up to so many of those that were refused once, and are due.
    fn take_deferred(&mut self, now: Instant, out: &mut Vec<Delivery>, most: usize) -> usize {
        let (before, is_closing) = (out.len(), self.is_closing());
        let Some(deferral) = self.deferral.as_mut().filter(|_| !is_closing) else { return 0 };
        let Attic { link, read, .. } = &mut self.attic;
        let may_read = limits::LOG_LETTERS.saturating_sub((*read - link.put_away()) as usize);
        *read += deferral.take((most, may_read), now, link, out) as u64;
        out.len() - before
    }

    /// Takes up to so many of those whose time to come again has come.
    fn take_due(&mut self, now: Instant, out: &mut Vec<Delivery>, most: usize) -> usize {
        let mut taken = 0;
        while taken < most && self.later.peek().is_some_and(|Reverse(later)| later.at <= now) {
            let Some(Reverse(Later { link, letter, .. })) = self.later.pop() else { break };
            taken += usize::from(self.let_out(&link, letter, out));
        }
        taken
    }

    /// Takes all that no log has, whether its time has come or not; what logs have is let go of.
    pub fn take_all(&mut self, out: &mut Vec<Delivery>) {
        let mut letters = std::mem::take(&mut self.letters);
        for line in 0..self.lines.len() {
            // BOUND: as many as the ring holds.
            while self.lines[line].letters.take_batch(&mut letters, limits::DELIVERY_BATCH) > 0 {}
            self.lines[line].taken += letters.len() as u64;
            let link = Arc::clone(&self.lines[line].link);
            letters.drain(..).for_each(|letter| self.let_out_or_go(&link, letter, out));
        }
        self.letters = letters;
        self.hear_back(self.clock.now(), false, false);
        while let Some(Reverse(Later { link, letter, .. })) = self.later.pop() {
            self.let_out_or_go(&link, letter, out);
        }
    }

    fn let_out_or_go(&mut self, link: &Arc<Link>, letter: Letter, out: &mut Vec<Delivery>) {
        match letter.place {
            Some(_) => link.release(letter),
            None => _ = self.let_out(link, letter, out),
        }
    }

    fn take_fresh(&mut self, line: usize, now: Instant, out: &mut Vec<Delivery>, most: usize) -> usize {
        let before = out.len();
        let mut letters = std::mem::take(&mut self.letters);
        // Before the ring is emptied.
        let looks = std::array::from_fn(|at| self.lines[line].streams.get(at).map(Stream::look));
        let taken = self.lines[line].letters.take_batch(&mut letters, most);
        self.lines[line].taken += taken as u64;
        let link = Arc::clone(&self.lines[line].link);
        for letter in letters.drain(..) {
            let streams = &mut self.lines[line].streams;
            match letter.place.and_then(|place| streams.iter_mut().find(|stream| stream.log() == place.log)) {
                Some(stream) => stream.hold(letter),
                None => _ = self.let_out(&link, letter, out),
            }
        }
        self.letters = letters;
        let room = most - (out.len() - before);
        self.lines[line].take_logged(looks, taken < most, room, now, out);
        out.len() - before
    }

    /// Lets a letter out, unless its sender was told to come again with it.
    fn let_out(&mut self, link: &Arc<Link>, letter: Letter, out: &mut Vec<Delivery>) -> bool {
        let is_given_up = letter.awaited.is_some_and(|awaited| !link.home.waiting.has(awaited));
        if is_given_up && !Mutant::DeliversGivenUp.is_on() {
            self.given_up += 1;
            link.acknowledge(Letter { is_taken: true, ..letter });
            return false;
        }
        out.push(Delivery::new(letter, Arc::clone(link)));
        true
    }

    /// Takes what was given back, keeps what was refused, and notes what is done with of logs: now and then, or at once. `is_idle`: nothing
    /// else is there to be done.
    fn hear_back(&mut self, now: Instant, is_idle: bool, is_last: bool) {
        let is_closing = is_last || self.is_closing();
        let Self { lines, attic, later, deferral, .. } = self;
        for link in lines.iter().map(|line| &line.link).chain([&attic.link]) {
            take_back(link, later, deferral);
        }
        // What is kept is settled; what is settled may be the last of what was taken out.
        for _ in 0..2 {
            lines.iter_mut().for_each(|line| take_settled(&line.link, &mut line.streams, deferral));
            take_settled(&attic.link, &mut attic.streams, deferral);
            match deferral {
                Some(deferral) => deferral.work(now, is_idle, is_closing),
                None => break,
            }
        }
        let streams = lines.iter_mut().flat_map(|line| &mut line.streams).chain(&mut attic.streams);
        streams.for_each(|stream| stream.keep(now, is_last));
    }

    /// Does something while its thread sleeps.
    #[cfg(test)]
    pub(crate) fn asleep<T>(&mut self, does: impl FnOnce() -> T) -> T {
        let mut done = None;
        let finds = || {
            done = Some(does());
            true
        };
        self.thread.sleep_unless(finds, None);
        done.expect("a second look is always taken")
    }

    /// Waits until there may be something to take, or so long at most. False when nothing more can ever come.
    pub fn wait(&mut self, most: Option<Duration>) -> bool {
        let now = self.clock.now();
        self.hear_back(now, true, false);
        if self.is_over() {
            return false;
        }
        let until_due = self.later.peek().map(|Reverse(later)| later.at.saturating_duration_since(now));
        let most = [most, until_due, self.until_logs(now)].into_iter().flatten().min();
        let Self { lines, attic, thread, deferral, .. } = self;
        let has_due = deferral.as_ref().is_some_and(Deferral::has_due);
        let finds = || {
            let has_back = |link: &Link| link.has_back() || link.has_settled();
            let has_news = |line: &Line| {
                !line.letters.is_empty() || has_back(&line.link) || line.letters.is_abandoned() || line.has_logged(now)
            };
            has_due || lines.iter().any(has_news) || has_back(&attic.link) || attic.has_logged(now)
        };
        // A shard that is gone is no news for long: what is let out still is awaited in steps.
        let is_closing = lines.iter().any(|line| line.letters.is_abandoned());
        if is_closing
            && !lines.iter().any(|line| !line.letters.is_empty() || line.link.has_back() || line.link.has_settled())
        {
            let step = Duration::from_millis(10);
            thread.sleep_unless(|| false, Some(most.map_or(step, |most| most.min(step))));
        } else {
            thread.sleep_unless(finds, most);
        }
        true
    }

    /// Until logs are to be looked at again, though nothing wakes this: where there are some.
    fn until_logs(&self, now: Instant) -> Option<Duration> {
        let lines = self.lines.iter().flat_map(|line| &line.streams);
        let until = |stream: &Stream| match stream.stuck_until() {
            Some(until) if until > now => until - now,
            _ => Duration::from_millis(limits::CURSOR_MS),
        };
        let until_kept = self.deferral.as_ref().map(|deferral| deferral.until(now));
        lines.chain(&self.attic.streams).map(until).chain(until_kept).min()
    }

    /// What comes out of a log comes from here, too; a log of a shard that has none any more is for the consumer that would have the
    /// shard's mail. To be called before the shards start. Gives what others may ask of it.
    ///
    /// # Panics
    /// When a log is written on by a shard whose mail this does not have, or is attached already.
    pub fn attach(&mut self, attached: Attached) -> Progress {
        let log = attached.log;
        let line = self.lines.iter_mut().find(|line| line.shard == log.shard);
        let stream = match line {
            Some(line) if attached.is_written_on => {
                let at = log.kind.index();
                assert!(line.streams.iter().all(|stream| stream.log() != log), "{log:?} is attached");
                let (shared, marks) = (Arc::clone(&line.link.handshakes[at]), Arc::clone(&line.marks[at]));
                line.streams.push(Stream::new(attached, shared, marks));
                line.streams.last()
            }
            _ => {
                assert!(!attached.is_written_on, "no mail of shard {} comes here", log.shard);
                self.attic.streams.push(Stream::new(attached, Handshake::new(0), Arc::default()));
                self.attic.streams.last()
            }
        };
        Progress(stream.expect("it was just put there").progress())
    }

    /// What others may ask of a log.
    pub fn progress(&self, log: LogId) -> Option<Progress> {
        let streams = self.lines.iter().flat_map(|line| &line.streams).chain(&self.attic.streams);
        streams.into_iter().find(|stream| stream.log() == log).map(|stream| Progress(stream.progress()))
    }

    /// Whether nothing more can ever come.
    pub fn is_over(&self) -> bool {
        self.lines.iter().all(Line::is_over)
    }

    /// From now on others see to what becomes of spooled mail, and [settle](Delivery::settle) it: what is dropped of it does not
    /// come again, and is not done with.
    pub fn settle_apart(&mut self) {
        self.lines.iter().for_each(|line| line.link.settle_apart());
        self.attic.link.settle_apart();
    }

    /// From now on this keeps what is refused of that which logs have: its log need not, and it comes again from there. To be called before
    /// anything is taken out.
    pub fn keep_refused(&mut self, keeper: Box<dyn Keeper>) {
        self.lines.iter().for_each(|line| line.link.keep_refused());
        self.attic.link.keep_refused();
        self.deferral = Some(Deferral::new(keeper));
    }

    /// Whether every shard has ended, so that nothing fresh comes.
    pub fn is_closing(&self) -> bool {
        self.lines.iter().all(|line| line.letters.is_abandoned())
    }

    /// Letters that were not let out because their senders had been told to come again.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// What can be asked of it while a thread is at work on it.
    pub fn outlook(&self) -> Outlook {
        Outlook(self.lines.iter().map(|line| Arc::clone(&line.link)).collect())
    }

    /// Letters that wait for their time to come again.
    pub fn waiting(&self) -> usize {
        self.later.len()
    }
}

/// Whether some of these have something to be taken, so many letters at most being read out of them.
fn has_logged(streams: &[Stream], may_read: usize, now: Instant) -> bool {
    streams.iter().any(|stream| stream.has_letter() || (may_read > 0 && stream.has_unread(now)))
}

/// Takes what was given back by one link.
fn take_back(link: &Arc<Link>, later: &mut BinaryHeap<Reverse<Later>>, deferral: &mut Option<Deferral>) {
    // BOUND: as many as letters are let out.
    while let Some(Returned { at, letter, is_refused }) = link.take_back() {
        match deferral {
            Some(deferral) if is_refused => deferral.refuse(letter, link),
            _ => later.push(Reverse(Later { at, link: Arc::clone(link), letter })),
        }
    }
}

/// Notes what is done with of that which logs have.
fn take_settled(link: &Link, streams: &mut [Stream], deferral: &mut Option<Deferral>) {
    while let Some(place) = link.take_settled() {
        match streams.iter_mut().find(|stream| stream.log() == place.log) {
            Some(stream) => stream.settle(place),
            None if place.log.kind == LogKind::Deferred => deferral.iter_mut().for_each(Deferral::settle),
            None => {}
        }
    }
}

/// How far a consumer is with a log, for whoever makes room there.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Handshake>);

impl Progress {
    /// It needs nothing before this, not after the next start either.
    pub fn retain(&self) -> u64 {
        self.0.retain()
    }
}

/// What a consumer still owes, as others see it.
#[derive(Debug)]
pub struct Outlook(Vec<Arc<Link>>);

impl Outlook {
    /// Messages whose senders have their 250, and which are not acknowledged. Exact when the shards have ended and the consumer does
    /// nothing.
    pub fn promised(&self) -> u64 {
        self.0.iter().map(|link| link.promised()).sum()
    }
}

impl Drop for Deliveries {
    /// Nobody takes anything any more: shards give up what they have for it.
    fn drop(&mut self) {
        if Mutant::KeepsWhatConsumerHad.is_on() {
            return mutant::keep(std::mem::take(&mut self.later));
        }
        self.hear_back(self.clock.now(), true, true);
        for Reverse(Later { link, letter, .. }) in self.later.drain() {
            link.fail(letter);
        }
        self.attic.link.close();
        for Line { mut letters, link, streams, .. } in self.lines.drain(..) {
            streams.into_iter().for_each(|mut stream| stream.let_go(&link));
            link.close();
            while let Some(letter) = letters.take() {
                link.fail(letter);
            }
            // What is published from here on its shard takes back, when it sees that nobody is there.
            drop(letters);
            link.home.waker.wake();
        }
    }
}

impl Iterator for Deliveries {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let mut one = Vec::with_capacity(1);
        while self.take_batch(&mut one, 1) == 0 {
            if !self.wait(None) {
                return None;
            }
        }
        one.pop()
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("lines", &self.lines.len()).field("later", &self.later.len()).finish()
    }
}
