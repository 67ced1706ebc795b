//! The machine's own storage.
//!
//! *Invariants*: below the directory that it was made for no symbolic link is followed and nothing leads out; what is there and belongs to
//! another user is refused; directories are made 0700, files 0600. The directory itself is the operator's, links and all.
//!
//! *Past the page cache* where the file system can: what was read is then what the disk has, after a failed sync too, and what recovery
//! and readers read does not push others out of memory. Where it cannot, which is tried for each file, reads and writes go through the page
//! cache. Either way a synced write is one (`RWF_DSYNC`).

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Access, Cause, Entry, EntryKind, Storage, StorageError, StoredFile, check_alignment};
use crate::memory::region::AlignedBuffer;
use crate::memory::write::File;
use crate::spool::format::ALIGNMENT;

const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What statfs calls those that are memory only.
const MEMORY: [(i64, &str); 3] = [(0x0102_1994, "tmpfs"), (0x8584_58F6, "ramfs"), (0x9584_58F6, "hugetlbfs")];

/// Below a directory. Paths begin with that directory's, as it was given.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Everything is below `root`, which needs not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path from the root on; nothing is the root itself.
    fn below<'p>(&self, path: &'p Path) -> Result<&'p Path, Cause> {
        let below = path.strip_prefix(&self.root).map_err(|_| Cause::Outside)?;
        let is_plain = below.components().all(|component| matches!(component, Component::Normal(_)));
        if is_plain { Ok(below) } else { Err(Cause::Outside) }
    }

    fn open_root(&self) -> Result<OwnedFd, Errno> {
        let root = if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root };
        rustix::fs::openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    fn directory(&self, directory: &Path) -> Result<OwnedFd, Cause> {
        let below = self.below(directory)?;
        let root = self.open_root()?;
        if below.as_os_str().is_empty() {
            return Ok(root);
        }
        let opened = open_below(root.as_fd(), below, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        let opened = opened?;
        check_owner(&rustix::fs::fstat(&opened)?)?;
        Ok(opened)
    }

    /// The directory that a file lies in, and its name there.
    fn place<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Cause> {
        self.below(path)?;
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if path != self.root => Ok((self.directory(parent)?, name)),
            _ => Err(Cause::Outside),
        }
    }

    fn open_file(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<(OwnedFd, bool), Cause> {
        let (directory, name) = self.place(path)?;
        // A fifo would wait, a device would do anything.
        let flags = flags | OFlags::NONBLOCK;
        let open = |flags| open_below(directory.as_fd(), Path::new(name), flags, mode);
        let (file, is_direct) = match open(flags | OFlags::DIRECT) {
            Ok(file) => (file, true),
            Err(Errno::INVAL) => {
                // The file may have been made though it could not be opened.
                let flags = if flags.contains(OFlags::EXCL) { flags.difference(OFlags::EXCL) } else { flags };
                (open(flags)?, false)
            }
            Err(errno) => return Err(Cause::System(errno)),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Cause::Kind);
        }
        check_owner(&stat)?;
        // A ring would be told EAGAIN.
        change_flags(file.as_fd(), OFlags::NONBLOCK)?;
        Ok((file, is_direct))
    }

    fn stored(path: &Path, file: OwnedFd, is_direct: bool) -> Result<Arc<dyn StoredFile>, Cause> {
        let octets = rustix::fs::fstat(&file)?.st_size as u64;
        if is_direct && octets >= ALIGNMENT as u64 && !reads_directly(file.as_fd())? {
            change_flags(file.as_fd(), OFlags::DIRECT)?;
        }
        Ok(Arc::new(DiskFile { path: path.to_owned(), file: Arc::new(File::Open(file)), octets }))
    }

    fn make(&self, directory: &Path) -> Result<(), StorageError> {
        let error = |path: &Path, cause| StorageError { path: path.to_owned(), what: "make the directory", cause };
        let below = self.below(directory).map_err(|cause| error(directory, cause))?;
        make_root(&self.root).map_err(|(errno, path)| error(&path, Cause::System(errno)))?;
        let mut path = self.root.clone();
        let mut above = self.open_root().map_err(|errno| error(&self.root, Cause::System(errno)))?;
        for component in below.components() {
            path.push(component);
            above = make_one(above.as_fd(), Path::new(component.as_os_str())).map_err(|cause| error(&path, cause))?;
        }
        Ok(())
    }
}

