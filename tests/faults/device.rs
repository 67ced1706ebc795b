//! A block device that a test holds in its hands: what is written to it and when it was flushed is kept in order, and it fails as it is
//! told. It speaks the NBD protocol (newstyle, simple replies) to an nbdfuse, which shows it as a file.
//!
//! *Invariants*: one request after the other, so that the journal's order is the device's; a write that is refused leaves nothing; what
//! stands before the last flush that was answered with success is durable, and nothing behind it is.
//!
//! *Does not* know file systems. It knows a block of the spool by how it begins.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a block of the spool begins with.
const MAGIC: &[u8] = b"ringmxS1";

/// The chain in such a block that is for what sinks could not take.
const DEFERRED: u8 = 4;

/// What becomes of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// So many writes that a block of the spool begins with fail.
    SpoolWrites(u64),
    /// The flush behind a block of the spool fails, so many times.
    SpoolFlushes(u64),
    /// Every write and flush fails.
    All,
    /// Every flush takes so many milliseconds.
    SlowFlushes(u64),
    /// Nothing is answered until there is another fault, or none.
    Hangs,
}

/// One thing that the device did, with success.
#[derive(Clone, Debug)]
pub enum Event {
    Write { at: usize, octets: Arc<[u8]> },
    Flush,
}

/// What a block of the spool is known by, and where it lies.
pub type BlockName = [u8; 30];

#[derive(Debug, Default)]
struct State {
    octets: Vec<u8>,
    fault: Fault,
    /// Since it is recorded: what was there before, and what happened since.
    before: Option<Vec<u8>>,
    journal: Vec<Event>,
    /// How often each block of the spool was written, with or without success.
    blocks: HashMap<BlockName, u32>,
    /// Whether a block of the spool was written since the last flush.
    is_behind_a_block: bool,
    failed: u64,
    connections: Vec<UnixStream>,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Events so far.
    clock: Arc<AtomicU64>,
}

/// See the module.
#[derive(Debug)]
pub struct Device {
    shared: Arc<Shared>,
    socket: std::path::PathBuf,
    thread: Option<JoinHandle<()>>,
}

/// What was recorded.
#[derive(Debug)]
pub struct Recording {
    pub before: Vec<u8>,
    pub journal: Vec<Event>,
}

impl Device {
    /// Of so many MiB, all zeros, at a socket that is made there.
    pub fn start(mib: usize, socket: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        shared.lock().octets = vec![0; mib << 20];
        let listener = UnixListener::bind(socket).expect("the directory is there");
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if serving.lock().is_over {
                    return;
                }
                serving.lock().connections.push(stream.try_clone().expect("a socket can be known twice"));
                let shared = Arc::clone(&serving);
                // It ends with the connection.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { shared, socket: socket.to_owned(), thread: Some(thread) }
    }

    pub fn set(&self, fault: Fault) {
        self.shared.lock().fault = fault;
        self.shared.changed.notify_all();
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.shared.lock().failed
    }

    /// Whether what was told to fail has failed.
    pub fn is_spent(&self) -> bool {
        self.shared.lock().fault == Fault::None
    }

    /// From here on all is kept.
    pub fn record(&self) {
        let mut state = self.shared.lock();
        state.before = Some(state.octets.clone());
        state.journal.clear();
        self.shared.clock.store(0, Ordering::SeqCst);
    }

