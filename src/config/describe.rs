//! A plan in words: every value in force, with its unit, for the table that is printed at start.

use std::path::Path;

use super::plan::{DeliveryLog, Destination, Durability, Kind, Listener, Named, Plan, SinkKind, SinkPlan};
use super::{netblock, spool, vocabulary};
use crate::limits;
use crate::metrics::report::grouped;
use crate::reactor::listening::{Bind, SocketOptions};
use crate::smtp::extension::{Extension, Extensions};

/// A name and its value.
type Row = (String, String);

/// Of a maildir that is not synced.
const NOT_SYNCED: &str = "no: a power cut may take what was delivered, whatever its listeners promise";

impl Plan {
    /// What holds for the whole server.
    pub fn rows(&self) -> Vec<Row> {
        let (shards, connections) = (u64::from(self.shards().get()), u64::from(self.connections_per_shard()));
        let mut rows = vec![
            row("host name", self.hostname()),
            row("shards", grouped(shards)),
            row("connections", format!("{} per shard, {} in all", grouped(connections), grouped(connections * shards))),
            row(
                "receive buffers",
                format!("{} per shard", bytes((limits::RECEIVE_BUFFERS * limits::RECEIVE_BUFFER_OCTETS) as u64)),
            ),
            row("memory of sessions", format!("{} per shard, then 452 and 421", bytes(limits::SESSION_MEMORY_OCTETS))),
            row(
                "unsent replies",
                format!("{} per connection, then no command is read", bytes(limits::OUTPUT_OCTETS as u64)),
            ),
            row(
                "discarded after a close",
                format!("{}, {} at most", milliseconds(limits::LINGER_MS), bytes(limits::LINGER_OCTETS)),
            ),
            row("drain at stop", milliseconds(limits::DRAIN_MS)),
        ];
        // A sink runs from the start, used or not: a reload can give it mail.
        if !self.sinks().is_empty() {
            let file = |path: &Path| {
                let (most, linger) = (bytes(self.log().deliveries_bytes), milliseconds(limits::DELIVERY_LOG_LINGER_MS));
                format!("{}, {most} at most; lines come together for {linger}", path.display())
            };
            let memory = (limits::BLOCKS * limits::BLOCK_OCTETS) as u64;
            rows.extend([
                row("memory of messages", format!("{} per shard until they are delivered, then 452", bytes(memory))),
                row(
                    "messages on their way",
                    format!("{} per shard and sink, then their senders wait", grouped(limits::LETTERS as u64)),
                ),
                row(
                    "messages awaiting their sink's word",
                    format!("{} per shard, then 452", grouped(limits::MESSAGES_AWAITED as u64)),
                ),
                row(
                    "clients held back for memory",
                    format!("{} after some came back last, then 452", milliseconds(limits::HELD_BACK_MS)),
                ),
                row(
                    "refused for now by a sink",
                    format!(
                        "again after {}, then twice as long each time, {} at most",
                        milliseconds(limits::REDELIVERY_FIRST_MS),
                        milliseconds(limits::REDELIVERY_MOST_MS)
                    ),
                ),
                row("threads of each sink", grouped(self.sink_threads().get().into())),
                row(
                    "log of deliveries",
                    match &self.log().deliveries {
                        DeliveryLog::File(path) => file(path),
                        DeliveryLog::Stderr => "standard error".into(),
                        DeliveryLog::None => "none".into(),
                    },
                ),
            ]);
        }
        let chains = self.chains();
        if !self.sinks().is_empty() || chains.any() {
            rows.push(row("data directory", self.data_dir().display().to_string()));
        }
        if chains.any() {
            rows.extend(spool::rows(self).into_iter().map(|(what, value)| row(what, value)));
        }
        rows
    }

    /// What holds for a listener and its connections.
    pub fn rows_of(&self, listener: &Listener) -> Vec<Row> {
        let mut rows = listener.rows();
        let behind = rows.iter().position(|(what, _)| what == "enabled").unwrap_or(rows.len());
        rows.splice(behind..behind, self.destination_rows(listener));
        let (serving, all) = (self.shards_for(listener.taking()), self.shards());
        if serving < all {
            rows.push(row("shards", format!("the {serving} of {all} that have logs")));
        }
        rows
    }

