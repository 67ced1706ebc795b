//! Starts the shards, reloads them, asks them, and stops them.
//!
//! *Invariant*: [`Engine::start_with`] returns when every address is listened on and every shard turns, or nothing runs. A
//! reload is done whole or not at all. *Does not* set signal handlers, limits of the process, an allocator, or where logs go.
//! *Does not* know what the sinks are: each is moved into its shard's thread, which is made for its type.

#![forbid(unsafe_code)]

pub mod data_dir;
mod spooling;
mod workers;

pub use workers::Consumers;

use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use rustix::io::Errno;

use crate::config::{Bind, Listener, Plan, SinkKind, SocketOptions};
use crate::engine::data_dir::DataDirError;
use crate::engine::workers::{Ended, Workers};
use crate::handoff::intake::Intake;
use crate::handoff::mailbox::{self, Receiver, Sender};
use crate::handoff::sleep::Bell;
use crate::limits;
use crate::metrics::counters::Counters;
use crate::metrics::histograms::Histograms;
use crate::metrics::report::Report;
use crate::policy::scope::Taking;
use crate::reactor::listening::{self, ListenError};
use crate::reactor::ring::{Ring, RingOptions};
use crate::reactor::setup::SetupError;
use crate::shard::balance::{Load, Neighbours};
use crate::shard::control::{Control, Door, SessionInfo};
use crate::shard::{Shard, ShardOptions, slots_for};
use crate::sink::log::LogError;
use crate::sink::maildir;
use crate::spool::deferred::DeferredError;
use crate::spool::recovery::{self, RecoveryError};
use crate::spool::storage::StorageError;

/// Why the engine did not start, or did not take a new plan.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The kernel refused a ring.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The system had no thread or descriptor left.
    #[error("cannot start a shard: {0}")]
    System(#[from] std::io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The delivery log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The spool cannot be used.
    #[error("the spool: {0}")]
    Spool(#[from] StorageError),
    /// What lies there cannot be used as it is.
    #[error("the spool: {0}")]
    Recovery(#[from] RecoveryError),
    /// So with what sinks could not take yet.
    #[error("the spool: {0}")]
    Deferred(#[from] DeferredError),
    /// Mail waits for a sink that there is no more.
    #[error(
        "mail in the spool waits for sink {name:?}, which is not in the configuration: put [sink.{name}] back until it is delivered; \
         ringmx spool export --all --sink {name} copies the mail out, and with kind = \"blackhole\" the sink then throws it away"
    )]
    UnknownSink {
        /// Its name.
        name: String,
    },
    /// What is written there is gone with the power.
    #[error(
        "the spool {directory} lies on {file_system}, which is gone with the power: a listener with durability \"durable\" needs a \
         disk; set server.data_dir to a place on one, or the listener's durability to \"written\" or \"memory\""
    )]
    Volatile {
        /// Where it lies.
        directory: String,
        /// The kind of the file system.
        file_system: &'static str,
    },
    /// A sink cannot be opened.
    #[error("sink {name:?}: {error}")]
    Sink {
        /// Its name.
        name: String,
        /// Why.
        error: maildir::OpenError,
    },
    /// A sink's mail is to be consumed by a program, and there is none.
    #[error(
        "sink {name:?} is of the kind \"program\": its mail is for a program that embeds the library, and this is none"
    )]
    NoProgram {
        /// Its name.
        name: String,
    },
    /// The new plan changes what only a restart can change.
    #[error("{what} cannot be changed while running: restart, or keep the old value")]
    NeedsRestart {
        /// The key.
        what: String,
    },
}

impl EngineError {
    /// Exit status of a process that could not start: EX_UNAVAILABLE for what the environment refuses, EX_OSERR for a lack.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Listen(_) | Self::NeedsRestart { .. } => 69,
            Self::Setup(_) => SetupError::EXIT_STATUS,
            Self::DataDir(error) => error.exit_status(),
            Self::Log(_) | Self::Sink { .. } => 73,
            Self::Spool(error) => error.exit_status(),
            Self::Recovery(error) => error.exit_status(),
            Self::Deferred(error) => error.exit_status(),
            Self::NoProgram { .. } | Self::Volatile { .. } | Self::UnknownSink { .. } => 78,
            Self::System(_) => 71,
        }
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    shards: Vec<RunningShard>,
    workers: Workers,
    addresses: Vec<Address>,
    plan: Plan,
    started: Instant,
    histograms: Histograms,
    takeover: bool,
    /// Its intakes are the spool's: what goes to disk is for those of its shards that have logs.
    has_logs: bool,
}

