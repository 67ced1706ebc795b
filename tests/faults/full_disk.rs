//! A disk that fills up under load, by octets, by inodes or by quota (RELIABILITY F1, F2): 452 until there is room, nothing partial
//! is ever seen, what was accepted before waits, and then all goes on.

use super::disk::Disk;
use super::machine::needed;
use super::maildirs::{Kept, Watcher, files_below};
use super::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::Server;

fn configuration(store: &str) -> String {
    format!(
        "[server]\nshards = 2\nsink_threads = 2\ndata_dir = 'data'\n[log]\ndeliveries = 'none'\n\
         [listener.memory]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nsink = 'store'\n\
         [listener.delivered]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\n{store}\n"
    )
}

/// Fills it until the others hear this; lets room be made; sees that both go on, and gives their ledgers together.
fn fill(server: &Server, octets: usize, heard: &str, make_room: impl FnOnce()) -> Ledger {
    let memory = Offers::start(&Offer::of(server.address_of("memory"), 2, octets));
    let delivered = Offers::start(&Offer::of(server.address_of("delivered"), 8, octets));
    delivered.go_on_for(10);
    eventually("it is full", || (delivered.refusals(heard) > 100).then_some(()));
    let memory_had = memory.acknowledged();
    // What was accepted into memory and found no room comes again.
    server.await_stats("mail in memory waits", |stats| stats.of_sink("store", "deferred") > 0);
    make_room();
    delivered.go_on_for(100);
    let mut ledger = memory.finish();
    assert!(ledger.acknowledged.len() as u64 >= memory_had);
    ledger.add(delivered.finish());
    server.await_stats("all is delivered", |stats| stats.total("handed_off") == 0);
    ledger.assert_no_permanent_refusal();
    assert_eq!(ledger.refused.keys().filter(|answer| answer.starts_with("end 451")).count(), 0, "{:?}", ledger.refused);
    ledger
}

/// Small enough to be full soon, and then with room for all that comes.
fn a_full_tmpfs(test: &str, little: &str, room: &str, octets: usize) {
    let Some(disk) = needed(test, Disk::tmpfs(little)) else { return };
    let configuration = configuration("path = 'DISK/mail/{domain}/{local}'");
    let configuration = configuration.replace("'data'", &format!("{:?}", disk.switch("data")));
    let server = disk.serve(&configuration, 2);
    let watcher = Watcher::start(&disk.seen().join("mail"));
    let ledger = fill(&server, octets, "end 452 4.3.1", || assert!(disk.remount(room), "{room}"));
    let judged = watcher.finish().judge(&ledger);
    assert!(files_below(&disk.seen().join("mail"), &["tmp"]).is_empty(), "what was refused is removed");
    server.stop();
    eprintln!("{little}, then {room}: {judged:?}, heard {:?}", ledger.refused);
}

#[test]
fn a_disk_without_octets_refuses_for_now_and_goes_on() {
    a_full_tmpfs("a_disk_without_octets", "size=6m", "size=1g", 20_000);
}

#[test]
fn a_disk_without_inodes_refuses_for_now_and_goes_on() {
    a_full_tmpfs("a_disk_without_inodes", "size=1g,nr_inodes=400", "size=1g,nr_inodes=200000", 1_000);
}

/// Readers make room; it is counted anew.
#[test]
fn a_quota_refuses_for_now_and_goes_on_when_mail_was_read() {
    const QUOTA: u64 = 2 << 20;
    let home = Directory::new();
    let mail = home.path().join("mail");
    let configuration = configuration(&format!("path = '{}/{{local}}'\nquota_bytes = {QUOTA}", mail.display()));
    let configuration = configuration.replace("'data'", &format!("{:?}", home.path().join("data")));
    let server = Server::serve(&configuration, 2);
    let watcher = Watcher::start(&mail);
    let mut read = Kept::default();
    let octets = || {
        files_below(&mail, &["new"]).iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum::<u64>()
    };
    // Without mail in memory, which would come before all other when there is room, of which there is little.
    let offers = Offers::start(&Offer::of(server.address_of("delivered"), 8, 40_000));
    for _ in 0..2 {
        let refused = offers.refusals("end 452 4.2.2");
        eventually("it is full", || (offers.refusals("end 452 4.2.2") > refused + 50).then_some(()));
        assert!(octets() <= QUOTA, "{} octets are there", octets());
        for path in files_below(&mail, &["new"]) {
            read.read(&path);
            std::fs::remove_file(path).unwrap();
        }
        offers.go_on_for(20);
    }
    let ledger = offers.finish();
    ledger.assert_no_permanent_refusal();
    assert_eq!(ledger.refused.len(), 1, "{:?}", ledger.refused);
    server.stop();
    read.0.extend(Kept::below(&mail).0);
    watcher.finish();
    eprintln!("quota: {:?}, heard {:?}, {} octets at the end", read.judge(&ledger), ledger.refused, octets());
}
