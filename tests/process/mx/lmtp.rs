//! LMTP, where each recipient has a reply of its own (RFC 2033).

use super::{below, put_aside, put_back};
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::maildir::{self, Told};
use crate::process::server::{Finished, Server};

const DAMAGED: &str = "b@server.test";

fn configuration(bind: &str) -> String {
    format!(
        "[server]\nhostname = 'mx.example.net'\ndata_dir = 'data'\n\
         [listener.local]\nkind = 'private'\nprotocol = 'lmtp'\nbind = '{bind}'\ndurability = 'delivered'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = 'mail/{{domain}}/{{local}}'\n"
    )
}

/// One mailbox cannot be written, the others can: each recipient hears what became of its copy.
fn each_recipient_has_its_reply(server: &mut Server, mut client: Client, peer: &str) {
    client.expect("220");
    client.say("LHLO client.test\r\n", "250");
    let all = ["a@server.test", DAMAGED, "c@server.test"];
    let deliver = |client: &mut Client, codes: [&str; 3]| {
        client.say("MAIL FROM:<s@client.test>\r\n", "250");
        for to in all {
            client.say(format!("RCPT TO:<{to}>\r\n"), "250");
        }
        client.say("DATA\r\n", "354");
        let first = client.say("x\r\n.\r\n", codes[0]);
        let replies = [first, client.expect(codes[1]), client.expect(codes[2])];
        // The first and the last are for those whose mailboxes are well, and name the message whatever came of the other.
        let [one, other] = [&replies[0], &replies[2]].map(super::id_of);
        assert_eq!(one, other);
        one
    };
    let before = deliver(&mut client, ["250 2.0.0", "250 2.0.0", "250 2.0.0"]);
    let damaged = below(&server.directory, "mail/server.test/b");
    put_aside(&damaged);
    let between = deliver(&mut client, ["250 2.0.0", "451 4.3.0", "250 2.0.0"]);
    put_back(&damaged);
    let after = deliver(&mut client, ["250 2.0.0", "250 2.0.0", "250 2.0.0"]);
    client.quit();
    let stats = server.await_stats("it is counted", |stats| stats.of_sink("store", "delivered") == 8);
    assert_eq!((stats.of_sink("store", "refused"), stats.of_sink("store", "deferred")), (1, 0));
    // All have the messages of before and after; of the one between, all but the damaged.
    for to in all {
        let (local, _) = to.split_once('@').unwrap();
        let kept = maildir::new_mail(&below(&server.directory, &format!("mail/server.test/{local}")));
        let mut wanted = vec![&before, &after];
        wanted.extend((to != DAMAGED).then_some(&between));
        wanted.sort();
        assert_eq!(kept.keys().collect::<Vec<_>>(), wanted, "{to}");
        for kept in kept.values() {
            let told = Told {
                from: "s@client.test",
                delivered_to: &[to],
                only: None,
                hello: "client.test",
                peer,
                by: "mx.example.net",
                with: "LMTP",
            };
            assert_eq!(kept.content(&told, "\r\n"), b"x\r\n");
        }
    }
}

#[test]
fn over_tcp() {
    let mut server = Server::serve(&configuration("127.0.0.1:0"), 1);
    let client = Client::connect(server.address()).expect("the server is there");
    each_recipient_has_its_reply(&mut server, client, "[127.0.0.1]");
    server.stop();
}

#[test]
fn over_a_unix_socket() {
    let directory = Directory::new();
    let socket = directory.path().join("lmtp.sock");
    let text = configuration(&socket.display().to_string());
    let mut server = Server::serve_in(directory, &text, 1);
    let client = Client::connect_unix(&socket).expect("the server is there");
    each_recipient_has_its_reply(&mut server, client, "Unix socket");
    server.stop();
}

/// RFC 2033 §5.
#[test]
fn not_on_the_port_of_smtp() {
    let directory = Directory::new();
    let path = directory.write("ringmx.toml", configuration("127.0.0.1:25"));
    let refused = Finished::of(["--config".as_ref(), path.as_os_str()]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let said = "listener.local.bind: \"127.0.0.1:25\" is SMTP's port, where LMTP must not be spoken (RFC 2033 §5)";
    assert!(refused.errors.contains(said), "{refused:?}");
    assert!(!directory.path().join("data").exists(), "nothing was started");
}