#[derive(Debug)]
struct RunningShard {
    control: Sender<Control<OwnedFd>>,
    counters: Arc<CachePadded<Counters>>,
    thread: JoinHandle<Box<Histograms>>,
}

/// An address that is being listened on.
#[derive(Clone, Debug)]
struct Address {
    listener: String,
    /// As it was configured.
    planned: Bind,
    /// As it is: with the port that the kernel chose.
    bound: Bind,
    options: SocketOptions,
    /// The shards that accept there.
    serving: NonZeroU16,
}

impl Address {
    fn is_of(&self, listener: &Listener, bind: &Bind) -> bool {
        let chosen = matches!(bind, Bind::Tcp(address) if address.port() == 0);
        self.planned == *bind && (!chosen || self.listener == listener.name())
    }
}

impl Engine {
    /// Opens every address of the plan, and starts its shards and its sinks. `takeover` shares addresses that other processes
    /// have.
    pub fn start(plan: Plan, takeover: bool) -> Result<Self, EngineError> {
        Self::start_watched(plan, takeover, &mut |_| ())
    }

    /// The same; `progress` hears how far the spool has been read.
    pub fn start_watched(
        plan: Plan,
        takeover: bool,
        progress: &mut dyn FnMut(recovery::Progress),
    ) -> Result<Self, EngineError> {
        if let Some(sink) = plan.sinks().iter().find(|sink| sink.kind == SinkKind::Program) {
            return Err(EngineError::NoProgram { name: sink.name.clone() });
        }
        Ok(Self::start_all(plan, takeover, progress)?.0)
    }

    /// The same for a program that consumes mail itself: it gets the deliveries of each sink of the kind `program`, one for each
    /// of `server.sink_threads`. What it does not consume makes senders wait, and then come again.
    pub fn start_with_consumers(plan: Plan, takeover: bool) -> Result<(Self, Consumers), EngineError> {
        Self::start_all(plan, takeover, &mut |_| ())
    }

    fn start_all(
        plan: Plan,
        takeover: bool,
        progress: &mut dyn FnMut(recovery::Progress),
    ) -> Result<(Self, Consumers), EngineError> {
        let mut started = None;
        let mut engine = Self::launch(plan, takeover, true, |plan, bells| {
            let (workers, spoolers, consumers) = Workers::start(plan, bells, progress)?;
            started = Some((workers, consumers));
            Ok(spoolers)
        })?;
        let (workers, consumers) = started.unwrap_or_default();
        engine.workers = workers;
        Ok((engine, consumers))
    }

    /// The same with intakes of the caller's in place of sinks: `make` is asked for one for each shard, by the shard's number. An
    /// intake is moved into its shard's thread and dropped there when the shard has ended. It must never block.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use ringmx::config::{Plan, SinkOptions};
    /// use ringmx::engine::Engine;
    /// use ringmx::handoff::intake::{Arrived, Intake};
    /// use ringmx::policy::decision::Decision;
    /// use ringmx::policy::scope::Scope;
    /// use ringmx::smtp::session::Outcome;
    ///
    /// /// Counts lines.
    /// struct Lines(Arc<AtomicU64>);
    ///
    /// impl Intake for Lines {
    ///     fn content(&mut self, _scope: &Scope, _slot: u32, piece: &[u8]) -> usize {
    ///         self.0.fetch_add(piece.iter().filter(|octet| **octet == b'\n').count() as u64, Ordering::Relaxed);
    ///         0
    ///     }
    ///     fn abort(&mut self, _slot: u32) {}
    ///     fn end(&mut self, _message: &Arrived<'_>) -> Decision {
    ///         Decision::Now(Outcome::Accept)
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lines = Arc::new(AtomicU64::new(0));
    /// let binds = vec!["127.0.0.1:0".parse()?];
    /// let plan = Plan::sink(SinkOptions { binds, shards: 1, connections_per_shard: 16, ..SinkOptions::default() })?;
    /// let engine = Engine::start_with(plan, false, |_shard| Lines(lines.clone()))?;
    /// for (_, address) in engine.listening() {
    ///     println!("send mail to {address}");
    /// }
    /// let report = engine.stop();
    /// assert_eq!((report.total("messages"), lines.load(Ordering::Relaxed)), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_with<T>(plan: Plan, takeover: bool, mut make: impl FnMut(u16) -> T) -> Result<Self, EngineError>
    where
        T: Intake + Send + 'static,
    {
        Self::launch(plan, takeover, false, |plan, _| Ok((0..plan.shards().get()).map(&mut make).collect()))
    }

