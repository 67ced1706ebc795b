//! The cut below the spool: directories and files, as far as recovery, readers, cursors and deferred mail need them. Calls block.
//!
//! [`disk::Disk`] is the machine's; test builds have one in memory that loses power (`simulation::disk`). What a shard writes goes
//! past this, by its ring, to the same files ([`StoredFile::shared`]).
//!
//! *Invariants*: no symbolic link is followed; nothing is written over or removed but what is named; what is not synced may be gone with
//! the power, in any part; a name may be, as long as its directory is not synced. Places and lengths in a file are multiples of
//! [`ALIGNMENT`], so that each back end can go past the page cache, and no program works only on one that cannot.
//!
//! *Does not* try a sync again, ever: what failed is not known to be anywhere (RELIABILITY F4).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::memory::write::File;
use crate::spool::format::ALIGNMENT;

pub mod disk;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Read,
    /// To be read and written.
    Write,
}

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Without the directory.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
    /// Of a file.
    pub octets: u64,
}

/// Where the spool lies.
pub trait Storage: fmt::Debug + Send + Sync {
    /// What is in a directory, in order of the names.
    fn entries(&self, directory: &Path) -> Result<Vec<Entry>, StorageError>;

    /// Makes a directory, and those above it that are missing, and syncs what they lie in. One that is there already is fine.
    fn make_directory(&self, directory: &Path) -> Result<(), StorageError>;

    /// Opens a file that is there.
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn StoredFile>, StorageError>;

    /// Makes a file that is not there yet, of so many octets, whose place on the disk is taken; it reads as zeros. Its name lasts when
    /// the directory has been synced, its length when the file has.
    fn create(&self, path: &Path, octets: u64) -> Result<Arc<dyn StoredFile>, StorageError>;

    /// Renames a file, and replaces what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), StorageError>;

    /// The names in a directory are on stable storage when this is done.
    fn sync_directory(&self, directory: &Path) -> Result<(), StorageError>;

    /// Octets that can still be written where this path is, or will be.
    fn free_octets(&self, path: &Path) -> Result<u64, StorageError>;

    /// Why what is written there does not survive a power cut, whatever is synced; `None` where it does, as far as can be known.
    fn refuses_durability(&self, path: &Path) -> Option<&'static str>;
}

/// A file of it, open.
pub trait StoredFile: fmt::Debug + Send + Sync {
    /// How long it was when it was opened.
    fn octets(&self) -> u64;

    /// Reads as many octets as there is room for; fewer are an error. It is fastest into an
    /// [`AlignedBuffer`](crate::memory::region::AlignedBuffer).
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<(), StorageError>;

    /// Writes all of these octets; `is_synced`: they are on stable storage when this is done.
    fn write_at(&self, octets: &[u8], at: u64, is_synced: bool) -> Result<(), StorageError>;

    /// Everything written by calls that are done is on stable storage when this is done.
    fn sync(&self) -> Result<(), StorageError>;

    /// The same file, to be written to by a ring.
    fn shared(&self) -> Arc<File>;
}

/// What went wrong in a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The system says so.
    System(Errno),
    /// The file ends before what was to be read.
    UnexpectedEnd,
    /// Neither a file nor a directory, or the one where the other should be; a symbolic link is such.
    Kind,
    /// It belongs to this user.
    Owner(u32),
    /// A place or a length is no multiple of [`ALIGNMENT`]: a mistake of ours.
    Alignment,
    /// The path does not lie in this storage: a mistake of ours.
    Outside,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no room; there may be later.
    Full,
    /// The operator's: owner, rights, what was put there.
    Operator,
    /// The disk's, or whatever it hangs on.
    Disk,
    /// Ours.
    Program,
}

/// A call that did not do what it should, with everything that an operator needs to look for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: cannot {what}: {}", path.display(), text(*cause))]
pub struct StorageError {
    /// The file or directory.
    pub path: PathBuf,
    /// What was tried, as in "cannot …".
    pub what: &'static str,
    /// Why it failed.
    pub cause: Cause,
}

fn text(cause: Cause) -> String {
    match cause {
        Cause::System(Errno::LOOP) => "symbolic links are not followed here".to_owned(),
        Cause::System(errno) => std::io::Error::from(errno).to_string(),
        Cause::UnexpectedEnd => "the file is shorter than it should be".to_owned(),
        Cause::Kind => "what is there is of another kind (symbolic links are not followed)".to_owned(),
        Cause::Owner(user) => {
            format!(
                "it belongs to user {user}, and this process is another; give it to whom the server runs as, with chown"
            )
        }
        Cause::Alignment => format!("a place or a length is no multiple of {ALIGNMENT}"),
        Cause::Outside => "it lies outside of the directory that was opened".to_owned(),
    }
}

