//! Segments on a real disk, and one that fails.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;

use super::*;
use crate::memory::region::AlignedBuffer;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{Fate, SimDisk};
use crate::spool::format::Chain;
use crate::spool::segment::{Registry, Segment, name};
use crate::spool::steward::preparing::{PREPARING, prepare};
use crate::spool::storage::disk::Disk;
use crate::spool::storage::{Access, Cause, Entry, StoredFile};

const OCTETS: u64 = 1 << 20;
const PLENTY: u64 = 1 << 40;

/// A disk of which a test says how full it is, and which of its calls fail.
#[derive(Debug)]
struct Trial {
    disk: Disk,
    free: AtomicU64,
    /// Files that are made fail.
    creates: AtomicBool,
    removes: AtomicBool,
    /// While this is held, who makes a file waits.
    hangs: Mutex<()>,
}

impl Trial {
    fn refuse(&self, path: &Path, fails: &AtomicBool, errno: Errno) -> Result<(), StorageError> {
        if !fails.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(StorageError { path: path.to_owned(), what: "try it", cause: Cause::System(errno) })
    }
}

impl Storage for Trial {
    fn entries(&self, directory: &Path) -> Result<Vec<Entry>, StorageError> {
        self.disk.entries(directory)
    }
    fn make_directory(&self, directory: &Path) -> Result<(), StorageError> {
        self.disk.make_directory(directory)
    }
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn StoredFile>, StorageError> {
        self.disk.open(path, access)
    }
    fn create(&self, path: &Path, octets: u64) -> Result<Arc<dyn StoredFile>, StorageError> {
        drop(self.hangs.lock());
        self.refuse(path, &self.creates, Errno::IO)?;
        self.disk.create(path, octets)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.refuse(path, &self.removes, Errno::IO)?;
        self.disk.remove(path)
    }
    fn sync_directory(&self, directory: &Path) -> Result<(), StorageError> {
        self.disk.sync_directory(directory)
    }
    fn free_octets(&self, path: &Path) -> Result<u64, StorageError> {
        match self.free.load(Ordering::Relaxed) {
            u64::MAX => Err(StorageError { path: path.to_owned(), what: "look", cause: Cause::System(Errno::IO) }),
            free => Ok(free),
        }
    }
    fn refuses_durability(&self, path: &Path) -> Option<&'static str> {
        self.disk.refuses_durability(path)
    }
}

