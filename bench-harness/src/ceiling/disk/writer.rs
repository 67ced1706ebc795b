//! Synced writes as a shard's log has them: from blocks of its memory, by its ring, several in flight.
//!
//! *Invariants*: a slot has one write in flight; a block is not changed once it is written. *Does not* know what is measured.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringmx::handoff::mailbox::{Receiver, Sender, mailbox};
use ringmx::memory::slab::{Lease, Slab};
use ringmx::memory::write::{self, Write};
use ringmx::reactor::buffers::GroupShape;
use ringmx::reactor::io::{Io as _, IoCounts, Kind, Operation, Token};
use ringmx::reactor::ring::{Ring, RingOptions};

/// What direct writes have to be aligned to: a page, which no disk's block exceeds.
pub const ALIGNMENT: usize = 4096;

/// How long it waits at once, in ms; a disk that is slower is waited for again.
const WAIT_MS: u64 = 1_000;

/// See the module.
pub struct Writer {
    ring: Ring,
    file: Arc<write::File>,
    /// One for each slot.
    blocks: Vec<Lease>,
    /// Nobody wakes this ring.
    _mailbox: (Sender<()>, Receiver<()>),
}

impl Writer {
    /// With so many slots for blocks of this size, a multiple of [`ALIGNMENT`].
    pub fn new(file: File, block_octets: usize, slots: u16) -> io::Result<Self> {
        assert!(block_octets > 0 && block_octets.is_multiple_of(ALIGNMENT), "blocks are whole pages");
        let (sender, receiver, wake) = mailbox()?;
        // As a shard's, but for what it needs of sockets.
        let group = GroupShape { buffer_octets: ALIGNMENT as u32, buffers: 1 };
        let options = RingOptions { groups: vec![group], ..RingOptions::for_sockets(1) };
        let ring = Ring::new(&options, wake).map_err(io::Error::other)?;
        let mut slab = Slab::with_blocks_of(block_octets, usize::from(slots));
        let mut octets = vec![0; block_octets];
        let blocks = (0..usize::from(slots)).map(|slot| {
            // Not all alike, should a disk look for that.
            for (place, octet) in octets.iter_mut().enumerate() {
                *octet = ((slot * block_octets + place).wrapping_mul(0x9E37_79B9) >> 16) as u8;
            }
            slab.append_whole(&octets).map_err(io::Error::other)
        });
        let blocks = blocks.collect::<io::Result<Vec<Lease>>>()?;
        let file = Arc::new(write::File::Open(OwnedFd::from(file)));
        Ok(Self { ring, file, blocks, _mailbox: (sender, receiver) })
    }

    /// Begins to write a slot's block at this place of the file. The slot must be free.
    pub fn start(&mut self, slot: u16, offset: u64) {
        let (file, octets) = (Arc::clone(&self.file), self.blocks[usize::from(slot)].share());
        let token = Token { kind: Kind::Write, generation: 0, slot: slot.into() };
        self.ring.start(token, Operation::Write { write: Write { file, octets, at: offset, is_synced: true } });
    }

    /// Submits what was begun, and waits until a write is complete.
    pub fn wait(&mut self) -> io::Result<()> {
        let until = self.ring.read_clock().plus_ms(WAIT_MS);
        Ok(self.ring.wait(Some(until))?)
    }

    /// The slot of a write that is complete, all of it.
    pub fn complete(&mut self) -> Option<io::Result<u16>> {
        let done = self.ring.complete()?;
        let slot = done.token.slot as u16;
        let all = self.blocks[usize::from(slot)].octets().len();
        Some(match done.result {
            Ok(octets) if octets as usize == all => Ok(slot),
            Ok(octets) => Err(io::Error::other(format!("{octets} of {all} octets were written"))),
            Err(errno) => Err(errno.into()),
        })
    }

    /// What the ring counted.
    pub fn counts(&self) -> IoCounts {
        self.ring.counts()
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
            writer.start(slot, u64::from(2 - slot) * ALIGNMENT as u64);
        }
        let mut done = Vec::new();
        while done.len() < 3 {
            writer.wait().unwrap();
            done.extend(std::iter::from_fn(|| writer.complete()).map(Result::unwrap));
        }
        done.sort_unstable();
        assert_eq!((done, writer.counts().writes), (vec![0, 1, 2], 3));
        let mut octets = Vec::new();
        back.rewind().unwrap();
        back.read_to_end(&mut octets).unwrap();
        assert_eq!(octets.len(), 3 * ALIGNMENT);
        for (place, block) in octets.chunks(ALIGNMENT).enumerate() {
            assert_eq!(block, writer.blocks[2 - place].octets(), "{place}");
        }
        assert_ne!(octets[..ALIGNMENT], octets[ALIGNMENT..2 * ALIGNMENT], "they are not all alike");
    }

    #[test]
    fn a_write_that_fails_is_told() {
        let file = File::open("/dev/null").unwrap();
        let mut writer = Writer::new(file, ALIGNMENT, 1).unwrap();
        writer.start(0, 0);
        writer.wait().unwrap();
        assert!(writer.complete().unwrap().is_err(), "it is open for reading only");
    }
}
