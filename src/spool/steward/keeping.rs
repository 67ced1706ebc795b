//! The segments of all logs, and what is done with them: what `decision` says, carried out as far as it needs no file; the rest is
//! handed to whoever has the time to wait for files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::handoff::consumer::Progress;
use crate::handoff::sleep::Waker;
use crate::limits;
use crate::spool::format::Chain;
use crate::spool::segment::{Registry, Segment};
use crate::spool::steward::decision::{Action, DiskView, LogView, SegmentView, decide};
use crate::spool::steward::preparing::{Unmade, prepare};
use crate::spool::steward::supply::{Lack, Shelf, Supply, supply};
use crate::spool::storage::{Fault, Storage, StorageError};

/// What holds for all logs.
#[derive(Clone, Debug)]
pub struct KeepOptions {
    /// Where they lie.
    pub directory: PathBuf,
    /// Octets that are to stay free there; may change.
    pub reserve: Arc<AtomicU64>,
    /// What all segments may have together.
    pub size_octets: Option<u64>,
    /// How long a segment is kept that nobody needs.
    pub retain_s: u64,
}

/// Somebody who needs a log from some address on.
pub trait Needs: std::fmt::Debug + Send + Sync {
    /// The lowest address that it needs still; `u64::MAX`: it needs nothing. It never goes back.
    fn needed_from(&self) -> u64;
}

impl Needs for AtomicU64 {
    fn needed_from(&self) -> u64 {
        self.load(Ordering::Acquire)
    }
}

impl Needs for Progress {
    fn needed_from(&self) -> u64 {
        self.retain()
    }
}

/// A log that is to be supplied.
#[derive(Debug)]
pub struct LogPlan {
    /// What is promised of it.
    pub chain: Chain,
    /// Where it lies; it is there.
    pub directory: PathBuf,
    /// Of each segment.
    pub segment_octets: u64,
    /// Those that are there already, open to be written, in use or not.
    pub found: Vec<Arc<Segment>>,
    /// Who reads it.
    pub cursors: Vec<Arc<dyn Needs>>,
    /// The lowest address that its shard needs still: where the oldest message begins that is not committed; 0 before it has said so.
    pub low: Arc<AtomicU64>,
    /// Wakes its shard.
    pub waker: Option<Waker>,
    /// It has a shard that goes on with it; else it is only to be emptied.
    pub is_written_on: bool,
}

/// A log's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Segments in use.
    pub in_use: usize,
    /// Segments that are ready.
    pub ready: usize,
    /// Octets of all its segments.
    pub octets: u64,
    /// Segments that were made.
    pub prepared: u64,
    /// Segments that were used again.
    pub recycled: u64,
    /// Segments that were removed.
    pub removed: u64,
    /// Segments that were freed before their time was over, because there was no room.
    pub given_up: u64,
    /// Times that one was wanted and not ready.
    pub misses: u64,
    /// Times that there was none to be had.
    pub lacks: u64,
    /// Why there is none.
    pub lack: Option<Lack>,
    /// Files that could not be made or removed.
    pub failures: u64,
    /// What was wrong last, if it still is.
    pub trouble: Option<StorageError>,
}

/// Figures of all logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolFigures {
    /// Octets that are free on the disk; `None`: it does not say.
    pub free_octets: Option<u64>,
    /// Octets that are to stay free there.
    pub reserve_octets: u64,
    /// What all segments may have together, if that is bounded.
    pub size_octets: Option<u64>,
    /// In the order of the plans.
    pub logs: Vec<LogFigures>,
}

/// Something that has to wait for files.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Prepare { log: usize, directory: PathBuf, number: u32, replaces: bool, octets: u64 },
    Remove { log: usize, path: PathBuf, number: u32 },
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Prepared { log: usize, number: u32, result: Result<Arc<Segment>, Unmade> },
    Removed { log: usize, number: u32, result: Result<(), StorageError> },
}

/// A log.
#[derive(Debug)]
struct Kept {
    plan: LogPlan,
    registry: Arc<Registry>,
    shelf: Shelf,
    /// When segments were first seen to be left, by number.
    left_ms: BTreeMap<u32, u64>,
    /// Segments whose files are about to go.
    going: BTreeSet<u32>,
    /// Segments that are of no use.
    useless: Vec<Arc<Segment>>,
    is_preparing: bool,
    /// Numbers of segments that could not be made, of which there may be a file with its name. The next that is made has such a number, if
    /// there is one, so they are as many as fail at once.
    left_over: BTreeSet<u32>,
    trouble: Option<(Lack, u64)>,
    wanted: usize,
    misses: u64,
    /// Since the surplus was looked at: when, how few were ready at least, and whether one was missed.
    since_ms: u64,
    least_ready: usize,
    has_missed: bool,
    figures: LogFigures,
}

