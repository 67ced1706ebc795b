//! Where the lines of the delivery log are written to: a file that is rotated at its bound, or what is no file of a disk.
//!
//! *Invariants*: a file holds whole lines, and no more octets than its bound; one older file is kept beside it. Nothing here
//! waits longer than it is told: a fifo is opened without waiting for a reader, and is written when it has room.
//!
//! *Does not* retry, nor count.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this file, which is made where there is none; a fifo or a device is written as it is.
    File(PathBuf),
    /// To the standard error.
    Stderr,
}

/// Octets of a pipe that are written whole, and when poll says that there is room, without waiting (pipe(7)).
pub(super) const PIPE_OCTETS: usize = 4096;

/// A target that may be open.
#[derive(Debug)]
pub(super) struct Output {
    target: Target,
    /// Octets that a file may have.
    bound: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// `None` for what is no file of a disk.
    kept: Option<Kept>,
}

/// A file of a disk.
#[derive(Debug)]
struct Kept {
    /// Its device and number there.
    identity: (u64, u64),
    octets: u64,
}

impl Output {
    pub(super) const fn new(target: Target, bound: u64) -> Self {
        Self { target, bound, open: None }
    }

    /// Opens it, unless it is open.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(match &self.target {
                Target::File(path) => open_file(path)?,
                Target::Stderr => Open { file: io::stderr().as_fd().try_clone_to_owned()?.into(), kept: None },
            });
        }
        Ok(())
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Lets a file go that another has moved or removed. Not to be asked in the midst of a line.
    pub(super) fn look(&mut self) {
        if let (Target::File(path), Some(Open { kept: Some(kept), .. })) = (&self.target, &self.open)
            && std::fs::metadata(path).map(|now| identity(&now)).ok() != Some(kept.identity)
        {
            self.open = None;
        }
    }

    /// Writes some of these lines, or the rest of one and some more, and says how many octets. Waits so long for room where a
    /// reader makes it; then [`ErrorKind::WouldBlock`]. Closed after an error that opening it anew may mend.
    pub(super) fn put(&mut self, lines: &[u8], is_rest: bool, most: Duration) -> io::Result<usize> {
        self.open()?;
        let Some(open) = &mut self.open else { return Ok(0) };
        let written = match &open.kept {
            None => open.put_whole_lines(lines, most),
            Some(kept) => {
                let room = usize::try_from(self.bound.saturating_sub(kept.octets)).unwrap_or(usize::MAX);
                match whole_lines(lines, room) {
                    // A line that is longer than the bound stands alone in its file.
                    0 if kept.octets > 0 && !is_rest => return self.rotate().map(|()| 0),
                    0 => open.write(&lines[..first_line(lines)]),
                    count => open.write(&lines[..count]),
                }
            }
        };
        let stays = [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
        if written.as_ref().is_err_and(|error| !stays.contains(&error.kind())) {
            self.open = None;
        }
        written
    }

    /// The next line begins a new file.
    fn rotate(&mut self) -> io::Result<()> {
        if let Target::File(path) = &self.target {
            std::fs::rename(path, older(path))?;
        }
        self.open = None;
        Ok(())
    }
}

impl Open {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self.file.write(octets)? {
            0 if !octets.is_empty() => Err(ErrorKind::WriteZero.into()),
            written => {
                if let Some(kept) = &mut self.kept {
                    kept.octets += written as u64;
                }
                Ok(written)
            }
        }
    }

    /// As many as a pipe takes at once, so that they stay whole beside those of other writers.
    fn put_whole_lines(&mut self, lines: &[u8], most: Duration) -> io::Result<usize> {
        let most = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        if poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&most))? == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        match whole_lines(lines, PIPE_OCTETS) {
            0 => self.write(&lines[..lines.len().min(PIPE_OCTETS)]),
            count => self.write(&lines[..count]),
        }
    }
}

/// The older file's name.
pub(super) fn older(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn open_file(path: &Path) -> io::Result<Open> {
    // Who may read the file may read who writes to whom. A fifo without a reader is an error, and not waited for.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Open { file, kept: None });
    }
    let mut octets = metadata.len();
    if octets > 0 {
        let mut last = [0];
        File::open(path)?.read_exact_at(&mut last, octets - 1)?;
        // Whoever wrote it last was cut off in the midst of a line.
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            octets += 1;
        }
    }
    Ok(Open { file, kept: Some(Kept { identity: identity(&metadata), octets }) })
}

/// Octets of as many lines as fit.
pub(super) fn whole_lines(lines: &[u8], most: usize) -> usize {
    memchr::memrchr(b'\n', &lines[..lines.len().min(most)]).map_or(0, |at| at + 1)
}

pub(super) fn first_line(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the standard error may be: nobody reads it, and it must not be set to not block, because others have it too.
    #[test]
    fn a_pipe_that_blocks_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut output = Output { target: Target::Stderr, bound: 0, open: Some(Open { file, kept: None }) };
        let lines = b"a line of twenty 12\n".repeat(1000);
        let mut written = 0;
        let error = loop {
            match output.put(&lines, false, Duration::ZERO) {
                Ok(octets) => written += octets,
                Err(error) => break error,
            }
            assert_eq!(written % 20, 0, "whole lines");
        };
        assert_eq!((error.kind(), output.is_open()), (ErrorKind::WouldBlock, true));
        assert!(written >= PIPE_OCTETS);
        drop(reader);
        let error = output.put(&lines, false, Duration::ZERO).unwrap_err();
        assert_eq!((error.kind(), output.is_open()), (ErrorKind::BrokenPipe, false));
    }
}
