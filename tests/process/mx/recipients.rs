//! Whose mail is taken, said over the wire.

use super::{below, deliver, id_of, keep, ready, told};
use crate::process::client::Client;
use crate::process::maildir;
use crate::process::server::Server;

fn with_recipients(recipients: &str) -> String {
    super::configuration("delivered").replace("['server.test']", recipients)
}

/// CONFORMANCE T094, T106; RFC 5321 §4.5.1, §2.3.11, appendix C.
#[test]
fn a_list_decides_and_no_trick_relays() {
    let list = "[{ match = 'left@example.net', refuse = 550 }, { match = 'moved@example.net', refuse = 556 }, \
                'example.net', '.example.org', 'one@exact.test', 'one@known.test', { match = 'known.test', refuse = 550 }, 'abuse@', '[192.0.2.1]', 'bücher.test']";
    let server = Server::serve(&with_recipients(list), 1);
    let mut client = ready(server.address());
    for (to, codes) in [
        // Domains, in any case, with the dot that may end them.
        ("a@example.net", "250 2.1.5"),
        ("A.b+c@EXAMPLE.Net", "250 2.1.5"),
        ("a@example.net.", "250 2.1.5"),
        ("a@sub.example.net", "550 5.7.1"),
        ("a@example.netx", "550 5.7.1"),
        ("a@xexample.net", "550 5.7.1"),
        ("a@x.example.org", "250 2.1.5"),
        ("a@y.x.Example.Org", "250 2.1.5"),
        ("a@example.org", "550 5.7.1"),
        ("one@exact.test", "250 2.1.5"),
        ("\"one\"@exact.test", "250 2.1.5"),
        ("One@exact.test", "550 5.1.1"),
        ("two@exact.test", "550 5.1.1"),
        ("one@known.test", "250 2.1.5"),
        ("two@known.test", "550 5.1.1"),
        ("postmaster@known.test", "250 2.1.5"),
        ("abuse@anywhere.test", "250 2.1.5"),
        ("left@example.net", "550 5.1.1"),
        ("moved@example.net", "556 5.1.10"),
        // Address literals.
        ("a@[192.0.2.1]", "250 2.1.5"),
        ("a@[127.0.0.1]", "550 5.7.1"),
        ("a@[IPv6:::1]", "550 5.7.1"),
        // Postmaster.
        ("postmaster", "250 2.1.5"),
        ("PostMaster", "250 2.1.5"),
        ("POSTMASTER@EXAMPLE.NET", "250 2.1.5"),
        ("postmaster@mx.example.net", "250 2.1.5"),
        ("postmaster@exact.test", "250 2.1.5"),
        ("\"Postmaster\"@exact.test", "250 2.1.5"),
        ("postmaster@elsewhere.test", "550 5.7.1"),
        ("somebody", "501 5.1.3"),
        // An address within an address is not followed, wherever it leads.
        ("a%elsewhere.test@example.net", "550 5.7.1"),
        ("elsewhere.test!a@example.net", "550 5.7.1"),
        ("\"a@elsewhere.test\"@example.net", "550 5.7.1"),
        ("\"a%elsewhere.test\"@example.net", "550 5.7.1"),
        ("a%example.net@elsewhere.test", "550 5.7.1"),
        ("postmaster%elsewhere.test@example.net", "550 5.7.1"),
        // A source route is passed over: what counts is the mailbox behind it.
        ("@example.net:a@elsewhere.test", "550 5.7.1"),
        ("@elsewhere.test:a@example.net", "250 2.1.5"),
        ("@one.test,@two.test:a@example.net", "250 2.1.5"),
    ] {
        client.say("MAIL FROM:<s@client.test>\r\n", "250");
        client.say(format!("RCPT TO:<{to}>\r\n"), codes);
        client.say("RSET\r\n", "250");
        // A message between, as so many errors without one end a session.
        if codes.starts_with('5') {
            id_of(&deliver(&mut client, &["postmaster"], "x\r\n"));
        }
    }
    client.quit();
    server.stop();
}

