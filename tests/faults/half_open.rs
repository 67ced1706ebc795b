//! Peers that vanish without a word (RELIABILITY F16): no FIN, no RST, no acknowledgement. Their slots are freed.

use super::crowd::socket_from;
use super::machine::{Missing, needed};
use super::network::{Network, Side};
use crate::process::client::Client;
use crate::process::server::Server;

/// What clients were doing when they vanished, and how it was noticed.
const GONE: u64 = 3;

/// An idle client, one in mail data, and one that left its replies unread.
fn clients(network: &Network, server: &Server) -> Vec<Client> {
    let address = server.address();
    let idle = network.on(Side::Clients, || Client::ready(address));
    let receiving = network.on(Side::Clients, || {
        let mut client = Client::in_mail_data(address);
        client.send("Subject: half\r\n").unwrap();
        client
    });
    let deaf = network.on(Side::Clients, || Client::ready(address));
    deaf.socket().set_nonblocking(true).unwrap();
    vec![idle, receiving, deaf]
}

/// Commands that the last client sends as the cable is cut: replies to some of them are never acknowledged.
fn press(client: &mut Client) {
    // What does not fit is of no interest.
    let _ = client.send(b"HELP\r\n".repeat(50_000));
}

#[track_caller]
fn expect_freed(network: &Network, server: Server) {
    let stats = server.await_stats("the slots are free", |stats| stats.total("connections_open") == 0);
    assert_eq!(stats.total("connections_closed"), GONE);
    // Beside the server itself nothing is cut off.
    let mut other = network.on(Side::Servers, || Client::ready(server.address()));
    other.deliver("served\r\n");
    other.quit();
    let stats = server.stop();
    assert_eq!(stats.mail(), (1, 1));
    assert_eq!((stats.total("stale_completions"), stats.total("connections_open")), (0, 0));
}

fn network() -> Result<Network, Missing> {
    let network = Network::new()?;
    // Whether it could be cut is found out before anything depends on it.
    network.rule(Side::Clients, "tcp dport 1 drop")?;
    Ok(network)
}

/// The idle timeout ends each of them, whatever it was doing.
#[test]
fn peers_that_vanish_are_given_up_when_they_have_been_silent_too_long() {
    let Some(network) = needed("peers_that_vanish_are_given_up", network()) else { return };
    let server = network.serve("[listener.a]\nkind = \"blackhole\"\nbind = \"ADDRESS:0\"\nidle_timeout_s = 2\n", 1);
    let mut clients = clients(&network, &server);
    press(&mut clients[2]);
    network.cut().expect("it could be cut before");
    let stats = server.await_stats("they are timed out", |stats| stats.total("timeouts") == GONE);
    assert_eq!(stats.total("connections_reset"), 0);
    expect_freed(&network, server);
}

/// Where the idle timeout is long, TCP asks the silent, and does not wait for ever for those who owe it an answer.
#[test]
fn peers_that_vanish_are_given_up_by_tcp_where_the_idle_timeout_is_long() {
    let Some(network) = needed("peers_that_vanish_are_given_up_by_tcp", network()) else { return };
    let text = "[listener.a]\nkind = \"blackhole\"\nbind = \"ADDRESS:0\"\nidle_timeout_s = 86400\n\
                socket = { keepalive_s = 1, user_timeout_ms = 2000 }\n";
    let server = network.serve(text, 1);
    let mut clients = clients(&network, &server);
    press(&mut clients[2]);
    network.cut().expect("it could be cut before");
    let stats = server.await_stats("TCP gives them up", |stats| stats.total("connections_reset") == GONE);
    assert_eq!((stats.total("timeouts"), stats.total("connections_lost_in_transaction")), (0, 1));
    expect_freed(&network, server);
}

/// A peer that is there answers TCP's questions, however long it says nothing.
#[test]
fn a_silent_peer_that_is_there_is_left_alone() {
    let text = "[listener.a]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\n\
                socket = { keepalive_s = 1, user_timeout_ms = 1000 }\n";
    let server = Server::serve(text, 1);
    let mut silent = Client::ready(server.address());
    // At least as long as a peer that is gone would have.
    std::thread::sleep(std::time::Duration::from_secs(4));
    silent.deliver("still here\r\n");
    silent.quit();
    assert_eq!(server.stop().total("connections_reset"), 0);
}

/// A client that comes back with the address and port of one that vanished is a new one to the server.
#[test]
fn a_client_that_comes_back_on_the_same_port_is_served() {
    let server = Server::sink(&[]);
    let source = std::net::Ipv4Addr::new(127, 255, 0, 16);
    let mut ports = Vec::new();
    for _ in 0..50 {
        let socket = socket_from(source);
        if let Some(port) = ports.first() {
            // The one before is gone by a reset, so that the port is free.
            drop(socket);
            let again = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            again.set_reuse_address(true).unwrap();
            again.bind(&std::net::SocketAddr::new(source.into(), *port).into()).unwrap();
            again.connect(&server.address().into()).unwrap();
            deliver_and_vanish(Client::over(again).unwrap());
            continue;
        }
        socket.connect(&server.address().into()).unwrap();
        ports.push(socket.local_addr().unwrap().as_socket().unwrap().port());
        deliver_and_vanish(Client::over(socket).unwrap());
    }
    let stats = server.await_stats("all are gone", |stats| stats.total("connections_open") == 0);
    assert_eq!((stats.mail().0, stats.total("connections_accepted")), (50, 50));
    assert_eq!((stats.total("connections_closed"), stats.total("stale_completions")), (50, 0));
    server.stop();
}

fn deliver_and_vanish(mut client: Client) {
    client.expect("220");
    client.say("EHLO again.test\r\n", "250");
    client.deliver("from the same port\r\n");
    client.socket().set_linger(Some(std::time::Duration::ZERO)).unwrap();
}
