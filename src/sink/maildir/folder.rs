//! The root, and the maildirs below it: opened, made where they are missing, and kept open while mail comes for them.
//!
//! *Invariants*: below the root no symbolic link is followed, and nothing leads out of it; so whoever may write there can hide
//! mail from nobody but himself. Descriptors are kept for a bounded number of maildirs; before they are used again, the
//! path is looked up, so that mail goes where the path leads and not where it once led.
//!
//! The root itself is the operator's, links and all. It is made at the start if it is missing. Later it is not: what was there
//! when the sink started and is gone has been taken away, or its file system has, and mail must not be written to what lies
//! beneath a mount point. A root that was put there anew on the same file system is taken.
//!
//! *Does not* sync: `batch` does, and says here which maildirs are known to last.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::fault::Fault;
use crate::limits;

/// Nobody else's: whoever shall read them is given a way by the operator (an ACL, the same user).
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// What tells one directory from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    inode: u64,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// The directory that everything lies below.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    directory: OwnedFd,
    identity: Identity,
}

impl Root {
    /// Opens it, and makes it with all above it that is missing; what is new is synced if `sync`.
    pub(super) fn open(path: &Path, sync: bool) -> Result<Self, Fault> {
        make_root(path, sync).map_err(|(errno, path)| Fault::of(errno, "cannot make the directory", &path, b""))?;
        Self::open_there(path).map_err(|errno| Fault::of(errno, "cannot open the directory", path, b""))
    }

    fn open_there(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let identity = Identity::of(&rustix::fs::fstat(&directory)?);
        Ok(Self { path: path.to_owned(), directory, identity })
    }

    /// Its path, as the operator wrote it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its file system.
    pub(super) fn device(&self) -> u64 {
        self.identity.device
    }

    /// Looks whether the path still leads here. Says whether another directory of the same file system was found there, and taken.
    pub(super) fn look_again(&mut self) -> Result<bool, Fault> {
        let fault = |errno| Fault::of(errno, "cannot find the directory", &self.path, b"");
        let stat = rustix::fs::stat(&self.path).map_err(fault)?;
        let found = Identity::of(&stat);
        if found == self.identity {
            return Ok(false);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(fault(Errno::NOTDIR));
        }
        let other = Self::open_there(&self.path).map_err(fault)?;
        if other.identity.device != self.identity.device {
            return Err(Fault::root(&self.path, "is on another file system than when the sink was started"));
        }
        *self = other;
        Ok(true)
    }

    /// Opens a directory below, without any symbolic link.
    pub(super) fn directory(&self, below: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        open_below(self.directory.as_fd(), if below.is_empty() { b"." } else { below }, flags)
    }

    pub(super) fn fault(&self, errno: Errno, what: &str, below: &[u8]) -> Fault {
        Fault::of(errno, what, &self.path, below)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Makes a directory and those above it. What was made is synced with the directory that it lies in; so is the last one, because
/// it may have been made a moment before a crash.
fn make_root(path: &Path, sync: bool) -> Result<(), (Errno, PathBuf)> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let is_new = match rustix::fs::mkdir(path, DIRECTORY_MODE) {
        Ok(()) => true,
        Err(Errno::NOENT) => {
            make_root(parent, sync)?;
            match rustix::fs::mkdir(path, DIRECTORY_MODE) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(errno) => return Err((errno, path.to_owned())),
            }
        }
        // Whatever is there, opening it tells.
        Err(_) => false,
    };
    if sync {
        let synced = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(rustix::fs::fsync);
        match synced {
            Err(errno) if is_new => return Err((errno, parent.to_owned())),
            // A directory that was there may lie in one that this process may not read.
            _ => {}
        }
    }
    Ok(())
}

