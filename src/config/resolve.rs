//! From what a file says to what the engine runs: DESIGN §6's defaults for all that is not said.
//!
//! *Does not* stop at a mistake: what is wrong has its default here, and the report keeps the plan from being used.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use super::destination::FileLog;
use super::error::{Mistake, Report};
use super::file::{self, File};
use super::machine::Machine;
use super::plan::{DeliveryLog, Destination, Durability, Kind, Listener, LogPlan, Plan, Protocol, SinkPlan};
use super::{defaults, routing, rules, spool};
use crate::limits;
use crate::policy::decision::Policy;
use crate::policy::scope::{Promise, Scope, Scopes, Taking, Timeouts};
use crate::reactor::listening::SocketOptions;
use crate::smtp::settings::{Settings, Terms};
use crate::spool::options::SpoolOptions;

/// The plan that a file in the directory `home` amounts to; not to be used when the report holds a mistake afterwards. `policy`
/// decides about mail that is thrown away.
pub(super) fn resolve(
    file: File,
    machine: &Machine,
    home: Option<&Path>,
    policy: &Arc<dyn Policy>,
    report: &Report<'_>,
) -> Plan {
    rules::check(&file.listeners, report);
    let hostname = said(file.server.hostname, || machine.hostname.clone());
    let socket = socket(file.socket, SocketOptions::default());
    let data_dir = data_dir(file.server.data_dir, home);
    let sinks = routing::sinks(&file.sinks, &data_dir, report);
    let house = House { hostname: &hostname, socket, sinks: &sinks, policy, report };
    let shards = NonZeroU16::new(said(file.server.shards, || 0)).unwrap_or(machine.cores);
    let plan = Plan {
        shards,
        connections_per_shard: said(file.server.connections_per_shard, || limits::CONNECTIONS_PER_SHARD),
        listeners: file.listeners.into_iter().map(|listener| house.listener(listener)).collect(),
        sink_threads: file
            .server
            .sink_threads
            .map(Spanned::into_inner)
            .and_then(NonZeroU16::new)
            .unwrap_or(NonZeroU16::MIN),
        spool: SpoolOptions::within(&data_dir),
        spool_shards: spool::shards(&file.spool, shards, machine.cores),
        log: log(file.log, &data_dir, report),
        data_dir,
        sinks,
        hostname,
    };
    let spool = spool::resolve(file.spool, &plan, report);
    Plan { spool, ..plan }
}

/// Where the engine keeps what it keeps: beside the file, if there is one, and visibly the engine's own if there is none.
fn data_dir(file: Option<Spanned<PathBuf>>, home: Option<&Path>) -> PathBuf {
    let default = || PathBuf::from(if home.is_some() { "data" } else { "ringmx-data" });
    home.unwrap_or(Path::new("")).join(said(file, default))
}

fn log(file: FileLog, data_dir: &Path, report: &Report<'_>) -> LogPlan {
    let spool = SpoolOptions::within(data_dir).directory;
    if let Some(deliveries) = &file.deliveries
        && matches!(deliveries.get_ref(), DeliveryLog::File(path) if data_dir.join(path).starts_with(&spool))
    {
        let wrong = format!("lies in {}, among the spool's logs", spool.display());
        report.add(deliveries.span(), "log.deliveries", Mistake::new(wrong, "a path beside it is wanted"));
    }
    let deliveries = match said(file.deliveries, || DeliveryLog::File("deliveries.log".into())) {
        DeliveryLog::File(path) => DeliveryLog::File(data_dir.join(path)),
        other => other,
    };
    if let (Some(bytes), DeliveryLog::Stderr | DeliveryLog::None) = (&file.deliveries_bytes, &deliveries) {
        let mistake = Mistake::new("has no use without a file", "a file's path in deliveries, or no such key");
        report.add(bytes.span(), "log.deliveries_bytes", mistake);
    }
    LogPlan { deliveries, deliveries_bytes: said(file.deliveries_bytes, || limits::DELIVERY_LOG_OCTETS) }
}

/// What a listener takes from the plan around it.
struct House<'h> {
    hostname: &'h str,
    /// The server-wide options.
    socket: SocketOptions,
    sinks: &'h [SinkPlan],
    policy: &'h Arc<dyn Policy>,
    report: &'h Report<'h>,
}

