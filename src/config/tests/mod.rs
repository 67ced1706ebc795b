//! Wrong configurations, by the whole way from the text to the message.

use std::num::NonZeroU16;
use std::time::Instant;

use super::machine::Machine;
use super::*;

mod mail;

/// Reads a text named `x`, on a machine named `this.test` with three cores.
pub(super) fn parse(text: &str) -> Result<Plan, Errors> {
    let machine = Machine { hostname: "this.test".into(), cores: NonZeroU16::new(3).unwrap() };
    Plan::parse_on(&machine, text, "x", None)
}

/// A listener's table, right as far as it goes, with further lines of it from line 4 on.
pub(super) fn listener(lines: &str) -> String {
    format!("[listener.a]\nkind = 'blackhole'\nbind = '127.0.0.1:2525'\n{lines}\n")
}

/// Each mistake with its exact place, its key, and what is said of it.
#[test]
fn each_mistake_is_named_where_it_stands() {
    let long = format!("banner = '{}'", "x".repeat(497));
    let many = (0..65).map(|port| format!("'[::1]:{}',", 3000 + port)).collect::<String>();
    for (text, wanted) in [
        // The text as such.
        ("", &["x:1:1: listener: is missing; such as [listener.NAME]"][..]),
        ("[listener]\n", &["x:1:2: listener: is empty; a table is wanted: [listener.NAME]"]),
        ("[listener.a\n", &["x:1:12: unclosed table; wanted: `]`"]),
        ("[server]\n[server]\n", &["x:2:2: duplicate key: \"server\"; wanted: valid TOML"]),
        ("[[listener]]\n", &["x:1:1: listener: an array cannot stand here; a table is wanted: [listener.NAME]"]),
        (
            "listener = { a = 1 }\n",
            &["x:1:18: listener.a: the number 1 cannot stand here; a table is wanted: [listener.NAME]"],
        ),
        (
            "[listener.a]\n",
            &[
                "x:1:11: listener.a.kind: is missing; such as kind = \"blackhole\"",
                "x:1:11: listener.a.bind: is missing; such as bind = \"127.0.0.1:2525\"",
            ],
        ),
        (
            "[listener.'a b']\nkind = 'blackhole'\nbind = ':1'\nerrors = -1\n",
            &[
                "x:1:11: listener.\"a b\": the name has ' ' in it; a name of letters, digits, '-' and '_' is wanted",
                "x:4:10: listener.\"a b\".errors: -1 is out of range; a whole number of errors (0 is no limit) from 0 \
                 to 4294967295 is wanted",
            ],
        ),
        (
            "[listener.'']\nkind = 'blackhole'\nbind = ':1'\n",
            &["x:1:11: listener.\"\": the name is empty; a name of letters, digits, '-' and '_' is wanted"],
        ),
        // Keys.
        (&listener("bnid = ':1'"), &["x:4:1: listener.a.bnid: is no key of [listener.NAME]; did you mean \"bind\"?"]),
        (
            &listener("idle-timeout = 1"),
            &["x:4:1: listener.a.idle-timeout: is no key of [listener.NAME]; did you mean \"idle_timeout_s\"?"],
        ),
        (
            &listener("hostname = 'x'"),
            &["x:4:1: listener.a.hostname: cannot stand in [listener.NAME]; it belongs in [server]"],
        ),
        (
            &listener("backlog = 5"),
            &["x:4:1: listener.a.backlog: cannot stand in [listener.NAME]; it belongs in [socket] or \
               [listener.NAME.socket]"],
        ),
        (&listener("[servre]"), &["x:4:2: servre: is no key of the top of the file; did you mean \"server\"?"]),
        (
            &listener("[zzz.y]"),
            &["x:4:2: zzz: is no key of the top of the file; the keys are \"server\", \"socket\", \"listener\", \
               \"sink\", \"spool\" and \"log\""],
        ),
        (
            &listener("\"q\\\"\\n\" = 1"),
            &["x:4:1: listener.a.\"q\\\"\\n\": is no key of [listener.NAME]; the keys are \"kind\", \"protocol\", \
               \"bind\", \"enable\", \"durability\", \"disk\", \"discards_mail\", \
               \"recipients\", \"accept_any\", \"relay_from\", \"sink\", \"route\", \"banner\", \"extensions\", \
               \"default_domain\", \"message_size_bytes\", \"recipients_per_message\", \
               \"recipient_domains_per_message\", \"messages_per_connection\", \"errors\", \"junk_commands\", \
               \"received_fields\", \"line_bytes\", \"checksum\", \"synchronization\", \"bare_newline\", \"nul\", \
               \"address_syntax\", \"idle_timeout_s\", \"transaction_timeout_s\", \"greet_pause_ms\", \
               \"proxy_protocol\", \"proxy_timeout_s\", \"xclient\" and \"socket\""],
        ),
        // Parts that this build lacks.
        (
            "[listener.mx]\nkind = \"blackhole\"\nbind = '*:2525'\nprotocol = 'qmqp'\ndurability = 'durable'\ntls = {}\n\
             disk = true\n[sink.x]\nkind = 'relay'\nnext_hops = []\n[dsn]\n",
            &[
                "x:4:12: listener.mx.protocol: \"qmqp\" is known but not part of this build yet; this build has \
                 \"smtp\" or \"lmtp\"",
                "x:6:1: listener.mx.tls: is known but not part of this build yet; this build has no TLS: remove the key",
                "x:9:8: sink.x.kind: \"relay\" is known but not part of this build yet; this build has \"maildir\", \
                 \"blackhole\" or \"program\"",
                "x:10:1: sink.x.next_hops: is known but not part of this build yet; this build has no sinks that relay: \
                 remove the key",
                "x:11:2: dsn: is known but not part of this build yet; this build has no delivery status notifications: \
                 remove the key",
            ],
        ),
        // Values.
        (
            &listener("[server]\nhostname = 'a_b'\nshards = 1025\nconnections_per_shard = 0"),
            &[
                "x:5:12: server.hostname: \"a_b\" is no domain; a domain or an \
                 address literal is wanted, such as \"mx.example.net\" or \"[192.0.2.1]\"",
                "x:6:10: server.shards: 1025 is out of range; a whole number of shards from 0 to 1024 is wanted",
                "x:7:25: server.connections_per_shard: 0 is out of range; a whole number of connections from 1 to \
                 1048576 is wanted",
            ],
        ),
        (
            &listener("recipients_per_message = 99\nmessage_size_bytes = 65535\nidle_timeout_s = 300000"),
            &[
                "x:4:26: listener.a.recipients_per_message: 99 is out of range; a whole number of recipients from 100 \
                 to 4294967295 is wanted",
                "x:5:22: listener.a.message_size_bytes: 65535 is out of range; a whole number of bytes from 65536 to \
                 9223372036854775807 is wanted",
                "x:6:18: listener.a.idle_timeout_s: 300000 is out of range; a whole number of seconds from 1 to 86400 \
                 is wanted",
            ],
        ),
        (
            &listener("enable = 'yes'\nextensions = ['SIZE', 'AUTH']"),
            &[
                "x:4:10: listener.a.enable: the text \"yes\" cannot stand here; true or false is wanted, without \
                 quotes",
                "x:5:23: listener.a.extensions: \"AUTH\" is known but not part of this build yet; this build has \
                 \"PIPELINING\", \"SIZE\", \"8BITMIME\", \"SMTPUTF8\", \"CHUNKING\", \"BINARYMIME\", \"DSN\", \
                 \"ENHANCEDSTATUSCODES\" and \"LIMITS\"",
            ],
        ),
        (
            &listener(&long),
            &["x:4:10: listener.a.banner: makes a greeting of 513 octets, of 512 allowed; beside the host name \
               \"this.test\" there is room for 496"],
        ),
        (
            &listener("banner = 'ä'"),
            &["x:4:10: listener.a.banner: \"ä\" has 'ä' in it; printable ASCII is wanted, such as \"ESMTP test sink\""],
        ),
        (
            &listener(
                "default_domain = '192.0.2.1'\nrecipient_domains_per_message = -1\nreceived_fields = 99\nline_bytes = 997",
            ),
            &[
                "x:4:18: listener.a.default_domain: \"192.0.2.1\" is no domain but an address, whose literal is \
                 \"[192.0.2.1]\"; a domain or an address literal is wanted, such as \"mx.example.net\" or \"[192.0.2.1]\"",
                "x:5:33: listener.a.recipient_domains_per_message: -1 is out of range; a whole number of domains (0 is no \
                 limit) from 0 to 4294967295 is wanted",
                "x:6:19: listener.a.received_fields: 99 is out of range; 0 (no limit) or a whole number of fields from \
                 100 to 4294967295 is wanted: RFC 5321 §6.3 allows no less",
                "x:7:14: listener.a.line_bytes: 997 is out of range; 0 (no limit) or a whole number of bytes from 998 to \
                 4294967295 is wanted: RFC 5321 §4.5.3.1.6 allows no less",
            ],
        ),
        // Extensions that need each other, or that a protocol needs.
        (
            &listener("extensions = ['SIZE', 'BINARYMIME']"),
            &["x:4:23: listener.a.extensions: \"BINARYMIME\" needs \"CHUNKING\", which is not in the list (RFC 3030 \
               §3); add \"CHUNKING\", or remove \"BINARYMIME\""],
        ),
        (
            &listener("extensions = ['SMTPUTF8']"),
            &["x:4:15: listener.a.extensions: \"SMTPUTF8\" needs \"8BITMIME\", which is not in the list (RFC 6531 \
               §3.1); add \"8BITMIME\", or remove \"SMTPUTF8\""],
        ),
        (
            &listener("extensions = ['PIPELINING', 'BINARYMIME']\nprotocol = 'lmtp'"),
            &[
                "x:4:14: listener.a.extensions: the list has no \"ENHANCEDSTATUSCODES\", which LMTP must offer (RFC \
                 2033 §5); add \"ENHANCEDSTATUSCODES\", or leave the key out for all that there are",
                "x:4:29: listener.a.extensions: \"BINARYMIME\" needs \"CHUNKING\", which is not in the list (RFC 3030 \
                 §3); add \"CHUNKING\", or remove \"BINARYMIME\"",
            ],
        ),
        (
            &listener("protocol = 'lmtp'\nextensions = []"),
            &["x:5:14: listener.a.extensions: the list has no \"PIPELINING\" and \"ENHANCEDSTATUSCODES\", which LMTP \
               must offer (RFC 2033 §5); add \"PIPELINING\" and \"ENHANCEDSTATUSCODES\", or leave the key out for all \
               that there are"],
        ),
        (
            &listener("extensions = 'XCLIENT'"),
            &[
                "x:4:14: listener.a.extensions: \"XCLIENT\" is not for everyone; the key \"xclient\" lists the peers to \
               which it is offered",
            ],
        ),
        // LMTP is not for SMTP's port, also where nobody else can reach it, and where mail is discarded on purpose.
        (
            "[listener.a]\nkind = 'blackhole'\nprotocol = 'lmtp'\ndiscards_mail = true\nbind = ['[::1]:25', '*:25', '/25']\n",
            &[
                "x:5:9: listener.a.bind: \"[::1]:25\" is SMTP's port, where LMTP must not be spoken (RFC 2033 §5); \
                 another port or a Unix socket is wanted",
                "x:5:21: listener.a.bind: \"0.0.0.0:25\" is SMTP's port, where LMTP must not be spoken (RFC 2033 §5); \
                 another port or a Unix socket is wanted",
            ],
        ),
        // Who is before the session.
        (
            &listener("proxy_timeout_s = 61\nproxy_protocol = 'v2'\nxclient = ['10.0.0.1/8', '10.0.0.0/8', 'x', 5]"),
            &[
                "x:4:19: listener.a.proxy_timeout_s: 61 is out of range; a whole number of seconds from 1 to 60 is wanted",
                "x:5:18: listener.a.proxy_protocol: the text \"v2\" cannot stand here; true or false is wanted, without \
                 quotes",
                "x:6:12: listener.a.xclient: \"10.0.0.1/8\" has bits of a host behind its first 8; the netblock is \
                 \"10.0.0.0/8\", the address alone \"10.0.0.1\"",
                "x:6:40: listener.a.xclient: \"x\" is neither an IP address nor a netblock; an address or a netblock is \
                 wanted, such as \"127.0.0.1\", \"10.0.0.0/8\" or \"2001:db8::/32\"",
                "x:6:45: listener.a.xclient: the number 5 cannot stand here; a text in quotes is wanted",
            ],
        ),
        (
            &listener("proxy_timeout_s = 5"),
            &[
                "x:4:19: listener.a.proxy_timeout_s: has no use without a PROXY header; proxy_protocol = true, or no such \
               key",
            ],
        ),
        (
            "[listener.a]\nkind = 'blackhole'\nbind = '/a'\nxclient = '::1'\n",
            &["x:4:11: listener.a.xclient: has no use without a TCP address; a TCP address in bind, or no such key"],
        ),
        // Columns are of characters.
        (
            "listener.a = { banner = 'ä', kind = 'blackhole', bind = 5 }",
            &[
                "x:1:25: listener.a.banner: \"ä\" has 'ä' in it; printable ASCII is wanted, such as \"ESMTP test sink\"",
                "x:1:57: listener.a.bind: the number 5 cannot stand here; a text in quotes is wanted",
            ],
        ),
        // Addresses.
        (
            "[listener.a]\nkind = 'blackhole'\nbind = ['localhost:25', 7, '[::1]']\n",
            &[
                "x:3:9: listener.a.bind: \"localhost:25\" has the host name \"localhost\"; an IP address is wanted, \
                 such as \"127.0.0.1:25\", \"[::1]:25\" or, for all, \"*:25\"",
                "x:3:25: listener.a.bind: the number 7 cannot stand here; a text in quotes is wanted",
                "x:3:28: listener.a.bind: \"[::1]\" has no port behind a ':'; an address ends with its port: \"[::1]:25\"",
            ],
        ),
        (
            "[listener.a]\nkind = 'blackhole'\nbind = []\n",
            &["x:3:8: listener.a.bind: an empty list cannot stand here; such as bind = \"127.0.0.1:2525\""],
        ),
        (
            &format!("[listener.a]\nkind = 'blackhole'\nbind = [{many}]\n"),
            &["x:3:841: listener.a.bind: is beyond the number of addresses of a listener; at most 64"],
        ),
        (
            "[listener.a]\nkind = 'blackhole'\nbind = ['[::1]:2525', '[0::1]:2525']\n\
             [listener.b]\nkind = 'blackhole'\nenable = false\nbind = ['*:2525', '[::0:1]:2525', '/a/./b', '/a/b']\n",
            &[
                "x:3:23: listener.a.bind: \"[::1]:2525\" is already an address of listener \"a\", line 3, column 9; an \
                 address can stand once",
                "x:7:19: listener.b.bind: \"[::1]:2525\" is already an address of listener \"a\", line 3, column 9; an \
                 address can stand once",
                "x:7:45: listener.b.bind: \"/a/b\" is already an address of listener \"b\", line 7, column 35; an \
                 address can stand once",
            ],
        ),
        (
            "[listener.a]\nkind = 'blackhole'\nbind = [':25', '10.0.0.1:465', '[*]:587', '127.0.0.1:25', '/25']\n",
            &[
                "x:3:9: listener.a.bind: real mail can arrive at \"0.0.0.0:25\", where this blackhole would accept and lose \
                 it; discards_mail = true says that this is meant",
                "x:3:16: listener.a.bind: real mail can arrive at \"10.0.0.1:465\", where this blackhole would accept \
                 and lose it; discards_mail = true says that this is meant",
                "x:3:32: listener.a.bind: real mail can arrive at \"[::]:587\", where this blackhole would accept and \
                 lose it; discards_mail = true says that this is meant",
            ],
        ),
        // Socket options.
        (
            &listener("socket.file_mode = '0660'\nsocket.backlog = 0\nsocket.receive_buffer_bytes = 1"),
            &[
                "x:4:20: listener.a.socket.file_mode: has no use without a Unix socket; a Unix socket in bind, or no \
                 such key",
                "x:5:18: listener.a.socket.backlog: 0 is out of range; a whole number of connections from 1 to \
                 2147483647 is wanted",
                "x:6:31: listener.a.socket.receive_buffer_bytes: 1 is out of range; a whole number of bytes from 4096 \
                 to 1073741824 is wanted",
            ],
        ),
        (
            "[listener.a]\nkind = 'blackhole'\nbind = '/a'\n[listener.a.socket]\nkeepalive_s = 1\nuser_timeout_ms = 1\n",
            &[
                "x:5:15: listener.a.socket.keepalive_s: has no use without a TCP address; a TCP address in bind, or no \
                 such key",
                "x:6:19: listener.a.socket.user_timeout_ms: has no use without a TCP address; a TCP address in bind, or \
                 no such key",
            ],
        ),
        (
            &listener("socket.keepalive_s = 32768\nsocket.user_timeout_ms = 86400001"),
            &[
                "x:4:22: listener.a.socket.keepalive_s: 32768 is out of range; a whole number of seconds from 0 to 32767 \
                 is wanted",
                "x:5:26: listener.a.socket.user_timeout_ms: 86400001 is out of range; a whole number of milliseconds from \
                 0 to 86400000 is wanted",
            ],
        ),
        (
            "[listener.a]\nkind = 'blackhole'\nbind = '/a'\nsocket = { reuse_port = true, no_delay = true }\n",
            &[
                "x:4:25: listener.a.socket.reuse_port: has no use without a TCP address; a TCP address in bind, or no \
                 such key",
                "x:4:42: listener.a.socket.no_delay: has no use without a TCP address; a TCP address in bind, or no \
                 such key",
            ],
        ),
    ] {
        let errors = parse(text).expect_err(text).to_string();
        assert_eq!(errors.lines().collect::<Vec<_>>(), wanted, "{text}");
    }
}