/// See the module.
#[derive(Debug)]
pub struct Keeping {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: KeepOptions,
    pub(super) wanted: Arc<Notify>,
    logs: Vec<Kept>,
    free: Option<u64>,
    is_short: bool,
    figures: Arc<Mutex<SpoolFigures>>,
}

impl Keeping {
    /// Of these logs; gives the shards' ends, and what lies in each log, in the order of the plans.
    pub fn new(
        storage: Arc<dyn Storage>,
        options: KeepOptions,
        plans: Vec<LogPlan>,
    ) -> (Self, Vec<(Supply, Arc<Registry>)>) {
        let wanted = Arc::new(Notify::new());
        let (logs, ends) = plans.into_iter().map(|plan| Kept::new(plan, &wanted)).unzip();
        let figures = Arc::default();
        (Self { storage, options, wanted, logs, free: None, is_short: false, figures }, ends)
    }

    /// Where the figures are to be found, after each look.
    pub fn figures(&self) -> Arc<Mutex<SpoolFigures>> {
        Arc::clone(&self.figures)
    }

    /// Looks, decides, and does all of it, at this time. For who can wait, and for a simulation.
    pub fn step(&mut self, now_ms: u64) {
        self.look(self.storage.free_octets(&self.options.directory));
        for work in self.decide(now_ms) {
            let done = do_and_wait(&self.storage, work);
            self.done(done, now_ms);
        }
        self.publish();
    }

    /// What the disk said of the octets that are free.
    pub(super) fn look(&mut self, free: Result<u64, StorageError>) {
        self.free = free.ok();
        let disk = self.disk();
        self.is_short = disk.is_short();
    }

    fn disk(&self) -> DiskView {
        let in_all = self.logs.iter().map(Kept::octets).sum();
        let allowed = self.options.size_octets.map_or(u64::MAX, |most| most.saturating_sub(in_all));
        let reserve = self.options.reserve.load(Ordering::Relaxed);
        let claimed = self.logs.iter().filter(|log| log.is_preparing).map(|log| log.plan.segment_octets).sum();
        let going = self.logs.iter().map(Kept::going_octets).sum();
        let is_contended = self.logs.iter().any(|log| log.lacks_room(allowed));
        DiskView { free: self.free, reserve, claimed, going, allowed, is_contended, was_short: self.is_short }
    }

    /// Does what needs no file, and gives what does. None is told before the disk was looked at.
    pub(super) fn decide(&mut self, now_ms: u64) -> Vec<Work> {
        let mut works = Vec::new();
        // Who has least comes first.
        let mut order: Vec<usize> = (0..self.logs.len()).collect();
        order.sort_by_key(|log| self.logs[*log].shelf.ready());
        for index in order {
            let disk = self.disk();
            let is_busy = self.logs.iter().filter(|log| log.is_preparing).count() >= limits::SEGMENTS_PREPARED_AT_ONCE;
            let retain_ms = self.options.retain_s.saturating_mul(1_000);
            let log = &mut self.logs[index];
            let mut view = log.view(now_ms, retain_ms);
            view.is_preparing |= is_busy;
            let (actions, lack) = decide(&view, &disk, now_ms);
            for action in actions {
                works.extend(log.act(index, action, now_ms));
            }
            for segment in std::mem::take(&mut log.useless) {
                works.push(log.remove(index, &segment));
            }
            log.say(lack);
        }
        works
    }

    /// What came of a work.
    pub(super) fn done(&mut self, done: Done, now_ms: u64) {
        match done {
            Done::Prepared { log, number, result } => {
                // The last look may have been before this was made, and the next corrects it.
                self.free = self.free.map(|free| free.saturating_sub(result.as_ref().map_or(0, |made| made.octets())));
                self.logs[log].prepared(number, result, now_ms);
            }
            Done::Removed { log, number, result } => {
                // As above.
                let octets = result.as_ref().map_or(0, |()| self.logs[log].octets_of(number));
                self.free = self.free.map(|free| free.saturating_add(octets));
                self.logs[log].removed(number, result, now_ms);
            }
        }
    }

