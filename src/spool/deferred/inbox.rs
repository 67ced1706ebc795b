//! What the operator wishes of a sink that runs: mail that is to be tried at once, and orders for mail that waits.
//!
//! A tool writes a file under a name that begins with a dot, and renames it: to one that ends in `.segment`, which is a log of one
//! segment, or in `.orders`, which is a file of [orders](super::order). It may do so whether the server runs or not.
//!
//! *Invariants*: a file of orders stays until it is carried out ([`carry`](super::carry)). A segment is taken up when the one before it is done with, in the order of names; it
//! is moved out of the inbox first, so that it is taken up once. What cannot be read is renamed, kept, and counted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::limits;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::log::{ClassLog, Next};
use crate::spool::deferred::order::is_order_file;
use crate::spool::deferred::survey::{Survey, survey};
use crate::spool::deferred::yard::Yard;
use crate::spool::storage::EntryKind;

/// Below the directory of a sink's thread.
const NAME: &str = "inbox";

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    directory: PathBuf,
    /// When to look again, in ms since 1970.
    look_ms: u64,
    /// Files that were no segment.
    pub(super) refused: u64,
}

impl Inbox {
    /// Makes the directory, so that its owner is ours.
    pub(super) fn open(yard: &Yard) -> Result<Self, DeferredError> {
        let directory = yard.root.join(NAME);
        yard.storage.make_directory(&directory)?;
        Ok(Self { directory, look_ms: 0, refused: 0 })
    }

    /// Whether to look again. What fails then is not tried sooner than anything else.
    pub(super) fn is_due(&mut self, now_ms: u64) -> bool {
        let is_due = now_ms >= self.look_ms;
        if is_due {
            self.look_ms = now_ms + limits::DEFERRED_INBOX_MS;
        }
        is_due
    }

    /// Lets the class of what is tried at once have the next file, if there is one. Of the last one nothing is left.
    pub(super) fn look(&mut self, yard: &mut Yard, log: &mut ClassLog) -> Result<(), DeferredError> {
        let is_segment =
            |name: &OsString| name.to_str().is_some_and(|name| name.ends_with(".segment") && !name.starts_with('.'));
        let entries = yard.storage.entries(&self.directory)?;
        for entry in entries.into_iter().filter(|entry| entry.kind == EntryKind::File && is_segment(&entry.name)) {
            let path = self.directory.join(&entry.name);
            let Some(survey) = survey(yard, &path).ok().filter(|survey| survey.message.is_some()) else {
                self.refuse(yard, &path)?;
                continue;
            };
            // The next file may be looked at as soon as this one is done with.
            self.look_ms = 0;
            return take_up(yard, log, &path, &survey);
        }
        Ok(())
    }

    /// Files of orders, with their octets.
    pub(super) fn order_files(&self, yard: &Yard) -> Result<Vec<(PathBuf, u64)>, DeferredError> {
        let entries = yard.storage.entries(&self.directory)?.into_iter();
        let files = entries.filter(|entry| entry.kind == EntryKind::File && is_order_file(&entry.name));
        Ok(files.map(|entry| (self.directory.join(entry.name), entry.octets)).collect())
    }

    /// What is no such file as its name says is kept, and not looked at any more.
    pub(super) fn refuse(&mut self, yard: &Yard, path: &Path) -> Result<(), DeferredError> {
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        name.push(".refused");
        yard.storage.rename(path, &self.directory.join(name))?;
        self.refused += 1;
        Ok(())
    }
}

/// A file that is done with, for good when this is done.
pub(super) fn take_away(yard: &Yard, path: &Path) -> Result<(), DeferredError> {
    match yard.storage.remove(path) {
        Err(error) if !error.is_not_found() => return Err(error.into()),
        _ => {}
    }
    Ok(path.parent().map_or(Ok(()), |directory| yard.storage.sync_directory(directory))?)
}

/// It is the class's only segment from now on, under a number that none had before.
fn take_up(yard: &mut Yard, log: &mut ClassLog, from: &Path, survey: &Survey) -> Result<(), DeferredError> {
    if !log.is_made {
        yard.storage.make_directory(&log.directory)?;
        log.is_made = true;
    }
    let number = log.next.segment.max(log.reader.done.segment);
    yard.storage.rename(from, &log.path(number))?;
    // Its number is used from here on, whatever becomes of the sync: the next file must not be moved over it.
    log.end = (number, survey.ending(0, 0).end);
    log.next.segment = number + 1;
    log.next.message = survey.message.map_or(0, |message| message + 1);
    log.reader.begin(number);
    Ok(yard.storage.sync_directory(&log.directory)?)
}

/// All of the segment is done with. One that cannot be taken away stays the class's only one: messages of the next, which are numbered
/// anew, would be taken for its own after a restart.
pub(super) fn forget(yard: &mut Yard, log: &mut ClassLog) -> Result<(), DeferredError> {
    let number = log.end.0;
    let path = log.path(number);
    if log.reader.damaged.contains(&number) {
        yard.set_apart(&path)?;
    } else {
        take_away(yard, &path)?;
    }
    log.end = (number + 1, 0);
    log.next = Next { segment: number + 1, message: 0, ..log.next };
    log.reader.begin(number + 1);
    Ok(())
}
