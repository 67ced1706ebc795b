//! What the engine runs: every value resolved, every rule between values kept, nothing that can be changed.
//!
//! Invariants, kept by there being no other way to make a plan: at least one listener, each with at least one address;
//! names are unique; no address stands twice; no blackhole takes real mail unless told to; each greeting fits its line; mail
//! that is handed off has a sink.
//!
//! *Does not* know where a value came from, nor whether the machine will grant what is asked.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Errors, Report};
use super::file::{self, File};
use super::machine::Machine;
use super::resolve::resolve;
use crate::mail::envelope::Route;
use crate::policy::decision::{AcceptAll, Policy};
use crate::policy::scope::{Promise, Scope, Scopes, Taking};
use crate::reactor::listening::{Bind, SocketOptions};
use crate::sink::maildir::options::{LineEnds, MaildirOptions};
use crate::smtp::extension::{Extension, Extensions};
use crate::spool::options::SpoolOptions;

/// What runs when no configuration is given.
const EMBEDDED: &str = include_str!("default.toml");

/// A whole configuration, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) hostname: String,
    pub(super) shards: NonZeroU16,
    pub(super) connections_per_shard: u32,
    pub(super) listeners: Vec<Listener>,
    pub(super) data_dir: PathBuf,
    pub(super) sink_threads: NonZeroU16,
    pub(super) sinks: Vec<SinkPlan>,
    pub(super) spool: SpoolOptions,
    pub(super) spool_shards: NonZeroU16,
    pub(super) log: LogPlan,
}

/// One listener, ready to run.
#[derive(Clone, Debug)]
pub struct Listener {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) protocol: Protocol,
    pub(super) durability: Durability,
    pub(super) binds: Vec<Bind>,
    pub(super) enable: bool,
    pub(super) socket: SocketOptions,
    pub(super) scopes: Arc<Scopes>,
    /// Of one that hands mail off.
    pub(super) destination: Option<Destination>,
}

/// Whose mail a listener hands off, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub(super) recipients: Named,
    pub(super) sink: Route,
    pub(super) routes: Vec<RoutePlan>,
    /// Each once.
    pub(super) reachable: Vec<Route>,
}

/// One route of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlan {
    /// Whose mail takes it, unless one before it does.
    pub recipients: Named,
    /// Where it leads.
    pub sink: Route,
}

/// How many patterns of recipients there are, and the first of them, to be told to people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// All.
    pub count: usize,
    /// At most [`RECIPIENTS_SHOWN`](crate::limits::RECIPIENTS_SHOWN); one that refuses with its reply code.
    pub first: Vec<String>,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    /// Unique among the plan's sinks; letters, digits, `-` and `_`.
    pub name: String,
    /// What it does with mail.
    pub kind: SinkKind,
}

/// What a sink does with mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// Keeps each message as a file. Its path is absolute, or relative to where the process runs.
    Maildir(MaildirOptions),
    /// Throws it away, as part of a listener that keeps other mail.
    Blackhole,
    /// Nothing: the program that embeds the library consumes its deliveries. `ringmx` itself, which embeds no such program,
    /// does not start with one.
    Program,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// What became of each message for each recipient.
    pub deliveries: DeliveryLog,
    /// Octets that the file may have, before it is put aside and another begun.
    pub deliveries_bytes: u64,
}

/// Where deliveries are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryLog {
    /// In a file, absolute or relative to where the process runs.
    File(PathBuf),
    /// On standard error.
    Stderr,
    /// Nowhere.
    None,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An MX: takes mail for its recipients from everyone.
    Public,
    /// Takes mail of peers that are known, for whom it says.
    Private,
    /// Takes everything, keeps nothing.
    Blackhole,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// What a 250 at the end of mail data means (DESIGN decision 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is kept.
    Discard,
    /// It is handed off to a sink, and in memory until that has it.
    Memory,
    /// It is in the spool, as far as the kernel is concerned: it survives this process, not the power.
    Written,
    /// It is in the spool, on stable storage. Of a blackhole: it was, and is thrown away.
    Durable,
    /// The sink has it.
    Delivered,
}

/// The logs that a shard has, by what is written there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// Mail of listeners that are durable.
    pub durable: bool,
    /// Mail that is in the page cache.
    pub written: bool,
    /// Mail of blackholes with disk.
    pub blackhole: bool,
}

impl Chains {
    /// How many there are, for each shard.
    pub fn count(self) -> u64 {
        [self.durable, self.written, self.blackhole].into_iter().map(u64::from).sum()
    }