impl House<'_> {
    /// A listener with the defaults of its kind.
    fn listener(&self, mut file: file::Listener) -> Listener {
        let kind = said_or(&file.kind, Kind::Blackhole);
        let protocol = said_or(&file.protocol, Protocol::Smtp);
        let durability = said_or(&file.durability, defaults::durability(kind, said_or(&file.disk, false)));
        // What is written as durable mail is has all that durable mail has.
        file.keeps_envelope |= kind == Kind::Blackhole && durability == Durability::Durable;
        let (policy, destination): (Arc<dyn Policy>, _) = match kind {
            Kind::Blackhole => (Arc::clone(self.policy), None),
            Kind::Public | Kind::Private => {
                let (recipients, destination) = routing::destination(&file, self.hostname, self.sinks, self.report);
                (Arc::new(recipients), Some(destination))
            }
        };
        let proxy_timeout_ms = milliseconds(&file.proxy_timeout_s).unwrap_or(limits::PROXY_MS);
        let everyone = Scope {
            listener: file.name.clone(),
            settings: Settings::new(self.terms(&file, kind, protocol, destination.as_ref())),
            timeouts: Timeouts {
                idle_ms: milliseconds(&file.idle_timeout_s).unwrap_or(limits::IDLE_MS),
                transaction_ms: match milliseconds(&file.transaction_timeout_s) {
                    None => defaults::transaction_ms(kind),
                    said => said.filter(|time_ms| *time_ms > 0),
                },
                greet_pause_ms: said_or(&file.greet_pause_ms, 0),
                answer_ms: limits::ANSWER_MS,
            },
            proxy_timeout_ms: said_or(&file.proxy_protocol, false).then_some(proxy_timeout_ms),
            taking: match durability {
                Durability::Discard => Taking::Discard,
                Durability::Memory => Taking::HandOff(Promise::Memory),
                Durability::Delivered => Taking::HandOff(Promise::Delivered),
                Durability::Written => Taking::HandOff(Promise::Written),
                Durability::Durable if kind == Kind::Blackhole => Taking::WriteAndDiscard,
                Durability::Durable => Taking::HandOff(Promise::Durable),
            },
            sums_content: said_or(&file.checksum, false),
            served: None,
            policy,
        };
        let scopes = Scopes::new(everyone, file.xclient.map_or_else(Vec::new, |list| all(list).collect()));
        let scopes = match kind {
            Kind::Private => scopes.serving(file.relay_from.map_or_else(Vec::new, |list| all(list).collect())),
            Kind::Public | Kind::Blackhole => scopes,
        };
        Listener {
            kind,
            protocol,
            durability,
            binds: file.bind.into_iter().map(Spanned::into_inner).collect(),
            enable: said_or(&file.enable, true),
            socket: socket(file.socket, self.socket),
            scopes: Arc::new(scopes),
            destination,
            name: file.name,
        }
    }

    fn terms(&self, file: &file::Listener, kind: Kind, protocol: Protocol, destination: Option<&Destination>) -> Terms {
        let default = defaults::terms(kind, protocol, self.hostname);
        // 0 is no limit.
        let limit = |said: &Option<Spanned<u32>>, default: Option<u32>| match said {
            Some(count) => Some(*count.get_ref()).filter(|count| *count > 0),
            None => default,
        };
        Terms {
            keeps_envelope: file.keeps_envelope,
            banner: self.banner(file.banner.as_ref(), &file.path).unwrap_or(default.banner),
            extensions: routing::extensions(file.extensions.as_ref(), destination, self.sinks, &file.path, self.report),
            message_size_bytes: said_or(&file.message_size_bytes, default.message_size_bytes),
            recipients_per_message: said_or(&file.recipients_per_message, default.recipients_per_message),
            recipient_domains_per_message: limit(
                &file.recipient_domains_per_message,
                default.recipient_domains_per_message,
            ),
            messages_per_connection: limit(&file.messages_per_connection, default.messages_per_connection),
            errors: limit(&file.errors, default.errors),
            junk_commands: limit(&file.junk_commands, default.junk_commands),
            synchronization: said_or(&file.synchronization, default.synchronization),
            bare_newline: said_or(&file.bare_newline, default.bare_newline),
            nul: said_or(&file.nul, default.nul),
            address_syntax: said_or(&file.address_syntax, default.address_syntax),
            default_domain: file.default_domain.as_ref().map(|domain| domain.get_ref().clone()),
            received_fields: limit(&file.received_fields, default.received_fields),
            line_octets: limit(&file.line_bytes, default.line_octets),
            ..default
        }
    }

    /// The greeting's text, if the whole line fits.
    fn banner(&self, said: Option<&Spanned<String>>, path: &str) -> Option<String> {
        let said = said?;
        let octets = defaults::greeting_octets(self.hostname.len(), said.get_ref().len());
        if octets <= limits::REPLY_LINE_OCTETS {
            return Some(said.get_ref().clone());
        }
        let room = said.get_ref().len() - (octets - limits::REPLY_LINE_OCTETS);
        let wrong = format!("makes a greeting of {octets} octets, of {} allowed", limits::REPLY_LINE_OCTETS);
        let right = format!("beside the host name {:?} there is room for {room}", self.hostname);
        self.report.add(said.span(), format!("{path}.banner"), Mistake::new(wrong, right));
        None
    }
}

