//! A disk that breaks under load (RELIABILITY F3, F4, F35, and F7 as far as a file system can show it): 4xx and never 5xx, no
//! acknowledgement without what it promises, and when the disk is there again all goes on.

use super::disk::Disk;
use super::machine::{is_long, needed};
use super::maildirs::{Kept, Watcher};
use super::offers::{Ledger, Offer, Offers};
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Two listeners, of either promise; the log and the data directory are on no broken disk.
fn configuration(disk: &Disk) -> String {
    format!(
        "[server]\nshards = 2\ndata_dir = {:?}\n[log]\ndeliveries = 'none'\n\
         [listener.memory]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nsink = 'store'\n\
         [listener.delivered]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = 'DISK/mail/{{domain}}/{{local}}'\n",
        disk.switch("data")
    )
}

fn offers(server: &Server) -> [Offers; 2] {
    [("memory", 2), ("delivered", 8)].map(|(listener, clients)| {
        let offers = Offers::start(&Offer::of(server.address_of(listener), clients, 4_000));
        offers.go_on_for(20);
        offers
    })
}

/// Waits until those who want it delivered are refused, and sees that none of them is taken any more.
fn refused_all(delivered: &Offers) {
    let refused = || delivered.refusals("end 451 4.3.0");
    eventually("the sink refuses", || (refused() > 20).then_some(()));
    let (acknowledged, before) = (delivered.acknowledged(), refused());
    eventually("it refuses everyone", || (refused() > before + 20).then_some(()));
    assert_eq!(delivered.acknowledged(), acknowledged, "acknowledged on a disk that is broken");
}

/// Both go on; gives their ledgers together.
fn went_on([memory, delivered]: [Offers; 2], server: &Server) -> Ledger {
    memory.go_on_for(50);
    delivered.go_on_for(50);
    let mut ledger = memory.finish();
    ledger.add(delivered.finish());
    server.await_stats("all is delivered", |stats| stats.total("handed_off") == 0);
    ledger.assert_no_permanent_refusal();
    ledger
}

/// With the listener alone whose promise does not end with the process.
fn delivered_only(disk: &Disk) -> String {
    let configuration = configuration(disk);
    let (head, _) = configuration.split_once("[listener.memory]").expect("it is there");
    let (_, tail) = configuration.split_once("[listener.delivered]").expect("so is it");
    format!("{head}[listener.delivered]{tail}")
}

/// What is written does not arrive: each sync fails, and the file system gives up. The operator stops the server, mends the disk,
/// and starts it again.
#[test]
fn a_disk_that_does_not_write_loses_nothing_that_was_acknowledged() {
    let inject = ["--filter=error", "error-pwrite=EIO", "error-pwrite-rate=100%", "error-pwrite-file=DISK/inject"];
    let Some(disk) = needed("a_disk_that_does_not_write", Disk::breaking(&inject)) else { return };
    let (mut ledger, mut restarted) = (Ledger::default(), 0);
    for round in 0..if is_long() { 20 } else { 3 } {
        let server = disk.serve(&delivered_only(&disk), 1);
        let offers = Offers::start(&Offer::of(server.address(), 8, 4_000));
        offers.go_on_for(30 + round * 17 % 101);
        std::fs::write(disk.switch("inject"), "").unwrap();
        refused_all(&offers);
        ledger.add(offers.finish());
        server.stop();
        std::fs::remove_file(disk.switch("inject")).unwrap();
        disk.unmount();
        disk.repair();
        disk.mount().unwrap_or_else(|missing| panic!("{missing:?}"));
        Kept::below(&disk.seen().join("mail")).judge(&ledger);
        restarted += 1;
    }
    ledger.assert_no_permanent_refusal();
    let judged = Kept::below(&disk.seen().join("mail")).judge(&ledger);
    eprintln!("EIO, mended and started again {restarted} times: {judged:?}, heard {:?}", ledger.refused);
}

/// The file system stops at an arbitrary moment, and what was not on the disk by then is not there when it comes back: with what
/// was acknowledged before, all of it is.
#[test]
fn a_disk_that_is_cut_off_under_load_has_all_that_was_acknowledged() {
    let rounds = if is_long() { 100 } else { 6 };
    let Some(disk) = needed("a_disk_that_is_cut_off", Disk::ext4()) else { return };
    let (mut sum, mut kept) = (Ledger::default(), Kept::default());
    for round in 0..rounds {
        let server = disk.serve(&delivered_only(&disk), 1);
        let offers = Offers::start(&Offer::of(server.address(), 8, 4_000));
        offers.go_on_for(1 + round * 53 % 211);
        let Some(()) = needed("a_disk_that_is_cut_off", disk.cut_off()) else { return };
        refused_all(&offers);
        let ledger = offers.finish();
        ledger.assert_no_permanent_refusal();
        sum.add(ledger);
        drop(server);
        disk.unmount();
        disk.mount().unwrap_or_else(|missing| panic!("{missing:?}"));
        kept.0.extend(Kept::below(&disk.seen().join("mail")).0);
        // Each lies there still, as far as rounds before are concerned; the whole is judged once.
        assert!(sum.acknowledged.keys().all(|id| kept.0.contains_key(id)), "round {round}: something is lost");
    }
    eprintln!("cut off {rounds} times: {:?}, heard {:?}", kept.judge(&sum), sum.refused);
}

/// RELIABILITY F35. The server runs on, and so does the mail when the disk can be written again.
#[test]
fn a_disk_that_turns_read_only_and_back_loses_nothing() {
    let Some(disk) = needed("a_disk_that_turns_read_only", Disk::ext4()) else { return };
    let server = disk.serve(&configuration(&disk), 2);
    let watcher = Watcher::start(&disk.seen().join("mail"));
    let [memory, delivered] = offers(&server);
    // The kernel takes it only at a moment when no file is open for writing.
    [&memory, &delivered].into_iter().for_each(Offers::rest);
    eventually("it turns read-only", || disk.remount("ro").then_some(()));
    // Some mail waits in memory, and leaves room in the queue.
    memory.go_on();
    memory.go_on_for(50);
    memory.rest();
    delivered.go_on();
    refused_all(&delivered);
    let tried = server.stats_now().of_sink("store", "deferred");
    eventually("it can be written again", || disk.remount("rw").then_some(()));
    memory.go_on();
    let ledger = went_on([memory, delivered], &server);
    let judged = watcher.finish().judge(&ledger);
    server.stop();
    eprintln!("read-only: {judged:?}, {tried} deferred meanwhile, heard {:?}", ledger.refused);
}
