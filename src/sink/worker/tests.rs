//! A worker with spooled mail: sinks that panic, disks that fail.

use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;

use super::*;
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::mailbox::mailbox;
use crate::handoff::place::{LogId, LogKind, Place, Spooled};
use crate::letter;
use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::memory::slab::{Leases, Slab};
use crate::simulation::disk::{Fate as DiskFate, SimDisk, What};
use crate::sink::log::{DeliveryLog, Target};
use crate::spool::deferred::order::{self, Kinds, Order, Verb};
use crate::spool::deferred::schedule::Kind;
use crate::spool::deferred::{Deferred, DeferredOptions, Owner, RetryOptions, Sizes};
use crate::spool::findings::Findings;
use crate::spool::tools::hand::Hand;

/// A sink that does as it is told.
struct Told<F>(F);

impl<F: FnMut(&mut [Delivery]) + Send> Sink for Told<F> {
    fn deliver(&mut self, batch: &mut [Delivery]) {
        (self.0)(batch);
    }
}

fn worker(disk: &SimDisk, sink: impl FnMut(&mut [Delivery]) + Send + 'static) -> (Worker, Arc<Findings>) {
    let (_, mut deliveries) = connect(&ExchangeOptions { consumers: vec![1], ..ExchangeOptions::default() }).unwrap();
    let findings = Arc::new(Findings::default());
    let worker = Worker {
        name: "store".into(),
        deliveries: deliveries.remove(0).remove(0),
        sink: Box::new(Told(sink)),
        figures: Arc::default(),
        log: None,
        hurry: Arc::default(),
        settlement: Some(settlement(disk)),
        trouble: Trouble::new("store".into(), Arc::clone(&findings)),
    };
    (worker, findings)
}

/// Of what lies on a disk.
pub fn settlement(disk: &SimDisk) -> Settlement {
    settlement_with(disk, Sizes::default())
}

fn settlement_with(disk: &SimDisk, sizes: Sizes) -> Settlement {
    let options = DeferredOptions {
        storage: Arc::new(disk.clone()),
        directory: PathBuf::from("spool/deferred"),
        owner: Owner { node: 1, epoch: 1, thread: 0, sink: "store".into() },
        threads: 1,
        retry: RetryOptions::default(),
        sizes,
    };
    Settlement::new(Deferred::open(&options, now_ms()).unwrap())
}

pub fn batch(messages: u64) -> Vec<Delivery> {
    batch_to(&["a@ok.test"], messages)
}

/// Each for all of these.
fn batch_to(recipients: &[&str], messages: u64) -> Vec<Delivery> {
    let mut slab = Slab::new(8);
    let delivery = |number| {
        let envelope = letter::envelope("", recipients.iter().map(|to| (*to, 0)));
        let plain = letter::manifest(&envelope, MessageId::new(1, 1, 0, number), 4);
        let manifest = Manifest { received_at_ms: now_ms(), ..plain };
        let octets = letter::encoded(&manifest);
        let mut content = Leases::default();
        slab.append(&mut content, b"text").unwrap();
        Delivery::of_log(Spooled {
            id: manifest.id,
            place: Place { log: LogId { kind: LogKind::Durable, shard: 0 }, address: number, retain: number },
            route: Route(0),
            recipients: recipients.len() as u32,
            attempts: 0,
            manifest: slab.append_whole(&octets).unwrap(),
            content,
        })
    };
    (0..messages).map(delivery).collect()
}

pub fn refuse(batch: &mut [Delivery]) {
    let refusal = Refusal::new(Reply::DeliveryFailed, "not now");
    batch.iter_mut().for_each(|delivery| delivery.refuse_the_rest(&refusal));
}

#[test]
fn one_message_that_the_sink_panics_over_stands_in_no_other_s_way() {
    let (mut worker, _) = worker(&SimDisk::new(1), |batch| {
        assert!(batch.iter().all(|delivery| delivery.id().sequence() != 3), "poison");
        batch.iter_mut().for_each(Delivery::take_for_the_rest);
    });
    let mut batch = batch(10);
    worker.deliver(&mut batch, &mut Time::new());
    let figures = Arc::clone(&worker.figures);
    assert_eq!((figures.delivered.get(), figures.deferred.get(), figures.panics.get()), (9, 1, 2));
    assert_eq!((figures.moved.get(), figures.waiting.get()), (1, 1));
    assert!(batch.is_empty(), "all is settled");
}

