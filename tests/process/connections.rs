//! The limit of connections: the one above it is told so, and accepting goes on (CONFORMANCE T042).

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
