//! All classes of one thread of a sink.
//!
//! *Invariants*: what is taken out is done with when [`Store::commit`] has said so on stable storage, all of it at once; before, a
//! restart takes it out again. A segment is free when the cursor on the disk is behind it. Resident are the classes and what is taken
//! out, however much waits.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::handoff::place::{LogId, LogKind, Place, Spooled};
use crate::limits;
use crate::mail::envelope::Route;
use crate::mail::manifest::Manifest;
use crate::memory::slab::Slab;
use crate::spool::deferred::append::Parcel;
use crate::spool::deferred::carry::Orders;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::cursors::Cursors;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::gone;
use crate::spool::deferred::inbox::{self, Inbox};
use crate::spool::deferred::log::{ClassLog, Position};
use crate::spool::deferred::read::{Assembled, Log, NoMessage, Wanted};
use crate::spool::deferred::schedule::{self, History};
use crate::spool::deferred::yard::{Owner, Sizes, Yard};
use crate::spool::storage::{EntryKind, Storage};

/// What waits in one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages.
    pub messages: u64,
    /// Octets of the disk from the first of them to the last.
    pub octets: u64,
}

/// What may be taken out now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// So many messages.
    pub(super) messages: usize,
    /// When so many octets of content are, no more.
    pub(super) octets: u64,
}

/// See the module.
pub(super) struct Store {
    pub(super) yard: Yard,
    cursors: Cursors,
    pub(super) classes: Vec<ClassLog>,
    pub(super) inbox: Inbox,
    /// The class that is asked first.
    first: usize,
    /// By the address of their place, what is known of those that are taken out.
    taken: HashMap<u64, History>,
    next_address: u64,
    /// When it was opened, in ms since 1970.
    opened_ms: u64,
    /// Messages that were not whole.
    pub(super) incomplete: u64,
    /// What was gone out of the middle of classes could not be read, and comes again.
    is_gone_lost: bool,
    /// There is a file of what is gone out of the middle of a class.
    pub(super) has_gone: bool,
    /// It does not say all of it yet.
    pub(super) is_gone_dirty: bool,
}