    /// Whether there is one.
    pub fn any(self) -> bool {
        self.count() > 0
    }

    /// Whether one is said to survive the power.
    pub fn must_last(self) -> bool {
        self.durable || self.blackhole
    }

    /// Whether there are no others than these.
    pub fn are_within(self, others: Self) -> bool {
        let is_within = |one: bool, other: bool| other || !one;
        is_within(self.durable, others.durable)
            && is_within(self.written, others.written)
            && is_within(self.blackhole, others.blackhole)
    }
}

impl Plan {
    /// Reads a configuration; `source` names it in messages. Its paths are relative to where the process runs.
    pub fn parse(text: &str, source: &str) -> Result<Self, Errors> {
        Self::parse_on(&Machine::this(), text, source, None)
    }

    /// Reads a configuration file. Its paths are relative to its directory.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let source = path.display().to_string();
        let text = file::load(path, &source)?;
        Self::parse_on(&Machine::this(), &text, &source, Some(path.parent().unwrap_or(Path::new(""))))
    }

    /// What runs when no configuration is given.
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED, "default.toml").expect("a test reads the embedded default")
    }

    /// Reads a configuration as on a machine that tests choose, from a file in the directory `home`, or from no file.
    pub(super) fn parse_on(machine: &Machine, text: &str, source: &str, home: Option<&Path>) -> Result<Self, Errors> {
        let tree = file::tree(text, source)?;
        let report = Report::new(Some(text));
        let file = File::read(&report, &tree);
        let policy: Arc<dyn Policy> = Arc::new(AcceptAll);
        let plan = resolve(file, machine, home, &policy, &report);
        report.finish(source, plan)
    }

    /// The name in greetings and replies.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// How many there are.
    pub fn shards(&self) -> NonZeroU16 {
        self.shards
    }

    /// Connections of each shard, of all listeners together; at least 1, at most
    /// [`CONNECTIONS_PER_SHARD_MOST`](crate::limits::CONNECTIONS_PER_SHARD_MOST).
    pub fn connections_per_shard(&self) -> u32 {
        self.connections_per_shard
    }

    /// In the order of the file; at least one.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Where mail goes, in the order of the file: a [`Route`] is a place here. Also those that no listener uses.
    pub fn sinks(&self) -> &[SinkPlan] {
        &self.sinks
    }

    /// The sink of a route, if it is one of this plan's.
    pub fn sink_of(&self, route: Route) -> Option<&SinkPlan> {
        self.sinks.get(usize::from(route.0))
    }

    /// The threads of each sink; at most [`SINK_THREADS`](crate::limits::SINK_THREADS).
    pub fn sink_threads(&self) -> NonZeroU16 {
        self.sink_threads
    }

    /// The directory of what the engine keeps. Only a plan with sinks, or with a log of the spool, has a use for it.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What holds for the spool; only a plan with [`chains`](Self::chains) has one.
    pub fn spool(&self) -> &SpoolOptions {
        &self.spool
    }

    /// The shards that have logs: the first so many.
    pub fn spool_shards(&self) -> NonZeroU16 {
        self.spool_shards
    }

    /// The shards that serve listeners which take mail like this: the first so many.
    pub fn shards_for(&self, taking: Taking) -> NonZeroU16 {
        if taking.is_logged() { self.spool_shards } else { self.shards }
    }

    /// The logs that its listeners need, also those that are not enabled.
    pub fn chains(&self) -> Chains {
        let writes = |taking| self.listeners.iter().any(|listener| listener.taking() == taking);
        Chains {
            durable: writes(Taking::HandOff(Promise::Durable)),
            written: writes(Taking::HandOff(Promise::Written)),
            blackhole: writes(Taking::WriteAndDiscard),
        }
    }

    /// What is logged.
    pub fn log(&self) -> &LogPlan {
        &self.log
    }

    /// Whether any listener hands mail off, also one that is not enabled.
    pub fn hands_off(&self) -> bool {
        self.listeners.iter().any(|listener| listener.destination.is_some())
    }

    /// Every address with the index of its listener, also of those that are not enabled. No two are equal, unless the
    /// kernel chooses their ports.
    pub fn sockets(&self) -> impl Iterator<Item = (usize, &Bind)> {
        self.listeners
            .iter()
            .enumerate()
            .flat_map(|(index, listener)| listener.binds.iter().map(move |bind| (index, bind)))
    }
}

