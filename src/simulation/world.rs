//! Clients, listening sockets, connections, receive buffers and time, in memory: the test's side of the simulation.
//!
//! A client sends, reads, half-closes, resets; what the shard has under way progresses only when the shard waits, as with
//! the kernel.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use rustix::io::Errno;

use crate::reactor::buffers::GroupShape;
use crate::reactor::io::{Completion, GroupId, IoCounts, ListenerId, Operation, Parts, Payload, Time, Token};
use crate::reactor::listening::Bind;
use crate::simulation::chance::Chance;
use crate::simulation::faults::Faults;
use crate::simulation::files::Files;
use crate::simulation::writes::Writing;

/// Octets that a client takes unread, unless told otherwise: about what a kernel buffers.
const WINDOW_OCTETS: usize = 256 * 1024;

/// Octets on their way to the server.
#[derive(Debug)]
pub(super) struct Segment {
    /// When they are there.
    pub(super) at: Time,
    pub(super) octets: Vec<u8>,
    /// So many of them were received.
    pub(super) taken: usize,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) to_server: VecDeque<Segment>,
    pub(super) from_server: Vec<u8>,
    pub(super) window_octets: usize,
    pub(super) has_ended: bool,
    pub(super) has_reset: bool,
    /// The reset is seen behind what was sent before it, not in place of it.
    pub(super) resets_in_order: bool,
    /// It was accepted.
    pub(super) is_accepted: bool,
    /// Descriptors of its connection that the server has.
    pub(super) descriptors: u32,
    /// The server has shut its side, or closed.
    pub(super) sees_end: bool,
}

#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) waiting: VecDeque<usize>,
    pub(super) accepts: VecDeque<Token>,
}

/// What a send has: its octets, and of pieces also what is given back.
#[derive(Debug)]
pub(super) enum Load {
    Octets(Vec<u8>),
    Parts(Vec<u8>, Parts),
}

impl Load {
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Octets(octets) | Self::Parts(octets, _) => octets,
        }
    }

    pub(super) fn payload(self) -> Payload {
        match self {
            Self::Octets(octets) => Payload::Octets(octets),
            Self::Parts(_, parts) => Payload::Parts(parts),
        }
    }
}

/// A send that is not done.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) token: Token,
    pub(super) load: Load,
    /// The first to send, and the next.
    pub(super) first: usize,
    pub(super) next: usize,
}

/// A connection of the shard.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) client: usize,
    pub(super) receive: Option<(Token, GroupId)>,
    pub(super) send: Option<Sending>,
}

/// A group of receive buffers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) shape: GroupShape,
    pub(super) memory: Vec<u8>,
    pub(super) free: VecDeque<u16>,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    pub(super) now: Time,
    pub(super) clients: Vec<Client>,
    pub(super) listeners: BTreeMap<u32, Listener>,
    /// Where the shard itself can connect to, and who has come there: the peer of such a connection is a client too.
    pub(super) servers: BTreeMap<Bind, VecDeque<ClientId>>,
    pub(super) sockets: BTreeMap<u32, Socket>,
    /// Clients of slots for which a descriptor was made that nobody has taken yet.
    pub(super) parted: BTreeMap<u32, usize>,
    pub(super) groups: Vec<Group>,
    pub(super) started: VecDeque<(Token, Operation)>,
    /// Completions that have arisen since the last were given to the shard.
    pub(super) posted: Vec<Completion>,
    /// Completions that come later than they could.
    pub(super) late: Vec<(Time, Completion)>,
    pub(super) ready: VecDeque<Completion>,
    /// Completions of quiet sends: they come with others, or when the wait is over.
    pub(super) quiet: VecDeque<Completion>,
    /// Cancels that have not completed, by their tokens.
    pub(super) cancels: BTreeMap<(u32, u32), u32>,
    /// Where writes go.
    pub(super) files: Option<Rc<dyn Files>>,
    /// Writes that have begun, and not ended.
    pub(super) writes: Vec<Writing>,
    /// Failures of the next writes.
    pub(super) write_failures: VecDeque<Errno>,
    /// The next write hangs.
    pub(super) write_hangs: bool,
    pub(super) awaiting_wake: Option<Token>,
    pub(super) wakes: u32,
    /// So many of the next cancels find nothing, as when their target is just being worked on.
    pub(super) cancels_missed: u32,
    /// Failures of the next accepts, as when the system has no descriptor left.
    pub(super) accept_failures: VecDeque<Errno>,
    pub(super) counts: IoCounts,
    pub(super) faults: Faults,
    pub(super) chance: Chance,
    /// The client that each slot had last.
    pub(super) owners: BTreeMap<u32, usize>,
    /// The generation that each slot had last.
    pub(super) generations: BTreeMap<u32, u32>,
    /// Stale completions that were made up.
    pub(super) stale: u64,
    /// When the test has something to do next.
    pub(super) next_event: Option<Time>,
    /// Time passes only by [`Network::pass_ms`]; a shard that would sleep says so instead.
    pub(super) is_frozen: bool,
    pub(super) has_slept: bool,
    /// Operations and completions in words, when somebody wants to read them.
    pub(super) trace: Option<Vec<String>>,
}

