//! SIGTERM on an MX: what was promised in memory is delivered first, and what cannot be is named.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::{Directory, below, configuration, deliver, id_of, keep, log, put_aside, ready, told};
use crate::process::load::Load;
use crate::process::maildir;
use crate::process::server::Server;

/// Under load, each 250 is a file when the program has ended with 0.
#[test]
fn what_is_in_memory_is_delivered_before_the_end() {
    for (round, durability) in ["memory", "delivered", "memory"].into_iter().enumerate() {
        let mut server = Server::serve(&configuration(durability), 1);
        let load = Load::start(server.address(), 6);
        load.go_on_for(200 * (round as u64 + 1));
        let directory = keep(&mut server);
        let stats = server.stop();
        let ledger = load.finish();
        assert_eq!((ledger.unanswered, ledger.refused), (0, 0), "mail data came to its end: {ledger:?}");
        let kept = maildir::new_mail(&below(&directory, "mail"));
        assert_eq!(kept.len() as u64, ledger.acknowledged);
        let told = super::Told { from: "s@load.test", hello: "load.test", ..told(&["r@server.test"]) };
        let octets: usize = kept.values().map(|kept| kept.content(&told, "\r\n").len()).sum();
        assert_eq!(octets as u64, ledger.octets);
        assert_eq!(stats.of_sink("store", "delivered"), ledger.acknowledged);
        assert_eq!((stats.of_sink("store", "octets"), stats.of_sink("store", "left_behind")), (ledger.octets, 0));
        assert_eq!(log(&directory).len() as u64, ledger.acknowledged);
    }
}

/// Messages that have their 250 and cannot be delivered; gives their ids.
#[track_caller]
fn stuck(server: &Server, count: usize) -> BTreeSet<String> {
    put_aside(&below(&server.directory, "mail"));
    let mut client = ready(server.address());
    let ids = (0..count).map(|_| id_of(&deliver(&mut client, &["r@server.test"], "x\r\n"))).collect();
    client.quit();
    server.await_stats("they were tried", |stats| stats.of_sink("store", "deferred") >= count as u64);
    ids
}

/// Exit status 74, the number on standard error, and each id in the log of deliveries.
#[track_caller]
fn expect_lost(server: &mut Server, directory: &Directory, lost: &BTreeSet<String>) {
    let status = server.wait();
    let errors = server.errors.to_the_end();
    assert_eq!(status.code(), Some(74), "{errors}");
    let said = format!("{} messages that had a 250 were not delivered, and are lost", lost.len());
    assert!(errors.contains(&said), "{errors}");
    let lines = log(directory);
    let named: BTreeSet<String> = lines
        .iter()
        .filter(|line| line.contains(" result=failed ") && line.contains("the server stopped before it was delivered"))
        .filter_map(|line| line.split(' ').find_map(|field| field.strip_prefix("id=")))
        .map(str::to_owned)
        .collect();
    assert_eq!(&named, lost, "{}", lines.join("\n"));
    let aside = below(directory, "mail").with_extension("aside");
    assert!(maildir::files(&aside.join("new")).is_empty() && maildir::files(&aside.join("tmp")).is_empty());
}

#[test]
fn a_second_signal_gives_up_what_is_stuck() {
    let mut server = Server::serve(&configuration("memory"), 1);
    let lost = stuck(&server, 30);
    let directory = keep(&mut server);
    server.signal(Signal::TERM);
    server.errors.await_text("stopping", 1);
    assert!(server.is_running(), "it waits for its sink");
    server.signal(Signal::TERM);
    expect_lost(&mut server, &directory, &lost);
}

/// One signal, and the patience of a stop.
#[test]
fn what_is_stuck_is_waited_for_and_then_named() {
    let mut server = Server::serve(&configuration("memory"), 1);
    let lost = stuck(&server, 30);
    let directory = keep(&mut server);
    let begun = std::time::Instant::now();
    server.signal(Signal::TERM);
    expect_lost(&mut server, &directory, &lost);
    // It begins with the last look before the signal.
    let half_its_patience = std::time::Duration::from_millis(ringmx::limits::DRAIN_MS / 2);
    assert!(begun.elapsed() >= half_its_patience, "{:?}", begun.elapsed());
}

/// What was stuck at the signal, and can be delivered before the patience ends, is not lost.
#[test]
fn a_repair_while_it_stops_is_in_time() {
    let mut server = Server::serve(&configuration("memory"), 1);
    let ids = stuck(&server, 30);
    let directory = keep(&mut server);
    server.signal(Signal::TERM);
    server.errors.await_text("stopping", 1);
    super::put_back(&below(&directory, "mail"));
    let stats = server.finish();
    assert_eq!((stats.of_sink("store", "delivered"), stats.of_sink("store", "left_behind")), (30, 0));
    let kept = maildir::new_mail(&below(&directory, "mail"));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
}
