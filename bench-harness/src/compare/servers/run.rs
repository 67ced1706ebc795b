//! One run of one server: started, warmed, loaded, asked what it counted, and ended with all that it started.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::arguments::ServersArguments;
use super::dialogue;
use super::kind::{Contender, Home, Kind};
use super::load::{self, Sent};
use super::tree::{MemoryWatch, Source, Tree};
use crate::compare::process::Process;
use crate::failure::Failure;
use crate::measure::account::Account;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a queue may take to empty.
const QUEUE_PATIENCE: Duration = Duration::from_secs(300);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long a server is left alone before its account is read: connections close, threads fall asleep.
const SETTLING: Duration = Duration::from_millis(50);

/// Messages that each server gets before its account is opened, for each connection.
const WARMING_EACH: u64 = 10;

/// Messages of a small run, for each connection.
const SMALL_EACH: u64 = 10;

/// Of these messages at least a figure is made, for each connection.
const LEAST_EACH: u64 = 25;

/// With a connection for each message: a client has some 28,000 ports for one server, and keeps them for a minute.
const CONNECTIONS_MOST: u64 = 24_000;

/// How many messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// This many.
    Messages(u64),
    /// What takes so long, in s, by what warming has shown. What a server cannot tell beforehand it cannot count.
    Seconds(f64),
}

impl Amount {
    /// Of a small run.
    pub fn small(asked: &ServersArguments) -> Self {
        Self::Messages(SMALL_EACH * u64::from(asked.connections))
    }

    /// What takes so long at this rate.
    pub fn at(asked: &ServersArguments, rate: f64, seconds: f64) -> u64 {
        let connections = u64::from(asked.connections);
        let messages = ((rate * seconds) as u64).max(LEAST_EACH * connections);
        match asked.load {
            super::arguments::Load::Connection => messages.min(CONNECTIONS_MOST),
            _ => messages,
        }
    }
}

/// What a run has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Processor time of the server and all its processes for each message, in µs, until its queue was empty.
    pub cpu_us: f64,
    /// Where that comes from.
    pub source: Source,
    /// Processor time of the whole machine for each message, in µs.
    pub machine_us: f64,
    /// What neither server nor client used of that, as a share of all processors' time: the noise.
    pub others: f64,
    /// Messages accepted per second.
    pub rate: f64,
    /// From the end of data to its reply, in µs.
    pub p99_us: f64,
    /// The most memory that was seen, in octets.
    pub memory: u64,
    /// Whether the server has counted as many messages as the client.
    pub is_counted: bool,
    /// Whether it offers PIPELINING.
    pub offers_pipelining: bool,
    /// What the generator found worth saying.
    pub warnings: Vec<String>,
}

/// A server that runs. Whatever happens, it ends with this, and so do all that it started, and its directory goes.
struct Running<'k> {
    kind: &'static Kind,
    contender: &'k dyn Contender,
    /// None once it was stopped.
    process: Option<Process>,
    /// Its number; 0, which nobody has, where there is no process of ours.
    pid: u32,
    tree: Tree,
    home: Home,
    offers_pipelining: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.tree.end(self.pid);
        self.process = None;
        self.tree.remove();
        // What is left in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.home.directory);
    }
}

impl<'k> Running<'k> {
    fn start(
        asked: &ServersArguments,
        kind: &'static Kind,
        contender: &'k dyn Contender,
        expected: Option<u64>,
    ) -> Result<Self, Failure> {
        let directory = own_directory(&asked.directory.clone().unwrap_or_else(std::env::temp_dir))?;
        let address = free_address().map_err(Failure::while_doing("cannot find a free port"))?;
        let home = Home { directory, address, expected };
        let tree = Tree::new();
        let mut running = Self { kind, contender, process: None, pid: 0, tree, home, offers_pipelining: false };
        let command = contender.prepare(&running.home)?;
        let started = Process::start(kind.name, &mut running.tree.within(&command))?;
        running.pid = started.pid();
        let process = running.process.insert(started);
        if contender.announces_itself() {
            let said = process.await_line("ready on ", PATIENCE)?;
            running.home.address = said.parse().map_err(Failure::while_doing("a server listens on no address"))?;
        }
        running.offers_pipelining = running.greeted()?;
        Ok(running)
    }

