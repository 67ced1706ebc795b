//! What writes to files read: the writes that are under way, and the blocks of memory that the kernel knows.
//!
//! *Invariants*: a write, with its file and its lease, is kept until its completion has come. A block is known to the kernel by its
//! identity, which no other ever has: where one was unmapped and another lies now, the new one is not known. The entry of a
//! block that is unmapped is given up.
//!
//! *Why this way*: of memory that the kernel knows (a registered buffer) it need not look the pages up at each write. Synced direct
//! writes took 13 µs of CPU of 64 KiB each and 19 µs of 256 KiB with it unknown, and 10 µs and 11 µs with it known, eight in flight; as many
//! of them were written in a second. Where the kernel takes no more (RLIMIT_MEMLOCK), writes are plain.
//!
//! *By a worker of the kernel, where it may wait*: asked not to wait, ext4 waits all the same, for its journal, when it notes that the file
//! has changed (6.18: `ext4_file_write_iter` → `file_update_time` → `do_get_write_access`). A shard that submitted such a write itself
//! stood still with all its sessions for as long as a commit of the journal took, and on a disk that does not answer, for ever. So a
//! worker takes the first write of each tick to a file, and those behind it, which note nothing (`stamps`), are begun by the shard.
//! Workers are as many as writes may be under way, which is bounded for each log.

mod stamps;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};

use io_uring::types::Fd;
use io_uring::{Submitter, opcode, squeue};
use rustix::io::Errno;

use crate::limits;
use crate::memory::slab::{self, Lasting, Lease};
use crate::memory::write::{File, Write};
use crate::reactor::io::Token;
use crate::reactor::writing::stamps::{Stamps, Tick};

/// See the module.
#[derive(Debug, Default)]
pub struct Writing {
    /// They are few, and found by looking at each. With each the tick in which it was begun.
    under_way: Vec<(Token, Write, Tick)>,
    stamps: Stamps,
    known: Known,
}

impl Writing {
    /// The entry for a write, and whether its memory is known to the kernel. What the entry points to is kept until
    /// [`Writing::complete`].
    ///
    /// # Panics
    /// When a write with this token is under way.
    pub fn begin(
        &mut self,
        submitter: &Submitter<'_>,
        token: Token,
        write: Write,
    ) -> Result<(squeue::Entry, bool), Errno> {
        let File::Open(file) = &*write.file else { return Err(Errno::BADF) };
        assert!(self.under_way.iter().all(|(other, ..)| *other != token), "{token:?}: two writes with one number");
        let place = self.known.place(submitter, &write.octets);
        let octets = write.octets.octets();
        let (file, start, length) = (Fd(file.as_raw_fd()), octets.as_ptr(), octets.len() as u32);
        let flags = if write.is_synced { libc::RWF_DSYNC } else { 0 };
        let entry = match place {
            Some(place) => opcode::WriteFixed::new(file, start, length, place).offset(write.at).rw_flags(flags).build(),
            None => opcode::Write::new(file, start, length).offset(write.at).rw_flags(flags).build(),
        };
        let tick = Tick::now();
        let may_wait = !self.stamps.has(&write.file, tick);
        let who = if may_wait { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        self.under_way.push((token, write, tick));
        Ok((entry.flags(who).user_data(token.to_user_data()), place.is_some()))
    }

    /// The write's completion has come: the kernel is done with what it names.
    pub fn complete(&mut self, token: Token, is_written: bool) {
        if let Some(at) = self.under_way.iter().position(|(other, ..)| *other == token) {
            let (_, write, began) = self.under_way.swap_remove(at);
            if is_written {
                self.stamps.note(&write.file, began, Tick::now());
            }
        }
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The ring ends, and with it what could say that a write is done: what such writes read is never used again.
    pub fn abandon(&mut self) {
        self.under_way.drain(..).for_each(std::mem::forget);
    }

    /// Gives the entries of blocks up that were unmapped, as far as it is known.
    pub fn forget_gone(&mut self, submitter: &Submitter<'_>) {
        self.known.forget_gone(submitter);
    }
}

/// The blocks that the kernel knows.
#[derive(Debug, Default)]
struct Known {
    /// By identity: each with its entry of the kernel's table.
    blocks: HashMap<u64, (u16, Weak<u64>)>,
    /// Entries that are free; none before there is a table.
    free: Vec<u16>,
    state: State,
    /// [`slab::gone`] when it was looked at last.
    gone: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// There is no table, and nobody has asked for one.
    #[default]
    Unasked,
    /// There is.
    Open,
    /// There is, and the kernel took no more blocks, until one is gone.
    Full,
    /// The kernel gives none.
    Refused,
}

impl Known {
    /// The entry of the block in which the octets lie.
    fn place(&mut self, submitter: &Submitter<'_>, octets: &Lease) -> Option<u16> {
        let block = octets.lasting()?;
        if let Some((place, _)) = self.blocks.get(block.identity.as_ref()) {
            return Some(*place);
        }
        self.forget_gone(submitter);
        if self.state == State::Unasked {
            self.gone = slab::gone();
            let is_given = submitter.register_buffers_sparse(limits::BLOCKS_REGISTERED).is_ok();
            self.state = if is_given { State::Open } else { State::Refused };
            self.free = (0..limits::BLOCKS_REGISTERED as u16).rev().filter(|_| is_given).collect();
        }
        if self.state != State::Open {
            return None;
        }
        let place = self.free.pop()?;
        if register(submitter, place, &block).is_err() {
            self.free.push(place);
            self.state = State::Full;
            return None;
        }
        self.blocks.insert(**block.identity, (place, Arc::downgrade(block.identity)));
        Some(place)
    }

    fn forget_gone(&mut self, submitter: &Submitter<'_>) {
        let gone = slab::gone();
        if std::mem::replace(&mut self.gone, gone) == gone {
            return;
        }
        if self.state == State::Full {
            self.state = State::Open;
        }
        let Self { blocks, free, .. } = self;
        blocks.retain(|_, (place, block)| {
            // No lease is left, so no write names it. One that does not let go keeps its entry, and memory, and harms nobody.
            let is_kept = block.strong_count() > 0 || !forget(submitter, *place);
            free.extend((!is_kept).then_some(*place));
            is_kept
        });
    }
}

fn register(submitter: &Submitter<'_>, place: u16, block: &Lasting<'_>) -> std::io::Result<()> {
    let range = libc::iovec { iov_base: block.start.cast(), iov_len: block.octets };
    // SAFETY: the range is mapped, since the block is lent. The kernel holds its pages themselves from here on, and reads them only for
    // writes that name the entry, which are those from leases on this very block.
    unsafe { submitter.register_buffers_update(place.into(), &[range], None) }
}

fn forget(submitter: &Submitter<'_>, place: u16) -> bool {
    let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    // SAFETY: an entry that names nothing names no memory.
    unsafe { submitter.register_buffers_update(place.into(), &[nothing], None) }.is_ok()
}
