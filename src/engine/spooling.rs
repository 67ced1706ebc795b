//! The spool of an engine: what lies there from before is found, shards get their logs and sinks their readers, and the steward
//! keeps segments ready.
//!
//! *Invariant*: nothing is listened on before all that was acknowledged is found again, or it is said what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Plan, SinkPlan};
use crate::engine::EngineError;
use crate::engine::data_dir::DataDir;
use crate::handoff::backlog::Attached;
use crate::handoff::consumer::{Deliveries, Progress};
use crate::handoff::gather::Gather;
use crate::handoff::place::{LogId, LogKind, Position};
use crate::handoff::sleep::Waker;
use crate::limits;
use crate::memory::slab::Slab;
use crate::metrics::report::Number;
use crate::policy::scope::{Promise, Taking};
use crate::spool::cursor::{self, CursorFile, Said};
use crate::spool::deferred::{self, Deferred, DeferredOptions, RetryOptions, Sizes};
use crate::spool::findings::Findings;
use crate::spool::format::Chain;
use crate::spool::intake::Spooler;
use crate::spool::options::SpoolOptions;
use crate::spool::reader::{Reader, SegmentAt, Source};
use crate::spool::recovery::{self, Recovered, Wanted};
use crate::spool::scan::{LogFile, Owner};
use crate::spool::segment::{self, Registry, Segment};
use crate::spool::settlement::Settlement;
use crate::spool::steward::{
    Broken, KeepOptions, Keeping, Lack, LogFigures, LogPlan, Needs, SpoolFigures, Steward, Supply, preparing,
};
use crate::spool::storage::disk::Disk;
use crate::spool::storage::{Access, Storage};
use crate::spool::tools::filter::Filter;
use crate::spool::tools::message::State;
use crate::spool::tools::survey::Survey;
use crate::spool::writer::{Log, LogOptions, Start};

/// See the module.
#[derive(Debug)]
pub(super) struct Spooling {
    _steward: Steward,
    /// Octets that are left free of the disk.
    reserve: Arc<AtomicU64>,
    figures: Arc<Mutex<SpoolFigures>>,
    findings: Arc<Findings>,
    /// The ways of segments to the shards, by the names of their logs.
    supplies: Vec<(String, Supply)>,
    /// What was found at the start, and not told yet.
    alarms: Mutex<Vec<String>>,
    /// Troubles that last, and that were told.
    told: Mutex<BTreeSet<String>>,
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    /// Node and epoch.
    identity: (u32, u32),
}

/// What keeps a log from going on: in the same words as long as it is the same, and with what it is like now.
fn trouble(log: &LogFigures, figures: &SpoolFigures, directory: &Path) -> Option<(String, String)> {
    let directory = directory.display();
    match (&log.trouble, log.lack) {
        (Some(error), _) => Some((format!("the spool cannot make room: {error}"), String::new())),
        (None, Some(Lack::Full)) => Some(full(figures, &directory)),
        (None, Some(Lack::Failed)) => {
            let what = format!("the spool's disk does not answer: mail gets 421 until it does: {directory}");
            Some((what, String::new()))
        }
        (None, Some(Lack::Hung) | None) => None,
    }
}

/// Which bound is reached, and what would help.
fn full(figures: &SpoolFigures, directory: &impl std::fmt::Display) -> (String, String) {
    let SpoolFigures { free_octets, reserve_octets, size_octets, logs } = figures;
    let taken: u64 = logs.iter().map(|log| log.octets).sum();
    let free = free_octets.unwrap_or(0);
    match size_octets {
        Some(most) if free >= *reserve_octets => (
            format!("the spool has no more room within its size_bytes: mail gets 452 until there is: {directory}"),
            format!(
                " ({taken} of {most} octets; `ringmx spool ls` shows what waits; deliver it, remove what is dead or held, \
                 or raise size_bytes)"
            ),
        ),
        _ => (
            format!("the spool's disk is too full: mail gets 452 until it is not: {directory}"),
            format!(
                " ({free} octets are free, and reserve_bytes keeps {reserve_octets} of them; the spool's logs of mail that \
                 comes in have {taken}; free some, or lower reserve_bytes)"
            ),
        ),
    }
}

