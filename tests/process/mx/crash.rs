//! `kill -9`: what was promised is there, nothing half-written is seen, and no name is used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use super::{below, configuration, deliver, id_of, keep, ready, told};
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::maildir::{self, Kept};
use crate::process::patience::eventually;
use crate::process::server::{Server, private_address};

const TO: [&str; 1] = ["r@server.test"];
const SESSIONS: usize = 6;

/// Large enough to be many writes for some sessions.
fn content(session: usize) -> String {
    "0123456789012345678901234567890123456789\r\n".repeat(1 + session * session * 400)
}

#[test]
fn after_a_kill_every_delivered_250_is_there_whole() {
    let (rounds, per_round) = (4, 60);
    let text = configuration("delivered").replace("127.0.0.1:0", &private_address());
    let mut directory = Directory::new();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for _ in 0..rounds {
        let mut server = Server::serve_in(directory, &text, 1);
        let address = server.address();
        let count = Arc::new(AtomicUsize::new(0));
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let (client, count) = (ready(address), Arc::clone(&count));
                std::thread::spawn(move || until_the_end(client, session, &count))
            })
            .collect();
        eventually("the load goes on", || (count.load(Ordering::Relaxed) >= per_round).then_some(()));
        server.signal(Signal::KILL);
        for session in sessions {
            for id in session.join().expect("a session does not panic") {
                assert!(acknowledged.insert(id), "an id was given twice");
            }
        }
        server.wait();
        directory = keep(&mut server);
        // Before the next start has mended anything.
        expect_whole(&maildir::new_mail(&below(&directory, "mail")), &acknowledged);
    }
    let epochs: BTreeSet<u32> = acknowledged.iter().map(|id| epoch(id)).collect();
    assert_eq!(epochs.len(), rounds, "each start has one of its own");
}

/// Delivers until the server is gone; gives the ids that were acknowledged.
fn until_the_end(mut client: Client, session: usize, count: &AtomicUsize) -> Vec<String> {
    let mut ids = Vec::new();
    let commands = format!("MAIL FROM:<s@client.test>\r\nRCPT TO:<{}>\r\nDATA\r\n", TO[0]);
    let content = content(session) + ".\r\n";
    while client.send(&commands).is_ok() {
        let is_taken = (0..3).all(|_| client.reply().is_ok()) && client.send(&content).is_ok();
        let Some(reply) = is_taken.then(|| client.reply().ok()).flatten() else { break };
        ids.push(id_of(&reply));
        count.fetch_add(1, Ordering::Relaxed);
    }
    ids
}

#[track_caller]
fn expect_whole(kept: &BTreeMap<String, Kept>, acknowledged: &BTreeSet<String>) {
    let contents: Vec<String> = (0..SESSIONS).map(content).collect();
    for (id, kept) in kept {
        let found = kept.content(&told(&TO), "\r\n");
        assert!(contents.iter().any(|content| content.as_bytes() == found), "{id} is not whole");
    }
    for id in acknowledged {
        assert!(kept.contains_key(id), "{id} was acknowledged, and is not there");
    }
}

fn epoch(id: &str) -> u32 {
    id.parse::<ringmx::mail::id::MessageId>().expect("it is an id").epoch()
}

/// Ids go on after an orderly stop, too, and what lies there is left alone.
#[test]
fn a_restart_goes_on() {
    let mut directory = Directory::new();
    let mut ids = BTreeSet::new();
    for round in 1..=3 {
        let mut server = Server::serve_in(directory, &configuration("memory"), 1);
        let mut client = ready(server.address());
        for _ in 0..10 {
            assert!(ids.insert(id_of(&deliver(&mut client, &TO, "x\r\n"))));
        }
        client.quit();
        directory = keep(&mut server);
        server.stop();
        let kept = maildir::new_mail(&below(&directory, "mail"));
        assert_eq!(kept.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        assert_eq!(ids.iter().map(|id| epoch(id)).max(), Some(round));
    }
}
