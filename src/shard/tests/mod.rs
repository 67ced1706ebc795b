//! The production shard on a simulated network: no socket, no sleep.
//!
//! Here is the house around it; the tests stand in `delivery` (messages and ends), `waiting` (answers that come late),
//! `bounds` (time and memory), `doors` (accepting, draining, control), `balance` (connections that other shards get), `identity`
//! (who a peer says it is), `handing` (mail that sinks get).

mod balance;
mod bounds;
mod delivery;
mod doors;
mod handing;
mod identity;
mod waiting;

use std::sync::{Arc, Mutex};

use crossbeam::utils::CachePadded;
use ipnet::IpNet;
use rustix::io::Errno;

use crate::handoff::intake::{Discard, Intake};
use crate::handoff::mailbox::{Sender, mailbox};
use crate::limits;
use crate::metrics::counters::Counters;
use crate::policy::decision::{AcceptAll, Asked, Decision, Policy, Ticket};
use crate::policy::scope::{Scope, Scopes, Taking, Timeouts};
use crate::reactor::buffers::GroupShape;
use crate::reactor::io::{GroupId, ListenerId};
use crate::reactor::listening::Bind;
use crate::shard::balance::Neighbours;
use crate::shard::control::{Control, Door};
use crate::shard::{Shard, ShardOptions, Turn};
use crate::simulation::io::{SimulatedIo, SimulatedSocket};
use crate::simulation::world::{ClientId, Network};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point};
use crate::smtp::settings::tests::terms;
use crate::smtp::settings::{Settings, Synchronization, Terms};
use crate::tls::transport::{Cipher, CipherError, Transport};

const DOOR: ListenerId = ListenerId(0);

/// A shard with one door, and the network around it.
struct House<T: Intake = Discard> {
    network: Network,
    shard: Shard<SimulatedIo, T>,
    control: Sender<Control<ListenerId, SimulatedSocket>>,
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
    Scope {
        listener: "test".into(),
        settings: Settings::new(terms),
        timeouts,
        proxy_timeout_ms: None,
        taking: Taking::Discard,
        sums_content: true,
        served: None,
        policy,
    }
}

fn bind() -> Bind {
    Bind::Tcp("127.0.0.1:25".parse().unwrap())
}

impl House {
    fn new() -> Self {
        Self::with(scope(Arc::new(AcceptAll)), 100, 16, 4096)
    }

    fn with(scope: Scope, connections: u32, buffers: u16, buffer_octets: u32) -> Self {
        Self::trusting(Vec::new(), scope, connections, buffers, buffer_octets)
    }

    /// With peers that may use XCLIENT.
    fn trusting(trusted: Vec<IpNet>, scope: Scope, connections: u32, buffers: u16, buffer_octets: u32) -> Self {
        let shape = GroupShape { buffer_octets, buffers };
        Self::among(Neighbours::none(), Scopes::new(scope, trusted), connections, shape)
    }

    /// With other shards.
    fn among(
        neighbours: Neighbours<ListenerId, SimulatedSocket>,
        scopes: Scopes,
        connections: u32,
        shape: GroupShape,
    ) -> Self {
        Self::taking(|_| Discard, neighbours, scopes, connections, shape)
    }
}

impl<T: Intake> House<T> {
    /// With an intake, which may be woken by this.
    fn taking(
        intake: impl FnOnce(&Sender<Control<ListenerId, SimulatedSocket>>) -> T,
        neighbours: Neighbours<ListenerId, SimulatedSocket>,
        scopes: Scopes,
        connections: u32,
        shape: GroupShape,
    ) -> Self {
        let network = Network::new(&[shape]);
        network.freeze();
        let (control, messages, _wake) = mailbox().unwrap();
        let counters = Arc::new(CachePadded::new(Counters::default()));
        let options = ShardOptions {
            number: 0,
            connections,
            control: messages,
            neighbours,
            counters: Arc::clone(&counters),
            session_octets: limits::SESSION_MEMORY_OCTETS,
        };
        let shard = Shard::new(SimulatedIo::new(network.clone(), 1), intake(&control), options);
        let mut house = Self { network, shard, control, counters };
        house.tell(Control::Swap(vec![Door { bind: bind(), scopes: Arc::new(scopes), socket: Some(DOOR) }]));
        house
    }

    fn tell(&mut self, message: Control<ListenerId, SimulatedSocket>) {
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
