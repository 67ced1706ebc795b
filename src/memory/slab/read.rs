//! Blocks that are filled from elsewhere at once, such as by a read past the page cache, and parts of what is lent.

use super::{Lease, Leases, Slab, SlabFull};

impl Slab {
    /// A block of its own, from whose beginning `read` fills so many octets: at the beginning of a page of memory, to be lent as a
    /// whole. What they were before is anything. Nothing is lent when `read` fails.
    pub fn read_whole<E>(
        &mut self,
        octets: usize,
        read: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Result<Lease, E>, SlabFull> {
        let block = if octets > self.block_octets {
            self.lend(self.make(octets)?)
        } else {
            self.turn_page()?;
            self.current.take().expect("a block was begun")
        };
        // From here on the hold is the lease's.
        let lease = Lease { block, from: 0, octets: octets as u32 };
        if octets == 0 {
            return Ok(Ok(lease));
        }
        // SAFETY: the lease holds the block.
        let start = unsafe { block.as_ref() }.memory.at(0);
        // SAFETY: the block is as long, nobody else has a hold on it or knows of it, and all of its octets are initialised: zero
        // from the system, or what was in it before.
        let room = unsafe { std::slice::from_raw_parts_mut(start, octets) };
        Ok(read(room).map(|()| lease))
    }
}

impl Lease {
    /// A lease on a part of these octets.
    ///
    /// # Panics
    /// When it is none.
    pub fn part(&self, from: usize, octets: usize) -> Self {
        let end = from.checked_add(octets).expect("within the lease");
        assert!(end <= self.octets as usize, "within the lease");
        let mut part = self.share();
        (part.from, part.octets) = (self.from + from as u32, octets as u32);
        part
    }
}

impl Leases {
    /// Adds octets behind those that there are.
    pub fn add(&mut self, lease: Lease) {
        if lease.octets > 0 {
            self.push(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_lies_in_a_block_of_its_own_and_is_lent_in_parts() {
        let mut slab = Slab::with_blocks_of(8192, 4);
        let used = slab.watch();
        let mut leases = Leases::default();
        slab.append(&mut leases, b"before").unwrap();
        let fill = |octet| {
            move |room: &mut [u8]| {
                assert!(room.as_ptr().addr().is_multiple_of(4096));
                room.fill(octet);
                Ok::<_, ()>(())
            }
        };
        let whole = slab.read_whole(4096, fill(b'a')).unwrap().unwrap();
        let long = slab.read_whole(16384, fill(b'b')).unwrap().unwrap();
        assert_eq!((whole.octets().len(), long.octets(), used()), (4096, &[b'b'; 16384][..], 4));
        assert_eq!(slab.read_whole(4096, fill(b'c')).err(), Some(SlabFull));
        let part = whole.part(100, 3);
        drop(whole);
        assert_eq!((part.octets(), used()), (&b"aaa"[..], 4));
        leases.add(part);
        leases.add(long.part(7, 0));
        assert!(long.part(16384, 0).octets().is_empty(), "at the very end of the block");
        assert_eq!(leases.pieces().collect::<Vec<_>>(), [&b"before"[..], b"aaa"]);
        drop(leases);
        assert_eq!(used(), 2);
        assert_eq!(slab.read_whole(4096, |_| Err(7)).unwrap().err(), Some(7));
        drop(long);
        assert_eq!(used(), 0);
    }

    #[test]
    #[should_panic = "within the lease"]
    fn no_part_reaches_beyond() {
        let mut slab = Slab::with_blocks_of(4096, 1);
        let whole = slab.read_whole(10, |_| Ok::<_, ()>(())).unwrap().unwrap();
        let _ = whole.part(4, 7);
    }
}
