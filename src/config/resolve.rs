//! From what a file says to what the engine runs: DESIGN §6's defaults for all that is not said.
//!
//! *Does not* stop at a mistake: what is wrong has its default here, and the report keeps the plan from being used.

use std::num::NonZeroU16;
use std::sync::Arc;

use toml::Spanned;

use super::error::{Mistake, Report};
use super::file::{self, File};
use super::machine::Machine;
use super::plan::{Durability, Kind, Listener, Plan, Protocol};
use super::rules;
use crate::limits;
use crate::policy::decision::Policy;
use crate::policy::scope::{Scope, Timeouts};
use crate::reactor::listening::SocketOptions;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::Extensions;
use crate::smtp::settings::{AddressSyntax, Nul, Settings, Synchronization, Terms};

/// The greeting's text on a blackhole.
const BLACKHOLE_BANNER: &str = "ESMTP ringmx blackhole: nothing is kept";
const _: () = assert!(greeting_octets(limits::DOMAIN_OCTETS, BLACKHOLE_BANNER.len()) <= limits::REPLY_LINE_OCTETS);

/// The plan that a file amounts to; not to be used when the report holds a mistake afterwards.
pub(super) fn resolve(file: File, machine: &Machine, policy: &Arc<dyn Policy>, report: &Report<'_>) -> Plan {
    rules::check(&file.listeners, report);
    let hostname = said(file.server.hostname, || machine.hostname.clone());
    let socket = socket(file.socket, SocketOptions::default());
    Plan {
        shards: NonZeroU16::new(said(file.server.shards, || 0)).unwrap_or(machine.cores),
        connections_per_shard: said(file.server.connections_per_shard, || limits::CONNECTIONS_PER_SHARD),
        listeners: file
            .listeners
            .into_iter()
            .map(|listener| self::listener(listener, &hostname, socket, policy, report))
            .collect(),
        hostname,
    }
}

/// A listener with DESIGN §6's defaults of a blackhole.
fn listener(
    file: file::Listener,
    hostname: &str,
    server_socket: SocketOptions,
    policy: &Arc<dyn Policy>,
    report: &Report<'_>,
) -> Listener {
    let no_limit_at_0 = |count: Option<Spanned<u32>>| count.map(Spanned::into_inner).filter(|count| *count > 0);
    let milliseconds = |seconds: Option<Spanned<u64>>| seconds.map(|seconds| seconds.into_inner() * 1000);
    let terms = Terms {
        hostname: hostname.to_owned(),
        banner: banner(file.banner, hostname, &file.path, report),
        extensions: file
            .extensions
            .map_or_else(Extensions::all, |list| list.into_iter().map(Spanned::into_inner).collect()),
        message_size_bytes: said(file.message_size_bytes, || limits::BLACKHOLE_MESSAGE_OCTETS),
        recipients_per_message: said(file.recipients_per_message, || limits::BLACKHOLE_RECIPIENTS),
        messages_per_connection: no_limit_at_0(file.messages_per_connection),
        errors: no_limit_at_0(file.errors),
        junk_commands: no_limit_at_0(file.junk_commands),
        synchronization: said(file.synchronization, || Synchronization::Tolerant),
        bare_newline: said(file.bare_newline, || BareNewline::Preserve),
        nul: said(file.nul, || Nul::Accept),
        address_syntax: said(file.address_syntax, || AddressSyntax::Loose),
        discards: true,
    };
    let timeouts = Timeouts {
        idle_ms: milliseconds(file.idle_timeout_s).unwrap_or(limits::IDLE_MS),
        transaction_ms: milliseconds(file.transaction_timeout_s).filter(|time_ms| *time_ms > 0),
        greet_pause_ms: said(file.greet_pause_ms, || 0),
        answer_ms: limits::ANSWER_MS,
    };
    Listener {
        kind: said(file.kind, || Kind::Blackhole),
        protocol: said(file.protocol, || Protocol::Smtp),
        durability: said(file.durability, || Durability::Discard),
        binds: file.bind.into_iter().map(Spanned::into_inner).collect(),
        enable: said(file.enable, || true),
        socket: socket(file.socket, server_socket),
        scope: Arc::new(Scope {
            listener: file.name.clone(),
            settings: Settings::new(terms),
            timeouts,
            policy: Arc::clone(policy),
        }),
        name: file.name,
    }
}

