//! Walks through all maildirs: to count octets, and to remove what a crash left behind.
//!
//! *Invariants*: no symbolic link is followed; a walk goes at most [`limits::MAILDIR_WALK_DEPTH`] directories down and
//! looks at [`limits::MAILDIR_WALK_ENTRIES`] entries, and ends soon after it is told to. What cannot be read is passed over: it counts
//! nothing, and stays.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::name;
use crate::limits;

/// A walk that is under way.
struct Walk<'w> {
    stop: &'w AtomicBool,
    entries_left: u64,
}

impl Walk<'_> {
    fn may_go_on(&mut self) -> bool {
        self.entries_left = self.entries_left.saturating_sub(1);
        self.entries_left > 0 && !self.stop.load(Ordering::Relaxed)
    }
}

/// Octets of all files below; no more than just above `most` is counted, and where there are too many entries to look at, `most`
/// is said.
pub(super) fn octets(directory: BorrowedFd<'_>, most: u64, stop: &AtomicBool) -> u64 {
    let mut walk = Walk { stop, entries_left: limits::MAILDIR_WALK_ENTRIES };
    let mut sum = 0;
    if let Ok(directory) = open(directory, c".") {
        count(&directory, limits::MAILDIR_WALK_DEPTH, most, &mut walk, &mut sum);
    }
    if walk.entries_left == 0 { sum.max(most) } else { sum }
}

fn count(directory: &OwnedFd, depth: usize, most: u64, walk: &mut Walk<'_>, sum: &mut u64) {
    for (name, kind) in entries(directory) {
        if *sum > most || !walk.may_go_on() {
            return;
        }
        match kind {
            FileType::RegularFile => {
                let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
                *sum = sum.saturating_add(stat.map_or(0, |stat| stat.st_size as u64));
            }
            FileType::Directory if depth > 0 => {
                if let Ok(below) = open(directory.as_fd(), &name) {
                    count(&below, depth - 1, most, walk, sum);
                }
            }
            _ => {}
        }
    }
}

/// Removes our files that lie in `tmp` since before `before_s` (seconds since 1970), of the maildirs that lie `depth` directories
/// down. Returned is how many there were.
pub(super) fn clear_leftovers(directory: BorrowedFd<'_>, depth: usize, before_s: i64, stop: &AtomicBool) -> u64 {
    let mut walk = Walk { stop, entries_left: limits::MAILDIR_WALK_ENTRIES };
    let mut removed = 0;
    if let Ok(directory) = open(directory, c".") {
        clear_below(&directory, depth, before_s, &mut walk, &mut removed);
    }
    removed
}

fn clear_below(directory: &OwnedFd, depth: usize, before_s: i64, walk: &mut Walk<'_>, removed: &mut u64) {
    if depth == 0 {
        if let Ok(tmp) = open(directory.as_fd(), c"tmp") {
            clear(&tmp, before_s, walk, removed);
        }
        return;
    }
    for (name, kind) in entries(directory) {
        if !walk.may_go_on() {
            return;
        }
        if let (FileType::Directory, Ok(below)) = (kind, open(directory.as_fd(), &name)) {
            clear_below(&below, depth - 1, before_s, walk, removed);
        }
    }
}

fn clear(tmp: &OwnedFd, before_s: i64, walk: &mut Walk<'_>, removed: &mut u64) {
    for (name, kind) in entries(tmp) {
        if !walk.may_go_on() {
            return;
        }
        if kind != FileType::RegularFile || !name::is_ours(name.to_bytes()) {
            continue;
        }
        let is_old =
            rustix::fs::statat(tmp, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_mtime < before_s);
        if is_old && rustix::fs::unlinkat(tmp, &name, AtFlags::empty()).is_ok() {
            *removed += 1;
        }
    }
}

fn open(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// What lies in a directory, but for itself and the one above.
pub(super) fn entries(directory: &OwnedFd) -> impl Iterator<Item = (std::ffi::CString, FileType)> {
    let read = Dir::read_from(directory).ok();
    read.into_iter().flatten().map_while(Result::ok).filter_map(move |entry| {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return None;
        }
        let kind = match entry.file_type() {
            // Not every file system says it with the name.
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        Some((name.to_owned(), kind))
    })
}
