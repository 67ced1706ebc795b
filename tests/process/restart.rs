//! Who may have an address: a process that was just killed must not keep the next one out, a living one must.

use super::client::Client;
use super::patience::eventually;
use super::server::{Finished, Server, private_address};
use rustix::process::Signal;

/// Connections that are made at once as soon as the server says that it is ready.
const CONNECTIONS: usize = 32;

/// RELIABILITY F8 for a process without a spool; DESIGN decision 21.
#[test]
fn a_killed_server_is_followed_at_once_and_no_connection_is_lost() {
    let rounds = if std::env::var_os("RINGMX_LONG").is_some_and(|long| long == "1") { 100 } else { 20 };
    let address = private_address();
    let mut server = Server::sink_at(&address, &[]);
    for round in 0..rounds {
        // It dies with sessions in every state.
        let mut idle = Client::greeted(server.address());
        let receiving = Client::in_mail_data(server.address());
        let killed = server;
        killed.signal(Signal::KILL);
        server = Server::sink_at(&address, &[]);
        let mut clients: Vec<Client> = (0..CONNECTIONS)
            .map(|number| {
                Client::connect(server.address()).unwrap_or_else(|error| panic!("{round}, {number}: {error}"))
            })
            .collect();
        for client in &mut clients {
            client.expect("220");
        }
        for mut client in clients {
            client.say("HELO client.test\r\n", "250");
            client.deliver("Subject: restart\r\n\r\nhello\r\n");
            client.quit();
        }
        assert!(idle.rest().is_empty());
        drop((receiving, killed));
    }
    assert_eq!(server.stop().mail(), (CONNECTIONS as u64, CONNECTIONS as u64));
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_address() {
    let first = Server::sink(&[]);
    let second = Finished::of(["sink", &first.address().to_string()]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    assert!(second.errors.contains(&format!("(pid {})", first.pid())), "{second:?}");
    assert!(second.errors.contains(&first.address().to_string()), "{second:?}");
    assert!(!second.output.contains("is ready"), "{second:?}");
    // The first has not noticed.
    for _ in 0..CONNECTIONS {
        Client::ready(first.address()).deliver("still here\r\n");
    }
    assert_eq!(first.stop().mail().0, CONNECTIONS as u64);
}

/// The address of every interface includes that of one.
#[test]
fn a_second_process_on_every_interface_is_refused_too() {
    let first = Server::sink(&[]);
    let second = Finished::of(["sink", &format!(":{}", first.address().port())]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    assert!(second.errors.contains(&format!("(pid {})", first.pid())), "{second:?}");
    first.stop();
}

#[test]
fn a_takeover_shares_the_address_until_the_first_has_gone() {
    let first = Server::sink(&[]);
    let second = Server::sink_at(&first.address().to_string(), &["--takeover"]);
    let mut delivered = 0;
    eventually("both get connections", || {
        Client::ready(second.address()).deliver("for either\r\n");
        delivered += 1;
        (first.stats_now().mail().0 > 0 && second.stats_now().mail().0 > 0).then_some(())
    });
    let of_first = first.stop().mail().0;
    for _ in 0..CONNECTIONS {
        Client::ready(second.address()).deliver("for the second\r\n");
    }
    assert_eq!(second.stop().mail().0 + of_first, delivered + CONNECTIONS as u64);
}
