//! The way of segments to the shard that writes them: a shelf, which the steward fills.
//!
//! *Why the shard judges that none comes*: a steward says why it has none, but one that waits for a disk which does not answer says
//! nothing, and may be what hangs. The shard's clock goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use crate::handoff::sleep::Waker;
use crate::limits;
use crate::spool::segment::Segment;

/// Why no segment comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is too little room on the disk, or as much is in use as may be.
    Full,
    /// None can be made, or nobody is there to make any.
    Failed,
    /// One was asked for, and nothing is heard of it.
    Hung,
}

/// Why its log takes no mail, whatever segments there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Writes failed, and again in the next segment: until a restart.
    Failed,
    /// Nothing is heard of its writes: until something is.
    Hung,
}

/// Nobody waits for one.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Shared {
    ready: ArrayQueue<Arc<Segment>>,
    /// 0: none.
    lack: AtomicU8,
    /// The shard wanted one that was not there.
    is_missed: AtomicBool,
    misses: AtomicU64,
    /// Since when, by the shard's clock, it has waited for one without a word of why; [`NEVER`].
    waits_since_ms: AtomicU64,
    /// It has for too long, as it found when it looked last.
    is_hung: AtomicBool,
    /// Its log is [`Broken`]: 0 if it is not.
    broken: AtomicU8,
    /// One was taken.
    was_taken: AtomicBool,
    /// Wakes who fills the shelf.
    wanted: Arc<Notify>,
    /// Wakes who takes from it.
    waker: Option<Waker>,
}

/// The shard's end, one for each log.
#[derive(Clone, Debug)]
pub struct Supply(Arc<Shared>);

/// The other end.
#[derive(Debug)]
pub struct Shelf(Arc<Shared>);

/// A shelf for so many segments, and its other end. `wanted` is told of each that is taken, and of each that is missed; the waker
/// wakes the shard that missed one when there is one, or when none will come.
pub fn supply(capacity: usize, wanted: Arc<Notify>, waker: Option<Waker>) -> (Shelf, Supply) {
    let shared = Arc::new(Shared {
        ready: ArrayQueue::new(capacity),
        lack: AtomicU8::new(0),
        is_missed: AtomicBool::new(false),
        misses: AtomicU64::new(0),
        waits_since_ms: AtomicU64::new(NEVER),
        is_hung: AtomicBool::new(false),
        broken: AtomicU8::new(0),
        was_taken: AtomicBool::new(false),
        wanted,
        waker,
    });
    (Shelf(Arc::clone(&shared)), Supply(shared))
}

impl Supply {
    /// The next segment to be written, which is the shard's from then on; asked for at this time. When there is none its waker is called
    /// once there is.
    pub fn take(&self, now_ms: u64) -> Option<Arc<Segment>> {
        let taken = self.0.ready.pop().or_else(|| {
            // The second look is behind the word, as the other's look for the word is behind the push. Who asks again and again misses
            // once, and before the first there can be none.
            if !self.0.is_missed.swap(true, Ordering::SeqCst) && self.0.was_taken.load(Ordering::Relaxed) {
                self.0.misses.fetch_add(1, Ordering::Relaxed);
            }
            self.0.ready.pop()
        });
        if taken.is_some() {
            self.0.was_taken.store(true, Ordering::Relaxed);
            self.0.is_missed.store(false, Ordering::SeqCst);
            self.waits_since(NEVER);
        } else if !self.is_waited_for() {
            self.waits_since(now_ms);
        }
        self.0.wanted.notify_one();
        taken
    }

    /// Why none comes, at this time. Mail that needs one is to be refused.
    pub fn lack(&self, now_ms: u64) -> Option<Lack> {
        let said = match self.0.lack.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Lack::Full),
            _ => Some(Lack::Failed),
        };
        if said.is_some() || self.ready() > 0 {
            // Who says something is alive: it has its time again.
            self.waits_since(NEVER);
        }
        let since_ms = self.0.waits_since_ms.load(Ordering::Relaxed);
        let is_hung = since_ms != NEVER && now_ms >= since_ms.saturating_add(limits::WRITE_HUNG_MS);
        self.0.is_hung.store(is_hung, Ordering::Relaxed);
        said.or(is_hung.then_some(Lack::Hung))
    }

    /// Whether one was asked for that is not there, and nothing is known of why.
    pub fn is_waited_for(&self) -> bool {
        self.0.waits_since_ms.load(Ordering::Relaxed) != NEVER
    }

    /// Whether its shard has given up waiting for one, for whoever tells the operator.
    pub fn is_hung(&self) -> bool {
        self.0.is_hung.load(Ordering::Relaxed)
    }

    /// What became of the log, for whoever tells the operator.
    pub fn tell(&self, broken: Option<Broken>) {
        self.0.broken.store(broken.map_or(0, |broken| broken as u8 + 1), Ordering::Relaxed);
    }

    /// What was told last.
    pub fn broken(&self) -> Option<Broken> {
        match self.0.broken.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Broken::Failed),
            _ => Some(Broken::Hung),
        }
    }

    fn waits_since(&self, since_ms: u64) {
        self.0.waits_since_ms.store(since_ms, Ordering::Relaxed);
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.0.ready.len()
    }
}

/// One that a test fills itself.
#[cfg(test)]
impl Default for Supply {
    fn default() -> Self {
        supply(crate::limits::SEGMENTS_READY_MOST, Arc::default(), None).1
    }
}

#[cfg(test)]
impl Supply {
    /// A segment is ready.
    pub fn put(&self, segment: Arc<Segment>) {
        Shelf(Arc::clone(&self.0)).put(segment).expect("there is room");
    }

    /// None will come, or they will again.
    pub fn set_lack(&self, lack: Option<Lack>) {
        Shelf(Arc::clone(&self.0)).say(lack);
    }
}

