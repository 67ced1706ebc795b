//! Clients that never read their replies (RELIABILITY F18, CONFORMANCE T164): the server stops reading them, holds a bounded
//! amount for each, and serves the others.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::client::Client;
use super::server::Server;

/// What a client offers in all, if it can.
const OFFERED_OCTETS: usize = 100 << 20;

/// How long a client that gets rid of nothing more keeps trying. Longer only makes it a harder test.
const PRESSING: Duration = Duration::from_secs(2);

/// Growth of the resident memory that is still flat, in KiB.
const FLAT_KIB: u64 = 40 * 1024;

const CLIENTS: usize = 8;

/// A connection with a tiny receive buffer, so that replies back up soon.
fn deaf_client(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Makes every buffer that is used in turn resident, so that it is not taken for growth.
fn warm_up(server: &Server) {
    let line = [b"x".repeat(1022).as_slice(), b"\r\n"].concat();
    let mut client = Client::ready(server.address());
    client.deliver(line.repeat(64 * 1024));
    client.quit();
}

/// Offers the commands again and again on all connections; returns how much each got rid of.
fn press(clients: &mut [Socket], commands: &[u8]) -> Vec<usize> {
    let mut sent = vec![0; clients.len()];
    let mut last_progress = Instant::now();
    while last_progress.elapsed() < PRESSING && sent.iter().any(|sent| *sent < OFFERED_OCTETS) {
        let mut progressed = false;
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            if *sent >= OFFERED_OCTETS {
                continue;
            }
            match client.write(&commands[*sent % commands.len()..]) {
                Ok(octets) => {
                    *sent += octets;
                    progressed = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("the server ended a session before its time: {error}"),
            }
        }
        if progressed {
            last_progress = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    sent
}

/// Presses the server, and looks at it from outside; `messages` are in the commands.
#[track_caller]
fn others_are_served_and_memory_stays_flat(commands: &[u8], messages: bool) {
    let server = Server::sink(&["--shards", "1"]);
    warm_up(&server);
    let before = server.resident_kib();
    let mut clients: Vec<Socket> = (0..CLIENTS).map(|_| deaf_client(server.address())).collect();
    let sent = press(&mut clients, commands);
    let after = server.resident_kib();
    assert!(after < before + FLAT_KIB, "{before} KiB grew to {after} KiB after {sent:?} octets");
    // The kernel's buffers take some megabytes; a server that went on reading would have taken all.
    assert!(sent.iter().all(|sent| *sent < OFFERED_OCTETS), "it reads on although nobody reads its replies: {sent:?}");
    for _ in 0..20 {
        let mut other = Client::ready(server.address());
        other.deliver("served\r\n");
        other.quit();
    }
    drop(clients);
    let stats = server.await_stats("their connections are given up", |stats| stats.total("connections_open") == 0);
    // With the message of the warm-up.
    assert!(stats.mail().0 == 21 || messages && stats.mail().0 > 21, "{:?}", stats.mail());
    server.stop();
}

#[test]
fn pipelined_noops() {
    others_are_served_and_memory_stays_flat(&b"NOOP\r\n".repeat(5000), false);
}

#[test]
fn pipelined_commands_that_make_long_replies() {
    others_are_served_and_memory_stays_flat(&b"EHLO a\r\nHELP\r\nVRFY a\r\nFOO\r\n\r\n".repeat(1000), false);
}

/// Every 354 and 250 is a reply too, so mail data backs up as commands do.
#[test]
fn pipelined_transactions() {
    let transaction = b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n\r\n.\r\n";
    others_are_served_and_memory_stays_flat(&[b"EHLO a\r\n".as_slice(), &transaction.repeat(2000)].concat(), true);
}

/// A client that reads after all gets every reply, in order.
#[test]
fn a_client_that_reads_late_misses_nothing() {
    let server = Server::sink(&["--shards", "1"]);
    let socket = deaf_client(server.address());
    let commands = b"NOOP\r\n".repeat(5000);
    let mut clients = [socket];
    let sent = press(&mut clients, &commands)[0];
    let [socket] = clients;
    socket.set_nonblocking(false).unwrap();
    // Through a tiny window the rest would take minutes.
    socket.set_recv_buffer_size(1 << 20).unwrap();
    let mut client = Client::over(socket).unwrap();
    client.expect("220");
    for number in 0..sent / b"NOOP\r\n".len() {
        let reply = client.reply().unwrap_or_else(|error| panic!("reply {number}: {error}"));
        assert!(reply.is("250 2.0.0"), "reply {number}: {reply:?}");
    }
    assert_eq!(server.await_stats("it is in step", |_| true).total("connections_open"), 1);
    server.stop();
}

/// What cannot be sent is not waited for when a stop is asked for twice.
#[test]
fn a_deaf_client_does_not_hold_up_a_second_signal() {
    let server = Server::sink(&[]);
    let mut clients = [deaf_client(server.address())];
    press(&mut clients, &b"HELP\r\n".repeat(5000));
    let mut idle = Client::ready(server.address());
    server.signal(rustix::process::Signal::TERM);
    idle.expect("421 4.3.2");
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.finish().total("connections_open"), 0);
}