/// Said once: how often it happens is counted.
fn gives_way() -> (String, String) {
    let what = "mail that was delivered is kept for less than retain_s: there was no room for it beside what comes in";
    (
        what.to_owned(),
        " (segments_given_up among the spool's figures counts; give the spool more room, or keep mail for a shorter \
         time)"
            .to_owned(),
    )
}

/// The same as far as only its shard knows.
fn shards_trouble((log, supply): &(String, Supply)) -> Option<String> {
    let waited_s = limits::WRITE_HUNG_MS / 1_000;
    match supply.broken() {
        Some(Broken::Failed) => Some(format!(
            "writing to the spool's {log} has failed, and again in another segment: mail that is kept there gets 421 until the \
             server is started anew; see to its disk first"
        )),
        Some(Broken::Hung) => Some(format!(
            "nothing was heard of writes to the spool's {log} for {waited_s} s: mail that is kept there gets 421 until its disk \
             answers"
        )),
        None => supply.is_hung().then(|| {
            format!(
                "no segment for the spool's {log} could be made within {waited_s} s: its disk hangs, or is too slow for \
                 segment_bytes; mail gets 421 until one is there"
            )
        }),
    }
}

/// Those who read a log, once they are known: until then all of it is needed.
#[derive(Debug, Default)]
struct Readers(OnceLock<Vec<Progress>>);

impl Needs for Readers {
    fn needed_from(&self) -> u64 {
        self.0.get().map_or(0, |all| all.iter().map(Progress::retain).min().unwrap_or(u64::MAX))
    }
}

/// A log of a shard, or one that is left of a shard that has none any more.
struct Kept {
    chain: Chain,
    shard: u16,
    /// Where its shard goes on, if there is one.
    start: Option<Start>,
    /// Behind the last block that it had before.
    end: u64,
    /// Blocks that count for nothing.
    voids: Arc<[(u64, u64)]>,
    /// Of its sinks, until they are attached.
    cursors: Vec<(CursorFile, Said)>,
    readers: Arc<Readers>,
    low: Arc<AtomicU64>,
}

/// How mail is taken that goes to a chain.
fn chain_of(taking: Taking) -> Option<Chain> {
    match taking {
        Taking::HandOff(Promise::Durable) => Some(Chain::Durable),
        Taking::HandOff(Promise::Written) => Some(Chain::Written),
        Taking::WriteAndDiscard => Some(Chain::Blackhole),
        Taking::Discard | Taking::HandOff(Promise::Memory | Promise::Delivered) => None,
    }
}

/// The name under which sinks know a chain's logs, if they read them.
fn kind_of(chain: Chain) -> Option<LogKind> {
    match chain {
        Chain::Durable => Some(LogKind::Durable),
        Chain::Written => Some(LogKind::Written),
        Chain::Blackhole | Chain::Deferred => None,
    }
}

