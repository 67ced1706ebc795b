//! One life of a process: a shard's intake with its log, the steward, and sinks with their readers, cursors and deferred mail, on a disk
//! that loses power.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::handoff::backlog::Attached;
use crate::handoff::clock::Clock;
use crate::handoff::consumer::Progress;
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::gather::Gather;
use crate::handoff::intake::{Arrived, Intake};
use crate::handoff::mailbox::{Receiver, mailbox};
use crate::handoff::place::{LogId, LogKind, Position};
use crate::limits;
use crate::mail::address::{self, Mailbox};
use crate::mail::envelope::{MailParameters, RcptParameters, Route};
use crate::mail::manifest::Origin;
use crate::mail::marks::Marks;
use crate::mail::trace::{Transfer, With};
use crate::memory::slab::Slab;
use crate::memory::write::File;
use crate::policy::decision::{AcceptAll, Decision, Ticket};
use crate::policy::scope::{Promise, Scope, Taking, Timeouts};
use crate::simulation::chance::Chance;
use crate::simulation::disk::{Call, DiskFaults, Fate, SimDisk, What};
use crate::smtp::session::{Ended, Outcome, Record};
use crate::smtp::settings::{Settings, Terms};
use crate::spool::cursor::{self, CursorFile, Said};
use crate::spool::deferred::{self, Deferred, DeferredOptions, RetryOptions, Sizes};
use crate::spool::findings::Findings;
use crate::spool::format::Chain;
use crate::spool::intake::Spooler;
use crate::spool::reader::{Reader, SegmentAt, Source};
use crate::spool::recovery::{Recovered, Wanted, recover};
use crate::spool::scan::Owner;
use crate::spool::segment::{Registry, Segment, name};
use crate::spool::settlement::Settlement;
use crate::spool::steward::{KeepOptions, Keeping, LogPlan, Needs};
use crate::spool::storage::{Access, Storage};
use crate::spool::writer::{Log, LogOptions, Start};

use super::Plan;
use super::ledger::{Ledger, State};
use super::sinks::Sink;

pub const NODE: u32 = 7;
pub const SPOOL: &str = "/spool";
const LOG: LogId = LogId { kind: LogKind::Durable, shard: 0 };
pub const SINKS: [&str; 2] = ["store", "hop"];

/// Those who read the log, once they are attached.
#[derive(Debug, Default)]
struct Readers(OnceLock<Vec<Progress>>);

impl Needs for Readers {
    fn needed_from(&self) -> u64 {
        self.0.get().map_or(0, |all| all.iter().map(Progress::retain).min().unwrap_or(u64::MAX))
    }
}

/// How a process comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Stop,
    Kill,
    PowerCut,
}

struct Coming {
    number: usize,
    content: Vec<u8>,
    sent: usize,
}

struct UnderWay {
    number: u32,
    write: u64,
    hangs: bool,
}

/// See the module.
pub struct House<'p> {
    plan: &'p Plan,
    pub life: u32,
    chance: Chance,
    pub disk: SimDisk,
    spooler: Spooler,
    pub keeping: Keeping,
    pub sinks: Vec<Sink>,
    used: Rc<dyn Fn() -> usize>,
    scope: Scope,
    coming: BTreeMap<u32, Coming>,
    under_way: Vec<UnderWay>,
    asked: BTreeMap<u32, usize>,
    question: u32,
    clock: Arc<AtomicU64>,
    _bell: Receiver<()>,
}

fn scope() -> Scope {
    Scope {
        listener: "mx".into(),
        settings: Settings::new(Terms::public("mx.test")),
        timeouts: Timeouts { idle_ms: 1, transaction_ms: None, greet_pause_ms: 0, answer_ms: 1 },
        proxy_timeout_ms: None,
        taking: Taking::HandOff(Promise::Durable),
        sums_content: false,
        served: None,
        policy: Arc::new(AcceptAll),
    }
}

type Error = Box<dyn std::error::Error>;

