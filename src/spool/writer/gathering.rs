//! The block that records are added to.
//!
//! *Invariant*: it lies in one piece in the slab's current block from its start to what is written last, so that content is copied
//! once and written from there. Its place in the log is known from its beginning.

use crate::memory::slab::{Leases, Reserved, Slab};
use crate::spool::format::{HEAD_OCTETS, Kind, filling, head};
use crate::spool::writer::group::{Ended, Open, Touched};

/// A part whose length is not known yet.
#[derive(Debug)]
struct Part {
    tag: u64,
    head: Reserved,
    octets: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Which of all that this log began.
    number: u64,
    pub(super) sequence: u64,
    pub(super) address: u64,
    pub(super) base: u64,
    /// In the slab's block.
    pub(super) start: usize,
    /// It ends before that, in the slab's block.
    end: usize,
    pub(super) header: Reserved,
    part: Option<Part>,
    pub(super) ends: Vec<Ended>,
    pub(super) touched: Vec<Touched>,
}

impl Gathering {
    /// Begins where the slab is, for so many octets at most.
    pub(super) fn new(
        slab: &mut Slab,
        header: usize,
        octets: usize,
        number: u64,
        (sequence, address, base): (u64, u64, u64),
    ) -> Self {
        let start = slab.written();
        Self {
            number,
            sequence,
            address,
            base,
            start,
            end: start + octets.min(slab.room()),
            header: slab.reserve(header),
            part: None,
            ends: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Something of a message is in it.
    pub(super) fn touch(&mut self, slot: u32, open: &mut Open) {
        open.first.get_or_insert(self.address);
        if open.last != self.number {
            open.last = self.number;
            self.touched.push(Touched { slot, tag: open.tag });
        }
    }

    /// Octets so far.
    pub(super) fn octets(&self, slab: &Slab) -> usize {
        slab.written() - self.start
    }

    /// Octets that another record's payload can have; none if there is no room for one.
    pub(super) fn room(&self, slab: &Slab) -> Option<usize> {
        let open = self.part.as_ref().map_or(0, |part| filling(part.octets));
        (self.end - slab.written()).checked_sub(open + HEAD_OCTETS).map(|room| room / 8 * 8).filter(|room| *room > 0)
    }

    /// Adds content of a message, as much as there is room for; gives how much, and whether a part has begun with it.
    pub(super) fn add_content(
        &mut self,
        slab: &mut Slab,
        tag: u64,
        leases: Option<&mut Leases>,
        piece: &[u8],
    ) -> (usize, bool) {
        let goes_on = self.part.as_ref().is_some_and(|part| part.tag == tag);
        if !goes_on {
            if self.room(slab).is_none() {
                return (0, false);
            }
            self.close_part(slab);
            self.part = Some(Part { tag, head: slab.reserve(HEAD_OCTETS), octets: 0 });
        }
        // The block's end is a multiple of 8, so that the filling has room, too.
        let taken = piece.len().min(self.end - slab.written());
        match leases {
            Some(leases) => slab.put(leases, &piece[..taken]),
            None => slab.put_within(&piece[..taken]),
        }
        if let Some(part) = &mut self.part {
            part.octets += taken;
        }
        (taken, !goes_on)
    }

    /// Adds a record whose payload is known, and for which there is room; gives its offset in the block. `put` writes the payload.
    pub(super) fn add(
        &mut self,
        slab: &mut Slab,
        kind: Kind,
        tag: u64,
        octets: usize,
        put: impl FnOnce(&mut Slab),
    ) -> usize {
        self.close_part(slab);
        let offset = slab.written() - self.start;
        let place = slab.reserve(HEAD_OCTETS);
        slab.fill(place, &head(kind, octets as u32, tag));
        put(slab);
        debug_assert_eq!(slab.written() - self.start, offset + HEAD_OCTETS + octets);
        slab.pad(filling(octets));
        offset
    }

    /// The part that is open ends.
    pub(super) fn close_part(&mut self, slab: &mut Slab) {
        if let Some(Part { tag, head: place, octets }) = self.part.take() {
            slab.fill(place, &head(Kind::Part, octets as u32, tag));
            slab.pad(filling(octets));
        }
    }
}
