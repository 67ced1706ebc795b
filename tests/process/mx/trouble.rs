//! A maildir that cannot be written for a while: nothing is lost, and mail is taken again when it can be.

use std::collections::BTreeMap;

use super::{below, configuration, deliver, id_of, keep, log, put_aside, put_back, ready, told};
use crate::process::maildir;
use crate::process::patience::eventually;
use crate::process::server::Server;

const TO: [&str; 1] = ["r@server.test"];

/// Exactly these, whole.
#[track_caller]
fn expect_kept(maildir: &std::path::Path, sent: &BTreeMap<String, String>) {
    let kept = maildir::new_mail(maildir);
    assert_eq!(kept.keys().collect::<Vec<_>>(), sent.keys().collect::<Vec<_>>());
    for (id, content) in sent {
        assert_eq!(kept[id].content(&told(&TO), "\r\n"), content.as_bytes());
    }
}

/// A client is told to come again, and its message is not kept; after the repair it is.
#[test]
fn delivered_is_refused_for_now() {
    let mut server = Server::serve(&configuration("delivered"), 1);
    let mut client = ready(server.address());
    let mut sent = BTreeMap::new();
    sent.insert(id_of(&deliver(&mut client, &TO, "before\r\n")), "before\r\n".to_owned());
    let root = below(&server.directory, "mail");
    put_aside(&root);
    for _ in 0..3 {
        let reply = deliver(&mut client, &TO, "meanwhile\r\n");
        assert!(reply.is("451 4.3.0"), "{reply:?}");
    }
    put_back(&root);
    sent.insert(id_of(&deliver(&mut client, &TO, "after\r\n")), "after\r\n".to_owned());
    client.quit();
    let directory = keep(&mut server);
    let stats = server.stop();
    assert_eq!((stats.of_sink("store", "delivered"), stats.of_sink("store", "refused")), (2, 3));
    expect_kept(&below(&directory, "mail"), &sent);
    let refused = log(&directory).into_iter().filter(|line| line.contains(" result=refused code=451 ")).count();
    assert_eq!(refused, 3);
}

/// Who was told 250 hears nothing; the messages wait in memory, and come when they can, each once.
#[test]
fn memory_waits() {
    let mut server = Server::serve(&configuration("memory"), 1);
    let mut client = ready(server.address());
    let mut sent = BTreeMap::new();
    let send = |client: &mut super::Client, sent: &mut BTreeMap<String, String>, what: &str| {
        for number in 0..20 {
            let content = format!("{what} {number}\r\n");
            sent.insert(id_of(&deliver(client, &TO, &content)), content);
        }
    };
    send(&mut client, &mut sent, "before");
    let root = below(&server.directory, "mail");
    server.await_stats("what came before is there", |stats| stats.of_sink("store", "delivered") == 20);
    put_aside(&root);
    send(&mut client, &mut sent, "meanwhile");
    server.await_stats("they were tried", |stats| stats.of_sink("store", "deferred") >= 20);
    assert_eq!(maildir::files(&root.with_extension("aside").join("new")).len(), 20, "nothing came");
    put_back(&root);
    server.await_stats("all were delivered", |stats| stats.of_sink("store", "delivered") == 40);
    send(&mut client, &mut sent, "after");
    client.quit();
    let directory = keep(&mut server);
    let stats = server.stop();
    assert_eq!((stats.of_sink("store", "delivered"), stats.of_sink("store", "left_behind")), (60, 0));
    expect_kept(&below(&directory, "mail"), &sent);
    let lines = log(&directory);
    for id in sent.keys() {
        let delivered = format!(" id={id} listener=mx sink=store from=<s@client.test> to=<r@server.test> ");
        let last = lines.iter().rfind(|line| line.contains(&delivered)).expect("it was written down");
        assert!(last.contains(" result=delivered "), "{last}");
    }
}

/// A full store says 452; room that a reader makes is found.
#[test]
fn a_quota_is_kept() {
    let quota = 20_000;
    let text = configuration("delivered") + &format!("quota_bytes = {quota}\n");
    let server = Server::serve(&text, 1);
    let mut client = ready(server.address());
    let content = "x".repeat(998) + "\r\n";
    let mut sent = BTreeMap::new();
    let refused = loop {
        let reply = deliver(&mut client, &TO, &content);
        if !reply.is("250 2.0.0") {
            break reply;
        }
        sent.insert(id_of(&reply), content.clone());
        assert!(sent.len() * content.len() < quota, "more than the quota is kept");
    };
    assert!(refused.is("452 4.2.2"), "{refused:?}");
    let root = below(&server.directory, "mail");
    let kept = maildir::files(&root.join("new"));
    let octets: u64 = kept.iter().map(|path| path.metadata().expect("it is there").len()).sum();
    assert!(octets <= quota as u64 && octets + 2000 > quota as u64, "{octets} of {quota}");
    expect_kept(&root, &sent);
    // A reader deletes all but one.
    for path in kept.iter().skip(1) {
        std::fs::remove_file(path).expect("it can be removed");
        sent.remove(path.file_name().unwrap().to_str().unwrap().split('.').nth(1).unwrap());
    }
    let id = eventually("there is room again", || {
        let mut client = ready(server.address());
        let reply = deliver(&mut client, &TO, &content);
        client.quit();
        assert!(reply.is("250 2.0.0") || reply.is("452 4.2.2"), "{reply:?}");
        reply.is("250 2.0.0").then(|| id_of(&reply))
    });
    sent.insert(id, content);
    expect_kept(&root, &sent);
    client.quit();
    server.stop();
}
