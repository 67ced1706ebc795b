//! A sink that stands still under load, as a disk or a program may (RELIABILITY F6, F21, F28): memory stays within its bound,
//! whose mail it would take are made to wait or told to come again, others do not notice; and when it goes on, so does all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ringmx::config::Plan;
use ringmx::engine::Engine;
use ringmx::handoff::consumer::Deliveries;
use ringmx::limits;

use super::disk::Disk;
use super::machine::{is_long, needed};
use super::maildirs::Kept;
use super::offers::{Ledger, Offer, Offers, number_of_pieces};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::Server;

const SHARDS: u64 = 2;

/// Octets of messages that all shards may hold.
const STATED: u64 = SHARDS * (limits::BLOCKS * limits::BLOCK_OCTETS) as u64;

/// The part of its rate that everyone has some time later, and those always whom it does not concern. Half is no measure of what
/// they lose, which is nothing: it leaves room for whatever else this machine does.
const UNDISTURBED: f64 = 0.5;

/// How long it stands still.
fn stillness() -> Duration {
    Duration::from_secs(if is_long() { 60 } else { 4 })
}

/// Two sinks and four listeners: of mail for the one that stands still, by either promise; for one that does not, and for none.
fn configuration(standing: &str, other: &Directory) -> String {
    format!(
        "[server]\nshards = {SHARDS}\ndata_dir = '{other}/data'\n[log]\ndeliveries = 'none'\n\
         [listener.memory]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nsink = 'standing'\n\
         [listener.delivered]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'standing'\n\
         [listener.other]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'other'\n\
         [listener.hole]\nkind = 'blackhole'\nbind = '127.0.0.1:0'\n\
         [sink.standing]\n{standing}\n[sink.other]\nkind = 'maildir'\npath = '{other}/mail'\n",
        other = other.path().display(),
    )
}

const FROZEN: &str = "kind = 'maildir'\npath = 'DISK/mail'";

/// The most memory that was ever resident, in octets.
pub fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the program runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has memory");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
}

/// Messages a second of each, all at the same time.
fn rates<const N: usize>(of: [&Offers; N], time: Duration) -> [f64; N] {
    std::thread::scope(|scope| {
        of.map(|offers| scope.spawn(move || offers.rate_over(time))).map(|rate| rate.join().expect("it counts"))
    })
}

/// Waits until each is served at its rate of before.
#[track_caller]
fn regain<const N: usize>(of: [&Offers; N], before: [f64; N]) -> [f64; N] {
    eventually("all are served as before", || {
        let now = rates(of, Duration::from_millis(500));
        now.iter().zip(before).all(|(now, before)| *now >= before * UNDISTURBED).then_some(now)
    })
}

