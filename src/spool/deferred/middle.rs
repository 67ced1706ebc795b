//! What is done to a class elsewhere than at its head: looking at what waits, noting what is gone out of it, and writing what is left of
//! one that has holes to its end, so that its segments are free.
//!
//! *Invariants*: nothing is noted as gone before what takes its place is on stable storage, which is the caller's matter; a segment is
//! free when the cursor on the disk is behind it. *Only aside*: a class that is tried again comes to its end by itself; in one that
//! waits for the operator what is removed would take room for ever. Each octet that is written anew stands for one that is gone, so
//! it costs no more than what was removed did.

use std::path::{Path, PathBuf};

use crate::limits;
use crate::memory::slab::Slab;
use crate::spool::deferred::append::Parcel;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::gone;
use crate::spool::deferred::log::{ClassLog, Position};
use crate::spool::deferred::read::{Assembled, Log, NoMessage, Reader, Wanted};
use crate::spool::deferred::store::Store;
use crate::spool::format::Wait;

/// A message where it lies, or why it is not had.
pub(super) type Looked = (Position, Result<Assembled, NoMessage>);

impl Store {
    /// Files of orders in the inbox, with their octets.
    pub(super) fn order_files(&self) -> Result<Vec<(PathBuf, u64)>, DeferredError> {
        self.inbox.order_files(&self.yard)
    }

    /// A file of orders that is none.
    pub(super) fn refuse_orders(&mut self, path: &Path) -> Result<(), DeferredError> {
        self.inbox.refuse(&self.yard, path)
    }

    /// Classes in which something waits that orders may be for, each with the number behind its last message.
    pub(super) fn extents(&self) -> impl Iterator<Item = (Class, u64)> {
        let waits = |log: &&ClassLog| log.class != Class::Replay && log.messages() > 0;
        self.classes.iter().filter(waits).map(|log| (log.class, log.next.message))
    }

    /// The number behind the last message of a class.
    pub(super) fn upto(&self, class: Class) -> u64 {
        self.log(class).next.message
    }

    fn log(&self, class: Class) -> &ClassLog {
        self.classes.iter().find(|log| log.class == class).expect("a class that was there is")
    }

    /// One that begins at the head of a class.
    pub(super) fn reader(&self, class: Class) -> Reader {
        Reader::at(self.log(class).reader.done)
    }

    /// Goes on with a reader that others may have read past since.
    pub(super) fn catch_up(&self, class: Class, reader: &mut Reader) {
        let done = self.log(class).reader.done;
        if reader.read.message < done.message || reader.read.segment < done.segment {
            *reader = Reader::at(done);
        }
        reader.forget_buffer();
    }

    /// The next message of a class, up to a number. `None`: there is none.
    pub(super) fn look(
        &mut self,
        class: Class,
        reader: &mut Reader,
        upto: u64,
        wanted: Wanted,
        slab: &mut Slab,
    ) -> Result<Option<Looked>, DeferredError> {
        let log = self.classes.iter().find(|log| log.class == class).expect("a class that was there is");
        let (yard, log) = (&mut self.yard, Log { directory: &log.directory, end: log.end, gone: &log.gone });
        match reader.find(yard, &log)? {
            Some(head) if head.at.message < upto => Ok(Some((head.at, reader.take(yard, &log, wanted, slab)?))),
            _ => Ok(None),
        }
    }

    /// Runs that can be noted yet.
    pub(super) fn room_for_gone(&self) -> usize {
        self.yard.sizes.gone_runs.saturating_sub(self.runs())
    }

    fn runs(&self) -> usize {
        self.classes.iter().map(|log| log.gone.runs()).sum()
    }

    /// What takes the place of this message is on stable storage: its reader passes it over from now on.
    pub(super) fn note_gone(&mut self, class: Class, message: u64) {
        if let Some(log) = self.classes.iter_mut().find(|log| log.class == class) {
            log.gone.add(message);
            log.reader.head.take_if(|head| head.at.message == message);
            self.is_gone_dirty = true;
        }
    }

    /// What is noted is on stable storage when this is done.
    pub(super) fn keep_gone(&mut self) -> Result<(), DeferredError> {
        if self.is_gone_dirty {
            gone::write(&self.yard, &self.classes)?;
            (self.has_gone, self.is_gone_dirty) = (true, false);
            if self.pass_gone().is_err() {
                // It is passed over later.
                self.roll_back();
            }
        }
        Ok(())
    }

    /// Those at the head of a class need not be noted any more.
    fn pass_gone(&mut self) -> Result<(), DeferredError> {
        for class in self.classes.iter_mut().filter(|class| !class.gone.is_empty()) {
            class.reader.forget_buffer();
            let log = Log { directory: &class.directory, end: class.end, gone: &class.gone };
            if class.reader.find(&mut self.yard, &log)?.is_none() {
                class.reader.read.message = class.next.message;
            }
        }
        self.commit()
    }

    /// Writes some of what is left at the beginning of a class that has many holes to its end. False: there is no such class.
    pub(super) fn turn(&mut self, slab: &mut Slab) -> Result<bool, DeferredError> {
        let is_crowded = self.runs() > self.yard.sizes.gone_runs / 2;
        for index in 0..self.classes.len() {
            let log = &mut self.classes[index];
            let segments = log.octets(&self.yard) / self.yard.sizes.segment_octets;
            let has_holes = segments >= limits::DEFERRED_SPARES as u64 && log.gone.count() > log.messages();
            log.is_turning = !log.gone.is_empty() && (log.is_turning || is_crowded || has_holes);
            if log.class.is_aside() && log.is_turning {
                let turned = self.turn_some(index, slab);
                if turned.is_err() {
                    self.roll_back();
                }
                return turned.map(|()| true);
            }
        }
        Ok(false)
    }

    fn turn_some(&mut self, index: usize, slab: &mut Slab) -> Result<(), DeferredError> {
        let (class, yard) = (&mut self.classes[index], &mut self.yard);
        let (mut left, mut octets, mut incomplete) = (Vec::new(), 0, 0);
        class.reader.forget_buffer();
        while left.len() < limits::DEFERRED_ORDERS_BATCH && octets < limits::DEFERRED_BATCH_OCTETS {
            let log = Log { directory: &class.directory, end: class.end, gone: &class.gone };
            let Some(head) = class.reader.find(yard, &log)? else {
                class.reader.read.message = class.next.message;
                break;
            };
            if !class.gone.has_behind(head.at.message) {
                break;
            }
            match class.reader.take(yard, &log, Wanted::Whole, slab)? {
                Ok(taken) => {
                    octets += taken.content_octets;
                    left.push(taken);
                }
                Err(NoMessage::Incomplete) => incomplete += 1,
                Err(NoMessage::NoMemory) => break,
            }
        }
        let class = class.class;
        self.append(class, left.iter().map(as_it_was))?;
        self.incomplete += incomplete;
        self.commit()
    }
}

/// A message as it waits already.
fn as_it_was(taken: &Assembled) -> Parcel<'_> {
    let waited = taken.waited.as_ref();
    let wait = Wait {
        state: waited.map_or(0, |waited| waited.state.code()),
        attempts: waited.map_or(0, |waited| waited.attempts),
        since_ms: waited.map_or(0, |waited| waited.since_ms),
        next_ms: waited.map_or(0, |waited| waited.next_ms),
        code: waited.map_or(0, |waited| waited.code),
        reply: waited.map_or(&[], |waited| &waited.reply),
    };
    let content = Box::new(taken.content.pieces());
    Parcel { wait, manifest: taken.manifest.octets(), content_octets: taken.content_octets, content }
}
