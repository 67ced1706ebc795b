//! What the engine runs: every value resolved, every rule between values kept, nothing that can be changed.
//!
//! Invariants, kept by there being no other way to make a plan: at least one listener, each with at least one address;
//! names are unique; no address stands twice; no blackhole takes real mail unless told to; each greeting fits its line.
//!
//! *Does not* know where a value came from, nor whether the machine will grant what is asked.

use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use super::error::{Errors, Report};
use super::file::{self, File};
use super::machine::Machine;
use super::resolve::resolve;
use crate::policy::decision::{AcceptAll, Policy};
use crate::policy::scope::{Scope, Scopes};
use crate::reactor::listening::{Bind, SocketOptions};

/// What runs when no configuration is given.
const EMBEDDED: &str = include_str!("default.toml");

/// A whole configuration, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) hostname: String,
    pub(super) shards: NonZeroU16,
    pub(super) connections_per_shard: u32,
    pub(super) listeners: Vec<Listener>,
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
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
}

impl Plan {
    /// Reads a configuration; `source` names it in messages.
    pub fn parse(text: &str, source: &str) -> Result<Self, Errors> {
        Self::parse_on(&Machine::this(), text, source)
    }

    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let source = path.display().to_string();
        Self::parse(&file::load(path, &source)?, &source)
    }

    /// What runs when no configuration is given.
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED, "default.toml").expect("a test reads the embedded default")
    }

    /// Reads a configuration as on a machine that tests choose.
    pub(super) fn parse_on(machine: &Machine, text: &str, source: &str) -> Result<Self, Errors> {
        let tree = file::tree(text, source)?;
        let report = Report::new(Some(text));
        let file = File::read(&report, &tree);
        let policy: Arc<dyn Policy> = Arc::new(AcceptAll);
        let plan = resolve(file, machine, &policy, &report);
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

    /// What its connections are held to, by their peers.
    pub fn scopes(&self) -> &Arc<Scopes> {
        &self.scopes
    }

    /// What a connection is held to whose peer is nobody in particular.
    pub fn scope(&self) -> &Arc<Scope> {
        self.scopes.of(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::address::is_local;

    #[test]
    fn the_embedded_default_is_one_blackhole_on_loopback() {
        let plan = Plan::embedded();
        let [listener] = plan.listeners() else { panic!("{plan:?}") };
        assert_eq!(listener.name(), "blackhole");
        assert_eq!(plan.sockets().collect::<Vec<_>>(), [(0, &"127.0.0.1:2526".parse().unwrap())]);
        assert!(listener.binds().iter().all(is_local));
        assert_eq!(plan.connections_per_shard(), crate::limits::CONNECTIONS_PER_SHARD);
        assert!(listener.enable());
    }
}
