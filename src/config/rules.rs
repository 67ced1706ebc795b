//! The rules between values: each address once, bounded numbers, no real mail into a blackhole by accident, no option
//! where it cannot stand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use toml::Spanned;

use super::address::{is_local, port};
use super::error::{Mistake, Report};
use super::file::Listener;
use super::plan::{Kind, Protocol};
use super::purpose;
use super::value::listed;
use crate::limits;
use crate::reactor::listening::Bind;
use crate::smtp::extension::{Extension, Extensions};

/// Ports to which other hosts and users send real mail: SMTP, submission over TLS, submission.
const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// SMTP's own.
const SMTP_PORT: u16 = 25;

/// What a server of LMTP must offer: RFC 2033 §5.
const LMTP_EXTENSIONS: [Extension; 2] = [Extension::Pipelining, Extension::EnhancedStatusCodes];

/// Reports every breach.
pub(super) fn check(listeners: &[Listener], report: &Report<'_>) {
    refuse_too_many(listeners, report);
    refuse_clashes(listeners, report);
    for listener in listeners {
        refuse_ports(listener, report);
        refuse_extensions(listener, report);
        refuse_idle_options(listener, report);
        purpose::check(listener, report);
    }
}

fn refuse_too_many(listeners: &[Listener], report: &Report<'_>) {
    let most =
        |most: usize, what: &str| Mistake::new(format!("is beyond the number of {what}"), format!("at most {most}"));
    if let Some(listener) = listeners.get(limits::LISTENERS) {
        report.add(listener.at.clone(), &listener.path, most(limits::LISTENERS, "listeners"));
    }
    for listener in listeners {
        if let Some(bind) = listener.bind.get(limits::BINDS_PER_LISTENER) {
            let mistake = most(limits::BINDS_PER_LISTENER, "addresses of a listener");
            report.add(bind.span(), format!("{}.bind", listener.path), mistake);
        }
        for (key, said, bound) in [
            ("xclient", &listener.xclient, limits::TRUSTED_NETBLOCKS),
            ("relay_from", &listener.relay_from, limits::SERVED_NETBLOCKS),
        ] {
            let netblocks = said.as_ref().map_or(&[][..], |list| list.get_ref());
            if let Some(netblock) = netblocks.get(bound) {
                let mistake = most(bound, "netblocks of a listener");
                report.add(netblock.span(), format!("{}.{key}", listener.path), mistake);
            }
        }
    }
}

/// Refuses an address that stands twice. A listener that is not enabled holds its addresses too, because it can be
/// enabled while the engine runs.
fn refuse_clashes(listeners: &[Listener], report: &Report<'_>) {
    let mut taken: HashMap<&Bind, (&str, Range<usize>)> = HashMap::new();
    for listener in listeners {
        for bind in listener.bind.iter().filter(|bind| port(bind.get_ref()) != Some(0)) {
            match taken.entry(bind.get_ref()) {
                Entry::Vacant(vacant) => {
                    vacant.insert((&listener.name, bind.span()));
                }
                Entry::Occupied(first) => {
                    let (name, at) = first.get();
                    let place = report.place(at.start).map_or(String::new(), |place| format!(", {place}"));
                    let wrong = format!("\"{}\" is already an address of listener {name:?}{place}", bind.get_ref());
                    let mistake = Mistake::new(wrong, "an address can stand once");
                    report.add(bind.span(), format!("{}.bind", listener.path), mistake);
                }
            }
        }
    }
}

/// Refuses LMTP on SMTP's port (RFC 2033 §5), and a blackhole where real mail arrives, unless it says that it discards it.
fn refuse_ports(listener: &Listener, report: &Report<'_>) {
    let is_blackhole = is_said(&listener.kind, Kind::Blackhole) && !is_said(&listener.discards_mail, true);
    for bind in &listener.bind {
        let address = bind.get_ref();
        let Some(port) = port(address) else { continue };
        let mistake = if port == SMTP_PORT && speaks_lmtp(listener) {
            let wrong = format!("\"{address}\" is SMTP's port, where LMTP must not be spoken (RFC 2033 §5)");
            Mistake::new(wrong, "another port or a Unix socket is wanted")
        } else if is_blackhole && !is_local(address) && MAIL_PORTS.contains(&port) {
            let wrong = format!("real mail can arrive at \"{address}\", where this blackhole would accept and lose it");
            Mistake::new(wrong, "discards_mail = true says that this is meant")
        } else {
            continue;
        };
        report.add(bind.span(), format!("{}.bind", listener.path), mistake);
    }
}

/// Extensions that may not be offered without another.
const NEEDS: [(Extension, Extension, &str); 2] = [
    (Extension::BinaryMime, Extension::Chunking, "RFC 3030 §3"),
    (Extension::SmtpUtf8, Extension::EightBitMime, "RFC 6531 §3.1"),
];

/// Refuses a list of extensions that lacks one which another, or the protocol, needs.
fn refuse_extensions(listener: &Listener, report: &Report<'_>) {
    let Some(list) = &listener.extensions else { return };
    let offered: Extensions = list.get_ref().iter().map(|extension| *extension.get_ref()).collect();
    let refuse = |at, mistake| report.add(at, format!("{}.extensions", listener.path), mistake);
    for (needing, needed, source) in NEEDS.into_iter().filter(|(_, needed, _)| !offered.has(*needed)) {
        if let Some(said) = list.get_ref().iter().find(|extension| *extension.get_ref() == needing) {
            let [needing, needed] = [needing, needed].map(Extension::keyword);
            let wrong = format!("{needing:?} needs {needed:?}, which is not in the list ({source})");
            refuse(said.span(), Mistake::new(wrong, format!("add {needed:?}, or remove {needing:?}")));
        }
    }
    let lacked: Vec<&str> =
        LMTP_EXTENSIONS.into_iter().filter(|needed| !offered.has(*needed)).map(Extension::keyword).collect();
    if speaks_lmtp(listener) && !lacked.is_empty() {
        let lacked = listed(lacked, "and");
        let wrong = format!("the list has no {lacked}, which LMTP must offer (RFC 2033 §5)");
        refuse(list.span(), Mistake::new(wrong, format!("add {lacked}, or leave the key out for all that there are")));
    }
}

