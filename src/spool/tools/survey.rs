//! A spool as it lies there: its logs, the messages of each, and what waits in which way.
//!
//! *Live or not*: a message that moves while it is looked for may be met twice, in the log that it leaves and in the one that it comes
//! to, since what a log is done with is noted about once a second; it is never missed for that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::handoff::place::{LogId, LogKind};
use crate::mail::id::MessageId;
use crate::spool::cursor;
use crate::spool::deferred::order::Verb;
use crate::spool::deferred::{self, Class, Gone};
use crate::spool::format::Chain;
use crate::spool::scan::Owner;
use crate::spool::scan::content::ContentError;
use crate::spool::storage::{Entry, EntryKind, Storage, StorageError};
use crate::spool::tools::assemble::{Assembler, Found};
use crate::spool::tools::contents::Contents;
use crate::spool::tools::filter::Filter;
use crate::spool::tools::log::{Log, Met};
use crate::spool::tools::message::{Message, Place, State, key};
use crate::spool::tools::order;

/// What a log is, by where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Mail that comes in.
    Main(Chain, u16),
    /// Mail that a sink did not take.
    Class(Class),
    /// Mail that is handed to a sink anew: each file is a log of its own.
    Replay,
}

/// A log of the spool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its directory, below that of the spool.
    pub name: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// Its file, where that is all of it.
    pub file: Option<String>,
    /// Octets of its files.
    pub octets: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Survey<'s> {
    /// Where it lies.
    pub storage: &'s dyn Storage,
    /// Its directory.
    pub spool: PathBuf,
    /// The random number of its data directory: what has another is not looked at.
    pub node: u32,
}

/// Where mail of a sink waits to be handed to it anew, as a tool writes it. What the sink has taken up is a class.
pub(super) const INBOX: &str = "inbox";

