//! A ring that is too small for its load: completions overflow (RELIABILITY F25), buffers run out (F26). Nothing is lost.

use std::net::SocketAddr;

use super::small_shard::{Small, SmallShard};
use crate::process::client::Client;

const CLIENTS: usize = 40;

/// What one client delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Delivered {
    messages: u64,
    octets: u64,
}

/// All clients at once deliver so many messages each, all in one write, and read a reply for each command.
fn deliver_from_all(address: SocketAddr, messages: usize, content: &[u8]) -> Delivered {
    let work = |number: usize| {
        let mut client = Client::ready(address);
        let mut writer = client.socket().try_clone().expect("a descriptor is left");
        let transaction = [
            format!("MAIL FROM:<{number}@client.test>\r\nRCPT TO:<r@server.test>\r\nDATA\r\n").as_bytes(),
            content,
            b".\r\n",
        ]
        .concat();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                use std::io::Write;
                for _ in 0..messages {
                    writer.write_all(&transaction).expect("the server takes it");
                }
                writer.write_all(b"VRFY end\r\n").expect("the server takes it");
            });
            for message in 0..messages {
                for codes in ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"] {
                    let reply = client.reply().unwrap_or_else(|error| panic!("client {number}, {message}: {error}"));
                    assert!(reply.is(codes), "client {number}, message {message}: {codes} was wanted: {reply:?}");
                }
            }
            client.expect("252");
        });
        client.quit();
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || work(number))).collect();
        clients.into_iter().for_each(|client| client.join().expect("a client is served"));
    });
    let messages = (CLIENTS * messages) as u64;
    Delivered { messages, octets: messages * content.len() as u64 }
}

/// What must be so whatever the ring's size.
#[track_caller]
fn expect_nothing_lost(shard: SmallShard, delivered: Delivered) {
    let counters = shard.stop();
    let counted = Delivered { messages: counters.messages.get(), octets: counters.message_octets.get() };
    assert_eq!(counted, delivered);
    assert_eq!(counters.recipients.get(), delivered.messages);
    assert_eq!(counters.connections_accepted.get(), CLIENTS as u64);
    assert_eq!(counters.connections_closed.get(), CLIENTS as u64);
    assert_eq!(counters.connections_open.get(), 0);
    for (what, counter) in [
        ("connections_reset", &counters.connections_reset),
        ("connections_lost_in_transaction", &counters.connections_lost_in_transaction),
        ("stale_completions", &counters.stale_completions),
        ("messages_void", &counters.messages_void),
        ("timeouts", &counters.timeouts),
    ] {
        assert_eq!(counter.get(), 0, "{what}");
    }
}

/// F25: a completion queue of eight for forty clients. The kernel keeps what does not fit, and none of it is forgotten.
#[test]
fn completions_that_overflow_their_queue_lose_no_message() {
    let shard = SmallShard::start(Small {
        connections: 256,
        submissions: 4,
        completions: 8,
        buffer_octets: 64 * 1024,
        buffers: 256,
    });
    let delivered = deliver_from_all(shard.address, 50, b"Subject: overflow\r\n\r\ntext\r\n");
    assert!(shard.counters.completion_overflows.get() > 0, "the queue was large enough after all");
    assert!(shard.counters.submission_full.get() > 0, "the submission queue was large enough after all");
    expect_nothing_lost(shard, delivered);
}

/// F26: two buffers of 4 KiB for forty clients. A receive without a buffer is started again; no octet is lost, and no
/// connection closed for it.
#[test]
fn receives_without_a_buffer_lose_no_octet() {
    let shard = SmallShard::start(Small {
        connections: 256,
        submissions: 1024,
        completions: 4096,
        buffer_octets: 4096,
        buffers: 2,
    });
    let content = b"a line of content that is not cut anywhere in particular\r\n".repeat(2000);
    let delivered = deliver_from_all(shard.address, 3, &content);
    assert!(shard.counters.buffers_exhausted.get() > 0, "there were buffers enough after all");
    expect_nothing_lost(shard, delivered);
}

/// Both at once, with one buffer.
#[test]
fn a_ring_that_lacks_everything_still_serves() {
    let shard =
        SmallShard::start(Small { connections: 256, submissions: 2, completions: 4, buffer_octets: 4096, buffers: 1 });
    let content = b"a line of content\r\n".repeat(1000);
    let delivered = deliver_from_all(shard.address, 3, &content);
    assert!(shard.counters.buffers_exhausted.get() > 0 && shard.counters.completion_overflows.get() > 0);
    expect_nothing_lost(shard, delivered);
}
