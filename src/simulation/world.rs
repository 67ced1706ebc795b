//! Clients, listening sockets, connections, receive buffers and time, in memory: the test's side of the simulation.
//!
//! A client sends, reads, half-closes, resets; what the shard has under way progresses only when the shard waits, as with
//! the kernel.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use rustix::io::Errno;

use crate::reactor::buffers::GroupShape;
use crate::reactor::connecting::Route;
use crate::reactor::io::{
    Completion, GroupId, IoCounts, ListenerId, Operation, Payload, Received, SendMode, Time, Token,
};
use crate::reactor::listening::Bind;

/// Octets that a client takes unread, unless told otherwise: about what a kernel buffers.
const WINDOW_OCTETS: usize = 256 * 1024;

/// One client.
#[derive(Debug)]
struct Client {
    address: SocketAddr,
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    window_octets: usize,
    has_ended: bool,
    has_reset: bool,
    /// The server has shut its side, or closed.
    sees_end: bool,
}

#[derive(Debug, Default)]
struct Listener {
    waiting: VecDeque<usize>,
    accepts: VecDeque<Token>,
}

/// A connection of the shard.
#[derive(Debug)]
struct Socket {
    client: usize,
    receive: Option<(Token, GroupId)>,
    /// Token, octets, the first of them to send, the next of them to send.
    send: Option<(Token, Vec<u8>, usize, usize)>,
}

/// A group of receive buffers.
#[derive(Debug)]
struct Group {
    shape: GroupShape,
    memory: Vec<u8>,
    free: VecDeque<u16>,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    now: Time,
    clients: Vec<Client>,
    listeners: BTreeMap<u32, Listener>,
    /// Where the shard itself can connect to, and who has come there: the peer of such a connection is a client too.
    servers: BTreeMap<Bind, VecDeque<ClientId>>,
    sockets: BTreeMap<u32, Socket>,
    groups: Vec<Group>,
    started: VecDeque<(Token, Operation)>,
    ready: VecDeque<Completion>,
    /// Completions of quiet sends: they come with others, or when the wait is over.
    quiet: VecDeque<Completion>,
    awaiting_wake: Option<Token>,
    wakes: u32,
    /// Most octets of one receive; small ones make short receives.
    receive_octets_most: usize,
    /// So many of the next cancels find nothing, as when their target is just being worked on.
    cancels_missed: u32,
    /// Failures of the next accepts, as when the system has no descriptor left.
    accept_failures: VecDeque<Errno>,
    counts: IoCounts,
    /// Time passes only by [`Network::pass_ms`]; a shard that would sleep says so instead.
    is_frozen: bool,
    has_slept: bool,
}

/// A client, as a test holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(usize);

/// The test's hold on the world.
#[derive(Clone, Debug)]
pub struct Network(Rc<RefCell<World>>);

impl Network {
    /// An empty world with these groups of buffers.
    pub fn new(groups: &[GroupShape]) -> Self {
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
            groups,
            started: VecDeque::new(),
            ready: VecDeque::new(),
            quiet: VecDeque::new(),
            awaiting_wake: None,
            wakes: 0,
            receive_octets_most: usize::MAX,
            cancels_missed: 0,
            accept_failures: VecDeque::new(),
            counts: IoCounts::default(),
            is_frozen: false,
            has_slept: false,
        })))
    }

    /// The world itself, for its other side.
    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.0.borrow_mut()
    }

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
        self.world().clients[client.0].to_server.extend(octets);
    }

    /// The client reads all that has come for it.
    pub fn read(&self, client: ClientId) -> Vec<u8> {
        std::mem::take(&mut self.world().clients[client.0].from_server)
    }

    /// Octets that the client takes unread.
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

    /// Whether the server has ended the connection, as the client sees it.
    pub fn sees_end(&self, client: ClientId) -> bool {
        self.world().clients[client.0].sees_end
    }

    /// From now on time passes only by [`Network::pass_ms`].
    pub fn freeze(&self) {
        self.world().is_frozen = true;
    }

    /// Whether the last wait found nothing to do, and would have slept.
    pub fn has_slept(&self) -> bool {
        self.world().has_slept
    }

    /// Another thread wakes the shard.
    pub fn wake(&self) {
        self.world().wakes += 1;
    }

    /// Connections that the shard has open.
    pub fn open_sockets(&self) -> usize {
        self.world().sockets.len()
    }

    /// Buffers of a group that are the kernel's.
    pub fn free_buffers(&self, group: GroupId) -> usize {
        self.world().groups[usize::from(group.0)].free.len()
    }

    /// Receives bring so many octets at most.
    pub fn set_receive_octets(&self, most: usize) {
        self.world().receive_octets_most = most;
    }

    /// The next accept fails, while its client goes on waiting.
    pub fn fail_accept(&self, errno: Errno) {
        self.world().accept_failures.push_back(errno);
    }

    /// So many of the next cancels find nothing.
    pub fn miss_cancels(&self, cancels: u32) {
        self.world().cancels_missed = cancels;
    }

    /// Time passes.
    pub fn pass_ms(&self, ms: u64) {
        let mut world = self.world();
        world.now = world.now.plus_ms(ms);
    }
}