impl Store {
    /// Finds what is there; has classes with these delays, and those that are there.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        root: PathBuf,
        owner: Owner,
        sizes: Sizes,
        delays_s: &[u32],
        now_ms: u64,
    ) -> Result<Self, DeferredError> {
        let mut yard = Yard::open(storage, root, owner, sizes)?;
        let mut cursors = Cursors::open(&yard)?;
        yard.next_base = cursors.next_base();
        let mut all: Vec<Class> = delays_s.iter().copied().map(Class::Retry).chain(Class::ASIDE).collect();
        all.extend([Class::Replay, Class::RELEASED]);
        for entry in yard.storage.entries(&yard.root)? {
            let class = entry.name.to_str().and_then(Class::of_name).filter(|_| entry.kind == EntryKind::Directory);
            all.extend(class.filter(|class| !all.contains(class)));
        }
        let open = |class: &Class| ClassLog::open(&mut yard, *class, cursors.position(*class));
        let mut classes: Vec<ClassLog> = all.iter().map(open).collect::<Result<_, _>>()?;
        let configured = delays_s.len() + Class::ASIDE.len() + 2;
        dismiss_empty(&mut yard, &mut classes, configured)?;
        if classes.len() > limits::DEFERRED_CLASSES {
            let why = "mail waits in too many directories of delays; put back delays that were configured before, until it is delivered";
            return Err(DeferredError::Foreign { path: yard.root, why });
        }
        // Not before it is known that all that lies there is ours.
        cursors.replace_damaged(&mut yard)?;
        let (is_gone_known, is_gone_unreadable) = find_gone(&mut yard, &mut classes)?;
        let inbox = Inbox::open(&yard)?;
        Ok(Self {
            yard,
            cursors,
            classes,
            inbox,
            first: 0,
            taken: HashMap::new(),
            next_address: 0,
            opened_ms: now_ms,
            incomplete: 0,
            is_gone_lost: is_gone_unreadable,
            has_gone: is_gone_known,
            is_gone_dirty: false,
        })
    }

    /// The thread whose it is.
    pub(super) fn thread(&self) -> u16 {
        self.yard.owner.thread
    }

    /// Takes out what is due, class by class.
    pub(super) fn take_due(
        &mut self,
        now_ms: u64,
        budget: &mut Budget,
        orders: Option<&Orders>,
        slab: &mut Slab,
        out: &mut Vec<Spooled>,
    ) -> Result<(), DeferredError> {
        self.look_into_inbox(now_ms)?;
        let classes = self.classes.len();
        for turn in 0..classes {
            if budget.messages == 0 || budget.octets == 0 {
                break;
            }
            let index = (self.first + turn) % classes;
            if !self.classes[index].class.is_aside() {
                self.take_of(index, now_ms, budget, orders, slab, out)?;
            }
        }
        // Each has its turn, whatever another has.
        self.first = (self.first + 1) % classes;
        Ok(())
    }

    fn take_of(
        &mut self,
        index: usize,
        now_ms: u64,
        budget: &mut Budget,
        orders: Option<&Orders>,
        slab: &mut Slab,
        out: &mut Vec<Spooled>,
    ) -> Result<(), DeferredError> {
        let (class, yard) = (&mut self.classes[index], &mut self.yard);
        class.reader.forget_buffer();
        while budget.messages > 0 && budget.octets > 0 {
            let log = Log { directory: &class.directory, end: class.end, gone: &class.gone };
            let Some(head) = class.reader.find(yard, &log)? else {
                // Numbers that were given to what was not written are nobody's.
                class.reader.read.message = class.next.message;
                break;
            };
            let due_ms = due_ms(class, head.at.message, head.next_ms, self.opened_ms);
            if due_ms > now_ms.max(class.reader.gather_to_ms) {
                break;
            }
            if due_ms <= now_ms {
                let gathered_ms = class.delay_s().map_or(0, schedule::gathered_ms);
                class.reader.gather_to_ms = now_ms + gathered_ms;
            }
            let taken = match class.reader.take(yard, &log, Wanted::Whole, slab)? {
                Ok(taken) => taken,
                Err(NoMessage::Incomplete) => {
                    self.incomplete += 1;
                    continue;
                }
                Err(NoMessage::NoMemory) => {
                    budget.octets = 0;
                    break;
                }
            };
            if orders.is_some_and(|orders| orders.wants(class.class, &taken)) {
                // What an operator has ordered comes first; so long what is behind it waits.
                class.reader.go_back(head.at);
                break;
            }
            let history = taken.waited.as_ref().map_or(History::default(), |waited| History {
                attempts: waited.attempts,
                mishaps: waited.state.mishaps,
                since_ms: Some(waited.since_ms),
            });
            let place = Place {
                log: LogId { kind: LogKind::Deferred, shard: yard.owner.thread },
                address: self.next_address,
                retain: self.next_address,
            };
            let Some(spooled) = spooled(taken, place) else {
                class.reader.note_unreadable();
                self.incomplete += 1;
                continue;
            };
            budget.messages -= 1;
            budget.octets = budget.octets.saturating_sub(spooled.content.len());
            self.taken.insert(place.address, history);
            self.next_address += 1;
            out.push(spooled);
        }
        Ok(())
    }

    /// When something is due next, in ms since 1970, as far as it is known: a class of which nothing was looked at counts as due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let of_class = |class: &ClassLog| {
            let head = class.reader.head;
            if class.class.is_aside() || class.next.message == class.reader.read.message {
                return None;
            }
            Some(head.map_or(0, |head| due_ms(class, head.at.message, head.next_ms, self.opened_ms)))
        };
        self.classes.iter().filter_map(of_class).min()
    }

    /// Whether something is taken out.
    pub(super) fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// What is known of a message that is taken out.
    pub(super) fn history(&self, address: u64) -> Option<History> {
        self.taken.get(&address).copied()
    }

    /// Writes messages to a class: on stable storage when this is done, or not there.
    pub(super) fn append<'p>(
        &mut self,
        class: Class,
        parcels: impl Iterator<Item = Parcel<'p>>,
    ) -> Result<(), DeferredError> {
        let (index, yard) = (self.index(class)?, &mut self.yard);
        let log = &mut self.classes[index];
        log.reader.forget_buffer();
        log.append(yard, parcels)
    }

    fn index(&mut self, class: Class) -> Result<usize, DeferredError> {
        if let Some(index) = self.classes.iter().position(|log| log.class == class) {
            return Ok(index);
        }
        self.classes.push(ClassLog::open(&mut self.yard, class, None)?);
        Ok(self.classes.len() - 1)
    }

    /// What is taken out is done with: on stable storage when this is done.
    pub(super) fn commit(&mut self) -> Result<(), DeferredError> {
        let positions = self.classes.iter().map(|log| (log.class, log.reader.read));
        let positions: Vec<(Class, Position)> = positions.filter(|(_, read)| *read != Position::default()).collect();
        self.cursors.write(&self.yard, positions)?;
        self.taken.clear();
        for log in &mut self.classes {
            log.gone.forget_below(log.reader.read.message);
            let freed = log.reader.done.segment..log.reader.read.segment;
            log.reader.done = log.reader.read;
            free(&mut self.yard, log, freed);
            // Only of what is there: a batch that came from elsewhere moves nothing here, and so writes nothing.
            if log.class == Class::Replay && log.end.1 > 0 && log.messages() == 0 {
                // What fails is tried again before the next file is taken up.
                drop(inbox::forget(&mut self.yard, log));
            }
        }
        if self.has_gone && !self.is_gone_dirty && self.classes.iter().all(|log| log.gone.is_empty()) {
            // What fails leaves a file that says what nobody asks for.
            self.has_gone = gone::forget(&self.yard).is_err();
        }
        Ok(())
    }

    /// What is taken out is not done with, and comes again.
    pub(super) fn roll_back(&mut self) {
        self.taken.clear();
        for log in &mut self.classes {
            log.reader.forget_buffer();
            log.reader.go_back(log.reader.done);
        }
    }

    /// What waits in a class.
    pub(super) fn waiting(&self, class: Class) -> Waiting {
        let log = self.classes.iter().find(|log| log.class == class);
        log.map_or(Waiting::default(), |log| Waiting { messages: log.messages(), octets: log.octets(&self.yard) })
    }

    /// The classes that there are.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class> {
        self.classes.iter().map(|log| log.class)
    }

    /// Times that something could not be read.
    pub(super) fn damages(&self) -> u64 {
        self.classes.iter().map(|log| log.reader.damages).sum::<u64>()
            + self.inbox.refused
            + u64::from(self.is_gone_lost)
            + u64::from(self.cursors.is_damaged)
    }

    /// Where it lies, if it was not known any more at the start how far it is done with: all of it is delivered again.
    pub(super) fn begun_again(&self) -> Option<&Path> {
        self.cursors.is_damaged.then_some(&*self.yard.root)
    }

    /// Things that are kept in memory.
    #[cfg(test)]
    pub(super) fn resident(&self) -> usize {
        let of_class = |log: &ClassLog| 1 + log.voids.len() + log.reader.damaged.len();
        self.taken.len() + self.yard.spares() + self.classes.iter().map(of_class).sum::<usize>()
    }

    /// All messages of a class that are not taken out, in order.
    #[cfg(test)]
    pub(super) fn dump(&mut self, class: Class, slab: &mut Slab) -> Vec<(Assembled, u64)> {
        let (Ok(index), yard) = (self.index(class), &mut self.yard) else { return Vec::new() };
        let log = &mut self.classes[index];
        let before = log.reader.read;
        log.reader.forget_buffer();
        let mut all = Vec::new();
        let walk = Log { directory: &log.directory, end: log.end, gone: &log.gone };
        while let Some(head) = log.reader.find(yard, &walk).expect("it can be read") {
            if let Ok(taken) = log.reader.take(yard, &walk, Wanted::Whole, slab).expect("it can be read") {
                all.push((taken, head.next_ms));
            }
        }
        log.reader.go_back(before);
        all
    }

    /// If the operator has put something there, and nothing of that kind is left: it is next.
    fn look_into_inbox(&mut self, now_ms: u64) -> Result<(), DeferredError> {
        let Some(index) = self.classes.iter().position(|log| log.class == Class::Replay) else { return Ok(()) };
        let log = &self.classes[index];
        let (has_file, is_read) = (log.end.1 > 0, log.reader.read.message >= log.next.message);
        if !is_read || (has_file && self.has_taken()) || !self.inbox.is_due(now_ms) {
            return Ok(());
        }
        if has_file {
            // What was left of it went with the last batch, or was passed over since: no other batch need ever come that says so.
            self.commit()?;
        }
        let log = &mut self.classes[index];
        if log.end.1 > 0 { Ok(()) } else { self.inbox.look(&mut self.yard, log) }
    }
}

