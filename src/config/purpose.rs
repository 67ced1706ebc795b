//! The rules between what a listener is for and what else is said of it: an MX says whom it takes mail for and where it
//! goes; a blackhole, which keeps none, says neither; nobody relays for strangers by accident (RELIABILITY "Open-relay defaults").

use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;

use super::address::is_local;
use super::error::{Mistake, Report};
use super::file::Listener;
use super::plan::{Durability, Kind, Protocol};
use super::rules::is_said;
use super::{netblock, vocabulary};
use crate::limits;
use crate::policy::recipients::{Action, Pattern};

/// Reports every breach.
pub(super) fn check(listener: &Listener, report: &Report<'_>) {
    let Some(kind) = listener.kind.as_ref().map(|kind| *kind.get_ref()) else { return };
    let said = Said { listener, report };
    said.refuse_durability(kind);
    match kind {
        Kind::Blackhole => {
            said.refuse_keys_of_kept_mail();
            said.refuse_disk_against_durability();
        }
        Kind::Public => {
            said.refuse_keys_of_a_blackhole("a public listener");
            said.require_sink();
            said.require_recipients();
            said.refuse_relay_from_on_public();
            said.refuse_trust_in_everyone();
            said.refuse_everyones_mail();
            said.refuse_lmtp_for_strangers();
        }
        Kind::Private => {
            said.refuse_keys_of_a_blackhole("a private listener");
            said.require_sink();
            said.refuse_relaying_for_everyone();
            said.refuse_trust_in_everyone();
            said.refuse_forged_peers();
        }
    }
    if kind != Kind::Blackhole {
        said.refuse_what_no_memory_holds();
    }
}

/// A listener as the file says it.
struct Said<'s> {
    listener: &'s Listener,
    report: &'s Report<'s>,
}

