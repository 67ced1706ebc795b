//! A disk below the spool that is slow, or does not answer at all (RELIABILITY F5, F6, F14): fewer messages in a second, each answer within
//! its time, memory within its bound; and when it answers again, all goes on.

use std::time::Duration;

use ringmx::limits;

use super::house::{Seen, assert_no_alarm, configuration};
use crate::faults::device::Fault;
use crate::faults::disk::Disk;
use crate::faults::machine::needed;
use crate::faults::offers::{Ledger, Offer, Offers};
use crate::faults::standing::peak;
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Octets of messages that both shards may hold.
const STATED: u64 = 2 * (limits::BLOCKS * limits::BLOCK_OCTETS) as u64;

fn serve(disk: &Disk, home: &Directory) -> Server {
    let mail = home.path().join("mail");
    disk.serve(&configuration("127.0.0.1:0", "DISK/data", mail.to_str().expect("a plain path"), "durable", ""), 1)
}

#[track_caller]
fn judge(server: Server, home: &Directory, disk: &Disk, ledger: &Ledger) {
    let mut seen = Seen::default();
    seen.await_all(&home.path().join("mail"), false, ledger);
    let peak = peak(&server);
    assert_no_alarm(&server);
    server.stop();
    eprintln!(
        "{:?}; slowest answer {:.1?}, resident {peak} at most, heard {:?}",
        seen.judge(ledger),
        ledger.slowest,
        ledger.refused
    );
    assert!(peak <= STATED, "{peak}");
    assert!(ledger.slowest < Duration::from_millis(limits::ANSWER_MS + 5_000), "{:?}", ledger.slowest);
    ledger.assert_no_permanent_refusal();
    assert_eq!(disk.device().blocks().1, 0, "a block is never written again");
}

#[test]
fn a_slow_disk_below_the_spool_makes_groups_larger_and_loses_nothing() {
    let Some(disk) = needed("a_slow_disk_below_the_spool", Disk::held(128, &[])) else { return };
    let home = Directory::new();
    let server = serve(&disk, &home);
    let offers = Offers::start(&Offer::of(server.address(), 16, 4_000));
    offers.go_on_for(100);
    disk.device().set(Fault::SlowFlushes(250));
    let before = server.stats_now();
    offers.go_on_for(100);
    let during = server.stats_now();
    disk.device().set(Fault::None);
    offers.go_on_for(100);
    let ledger = offers.finish();
    let of = |name: &str| during.total(name) - before.total(name);
    let (messages, blocks) = (of("spool_messages"), of("spool_commits"));
    eprintln!("slow: {messages} messages in {blocks} blocks");
    assert!(messages > blocks, "one sync for many: {messages} messages in {blocks} blocks");
    judge(server, &home, &disk, &ledger);
}

/// Large messages, of which more come than memory holds.
#[test]
fn a_disk_below_the_spool_that_does_not_answer_is_given_up_and_taken_again() {
    let Some(disk) = needed("a_disk_below_the_spool_that_does_not_answer", Disk::held(256, &[])) else { return };
    let home = Directory::new();
    let server = serve(&disk, &home);
    let mut offer = Offer::of(server.address(), 24, 2_000);
    offer.octets_of_some = 1_000_000;
    let offers = Offers::start(&offer);
    offers.go_on_for(50);
    disk.device().set(Fault::Hangs);
    eventually("who waits hears so", || (offers.refusals("end 451 4.3.0") > 0).then_some(()));
    let acknowledged = offers.acknowledged();
    eventually("everyone hears so", || (offers.refused() > 40).then_some(()));
    assert_eq!(offers.acknowledged(), acknowledged, "acknowledged on a disk that does not answer");
    disk.device().set(Fault::None);
    offers.go_on_for(200);
    let ledger = offers.finish();
    judge(server, &home, &disk, &ledger);
}
