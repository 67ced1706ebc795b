//! What a configuration file says: each key as a typed value with its place, or absent.
//!
//! *Does not* know defaults, nor what values mean to each other: `plan` does.

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeTable;

use super::destination::{Entry, FileLog, FileRoute, FileSink};
use super::error::{Errors, Lines, Mistake, Report, shown};
use super::plan::{Durability, Kind, Protocol};
use super::spool::FileSpool;
use super::table::Table;
use super::{netblock, value, vocabulary};
use crate::limits::CONFIGURATION_OCTETS;
use crate::reactor::listening::Bind;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::Extension;
use crate::smtp::settings::{AddressSyntax, Nul, Synchronization};

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) server: Server,
    pub(super) socket: Socket,
    /// In the order of the file.
    pub(super) listeners: Vec<Listener>,
    /// In the order of the file.
    pub(super) sinks: Vec<FileSink>,
    pub(super) spool: FileSpool,
    pub(super) log: FileLog,
}

/// `[server]`.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) hostname: Option<Spanned<String>>,
    pub(super) shards: Option<Spanned<u16>>,
    pub(super) connections_per_shard: Option<Spanned<u32>>,
    pub(super) data_dir: Option<Spanned<PathBuf>>,
    pub(super) sink_threads: Option<Spanned<u16>>,
}

/// `[listener.NAME]`.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) name: String,
    /// Where the name stands.
    pub(super) at: Range<usize>,
    /// The keys that lead here, dotted.
    pub(super) path: String,
    pub(super) kind: Option<Spanned<Kind>>,
    pub(super) protocol: Option<Spanned<Protocol>>,
    pub(super) bind: Vec<Spanned<Bind>>,
    pub(super) enable: Option<Spanned<bool>>,
    pub(super) durability: Option<Spanned<Durability>>,
    pub(super) disk: Option<Spanned<bool>>,
    pub(super) discards_mail: Option<Spanned<bool>>,
    pub(super) recipients: Option<Spanned<Vec<Spanned<Entry>>>>,
    pub(super) accept_any: Option<Spanned<bool>>,
    /// Who is served, beside this machine.
    pub(super) relay_from: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub(super) sink: Option<Spanned<String>>,
    /// Where `route` stands, and the routes in their order.
    pub(super) routes: Vec<FileRoute>,
    pub(super) routes_at: Option<Range<usize>>,
    /// No key of a file: said by whoever brings a sink that looks at envelopes.
    pub(super) keeps_envelope: bool,
    pub(super) banner: Option<Spanned<String>>,
    pub(super) extensions: Option<Spanned<Vec<Spanned<Extension>>>>,
    pub(super) default_domain: Option<Spanned<String>>,
    pub(super) message_size_bytes: Option<Spanned<u64>>,
    pub(super) recipients_per_message: Option<Spanned<u32>>,
    /// 0 is no limit; so with the next five.
    pub(super) recipient_domains_per_message: Option<Spanned<u32>>,
    pub(super) messages_per_connection: Option<Spanned<u32>>,
    pub(super) errors: Option<Spanned<u32>>,
    pub(super) junk_commands: Option<Spanned<u32>>,
    pub(super) received_fields: Option<Spanned<u32>>,
    pub(super) line_bytes: Option<Spanned<u32>>,
    pub(super) checksum: Option<Spanned<bool>>,
    pub(super) synchronization: Option<Spanned<Synchronization>>,
    pub(super) bare_newline: Option<Spanned<BareNewline>>,
    pub(super) nul: Option<Spanned<Nul>>,
    pub(super) address_syntax: Option<Spanned<AddressSyntax>>,
    pub(super) idle_timeout_s: Option<Spanned<u64>>,
    /// 0 is no limit.
    pub(super) transaction_timeout_s: Option<Spanned<u64>>,
    pub(super) greet_pause_ms: Option<Spanned<u64>>,
    pub(super) proxy_protocol: Option<Spanned<bool>>,
    pub(super) proxy_timeout_s: Option<Spanned<u64>>,
    /// Who may use XCLIENT. A peer on a Unix socket has no address, and may not, unless a PROXY header names one.
    pub(super) xclient: Option<Spanned<Vec<Spanned<IpNet>>>>,
    pub(super) socket: Socket,
}

