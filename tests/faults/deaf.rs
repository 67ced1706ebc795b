//! Many clients that never read (RELIABILITY F18); `tests/process/deaf.rs` has what one of them gets and misses.

use std::net::Ipv4Addr;

use super::crowd::{Slow, socket_from, source};
use super::machine::raise_descriptors;
use crate::process::client::Client;
use crate::process::server::Server;

const CLIENTS: u32 = 300;

/// A client with a tiny receive buffer, so that replies back up soon.
fn deaf(number: u32, address: std::net::SocketAddr) -> Slow {
    let socket = socket_from(source(number));
    socket.set_recv_buffer_size(1024).expect("a socket has the option");
    socket.connect(&address.into()).expect("the server is there");
    socket.set_nonblocking(true).expect("a socket can be so");
    Slow { socket, heard: Vec::new(), is_over: false }
}

/// They cost what is stated and no more, are timed out one and all, and others are served while they last.
#[test]
fn deaf_clients_cost_a_bounded_amount_and_are_given_up() {
    raise_descriptors(CLIENTS.into()).unwrap_or_else(|missing| panic!("{missing:?}"));
    let text = "[server]\nshards = 1\n[listener.a]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nidle_timeout_s = 4\n";
    let server = Server::serve(text, 1);
    let address = server.address();
    warm_up(&server);
    let before = server.resident_kib();

    let mut clients: Vec<Slow> = (0..CLIENTS).map(|number| deaf(number, address)).collect();
    let commands = b"EHLO a\r\nHELP\r\nVRFY a\r\nFOO\r\nNOOP\r\n".repeat(2000);
    let mut others = 0;
    let stats = loop {
        for client in &mut clients {
            client.say(&commands);
        }
        let mut other = Client::ready(address);
        other.deliver("served\r\n");
        other.quit();
        others += 1;
        let stats = server.stats_now();
        if stats.total("timeouts") >= u64::from(CLIENTS) {
            break stats;
        }
    };
    assert_eq!(stats.total("timeouts"), u64::from(CLIENTS), "each was given up once");
    let peak = peak_kib(&server) - before;
    // Replies under way and replies that wait; input that was received before the receive could be stopped.
    let bound =
        u64::from(CLIENTS) * (2 * ringmx::limits::OUTPUT_OCTETS as u64 + u64::from(ringmx::limits::RECEIVE_OCTETS));
    let share = peak as f64 * 1024.0 / bound as f64;
    eprintln!("{CLIENTS} deaf clients took {share:.2} of their bound, {} KiB each", peak / u64::from(CLIENTS));
    assert!(share <= 1.0, "{peak} KiB for {CLIENTS} deaf clients are {share:.2} of what is stated");
    let stats = server.await_stats("all are gone", |stats| stats.total("connections_open") == 0);
    assert_eq!(stats.mail().0, others + 1);
    assert_eq!((stats.total("stale_completions"), stats.total("pressure_level")), (0, 0));
    drop(clients);
    server.stop();
}

/// Makes every buffer that is used in turn resident, so that it is not taken for growth.
fn warm_up(server: &Server) {
    let mut client = super::crowd::connect_from(Ipv4Addr::LOCALHOST, server.address());
    client.expect("220");
    client.say("EHLO warm.test\r\n", "250");
    client.deliver([b"x".repeat(1022).as_slice(), b"\r\n"].concat().repeat(64 * 1024));
    client.quit();
}

/// The most memory that was resident at any time, in KiB.
fn peak_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has had memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
