//! The limit of connections: the one above it is told so, and accepting goes on (CONFORMANCE T042). And shards that have as
//! many as their neighbours, wherever the kernel puts them.

use super::client::Client;
use super::patience::eventually;
use super::server::Server;

#[test]
fn one_above_the_limit_is_told_421() {
    let server = Server::sink(&["--connections", "5", "--shards", "1"]);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::ready(server.address())).collect();
    for _ in 0..100 {
        let mut sixth = Client::connect(server.address()).unwrap();
        sixth.expect("421 4.3.2");
        sixth.expect_end();
    }
    for client in &mut clients {
        client.deliver("one of five\r\n");
    }
    clients.pop().unwrap().quit();
    let mut next = eventually("there is room again", || {
        let mut client = Client::connect(server.address()).unwrap();
        let greeting = client.reply().unwrap();
        assert!(greeting.is("220") || greeting.is("421 4.3.2"), "{greeting:?}");
        greeting.is("220").then_some(client)
    });
    next.say("EHLO client.test\r\n", "250");
    next.deliver("the next\r\n");
    let stats = server.stop();
    assert_eq!(stats.mail().0, 6);
    assert!(stats.total("connections_over_limit") >= 100);
}

#[test]
fn every_shard_has_its_part_of_few_connections() {
    let server = Server::sink(&["--shards", "4"]);
    let mut clients: Vec<Client> = (0..16).map(|_| Client::ready(server.address())).collect();
    for client in &mut clients {
        client.deliver("one of sixteen\r\n");
    }
    clients.into_iter().for_each(Client::quit);
    let stats = server.stop();
    assert_eq!(stats.of_shards("messages"), [4; 4]);
    assert_eq!(stats.total("connections_accepted"), 16);
    assert_eq!(stats.total("connections_closed"), 16);
    assert_eq!(stats.total("connections_handed_over"), stats.total("connections_taken_over"));
}

/// A connection that is handed over still owes its PROXY header.
#[test]
fn a_proxy_header_is_awaited_wherever_its_connection_is_served() {
    let server = Server::sink(&["--shards", "4", "--proxy-protocol"]);
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(server.address()).unwrap()).collect();
    for client in &mut clients {
        client.say("PROXY TCP4 192.0.2.7 192.0.2.1 1234 25\r\n", "220");
        client.say("EHLO client.test\r\n", "250");
        client.deliver("by a proxy\r\n");
    }
    clients.into_iter().for_each(Client::quit);
    let stats = server.stop();
    assert_eq!(stats.mail().0, 12);
}
