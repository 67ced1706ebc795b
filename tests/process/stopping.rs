//! SIGTERM: what was answered 250 is counted, mail data comes to its end, the rest hears 421 4.3.2 (RELIABILITY F33).

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::Client;
use super::load::Load;
use super::server::Server;

#[test]
fn under_load_every_250_is_counted() {
    for round in 0..3 {
        let server = Server::sink(&[]);
        let load = Load::start(server.address(), 8);
        load.go_on_for(200 * (round + 1));
        let stats = server.stop();
        let ledger = load.finish();
        assert_eq!((ledger.unanswered, ledger.refused), (0, 0), "mail data came to its end: {ledger:?}");
        assert_eq!(stats.mail(), (ledger.acknowledged, ledger.acknowledged));
        assert_eq!(stats.total("message_octets"), ledger.octets);
        assert_eq!(stats.total("connections_open"), 0);
        assert_eq!(stats.total("stale_completions"), 0);
    }
}

/// The patience of a stop is for mail data; where none is under way it is not waited out.
#[test]
fn with_nothing_under_way_it_stops_soon() {
    for arguments in [&[][..], &["--shards", "1"], &["--shards", "3"]] {
        let server = Server::sink(arguments);
        Client::ready(server.address()).quit();
        let since = Instant::now();
        server.stop();
        let half_its_patience = Duration::from_millis(ringmx::limits::DRAIN_MS / 2);
        assert!(since.elapsed() < half_its_patience, "{arguments:?}: it took {:?}", since.elapsed());
    }
}

#[test]
fn idle_sessions_hear_421() {
    let server = Server::sink(&[]);
    let mut clients = vec![Client::greeted(server.address()), Client::ready(server.address())];
    let mut done = Client::ready(server.address());
    done.deliver("one\r\n");
    clients.push(done);
    server.signal(Signal::TERM);
    for mut client in clients {
        client.expect("421 4.3.2");
        client.expect_end();
    }
    assert_eq!(server.finish().mail(), (1, 1));
}

#[test]
fn mail_data_may_come_to_its_end() {
    let server = Server::sink(&[]);
    let mut idle = Client::ready(server.address());
    let mut receiving = Client::in_mail_data(server.address());
    receiving.send("Subject: half\r\n").unwrap();
    let mut chunks = Client::ready(server.address());
    chunks.say("MAIL FROM:<>\r\n", "250");
    chunks.say("RCPT TO:<r@server.test>\r\n", "250");
    chunks.say("BDAT 5\r\nfirst", "250");
    server.signal(Signal::TERM);
    idle.expect("421 4.3.2");
    receiving.say("\r\nand half\r\n.\r\n", "250 2.0.0");
    receiving.expect("421 4.3.2");
    receiving.expect_end();
    chunks.say("BDAT 4 LAST\r\nlast", "250 2.0.0");
    chunks.expect("421 4.3.2");
    chunks.expect_end();
    assert_eq!(server.finish().mail(), (2, 2));
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Server::sink(&[]);
    let mut idle = Client::ready(server.address());
    let mut receiving = Client::in_mail_data(server.address());
    server.signal(Signal::INT);
    idle.expect("421 4.3.2");
    assert!(server.is_running(), "it waits for the mail data");
    server.signal(Signal::INT);
    assert!(receiving.rest().is_empty());
    let stats = server.finish();
    assert_eq!((stats.mail().0, stats.total("connections_lost_in_transaction")), (0, 1));
}

#[test]
fn new_connections_are_refused_while_it_stops() {
    let server = Server::sink(&[]);
    let mut idle = Client::ready(server.address());
    let mut receiving = Client::in_mail_data(server.address());
    server.signal(Signal::TERM);
    idle.expect("421 4.3.2");
    super::patience::eventually("connections are refused", || match Client::connect(server.address()) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Some(()),
        // As below, between the handshake and the moment that this end heard of it.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
        // It came while the doors were being closed: it is told so, perhaps behind the greeting of a shard that had not heard
        // of it yet, or reset by the closing of the socket.
        Ok(mut client) => {
            let said = String::from_utf8(client.rest()).expect("replies are ASCII");
            let last = said.lines().last();
            assert!(last.is_none_or(|last| last.starts_with("421 4.3.2 ")), "{said:?}");
            None
        }
    });
    receiving.say(".\r\n", "250");
    server.finish();
}
