//! Writes of a real ring to real files.

use std::fs::File as StdFile;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::*;
use crate::handoff::mailbox::mailbox;
use crate::memory::slab::{Leases, Slab};
use crate::reactor::buffers::GroupShape;
use crate::reactor::io::{Completion, Io as _, Kind, Operation};
use crate::reactor::ring::{Ring, RingOptions};

fn ring() -> Ring {
    let (_sender, _receiver, wake) = mailbox::<()>().unwrap();
    let group = GroupShape { buffer_octets: 4096, buffers: 2 };
    Ring::new(&RingOptions { sockets: 2, submissions: 8, completions: 64, groups: vec![group] }, wake).unwrap()
}

/// An empty file, which is gone from its directory already, and the same to be read.
fn file(name: &str) -> (Arc<File>, StdFile) {
    let path: PathBuf = std::env::temp_dir().join(format!("ringmx-writing-{name}-{}", std::process::id()));
    let file = StdFile::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    (Arc::new(File::Open(file.try_clone().unwrap().into())), file)
}

fn token(slot: u32) -> Token {
    Token { kind: Kind::Write, generation: 3, slot }
}

fn start(ring: &mut Ring, slot: u32, file: &Arc<File>, octets: Lease, at: u64) {
    let write = Write { file: Arc::clone(file), octets, at, is_synced: slot.is_multiple_of(2) };
    ring.start(token(slot), Operation::Write { write });
}

/// The next completion; a wait of a minute is a failure.
fn completion(ring: &mut Ring) -> Completion {
    let until = ring.read_clock().plus_ms(60_000);
    while ring.read_clock() < until {
        ring.wait(Some(until)).unwrap();
        if let Some(completion) = ring.complete() {
            return completion;
        }
    }
    panic!("nothing completes");
}

fn finish(ring: &mut Ring, slot: u32) -> Result<u32, Errno> {
    let completion = completion(ring);
    assert_eq!((completion.token, completion.more), (token(slot), false));
    completion.result
}

fn read(file: &StdFile, octets: usize, at: u64) -> Vec<u8> {
    let mut all = vec![0; octets];
    file.read_exact_at(&mut all, at).unwrap();
    all
}

/// More writes than the queue has entries, from all parts of several blocks.
#[test]
fn octets_arrive_where_they_were_meant_to() {
    let (mut ring, mut slab) = (ring(), Slab::with_blocks_of(8192, 32));
    let (target, back) = file("places");
    let mut expected = Vec::new();
    for slot in 0..40_u32 {
        let octets = vec![slot as u8 + 1; 3_000 + slot as usize];
        start(&mut ring, slot, &target, slab.append_whole(&octets).unwrap(), u64::from(slot) * 4_000);
        expected.push(octets);
    }
    let mut done: Vec<u32> = (0..40).map(|_| completion(&mut ring)).map(|done| done.token.slot).collect();
    done.sort_unstable();
    assert_eq!(done, (0..40).collect::<Vec<_>>());
    for (slot, octets) in expected.iter().enumerate() {
        assert_eq!(&read(&back, octets.len(), slot as u64 * 4_000), octets, "{slot}");
    }
    assert_eq!((ring.counts().writes, ring.counts().plain_writes), (40, 0));
    assert!(slab.octets() <= 8192, "only the block that is being written is in use");
    // What is longer than a block, and what is kept apart, is not used again: the kernel need not know it.
    let long = slab.append_whole(&[7; 20_000]).unwrap();
    let mut leases = Leases::default();
    slab.append(&mut leases, b"content").unwrap();
    let (apart, _) = slab::apart(&slab.append_whole(b"apart").unwrap(), &leases).unwrap();
    start(&mut ring, 1, &target, long, 200_000);
    assert_eq!(finish(&mut ring, 1), Ok(20_000));
    start(&mut ring, 2, &target, apart, 0);
    assert_eq!((finish(&mut ring, 2), ring.counts().plain_writes), (Ok(5), 2));
    assert_eq!((read(&back, 5, 0), read(&back, 20_000, 200_000)), (b"apart".to_vec(), vec![7; 20_000]));
}