impl Survey<'_> {
    /// Its logs: those of mail that comes in first.
    pub fn logs(&self) -> Result<Vec<Named>, StorageError> {
        let mut logs = Vec::new();
        for entry in directories(self.storage.entries(&self.spool)?) {
            if let Some((chain, shard)) = Chain::of_directory(&entry).filter(|(chain, _)| *chain != Chain::Deferred) {
                self.push(&mut logs, entry, Kind::Main(chain, shard))?;
            } else if entry == Chain::Deferred.name() {
                for sink in directories(self.storage.entries(&self.spool.join(&entry))?) {
                    self.push_sink(&mut logs, &format!("{entry}/{sink}"))?;
                }
            }
        }
        logs.sort_by(|one, other| (&one.kind, &one.name, &one.file).cmp(&(&other.kind, &other.name, &other.file)));
        Ok(logs)
    }

    fn push_sink(&self, logs: &mut Vec<Named>, sink: &str) -> Result<(), StorageError> {
        for class in directories(self.storage.entries(&self.spool.join(sink))?) {
            let name = format!("{sink}/{class}");
            if let Some(class) = Class::of_name(&class).filter(|class| *class != Class::Replay) {
                self.push(logs, name, Kind::Class(class))?;
            } else if class == INBOX {
                for entry in self.storage.entries(&self.spool.join(&name))?.into_iter().filter(is_segment) {
                    let file = Some(entry.name.to_string_lossy().into_owned());
                    logs.push(Named { name: name.clone(), kind: Kind::Replay, file, octets: entry.octets });
                }
            }
        }
        Ok(())
    }

    fn push(&self, logs: &mut Vec<Named>, name: String, kind: Kind) -> Result<(), StorageError> {
        let entries = self.storage.entries(&self.spool.join(&name))?;
        let octets = entries.iter().filter(|entry| is_segment(entry)).map(|entry| entry.octets).sum();
        logs.push(Named { name, kind, file: None, octets });
        Ok(())
    }

    /// The sinks that have run on it, and take up what they are handed when they run again.
    pub fn sinks(&self) -> Result<Vec<String>, StorageError> {
        let entries = match self.storage.entries(&self.spool.join(Chain::Deferred.name())) {
            Err(error) if error.is_not_found() => Vec::new(),
            entries => entries?,
        };
        let first = |name: String| name.strip_suffix("-0").map(str::to_owned);
        Ok(directories(entries).filter_map(first).collect())
    }

    /// Opens one of them.
    pub fn open(&self, log: &Named) -> Result<Log, StorageError> {
        self.open_log(&log.name, log.file.as_deref())
    }

    fn open_log(&self, name: &str, file: Option<&str>) -> Result<Log, StorageError> {
        let (chain, shard) = Chain::of_directory(name).unwrap_or_else(|| {
            // `deferred/SINK-THREAD/CLASS`.
            let thread = name.split('/').nth(1).and_then(|sink| sink.rsplit_once('-')?.1.parse().ok());
            (Chain::Deferred, thread.unwrap_or_default())
        });
        let owner = Owner { chain, shard, node: self.node };
        Log::open(self.storage, &self.spool, name, file, owner)
    }

    /// Gives the messages that are asked for, until the visitor breaks off; `watch` is told, from time to time, octets that were read,
    /// and of how many. What is broken is left out: to tell of that is [`verify`](super::verify)'s matter.
    pub fn messages(
        &self,
        filter: &Filter,
        watch: &mut dyn FnMut(u64, u64),
        visit: &mut dyn FnMut(Message) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let all = self.logs()?;
        let logs: Vec<Named> = all.iter().filter(|log| wants(filter, &log.kind)).cloned().collect();
        // All of them before the first is read: what goes from one log to another meanwhile is where it was, then.
        let done: Vec<Done> = logs.iter().map(|named| self.done_with(&named.kind, &named.name)).collect();
        let elsewhere = if filter.wants(State::Delivered) { self.taken_by_none(&all)? } else { HashMap::new() };
        let (mut read, all) = (0, logs.iter().map(|log| log.octets).sum());
        for (named, done) in logs.iter().zip(&done) {
            let mut flow = ControlFlow::Continue(());
            let mut pass = |found: Found| {
                if let (Found::Whole(message), true) = (found, flow.is_continue())
                    && let Some(message) = done.state(message).and_then(|message| delivered(message, &elsewhere))
                    && filter.matches(&message)
                {
                    flow = visit(message);
                }
            };
            match self.pass(named, &mut pass, &mut |octets| watch(read + octets, all)) {
                // Its files were removed meanwhile.
                Err(error) if error.is_not_found() => {}
                passed => passed?,
            }
            read += named.octets;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Of what sinks were given and have not taken, the recipients: by id, each with its sink.
    fn taken_by_none(&self, logs: &[Named]) -> Result<Elsewhere, StorageError> {
        let mut elsewhere = Elsewhere::new();
        for named in logs.iter().filter(|named| !matches!(named.kind, Kind::Main(..))) {
            let done = self.done_with(&named.kind, &named.name);
            let mut note = |found: Found| {
                if let Found::Whole(message) = found
                    && let Some(message) = done.state(message)
                {
                    let recipients = message.recipients().map(|(recipient, sink)| key(&recipient, sink));
                    elsewhere.entry(message.id()).or_default().extend(recipients);
                }
            };
            match self.pass(named, &mut note, &mut |_| ()) {
                Err(error) if error.is_not_found() => {}
                passed => passed?,
            }
        }
        Ok(elsewhere)
    }

    fn pass(
        &self,
        named: &Named,
        found: &mut dyn FnMut(Found),
        watch: &mut dyn FnMut(u64),
    ) -> Result<(), StorageError> {
        let log = self.open(named)?;
        let (mut assembler, mut octets) = (Assembler::new(&log.name, log.begins_at(), false), 0);
        log.read(&mut |segment, met| {
            if let Met::Block(block) = &met {
                octets += block.span() as u64;
                watch(octets);
            }
            assembler.met(segment, &met, found);
            ControlFlow::Continue(())
        })?;
        assembler.end(found);
        Ok(())
    }

    fn done_with(&self, kind: &Kind, name: &str) -> Done {
        match kind {
            Kind::Main(chain, shard) => {
                let kind = if *chain == Chain::Written { LogKind::Written } else { LogKind::Durable };
                let log = LogId { kind, shard: *shard };
                Done::Main(cursor::done_with(self.storage, &self.spool, log, self.node).into_iter().collect())
            }
            Kind::Class(class) => {
                let root = Path::new(name).parent().map(|root| self.spool.join(root)).unwrap_or_default();
                let done = deferred::done_with(self.storage, &root, self.node);
                // What is tried at once has numbers of each file's own.
                let done = done.into_iter().find(|(of, _)| of == class && *class != Class::Replay);
                let gone = deferred::gone_of(self.storage, &root, self.node);
                let gone = gone.into_iter().find(|(of, _)| of == class).map(|(_, gone)| gone);
                let orders = order::waiting(self.storage, &root, self.node);
                let orders = orders.into_iter().filter(|order| order.applies_in(*class));
                let orders = orders.map(|order| ((order.id, order.copy), order.verb));
                Done::Class(Box::new(Rest {
                    state: state_of(*class),
                    done: done.map_or(0, |(_, message)| message),
                    gone: gone.unwrap_or_default(),
                    orders: orders.collect(),
                }))
            }
            Kind::Replay => Done::Nothing(State::Active),
        }
    }

    /// The content of a message, octet for octet.
    pub fn content(&self, message: &Message) -> Result<Vec<u8>, ContentError> {
        Contents::new(self).of(message)
    }

    /// The log that a message lies in; and its file, where that is all of it.
    pub(super) fn log_of(&self, place: &Place) -> Result<(Log, Option<String>), StorageError> {
        let file = place.log.ends_with(&format!("/{INBOX}")).then(|| place.segment.clone());
        Ok((self.open_log(&place.log, file.as_deref())?, file))
    }
}

/// Recipients, each with its sink.
type Elsewhere = HashMap<MessageId, BTreeSet<(Vec<u8>, String)>>;

/// A message that its log is done with is delivered for those of its recipients that wait nowhere else; `None`: for none.
fn delivered(mut message: Message, elsewhere: &Elsewhere) -> Option<Message> {
    if message.state == State::Delivered
        && let Some(recipients) = elsewhere.get(&message.id())
    {
        message.elsewhere.clone_from(recipients);
        message.recipients().next()?;
    }
    Some(message)
}

/// Which messages of a log are done with.
enum Done {
    /// By sink: those that end before this address.
    Main(BTreeMap<String, u64>),
    /// Those of a class.
    Class(Box<Rest>),
    /// None; all are in this state.
    Nothing(State),
}

/// What is left of a class.
struct Rest {
    /// All of it is in this state.
    state: State,
    /// Those with lower numbers are done with.
    done: u64,
    /// So are these.
    gone: Gone,
    /// What is ordered and not carried out yet.
    orders: HashMap<(MessageId, Option<u64>), Verb>,
}

impl Done {
    /// A message in the state that it is in; `None`: what is done with it is none of this log's business.
    fn state(&self, mut message: Message) -> Option<Message> {
        match self {
            Self::Main(sinks) => {
                let is_left = |sink: &str| sinks.get(sink).is_none_or(|done| message.place.record.place >= *done);
                let mut left: Vec<u16> =
                    message.recipients().filter(|(_, sink)| is_left(sink)).map(|(one, _)| one.route.0).collect();
                left.dedup();
                if left.is_empty() {
                    message.state = State::Delivered;
                } else {
                    message.left = Some(left);
                }
            }
            Self::Class(rest) => {
                let number = message.place.record.number;
                if number < rest.done || rest.gone.has(number) {
                    return None;
                }
                let ordered = |copy| rest.orders.get(&(message.id(), copy)).copied();
                if !rest.orders.is_empty() {
                    message.ordered = ordered(Some(message.print())).or_else(|| ordered(None));
                }
                message.state = rest.state;
            }
            Self::Nothing(state) => message.state = *state,
        }
        Some(message)
    }
}

fn state_of(class: Class) -> State {
    match class {
        Class::Retry(_) => State::Deferred,
        Class::Replay => State::Active,
        Class::Held => State::Held,
        Class::Quarantined => State::Quarantined,
        Class::Dead => State::Dead,
    }
}

/// Whether a log may have what is asked for.
fn wants(filter: &Filter, kind: &Kind) -> bool {
    match kind {
        Kind::Main(Chain::Blackhole | Chain::Deferred, _) => false,
        Kind::Main(..) => filter.wants(State::Active) || filter.wants(State::Delivered),
        Kind::Class(class) => filter.wants(state_of(*class)),
        Kind::Replay => filter.wants(State::Active),
    }
}

/// Whether a file belongs to a log.
pub(super) fn is_segment(entry: &Entry) -> bool {
    let name = entry.name.to_string_lossy();
    entry.kind == EntryKind::File && name.ends_with(".segment") && !name.starts_with('.')
}

fn directories(entries: Vec<Entry>) -> impl Iterator<Item = String> {
    let directories = entries.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
    directories.filter_map(|entry| entry.name.into_string().ok())
}

/// Where a sink's first thread looks for what it is handed anew.
pub fn inbox(spool: &Path, sink: &str) -> PathBuf {
    spool.join(Chain::Deferred.name()).join(format!("{sink}-0")).join(INBOX)
}
