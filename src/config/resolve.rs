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
use crate::policy::scope::{Scope, Scopes, Taking, Timeouts};
use crate::reactor::listening::SocketOptions;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::Extensions;
use crate::smtp::settings::{AddressSyntax, Dialect, Nul, Settings, Synchronization, Terms};

/// The greeting's text on a blackhole.
const fn blackhole_banner(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Smtp => "ESMTP ringmx blackhole: nothing is kept",
        Protocol::Lmtp => "LMTP ringmx blackhole: nothing is kept",
    }
}
const _: () = {
    let [esmtp, lmtp] = [blackhole_banner(Protocol::Smtp).len(), blackhole_banner(Protocol::Lmtp).len()];
    let longest = if esmtp > lmtp { esmtp } else { lmtp };
    assert!(greeting_octets(limits::DOMAIN_OCTETS, longest) <= limits::REPLY_LINE_OCTETS);
};

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
    let protocol = said(file.protocol, || Protocol::Smtp);
    let terms = Terms {
        dialect: match protocol {
            Protocol::Smtp => Dialect::Smtp,
            Protocol::Lmtp => Dialect::Lmtp,
        },
        keeps_envelope: file.keeps_envelope,
        banner: banner(file.banner, protocol, hostname, &file.path, report),
        extensions: file.extensions.map_or_else(Extensions::unconditional, |list| all(list).collect()),
        message_size_bytes: said(file.message_size_bytes, || limits::BLACKHOLE_MESSAGE_OCTETS),
        recipients_per_message: said(file.recipients_per_message, || limits::BLACKHOLE_RECIPIENTS),
        recipient_domains_per_message: no_limit_at_0(file.recipient_domains_per_message),
        messages_per_connection: no_limit_at_0(file.messages_per_connection),
        errors: no_limit_at_0(file.errors),
        junk_commands: no_limit_at_0(file.junk_commands),
        synchronization: said(file.synchronization, || Synchronization::Tolerant),
        bare_newline: said(file.bare_newline, || BareNewline::Preserve),
        nul: said(file.nul, || Nul::Accept),
        address_syntax: said(file.address_syntax, || AddressSyntax::Loose),
        default_domain: file.default_domain.map(Spanned::into_inner),
        received_fields: no_limit_at_0(file.received_fields),
        line_octets: no_limit_at_0(file.line_bytes),
        discards: true,
        ..Terms::public(hostname)
    };
    let timeouts = Timeouts {
        idle_ms: milliseconds(file.idle_timeout_s).unwrap_or(limits::IDLE_MS),
        transaction_ms: milliseconds(file.transaction_timeout_s).filter(|time_ms| *time_ms > 0),
        greet_pause_ms: said(file.greet_pause_ms, || 0),
        answer_ms: limits::ANSWER_MS,
    };
    let proxy_timeout_ms = milliseconds(file.proxy_timeout_s).unwrap_or(limits::PROXY_MS);
    let everyone = Scope {
        listener: file.name.clone(),
        settings: Settings::new(terms),
        timeouts,
        proxy_timeout_ms: said(file.proxy_protocol, || false).then_some(proxy_timeout_ms),
        taking: Taking::Discard,
        sums_content: said(file.checksum, || false),
        policy: Arc::clone(policy),
    };
    Listener {
        kind: said(file.kind, || Kind::Blackhole),
        protocol,
        durability: said(file.durability, || Durability::Discard),
        binds: file.bind.into_iter().map(Spanned::into_inner).collect(),
        enable: said(file.enable, || true),
        socket: socket(file.socket, server_socket),
        scopes: Arc::new(Scopes::new(everyone, file.xclient.map_or_else(Vec::new, |list| all(list).collect()))),
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
        keepalive_s: said(file.keepalive_s, || over.keepalive_s),
        user_timeout_ms: said(file.user_timeout_ms, || over.user_timeout_ms),
        file_mode: said(file.file_mode, || over.file_mode),
    }
}

/// The greeting's text, if the whole line fits.
fn banner(
    file: Option<Spanned<String>>,
    protocol: Protocol,
    hostname: &str,
    path: &str,
    report: &Report<'_>,
) -> String {
    let default = || blackhole_banner(protocol).to_owned();
    let Some(banner) = file else { return default() };
    let octets = greeting_octets(hostname.len(), banner.get_ref().len());
    if octets <= limits::REPLY_LINE_OCTETS {
        return banner.into_inner();
    }
    let room = banner.get_ref().len() - (octets - limits::REPLY_LINE_OCTETS);
    let wrong = format!("makes a greeting of {octets} octets, of {} allowed", limits::REPLY_LINE_OCTETS);
    let right = format!("beside the host name {hostname:?} there is room for {room}");
    report.add(banner.span(), format!("{path}.banner"), Mistake::new(wrong, right));
    default()
}

/// Octets of a greeting line: `220 `, the name, a space, the text, CRLF.
const fn greeting_octets(hostname: usize, banner: usize) -> usize {
    4 + hostname + 1 + banner + 2
}

/// The values of a list.
fn all<T>(list: Spanned<Vec<Spanned<T>>>) -> impl Iterator<Item = T> {
    list.into_inner().into_iter().map(Spanned::into_inner)
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
