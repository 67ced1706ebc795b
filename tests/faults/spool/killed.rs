//! kill -9 at any moment (RELIABILITY F8): under load, while a start reads the spool, while it drains, while it stops. What had its
//! 250 is delivered in the end, octet for octet, or lies in the spool; nothing is there that was never offered, and nothing is ever
//! called damaged.
//!
//! `RINGMX_KILL_ROUNDS` says how many times, `RINGMX_KILL_SEED` at which moments.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::chance::{Chance, count};
use super::house::{Seen, assert_no_alarm, configuration};
use crate::faults::machine::is_long;
use crate::faults::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::server::{Finished, PROGRAM, Server, private_address};

/// A server on one data directory, again and again.
struct Home {
    directory: Directory,
    address: String,
    configuration: String,
}

impl Home {
    fn new(durability: &str, spool: &str) -> Self {
        let (directory, address) = (Directory::new(), private_address());
        let path = directory.path().display();
        let configuration =
            configuration(&address, &format!("{path}/data"), &format!("{path}/mail"), durability, spool);
        Self { directory, address, configuration }
    }

    fn offer(&self) -> Offer {
        let mut offer = Offer::of(self.address.parse().expect("an address"), 12, 3_000);
        // These lie in several blocks.
        offer.octets_of_some = 600_000;
        offer
    }

    /// Starts one that is killed so soon that it may not even listen.
    fn start_and_kill(&self, after: Duration) {
        let path = self.directory.write("ringmx.toml", &self.configuration);
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it can be started");
        std::thread::sleep(after);
        child.kill().expect("it is a child");
        child.wait().expect("it is a child");
    }

    #[track_caller]
    fn verify(&self) {
        let data = self.directory.path().join("data");
        let run = Finished::of(["spool", "--data-dir", data.to_str().expect("a plain path"), "verify"]);
        assert!(run.status.success(), "{run:?}");
    }
}

/// How often each thing was done to it.
#[derive(Debug, Default)]
struct Moments {
    under_load: u64,
    starting: u64,
    draining: u64,
    stopping: u64,
    caught_up: u64,
}

/// Kills it so many times; gives what was sent, and leaves none running. `look` is called after each, and now and then with what a
/// server that is left alone for that has to deliver first: these lives are too short for their sinks, and what waits would grow
/// without end.
fn kill_again_and_again(home: &Home, rounds: u64, mut look: impl FnMut(Option<&Ledger>)) -> Ledger {
    let (mut chance, seed) = Chance::of("RINGMX_KILL_SEED");
    eprintln!("RINGMX_KILL_SEED={seed}, {rounds} rounds");
    let (mut moments, mut times) = (Moments::default(), Vec::new());
    let mut most = Duration::from_millis(100);
    let offers = Offers::start(&home.offer());
    for round in 0..rounds {
        if chance.one_of(4) {
            moments.starting += 1;
            home.start_and_kill(Duration::from_micros(chance.below(most.as_micros() as u64)));
        }
        let begun = Instant::now();
        let server = Server::serve(&home.configuration, 1);
        times.push(begun.elapsed());
        most = most.max(begun.elapsed().min(Duration::from_secs(2)));
        offers.go_on_for(1 + chance.below(200));
        match chance.below(8) {
            _ if round % 16 == 3 => {
                moments.caught_up += 1;
                offers.rest();
                look(Some(&offers.so_far()));
            }
            0 => {
                moments.draining += 1;
                offers.rest();
                std::thread::sleep(Duration::from_micros(chance.below(30_000)));
            }
            1 => {
                moments.stopping += 1;
                server.signal(Signal::TERM);
                std::thread::sleep(Duration::from_micros(chance.below(30_000)));
            }
            _ => {
                moments.under_load += 1;
                std::thread::sleep(Duration::from_micros(chance.below(3_000)));
            }
        }
        assert_no_alarm(&server);
        drop(server);
        offers.go_on();
        if round % 16 == 7 {
            home.verify();
        }
        look(None);
    }
    let ledger = offers.finish();
    home.verify();
    times.sort();
    eprintln!(
        "killed: {moments:?}; {} had a 250, {} no answer, heard {:?}; started again in {:?}, at most {:?}",
        ledger.acknowledged.len(),
        ledger.unanswered,
        ledger.refused,
        times[times.len() / 2],
        times[times.len() - 1],
    );
    assert!(ledger.acknowledged.len() as u64 >= rounds && ledger.unanswered > 0, "the load was there when it ended");
    ledger.assert_no_permanent_refusal();
    ledger
}