fn open_below(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(directory, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile, and the kernel could not tell whether it leads out.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

/// A maildir, ready to be delivered to.
#[derive(Debug)]
pub(super) struct Folder {
    /// Its path from the root.
    pub(super) below: Box<[u8]>,
    pub(super) tmp: OwnedFd,
    pub(super) new: OwnedFd,
    pub(super) identity: Identity,
}

impl Folder {
    /// The path of what lies in it.
    pub(super) fn inside(&self, name: &[u8]) -> Vec<u8> {
        join(&self.below, name)
    }

    /// Opens it if it is there.
    fn open(root: &Root, below: &[u8]) -> Result<Self, Errno> {
        let base = root.directory(below, OFlags::PATH)?;
        let identity = Identity::of(&rustix::fs::fstat(&base)?);
        let tmp = open_below(base.as_fd(), b"tmp", OFlags::PATH)?;
        let new = open_below(base.as_fd(), b"new", OFlags::RDONLY)?;
        Ok(Self { below: below.into(), tmp, new, identity })
    }

    /// Makes what is missing of it, one directory in the other, so that no symbolic link is followed.
    fn make(root: &Root, below: &[u8]) -> Result<(), Fault> {
        let fault = |errno, path: &[u8]| root.fault(errno, "cannot make the directory", path);
        let mut directory = root.directory(b"", OFlags::PATH).map_err(|errno| fault(errno, b""))?;
        let mut end = 0;
        for component in below.split(|octet| *octet == b'/').filter(|component| !component.is_empty()) {
            end += usize::from(end > 0) + component.len();
            directory = make_one(&directory, component).map_err(|errno| fault(errno, &below[..end]))?;
        }
        for name in [b"tmp", b"new", b"cur"] {
            make_one(&directory, name).map_err(|errno| fault(errno, &join(below, name)))?;
        }
        Ok(())
    }
}

fn make_one(directory: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(directory, OsStr::from_bytes(name), DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => open_below(directory.as_fd(), name, OFlags::PATH),
        Err(errno) => Err(errno),
    }
}

/// A path of two.
pub(super) fn join(below: &[u8], name: &[u8]) -> Vec<u8> {
    if below.is_empty() { name.to_vec() } else { [below, b"/", name].concat() }
}

/// The maildirs of one worker.
#[derive(Debug)]
pub(super) struct Folders {
    /// How many are kept open.
    most: usize,
    open: HashMap<Box<[u8]>, Kept>,
    /// Those whose directories were synced up to the root since the start, as they were then.
    lasting: HashMap<Box<[u8]>, Identity>,
    turn: u64,
}

#[derive(Debug)]
struct Kept {
    folder: Arc<Folder>,
    /// When it was used last, and looked up last.
    turn: u64,
}

impl Folders {
    /// None yet, and so many open at most.
    pub(super) fn new(most: usize) -> Self {
        Self { most, open: HashMap::new(), lasting: HashMap::new(), turn: 0 }
    }

    /// Begins a turn, in which each path is looked up once.
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.lasting.clear();
    }

    /// Gives one up that proved wrong.
    pub(super) fn forget(&mut self, below: &[u8]) {
        self.open.remove(below);
    }

    /// The maildir at that path, made if it is missing. One that is known costs one look-up of the path, and no mkdir.
    pub(super) fn folder(&mut self, root: &Root, below: &[u8]) -> Result<Arc<Folder>, Fault> {
        if let Some(kept) = self.open.get_mut(below) {
            if kept.turn == self.turn || is_still_there(root, &kept.folder) {
                kept.turn = self.turn;
                return Ok(kept.folder.clone());
            }
            self.open.remove(below);
        }
        let folder = match Folder::open(root, below) {
            Err(Errno::NOENT) => {
                Folder::make(root, below)?;
                Folder::open(root, below)
            }
            // They are needed for this one.
            Err(Errno::MFILE) => {
                self.open.clear();
                Folder::open(root, below)
            }
            done => done,
        };
        let folder = folder.map_err(|errno| root.fault(errno, "cannot open the maildir", below))?;
        let folder = Arc::new(folder);
        self.make_room();
        self.open.insert(below.into(), Kept { folder: folder.clone(), turn: self.turn });
        Ok(folder)
    }

    /// How many are open, and how many are known to last.
    #[cfg(test)]
    pub(super) fn known(&self) -> (usize, usize) {
        (self.open.len(), self.lasting.len())
    }

    /// Those that were used least recently go, half of them at once: so that looking for them is rare.
    fn make_room(&mut self) {
        if self.open.len() >= self.most {
            let mut turns: Vec<u64> = self.open.values().map(|kept| kept.turn).collect();
            let middle = turns.len() / 2;
            let (_, median, _) = turns.select_nth_unstable(middle);
            let median = *median;
            self.open.retain(|_, kept| kept.turn > median);
        }
    }

    /// Whether the directories above the messages are known to be on stable storage.
    pub(super) fn is_lasting(&self, folder: &Folder) -> bool {
        self.lasting.get(&folder.below) == Some(&folder.identity)
    }

    /// They are.
    pub(super) fn set_lasting(&mut self, folder: &Folder) {
        if self.lasting.len() >= limits::MAILDIR_FOLDERS_KNOWN {
            self.lasting.clear();
        }
        self.lasting.insert(folder.below.clone(), folder.identity);
    }
}

/// The look-up may follow a link, but what it comes to is held against what was opened without.
fn is_still_there(root: &Root, folder: &Folder) -> bool {
    let path: &[u8] = if folder.below.is_empty() { b"." } else { &folder.below };
    rustix::fs::statat(root, OsStr::from_bytes(path), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| Identity::of(&stat) == folder.identity)
}
