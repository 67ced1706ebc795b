//! The rules between values: each address once, bounded numbers, no real mail into a blackhole by accident, no option
//! where it cannot stand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use toml::Spanned;

use super::address::{is_local, port};
use super::error::{Mistake, Report};
use super::file::Listener;
use super::plan::Kind;
use crate::limits;
use crate::reactor::listening::Bind;

/// Ports to which other hosts and users send real mail: SMTP, submission over TLS, submission.
const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// Reports every breach.
pub(super) fn check(listeners: &[Listener], report: &Report<'_>) {
    refuse_too_many(listeners, report);
    refuse_clashes(listeners, report);
    for listener in listeners {
        refuse_real_mail(listener, report);
        refuse_idle_options(listener, report);
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

/// Refuses a blackhole where real mail arrives, unless it says that it discards it.
fn refuse_real_mail(listener: &Listener, report: &Report<'_>) {
    let blackhole = listener.kind.as_ref().is_some_and(|kind| *kind.get_ref() == Kind::Blackhole);
    if !blackhole || listener.discards_mail.as_ref().is_some_and(|said| *said.get_ref()) {
        return;
    }
    for bind in &listener.bind {
        let address = bind.get_ref();
        if !is_local(address) && port(address).is_some_and(|port| MAIL_PORTS.contains(&port)) {
            let wrong = format!("real mail can arrive at \"{address}\", where this blackhole would accept and lose it");
            let mistake = Mistake::new(wrong, "discards_mail = true says that this is meant");
            report.add(bind.span(), format!("{}.bind", listener.path), mistake);
        }
    }
}

/// Refuses options of the listener's own that none of its addresses has a use for.
fn refuse_idle_options(listener: &Listener, report: &Report<'_>) {
    let is_unix = |bind: &Spanned<Bind>| matches!(bind.get_ref(), Bind::Unix(_));
    let refuse = |at: Option<Range<usize>>, key: &str, family: &str| {
        if let Some(at) = at {
            let mistake =
                Mistake::new(format!("has no use without {family}"), format!("{family} in bind, or no such key"));
            report.add(at, format!("{}.socket.{key}", listener.path), mistake);
        }
    };
    let socket = &listener.socket;
    if listener.bind.is_empty() {
        return;
    }
    if !listener.bind.iter().any(is_unix) {
        refuse(socket.file_mode.as_ref().map(Spanned::span), "file_mode", "a Unix socket");
    }
    if listener.bind.iter().all(is_unix) {
        refuse(socket.reuse_port.as_ref().map(Spanned::span), "reuse_port", "a TCP address");
        refuse(socket.no_delay.as_ref().map(Spanned::span), "no_delay", "a TCP address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

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
    fn real_mail_is_discarded_only_where_that_is_said() {
        let text =
            "[listener.a]\nkind = 'blackhole'\nbind = [':25', '[*]:587', '10.0.0.1:465']\ndiscards_mail = true\n";
        assert_eq!(parse(text).unwrap().sockets().count(), 3);
    }
}
