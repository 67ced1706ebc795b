//! An engine in this process, and a client for it that reads while it writes.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmx::config::{Bind, Plan};
use ringmx::engine::Engine;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::{ReplyReader, ReplyText};

/// Longer than anything takes on a machine that is busy: reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Starts an engine on addresses that the kernel chooses.
pub fn start(configuration: &str) -> Engine {
    let plan = Plan::parse(configuration, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{configuration}"));
    Engine::start(plan, false).expect("the engine starts")
}

/// Where a listener of the engine listens.
pub fn address(engine: &Engine, listener: &str) -> SocketAddr {
    let (_, bind) = engine.listening().find(|(name, _)| *name == listener).expect("the listener is open");
    match bind {
        Bind::Tcp(address) => *address,
        Bind::Unix(path) => panic!("{} is no address", path.display()),
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    replies: ReplyReader,
    /// What ended the server's side of the connection.
    end: Option<Result<(), ErrorKind>>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the engine accepts");
        stream.set_nodelay(true).expect("TCP has the option");
        stream.set_nonblocking(true).expect("a socket can be so");
        Self { stream, replies: ReplyReader::default(), end: None }
    }

    /// Sends in one write, or as few as the kernel takes; a server that has closed is no error here.
    pub fn send(&mut self, mut octets: &[u8]) {
        let until = Instant::now() + PATIENCE;
        while !octets.is_empty() {
            match self.stream.write(octets) {
                Ok(sent) => octets = &octets[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN | PollFlags::OUT, until);
                    self.read();
                }
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return,
                Err(error) => panic!("cannot send: {error}"),
            }
            assert!(Instant::now() < until, "the server takes nothing");
        }
    }

    /// Shuts the sending side.
    pub fn half_close(&self) {
        // A server that has closed already is as good.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The next reply; `None` when the server has closed before one.
    pub fn reply(&mut self) -> Option<ReplyText> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(reply) = self.replies.next() {
                return Some(reply);
            }
            if self.end.is_some() {
                return None;
            }
            self.wait(PollFlags::IN, until);
            self.read();
            assert!(Instant::now() < until, "no reply comes");
        }
    }

    /// Awaits the server's end, which must come without another reply, and as a FIN.
    pub fn expect_end(&mut self) {
        if let Some(reply) = self.reply() {
            panic!("wanted the end, got {reply:?}");
        }
        assert!(self.replies.is_empty(), "half a reply");
        assert_eq!(self.end, Some(Ok(())));
    }

    fn wait(&self, flags: PollFlags, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.stream, flags)], Some(&timeout)).expect("poll works");
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        while self.end.is_none() {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.end = Some(Ok(())),
                Ok(octets) => self.replies.push(&buffer[..octets]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.end = Some(Err(error.kind())),
            }
        }
    }
}
