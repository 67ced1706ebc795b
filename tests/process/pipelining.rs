//! Many commands in one write: every reply comes, in order.

use super::client::Client;
use super::server::Server;

#[test]
fn five_thousand_noops_in_one_write() {
    let server = Server::sink(&[]);
    let mut client = Client::ready(server.address());
    client.send(b"NOOP\r\n".repeat(5000)).unwrap();
    for number in 0..5000 {
        let reply = client.reply().unwrap();
        assert!(reply.is("250 2.0.0"), "{number}: {reply:?}");
    }
    client.quit();
    assert_eq!(server.stop().replies("Ok"), 5000);
}

/// Which reply answers which command can be seen: the codes go round.
#[test]
fn replies_come_in_the_order_of_their_commands() {
    let server = Server::sink(&[]);
    let mut client = Client::ready(server.address());
    client.send(b"NOOP\r\nVRFY a\r\nFOO\r\nHELP\r\nRCPT TO:<a@b.test>\r\nEHLO\r\n".repeat(1000)).unwrap();
    for number in 0..1000 {
        for codes in ["250 2.0.0", "252 2.0.0", "500 5.5.1", "214 2.0.0", "503 5.5.1", "501 5.5.4"] {
            let reply = client.reply().unwrap();
            assert!(reply.is(codes), "{number}: {codes} was expected, not {reply:?}");
        }
    }
    client.quit();
    server.stop();
}

#[test]
fn transactions_in_one_write() {
    let server = Server::sink(&[]);
    let mut client = Client::ready(server.address());
    let data = b"MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nRCPT TO:<t@b.test>\r\nDATA\r\nfirst\r\n..\r\n.\r\n";
    let chunks = b"MAIL FROM:<>\r\nRCPT TO:<r@b.test>\r\nBDAT 5\r\n12345BDAT 3 LAST\r\n\r\n.";
    client.send([&data[..], chunks].concat().repeat(200)).unwrap();
    for _ in 0..200 {
        for codes in ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354", "250 2.0.0"] {
            client.expect(codes);
        }
        for codes in ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0"] {
            client.expect(codes);
        }
    }
    client.quit();
    let stats = server.stop();
    assert_eq!((stats.mail(), stats.total("message_octets")), ((400, 600), 200 * (10 + 8)));
}
