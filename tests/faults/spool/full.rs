//! A disk below the spool that fills up (RELIABILITY F1, F2): 452 at MAIL while there is still room, what had its 250 is
//! delivered and its room used again though nothing is left, and with room all goes on.

use std::io::Write;
use std::process::Command;

use super::house::{Seen, assert_no_alarm, configuration};
use crate::faults::disk::Disk;
use crate::faults::machine::{needed, run};
use crate::faults::offers::{Offer, Offers};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::{PROGRAM, Server};

/// What the server is told to leave free.
const RESERVE: u64 = 24 << 20;

fn with_reserve(configuration: &str) -> String {
    configuration.replace("reserve_bytes = 1048576", &format!("reserve_bytes = {RESERVE}"))
}

fn free(disk: &Disk) -> u64 {
    let disk = rustix::fs::statvfs(disk.seen()).expect("it is there");
    disk.f_bavail * disk.f_frsize
}

/// Takes all but so many octets of what is free.
fn fill(disk: &Disk, but: u64) {
    let file = std::fs::File::options().create(true).append(true).open(disk.seen().join("others"));
    let mut file = file.expect("others may write, too");
    while free(disk) > but {
        let more = (free(disk) - but).min(1 << 20) as usize;
        if file.write_all(&vec![1; more]).and_then(|()| file.sync_all()).is_err() {
            return;
        }
    }
}

#[test]
fn a_spool_whose_disk_others_fill_refuses_before_it_is_full_and_goes_on_with_room() {
    let Some(disk) = needed("a_spool_whose_disk_others_fill", Disk::ext4_of(160)) else { return };
    let home = Directory::new();
    let mail = home.path().join("mail");
    let text = configuration("127.0.0.1:0", "DISK/data", mail.to_str().expect("a plain path"), "durable", "");
    let server = disk.serve(&with_reserve(&text), 1);
    let mut offer = Offer::of(server.address(), 8, 4_000);
    offer.octets_of_some = 300_000;
    let offers = Offers::start(&offer);
    offers.go_on_for(100);
    for _ in 0..2 {
        let before = offers.refusals("MAIL 452 4.3.1");
        fill(&disk, RESERVE / 2);
        eventually("it is too full", || (offers.refusals("MAIL 452 4.3.1") > before + 100).then_some(()));
        let left = free(&disk);
        assert!(left > RESERVE / 4, "452 while there is room, not when none is left: {left}");
        // Nothing is left at all, and it delivers.
        fill(&disk, 0);
        let ledger = offers.so_far();
        let mut seen = Seen::default();
        seen.await_all(&mail, false, &ledger);
        std::fs::remove_file(disk.seen().join("others")).expect("it is there");
        offers.go_on_for(300);
    }
    let ledger = offers.finish();
    let mut seen = Seen::default();
    seen.await_all(&mail, false, &ledger);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("full: {:?}, heard {:?}", seen.judge(&ledger), ledger.refused);
    assert!(ledger.refused.keys().all(|answer| answer.contains(" 452 4.3.1")), "{:?}", ledger.refused);
}

/// The spool fills its own disk with what is delivered, to be kept for a day: that gives way to mail which comes in.
#[test]
fn what_is_kept_for_a_day_gives_way_on_a_disk_that_it_fills() {
    let Some(disk) = needed("what_is_kept_for_a_day", Disk::ext4_of(96)) else { return };
    let home = Directory::new();
    let mail = home.path().join("mail");
    let mail_text = mail.to_str().expect("a plain path");
    let text = configuration("127.0.0.1:0", "DISK/data", mail_text, "durable", "retain_s = 86400");
    let server = disk.serve(&with_reserve(&text), 1);
    let offers = Offers::start(&Offer::of(server.address(), 8, 60_000));
    let given_up = |server: &Server| server.stats_now().of_spool("segments_given_up");
    let first = eventually("some gives way", || Some(given_up(&server)).filter(|segments| *segments > 2));
    offers.go_on_for(300);
    eventually("more gives way", || (given_up(&server) > first).then_some(()));
    offers.go_on_for(300);
    let stats = server.stats_now();
    assert!(free(&disk) >= RESERVE - RESERVE / 8, "{} are free", free(&disk));
    assert!(stats.of_spool("segments_in_use") > 2, "no more gives way than there is need of");
    let ledger = offers.finish();
    let mut seen = Seen::default();
    seen.await_all(&mail, false, &ledger);
    let said = server.errors.so_far();
    assert_eq!(said.matches("for less than retain_s").count(), 1, "{said}");
    server.stop();
    eprintln!("full by itself: {:?}, heard {:?}", seen.judge(&ledger), ledger.refused);
    // While it makes room some may come too early.
    assert!(ledger.refused.keys().all(|answer| answer.contains(" 452 4.3.1")), "{:?}", ledger.refused);
    assert!(ledger.refused.values().sum::<u64>() < ledger.acknowledged.len() as u64, "{:?}", ledger.refused);
}