    /// Whose mail a listener takes, and where it goes.
    fn destination_rows(&self, listener: &Listener) -> Vec<Row> {
        let Some(destination) = listener.destination() else { return Vec::new() };
        let name = |route| self.sink_of(route).map_or("", |sink| sink.name.as_str());
        let mut rows = vec![row("recipients", named(destination.recipients()))];
        if let Some(served) = listener.scopes().served() {
            let netblocks = served.iter().map(netblock::written);
            let served: Vec<String> = std::iter::once("this machine".to_owned()).chain(netblocks).collect();
            rows.push(row("served", served.join(" ")));
        }
        let routes = destination.routes().iter();
        rows.extend(routes.map(|route| row(&format!("route to {}", name(route.sink)), named(&route.recipients))));
        let others = if destination.routes().is_empty() { "sink" } else { "sink of the others" };
        rows.push(row(others, name(destination.sink())));
        rows
    }

    /// What holds for a sink.
    pub fn sink_rows(&self, sink: &SinkPlan) -> Vec<Row> {
        let is_used_by = |listener: &&Listener| {
            let routes = listener.destination().map_or(&[][..], Destination::reachable);
            routes.iter().any(|route| self.sink_of(*route).is_some_and(|used| used.name == sink.name))
        };
        let users: Vec<&str> = self.listeners().iter().filter(is_used_by).map(Listener::name).collect();
        let used = if users.is_empty() { "no listener: unused".to_owned() } else { users.join(" ") };
        let kept = sink.kind.keeps();
        let lost: Vec<&str> =
            Extensions::unconditional().iter().filter(|one| !kept.has(*one)).map(Extension::keyword).collect();
        let mut rows = vec![row("used by", used)];
        match &sink.kind {
            SinkKind::Blackhole => rows.push(row("kind", "blackhole: nothing is kept")),
            SinkKind::Program => rows.push(row("kind", "program: the one that embeds the engine takes its mail")),
            SinkKind::Maildir(options) => rows.extend([
                row("kind", "maildir"),
                row("path", options.path.to_string()),
                row("quota", options.quota_bytes.map_or("none".into(), |quota| format!("{}, then 452", bytes(quota)))),
                row("line ends", vocabulary::LINE_ENDS.of(options.line_ends)),
                row("synced to stable storage", if options.sync { "yes" } else { NOT_SYNCED }),
            ]),
        }
        rows.push(row("extensions not kept", if lost.is_empty() { "none".into() } else { lost.join(" ") }));
        rows
    }
}

impl Listener {
    /// What holds for the listener and its connections, but for where mail goes: see [`Plan::rows_of`].
    fn rows(&self) -> Vec<Row> {
        let scope = self.scope();
        let (settings, terms, timeouts) = (&scope.settings, scope.settings.terms(), &scope.timeouts);
        let promise = match self.durability() {
            Durability::Discard => ": nothing is kept",
            Durability::Memory => ": a 250 is said when the message is in the sink's queue, in memory",
            Durability::Written => {
                ": a 250 is said when the message is in the page cache, which survives this process and not the power"
            }
            Durability::Durable if self.kind() == Kind::Blackhole => {
                ": a 250 is said when the message is on stable storage; then it is thrown away"
            }
            Durability::Durable => ": a 250 is said when the message is on stable storage",
            Durability::Delivered => ": a 250 is the sink's own",
        };
        let trusted: Vec<String> = self.scopes().trusted().iter().map(netblock::written).collect();
        let keywords: Vec<&str> = terms.extensions.iter().map(Extension::keyword).collect();
        let mut rows = vec![
            row("addresses", self.binds().iter().map(Bind::to_string).collect::<Vec<_>>().join(" ")),
            row("kind", vocabulary::KIND.of(self.kind())),
            row("protocol", vocabulary::PROTOCOL.of(self.protocol())),
            row("durability", format!("{}{promise}", vocabulary::DURABILITY.of(self.durability()))),
            row("enabled", yes(self.enable())),
            row("banner", &*terms.banner),
            row("extensions", if keywords.is_empty() { "none".into() } else { keywords.join(" ") }),
            row("default domain", terms.default_domain.as_deref().unwrap_or("none")),
            row("message size", bytes(terms.message_size_bytes)),
            row("read of a refused message", bytes(settings.discard_octets())),
            row("recipients per message", grouped(terms.recipients_per_message.into())),
            row("recipient domains per message", limit(terms.recipient_domains_per_message)),
            row("messages per connection", limit(terms.messages_per_connection)),
            row("errors since the last message", limit(terms.errors)),
            row("junk commands since the last message", limit(terms.junk_commands)),
            row("Received fields", limit(terms.received_fields)),
            row("line of content", terms.line_octets.map_or("no limit".into(), |octets| bytes(octets.into()))),
            row("checksum of content", if scope.sums_content { "CRC32C, summed over messages" } else { "none" }),
            row("command line", bytes(limits::COMMAND_LINE_OCTETS as u64)),
            row("read of a longer command line", bytes(limits::COMMAND_LINE_DISCARD_OCTETS as u64)),
            row("synchronization", vocabulary::SYNCHRONIZATION.of(terms.synchronization)),
            row("bare newline", vocabulary::BARE_NEWLINE.of(terms.bare_newline)),
            row("NUL", vocabulary::NUL.of(terms.nul)),
            row("address syntax", vocabulary::ADDRESS_SYNTAX.of(terms.address_syntax)),
            row("idle timeout", milliseconds(timeouts.idle_ms)),
            row("transaction timeout", timeouts.transaction_ms.map_or("none".into(), milliseconds)),
            row("answer timeout", milliseconds(timeouts.answer_ms)),
            row("pause before the greeting", milliseconds(timeouts.greet_pause_ms)),
            row(
                "PROXY header",
                scope.proxy_timeout_ms.map_or("none".into(), |ms| format!("required, within {}", milliseconds(ms))),
            ),
            row("XCLIENT", if trusted.is_empty() { "nobody".into() } else { trusted.join(" ") }),
        ];
        rows.extend(self.socket_rows());
        rows
    }