    /// Waits until it greets; gives whether it offers PIPELINING.
    fn greeted(&mut self) -> Result<bool, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match dialogue::offers_pipelining(self.home.address) {
                Ok(offers) => return Ok(offers),
                Err(error) => error,
            };
            let is_over = self.process.as_mut().is_none_or(Process::is_over);
            if is_over || Instant::now() >= deadline {
                if !is_over {
                    self.tree.end(self.pid);
                }
                let said = self.part().map(|process| process.finish(Duration::ZERO));
                let words = match said {
                    Some(Err(failure)) => failure.to_string(),
                    _ => format!("{} ended at once", self.kind.name),
                };
                return Err(Failure::System(format!("{} does not answer: {error}; {words}", self.kind.name)));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its process, to be waited for: from then on its number may be another's, and is none of ours.
    fn part(&mut self) -> Option<Process> {
        self.pid = 0;
        self.process.take()
    }

    /// Sends it so many messages, and sees to it that it lives.
    fn load(&mut self, asked: &ServersArguments, messages: u64, interrupted: &AtomicBool) -> Result<Sent, Failure> {
        let process = &mut self.process;
        let watch = || match () {
            () if interrupted.load(Ordering::Relaxed) => Err(Failure::Interrupted),
            () if process.as_mut().is_none_or(Process::is_over) => {
                Err(Failure::Disagreement("it has ended under the load".to_owned()))
            }
            () => Ok(()),
        };
        let sent = load::send(asked, self.home.address, self.contender.patience(), messages, watch);
        sent.map_err(|failure| named(self.kind, failure))
    }

    fn await_empty_queue(&self, interrupted: &AtomicBool) -> Result<(), Failure> {
        let deadline = Instant::now() + QUEUE_PATIENCE;
        while !self.contender.is_done(&self.home)? {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(Failure::System(format!("the queue of {} does not empty", self.kind.name)));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn stop(mut self) -> Result<Option<u64>, Failure> {
        match self.part() {
            Some(process) => self.contender.stop(process, &self.home),
            None => Ok(None),
        }
    }
}

/// Runs a server once. Without agreement there is no figure.
pub fn run(
    asked: &ServersArguments,
    kind: &'static Kind,
    contender: &dyn Contender,
    amount: Amount,
    interrupted: &AtomicBool,
) -> Result<Run, Failure> {
    let warming = WARMING_EACH * u64::from(asked.connections);
    let expected = match amount {
        Amount::Messages(messages) => Some(warming + messages),
        Amount::Seconds(_) => None,
    };
    let mut server = Running::start(asked, kind, contender, expected)?;
    let offers_pipelining = server.offers_pipelining;
    let warmed = server.load(asked, warming, interrupted)?;
    server.await_empty_queue(interrupted)?;
    std::thread::sleep(SETTLING);
    let messages = match amount {
        Amount::Messages(messages) => messages,
        Amount::Seconds(seconds) => Amount::at(asked, warmed.rate, seconds),
    };

    let memory = MemoryWatch::start(&server.tree, server.pid);
    let account = Account::read(|| server.tree.used_ns(server.pid))?;
    let sent = server.load(asked, messages, interrupted)?;
    let most = memory.most();
    server.await_empty_queue(interrupted)?;
    std::thread::sleep(SETTLING);
    let later = Account::read(|| server.tree.used_ns(server.pid))?;
    // A walked tree loses what was orphaned and has ended.
    let used = later.since(&account, later.server.saturating_sub(account.server));
    let source = server.tree.source();
    drop(memory);

    let counted = server.stop().map_err(|failure| named(kind, failure))?;
    agree(kind, warming + messages, counted)?;
    let each_us = |ns: u64| ns as f64 / 1000.0 / messages as f64;
    Ok(Run {
        cpu_us: each_us(used.server_ns),
        source,
        machine_us: each_us(used.machine_ns),
        others: used.others(),
        rate: sent.rate,
        p99_us: sent.p99_us,
        memory: most,
        is_counted: counted.is_some(),
        offers_pipelining,
        warnings: sent.warnings,
    })
}

fn named(kind: &Kind, failure: Failure) -> Failure {
    match failure {
        Failure::Disagreement(what) => Failure::Disagreement(format!("{}: {what}", kind.name)),
        other => other,
    }
}

/// A server that counts has to count what was accepted.
fn agree(kind: &Kind, sent: u64, counted: Option<u64>) -> Result<(), Failure> {
    match counted {
        Some(counted) if counted != sent => {
            Err(Failure::Disagreement(format!("{}: {sent} messages were accepted and {counted} counted", kind.name)))
        }
        _ => Ok(()),
    }
}

/// A directory that nobody else has.
fn own_directory(parent: &Path) -> Result<PathBuf, Failure> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = parent.join(format!("ringmx-bench-{}-server-{number}", std::process::id()));
    let made = fs::create_dir(&path).and_then(|()| path.canonicalize());
    made.map_err(Failure::while_doing(format!("cannot make {}", path.display())))
}

/// A port that nobody listens on, now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
