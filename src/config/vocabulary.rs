//! Every key and every word that a configuration can hold, and those which are known but not part of this build.
//!
//! A key is listed here once, read in `file` once; a test there checks that each listed key is read. A word stands here
//! once, for reading as for printing.

use std::ops::RangeInclusive;

use super::destination::SinkWord;
use super::plan::{Durability, Kind, Protocol};
use crate::limits;
use crate::policy::recipients::Action;
use crate::sink::maildir::options::LineEnds;
use crate::smtp::data::BareNewline;
use crate::smtp::settings::{AddressSyntax, Nul, Synchronization};

/// The keys of one kind of table.
#[derive(Debug)]
pub(super) struct Section {
    /// What a message calls it.
    pub(super) name: &'static str,
    /// What this build reads.
    pub(super) keys: &'static [&'static str],
    /// What it knows but lacks, each with the part that is missing.
    pub(super) lacking: &'static [(&'static str, &'static str)],
}

/// Every section, to find the one in which a misplaced key belongs.
pub(super) const SECTIONS: [&Section; 9] = [&TOP, &SERVER, &LISTENER, &SOCKET, &ROUTE, &RECIPIENT, &SINK, &SPOOL, &LOG];

/// The top of the file.
pub(super) const TOP: Section = Section {
    name: "the top of the file",
    keys: &["server", "socket", "listener", "sink", "spool", "log"],
    lacking: &[
        ("tls", "TLS"),
        ("flow", "flow control"),
        ("access", "access rules"),
        ("peer", "peer scopes"),
        ("policy", "mail flow policies"),
        ("certificate", "TLS"),
        ("dsn", "delivery status notifications"),
        ("admin", "the admin API"),
    ],
};

/// `[server]`.
pub(super) const SERVER: Section = Section {
    name: "[server]",
    keys: &["hostname", "shards", "connections_per_shard", "data_dir", "sink_threads"],
    lacking: &[],
};

/// `[listener.NAME]`.
pub(super) const LISTENER: Section = Section {
    name: "[listener.NAME]",
    keys: &[
        "kind",
        "protocol",
        "bind",
        "enable",
        "durability",
        "disk",
        "discards_mail",
        "recipients",
        "accept_any",
        "relay_from",
        "sink",
        "route",
        "banner",
        "extensions",
        "default_domain",
        "message_size_bytes",
        "recipients_per_message",
        "recipient_domains_per_message",
        "messages_per_connection",
        "errors",
        "junk_commands",
        "received_fields",
        "line_bytes",
        "checksum",
        "synchronization",
        "bare_newline",
        "nul",
        "address_syntax",
        "idle_timeout_s",
        "transaction_timeout_s",
        "greet_pause_ms",
        "proxy_protocol",
        "proxy_timeout_s",
        "xclient",
        "socket",
    ],
    lacking: &[
        ("policy", "mail flow policies"),
        ("tls", "TLS"),
        ("flow", "flow control"),
        ("access", "access rules"),
        ("peer", "peer scopes"),
        ("listen", "scopes of a single address"),
    ],
};

/// `[socket]` and `[listener.NAME.socket]`.
pub(super) const SOCKET: Section = Section {
    name: "[socket] or [listener.NAME.socket]",
    keys: &[
        "backlog",
        "reuse_port",
        "receive_buffer_bytes",
        "send_buffer_bytes",
        "no_delay",
        "keepalive_s",
        "user_timeout_ms",
        "file_mode",
    ],
    lacking: &[],
};

/// `[[listener.NAME.route]]`.
pub(super) const ROUTE: Section =
    Section { name: "[[listener.NAME.route]]", keys: &["recipients", "sink"], lacking: &[] };

/// An entry of `recipients` that refuses.
pub(super) const RECIPIENT: Section =
    Section { name: "an entry of recipients", keys: &["match", "refuse"], lacking: &[] };

/// `[sink.NAME]`.
pub(super) const SINK: Section = Section {
    name: "[sink.NAME]",
    keys: &["kind", "path", "quota_bytes", "line_ends", "sync"],
    lacking: &[("next_hops", "sinks that relay")],
};

