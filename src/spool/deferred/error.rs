//! Why deferred mail could not be written or read.

use std::path::PathBuf;

use crate::mail::envelope::EnvelopeFull;
use crate::spool::storage::{Fault, StorageError};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum DeferredError {
    /// The disk, or the file system, does not do what it was asked for.
    #[error("deferred mail: {0}")]
    Storage(#[from] StorageError),
    /// Something lies there that this program has not written; it is left alone.
    #[error("{} is none of this program's: {why}", path.display())]
    Foreign {
        /// What.
        path: PathBuf,
        /// Why that is thought.
        why: &'static str,
    },
    /// The copy of an envelope is longer than it was: it was not made by this program.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFull),
    /// The process can have no more memory.
    #[error("no memory to read and write deferred mail: {0}")]
    Memory(rustix::io::Errno),
}

impl DeferredError {
    /// Whether there is no room for what is to be kept; what is kept already can be read all the same, and done with.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Storage(error) if error.fault() == Fault::Full)
    }
}

impl DeferredError {
    /// What the operator can do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Storage(error) => match error.fault() {
                Fault::Full => "make room on that disk, and it goes on by itself",
                Fault::Operator => "give it to whom the server runs as, and it goes on by itself",
                Fault::Disk => "see to that disk: what is tried again goes on when it answers",
                Fault::Program => "this is a fault of this program: please report it",
            },
            Self::Foreign { .. } => "move it away, and it goes on by itself",
            Self::Memory(_) => "let the process have more memory",
            Self::Envelope(_) => "this is a fault of this program: please report it",
        }
    }

    /// Exit status of a process that could not start for it: what the storage says, EX_OSERR for a lack, EX_CANTCREAT else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Storage(error) => error.exit_status(),
            Self::Memory(_) => 71,
            _ => 73,
        }
    }
}