    /// `prepare` gives the shards' intakes, once every address is open; `has_logs`: theirs are the spool's, which not each may have.
    fn launch<T>(
        plan: Plan,
        takeover: bool,
        has_logs: bool,
        prepare: impl FnOnce(&Plan, Vec<Bell>) -> Result<Vec<T>, EngineError>,
    ) -> Result<Self, EngineError>
    where
        T: Intake + Send + 'static,
    {
        let mut engine = Self {
            shards: Vec::new(),
            workers: Workers::default(),
            addresses: Vec::new(),
            plan,
            started: Instant::now(),
            histograms: Histograms::new(),
            takeover,
            has_logs,
        };
        let plan = engine.plan.clone();
        let shards = usize::from(plan.shards().get());
        let logging = engine.serving(&plan, Taking::WriteAndDiscard);
        // Addresses first: a process that cannot have them must not begin anything.
        let (addresses, doors) = engine.doors_of(&plan, shards)?;
        let processors = allowed_processors();
        let mut boxes = Vec::new();
        for _ in 0..shards {
            boxes.push(mailbox::mailbox().map_err(std::io::Error::from)?);
        }
        let loads: Arc<[CachePadded<Load>]> = (0..shards).map(|_| CachePadded::default()).collect();
        let mailboxes: Arc<[Sender<Control<OwnedFd>>]> = boxes.iter().map(|(control, ..)| control.clone()).collect();
        let intakes = prepare(&plan, mailboxes.iter().map(Sender::bell).collect())?;
        let mut starting = Vec::new();
        for ((number, (_, messages, wake)), intake) in boxes.into_iter().enumerate().zip(intakes) {
            let processor = processors.get(number % processors.len().max(1)).copied();
            let number = number as u16;
            let neighbours = Neighbours::new(number, Arc::clone(&loads), Arc::clone(&mailboxes), logging);
            let connections = plan.connections_per_shard();
            let shard = StartingShard { number, intake, connections, messages, neighbours };
            starting.push(shard.start(mailboxes[usize::from(number)].clone(), wake, processor)?);
        }
        let mut waited = Vec::new();
        for (shard, ready) in starting {
            engine.shards.push(shard);
            waited.push(ready);
        }
        for ready in waited {
            // A shard that is gone without a word has panicked, and the process with it.
            ready.recv().unwrap_or(Err(SetupError { call: "io_uring_setup", errno: Errno::IO }))?;
        }
        engine.swap(addresses, doors);
        Ok(engine)
    }