    /// Shows the figures as they are.
    pub(super) fn publish(&mut self) {
        let logs = self.logs.iter_mut().map(Kept::figures).collect();
        let KeepOptions { reserve, size_octets, .. } = &self.options;
        let (reserve_octets, size_octets) = (reserve.load(Ordering::Relaxed), *size_octets);
        let figures = SpoolFigures { free_octets: self.free, reserve_octets, size_octets, logs };
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// Nobody keeps anything any more.
    pub(super) fn abandon(&mut self) {
        self.logs.iter_mut().for_each(|log| log.say(Some(Lack::Failed)));
        self.publish();
    }
}

/// Does a work, and waits for it.
pub(super) fn do_and_wait(storage: &Arc<dyn Storage>, work: Work) -> Done {
    match work {
        Work::Prepare { log, directory, number, replaces, octets } => {
            Done::Prepared { log, number, result: prepare(storage, &directory, (number, replaces), octets) }
        }
        Work::Remove { log, path, number } => Done::Removed { log, number, result: storage.remove(&path) },
    }
}

/// Segments that are to be ready, however few are used.
fn wanted_least(plan: &LogPlan) -> usize {
    if plan.is_written_on { limits::SEGMENTS_READY } else { 0 }
}

impl Kept {
    fn new(mut plan: LogPlan, wanted: &Arc<Notify>) -> (Self, (Supply, Arc<Registry>)) {
        let (shelf, supply) = supply(limits::SEGMENTS_READY_MOST, Arc::clone(wanted), plan.waker.clone());
        // Nobody else may know them: one whose file is gone takes its place on the disk until it is closed.
        let found = std::mem::take(&mut plan.found);
        let registry = Arc::new(Registry::new(found.clone()));
        let mut useless = Vec::new();
        for segment in found.iter().filter(|segment| segment.base().is_none()) {
            let is_good = segment.octets() == plan.segment_octets && !segment.has_failed();
            match is_good.then(|| shelf.put(Arc::clone(segment))) {
                Some(Ok(())) => {}
                _ => useless.push(Arc::clone(segment)),
            }
        }
        let kept = Self {
            least_ready: shelf.ready(),
            wanted: wanted_least(&plan),
            plan,
            registry: Arc::clone(&registry),
            shelf,
            left_ms: BTreeMap::new(),
            going: BTreeSet::new(),
            useless,
            is_preparing: false,
            left_over: BTreeSet::new(),
            trouble: None,
            misses: 0,
            since_ms: 0,
            has_missed: false,
            figures: LogFigures::default(),
        };
        (kept, (supply, registry))
    }

    /// Octets of all segments that may count, and of one that is made. One that failed does not: it goes when what is void of it is recorded
    /// in another, for which there must be room. They are few: the second in a row ends the log.
    fn octets(&self) -> u64 {
        let segments = self.registry.segments();
        let there: u64 = segments.iter().filter(|segment| !segment.has_failed()).map(|segment| segment.octets()).sum();
        there + if self.is_preparing { self.plan.segment_octets } else { 0 }
    }

    /// Whether none is ready, and one more would be more than all may have.
    fn lacks_room(&self, allowed: u64) -> bool {
        let octets = self.plan.segment_octets;
        self.plan.is_written_on && self.shelf.ready() == 0 && !self.is_preparing && allowed < octets
    }

    fn octets_of(&self, number: u32) -> u64 {
        self.registry.segments().iter().find(|segment| segment.number() == number).map_or(0, |segment| segment.octets())
    }

    /// Octets of segments whose files are about to go.
    fn going_octets(&self) -> u64 {
        let segments = self.registry.segments();
        segments.iter().filter(|segment| self.going.contains(&segment.number())).map(|segment| segment.octets()).sum()
    }

    fn view(&mut self, now_ms: u64, retain_ms: u64) -> LogView {
        let ready = self.shelf.ready();
        let surplus = self.surplus(ready, now_ms);
        let low = self.plan.low.needed_from();
        let needed_from = self.plan.cursors.iter().map(|cursor| cursor.needed_from()).fold(low, u64::min);
        let segments = self.registry.segments();
        let segments = segments.iter().map(|segment| SegmentView {
            number: segment.number(),
            octets: segment.octets(),
            base: segment.base(),
            end: segment.end(),
            has_failed: segment.has_failed(),
            is_past: segment.is_past(),
            is_going: self.going.contains(&segment.number()),
            left_ms: self.left_ms.get(&segment.number()).copied(),
        });
        LogView {
            segments: segments.collect(),
            ready,
            ready_most: self.shelf.capacity(),
            wanted: self.wanted,
            surplus,
            needed_from,
            is_written_on: self.plan.is_written_on,
            is_recycled_by_shard: self.plan.chain == Chain::Blackhole,
            is_preparing: self.is_preparing,
            trouble: self.trouble,
            segment_octets: self.plan.segment_octets,
            retain_ms,
        }
    }

