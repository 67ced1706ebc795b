//! One script on both back ends: what the simulation does, the kernel does.

use std::fs;
use std::io::{Read, Seek as _, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;

use crate::handoff::mailbox::{Receiver, Sender, mailbox};
use crate::memory;
use crate::memory::slab::Slab;
use crate::memory::write::File;
use crate::reactor::buffers::GroupShape;
use crate::reactor::connecting::Route;
use crate::reactor::io::{
    Completion, GroupId, Io, Kind, ListenerId, Operation, Parts, Payload, Received, SendMode, Token,
};
use crate::reactor::listening::Bind;
use crate::reactor::ring::{Ring, RingOptions};
use crate::simulation::files::Plain;
use crate::simulation::io::SimulatedIo;
use crate::simulation::world::{ClientId, Network};

/// A back end with clients around it.
trait Stage {
    type I: Io;
    type Client;
    fn io(&mut self) -> &mut Self::I;
    fn listener(&mut self) -> <Self::I as Io>::Listener;
    fn connect(&mut self) -> Self::Client;
    fn send(&mut self, client: &mut Self::Client, octets: &[u8]);
    /// Reads so many octets; the server may have to be let work for it.
    fn read(&mut self, client: &mut Self::Client, octets: usize) -> Vec<u8>;
    fn end(&mut self, client: &mut Self::Client);
    fn reset(&mut self, client: Self::Client);
    /// Whether the client sees the server's end, and nothing before it.
    fn sees_end(&mut self, client: &mut Self::Client) -> bool;
    fn wake(&mut self);
    /// Where the shard can connect to.
    fn destination(&self) -> Bind;
    /// The other end of a connection that the shard has made.
    fn accept(&mut self) -> Self::Client;
    /// A file of so many zeros to write to, and one that takes no writes.
    fn files(&mut self, octets: usize) -> [Arc<File>; 2];
    /// What is in the one that takes them.
    fn read_file(&mut self) -> Vec<u8>;
}

struct Kernel {
    io: Ring,
    listening: TcpListener,
    mailbox: (Sender<()>, Receiver<()>),
    file: Option<fs::File>,
}

impl Stage for Kernel {
    type I = Ring;
    type Client = TcpStream;

    fn io(&mut self) -> &mut Ring {
        &mut self.io
    }

    fn listener(&mut self) -> OwnedFd {
        self.listening.try_clone().unwrap().into()
    }

    fn connect(&mut self) -> TcpStream {
        let client = TcpStream::connect(self.listening.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    fn send(&mut self, client: &mut TcpStream, octets: &[u8]) {
        client.write_all(octets).unwrap();
    }

    fn read(&mut self, client: &mut TcpStream, octets: usize) -> Vec<u8> {
        let mut all = vec![0; octets];
        client.set_nonblocking(true).unwrap();
        let mut read = 0;
        while read < octets {
            match client.read(&mut all[read..]) {
                Ok(0) => panic!("the server ended early"),
                Ok(more) => read += more,
                Err(_) => self.io.wait(None).unwrap(),
            }
        }
        client.set_nonblocking(false).unwrap();
        all
    }

    fn end(&mut self, client: &mut TcpStream) {
        client.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(&mut self, client: TcpStream) {
        let socket = socket2::Socket::from(client);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn sees_end(&mut self, client: &mut TcpStream) -> bool {
        client.read(&mut [0; 1]).unwrap() == 0
    }

    fn wake(&mut self) {
        self.mailbox.0.send(()).unwrap();
        self.mailbox.1.take();
    }

    fn destination(&self) -> Bind {
        Bind::Tcp(self.listening.local_addr().unwrap())
    }

    fn accept(&mut self) -> TcpStream {
        let (client, _) = self.listening.accept().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    fn files(&mut self, octets: usize) -> [Arc<File>; 2] {
        let path = std::env::temp_dir().join(format!("ringmx-fidelity-{}", std::process::id()));
        let file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let read_only = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.set_len(octets as u64).unwrap();
        self.file = Some(file.try_clone().unwrap());
        [file, read_only].map(|file| Arc::new(File::Open(file.into())))
    }

    fn read_file(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.file.as_ref().unwrap().rewind().unwrap();
        self.file.as_ref().unwrap().read_to_end(&mut all).unwrap();
        all
    }
}

struct Simulated {
    io: SimulatedIo,
    network: Network,
    disk: Plain,
}

const LISTENER: ListenerId = ListenerId(0);
const SERVER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 25));

impl Stage for Simulated {
    type I = SimulatedIo;
    type Client = ClientId;

    fn io(&mut self) -> &mut SimulatedIo {
        &mut self.io
    }

    fn listener(&mut self) -> ListenerId {
        LISTENER
    }

    fn connect(&mut self) -> ClientId {
        self.network.connect(LISTENER)
    }

    fn send(&mut self, client: &mut ClientId, octets: &[u8]) {
        self.network.send(*client, octets);
    }

    fn read(&mut self, client: &mut ClientId, octets: usize) -> Vec<u8> {
        let mut all = self.network.read(*client);
        while all.len() < octets {
            self.io.wait(None).unwrap();
            all.extend(self.network.read(*client));
        }
        all
    }

    fn end(&mut self, client: &mut ClientId) {
        self.network.end(*client);
    }

    fn reset(&mut self, client: ClientId) {
        self.network.reset(client);
    }

    fn sees_end(&mut self, client: &mut ClientId) -> bool {
        self.network.read(*client).is_empty() && self.network.sees_end(*client)
    }

    fn wake(&mut self) {
        self.network.wake();
    }

    fn destination(&self) -> Bind {
        Bind::Tcp(SERVER)
    }

    fn accept(&mut self) -> ClientId {
        self.network.accept(&self.destination()).unwrap()
    }

    fn files(&mut self, octets: usize) -> [Arc<File>; 2] {
        self.disk.create(1, octets);
        self.network.set_files(Rc::new(self.disk.clone()));
        // The other is not there.
        [1, 2].map(|number| Arc::new(File::Numbered(number)))
    }

    fn read_file(&mut self) -> Vec<u8> {
        self.disk.read(1)
    }
}

fn token(kind: Kind, slot: u32) -> Token {
    Token { kind, generation: 5, slot }
}

/// The next completion, which must come.
fn next<S: Stage>(stage: &mut S) -> Completion {
    for _ in 0..2_000 {
        if let Some(completion) = stage.io().complete() {
            return completion;
        }
        let until = stage.io().read_clock().plus_ms(5);
        stage.io().wait(Some(until)).unwrap();
    }
    panic!("nothing completes");
}

/// What a completion says, without numbers that may differ from run to run.
fn tell(log: &mut Vec<String>, completion: &Completion) {
    let Completion { token, result, more, payload } = completion;
    let peer = matches!(payload, Payload::Peer(Some(peer)) if peer.ip() == SocketAddr::from(([127, 0, 0, 1], 0)).ip());
    log.push(format!("{token:?} {result:?} more={more} peer={peer}"));
}

fn run<S: Stage>(stage: &mut S, log: &mut Vec<String>, slot: u32, kind: Kind, operation: Operation) -> Completion {
    stage.io().start(token(kind, slot), operation);
    let completion = next(stage);
    tell(log, &completion);
    completion
}

/// Receives until so many octets have come, or the receive ends; buffers are given back at once or kept.
fn receive<S: Stage>(stage: &mut S, log: &mut Vec<String>, octets: usize, kept: Option<&mut Vec<Received>>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut kept = kept;
    while all.len() < octets {
        let completion = next(stage);
        let Payload::Received(received) = completion.payload else {
            tell(log, &completion);
            break;
        };
        assert!(completion.more && completion.result == Ok(received.octets));
        all.extend_from_slice(stage.io().received(received));
        match &mut kept {
            Some(kept) => kept.push(received),
            None => stage.io().release(received),
        }
    }
    all
}

const SMALL: GroupId = GroupId(1);

/// Everything that the shard relies on, once.
fn script<S: Stage>(stage: &mut S) -> Vec<String> {
    let mut log = Vec::new();
    let log = &mut log;
    let socket = stage.listener();
    let listener = stage.io().add_listener(socket);

    // An accept brings the peer's address.
    let mut client = stage.connect();
    run(stage, log, 3, Kind::Accept, Operation::Accept { listener });

    // A receive goes on; a send gives its octets back.
    stage.io().start(token(Kind::Receive, 3), Operation::Receive { group: GroupId(0) });
    stage.send(&mut client, b"hello");
    assert_eq!(receive(stage, log, 5, None), b"hello");
    let send = |text: &[u8], mode| Operation::Send { octets: text.to_vec(), from: 1, mode };
    let sent = run(stage, log, 3, Kind::Send, send(b"-world", SendMode::Prompt));
    assert_eq!(sent.payload, Payload::Octets(b"-world".to_vec()));
    assert_eq!(stage.read(&mut client, 5), b"world");

    // A cancelled receive says so; cancel, drain, re-arm in another group loses nothing.
    stage.io().start(token(Kind::Cancel, 3), Operation::Cancel { target: token(Kind::Receive, 3) });
    let mut both = [next(stage), next(stage)];
    both.sort_by_key(|completion| completion.token.kind);
    both.iter().for_each(|completion| tell(log, completion));
    run(stage, log, 3, Kind::Cancel, Operation::Cancel { target: token(Kind::Receive, 3) });
    let long: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    stage.send(&mut client, &long[..5_000]);
    stage.io().start(token(Kind::Receive, 3), Operation::Receive { group: SMALL });

    // A group without a free buffer ends the receive; what the client sent stays with the kernel.
    let mut kept = Vec::new();
    stage.send(&mut client, &long[5_000..]);
    let mut all = receive(stage, log, long.len(), Some(&mut kept));
    assert!(all.len() < long.len(), "two buffers of 4 KiB cannot hold it");
    kept.into_iter().for_each(|received| stage.io().release(received));
    while all.len() < long.len() {
        stage.io().start(token(Kind::Receive, 3), Operation::Receive { group: GroupId(0) });
        all.extend(receive(stage, &mut Vec::new(), long.len() - all.len(), None));
    }
    assert_eq!(all, long);

    // A client that does not read makes a send short, and the rest wait.
    let flood = long.repeat(100);
    stage.io().start(token(Kind::Send, 3), Operation::Send { octets: flood.clone(), from: 0, mode: SendMode::Quiet });
    let short = next(stage);
    let sent = short.result.unwrap() as usize;
    assert!(sent > 0 && sent < flood.len(), "{sent}");
    let Payload::Octets(octets) = short.payload else { panic!("a send gives its octets back") };
    stage.io().start(token(Kind::Send, 3), Operation::Send { octets, from: sent, mode: SendMode::Patient });
    assert_eq!(stage.read(&mut client, flood.len()), flood);
    let rest = next(stage);
    assert_eq!(rest.result, Ok((flood.len() - sent) as u32));

    in_pieces(stage, &mut client, &long, log);

    // A quiet send is told when something else ends the wait: the time, at the latest.
    stage.io().start(token(Kind::Send, 3), send(b"-quiet", SendMode::Quiet));
    let before = stage.io().read_clock();
    stage.io().wait(Some(before.plus_ms(30))).unwrap();
    assert!(stage.io().now().since_ns(before) >= 30_000_000);
    let told = next(stage);
    tell(log, &told);
    assert_eq!(stage.read(&mut client, 5), b"quiet");

    // The client's end; the server can still send, then shuts and closes.
    stage.end(&mut client);
    let ended = next(stage);
    tell(log, &ended);
    run(stage, log, 3, Kind::Send, send(b"-bye", SendMode::Quiet));
    assert_eq!(stage.read(&mut client, 3), b"bye");
    run(stage, log, 3, Kind::Shutdown, Operation::Shutdown);
    assert!(stage.sees_end(&mut client));
    run(stage, log, 3, Kind::Close, Operation::Close);

    move_connection(stage, log, listener);
    slot_again(stage, log, listener);

    // An accept that nobody comes for; a wake from elsewhere.
    stage.io().start(token(Kind::Accept, 4), Operation::Accept { listener });
    stage.io().wait(None).unwrap();
    stage.io().start(token(Kind::Cancel, 4), Operation::Cancel { target: token(Kind::Accept, 4) });
    let mut both = [next(stage), next(stage)];
    both.sort_by_key(|completion| completion.token.kind);
    both.iter().for_each(|completion| tell(log, completion));
    stage.io().remove_listener(listener);
    connections_out(stage, log);
    writes(stage, log);
    stage.io().start(token(Kind::Wake, u32::MAX), Operation::AwaitWake);
    stage.wake();
    let woken = next(stage);
    tell(log, &woken);
    std::mem::take(log)
}

/// A reset; and a slot that is used again.
fn slot_again<S: Stage>(stage: &mut S, log: &mut Vec<String>, listener: ListenerId) {
    let late = Operation::Send { octets: b"late".to_vec(), from: 0, mode: SendMode::Quiet };
    let client = stage.connect();
    run(stage, log, 3, Kind::Accept, Operation::Accept { listener });
    stage.io().start(token(Kind::Receive, 3), Operation::Receive { group: GroupId(0) });
    stage.io().wait(None).unwrap();
    stage.reset(client);
    let reset = next(stage);
    tell(log, &reset);
    run(stage, log, 3, Kind::Close, Operation::Close);
    let closed = run(stage, log, 3, Kind::Send, late);
    assert_eq!(closed.result, Err(Errno::BADF));
}

/// A connection moves to another slot, as it would to another shard: what is closed behind it is not its end.
fn move_connection<S: Stage>(stage: &mut S, log: &mut Vec<String>, listener: ListenerId) {
    let send = |text: &[u8]| Operation::Send { octets: text.to_vec(), from: 0, mode: SendMode::Prompt };
    let mut client = stage.connect();
    run(stage, log, 3, Kind::Accept, Operation::Accept { listener });
    assert!(stage.io().parted(3).is_none());
    stage.io().start(token(Kind::Part, 3), Operation::Part);
    assert!(next(stage).result.is_ok());
    let parted = stage.io().parted(3).expect("a descriptor was made");
    run(stage, log, 3, Kind::Close, Operation::Close);
    stage.io().adopt(6, parted).unwrap();
    stage.io().start(token(Kind::Receive, 6), Operation::Receive { group: GroupId(0) });
    stage.send(&mut client, b"moved");
    assert_eq!(receive(stage, log, 5, None), b"moved");
    run(stage, log, 6, Kind::Send, send(b"there"));
    assert_eq!(stage.read(&mut client, 5), b"there");
    stage.end(&mut client);
    let ended = next(stage);
    tell(log, &ended);
    run(stage, log, 6, Kind::Close, Operation::Close);
    assert!(stage.sees_end(&mut client));
}

/// Octets of one's own among those that are shared: all of them, from an octet in the middle of one, short, and patient.
fn in_pieces<S: Stage>(stage: &mut S, client: &mut S::Client, long: &[u8], log: &mut Vec<String>) {
    // The same octets for both back ends.
    static SHARED: OnceLock<Vec<u8>> = OnceLock::new();
    let shared: &'static [u8] = SHARED.get_or_init(|| long.to_vec());
    let mut parts = Parts::from(b"-own ".to_vec());
    assert!(parts.share(b"shared ") && parts.share(b"twice "));
    parts.own.extend_from_slice(b"own");
    for (from, mode) in [(1, SendMode::Prompt), (7, SendMode::Patient)] {
        let sent = run(stage, log, 3, Kind::Send, Operation::SendParts { parts: parts.clone(), from, mode });
        assert_eq!((sent.result, sent.payload), (Ok((parts.len() - from) as u32), Payload::Parts(parts.clone())));
        assert_eq!(stage.read(client, parts.len() - from), b"-own shared twice own"[from..]);
    }

    let small = parts;
    let mut flood = Parts::default();
    for number in 0..100 {
        flood.own.extend_from_slice(format!("piece {number}").as_bytes());
        assert!(flood.share(shared));
    }
    let all = flood.pieces(0).collect::<Vec<_>>().concat();
    let quiet = Operation::SendParts { parts: flood, from: 0, mode: SendMode::Quiet };
    stage.io().start(token(Kind::Send, 3), quiet);
    let short = next(stage);
    let sent = short.result.unwrap() as usize;
    assert!(sent > 0 && sent < all.len(), "{sent}");
    let Payload::Parts(parts) = short.payload else { panic!("a send in pieces gives them back") };
    stage.io().start(token(Kind::Send, 3), Operation::SendParts { parts, from: sent, mode: SendMode::Patient });
    assert_eq!(stage.read(client, all.len()), all);
    assert_eq!(next(stage).result, Ok((all.len() - sent) as u32));

    // Quiet, and all of it: told at the end of the wait.
    let quiet = Operation::SendParts { parts: small, from: 1, mode: SendMode::Quiet };
    let told = run(stage, log, 3, Kind::Send, quiet);
    assert!(matches!(told.payload, Payload::Parts(_)));
    assert_eq!(stage.read(client, 20), b"own shared twice own");
}

/// What a relay or a load generator relies on.
fn connections_out<S: Stage>(stage: &mut S, log: &mut Vec<String>) {
    let connect = |to: Bind| Operation::Connect { route: Arc::new(Route::new(to, None).unwrap()) };

    // A connection that the shard makes is one like any other.
    let destination = stage.destination();
    run(stage, log, 5, Kind::Connect, connect(destination));
    let mut server = stage.accept();
    stage.io().start(token(Kind::Receive, 5), Operation::Receive { group: GroupId(0) });
    stage.send(&mut server, b"220 x");
    assert_eq!(receive(stage, log, 5, None), b"220 x");
    let octets = b"EHLO x".to_vec();
    run(stage, log, 5, Kind::Send, Operation::Send { octets, from: 0, mode: SendMode::Prompt });
    assert_eq!(stage.read(&mut server, 6), b"EHLO x");
    stage.end(&mut server);
    let ended = next(stage);
    tell(log, &ended);
    run(stage, log, 5, Kind::Close, Operation::Close);
    assert!(stage.sees_end(&mut server));

    // Nobody listens: the slot is closed all the same, and serves again.
    let nowhere = Bind::Tcp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1).into());
    let refused = run(stage, log, 5, Kind::Connect, connect(nowhere));
    assert_eq!(refused.result, Err(Errno::CONNREFUSED));
    run(stage, log, 5, Kind::Close, Operation::Close);
    let destination = stage.destination();
    run(stage, log, 5, Kind::Connect, connect(destination));
    run(stage, log, 5, Kind::Close, Operation::Close);
}

/// What a log relies on: each write is told by its number, and lets its memory and its file go.
fn writes<S: Stage>(stage: &mut S, log: &mut Vec<String>) {
    let mut slab = Slab::with_blocks_of(8192, 2);
    let [file, refusing] = stage.files(4 * 4096);
    let operation = |slab: &mut Slab, file: &Arc<File>, at: u64| {
        let octets = slab.append_whole(&[at as u8 + 1; 4096]).unwrap();
        let write = memory::write::Write { file: Arc::clone(file), octets, at: at * 4096, is_synced: at != 2 };
        Operation::Write { write }
    };
    // Numbers of writes have nothing to do with slots: there are none of these.
    for at in [3_u64, 1, 2] {
        let write = operation(&mut slab, &file, at);
        stage.io().start(token(Kind::Write, 1_000 + at as u32), write);
    }
    let mut done: Vec<Completion> = (0..3).map(|_| next(stage)).collect();
    done.sort_by_key(|completion| completion.token.slot);
    done.iter().for_each(|completion| tell(log, completion));
    let content = stage.read_file();
    for (at, piece) in content.chunks(4096).enumerate() {
        let expected = if at == 0 { 0 } else { at as u8 + 1 };
        assert!(piece.iter().all(|octet| *octet == expected), "{at}");
    }
    let write = operation(&mut slab, &refusing, 0);
    let refused = run(stage, log, 1_000, Kind::Write, write);
    assert_eq!((refused.result, refused.payload), (Err(Errno::BADF), Payload::None));
    run(stage, log, 1_000, Kind::Cancel, Operation::Cancel { target: token(Kind::Write, 1_000) });
    assert_eq!((Arc::strong_count(&file), Arc::strong_count(&refusing), slab.octets()), (1, 1, 8192));
    assert_eq!(stage.io().counts().writes, 4);
}

#[test]
fn the_simulation_does_what_the_kernel_does() {
    let groups = [GroupShape { buffer_octets: 16_384, buffers: 8 }, GroupShape { buffer_octets: 4_096, buffers: 2 }];
    let (sender, receiver, wake) = mailbox().unwrap();
    let options = RingOptions { sockets: 8, submissions: 8, completions: 64, groups: groups.to_vec() };
    let mut kernel = Kernel {
        io: Ring::new(&options, wake).unwrap(),
        listening: TcpListener::bind("127.0.0.1:0").unwrap(),
        mailbox: (sender, receiver),
        file: None,
    };
    let network = Network::new(&groups);
    network.listen(&Bind::Tcp(SERVER));
    let mut simulated = Simulated { io: SimulatedIo::new(network.clone(), 1), network, disk: Plain::default() };
    let by_kernel = script(&mut kernel);
    let by_simulation = script(&mut simulated);
    assert_eq!(by_simulation, by_kernel);
    assert_eq!(by_kernel.len(), 39, "{by_kernel:#?}");
    assert_eq!(simulated.network.free_buffers(GroupId(0)), 8);
    assert_eq!(simulated.network.free_buffers(SMALL), 2);
}
