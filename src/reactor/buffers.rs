//! A group of receive buffers: a ring of descriptors that the kernel takes buffers from, and we put them back into.
//!
//! *Invariants*: a buffer is the kernel's from when it is put into the ring until a completion names it, and ours from
//! then until it is released. The memory outlives the io_uring that knows it.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use rustix::io::Errno;

use crate::memory::region::Region;
use crate::reactor::io::Received;

/// Shape of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// Octets of one buffer.
    pub buffer_octets: u32,
    /// How many; a power of two up to 32,768.
    pub buffers: u16,
}

/// A group, registered or about to be.
#[derive(Debug)]
pub struct BufferGroup {
    shape: GroupShape,
    /// The ring of descriptors, which the kernel reads.
    ring: Region,
    memory: Region,
    /// Counts buffers ever put into the ring.
    tail: u16,
}

impl BufferGroup {
    /// Maps the memory and puts every buffer into the ring.
    pub fn new(shape: GroupShape) -> Result<Self, Errno> {
        assert!(shape.buffers.is_power_of_two() && shape.buffers <= 1 << 15, "as the kernel wants it");
        let count = usize::from(shape.buffers);
        let mut group = Self {
            shape,
            ring: Region::new(count * size_of::<BufRingEntry>())?,
            memory: Region::new(count * shape.buffer_octets as usize)?,
            tail: 0,
        };
        for buffer in 0..shape.buffers {
            group.put(buffer);
        }
        group.publish();
        Ok(group)
    }

    /// The address to register.
    pub fn ring_address(&self) -> u64 {
        self.ring.at(0) as u64
    }

    /// Received octets.
    ///
    /// # Panics
    /// When there are more than a buffer holds: no completion says so.
    pub fn octets(&mut self, received: Received) -> &mut [u8] {
        assert!(received.octets <= self.shape.buffer_octets, "the kernel fills a buffer at most");
        let start = self.memory.at(usize::from(received.buffer) * self.shape.buffer_octets as usize);
        // SAFETY: a completion said that so many octets of this buffer are written, and the buffer is ours until `release`;
        // `&mut self` keeps others from lending them.
        unsafe { std::slice::from_raw_parts_mut(start, received.octets as usize) }
    }

    /// Gives the buffer of received octets back to the kernel.
    pub fn release(&mut self, received: Received) {
        self.put(received.buffer);
        self.publish();
    }

    fn put(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (self.shape.buffers - 1));
        let entry = self.ring.at(place * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        let address = self.memory.at(usize::from(buffer) * self.shape.buffer_octets as usize) as u64;
        // SAFETY: the entry lies in the ring at a place that the kernel does not read before the tail has passed it;
        // zeroed memory is a valid entry. The tail shares the first entry's reserved field, which no setter touches.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.shape.buffer_octets);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was put.
    fn publish(&mut self) {
        let base = self.ring.at(0).cast::<BufRingEntry>();
        // SAFETY: `base` is the first entry of the ring, page-aligned and initialised.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the field is aligned for a u16, lives as long as the ring, and is shared only with the kernel, which
        // reads it by an acquire load.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