fn open_below(directory: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(directory, path, flags, mode, resolve) {
            // Something was renamed meanwhile, and the kernel could not tell whether it leads out.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

fn change_flags(file: BorrowedFd<'_>, without: OFlags) -> Result<(), Cause> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags.difference(without))?)
}

fn check_owner(stat: &Stat) -> Result<(), Cause> {
    if stat.st_uid == rustix::process::geteuid().as_raw() { Ok(()) } else { Err(Cause::Owner(stat.st_uid)) }
}

/// Whether a file that was opened to be read past the page cache can be: some file systems find out late.
fn reads_directly(file: BorrowedFd<'_>) -> Result<bool, Cause> {
    let mut page = AlignedBuffer::new(ALIGNMENT)?;
    match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut page[..], 0)) {
        Ok(_) => Ok(true),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
        // A bad octet there is for whoever reads it.
        Err(_) => Ok(true),
    }
}

/// Makes a directory below another, and syncs that. One that was there may have been made a moment before a crash: it is synced, too.
fn make_one(above: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Cause> {
    match rustix::fs::mkdirat(above, name, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Cause::System(errno)),
    }
    let made = open_below(above, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    check_owner(&rustix::fs::fstat(&made)?)?;
    rustix::fs::fsync(above)?;
    Ok(made)
}

/// The operator's directory, with all above it that is missing.
fn make_root(path: &Path) -> Result<(), (Errno, PathBuf)> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let made = match rustix::fs::mkdir(path, DIRECTORY_MODE) {
        Err(Errno::NOENT) => {
            make_root(parent)?;
            rustix::fs::mkdir(path, DIRECTORY_MODE)
        }
        done => done,
    };
    match made {
        Ok(()) => rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(rustix::fs::fsync)
            .map_err(|errno| (errno, parent.to_owned())),
        // Whatever is there, opening it tells.
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err((errno, path.to_owned())),
    }
}

impl Storage for Disk {
    fn entries(&self, directory: &Path) -> Result<Vec<Entry>, StorageError> {
        let list = || {
            let opened = self.directory(directory)?;
            let mut entries = Vec::new();
            for entry in Dir::read_from(&opened)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let stat = match rustix::fs::statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    // Removed meanwhile.
                    Err(Errno::NOENT) => continue,
                    stat => stat?,
                };
                let kind = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => EntryKind::File,
                    FileType::Directory => EntryKind::Directory,
                    FileType::Symlink => EntryKind::Link,
                    _ => EntryKind::Other,
                };
                let octets = if kind == EntryKind::File { stat.st_size as u64 } else { 0 };
                entries.push(Entry { name: OsStringExt::from_vec(name.to_vec()), kind, octets });
            }
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        };
        list().map_err(failed(directory, "list the directory"))
    }

    fn make_directory(&self, directory: &Path) -> Result<(), StorageError> {
        self.make(directory)
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn StoredFile>, StorageError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        self.open_file(path, flags, Mode::empty())
            .and_then(|(file, is_direct)| Self::stored(path, file, is_direct))
            .map_err(failed(path, "open the file"))
    }

    fn create(&self, path: &Path, octets: u64) -> Result<Arc<dyn StoredFile>, StorageError> {
        let error = failed(path, "make the file");
        check_alignment(0, octets).map_err(&error)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let (file, is_direct) = self.open_file(path, flags, FILE_MODE).map_err(&error)?;
        let made = allocate(file.as_fd(), octets).and_then(|()| Self::stored(path, file, is_direct));
        // A file without its octets is in the way of the next that tries.
        made.inspect_err(|_| _ = self.remove(path)).map_err(error)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let rename = || {
            let ((old, from), (new, to)) = (self.place(from)?, self.place(to)?);
            rustix::fs::renameat(&old, from, &new, to).map_err(Cause::System)
        };
        rename().map_err(failed(from, "rename the file"))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let remove = || {
            let (directory, name) = self.place(path)?;
            rustix::fs::unlinkat(&directory, name, AtFlags::empty()).map_err(Cause::System)
        };
        remove().map_err(failed(path, "remove the file"))
    }

    fn sync_directory(&self, directory: &Path) -> Result<(), StorageError> {
        self.directory(directory)
            .and_then(|opened| rustix::fs::fsync(&opened).map_err(Cause::System))
            .map_err(failed(directory, "sync the directory"))
    }

    fn free_octets(&self, path: &Path) -> Result<u64, StorageError> {
        let there = nearest(path);
        let stat = rustix::fs::statvfs(there).map_err(|errno| failed(path, "see how much is free")(errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn refuses_durability(&self, path: &Path) -> Option<&'static str> {
        let there = nearest(path);
        let kind = rustix::fs::statfs(there).ok()?.f_type;
        let memory = MEMORY.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name);
        memory.or_else(|| volatile(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, mount_of(there)?))
    }
}

