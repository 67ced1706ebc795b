//! The production shard on a simulated network: no socket, no sleep.

use std::sync::{Arc, Mutex};

use crossbeam::utils::CachePadded;
use rustix::io::Errno;

use super::control::{Control, Door};
use super::{Shard, ShardOptions, Turn};
use crate::handoff::mailbox::{Sender, mailbox};
use crate::limits;
use crate::metrics::counters::Counters;
use crate::policy::decision::{AcceptAll, Asked, Decision, Policy, Ticket};
use crate::policy::scope::{Scope, Timeouts};
use crate::reactor::buffers::GroupShape;
use crate::reactor::io::{GroupId, ListenerId};
use crate::reactor::listening::Bind;
use crate::simulation::io::SimulatedIo;
use crate::simulation::world::{ClientId, Network};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point};
use crate::smtp::settings::tests::terms;
use crate::smtp::settings::{Settings, Synchronization, Terms};
use crate::tls::transport::{Cipher, CipherError, Transport};

const DOOR: ListenerId = ListenerId(0);

/// A shard with one door, and the network around it.
struct House {
    network: Network,
    shard: Shard<SimulatedIo>,
    control: Sender<Control<ListenerId>>,
    counters: Arc<CachePadded<Counters>>,
}

fn scope(policy: Arc<dyn Policy>) -> Scope {
    let terms = Terms {
        errors: None,
        junk_commands: None,
        synchronization: Synchronization::Tolerant,
        discards: true,
        ..terms()
    };
    let timeouts = Timeouts {
        idle_ms: limits::IDLE_MS,
        transaction_ms: Some(limits::TRANSACTION_MS),
        greet_pause_ms: 0,
        answer_ms: limits::ANSWER_MS,
    };
    Scope { listener: "test".into(), settings: Settings::new(terms), timeouts, policy }
}

fn bind() -> Bind {
    Bind::Tcp("127.0.0.1:25".parse().unwrap())
}

impl House {
    fn new() -> Self {
        Self::with(scope(Arc::new(AcceptAll)), 100, 16, 4096)
    }

    fn with(scope: Scope, connections: u32, buffers: u16, buffer_octets: u32) -> Self {
        let network = Network::new(&[GroupShape { buffer_octets, buffers }]);
        network.freeze();
        let (control, messages, _wake) = mailbox().unwrap();
        let counters = Arc::new(CachePadded::new(Counters::default()));
        let options = ShardOptions { number: 0, connections, control: messages, counters: Arc::clone(&counters) };
        let shard = Shard::new(SimulatedIo::new(network.clone(), 1), options);
        let mut house = Self { network, shard, control, counters };
        house.tell(Control::Swap(vec![Door { bind: bind(), scope: Arc::new(scope), socket: Some(DOOR) }]));
        house
    }

    fn tell(&mut self, message: Control<ListenerId>) {
        self.control.send(message).unwrap();
        self.network.wake();
        self.turns();
    }

    /// Turns until the shard would sleep. Says what the last one said.
    fn turns(&mut self) -> Turn {
        for _ in 0..100_000 {
            let turn = self.shard.turn().unwrap();
            if turn == Turn::Done || self.network.has_slept() {
                return turn;
            }
        }
        panic!("it never rests");
    }

    fn connect(&mut self) -> ClientId {
        let client = self.network.connect(DOOR);
        self.turns();
        client
    }

    /// Sends, and gives what comes back as text.
    fn say(&mut self, client: ClientId, text: &str) -> String {
        self.network.send(client, text.as_bytes());
        self.hear(client)
    }

    fn hear(&mut self, client: ClientId) -> String {
        self.turns();
        String::from_utf8(self.network.read(client)).unwrap()
    }

    /// The reply codes of what comes back.
    fn codes(&mut self, client: ClientId, text: &str) -> Vec<u16> {
        codes(&self.say(client, text))
    }

    fn greeted(&mut self) -> ClientId {
        let client = self.connect();
        assert_eq!(self.codes(client, "EHLO c.test\r\n"), [220, 250]);
        client
    }

    /// Lets time pass, looking at the timers on the way.
    fn pass_ms(&mut self, ms: u64) {
        for _ in 0..20 {
            self.network.pass_ms(ms / 20);
            self.turns();
        }
        self.turns();
    }