/// Within a tick, that is: where the first is done in the next one, another tick will do.
#[test]
fn the_shard_begins_writes_itself_to_a_file_that_has_its_stamp() {
    let (mut writing, ring) = (Writing::default(), io_uring::IoUring::new(8).unwrap());
    let (mut slab, (target, _back)) = (Slab::with_blocks_of(4096, 4), file("stamps"));
    let mut is_by_worker = |writing: &mut Writing, slot: u32| {
        let octets = slab.append_whole(&[1; 512]).unwrap();
        let write = Write { file: Arc::clone(&target), octets, at: 0, is_synced: true };
        let (entry, _) = writing.begin(&ring.submitter(), token(slot), write).unwrap();
        format!("{entry:?}").contains(&format!("flags: {}", squeue::Flags::ASYNC.bits()))
    };
    assert!(is_by_worker(&mut writing, 1), "nothing is known of it");
    writing.complete(token(1), false);
    assert!(is_by_worker(&mut writing, 2), "what failed has no stamp");
    writing.complete(token(2), false);
    let mut by_shard = 0;
    for slot in 3..10_000 {
        by_shard += usize::from(!is_by_worker(&mut writing, slot));
        writing.complete(token(slot), true);
    }
    assert!(by_shard > 0, "10,000 writes, and no two in one tick");
}

#[test]
fn a_write_that_fails_is_told_and_lets_go() {
    let (mut ring, mut slab) = (ring(), Slab::with_blocks_of(4096, 4));
    let only_read = Arc::new(File::Open(StdFile::open("/dev/null").unwrap().into()));
    let full = Arc::new(File::Open(StdFile::options().write(true).open("/dev/full").unwrap().into()));
    let foreign = Arc::new(File::Numbered(1));
    let mut write = |slot, file: &Arc<File>| {
        let octets = slab.append_whole(&[1; 4096]).unwrap();
        start(&mut ring, slot, file, octets, 0);
        let result = finish(&mut ring, slot);
        assert_eq!((Arc::strong_count(file), slab.octets()), (1, 4096));
        result
    };
    assert_eq!(write(1, &only_read), Err(Errno::BADF));
    assert_eq!(write(3, &full), Err(Errno::NOSPC));
    assert_eq!(write(5, &foreign), Err(Errno::BADF));
}