fn socket(file: file::Socket, over: SocketOptions) -> SocketOptions {
    SocketOptions {
        backlog: said(file.backlog, || over.backlog),
        reuse_port: said(file.reuse_port, || over.reuse_port),
        receive_buffer_bytes: file.receive_buffer_bytes.map(Spanned::into_inner).or(over.receive_buffer_bytes),
        send_buffer_bytes: file.send_buffer_bytes.map(Spanned::into_inner).or(over.send_buffer_bytes),
        no_delay: said(file.no_delay, || over.no_delay),
        keepalive_s: said(file.keepalive_s, || over.keepalive_s),
        user_timeout_ms: said(file.user_timeout_ms, || over.user_timeout_ms),
        file_mode: said(file.file_mode, || over.file_mode),
    }
}

/// The values of a list.
fn all<T>(list: Spanned<Vec<Spanned<T>>>) -> impl Iterator<Item = T> {
    list.into_inner().into_iter().map(Spanned::into_inner)
}

/// What was said, or the default.
fn said<T>(said: Option<Spanned<T>>, default: impl FnOnce() -> T) -> T {
    said.map_or_else(default, Spanned::into_inner)
}

/// What was said, or the default, of what is copied.
fn said_or<T: Copy>(said: &Option<Spanned<T>>, default: T) -> T {
    said.as_ref().map_or(default, |said| *said.get_ref())
}

