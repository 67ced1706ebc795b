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

/// RELIABILITY "Open-relay defaults": on a private listener, who is known sends mail to anyone, and nobody else to anybody.
#[test]
fn strangers_of_a_private_listener_hear_554() {
    let text = "[listener.a]\nkind = \"private\"\nbind = \"127.0.0.1:0\"\nproxy_protocol = true\nrelay_from = \"10.0.0.0/8\"\n\
                durability = \"delivered\"\nsink = \"none\"\n[sink.none]\nkind = \"blackhole\"\n";
    let server = Server::serve(text, 1);
    let from = |peer: &str| {
        let mut client = Client::connect(server.address()).unwrap();
        client.send(format!("PROXY TCP{peer} 2525 25\r\n")).unwrap();
        client
    };
    for known in ["4 10.1.2.3 192.0.2.1", "4 127.0.0.1 192.0.2.1", "6 ::ffff:10.0.0.1 ::1"] {
        let mut client = from(known);
        client.expect("220");
        client.say("EHLO c.test\r\n", "250");
        client.say("MAIL FROM:<s@x.test>\r\n", "250");
        client.say("RCPT TO:<u%third.test@other.test>\r\n", "250");
        client.quit();
    }
    for stranger in ["4 11.0.0.1 10.0.0.1", "6 2001:db8::1 ::1"] {
        let mut client = from(stranger);
        client.expect("554 5.7.1");
        client.say("EHLO c.test\r\n", "503 5.5.1");
        client.say("MAIL FROM:<s@x.test>\r\n", "503 5.5.1");
        client.quit();
    }
    // XCLIENT is not offered, and changes nothing.
    let mut client = from("4 11.0.0.1 10.0.0.1");
    client.expect("554 5.7.1");
    client.say("XCLIENT ADDR=10.0.0.1\r\n", "503 5.5.1");
    client.say("MAIL FROM:<s@x.test>\r\n", "503 5.5.1");
    client.quit();
    server.stop();
}