fn speaks_lmtp(listener: &Listener) -> bool {
    is_said(&listener.protocol, Protocol::Lmtp)
}

/// Whether a key says this. What is not said has its default, which is for `resolve`.
pub(super) fn is_said<T: PartialEq>(said: &Option<Spanned<T>>, value: T) -> bool {
    said.as_ref().is_some_and(|said| *said.get_ref() == value)
}

/// Refuses options of the listener's own that none of its addresses, or its other options, have a use for.
fn refuse_idle_options(listener: &Listener, report: &Report<'_>) {
    let is_unix = |bind: &Spanned<Bind>| matches!(bind.get_ref(), Bind::Unix(_));
    let refuse = |at: Option<Range<usize>>, key: &str, needed: &str, right: &str| {
        if let Some(at) = at {
            let mistake = Mistake::new(format!("has no use without {needed}"), format!("{right}, or no such key"));
            report.add(at, format!("{}.{key}", listener.path), mistake);
        }
    };
    let socket = &listener.socket;
    let has_proxy = is_said(&listener.proxy_protocol, true);
    if !has_proxy {
        let at = listener.proxy_timeout_s.as_ref().map(Spanned::span);
        refuse(at, "proxy_timeout_s", "a PROXY header", "proxy_protocol = true");
    }
    if listener.bind.is_empty() {
        return;
    }
    if !listener.bind.iter().any(is_unix) {
        let at = socket.file_mode.as_ref().map(Spanned::span);
        refuse(at, "socket.file_mode", "a Unix socket", "a Unix socket in bind");
    }
    if listener.bind.iter().all(is_unix) {
        let (tcp, in_bind) = ("a TCP address", "a TCP address in bind");
        refuse(socket.reuse_port.as_ref().map(Spanned::span), "socket.reuse_port", tcp, in_bind);
        refuse(socket.no_delay.as_ref().map(Spanned::span), "socket.no_delay", tcp, in_bind);
        refuse(socket.keepalive_s.as_ref().map(Spanned::span), "socket.keepalive_s", tcp, in_bind);
        refuse(socket.user_timeout_ms.as_ref().map(Spanned::span), "socket.user_timeout_ms", tcp, in_bind);
        // A peer on a Unix socket has no address, unless a PROXY header names one.
        if !has_proxy {
            refuse(listener.xclient.as_ref().map(Spanned::span), "xclient", tcp, in_bind);
            refuse(listener.relay_from.as_ref().map(Spanned::span), "relay_from", tcp, in_bind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{listener, parse};

    #[test]
    fn listeners_are_bounded() {
        let text = |count: usize| -> String {
            (0..count).map(|index| format!("[listener.l{index}]\nkind = 'blackhole'\nbind = ':0'\n")).collect()
        };
        assert_eq!(parse(&text(limits::LISTENERS)).unwrap().listeners().len(), limits::LISTENERS);
        let errors = parse(&text(limits::LISTENERS + 1)).unwrap_err().to_string();
        assert_eq!(errors, "x:769:11: listener.l256: is beyond the number of listeners; at most 256");
    }

    #[test]
    fn trusted_netblocks_are_bounded() {
        let text = |count: usize| {
            let blocks: String = (0..count).map(|index| format!("'10.0.{}.{}',", index / 256, index % 256)).collect();
            listener(&format!("xclient = [{blocks}]"))
        };
        let most = limits::TRUSTED_NETBLOCKS;
        assert_eq!(parse(&text(most)).unwrap().listeners()[0].scopes().trusted().len(), most);
        let errors = parse(&text(most + 1)).unwrap_err().to_string();
        assert!(errors.ends_with(": listener.a.xclient: is beyond the number of netblocks of a listener; at most 256"));
    }

    #[test]
    fn a_proxy_names_the_peers_of_a_unix_socket() {
        let text = "[listener.a]\nkind = 'blackhole'\nbind = '/a'\nproxy_protocol = true\nxclient = '::1'\n";
        assert_eq!(parse(text).unwrap().listeners()[0].scopes().trusted().len(), 1);
    }

    #[test]
    fn lmtp_needs_no_list_of_extensions_but_a_port_of_its_own() {
        for lines in [
            "protocol = 'lmtp'",
            "protocol = 'lmtp'\nextensions = ['PIPELINING', 'ENHANCEDSTATUSCODES']",
            "extensions = ['CHUNKING', 'BINARYMIME']",
            "extensions = []",
        ] {
            assert!(parse(&listener(lines)).is_ok(), "{lines}");
        }
        let text = "[listener.a]\nkind = 'blackhole'\nprotocol = 'lmtp'\nbind = ['/25', ':24']\n";
        assert!(parse(text).is_ok());
    }

    #[test]
    fn real_mail_is_discarded_only_where_that_is_said() {
        let text =
            "[listener.a]\nkind = 'blackhole'\nbind = [':25', '[*]:587', '10.0.0.1:465']\ndiscards_mail = true\n";
        assert_eq!(parse(text).unwrap().sockets().count(), 3);
    }
}
