//! Mail that a log has: by the ring, out of the log, and again after a start. The log is a list here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::handoff::backlog::{Attached, Backlog, Reading, Stuck};
use crate::handoff::clock::Clock;
use crate::handoff::place::{Committed, LogId, LogKind, Place, Position, Spooled};
use crate::memory::slab::{Lease, Leases};

pub(super) const LOGS: [LogId; 2] =
    [LogId { kind: LogKind::Durable, shard: 0 }, LogId { kind: LogKind::Written, shard: 0 }];
/// Of a shard that is no more.
const OLD: LogId = LogId { kind: LogKind::Durable, shard: 9 };

/// A message in the list, with its routes.
#[derive(Clone, Debug)]
struct Entry {
    id: MessageId,
    place: Place,
    routes: Vec<(Route, u32)>,
}

/// A log that is a list, and what is noted of it for one consumer.
#[derive(Debug, Default)]
struct List {
    entries: Vec<Entry>,
    /// By route.
    kept: [Position; 2],
    /// Reads so far that gave something.
    reads: u64,
    /// Notes so far, and whether they fail.
    notes: u64,
    is_broken: bool,
    /// What reads say then, and how many were tried.
    stuck_on: Option<Stuck>,
    tries: u64,
}

/// Reads it for one route.
struct Page(Arc<Mutex<List>>, u16);

pub(super) fn lease() -> Lease {
    Slab::with_blocks_of(64, 1).append_whole(b"x").unwrap()
}

impl Backlog for Page {
    fn read(&mut self, from: Position, upto: u64, most: usize, out: &mut Vec<Spooled>) -> Reading {
        let mut list = self.0.lock().unwrap();
        assert!(from.from <= from.address && most > 0);
        list.tries += 1;
        if list.is_broken {
            return Reading { reached: from, stuck: list.stuck_on };
        }
        let begin = list.entries.partition_point(|entry| entry.place.address < from.address);
        let mut due = list.entries[begin..].iter();
        // So that it takes several to get anywhere.
        for entry in due.by_ref().take_while(|entry| entry.place.address < upto).take(5) {
            assert!(entry.place.retain >= from.from, "what it needs may be gone");
            let recipients =
                entry.routes.iter().find(|(route, _)| route.0 == self.1).map(|(_, recipients)| *recipients);
            let reached = Position::behind(entry.place);
            if let Some(recipients) = recipients {
                let (route, content) = (Route(self.1), Leases::default());
                let (id, place) = (entry.id, entry.place);
                out.push(Spooled { id, place, route, recipients, attempts: 0, manifest: lease(), content });
            }
            if out.len() == most {
                list.reads += 1;
                return Reading { reached, stuck: None };
            }
        }
        let next = list.entries.get(begin + 5);
        let reached = match next.filter(|next| next.place.address < upto) {
            Some(next) => Position::at(next.place),
            None => Position { address: upto, from: upto.min(from.from.max(upto.saturating_sub(500))) },
        };
        list.reads += u64::from(!out.is_empty());
        Reading { reached, stuck: None }
    }

    fn keep(&mut self, kept: Position) -> bool {
        let mut list = self.0.lock().unwrap();
        list.notes += 1;
        if list.is_broken {
            return false;
        }
        let before = list.kept[usize::from(self.1)];
        assert!(kept.address >= before.address && kept.from >= before.from, "{before:?} {kept:?}");
        list.kept[usize::from(self.1)] = kept;
        true
    }
}

/// A shard with logs, and its consumers.
pub(super) struct Spool {
    pub(super) way: Way,
    lists: Vec<(LogId, Arc<Mutex<List>>)>,
    pub(super) clock: Arc<AtomicU64>,
    letters: usize,
    /// The address of the next message, and what was published.
    pub(super) next: [u64; 2],
    published: [u64; 2],
    sequence: u64,
    slab: Slab,
}

