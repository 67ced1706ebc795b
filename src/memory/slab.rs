//! Memory in which content is kept while it arrives, and until it is delivered: each octet is copied once, to its end in a block,
//! and lent from there to other threads.
//!
//! *Invariants*: only the owner writes, and only behind what it has written so far; a [`Lease`] names octets that were written
//! before it could pass to another thread, and that nobody writes again while it lives. A block goes back to its owner when
//! its last lease is dropped, wherever that is; it is unmapped when the owner does not need it, or is gone.
//!
//! *Why this way*: a message of a few KiB takes a part of a block and one count of references; a large one takes many blocks. Pieces
//! of messages that arrive at the same time lie side by side, as they came. What must lie in one piece, and is longer than a
//! block, has one of its own. *Cost*: a block is in use as long as any message in it is, which is why the bound counts blocks; what is
//! to be kept for long is better kept apart ([`apart`]).

mod page;
mod read;
#[cfg(test)]
mod tests;

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use crossbeam::queue::ArrayQueue;

use crate::limits::{self, BLOCK_OCTETS};
use crate::memory::region::Region;

pub use page::Reserved;

/// No block is to be had: all that are allowed are in use, or the system has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for content is left")]
pub struct SlabFull;

/// A run of memory, and how many hold it.
struct Block {
    /// Leases on it, and one for the owner while it writes there.
    holders: AtomicU32,
    /// Where it goes when nobody holds it; nowhere while it lies there.
    home: UnsafeCell<Option<Arc<Home>>>,
    memory: Region,
    /// For how many it counts; a longer one is not used again, nor one that counts for none, which is for what is kept apart.
    counts: usize,
    /// No other block has or had it, wherever they lie.
    identity: Arc<u64>,
    /// Last, so that it goes last.
    _going: Option<Going>,
}

/// Blocks that were unmapped and would have been used again.
static GONE: AtomicU64 = AtomicU64::new(0);

impl Block {
    fn new(home: Option<Arc<Home>>, memory: Region, counts: usize) -> Self {
        static BLOCKS: AtomicU64 = AtomicU64::new(0);
        let identity = Arc::new(BLOCKS.fetch_add(1, Ordering::Relaxed));
        let _going = (counts == 1).then_some(Going);
        Self { holders: AtomicU32::new(0), home: UnsafeCell::new(home), memory, counts, identity, _going }
    }
}

/// What a block that is used again leaves behind.
struct Going;

impl Drop for Going {
    fn drop(&mut self) {
        // Its identity was given up before: who sees this number sees that.
        GONE.fetch_add(1, Ordering::Release);
    }
}

/// How many of the blocks that [`Lease::lasting`] may name were unmapped so far, by all slabs.
pub fn gone() -> u64 {
    GONE.load(Ordering::Acquire)
}

/// A block that is used again and again, for who makes it known to the kernel once.
#[derive(Clone, Copy, Debug)]
pub struct Lasting<'a> {
    /// No other block has or had it, even where this one lay. The block has given it up when it is unmapped.
    pub identity: &'a Arc<u64>,
    /// Where it begins.
    pub start: *mut u8,
    /// How long it is.
    pub octets: usize,
}

/// Where blocks lie that nobody holds.
struct Home {
    free: ArrayQueue<Box<Block>>,
    /// Blocks that exist; a longer one counts for several.
    made: AtomicUsize,
    block_octets: usize,
    /// Octets of memory of what is kept apart.
    apart: AtomicUsize,
}

impl Home {
    /// Octets of memory in use.
    fn octets(&self) -> usize {
        let made = self.made.load(Ordering::Relaxed);
        made.saturating_sub(self.free.len()) * self.block_octets + self.apart.load(Ordering::Relaxed)
    }

    fn octets_most(&self) -> usize {
        self.free.capacity() * self.block_octets
    }
}

// SAFETY: the memory of a block is written by its owner alone, in ranges that nobody else reads yet; `home` is touched by the owner
// before it lends the block, and by the last holder after all others are done.
unsafe impl Send for Block {}

