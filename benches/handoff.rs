//! The hand-off queue between two cores, in batches, against the rtrb crate in chunks (PERFORMANCE.md, P16).
//!
//! One pinned thread makes items and hands them over a batch at a time; another, pinned to another core, takes a batch at a
//! time and adds up what it read. Every run checks that number and sum of what was taken are those of what was made. rtrb
//! moves items out of its ring one by one in place (`read_chunk`), which is its best; ours moves a batch to a `Vec`, as a
//! consumer does. `cargo bench --bench handoff` ends with the ratios of P16, the medians of pairs of runs that take turns;
//! `-- --test` only checks, at small size.
//!
//! What was tried (time ÷ rtrb's in batches of 32 and 256, 2 vCPUs, medians): as it is 0.92 to 1.00 for 128 octets, 0.74 to
//! 1.17 for 8, by what else ran. Pushed one by one 1.26 and 1.27; 3.8 and 3.2, because the index goes through memory for each.
//! Moved out item by item instead of by one copy: the same for 128 octets, 0.99 and 1.16 for 8. Who is faster than the other
//! side finds the ring empty or full, and asks for its index again and again: that costs more than all the rest.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ringmx::handoff::ring::{Pusher, Taker, ring};
use rtrb::chunks::{ChunkError, ReadChunk};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Room in the queue, in items.
const CAPACITY: usize = 1024;
/// Items of a batch, unless said otherwise.
const BATCH: usize = 32;
/// Items of one timed run: some milliseconds.
const ITEMS: u64 = 1 << 19;
/// Items where only the result counts.
const ITEMS_CHECKED: u64 = 10_000;
/// Pairs of runs of which the median ratio is taken.
const PAIRS: usize = 61;

/// What passes.
trait Item: Copy + Send + 'static {
    const NAME: &'static str;
    fn new(number: u64) -> Self;
    fn read(&self) -> u64;
}

impl Item for u64 {
    const NAME: &'static str = "8 octets";

    fn new(number: u64) -> Self {
        number
    }

    fn read(&self) -> u64 {
        *self
    }
}

/// Of the size of a letter.
type Letter = [u64; 16];

impl Item for Letter {
    const NAME: &'static str = "128 octets";

    fn new(number: u64) -> Self {
        [number; 16]
    }

    fn read(&self) -> u64 {
        self[0] ^ self[7] ^ self[15]
    }
}

/// The number and the sum of what was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    items: u64,
    sum: u64,
}

impl Sums {
    fn add<T: Item>(&mut self, item: &T) {
        self.items += 1;
        self.sum = self.sum.wrapping_add(item.read());
    }

    fn of(items: u64) -> Self {
        Self { items, sum: (0..items).fold(0, u64::wrapping_add) }
    }
}

/// A queue's side that makes items: as many as there is room for of those from `first` to `end`; says how many.
trait Making: Send {
    fn make(&mut self, first: u64, end: u64) -> u64;
}

/// The other side: takes so many at most, and adds them up.
trait Taking: Send {
    fn take(&mut self, most: usize, sums: &mut Sums);
}

struct Ours<T>(Taker<T>, Vec<T>);

impl<T: Item> Making for Pusher<T> {
    #[inline]
    fn make(&mut self, first: u64, end: u64) -> u64 {
        let made = self.push_all(&mut (first..end).map(T::new));
        self.publish();
        made as u64
    }
}

impl<T: Item> Taking for Ours<T> {
    #[inline]
    fn take(&mut self, most: usize, sums: &mut Sums) {
        self.0.take_batch(&mut self.1, most);
        self.1.iter().for_each(|item| sums.add(item));
        self.1.clear();
    }
}

/// Pushed one by one, as a shard does when messages end.
struct OneByOne<T>(Pusher<T>);

impl<T: Item> Making for OneByOne<T> {
    #[inline]
    fn make(&mut self, first: u64, end: u64) -> u64 {
        let mut number = first;
        while number < end && self.0.push(T::new(number)).is_ok() {
            number += 1;
        }
        self.0.publish();
        number - first
    }
}

