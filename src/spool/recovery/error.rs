//! Why a log is not touched.

use std::path::PathBuf;

use crate::spool::scan::Owner;
use crate::spool::storage::StorageError;

/// See the module. Everything is left as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk, or the operator.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is no segment.
    #[error("{}: {what}, and no segment of this log; move it elsewhere, nothing is deleted here", path.display())]
    Foreign {
        /// What lies there.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another version of this program wrote it.
    #[error(
        "{}: written by a version of this program with format {version}; start that one, let it deliver what is there, and then this one", path.display()
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// Of the format.
        version: u16,
    },
    /// It was written on another data directory, or in another log of this one.
    #[error(
        "{}: belongs to {} of node {:08x}, and this is {} of node {:08x}; put it back where it came from",
        path.display(), found.chain.directory(found.shard), found.node, wanted.chain.directory(wanted.shard), wanted.node
    )]
    Owner {
        /// The segment.
        path: PathBuf,
        /// Whose it is.
        found: Owner,
        /// Whose it should be.
        wanted: Owner,
    },
    /// A start has this number that was there before.
    #[error(
        "{}: written at start {found} of this data directory, and this is start {ours}: its file identity is older than its \
         spool; put back the one that belongs to it, or move the spool elsewhere", path.display()
    )]
    Epoch {
        /// The segment.
        path: PathBuf,
        /// Of a block in it.
        found: u32,
        /// Of this start.
        ours: u32,
    },
    /// Two files claim the same addresses.
    #[error(
        "{}: claims the same part of the log as {}, from address {base} on; one of them is a copy: move it elsewhere",
        path.display(), other.display()
    )]
    Twice {
        /// One segment.
        path: PathBuf,
        /// The other.
        other: PathBuf,
        /// Of the first.
        base: u64,
    },
    /// A file has not the length that it had.
    #[error("{}: has {has} octets, and says that segments have {says}; put it back from a copy, or move it elsewhere", path.display())]
    Size {
        /// The segment.
        path: PathBuf,
        /// What it says.
        says: u64,
        /// What it has.
        has: u64,
    },
    /// There are no addresses or sequences left.
    #[error("{}: this log has used all of its addresses; deliver what is there, and move it elsewhere", path.display())]
    Exhausted {
        /// The log.
        path: PathBuf,
    },
}

impl RecoveryError {
    /// EX_DATAERR, or the storage's.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Storage(error) => error.exit_status(),
            _ => 65,
        }
    }
}