/// Gives one hold on a block back.
///
/// # Safety
/// The caller has one, and does not use the block afterwards.
unsafe fn let_go(block: NonNull<Block>) {
    // SAFETY: it is held, so it exists.
    let holders = unsafe { &block.as_ref().holders };
    if holders.fetch_sub(1, Ordering::Release) != 1 {
        return;
    }
    // With the Release of the others: all that they did with the block is done.
    fence(Ordering::Acquire);
    // SAFETY: it was made by `Box::leak`, and nobody holds it any more.
    let block = unsafe { Box::from_raw(block.as_ptr()) };
    // SAFETY: nobody else has the block.
    let home = unsafe { (*block.home.get()).take() };
    let Some(home) = home else { return };
    let counts = block.counts;
    if counts == 0 {
        home.apart.fetch_sub(block.memory.octets(), Ordering::Relaxed);
        return;
    }
    if counts == 1 {
        // Whoever still reads it is caught, where AddressSanitizer is.
        block.memory.give(0, block.memory.octets());
    }
    // There is room for every block that may exist.
    if counts > 1 || home.free.push(block).is_err() {
        home.made.fetch_sub(counts, Ordering::Relaxed);
    }
}

/// Octets of one message that lie together. Can be sent to another thread.
pub struct Lease {
    block: NonNull<Block>,
    from: u32,
    octets: u32,
}

// SAFETY: it gives out octets that nobody writes while it lives, and a count that is atomic.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl Lease {
    /// The octets.
    pub fn octets(&self) -> &[u8] {
        if self.octets == 0 {
            // Its place may be the end of the block, which is no octet of it.
            return &[];
        }
        // SAFETY: the lease holds the block.
        let block = unsafe { self.block.as_ref() };
        let start = block.memory.at(self.from as usize);
        // SAFETY: the range lies in the block, was written before the lease was made or grown, and is not written while it lives.
        unsafe { std::slice::from_raw_parts(start, self.octets as usize) }
    }

    /// The block in which they lie, if it is used again when nobody holds it.
    pub fn lasting(&self) -> Option<Lasting<'_>> {
        // SAFETY: the lease holds the block.
        let block = unsafe { self.block.as_ref() };
        let Block { memory, identity, .. } = block;
        (block.counts == 1).then(|| Lasting { identity, start: memory.at(0), octets: memory.octets() })
    }

    /// Another lease on the same octets.
    pub fn share(&self) -> Self {
        // SAFETY: the lease holds the block.
        unsafe { self.block.as_ref() }.holders.fetch_add(1, Ordering::Relaxed);
        Self { ..*self }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: the hold is this lease's own, and it is gone.
        unsafe { let_go(self.block) }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} octets)", self.octets)
    }
}

/// Octets of one message, in the order in which they came.
#[derive(Debug, Default)]
pub struct Leases {
    // COST: a message of a few KiB lies in one piece, or in two where a block or a receive ends (one in sixteen of 4 KiB), and
    // nothing is allocated for it.
    few: [Option<Lease>; 2],
    rest: Vec<Lease>,
}

impl Leases {
    /// How many octets.
    pub fn len(&self) -> u64 {
        self.leases().map(|lease| u64::from(lease.octets)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The octets, piece by piece; no piece is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.leases().map(Lease::octets)
    }

    /// Others on the same octets.
    pub fn share(&self) -> Self {
        let few = self.few.each_ref().map(|lease| lease.as_ref().map(Lease::share));
        Self { few, rest: self.rest.iter().map(Lease::share).collect() }
    }

    fn leases(&self) -> impl Iterator<Item = &Lease> + Clone {
        self.few.iter().flatten().chain(&self.rest)
    }

    fn last(&mut self) -> Option<&mut Lease> {
        let Self { few, rest } = self;
        rest.last_mut().or(few.iter_mut().flatten().next_back())
    }

    fn push(&mut self, lease: Lease) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(lease),
            None => self.rest.push(lease),
        }
    }
}