/// One log in a directory of its own, which goes with this.
struct Scene {
    root: PathBuf,
    log: PathBuf,
    trial: Arc<Trial>,
    cursor: Arc<AtomicU64>,
    low: Arc<AtomicU64>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn scene(test: &str) -> Scene {
    let root = std::env::temp_dir().join(format!("ringmx-steward-{test}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let (disk, log) = (Disk::new(&root), root.join("durable-0000"));
    disk.make_directory(&log).unwrap();
    let [creates, removes] = [(); 2].map(|()| AtomicBool::new(false));
    let trial = Arc::new(Trial { disk, free: AtomicU64::new(PLENTY), creates, removes, hangs: Mutex::default() });
    Scene { root, log, trial, cursor: Arc::default(), low: Arc::new(AtomicU64::new(u64::MAX)) }
}

impl Scene {
    fn keeping(&self, found: Vec<Arc<Segment>>, size_octets: Option<u64>) -> (Keeping, Supply, Arc<Registry>) {
        let options = KeepOptions {
            directory: self.root.clone(),
            reserve: Arc::new(AtomicU64::new(10 * OCTETS)),
            size_octets,
            retain_s: 0,
        };
        let plan = LogPlan {
            chain: Chain::Durable,
            directory: self.log.clone(),
            segment_octets: OCTETS,
            found,
            cursors: vec![Arc::clone(&self.cursor) as Arc<dyn Needs>],
            low: Arc::clone(&self.low),
            waker: None,
            is_written_on: true,
        };
        let storage = Arc::clone(&self.trial) as Arc<dyn Storage>;
        let (keeping, mut ends) = Keeping::new(storage, options, vec![plan]);
        let (supply, registry) = ends.remove(0);
        (keeping, supply, registry)
    }

    fn names(&self) -> Vec<String> {
        let entries = self.trial.entries(&self.log).unwrap();
        entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
    }

    /// The shard takes one, fills it, and the sink has it.
    fn write(&self, supply: &Supply, base: u64) -> Option<u32> {
        let segment = supply.take(0)?;
        segment.begin(base);
        segment.publish(base + OCTETS);
        self.cursor.store(base + OCTETS, Ordering::Relaxed);
        Some(segment.number())
    }
}

fn figures(keeping: &Keeping) -> LogFigures {
    keeping.figures().lock().unwrap().logs[0].clone()
}

#[test]
fn a_segment_is_there_whole_and_zero_or_not_at_all() {
    let scene = scene("whole");
    let storage: Arc<dyn Storage> = Arc::clone(&scene.trial) as _;
    let left = scene.log.join(PREPARING);
    std::fs::write(&left, "of a process that is gone").unwrap();
    // Not a multiple of what is written at once.
    let octets = 2 * limits::SEGMENT_FILL_OCTETS as u64 + 8192;
    let segment = prepare(&storage, &scene.log, (7, false), octets).unwrap();
    assert_eq!((scene.names(), segment.number(), segment.octets()), (vec![name(7)], 7, octets));
    let file = storage.open(&scene.log.join(name(7)), Access::Read).unwrap();
    let mut content = AlignedBuffer::new(octets as usize).unwrap();
    content.fill(1);
    file.read_at(&mut content, 0).unwrap();
    assert!(content.iter().all(|octet| *octet == 0));
    // It is allocated, too: no hole is left to be filled later.
    use std::os::unix::fs::MetadataExt as _;
    assert!(std::fs::metadata(scene.log.join(name(7))).unwrap().blocks() * 512 >= octets);
    // A name that is taken is not written over.
    let taken = prepare(&storage, &scene.log, (7, false), octets).unwrap_err();
    assert_eq!((taken.error.errno(), scene.names()), (Errno::EXIST, vec![name(7)]));
    assert!(!taken.is_named, "it is somebody else's");
}

#[test]
fn a_log_is_supplied_and_what_is_read_comes_again() {
    let scene = scene("supplied");
    let (mut keeping, supply, registry) = scene.keeping(Vec::new(), None);
    assert!(supply.take(0).is_none() && supply.lack(0).is_none());
    let mut now_ms = 0;
    let mut step = |keeping: &mut Keeping| {
        now_ms += 200;
        keeping.step(now_ms);
    };
    (0..3).for_each(|_| step(&mut keeping));
    assert_eq!((supply.ready(), scene.names()), (2, vec![name(0), name(1)]));
    let mut written = Vec::new();
    for number in 0..10 {
        written.extend(scene.write(&supply, number * OCTETS));
        step(&mut keeping);
        step(&mut keeping);
    }
    // One is written, one was left when it began, and these are used again and again.
    assert_eq!(written, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
    let figures = self::figures(&keeping);
    assert_eq!((figures.in_use, figures.ready, figures.prepared, figures.recycled), (1, 2, 3, 9));
    assert_eq!((registry.segments().len(), figures.octets, figures.failures), (3, 3 * OCTETS, 0));
    assert!(registry.find(9 * OCTETS).is_some() && registry.find(8 * OCTETS).is_none());
    // A sink that does not come on keeps all that is behind its cursor, and so does a message that is open.
    scene.cursor.store(9 * OCTETS, Ordering::Relaxed);
    for number in 10..14 {
        let segment = supply.take(0).unwrap();
        segment.begin(number * OCTETS);
        segment.publish((number + 1) * OCTETS);
        step(&mut keeping);
    }
    assert_eq!(self::figures(&keeping).in_use, 5);
    scene.low.store(11 * OCTETS, Ordering::Relaxed);
    scene.cursor.store(u64::MAX, Ordering::Relaxed);
    step(&mut keeping);
    assert_eq!(self::figures(&keeping).in_use, 3);
    scene.low.store(u64::MAX, Ordering::Relaxed);
    step(&mut keeping);
    // What was not needed for a while goes; the number of those that are kept comes down to what a quiet log has.
    (0..8 * limits::SEGMENT_SURPLUS_MS / 200).for_each(|_| step(&mut keeping));
    let figures = self::figures(&keeping);
    assert_eq!((figures.in_use, figures.ready, scene.names().len()), (1, limits::SEGMENTS_READY, 3));
    assert_eq!(figures.prepared, figures.removed + 3);
}

#[test]
fn a_disk_that_is_full_or_fails_is_told_and_mends() {
    let scene = scene("full");
    let (mut keeping, supply, _registry) = scene.keeping(Vec::new(), None);
    let (trial, mut now_ms) = (&scene.trial, 0);
    let mut lack = |free: u64| {
        now_ms += limits::SEGMENT_RETRY_MS;
        trial.free.store(free, Ordering::Relaxed);
        keeping.step(now_ms);
        keeping.step(now_ms);
        supply.lack(0)
    };
    assert_eq!((lack(10 * OCTETS), scene.names().len()), (Some(Lack::Full), 0));
    assert_eq!((lack(PLENTY), scene.names().len()), (None, 2));
    assert_eq!(lack(10 * OCTETS - 1), Some(Lack::Full), "what is ready is not filled when the rest is so short");
    assert_eq!((lack(11 * OCTETS), lack(12 * OCTETS)), (Some(Lack::Full), None));
    assert_eq!((lack(u64::MAX), lack(PLENTY)), (Some(Lack::Failed), None));
    // What is ready is used up before it matters that none can be made.
    trial.creates.store(true, Ordering::Relaxed);
    assert_eq!((scene.write(&supply, 0), lack(PLENTY)), (Some(0), None));
    assert_eq!((scene.write(&supply, OCTETS), lack(PLENTY)), (Some(1), None), "the first comes back");
    scene.cursor.store(0, Ordering::Relaxed);
    let last = supply.take(0).unwrap();
    last.begin(2 * OCTETS);
    assert_eq!((lack(PLENTY), supply.take(0).is_none()), (Some(Lack::Failed), true));
    trial.creates.store(false, Ordering::Relaxed);
    assert_eq!((lack(PLENTY), supply.take(0).is_some()), (None, true));
    let figures = figures(&keeping);
    assert_eq!((figures.lacks, figures.trouble), (4, None));
    assert!(figures.failures > 0);
    // However it ends: nobody waits for what will not come.
    drop(Abandoned(keeping));
    assert_eq!(supply.lack(0), Some(Lack::Failed));
}

#[test]
fn what_all_logs_may_have_is_a_bound() {
    let scene = scene("bound");
    let (mut keeping, supply, registry) = scene.keeping(Vec::new(), Some(3 * OCTETS));
    scene.cursor.store(0, Ordering::Relaxed);
    let mut taken = 0;
    for now_ms in (0..20_000).step_by(200) {
        keeping.step(now_ms);
        if let Some(segment) = supply.take(0) {
            segment.begin(taken * OCTETS);
            segment.publish((taken + 1) * OCTETS);
            taken += 1;
        }
    }
    assert_eq!((taken, registry.segments().len(), supply.lack(0)), (3, 3, Some(Lack::Full)));
    scene.cursor.store(OCTETS, Ordering::Relaxed);
    keeping.step(20_000);
    assert_eq!((supply.ready(), supply.lack(0)), (1, None));
}

/// What was there at the start: in use, spare, of another length, failed; and a file that does not go.
#[test]
fn what_is_found_is_used_or_goes() {
    let scene = scene("found");
    let storage: Arc<dyn Storage> = Arc::clone(&scene.trial) as _;
    let made = |number, octets| prepare(&storage, &scene.log, (number, false), octets).unwrap();
    let long = made(0, 2 * OCTETS);
    let spare = made(1, OCTETS);
    let file = Arc::clone(made(4, OCTETS).file());
    let past = Arc::new(Segment::found(4, file, OCTETS, 64 * OCTETS, 65 * OCTETS));
    let file = Arc::clone(made(6, 2 * OCTETS).file());
    let long_past = Arc::new(Segment::found(6, file, 2 * OCTETS, 62 * OCTETS, 64 * OCTETS));
    scene.low.store(65 * OCTETS, Ordering::Relaxed);
    scene.cursor.store(63 * OCTETS, Ordering::Relaxed);
    scene.trial.removes.store(true, Ordering::Relaxed);
    let (mut keeping, supply, registry) = scene.keeping(vec![long, spare, past, long_past], None);
    keeping.step(0);
    // Nor is one made where the name for it cannot be made free.
    assert_eq!((supply.ready(), scene.names().len(), figures(&keeping).failures), (1, 4, 2));
    scene.trial.removes.store(false, Ordering::Relaxed);
    keeping.step(limits::SEGMENT_RETRY_MS);
    assert!(!scene.names().contains(&name(0)) && registry.find(64 * OCTETS).is_some());
    keeping.step(limits::SEGMENT_RETRY_MS);
    assert_eq!((supply.ready(), registry.find(63 * OCTETS).is_some()), (2, true));
    scene.cursor.store(u64::MAX, Ordering::Relaxed);
    (0..3).for_each(|_| keeping.step(2 * limits::SEGMENT_RETRY_MS));
    assert_eq!((registry.segments().len(), figures(&keeping).in_use), (2, 0));
    assert!(!scene.names().contains(&name(4)) && !scene.names().contains(&name(6)), "a late write may come to them");
}

/// The thread does what the steps do: a shard that takes segments as fast as it can is always given another.
#[test]
fn the_thread_keeps_a_log_supplied() {
    let scene = scene("thread");
    let (keeping, supply, registry) = scene.keeping(Vec::new(), None);
    let figures = keeping.figures();
    let steward = Steward::start(keeping).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut base = 0;
    while base < 40 * OCTETS {
        assert!(Instant::now() < deadline, "{:?}", figures.lock().unwrap());
        match scene.write(&supply, base) {
            Some(_) => base += OCTETS,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let file = scene.trial.open(&scene.log.join(name(0)), Access::Read).unwrap();
    assert_eq!(file.octets(), OCTETS);
    drop(steward);
    let figures = figures.lock().unwrap().logs[0].clone();
    assert_eq!(figures.prepared + figures.recycled, 40 + figures.ready as u64, "{figures:?}");
    assert!(figures.recycled > 0 && registry.segments().len() as u64 == figures.prepared);
    assert_eq!((supply.lack(0), figures.failures), (Some(Lack::Failed), 0));
}

/// A disk that does not answer says nothing, and so does who waits for it: the shard finds out by its own clock, and that it is over.
#[test]
fn a_disk_that_does_not_answer_is_found_out_by_the_shard() {
    let scene = scene("hung");
    let hung = scene.trial.hangs.lock().unwrap();
    let (keeping, supply, _) = scene.keeping(Vec::new(), None);
    let figures = keeping.figures();
    let steward = Steward::start(keeping).unwrap();
    assert!(supply.take(0).is_none());
    let deadline = Instant::now() + Duration::from_secs(60);
    // Until it has begun.
    while figures.lock().unwrap().free_octets.is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(supply.lack(limits::WRITE_HUNG_MS - 1), None);
    assert_eq!(supply.lack(limits::WRITE_HUNG_MS), Some(Lack::Hung));
    assert_eq!(figures.lock().unwrap().logs[0].lack, None);
    drop(hung);
    while supply.ready() == 0 {
        assert!(Instant::now() < deadline, "{:?}", figures.lock().unwrap());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((supply.lack(limits::WRITE_HUNG_MS), supply.is_hung()), (None, false));
    assert!(supply.take(limits::WRITE_HUNG_MS).is_some());
    drop(steward);
}

/// However far it came when everything failed and the power went: what has the name of a segment is one.
/// Some calls in a row, so that what cleans up may fail, too. What has its name and is not known would be in the way for ever.
#[test]
fn whatever_fails_for_a_while_there_are_segments_afterwards() {
    for (first, most) in (0..20).flat_map(|first| [1, 2, 5].map(|most| (first, most))) {
        let disk = SimDisk::new(first);
        let log = Path::new("/spool/durable-0000");
        disk.make_directory(log).unwrap();
        let (mut keeping, supply) = {
            let plan = LogPlan {
                chain: Chain::Durable,
                directory: log.to_owned(),
                segment_octets: 8192,
                found: Vec::new(),
                cursors: Vec::new(),
                low: Arc::default(),
                waker: None,
                is_written_on: true,
            };
            let options = KeepOptions {
                directory: PathBuf::from("/spool"),
                reserve: Arc::default(),
                size_octets: None,
                retain_s: 0,
            };
            let (keeping, ends) = Keeping::new(Arc::new(disk.clone()), options, vec![plan]);
            (keeping, ends.into_iter().next().unwrap().0)
        };
        let mut calls = 0;
        disk.set_plan(move |_| {
            calls += 1;
            if (first..first + most).contains(&(calls - 1)) { Fate::Fails(Errno::IO) } else { Fate::Done }
        });
        for second in 0..20 {
            keeping.step(second * 1_000);
        }
        assert_eq!(supply.ready(), limits::SEGMENTS_READY, "{most} calls from {first} on");
        let names = disk.entries(log).unwrap().into_iter().map(|entry| entry.name);
        assert_eq!(names.count(), limits::SEGMENTS_READY, "{most} calls from {first} on");
    }
}

#[test]
fn a_power_cut_leaves_a_whole_segment_or_none() {
    let (directory, octets) = (Path::new("/log"), 3 << 20);
    let path = directory.join(name(0));
    let (mut there, mut tries) = (0, 0);
    for calls in 0.. {
        let disk = SimDisk::new(calls);
        disk.make_directory(directory).unwrap();
        let mut done = 0;
        disk.set_plan(move |_| {
            done += 1;
            if done > calls { Fate::Fails(Errno::IO) } else { Fate::Done }
        });
        let prepared = prepare(&(Arc::new(disk.clone()) as Arc<dyn Storage>), directory, (0, false), octets);
        for seed in 0..20 {
            let after = disk.power_cut(&mut Chance::new(seed));
            let names: Vec<_> = after.entries(directory).unwrap().into_iter().map(|entry| entry.name).collect();
            let is_there = names.iter().any(|entry| *entry == *name(0));
            assert!(is_there || prepared.is_err(), "it is there, and it is not");
            assert!(names.iter().all(|entry| *entry == *name(0) || *entry == *PREPARING), "{names:?}");
            if is_there {
                let content = after.octets(&path);
                assert!(content.len() as u64 == octets && content.iter().all(|octet| *octet == 0), "{calls} {seed}");
            }
            there += usize::from(is_there);
            tries += 1;
        }
        if prepared.is_ok() {
            break;
        }
    }
    assert!(there > 20 && there < tries, "{there} of {tries}: some came as far as the name");
}