/// Has what is gone of each class. Gives whether there is a file that says so, and whether it could not be read.
fn find_gone(yard: &mut Yard, classes: &mut [ClassLog]) -> Result<(bool, bool), DeferredError> {
    let Some(found) = gone::open(yard)? else { return Ok((false, true)) };
    // A class that is there no more begins its numbers anew when it is made again.
    let is_there = |class: Class| classes.iter().any(|log| log.class == class);
    let (has_any, mut is_changed) = (!found.is_empty(), found.iter().any(|(class, _)| !is_there(*class)));
    for log in classes.iter_mut() {
        let of_it = found.iter().find(|(class, _)| *class == log.class);
        let Some((_, found)) = of_it else { continue };
        log.gone = found.clone();
        // A number that no message has yet is none's that comes.
        log.gone.keep(log.reader.done.message, log.next.message);
        is_changed |= log.gone != *found;
    }
    if is_changed {
        gone::write(yard, classes)?;
    }
    Ok((has_any, false))
}

/// When a message is due that waits until then. One of an earlier run, whose clock may have been another, waits no longer than its
/// class does.
fn due_ms(class: &ClassLog, message: u64, next_ms: u64, opened_ms: u64) -> u64 {
    match class.delay_s() {
        Some(delay_s) if message < class.first_of_run => next_ms.min(opened_ms + schedule::longest_ms(delay_s)),
        Some(_) => next_ms,
        None => 0,
    }
}