impl Listener {
    /// Unique among the plan's listeners; letters, digits, `-` and `_`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`Kind`].
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// See [`Protocol`].
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// See [`Durability`].
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Where it listens; at least one.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// Whether it listens from the start.
    pub fn enable(&self) -> bool {
        self.enable
    }

    /// How its sockets are set up.
    pub fn socket(&self) -> &SocketOptions {
        &self.socket
    }

    /// Whose mail it hands off, and where to; `None`: it keeps none.
    pub fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// What becomes of its mail.
    pub fn taking(&self) -> Taking {
        self.scope().taking
    }

    /// What its connections are held to, by their peers.
    pub fn scopes(&self) -> &Arc<Scopes> {
        &self.scopes
    }

    /// What a connection is held to whose peer is nobody in particular.
    pub fn scope(&self) -> &Arc<Scope> {
        self.scopes.of(None)
    }
}

impl Destination {
    /// Whose mail it takes, and whose not.
    pub fn recipients(&self) -> &Named {
        &self.recipients
    }

    /// Where mail goes that takes no route.
    pub fn sink(&self) -> Route {
        self.sink
    }

    /// In their order.
    pub fn routes(&self) -> &[RoutePlan] {
        &self.routes
    }

    /// All sinks that mail can go to, each once; at least one.
    pub fn reachable(&self) -> &[Route] {
        &self.reachable
    }
}

impl SinkKind {
    /// The extensions whose meaning the sink keeps for whoever gets the mail then: what a listener may offer (DESIGN
    /// decision 18). No reports are made in this build, so a file keeps no DSN; nor does it travel by TLS.
    pub fn keeps(&self) -> Extensions {
        match self {
            Self::Blackhole | Self::Program => Extensions::all(),
            Self::Maildir(options) => {
                let kept = Extensions::all().without(Extension::Dsn).without(Extension::RequireTls);
                match options.line_ends {
                    LineEnds::Crlf => kept,
                    LineEnds::Lf => kept.without(Extension::BinaryMime),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::address::is_local;
    use crate::spool::options::Reserve;

    #[test]
    fn the_embedded_default_keeps_mail_and_is_on_loopback() {
        let plan = Plan::embedded();
        let named = |listener: &Listener| (listener.name().to_owned(), listener.kind(), listener.durability());
        assert_eq!(
            plan.listeners().iter().map(named).collect::<Vec<_>>(),
            [
                ("mx".into(), Kind::Public, Durability::Durable),
                ("blackhole".into(), Kind::Blackhole, Durability::Discard),
                ("disk".into(), Kind::Blackhole, Durability::Durable),
            ]
        );
        assert_eq!(plan.chains(), Chains { durable: true, written: false, blackhole: true });
        let reserve = Reserve::Ruled { message_octets: 50 << 20 };
        assert_eq!(*plan.spool(), SpoolOptions { reserve, ..SpoolOptions::within(Path::new("ringmx-data")) });
        let addresses = ["127.0.0.1:2525", "127.0.0.1:2526", "127.0.0.1:2527"].map(|text| text.parse().unwrap());
        assert_eq!(plan.sockets().map(|(_, bind)| bind).collect::<Vec<_>>(), addresses.iter().collect::<Vec<_>>());
        assert!(plan.listeners().iter().all(|listener| listener.enable() && listener.binds().iter().all(is_local)));
        assert_eq!(plan.connections_per_shard(), crate::limits::CONNECTIONS_PER_SHARD);
        let [store] = plan.sinks() else { panic!("{plan:?}") };
        let path = "ringmx-data/mail/{domain}/{local}".parse().unwrap();
        let kept = MaildirOptions { quota_bytes: Some(1 << 30), ..MaildirOptions::new(path) };
        assert_eq!(*store, SinkPlan { name: "store".into(), kind: SinkKind::Maildir(kept) });
    }

    #[test]
    fn a_reload_brings_no_log_that_was_not_there() {
        let chains = |durable, written, blackhole| Chains { durable, written, blackhole };
        let all = chains(true, true, true);
        assert_eq!((all.count(), chains(false, true, false).count()), (3, 1));
        assert!(!Chains::default().any() && all.any() && Chains::default().are_within(Chains::default()));
        for one in [chains(true, false, false), chains(false, true, false), chains(false, false, true)] {
            assert!(one.any() && one.are_within(all) && one.are_within(one) && Chains::default().are_within(one));
            assert!(!all.are_within(one) && !one.are_within(Chains::default()));
        }
    }
}
