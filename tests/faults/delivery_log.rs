//! A delivery log that cannot be written (RELIABILITY F32): mail flows on, and what was lost of the log is said in it as soon as it
//! can be written again.

use std::io::{BufRead, BufReader};
use std::path::Path;

use ringmx::limits;

use super::disk::Disk;
use super::machine::{needed, run};
use super::maildirs::Kept;
use super::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::server::Server;

fn configuration(home: &Path, log: &str) -> String {
    let home = home.display();
    format!(
        "[server]\nshards = 1\ndata_dir = '{home}/data'\n[log]\ndeliveries = '{log}'\n\
         [listener.mx]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = '{home}/mail/{{local}}'\nsync = false\n"
    )
}

/// Lines that tell of messages, and what other lines say was lost.
fn count(lines: impl Iterator<Item = String>) -> (u64, u64) {
    let lost = |line: &str| line.split_once(" lost=").map(|(_, count)| count.trim().parse::<u64>().expect("a count"));
    lines.fold((0, 0), |(told, all_lost), line| match lost(&line) {
        Some(lost) => (told, all_lost + lost),
        None => (told + 1, all_lost),
    })
}

fn go_on(server: &Server, clients: usize, messages: u64) -> Ledger {
    let offers = Offers::start(&Offer::of(server.address(), clients, 1_000));
    offers.go_on_for(messages);
    let ledger = offers.finish();
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    ledger
}

/// Lines, one by one, that wait at most.
const LINES: u64 = limits::DELIVERY_LOG_QUEUE_BATCHES as u64;

#[test]
fn a_fifo_that_nobody_reads_keeps_no_mail_waiting() {
    let home = Directory::new();
    let fifo = home.path().join("log");
    run(&["mkfifo", fifo.to_str().unwrap()], "", "coreutils").expect("it is a part of every system");
    let server = Server::serve(&configuration(home.path(), fifo.to_str().unwrap()), 1);
    let mut ledger = go_on(&server, 1, LINES + 500);
    // From now on somebody reads.
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(std::fs::File::open(fifo).unwrap()).lines();
        count(lines.map(|line| line.expect("it is text")))
    });
    ledger.add(go_on(&server, 4, 500));
    server.stop();
    let (told, lost) = reader.join().unwrap();
    let judged = Kept::below(&home.path().join("mail")).judge(&ledger);
    eprintln!("a fifo that nobody read: {judged:?}, {told} told of, {lost} said to be lost");
    assert_eq!(told + lost, judged.acknowledged as u64, "each is told of, or counted as lost");
    assert!(told >= 500 && lost > 0, "{told}, {lost}");
}

#[test]
fn a_full_disk_of_logs_keeps_no_mail_waiting() {
    let Some(disk) = needed("a_full_disk_of_logs", Disk::tmpfs("size=64k")) else { return };
    let home = Directory::new();
    let server = disk.serve(&configuration(home.path(), "DISK/log"), 1);
    let mut ledger = go_on(&server, 4, 2_000);
    assert!(std::fs::metadata(disk.seen().join("log")).unwrap().len() <= 64 << 10);
    assert!(disk.remount("size=64m"));
    ledger.add(go_on(&server, 4, 500));
    server.stop();
    let log = std::fs::read_to_string(disk.seen().join("log")).expect("whole lines");
    let (told, lost) = count(log.lines().map(str::to_owned));
    let judged = Kept::below(&home.path().join("mail")).judge(&ledger);
    eprintln!("a log on a full disk: {judged:?}, {told} told of, {lost} said to be lost");
    assert_eq!(told + lost, judged.acknowledged as u64, "each is told of, or counted as lost");
}