    fn socket_rows(&self) -> Vec<Row> {
        let options @ SocketOptions { backlog, reuse_port, receive_buffer_bytes, send_buffer_bytes, no_delay, .. } =
            *self.socket();
        let buffer = |octets: Option<usize>| octets.map_or("the kernel's".into(), |octets| bytes(octets as u64));
        let mut rows = vec![
            row("backlog", format!("{} (at most net.core.somaxconn)", grouped(backlog.unsigned_abs().into()))),
            row("socket receive buffer", buffer(receive_buffer_bytes)),
            row("socket send buffer", buffer(send_buffer_bytes)),
        ];
        let is_unix = |bind: &Bind| matches!(bind, Bind::Unix(_));
        if !self.binds().iter().all(is_unix) {
            rows.push(row("a socket for each shard", yes(reuse_port)));
            rows.push(row("no delay", yes(no_delay)));
            rows.push(row("keepalive", keepalive(options.keepalive_s)));
            rows.push(row(
                "unacknowledged octets",
                match options.user_timeout_ms {
                    0 => "the kernel's time".into(),
                    ms => format!("{} at most", milliseconds(ms.into())),
                },
            ));
        }
        if self.binds().iter().any(is_unix) {
            rows.push(row("socket file mode", format!("{:04o}", options.file_mode)));
        }
        rows
    }
}

/// How many patterns there are, and the first of them.
fn named(named: &Named) -> String {
    match named.count - named.first.len() {
        0 => named.first.join(" "),
        others => format!("{} and {} more", named.first.join(" "), grouped(others as u64)),
    }
}

