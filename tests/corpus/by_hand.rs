//! Our own client: chunks, binary content, and what no server may take by DATA.

use std::net::SocketAddr;

use super::chance::Chance;
use super::clients::stuffed;
use super::house::{self, Maildirs, same};
use super::messages::{self, Message};
use super::transcript::{self, Sent};
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::maildir::{self, Told, id_in_reply};

/// One for each sink of the house.
const BOTH: [&str; 2] = ["r@crlf.test", "r@lf.test"];

#[track_caller]
fn begin(client: &mut Client, body: &str, to: &[&str]) {
    client.say(format!("MAIL FROM:<{}>{body}\r\n", house::SENDER), "250 2.1.0");
    for to in to {
        client.say(format!("RCPT TO:<{to}>\r\n"), "250 2.1.5");
    }
}

/// In chunks of any size, some empty, some sent together with the next; gives the id.
#[track_caller]
fn by_chunks(client: &mut Client, body: &str, to: &[&str], content: &[u8], chance: &mut Chance) -> String {
    begin(client, body, to);
    let (mut rest, mut unread) = (content, 0);
    loop {
        let most = *chance.one_of(&[1, 100, 4096, 1 << 20]);
        let octets = chance.below(most + 1).min(rest.len());
        let (chunk, behind) = rest.split_at(octets);
        rest = behind;
        let is_last = rest.is_empty() && chance.below(2) == 0;
        let last = if is_last { " LAST" } else { "" };
        client.send([format!("BDAT {octets}{last}\r\n").as_bytes(), chunk].concat()).expect("the server takes it");
        unread += 1;
        // So many at most that neither side waits for the other to read.
        if is_last || unread == 64 || chance.below(2) == 0 {
            (1..unread).for_each(|_| drop(client.expect("250 2.0.0")));
            let reply = client.expect("250 2.0.0");
            unread = 0;
            if is_last {
                return id_in_reply(&reply.text).expect("the reply names the message").to_owned();
            }
        }
    }
}

/// Chunks are kept as they are on both listeners, whatever they do to mail data: nothing in them is a line.
#[test]
fn chunks_are_kept() {
    let mut server = house::server();
    let mut sent = Vec::new();
    for (seed, listener) in house::LISTENERS.into_iter().enumerate() {
        let mut chance = Chance::new(seed as u64);
        let mut client = ready(server.address_of(listener));
        for message in messages::all().into_iter().chain(messages::smuggled()) {
            let id = by_chunks(&mut client, "", &BOTH, &message.octets, &mut chance);
            sent.push((id, message));
        }
        client.quit();
    }
    let directory = std::mem::replace(&mut server.directory, Directory::new());
    let stats = server.stop();
    for sink in ["crlf", "lf"] {
        assert_eq!(stats.of_sink(sink, "delivered"), sent.len() as u64);
    }
    expect_kept(&directory, &sent);
}

/// NULs and what no line is, by BINARYMIME, where the sink keeps octets.
#[test]
fn binary_content_is_kept() {
    let text = "[server]\nhostname = 'mx.example.net'\ndata_dir = 'data'\n\
                [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nrecipients = ['crlf.test']\n\
                sink = 'crlf'\n[sink.crlf]\nkind = 'maildir'\npath = 'crlf'\n";
    let mut server = crate::process::server::Server::serve(text, 1);
    let mut client = ready(server.address());
    let mut chance = Chance::new(7);
    let all: Vec<u8> = (0..=255).collect();
    let mut sent = Vec::new();
    for size in [0, 1, 255, 256, 4095, 65_536, 262_143, 262_144, 262_145, 3_000_000] {
        let octets: Vec<u8> = (0..size).map(|_| *chance.one_of(&all)).collect();
        let message = Message { name: format!("{size} octets of any kind"), octets };
        sent.push((by_chunks(&mut client, " BODY=BINARYMIME", &BOTH[..1], &message.octets, &mut chance), message));
    }
    client.quit();
    let directory = std::mem::replace(&mut server.directory, Directory::new());
    server.stop();
    let kept = maildir::new_mail(&house::maildir(directory.path(), "crlf"));
    assert_eq!(kept.len(), sent.len());
    let told = Told {
        from: house::SENDER,
        delivered_to: &BOTH[..1],
        only: Some(BOTH[0]),
        hello: house::HELLO,
        peer: "[127.0.0.1]",
        by: house::HOST,
        with: "ESMTP",
    };
    for (id, message) in &sent {
        same(&message.name, kept[id].content(&told, "\r\n"), &message.octets);
    }
}

/// A dot line with a wrong end is refused at the true end of mail data, and ends the session; nothing is kept of it. What
/// transparency makes harmless is kept.
#[test]
fn false_ends_are_refused() {
    let mut server = house::server();
    let (mut sent, mut refused) = (Vec::new(), 0);
    for listener in house::LISTENERS {
        for message in messages::smuggled() {
            // One for each, because a refusal ends it.
            let mut client = ready(server.address_of(listener));
            let wire = stuffed(&message.octets, b"\r\n");
            begin(&mut client, "", &BOTH);
            client.say("DATA\r\n", "354");
            client.send([&wire, &b"\r\n.\r\n"[..]].concat()).expect("the server takes it");
            let on_the_wire = Message { octets: [&wire, &b"\r\n"[..]].concat(), ..message };
            if on_the_wire.has_false_end() {
                client.expect("550 5.5.2");
                client.expect_end();
                refused += 1;
            } else {
                let reply = client.expect("250 2.0.0");
                let content = transcript::content(&on_the_wire.octets);
                let octets = if listener == "memory" { transcript::normalized(&content) } else { content };
                let id = id_in_reply(&reply.text).expect("the reply names the message").to_owned();
                sent.push((id, Message { octets, ..on_the_wire }));
                client.quit();
            }
        }
    }
    assert!(refused >= 40, "{refused}");
    let directory = std::mem::replace(&mut server.directory, Directory::new());
    let stats = server.stop();
    assert_eq!((stats.replies("FalseEndOfData"), stats.mail().0), (refused, sent.len() as u64));
    expect_kept(&directory, &sent);
}

fn ready(address: SocketAddr) -> Client {
    let mut client = Client::greeted(address);
    client.say(format!("EHLO {}\r\n", house::HELLO), "250");
    client
}

/// These and no others lie in both maildirs.
#[track_caller]
fn expect_kept(directory: &Directory, sent: &[(String, Message)]) {
    let kept = Maildirs::of(directory.path());
    assert_eq!((kept.crlf.len(), kept.lf.len()), (sent.len(), sent.len()));
    for (id, message) in sent {
        let sent = Sent {
            from: house::SENDER.to_owned(),
            to: BOTH.map(str::to_owned).to_vec(),
            id: id.clone(),
            ..Sent::default()
        };
        house::check(message, &sent, &message.octets, &kept);
    }
}