/// The same octets in memory of their own, which counts as memory in use, so that the blocks in which they lie are free for others
/// however long they are kept; `None` if there is no room for that beside what is in use.
pub fn apart(whole: &Lease, leases: &Leases) -> Option<(Lease, Leases)> {
    // SAFETY: the lease holds its block.
    let block = unsafe { whole.block.as_ref() };
    // SAFETY: it is only written before the block is lent and after the last hold on it is gone, and there is one.
    let home = unsafe { (*block.home.get()).clone() }?;
    let octets = (whole.octets().len() + leases.len() as usize).max(1).next_multiple_of(limits::PAGE_OCTETS);
    if home.octets() + octets > home.octets_most() {
        return None;
    }
    let memory = Region::new(octets).ok()?;
    home.apart.fetch_add(octets, Ordering::Relaxed);
    let own = NonNull::from(Box::leak(Box::new(Block::new(Some(home), memory, 0))));
    let mut written = 0;
    let mut copy = |octets: &[u8]| {
        // SAFETY: nobody else knows of the block.
        let start = unsafe { own.as_ref() }.memory.at(written);
        // SAFETY: the memory is as long as all that is copied there, each behind what was before it.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), start, octets.len()) };
        written += octets.len();
    };
    copy(whole.octets());
    leases.pieces().for_each(copy);
    let lease = |from: usize, octets: usize| {
        // SAFETY: this function holds the block by the leases that it makes; the first is made before any is dropped.
        unsafe { own.as_ref() }.holders.fetch_add(1, Ordering::Relaxed);
        Lease { block: own, from: from as u32, octets: octets as u32 }
    };
    let first = lease(0, whole.octets().len());
    let mut others = Leases::default();
    if !leases.is_empty() {
        others.push(lease(whole.octets().len(), leases.len() as usize));
    }
    Some((first, others))
}

/// The owner's side: one thread's.
pub struct Slab {
    /// The block that is being written, held.
    current: Option<NonNull<Block>>,
    /// So many of its octets are written.
    written: usize,
    /// So many of them may be read by others whatever was reserved in them ([`Slab::lease_from`]).
    lent: usize,
    /// Counts the blocks that were begun.
    begun: u64,
    /// No other slab has or had it.
    number: u64,
    block_octets: usize,
    home: Arc<Home>,
}

// SAFETY: the block that is being written is the slab's own to write, on whatever thread it is.
unsafe impl Send for Slab {}

impl Slab {
    /// Of so many blocks of [`BLOCK_OCTETS`] at most; at least one. None is made before it is needed.
    pub fn new(blocks: usize) -> Self {
        Self::with_blocks_of(BLOCK_OCTETS, blocks)
    }

    /// The same with blocks of so many octets.
    pub fn with_blocks_of(block_octets: usize, blocks: usize) -> Self {
        let (free, made, apart) = (ArrayQueue::new(blocks.max(1)), AtomicUsize::new(0), AtomicUsize::new(0));
        Self::of(Arc::new(Home { free, made, block_octets, apart }))
    }

    fn of(home: Arc<Home>) -> Self {
        static SLABS: AtomicU64 = AtomicU64::new(0);
        let number = SLABS.fetch_add(1, Ordering::Relaxed);
        Self { current: None, written: 0, lent: 0, begun: 0, number, block_octets: home.block_octets, home }
    }