/// Small messages: their number is bounded before their memory is.
#[test]
fn a_disk_that_stands_still_keeps_its_own_clients_waiting_and_nobody_else() {
    let test = "a_disk_that_stands_still";
    let Some(disk) = needed(test, Disk::ext4()) else { return };
    let other = Directory::new();
    let server = disk.serve(&configuration(FROZEN, &other), 4);
    let offers = |listener, clients| Offers::start(&Offer::of(server.address_of(listener), clients, 1_000));
    let [delivered, elsewhere, nowhere] = [offers("delivered", 8), offers("other", 4), offers("hole", 2)];
    delivered.go_on_for(50);
    let others = [&delivered, &elsewhere, &nowhere];
    let before = rates(others, Duration::from_secs(1));
    let memory = offers("memory", 16);
    memory.go_on_for(100);

    let frozen = disk.freeze();
    let begun = Instant::now();
    // What the kernel lets through at the moment of freezing.
    eventually("those who wait for the sink hear it is full", || {
        (memory.refusals("RCPT 452 4.3.1") > 100).then_some(())
    });
    let full_after = begun.elapsed();
    let acknowledged = delivered.acknowledged();
    let meanwhile = regain([&elsewhere, &nowhere], [before[1], before[2]]);
    std::thread::sleep(stillness().saturating_sub(begun.elapsed()));
    assert_eq!(delivered.acknowledged(), acknowledged, "acknowledged, and not delivered");
    let during = server.stats_now();
    drop(frozen);
    memory.go_on_for(500);
    // Its messages stand before all others' as long as they fill the queue.
    let memory = memory.finish();
    delivered.go_on_for(100);
    let after = regain(others, before);
    let [delivered, elsewhere, nowhere] = [delivered, elsewhere, nowhere].map(Offers::finish);
    server.await_stats("all is delivered", |stats| stats.total("handed_off") == 0);
    let peak = peak(&server);
    let stats = server.stop();
    eprintln!(
        "a disk stood still for {:?}: full after {full_after:.1?} with {} messages in {} octets; messages/s before {before:.0?}, \
         meanwhile {meanwhile:.0?}, after {after:.0?}; resident {peak} at most; memory heard {:?}, delivered {:?}, slowest answer {:.1?}",
        stillness(),
        during.total("handed_off"),
        during.total("handed_off_octets"),
        memory.refused,
        delivered.refused,
        delivered.slowest,
    );
    assert!(during.total("handed_off") <= SHARDS * limits::LETTERS as u64 + 24);
    assert!(during.total("handed_off_octets") <= STATED && peak <= STATED);
    [&memory, &delivered, &elsewhere, &nowhere].into_iter().for_each(Ledger::assert_no_permanent_refusal);
    assert_eq!((elsewhere.refused.len(), nowhere.refused.len()), (0, 0), "{elsewhere:?}");
    assert!(is_long() == (delivered.refusals("end 451 4.3.0") > 0), "{:?}", delivered.refused);
    let mut ledger = memory;
    ledger.add(delivered);
    eprintln!("{:?}", Kept::below(&disk.seen().join("mail")).judge(&ledger));
    Kept::below(&other.path().join("mail")).judge(&elsewhere);
    assert_eq!(stats.of_sink("standing", "left_behind"), 0);
}

/// Large messages: all the memory that is stated fills up. Clients in mail data wait as long as that may help.
#[test]
fn a_disk_that_stands_still_under_large_messages_fills_the_stated_memory_and_no_more() {
    let test = "a_disk_that_stands_still_under_large_messages";
    let Some(disk) = needed(test, Disk::ext4_of(4096)) else { return };
    let other = Directory::new();
    let server = disk.serve(&configuration(FROZEN, &other), 4);
    let large = Offers::start(&Offer::of(server.address_of("memory"), 16, 512 * 1024));
    let small = Offers::start(&Offer::of(server.address_of("other"), 2, 1_000));
    large.go_on_for(20);
    large.rest();
    let frozen = disk.freeze();
    large.go_on();
    // Of the shard that has most of the clients.
    eventually("the memory is filled", || {
        let held = server.stats_now().of_shards("handed_off_octets").into_iter().max();
        (held > Some(STATED / SHARDS / 100 * 70)).then_some(())
    });
    let held_back = Instant::now();
    let full = server.stats_now().total("handed_off_octets");
    if is_long() {
        // At MAIL, or at the end of who was in mail data.
        eventually("waiting helps no more", || (large.refused() > 0).then_some(()));
        assert!(held_back.elapsed() > Duration::from_millis(limits::HELD_BACK_MS / 2), "{:?}", held_back.elapsed());
        small.go_on_for(1);
    } else {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(large.refusals("end 452 4.3.1"), 0, "who may be helped by waiting is made to wait");
    }
    drop(frozen);
    large.go_on_for(50);
    // At once, before it fills the disk.
    let ledger = large.finish();
    small.go_on_for(50);
    let small = small.finish();
    server.await_stats("all is delivered", |stats| stats.total("handed_off") == 0);
    let peak = peak(&server);
    server.stop();
    eprintln!(
        "large messages: {full} octets held when the disk stood still, {:.1?} long; resident {peak} at most, {:.2} of what is stated; \
         heard {:?}, the small ones elsewhere {:?}",
        held_back.elapsed(),
        peak as f64 / STATED as f64,
        ledger.refused,
        small.refused,
    );
    assert!(peak <= STATED + STATED / 4, "{peak}");
    ledger.assert_no_permanent_refusal();
    small.assert_no_permanent_refusal();
    eprintln!("{:?}", Kept::below(&disk.seen().join("mail")).judge(&ledger));
    Kept::below(&other.path().join("mail")).judge(&small);
}

