//! SIGHUP: the whole new configuration or none of it, and no session is closed for it (RELIABILITY F30).

use std::io::ErrorKind;

use rustix::process::Signal;

use super::client::Client;
use super::patience::eventually;
use super::server::Server;

fn configuration(enable_first: bool) -> String {
    format!(
        "[listener.first]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nenable = {enable_first}\n\n\
         [listener.second]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\n"
    )
}

/// Writes the configuration and asks for it to be read.
#[track_caller]
fn reload(server: &Server, text: &str) {
    server.directory.write("ringmx.toml", text);
    server.signal(Signal::HUP);
}

#[test]
fn a_listener_that_is_switched_off_refuses_and_its_sessions_go_on() {
    let server = Server::serve(&configuration(true), 2);
    let (first, second) = (server.address_of("first"), server.address_of("second"));
    let mut old = Client::ready(first);
    let mut receiving = Client::in_mail_data(first);
    let mut other = Client::ready(second);

    reload(&server, &configuration(false));
    server.output.await_text("again", 1);
    eventually("the first listener refuses", || match Client::connect(first) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Some(()),
        // Before the shards have heard of it they serve; while the door closes they say so, or the socket's end resets, be it
        // within the handshake.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
        Ok(mut client) => {
            let Ok(greeting) = client.reply() else { return None };
            assert!(greeting.is("220") || greeting.is("421 4.3.2"), "{greeting:?}");
            None
        }
    });

    receiving.say(".\r\n", "250 2.0.0");
    receiving.quit();
    for client in [&mut old, &mut other] {
        client.deliver("a session goes on\r\n");
    }
    Client::ready(second).deliver("new ones too\r\n");

    reload(&server, &configuration(true));
    let again =
        server.output.await_some("the first listener is read again", 2, |line| line.contains("again").then_some(()));
    assert!(again.is_some());
    old.deliver("and through a second reload\r\n");
    old.quit();
    assert_eq!(server.stop().mail(), (5, 5));
}

#[test]
fn a_listener_on_a_fixed_address_can_be_switched_on_again() {
    let address = super::server::private_address();
    let text = |enable: bool| configuration(enable).replacen("127.0.0.1:0", &address, 1);
    let server = Server::serve(&text(true), 2);
    let first = server.address_of("first");
    for round in 1..=5 {
        reload(&server, &text(false));
        server.output.await_text("again", 2 * round - 1);
        eventually("it refuses", || Client::connect(first).is_err().then_some(()));
        reload(&server, &text(true));
        server.output.await_text("again", 2 * round);
        // From the moment that the reload is reported, the address is listened on.
        Client::ready(first).deliver("back\r\n");
    }
    assert_eq!(server.stop().mail().0, 5);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let server = Server::serve(&configuration(true), 2);
    let mut old = Client::ready(server.address_of("first"));
    let wrong = configuration(false).replace("enable = false", "enable = 7");
    reload(&server, &wrong);
    server.errors.await_text("ringmx.toml:4:10: listener.first.enable:", 1);
    server.errors.await_text("the old configuration stays in force", 1);
    reload(&server, "[listener\n");
    server.errors.await_text("ringmx.toml:1:", 1);
    server.errors.await_text("the old configuration stays in force", 2);
    std::fs::remove_file(server.directory.path().join("ringmx.toml")).unwrap();
    server.signal(Signal::HUP);
    server.errors.await_text("the old configuration stays in force", 3);
    old.deliver("still\r\n");
    for listener in ["first", "second"] {
        Client::ready(server.address_of(listener)).deliver("here\r\n");
    }
    assert_eq!(server.stop().mail().0, 3);
}

/// What a restart would be needed for is refused whole: an address that could be opened is not.
#[test]
fn what_needs_a_restart_is_refused_whole() {
    let server = Server::serve(&format!("[server]\nshards = 1\n{}", configuration(true)), 2);
    let changed = configuration(false);
    reload(&server, &format!("[server]\nshards = 2\n{changed}"));
    server.errors.await_text("server.shards", 1);
    server.errors.await_text("the old configuration stays in force", 1);
    for listener in ["first", "second"] {
        Client::ready(server.address_of(listener)).deliver("here\r\n");
    }
    assert_eq!(server.stop().mail().0, 2);
}

/// RELIABILITY F34.
#[test]
fn a_storm_of_reloads_loses_no_connection() {
    let server = Server::serve(&configuration(true), 2);
    let first = server.address_of("first");
    let mut old = Client::ready(first);
    for round in 0..200 {
        server.signal(Signal::HUP);
        if round % 10 == 0 {
            Client::ready(first).deliver("new\r\n");
            old.deliver("old\r\n");
        }
    }
    // Signals that came while one was being handled are one.
    server.output.await_text("again", 1);
    assert_eq!(server.stop().mail().0, 40);
}
