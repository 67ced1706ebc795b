//! The production intake with its logs, on segments that the production steward makes, on a disk that fails and loses power.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use crate::handoff::backlog::Attached;
use crate::handoff::consumer::Deliveries;
use crate::handoff::gather::Gather;
use crate::handoff::place::{LogId, LogKind, Position};
use crate::limits;
use crate::memory::slab::Slab;
use crate::policy::scope::Taking;
use crate::reactor::io::Time;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{Call, Fate, SimDisk, What};
use crate::simulation::world::Network;
use crate::spool::cursor::{self, CursorFile};
use crate::spool::findings::Findings;
use crate::spool::format::Chain;
use crate::spool::intake::Spooler;
use crate::spool::reader::{Reader, SegmentAt, Source};
use crate::spool::segment::{Registry, Segment};
use crate::spool::steward::{KeepOptions, Keeping, Lack, LogPlan, Needs, Supply};
use crate::spool::storage::Storage;
use crate::spool::writer::{Log, LogOptions, Start};

use super::super::book::{Book, EPOCH, NODE};
use super::witness::Witness;
use super::{CHAINS, SpoolPlan, log_of};

pub const SPOOL: &str = "/spool";
/// Where each log begins.
const BASE: u64 = 1 << 30;
/// What must stay free.
const RESERVE: u64 = 1 << 20;

pub fn sink_name(route: usize) -> String {
    format!("sink{route}")
}

/// What the disk says to the steward and to cursors now.
#[derive(Clone, Copy, Debug, Default)]
struct Mood {
    fails: u8,
    is_broken: bool,
}

/// What a sink needs still of a log, from when it is attached to it on: its reader wants the log's segments, which begin with the log.
#[derive(Debug, Default)]
struct Later(OnceLock<Arc<dyn Needs>>);

