//! Connections that come and go as fast as they can be made (RELIABILITY F20).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::crowd::{socket_from, source};
use super::machine::is_long;
use crate::process::client::Client;
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Threads that make connections.
const MAKERS: u32 = 4;

/// No connection and no descriptor is left behind; sessions that were there are served all the while.
#[test]
fn a_storm_of_connections_leaves_nothing_behind_and_starves_nobody() {
    let storm: u32 = if is_long() { 200_000 } else { 20_000 };
    let server = Server::sink(&[]);
    let address = server.address();
    let mut active = Client::ready(address);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count();
    let before = descriptors();

    let (made, over) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut delivered = 0;
    std::thread::scope(|scope| {
        for maker in 0..MAKERS {
            let (made, over) = (&made, &over);
            scope.spawn(move || {
                for number in 0..storm / MAKERS {
                    let socket = socket_from(source(maker * 1000 + number % 1000));
                    socket.connect(&address.into()).expect("the server is there");
                    // A third by a reset, before or after they were accepted.
                    if number % 3 == 0 {
                        socket.set_linger(Some(Duration::ZERO)).expect("TCP has the option");
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
                over.fetch_add(1, Ordering::Relaxed);
            });
        }
        // It delivers for as long as the storm lasts.
        while over.load(Ordering::Relaxed) < MAKERS {
            active.deliver("in the storm\r\n");
            delivered += 1;
        }
    });
    assert_eq!(made.load(Ordering::Relaxed), storm);
    assert!(delivered >= 10, "only {delivered} messages came through the storm of {storm} connections");
    let stats = server.await_stats("the storm is over", |stats| {
        stats.total("connections_open") == 1 && stats.total("connections_accepted") == u64::from(storm) + 1
    });
    assert_eq!(stats.total("connections_closed"), u64::from(storm));
    assert_eq!(stats.mail(), (delivered, delivered));
    for none in ["stale_completions", "accept_failures", "connections_over_limit"] {
        assert_eq!(stats.total(none), 0, "{none}");
    }
    eventually("no descriptor is left", || (descriptors() <= before).then_some(()));
    active.quit();
    server.stop();
}