impl<'p> House<'p> {
    /// Starts on what is there, as the engine does.
    pub fn start(plan: &'p Plan, life: u32, chance: &Chance, disk: &SimDisk, now_ms: u64) -> Result<Self, Error> {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let directory = Path::new(SPOOL).join(Chain::Durable.directory(0));
        storage.make_directory(&directory)?;
        let cursors = cursor::directory(Path::new(SPOOL));
        let open = |sink: &&str| CursorFile::open(disk, &cursors, (sink, LOG, NODE));
        let cursors = SINKS.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let positions: Vec<Position> = cursors.iter().map(|(_, said)| position(said)).collect();
        let entropy = chance.of("entropy", life.into()).draw() as u32 % 1_000;
        let recovered = recovered(disk, &directory, &positions, life, entropy)?;

        let (bell, receiver, _wake) = mailbox::<()>()?;
        let clock = Arc::new(AtomicU64::new(now_ms * 1_000_000));
        let options = ExchangeOptions {
            node: NODE,
            epoch: life,
            shards: vec![bell.bell()],
            consumers: vec![1; SINKS.len()],
            blocks: plan.blocks,
            block_octets: limits::BLOCK_OCTETS,
            letters: plan.letters,
            clock: Clock::set_by(Arc::clone(&clock)),
        };
        let (mut gathers, deliveries) = connect(&options)?;
        let gather = gathers.remove(0);
        let used = Rc::new(gather.watch());

        let readers = Arc::new(Readers::default());
        let low = Arc::new(AtomicU64::new(0));
        let log_plan = LogPlan {
            chain: Chain::Durable,
            directory: directory.clone(),
            segment_octets: plan.segment_octets,
            found: found(disk, &directory, &recovered)?,
            cursors: vec![Arc::clone(&readers) as Arc<dyn Needs>],
            low: Arc::clone(&low),
            waker: None,
            is_written_on: true,
        };
        let keep = KeepOptions {
            directory: PathBuf::from(SPOOL),
            reserve: Arc::new(AtomicU64::new(1 << 20)),
            size_octets: None,
            retain_s: 0,
        };
        let (keeping, mut ends) = Keeping::new(Arc::clone(&storage), keep, vec![log_plan]);
        let (supply, registry) = ends.remove(0);
        let end = recovered.in_use.last().map_or(recovered.next_base, |segment| segment.end);
        let mut progress = Vec::new();
        let mut sinks = Vec::new();
        let parts = deliveries.into_iter().flatten().zip(cursors).zip(SINKS).zip(0..);
        for (((mut deliveries, (cursor, said)), sink), route) in parts {
            let source = source(&storage, &directory, &registry, &recovered);
            let findings = Arc::new(Findings::default());
            let reader = Reader::new(LOG, source, sink, &Reader::memory(1), Some(cursor), Arc::clone(&findings));
            let (start, backlog) = (position(&said), Box::new(reader));
            progress.push(deliveries.attach(Attached { log: LOG, start, end, is_written_on: true, backlog }));
            deliveries.settle_apart();
            let settlement = settlement(plan, &storage, sink, life, now_ms)?;
            sinks.push(Sink::new(
                route,
                plan.sinks[usize::from(route)],
                chance.of(sink, life.into()),
                deliveries,
                settlement,
                findings,
            ));
        }
        let _ = readers.0.set(progress);
        let start =
            Start { sequence: recovered.next_sequence, base: recovered.next_base, voids: recovered.new_voids.clone() };
        let spooler = spooler(plan, life, gather, (start, supply, low));
        Ok(Self {
            plan,
            life,
            chance: chance.of("house", life.into()),
            disk: disk.clone(),
            spooler,
            keeping,
            sinks,
            used,
            scope: scope(),
            coming: BTreeMap::new(),
            under_way: Vec::new(),
            asked: BTreeMap::new(),
            question: 0,
            clock,
            _bell: receiver,
        })
    }

    /// One turn of everybody. Nobody sends anything when `clients` is 0.
    pub fn turn(&mut self, ledger: &mut Ledger, now_ms: u64, clients: usize) -> Result<(), String> {
        self.clock.store(now_ms * 1_000_000, Ordering::Relaxed);
        if self.chance.percent(70) {
            self.keeping.step(now_ms);
        }
        for _ in 0..self.chance.below(clients + 1) {
            self.client(ledger, now_ms)?;
        }
        self.spooler.hand_on(now_ms);
        self.spooler.wake_consumers();
        while let Some((number, write)) = self.spooler.write() {
            let File::Numbered(file) = *write.file else { return Err("a file of another disk".to_owned()) };
            let hangs = self.chance.percent(self.plan.hangs);
            let write = self.disk.begin_write(file, write.octets.octets(), write.at, write.is_synced);
            self.under_way.push(UnderWay { number, write, hangs });
        }
        self.complete();
        while let Some((ticket, outcome)) = self.spooler.outcome() {
            let number = *self.asked.get(&ticket.question).ok_or("an answer to nobody")?;
            let said = match outcome {
                Outcome::AcceptAs(id) => Ok(id),
                Outcome::Refuse(_) => Err(()),
                other => return Err(format!("message {number} is answered {other:?}")),
            };
            ledger.answered(number, said)?;
        }
        if self.chance.percent(50) && self.spooler.announce_sleep() {
            self.spooler.withdraw_sleep();
        }
        for sink in &mut self.sinks {
            if self.chance.percent(60) {
                sink.act(ledger, self.life, now_ms)?;
            }
        }
        let used = (self.used)();
        if used > self.plan.blocks { Err(format!("{used} blocks are used, of {}", self.plan.blocks)) } else { Ok(()) }
    }

