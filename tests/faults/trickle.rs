//! Clients that say an octet now and then (RELIABILITY F15), from many addresses: each line, each transaction and each PROXY
//! header has a time in which it must be there whole, and others are served meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::crowd::Slow;
use super::machine::raise_descriptors;
use crate::process::client::Client;
use crate::process::server::Server;

/// Clients of each kind.
const CLIENTS: u32 = 100;

/// The idle timeout: no client is ever silent for as long as this.
const IDLE: Duration = Duration::from_secs(2);

const CONFIGURATION: &str = r#"
    [server]
    shards = 1
    [listener.lines]
    kind = "blackhole"
    bind = "127.0.0.1:0"
    idle_timeout_s = 2
    [listener.data]
    kind = "blackhole"
    bind = "127.0.0.1:0"
    idle_timeout_s = 2
    transaction_timeout_s = 3
    [listener.proxied]
    kind = "blackhole"
    bind = "127.0.0.1:0"
    idle_timeout_s = 300
    proxy_protocol = true
    proxy_timeout_s = 2
    [listener.other]
    kind = "blackhole"
    bind = "127.0.0.1:0"
"#;

/// One client, and the longest time that it was silent.
struct Trickling {
    client: Slow,
    /// Said again and again.
    endless: &'static [u8],
    said: usize,
    last: Instant,
    silence: Duration,
}

impl Trickling {
    fn begin(number: u32, address: SocketAddr, begin: &[u8], endless: &'static [u8]) -> Self {
        let mut client = Slow::connect(number, address);
        assert_eq!(client.say(begin), begin.len());
        Self { client, endless, said: 0, last: Instant::now(), silence: Duration::ZERO }
    }

    fn go_on(&mut self) {
        self.client.hear();
        self.silence = self.silence.max(self.last.elapsed());
        if !self.client.is_over {
            self.said += self.client.say(&[self.endless[self.said % self.endless.len()]]);
            self.last = Instant::now();
        }
    }
}

/// Goes on with all of them until the server has ended each.
fn trickle(clients: &mut [Trickling]) {
    while !clients.iter().all(|client| client.client.is_over) {
        clients.iter_mut().filter(|client| !client.client.is_over).for_each(Trickling::go_on);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Another client delivers for as long as the work lasts; gives how often.
fn deliver_during(address: SocketAddr, work: impl FnOnce() + Send) -> u64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            work();
            over.store(true, Ordering::Relaxed);
        });
        let mut delivered = 0;
        while !over.load(Ordering::Relaxed) {
            let mut client = Client::ready(address);
            client.deliver("in between\r\n");
            client.quit();
            delivered += 1;
        }
        delivered
    })
}

/// All clients begin in one way, and go on octet by octet; each must end with this line, or without any.
#[track_caller]
fn each_is_ended(listener: &str, begin: &[u8], endless: &'static [u8], wanted: &str) {
    raise_descriptors(CLIENTS.into()).unwrap_or_else(|missing| panic!("{missing:?}"));
    let server = Server::serve(CONFIGURATION, 4);
    let address = server.address_of(listener);
    let (mut rounds, mut delivered) = (0, 0);
    loop {
        rounds += 1;
        let mut clients: Vec<Trickling> =
            (0..CLIENTS).map(|number| Trickling::begin(number, address, begin, endless)).collect();
        delivered += deliver_during(server.address_of("other"), || trickle(&mut clients));
        for client in &clients {
            let last = client.client.last_line();
            assert!(last.starts_with(wanted) && last.is_empty() == wanted.is_empty(), "{last:?}");
        }
        // On a machine that is so busy that each was silent for too long this shows nothing yet.
        if clients.iter().any(|client| client.said > 1 && client.silence < IDLE) {
            break;
        }
        assert!(rounds < 10, "this machine is too busy for any client to say an octet in {IDLE:?}");
    }
    assert!(delivered > 0, "nobody was served beside them");
    let stats = server.await_stats("all are gone", |stats| stats.total("connections_open") == 0);
    assert_eq!(stats.total("timeouts"), u64::from(rounds * CLIENTS));
    assert_eq!(stats.mail(), (delivered, delivered));
    assert_eq!(stats.total("stale_completions"), 0);
    server.stop();
}

#[test]
fn a_command_line_that_trickles_in_has_a_deadline() {
    each_is_ended("lines", b"", b"x", "421 4.4.2 ");
}

/// Whole commands keep a session alive; one that has no end does not.
#[test]
fn a_command_line_behind_others_has_a_deadline() {
    each_is_ended("lines", b"EHLO slow.test\r\nNOOP\r\nMAIL FROM:<", b"x", "421 4.4.2 ");
}

#[test]
fn mail_data_that_trickles_in_has_the_time_of_a_transaction() {
    let begin = b"EHLO slow.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n";
    each_is_ended("data", begin, b"a line\r\n", "421 4.4.2 ");
}

#[test]
fn a_chunk_that_trickles_in_has_the_time_of_a_transaction() {
    let begin = b"EHLO slow.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nBDAT 1000000 LAST\r\n";
    each_is_ended("data", begin, b"x", "421 4.4.2 ");
}

/// Who has not said who he is gets no word.
#[test]
fn a_proxy_header_that_trickles_in_has_a_deadline() {
    each_is_ended("proxied", b"PROXY TCP4 ", b"1.", "");
}
