//! How a segment comes to be: allocated, zeroed and synced under a name that nobody looks for, and named when all of that is done.
//!
//! *Why this way*: a write into blocks that were written before changes nothing but them, so that it is durable with one flush, where
//! one into blocks that are new to the file takes a commit of the file system: 0.12 ms, not 4 ms, as measured.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use tokio_uring::buf::BoundedBuf as _;

use crate::limits;
use crate::memory::region::AlignedBuffer;
use crate::memory::write::File;
use crate::spool::format::ALIGNMENT;
use crate::spool::segment::{self, Segment};
use crate::spool::storage::{Access, Cause, Storage, StorageError, StoredFile};

/// The name in a log's directory of what will be a segment. Whoever finds one there may remove it.
pub const PREPARING: &str = ".preparing";

/// Why there is no segment.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unmade {
    /// What went wrong.
    pub error: StorageError,
    /// A file may have its name all the same: it was to be given, or just given, when that went wrong.
    pub is_named: bool,
}

impl From<StorageError> for Unmade {
    fn from(error: StorageError) -> Self {
        Self { error, is_named: false }
    }
}

/// A segment that is not there yet.
#[derive(Debug)]
pub(super) struct Preparing {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    number: u32,
    octets: u64,
    file: Arc<dyn StoredFile>,
}

impl Preparing {
    /// Takes its place on the disk. `replaces` is said of a number whose file is what was left of it before ([`Unmade::is_named`]).
    pub(super) fn begin(
        storage: &Arc<dyn Storage>,
        directory: &Path,
        (number, replaces): (u32, bool),
        octets: u64,
    ) -> Result<Self, StorageError> {
        let (temporary, path) = (directory.join(PREPARING), directory.join(segment::name(number)));
        for gone in [Some(&temporary), Some(&path).filter(|_| replaces)].into_iter().flatten() {
            match storage.remove(gone) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        // A name that nobody knows of is not written over.
        match storage.open(&path, Access::Read) {
            Ok(_) => return Err(StorageError { path, what: "make the file", cause: Cause::System(Errno::EXIST) }),
            Err(error) if !error.is_not_found() => return Err(error),
            Err(_) => {}
        }
        let file = storage.create(&temporary, octets).inspect_err(|_| {
            // What was made of it before it failed takes room that somebody wants.
            let _ = storage.remove(&temporary);
        })?;
        let (storage, directory) = (Arc::clone(storage), directory.to_owned());
        Ok(Self { storage, directory, number, octets, file })
    }

    /// Zeroes it, and waits until that is on stable storage.
    pub(super) fn fill(&self) -> Result<(), StorageError> {
        let most = self.octets.min(limits::SEGMENT_FILL_OCTETS as u64);
        let zeros = AlignedBuffer::new(most as usize).map_err(|errno| self.cannot("fill the file", errno))?;
        for at in (0..self.octets).step_by(zeros.len()) {
            let octets = (self.octets - at).min(most) as usize;
            self.file.write_at(&zeros[..octets], at, false)?;
        }
        self.file.sync()
    }

    /// The same by the ring of the thread that awaits it. `None`: this is no file of the kernel's.
    pub(super) async fn fill_by_ring(&self) -> Option<Result<(), StorageError>> {
        let file = match &*self.file.shared() {
            File::Open(file) => file.as_fd().try_clone_to_owned(),
            File::Numbered(_) => return None,
        };
        Some(
            match file {
                Ok(file) => self.fill_file(file).await,
                Err(error) => Err(error),
            }
            .map_err(|error| self.cannot("fill the file", Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        )
    }

    async fn fill_file(&self, file: OwnedFd) -> std::io::Result<()> {
        let file = tokio_uring::fs::File::from_std(file.into());
        // Where octets go past the page cache they have to lie at a multiple of a page.
        let mut zeros = vec![0; limits::SEGMENT_FILL_OCTETS + ALIGNMENT];
        let first = zeros.as_ptr().align_offset(ALIGNMENT);
        let mut at = 0;
        while at < self.octets {
            let octets = (self.octets - at).min(limits::SEGMENT_FILL_OCTETS as u64);
            let (written, slice) = file.write_all_at(zeros.slice(first..first + octets as usize), at).await;
            written?;
            zeros = slice.into_inner();
            at += octets;
        }
        let synced = file.sync_all().await;
        synced.and(file.close().await)
    }

    /// It has its name, for good.
    pub(super) fn finish(&self) -> Result<Arc<Segment>, Unmade> {
        let (temporary, path) = (self.directory.join(PREPARING), self.directory.join(segment::name(self.number)));
        let named = self.storage.rename(&temporary, &path).and_then(|()| self.storage.sync_directory(&self.directory));
        named.map_err(|error| Unmade { error, is_named: true })?;
        Ok(Arc::new(Segment::new(self.number, self.file.shared(), self.octets)))
    }

    /// What was made of it goes, as far as that is possible.
    pub(super) fn abandon(&self) {
        let _ = self.storage.remove(&self.directory.join(PREPARING));
    }

    fn cannot(&self, what: &'static str, errno: Errno) -> StorageError {
        StorageError { path: self.directory.join(PREPARING), what, cause: Cause::System(errno) }
    }
}

/// Makes a segment with this number, and waits for it; what was left of it before goes only if that is said of it.
pub fn prepare(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    number: (u32, bool),
    octets: u64,
) -> Result<Arc<Segment>, Unmade> {
    let preparing = Preparing::begin(storage, directory, number, octets)?;
    let filled = preparing.fill().map_err(Unmade::from);
    filled.and_then(|()| preparing.finish()).inspect_err(|_| preparing.abandon())
}