    fn complete(&mut self) {
        for _ in 0..self.chance.below(4) {
            let free: Vec<usize> = (0..self.under_way.len()).filter(|at| !self.under_way[*at].hangs).collect();
            if free.is_empty() {
                if self.chance.percent(5) {
                    self.under_way.iter_mut().for_each(|one| one.hangs = false);
                }
                return;
            }
            let UnderWay { number, write, .. } = self.under_way.swap_remove(*self.chance.pick(&free));
            let result = self.disk.complete_write(write);
            self.spooler.written(number, result);
        }
    }

    fn client(&mut self, ledger: &mut Ledger, now_ms: u64) -> Result<(), String> {
        let slot = self.chance.below(self.plan.slots as usize) as u32;
        let chance = &mut self.chance;
        let Some(mut coming) = self.coming.remove(&slot) else {
            if self.spooler.refuses(&self.scope).is_none() || chance.percent(10) {
                let octets = match chance.below(20) {
                    0..12 => chance.below(3_000),
                    12..18 => chance.below(60_000),
                    18 => chance.below(300_000),
                    _ if chance.percent(self.plan.is_large) => {
                        limits::LETTER_CONTENT_OCTETS as usize + chance.below(300_000)
                    }
                    _ => chance.below(3_000),
                };
                let routes: Vec<u16> = (0..1 + chance.below(3)).map(|_| chance.below(SINKS.len()) as u16).collect();
                let number = ledger.begin(octets, &routes);
                let content = ledger.content(number, super::text());
                self.coming.insert(slot, Coming { number, content, sent: 0 });
            }
            return Ok(());
        };
        if chance.percent(self.plan.aborts) {
            self.spooler.abort(slot);
            return Ok(());
        }
        let rest = &coming.content[coming.sent..];
        let piece = if chance.percent(60) { rest } else { &rest[..chance.below(rest.len() + 1)] };
        if !piece.is_empty() {
            self.spooler.content(&self.scope, slot, piece);
        }
        coming.sent += piece.len();
        if coming.sent < coming.content.len() {
            self.coming.insert(slot, coming);
            return Ok(());
        }
        self.end(slot, &coming, ledger, now_ms)
    }

    fn end(&mut self, slot: u32, coming: &Coming, ledger: &mut Ledger, now_ms: u64) -> Result<(), String> {
        self.question += 1;
        let ticket = Ticket { shard: 0, slot, generation: 1, question: self.question };
        let mut record = Record::default();
        record.begin(address::Path::Null, &MailParameters::default());
        let recipients: Vec<(u16, u32)> = ledger.entries[coming.number].had.keys().copied().collect();
        for (route, place) in &recipients {
            let local_part = place.to_string();
            let mailbox = Mailbox { local_part: local_part.as_bytes(), domain: b"ok.test" };
            let path = address::Path::Mailbox(mailbox);
            let at = record.add(path, &RcptParameters::default()).map_err(|_| "no room for a recipient")?;
            record.set_route(at, Route(*route));
        }
        let ended = Ended {
            content_octets: coming.content.len() as u64,
            recipients: recipients.len() as u32,
            marks: Marks::default(),
            with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
            record: Some(&record),
        };
        let origin = Origin::Host(([192, 0, 2, 1], 25).into());
        let arrived = Arrived { ticket, scope: &self.scope, ended: &ended, origin, at_ms: now_ms };
        match self.spooler.end(&arrived) {
            Decision::Elsewhere => {
                ledger.entries[coming.number].state = State::Unanswered;
                self.asked.insert(self.question, coming.number);
                Ok(())
            }
            Decision::Now(Outcome::Refuse(_)) => Ok(()),
            other => Err(format!("message {} is answered {other:?} at once", coming.number)),
        }
    }