/// Of delays that are configured no more, and in which nothing waits, as many go as are too many. Their segments go first: without a
/// cursor what is there would come again.
fn dismiss_empty(yard: &mut Yard, classes: &mut Vec<ClassLog>, configured: usize) -> Result<(), DeferredError> {
    let mut index = configured;
    while classes.len() > limits::DEFERRED_CLASSES && index < classes.len() {
        if classes[index].messages() > 0 {
            index += 1;
            continue;
        }
        classes.remove(index).dismiss(yard)?;
    }
    Ok(())
}

/// Takes segments away that are done with. What fails is tried after the next start: the cursor is behind them.
fn free(yard: &mut Yard, log: &mut ClassLog, segments: Range<u32>) {
    for number in segments {
        let path = log.path(number);
        let damaged = log.reader.damaged.iter().position(|damaged| *damaged == number);
        let done = match damaged {
            Some(place) => {
                log.reader.damaged.remove(place);
                yard.set_apart(&path)
            }
            None if log.class == Class::Replay => yard.storage.remove(&path).map_err(DeferredError::from),
            None => yard.retire(&path),
        };
        drop(done);
    }
}

/// What comes out of a class, as it goes to the sink.
fn spooled(taken: Assembled, place: Place) -> Option<Spooled> {
    let manifest = Manifest::decode(taken.manifest.octets()).ok()?;
    let (id, route) = (manifest.id, Route::default());
    let recipients = manifest.envelope.recipients().filter(|recipient| recipient.route == route).count() as u32;
    let attempts = taken.waited.as_ref().map_or(0, |waited| waited.attempts);
    let Assembled { manifest, content, .. } = taken;
    (recipients > 0).then_some(Spooled { id, place, route, recipients, attempts, manifest, content })
}