    /// All is given back when nobody is connected.
    fn is_clean(&mut self, buffers: usize) {
        self.turns();
        assert_eq!(self.network.open_sockets(), 0);
        assert_eq!(self.network.free_buffers(GroupId(0)), buffers);
        assert_eq!(self.counters.stale_completions.get(), 0);
        assert_eq!(self.shard.desk.pressure.octets(), 0);
        let counters = &self.counters;
        assert_eq!(counters.connections_accepted.get(), counters.connections_closed.get());
    }
}

fn codes(replies: &str) -> Vec<u16> {
    replies.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| line[..3].parse().unwrap()).collect()
}

const MESSAGE: &str = "MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nDATA\r\n";

#[test]
fn a_client_delivers_and_goes() {
    let mut house = House::new();
    let client = house.greeted();
    assert_eq!(house.codes(client, MESSAGE), [250, 250, 354]);
    assert_eq!(house.codes(client, "hello\r\n.\r\nQUIT\r\n"), [250, 221]);
    assert!(house.network.sees_end(client));
    house.network.end(client);
    house.is_clean(16);
    assert_eq!(house.counters.messages.get(), 1);
    assert_eq!(house.counters.message_octets.get(), 7);
    assert_eq!(house.shard.desk.histograms.end_to_reply.len(), 1);
    assert_eq!(house.shard.desk.histograms.mail_to_data.len(), 1);
    assert_eq!(house.shard.desk.histograms.accept_to_greeting.len(), 1);
}

#[test]
fn chunks_are_taken_pipelined_in_any_pieces() {
    let batch = format!("MAIL FROM:<>\r\nRCPT TO:<a@ok.test>\r\nBDAT 6000 LAST\r\n{}", "x".repeat(6000)).repeat(20);
    for most in [1_000_000, 4096, 1000, 7] {
        let mut house = House::new();
        house.network.set_receive_octets(most);
        let client = house.greeted();
        let mut replies = house.say(client, &batch);
        while codes(&replies).len() < 60 {
            replies += &house.hear(client);
        }
        assert_eq!(codes(&replies), [250; 60]);
        assert_eq!(house.counters.message_octets.get(), 120_000);
        assert_eq!(house.counters.octets_copied_content.get(), 0);
        house.network.end(client);
        house.is_clean(16);
    }
}

#[test]
fn a_close_is_orderly_whatever_is_behind_it() {
    let mut house = House::new();
    let client = house.greeted();
    house.network.send(client, b"QUIT\r\n");
    house.network.send(client, &vec![b'x'; 100_000]);
    assert_eq!(house.codes(client, ""), [221]);
    assert!(house.network.sees_end(client));
    assert_eq!(house.network.open_sockets(), 1, "it waits for the client's end");
    house.pass_ms(limits::LINGER_MS + 200);
    house.is_clean(16);

    let client = house.greeted();
    house.network.send(client, b"QUIT\r\n");
    house.turns();
    house.network.send(client, &vec![b'x'; limits::LINGER_OCTETS as usize + 100_000]);
    house.is_clean(16);
}

#[test]
fn a_half_closed_client_gets_its_reply() {
    let mut house = House::new();
    let client = house.greeted();
    assert_eq!(house.codes(client, MESSAGE), [250, 250, 354]);
    house.network.send(client, b"hello\r\n.\r\n");
    house.network.end(client);
    assert_eq!(house.codes(client, ""), [250]);
    house.is_clean(16);
    assert_eq!(house.counters.messages.get(), 1);
}

#[test]
fn a_client_that_goes_within_a_transaction_leaves_nothing() {
    let mut house = House::new();
    for reset in [false, true] {
        let client = house.greeted();
        house.codes(client, MESSAGE);
        house.network.send(client, b"half a message");
        house.turns();
        if reset {
            house.network.reset(client)
        } else {
            house.network.end(client)
        }
        house.is_clean(16);
    }
    assert_eq!(house.counters.messages.get(), 0);
    assert_eq!(house.counters.connections_lost_in_transaction.get(), 2);
}

/// Answers none of the questions at some points itself.
#[derive(Debug)]
struct Elsewhere {
    points: Vec<Point>,
    asked: Mutex<Vec<Ticket>>,
}

impl Elsewhere {
    fn at(points: &[Point]) -> Arc<Self> {
        Arc::new(Self { points: points.to_vec(), asked: Mutex::new(Vec::new()) })
    }

    fn take(&self) -> Vec<Ticket> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Policy for Elsewhere {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        if self.points.contains(&asked.question.point()) {
            self.asked.lock().unwrap().push(asked.ticket);
            Decision::Elsewhere
        } else {
            Decision::Now(Outcome::Accept)
        }
    }
}

