//! How the files of a wave come to stable storage together.
//!
//! *Invariants*: what returns without an error is on stable storage, as the manuals of fsync and syncfs have it, on every file system;
//! nothing here leans on what one journal happens to do. After an error nothing is synced again: the caller gives the wave up.
//!
//! *Measured* (files of 4 KiB, waves of 64, messages a second in 1, 10 and 1,000 maildirs; ext4 on a virtual disk whose flush takes
//! 80 µs, 2 vCPUs that others used too, Linux 6.18). One file at a time, with fsync of file and directory: 3,400, 3,400, 3,100.
//! Without any sync, which is the ceiling: 27,000, 26,000, 20,000.
//!
//! | the wave's files, then its directories | 1 | 10 | 1,000 |
//! |---|---|---|---|
//! | fdatasync, one after the other | 5,600 | | 3,700 |
//! | sync_file_range for all, then the same | 4,900 | | 4,700 |
//! | fdatasync by 8 threads | 11,600 | 11,300 | 7,200 |
//! | fdatasync by 32 threads, waves of 256 | 15,600 | 15,700 | 10,000 |
//! | syncfs, then fsync of directories by 16 threads | 12,400 | | 11,000 |
//! | syncfs, syncfs | 17,400 | 17,500 | 12,000 |
//! | the same, waves of 256 | 18,800 | 17,600 | 14,000 to 15,600 |
//! | the same without tmp: O_TMPFILE, then linkat | 4 to 15 % more | | 5 % more |
//!
//! So a wave is synced by two calls of syncfs from [`limits::MAILDIR_FILES_SYNCED_WHOLE`] files on: it writes all of them in few
//! requests, and flushes once. io_uring would hand fsync to threads of the kernel, which is the third line without its shared
//! flushes being fewer. O_TMPFILE is not worth a second way for file systems that lack it.
//!
//! syncfs has a price: it waits for what anyone else wrote to that file system. When it once takes longer than
//! [`limits::MAILDIR_WHOLE_SYNC_MS`], the next waves are synced file by file, by threads. It tells of errors since Linux 5.8, of any file;
//! it says nothing of a file system that turned read-only meanwhile, so that is asked for. It is used on the file systems that are
//! known to mean it; on others (FUSE, network file systems, overlays) each file is synced.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use crate::limits;

/// How a wave is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not at all.
    Never,
    /// File by file, directory by directory.
    Each,
    /// The file system as a whole.
    Whole,
}

/// Chooses.
#[derive(Debug)]
pub(super) struct Syncer {
    is_on: bool,
    /// Waves that are to be synced file by file, because the file system as a whole was slow.
    each_for: u32,
}

/// What statfs calls ext2 to ext4, XFS, Btrfs and tmpfs.
const KNOWN: [i64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];

impl Syncer {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, each_for: 0 }
    }

    /// As if the file system had been slow.
    #[cfg(test)]
    pub(super) fn sync_each_for(&mut self, waves: u32) {
        self.each_for = waves;
    }

    /// For a wave of so many files below the root; `beyond`: some of them are on another file system.
    pub(super) fn way(&mut self, root: BorrowedFd<'_>, files: usize, beyond: bool) -> Way {
        if !self.is_on {
            return Way::Never;
        }
        if files < limits::MAILDIR_FILES_SYNCED_WHOLE || beyond {
            return Way::Each;
        }
        if self.each_for > 0 {
            self.each_for -= 1;
            return Way::Each;
        }
        let is_known = rustix::fs::fstatfs(root).is_ok_and(|stat| KNOWN.contains(&stat.f_type));
        if is_known { Way::Whole } else { Way::Each }
    }

    /// Syncs the file system that the root is on.
    pub(super) fn whole(&mut self, root: BorrowedFd<'_>) -> Result<(), Errno> {
        let begin = Instant::now();
        rustix::fs::syncfs(root)?;
        if rustix::fs::fstatvfs(root)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(Errno::ROFS);
        }
        if begin.elapsed().as_millis() > u128::from(limits::MAILDIR_WHOLE_SYNC_MS) {
            self.each_for = limits::MAILDIR_WAVES_AFTER_SLOW;
        }
        Ok(())
    }
}

/// Syncs each of these: files with what it takes to read them, directories with their entries. The first error ends it.
pub(super) fn each(files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        // BOUND: each turn takes a file.
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(errno) = fsync(*file) {
                failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(errno);
                next.store(files.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..limits::MAILDIR_SYNC_THREADS.min(files.len()) {
            // One that cannot be had leaves its work to the others.
            if std::thread::Builder::new().name("maildir-sync".to_owned()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

fn fsync(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // An interrupted fsync has synced nothing, and reported nothing.
    loop {
        match rustix::fs::fsync(file.as_fd()) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tells_of_the_one_that_fails() {
        let directory = std::fs::File::open("/").unwrap();
        // A pipe cannot be synced.
        let (pipe, _other) = std::io::pipe().unwrap();
        let mut files = vec![directory.as_fd(); 40];
        assert_eq!(each(&files), Ok(()));
        assert_eq!(each(&[]), Ok(()));
        for at in [0, 1, 20, 39] {
            files[at] = pipe.as_fd();
            assert_eq!(each(&files), Err(Errno::INVAL), "{at}");
            files[at] = directory.as_fd();
        }
    }

    #[test]
    fn few_files_are_synced_each_and_many_as_a_whole_where_that_is_known_to_work() {
        let file_system = |path: &str| std::fs::File::open(path).unwrap();
        let (many, few) = (limits::MAILDIR_FILES_SYNCED_WHOLE, limits::MAILDIR_FILES_SYNCED_WHOLE - 1);
        let unknown = file_system("/proc");
        let known = file_system("/dev/shm");
        let mut syncer = Syncer::new(true);
        assert_eq!(syncer.way(known.as_fd(), many, false), Way::Whole);
        assert_eq!(syncer.way(known.as_fd(), few, false), Way::Each);
        assert_eq!(syncer.way(known.as_fd(), many, true), Way::Each);
        assert_eq!(syncer.way(unknown.as_fd(), many, false), Way::Each);
        syncer.each_for = 2;
        let ways = [(); 3].map(|()| syncer.way(known.as_fd(), many, false));
        assert_eq!(ways, [Way::Each, Way::Each, Way::Whole]);
        assert_eq!(Syncer::new(false).way(known.as_fd(), many, false), Way::Never);
        // It is mounted for reading only.
        assert_eq!(syncer.whole(known.as_fd()), Ok(()));
    }
}
