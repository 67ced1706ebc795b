//! Synced writes through a ring of their own: registered, aligned buffers into one file, several in flight.
//!
//! The only file of this program with unsafe code. *Invariants*: a slot has one write in flight; a buffer is as long as a block
//! and is never written to once it is registered. *Does not* know what is measured.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

/// What direct writes have to be aligned to: a page, which no disk's block exceeds.
pub const ALIGNMENT: usize = 4096;

/// `RWF_DSYNC` of pwritev2(2): the write is complete when its data is on the disk.
const SYNCED: i32 = libc::RWF_DSYNC;

/// See the module.
pub struct Writer {
    ring: IoUring,
    file: File,
    /// A buffer for each slot, and what alignment takes.
    memory: Vec<u8>,
    /// Where the first one begins.
    first: usize,
    block_octets: usize,
}

impl Writer {
    /// With so many slots for blocks of this size, a multiple of [`ALIGNMENT`].
    pub fn new(file: File, block_octets: usize, slots: u16) -> io::Result<Self> {
        assert!(block_octets > 0 && block_octets.is_multiple_of(ALIGNMENT), "blocks are whole pages");
        // As the engine's rings are made.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(u32::from(slots).next_power_of_two())?;
        let mut memory = vec![0; block_octets * usize::from(slots) + ALIGNMENT];
        // Not all alike, should a disk look for that.
        for (place, octet) in memory.iter_mut().enumerate() {
            *octet = (place.wrapping_mul(0x9E37_79B9) >> 16) as u8;
        }
        let first = memory.as_ptr().align_offset(ALIGNMENT);
        let buffer = |slot: usize| {
            let octets = &memory[first + slot * block_octets..][..block_octets];
            libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() }
        };
        let buffers: Vec<libc::iovec> = (0..usize::from(slots)).map(buffer).collect();
        // SAFETY: the buffers lie within `memory`, which lives as long as the ring in the same value and is neither moved nor
        // changed. The kernel only reads them, and keeps their pages while a write is under way, whatever becomes of us.
        unsafe { ring.submitter().register_buffers(&buffers)? };
        Ok(Self { ring, file, memory, first, block_octets })
    }

    /// Begins to write a slot's block at this place of the file. The slot must be free.
    pub fn start(&mut self, slot: u16, offset: u64) -> io::Result<()> {
        let block = &self.memory[self.first + usize::from(slot) * self.block_octets..][..self.block_octets];
        let file = types::Fd(self.file.as_raw_fd());
        let write = opcode::WriteFixed::new(file, block.as_ptr(), block.len() as u32, slot)
            .offset(offset)
            .rw_flags(SYNCED)
            .build()
            .user_data(slot.into());
        // SAFETY: the block lies in a registered buffer, and the file is open, for as long as the ring lives.
        unsafe { self.ring.submission().push(&write) }.map_err(io::Error::other)
    }

    /// Submits what was begun, and waits until a write is complete.
    pub fn wait(&mut self) -> io::Result<()> {
        self.ring.submit_and_wait(1).map(drop)
    }

    /// The slot of a write that is complete, all of it.
    pub fn complete(&mut self) -> Option<io::Result<u16>> {
        let done = self.ring.completion().next()?;
        Some(match usize::try_from(done.result()) {
            Ok(octets) if octets == self.block_octets => Ok(done.user_data() as u16),
            Ok(octets) => Err(io::Error::other(format!("{octets} of {} octets were written", self.block_octets))),
            Err(_) => Err(io::Error::from_raw_os_error(-done.result())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};

    #[test]
    fn blocks_arrive_where_they_were_meant_to() {
        let path = std::env::temp_dir().join(format!("ringmx-bench-writer-{}", std::process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut back = file.try_clone().unwrap();
        let mut writer = Writer::new(file, ALIGNMENT, 3).unwrap();
        for slot in 0..3 {
            writer.start(slot, u64::from(2 - slot) * ALIGNMENT as u64).unwrap();
        }
        let mut done = Vec::new();
        while done.len() < 3 {
            writer.wait().unwrap();
            done.extend(std::iter::from_fn(|| writer.complete()).map(Result::unwrap));
        }
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2]);
        let mut octets = Vec::new();
        back.rewind().unwrap();
        back.read_to_end(&mut octets).unwrap();
        assert_eq!(octets.len(), 3 * ALIGNMENT);
        for (place, block) in octets.chunks(ALIGNMENT).enumerate() {
            assert_eq!(block, &writer.memory[writer.first + (2 - place) * ALIGNMENT..][..ALIGNMENT], "{place}");
        }
    }

    #[test]
    fn a_write_that_fails_is_told() {
        let file = File::open("/dev/null").unwrap();
        let mut writer = Writer::new(file, ALIGNMENT, 1).unwrap();
        writer.start(0, 0).unwrap();
        writer.wait().unwrap();
        assert!(writer.complete().unwrap().is_err(), "it is open for reading only");
    }
}
