//! The tools on the spool of a server that runs, and on what it leaves behind when it is killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::maildir;
use crate::process::server::{Finished, Server};

/// One durable listener, and one maildir for everyone. What is delivered is kept, so that it is there to be looked at.
const CONFIGURATION: &str = "[server]\nhostname = 'mx.example.net'\ndata_dir = 'data'\nshards = 2\n\
    [spool]\nsegment_bytes = 4194304\nretain_s = 3600\n\
    [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = 'durable'\nmessages_per_connection = 0\n\
    recipients = ['server.test']\nsink = 'store'\n\
    [sink.store]\nkind = 'maildir'\npath = 'mail'\n";

fn text(number: usize) -> String {
    format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(number * 97 % 9000))
}

/// Sends a message, and gives the id that the 250 names.
fn send(client: &mut Client, number: usize) -> String {
    client.say("MAIL FROM:<s@client.test>\r\n", "250");
    client.say(format!("RCPT TO:<r{number}@server.test>\r\n"), "250");
    client.say("DATA\r\n", "354");
    client.send(text(number)).expect("the server takes it");
    client.send(".\r\n").expect("the server takes it");
    let reply = client.reply().expect("there is a reply");
    maildir::id_in_reply(&reply.text).unwrap_or_else(|| panic!("{reply:?} names the message")).to_owned()
}

fn tool(directory: &Directory, arguments: &[&str]) -> Finished {
    let data_dir = directory.path().join("data");
    let run = Finished::of(["spool", "--data-dir", data_dir.to_str().unwrap()].iter().chain(arguments));
    assert!(run.status.success(), "{arguments:?}: {run:?}");
    run
}

/// The ids that `ls` names, each once.
fn listed(directory: &Directory) -> Vec<String> {
    let listed = tool(directory, &["ls", "--json", "--state", "active,deferred,delivered"]).output;
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = listed.lines().map(id).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Everything that had a 250 is there for the tools as soon as it had it, and after a kill; while mail comes in nothing looks damaged.
#[test]
fn what_had_its_250_is_seen_at_once_and_after_a_kill() {
    let mut server = Server::serve(CONFIGURATION, 1);
    let mut sent = BTreeMap::new();
    let mut client = Client::ready(server.address());
    for number in 0..20 {
        sent.insert(send(&mut client, number), number);
        if number % 10 == 0 {
            assert_eq!(listed(&server.directory), sent.keys().cloned().collect::<Vec<_>>());
        }
    }
    let is_over = AtomicBool::new(false);
    let (address, from) = (server.address(), sent.len());
    let more = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut client = Client::ready(address);
            let mut sent = Vec::new();
            // BOUND: the others stop it.
            while !is_over.load(Ordering::Relaxed) {
                let number = from + sent.len();
                sent.push((send(&mut client, number), number));
            }
            sent
        });
        for _ in 0..10 {
            tool(&server.directory, &["verify"]);
            tool(&server.directory, &["ls"]);
        }
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("the load ends")
    });
    sent.extend(more);
    server.signal(Signal::KILL);
    server.wait();
    assert_eq!(listed(&server.directory), sent.keys().cloned().collect::<Vec<_>>());
    let verified = tool(&server.directory, &["verify"]).output;
    assert!(!verified.contains("DAMAGED"), "{verified}");
    let out = server.directory.path().join("out");
    tool(&server.directory, &["export", "--all", "--state", "active,delivered", "--to", out.to_str().unwrap()]);
    for (id, number) in &sent {
        let file = std::fs::read_to_string(out.join(format!("{id}.eml"))).expect("each is exported");
        assert!(file.starts_with("Return-Path: <s@client.test>\r\n") && file.ends_with(&text(*number)), "{number}");
    }
}
