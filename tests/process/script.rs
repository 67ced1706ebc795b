//! What a sink can be told to do: refuse, delay, stop by itself.

use std::time::{Duration, Instant};

use super::client::Client;
use super::server::Server;

#[test]
fn every_recipient_is_refused() {
    let server = Server::sink(&["--reject", "rcpt 100% 451"]);
    let mut client = Client::ready(server.address());
    client.say("MAIL FROM:<s@a.test>\r\n", "250");
    for _ in 0..10 {
        client.say("RCPT TO:<r@b.test>\r\n", "451 4.3.0");
    }
    client.say("DATA\r\n", "554 5.5.1");
    client.quit();
    let stats = server.stop();
    assert_eq!((stats.replies("Scripted451"), stats.mail()), (10, (0, 0)));
}

#[test]
fn every_point_can_refuse() {
    for (rule, codes) in [
        ("connect 100% 554", ["554 5.0.0", "503", "503", "503", "503"]),
        ("hello 100% 550", ["220", "550 5.1.1", "503", "503", "503"]),
        ("mail 100% 452", ["220", "250", "452 4.3.1", "503", "503"]),
        ("rcpt 100% 550", ["220", "250", "250", "550 5.1.1", "554"]),
        ("data 100% 450", ["220", "250", "250", "250", "450 4.2.0"]),
    ] {
        let server = Server::sink(&["--reject", rule]);
        let mut client = Client::connect(server.address()).unwrap();
        let commands = ["", "EHLO c.test\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<r@b.test>\r\n", "DATA\r\n"];
        for (command, codes) in commands.into_iter().zip(codes) {
            client.say(command, codes);
        }
        client.quit();
        server.stop();
    }
    let server = Server::sink(&["--reject", "connect 100% 521"]);
    let mut client = Client::connect(server.address()).unwrap();
    client.expect("521 5.3.2");
    client.expect_end();
    server.stop();
    let server = Server::sink(&["--reject", "end 100% 554"]);
    let mut client = Client::in_mail_data(server.address());
    client.say("refused\r\n.\r\n", "554 5.0.0");
    client.quit();
    assert_eq!(server.stop().mail(), (0, 0));
}

#[test]
fn a_share_is_refused() {
    let server = Server::sink(&["--reject", "mail 50% 451"]);
    let mut client = Client::ready(server.address());
    let mut refused = 0;
    for _ in 0..1000 {
        client.send("MAIL FROM:<>\r\nRSET\r\n").unwrap();
        refused += u64::from(client.reply().unwrap().is("451 4.3.0"));
        client.expect("250");
    }
    // Of a fair coin, one time in 10^23 it is not within these.
    assert!((340..660).contains(&refused), "{refused} of 1,000");
    assert_eq!(server.stop().replies("Scripted451"), refused);
}

#[test]
fn a_delayed_reply_does_not_come_before_its_time() {
    let server = Server::sink(&["--delay", "50ms"]);
    let mut client = Client::ready(server.address());
    for _ in 0..5 {
        client.begin_data();
        client.send("Subject: slow\r\n\r\n").unwrap();
        let sent = Instant::now();
        client.say(".\r\n", "250 2.0.0");
        assert!(sent.elapsed() >= Duration::from_millis(50), "{:?}", sent.elapsed());
    }
    client.quit();
    assert_eq!(server.stop().mail().0, 5);
}

/// RFC 2033 §4.2: the end of mail data has a reply for each recipient.
#[test]
fn an_lmtp_sink_answers_for_each_recipient() {
    let server = Server::sink(&["--lmtp"]);
    let mut client = Client::connect(server.address()).unwrap();
    let greeting = client.expect("220").text;
    assert!(greeting.contains(" LMTP ") && !greeting.contains("ESMTP"), "{greeting:?}");
    client.say("EHLO c.test\r\n", "500 5.5.1");
    let offered = client.say("LHLO c.test\r\n", "250").text;
    assert!(offered.contains("PIPELINING\r\n") && offered.contains("ENHANCEDSTATUSCODES\r\n"), "{offered:?}");
    client.say("MAIL FROM:<s@a.test>\r\n", "250");
    for _ in 0..2 {
        client.say("RCPT TO:<r@b.test>\r\n", "250");
    }
    client.say("DATA\r\n", "354");
    client.say("Subject: two\r\n\r\n.\r\n", "250 2.0.0");
    client.expect("250 2.0.0");
    client.quit();
    let shown = server.output.so_far();
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["protocol", "lmtp"])), "{shown}");
    assert!(!shown.contains("Send it a message"), "curl has no LMTP: {shown}");
    assert_eq!(server.stop().mail().0, 1);
}

#[test]
fn a_sink_behind_a_proxy_says_so() {
    let server = Server::sink(&["--proxy-protocol"]);
    let shown = server.output.so_far();
    assert!(
        shown
            .lines()
            .any(|line| line.trim_start().starts_with("PROXY header ") && line.ends_with(" required, within 5 s"))
    );
    assert!(!shown.contains("Send it a message"), "{shown}");
    server.stop();
}

/// Delays run side by side: replies to pipelined messages come in order, and no session waits for another's.
#[test]
fn delays_run_side_by_side() {
    let server = Server::sink(&["--delay", "50ms"]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::ready(server.address())).collect();
    for client in &mut clients {
        client.send("MAIL FROM:<>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n.\r\n".repeat(10)).unwrap();
    }
    for client in &mut clients {
        for _ in 0..10 {
            for codes in ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"] {
                client.expect(codes);
            }
        }
    }
    let stats = server.stop();
    assert_eq!(stats.mail().0, 200);
    assert_eq!(stats.total("answers_late"), 0);
}

#[test]
fn it_stops_after_so_many_messages() {
    let server = Server::sink(&["--count", "10"]);
    let mut client = Client::ready(server.address());
    for _ in 0..10 {
        client.deliver("counted\r\n");
    }
    client.expect("421 4.3.2");
    client.expect_end();
    assert_eq!(server.finish().mail(), (10, 10));
}

#[test]
fn it_stops_after_so_long() {
    let since = Instant::now();
    let mut server = Server::sink(&["--for", "1s"]);
    assert!(server.wait().success());
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert!(server.output.to_the_end().contains("0 messages"), "a table is shown at the end");
}
