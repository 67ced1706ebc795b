//! Networks that lose, crawl, or cut everything small (RELIABILITY F36): the same results, only slower.

use std::net::SocketAddr;

use super::machine::{Missing, needed};
use super::network::Network;
use crate::process::client::Client;
use crate::process::server::Server;
use crate::process::stats::Stats;

const SESSIONS: usize = 8;

/// Rules whose replies are compared.
const RULES: [&str; 11] = [
    "Greeting",
    "Ehlo",
    "MailOk",
    "RcptOk",
    "StartMail",
    "Discarded",
    "Ok",
    "CannotVerify",
    "Help",
    "UnknownCommand",
    "Bye",
];

/// All that the clients heard, and what the server counted.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    replies: Vec<Vec<String>>,
    counts: Vec<(String, u64)>,
}

impl Outcome {
    /// With what the server counted, and no fault of its own.
    #[track_caller]
    fn of(replies: Vec<Vec<String>>, stats: &Stats) -> Self {
        let counters = ["messages", "recipients", "message_octets", "octets_received", "octets_sent"];
        let faults = ["connections_reset", "connections_lost_in_transaction", "messages_void", "timeouts"];
        for fault in faults.into_iter().chain(["stale_completions", "connections_open"]) {
            assert_eq!(stats.total(fault), 0, "{fault}");
        }
        let counts = counters.map(|name| (name.to_owned(), stats.total(name)));
        let replies_given = RULES.map(|rule| (rule.to_owned(), stats.replies(rule)));
        Self { replies, counts: counts.into_iter().chain(replies_given).collect() }
    }
}

/// One session: a message whose commands go one by one, one in one piece, one in chunks, and commands that further none.
/// How the octets come depends on the network alone.
fn dialogue(mut client: Client, number: usize) -> Vec<String> {
    let text = format!("Subject: {number}\r\n\r\n..a dot, and a line of text\r\n").repeat(40 * (number + 1));
    let mut said = vec![("", 1), ("EHLO links.test\r\n", 1), ("MAIL FROM:<s@links.test>\r\n", 1)];
    said.extend([("RCPT TO:<r@server.test>\r\n", 1), ("DATA\r\n", 1)]);
    let content = format!("{text}.\r\n");
    said.push((&content, 1));
    let in_one = format!("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n{text}.\r\nVRFY x\r\n");
    said.push((&in_one, 6));
    let (head, tail) = text.split_at(text.len() / 2);
    let chunks = format!(
        "MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nBDAT {}\r\n{head}BDAT {} LAST\r\n{tail}HELP\r\nWHAT\r\nRSET\r\n",
        head.len(),
        tail.len()
    );
    said.extend([(&*chunks, 7), ("QUIT\r\n", 1)]);
    let mut heard = Vec::new();
    for (octets, replies) in said {
        client.send(octets).expect("the server takes it");
        heard.extend((0..replies).map(|_| client.reply().expect("a reply comes").text));
    }
    client.expect_end();
    heard
}

/// The sessions, all at once.
fn dialogues(connect: impl Fn() -> Client + Sync) -> Vec<Vec<String>> {
    std::thread::scope(|scope| {
        let connect = &connect;
        let sessions: Vec<_> = (0..SESSIONS).map(|number| scope.spawn(move || dialogue(connect(), number))).collect();
        sessions.into_iter().map(|session| session.join().expect("a session comes to its end")).collect()
    })
}

fn on_loopback() -> Outcome {
    let server = Server::sink(&[]);
    let address: SocketAddr = server.address();
    let replies = dialogues(|| Client::connect(address).expect("the server is there"));
    Outcome::of(replies, &server.stop())
}

/// Does to a network what is done, and compares with a network that nothing is done to. What was done must be seen in a
/// count of packets.
#[track_caller]
fn same_as_on_loopback(
    test: &str,
    disturb: impl FnOnce(&Network) -> Result<(), Missing>,
    seen: impl FnOnce(&Network) -> u64,
) {
    let disturbed = Network::new().and_then(|network| disturb(&network).map(|()| network));
    let Some(network) = needed(test, disturbed) else { return };
    let server = network.sink(&[]);
    let address = server.address();
    let replies = dialogues(|| network.connect(address));
    let outcome = Outcome::of(replies, &server.stop());
    assert!(seen(&network) > 0, "nothing was done to any packet");
    let wanted = on_loopback();
    assert!(wanted.counts.iter().all(|(_, count)| *count > 0), "{:?}", wanted.counts);
    assert_eq!(outcome, wanted);
}

#[test]
fn one_packet_in_twenty_is_lost() {
    same_as_on_loopback("one_packet_in_twenty_is_lost", |network| network.lose(5), Network::lost);
}

/// 1 Mbit/s with a shallow queue, which loses what does not fit.
#[test]
fn the_line_crawls() {
    same_as_on_loopback("the_line_crawls", |network| network.slow_down(1_000_000), Network::held_back);
}

/// Every packet is cut, and none is put together on its way.
#[test]
fn packets_are_small() {
    same_as_on_loopback("packets_are_small", Network::shrink_packets, Network::small_packets);
}

#[test]
fn all_of_it_at_once() {
    let disturb = |network: &Network| {
        network.shrink_packets()?;
        network.slow_down(2_000_000)?;
        network.lose(2)
    };
    same_as_on_loopback("all_of_it_at_once", disturb, |network| {
        [network.lost(), network.held_back(), network.small_packets()].into_iter().min().unwrap_or_default()
    });
}
