//! Where it listens: IPv4, IPv6, a Unix socket; and what it says first.

use std::os::unix::fs::PermissionsExt;

use super::client::Client;
use super::directory::Directory;
use super::server::Server;

#[test]
fn the_greeting_says_that_nothing_is_kept() {
    let server = Server::sink(&[]);
    let mut client = Client::connect(server.address()).unwrap();
    let greeting = client.expect("220");
    assert_eq!(greeting.text.matches("\r\n").count(), 1);
    assert!(greeting.text.contains("nothing is kept"), "{greeting:?}");
    let host = greeting.text.split(' ').nth(1).unwrap();
    let hello = client.say("EHLO client.test\r\n", "250").text;
    assert!(hello.starts_with(&format!("250-{host}\r\n")), "{hello:?}");
    for keyword in ["PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SIZE 1073741824"] {
        assert!(hello.lines().any(|line| line[4..] == *keyword), "{keyword} in {hello:?}");
    }
    client.deliver("x\r\n");
    client.begin_data();
    let accepted = client.say(".\r\n", "250 2.0.0");
    assert!(accepted.text.contains("nothing is kept"), "{accepted:?}");
    client.quit();
    server.stop();
}

#[test]
fn a_unix_socket_with_its_mode() {
    let directory = Directory::new();
    let path = directory.path().join("mail.sock");
    let text = format!(
        "[listener.local]\nkind = \"blackhole\"\nbind = [{path:?}, \"127.0.0.1:0\"]\n\n\
         [listener.local.socket]\nfile_mode = \"0640\"\n"
    );
    let server = Server::serve_in(directory, &text, 2);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    for number in 0..10 {
        let mut client = Client::connect_unix(&path).unwrap();
        client.expect("220");
        client.say("EHLO client.test\r\n", "250");
        client.deliver(format!("{number}\r\n"));
        client.quit();
    }
    assert_eq!(server.stop().mail(), (10, 10));
    assert!(!path.exists(), "the file is removed at the end");
}

#[test]
fn a_unix_socket_that_a_killed_process_left_is_replaced() {
    let directory = Directory::new();
    let path = directory.path().join("mail.sock");
    let address = path.to_str().unwrap();
    let killed = Server::sink_at(address, &[]);
    killed.signal(rustix::process::Signal::KILL);
    let server = Server::sink_at(address, &[]);
    let second = super::server::Finished::of(["sink", address]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    assert!(second.errors.contains("in use"), "{second:?}");
    let mut client = Client::connect_unix(&path).unwrap();
    client.expect("220");
    client.quit();
    server.stop();
    drop(killed);
}

#[test]
fn ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this host has no [::1]");
        return;
    }
    let server = Server::sink_at("[::1]:0", &[]);
    assert!(server.address().is_ipv6());
    Client::ready(server.address()).deliver("six\r\n");
    assert_eq!(server.stop().mail(), (1, 1));
}

/// `:PORT` is every IPv4 address.
#[test]
fn every_ipv4_address() {
    let server = Server::sink_at(":0", &[]);
    let port = server.address().port();
    for host in [[127, 0, 0, 1], [127, 1, 2, 3]] {
        Client::ready((host, port).into()).deliver("four\r\n");
    }
    assert_eq!(server.stop().mail().0, 2);
}

#[test]
fn several_addresses_of_one_sink() {
    let mut command = std::process::Command::new(super::server::PROGRAM);
    command.args(["sink", "127.0.0.1:0", "127.0.0.1:0"]);
    let server = Server::start(command, Directory::new(), 2);
    for address in server.addresses() {
        Client::ready(address).deliver("either\r\n");
    }
    assert_eq!(server.stop().mail().0, 2);
}