/// RFC 6531: a domain of another script needs SMTPUTF8, and goes to the mailbox of that name.
#[test]
fn internationalized_recipients_need_smtputf8() {
    let mut server = Server::serve(&with_recipients("['bücher.test']").replace("'mail'", "'mail/{domain}/{local}'"), 1);
    let mut client = ready(server.address());
    client.say("MAIL FROM:<s@client.test>\r\n", "250");
    client.say("RCPT TO:<jörg@bücher.test>\r\n", "553 5.6.7");
    client.say("RSET\r\n", "250");
    client.say("MAIL FROM:<s@client.test> SMTPUTF8\r\n", "250");
    client.say("RCPT TO:<jörg@bücher.test>\r\n", "250 2.1.5");
    client.say("RCPT TO:<jörg@andere.test>\r\n", "550 5.7.1");
    client.say("DATA\r\n", "354");
    let id = id_of(&client.say("Subject: ü\r\n\r\n.\r\n", "250"));
    client.quit();
    let directory = keep(&mut server);
    server.stop();
    let kept = maildir::new_mail(&below(&directory, "mail/bücher.test/jörg"));
    let told = super::Told { with: "UTF8SMTP", ..told(&["jörg@bücher.test"]) };
    assert_eq!(kept[&id].content(&told, "\r\n"), "Subject: ü\r\n\r\n".as_bytes());
}

/// Who is nobody's listener's client hears so, whatever it asks for; who is served may send to anyone.
#[test]
fn a_private_listener_serves_its_netblocks() {
    let text = "[server]\nhostname = 'mx.example.net'\ndata_dir = 'data'\n\
                [listener.out]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nproxy_protocol = true\n\
                relay_from = ['192.0.2.0/24', '2001:db8::/32']\nsink = 'store'\n[sink.store]\nkind = 'maildir'\npath = 'mail'\n";
    let mut server = Server::serve(text, 1);
    let mut ids = Vec::new();
    for (family, peer, shown) in [
        ("TCP4", "192.0.2.7", Some("[192.0.2.7]")),
        ("TCP4", "192.0.2.255", Some("[192.0.2.255]")),
        ("TCP6", "2001:db8::7", Some("[IPv6:2001:db8::7]")),
        ("TCP4", "127.0.0.1", Some("[127.0.0.1]")),
        ("TCP4", "192.0.3.7", None),
        ("TCP4", "198.51.100.1", None),
        ("TCP6", "2001:db9::7", None),
    ] {
        let mut client = Client::connect(server.address()).expect("the server is there");
        let own = if family == "TCP4" { "203.0.113.1" } else { "2001:db8::1" };
        client.send(format!("PROXY {family} {peer} {own} 5000 25\r\n")).expect("the server takes it");
        let Some(shown) = shown else {
            client.expect("554 5.7.1");
            client.send("QUIT\r\n").expect("the server takes it");
            continue;
        };
        client.expect("220");
        client.say("EHLO client.test\r\n", "250");
        ids.push((id_of(&deliver(&mut client, &["a@any.where.test"], "x\r\n")), shown));
        client.quit();
    }
    let directory = keep(&mut server);
    assert_eq!(server.stop().mail().0, ids.len() as u64);
    let kept = maildir::new_mail(&below(&directory, "mail"));
    assert_eq!(kept.len(), ids.len());
    for (id, peer) in ids {
        let told = super::Told { peer, ..told(&["a@any.where.test"]) };
        assert_eq!(kept[&id].content(&told, "\r\n"), b"x\r\n");
    }
}

/// Each recipient's mail goes where the first route that matches leads, and a message lies once in each place.
#[test]
fn routes_lead_to_their_sinks() {
    let text = "[server]\nhostname = 'mx.example.net'\ndata_dir = 'data'\n\
                [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = 'delivered'\nsink = 'others'\n\
                recipients = ['one.test', 'two.test', '.two.test']\n\
                [[listener.mx.route]]\nrecipients = ['vip@two.test']\nsink = 'one'\n\
                [[listener.mx.route]]\nrecipients = ['two.test', '.two.test']\nsink = 'two'\n\
                [sink.one]\nkind = 'maildir'\npath = 'one'\n[sink.two]\nkind = 'maildir'\npath = 'two'\n\
                [sink.others]\nkind = 'maildir'\npath = 'others'\n";
    let mut server = Server::serve(text, 1);
    let mut client = ready(server.address());
    let all = ["a@one.test", "vip@two.test", "b@two.test", "c@x.two.test", "postmaster"];
    let id = id_of(&deliver(&mut client, &all, "x\r\n"));
    client.quit();
    let directory = keep(&mut server);
    let stats = server.stop();
    for (sink, to) in [
        ("others", &["a@one.test", "postmaster"][..]),
        ("one", &["vip@two.test"]),
        ("two", &["b@two.test", "c@x.two.test"]),
    ] {
        let kept = maildir::new_mail(&below(&directory, sink));
        assert_eq!(kept.len(), 1, "{sink}");
        // The others are none of anyone's business, and the transaction had more than one.
        let told = super::Told { only: None, ..told(to) };
        assert_eq!(kept[&id].content(&told, "\r\n"), b"x\r\n");
        assert_eq!(stats.of_sink(sink, "delivered"), to.len() as u64);
    }
}
