//! How one consumer gets all of a log, each message once: through its ring while it keeps up, and by reading the log where it does
//! not. The shard's side says what goes into the ring ([`Posting`]), the consumer's what is read first ([`Following`]).
//!
//! *Invariants*: what the ring has of a log is in order, and each letter says from which address on every message of its
//! consumer's was posted (`live_from`): what is missing before that is read from the log. The shard stores, in this
//! order: that it posts no more, before the watermark passes what it did not post; what it posted, before the watermark
//! passes that; then the watermark. So who loads a watermark, *then* empties the ring, *then* asks whether the shard posts, knows
//! of everything below that watermark whether it came by the ring. Nobody waits for the other.
//!
//! *Why this way*: a full ring, or a consumer that sleeps, costs the shard nothing but a flag, and neither side needs an answer. A wish
//! to come back that is out of date does no harm: what follows from it is right for every `live_from`.

use crate::handoff::sync::{Arc, AtomicBool, AtomicU64, CachePadded, Ordering};

/// Nothing is posted.
const BEHIND: u64 = u64::MAX;

/// How far a log goes. The shard writes, its consumers read.
#[derive(Debug, Default)]
pub struct Marks {
    /// Behind the last block that is committed.
    watermark: CachePadded<AtomicU64>,
    /// Every message that ends at the watermark or behind begins here or behind.
    low: AtomicU64,
}

impl Marks {
    /// How far it goes.
    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    fn look(&self) -> Look {
        // The low mark may be of a newer watermark: what was posted before that is found in the ring, which is emptied next.
        let low = self.low.load(Ordering::Acquire);
        Look { watermark: self.watermark.load(Ordering::Acquire), low }
    }

    /// To be called when all that is committed below is posted or skipped, and what is posted is published.
    pub fn publish(&self, watermark: u64, low: u64) {
        self.watermark.store(watermark, Ordering::Release);
        self.low.store(low, Ordering::Release);
    }
}

/// What both sides of one ring know of one log.
#[derive(Debug)]
pub struct Handshake {
    /// From here on all is posted; [`BEHIND`] if nothing is. The shard writes.
    live_from: AtomicU64,
    /// The consumer is near the end of the log.
    wants_live: AtomicBool,
    /// What ends before this is done with. The consumer writes.
    cursor: AtomicU64,
    /// Who has noted that needs nothing before this. The consumer writes.
    retain: AtomicU64,
    /// Letters that were posted and hold nothing any more.
    released: AtomicU64,
    /// Octets of the log that letters in the ring may span.
    window: u64,
}

impl Handshake {
    /// With letters that span so many octets of the log at most.
    pub fn new(window: u64) -> Arc<Self> {
        Arc::new(Self {
            live_from: AtomicU64::new(BEHIND),
            wants_live: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            retain: AtomicU64::new(0),
            released: AtomicU64::new(0),
            window,
        })
    }

    /// A letter that was posted holds nothing any more.
    pub fn release(&self) {
        self.released.fetch_add(1, Ordering::Release);
    }

    /// The consumer has dealt with all that ends before this.
    pub fn settle(&self, cursor: u64) {
        self.cursor.store(cursor, Ordering::Relaxed);
    }

    /// The consumer needs nothing before this, and will not after the next start.
    pub fn note(&self, retain: u64) {
        self.retain.store(retain, Ordering::Release);
    }

    /// The consumer needs nothing of the log before this.
    pub fn retain(&self) -> u64 {
        self.retain.load(Ordering::Acquire)
    }
}

/// The shard's side.
#[derive(Debug)]
pub struct Posting {
    shared: Arc<Handshake>,
    live_from: u64,
    /// The last watermark; nothing that ends behind it was left out, unless something is skipped.
    watermark: Option<u64>,
    is_skipped: bool,
    /// Letters so far.
    posted: u64,
    /// No letter that is held begins before this, or a window before what the consumer has not dealt with.
    oldest: u64,
}

impl Posting {
    pub fn new(shared: Arc<Handshake>) -> Self {
        Self { shared, live_from: BEHIND, watermark: None, is_skipped: false, posted: 0, oldest: 0 }
    }

    /// Whether nothing is posted, so that the consumer reads the log.
    pub fn is_behind(&self) -> bool {
        self.live_from == BEHIND
    }