/// A client, as a test holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub(super) usize);

/// The test's hold on the world.
#[derive(Clone, Debug)]
pub struct Network(Rc<RefCell<World>>);

/// The world's time, for what the world itself holds: nothing is kept by it.
#[derive(Clone, Debug)]
pub struct Clock(Weak<RefCell<World>>);

impl Clock {
    /// The time; that of the beginning once the world is gone.
    pub fn now(&self) -> Time {
        self.0.upgrade().map_or(Time::default(), |world| world.borrow().now())
    }
}

impl Network {
    /// Its time.
    pub fn clock(&self) -> Clock {
        Clock(Rc::downgrade(&self.0))
    }

    /// An empty world with these groups of buffers, in which nothing goes wrong.
    pub fn new(groups: &[GroupShape]) -> Self {
        Self::with_faults(groups, Faults::NONE, Chance::new(0))
    }

    /// The same, in which things go wrong.
    pub fn with_faults(groups: &[GroupShape], faults: Faults, chance: Chance) -> Self {
        let groups = groups
            .iter()
            .map(|shape| Group {
                shape: *shape,
                memory: vec![0; usize::from(shape.buffers) * shape.buffer_octets as usize],
                free: (0..shape.buffers).collect(),
            })
            .collect();
        Self(Rc::new(RefCell::new(World {
            now: Time(1_000_000_000),
            clients: Vec::new(),
            listeners: BTreeMap::new(),
            servers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            parted: BTreeMap::new(),
            groups,
            started: VecDeque::new(),
            posted: Vec::new(),
            late: Vec::new(),
            ready: VecDeque::new(),
            quiet: VecDeque::new(),
            cancels: BTreeMap::new(),
            files: None,
            writes: Vec::new(),
            write_failures: VecDeque::new(),
            write_hangs: false,
            awaiting_wake: None,
            wakes: 0,
            cancels_missed: 0,
            accept_failures: VecDeque::new(),
            counts: IoCounts::default(),
            faults,
            chance,
            owners: BTreeMap::new(),
            generations: BTreeMap::new(),
            stale: 0,
            next_event: None,
            is_frozen: false,
            has_slept: false,
            trace: None,
        })))
    }

