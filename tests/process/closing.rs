//! The last reply is never lost to a reset, whatever the client still sends (CONFORMANCE "Closing", T022, T023, T027 to T033).

use super::client::Client;
use super::server::Server;

/// What a client sends behind the line that ends its session.
fn a_megabyte_behind(line: &[u8]) -> Vec<u8> {
    [line, &b"MAIL FROM:<s@client.test>\r\n".repeat((1 << 20) / 27)].concat()
}

/// Sends the line with a megabyte behind it in one go, and reads only then.
#[track_caller]
fn the_reply_is_read_whole(line: &[u8], codes: &str) {
    let server = Server::sink(&[]);
    for round in 0..20 {
        let mut client = Client::ready(server.address());
        // The server need not take all of it.
        let _ = client.send(a_megabyte_behind(line));
        let reply = client.reply().unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(reply.is(codes), "round {round}: {reply:?}");
        client.expect_end();
    }
    let stats = server.stop();
    assert_eq!(stats.replies("MailOk"), 0, "what stands behind the end was run");
}

#[test]
fn quit() {
    the_reply_is_read_whole(b"QUIT\r\n", "221 2.0.0");
}

#[test]
fn http() {
    the_reply_is_read_whole(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n", "554 5.5.0");
}

#[test]
fn a_line_that_is_too_long() {
    the_reply_is_read_whole(&[b'x'; 100_000], "500 5.5.2");
}

#[test]
fn a_tls_hello_on_the_plain_port() {
    let server = Server::sink(&[]);
    let mut client = Client::greeted(server.address());
    let _ = client.send([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0x5a; 1 << 20]].concat());
    client.expect("554 5.5.0");
    client.expect_end();
    server.stop();
}

/// A script of faults that ends sessions with 421 at MAIL.
#[test]
fn a_refusal_that_closes() {
    let server = Server::sink(&["--reject", "mail 100% 421"]);
    let mut client = Client::ready(server.address());
    let _ = client.send(b"MAIL FROM:<s@client.test>\r\n".repeat((1 << 20) / 27));
    client.expect("421 4.3.2");
    client.expect_end();
    assert_eq!(server.stop().replies("Scripted421"), 1);
}

#[test]
fn quit_then_the_server_closes_first() {
    let server = Server::sink(&[]);
    let mut client = Client::ready(server.address());
    client.say("QUIT\r\n", "221 2.0.0");
    // Although this side stays open.
    client.expect_end();
    server.stop();
}

#[test]
fn half_close_after_the_end_of_mail_data() {
    for arguments in [&[][..], &["--delay", "50ms"]] {
        let server = Server::sink(arguments);
        let mut client = Client::in_mail_data(server.address());
        client.send("Subject: last words\r\n\r\nbye\r\n.\r\n").unwrap();
        client.half_close();
        client.expect("250 2.0.0");
        client.expect_end();
        assert_eq!(server.stop().mail(), (1, 1));
    }
}

#[test]
fn half_close_after_everything_in_one_write() {
    let server = Server::sink(&[]);
    let mut client = Client::connect(server.address()).unwrap();
    client.send("EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n.\r\nRSET\r\nNOOP").unwrap();
    client.half_close();
    for codes in ["220", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "250 2.0.0"] {
        client.expect(codes);
    }
    // A line without its end is no command.
    client.expect_end();
    assert_eq!(server.stop().mail(), (1, 1));
}