fn row(what: &str, value: impl Into<String>) -> Row {
    (what.to_owned(), value.into())
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn limit(count: Option<u32>) -> String {
    count.map_or("no limit".into(), |count| grouped(count.into()))
}

fn keepalive(seconds: u32) -> String {
    if seconds == 0 {
        return "none".into();
    }
    let questions = limits::KEEPALIVE_QUESTIONS;
    format!("a silent peer is asked every {} s, and given up after {questions} questions", grouped(seconds.into()))
}

pub(super) fn seconds(time_s: u64) -> String {
    milliseconds(time_s.saturating_mul(1000))
}

/// In seconds, where that is exact.
pub(super) fn milliseconds(time_ms: u64) -> String {
    match time_ms {
        0 => "none".into(),
        _ if time_ms.is_multiple_of(1000) => format!("{} s", grouped(time_ms / 1000)),
        _ => format!("{} ms", grouped(time_ms)),
    }
}

/// In the largest binary unit that is exact.
pub(super) fn bytes(octets: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| octets > 0 && octets.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", grouped(octets / unit)),
        None => format!("{} bytes", grouped(octets)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_units() {
        for (octets, text) in [
            (0, "0 bytes"),
            (1000, "1,000 bytes"),
            (1_234_567, "1,234,567 bytes"),
            (64 << 10, "64 KiB"),
            (1 << 30, "1 GiB"),
            (10 << 30, "10 GiB"),
            (1500 << 40, "1,500 TiB"),
        ] {
            assert_eq!(bytes(octets), text);
        }
        assert_eq!([0, 50, 300_000, 3_600_000].map(milliseconds), ["none", "50 ms", "300 s", "3,600 s"]);
        assert_eq!([None, Some(1_000_000)].map(limit), ["no limit", "1,000,000"]);
    }

    /// "No surprise limits": DESIGN §6's column for a blackhole is what is printed.
    #[test]
    fn every_value_in_force_is_named() {
        let plan = Plan::parse(
            "[server]\nhostname = 'mx.test'\nshards = 2\n[listener.a]\nkind = 'blackhole'\nbind = [':2525', '/run/a']\n",
            "a.toml",
        )
        .unwrap();
        let text =
            |rows: Vec<Row>| rows.into_iter().map(|(what, value)| format!("{what}: {value}")).collect::<Vec<_>>();
        assert_eq!(
            text(plan.rows()),
            [
                "host name: mx.test",
                "shards: 2",
                "connections: 8,192 per shard, 16,384 in all",
                "receive buffers: 16 MiB per shard",
                "memory of sessions: 256 MiB per shard, then 452 and 421",
                "unsent replies: 64 KiB per connection, then no command is read",
                "discarded after a close: 2 s, 256 KiB at most",
                "drain at stop: 30 s",
            ]
        );
        assert_eq!(
            text(plan.rows_of(&plan.listeners()[0])),
            [
                "addresses: 0.0.0.0:2525 /run/a",
                "kind: blackhole",
                "protocol: smtp",
                "durability: discard: nothing is kept",
                "enabled: yes",
                "banner: ESMTP ringmx blackhole: nothing is kept",
                "extensions: PIPELINING SIZE 8BITMIME SMTPUTF8 CHUNKING BINARYMIME DSN ENHANCEDSTATUSCODES LIMITS",
                "default domain: none",
                "message size: 1 GiB",
                "read of a refused message: 10 GiB",
                "recipients per message: 100,000",
                "recipient domains per message: no limit",
                "messages per connection: no limit",
                "errors since the last message: no limit",
                "junk commands since the last message: no limit",
                "Received fields: no limit",
                "line of content: no limit",
                "checksum of content: none",
                "command line: 3,208 bytes",
                "read of a longer command line: 64 KiB",
                "synchronization: tolerant",
                "bare newline: preserve",
                "NUL: accept",
                "address syntax: loose",
                "idle timeout: 300 s",
                "transaction timeout: none",
                "answer timeout: 30 s",
                "pause before the greeting: none",
                "PROXY header: none",
                "XCLIENT: nobody",
                "backlog: 4,096 (at most net.core.somaxconn)",
                "socket receive buffer: the kernel's",
                "socket send buffer: the kernel's",
                "a socket for each shard: yes",
                "no delay: yes",
                "keepalive: none",
                "unacknowledged octets: the kernel's time",
                "socket file mode: 0660",
            ]
        );
    }

    #[test]
    fn values_that_are_said_are_named() {
        let plan = Plan::parse(
            "[listener.a]\nkind = 'blackhole'\nbind = ':2424'\nprotocol = 'lmtp'\ndefault_domain = 'ok.test'\n\
             recipient_domains_per_message = 5\nreceived_fields = 100\nline_bytes = 998\nproxy_protocol = true\n\
             checksum = true\n\
             xclient = ['127.0.0.1', '10.0.0.0/8']\nsocket = { keepalive_s = 60, user_timeout_ms = 1500 }\n",
            "a.toml",
        )
        .unwrap();
        let rows = plan.rows_of(&plan.listeners()[0]);
        for (what, value) in [
            ("protocol", "lmtp"),
            ("banner", "LMTP ringmx blackhole: nothing is kept"),
            ("default domain", "ok.test"),
            ("recipient domains per message", "5"),
            ("Received fields", "100"),
            ("line of content", "998 bytes"),
            ("checksum of content", "CRC32C, summed over messages"),
            ("PROXY header", "required, within 5 s"),
            ("XCLIENT", "127.0.0.1 10.0.0.0/8"),
            ("keepalive", "a silent peer is asked every 60 s, and given up after 3 questions"),
            ("unacknowledged octets", "1,500 ms at most"),
        ] {
            assert!(rows.contains(&row(what, value)), "{what} in {rows:?}");
        }
    }

    #[test]
    fn where_mail_goes_is_named() {
        let plan = Plan::parse(
            r#"
            [server]
            hostname = "mx.test"
            data_dir = "/srv/mx"
            sink_threads = 2
            [listener.mx]
            kind = "public"
            bind = "*:25"
            recipients = [{ match = "no@ok.test", refuse = 550 }, "ok.test", ".ok.test"]
            sink = "store"
            [[listener.mx.route]]
            recipients = ["a@ok.test", ".ok.test"]
            sink = "app"
            [listener.in]
            kind = "private"
            bind = "*:2525"
            durability = "memory"
            sink = "store"
            relay_from = ["10.0.0.0/8", "2001:db8::1"]
            [listener.many]
            kind = "public"
            durability = "delivered"
            bind = ":2526"
            recipients = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test", "h.test", "i.test", "j.test"]
            sink = "app"
            [sink.store]
            kind = "maildir"
            path = "mail/{domain}/{local}"
            quota_bytes = 1_073_741_824
            line_ends = "lf"
            sync = false
            [sink.app]
            kind = "program"
            [sink.none]
            kind = "blackhole"
            "#,
            "a.toml",
        )
        .unwrap();
        let of = |rows: Vec<Row>, wanted: &[(&str, &str)]| {
            for (what, value) in wanted {
                assert!(rows.contains(&row(what, *value)), "{what}: {value} in {rows:?}");
            }
        };
        let [mx, private, many] = plan.listeners() else { panic!("{plan:?}") };
        of(
            plan.rows(),
            &[
                ("data directory", "/srv/mx"),
                ("threads of each sink", "2"),
                ("log of deliveries", "/srv/mx/deliveries.log, 256 MiB at most; lines come together for 20 ms"),
            ],
        );
        of(
            plan.rows_of(mx),
            &[
                ("kind", "public"),
                ("durability", "durable: a 250 is said when the message is on stable storage"),
                ("recipients", "no@ok.test (550) ok.test .ok.test"),
                ("route to app", "a@ok.test .ok.test"),
                ("sink of the others", "store"),
                ("extensions", "PIPELINING SIZE 8BITMIME SMTPUTF8 CHUNKING ENHANCEDSTATUSCODES LIMITS"),
                ("transaction timeout", "3,600 s"),
            ],
        );
        of(
            plan.rows_of(private),
            &[
                ("durability", "memory: a 250 is said when the message is in the sink's queue, in memory"),
                ("recipients", "ALL"),
                ("served", "this machine 10.0.0.0/8 2001:db8::1"),
                ("sink", "store"),
            ],
        );
        of(
            plan.rows_of(many),
            &[
                ("durability", "delivered: a 250 is the sink's own"),
                ("recipients", "a.test b.test c.test d.test e.test f.test g.test h.test and 2 more"),
                ("sink", "app"),
            ],
        );
        for (said, shown) in [
            (
                "kind = 'private'\nsink = 's'\ndurability = 'written'",
                "written: a 250 is said when the message is in the page cache",
            ),
            (
                "kind = 'blackhole'\ndisk = true",
                "durable: a 250 is said when the message is on stable storage; then it is thrown",
            ),
        ] {
            let text = format!("[listener.a]\nbind = '/a'\n{said}\n[sink.s]\nkind = 'program'\n");
            let plan = Plan::parse(&text, "a.toml").unwrap();
            let rows = plan.rows_of(&plan.listeners()[0]);
            assert!(rows.iter().any(|(what, value)| what == "durability" && value.starts_with(shown)), "{rows:?}");
        }
        let sinks =
            |rows: Vec<Row>| rows.into_iter().map(|(what, value)| format!("{what}: {value}")).collect::<Vec<_>>();
        let [store, app, none] = plan.sinks() else { panic!("{plan:?}") };
        assert_eq!(
            sinks(plan.sink_rows(store)),
            [
                "used by: mx in",
                "kind: maildir",
                "path: /srv/mx/mail/{domain}/{local}",
                "quota: 1 GiB, then 452",
                "line ends: lf",
                "synced to stable storage: no: a power cut may take what was delivered, whatever its listeners promise",
                "extensions not kept: BINARYMIME DSN",
            ]
        );
        assert_eq!(
            sinks(plan.sink_rows(app)),
            [
                "used by: mx many",
                "kind: program: the one that embeds the engine takes its mail",
                "extensions not kept: none",
            ]
        );
        assert_eq!(
            sinks(plan.sink_rows(none)),
            ["used by: no listener: unused", "kind: blackhole: nothing is kept", "extensions not kept: none"]
        );
    }
}