#[test]
fn all_words_that_this_build_lacks_are_named_as_such() {
    for (key, words) in [("protocol", vocabulary::PROTOCOL.lacks), ("extensions", &["STARTTLS", "REQUIRETLS", "AUTH"])]
    {
        assert!(!words.is_empty());
        for word in words {
            let text = format!("[listener.a]\nbind = ':2525'\n{key} = '{word}'\n");
            let errors = parse(&text).unwrap_err().to_string();
            let said = format!("listener.a.{key}: \"{word}\" is known but not part of this build yet; this build has");
            assert!(errors.contains(&said), "{errors}");
        }
    }
    for word in vocabulary::SINK_KIND.lacks {
        let errors = parse(&listener(&format!("[sink.x]\nkind = '{word}'"))).unwrap_err().to_string();
        let said = format!("sink.x.kind: \"{word}\" is known but not part of this build yet; this build has");
        assert!(errors.contains(&said), "{errors}");
    }
}

/// A text made to be slow or deep is refused or read, in time and without a panic.
#[test]
fn hostile_texts_end() {
    let start = Instant::now();
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    let unknown: String = (0..20_000).map(|index| format!("key_number_{index} = 1\n")).collect();
    let wide = format!("{} = 1", "x".repeat(1_000_000));
    for text in [deep, dotted, unknown, wide] {
        assert!(parse(&text).is_err());
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