impl StorageError {
    /// Whose turn it is.
    pub fn fault(&self) -> Fault {
        match self.cause {
            Cause::System(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Fault::Full,
            Cause::System(
                Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NOENT | Errno::EXIST,
            ) => Fault::Operator,
            Cause::Owner(_) | Cause::Kind => Fault::Operator,
            Cause::System(_) | Cause::UnexpectedEnd => Fault::Disk,
            Cause::Alignment | Cause::Outside => Fault::Program,
        }
    }

    /// What the system said, where it did: EIO where it did not.
    pub fn errno(&self) -> Errno {
        match self.cause {
            Cause::System(errno) => errno,
            Cause::Owner(_) => Errno::ACCESS,
            Cause::Kind => Errno::LOOP,
            Cause::Alignment | Cause::Outside => Errno::INVAL,
            Cause::UnexpectedEnd => Errno::IO,
        }
    }

    /// EX_CANTCREAT, EX_NOPERM, EX_IOERR or EX_SOFTWARE.
    pub fn exit_status(&self) -> u8 {
        match self.fault() {
            Fault::Full => 73,
            Fault::Operator => 77,
            Fault::Disk => 74,
            Fault::Program => 70,
        }
    }

    /// Whether it says of what lies there that it cannot be read. Past the page cache the kernel says of a bad sector that there is no data,
    /// of a broken protection that the octets are illegal, and file systems have words of their own for their checksums. Any other
    /// error is one of the way there, or of the moment.
    pub fn is_unreadable(&self) -> bool {
        let is_bad = |errno| matches!(errno, Errno::IO | Errno::NODATA | Errno::ILSEQ | Errno::BADMSG | Errno::UCLEAN);
        match self.cause {
            Cause::System(errno) => is_bad(errno),
            Cause::UnexpectedEnd => true,
            Cause::Owner(_) | Cause::Kind | Cause::Alignment | Cause::Outside => false,
        }
    }

    /// Whether nothing has that name.
    pub fn is_not_found(&self) -> bool {
        self.cause == Cause::System(Errno::NOENT)
    }
}

/// Whether a read or a write is where one can be.
pub(crate) fn check_alignment(octets: usize, at: u64) -> Result<(), Cause> {
    let is_aligned = octets.is_multiple_of(ALIGNMENT) && at.is_multiple_of(ALIGNMENT as u64);
    if is_aligned { Ok(()) } else { Err(Cause::Alignment) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_path_and_whose_turn_it_is() {
        let error = |cause| StorageError { path: PathBuf::from("/s/0000.segment"), what: "write it", cause };
        for (cause, fault, status, text) in [
            (Cause::System(Errno::NOSPC), Fault::Full, 73, "No space left on device"),
            (Cause::System(Errno::DQUOT), Fault::Full, 73, "quota exceeded"),
            (Cause::System(Errno::IO), Fault::Disk, 74, "Input/output error"),
            (Cause::System(Errno::ROFS), Fault::Disk, 74, "Read-only file system"),
            (Cause::System(Errno::LOOP), Fault::Operator, 77, "symbolic links are not followed"),
            (Cause::System(Errno::ACCESS), Fault::Operator, 77, "Permission denied"),
            (Cause::UnexpectedEnd, Fault::Disk, 74, "shorter than it should be"),
            (Cause::Owner(7), Fault::Operator, 77, "belongs to user 7"),
            (Cause::Kind, Fault::Operator, 77, "of another kind"),
            (Cause::Alignment, Fault::Program, 70, "no multiple of 4096"),
            (Cause::Outside, Fault::Program, 70, "lies outside"),
        ] {
            let error = error(cause);
            assert_eq!((error.fault(), error.exit_status()), (fault, status), "{error}");
            let said = error.to_string();
            assert!(said.starts_with("/s/0000.segment: cannot write it: ") && said.contains(text), "{said}");
        }
        assert!(error(Cause::System(Errno::NOENT)).is_not_found() && !error(Cause::Kind).is_not_found());
    }

    #[test]
    fn places_are_aligned() {
        for (octets, at, is_aligned) in [(4096, 0, true), (0, 8192, true), (4096, 512, false), (512, 4096, false)] {
            assert_eq!(check_alignment(octets, at).is_ok(), is_aligned);
        }
    }
}