/// The path, or what is above it and there.
fn nearest(path: &Path) -> &Path {
    let there = path.ancestors().find(|path| rustix::fs::stat(*path).is_ok());
    there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn mount_of(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    Some(stat.stx_mnt_id)
}

/// What the mount with this number was told to leave out of a sync.
fn volatile(mounts: &str, number: u64) -> Option<&'static str> {
    let is_it = |line: &&str| line.split(' ').next().is_some_and(|first| first.parse() == Ok(number));
    let (_, file_system) = mounts.lines().find(is_it)?.split_once(" - ")?;
    let mut options = file_system.split(' ').nth(2)?.split(',');
    options.find_map(|option| match option {
        "volatile" => Some("an overlay that is mounted volatile"),
        "nobarrier" | "barrier=0" => Some("a file system that is mounted without barriers"),
        _ => None,
    })
}

/// Takes the octets' place on the disk; where a file system has no way to, the file has its length at least.
fn allocate(file: BorrowedFd<'_>, octets: u64) -> Result<(), Cause> {
    if octets == 0 {
        return Ok(());
    }
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, octets)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => rustix::fs::ftruncate(file, octets).map_err(Cause::System),
        done => done.map_err(Cause::System),
    }
}

fn failed(path: &Path, what: &'static str) -> impl Fn(Cause) -> StorageError {
    move |cause| StorageError { path: path.to_owned(), what, cause }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

#[derive(Debug)]
struct DiskFile {
    path: PathBuf,
    file: Arc<File>,
    octets: u64,
}

impl DiskFile {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match &*self.file {
            File::Open(file) => file.as_fd(),
            File::Numbered(_) => unreachable!("it was opened here"),
        }
    }

    fn read(&self, mut into: &mut [u8], mut at: u64) -> Result<(), Cause> {
        check_alignment(into.len(), at)?;
        if !into.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            let mut aligned = AlignedBuffer::new(into.len())?;
            self.read(&mut aligned, at)?;
            into.copy_from_slice(&aligned);
            return Ok(());
        }
        while !into.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::pread(self.descriptor(), &mut *into, at))? {
                0 => return Err(Cause::UnexpectedEnd),
                read => (into, at) = (&mut into[read..], at + read as u64),
            }
        }
        Ok(())
    }

    fn write(&self, mut octets: &[u8], mut at: u64, flags: ReadWriteFlags) -> Result<(), Cause> {
        check_alignment(octets.len(), at)?;
        if !octets.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            let mut aligned = AlignedBuffer::new(octets.len())?;
            aligned.copy_from_slice(octets);
            return self.write(&aligned, at, flags);
        }
        while !octets.is_empty() {
            let write = || rustix::io::pwritev2(self.descriptor(), &[IoSlice::new(octets)], at, flags);
            match rustix::io::retry_on_intr(write)? {
                0 => return Err(Cause::System(Errno::NOSPC)),
                written => (octets, at) = (&octets[written..], at + written as u64),
            }
        }
        Ok(())
    }
}

impl StoredFile for DiskFile {
    fn octets(&self) -> u64 {
        self.octets
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<(), StorageError> {
        self.read(into, at).map_err(failed(&self.path, "read it"))
    }

    fn write_at(&self, octets: &[u8], at: u64, is_synced: bool) -> Result<(), StorageError> {
        let flags = if is_synced { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        self.write(octets, at, flags).map_err(failed(&self.path, "write it"))
    }

    fn sync(&self) -> Result<(), StorageError> {
        rustix::fs::fsync(self.descriptor()).map_err(|errno| failed(&self.path, "sync it")(errno.into()))
    }

    fn shared(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

#[cfg(test)]
mod tests;