#[test]
fn a_sink_that_panics_over_everything_quarantines_nothing() {
    let (mut worker, _) = worker(&SimDisk::new(1), |_| panic!("broken"));
    for _ in 0..5 {
        worker.deliver(&mut batch(50), &mut Time::new());
    }
    let figures = &worker.figures;
    assert_eq!((figures.set_aside.get(), figures.moved.get()), (0, 5 * 50));
    // Each time together, and one by one until it is clear whose fault it is.
    assert_eq!(figures.panics.get(), 5 * (1 + limits::DEFERRED_TRIED_ALONE as u64));
}

#[test]
fn a_sink_waits_while_what_it_refused_cannot_be_kept() {
    let disk = SimDisk::new(1);
    let (mut worker, findings) = worker(&disk, refuse);
    let mut fails = 2;
    disk.set_plan(move |call| {
        let is_full = call.what == What::Create && fails > 0;
        fails -= i32::from(is_full);
        if is_full { DiskFate::Fails(Errno::NOSPC) } else { DiskFate::Done }
    });
    let mut batch = batch(5);
    worker.deliver(&mut batch, &mut Time::new());
    let figures = &worker.figures;
    assert_eq!((figures.deferral_failures.get(), figures.stuck.get()), (2, 0));
    let told = findings.take().iter().map(ToString::to_string).collect::<Vec<_>>();
    let says = |word: &str| told.iter().filter(|told| told.contains(word)).count();
    assert_eq!(told.len(), 1, "the same is told once: {told:?}");
    assert!(
        ["\"store\"", "spool/deferred/store-0", "No space left", "make room"].into_iter().all(|word| says(word) == 1)
    );
    assert_eq!((figures.moved.get(), figures.waiting.get()), (5, 5));
}

#[test]
fn an_engine_that_stops_meanwhile_leaves_it_to_the_log() {
    let disk = SimDisk::new(1);
    let (mut worker, _) = worker(&disk, refuse);
    disk.set_plan(|call| match call.what {
        What::Create => DiskFate::Fails(Errno::NOSPC),
        _ => DiskFate::Done,
    });
    worker.hurry.store(true, Ordering::Relaxed);
    let mut batch = batch(5);
    worker.deliver(&mut batch, &mut Time::new());
    assert_eq!(batch.len(), 5, "nothing is settled");
    let figures = &worker.figures;
    assert_eq!((figures.moved.get(), figures.waiting.get(), figures.stuck.get()), (0, 0, 1));
}

#[test]
fn what_is_refused_for_good_or_for_now_is_told_apart() {
    let (mut worker, _) = worker(&SimDisk::new(1), |batch| {
        for delivery in batch {
            match delivery.id().sequence() % 3 {
                0 => delivery.take_for_the_rest(),
                1 => delivery.refuse_the_rest(&Refusal::new(Reply::DeliveryFailed, "not now")),
                _ => delivery.refuse_the_rest(&Refusal::new(Reply::scripted(550).unwrap(), "never")),
            }
        }
    });
    worker.deliver(&mut batch(9), &mut Time::new());
    let figures = &worker.figures;
    assert_eq!((figures.delivered.get(), figures.deferred.get(), figures.failed.get()), (3, 3, 3));
    assert_eq!((figures.moved.get(), figures.died.get()), (3, 3));
    assert_eq!((figures.waiting.get(), figures.dead.get(), figures.quarantined.get()), (3, 3, 0));
}

