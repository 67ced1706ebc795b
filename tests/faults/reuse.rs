//! Slots that are used again and again while octets of their last owner are still under way (RELIABILITY F27).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::crowd::{connect_from, source};
use super::small_shard::{Small, SmallShard};
use crate::process::server::Server;

/// What a client says, and what it must hear: no two kinds of reply are alike, so the order of the replies names the client.
const WORDS: [(&str, &str); 4] = [
    ("NOOP\r\n", "250 2.0.0"),
    ("VRFY somebody\r\n", "252 2.0.0"),
    ("HELP\r\n", "214 2.0.0"),
    ("WHAT\r\n", "500 5.5.1"),
];

/// Words of one client: 4¹⁰ orders.
const WORDS_EACH: u32 = 10;

/// Tries that a thread has for each session: about six are needed. Were those who are turned away counted as if they were
/// served, none would be enough.
const TRIES: u64 = 200;

/// How a session came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Served,
    TurnedAway,
    Reset,
}

/// Numbers far apart for neighbours, so that their words differ from the first.
fn scattered(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B9) ^ number.wrapping_mul(0x85EB_CA6B).rotate_left(15)
}

fn words_of(number: u32) -> impl Iterator<Item = (&'static str, &'static str)> {
    let order = scattered(number);
    (0..WORDS_EACH).map(move |word| WORDS[(order >> (2 * word)) as usize % WORDS.len()])
}

/// Says all its words in one piece. Two of three hear them out; the third resets with its replies under way.
fn session(address: SocketAddr, number: u32) -> io::Result<Outcome> {
    let mut client = connect_from(source(number), address);
    let greeting = client.reply()?;
    if greeting.is("421 4.3.2") {
        return Ok(Outcome::TurnedAway);
    }
    assert!(greeting.is("220"), "client {number}: {greeting:?}");
    let said: String = words_of(number).map(|(said, _)| said).collect();
    client.send(&said)?;
    let resets = number % 3 == 2;
    // Somewhere in the middle of its replies, elsewhere each time.
    let heard = if resets { scattered(number) >> 28 } else { WORDS_EACH };
    for (said, codes) in words_of(number).take(heard as usize) {
        let reply = client.reply()?;
        assert!(reply.is(codes), "client {number} said {said:?} and heard {reply:?}: is it another's?");
    }
    if resets {
        client.socket().set_linger(Some(Duration::ZERO))?;
        return Ok(Outcome::Reset);
    }
    client.send("QUIT\r\n")?;
    let last = client.reply()?;
    assert!(last.is("221 2.0.0"), "client {number}: {last:?}");
    let rest = client.rest();
    assert!(rest.is_empty(), "client {number} heard more than it asked for: {rest:?}");
    Ok(Outcome::Served)
}

/// Sessions in turn, from so many threads, each tried until it is let in; gives how many came out how: served, turned away,
/// reset.
fn churn(address: SocketAddr, threads: u32, sessions_each: u32) -> [u64; 3] {
    let work = move |thread: u32| {
        let mut outcomes = [0; 3];
        for number in thread * sessions_each..(thread + 1) * sessions_each {
            loop {
                let outcome = session(address, number).expect("no session breaks off");
                outcomes[outcome as usize] += 1;
                if outcome != Outcome::TurnedAway {
                    break;
                }
                assert!(outcomes[outcome as usize] <= TRIES * u64::from(sessions_each), "nobody is let in any more");
            }
        }
        outcomes
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().fold([0; 3], |sum, thread| {
            let outcomes = thread.join().expect("each client hears its own replies");
            std::array::from_fn(|outcome| sum[outcome] + outcomes[outcome])
        })
    })
}

/// A table of four, and twelve clients at once for it: its few slots change hands thousands of times.
#[test]
fn each_client_hears_its_own_replies_and_no_other() {
    const SESSIONS: u64 = 1200;
    let server = Server::sink(&["--shards", "1", "--connections", "4"]);
    let [served, turned_away, reset] = churn(server.address(), 12, SESSIONS as u32 / 12);
    let stats = server.await_stats("all are gone", |stats| stats.total("connections_open") == 0);
    assert_eq!(served + reset, SESSIONS);
    let connections = SESSIONS + turned_away;
    assert_eq!((stats.total("connections_accepted"), stats.total("connections_closed")), (connections, connections));
    assert_eq!((stats.replies("Greeting"), stats.replies("Bye")), (SESSIONS, served));
    assert_eq!(stats.total("connections_over_limit"), turned_away);
    assert_eq!(stats.total("stale_completions"), 0);
    eprintln!("{SESSIONS} sessions were let in, {turned_away} tries were turned away");
    server.stop();
}

/// The same where completions overflow and buffers run out, so that everything is late, and out of step.
#[test]
fn a_ring_that_lacks_everything_mixes_nothing_up() {
    let shard =
        SmallShard::start(Small { connections: 4096, submissions: 4, completions: 8, buffer_octets: 4096, buffers: 2 });
    let [served, turned_away, reset] = churn(shard.address, 12, 200);
    assert_eq!((served + reset, turned_away), (2400, 0));
    assert!(shard.counters.completion_overflows.get() > 0, "the queue was large enough after all");
    let counters = shard.stop();
    assert_eq!(counters.stale_completions.get(), 0);
    assert_eq!((counters.connections_accepted.get(), counters.connections_closed.get()), (2400, 2400));
    assert_eq!(counters.connections_open.get(), 0);
}
