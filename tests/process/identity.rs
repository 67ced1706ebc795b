//! Who a client is: behind a proxy, and by XCLIENT.

use rustix::process::Signal;

use super::client::Client;
use super::server::Server;

/// The line of the session's list that names this peer.
fn is_listed(server: &Server, peer: &str) {
    server.signal(Signal::USR1);
    server.output.await_text(peer, 1);
}

/// CONFORMANCE T201, T207.
#[test]
fn a_sink_behind_a_proxy_knows_the_clients_address() {
    let server = Server::sink(&["--shards", "1", "--proxy-protocol"]);
    let mut client = Client::connect(server.address()).unwrap();
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\nEHLO c.test\r\n").unwrap();
    client.expect("220");
    client.expect("250");
    is_listed(&server, "192.0.2.7:5000");
    client.deliver("through a proxy\r\n");
    client.quit();

    let mut direct = Client::connect(server.address()).unwrap();
    direct.send(b"EHLO c.test\r\n").unwrap();
    direct.expect_end();
    let stats = server.stop();
    assert_eq!((stats.mail(), stats.total("proxy_headers_refused")), ((1, 1), 1));
}

/// CONFORMANCE T211, T212.
#[test]
fn a_trusted_peer_speaks_for_others() {
    let text =
        |trusted| format!("[listener.a]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nxclient = [\"{trusted}\"]\n");
    let server = Server::serve(&text("127.0.0.0/8"), 1);
    let mut client = Client::ready(server.address());
    client.say("XCLIENT ADDR=192.0.2.9 PORT=77 NAME=c.example\r\n", "220");
    client.say("MAIL FROM:<>\r\n", "503 5.5.1");
    client.say("EHLO c.test\r\n", "250");
    is_listed(&server, "192.0.2.9:77");
    client.say("XCLIENT ADDR=nobody\r\n", "501 5.5.4");
    client.quit();
    server.stop();

    let server = Server::serve(&text("192.0.2.0/24"), 1);
    let mut client = Client::ready(server.address());
    client.say("XCLIENT ADDR=192.0.2.9\r\n", "550 5.7.0");
    client.quit();
    server.stop();
}
