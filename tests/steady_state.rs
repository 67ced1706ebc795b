//! The message path in the steady state: no allocation, no copy of content, few system calls (DESIGN decision 6, P17).
//!
//! Allocations are counted for each thread of this process; the shard's thread is told by its name.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ringmx::config::{Bind, Plan, SinkOptions};
use ringmx::engine::Engine;
use ringmx::handoff::intake::{Arrived, Intake};
use ringmx::mail::address::{Mailbox, Path};
use ringmx::mail::envelope::Route;
use ringmx::policy::decision::Decision;
use ringmx::policy::recipients::{Action, Recipients};
use ringmx::policy::scope::Scope;
use ringmx::smtp::session::Outcome;

/// Threads are told apart by their number modulo this; numbers within one process are neighbours.
const THREADS: usize = 4096;

static ALLOCATIONS: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];

struct Counting;

fn count() {
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    ALLOCATIONS[thread % THREADS].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, octets) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn shard_thread() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim() == "shard-0")
        .and_then(|task| task.file_name()?.to_str()?.parse().ok())
        .expect("the engine has a shard")
}

const CONNECTIONS: usize = 20;
const DEPTH: usize = 32;
const ROUNDS: usize = 100;

struct Client {
    socket: TcpStream,
    replies: BufReader<TcpStream>,
    line: String,
}

impl Client {
    fn new(address: std::net::SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let mut client = Self { replies: BufReader::new(socket.try_clone().unwrap()), socket, line: String::new() };
        client.replies(1);
        client.socket.write_all(b"HELO c.test\r\n").unwrap();
        client.replies(1);
        client
    }

    fn replies(&mut self, replies: usize) {
        for _ in 0..replies {
            self.line.clear();
            self.replies.read_line(&mut self.line).unwrap();
            assert!(self.line.starts_with('2'), "{}", self.line);
        }
    }
}

fn plan(checksum: bool, keeps_envelope: bool) -> Plan {
    let binds = vec!["127.0.0.1:0".parse().unwrap()];
    Plan::sink(SinkOptions { binds, shards: 1, checksum, keeps_envelope, ..SinkOptions::default() }).unwrap()
}

/// A sink of an embedder's: looks at all of the content, and at the envelope.
struct Reader(Arc<Read>);

#[derive(Default)]
struct Read {
    letters: AtomicU64,
    recipients: AtomicU64,
}

impl Intake for Reader {
    fn content(&mut self, _scope: &Scope, _slot: u32, piece: &[u8]) -> usize {
        let letters = piece.iter().filter(|octet| **octet == b'x').count();
        self.0.letters.fetch_add(letters as u64, Ordering::Relaxed);
        0
    }

    fn abort(&mut self, _slot: u32) {}

    fn end(&mut self, message: &Arrived<'_>) -> Decision {
        let recipients = message.ended.record.expect("it is kept").envelope().recipients();
        let is_known = |path: &Path<'_>| matches!(path, Path::Mailbox(mailbox) if mailbox.local_part == b"a");
        let known = recipients.filter(|recipient| is_known(&recipient.path)).count();
        self.0.recipients.fetch_add(known as u64, Ordering::Relaxed);
        Decision::Now(Outcome::Accept)
    }
}

/// However long the list, and whatever is asked.
#[test]
fn a_recipient_is_looked_up_without_memory() {
    let mut recipients = Recipients::new("mx.test", Route(0));
    let patterns = ["ok.test", ".sub.test", "a@", "b@x.test", "[IPv6:2001:db8::1]"].map(str::to_owned);
    for pattern in patterns.into_iter().chain((0..1000).map(|index| format!("user{index}@many.test"))) {
        recipients.add(&pattern.parse().unwrap(), Action::Take).unwrap();
    }
    recipients.route(&"ok.test".parse().unwrap(), Route(1)).unwrap();
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize % THREADS;
    let before = ALLOCATIONS[thread].load(Ordering::Relaxed);
    let mut taken = 0;
    for (local_part, domain) in [
        ("u", "OK.test."),
        ("\"u\\v\"", "x.y.z.sub.test"),
        ("user999", "many.test"),
        ("a", "elsewhere.test"),
        ("u", "[IPv6:2001:DB8::1]"),
        ("postmaster", "x.test"),
        ("u", "[IPv6:::192.0.02.1]"),
        ("u%v", "ok.test"),
        ("u", "other.test"),
    ] {
        let mailbox = Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes() };
        taken += u32::from(matches!(recipients.answer(Path::Mailbox(mailbox)), Outcome::AcceptFor(_)));
    }
    assert_eq!((taken, ALLOCATIONS[thread].load(Ordering::Relaxed) - before), (6, 0));
}

