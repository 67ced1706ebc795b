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

use crate::handoff::clock::Clock;
use crate::handoff::delivery::Delivery;
use crate::handoff::letter::Letter;
use crate::handoff::link::{Link, Returned};
use crate::handoff::ring::Taker;
use crate::handoff::sleep;
use crate::limits;
use crate::mutant::{self, Mutant};

/// What comes from one shard.
#[derive(Debug)]
pub(super) struct Line {
    letters: Taker<Letter>,
    link: Arc<Link>,
    /// Letters that have come, not counting those that came again.
    taken: u64,
}

impl Line {
    pub(super) fn new(letters: Taker<Letter>, link: Arc<Link>) -> Self {
        Self { letters, link, taken: 0 }
    }

    /// Whether nothing more can come: the shard is gone, and all that it sent is acknowledged.
    fn is_over(&self) -> bool {
        self.letters.is_abandoned() && self.letters.is_empty() && self.link.acknowledged() == self.taken
    }
}

/// A delivery whose time has not come, by the line that it came by.
struct Later {
    at: Instant,
    line: usize,
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
}

impl Deliveries {
    pub(super) fn new(lines: Vec<Line>, thread: sleep::Thread, clock: Clock) -> Self {
        let (later, letters) = (BinaryHeap::new(), Vec::new());
        Self { lines, next: 0, later, thread, letters, given_up: 0, clock, owes_later: false }
    }

    /// Takes up to so many deliveries, without waiting; gives how many. Half of the places are for what comes again, as far as its
    /// time has come, and the others for what is fresh, each shard having its turn; what one does not need the other has.
    pub fn take_batch(&mut self, out: &mut Vec<Delivery>, most: usize) -> usize {
        let before = out.len();
        self.hear_back();
        let now = self.clock.now();
        let is_due = self.later.peek().is_some_and(|Reverse(later)| later.at <= now);
        let share = most / 2 + (most % 2) * usize::from(self.owes_later);
        self.owes_later ^= is_due && most % 2 == 1;
        let mut room = most - self.take_due(now, out, share);
        for _ in 0..self.lines.len() {
            if room == 0 {
                break;
            }
            let line = self.next;
            self.next = (self.next + 1) % self.lines.len();
            room -= self.take_fresh(line, out, room);
        }
        self.take_due(now, out, room);
        out.len() - before
    }

    /// Takes up to so many of those whose time to come again has come.
    fn take_due(&mut self, now: Instant, out: &mut Vec<Delivery>, most: usize) -> usize {
        let mut taken = 0;
        while taken < most && self.later.peek().is_some_and(|Reverse(later)| later.at <= now) {
            let Some(Reverse(Later { line, letter, .. })) = self.later.pop() else { break };
            taken += usize::from(self.let_out(line, letter, out));
        }
        taken
    }

    /// Takes all that there is, whether its time has come or not.
    pub fn take_all(&mut self, out: &mut Vec<Delivery>) {
        for line in 0..self.lines.len() {
            // BOUND: as many as the ring holds.
            while self.take_fresh(line, out, limits::DELIVERY_BATCH) > 0 || !self.lines[line].letters.is_empty() {}
        }
        self.hear_back();
        while let Some(Reverse(Later { line, letter, .. })) = self.later.pop() {
            self.let_out(line, letter, out);
        }
    }

    fn take_fresh(&mut self, line: usize, out: &mut Vec<Delivery>, most: usize) -> usize {
        let before = out.len();
        let mut letters = std::mem::take(&mut self.letters);
        let taken = self.lines[line].letters.take_batch(&mut letters, most);
        self.lines[line].taken += taken as u64;
        for letter in letters.drain(..) {
            self.let_out(line, letter, out);
        }
        self.letters = letters;
        out.len() - before
    }

    /// Lets a letter out, unless its sender was told to come again with it.
    fn let_out(&mut self, line: usize, letter: Letter, out: &mut Vec<Delivery>) -> bool {
        let link = &self.lines[line].link;
        let is_given_up = letter.awaited.is_some_and(|awaited| !link.home.waiting.has(awaited));
        if is_given_up && !Mutant::DeliversGivenUp.is_on() {
            self.given_up += 1;
            link.acknowledge(Letter { is_taken: true, ..letter });
            return false;
        }
        out.push(Delivery::new(letter, Arc::clone(link)));
        true
    }

    /// Takes what was given back.
    fn hear_back(&mut self) {
        for (line, this) in self.lines.iter().enumerate() {
            // BOUND: as many as letters are let out.
            while let Some(Returned { at, letter }) = this.link.take_back() {
                self.later.push(Reverse(Later { at, line, letter }));
            }
        }
    }

    /// Waits until there may be something to take, or so long at most. False when nothing more can ever come.
    pub fn wait(&mut self, most: Option<Duration>) -> bool {
        self.hear_back();
        if self.is_over() {
            return false;
        }
        let until_due = self.later.peek().map(|Reverse(later)| later.at.saturating_duration_since(self.clock.now()));
        let most = [most, until_due].into_iter().flatten().min();
        let Self { lines, thread, .. } = self;
        let finds = || {
            let has_news =
                |line: &Line| !line.letters.is_empty() || line.link.has_back() || line.letters.is_abandoned();
            lines.iter().any(has_news)
        };
        // A shard that is gone is no news for long: what is let out still is awaited in steps.
        let is_closing = lines.iter().any(|line| line.letters.is_abandoned());
        if is_closing && !lines.iter().any(|line| !line.letters.is_empty() || line.link.has_back()) {
            let step = Duration::from_millis(10);
            thread.sleep_unless(|| false, Some(most.map_or(step, |most| most.min(step))));
        } else {
            thread.sleep_unless(finds, most);
        }
        true
    }

    /// Whether nothing more can ever come.
    pub fn is_over(&self) -> bool {
        self.lines.iter().all(Line::is_over)
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
        for Reverse(Later { line, letter, .. }) in self.later.drain() {
            self.lines[line].link.fail(letter);
        }
        for Line { mut letters, link, .. } in self.lines.drain(..) {
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