struct Rtrb<T>(rtrb::Consumer<T>);

impl<T: Item> Making for rtrb::Producer<T> {
    #[inline]
    fn make(&mut self, first: u64, end: u64) -> u64 {
        let wanted = (end - first) as usize;
        let chunk = match self.write_chunk_uninit(wanted) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(free)) => self.write_chunk_uninit(free).expect("there is room"),
        };
        chunk.fill_from_iter((first..end).map(T::new)) as u64
    }
}

impl<T: Item> Taking for Rtrb<T> {
    #[inline]
    fn take(&mut self, most: usize, sums: &mut Sums) {
        chunk(&mut self.0, most).into_iter().for_each(|item| sums.add(&item));
    }
}

/// What there is, so much at most.
#[inline]
fn chunk<T>(consumer: &mut rtrb::Consumer<T>, most: usize) -> ReadChunk<'_, T> {
    let count = match consumer.read_chunk(most) {
        Ok(_) => most,
        Err(ChunkError::TooFewSlots(count)) => count,
    };
    consumer.read_chunk(count).expect("they are there")
}

/// rtrb, moved to a `Vec` as ours.
struct RtrbToVec<T>(rtrb::Consumer<T>, Vec<T>);

impl<T: Item> Taking for RtrbToVec<T> {
    #[inline]
    fn take(&mut self, most: usize, sums: &mut Sums) {
        self.1.extend(chunk(&mut self.0, most));
        self.1.iter().for_each(|item| sums.add(item));
        self.1.clear();
    }
}

/// Both sides of a queue.
struct Lane<M, T>(M, T);

fn ours<T: Item>() -> Lane<Pusher<T>, Ours<T>> {
    let (pusher, taker) = ring(CAPACITY);
    Lane(pusher, Ours(taker, Vec::with_capacity(CAPACITY)))
}

fn ours_one_by_one<T: Item>() -> Lane<OneByOne<T>, Ours<T>> {
    let (pusher, taker) = ring(CAPACITY);
    Lane(OneByOne(pusher), Ours(taker, Vec::with_capacity(CAPACITY)))
}

fn rtrb<T: Item>() -> Lane<rtrb::Producer<T>, Rtrb<T>> {
    let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
    Lane(producer, Rtrb(consumer))
}

fn rtrb_to_vec<T: Item>() -> Lane<rtrb::Producer<T>, RtrbToVec<T>> {
    let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
    Lane(producer, RtrbToVec(consumer, Vec::with_capacity(CAPACITY)))
}

/// The first two cores that this process may use; with one only, both threads share it.
fn cores() -> [usize; 2] {
    let allowed = sched_getaffinity(None).expect("a process may ask where it runs");
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let first = cores.next().expect("a process runs somewhere");
    [first, cores.next().unwrap_or(first)]
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("a thread may stay where it may be");
}

/// Waits for the other side; not at its expense, where another process has its core.
fn wait(rounds: &mut u32) {
    *rounds += 1;
    if rounds.is_multiple_of(256) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// So many items through the queue, and how long it took.
fn run<M: Making, T: Taking>(lane: &mut Lane<M, T>, [one, other]: [usize; 2], items: u64, batch: usize) -> Duration {
    let ready = AtomicU32::new(0);
    let meet = || {
        ready.fetch_add(1, Ordering::AcqRel);
        let mut rounds = 0;
        while ready.load(Ordering::Acquire) < 2 {
            wait(&mut rounds);
        }
    };
    let Lane(making, taking) = lane;
    let (sums, time) = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(one);
            meet();
            let (mut made, mut rounds) = (0, 0);
            while made < items {
                let more = making.make(made, items.min(made + batch as u64));
                made += more;
                if more == 0 {
                    wait(&mut rounds);
                }
            }
        });
        let taker = scope.spawn(|| {
            pin(other);
            meet();
            let start = Instant::now();
            let (mut sums, mut rounds) = (Sums::default(), 0);
            while sums.items < items {
                let before = sums.items;
                taking.take(batch, &mut sums);
                if sums.items == before {
                    wait(&mut rounds);
                }
            }
            (black_box(sums), start.elapsed())
        });
        taker.join().expect("it takes all")
    });
    assert_eq!(sums, Sums::of(items), "items were lost, altered, or came twice");
    time
}