/// The intakes of an engine's shards, with logs where the plan wants them; and the spool that they stand on, if it does.
pub(super) fn start(
    plan: &Plan,
    data_dir: Option<&DataDir>,
    gathers: Vec<Gather>,
    deliveries: &mut [Vec<Deliveries>],
    progress: &mut dyn FnMut(recovery::Progress),
) -> Result<(Vec<Spooler>, Option<Spooling>), EngineError> {
    let is_there = || plan.spool().directory.exists();
    let Some(data_dir) = data_dir.filter(|_| plan.chains().any() || is_there()) else {
        let spooler = |(gather, shard)| Spooler::new(shard, gather, |_, _| None);
        return Ok((gathers.into_iter().zip(0..).map(spooler).collect(), None));
    };
    let directory = plan.spool().directory.as_path();
    let storage: Arc<dyn Storage> = Arc::new(Disk::new(directory));
    storage.make_directory(directory)?;
    if let Some(file_system) = storage.refuses_durability(directory).filter(|_| plan.chains().must_last()) {
        return Err(EngineError::Volatile { directory: directory.display().to_string(), file_system });
    }
    let mut finding = Finding { plan, data_dir, storage: &storage, directory, progress, alarms: Vec::new() };
    let (mut logs, plans) = finding.logs(&gathers)?;
    let alarms = finding.alarms;
    let options = KeepOptions {
        directory: directory.to_owned(),
        reserve: Arc::new(AtomicU64::new(reserve(plan.spool()))),
        size_octets: plan.spool().size_octets,
        retain_s: plan.spool().retain_s,
    };
    let reserve = Arc::clone(&options.reserve);
    let (keeping, ends) = Keeping::new(Arc::clone(&storage), options, plans);
    let (supplies, registries): (Vec<Supply>, Vec<Arc<Registry>>) = ends.into_iter().unzip();
    let findings = Arc::new(Findings::default());
    let attaching = Attaching { plan, node: data_dir.node(), storage: &storage, directory, findings: &findings };
    let memory = attaching.memory(&logs, deliveries);
    for (log, registry) in logs.iter_mut().zip(&registries) {
        attaching.attach(log, registry, deliveries, &memory);
    }
    let routes: Arc<[String]> = plan.sinks().iter().map(|sink| sink.name.clone()).collect();
    let names = logs.iter().map(|log| log.chain.directory(log.shard));
    let kept = names.zip(supplies.iter().cloned()).collect();
    let mut supplies: Vec<_> = supplies.into_iter().map(Some).collect();
    let spoolers = gathers.into_iter().zip(0..).map(|(gather, shard)| {
        Spooler::new(shard, gather, |taking, slab| {
            let chain = chain_of(taking)?;
            let at = logs.iter().position(|log| log.shard == shard && log.chain == chain && log.start.is_some())?;
            let options = LogOptions {
                chain,
                shard,
                node: data_dir.node(),
                epoch: data_dir.epoch(),
                routes: Arc::clone(&routes),
                segment_octets: plan.spool().segment_octets,
            };
            let log = Log::new(options, logs[at].start.clone()?, supplies[at].take()?, slab);
            Some((log, Arc::clone(&logs[at].low)))
        })
    });
    let spoolers = spoolers.collect();
    let figures = keeping.figures();
    let spooling = Spooling {
        _steward: Steward::start(keeping)?,
        reserve,
        figures,
        findings,
        supplies: kept,
        alarms: Mutex::new(alarms),
        told: Mutex::default(),
        storage,
        directory: directory.to_owned(),
        identity: (data_dir.node(), data_dir.epoch()),
    };
    Ok((spoolers, Some(spooling)))
}

/// Finds what lies in the spool, and says where it goes on.
struct Finding<'a> {
    plan: &'a Plan,
    data_dir: &'a DataDir,
    storage: &'a Arc<dyn Storage>,
    directory: &'a Path,
    progress: &'a mut dyn FnMut(recovery::Progress),
    alarms: Vec<String>,
}