#[test]
fn a_message_costs_no_allocation_and_no_copy() {
    let _one = ONE_ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    expect_steady(Engine::start(plan(false, false), false).unwrap(), false, 0);
    expect_steady(Engine::start(plan(true, false), false).unwrap(), true, 0);
    let read = Arc::new(Read::default());
    let engine = Engine::start_with(plan(false, true), false, |_| Reader(read.clone())).unwrap();
    let messages = expect_steady(engine, false, 0);
    assert_eq!(read.letters.load(Ordering::Relaxed), messages * 4096);
    assert_eq!(read.recipients.load(Ordering::Relaxed), messages);
}

/// What is handed off is copied once.
#[test]
fn a_message_that_is_handed_off_costs_one_copy_and_hardly_an_allocation() {
    let _one = ONE_ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let data_dir = std::env::temp_dir().join(format!("ringmx-steady-{}", std::process::id()));
    let text = format!(
        "[server]\nshards = 1\ndata_dir = {data_dir:?}\n[log]\ndeliveries = 'none'\n[sink.s]\nkind = 'blackhole'\n\
         [listener.mx]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nsink = 's'\n"
    );
    let plan = Plan::parse(&text, "steady").unwrap();
    expect_steady(Engine::start(plan, false).unwrap(), false, 1);
    std::fs::remove_dir_all(data_dir).unwrap();
}

/// Engines run one after the other: each one's shard is told by its name.
static ONE_ENGINE: Mutex<()> = Mutex::new(());

/// Gives the messages that it was sent; whether it sums their content is to be said, and how often it copies it.
fn expect_steady(mut engine: Engine, checksum: bool, copies: u64) -> u64 {
    let Some((_, Bind::Tcp(address))) = engine.listening().next() else { panic!("it listens") };
    let address = *address;

    let message = format!("MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nBDAT 4096 LAST\r\n{}", "x".repeat(4096));
    let batch = message.repeat(DEPTH);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::new(address)).collect();
    let rounds = |rounds: usize, clients: &mut [Client]| {
        std::thread::scope(|scope| {
            for client in clients {
                let batch = batch.as_bytes();
                scope.spawn(move || {
                    for _ in 0..rounds {
                        client.socket.write_all(batch).unwrap();
                        client.replies(3 * DEPTH);
                    }
                });
            }
        });
    };

    rounds(20, &mut clients);
    let before = engine.report();
    let thread = shard_thread() % THREADS;
    let allocations_before = ALLOCATIONS[thread].load(Ordering::Relaxed);
    rounds(ROUNDS, &mut clients);
    let allocations = ALLOCATIONS[thread].load(Ordering::Relaxed) - allocations_before;
    let after = engine.report();

    let more = |name: &str| after.total(name) - before.total(name);
    let messages = (ROUNDS * CONNECTIONS * DEPTH) as u64;
    assert_eq!(more("messages"), messages);
    assert_eq!(more("message_octets"), messages * 4096);
    assert_eq!(more("content_checksums"), if checksum { messages } else { 0 });
    let each = u64::from(crc32c::crc32c(&[b'x'; 4096]));
    assert_eq!(more("content_checksum_sum"), more("content_checksums") * each);
    assert_eq!(more("octets_copied_content"), copies * messages * 4096);
    assert_eq!(more("octets_copied_paused"), 0);
    // A connection whose command line is cut for the first time gets a carry, which it keeps. When that happens is the
    // network's choice; that it happens no second time is not.
    // One that is kept lies in three pieces where a block of memory ends, and another came in between as well.
    let most = CONNECTIONS as u64 + copies * messages / 200;
    assert!(allocations <= most, "{allocations} on the shard, for {messages} messages");
    let calls = more("system_calls") as f64 / messages as f64;
    let copied = more("octets_copied_commands") as f64 / more("octets_received") as f64;
    println!("{allocations} allocations for {messages} messages");
    println!("{calls:.4} system calls a message; {copied:.6} octets copied for an octet received");
    assert!(calls < 1.0, "a batch is taken in turns, not a message: {calls}");
    assert!(copied < 0.01, "only command lines that a receive cut are copied: {copied}");
    drop(clients);
    let report = engine.stop();
    let all = messages + (20 * CONNECTIONS * DEPTH) as u64;
    assert_eq!(report.total("messages"), all);
    all
}
