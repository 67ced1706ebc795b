//! Where each message of a run is: when it was meant to be sent, for whom the server took it over, and for whom it has arrived.
//!
//! *Idea*: a table by number that the generator's threads and the sink's shards write without waiting for each other. Of each
//! recipient two bits stand in one atomic: whoever sets the second of them knows it, so that what was taken over and has arrived
//! is counted once, whichever comes first. *Bound*: [`TABLE_OCTETS`]; memory is taken for 4,096 messages at a time, when the
//! first of them begins.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use ringmx::reactor::io::Time;

use crate::generate::witness::Witness;

/// Octets of the whole table: a message to one recipient has nine, so that 119 million have room. That is a day at 1,300
/// messages/s, and what a machine that measures can spare.
const TABLE_OCTETS: u64 = 1 << 30;

/// Messages whose memory is taken at once.
const CHUNK: usize = 4096;

/// Recipients of whom one atomic tells.
const RECIPIENTS: u32 = 4;

/// The bits of one of them.
const ACCEPTED: u8 = 1;
const ARRIVED: u8 = 1 << RECIPIENTS;

/// Of a message that is outside of the warm-up, in its time: ns are not told apart that far.
const MEASURED: u64 = 1;

#[derive(Debug)]
struct Chunk {
    /// Ns; 0 is one that was never begun.
    intended: Box<[AtomicU64]>,
    marks: Box<[AtomicU8]>,
}

/// A message that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// When it was meant to be.
    pub intended: Time,
    /// Whether its time counts.
    pub is_measured: bool,
}

/// What an arrival means for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the first, and the server has taken the message over, as far as is known.
    Awaited,
    /// It is the first, and the server's reply is not known yet; perhaps never.
    Early,
    /// It is not the first.
    Again,
}

/// See the module.
#[derive(Debug)]
pub struct Track {
    /// Atomics with marks that each message has.
    marks_each: usize,
    chunks: Box<[OnceLock<Chunk>]>,
    capacity: u64,
    accepted: AtomicU64,
    /// Arrived before the reply was known.
    overtaken: AtomicU64,
    last_accepted_ns: AtomicU64,
}

impl Track {
    /// Messages that there is room for, when each has up to so many recipients.
    pub fn capacity(recipients_most: u32) -> u64 {
        TABLE_OCTETS / (8 + u64::from(recipients_most.div_ceil(RECIPIENTS)))
    }

    /// For so many messages, with up to so many recipients each.
    pub fn new(messages: u64, recipients_most: u32) -> Self {
        let capacity = messages.min(Self::capacity(recipients_most));
        Self {
            marks_each: recipients_most.div_ceil(RECIPIENTS) as usize,
            chunks: (0..capacity.div_ceil(CHUNK as u64)).map(|_| OnceLock::new()).collect(),
            capacity,
            accepted: AtomicU64::new(0),
            overtaken: AtomicU64::new(0),
            last_accepted_ns: AtomicU64::new(0),
        }
    }

    /// The message, if it was begun.
    pub fn begun(&self, number: u64) -> Option<Begun> {
        let (chunk, at) = self.of(number)?;
        match chunk.intended[at].load(Ordering::Acquire) {
            0 => None,
            ns => Some(Begun { intended: Time(ns & !MEASURED), is_measured: ns & MEASURED != 0 }),
        }
    }

    /// A message that was begun has arrived for one of its recipients.
    pub fn arrive(&self, number: u64, recipient: u32) -> Arrival {
        match self.mark(number, recipient, ARRIVED) {
            Some(before) if before & ARRIVED != 0 => Arrival::Again,
            Some(before) if before & ACCEPTED != 0 => Arrival::Awaited,
            _ => Arrival::Early,
        }
    }

    /// What the server took over, each recipient of a message for itself.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// What arrived before the server's reply did, and was taken over.
    pub fn overtaken(&self) -> u64 {
        self.overtaken.load(Ordering::Acquire)
    }

    /// When the server took over something for the last time.
    pub fn last_accepted(&self) -> Time {
        Time(self.last_accepted_ns.load(Ordering::Acquire))
    }

    /// The first so many that were taken over and have not arrived: message and recipient.
    pub fn missing(&self, most: usize) -> Vec<(u64, u32)> {
        let begun = self.chunks.iter().enumerate().filter_map(|(index, chunk)| Some((index, chunk.get()?)));
        let marks = begun.flat_map(|(index, chunk)| {
            chunk.marks.iter().enumerate().map(move |(at, mark)| (index, at, mark.load(Ordering::Acquire)))
        });
        let missing = marks.flat_map(|(index, at, mark)| {
            let number = index * CHUNK + at / self.marks_each;
            let first = (at % self.marks_each) as u32 * RECIPIENTS;
            let is_missing = move |of: &u32| mark >> of & (ACCEPTED | ARRIVED) == ACCEPTED;
            (0..RECIPIENTS).filter(is_missing).map(move |of| (number as u64, first + of))
        });
        missing.take(most).collect()
    }