impl Spool {
    pub(super) fn new(letters: usize) -> Self {
        let lists = LOGS.into_iter().chain([OLD]).map(|log| (log, Arc::default())).collect();
        let clock = Arc::new(AtomicU64::new(0));
        let way = Self::way(letters, &clock);
        let slab = Slab::with_blocks_of(4096, 1 << 16);
        let mut this = Self { way, lists, clock, letters, next: [1000; 2], published: [0; 2], sequence: 0, slab };
        for number in 0..20 {
            let place = Place { log: OLD, address: 10 * number, retain: 0 };
            let entry = Entry { id: this.id(), place, routes: vec![(Route(number as u16 % 2), 1)] };
            this.lists[2].1.lock().unwrap().entries.push(entry);
        }
        this.attach();
        this
    }

    fn way(letters: usize, clock: &Arc<AtomicU64>) -> Way {
        let (sender, _receiver, _awaited) = mailbox::<()>().unwrap();
        let clock = Clock::set_by(Arc::clone(clock));
        // A window of 64 × 128 ÷ 4 ÷ 2 = 1,024 octets of a log.
        let (blocks, block_octets) = (64, 128);
        Way::with(ExchangeOptions {
            letters,
            blocks,
            block_octets,
            clock,
            shards: vec![sender.bell()],
            ..Default::default()
        })
    }

    fn id(&mut self) -> MessageId {
        self.sequence += 1;
        MessageId::new(7, 3, 0, self.sequence)
    }

    fn attach(&mut self) {
        for (route, deliveries) in self.way.consumers.iter_mut().enumerate() {
            for (log, list) in &self.lists {
                let (start, end) = {
                    let list = list.lock().unwrap();
                    (list.kept[route], list.entries.last().map_or(0, |last| last.place.address + 1))
                };
                let backlog = Box::new(Page(Arc::clone(list), route as u16));
                deliveries.attach(Attached { log: *log, start, end, is_written_on: *log != OLD, backlog });
            }
        }
        for (at, log) in LOGS.into_iter().enumerate() {
            // A start begins behind all that there was.
            self.next[at] = self.next[at].next_multiple_of(1000);
            self.published[at] = self.next[at];
            self.way.gather.publish_watermark(log, self.next[at], self.next[at]);
        }
        self.way.gather.hand_on(0);
        self.way.gather.wake_consumers();
    }

    /// The process ends, or is killed, and begins anew.
    fn restart(&mut self, is_killed: bool) {
        if is_killed {
            self.lists.iter().for_each(|(_, list)| list.lock().unwrap().is_broken = true);
        }
        self.way = Self::way(self.letters, &self.clock);
        self.lists.iter().for_each(|(_, list)| list.lock().unwrap().is_broken = false);
        self.attach();
    }

    pub(super) fn commit(&mut self, log: usize, routes: &[u16], in_memory: bool, octets: u64) {
        let id = self.id();
        let (first, address) = (self.next[log], self.next[log] + octets);
        self.next[log] = address + 1;
        let place = Place { log: LOGS[log], address, retain: first };
        let routes: Vec<_> = routes.iter().map(|route| (Route(*route), 1)).collect();
        let entry = Entry { id, place, routes };
        self.lists[log].1.lock().unwrap().entries.push(entry.clone());
        let memory = (self.slab.append_whole(b"x").unwrap(), Leases::default());
        let memory = in_memory.then_some((&memory.0, &memory.1));
        let committed = Committed { id, place, first, routes: &entry.routes, memory };
        self.way.gather.post_committed(&committed, Promise::Durable);
    }

    pub(super) fn publish(&mut self) {
        for (at, log) in LOGS.into_iter().enumerate() {
            self.published[at] = self.next[at];
            self.way.gather.publish_watermark(log, self.next[at], self.next[at]);
        }
        self.way.gather.hand_on(0);
        self.way.gather.wake_consumers();
    }

    /// All that a consumer must get, log by log.
    fn due(&self, route: u16) -> Vec<(LogId, Vec<MessageId>)> {
        let of = |list: &Arc<Mutex<List>>| {
            let list = list.lock().unwrap();
            let due = list.entries.iter().filter(|entry| entry.routes.iter().any(|(own, _)| own.0 == route));
            due.map(|entry| entry.id).collect()
        };
        self.lists.iter().map(|(log, list)| (*log, of(list))).collect()
    }
}