/// Takes all that comes, until nothing can come any more.
fn take(deliveries: Deliveries) -> Kept {
    let mut kept = HashMap::new();
    for delivery in deliveries {
        let number = number_of_pieces(delivery.content()).unwrap_or_else(|what| panic!("{}: {what}", delivery.id()));
        assert_eq!(kept.insert(delivery.id().to_string(), number), None, "it came twice");
        delivery.accept();
    }
    Kept(kept)
}

#[test]
fn a_program_that_does_not_take_keeps_its_own_clients_waiting_and_nobody_else() {
    let other = Directory::new();
    let plan = Plan::parse(&configuration("kind = 'program'", &other), "standing").expect("it is a plan");
    let (engine, mut consumers) = Engine::start_with_consumers(plan, false).expect("it starts");
    let address = |name: &str| {
        let (_, bind) = engine.listening().find(|(listener, _)| *listener == name).expect("it listens");
        bind.to_string().parse().expect("an address")
    };
    let offers = |listener, clients| Offers::start(&Offer::of(address(listener), clients, 1_000));
    let [elsewhere, nowhere] = [offers("other", 4), offers("hole", 2)];
    elsewhere.go_on_for(20);
    let before = rates([&elsewhere, &nowhere], Duration::from_secs(1));
    let [memory, delivered] = [offers("memory", 16), offers("delivered", 8)];
    eventually("the program's queues are full", || (memory.refusals("RCPT 452 4.3.1") > 100).then_some(()));
    let held = memory.acknowledged();
    if is_long() {
        std::thread::sleep(stillness());
    }
    let meanwhile = regain([&elsewhere, &nowhere], before);
    assert_eq!(delivered.acknowledged(), 0, "acknowledged, and not delivered");
    assert!(engine.total(|counters| counters.handed_off_octets.get()) <= STATED);

    let taking: Vec<_> = consumers.remove("standing").expect("the plan has it").into_iter().collect();
    let taking: Vec<_> = taking.into_iter().map(|part| std::thread::spawn(|| take(part))).collect();
    memory.go_on_for(2 * SHARDS * limits::LETTERS as u64);
    delivered.go_on_for(100);
    let [memory, delivered, elsewhere, nowhere] = [memory, delivered, elsewhere, nowhere].map(Offers::finish);
    let report = engine.stop();
    let mut kept = Kept::default();
    taking.into_iter().for_each(|part| kept.0.extend(part.join().expect("what came is whole").0));
    eprintln!(
        "a program did not take: full with {held} messages; others' messages/s before {before:.0?}, meanwhile {meanwhile:.0?}; \
         memory heard {:?}, delivered {:?}",
        memory.refused, delivered.refused
    );
    [&memory, &delivered, &elsewhere, &nowhere].into_iter().for_each(Ledger::assert_no_permanent_refusal);
    assert_eq!((elsewhere.refused.len(), nowhere.refused.len(), report.total("stale_completions")), (0, 0, 0));
    assert!(held <= SHARDS * limits::LETTERS as u64, "{held}");
    let mut ledger = memory;
    ledger.add(delivered);
    eprintln!("{:?}", kept.judge(&ledger));
    Kept::below(&other.path().join("mail")).judge(&elsewhere);
}