impl Said<'_> {
    fn refuse(&self, at: Option<Range<usize>>, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        if let Some(at) = at {
            self.report.add(at, format!("{}.{key}", self.listener.path), Mistake::new(wrong, right));
        }
    }

    fn refuse_durability(&self, kind: Kind) {
        let Some(said) = &self.listener.durability else { return };
        let word = vocabulary::DURABILITY.of(*said.get_ref());
        let (wrong, right) = match (kind, said.get_ref()) {
            (Kind::Blackhole, Durability::Discard | Durability::Durable) => return,
            (Kind::Blackhole, Durability::Written) => {
                let right = "\"durable\" writes to the disk before the 250; \"discard\" writes nothing";
                (format!("\"{word}\" on a blackhole would measure a copy within memory"), right)
            }
            (Kind::Blackhole, _) => {
                let right = "\"discard\" or \"durable\" is what a blackhole does; a listener of kind \"public\" or \"private\" keeps \
                             mail";
                (format!("\"{word}\" needs a sink, and a blackhole has none"), right)
            }
            (_, Durability::Discard) => {
                let right = "\"durable\", \"written\", \"memory\" or \"delivered\" is wanted, or kind = \"blackhole\"";
                (format!("\"{word}\" is for a blackhole, and this listener hands its mail to a sink"), right)
            }
            _ => return,
        };
        self.refuse(Some(said.span()), "durability", wrong, right);
    }

    fn refuse_keys_of_kept_mail(&self) {
        let listener = self.listener;
        let right = "no such key, or kind = \"public\" or \"private\"";
        for (key, at, why) in [
            ("recipients", span(&listener.recipients), "takes mail for everyone"),
            ("accept_any", span(&listener.accept_any), "takes mail for everyone"),
            ("relay_from", span(&listener.relay_from), "takes mail from everyone"),
            ("sink", span(&listener.sink), "keeps no mail"),
            ("route", listener.routes_at.clone(), "keeps no mail"),
        ] {
            self.refuse(at, key, format!("cannot stand on a blackhole, which {why}"), right);
        }
    }

    /// The key `disk` is another word for what `durability` says.
    fn refuse_disk_against_durability(&self) {
        let (Some(disk), Some(durability)) = (&self.listener.disk, &self.listener.durability) else { return };
        let meant = if *disk.get_ref() { Durability::Durable } else { Durability::Discard };
        if matches!(durability.get_ref(), Durability::Discard | Durability::Durable) && *durability.get_ref() != meant {
            let [meant, said] = [meant, *durability.get_ref()].map(|one| vocabulary::DURABILITY.of(one));
            let wrong =
                format!("{} is another word for durability = \"{meant}\", and that is \"{said}\"", disk.get_ref());
            self.refuse(Some(disk.span()), "disk", wrong, "one of the two keys is enough");
        }
    }

    fn refuse_keys_of_a_blackhole(&self, here: &str) {
        let listener = self.listener;
        for (key, at) in [("disk", span(&listener.disk)), ("discards_mail", span(&listener.discards_mail))] {
            let wrong = format!("cannot stand on {here}, which discards no mail");
            self.refuse(at, key, wrong, "no such key, or kind = \"blackhole\"");
        }
    }

    fn require_sink(&self) {
        if self.listener.sink.is_none() {
            let right = "such as sink = \"store\", with a table [sink.store]";
            self.refuse(Some(self.listener.at.clone()), "sink", "is missing", right);
        }
    }

    fn require_recipients(&self) {
        let right = "such as recipients = [\"example.net\"]";
        match &self.listener.recipients {
            None => self.refuse(Some(self.listener.at.clone()), "recipients", "is missing", right),
            Some(list) if list.get_ref().is_empty() && !self.report.has_found_within(&list.span()) => {
                self.refuse(Some(list.span()), "recipients", "an empty list cannot stand here", right);
            }
            Some(_) => {}
        }
    }

    fn refuse_relay_from_on_public(&self) {
        let wrong = "cannot stand on a public listener, which takes mail from everyone, for its recipients alone";
        self.refuse(span(&self.listener.relay_from), "relay_from", wrong, "no such key, or kind = \"private\"");
    }

    /// Whether other machines can reach it.
    fn is_open(&self) -> bool {
        self.listener.bind.iter().any(|bind| !is_local(bind.get_ref()))
    }

    fn refuse_everyones_mail(&self) {
        let Some(list) = &self.listener.recipients else { return };
        let everyone = Pattern::all();
        let takes_all = list
            .get_ref()
            .iter()
            .find(|entry| entry.get_ref().pattern == everyone && entry.get_ref().action == Action::Take);
        if self.is_open() && !is_said(&self.listener.accept_any, true) {
            let wrong = "\"ALL\" takes everyone's mail for everyone, where other machines can reach this listener";
            let right = "accept_any = true says that this is meant; recipients of your own are such as \"example.net\"";
            self.refuse(takes_all.map(Spanned::span), "recipients", wrong, right);
        }
    }

    /// RELIABILITY: LMTP has no queue between its peers, which are known to each other.
    fn refuse_lmtp_for_strangers(&self) {
        if is_said(&self.listener.protocol, Protocol::Lmtp) && self.is_open() {
            let wrong = "LMTP is spoken with peers that are known, and any machine can reach this listener";
            let right = "kind = \"private\" with relay_from, or a loopback address or a Unix socket in bind, is wanted";
            self.refuse(span(&self.listener.protocol), "protocol", wrong, right);
        }
    }

    fn refuse_relaying_for_everyone(&self) {
        if !is_said(&self.listener.accept_any, true) {
            let right =
                "netblocks of your own are wanted, such as \"10.0.0.0/8\"; accept_any = true says that this is meant";
            self.refuse_whole(&self.listener.relay_from, "relay_from", "lets everyone send mail to everyone", right);
        }
    }

    /// Who may use XCLIENT is served, and is whoever it says.
    fn refuse_trust_in_everyone(&self) {
        let right = "the addresses of proxies of your own are wanted, such as \"10.0.0.1\"";
        self.refuse_whole(&self.listener.xclient, "xclient", "lets everyone name itself as it likes", right);
    }

    /// Refuses netblocks that are together all of IPv4, or all of IPv6.
    fn refuse_whole(&self, said: &Option<Spanned<Vec<Spanned<IpNet>>>>, key: &str, wrong: &str, right: &str) {
        let Some(list) = said else { return };
        let blocks: Vec<IpNet> = list.get_ref().iter().map(|block| *block.get_ref()).collect();
        for whole in IpNet::aggregate(&blocks).into_iter().filter(|block| block.prefix_len() == 0) {
            let at = list.get_ref().iter().find(|block| *block.get_ref() == whole).map_or(list.span(), Spanned::span);
            self.refuse(Some(at), key, format!("\"{}\" {wrong}", netblock::written(&whole)), right);
        }
    }

    /// A PROXY header names the peer; who may send one could name itself a peer that is served.
    fn refuse_forged_peers(&self) {
        if is_said(&self.listener.proxy_protocol, true) && self.is_open() {
            let wrong = "any machine that reaches this listener could name itself one that is served";
            let right = "a loopback address or a Unix socket in bind, for the proxy alone, is wanted";
            self.refuse(span(&self.listener.proxy_protocol), "proxy_protocol", wrong, right);
        }
    }

    fn refuse_what_no_memory_holds(&self) {
        let said = self.listener.message_size_bytes.as_ref();
        let Some(said) = said.filter(|said| *said.get_ref() > limits::HANDED_OFF_MESSAGE_OCTETS) else { return };
        let wrong = format!("{} is more than a message can have that waits in memory for its sink", said.get_ref());
        let right = format!("at most {} bytes", limits::HANDED_OFF_MESSAGE_OCTETS);
        self.refuse(Some(said.span()), "message_size_bytes", wrong, right);
    }
}

fn span<T>(said: &Option<Spanned<T>>) -> Option<Range<usize>> {
    said.as_ref().map(Spanned::span)
}