/// RELIABILITY F1: to make room it needs none, from the start on.
#[test]
fn a_start_on_a_full_disk_delivers_what_lies_there() {
    let Some(disk) = needed("a_start_on_a_full_disk", Disk::ext4_of(96)) else { return };
    let home = Directory::new();
    let mail = home.path().join("mail");
    let mail_text = mail.to_str().expect("a plain path");
    // Its maildir takes nothing yet.
    let text = configuration("127.0.0.1:0", "DISK/data", mail_text, "durable", "retry_s = [1]");
    let refusing = with_reserve(&text).replace("kind = 'maildir'", "kind = 'maildir'\nquota_bytes = 1");
    assert_ne!(refusing, with_reserve(&text), "{text}");
    let server = disk.serve(&refusing, 1);
    let offers = Offers::start(&Offer::of(server.address(), 4, 4_000));
    offers.go_on_for(200);
    let ledger = offers.finish();
    drop(server);
    fill(&disk, 0);
    // What is set aside for root, too.
    let others = std::fs::File::options().append(true).open(disk.seen().join("others"));
    let mut others = others.expect("it is there");
    while others.write_all(&[1; 4096]).and_then(|()| others.sync_all()).is_ok() {}
    drop(others);
    let server = disk.serve(&with_reserve(&text), 1);
    let offers = Offers::start(&Offer::of(server.address(), 1, 4_000));
    eventually("it is too full", || (offers.refusals("MAIL 452 4.3.1") > 20).then_some(()));
    assert_eq!(offers.finish().acknowledged.len(), 0, "on a disk without any room");
    let mut seen = Seen::default();
    seen.await_all(&mail, false, &ledger);
    let said = server.errors.so_far();
    assert!(said.contains("the spool's disk is too full: mail gets 452") && said.contains("reserve_bytes"), "{said}");
    server.stop();
}

/// Files may not be as long as a segment (RELIABILITY F2): from the start on, and while it runs. That is an error of the write, and not the
/// end of the process.
#[test]
fn a_limit_of_files_refuses_and_ends_nothing() {
    let home = Directory::new();
    let path = home.path().display();
    let text = configuration("127.0.0.1:0", &format!("{path}/data"), &format!("{path}/mail"), "durable", "");
    let limit = |server: &Server, octets: &str| {
        let pid = server.pid().to_string();
        run(&["prlimit", "--pid", &pid, &format!("--fsize={octets}")], "", "util-linux")
    };
    let serve = |by: &[&str]| {
        let (program, arguments) = by.split_first().expect("it has a name");
        let mut command = Command::new(program);
        command.args(arguments).arg("--config").arg(home.write("ringmx.toml", &text));
        Server::start(command, Directory::new(), 1)
    };
    let start = |server: &Server| Offers::start(&Offer::of(server.address(), 8, 60_000));

    // No segment can be made until there is no limit any more.
    let server = serve(&["prlimit", "--fsize=1048576:unlimited", PROGRAM]);
    let offers = start(&server);
    eventually("there is no room", || (offers.refusals("MAIL 452 4.3.1") > 50).then_some(()));
    let Some(()) = needed("a_limit_of_files", limit(&server, "unlimited:unlimited")) else { return };
    offers.go_on_for(50);
    let refused = offers.refused();
    // Those that there are cannot be written to their ends.
    limit(&server, "1048576:unlimited").unwrap_or_else(|missing| panic!("{missing:?}"));
    eventually("it is refused", || (offers.refused() > refused + 50).then_some(()));
    limit(&server, "unlimited:unlimited").unwrap_or_else(|missing| panic!("{missing:?}"));
    let mut ledger = offers.finish();
    server.stop();
    let server = serve(&[PROGRAM]);
    let offers = start(&server);
    offers.go_on_for(200);
    ledger.add(offers.finish());
    let mut seen = Seen::default();
    seen.await_all(&home.path().join("mail"), false, &ledger);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("a limit of files: {:?}, heard {:?}", seen.judge(&ledger), ledger.refused);
    ledger.assert_no_permanent_refusal();
}