/// `[socket]` and `[listener.NAME.socket]`.
#[derive(Debug, Default)]
pub(super) struct Socket {
    pub(super) backlog: Option<Spanned<i32>>,
    pub(super) reuse_port: Option<Spanned<bool>>,
    pub(super) receive_buffer_bytes: Option<Spanned<usize>>,
    pub(super) send_buffer_bytes: Option<Spanned<usize>>,
    pub(super) no_delay: Option<Spanned<bool>>,
    /// 0 is never.
    pub(super) keepalive_s: Option<Spanned<u32>>,
    /// 0 leaves it to the kernel.
    pub(super) user_timeout_ms: Option<Spanned<u32>>,
    pub(super) file_mode: Option<Spanned<u32>>,
}

/// The text of a file.
pub(super) fn load(path: &Path, source: &str) -> Result<String, Errors> {
    let whole = |place, wrong: String, right: &str| Errors::whole(source, place, Mistake::new(wrong, right));
    let read = || -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        fs::File::open(path)?.take(CONFIGURATION_OCTETS + 1).read_to_end(&mut octets)?;
        Ok(octets)
    };
    let octets = read().map_err(|error| {
        whole(None, format!("cannot be read: {error}"), "a file is wanted that this process may read")
    })?;
    if octets.len() as u64 > CONFIGURATION_OCTETS {
        return Err(whole(
            None,
            format!("has more than {CONFIGURATION_OCTETS} octets"),
            "a configuration file is wanted",
        ));
    }
    String::from_utf8(octets).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let place = str::from_utf8(&error.as_bytes()[..valid]).ok().map(|text| Lines::new(text).place(valid));
        whole(place, "this is not UTF-8".into(), "TOML is UTF-8 throughout")
    })
}

/// The tree of a text.
pub(super) fn tree<'t>(text: &'t str, source: &str) -> Result<DeTable<'t>, Errors> {
    DeTable::parse(text).map(Spanned::into_inner).map_err(|error| {
        let at = error.span().unwrap_or_default();
        let (wrong, wanted) = error.message().split_once(", expected ").unwrap_or((error.message(), "valid TOML"));
        let wrong = match text.get(at.clone()) {
            Some(written) if !written.is_empty() => format!("{wrong}: {}", shown(written)),
            _ => wrong.to_owned(),
        };
        Errors::whole(source, Some(Lines::new(text).place(at.start)), Mistake::new(wrong, format!("wanted: {wanted}")))
    })
}

impl File {
    /// Reads all that is right, and reports the rest.
    pub(super) fn read<'t>(report: &'t Report<'t>, tree: &'t DeTable<'t>) -> Self {
        let top = Table::top(report, &vocabulary::TOP, tree);
        top.require("listener", "[listener.NAME]");
        Self {
            server: top.table("server", &vocabulary::SERVER).map(|table| Server::read(&table)).unwrap_or_default(),
            socket: Socket::read(&top),
            listeners: top
                .tables("listener", &vocabulary::LISTENER)
                .into_iter()
                .filter_map(|(name, table)| {
                    let listener = Listener::read(name, &table);
                    is_name(name, &table, report).then_some(listener)
                })
                .collect(),
            sinks: top
                .tables("sink", &vocabulary::SINK)
                .into_iter()
                .filter_map(|(name, table)| {
                    let sink = FileSink::read(name, &table);
                    is_name(name, &table, report).then_some(sink)
                })
                .collect(),
            spool: top.table("spool", &vocabulary::SPOOL).map(|table| FileSpool::read(&table)).unwrap_or_default(),
            log: top.table("log", &vocabulary::LOG).map(|table| FileLog::read(&table)).unwrap_or_default(),
        }
    }
}