impl Shelf {
    /// A segment is ready. It comes back if there is no room for it.
    pub fn put(&self, segment: Arc<Segment>) -> Result<(), Arc<Segment>> {
        self.0.ready.push(segment)?;
        self.wake_who_missed();
        Ok(())
    }

    /// Takes one back from the shelf that nobody has used yet.
    pub fn take_back(&self) -> Option<Arc<Segment>> {
        self.0.ready.pop()
    }

    /// None will come, for this reason; or they will again.
    pub fn say(&self, lack: Option<Lack>) {
        let lack = match lack {
            None => 0,
            Some(Lack::Full) => 1,
            // It is the shard that finds out that nothing is said.
            Some(Lack::Failed | Lack::Hung) => 2,
        };
        if self.0.lack.swap(lack, Ordering::Relaxed) != lack {
            // Who waits hears that there is nothing to wait for.
            self.wake_who_missed();
        }
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.0.ready.len()
    }

    /// How many may be.
    pub fn capacity(&self) -> usize {
        self.0.ready.capacity()
    }

    /// How often one was wanted that was not there.
    pub fn misses(&self) -> u64 {
        self.0.misses.load(Ordering::Relaxed)
    }

    fn wake_who_missed(&self) {
        if self.0.is_missed.swap(false, Ordering::SeqCst)
            && let Some(waker) = &self.0.waker
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::handoff::sleep::thread;
    use crate::memory::write::File;

    fn segment(number: u32) -> Arc<Segment> {
        Arc::new(Segment::new(number, Arc::new(File::Numbered(0)), 4096))
    }

    #[test]
    fn segments_come_in_order_and_no_more_than_have_room() {
        let (shelf, supply) = supply(2, Arc::default(), None);
        assert!(supply.take(0).is_none() && supply.lack(0).is_none());
        assert!(shelf.put(segment(1)).is_ok() && shelf.put(segment(2)).is_ok());
        assert_eq!(shelf.put(segment(3)).map_err(|back| back.number()), Err(3));
        assert_eq!((shelf.ready(), supply.ready(), shelf.capacity()), (2, 2, 2));
        assert_eq!([(); 3].map(|()| supply.take(0).map(|segment| segment.number())), [Some(1), Some(2), None]);
        assert!(supply.take(0).is_none());
        assert_eq!(
            (shelf.misses(), shelf.take_back().is_none()),
            (1, true),
            "it is missed once however often it is asked for"
        );
        for lack in [Some(Lack::Full), Some(Lack::Failed), None] {
            shelf.say(lack);
            assert_eq!(supply.lack(0), lack);
        }
    }

    /// By the clock of who waits: the other side says nothing.
    #[test]
    fn who_waits_too_long_without_a_word_knows_that_it_hangs() {
        const AT: u64 = 5_000;
        let (shelf, supply) = supply(2, Arc::default(), None);
        let hung_ms = AT + limits::WRITE_HUNG_MS;
        assert_eq!((supply.lack(u64::MAX - 1), supply.is_waited_for()), (None, false), "nobody has asked for one");
        assert!(supply.take(AT).is_none() && supply.take(AT + 1).is_none());
        assert_eq!((supply.lack(hung_ms - 1), supply.is_hung()), (None, false));
        assert_eq!((supply.lack(hung_ms), supply.is_hung()), (Some(Lack::Hung), true));
        // It came, and went again because the disk is full otherwise: that is no reason to wait less for the next.
        assert!(shelf.put(segment(1)).is_ok());
        assert_eq!((supply.lack(hung_ms), supply.is_hung(), supply.is_waited_for()), (None, false, false));
        assert!(shelf.take_back().is_some());
        assert_eq!(supply.lack(2 * hung_ms), None);
        // While something is said it is alive.
        assert!(supply.take(AT).is_none());
        shelf.say(Some(Lack::Full));
        assert_eq!((supply.lack(hung_ms), supply.is_hung()), (Some(Lack::Full), false));
        shelf.say(None);
        assert!(supply.take(hung_ms).is_none());
        assert_eq!(supply.lack(hung_ms + 1), None);
        assert_eq!(supply.lack(hung_ms + limits::WRITE_HUNG_MS), Some(Lack::Hung));
        assert!(shelf.put(segment(2)).is_ok() && supply.take(hung_ms).is_some());
        assert_eq!((supply.lack(u64::MAX - 1), supply.is_waited_for()), (None, false));
    }

    /// Of whoever waits for one segment after the other, and is told of each.
    #[test]
    fn who_missed_one_is_woken_for_it_and_for_the_word_that_none_comes() {
        const LAST: u32 = 2_000;
        let (mut sleeper, waker) = thread().unwrap();
        let (shelf, supply) = supply(1, Arc::default(), Some(waker));
        let taker = std::thread::spawn(move || {
            for number in 0..LAST {
                let mut next = supply.take(0);
                while next.is_none() {
                    assert!(sleeper.sleep_unless(|| supply.ready() > 0, Some(Duration::from_secs(60))), "slept on");
                    next = supply.take(0);
                }
                assert_eq!(next.map(|segment| segment.number()), Some(number));
            }
            // The last one of all does not come.
            assert!(supply.take(0).is_none());
            while supply.lack(0).is_none() {
                assert!(sleeper.sleep_unless(|| supply.lack(0).is_some(), Some(Duration::from_secs(60))), "slept on");
            }
        });
        for number in 0..LAST {
            let mut next = segment(number);
            while let Err(back) = shelf.put(next) {
                next = back;
                std::thread::yield_now();
            }
        }
        while shelf.ready() > 0 {
            std::thread::yield_now();
        }
        shelf.say(Some(Lack::Failed));
        taker.join().unwrap();
    }
}
