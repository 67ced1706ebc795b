//! A group of receive buffers: a ring of descriptors that the kernel takes buffers from, and we put them back into.
//!
//! *Invariants*: a buffer is the kernel's from when it is put into the ring until a completion names it, and ours from
//! then until it is released. The memory outlives the io_uring that knows it.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use rustix::io::Errno;

use crate::memory::region::Region;
use crate::reactor::io::BUNDLE_BUFFERS;

/// Shape of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// Octets of one buffer.
    pub buffer_octets: u32,
    /// How many; a power of two up to 32,768.
    pub buffers: u16,
    /// Whether one receive may fill several, up to [`BUNDLE_BUFFERS`].
    pub bundles: bool,
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
    /// Which buffer stands at each place of the ring.
    order: Vec<u16>,
    /// At which place each buffer stands, or stood when the kernel took it.
    place: Vec<u16>,
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
            order: vec![0; count],
            place: vec![0; count],
        };
        for buffer in 0..shape.buffers {
            group.put(buffer);
        }
        group.publish();
        Ok(group)
    }

    /// The shape it was made with.
    pub fn shape(&self) -> GroupShape {
        self.shape
    }

    /// The address to register.
    pub fn ring_address(&self) -> u64 {
        self.ring.at(0) as u64
    }

    /// The buffers of a receive that began with `first` and took so many octets.
    pub fn run(&self, first: u16, octets: u32) -> [u16; BUNDLE_BUFFERS] {
        let mut buffers = [first; BUNDLE_BUFFERS];
        let place = self.place[usize::from(first)];
        for (index, buffer) in (0..self.buffers_of(octets)).zip(&mut buffers) {
            *buffer = self.order[usize::from(place.wrapping_add(index) & (self.shape.buffers - 1))];
        }
        buffers
    }

    fn buffers_of(&self, octets: u32) -> u16 {
        octets.div_ceil(self.shape.buffer_octets).max(1) as u16
    }

    /// Received octets from `at` on, as far as they lie in one run of memory.
    pub fn octets(&mut self, buffers: [u16; BUNDLE_BUFFERS], octets: u32, at: u32) -> &mut [u8] {
        if at >= octets {
            return &mut [];
        }
        let size = self.shape.buffer_octets;
        let index = (at / size) as usize;
        let mut last = index;
        while last + 1 < usize::from(self.buffers_of(octets)) && buffers[last + 1] == buffers[last] + 1 {
            last += 1;
        }
        let end = octets.min((last as u32 + 1) * size);
        let start = self.memory.at(usize::from(buffers[index]) * size as usize + (at % size) as usize);
        // SAFETY: a completion said that these octets of these buffers are written, and the buffers are ours until
        // `release`; neighbouring numbers are neighbours in memory; `&mut self` keeps others from lending them.
        unsafe { std::slice::from_raw_parts_mut(start, (end - at) as usize) }
    }

    /// Gives the buffers of so many received octets back to the kernel.
    pub fn release(&mut self, buffers: [u16; BUNDLE_BUFFERS], octets: u32) {
        for buffer in &buffers[..usize::from(self.buffers_of(octets))] {
            self.put(*buffer);
        }
        self.publish();
    }

    fn put(&mut self, buffer: u16) {
        let place = self.tail & (self.shape.buffers - 1);
        let entry = self.ring.at(usize::from(place) * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        let address = self.memory.at(usize::from(buffer) * self.shape.buffer_octets as usize) as u64;
        // SAFETY: the entry lies in the ring at a place that the kernel does not read before the tail has passed it;
        // zeroed memory is a valid entry. The tail shares the first entry's reserved field, which no setter touches.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.shape.buffer_octets);
        entry.set_bid(buffer);
        self.order[usize::from(place)] = buffer;
        self.place[usize::from(buffer)] = place;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel takes buffers in the order of the ring; this does the same.
    #[test]
    fn runs_are_found_whatever_the_order_of_release() {
        let shape = GroupShape { buffer_octets: 4096, buffers: 8, bundles: true };
        let mut group = BufferGroup::new(shape).unwrap();
        let first = group.run(0, 3 * 4096);
        assert_eq!(first[..3], [0, 1, 2]);
        let second = group.run(3, 100);
        assert_eq!(second[0], 3);
        group.release(second, 100);
        group.release(first, 3 * 4096);
        // The ring now holds 4 5 6 7 3 0 1 2.
        assert_eq!(group.run(6, 4 * 4096), [6, 7, 3, 0]);
        let run = group.run(6, 4 * 4096 - 5);
        assert_eq!(group.octets(run, 4 * 4096 - 5, 0).len(), 2 * 4096);
        assert_eq!(group.octets(run, 4 * 4096 - 5, 2 * 4096).len(), 4096);
        assert_eq!(group.octets(run, 4 * 4096 - 5, 3 * 4096 + 1).len(), 4096 - 6);
        assert_eq!(group.octets(run, 4 * 4096 - 5, 4 * 4096 - 5).len(), 0);
    }
}