impl Finding<'_> {
    /// All logs: those that the plan wants, and those that are there.
    fn logs(&mut self, gathers: &[Gather]) -> Result<(Vec<Kept>, Vec<LogPlan>), EngineError> {
        let chains = self.plan.chains();
        let wanted =
            [(Chain::Durable, chains.durable), (Chain::Written, chains.written), (Chain::Blackhole, chains.blackhole)];
        let wanted = wanted.into_iter().filter_map(|(chain, is_wanted)| is_wanted.then_some(chain));
        let mut names: Vec<(Chain, u16, bool)> = wanted
            .flat_map(|chain| (0..self.plan.spool_shards().get()).map(move |shard| (chain, shard, true)))
            .collect();
        for entry in self.storage.entries(self.directory)? {
            let name = entry.name.to_str().and_then(Chain::of_directory);
            if let Some((chain, shard)) = name
                && !names.iter().any(|(other, of, _)| (*other, *of) == (chain, shard))
            {
                names.push((chain, shard, false));
            }
        }
        let mut all = (Vec::new(), Vec::new());
        for (chain, shard, is_written_on) in names {
            let waker = gathers.get(usize::from(shard)).map(Gather::waker);
            let (kept, plan) = self.log(chain, shard, is_written_on, waker)?;
            all.0.push(kept);
            all.1.push(plan);
        }
        self.refuse_unknown_deferred()?;
        Ok(all)
    }

    fn log(
        &mut self,
        chain: Chain,
        shard: u16,
        is_written_on: bool,
        waker: Option<Waker>,
    ) -> Result<(Kept, LogPlan), EngineError> {
        let path = self.directory.join(chain.directory(shard));
        self.storage.make_directory(&path)?;
        let cursors = self.cursors(chain, shard)?;
        let recovered = self.recover(chain, shard, &path, &cursors)?;
        let end = recovered.in_use.last().map_or(recovered.next_base, |segment| segment.end);
        if let Some(kind) = kind_of(chain) {
            self.refuse_unknown_sinks(LogId { kind, shard }, &recovered, end)?;
        }
        let readers = Arc::new(Readers::default());
        // Of a log that nobody goes on with, what its readers need is all that is needed.
        let low = Arc::new(AtomicU64::new(if is_written_on { 0 } else { u64::MAX }));
        let start = is_written_on.then(|| Start {
            sequence: recovered.next_sequence,
            base: recovered.next_base,
            voids: recovered.new_voids.clone(),
        });
        let is_read = kind_of(chain).is_some();
        let plan = LogPlan {
            chain,
            segment_octets: self.plan.spool().segment_octets,
            found: self.found(&path, &recovered)?,
            directory: path,
            cursors: if is_read { vec![Arc::clone(&readers) as Arc<dyn Needs>] } else { Vec::new() },
            low: Arc::clone(&low),
            waker,
            is_written_on,
        };
        let voids = recovered.voids.ranges().into();
        Ok((Kept { chain, shard, start, end, voids, cursors, readers, low }, plan))
    }

    /// What each sink has done of a log.
    fn cursors(&self, chain: Chain, shard: u16) -> Result<Vec<(CursorFile, Said)>, EngineError> {
        let Some(kind) = kind_of(chain) else { return Ok(Vec::new()) };
        let (log, node) = (LogId { kind, shard }, self.data_dir.node());
        let directory = cursor::directory(self.directory);
        let open = |sink: &SinkPlan| CursorFile::open(&**self.storage, &directory, (&sink.name, log, node));
        Ok(self.plan.sinks().iter().map(open).collect::<Result<_, _>>()?)
    }

    fn recover(
        &mut self,
        chain: Chain,
        shard: u16,
        path: &Path,
        cursors: &[(CursorFile, Said)],
    ) -> Result<Recovered, EngineError> {
        let position = |(_, said): &(CursorFile, Said)| match said {
            Said::Position(position) => *position,
            Said::Nothing | Said::Damaged => Position::default(),
        };
        let positions = || cursors.iter().map(position);
        let wanted = Wanted {
            owner: Owner { chain, shard, node: self.data_dir.node() },
            epoch: Some(self.data_dir.epoch()),
            least_base: positions().map(|position| position.address).max().unwrap_or(0),
            // Nobody reads what was only to be written.
            needed_from: positions().map(|position| position.from).min().unwrap_or(u64::MAX),
            entropy: entropy()?,
            others: &[preparing::PREPARING],
        };
        let recovered = recovery::recover(&**self.storage, path, &wanted, self.progress)?;
        for mended in &recovered.mended {
            self.alarms.push(format!("{}: {mended}", path.display()));
        }
        for corruption in &recovered.corruption {
            self.alarms.push(format!("{}: {corruption}", path.display()));
        }
        for (sink, (_, said)) in self.plan.sinks().iter().zip(cursors) {
            if *said == Said::Damaged {
                self.alarms.push(format!(
                    "{}: the cursor of sink {:?} is damaged: what is there is delivered to it again",
                    path.display(),
                    sink.name
                ));
            }
        }
        Ok(recovered)
    }

    /// The segments that are there. What is spare is not used again: a write of the process before may be on its way to it.
    fn found(&self, path: &Path, recovered: &Recovered) -> Result<Vec<Arc<Segment>>, EngineError> {
        let in_use = recovered.in_use.iter().map(|segment| {
            let LogFile { number, base, file } = &segment.file;
            Arc::new(Segment::found(*number, file.shared(), file.octets(), *base, segment.end))
        });
        let mut found: Vec<_> = in_use.collect();
        for spare in &recovered.spare {
            let file = self.storage.open(&path.join(segment::name(spare.number)), Access::Read)?;
            let segment = Segment::new(spare.number, file.shared(), spare.octets);
            segment.fail();
            found.push(Arc::new(segment));
        }
        Ok(found)
    }

    /// Mail for a sink that there is no more would lie there for ever.
    fn refuse_unknown_sinks(&self, log: LogId, recovered: &Recovered, end: u64) -> Result<(), EngineError> {
        let done = cursor::done_with(&**self.storage, self.directory, log, self.data_dir.node());
        for route in &recovered.routes {
            let is_known = self.plan.sinks().iter().any(|sink| sink.name == route.name);
            let is_done = done.iter().any(|(sink, address)| *sink == route.name && *address >= end);
            if !is_known && !is_done && self.has_mail_for(&route.name, State::Active)? {
                return Err(EngineError::UnknownSink { name: route.name.clone() });
            }
        }
        Ok(())
    }

    /// Nor would anybody try again what such a sink had not taken.
    fn refuse_unknown_deferred(&self) -> Result<(), EngineError> {
        let logs = self.survey().logs()?;
        // Of a thread: `deferred/SINK-THREAD/CLASS`.
        let sink_of = |name: &str| Some(name.split('/').nth(1)?.rsplit_once('-')?.0.to_owned());
        let mut sinks: BTreeSet<String> = logs.iter().filter_map(|log| sink_of(&log.name)).collect();
        sinks.retain(|name| self.plan.sinks().iter().all(|sink| sink.name != *name));
        for name in sinks {
            if self.has_mail_for(&name, State::Deferred)? {
                return Err(EngineError::UnknownSink { name });
            }
        }
        Ok(())
    }

    fn survey(&self) -> Survey<'_> {
        Survey { storage: &**self.storage, spool: self.directory.to_owned(), node: self.data_dir.node() }
    }

    fn has_mail_for(&self, sink: &str, state: State) -> Result<bool, EngineError> {
        let filter = Filter { states: vec![state], sinks: vec![sink.to_owned()], ..Filter::default() };
        let mut has_some = false;
        self.survey().messages(&filter, &mut |_, _| (), &mut |_| {
            has_some = true;
            ControlFlow::Break(())
        })?;
        Ok(has_some)
    }
}