impl World {
    pub(super) fn now(&self) -> Time {
        self.now
    }

    pub(super) fn counts(&self) -> IoCounts {
        self.counts
    }

    fn add_client(&mut self) -> usize {
        let client = self.clients.len();
        self.clients.push(Client {
            address: SocketAddr::from(([127, 0, 0, 1], 40_000 + (client % 20_000) as u16)),
            to_server: VecDeque::new(),
            from_server: Vec::new(),
            window_octets: WINDOW_OCTETS,
            has_ended: false,
            has_reset: false,
            sees_end: false,
        });
        client
    }

    /// A connect succeeds at once where somebody listens; the slot has a socket in any case.
    fn connect(&mut self, token: Token, route: &Route) {
        let client = self.add_client();
        let before = self.sockets.insert(token.slot, Socket { client, receive: None, send: None });
        assert!(before.is_none(), "{token:?}: connected in a slot that is taken");
        let result = match self.servers.get_mut(route.to()) {
            Some(arrived) => {
                arrived.push_back(ClientId(client));
                Ok(0)
            }
            None => {
                self.clients[client].has_reset = true;
                Err(Errno::CONNREFUSED)
            }
        };
        self.finish(token, result, Payload::None);
    }

    pub(super) fn add_listener(&mut self, id: ListenerId) {
        self.listeners.insert(id.0, Listener::default());
    }

    pub(super) fn remove_listener(&mut self, id: ListenerId) {
        for client in self.listeners.remove(&id.0).unwrap_or_default().waiting {
            self.clients[client].sees_end = true;
        }
    }

    pub(super) fn start(&mut self, token: Token, operation: Operation) {
        self.counts.operations += 1;
        self.started.push_back((token, operation));
    }

    pub(super) fn complete(&mut self) -> Option<Completion> {
        self.ready.pop_front()
    }

    /// What the kernel does in `enter`: takes what was started, lets everything progress, and sleeps if nothing did.
    pub(super) fn wait(&mut self, until: Option<Time>) {
        self.counts.enters += 1;
        self.has_slept = false;
        while let Some((token, operation)) = self.started.pop_front() {
            self.begin(token, operation);
        }
        self.progress();
        if self.ready.is_empty()
            && let Some(until) = until
        {
            self.has_slept = until > self.now;
            if !self.is_frozen {
                self.now = self.now.max(until);
            }
        }
        self.ready.append(&mut self.quiet);
    }

    fn finish(&mut self, token: Token, result: Result<u32, Errno>, payload: Payload) {
        self.ready.push_back(Completion { token, result, more: false, payload });
    }