    /// The world itself, for its other side.
    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.0.borrow_mut()
    }

    // Clients.

    /// A client connects; it waits until it is accepted.
    pub fn connect(&self, listener: ListenerId) -> ClientId {
        let mut world = self.world();
        let client = world.add_client();
        match world.listeners.get_mut(&listener.0) {
            Some(listener) => listener.waiting.push_back(client),
            None => world.clients[client].sees_end = true,
        }
        ClientId(client)
    }

    /// From now on the shard can connect there.
    pub fn listen(&self, address: &Bind) {
        self.world().servers.entry(address.clone()).or_default();
    }

    /// The other end of the next connection that the shard has made there.
    pub fn accept(&self, address: &Bind) -> Option<ClientId> {
        self.world().servers.get_mut(address)?.pop_front()
    }

    /// The client sends octets.
    pub fn send(&self, client: ClientId, octets: &[u8]) {
        let now = self.now();
        self.send_until(client, octets, now);
    }

    /// The client sends octets, which are there at this time, behind those that it sent before.
    pub fn send_until(&self, client: ClientId, octets: &[u8], at: Time) {
        if !octets.is_empty() {
            let segments = &mut self.world().clients[client.0].to_server;
            let at = segments.back().map_or(at, |last| at.max(last.at));
            segments.push_back(Segment { at, octets: octets.to_vec(), taken: 0 });
        }
    }

    /// The client reads all that has come for it.
    pub fn read(&self, client: ClientId) -> Vec<u8> {
        std::mem::take(&mut self.world().clients[client.0].from_server)
    }

    /// The client reads so much at most.
    pub fn read_some(&self, client: ClientId, most: usize) -> Vec<u8> {
        let unread = &mut self.world().clients[client.0].from_server;
        let most = most.min(unread.len());
        unread.drain(..most).collect()
    }

    /// Whether something has come for the client.
    pub fn has_unread(&self, client: ClientId) -> bool {
        !self.world().clients[client.0].from_server.is_empty()
    }

    /// Octets that a client takes unread.
    pub fn set_window(&self, client: ClientId, octets: usize) {
        self.world().clients[client.0].window_octets = octets;
    }

    /// The client sends no more.
    pub fn end(&self, client: ClientId) {
        self.world().clients[client.0].has_ended = true;
    }

    /// The client resets the connection.
    pub fn reset(&self, client: ClientId) {
        self.world().clients[client.0].has_reset = true;
    }

    /// The client resets the connection; the server sees it when it has received all that came before.
    pub fn reset_in_order(&self, client: ClientId) {
        let client = &mut self.world().clients[client.0];
        client.has_reset = true;
        client.resets_in_order = true;
    }

    /// Whether the client was accepted.
    pub fn is_accepted(&self, client: ClientId) -> bool {
        self.world().clients[client.0].is_accepted
    }

    /// The client whose connection is in this slot, or was last.
    pub fn client_in(&self, slot: u32) -> Option<ClientId> {
        self.world().owners.get(&slot).copied().map(ClientId)
    }

    /// Whether the server has ended the connection, as the client sees it.
    pub fn sees_end(&self, client: ClientId) -> bool {
        self.world().clients[client.0].sees_end
    }

    // Files.

    /// From now on writes go to this disk.
    pub fn set_files(&self, files: Rc<dyn Files>) {
        self.world().files = Some(files);
    }

    /// The shard is gone: writes that it began come to their end unheard.
    pub fn abandon_writes(&self) {
        self.world().abandon_writes();
    }

    // Time.

    /// The time.
    pub fn now(&self) -> Time {
        self.world().now
    }

    /// From now on time passes only by [`Network::pass_ms`].
    pub fn freeze(&self) {
        self.world().is_frozen = true;
    }

    /// Whether the last wait found nothing to do, and would have slept.
    pub fn has_slept(&self) -> bool {
        self.world().has_slept
    }

    /// Time passes.
    pub fn pass_ms(&self, ms: u64) {
        let mut world = self.world();
        world.now = world.now.plus_ms(ms);
    }

    /// No wait lasts longer than until then.
    pub fn set_next_event(&self, at: Option<Time>) {
        self.world().next_event = at;
    }

    /// Another thread wakes the shard.
    pub fn wake(&self) {
        self.world().wakes += 1;
    }

    // What can be seen from outside.

    /// Connections that the shard has open.
    pub fn open_sockets(&self) -> usize {
        self.world().sockets.len()
    }

    /// Operations that were started and have not completed, but the wait for a wake.
    pub fn operations_under_way(&self) -> usize {
        let world = self.world();
        let accepts: usize = world.listeners.values().map(|listener| listener.accepts.len()).sum();
        let on_sockets = |socket: &Socket| usize::from(socket.receive.is_some()) + usize::from(socket.send.is_some());
        let completed = world.posted.len() + world.late.len() + world.ready.len() + world.quiet.len();
        accepts
            + world.writes.len()
            + world.sockets.values().map(on_sockets).sum::<usize>()
            + world.started.len()
            + completed
    }

    /// Buffers of a group that are the kernel's.
    pub fn free_buffers(&self, group: GroupId) -> usize {
        self.world().groups[usize::from(group.0)].free.len()
    }

    /// Stale completions that were made up.
    pub fn stale_completions(&self) -> u64 {
        self.world().stale
    }

    /// What was counted.
    pub fn counts(&self) -> IoCounts {
        self.world().counts
    }

    // What goes wrong.

    /// Receives bring so many octets at most.
    pub fn set_receive_octets(&self, most: usize) {
        self.world().faults.receive_octets_most = most;
    }

    /// Nothing goes wrong any more.
    pub fn set_calm(&self) {
        let mut world = self.world();
        let Faults { receive_octets_most, submission_entries, completion_entries, .. } = world.faults;
        world.faults = Faults { receive_octets_most, submission_entries, completion_entries, ..Faults::NONE };
    }

    /// The next accept fails, while its client goes on waiting.
    pub fn fail_accept(&self, errno: Errno) {
        self.world().accept_failures.push_back(errno);
    }

    /// The next write fails.
    pub fn fail_write(&self, errno: Errno) {
        self.world().write_failures.push_back(errno);
    }

    /// The next write does not end before it is cancelled.
    pub fn hang_write(&self) {
        self.world().write_hangs = true;
    }

    /// So many of the next cancels find nothing.
    pub fn miss_cancels(&self, cancels: u32) {
        self.world().cancels_missed = cancels;
    }

    // Trace.

    /// From now on operations and completions are noted.
    pub fn start_trace(&self) {
        self.world().trace = Some(Vec::new());
    }

    /// Notes a line between the others.
    pub fn note(&self, text: impl FnOnce() -> String) {
        self.world().note(text);
    }

    /// What was noted.
    pub fn take_trace(&self) -> Vec<String> {
        self.world().trace.take().unwrap_or_default()
    }
}