fn check<T: Item>(cores: [usize; 2]) {
    for batch in [1, 7, BATCH, CAPACITY] {
        run(&mut ours::<T>(), cores, ITEMS_CHECKED, batch);
        run(&mut ours_one_by_one::<T>(), cores, ITEMS_CHECKED, batch);
        run(&mut rtrb::<T>(), cores, ITEMS_CHECKED, batch);
        run(&mut rtrb_to_vec::<T>(), cores, ITEMS_CHECKED, batch);
    }
}

fn handoff<T: Item>(criterion: &mut Criterion, cores: [usize; 2]) {
    check::<T>(cores);
    let mut group = criterion.benchmark_group(format!("handoff/{}", T::NAME));
    group.throughput(Throughput::Elements(ITEMS_CHECKED)).sample_size(20);
    let (mut ours, mut one_by_one, mut rtrb) = (ours::<T>(), ours_one_by_one::<T>(), rtrb::<T>());
    let mut bench = |name: &str, time: &mut dyn FnMut() -> Duration| {
        group.bench_function(name, |bencher| bencher.iter_custom(|times| (0..times).map(|_| time()).sum()));
    };
    bench("ours", &mut || run(&mut ours, cores, ITEMS_CHECKED, BATCH));
    bench("ours, pushed one by one", &mut || run(&mut one_by_one, cores, ITEMS_CHECKED, BATCH));
    bench("rtrb", &mut || run(&mut rtrb, cores, ITEMS_CHECKED, BATCH));
    group.finish();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints ns per item, and for P16 time ÷ rtrb's.
fn ratios<T: Item>(cores: [usize; 2]) {
    for batch in [8, BATCH, 256] {
        let (mut ours, mut one_by_one) = (ours::<T>(), ours_one_by_one::<T>());
        let (mut rtrb, mut to_vec) = (rtrb::<T>(), rtrb_to_vec::<T>());
        // Who comes first changes from round to round.
        let mut times: [Vec<f64>; 4] = Default::default();
        for round in 0..PAIRS + 1 {
            for place in 0..4 {
                let which = (place + round) % 4;
                let time = match which {
                    0 => run(&mut ours, cores, ITEMS, batch),
                    1 => run(&mut rtrb, cores, ITEMS, batch),
                    2 => run(&mut one_by_one, cores, ITEMS, batch),
                    _ => run(&mut to_vec, cores, ITEMS, batch),
                };
                // The first round warms up.
                if round > 0 {
                    times[which].push(time.as_secs_f64() * 1e9 / ITEMS as f64);
                }
            }
        }
        let [ours, rtrb, one_by_one, to_vec] = times;
        let ratio = |times: &[f64], to: &[f64]| median(times.iter().zip(to).map(|(time, to)| time / to).collect());
        println!(
            "{:10}, batches of {batch:3}: ours {:5.2} ns, rtrb {:5.2} ns, ratio {:.2}; ours pushed one by one {:.2}; \
             rtrb to a Vec {:.2}",
            T::NAME,
            median(ours.clone()),
            median(rtrb.clone()),
            ratio(&ours, &rtrb),
            ratio(&one_by_one, &rtrb),
            ratio(&to_vec, &rtrb),
        );
    }
}

fn main() {
    let cores = cores();
    // `cargo bench` says so; a test run and a listing do not time.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let times = has("--bench") && !has("--test") && !has("--list");
    if !has("--ratios") {
        let mut criterion = Criterion::default().configure_from_args();
        handoff::<u64>(&mut criterion, cores);
        handoff::<Letter>(&mut criterion, cores);
        criterion.final_summary();
    }
    if times {
        println!("\nns per item, and time ÷ rtrb in chunks (P16); medians of {PAIRS} rounds on cores {cores:?}");
        ratios::<Letter>(cores);
        ratios::<u64>(cores);
    }
}
