//! A slow disk under load, and the end of the server while it is slow, or stands still (RELIABILITY F5, F33): less mail in a second,
//! none of it lost, and every answer within its time. What was accepted into memory is delivered before the end, or the end says
//! that it was not.

use std::collections::HashSet;
use std::time::Duration;

use ringmx::limits;
use rustix::process::Signal;

use super::disk::Disk;
use super::machine::needed;
use super::maildirs::Kept;
use super::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::server::Server;

/// A disk whose octets a second can be changed, in bits, as nbdkit counts.
const THROTTLED: [&str; 3] = ["--filter=rate", "rate=100G", "rate-file=DISK/rate"];

fn configuration(home: &Directory, mail: &str) -> String {
    let home = home.path().display();
    format!(
        "[server]\nshards = 2\ndata_dir = '{home}/data'\n[log]\ndeliveries = '{home}/log'\n\
         [listener.memory]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nsink = 'store'\n\
         [listener.delivered]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = '{mail}/{{local}}'\n"
    )
}

#[test]
fn a_slow_disk_takes_less_and_loses_nothing() {
    let Some(disk) = needed("a_slow_disk", Disk::breaking(&THROTTLED)) else { return };
    let home = Directory::new();
    let server = disk.serve(&configuration(&home, "DISK/mail"), 2);
    let delivered = Offers::start(&Offer::of(server.address_of("delivered"), 8, 20_000));
    delivered.go_on_for(20);
    let before = delivered.rate_over(Duration::from_secs(1));
    disk.write_switch("rate", "8M");
    // What the disk took at once is no measure.
    delivered.go_on_for(1);
    let slow = delivered.rate_over(Duration::from_secs(3));
    delivered.go_on_for(1);
    disk.write_switch("rate", "100G");
    delivered.go_on_for(50);
    let ledger = delivered.finish();
    server.await_stats("all is delivered", |stats| stats.total("handed_off") == 0);
    server.stop();
    let judged = Kept::below(&disk.seen().join("mail")).judge(&ledger);
    eprintln!(
        "a slow disk: {before:.0} messages/s, then {slow:.0}, slowest answer {:.1?}, heard {:?}, {judged:?}",
        ledger.slowest, ledger.refused
    );
    assert!(slow < before / 2.0, "from {before} to {slow}: the disk was not slow");
    assert!(ledger.slowest < Duration::from_millis(limits::ANSWER_MS + 5_000));
    ledger.assert_no_permanent_refusal();
}

#[test]
fn on_a_slow_disk_all_that_is_in_memory_is_delivered_before_the_end() {
    let Some(disk) = needed("on_a_slow_disk", Disk::breaking(&THROTTLED)) else { return };
    let home = Directory::new();
    let server = disk.serve(&configuration(&home, "DISK/mail"), 2);
    let memory = Offers::start(&Offer::of(server.address_of("memory"), 4, 8_000));
    disk.write_switch("rate", "20M");
    // Bounded, so that it can be done in the time that an end may take.
    memory.go_on_for(1_000);
    memory.rest();
    let waiting = server.stats_now().total("handed_off");
    server.signal(Signal::TERM);
    let ledger = memory.finish();
    // With status 0.
    server.finish();
    let judged = Kept::below(&disk.seen().join("mail")).judge(&ledger);
    eprintln!("SIGTERM on a slow disk with {waiting} messages in memory: {judged:?}");
    assert!(waiting > 0, "the disk was not slow");
}

/// Ids that the log names as failed.
fn failed(home: &Directory) -> HashSet<String> {
    let log = std::fs::read_to_string(home.path().join("log")).expect("there is a log");
    let of = |line: &str| {
        let word = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)).map(str::to_owned);
        word("id=").filter(|_| line.contains(" result=failed "))
    };
    log.lines().filter_map(of).collect()
}

/// Mail that cannot be delivered, and an operator who does not wait for it: the status tells it, and the log names each.
#[test]
fn what_is_left_in_memory_is_told_by_the_status_and_named_in_the_log() {
    let home = Directory::new();
    let mail = home.path().join("mail");
    std::fs::create_dir(&mail).unwrap();
    std::fs::write(mail.join("poison"), "This is no directory.").unwrap();
    let mut server = Server::serve(&configuration(&home, mail.to_str().unwrap()), 2);
    let mut offer = Offer::of(server.address_of("memory"), 4, 1_000);
    offer.one_poisoned_of = Some(3);
    let offers = Offers::start(&offer);
    offers.go_on_for(300);
    let ledger = offers.finish();
    // Those for others have been delivered.
    server.await_stats("the rest waits", |stats| stats.of_sink("store", "deferred") > 0);
    server.signal(Signal::TERM);
    server.errors.await_text("stopping", 1);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(74), "{}", server.errors.so_far());
    assert_told(&ledger, &Kept::below(&mail), &failed(&home), &server.errors.to_the_end());
}

/// Each was kept or is named, and how many were not is said.
#[track_caller]
fn assert_told(ledger: &Ledger, kept: &Kept, failed: &HashSet<String>, errors: &str) {
    let left: HashSet<_> = ledger.acknowledged.keys().filter(|id| !kept.0.contains_key(*id)).cloned().collect();
    let silent = left.difference(failed).count();
    assert_eq!(silent, 0, "{silent} of {} that were left are not named", left.len());
    eprintln!("{} of {} were left in memory, and named", left.len(), ledger.acknowledged.len());
    let says_how_many = errors.contains(&format!("{} messages that had a 250 were not delivered", left.len()));
    assert!(!left.is_empty() && says_how_many, "{errors}");
}

/// A sink that hangs in its disk, and an operator who does not wait: what it holds is lost then, and the end must not say that all is
/// well.
#[test]
fn an_end_in_spite_of_a_sink_that_hangs_does_not_say_that_all_is_well() {
    let Some(disk) = needed("an_end_in_spite_of_a_sink_that_hangs", Disk::ext4()) else { return };
    let home = Directory::new();
    let mut server = disk.serve(&configuration(&home, "DISK/mail"), 2);
    let offers = Offers::start(&Offer::of(server.address_of("memory"), 4, 1_000));
    offers.go_on_for(50);
    offers.rest();
    let frozen = disk.freeze();
    offers.go_on();
    offers.go_on_for(200);
    let ledger = offers.finish();
    server.signal(Signal::TERM);
    server.errors.await_text("stopping", 1);
    server.signal(Signal::TERM);
    // It says so before it ends; a thread that waits for a frozen disk cannot end before the disk goes on.
    std::thread::sleep(Duration::from_millis(limits::HURRY_MS + 2_000));
    drop(frozen);
    let status = server.wait();
    let kept = Kept::below(&disk.seen().join("mail"));
    let left = ledger.acknowledged.keys().filter(|id| !kept.0.contains_key(*id)).count();
    let errors = server.errors.to_the_end();
    eprintln!("a sink hung at the end: {left} of {} lost, {status}, {errors}", ledger.acknowledged.len());
    assert_eq!((left > 0, status.code()), (true, Some(74)), "{errors}");
}
