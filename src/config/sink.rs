//! A plan without a file: the load-test sink of `ringmx sink`.
//!
//! It goes the way of a file's values, so that the same rules hold for it.

use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::error::{Errors, Mistake, Report};
use super::file::{self, File};
use super::machine::Machine;
use super::plan::{Kind, Plan, Protocol};
use super::resolve::resolve;
use super::{value, vocabulary};
use crate::limits;
use crate::policy::decision::{AcceptAll, Policy};
use crate::reactor::listening::Bind;

/// What errors call it.
const SOURCE: &str = "ringmx sink";

/// What a load-test sink can be told without a file; all else has its default.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// Where it listens; at least one.
    pub binds: Vec<Bind>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether each connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether the CRC32C of each message's content is added up.
    pub checksum: bool,
    /// Who decides about its mail.
    pub policy: Arc<dyn Policy>,
    /// 0: one for each core that this process may use.
    pub shards: u16,
    /// Connections of each shard.
    pub connections_per_shard: u32,
    /// Whether it may listen where real mail arrives: port 25, 465 or 587 of an address that other machines reach.
    pub discards_mail: bool,
    /// Messages are written to the disk as durable mail is, below this directory, before they are thrown away; `None`: they are not.
    pub disk: Option<PathBuf>,
    /// Whether sinks are told the envelope of each message: see [`Ended::record`](crate::smtp::session::Ended).
    pub keeps_envelope: bool,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            binds: Vec::new(),
            protocol: Protocol::Smtp,
            proxy_protocol: false,
            checksum: false,
            policy: Arc::new(AcceptAll),
            shards: 0,
            connections_per_shard: limits::CONNECTIONS_PER_SHARD,
            discards_mail: false,
            disk: None,
            keeps_envelope: false,
        }
    }
}

impl Plan {
    /// A load-test sink: one blackhole named `sink`.
    pub fn sink(options: SinkOptions) -> Result<Self, Errors> {
        let report = Report::new(None);
        let shards = value::in_range(Ok(options.shards.into()), &vocabulary::SHARDS, "shards");
        let connections = Ok(options.connections_per_shard.into());
        let connections = value::in_range(connections, &vocabulary::CONNECTIONS_PER_SHARD, "connections");
        let mut file = File::default();
        file.server.shards = unplaced(shards, "server.shards", &report);
        file.server.connections_per_shard = unplaced(connections, "server.connections_per_shard", &report);
        file.server.data_dir = options.disk.clone().and_then(said);
        let path = "listener.sink".to_owned();
        if options.binds.is_empty() {
            let mistake = Mistake::new("is missing", "such as 127.0.0.1:2525");
            report.add(0..0, format!("{path}.bind"), mistake);
        }
        file.listeners.push(file::Listener {
            name: "sink".into(),
            path,
            kind: said(Kind::Blackhole),
            protocol: said(options.protocol),
            bind: options.binds.into_iter().map(|bind| Spanned::new(0..0, bind)).collect(),
            discards_mail: said(options.discards_mail),
            disk: said(options.disk.is_some()),
            keeps_envelope: options.keeps_envelope,
            proxy_protocol: said(options.proxy_protocol),
            checksum: said(options.checksum),
            ..file::Listener::default()
        });
        let plan = resolve(file, &Machine::this(), None, &options.policy, &report);
        report.finish(SOURCE, plan)
    }
}

/// A value of the command line as if a file had said it.
fn unplaced<T>(value: Result<T, Mistake>, key: &str, report: &Report<'_>) -> Option<Spanned<T>> {
    value.map_err(|mistake| report.add(0..0, key, mistake)).ok().and_then(said)
}

fn said<T>(value: T) -> Option<Spanned<T>> {
    Some(Spanned::new(0..0, value))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::plan::{Chains, Durability};
    use crate::smtp::settings::Dialect;
    use crate::spool::options::SpoolOptions;

    #[test]
    fn a_sink_needs_no_file() {
        let bind = |text: &str| -> Bind { text.parse().unwrap() };
        let options = SinkOptions { binds: vec![bind(":2525"), bind(":0"), bind(":0")], ..SinkOptions::default() };
        let plan = Plan::sink(SinkOptions { shards: 2, connections_per_shard: 10, ..options.clone() }).unwrap();
        assert_eq!((plan.shards().get(), plan.connections_per_shard()), (2, 10));
        let [sink] = plan.listeners() else { panic!("{plan:?}") };
        assert_eq!((sink.name(), sink.kind(), sink.binds().len()), ("sink", Kind::Blackhole, 3));
        assert!(sink.scope().settings.terms().discards);
        assert_eq!((sink.protocol(), sink.scope().proxy_timeout_ms), (Protocol::Smtp, None));
        assert!(!sink.scope().sums_content && !sink.scope().settings.terms().keeps_record());
        let told = SinkOptions {
            protocol: Protocol::Lmtp,
            proxy_protocol: true,
            checksum: true,
            keeps_envelope: true,
            ..options.clone()
        };
        let told = Plan::sink(told).unwrap();
        let scope = told.listeners()[0].scope();
        assert!(scope.sums_content && scope.settings.terms().keeps_record());
        assert_eq!((scope.settings.terms().dialect, scope.proxy_timeout_ms), (Dialect::Lmtp, Some(5_000)));

        assert_eq!((sink.durability(), plan.chains().any()), (Durability::Discard, false));
        let written = Plan::sink(SinkOptions { disk: Some("there".into()), ..options.clone() }).unwrap();
        assert_eq!(written.listeners()[0].durability(), Durability::Durable);
        assert_eq!(written.chains(), Chains { blackhole: true, ..Chains::default() });
        assert_eq!((written.data_dir(), written.sinks().len()), (Path::new("there"), 0));
        assert_eq!(*written.spool(), SpoolOptions::within(Path::new("there")));

        let mail = SinkOptions { binds: vec![bind(":25")], ..SinkOptions::default() };
        assert!(Plan::sink(SinkOptions { discards_mail: true, ..mail.clone() }).is_ok());
        for (options, wanted) in [
            (
                SinkOptions { protocol: Protocol::Lmtp, discards_mail: true, ..mail.clone() },
                "ringmx sink: listener.sink.bind: \"0.0.0.0:25\" is SMTP's port, where LMTP must not be spoken (RFC 2033 \
                 §5); another port or a Unix socket is wanted",
            ),
            (
                mail,
                "ringmx sink: listener.sink.bind: real mail can arrive at \"0.0.0.0:25\", where this blackhole would accept and \
                 lose it; discards_mail = true says that this is meant",
            ),
            (
                SinkOptions { binds: vec![bind(":2525"), bind("*:2525")], ..SinkOptions::default() },
                "ringmx sink: listener.sink.bind: \"0.0.0.0:2525\" is already an address of listener \"sink\"; an address can \
                 stand once",
            ),
            (SinkOptions::default(), "ringmx sink: listener.sink.bind: is missing; such as 127.0.0.1:2525"),
            (
                SinkOptions { shards: 2000, ..options.clone() },
                "ringmx sink: server.shards: 2000 is out of range; a whole number of shards from 0 to 1024 is wanted",
            ),
            (
                SinkOptions { connections_per_shard: 0, ..options },
                "ringmx sink: server.connections_per_shard: 0 is out of range; a whole number of connections from 1 to \
                 1048576 is wanted",
            ),
        ] {
            assert_eq!(Plan::sink(options).unwrap_err().to_string(), wanted);
        }
    }
}