    /// The process ends. Gives the disk as the next one finds it.
    pub fn end_life(mut self, end: End, cuts: &mut Chance) -> SimDisk {
        match end {
            End::PowerCut => self.disk.power_cut(cuts),
            End::Stop | End::Kill => {
                while let Some(UnderWay { number, write, .. }) = self.under_way.pop() {
                    let result = self.disk.complete_write(write);
                    if end == End::Stop {
                        self.spooler.written(number, result);
                    }
                }
                if end == End::Kill {
                    // Whatever is dropped does nothing any more.
                    self.disk.set_plan(|call: &Call<'_>| match call.what {
                        What::Write | What::SyncedWrite => Fate::Short(0),
                        _ => Fate::Fails(rustix::io::Errno::CANCELED),
                    });
                }
                let disk = self.disk.clone();
                drop(self);
                disk
            }
        }
    }

    /// Whoever is sending goes.
    pub fn hang_up(&mut self) {
        let slots: Vec<u32> = std::mem::take(&mut self.coming).into_keys().collect();
        slots.into_iter().for_each(|slot| self.spooler.abort(slot));
    }

    /// What readers found to be wrong: nothing is, unless writes fail.
    pub fn check_findings(&self) -> Result<(), String> {
        if self.plan.faults != DiskFaults::default() {
            return Ok(());
        }
        let is_wrong = |sink: &&Sink| sink.findings.blocks() + sink.findings.messages() + sink.findings.refusals() > 0;
        let wrong = self.sinks.iter().find(is_wrong);
        wrong.map_or(Ok(()), |sink| {
            let (life, cursor) = (self.life, sink.deliveries.progress(LOG).map(|progress| progress.retain()));
            Err(format!(
                "life {life}: nothing failed, and a reader finds {:?}; it needs {cursor:?}",
                sink.findings.take()
            ))
        })
    }

    /// Blocks of memory that are in use.
    pub fn used(&self) -> usize {
        (self.used)()
    }
}

fn position(said: &Said) -> Position {
    match said {
        Said::Position(position) => *position,
        Said::Nothing | Said::Damaged => Position::default(),
    }
}

fn recovered(
    disk: &SimDisk,
    directory: &Path,
    cursors: &[Position],
    life: u32,
    entropy: u32,
) -> Result<Recovered, Error> {
    let wanted = Wanted {
        owner: Owner { chain: Chain::Durable, shard: 0, node: NODE },
        epoch: Some(life),
        least_base: cursors.iter().map(|cursor| cursor.address).max().unwrap_or(0),
        needed_from: cursors.iter().map(|cursor| cursor.from).min().unwrap_or(u64::MAX),
        entropy,
        others: &[".preparing"],
    };
    Ok(recover(disk, directory, &wanted, &mut |_| ())?)
}

fn found(disk: &SimDisk, directory: &Path, recovered: &Recovered) -> Result<Vec<Arc<Segment>>, Error> {
    let mut found = Vec::new();
    for segment in &recovered.in_use {
        let file = disk.open(&directory.join(name(segment.file.number)), Access::Write)?;
        let (number, base, end) = (segment.file.number, segment.file.base, segment.end);
        found.push(Arc::new(Segment::found(number, file.shared(), file.octets(), base, end)));
    }
    for spare in &recovered.spare {
        let file = disk.open(&directory.join(name(spare.number)), Access::Write)?;
        let segment = Segment::new(spare.number, file.shared(), spare.octets);
        segment.fail();
        found.push(Arc::new(segment));
    }
    Ok(found)
}

fn source(storage: &Arc<dyn Storage>, directory: &Path, registry: &Arc<Registry>, recovered: &Recovered) -> Source {
    let registry = Arc::clone(registry);
    let at = |segment: Arc<Segment>| {
        Some(SegmentAt { number: segment.number(), base: segment.base()?, octets: segment.octets() })
    };
    Source {
        storage: Arc::clone(storage),
        directory: directory.to_owned(),
        chain: Chain::Durable,
        shard: 0,
        node: NODE,
        segments: Arc::new(move || registry.segments().into_iter().filter_map(at).collect()),
        voids: recovered.voids.ranges().into(),
    }
}

fn settlement(
    plan: &Plan,
    storage: &Arc<dyn Storage>,
    sink: &str,
    epoch: u32,
    now_ms: u64,
) -> Result<Settlement, Error> {
    let retry = RetryOptions { delays_s: plan.delays_s.clone(), ..RetryOptions::default() };
    let options = DeferredOptions {
        storage: Arc::clone(storage),
        directory: Path::new(SPOOL).join("deferred"),
        owner: deferred::Owner { node: NODE, epoch, thread: 0, sink: sink.to_owned() },
        threads: 1,
        retry,
        sizes: Sizes {
            segment_octets: plan.segment_octets.max(512 << 10),
            block_octets: limits::BLOCK_OCTETS,
            ..Sizes::default()
        },
    };
    Ok(Settlement::new(Deferred::open(&options, now_ms)?))
}

type Ends = (Start, crate::spool::steward::Supply, Arc<AtomicU64>);

fn spooler(plan: &Plan, epoch: u32, gather: Gather, (start, supply, low): Ends) -> Spooler {
    let mut parts = Some((start, supply, low));
    Spooler::new(0, gather, |taking: Taking, slab: &Slab| {
        let (start, supply, low) = parts.take_if(|_| taking == Taking::HandOff(Promise::Durable))?;
        let options = LogOptions {
            chain: Chain::Durable,
            shard: 0,
            node: NODE,
            epoch,
            routes: SINKS.map(str::to_owned).into(),
            segment_octets: plan.segment_octets,
        };
        Some((Log::new(options, start, supply, slab), low))
    })
}