    /// What listens where: names and addresses, with the ports that the kernel chose.
    pub fn listening(&self) -> impl Iterator<Item = (&str, &Bind)> {
        self.addresses.iter().map(|address| (address.listener.as_str(), &address.bound))
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Puts another plan in force. Open sessions go on under the one that they began with.
    pub fn reload(&mut self, plan: Plan) -> Result<(), EngineError> {
        let restart = |what: &str| Err(EngineError::NeedsRestart { what: what.to_owned() });
        if plan.shards() != self.plan.shards() {
            return restart("server.shards");
        }
        if self.has_logs && plan.chains().any() && plan.spool_shards() != self.plan.spool_shards() {
            return restart("spool.shards");
        }
        if plan.connections_per_shard() != self.plan.connections_per_shard() {
            return restart("server.connections_per_shard");
        }
        for (is_same, what) in [
            (plan.sinks() == self.plan.sinks(), "a table [sink.NAME]"),
            (plan.sink_threads() == self.plan.sink_threads(), "server.sink_threads"),
            (plan.data_dir() == self.plan.data_dir(), "server.data_dir"),
            (plan.log() == self.plan.log(), "the table [log]"),
            (plan.spool().is_same_spool(self.plan.spool()), "the table [spool]"),
            (
                plan.chains().are_within(self.plan.chains()),
                "whether a listener writes to disk (a durability that no listener had at the start)",
            ),
        ] {
            if !is_same {
                return restart(what);
            }
        }
        for listener in plan.listeners().iter().filter(|listener| listener.enable()) {
            for bind in listener.binds() {
                if self.addresses.iter().any(|old| old.is_of(listener, bind) && old.options != *listener.socket()) {
                    return restart(&format!(
                        "a socket option of {bind}, which listener.{} has open,",
                        listener.name()
                    ));
                }
                let serving = self.serving(&plan, listener.taking());
                if self.addresses.iter().any(|old| old.is_of(listener, bind) && old.serving != serving) {
                    return restart(&format!(
                        "whether mail of {bind}, which listener.{} has open, goes to disk (its shards are others)",
                        listener.name()
                    ));
                }
            }
        }
        let (addresses, doors) = self.doors_of(&plan, self.shards.len())?;
        self.swap(addresses, doors);
        self.workers.heed(plan.spool());
        self.plan = plan;
        Ok(())
    }

    /// The shards that serve mail which is taken like this: the first so many.
    fn serving(&self, plan: &Plan, taking: Taking) -> NonZeroU16 {
        if self.has_logs { plan.shards_for(taking) } else { plan.shards() }
    }

    /// The doors of a plan, for each shard. Addresses that are not open yet are opened.
    #[allow(clippy::type_complexity)]
    fn doors_of(&self, plan: &Plan, shards: usize) -> Result<(Vec<Address>, Vec<Vec<Door<OwnedFd>>>), EngineError> {
        let mut addresses = Vec::new();
        let mut doors: Vec<Vec<Door<OwnedFd>>> = (0..shards).map(|_| Vec::new()).collect();
        for listener in plan.listeners().iter().filter(|listener| listener.enable()) {
            let serving = self.serving(plan, listener.taking());
            for bind in listener.binds() {
                let known = self.addresses.iter().find(|old| old.is_of(listener, bind));
                let (bound, sockets) = match known {
                    Some(old) => (old.bound.clone(), Vec::new()),
                    None => {
                        let opened = listening::open(bind, listener.socket(), serving.get().into(), self.takeover)?;
                        (opened.bind, opened.sockets)
                    }
                };
                let mut sockets = sockets.into_iter();
                for shard in doors.iter_mut().take(serving.get().into()) {
                    let scopes = Arc::new(listener.scopes().unshared());
                    shard.push(Door { bind: bound.clone(), scopes, socket: sockets.next() });
                }
                addresses.push(Address {
                    listener: listener.name().to_owned(),
                    planned: bind.clone(),
                    bound,
                    options: *listener.socket(),
                    serving,
                });
            }
        }
        Ok((addresses, doors))
    }

    fn swap(&mut self, addresses: Vec<Address>, doors: Vec<Vec<Door<OwnedFd>>>) {
        for (shard, doors) in self.shards.iter().zip(doors) {
            shard.tell(Control::Swap(doors));
        }
        for old in &self.addresses {
            if let Bind::Unix(path) = &old.bound
                && !addresses.iter().any(|new| new.bound == old.bound)
            {
                // The file is ours; a missing one is as good.
                let _ = std::fs::remove_file(path);
            }
        }
        self.addresses = addresses;
    }

    /// What was counted and timed so far.
    pub fn report(&mut self) -> Report {
        let (reply, replies) = mpsc::channel();
        let asked = self
            .shards
            .iter()
            .filter(|shard| shard.tell(Control::Snapshot { empty: Box::default(), reply: reply.clone() }))
            .count();
        drop(reply);
        for _ in 0..asked {
            // A shard answers within a turn; one that has just ended gives its histograms when it is joined.
            let Ok(histograms) = replies.recv_timeout(Duration::from_secs(2)) else { break };
            self.histograms.add(&histograms);
        }
        self.report_now()
    }

    fn report_now(&self) -> Report {
        let counters = self.shards.iter().map(|shard| &**shard.counters);
        Report::new(self.started.elapsed().as_secs_f64(), counters, &self.histograms)
            .with_sinks(self.workers.reports(), self.workers.log_counts())
            .with_spool(self.workers.spool_report())
    }

    /// What an operator must know, and has not been told: what is damaged or lost in the spool.
    pub fn alarms(&self) -> Vec<String> {
        self.workers.alarms()
    }

    /// The sum of one counter over all shards, without asking them.
    pub fn total(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.counters)).sum()
    }

    /// Sessions that are open, up to so many.
    pub fn sessions(&self, most: usize) -> Vec<SessionInfo> {
        let mut sessions = Vec::new();
        for shard in &self.shards {
            let mut from = Some(0);
            while let Some(slot) = from.take()
                && sessions.len() < most
            {
                let (reply, page) = mpsc::channel();
                shard.tell(Control::List { from: slot, reply });
                let Ok(page) = page.recv_timeout(Duration::from_secs(2)) else { break };
                sessions.extend(page.sessions);
                from = page.next;
            }
        }
        sessions.truncate(most);
        sessions
    }

    /// Stops accepting, tells idle clients 421, and lets mail data come to its end for so long. What is handed off is delivered,
    /// unless there is to be no patience at all.
    pub fn drain(&mut self, patience: Duration) {
        for shard in &self.shards {
            shard.tell(Control::Drain { patience_ms: patience.as_millis() as u64 });
        }
        if patience.is_zero() {
            self.workers.hurry();
        }
        self.swap_away();
    }

    fn swap_away(&mut self) {
        for old in self.addresses.drain(..) {
            if let Bind::Unix(path) = old.bound {
                // The file is ours; a missing one is as good.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Whether every shard and every sink has ended.
    pub fn is_over(&self) -> bool {
        self.shards.iter().all(|shard| shard.thread.is_finished()) && self.workers.are_over()
    }

    /// Drains with the usual patience, waits for the end, and gives the last report.
    pub fn stop(mut self) -> Report {
        self.drain(Duration::from_millis(limits::DRAIN_MS));
        self.join()
    }

    /// Waits for shards that were told to drain, and gives the last report.
    pub fn join(mut self) -> Report {
        let uptime_s = self.started.elapsed().as_secs_f64();
        let mut counters = Vec::new();
        for shard in std::mem::take(&mut self.shards) {
            counters.push(shard.counters);
            // A panic on a shard aborts the process, so a thread that can be joined has ended well.
            if let Ok(histograms) = shard.thread.join() {
                self.histograms.add(&histograms);
            }
        }
        let Ended { sinks, log, spool } = std::mem::take(&mut self.workers).join();
        Report::new(uptime_s, counters.iter().map(|counters| &***counters), &self.histograms)
            .with_sinks(sinks, log)
            .with_spool(spool)
    }
}

impl Drop for Engine {
    /// An engine that nobody stopped is cut short: its shards end without patience.
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.tell(Control::Drain { patience_ms: 0 });
        }
        self.workers.hurry();
    }
}