impl Needs for Later {
    fn needed_from(&self) -> u64 {
        self.0.get().map_or(0, |needs| needs.needed_from())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Rig {
    plan: SpoolPlan,
    disk: SimDisk,
    keeping: Keeping,
    supplies: Vec<(usize, Supply)>,
    mood: Arc<std::sync::Mutex<Mood>>,
    book: Rc<RefCell<Book>>,
    pub witness: Witness,
    findings: Arc<Findings>,
    start: Time,
    chance: Chance,
    /// It has room.
    is_roomy: bool,
    /// When the steward said last why there is no segment, or gave one.
    answered: [Time; CHAINS.len()],
    /// Of each log, whether its shard has given up waiting for a segment.
    hung: [bool; CHAINS.len()],
}

/// What a rig is made of.
pub struct Parts<'p> {
    pub plan: &'p SpoolPlan,
    /// How mail is taken at any of the doors.
    pub takings: &'p [Taking],
    pub book: &'p Rc<RefCell<Book>>,
    pub network: &'p Network,
    pub chance: &'p Chance,
    /// How late a completion may be, in ms, and whether time runs oddly.
    pub slack: (u64, bool),
}

impl Rig {
    /// With the intake of the shard. Sinks read what does not come to them by their rings.
    pub fn new(parts: &Parts<'_>, gather: Gather, deliveries: &mut [Deliveries]) -> (Self, Spooler) {
        let Parts { plan, takings, book, network, chance, slack } = *parts;
        let disk = SimDisk::new(chance.of("disk", 0).draw());
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let logs: Vec<usize> =
            (0..CHAINS.len()).filter(|log| takings.iter().any(|taking| log_of(*taking) == Some(*log))).collect();
        let directory = |log: usize| Path::new(SPOOL).join(CHAINS[log].directory(0));
        let lows: Vec<Arc<AtomicU64>> = logs.iter().map(|_| Arc::default()).collect();
        let readers: Vec<Vec<Arc<Later>>> = logs
            .iter()
            .map(|log| match CHAINS[*log] {
                Chain::Durable | Chain::Written => deliveries.iter().map(|_| Arc::default()).collect(),
                Chain::Blackhole | Chain::Deferred => Vec::new(),
            })
            .collect();
        let plans = logs.iter().zip(&lows).zip(&readers).map(|((log, low), readers)| {
            storage.make_directory(&directory(*log)).expect("nothing fails yet");
            book.borrow_mut().logs[*log].is_there = true;
            LogPlan {
                chain: CHAINS[*log],
                directory: directory(*log),
                segment_octets: plan.segment_octets,
                found: Vec::new(),
                cursors: readers.iter().map(|reader| Arc::clone(reader) as Arc<dyn Needs>).collect(),
                low: Arc::clone(low),
                waker: Some(gather.waker()),
                is_written_on: true,
            }
        });
        let options = KeepOptions {
            directory: PathBuf::from(SPOOL),
            reserve: Arc::new(AtomicU64::new(RESERVE)),
            size_octets: plan.segments.map(|segments| segments * plan.segment_octets),
            retain_s: 0,
        };
        let (keeping, ends) = Keeping::new(Arc::clone(&storage), options, plans.collect());
        let findings = Arc::new(Findings::default());
        let mut supplies = Vec::new();
        for (place, (log, (supply, registry))) in logs.iter().zip(ends).enumerate() {
            supplies.push((*log, supply));
            let kind = match CHAINS[*log] {
                Chain::Durable => LogKind::Durable,
                Chain::Written => LogKind::Written,
                Chain::Blackhole | Chain::Deferred => continue,
            };
            for (route, deliveries) in deliveries.iter_mut().enumerate() {
                let id = LogId { kind, shard: 0 };
                let source = source(&storage, &directory(*log), CHAINS[*log], &registry);
                let name = sink_name(route);
                let cursors = cursor::directory(Path::new(SPOOL));
                let (cursor, _) = CursorFile::open(&disk, &cursors, (&name, id, NODE)).expect("nothing fails yet");
                let memory = Reader::memory(1);
                let reader = Reader::new(id, source, &name, &memory, Some(cursor), Arc::clone(&findings));
                let start = if plan.begins_near { Position { address: BASE, from: BASE } } else { Position::default() };
                let attached = Attached { log: id, start, end: BASE, is_written_on: true, backlog: Box::new(reader) };
                readers[place][route].0.set(Arc::new(deliveries.attach(attached))).expect("each is attached once");
            }
        }
        let mood: Arc<std::sync::Mutex<Mood>> = Arc::default();
        disk.set_plan(answers(Arc::clone(&mood), chance.of("keeper", 0)));
        let witness = Witness::new(plan, slack, &disk, network, book, chance.of("witness", 0));
        network.set_files(Rc::new(witness.clone()));
        let spooler = spooler(plan, deliveries.len(), gather, &logs, &supplies, &lows);
        let rig = Self {
            plan: *plan,
            disk,
            keeping,
            supplies,
            mood,
            book: Rc::clone(book),
            witness,
            findings,
            start: network.now(),
            chance: chance.of("steward", 0),
            is_roomy: true,
            answered: [network.now(); CHAINS.len()],
            hung: [false; CHAINS.len()],
        };
        (rig, spooler)
    }

    /// The steward does what there is to do, unless it stands still. Whether it has looked.
    pub fn act(&mut self, now: Time) -> bool {
        let is_in = |window: Option<(u64, u64)>| {
            window.is_some_and(|(from, until)| now >= self.start.plus_ms(from) && now < self.start.plus_ms(until))
        };
        if is_in(self.plan.stands_still) || !self.chance.percent(20) {
            return false;
        }
        let mood = Mood { fails: self.plan.fails, is_broken: is_in(self.plan.breaks) };
        *self.mood.lock().expect("one thread") = mood;
        let is_roomy = !is_in(self.plan.fills_up);
        if is_roomy != std::mem::replace(&mut self.is_roomy, is_roomy) {
            self.disk.set_free_octets(if is_roomy { 1 << 40 } else { 0 });
        }
        self.keeping.step(now.ms());
        let mut book = self.book.borrow_mut();
        for (log, supply) in &self.supplies {
            let notes = &mut book.logs[*log];
            let lack = supply.lack(now.ms());
            if supply.ready() > 0 || matches!(lack, Some(Lack::Full | Lack::Failed)) {
                self.answered[*log] = now;
            }
            match lack {
                None => {}
                Some(Lack::Full) => notes.was_full = true,
                Some(Lack::Failed) => notes.was_broken = true,
                // That is the shard's word, and not the steward's.
                Some(Lack::Hung) => {}
            }
        }
        true
    }