/// `[spool]`.
pub(super) const SPOOL: Section = Section {
    name: "[spool]",
    keys: &["shards", "segment_bytes", "retain_s", "size_bytes", "lifetime_s", "retry_s", "reserve_bytes"],
    lacking: &[],
};

/// `[log]`.
pub(super) const LOG: Section = Section { name: "[log]", keys: &["deliveries", "deliveries_bytes"], lacking: &[] };

/// The words that one key takes, each with what it means.
#[derive(Debug)]
pub(super) struct Words<T: 'static> {
    /// What this build has.
    pub(super) has: &'static [(&'static str, T)],
    /// What it knows but lacks.
    pub(super) lacks: &'static [&'static str],
}

impl<T: Copy + PartialEq> Words<T> {
    /// The word for a meaning.
    pub(super) fn of(&self, meaning: T) -> &'static str {
        self.has.iter().find(|(_, has)| *has == meaning).map_or("", |(word, _)| word)
    }
}

/// `kind`.
pub(super) const KIND: Words<Kind> =
    Words { has: &[("public", Kind::Public), ("private", Kind::Private), ("blackhole", Kind::Blackhole)], lacks: &[] };

/// `protocol`.
pub(super) const PROTOCOL: Words<Protocol> =
    Words { has: &[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)], lacks: &["qmqp", "inject"] };

/// `durability`.
pub(super) const DURABILITY: Words<Durability> = Words {
    has: &[
        ("discard", Durability::Discard),
        ("memory", Durability::Memory),
        ("written", Durability::Written),
        ("durable", Durability::Durable),
        ("delivered", Durability::Delivered),
    ],
    lacks: &[],
};

/// `kind` of a sink.
pub(super) const SINK_KIND: Words<SinkWord> = Words {
    has: &[("maildir", SinkWord::Maildir), ("blackhole", SinkWord::Blackhole), ("program", SinkWord::Program)],
    lacks: &["relay", "nats"],
};

/// `line_ends`.
pub(super) const LINE_ENDS: Words<LineEnds> =
    Words { has: &[("crlf", LineEnds::Crlf), ("lf", LineEnds::Lf)], lacks: &[] };

/// `refuse`: the reply codes with which an entry of recipients can refuse.
pub(super) const REFUSALS: [(u64, Action); 3] =
    [(550, Action::RefuseUnknown), (556, Action::RefuseDomain), (450, Action::RefuseForNow)];

/// `synchronization`.
pub(super) const SYNCHRONIZATION: Words<Synchronization> =
    Words { has: &[("strict", Synchronization::Strict), ("tolerant", Synchronization::Tolerant)], lacks: &[] };

/// `bare_newline`.
pub(super) const BARE_NEWLINE: Words<BareNewline> = Words {
    has: &[("normalize", BareNewline::Normalize), ("preserve", BareNewline::Preserve), ("reject", BareNewline::Reject)],
    lacks: &[],
};

/// `nul`.
pub(super) const NUL: Words<Nul> = Words { has: &[("accept", Nul::Accept), ("reject", Nul::Reject)], lacks: &[] };

/// `address_syntax`.
pub(super) const ADDRESS_SYNTAX: Words<AddressSyntax> =
    Words { has: &[("loose", AddressSyntax::Loose), ("strict", AddressSyntax::Strict)], lacks: &[] };

/// `shards` of the server and of the spool, of which 0 stands for what the machine has.
pub(super) const SHARDS: RangeInclusive<u64> = 0..=limits::SHARDS as u64;

/// `connections_per_shard`.
pub(super) const CONNECTIONS_PER_SHARD: RangeInclusive<u64> = 1..=limits::CONNECTIONS_PER_SHARD_MOST as u64;

/// `sink_threads`.
pub(super) const SINK_THREADS: RangeInclusive<u64> = 1..=limits::SINK_THREADS as u64;

/// `quota_bytes`, of which 0 stands for none.
pub(super) const QUOTA_BYTES: RangeInclusive<u64> = 0..=i64::MAX as u64;