/// A random number that nobody outside knows.
fn entropy() -> Result<u32, EngineError> {
    let mut octets = [0; 4];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    Ok(u32::from_ne_bytes(octets))
}

/// Gives sinks their readers.
struct Attaching<'a> {
    plan: &'a Plan,
    node: u32,
    storage: &'a Arc<dyn Storage>,
    directory: &'a Path,
    findings: &'a Arc<Findings>,
}

impl Attaching<'_> {
    /// The thread of a sink that reads the logs of a shard, of so many.
    fn part(&self, shard: u16, parts: usize) -> usize {
        usize::from(shard) % parts.min(usize::from(self.plan.shards().get())).max(1)
    }

    /// Of each sink, for each of its threads, memory for all logs that it reads.
    fn memory(&self, logs: &[Kept], deliveries: &[Vec<Deliveries>]) -> Vec<Vec<Slab>> {
        let are_read = || logs.iter().filter(|kept| kind_of(kept.chain).is_some());
        let of_part =
            |part: usize, parts: usize| are_read().filter(|kept| self.part(kept.shard, parts) == part).count();
        let of_sink = |parts: usize| (0..parts).map(|part| Reader::memory(of_part(part, parts))).collect();
        deliveries.iter().map(|parts| of_sink(parts.len())).collect()
    }

    fn attach(
        &self,
        kept: &mut Kept,
        registry: &Arc<Registry>,
        deliveries: &mut [Vec<Deliveries>],
        memory: &[Vec<Slab>],
    ) {
        let Some(kind) = kind_of(kept.chain) else { return };
        let log = LogId { kind, shard: kept.shard };
        let mut progress = Vec::new();
        let cursors = std::mem::take(&mut kept.cursors);
        let sinks = self.plan.sinks().iter().zip(deliveries).zip(memory);
        for (((sink, parts), memory), (cursor, said)) in sinks.zip(cursors) {
            let at = self.part(kept.shard, parts.len());
            let part = &mut parts[at];
            let start = match said {
                Said::Position(position) => position,
                Said::Nothing | Said::Damaged => Position::default(),
            };
            let registry = Arc::clone(registry);
            let source = Source {
                storage: Arc::clone(self.storage),
                directory: self.directory.join(kept.chain.directory(kept.shard)),
                chain: kept.chain,
                shard: kept.shard,
                node: self.node,
                segments: Arc::new(move || in_use(&registry)),
                voids: Arc::clone(&kept.voids),
            };
            let findings = Arc::clone(self.findings);
            let reader = Reader::new(log, source, &sink.name, &memory[at], Some(cursor), findings);
            let (end, is_written_on) = (kept.end, kept.start.is_some());
            progress.push(part.attach(Attached { log, start, end, is_written_on, backlog: Box::new(reader) }));
        }
        // It is set here alone.
        let _ = kept.readers.0.set(progress);
    }
}