    /// Sets a bit, and gives the recipient's bits as they were before.
    fn mark(&self, number: u64, recipient: u32, bit: u8) -> Option<u8> {
        let (chunk, at) = self.of(number)?;
        let mark = chunk.marks.get(at * self.marks_each + (recipient / RECIPIENTS) as usize)?;
        let of = recipient % RECIPIENTS;
        Some(mark.fetch_or(bit << of, Ordering::AcqRel) >> of & (ACCEPTED | ARRIVED))
    }

    fn of(&self, number: u64) -> Option<(&Chunk, usize)> {
        let index = usize::try_from(number / CHUNK as u64).ok()?;
        Some((self.chunks.get(index)?.get()?, number as usize % CHUNK))
    }
}

impl Chunk {
    fn new(marks_each: usize) -> Self {
        Self {
            intended: (0..CHUNK).map(|_| AtomicU64::new(0)).collect(),
            marks: (0..CHUNK * marks_each).map(|_| AtomicU8::new(0)).collect(),
        }
    }
}

impl Witness for Track {
    fn begin(&self, number: u64, intended: Time, is_measured: bool) {
        debug_assert!(number < self.capacity, "the plan has no more messages than there is room for");
        let Some(chunk) = self.chunks.get((number / CHUNK as u64) as usize) else { return };
        let chunk = chunk.get_or_init(|| Chunk::new(self.marks_each));
        // A clock that has just started would make it one that was never begun.
        let ns = (intended.0.max(2) & !MEASURED) | u64::from(is_measured);
        chunk.intended[number as usize % CHUNK].store(ns, Ordering::Release);
    }

    fn accept(&self, number: u64, recipient: u32, now: Time) {
        // Before its bit: what has arrived is never more than what was taken over.
        self.accepted.fetch_add(1, Ordering::AcqRel);
        self.last_accepted_ns.fetch_max(now.0, Ordering::AcqRel);
        if self.mark(number, recipient, ACCEPTED).is_some_and(|before| before & ARRIVED != 0) {
            self.overtaken.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded() {
        assert_eq!(Track::capacity(1), 119_304_647);
        assert!(Track::capacity(100_000) > 10_000);
        let track = Track::new(u64::MAX, 1);
        assert_eq!(track.capacity, Track::capacity(1));
        assert_eq!(Track::new(5, 9).capacity, 5);
        assert_eq!(track.begun(0), None);
        assert_eq!(track.begun(u64::MAX), None);
        assert_eq!(track.arrive(u64::MAX, 0), Arrival::Early);
    }

    #[test]
    fn whoever_comes_second_knows_it() {
        let track = Track::new(10_000, 9);
        for number in [0, 4095, 4096, 9_999] {
            track.begin(number, Time(1_000_001), number == 0);
            assert_eq!(track.begun(number), Some(Begun { intended: Time(1_000_000), is_measured: number == 0 }));
        }
        assert_eq!(track.begun(5_000), None);
        track.accept(4096, 8, Time(7));
        track.accept(4096, 3, Time(9));
        track.accept(9_999, 4, Time(8));
        assert_eq!((track.accepted(), track.overtaken(), track.last_accepted()), (3, 0, Time(9)));
        assert_eq!(track.missing(9), [(4096, 3), (4096, 8), (9_999, 4)]);
        assert_eq!(track.missing(1), [(4096, 3)]);
        assert_eq!(
            [8, 8, 7].map(|recipient| track.arrive(4096, recipient)),
            [Arrival::Awaited, Arrival::Again, Arrival::Early]
        );
        track.accept(4096, 7, Time(10));
        assert_eq!((track.accepted(), track.overtaken()), (4, 1));
        assert_eq!(track.arrive(4096, 7), Arrival::Again);
        assert_eq!(track.missing(9), [(4096, 3), (9_999, 4)]);
    }

    /// Both sides at once: each pair is seen by one of them, and by one only.
    #[test]
    fn nothing_is_counted_twice_or_not_at_all() {
        const MESSAGES: u64 = 20_000;
        let track = Track::new(MESSAGES, 3);
        (0..MESSAGES).for_each(|number| track.begin(number, Time(5), true));
        let pairs = || (0..MESSAGES).flat_map(|number| (0..3).map(move |recipient| (number, recipient)));
        let awaited = std::thread::scope(|scope| {
            let arriving =
                scope.spawn(|| pairs().filter(|pair| track.arrive(pair.0, pair.1) == Arrival::Awaited).count() as u64);
            pairs().for_each(|(number, recipient)| track.accept(number, recipient, Time(6)));
            arriving.join().unwrap()
        });
        assert_eq!(awaited + track.overtaken(), 3 * MESSAGES);
        assert!(track.missing(1).is_empty());
    }
}