    fn begin(&mut self, token: Token, operation: Operation) {
        match operation {
            Operation::Accept { listener } => match self.listeners.get_mut(&listener.0) {
                Some(listener) => listener.accepts.push_back(token),
                None => self.finish(token, Err(Errno::BADF), Payload::None),
            },
            Operation::Connect { route } => self.connect(token, &route),
            Operation::Receive { group } => match self.sockets.get_mut(&token.slot) {
                Some(socket) => {
                    assert!(socket.receive.is_none(), "{token:?}: one receive for a socket");
                    socket.receive = Some((token, group));
                }
                None => self.finish(token, Err(Errno::BADF), Payload::None),
            },
            Operation::Send { octets, from, mode } => self.begin_send(token, octets, from, mode),
            Operation::Shutdown => {
                let client = self.sockets.get(&token.slot).map(|socket| socket.client);
                if let Some(client) = client {
                    self.clients[client].sees_end = true;
                }
                self.finish(token, client.map(|_| 0).ok_or(Errno::BADF), Payload::None);
            }
            Operation::Close => {
                let socket = self.sockets.remove(&token.slot);
                if let Some(socket) = &socket {
                    assert!(socket.receive.is_none() && socket.send.is_none(), "{token:?}: closed under an operation");
                    self.clients[socket.client].sees_end = true;
                }
                self.finish(token, socket.map(|_| 0).ok_or(Errno::BADF), Payload::None);
            }
            Operation::Cancel { target } => {
                let found = self.cancel(target);
                self.finish(token, if found { Ok(0) } else { Err(Errno::NOENT) }, Payload::None);
            }
            Operation::AwaitWake => self.awaiting_wake = Some(token),
        }
    }

    fn begin_send(&mut self, token: Token, octets: Vec<u8>, from: usize, mode: SendMode) {
        let Some(socket) = self.sockets.get(&token.slot) else {
            return self.finish(token, Err(Errno::BADF), Payload::Octets(octets));
        };
        assert!(socket.send.is_none(), "{token:?}: one send for a socket");
        if mode == SendMode::Patient {
            self.sockets.entry(token.slot).and_modify(|socket| socket.send = Some((token, octets, from, from)));
            return;
        }
        let client = &mut self.clients[socket.client];
        let room = client.window_octets.saturating_sub(client.from_server.len());
        let sent = room.min(octets.len() - from);
        let result = if client.has_reset {
            Err(Errno::PIPE)
        } else if sent == 0 {
            Err(Errno::AGAIN)
        } else {
            client.from_server.extend_from_slice(&octets[from..from + sent]);
            Ok(sent as u32)
        };
        let is_quiet = mode == SendMode::Quiet && result == Ok((octets.len() - from) as u32);
        let completion = Completion { token, result, more: false, payload: Payload::Octets(octets) };
        if is_quiet { self.quiet.push_back(completion) } else { self.ready.push_back(completion) }
    }

    fn cancel(&mut self, target: Token) -> bool {
        if self.cancels_missed > 0 {
            self.cancels_missed -= 1;
            return false;
        }
        for listener in self.listeners.values_mut() {
            if let Some(at) = listener.accepts.iter().position(|token| *token == target) {
                listener.accepts.remove(at);
                self.finish(target, Err(Errno::CANCELED), Payload::Peer(None));
                return true;
            }
        }
        let Some(socket) = self.sockets.get_mut(&target.slot) else { return false };
        if socket.receive.is_some_and(|(token, _)| token == target) {
            socket.receive = None;
            self.finish(target, Err(Errno::CANCELED), Payload::None);
            return true;
        }
        if let Some((_, octets, ..)) = socket.send.take_if(|(token, ..)| *token == target) {
            self.finish(target, Err(Errno::CANCELED), Payload::Octets(octets));
            return true;
        }
        false
    }

    fn progress(&mut self) {
        if self.wakes > 0
            && let Some(token) = self.awaiting_wake.take()
        {
            self.wakes = 0;
            self.finish(token, Ok(8), Payload::None);
        }
        self.accept();
        let slots: Vec<u32> = self.sockets.keys().copied().collect();
        for slot in slots {
            self.send_on(slot);
            while self.receive_on(slot) {}
        }
    }