/// What a consumer got.
#[derive(Default)]
struct Got {
    out: Vec<Delivery>,
    /// What came first, log by log, since the last start.
    fresh: BTreeMap<LogId, Vec<MessageId>>,
    accepted: BTreeMap<MessageId, u32>,
    memory: u64,
}

impl Got {
    fn take(&mut self, deliveries: &mut Deliveries, most: usize) -> usize {
        let mut batch = Vec::new();
        let count = deliveries.take_batch(&mut batch, most);
        assert!(count == batch.len() && count <= most);
        for delivery in &batch {
            match delivery.place() {
                None => self.memory += 1,
                Some(place) if delivery.attempts() == 0 => {
                    self.fresh.entry(place.log).or_default().push(delivery.id());
                }
                Some(_) => {}
            }
        }
        self.out.append(&mut batch);
        count
    }

    fn settle(&mut self, at: usize, accepts: bool) {
        let delivery = self.out.swap_remove(at);
        if accepts {
            if delivery.is_spooled() {
                *self.accepted.entry(delivery.id()).or_insert(0) += 1;
            }
            delivery.accept();
        }
    }

    /// Since a start all comes in order, and once.
    fn check_order(&self, due: &[(LogId, Vec<MessageId>)]) {
        for (log, ids) in due {
            let Some(fresh) = self.fresh.get(log) else { continue };
            let begin = ids.iter().position(|id| *id == fresh[0]).expect("it was committed");
            assert!(ids[begin..].starts_with(fresh), "{log:?}: {fresh:?} of {:?}", &ids[begin..]);
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// Messages of a log are committed for some routes, so long each.
    Commit(usize, u8, usize, u64, bool),
    Publish,
    Take(usize, usize),
    /// The first, the last or another delivery is let go of.
    Settle(usize, usize, bool),
    Memory,
    Time(u64),
    Restart(bool),
    Breaks(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    prop_oneof![
        8 => (0..2_usize, 1..4_u8, 1..12_usize, 1..300_u64, prop::bool::weighted(0.9))
            .prop_map(|(log, routes, count, octets, memory)| Commit(log, routes, count, octets, memory)),
        6 => Just(Publish),
        8 => (0..2_usize, 1..40_usize).prop_map(|(route, most)| Take(route, most)),
        10 => (0..2_usize, 0..100_usize, prop::bool::weighted(0.8)).prop_map(|(route, at, accepts)| Settle(route, at, accepts)),
        2 => Just(Memory),
        2 => (1..3_000_u64).prop_map(Time),
        1 => any::<bool>().prop_map(Restart),
        1 => (0..3_usize, any::<bool>()).prop_map(|(log, is_broken)| Breaks(log, is_broken)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: each sink gets each message, in order of place in each log; once when the process does not
    /// end, and again after that only what was not accepted, or not noted.
    #[test]
    fn each_sink_gets_each_message(events in prop::collection::vec(event(), 1..160), letters in 1..5_u32) {
        let letters = 1 << (letters * 2);
        let mut spool = Spool::new(letters);
        let mut got = [Got::default(), Got::default()];
        let (mut starts, mut sent_memory) = (0, 0);
        for event in events {
            match event {
                Event::Commit(log, routes, count, octets, in_memory) => {
                    let routes: Vec<u16> = (0..2).filter(|route| routes >> route & 1 == 1).collect();
                    (0..count).for_each(|_| spool.commit(log, &routes, in_memory, octets));
                }
                Event::Publish => spool.publish(),
                Event::Take(route, most) => {
                    got[route].take(&mut spool.way.consumers[route], most);
                    prop_assert!(got[route].out.len() <= letters + limits::LOG_LETTERS);
                }
                Event::Settle(route, at, accepts) => {
                    let count = got[route].out.len();
                    if count > 0 {
                        got[route].settle(at % count, accepts);
                    }
                }
                Event::Memory => {
                    if spool.way.gather.admits(&scope(Taking::HandOff(Promise::Memory)), Route(0)) {
                        sent_memory += 1;
                        spool.way.send(Promise::Memory, b"m", &[0]);
                    }
                }
                Event::Time(ms) => _ = spool.clock.fetch_add(ms * 1_000_000, Ordering::Relaxed),
                Event::Restart(is_killed) => {
                    got.iter_mut().for_each(|got| {
                        got.out.clear();
                        got.fresh.clear();
                    });
                    // What is not published is not committed: it is as if it had been.
                    spool.publish();
                    spool.restart(is_killed);
                    starts += 1;
                    sent_memory = got[0].memory;
                }
                Event::Breaks(log, is_broken) => spool.lists[log].1.lock().unwrap().is_broken = is_broken,
            }
        }
        spool.publish();
        spool.lists.iter().for_each(|(_, list)| list.lock().unwrap().is_broken = false);
        for (route, got) in got.iter_mut().enumerate() {
            let mut idle = 0;
            // A read that gives nothing may get on all the same.
            while idle < 400 {
                spool.clock.fetch_add(limits::REDELIVERY_MOST_MS * 1_000_000, Ordering::Relaxed);
                let count = got.take(&mut spool.way.consumers[route], 64);
                (0..got.out.len()).rev().for_each(|at| got.settle(at, true));
                spool.way.gather.hand_on(0);
                spool.way.gather.wake_consumers();
                idle = if count == 0 { idle + 1 } else { 0 };
            }
            let due = spool.due(route as u16);
            got.check_order(&due);
            for id in due.iter().flat_map(|(_, ids)| ids) {
                let times = got.accepted.get(id).copied().unwrap_or(0);
                prop_assert!(times >= 1 && times <= 1 + starts, "{id}: {times} with {starts} starts");
            }
            prop_assert_eq!(got.accepted.len(), due.iter().map(|(_, ids)| ids.len()).sum::<usize>());
        }
        if starts == 0 {
            prop_assert_eq!(got[0].memory >= sent_memory, true);
        }
        prop_assert_eq!(spool.way.gather.holding().letters, 0);
        // All is noted at the end, and nothing comes at the next start.
        spool.restart(false);
        for (route, deliveries) in spool.way.consumers.iter_mut().enumerate() {
            for _ in 0..3 {
                prop_assert_eq!(Got::default().take(deliveries, 64), 0, "route {}", route);
            }
        }
    }
}

/// Who keeps up has all by the ring, and the log is not read.
#[test]
fn who_keeps_up_reads_no_log() {
    let mut spool = Spool::new(64);
    let mut got = [Got::default(), Got::default()];
    for _ in 0..200 {
        (0..5).for_each(|_| spool.commit(0, &[0], true, 100));
        spool.publish();
        for (got, deliveries) in got.iter_mut().zip(&mut spool.way.consumers) {
            got.take(deliveries, 64);
            (0..got.out.len()).rev().for_each(|at| got.settle(at, true));
        }
    }
    assert_eq!(got[0].accepted.len(), 1000 + 10);
    assert_eq!(spool.lists[0].1.lock().unwrap().reads, 0);
}

/// One that stands still holds what the window has, and the shard goes on; it comes back to the ring by itself.
#[test]
fn who_stands_still_holds_no_more_than_a_window() {
    let mut spool = Spool::new(4096);
    spool.publish();
    (0..1000).for_each(|_| spool.commit(0, &[0, 1], true, 99));
    spool.publish();
    assert!(spool.way.gather.holding().letters <= 2 * 11, "{:?}", spool.way.gather.holding());
    let mut got = Got::default();
    while got.take(&mut spool.way.consumers[0], 64) > 0 {
        (0..got.out.len()).rev().for_each(|at| got.settle(at, true));
    }
    assert_eq!(got.accepted.len(), 1000 + 10);
    got.check_order(&spool.due(0));
    // It is near the end by now.
    spool.publish();
    let reads = spool.lists[0].1.lock().unwrap().reads;
    (0..5).for_each(|_| spool.commit(0, &[0], true, 99));
    spool.publish();
    assert_eq!((got.take(&mut spool.way.consumers[0], 64), spool.lists[0].1.lock().unwrap().reads), (5, reads));
}

/// Where others see to what is refused, a delivery that is dropped is neither done with nor comes again before the next start.
#[test]
fn what_others_settle_is_done_with_when_they_say_so() {
    let mut spool = Spool::new(64);
    spool.way.consumers[0].settle_apart();
    spool.publish();
    (0..3).for_each(|_| spool.commit(0, &[0], true, 99));
    spool.publish();
    let mut got = Got::default();
    got.take(&mut spool.way.consumers[0], 3);
    let [first, mut second, third] = <[Delivery; 3]>::try_from(std::mem::take(&mut got.out)).unwrap();
    let again = (second.id(), third.id());
    first.settle();
    second.take_for_the_rest();
    drop((second, third));
    spool.clock.fetch_add(u64::from(u32::MAX), Ordering::Relaxed);
    assert_eq!(spool.way.gather.holding().letters, 0, "what they held is given back");
    spool.restart(false);
    got.take(&mut spool.way.consumers[0], 2);
    assert_eq!(got.out.iter().map(Delivery::id).collect::<Vec<_>>(), [again.0, again.1]);
}

/// What a log had before this start may have been delivered then. What came since was not, whether by the ring or out of the log.
#[test]
fn what_a_log_had_before_the_start_may_be_a_repeat_and_nothing_else() {
    let mut spool = Spool::new(64);
    (0..3).for_each(|_| spool.commit(0, &[0], true, 99));
    spool.publish();
    spool.restart(true);
    (0..4).for_each(|number| spool.commit(0, &[0], number % 2 == 0, 99));
    spool.publish();
    let mut got = Got::default();
    while got.take(&mut spool.way.consumers[0], 64) > 0 {}
    let of_log = |log| {
        let of_log = got.out.iter().filter(move |delivery| delivery.place().is_some_and(|place| place.log == log));
        of_log.map(Delivery::may_be_repeat).collect::<Vec<_>>()
    };
    assert_eq!(of_log(LOGS[0]), [true, true, true, false, false, false, false]);
    assert_eq!(of_log(OLD), [true; 10]);
    assert!(got.out.iter().all(|delivery| delivery.attempts() == 0));
}

/// A log that cannot be noted on keeps its segments, and is not asked for ever.
#[test]
fn what_cannot_be_noted_keeps_its_segments() {
    let mut spool = Spool::new(64);
    let list = Arc::clone(&spool.lists[0].1);
    let deliveries = &mut spool.way.consumers[0];
    let progress = deliveries.progress(LOGS[0]).unwrap();
    (0..2).for_each(|_| _ = Got::default().take(&mut spool.way.consumers[0], 64));
    list.lock().unwrap().is_broken = true;
    let (notes_before, retain) = (list.lock().unwrap().notes, progress.retain());
    spool.commit(0, &[0], true, 99);
    spool.publish();
    let mut got = Got::default();
    for _ in 0..100 {
        got.take(&mut spool.way.consumers[0], 64);
        (0..got.out.len()).rev().for_each(|at| got.settle(at, true));
        spool.clock.fetch_add(100_000_000, Ordering::Relaxed);
    }
    let notes = list.lock().unwrap().notes - notes_before;
    assert!(progress.retain() == retain && (1..=11).contains(&notes), "{notes}");
    list.lock().unwrap().is_broken = false;
    spool.clock.fetch_add(3_000_000_000, Ordering::Relaxed);
    (0..2).for_each(|_| _ = got.take(&mut spool.way.consumers[0], 64));
    assert!(progress.retain() >= 1000);
}

/// What is settled may have held the memory that was wanted. A disk that refused has its time.
#[test]
fn a_disk_that_refuses_is_not_asked_again_at_once() {
    for (stuck, most) in [(Stuck::Memory, 8), (Stuck::Disk, 1)] {
        let mut spool = Spool::new(64);
        let list = Arc::clone(&spool.lists[0].1);
        (0..40).for_each(|_| spool.commit(0, &[0], false, 1));
        spool.publish();
        let mut got = Got::default();
        while got.out.len() < 8 {
            got.take(&mut spool.way.consumers[0], 8);
        }
        (list.lock().unwrap().is_broken, list.lock().unwrap().stuck_on) = (true, Some(stuck));
        let before = list.lock().unwrap().tries;
        while !got.out.is_empty() {
            got.settle(0, true);
            got.take(&mut spool.way.consumers[0], 8);
        }
        let tries = list.lock().unwrap().tries - before;
        assert!(tries <= most && tries > most / 2, "{stuck:?}: {tries}");
        spool.clock.fetch_add(limits::LOG_RETRY_MS * 1_000_000, Ordering::Relaxed);
        got.take(&mut spool.way.consumers[0], 8);
        assert_eq!(list.lock().unwrap().tries - before, tries + 1, "{stuck:?}");
    }
}

/// A shard's turn at this time, while a consumer sleeps: whether it woke somebody, and when it wants another turn.
fn turn(way: &mut Way, now_ms: u64) -> (bool, Option<u64>) {
    let Way { gather, consumers, .. } = way;
    consumers[0].asleep(|| {
        gather.hand_on(now_ms);
        let owes = gather.owes_wakes();
        if owes {
            gather.wake_consumers();
        }
        (owes, gather.next_time_ms())
    })
}

#[test]
fn who_sleeps_is_woken_now_and_then_for_what_logs_have_and_at_once_for_what_senders_wait_for() {
    let mut spool = Spool::new(64);
    let mut got = Got::default();
    (0..2).for_each(|_| _ = got.take(&mut spool.way.consumers[0], 64));
    let commit = |spool: &mut Spool| spool.commit(0, &[0], true, 9);
    commit(&mut spool);
    assert_eq!(turn(&mut spool.way, 10), (true, None), "the first");
    commit(&mut spool);
    let then = 10 + limits::WAKE_MS;
    assert_eq!(turn(&mut spool.way, 10), (false, Some(then)), "it is woken just now");
    assert_eq!(turn(&mut spool.way, 10), (false, Some(then)), "it is not forgotten");
    assert_eq!(turn(&mut spool.way, then), (true, None));
    assert_eq!(turn(&mut spool.way, then), (false, None), "nothing is new");
    commit(&mut spool);
    assert_eq!(turn(&mut spool.way, then), (false, Some(then + limits::WAKE_MS)));
    // Somebody waits.
    spool.way.send(Promise::Delivered, b"text", &[0]);
    assert_eq!(turn(&mut spool.way, then), (true, None));
    spool.way.send(Promise::Memory, b"text", &[0]);
    assert_eq!(turn(&mut spool.way, then), (true, None));
    // Senders of what no log has would wait soon: half of the places are taken.
    let more = (0..64).take_while(|_| {
        commit(&mut spool);
        !turn(&mut spool.way, then).0
    });
    assert!((16..48).contains(&more.count()));
    // Who is awake sees for itself.
    got.take(&mut spool.way.consumers[0], 64);
    commit(&mut spool);
    spool.way.gather.hand_on(then);
    assert!(!spool.way.gather.owes_wakes() && spool.way.gather.next_time_ms().is_none());
}

/// A shard on one thread, its consumers on others, of which one is slow: each gets all, once and in order, and nobody waits for ever.
#[test]
fn nothing_is_skipped_between_threads() {
    const MESSAGES: u64 = 20_000;
    let mut spool = Spool::new(16);
    let consumers: Vec<_> = std::mem::take(&mut spool.way.consumers)
        .into_iter()
        .enumerate()
        .map(|(route, mut deliveries)| {
            std::thread::spawn(move || {
                let mut got = Got::default();
                while got.accepted.len() < MESSAGES as usize + 10 {
                    got.take(&mut deliveries, 1 + route * 30);
                    (0..got.out.len()).rev().for_each(|at| got.settle(at, true));
                    assert!(deliveries.wait(None));
                }
                (got, deliveries)
            })
        })
        .collect();
    for number in 0..MESSAGES {
        spool.commit(0, &[0, 1], number % 11 != 0, 20);
        if number % 3 == 0 {
            spool.publish();
        }
    }
    spool.publish();
    for (route, consumer) in consumers.into_iter().enumerate() {
        let (got, _deliveries) = consumer.join().unwrap();
        got.check_order(&spool.due(route as u16));
        assert!(got.accepted.values().all(|times| *times == 1));
    }
}