    /// How many blocks' memory is in use, the slab's own too; to be asked when the slab is gone, as well.
    #[cfg(test)]
    pub fn watch(&self) -> impl Fn() -> usize + 'static {
        let home = Arc::clone(&self.home);
        move || home.octets().div_ceil(home.block_octets)
    }

    /// Copies octets behind those that the leases name. On failure some of them may have been copied.
    pub fn append(&mut self, leases: &mut Leases, mut octets: &[u8]) -> Result<(), SlabFull> {
        while !octets.is_empty() {
            let block = self.block()?;
            let room = self.block_octets - self.written;
            let (now, later) = octets.split_at(octets.len().min(room));
            self.write(block, leases, now);
            octets = later;
        }
        Ok(())
    }

    /// Copies octets, for which there is room, into the block that is being written.
    fn write(&mut self, block: NonNull<Block>, leases: &mut Leases, octets: &[u8]) {
        let (from, more) = (self.written as u32, octets.len() as u32);
        let goes_on = leases.last().is_some_and(|last| last.block == block && last.from + last.octets == from);
        // COST: counted before the copy: a locked operation behind it would wait until all of it is out of the processor.
        let lease = (!goes_on).then(|| self.lease(block, from as usize, octets.len()));
        // SAFETY: the slab holds the block.
        let start = unsafe { block.as_ref() }.memory.at(self.written);
        // SAFETY: so much room is left in the block, and nobody has a lease on octets that were not written yet but this one, which
        // nobody has seen.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), start, octets.len()) };
        self.written += octets.len();
        match (lease, leases.last()) {
            (Some(lease), _) => leases.push(lease),
            (None, Some(last)) => last.octets += more,
            (None, None) => unreachable!("it goes on behind one that is there"),
        }
    }

    /// A lease on octets of the block that is being written.
    fn lease(&self, block: NonNull<Block>, from: usize, octets: usize) -> Lease {
        // SAFETY: the slab holds the block.
        unsafe { block.as_ref() }.holders.fetch_add(1, Ordering::Relaxed);
        Lease { block, from: from as u32, octets: octets as u32 }
    }

    /// Copies octets to where they lie in one piece.
    pub fn append_whole(&mut self, octets: &[u8]) -> Result<Lease, SlabFull> {
        let (block, from) = if octets.len() > self.block_octets {
            (self.lend(self.make(octets.len())?), 0)
        } else {
            if octets.len() > self.block_octets - self.written {
                self.leave();
            }
            let block = self.block()?;
            // SAFETY: the slab holds the block.
            unsafe { block.as_ref() }.holders.fetch_add(1, Ordering::Relaxed);
            let from = self.written;
            self.written += octets.len();
            (block, from)
        };
        let lease = Lease { block, from: from as u32, octets: octets.len() as u32 };
        if !octets.is_empty() {
            // SAFETY: the lease holds the block.
            let start = unsafe { block.as_ref() }.memory.at(from);
            // SAFETY: so much room was there, and nobody has a lease on it but this one, which nobody has seen.
            unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), start, octets.len()) };
        }
        Ok(lease)
    }

    /// Octets of memory in use: of blocks of which some octet is.
    pub fn octets(&self) -> u64 {
        self.home.octets() as u64
    }

    /// Octets that may be in use.
    pub fn octets_most(&self) -> u64 {
        self.home.octets_most() as u64
    }

    /// Gives a block back to the system if more than so many are free. To be called now and then.
    pub fn trim(&mut self, kept: usize) {
        if self.home.free.len() > kept && self.home.free.pop().is_some() {
            self.home.made.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A block with room.
    fn block(&mut self) -> Result<NonNull<Block>, SlabFull> {
        if let Some(block) = self.current {
            if self.written < self.block_octets {
                return Ok(block);
            }
            self.leave();
        }
        if self.home.octets() + self.block_octets > self.home.octets_most() {
            return Err(SlabFull);
        }
        let block = match self.home.free.pop() {
            Some(free) => {
                free.memory.take(0, free.memory.octets());
                free
            }
            None => self.make(self.block_octets)?,
        };
        let block = self.lend(block);
        (self.written, self.lent) = (0, 0);
        self.begun += 1;
        Ok(*self.current.insert(block))
    }

    /// A block that has one holder from now on.
    fn lend(&self, mut block: Box<Block>) -> NonNull<Block> {
        *block.home.get_mut() = Some(Arc::clone(&self.home));
        *block.holders.get_mut() = 1;
        NonNull::from(Box::leak(block))
    }

    fn make(&self, octets: usize) -> Result<Box<Block>, SlabFull> {
        let counts = octets.div_ceil(self.block_octets);
        let apart = self.home.apart.load(Ordering::Relaxed).div_ceil(self.block_octets);
        // BOUND: each turn gives a block up.
        while self.home.made.load(Ordering::Relaxed) + apart + counts > self.home.free.capacity() {
            drop(self.home.free.pop().ok_or(SlabFull)?);
            self.home.made.fetch_sub(1, Ordering::Relaxed);
        }
        let memory = Region::new(octets).map_err(|_| SlabFull)?;
        self.home.made.fetch_add(counts, Ordering::Relaxed);
        Ok(Box::new(Block::new(None, memory, counts)))
    }

    /// The block that is being written is left to those who have leases on it.
    fn leave(&mut self) {
        if let Some(block) = self.current.take() {
            // SAFETY: the hold is the slab's own, which has just forgotten the block.
            unsafe { let_go(block) }
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} of {} octets)", self.octets(), self.octets_most())
    }
}
