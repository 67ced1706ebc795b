//! Connections that are reset (RELIABILITY F17): within mail data, and between its end and the reply. No message counts as
//! acknowledged that was not, resets are counted, the slot is free, others are unharmed.

use std::time::Duration;

use crate::process::client::Client;
use crate::process::server::Server;

/// Closes with a reset instead of a FIN.
fn reset(client: Client) {
    client.socket().set_linger(Some(Duration::ZERO)).expect("TCP has the option");
}

/// Nothing of it is left, and nobody was told that it was taken.
#[test]
fn a_reset_in_mail_data_voids_the_message() {
    let server = Server::sink(&[]);
    let mut other = Client::in_mail_data(server.address());
    other.send("Subject: goes on\r\n").unwrap();
    let contents = ["", "x", "x\r\n", "x\r\n.", "x\r\n.\r"];
    for (content, number) in contents.into_iter().cycle().zip(1..=20) {
        let mut client = Client::in_mail_data(server.address());
        client.send(content).unwrap();
        reset(client);
        server.await_stats("the reset is seen", |stats| {
            stats.total("connections_lost_in_transaction") == number && stats.total("connections_open") == 1
        });
    }
    // The chunk has come whole; the message has not.
    let mut client = Client::ready(server.address());
    client.say("MAIL FROM:<>\r\n", "250");
    client.say("RCPT TO:<a@b.test>\r\n", "250");
    client.say("BDAT 3\r\nabc", "250");
    reset(client);
    let stats = server.await_stats("the reset is seen", |stats| stats.total("connections_open") == 1);
    assert_eq!(stats.total("connections_lost_in_transaction"), 21);
    assert_eq!(stats.total("connections_reset"), 21);
    assert_eq!((stats.mail(), stats.replies("Discarded")), ((0, 0), 0));
    other.say("\r\nto its end\r\n.\r\n", "250 2.0.0");
    other.quit();
    assert_eq!(server.stop().mail(), (1, 1));
}

/// Its sender will not hear of the message: it is not counted as one that was acknowledged.
#[test]
fn a_reset_between_the_end_of_mail_data_and_the_reply_acknowledges_nothing() {
    const RESET: u64 = 10;
    // No reply comes before the reset, however slow this test is.
    let server = Server::sink(&["--shards", "1", "--delay", "10m"]);
    let other = Client::ready(server.address());
    for number in 1..=RESET {
        let mut client = Client::in_mail_data(server.address());
        client.send("Subject: taken\r\n\r\nfrom me\r\n.\r\n").unwrap();
        server.await_stats("its answer is out", |stats| stats.total("answers_awaited") == number);
        reset(client);
        server.await_stats("the slot is free", |stats| stats.total("connections_open") == 1);
    }
    other.quit();
    let stats = server.stop();
    assert_eq!(stats.total("connections_reset"), RESET);
    // Nothing is acknowledged to anybody, and nothing counts as if it were.
    assert_eq!((stats.mail().0, stats.replies("Discarded")), (0, 0));
    // The transaction had ended; none was cut.
    assert_eq!(stats.total("connections_lost_in_transaction"), 0);
    assert_eq!((stats.total("stale_completions"), stats.total("connections_open")), (0, 0));
}

/// Resets at any moment of pipelined transactions, many at once: what was acknowledged to those who heard it out was
/// taken, and each connection is accounted for.
#[test]
fn resets_in_the_middle_of_everything_harm_nobody_else() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 60;
    let server = Server::sink(&[]);
    let address = server.address();
    let transaction = "MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nSubject: reset\r\n\r\nx\r\n.\r\n";
    let acknowledged: u64 = std::thread::scope(|scope| {
        let resetting: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut heard = 0;
                    for round in 0..ROUNDS {
                        let mut client = Client::ready(address);
                        client.send(transaction.repeat(10)).unwrap();
                        for reply in 0..(thread * ROUNDS + round) % 40 {
                            client.expect(["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"][reply % 4]);
                            heard += u64::from(reply % 4 == 3);
                        }
                        reset(client);
                    }
                    heard
                })
            })
            .collect();
        let mut other = Client::ready(address);
        for _ in 0..100 {
            other.deliver("unharmed\r\n");
        }
        other.quit();
        resetting.into_iter().map(|thread| thread.join().expect("each reply comes in its place")).sum()
    });
    let stats = server.await_stats("all are gone", |stats| stats.total("connections_open") == 0);
    let connections = (THREADS * ROUNDS) as u64 + 1;
    assert_eq!(stats.total("connections_accepted"), connections);
    assert_eq!(stats.total("connections_closed"), connections);
    let (messages, _) = stats.mail();
    let offered = (THREADS * ROUNDS * 10) as u64 + 100;
    assert!((acknowledged + 100..=offered).contains(&messages), "{acknowledged} heard of, {messages} taken");
    assert_eq!(stats.replies("Discarded"), messages);
    assert_eq!(stats.total("stale_completions"), 0);
    server.stop();
}
