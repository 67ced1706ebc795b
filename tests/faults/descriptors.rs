//! No descriptor is left (RELIABILITY F13).
//!
//! Connections are direct descriptors of the ring: they are counted against RLIMIT_NOFILE once, when the ring is set up
//! (`tests/process/setup.rs` has the refusal), and an accept takes none of the process's own. So EMFILE can no longer meet an
//! accept; it meets what else the process does. ENFILE, of the whole machine, is the simulator's.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::crowd::{Slow, connect_from, source};
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Lets the process have no descriptor beyond those that it has, or as many as before.
fn limit_descriptors(server: &Server, most: Option<u64>) {
    let pid = Pid::from_raw(server.pid() as i32);
    let maximum = current(pid).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: most.or(maximum), maximum }).expect("a soft limit can be set");
}

/// The limit as it is: there is no call that only reads it.
fn current(pid: Option<Pid>) -> Rlimit {
    let path = format!("/proc/{}/limits", pid.expect("a child has a pid").as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).expect("it has the limit");
    let mut words = line.split_whitespace().map(|word| word.parse().ok());
    Rlimit { current: words.next().flatten(), maximum: words.next().flatten() }
}

fn descriptors(server: &Server) -> HashSet<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs");
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Sessions that were there go on, and new ones are accepted, served and closed in order.
#[test]
fn connections_need_no_descriptor_of_the_process() {
    let server = Server::sink(&["--shards", "1"]);
    let mut old = Client::in_mail_data(server.address());
    old.send("Subject: began with plenty\r\n").unwrap();
    limit_descriptors(&server, Some(1));
    let before = descriptors(&server);
    for number in 0..300 {
        let mut client = connect_from(source(number), server.address());
        client.expect("220");
        client.say("EHLO client.test\r\n", "250");
        client.deliver("without a descriptor\r\n");
        // The reply to QUIT, and the end behind it.
        client.quit();
    }
    old.say(".\r\n", "250 2.0.0");
    old.quit();
    assert_eq!(descriptors(&server), before);
    limit_descriptors(&server, None);
    let stats = server.stop();
    assert_eq!((stats.mail(), stats.total("connections_accepted")), ((301, 301), 301));
    for none in ["accept_failures", "connections_reset", "stale_completions", "connections_open"] {
        assert_eq!(stats.total(none), 0, "{none}");
    }
}

/// A client sees the end of its session at once, and not when the server gives up waiting for the client's.
#[test]
fn sessions_are_shut_although_no_descriptor_is_left() {
    let server = Server::sink(&["--shards", "1"]);
    for _ in 0..10 {
        limit_descriptors(&server, Some(1));
        let mut client = Client::greeted(server.address());
        client.say("QUIT\r\n", "221 2.0.0");
        client.expect_end();
        limit_descriptors(&server, None);
        // It has seen the end of a connection that the server still has open, for the client's end.
        if server.stats_now().total("connections_open") == 1 {
            drop(client);
            let stats = server.await_stats("it is gone", |stats| stats.total("connections_open") == 0);
            assert_eq!(stats.total("stale_completions"), 0);
            server.stop();
            return;
        }
        // This test was slower than the server's patience, or there was no shutdown.
    }
    panic!("the sending side was never shut");
}

/// Nothing that the operator asks for ends the service when it cannot be had.
#[test]
fn an_operator_who_asks_in_vain_ends_nothing() {
    let directory = Directory::new();
    let text = "[listener.a]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\n";
    let mut server = Server::serve_in(directory, text, 1);
    let mut client = Client::ready(server.address());
    limit_descriptors(&server, Some(1));
    server.signal(Signal::USR1);
    server.errors.await_text("cannot write", 1);
    server.signal(Signal::HUP);
    server.errors.await_text("the old configuration stays in force", 1);
    client.deliver("still there\r\n");
    assert!(server.is_running());
    limit_descriptors(&server, None);
    server.signal(Signal::HUP);
    server.output.await_text("again", 1);
    client.deliver("and now\r\n");
    client.quit();
    assert_eq!(server.stop().mail(), (2, 2));
}

/// When every slot of the table is taken by clients who are told 421 and do not go, accepting rests: no turn is spent on it,
/// it goes on as they go, and in the end every connection has heard something.
#[test]
fn accepting_rests_while_no_slot_is_free() {
    const SERVED: usize = 4;
    let spare = ringmx::limits::SPARE_SLOTS_PER_SHARD as usize;
    let all = SERVED + spare + 500;
    super::machine::raise_descriptors(all as u64).unwrap_or_else(|missing| panic!("{missing:?}"));
    let server = Server::sink(&["--shards", "1", "--connections", &SERVED.to_string()]);
    let mut served: Vec<Client> = (0..SERVED).map(|_| Client::ready(server.address())).collect();
    let before = server.stats_now();
    let mut crowd: Vec<Slow> =
        (0..all as u32 - SERVED as u32).map(|number| Slow::connect(number, server.address())).collect();
    let mut delivered = 0;
    while !crowd.iter().all(|client| client.is_over) {
        crowd.iter_mut().for_each(Slow::hear);
        served.iter_mut().for_each(|client| client.deliver("served\r\n"));
        delivered += SERVED as u64;
        std::thread::sleep(Duration::from_millis(5));
    }
    for client in &crowd {
        assert!(client.last_line().starts_with("421 4.3.2 "), "{:?}", client.last_line());
    }
    drop(crowd);
    let after = eventually("the crowd is gone", || {
        Some(server.stats_now()).filter(|stats| stats.total("connections_open") == SERVED as u64)
    });
    assert_eq!(after.total("connections_over_limit"), (all - SERVED) as u64);
    assert_eq!((after.mail().0, after.total("accept_failures")), (delivered, 0));
    // Each connection has an accept, octets to send, a shutdown, and an end; each message four turns. Looking at the clock
    // for free slots, or posting accepts that fail, would take turns without number.
    let turns = after.total("turns") - before.total("turns");
    let bound = 8 * all as u64 + 8 * delivered + 2000;
    assert!(turns <= bound, "{turns} turns for {all} connections and {delivered} messages");
    served.into_iter().for_each(Client::quit);
    server.stop();
}