    /// The intake may have given up waiting for a segment. So it may when nothing came of it for long, and only then.
    pub fn note_hung(&mut self, now_ms: u64) {
        let mut book = self.book.borrow_mut();
        for (log, supply) in &self.supplies {
            let was_hung = std::mem::replace(&mut self.hung[*log], supply.is_hung());
            if was_hung || !supply.is_hung() {
                continue;
            }
            book.logs[*log].was_broken = true;
            let since = now_ms.saturating_sub(self.answered[*log].ms());
            book.check(since >= limits::WRITE_HUNG_MS, || {
                format!("a segment is given up of which the steward has said something {since} ms ago")
            });
        }
    }

    /// What readers found to be wrong, which nothing is: what was not written they are not told of.
    pub fn check_findings(&self) -> Result<(), String> {
        match self.findings.blocks() + self.findings.messages() {
            0 => Ok(()),
            _ => Err(format!("a sink finds its log to be wrong: {:?}", self.findings.take())),
        }
    }
}

/// The shard's own writes fail as the kernel says.
fn answers(mood: Arc<std::sync::Mutex<Mood>>, mut chance: Chance) -> impl FnMut(&Call<'_>) -> Fate + Send + 'static {
    move |call| {
        let is_shards = matches!(call.what, What::Write | What::SyncedWrite)
            && call.path.extension().is_some_and(|extension| extension == "segment");
        let Mood { fails, is_broken } = *mood.lock().expect("one thread");
        if is_shards || call.what == What::Read || !(is_broken || chance.percent(fails)) {
            return Fate::Done;
        }
        match call.what {
            What::Create if chance.percent(50) => Fate::Fails(Errno::NOSPC),
            _ => Fate::Fails(Errno::IO),
        }
    }
}

fn source(storage: &Arc<dyn Storage>, directory: &Path, chain: Chain, registry: &Arc<Registry>) -> Source {
    let registry = Arc::clone(registry);
    let at = |segment: Arc<Segment>| {
        Some(SegmentAt { number: segment.number(), base: segment.base()?, octets: segment.octets() })
    };
    Source {
        storage: Arc::clone(storage),
        directory: directory.to_owned(),
        chain,
        shard: 0,
        node: NODE,
        segments: Arc::new(move || registry.segments().into_iter().filter_map(at).collect()),
        voids: [].into(),
    }
}

fn spooler(
    plan: &SpoolPlan,
    routes: usize,
    gather: Gather,
    logs: &[usize],
    supplies: &[(usize, Supply)],
    lows: &[Arc<AtomicU64>],
) -> Spooler {
    Spooler::new(0, gather, |taking: Taking, slab: &Slab| {
        let log = log_of(taking)?;
        let at = logs.iter().position(|other| *other == log)?;
        let options = LogOptions {
            chain: CHAINS[log],
            shard: 0,
            node: NODE,
            epoch: EPOCH,
            routes: (0..routes).map(sink_name).collect(),
            segment_octets: plan.segment_octets,
        };
        let start = Start { sequence: 1, base: BASE, voids: Vec::new() };
        Some((Log::new(options, start, supplies[at].1.clone(), slab), Arc::clone(&lows[at])))
    })
}
