//! The sink that keeps each message as a file of a maildir.
//!
//! # What is promised
//!
//! A message lies once in each maildir that one of its recipients has: once for each recipient with `{domain}/{local}`, once in
//! all without placeholders. On top of it stand Return-Path, a Delivered-To for each recipient that the maildir is for, and Received;
//! then the content, octet for octet unless lines are to end with LF. With `sync` it is on stable storage, with its name and the
//! directories above, before it counts as delivered; nothing that is not complete is ever seen in `new`.
//!
//! A fault refuses temporarily, with the path and the error: those of a file its recipients, those of a maildir the recipients
//! whose maildir it is, and those of a sync everyone in the wave, because nobody knows whose octets were lost. What was refused
//! is removed again.
//!
//! # Repeats
//!
//! The name of a file follows from the message, so a repeat overwrites in `new`. A reader may have moved it to `cur`: a message that
//! may be a repeat ([`Message::is_repeat`]: it was tried before, or its log had it before this start) is looked for there, and is
//! delivered if it is found under its name, whatever flags the reader appended. One that was read and deleted, or moved to another
//! folder, before it was acknowledged comes again; so does one that a reader moves in the moment between the look and the rename.
//! Nothing is lost by either.
//!
//! # How
//!
//! Messages go in waves (`batch`): files are written to `tmp`, synced together (`sync`), renamed to `new`, the directories synced,
//! and only then is anyone told. *Does not* know queues or sessions.

mod batch;
mod content;
mod fault;
mod folder;
mod name;
pub mod options;
mod path;
mod quota;
#[cfg(test)]
mod samples;
mod sync;
#[cfg(test)]
mod tests;
mod walk;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Resource;

use crate::handoff::delivery::{Delivery, Verdict};
use crate::limits;
use crate::mail::address::Path;
use crate::mail::manifest::Manifest;
use crate::sink::Sink;

use content::Writer;
use fault::Fault;
use folder::{Folders, Root};
use options::MaildirOptions;
use path::Filler;
use quota::Quota;
use sync::Syncer;

/// A message as this sink sees it.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// What is known beside the content.
    pub manifest: Manifest<'a>,
    /// Whether it may have been delivered before.
    pub is_repeat: bool,
    /// Those to deliver to, each with a number by which the verdict is given.
    pub recipients: Vec<(u32, Path<'a>)>,
    /// The content, in pieces.
    pub content: Vec<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// What a delivery is.
    pub fn of(delivery: &'a Delivery) -> Self {
        Self {
            manifest: delivery.manifest(),
            is_repeat: delivery.may_be_repeat(),
            recipients: delivery.recipients().map(|addressee| (addressee.index, addressee.path)).collect(),
            content: delivery.content().collect(),
        }
    }
}

/// The root could not be made or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(Arc<str>);

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self(fault.why().clone())
    }
}

/// A worker of the sink. Each thread has its own ([`Maildir::another`]); they share the quota.
#[derive(Debug)]
pub struct Maildir {
    shared: Arc<Shared>,
    root: Root,
    folders: Folders,
    /// Files that are written before they are synced.
    files_per_wave: usize,
    filler: Filler,
    writer: Writer,
    syncer: Syncer,
}

/// What all workers of a sink have in common.
#[derive(Debug)]
struct Shared {
    options: MaildirOptions,
    quota: Option<Arc<Quota>>,
    /// Ends walks that are under way.
    stop: Arc<AtomicBool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Maildir {
    /// The first worker of a sink. With a quota all that is there is counted first; what a crash left behind is looked for
    /// and removed by a thread of its own.
    pub fn open(options: MaildirOptions) -> Result<Self, OpenError> {
        Self::open_counting(options, Duration::from_millis(limits::MAILDIR_RECOUNT_MS))
    }

    /// Another worker of the same sink.
    pub fn another(&self) -> Result<Self, OpenError> {
        Ok(Self::of(self.shared.clone(), self.root()?))
    }

    fn root(&self) -> Result<Root, Fault> {
        Root::open(self.shared.options.path.root(), self.shared.options.sync)
    }

    fn open_counting(options: MaildirOptions, interval: Duration) -> Result<Self, OpenError> {
        let root = Root::open(options.path.root(), options.sync)?;
        let stop = Arc::new(AtomicBool::new(false));
        let fault = |error: std::io::Error| OpenError(format!("{}: {error}", root.path().display()).into());
        let directory = root.as_fd().try_clone_to_owned().map_err(fault)?;
        let quota = options.quota_bytes.map(|most| Arc::new(Quota::new(most, interval, &directory, stop.clone())));
        clear_leftovers(directory, options.path.below().len(), stop.clone());
        Ok(Self::of(Arc::new(Shared { options, quota, stop }), root))
    }

    fn of(shared: Arc<Shared>, root: Root) -> Self {
        let descriptors = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let part = usize::try_from(descriptors / limits::MAILDIR_DESCRIPTORS_PART).unwrap_or(usize::MAX);
        let within = |most| part.clamp(limits::MAILDIR_FILES_LEAST, most);
        Self {
            folders: Folders::new(within(limits::MAILDIR_FOLDERS_OPEN)),
            files_per_wave: within(limits::MAILDIR_FILES_PER_WAVE),
            filler: Filler::default(),
            writer: Writer::default(),
            syncer: Syncer::new(shared.options.sync),
            shared,
            root,
        }
    }

    /// Keeps these messages, and says for each recipient, by the message's place and the recipient's number, what became of it.
    /// Blocks.
    pub fn keep(&mut self, messages: &[Message<'_>], conclude: impl FnMut(usize, u32, Verdict)) {
        batch::deliver(self, messages, conclude);
    }
}

impl Sink for Maildir {
    fn deliver(&mut self, batch: &mut [Delivery]) {
        let messages: Vec<Message<'_>> = batch.iter().map(Message::of).collect();
        let mut refused = Vec::new();
        self.keep(&messages, |message, recipient, verdict| {
            if verdict.is_err() {
                refused.push((message, recipient, verdict));
            }
        });
        for (message, recipient, verdict) in refused {
            batch[message].conclude(recipient, verdict);
        }
        // Each recipient had a verdict.
        batch.iter_mut().for_each(Delivery::take_for_the_rest);
    }
}

fn clear_leftovers(root: OwnedFd, depth: usize, stop: Arc<AtomicBool>) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let clear = move || walk::clear_leftovers(root.as_fd(), depth, now_s - limits::MAILDIR_LEFTOVER_S, &stop);
    // Without a thread they stay until the next start.
    let _ = std::thread::Builder::new().name("maildir-clear".to_owned()).spawn(clear);
}