    fn accept(&mut self) {
        let mut accepted = Vec::new();
        let mut failed = Vec::new();
        for listener in self.listeners.values_mut() {
            while !listener.waiting.is_empty()
                && !listener.accepts.is_empty()
                && let Some(errno) = self.accept_failures.pop_front()
            {
                failed.extend(listener.accepts.pop_front().map(|token| (token, errno)));
            }
            while !listener.accepts.is_empty()
                && let Some(client) = listener.waiting.pop_front()
            {
                accepted.extend(listener.accepts.pop_front().map(|token| (token, client)));
            }
        }
        for (token, errno) in failed {
            self.finish(token, Err(errno), Payload::Peer(None));
        }
        for (token, client) in accepted {
            let before = self.sockets.insert(token.slot, Socket { client, receive: None, send: None });
            assert!(before.is_none(), "{token:?}: accepted into a slot that is taken");
            let peer = Some(self.clients[client].address);
            self.finish(token, Ok(0), Payload::Peer(peer));
        }
    }

    /// A send that waits goes on as far as its client reads.
    fn send_on(&mut self, slot: u32) {
        let Some(socket) = self.sockets.get_mut(&slot) else { return };
        let Some((token, octets, first, mut from)) = socket.send.take() else { return };
        let client = &mut self.clients[socket.client];
        let room = client.window_octets.saturating_sub(client.from_server.len());
        let sent = room.min(octets.len() - from);
        client.from_server.extend_from_slice(&octets[from..from + sent]);
        from += sent;
        if client.has_reset {
            self.finish(token, Err(Errno::PIPE), Payload::Octets(octets));
        } else if from == octets.len() {
            self.finish(token, Ok((octets.len() - first) as u32), Payload::Octets(octets));
        } else {
            socket.send = Some((token, octets, first, from));
        }
    }

    /// One completion of a receive; false when there is none to give.
    fn receive_on(&mut self, slot: u32) -> bool {
        let Some(socket) = self.sockets.get_mut(&slot) else { return false };
        let Some((token, group_id)) = socket.receive else { return false };
        let client = &mut self.clients[socket.client];
        let ending = if client.has_reset {
            Some(Err(Errno::CONNRESET))
        } else if client.to_server.is_empty() {
            client.has_ended.then_some(Ok(0))
        } else if self.groups[usize::from(group_id.0)].free.is_empty() {
            Some(Err(Errno::NOBUFS))
        } else {
            None
        };
        if let Some(result) = ending {
            socket.receive = None;
            self.finish(token, result, Payload::None);
            return false;
        }
        if client.to_server.is_empty() {
            return false;
        }
        let group = &mut self.groups[usize::from(group_id.0)];
        let size = group.shape.buffer_octets as usize;
        let Some(buffer) = group.free.pop_front() else { return false };
        let octets = client.to_server.len().min(size).min(self.receive_octets_most);
        for (index, octet) in client.to_server.drain(..octets).enumerate() {
            group.memory[usize::from(buffer) * size + index] = octet;
        }
        let received = Received { group: group_id, buffer, octets: octets as u32 };
        let payload = Payload::Received(received);
        self.ready.push_back(Completion { token, result: Ok(octets as u32), more: true, payload });
        true
    }

    /// The octets of a receive.
    pub(super) fn octets(&self, received: Received) -> Vec<u8> {
        let Received { group, buffer, octets } = received;
        let group = &self.groups[usize::from(group.0)];
        assert!(!group.free.contains(&buffer), "buffer {buffer} is read after it was released");
        let start = usize::from(buffer) * group.shape.buffer_octets as usize;
        group.memory[start..start + octets as usize].to_vec()
    }

    pub(super) fn release(&mut self, received: Received) {
        let Received { group, buffer, .. } = received;
        let group = &mut self.groups[usize::from(group.0)];
        assert!(!group.free.contains(&buffer), "buffer {buffer} is released twice");
        // What is read after its release must be seen to be wrong.
        let size = group.shape.buffer_octets as usize;
        group.memory[usize::from(buffer) * size..][..size].fill(0xEE);
        group.free.push_back(buffer);
    }
}