#[test]
fn answers_may_come_late_and_out_of_order() {
    let policy = Elsewhere::at(&[Point::Mail, Point::Rcpt]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    let refused = Outcome::Refuse(Reply::Scripted550);
    assert_eq!(house.say(client, "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"), "");
    let [mail, first, second] = policy.take()[..] else { panic!("three questions") };
    for (ticket, outcome) in [(second, Outcome::Accept), (mail, Outcome::Accept)] {
        house.tell(Control::Outcome { ticket, outcome });
    }
    assert_eq!(house.codes(client, ""), [250]);
    house.tell(Control::Outcome { ticket: first, outcome: refused });
    assert_eq!(house.codes(client, ""), [550, 250, 354]);
    assert_eq!(house.codes(client, "x\r\n.\r\n"), [250]);
    assert_eq!(house.counters.recipients.get(), 1);
    house.tell(Control::Outcome { ticket: first, outcome: refused });
    assert_eq!(house.counters.answers_late.get(), 1);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn answers_that_never_come_end_in_451() {
    let policy = Elsewhere::at(&[Point::EndOfData]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    house.codes(client, MESSAGE);
    assert_eq!(house.say(client, "x\r\n.\r\n"), "");
    house.pass_ms(limits::ANSWER_MS - 1_000);
    assert_eq!(house.hear(client), "");
    house.pass_ms(1_500);
    assert!(house.hear(client).starts_with("451 4.3.0"));
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!((house.hear(client).as_str(), house.counters.answers_late.get()), ("", 1));
    assert_eq!(house.codes(client, "NOOP\r\n"), [250]);

    // The next one's client goes; the answer to it must not reach whoever has its slot then.
    house.codes(client, MESSAGE);
    house.say(client, "x\r\n.\r\n");
    let ticket = policy.take()[0];
    house.network.reset(client);
    house.turns();
    let other = house.greeted();
    house.tell(Control::Outcome { ticket, outcome: Outcome::Refuse(Reply::Scripted554) });
    assert_eq!((house.hear(other).as_str(), house.counters.answers_late.get()), ("", 2));
    house.network.end(other);
    house.is_clean(16);
}

#[test]
fn a_client_that_ends_while_an_answer_is_out_still_gets_it() {
    let policy = Elsewhere::at(&[Point::EndOfData]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    house.codes(client, MESSAGE);
    house.network.send(client, b"x\r\n.\r\nQUIT\r\n");
    house.network.end(client);
    assert_eq!(house.hear(client), "");
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!(house.codes(client, ""), [250, 221]);
    house.is_clean(16);
}

#[test]
fn a_paused_session_keeps_its_input_and_loses_none() {
    let policy = Elsewhere::at(&[Point::Data]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    let chunk = format!("BDAT 9000 LAST\r\n{}NOOP\r\n", "y".repeat(9000));
    assert_eq!(house.codes(client, &format!("MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\n{chunk}")), [250, 250]);
    assert!(house.counters.octets_copied_paused.get() >= 9000);
    assert_eq!(house.network.free_buffers(GroupId(0)), 16, "a paused session holds no buffer");
    house.network.send(client, b"RSET\r\n");
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!(house.codes(client, ""), [250, 250, 250]);
    assert_eq!(house.counters.message_octets.get(), 9000);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn cancels_that_miss_are_tried_again() {
    let policy = Elsewhere::at(&[Point::Data]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    house.network.miss_cancels(3);
    house.say(client, "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 50000 LAST\r\nfirst");
    house.network.send(client, &vec![b'x'; 49_995]);
    house.turns();
    assert!(house.counters.octets_copied_paused.get() < 10, "the receive was cancelled in the end");
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!(house.codes(client, ""), [250]);

    // One that is given up while it does not read.
    house.network.set_window(client, 0);
    house.network.send(client, "NOOP\r\n".repeat(100).as_bytes());
    house.turns();
    house.network.miss_cancels(5);
    house.pass_ms(limits::IDLE_MS + 20_000);
    house.is_clean(16);

    // A door, with all its accepts.
    house.network.miss_cancels(40);
    house.control.send(Control::Drain { patience_ms: 10_000 }).unwrap();
    house.network.wake();
    assert_eq!(house.turns(), Turn::Done);
}

/// A cipher for tests: records of one length octet and so many octets, all of them turned by a key.
#[derive(Debug)]
struct Toy {
    record: Vec<u8>,
    plain: Vec<u8>,
}

const KEY: u8 = 0x5a;

impl Cipher for Toy {
    fn feed<'b, 'i: 'b>(&'b mut self, input: &mut &'i mut [u8]) -> Result<&'b [u8], CipherError> {
        self.plain.clear();
        while self.plain.is_empty() && !input.is_empty() {
            let (first, rest) = std::mem::take(input).split_at_mut(1);
            *input = rest;
            self.record.push(first[0] ^ KEY);
            if self.record[0] == 0 {
                return Err(CipherError);
            }
            if self.record.len() == usize::from(self.record[0]) + 1 {
                self.plain.extend(self.record.drain(..).skip(1));
            }
        }
        Ok(&self.plain)
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        for record in plain.chunks(100) {
            out.push(record.len() as u8 ^ KEY);
            out.extend(record.iter().map(|octet| octet ^ KEY));
        }
    }
}

#[test]
fn a_session_behind_a_cipher_is_the_same() {
    let mut house = House::new();
    let client = house.connect();
    house.network.read(client);
    let slot = (0..house.shard.table.end()).find(|slot| house.shard.table.at(*slot).is_open()).unwrap();
    house.shard.table.at(slot).transport = Transport::Tls(Box::new(Toy { record: Vec::new(), plain: Vec::new() }));
    let mut toy = Toy { record: Vec::new(), plain: Vec::new() };
    let mut say = |house: &mut House, text: &str| {
        let mut sealed = Vec::new();
        toy.seal(text.as_bytes(), &mut sealed);
        house.network.send(client, &sealed);
        house.turns();
        let mut replies = house.network.read(client);
        let mut rest = replies.as_mut_slice();
        let mut plain = String::new();
        while !rest.is_empty() {
            plain += std::str::from_utf8(toy.feed(&mut rest).unwrap()).unwrap();
        }
        codes(&plain)
    };
    house.network.set_receive_octets(13);
    let mut all = say(&mut house, &format!("EHLO c.test\r\n{MESSAGE}"));
    all.extend(say(&mut house, &format!("{}\r\n.\r\n", "z".repeat(300))));
    assert_eq!(all, [250, 250, 250, 354, 250]);
    assert_eq!(house.counters.message_octets.get(), 302);
    // What cannot be a record ends the connection.
    house.network.send(client, &[KEY]);
    house.turns();
    assert!(house.network.sees_end(client));
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn an_idle_client_hears_421_when_its_time_is_over() {
    let mut house = House::new();
    let client = house.greeted();
    house.pass_ms(limits::IDLE_MS / 2);
    assert_eq!(house.codes(client, "NOOP\r\n"), [250]);
    house.pass_ms(limits::IDLE_MS - 1_000);
    assert_eq!(house.hear(client), "");
    house.pass_ms(2_000);
    assert!(house.hear(client).starts_with("421 4.4.2"));
    assert!(house.network.sees_end(client));
    house.pass_ms(limits::LINGER_MS + 200);
    house.is_clean(16);
    assert_eq!(house.counters.timeouts.get(), 1);
}

/// CONFORMANCE T041.
#[test]
fn a_line_that_trickles_in_has_its_own_time() {
    let mut house = House::new();
    let client = house.greeted();
    for _ in 0..(limits::IDLE_MS / 5_000 - 1) {
        house.network.send(client, b"N");
        house.turns();
        house.pass_ms(5_000);
    }
    assert_eq!(house.hear(client), "");
    house.pass_ms(6_000);
    assert!(house.hear(client).starts_with("421 4.4.2"));
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn each_transaction_has_its_own_time() {
    let mut house = House::new();
    let client = house.greeted();
    // Each piece ends one transaction and begins the next: one is always open, and none is old.
    house.codes(client, "MAIL FROM:<>\r\n");
    for _ in 0..30 {
        house.pass_ms(limits::IDLE_MS - 5_000);
        let codes = house.codes(client, "RCPT TO:<a@ok.test>\r\nBDAT 2 LAST\r\nhiMAIL FROM:<>\r\n");
        assert_eq!(codes, [250, 250, 250]);
    }
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn each_answer_has_its_own_time() {
    let policy = Elsewhere::at(&[Point::Rcpt]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    assert_eq!(house.codes(client, "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n"), [250]);
    house.pass_ms(limits::ANSWER_MS - 1_000);
    house.network.send(client, b"RCPT TO:<c@x.test>\r\n");
    house.turns();
    // The third is answered; the first two are lost, and both are over a second later.
    let third = policy.take()[2];
    house.tell(Control::Outcome { ticket: third, outcome: Outcome::Accept });
    assert_eq!(house.hear(client), "");
    house.pass_ms(2_000);
    assert_eq!(house.codes(client, ""), [451, 451, 250]);
    assert_eq!(house.counters.answers_timed_out.get(), 2);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn a_transaction_has_its_own_limit() {
    let mut house = House::new();
    let client = house.greeted();
    house.codes(client, MESSAGE);
    for _ in 0..13 {
        house.pass_ms(limits::IDLE_MS - 5_000);
        house.network.send(client, b"drop\r\n");
        house.turns();
    }
    assert!(house.hear(client).starts_with("421 4.4.2 Transaction"));
}

#[test]
fn a_client_that_never_reads_costs_its_bound_and_no_more() {
    let mut house = House::new();
    let client = house.greeted();
    house.network.set_window(client, 1_000);
    for _ in 0..100 {
        house.network.send(client, "NOOP\r\n".repeat(5_000).as_bytes());
        house.turns();
    }
    let held = house.shard.desk.pressure.octets() as usize;
    assert!(held > limits::OUTPUT_OCTETS / 2 && held < 4 * limits::OUTPUT_OCTETS, "{held}");
    assert!(house.counters.short_sends.get() > 0);
    // It reads after all: every reply is there, once.
    house.network.set_window(client, usize::MAX);
    let mut replies = String::new();
    for _ in 0..400 {
        replies += &house.hear(client);
    }
    assert_eq!(replies.matches("250 2.0.0 Ok\r\n").count(), 500_000);
    assert_eq!(replies.len(), 500_000 * "250 2.0.0 Ok\r\n".len());

    // It never does: its time ends.
    house.network.set_window(client, 0);
    house.network.send(client, "NOOP\r\n".repeat(20_000).as_bytes());
    house.turns();
    house.pass_ms(limits::IDLE_MS + 1_000);
    house.is_clean(16);
}

#[test]
fn receives_without_a_buffer_are_started_again() {
    let mut house = House::with(scope(Arc::new(AcceptAll)), 100, 2, 512);
    let clients: Vec<ClientId> = (0..20).map(|_| house.greeted()).collect();
    let message = format!("MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 3000 LAST\r\n{}", "x".repeat(3000));
    for client in &clients {
        house.network.send(*client, message.as_bytes());
    }
    for _ in 0..200 {
        house.turns();
    }
    for client in &clients {
        assert_eq!(codes(&String::from_utf8(house.network.read(*client)).unwrap()), [250, 250, 250]);
        house.network.end(*client);
    }
    assert_eq!(house.counters.message_octets.get(), 60_000);
    assert!(house.counters.buffers_exhausted.get() > 0);
    house.is_clean(2);
}

#[test]
fn a_drain_lets_mail_data_end_and_tells_the_others() {
    let mut house = House::new();
    let (idle, busy) = (house.greeted(), house.greeted());
    house.codes(busy, MESSAGE);
    house.network.send(busy, b"half ");
    house.turns();
    house.tell(Control::Drain { patience_ms: 10_000 });
    assert!(house.hear(idle).starts_with("421 4.3.2"));
    assert_eq!(house.codes(busy, "and half\r\n.\r\n"), [250, 421]);
    house.network.end(idle);
    house.network.end(busy);
    assert_eq!(house.turns(), Turn::Done);
    house.is_clean(16);
    assert_eq!(house.counters.messages.get(), 1);
}

#[test]
fn a_shard_without_connections_drains_at_once() {
    let mut house = House::new();
    house.control.send(Control::Drain { patience_ms: 10_000 }).unwrap();
    house.network.wake();
    assert_eq!(house.turns(), Turn::Done);
}

#[test]
fn a_drain_ends_by_force_when_its_patience_does() {
    let mut house = House::new();
    let client = house.greeted();
    house.codes(client, MESSAGE);
    house.tell(Control::Drain { patience_ms: 10_000 });
    house.pass_ms(9_000);
    assert_eq!(house.network.open_sockets(), 1);
    house.pass_ms(2_000);
    assert_eq!(house.turns(), Turn::Done);
    house.is_clean(16);
}

#[test]
fn a_door_that_closes_tells_who_waits_and_leaves_sessions_alone() {
    let mut house = House::new();
    let old = house.greeted();
    let waiting: Vec<ClientId> = (0..40).map(|_| house.network.connect(DOOR)).collect();
    house.tell(Control::Swap(Vec::new()));
    house.turns();
    for client in waiting {
        let replies = String::from_utf8(house.network.read(client)).unwrap();
        assert!(replies.starts_with("421 4.3.2") || replies.starts_with("220"), "{replies:?}");
        house.network.end(client);
    }
    let late = house.network.connect(DOOR);
    house.turns();
    assert!(house.network.sees_end(late), "the socket is closed");
    assert_eq!(house.codes(old, "NOOP\r\n"), [250]);

    // It opens again, with another scope; the old session keeps its own.
    let mut other = scope(Arc::new(AcceptAll));
    other.settings = Settings::new(Terms { hostname: "other.test".into(), ..other.settings.terms().clone() });
    house.tell(Control::Swap(vec![Door { bind: bind(), scope: Arc::new(other), socket: Some(DOOR) }]));
    let new = house.connect();
    assert!(house.hear(new).starts_with("220 other.test"));
    assert!(house.say(old, "EHLO c.test\r\n").starts_with("250-mx.test"));
    house.network.end(old);
    house.network.end(new);
    house.is_clean(16);
}

#[test]
fn connections_above_the_limit_hear_why() {
    let mut house = House::with(scope(Arc::new(AcceptAll)), 3, 16, 4096);
    let inside: Vec<ClientId> = (0..3).map(|_| house.greeted()).collect();
    let outside = house.connect();
    assert!(house.hear(outside).starts_with("421 4.3.2"));
    assert!(house.network.sees_end(outside));
    house.network.end(outside);
    house.network.end(inside[0]);
    house.turns();
    let fourth = house.greeted();
    for client in [inside[1], inside[2], fourth] {
        assert_eq!(house.codes(client, "NOOP\r\n"), [250]);
        house.network.end(client);
    }
    house.is_clean(16);
    assert_eq!(house.counters.connections_over_limit.get(), 1);
}

#[test]
fn accepting_pauses_when_the_system_has_nothing_left() {
    let mut house = House::new();
    let old = house.greeted();
    house.network.fail_accept(Errno::MFILE);
    let client = house.network.connect(DOOR);
    house.turns();
    assert_eq!(house.counters.accept_failures.get(), 1);
    assert_eq!(house.codes(old, "NOOP\r\n"), [250]);
    house.pass_ms(limits::ACCEPT_PAUSE_MS + 20);
    assert_eq!(house.codes(client, "NOOP\r\n"), [220, 250]);
    house.network.end(old);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn early_talkers_are_refused_where_a_pause_is_set() {
    let mut paused = scope(Arc::new(AcceptAll));
    paused.timeouts.greet_pause_ms = 2_000;
    let mut house = House::with(paused, 100, 16, 4096);
    let (early, patient) = (house.connect(), house.connect());
    assert!(house.say(early, "EHLO c.test\r\n").starts_with("554 5.5.0"));
    assert!(house.network.sees_end(early));
    assert_eq!(house.hear(patient), "");
    house.pass_ms(2_100);
    assert_eq!(house.codes(patient, ""), [220]);
    house.network.end(early);
    house.network.end(patient);
    house.is_clean(16);
}

#[test]
fn many_control_messages_need_one_wake() {
    let mut house = House::new();
    let asked = 3 * limits::CONTROL_MESSAGES_PER_TURN;
    let (reply, pages) = std::sync::mpsc::channel();
    for _ in 0..asked {
        house.control.send(Control::List { from: 0, reply: reply.clone() }).unwrap();
    }
    house.network.wake();
    house.turns();
    assert_eq!(pages.try_iter().count(), asked);
}

#[test]
fn sessions_are_listed_in_pages() {
    let mut house = House::with(scope(Arc::new(AcceptAll)), 400, 16, 4096);
    let clients: Vec<ClientId> = (0..300).map(|_| house.greeted()).collect();
    let mut seen = 0;
    let mut from = Some(0);
    while let Some(slot) = from {
        let (reply, page) = std::sync::mpsc::channel();
        house.tell(Control::List { from: slot, reply });
        let page = page.recv().unwrap();
        assert!(page.sessions.iter().all(|session| session.phase == "idle" && session.listener == "test"));
        seen += page.sessions.len();
        from = page.next;
    }
    assert_eq!(seen, 300);
    clients.into_iter().for_each(|client| house.network.end(client));
    house.is_clean(16);
}