fn rounds(short: u64, long: u64) -> u64 {
    count("RINGMX_KILL_ROUNDS", if is_long() { long } else { short })
}

/// All is delivered by one that is left alone, and then its spool has nothing that waits of what it delivered. What had no 250, or comes
/// again, may still wait.
fn all_is_delivered(home: &Home, ledger: &Ledger, mut seen: Seen) {
    let mail = home.directory.path().join("mail");
    seen.look(&mail, true);
    let before = seen.clone();
    let server = Server::serve(&home.configuration, 1);
    seen.await_all(&mail, true, ledger);
    assert_no_alarm(&server);
    server.stop();
    seen.look(&mail, true);
    let data = home.directory.path().join("data");
    let listed = Finished::of(["spool", "--data-dir", data.to_str().expect("a plain path"), "ls", "--json"]);
    assert!(listed.status.success(), "{listed:?}");
    let id = |line: &&str| -> String {
        let id = line.split_once("\"id\":\"").and_then(|(_, behind)| behind.split('"').next());
        id.unwrap_or_else(|| panic!("no id: {line}")).to_owned()
    };
    let is_done = |id: &str| seen.times(id) > before.times(id);
    let waiting: Vec<_> = listed.output.lines().filter(|line| is_done(&id(line))).collect();
    assert!(waiting.is_empty(), "after its end {} wait, though they are delivered: {waiting:#?}", waiting.len());
    eprintln!("{:?}", seen.judge(ledger));
}

fn delivered_after_kills(durability: &str, rounds: u64) {
    let home = Home::new(durability, "");
    let mail = home.directory.path().join("mail");
    let mut seen = Seen::default();
    let ledger = kill_again_and_again(&home, rounds, |all| match all {
        Some(ledger) => seen.await_all(&mail, true, ledger),
        None => seen.look(&mail, true),
    });
    all_is_delivered(&home, &ledger, seen);
}

#[test]
fn durable_mail_outlasts_kill_9_at_any_moment() {
    delivered_after_kills("durable", rounds(12, 1_000));
}

#[test]
fn written_mail_outlasts_kill_9_at_any_moment() {
    delivered_after_kills("written", rounds(4, 200));
}

/// What was delivered is kept for a day, so that all of it is there to be read when nobody serves any more; nothing else knows it.
#[test]
fn all_that_had_its_250_can_be_read_out_of_the_spool_of_one_that_was_killed() {
    let home = Home::new("durable", "retain_s = 86400");
    let blackhole = home.configuration.find("[sink.store]").expect("it is there");
    let configuration = format!("{}[sink.store]\nkind = 'blackhole'\n", &home.configuration[..blackhole]);
    let home = Home { configuration, ..home };
    // All of it stays on the disk.
    let ledger = kill_again_and_again(&home, rounds(6, 60).min(60), |_| ());
    let mut seen = Seen::default();
    seen.look_into(&home.directory.path().join("data"), &home.directory.path().join("export"));
    eprintln!("{:?}", seen.judge(&ledger));
}

/// The same spool, which nobody delivers from: what is there does not grow less by being started on again and again.
#[test]
fn a_start_that_is_killed_again_and_again_loses_nothing_of_what_lies_there() {
    let home = Home::new("durable", "retain_s = 86400");
    let offers = Offers::start(&home.offer());
    let server = Server::serve(&home.configuration, 1);
    offers.go_on_for(300);
    drop(server);
    let ledger = offers.finish();
    let (mut chance, _) = Chance::of("RINGMX_KILL_SEED");
    for _ in 0..rounds(20, 500) {
        home.start_and_kill(Duration::from_micros(chance.below(150_000)));
    }
    home.verify();
    let mut seen = Seen::default();
    seen.look_into(&home.directory.path().join("data"), &home.directory.path().join("export"));
    let in_spool = seen.judge(&ledger);
    let mail = home.directory.path().join("mail");
    let (server, mut delivered) = (Server::serve(&home.configuration, 1), Seen::default());
    delivered.await_all(&mail, false, &ledger);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("in the spool {in_spool:?}, delivered {:?}", delivered.judge(&ledger));
    assert!(Path::new(&mail).exists());
}