fn milliseconds(seconds: &Option<Spanned<u64>>) -> Option<u64> {
    seconds.as_ref().map(|seconds| seconds.get_ref() * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{listener, parse};
    use crate::smtp::data::BareNewline;
    use crate::smtp::extension::{Extension, Extensions};
    use crate::smtp::settings::{AddressSyntax, Dialect, Nul, Synchronization};

    /// DESIGN §6, the column of a blackhole.
    #[test]
    fn what_is_not_said_has_its_default() {
        let plan = parse(&listener("")).unwrap();
        assert_eq!((plan.hostname(), plan.shards().get()), ("this.test", 3));
        let listener = &plan.listeners()[0];
        let scope = listener.scope();
        assert_eq!(
            *scope.settings.terms(),
            Terms {
                dialect: Dialect::Smtp,
                banner: "ESMTP ringmx blackhole: nothing is kept".into(),
                extensions: Extensions::unconditional(),
                message_size_bytes: 1 << 30,
                recipients_per_message: 100_000,
                recipient_domains_per_message: None,
                messages_per_connection: None,
                errors: None,
                junk_commands: None,
                synchronization: Synchronization::Tolerant,
                bare_newline: BareNewline::Preserve,
                nul: Nul::Accept,
                address_syntax: AddressSyntax::Loose,
                default_domain: None,
                received_fields: None,
                line_octets: None,
                discards: true,
                ..Terms::public("this.test")
            }
        );
        let timeouts = Timeouts { idle_ms: 300_000, transaction_ms: None, greet_pause_ms: 0, answer_ms: 30_000 };
        assert_eq!((scope.listener.as_str(), scope.timeouts), ("a", timeouts));
        assert_eq!((scope.proxy_timeout_ms, listener.scopes().trusted()), (None, &[][..]));
        assert!(!scope.sums_content);
        assert_eq!((listener.kind(), listener.protocol()), (Kind::Blackhole, Protocol::Smtp));
        assert_eq!((listener.durability(), listener.enable()), (Durability::Discard, true));
        assert_eq!(*listener.socket(), SocketOptions::default());
        assert_eq!(scope.settings.greeting(), b"220 this.test ESMTP ringmx blackhole: nothing is kept\r\n");
    }

    #[test]
    fn what_is_said_is_in_force() {
        let text = r#"
            [listener.z]
            kind = "blackhole"
            bind = ["*:2525", "[*]:2525", "*:0", "*:0", "/run/z"]
            enable = false
            protocol = "lmtp"
            banner = "LMTP test"
            extensions = ["SIZE", "PIPELINING", "ENHANCEDSTATUSCODES"]
            default_domain = "ok.test"
            message_size_bytes = 1_000_000
            recipients_per_message = 100
            recipient_domains_per_message = 7
            messages_per_connection = 10
            errors = 20
            junk_commands = 0
            received_fields = 100
            line_bytes = 998
            checksum = true
            synchronization = "strict"
            bare_newline = "reject"
            nul = "reject"
            address_syntax = "strict"
            idle_timeout_s = 60
            transaction_timeout_s = 3600
            greet_pause_ms = 50
            [listener.z.socket]
            backlog = 7
            send_buffer_bytes = 8192
            keepalive_s = 0

            [listener.a]
            kind = "blackhole"
            bind = ["127.0.0.1:25", "[::1]:25"]
            transaction_timeout_s = 0

            [server]
            hostname = "mx.test"
            shards = 2
            connections_per_shard = 100

            [socket]
            backlog = 9
            receive_buffer_bytes = 4096
            reuse_port = false
            keepalive_s = 60
            user_timeout_ms = 30000
            file_mode = "0600"
        "#;
        let plan = parse(text).unwrap();
        assert_eq!((plan.hostname(), plan.shards().get(), plan.connections_per_shard()), ("mx.test", 2, 100));
        let [z, a] = plan.listeners() else { panic!("{plan:?}") };
        assert_eq!((z.name(), a.name()), ("z", "a"), "in the order of the file");
        assert_eq!(plan.sockets().map(|(index, _)| index).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(
            *z.scope().settings.terms(),
            Terms {
                dialect: Dialect::Lmtp,
                banner: "LMTP test".into(),
                extensions: [Extension::Size, Extension::Pipelining, Extension::EnhancedStatusCodes]
                    .into_iter()
                    .collect(),
                message_size_bytes: 1_000_000,
                recipients_per_message: 100,
                recipient_domains_per_message: Some(7),
                messages_per_connection: Some(10),
                errors: Some(20),
                junk_commands: None,
                synchronization: Synchronization::Strict,
                bare_newline: BareNewline::Reject,
                nul: Nul::Reject,
                address_syntax: AddressSyntax::Strict,
                default_domain: Some("ok.test".into()),
                received_fields: Some(100),
                line_octets: Some(998),
                discards: true,
                ..Terms::public("mx.test")
            }
        );
        let timeouts =
            Timeouts { idle_ms: 60_000, transaction_ms: Some(3_600_000), greet_pause_ms: 50, answer_ms: 30_000 };
        assert_eq!(z.scope().timeouts, timeouts);
        assert_eq!(z.protocol(), Protocol::Lmtp);
        assert!(z.scope().sums_content && !a.scope().sums_content);
        assert_eq!(a.scope().timeouts.transaction_ms, None);
        assert!(!z.enable());
        let server = SocketOptions {
            backlog: 9,
            reuse_port: false,
            receive_buffer_bytes: Some(4096),
            send_buffer_bytes: None,
            no_delay: true,
            keepalive_s: 60,
            user_timeout_ms: 30_000,
            file_mode: 0o600,
        };
        assert_eq!(*a.socket(), server);
        assert_eq!(*z.socket(), SocketOptions { backlog: 7, send_buffer_bytes: Some(8192), keepalive_s: 0, ..server });
    }

    #[test]
    fn no_limit_can_be_said() {
        let plan = parse(&listener("recipient_domains_per_message = 0\nreceived_fields = 0\nline_bytes = 0")).unwrap();
        let terms = plan.listeners()[0].scope().settings.terms();
        assert_eq!((terms.recipient_domains_per_message, terms.received_fields, terms.line_octets), (None, None, None));
    }

    #[test]
    fn proxies_and_trusted_peers_are_those_that_are_said() {
        for (lines, proxy_timeout_ms, trusted) in [
            ("proxy_protocol = false\nxclient = []", None, &[][..]),
            ("proxy_protocol = true\nxclient = '::1'", Some(5_000), &["::1/128"]),
            (
                "proxy_protocol = true\nproxy_timeout_s = 60\nxclient = ['127.0.0.1', '2001:db8::/32']",
                Some(60_000),
                &["127.0.0.1/32", "2001:db8::/32"],
            ),
        ] {
            let plan = parse(&listener(lines)).unwrap();
            let listener = &plan.listeners()[0];
            assert_eq!(listener.scope().proxy_timeout_ms, proxy_timeout_ms, "{lines}");
            let named: Vec<String> = listener.scopes().trusted().iter().map(ToString::to_string).collect();
            assert_eq!(named, trusted, "{lines}");
            assert!(!listener.scope().settings.terms().extensions.has(Extension::Xclient), "{lines}");
        }
    }

    #[test]
    fn a_blackhole_greets_in_its_protocol() {
        let plan = parse(&listener("protocol = 'lmtp'")).unwrap();
        let settings = &plan.listeners()[0].scope().settings;
        assert_eq!(settings.greeting(), b"220 this.test LMTP ringmx blackhole: nothing is kept\r\n");
        assert_eq!(settings.terms().extensions, Extensions::unconditional());
    }

    #[test]
    fn the_longest_greeting_fits() {
        let text = listener(&format!("banner = '{}'", "x".repeat(496)));
        assert_eq!(parse(&text).unwrap().listeners()[0].scope().settings.greeting().len(), limits::REPLY_LINE_OCTETS);
    }
}
