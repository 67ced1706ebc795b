//! A block that is written as one page, such as a log's: what is put together in it lies in it as a whole, with places whose octets
//! are known only later, and with filling.
//!
//! *Invariants*: what is reserved is nobody's to read but the slab's own until it is lent ([`Slab::lease_from`]), and is not written
//! afterwards; no lease on what was put reaches into it. It is zero until it is filled, and so is all filling, whatever the
//! memory was used for before.

#[cfg(test)]
mod tests;

use super::{Block, Lease, Leases, NonNull, Slab, SlabFull};

/// A place in the block that is being written, for octets that are known later.
#[derive(Debug)]
pub struct Reserved {
    /// The slab's number: the block of another may have the same.
    slab: u64,
    /// The number of its block.
    block: u64,
    from: usize,
    octets: usize,
}

impl Slab {
    /// Another writer of blocks, which count together with these. On different threads each may go a block beyond what is allowed.
    pub fn sibling(&self) -> Self {
        Self::of(self.home.clone())
    }

    /// Octets that are left in the block that is being written; 0 without one.
    pub fn room(&self) -> usize {
        self.current.map_or(0, |_| self.block_octets - self.written)
    }

    /// Octets that are written in it.
    pub fn written(&self) -> usize {
        self.current.map_or(0, |_| self.written)
    }

    /// The number of the block that is being written: counts the blocks that this slab has begun.
    pub fn block_number(&self) -> u64 {
        self.begun
    }

    /// Leaves the block that is being written to those who have leases on it, and begins another. On failure there is none.
    pub fn turn_page(&mut self) -> Result<(), SlabFull> {
        self.leave();
        self.block().map(drop)
    }

    /// A place for octets that are known later. They are zero until then.
    ///
    /// # Panics
    /// Without so much room in this block.
    pub fn reserve(&mut self, octets: usize) -> Reserved {
        let from = self.written();
        self.pad(octets);
        Reserved { slab: self.number, block: self.begun, from, octets }
    }

    /// Puts the octets there for which a place was reserved.
    ///
    /// # Panics
    /// When the place is not in the block that is being written, has another length, or was lent by [`Slab::lease_from`]; what lies
    /// before something that was lent counts as lent.
    pub fn fill(&mut self, place: Reserved, octets: &[u8]) {
        let block = self.page(0);
        assert!((place.slab, place.block) == (self.number, self.begun), "reserved in the block that is being written");
        assert!(place.octets == octets.len(), "as many octets as were reserved");
        assert!(place.octets == 0 || place.from >= self.lent, "what is lent is not written any more");
        if octets.is_empty() {
            return;
        }
        // SAFETY: the slab holds the block.
        let start = unsafe { block.as_ref() }.memory.at(place.from);
        // SAFETY: `reserve` found so much room from there on, in this very block. Leases that were made when octets were put
        // have none of what was reserved; those of `lease_from` end before it, as was just checked. `&mut self` excludes those
        // whom `octets_from` shows it to, and the octets to copy with them.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), start, octets.len()) };
    }

    /// Copies octets behind those that the leases name, all into this block.
    ///
    /// # Panics
    /// Without so much room in it.
    pub fn put(&mut self, leases: &mut Leases, octets: &[u8]) {
        let block = self.page(octets.len());
        if !octets.is_empty() {
            self.write(block, leases, octets);
        }
    }

    /// The same of what nobody needs but with the whole that [`Slab::lease_from`] lends.
    ///
    /// COST: a lease is counted by a locked operation, which waits until all that was copied before is out of the processor. For 4 KiB
    /// that was more than the copy: a third of a microsecond.
    ///
    /// # Panics
    /// Without so much room in it.
    pub fn put_within(&mut self, octets: &[u8]) {
        let block = self.page(octets.len());
        if octets.is_empty() {
            return;
        }
        // SAFETY: the slab holds the block.
        let start = unsafe { block.as_ref() }.memory.at(self.written);
        // SAFETY: so much room is left in the block, and nobody has a lease on octets that were not written yet.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), start, octets.len()) };
        self.written += octets.len();
    }

    /// The same of what is one piece.
    ///
    /// # Panics
    /// Without so much room in this block.
    pub fn put_whole(&mut self, octets: &[u8]) -> Lease {
        let block = self.page(octets.len());
        if octets.is_empty() {
            return self.lease(block, 0, 0);
        }
        let mut leases = Leases::default();
        self.write(block, &mut leases, octets);
        leases.few[0].take().expect("one piece is one lease")
    }

    /// Zeros.
    ///
    /// # Panics
    /// Without so much room in this block.
    pub fn pad(&mut self, octets: usize) {
        let block = self.page(octets);
        if octets == 0 {
            return;
        }
        // SAFETY: the slab holds the block.
        let start = unsafe { block.as_ref() }.memory.at(self.written);
        // SAFETY: so much room is left in the block, and nobody has a lease on octets that were not written yet.
        unsafe { std::ptr::write_bytes(start, 0, octets) };
        self.written += octets;
    }

    /// What is written in this block from there on.
    ///
    /// # Panics
    /// When less is written in it, or there is none.
    pub fn octets_from(&self, from: usize) -> &[u8] {
        let block = self.page(0);
        let octets = self.written.checked_sub(from).expect("so much is written");
        if octets == 0 {
            return &[];
        }
        // SAFETY: the slab holds the block.
        let start = unsafe { block.as_ref() }.memory.at(from);
        // SAFETY: the range lies in the block and was written; only the slab writes, which is borrowed as long as the octets are.
        unsafe { std::slice::from_raw_parts(start, octets) }
    }

    /// The same, lent. What is reserved in it must have been filled: it cannot be any more.
    ///
    /// # Panics
    /// As [`Slab::octets_from`].
    pub fn lease_from(&mut self, from: usize) -> Lease {
        let block = self.page(0);
        let octets = self.written.checked_sub(from).expect("so much is written");
        self.lent = self.written;
        if octets == 0 {
            return self.lease(block, 0, 0);
        }
        self.lease(block, from, octets)
    }

    /// The block that is being written, which has so much room.
    fn page(&self, octets: usize) -> NonNull<Block> {
        assert!(octets <= self.room(), "there is room for {octets} octets in the block");
        self.current.expect("a block is being written")
    }
}