impl Server {
    fn read(table: &Table<'_>) -> Self {
        Self {
            hostname: table.read("hostname", value::hostname),
            shards: table.read("shards", value::number(vocabulary::SHARDS, "shards")),
            connections_per_shard: table
                .read("connections_per_shard", value::number(vocabulary::CONNECTIONS_PER_SHARD, "connections")),
            data_dir: table.read("data_dir", value::path),
            sink_threads: table.read("sink_threads", value::number(vocabulary::SINK_THREADS, "threads")),
        }
    }
}

impl Listener {
    fn read(name: &str, table: &Table<'_>) -> Self {
        table.require("kind", "kind = \"blackhole\"");
        table.require("bind", "bind = \"127.0.0.1:2525\"");
        Self {
            name: name.to_owned(),
            at: table.at(),
            path: table.path().to_owned(),
            kind: table.read("kind", value::word(&vocabulary::KIND)),
            protocol: table.read("protocol", value::word(&vocabulary::PROTOCOL)),
            bind: table
                .read_list("bind", |value| value::text(value)?.parse())
                .map(Spanned::into_inner)
                .unwrap_or_default(),
            enable: table.read("enable", value::boolean),
            durability: table.read("durability", value::word(&vocabulary::DURABILITY)),
            disk: table.read("disk", value::boolean),
            discards_mail: table.read("discards_mail", value::boolean),
            recipients: Entry::read_list(table),
            accept_any: table.read("accept_any", value::boolean),
            relay_from: table.read_list("relay_from", |value| netblock::read(value::text(value)?)),
            sink: table.read("sink", |value| value::text(value).map(str::to_owned)),
            routes: table.array("route", &vocabulary::ROUTE).iter().map(FileRoute::read).collect(),
            routes_at: table.place_of("route"),
            keeps_envelope: false,
            banner: table.read("banner", value::banner),
            extensions: table.read_list("extensions", value::extension),
            default_domain: table.read("default_domain", value::hostname),
            message_size_bytes: table
                .read("message_size_bytes", value::number(vocabulary::MESSAGE_SIZE_BYTES, "bytes")),
            recipients_per_message: table
                .read("recipients_per_message", value::number(vocabulary::RECIPIENTS_PER_MESSAGE, "recipients")),
            recipient_domains_per_message: table.read(
                "recipient_domains_per_message",
                value::number(vocabulary::COUNT_OR_NONE, "domains (0 is no limit)"),
            ),
            messages_per_connection: table
                .read("messages_per_connection", value::number(vocabulary::COUNT_OR_NONE, "messages (0 is no limit)")),
            errors: table.read("errors", value::number(vocabulary::COUNT_OR_NONE, "errors (0 is no limit)")),
            junk_commands: table
                .read("junk_commands", value::number(vocabulary::COUNT_OR_NONE, "commands (0 is no limit)")),
            received_fields: table.read(
                "received_fields",
                value::number_or_none(vocabulary::RECEIVED_FIELDS, "fields", "RFC 5321 §6.3 allows no less"),
            ),
            line_bytes: table.read(
                "line_bytes",
                value::number_or_none(vocabulary::LINE_BYTES, "bytes", "RFC 5321 §4.5.3.1.6 allows no less"),
            ),
            checksum: table.read("checksum", value::boolean),
            synchronization: table.read("synchronization", value::word(&vocabulary::SYNCHRONIZATION)),
            bare_newline: table.read("bare_newline", value::word(&vocabulary::BARE_NEWLINE)),
            nul: table.read("nul", value::word(&vocabulary::NUL)),
            address_syntax: table.read("address_syntax", value::word(&vocabulary::ADDRESS_SYNTAX)),
            idle_timeout_s: table.read("idle_timeout_s", value::number(vocabulary::IDLE_TIMEOUT_S, "seconds")),
            transaction_timeout_s: table.read(
                "transaction_timeout_s",
                value::number(vocabulary::TRANSACTION_TIMEOUT_S, "seconds (0 is no limit)"),
            ),
            greet_pause_ms: table.read("greet_pause_ms", value::number(vocabulary::GREET_PAUSE_MS, "milliseconds")),
            proxy_protocol: table.read("proxy_protocol", value::boolean),
            proxy_timeout_s: table.read("proxy_timeout_s", value::number(vocabulary::PROXY_TIMEOUT_S, "seconds")),
            xclient: table.read_list("xclient", |value| netblock::read(value::text(value)?)),
            socket: Socket::read(table),
        }
    }
}