    /// Whether a message that ends here, and begins at `first`, is to be posted: with what. `has_room` says whether it can be.
    /// One that is not is left to the log.
    pub fn admit(&mut self, address: u64, first: u64, has_room: bool) -> Option<u64> {
        if self.posted == self.shared.released.load(Ordering::Acquire) {
            self.oldest = first;
        }
        let oldest = self.oldest.max(self.shared.cursor.load(Ordering::Relaxed)).min(first);
        let fits = has_room && address.saturating_sub(oldest) <= self.shared.window;
        if fits && self.is_behind() && !self.is_skipped {
            self.come_back();
        }
        if fits && !self.is_behind() {
            self.posted += 1;
            return Some(self.live_from);
        }
        self.is_skipped = true;
        if !self.is_behind() {
            self.live_from = BEHIND;
            // Before the watermark passes this message, whose Release orders it.
            self.shared.live_from.store(BEHIND, Ordering::Relaxed);
            if self.shared.wants_live.load(Ordering::Relaxed) {
                self.shared.wants_live.store(false, Ordering::Relaxed);
            }
        }
        None
    }

    /// This is the watermark now: it has just been published.
    pub fn pass(&mut self, watermark: u64, has_room: bool) {
        self.watermark = Some(watermark);
        self.is_skipped = false;
        if self.is_behind() && has_room {
            self.come_back();
        }
    }

    /// Posts from the watermark on, if the consumer wants that.
    fn come_back(&mut self) {
        if let Some(watermark) = self.watermark
            && self.shared.wants_live.load(Ordering::Relaxed)
        {
            self.live_from = watermark;
            self.shared.live_from.store(watermark, Ordering::Relaxed);
        }
    }
}

/// What a log had at a time.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub watermark: u64,
    pub low: u64,
}

/// What comes next of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The oldest letter of the ring.
    Letter,
    /// What ends before this address, from the log.
    Read(u64),
    /// Nothing for now.
    Nothing,
}

/// The consumer's side.
#[derive(Debug)]
pub struct Following {
    shared: Arc<Handshake>,
    marks: Arc<Marks>,
    /// What ends before this was handed out.
    address: u64,
    /// What is behind that needs nothing before this.
    from: u64,
}

impl Following {
    /// One that has dealt with all that ends before `address`, and needs the log from `from` on; `is_near`: that is all that there
    /// is.
    pub fn new(shared: Arc<Handshake>, marks: Arc<Marks>, (address, from): (u64, u64), is_near: bool) -> Self {
        let this = Self { shared, marks, address, from };
        if is_near {
            this.ask();
        }
        this
    }

    /// To be asked before the ring is emptied.
    pub fn look(&self) -> Look {
        self.marks.look()
    }

    /// What ends before this was handed out, and what is behind needs nothing before that.
    pub fn reached(&self) -> (u64, u64) {
        (self.address, self.from)
    }

    /// What ends before `address` has been handed out, by letter or from the log.
    pub fn pass(&mut self, address: u64, from: u64) {
        self.address = self.address.max(address);
        self.from = self.from.max(from);
    }

    /// What comes next, `oldest` being the address of the oldest letter that came through the ring and is not handed out, and
    /// what it was posted with. Where there is none, the ring must have been emptied since the look.
    pub fn step(&mut self, look: Look, oldest: Option<(u64, u64)>) -> Step {
        if let Some((_, live_from)) = oldest {
            return if live_from <= self.address { Step::Letter } else { Step::Read(live_from) };
        }
        let live_from = self.shared.live_from.load(Ordering::Relaxed);
        if live_from <= self.address {
            // All that was for this consumer has come.
            self.pass(look.watermark, look.low);
            return Step::Nothing;
        }
        if live_from == BEHIND {
            self.ask();
        }
        let upto = live_from.min(look.watermark);
        if upto > self.address { Step::Read(upto) } else { Step::Nothing }
    }

    /// Whether the log has more, and it must be read.
    pub fn is_behind(&self) -> bool {
        let watermark = self.marks.watermark();
        let live_from = self.shared.live_from.load(Ordering::Relaxed);
        live_from > self.address && live_from.min(watermark) > self.address
    }

    /// Letters are wanted, if the log is nearly read.
    fn ask(&self) {
        let is_near = self.marks.watermark().saturating_sub(self.address) <= self.shared.window / 2;
        if is_near && !self.shared.wants_live.load(Ordering::Relaxed) {
            self.shared.wants_live.store(true, Ordering::Relaxed);
        }
    }
}
