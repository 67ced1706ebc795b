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

    /// A completion has named the buffer of these octets: it is ours until it is released.
    pub fn take(&mut self, received: Received) {
        self.memory.take(self.place(received.buffer), self.shape.buffer_octets as usize);
    }

    /// Received octets.
    ///
    /// # Panics
    /// When there are more than a buffer holds: no completion says so.
    pub fn octets(&mut self, received: Received) -> &mut [u8] {
        assert!(received.octets <= self.shape.buffer_octets, "the kernel fills a buffer at most");
        let start = self.memory.at(self.place(received.buffer));
        // SAFETY: a completion said that so many octets of this buffer are written, and the buffer is ours until `release`;
        // `&mut self` keeps others from lending them.
        unsafe { std::slice::from_raw_parts_mut(start, received.octets as usize) }
    }

    /// Gives the buffer of received octets back to the kernel.
    pub fn release(&mut self, received: Received) {
        self.put(received.buffer);
        self.publish();
    }

    /// Where a buffer begins.
    fn place(&self, buffer: u16) -> usize {
        usize::from(buffer) * self.shape.buffer_octets as usize
    }

    fn put(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (self.shape.buffers - 1));
        let entry = self.ring.at(place * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        self.memory.give(self.place(buffer), self.shape.buffer_octets as usize);
        let address = self.memory.at(self.place(buffer)) as u64;
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

#[cfg(all(test, asan))]
mod tests {
    //! `tests/memory/run` runs these one by one, and expects each to end the process.

    use super::*;
    use crate::reactor::io::GroupId;

    fn received() -> (BufferGroup, Received) {
        let mut group = BufferGroup::new(GroupShape { buffer_octets: 64, buffers: 2 }).unwrap();
        let received = Received { group: GroupId(0), buffer: 1, octets: 5 };
        group.take(received);
        assert_eq!(group.octets(received), [0; 5]);
        (group, received)
    }

    #[test]
    #[ignore = "must fail"]
    fn a_buffer_is_read_after_its_release() {
        let (mut group, received) = received();
        group.release(received);
        assert_eq!(group.octets(received), [0; 5]);
    }

    #[test]
    #[ignore = "must fail"]
    fn a_buffer_is_read_before_it_is_received() {
        let (mut group, received) = received();
        assert_eq!(group.octets(Received { buffer: 0, ..received }), [0; 5]);
    }

    #[test]
    #[ignore = "must fail"]
    fn a_buffer_is_released_twice() {
        let (mut group, received) = received();
        group.release(received);
        group.release(received);
    }
}