impl World {
    pub(super) fn add_client(&mut self) -> usize {
        let client = self.clients.len();
        self.clients.push(Client {
            address: SocketAddr::from(([127, 0, 0, 1], 40_000 + (client % 20_000) as u16)),
            to_server: VecDeque::new(),
            from_server: Vec::new(),
            window_octets: WINDOW_OCTETS,
            has_ended: false,
            has_reset: false,
            resets_in_order: false,
            is_accepted: false,
            descriptors: 0,
            sees_end: false,
        });
        client
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let ms = self.now.0 as f64 / 1e6;
            trace.push(format!("{ms:12.3} {}", text()));
        }
    }
}

impl Client {
    /// Octets that have arrived and were not received.
    pub(super) fn arrived(&self, now: Time) -> usize {
        let there = self.to_server.iter().take_while(|segment| segment.at <= now);
        there.map(|segment| segment.octets.len() - segment.taken).sum()
    }

    /// Moves octets that have arrived into a buffer.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) {
        let mut filled = 0;
        while filled < buffer.len()
            && let Some(segment) = self.to_server.front_mut()
        {
            let rest = &segment.octets[segment.taken..];
            let octets = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + octets].copy_from_slice(&rest[..octets]);
            filled += octets;
            segment.taken += octets;
            if segment.taken == segment.octets.len() {
                self.to_server.pop_front();
            }
        }
    }
}