/// Those who are refused in one way have one copy, and yet each its own reason.
#[test]
fn the_log_has_what_the_sink_said_of_each_recipient() {
    let path = std::env::temp_dir().join(format!("ringmx-worker-log-{}", std::process::id()));
    let log = DeliveryLog::open(Target::File(path.clone()), 1 << 20).unwrap();
    let said = [(550, "nobody of that name"), (552, "too large"), (451, "locked"), (452, "no room"), (250, "")];
    let (mut worker, _) = worker(&SimDisk::new(1), move |batch| {
        for (index, (code, why)) in (0..).zip(said) {
            let refusal = Reply::scripted(code).map(|reply| Refusal::new(reply, why));
            batch[0].conclude(index, refusal.map_or(Ok(()), Err));
        }
    });
    worker.log = Some(log.handle());
    worker.deliver(
        &mut batch_to(&["a@ok.test", "b@ok.test", "c@ok.test", "d@ok.test", "e@ok.test"], 1),
        &mut Time::new(),
    );
    assert_eq!((worker.figures.died.get(), worker.figures.moved.get()), (1, 1));
    log.close();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), said.len(), "{text}");
    for ((line, to), (code, why)) in lines.into_iter().zip('a'..).zip(said) {
        let has = |part: String| assert!(line.contains(&part), "{part} in {line}");
        has(format!(" to=<{to}@ok.test> "));
        has(format!(" code={code} "));
        has(format!(" why=\"{why}\""));
    }
}

#[test]
fn what_an_operator_removes_makes_room_for_what_waits_for_it() {
    let disk = SimDisk::new(1);
    let is_final = Arc::new(AtomicBool::new(true));
    let way = Arc::clone(&is_final);
    let (mut worker, _) = worker(&disk, move |batch| {
        let code = if way.load(Ordering::Relaxed) { 550 } else { 451 };
        let refusal = Refusal::new(Reply::scripted(code).unwrap(), "no");
        batch.iter_mut().for_each(|delivery| delivery.refuse_the_rest(&refusal));
    });
    let sizes = Sizes { segment_octets: 64 * 1024, block_octets: 8 * 1024, ..Sizes::default() };
    worker.settlement = Some(settlement_with(&disk, sizes));
    // While there is a shard nothing stops.
    let (sender, _receiver, _awaited) = mailbox::<()>().unwrap();
    let options = ExchangeOptions { consumers: vec![1], shards: vec![sender.bell()], ..ExchangeOptions::default() };
    let (_shards, mut deliveries) = connect(&options).unwrap();
    worker.deliveries = deliveries.remove(0).remove(0);
    let most = limits::DELIVERY_BATCH as u64;
    let mut time = Time::new();
    (0..4).for_each(|_| worker.deliver(&mut batch(most), &mut time));
    assert_eq!(worker.figures.dead.get(), 4 * most);

    // There is room for small files alone, and for a segment where one was; and at some time nobody waits any longer.
    let (hurry, refused, mut free) = (Arc::clone(&worker.hurry), Arc::new(AtomicU32::new(0)), 0);
    let count = Arc::clone(&refused);
    disk.set_plan(move |call| {
        match call.what {
            What::Remove if call.path.extension().is_some_and(|kind| kind == "segment") => free += 1,
            What::Create if call.path.starts_with("spool/deferred/store-0/spare") && free == 0 => {
                hurry.store(count.fetch_add(1, Ordering::Relaxed) > 20, Ordering::Relaxed);
                return DiskFate::Fails(Errno::NOSPC);
            }
            What::Create if call.path.starts_with("spool/deferred/store-0/spare") => free -= 1,
            _ => {}
        }
        DiskFate::Done
    });
    let order = |number| {
        let id = MessageId::new(1, 1, 0, number);
        Order { id, verb: Verb::Remove, kinds: Kinds::of(&[Kind::Dead]), copy: None }
    };
    let orders: Vec<Order> = (0..most).map(order).collect();
    let hand = Hand { node: 1, epoch: 1, name: "remove".into() };
    let inbox = FilePath::new("spool/deferred/store-0/inbox");
    hand.put(&disk, inbox, 0, ".orders", &order::encode(&orders, 1)).unwrap();
    is_final.store(false, Ordering::Relaxed);
    let mut all = batch(most);
    worker.deliver(&mut all, &mut time);
    assert!(refused.load(Ordering::Relaxed) > 0, "it was full");
    let figures = &worker.figures;
    assert!(all.is_empty(), "all is settled");
    assert_eq!((figures.stuck.get(), figures.waiting.get()), (0, most));
    assert!(figures.ordered_removed.get() > 0 && figures.dead.get() < 4 * most);
}