    /// Segments on the shelf that were not needed for a while. Also heeds those that were missed.
    fn surplus(&mut self, ready: usize, now_ms: u64) -> usize {
        let misses = self.shelf.misses();
        if misses > std::mem::replace(&mut self.misses, misses) {
            self.wanted = (2 * self.wanted).min(limits::SEGMENTS_READY_BUSY);
            self.has_missed = true;
        }
        self.least_ready = self.least_ready.min(ready);
        if now_ms < self.since_ms + limits::SEGMENT_SURPLUS_MS {
            return 0;
        }
        if !std::mem::take(&mut self.has_missed) {
            self.wanted = (self.wanted / 2).max(wanted_least(&self.plan));
        }
        self.since_ms = now_ms;
        std::mem::replace(&mut self.least_ready, ready)
    }

    fn act(&mut self, log: usize, action: Action, now_ms: u64) -> Option<Work> {
        let find = |number| self.registry.segments().into_iter().find(|segment| segment.number() == number);
        match action {
            Action::Note(number) => {
                self.left_ms.insert(number, now_ms);
                None
            }
            Action::Recycle(number) => {
                let segment = find(number)?;
                self.left_ms.remove(&number);
                segment.free();
                self.figures.recycled += 1;
                // It was asked before whether there is room.
                self.useless.extend(self.shelf.put(segment).err());
                None
            }
            Action::Remove(number) => find(number).map(|segment| self.remove(log, &segment)),
            Action::GiveUp(_) => {
                self.figures.given_up += 1;
                None
            }
            Action::Shrink => self.shelf.take_back().map(|segment| self.remove(log, &segment)),
            Action::Prepare(number) => {
                self.is_preparing = true;
                let (directory, octets) = (self.plan.directory.clone(), self.plan.segment_octets);
                let replaces = self.left_over.contains(&number);
                Some(Work::Prepare { log, directory, number, replaces, octets })
            }
        }
    }

    fn remove(&mut self, log: usize, segment: &Segment) -> Work {
        self.going.insert(segment.number());
        Work::Remove { log, path: self.plan.directory.join(segment.name()), number: segment.number() }
    }

    fn prepared(&mut self, number: u32, result: Result<Arc<Segment>, Unmade>, now_ms: u64) {
        self.is_preparing = false;
        match result {
            Ok(segment) => {
                self.left_over.remove(&number);
                self.figures.prepared += 1;
                (self.trouble, self.figures.trouble) = (None, None);
                self.registry.add(Arc::clone(&segment));
                self.say(None);
                self.useless.extend(self.shelf.put(segment).err());
            }
            Err(Unmade { error, is_named }) => {
                self.left_over.extend(is_named.then_some(number));
                self.fail(error, now_ms);
            }
        }
    }

    fn removed(&mut self, number: u32, result: Result<(), StorageError>, now_ms: u64) {
        self.going.remove(&number);
        match result {
            Err(error) if !error.is_not_found() => {
                // One in use is found again; another would not be.
                let segments = self.registry.segments();
                let idle =
                    segments.into_iter().filter(|segment| segment.number() == number && segment.base().is_none());
                self.useless.extend(idle);
                self.fail(error, now_ms);
            }
            _ => {
                self.figures.removed += 1;
                self.left_ms.remove(&number);
                self.registry.remove(number);
            }
        }
    }

    fn fail(&mut self, error: StorageError, now_ms: u64) {
        self.figures.failures += 1;
        let lack = if error.fault() == Fault::Full { Lack::Full } else { Lack::Failed };
        self.trouble = Some((lack, now_ms + limits::SEGMENT_RETRY_MS));
        self.figures.trouble = Some(error);
    }

    fn say(&mut self, lack: Option<Lack>) {
        let before = std::mem::replace(&mut self.figures.lack, lack);
        self.figures.lacks += u64::from(before.is_none() && lack.is_some());
        self.shelf.say(lack);
    }

    fn figures(&mut self) -> LogFigures {
        let segments = self.registry.segments();
        self.figures.in_use = segments.iter().filter(|segment| segment.base().is_some()).count();
        self.figures.octets = segments.iter().map(|segment| segment.octets()).sum();
        (self.figures.ready, self.figures.misses) = (self.shelf.ready(), self.shelf.misses());
        self.figures.clone()
    }
}