    /// Counts the events that are recorded.
    pub fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.clock)
    }

    /// What was recorded until now.
    pub fn recording(&self) -> Recording {
        let mut state = self.shared.lock();
        let before = state.before.take().expect("it is recorded");
        Recording { before, journal: std::mem::take(&mut state.journal) }
    }

    /// Blocks of the spool that were written, and those of them that were written more than once.
    pub fn blocks(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.blocks.len(), state.blocks.values().filter(|times| **times > 1).count())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.fault = Fault::All;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        // It sees that all is over.
        if UnixStream::connect(&self.socket).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let octets = self.lock().octets.len() as u64;
        negotiate(&mut stream, octets)?;
        loop {
            let _magic: [u8; 4] = take(&mut stream)?;
            let _flags: [u8; 2] = take(&mut stream)?;
            let kind = u16::from_be_bytes(take(&mut stream)?);
            let cookie: [u8; 8] = take(&mut stream)?;
            let at = u64::from_be_bytes(take(&mut stream)?) as usize;
            let length = u32::from_be_bytes(take(&mut stream)?) as usize;
            let mut octets = vec![0; if kind == WRITE { length } else { 0 }];
            stream.read_exact(&mut octets)?;
            let mut answer = Vec::new();
            let error = match kind {
                READ => {
                    drop(self.wait_while_it_hangs());
                    answer.extend_from_slice(&self.lock().octets[at..at + length]);
                    0
                }
                WRITE => self.write(at, &octets),
                FLUSH => self.flush(),
                DISCONNECT => return Ok(()),
                _ => Errno::INVALID,
            };
            let mut reply = 0x6744_6698_u32.to_be_bytes().to_vec();
            reply.extend_from_slice(&error.to_be_bytes());
            reply.extend_from_slice(&cookie);
            reply.append(&mut answer);
            stream.write_all(&reply)?;
        }
    }

    fn wait_while_it_hangs(&self) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| state.fault == Fault::Hangs).expect("no holder of the lock panics")
    }

    fn write(&self, at: usize, octets: &[u8]) -> u32 {
        let mut state = self.wait_while_it_hangs();
        let is_block = octets.starts_with(MAGIC) && octets.len() >= 48;
        if is_block {
            // Chain, shard, node, epoch, sequence, address.
            let name = octets[10..40].try_into().expect("it is as long");
            // What sinks could not take is in logs of their own, which may have the same numbers.
            if octets[10] != DEFERRED {
                *state.blocks.entry(name).or_default() += 1;
            }
            state.is_behind_a_block = true;
        }
        match state.fault {
            Fault::All => return state.fail(Fault::All),
            Fault::SpoolWrites(left) if is_block => return state.fail(counted_down(left, Fault::SpoolWrites)),
            _ => {}
        }
        state.octets[at..at + octets.len()].copy_from_slice(octets);
        self.note(&mut state, || Event::Write { at, octets: octets.into() });
        0
    }

    fn flush(&self) -> u32 {
        let mut state = self.wait_while_it_hangs();
        let is_behind_a_block = std::mem::take(&mut state.is_behind_a_block);
        match state.fault {
            Fault::All => return state.fail(Fault::All),
            Fault::SpoolFlushes(left) if is_behind_a_block => {
                return state.fail(counted_down(left, Fault::SpoolFlushes));
            }
            Fault::SlowFlushes(milliseconds) => {
                drop(state);
                std::thread::sleep(Duration::from_millis(milliseconds));
                state = self.wait_while_it_hangs();
            }
            _ => {}
        }
        self.note(&mut state, || Event::Flush);
        0
    }

    /// The clock goes on before the request is answered: who hears of what it brought about sees a later time.
    fn note(&self, state: &mut State, event: impl FnOnce() -> Event) {
        if state.before.is_some() {
            state.journal.push(event());
            self.clock.store(state.journal.len() as u64, Ordering::SeqCst);
        }
    }
}

impl State {
    fn fail(&mut self, next: Fault) -> u32 {
        (self.fault, self.failed) = (next, self.failed + 1);
        Errno::IO
    }
}

fn counted_down(left: u64, fault: impl Fn(u64) -> Fault) -> Fault {
    if left > 1 { fault(left - 1) } else { Fault::None }
}

/// As NBD counts them.
struct Errno;

impl Errno {
    const IO: u32 = 5;
    const INVALID: u32 = 22;
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    stream.read_exact(&mut octets).map(|()| octets)
}

/// The way to the only export there is: it has flags, and can be flushed.
fn negotiate(stream: &mut UnixStream, size: u64) -> io::Result<()> {
    const FLAGS: u16 = 1 | 4;
    const OPTION_EXPORT_NAME: u32 = 1;
    const OPTION_GO: u32 = 7;
    stream.write_all(b"NBDMAGICIHAVEOPT\x00\x03")?;
    let client = u32::from_be_bytes(take(stream)?);
    loop {
        let _magic: [u8; 8] = take(stream)?;
        let option = u32::from_be_bytes(take(stream)?);
        let mut data = vec![0; u32::from_be_bytes(take(stream)?) as usize];
        stream.read_exact(&mut data)?;
        let mut export = size.to_be_bytes().to_vec();
        export.extend_from_slice(&FLAGS.to_be_bytes());
        let mut reply = |kind: u32, data: &[u8]| {
            let mut reply = 0x0003_E889_0455_65A9_u64.to_be_bytes().to_vec();
            for number in [option, kind, data.len() as u32] {
                reply.extend_from_slice(&number.to_be_bytes());
            }
            stream.write_all(&[&reply, data].concat())
        };
        match option {
            OPTION_EXPORT_NAME => {
                export.resize(if client & 2 == 0 { 10 + 124 } else { 10 }, 0);
                return stream.write_all(&export);
            }
            OPTION_GO => {
                reply(3, &[&[0, 0], &export[..]].concat())?;
                return reply(1, &[]);
            }
            // It is not supported.
            _ => reply(0x8000_0001, &[])?,
        }
    }
}
