//! What the logs of one thread of a sink share: the directory, the buffer, and segments without content.
//!
//! *Invariants*: a file that lies in `spare` has nothing that is needed, whatever its octets are: nobody reads it. A segment gets into
//! a class's directory after its first block is on stable storage, and out of it after a cursor that is behind it is.
//!
//! *Why this way*: a message that moves from one class to the next gives the one a segment and takes one for the other: with spares in
//! common a full disk does not stop it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::spool::deferred::error::DeferredError;
use crate::spool::format::{Chain, Header};
use crate::spool::storage::{Access, EntryKind, Storage, StoredFile};

/// Where segments without content lie.
const SPARE: &str = "spare";
/// Where segments lie of which something could not be read.
const DAMAGED: &str = "damaged";

/// Whose logs they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The random number of the data directory.
    pub node: u32,
    /// The count of starts on it.
    pub epoch: u32,
    /// The thread of the sink.
    pub thread: u16,
    /// The sink.
    pub sink: String,
}

/// How large things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Octets of a segment.
    pub segment_octets: u64,
    /// Octets of a block, at most.
    pub block_octets: usize,
    /// Runs of messages that are gone out of the middle of classes, at most.
    pub gone_runs: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            segment_octets: limits::DEFERRED_SEGMENT_OCTETS,
            block_octets: limits::BLOCK_OCTETS,
            gone_runs: limits::DEFERRED_GONE_RUNS,
        }
    }
}

/// See the module.
pub(super) struct Yard {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) root: PathBuf,
    pub(super) owner: Owner,
    pub(super) sizes: Sizes,
    /// One block is written, or read, at a time.
    pub(super) buffer: AlignedBuffer,
    /// Files in the directory of spares.
    spares: Vec<PathBuf>,
    /// More than any name of a file in it.
    next_name: u64,
    /// The address at which the next segment begins, whatever its class: so what is left of a segment's earlier use is no part of what
    /// is written there now, whatever class it had.
    pub(super) next_base: u64,
    /// Segments that were set apart because something in them could not be read.
    pub(super) damaged: u64,
}

impl Yard {
    /// Makes the directory if there is none.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        root: PathBuf,
        owner: Owner,
        sizes: Sizes,
    ) -> Result<Self, DeferredError> {
        let buffer = AlignedBuffer::new(sizes.block_octets).map_err(DeferredError::Memory)?;
        storage.make_directory(&root)?;
        let (spares, next_name, next_base, damaged) = (Vec::new(), 0, 0, 0);
        let mut yard = Self { storage, root, owner, sizes, buffer, spares, next_name, next_base, damaged };
        yard.find_spares()?;
        Ok(yard)
    }

    fn find_spares(&mut self) -> Result<(), DeferredError> {
        let directory = self.root.join(SPARE);
        self.storage.make_directory(&directory)?;
        let entries = self.storage.entries(&directory)?;
        for entry in entries {
            let path = directory.join(&entry.name);
            let number: Option<u64> = entry.name.to_str().and_then(|name| name.parse().ok());
            let (EntryKind::File, Some(number)) = (entry.kind, number) else { continue };
            self.next_name = self.next_name.max(number + 1);
            if entry.octets == self.sizes.segment_octets {
                self.spares.push(path);
            } else {
                // Of another size, or one of which a crash left less than a whole.
                self.storage.remove(&path)?;
            }
        }
        self.trim();
        Ok(())
    }

    /// The header of a block of one of these logs.
    pub(super) fn header(&self, sequence: u64, address: u64, durable_upto: u64) -> Header {
        let Owner { node, epoch, thread, .. } = self.owner;
        Header { chain: Chain::Deferred, shard: thread, node, epoch, sequence, address, durable_upto }
    }

    /// Whether a block can be one of these logs.
    pub(super) fn is_ours(&self, header: &Header) -> bool {
        header.chain == Chain::Deferred && header.node == self.owner.node
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    /// Has so many spares at least, of which every octet is allocated.
    pub(super) fn provide(&mut self, segments: usize) -> Result<(), DeferredError> {
        let directory = self.root.join(SPARE);
        while self.spares.len() < segments {
            let path = directory.join(self.next_name.to_string());
            self.next_name += 1;
            // Synced, so that its place lasts: nothing that is written there finds the disk full.
            let made = self.storage.create(&path, self.sizes.segment_octets).and_then(|file| file.sync());
            if let Err(error) = made {
                let _ = self.storage.remove(&path);
                return Err(error.into());
            }
            self.spares.push(path);
        }
        Ok(())
    }

    /// Takes a spare, to be written and then moved to where it belongs.
    pub(super) fn take_spare(&mut self) -> Result<(PathBuf, Arc<dyn StoredFile>), DeferredError> {
        // BOUND: each turn but the last takes one away.
        loop {
            self.provide(1)?;
            let path = self.spares.pop().expect("there is one");
            let opened = self.storage.open(&path, Access::Write);
            match opened {
                Ok(file) if file.octets() == self.sizes.segment_octets => return Ok((path, file)),
                // It was a segment when they had another size.
                Ok(_) => self.give_up(path)?,
                Err(error) => {
                    self.give_up(path)?;
                    return Err(error.into());
                }
            }
        }
    }

    /// A spare that was taken, and is as good as before.
    pub(super) fn give_back(&mut self, path: PathBuf) {
        self.spares.push(path);
    }

    /// A spare that could not be used: the next one lies elsewhere on the disk. What cannot be removed either stays one, so that they
    /// never become more, however often that is tried.
    pub(super) fn give_up(&mut self, path: PathBuf) -> Result<(), DeferredError> {
        match self.storage.remove(&path) {
            Err(error) if !error.is_not_found() => {
                self.spares.push(path);
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// A file that is not needed any more.
    pub(super) fn retire(&mut self, path: &Path) -> Result<(), DeferredError> {
        if self.spares.len() >= limits::DEFERRED_SPARES {
            return Ok(self.storage.remove(path)?);
        }
        let spare = self.root.join(SPARE).join(self.next_name.to_string());
        self.next_name += 1;
        self.storage.rename(path, &spare)?;
        self.spares.push(spare);
        Ok(())
    }

    /// A file in which something cannot be read: it is kept, and nothing reads it any more.
    pub(super) fn set_apart(&mut self, path: &Path) -> Result<(), DeferredError> {
        let directory = self.root.join(DAMAGED);
        self.storage.make_directory(&directory)?;
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('/', "-");
        let apart = directory.join(format!("{name}-{}-{}", self.owner.epoch, self.damaged));
        self.storage.rename(path, &apart)?;
        self.damaged += 1;
        Ok(())
    }

    /// Has a spare for the next move from class to class, which gives its own back afterwards. On a full disk it goes without.
    pub(super) fn have_one_ahead(&mut self) {
        if self.provide(1).is_err() {
            self.trim();
        }
    }

    /// Removes spares beyond those that are kept. What cannot be removed now can be later.
    pub(super) fn trim(&mut self) {
        while self.spares.len() > limits::DEFERRED_SPARES {
            let Some(path) = self.spares.pop() else { break };
            if self.storage.remove(&path).is_err() {
                self.spares.push(path);
                break;
            }
        }
    }
}