impl RunningShard {
    /// Whether the shard was there to hear it.
    fn tell(&self, message: Control<OwnedFd>) -> bool {
        self.control.send(message).is_ok()
    }
}

type Starting = (RunningShard, mpsc::Receiver<Result<(), SetupError>>);

/// What a shard's thread is given.
struct StartingShard<T> {
    number: u16,
    intake: T,
    connections: u32,
    messages: Receiver<Control<OwnedFd>>,
    neighbours: Neighbours<OwnedFd, OwnedFd>,
}

impl<T: Intake + Send + 'static> StartingShard<T> {
    fn start(
        self,
        control: Sender<Control<OwnedFd>>,
        wake: OwnedFd,
        processor: Option<usize>,
    ) -> Result<Starting, EngineError> {
        let counters = Arc::new(CachePadded::new(Counters::default()));
        let (tell, ready) = mpsc::channel();
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new().name(format!("shard-{}", self.number)).spawn(move || {
            let _guard = AbortOnPanic;
            pin(processor);
            match Ring::new(&RingOptions::for_sockets(slots_for(self.connections)), wake) {
                Ok(ring) => {
                    let _ = tell.send(Ok(()));
                    self.run(ring, counted)
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                    Box::default()
                }
            }
        })?;
        Ok((RunningShard { control, counters, thread }, ready))
    }

    fn run(self, ring: Ring, counters: Arc<CachePadded<Counters>>) -> Box<Histograms> {
        let Self { number, intake, connections, messages, neighbours } = self;
        let session_octets = limits::SESSION_MEMORY_OCTETS;
        let options = ShardOptions { number, connections, control: messages, neighbours, counters, session_octets };
        match Shard::new(ring, intake, options).run() {
            Ok(histograms) => histograms,
            Err(errno) => panic!("the ring of shard {number} failed: {errno}"),
        }
    }
}

/// A half-done turn must not be followed by another: a panic on a shard ends the process, in every profile.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The processors that this process may use.
fn allowed_processors() -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect()
}

/// Keeps this thread on one processor; where that is refused it runs unpinned.
fn pin(processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}
