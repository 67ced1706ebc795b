//! A write to a file, from memory that somebody else may be reading.
//!
//! *Invariant*: the octets are lent, so nobody changes them before the write is done, and they stay as long as it is under way.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::memory::slab::Lease;

/// A file that was opened to be written. It stays open as long as a write to it is under way.
#[derive(Debug)]
pub enum File {
    /// By the kernel.
    Open(OwnedFd),
    /// By a back end that has no descriptors.
    Numbered(u64),
}

/// Octets that are to be written to a file.
#[derive(Debug)]
pub struct Write {
    /// There.
    pub file: Arc<File>,
    /// These.
    pub octets: Lease,
    /// From this octet of the file on.
    pub at: u64,
    /// It is done when the octets are on stable storage, and not before.
    pub is_synced: bool,
}