/// `segment_bytes`.
pub(super) const SEGMENT_BYTES: RangeInclusive<u64> = limits::SEGMENT_OCTETS_LEAST..=limits::SEGMENT_OCTETS_MOST;

/// `retain_s`, of which 0 stands for no time.
pub(super) const RETAIN_S: RangeInclusive<u64> = 0..=limits::SPOOL_TIME_S_MOST;

/// `size_bytes` of the spool, of which 0 stands for no bound; `reserve_bytes`.
pub(super) const SPOOL_BYTES: RangeInclusive<u64> = 0..=i64::MAX as u64;

/// `lifetime_s`.
pub(super) const LIFETIME_S: RangeInclusive<u64> = 1..=limits::SPOOL_TIME_S_MOST;

/// `retry_s`, each of the list.
pub(super) const RETRY_S: RangeInclusive<u64> = 1..=limits::RETRY_S_MOST as u64;

/// `deliveries_bytes`.
pub(super) const DELIVERIES_BYTES: RangeInclusive<u64> = limits::DELIVERY_LOG_OCTETS_LEAST..=i64::MAX as u64;

/// `message_size_bytes`. The upper end is TOML's.
pub(super) const MESSAGE_SIZE_BYTES: RangeInclusive<u64> = limits::MESSAGE_OCTETS_LEAST..=i64::MAX as u64;

/// `recipients_per_message`.
pub(super) const RECIPIENTS_PER_MESSAGE: RangeInclusive<u64> = limits::RECIPIENTS_LEAST as u64..=u32::MAX as u64;

/// Counts of which 0 stands for no limit.
pub(super) const COUNT_OR_NONE: RangeInclusive<u64> = 0..=u32::MAX as u64;

/// `received_fields`, beside 0 for no limit.
pub(super) const RECEIVED_FIELDS: RangeInclusive<u64> = limits::RECEIVED_FIELDS_LEAST as u64..=u32::MAX as u64;

/// `line_bytes`, beside 0 for no limit.
pub(super) const LINE_BYTES: RangeInclusive<u64> = limits::CONTENT_LINE_OCTETS_LEAST as u64..=u32::MAX as u64;

/// `proxy_timeout_s`: a proxy that needs a minute for its header is none.
pub(super) const PROXY_TIMEOUT_S: RangeInclusive<u64> = 1..=60;

/// `idle_timeout_s`: a day at most, so that milliseconds given for seconds are noticed.
pub(super) const IDLE_TIMEOUT_S: RangeInclusive<u64> = 1..=86_400;

/// `transaction_timeout_s`, of which 0 stands for no limit; the bound as above.
pub(super) const TRANSACTION_TIMEOUT_S: RangeInclusive<u64> = 0..=86_400;

/// `greet_pause_ms`: twice the five minutes that a client waits for a greeting (RFC 5321 §4.5.3.2.1), so that a
/// client's timeout can be provoked.
pub(super) const GREET_PAUSE_MS: RangeInclusive<u64> = 0..=600_000;

/// `backlog`: what `listen` takes.
pub(super) const BACKLOG: RangeInclusive<u64> = 1..=i32::MAX as u64;

/// `receive_buffer_bytes`, `send_buffer_bytes`: the kernel takes an `int` and doubles it.
pub(super) const SOCKET_BUFFER_BYTES: RangeInclusive<u64> = 4096..=1 << 30;
const _: () = assert!(2 * *SOCKET_BUFFER_BYTES.end() <= 1 << 31);

/// `keepalive_s`, of which 0 stands for never: what the kernel takes (MAX_TCP_KEEPIDLE).
pub(super) const KEEPALIVE_S: RangeInclusive<u64> = 0..=32_767;

/// `user_timeout_ms`, of which 0 leaves it to the kernel: a day at most, as with the idle timeout.
pub(super) const USER_TIMEOUT_MS: RangeInclusive<u64> = 0..=86_400_000;

/// Permission bits of a Unix socket's file.
pub(super) const FILE_MODE_MOST: u32 = 0o777;
