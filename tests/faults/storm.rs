//! Connections that come and go as fast as they can be made (RELIABILITY F20).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::crowd::{socket_from, source};
use super::machine::is_long;
use crate::process::client::Client;
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Threads that make connections.
const MAKERS: u32 = 4;

/// Messages that must come through.
const DELIVERED: u64 = 20;

/// No connection and no descriptor is left behind; sessions that were there are served all the while.
#[test]
fn a_storm_of_connections_leaves_nothing_behind_and_starves_nobody() {
    let storm: u64 = if is_long() { 200_000 } else { 20_000 };
    let server = Server::sink(&[]);
    let address = server.address();
    let mut active = Client::ready(address);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count();
    let before = descriptors();

    // It lasts for so many connections, and until the session has got so much done in it.
    let (made, delivered) = (AtomicU64::new(0), AtomicU64::new(0));
    let goes_on = || made.load(Ordering::Relaxed) < storm || delivered.load(Ordering::Relaxed) < DELIVERED;
    std::thread::scope(|scope| {
        for maker in 0..MAKERS {
            let (made, goes_on) = (&made, &goes_on);
            scope.spawn(move || {
                for number in (0..).take_while(|_| goes_on()) {
                    let socket = socket_from(source(maker * 1000 + number % 1000));
                    socket.connect(&address.into()).expect("the server is there");
                    // A third by a reset, before or after they were accepted.
                    if number % 3 == 0 {
                        socket.set_linger(Some(Duration::ZERO)).expect("TCP has the option");
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while goes_on() {
            active.deliver("in the storm\r\n");
            delivered.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (made, delivered) = (made.into_inner(), delivered.into_inner());
    eprintln!("{delivered} messages came through a storm of {made} connections");
    let stats = server.await_stats("the storm is over", |stats| {
        stats.total("connections_open") == 1 && stats.total("connections_accepted") == made + 1
    });
    assert_eq!(stats.total("connections_closed"), made);
    assert_eq!(stats.mail(), (delivered, delivered));
    for none in ["stale_completions", "accept_failures", "connections_over_limit"] {
        assert_eq!(stats.total(none), 0, "{none}");
    }
    eventually("no descriptor is left", || (descriptors() <= before).then_some(()));
    active.quit();
    server.stop();
}
