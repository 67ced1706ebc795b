//! Clients that break off, or send what has no end: the server's memory stays flat, and it serves the others.

use std::time::{Duration, Instant};

use super::client::Client;
use super::server::Server;

/// CONFORMANCE T024: nothing of a message that was cut is kept.
#[test]
fn an_end_in_mail_data_voids_the_message() {
    let server = Server::sink(&[]);
    for content in ["", "text", "text\r\n", "text\r\n.", "text\r\n.\r", "text\n.\n"] {
        let mut client = Client::in_mail_data(server.address());
        client.send(content).unwrap();
        client.half_close();
        client.expect_end();
    }
    let mut client = Client::ready(server.address());
    client.say("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n", "250");
    client.expect("250");
    client.send("BDAT 10 LAST\r\n9 octets.").unwrap();
    client.half_close();
    client.expect_end();
    let stats = server.stop();
    assert_eq!((stats.mail().0, stats.total("connections_lost_in_transaction")), (0, 7));
}

/// CONFORMANCE T033.
#[test]
fn a_line_without_an_end_is_refused_in_flat_memory() {
    let server = Server::sink(&["--shards", "1"]);
    let mut warm = Client::ready(server.address());
    warm.deliver([b"x".repeat(1022).as_slice(), b"\r\n"].concat().repeat(64 * 1024));
    let before = server.resident_kib();
    for _ in 0..10 {
        let mut client = Client::greeted(server.address());
        // The server need not read all of it; it must have said why.
        let _ = client.send(vec![b'x'; 10 << 20]);
        let reply = client.reply().expect("the reply is not lost");
        assert!(reply.is("500 5.5.2") || reply.is("521 5.5.2"), "{reply:?}");
        client.expect_end();
    }
    let after = server.resident_kib();
    assert!(after < before + 8 * 1024, "{before} KiB grew to {after} KiB");
    warm.quit();
    server.stop();
}

/// CONFORMANCE T040; RELIABILITY F15: also in the middle of a command, and in mail data.
#[test]
fn a_silent_client_is_told_421() {
    let idle = "[listener.sink]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nidle_timeout_s = 1\n";
    let server = Server::serve(idle, 1);
    for said in ["", "NOOP\r\n", "MAIL FR", "HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nSubject: half\r\n"]
    {
        let since = Instant::now();
        let mut client = Client::connect(server.address()).unwrap();
        // One write: what a slow test would say later, it would say too late.
        client.send(said).unwrap();
        let heard = String::from_utf8(client.rest()).unwrap();
        assert!(since.elapsed() >= Duration::from_secs(1), "{said:?}: {:?}", since.elapsed());
        let last = heard.lines().last().unwrap_or_default();
        assert!(heard.starts_with("220 ") && last.starts_with("421 4.4.2 "), "{said:?}: {heard:?}");
    }
    let stats = server.stop();
    assert_eq!((stats.total("timeouts"), stats.mail().0), (4, 0));
}