/// One after the other at the same address, as the system likes to map them.
#[test]
fn a_block_is_not_taken_for_one_that_lay_there_before() {
    let (mut ring, mut slab) = (ring(), Slab::with_blocks_of(65_536, 1));
    let (target, back) = file("addresses");
    let mut addresses = Vec::new();
    for number in 1..=20_u8 {
        let octets = slab.append_whole(&[number; 65_536]).unwrap();
        addresses.push(octets.lasting().unwrap().start as usize);
        start(&mut ring, 2, &target, octets, 0);
        assert_eq!(finish(&mut ring, 2), Ok(65_536));
        assert!(read(&back, 65_536, 0).iter().all(|octet| *octet == number), "{number}");
        // The block is left, and unmapped.
        assert!(slab.append_whole(&[0; 65_537]).is_err());
        slab.turn_page().unwrap();
        drop(std::mem::replace(&mut slab, Slab::with_blocks_of(65_536, 1)));
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert!(addresses.len() < 20, "no address came again, so nothing was tried");
    assert_eq!(ring.counts().plain_writes, 0);
}

/// What does not fit the table is written all the same, and fits when others are gone.
#[test]
fn a_table_that_is_full_is_no_bound_for_writes() {
    const TABLE: usize = limits::BLOCKS_REGISTERED as usize;
    let (mut ring, mut slab) = (ring(), Slab::with_blocks_of(4096, TABLE + 1));
    let (target, _back) = file("full");
    // However often one is written from, it has one place.
    let mut held = vec![slab.append_whole(&[1; 4096]).unwrap()];
    for _ in 0..2 * TABLE {
        start(&mut ring, 1, &target, held[0].share(), 0);
        assert_eq!(finish(&mut ring, 1), Ok(4096));
    }
    assert_eq!(ring.counts().plain_writes, 0);
    held.clear();
    slab.trim(0);
    for number in 0..=TABLE {
        held.push(slab.append_whole(&[1; 4096]).unwrap());
        start(&mut ring, 1, &target, held[number].share(), 0);
        assert_eq!(finish(&mut ring, 1), Ok(4096));
    }
    assert_eq!(ring.counts().plain_writes, 1);
    // The last one has no place as long as the others have theirs.
    let last = held.pop().unwrap();
    start(&mut ring, 1, &target, last.share(), 0);
    assert_eq!((finish(&mut ring, 1), ring.counts().plain_writes), (Ok(4096), 2));
    held.remove(0);
    slab.trim(0);
    start(&mut ring, 1, &target, last.share(), 0);
    assert_eq!((finish(&mut ring, 1), ring.counts().plain_writes), (Ok(4096), 2));
}

/// Without the right to lock more than the limit, as a service has it, a block beyond that is written plainly.
#[test]
fn without_locked_memory_writes_are_plain() {
    use rustix::process::{Resource, getrlimit};
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let Some(limit) = getrlimit(Resource::Memlock).current.filter(|limit| *limit <= 64 << 20) else {
        return eprintln!("skipped: this process may lock as much memory as it likes");
    };
    // Capabilities are a thread's own, and this thread ends with the test.
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();
    let octets = (limit as usize).next_multiple_of(4096) + 4096;
    let (mut ring, mut large) = (ring(), Slab::with_blocks_of(octets, 1));
    let mut small = Slab::with_blocks_of(4096, 1);
    let (target, back) = file("locked");
    start(&mut ring, 2, &target, large.append_whole(b"plain").unwrap(), 0);
    assert_eq!((finish(&mut ring, 2), ring.counts().plain_writes), (Ok(5), 1));
    assert_eq!(read(&back, 5, 0), b"plain");
    // It is tried again only when some block is gone.
    drop((large, Slab::with_blocks_of(4096, 1).append_whole(b"gone")));
    start(&mut ring, 2, &target, small.append_whole(b"known").unwrap(), 0);
    assert_eq!((finish(&mut ring, 2), ring.counts().plain_writes), (Ok(5), 1));
    assert_eq!(read(&back, 5, 0), b"known");
}

/// A ring that ends lets its writes come to their end first: what is written to their memory afterwards is in no file. Several times:
/// of rings that did not wait, one in three was caught.
#[test]
fn a_ring_that_ends_is_done_with_its_memory() {
    for _ in 0..6 {
        end_with_writes_under_way();
    }
}

fn end_with_writes_under_way() {
    const OCTETS: usize = 256 * 1024;
    let mut slab = Slab::with_blocks_of(OCTETS, 64);
    let (target, back) = file("end");
    back.write_all_at(&vec![1; 64 * OCTETS], 0).unwrap();
    back.sync_all().unwrap();
    let File::Open(descriptor) = &*target else { unreachable!("it was opened") };
    // Past the page cache, where that can be, the disk reads the memory while we go on.
    let _ = rustix::fs::fcntl_setfl(descriptor, rustix::fs::OFlags::DIRECT);
    let mut ring = ring();
    for slot in 0..64 {
        let octets = slab.append_whole(&[2; OCTETS]).unwrap();
        start(&mut ring, 2 * slot, &target, octets, u64::from(slot) * OCTETS as u64);
    }
    ring.wait(None).unwrap();
    drop(ring);
    assert_eq!((Arc::strong_count(&target), slab.octets()), (1, OCTETS as u64));
    let later: Vec<Lease> = (0..63).map(|_| slab.append_whole(&[3; OCTETS]).unwrap()).collect();
    rustix::fs::fcntl_setfl(&back, rustix::fs::OFlags::empty()).unwrap();
    back.sync_all().unwrap();
    for slot in 0..64 {
        let octets = read(&back, OCTETS, slot * OCTETS as u64);
        assert!(octets.iter().all(|octet| *octet == octets[0]) && octets[0] < 3, "{slot}: {}", octets[0]);
    }
    drop(later);
}