/// Whether the name of a table is one; what is wrong with it is reported. What stands under a wrong one is checked all the same.
fn is_name(name: &str, table: &Table<'_>, report: &Report<'_>) -> bool {
    let wrong = name.chars().find(|character| !(character.is_ascii_alphanumeric() || "-_".contains(*character)));
    let mistake = match wrong {
        Some(wrong) => format!("the name has {wrong:?} in it"),
        None if name.is_empty() => "the name is empty".into(),
        None => return true,
    };
    let right = "a name of letters, digits, '-' and '_' is wanted";
    report.add(table.at(), table.path(), Mistake::new(mistake, right));
    false
}

impl Socket {
    /// Reads the table `socket` within a table.
    fn read(within: &Table<'_>) -> Self {
        let Some(table) = within.table("socket", &vocabulary::SOCKET) else { return Self::default() };
        Self {
            backlog: table.read("backlog", value::number(vocabulary::BACKLOG, "connections")),
            reuse_port: table.read("reuse_port", value::boolean),
            receive_buffer_bytes: table
                .read("receive_buffer_bytes", value::number(vocabulary::SOCKET_BUFFER_BYTES, "bytes")),
            send_buffer_bytes: table.read("send_buffer_bytes", value::number(vocabulary::SOCKET_BUFFER_BYTES, "bytes")),
            no_delay: table.read("no_delay", value::boolean),
            keepalive_s: table.read("keepalive_s", value::number(vocabulary::KEEPALIVE_S, "seconds")),
            user_timeout_ms: table.read("user_timeout_ms", value::number(vocabulary::USER_TIMEOUT_MS, "milliseconds")),
            file_mode: table.read("file_mode", value::file_mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::vocabulary::Section;

    /// Reads a text, and gives the mistakes as printed.
    fn mistakes(text: &str) -> Vec<String> {
        let report = Report::new(Some(text));
        let tree = tree(text, "x").unwrap();
        let _ = File::read(&report, &tree);
        match report.finish("x", ()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
        }
    }

    /// No key can be listed without being read: a value that no key takes is reported for each.
    #[test]
    fn every_key_of_every_section_is_read() {
        let header = |section: &Section| match section.name {
            "[server]" => "[server]\n",
            "[listener.NAME]" => "[listener.a]\n",
            "[[listener.NAME.route]]" => "[[listener.a.route]]\n",
            "[sink.NAME]" => "[sink.a]\n",
            "[spool]" => "[spool]\n",
            "[log]" => "[log]\n",
            _ => "[listener.a.socket]\n",
        };
        for section in [
            &vocabulary::SERVER,
            &vocabulary::LISTENER,
            &vocabulary::SOCKET,
            &vocabulary::ROUTE,
            &vocabulary::SINK,
            &vocabulary::SPOOL,
            &vocabulary::LOG,
        ] {
            for key in section.keys {
                let text = format!("{}{key} = 1979-05-27\n", header(section));
                let place = format!("x:2:{}: ", key.len() + 4);
                assert!(mistakes(&text).iter().any(|line| line.starts_with(&place)), "{text}: {:?}", mistakes(&text));
            }
        }
        for key in vocabulary::RECIPIENT.keys {
            let text = format!("[listener.a]\nrecipients = {{ {key} = 1979-05-27 }}");
            let place = format!("x:2:{}: ", key.len() + 19);
            assert!(mistakes(&text).iter().any(|line| line.starts_with(&place)), "{text}: {:?}", mistakes(&text));
        }
        for key in vocabulary::TOP.keys {
            let said = format!("x:1:{}: {key}: a datetime cannot stand here; a table is wanted: [{key}", key.len() + 4);
            let text = format!("{key} = 1979-05-27\n");
            assert!(mistakes(&text).iter().any(|line| line.starts_with(&said)), "{text}: {:?}", mistakes(&text));
        }
    }

    /// Nothing that other builds know is taken for a misspelling.
    #[test]
    fn every_lacking_key_is_named_as_such() {
        for (section, header) in [
            (&vocabulary::TOP, "[listener.a]\nkind = 'blackhole'\nbind = ':1'\n\n["),
            (&vocabulary::LISTENER, "[listener.a]\nkind = 'blackhole'\nbind = ':1'\n\n"),
            (&vocabulary::SINK, "listener.a = { kind = 'blackhole', bind = ':1' }\n\n[sink.a]\nkind = 'program'\n"),
        ] {
            for (key, part) in section.lacking {
                let (value, column) = if header.ends_with('[') { ("]", 2) } else { (" = {}", 1) };
                let text = format!("{header}{key}{value}\n");
                let found = mistakes(&text);
                let [line] = &found[..] else { panic!("{text}: {found:?}") };
                assert!(line.starts_with(&format!("x:5:{column}: ")), "{line}");
                let said =
                    format!("{key}: is known but not part of this build yet; this build has no {part}: remove the key");
                assert!(line.ends_with(&said), "{line}");
            }
        }
    }

    /// Every right value of every key.
    #[test]
    fn a_full_file_is_read_without_a_mistake() {
        let text = r#"
            [server]
            hostname = "mx.example.net"
            shards = 4
            connections_per_shard = 1000
            [socket]
            backlog = 128
            [listener.a-B_9]
            kind = "blackhole"
            protocol = "smtp"
            bind = ["*:2525", "/run/mx.sock"]
            enable = false
            durability = "discard"
            disk = false
            discards_mail = true
            banner = "ESMTP test sink"
            extensions = ["pipelining", "SIZE"]
            default_domain = "example.net"
            message_size_bytes = 65536
            recipients_per_message = 100
            recipient_domains_per_message = 0
            messages_per_connection = 0
            errors = 0
            junk_commands = 0
            received_fields = 100
            line_bytes = 0
            checksum = true
            synchronization = "strict"
            bare_newline = "reject"
            nul = "reject"
            address_syntax = "strict"
            idle_timeout_s = 86400
            transaction_timeout_s = 0
            greet_pause_ms = 0
            proxy_protocol = true
            proxy_timeout_s = 60
            xclient = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]
            [listener.a-B_9.socket]
            backlog = 2147483647
            reuse_port = false
            receive_buffer_bytes = 4096
            send_buffer_bytes = 1073741824
            no_delay = false
            keepalive_s = 32767
            user_timeout_ms = 86400000
            file_mode = "0600"
            [spool]
            shards = 0
            segment_bytes = 4194304
            retain_s = 31536000
            size_bytes = 0
            lifetime_s = 1
            retry_s = 1
            reserve_bytes = 0
        "#;
        assert_eq!(mistakes(text), [""; 0]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let mut path = std::env::temp_dir();
        path.push(format!("ringmx-config-{}", std::process::id()));
        let missing = load(&path, "missing.toml").unwrap_err().to_string();
        assert!(missing.starts_with("missing.toml: cannot be read: No such file or directory"), "{missing}");
        let folder = load(&std::env::temp_dir(), "folder").unwrap_err().to_string();
        assert!(folder.starts_with("folder: cannot be read: Is a directory"), "{folder}");

        let mut file = fs::File::create_new(&path).unwrap();
        file.write_all(b"a = 1\nb = \"\xc3\xa4\xff\"\n").unwrap();
        let wrong = load(&path, "x").unwrap_err().to_string();
        file.set_len(CONFIGURATION_OCTETS + 1).unwrap();
        let long = load(&path, "x").unwrap_err().to_string();
        file.set_len(5).unwrap();
        let right = load(&path, "x");
        fs::remove_file(&path).unwrap();
        assert_eq!(wrong, "x:2:7: this is not UTF-8; TOML is UTF-8 throughout");
        assert_eq!(long, "x: has more than 16777216 octets; a configuration file is wanted");
        assert_eq!(right.as_deref(), Ok("a = 1"));
    }
}