fn socket(file: file::Socket, over: SocketOptions) -> SocketOptions {
    SocketOptions {
        backlog: said(file.backlog, || over.backlog),
        reuse_port: said(file.reuse_port, || over.reuse_port),
        receive_buffer_bytes: file.receive_buffer_bytes.map(Spanned::into_inner).or(over.receive_buffer_bytes),
        send_buffer_bytes: file.send_buffer_bytes.map(Spanned::into_inner).or(over.send_buffer_bytes),
        no_delay: said(file.no_delay, || over.no_delay),
        file_mode: said(file.file_mode, || over.file_mode),
    }
}

/// The greeting's text, if the whole line fits.
fn banner(file: Option<Spanned<String>>, hostname: &str, path: &str, report: &Report<'_>) -> String {
    let Some(banner) = file else { return BLACKHOLE_BANNER.to_owned() };
    let octets = greeting_octets(hostname.len(), banner.get_ref().len());
    if octets <= limits::REPLY_LINE_OCTETS {
        return banner.into_inner();
    }
    let room = banner.get_ref().len() - (octets - limits::REPLY_LINE_OCTETS);
    let wrong = format!("makes a greeting of {octets} octets, of {} allowed", limits::REPLY_LINE_OCTETS);
    let right = format!("beside the host name {hostname:?} there is room for {room}");
    report.add(banner.span(), format!("{path}.banner"), Mistake::new(wrong, right));
    BLACKHOLE_BANNER.to_owned()
}

/// Octets of a greeting line: `220 `, the name, a space, the text, CRLF.
const fn greeting_octets(hostname: usize, banner: usize) -> usize {
    4 + hostname + 1 + banner + 2
}

/// What was said, or the default.
fn said<T>(said: Option<Spanned<T>>, default: impl FnOnce() -> T) -> T {
    said.map_or_else(default, Spanned::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{listener, parse};
    use crate::smtp::extension::Extension;

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
                hostname: "this.test".into(),
                banner: BLACKHOLE_BANNER.into(),
                extensions: Extensions::unconditional(),
                message_size_bytes: 1 << 30,
                recipients_per_message: 100_000,
                messages_per_connection: None,
                errors: None,
                junk_commands: None,
                synchronization: Synchronization::Tolerant,
                bare_newline: BareNewline::Preserve,
                nul: Nul::Accept,
                address_syntax: AddressSyntax::Loose,
                discards: true,
            }
        );
        let timeouts = Timeouts { idle_ms: 300_000, transaction_ms: None, greet_pause_ms: 0, answer_ms: 30_000 };
        assert_eq!((scope.listener.as_str(), scope.timeouts), ("a", timeouts));
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
            banner = "ESMTP test"
            extensions = ["SIZE"]
            message_size_bytes = 1_000_000
            recipients_per_message = 100
            messages_per_connection = 10
            errors = 20
            junk_commands = 0
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
                hostname: "mx.test".into(),
                banner: "ESMTP test".into(),
                extensions: [Extension::Size].into_iter().collect(),
                message_size_bytes: 1_000_000,
                recipients_per_message: 100,
                messages_per_connection: Some(10),
                errors: Some(20),
                junk_commands: None,
                synchronization: Synchronization::Strict,
                bare_newline: BareNewline::Reject,
                nul: Nul::Reject,
                address_syntax: AddressSyntax::Strict,
                discards: true,
            }
        );
        let timeouts =
            Timeouts { idle_ms: 60_000, transaction_ms: Some(3_600_000), greet_pause_ms: 50, answer_ms: 30_000 };
        assert_eq!(z.scope().timeouts, timeouts);
        assert_eq!(a.scope().timeouts.transaction_ms, None);
        assert!(!z.enable());
        let server = SocketOptions {
            backlog: 9,
            reuse_port: false,
            receive_buffer_bytes: Some(4096),
            send_buffer_bytes: None,
            no_delay: true,
            file_mode: 0o600,
        };
        assert_eq!(*a.socket(), server);
        assert_eq!(*z.socket(), SocketOptions { backlog: 7, send_buffer_bytes: Some(8192), ..server });
    }

    #[test]
    fn the_longest_greeting_fits() {
        let text = listener(&format!("banner = '{}'", "x".repeat(496)));
        assert_eq!(parse(&text).unwrap().listeners()[0].scope().settings.greeting().len(), limits::REPLY_LINE_OCTETS);
    }
}