fn in_use(registry: &Registry) -> Vec<SegmentAt> {
    let at = |segment: Arc<Segment>| {
        Some(SegmentAt { number: segment.number(), base: segment.base()?, octets: segment.octets() })
    };
    registry.segments().into_iter().filter_map(at).collect()
}

/// Octets that are to stay free of the disk on which the spool lies.
fn reserve(options: &SpoolOptions) -> u64 {
    let disk = rustix::fs::statvfs(&options.directory).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    options.reserve.octets(disk)
}

impl Spooling {
    /// What it is like: of all its logs together.
    pub(super) fn report(&self) -> Vec<Number> {
        let SpoolFigures { free_octets, reserve_octets, logs, .. } =
            self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sum = |of: fn(&LogFigures) -> u64| logs.iter().map(of).sum();
        let numbers: [(&'static str, u64); 14] = [
            ("segments_in_use", sum(|log| log.in_use as u64)),
            ("segments_ready", sum(|log| log.ready as u64)),
            ("segment_octets", sum(|log| log.octets)),
            ("segments_prepared", sum(|log| log.prepared)),
            ("segments_recycled", sum(|log| log.recycled)),
            ("segments_removed", sum(|log| log.removed)),
            ("segments_given_up", sum(|log| log.given_up)),
            ("segments_missed", sum(|log| log.misses)),
            ("segments_refused", sum(|log| log.failures)),
            ("free_octets", free_octets.unwrap_or(0)),
            ("reserve_octets", reserve_octets),
            ("blocks_lost", self.findings.blocks()),
            ("messages_damaged", self.findings.messages()),
            ("reads_refused", self.findings.refusals()),
        ];
        numbers.map(|(name, value)| Number { name, value }).into()
    }

    /// Other options are in force, of the same spool.
    pub(super) fn heed(&self, options: &SpoolOptions) {
        self.reserve.store(reserve(options), Ordering::Relaxed);
    }

    /// Where readers and sinks say what is wrong.
    pub(super) fn findings(&self) -> Arc<Findings> {
        Arc::clone(&self.findings)
    }

    /// What an operator must know, since this was asked.
    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms = std::mem::take(&mut *self.alarms.lock().unwrap_or_else(PoisonError::into_inner));
        alarms.extend(self.findings.take().iter().map(ToString::to_string));
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let troubles = figures.logs.iter().filter_map(|log| trouble(log, &figures, &self.directory));
        let of_shards = self.supplies.iter().filter_map(shards_trouble).map(|what| (what, String::new()));
        let gives_way = figures.logs.iter().any(|log| log.given_up > 0).then(gives_way);
        let troubles: BTreeMap<String, String> = troubles.chain(of_shards).chain(gives_way).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.extend(
            troubles.iter().filter(|(what, _)| !told.contains(*what)).map(|(what, now)| format!("{what}{now}")),
        );
        alarms.extend(
            told.iter().filter(|what| !troubles.contains_key(*what)).map(|over| format!("this is over: {over}")),
        );
        *told = troubles.into_keys().collect();
        alarms
    }

    /// The deferred mail of a thread of a sink, and what it does with it.
    pub(super) fn settlement(
        &self,
        sink: &str,
        part: usize,
        parts: usize,
        options: &SpoolOptions,
    ) -> Result<Settlement, EngineError> {
        let (node, epoch) = self.identity;
        let options = DeferredOptions {
            storage: Arc::clone(&self.storage),
            directory: self.directory.join("deferred"),
            owner: deferred::Owner { node, epoch, thread: part as u16, sink: sink.to_owned() },
            threads: parts as u16,
            retry: RetryOptions::of(options),
            sizes: Sizes::default(),
        };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let deferred = Deferred::open(&options, now_ms)?;
        let damaged = deferred.begun_again().map(|directory| {
            let directory = directory.display();
            format!("{directory}: the cursor of sink {sink:?} is damaged: what is there is delivered to it again")
        });
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner).extend(damaged);
        Ok(Settlement::new(deferred))
    }
}
