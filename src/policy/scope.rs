//! A resolved scope: everything that a connection needs to know, immutable and shared by all that resolve to it; and the
//! scopes of a listener, among which a connection's is found by its peer.
//!
//! *Does not* know where a peer's address comes from: a socket, or a PROXY header.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::decision::{DenyAccess, Policy};
use crate::smtp::extension::Extension;
use crate::smtp::settings::{Settings, Terms};

/// The times that a connection is given, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Without a received octet: 421 4.4.2.
    pub idle_ms: u64,
    /// For one whole transaction; `None` is no limit.
    pub transaction_ms: Option<u64>,
    /// Before the greeting; a client that speaks in it is refused. 0 is no pause and no check.
    pub greet_pause_ms: u64,
    /// For the answer to a question that the session waits for: 451.
    pub answer_ms: u64,
}

/// What becomes of a message that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It is thrown away.
    Discard,
    /// It is written as durable mail is, and then thrown away: a benchmark of the disk.
    WriteAndDiscard,
    /// It is handed off to the sinks that its recipients' routes name.
    HandOff(Promise),
}

impl Taking {
    /// Whether it goes through a log of the spool.
    pub fn is_logged(self) -> bool {
        match self {
            Self::WriteAndDiscard | Self::HandOff(Promise::Written | Promise::Durable) => true,
            Self::Discard | Self::HandOff(Promise::Memory | Promise::Delivered) => false,
        }
    }
}

/// What the 250 at the end of mail data means for a message that is handed off (DESIGN decision 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It is in a sink's queue, in memory.
    Memory,
    /// The sinks have it: the reply is theirs, for each recipient.
    Delivered,
    /// It is in the spool, as far as the kernel is concerned: it survives this process.
    Written,
    /// It is in the spool, on stable storage: it survives the power, too.
    Durable,
}

/// What a connection of one listener (later: of one peer, one certificate, one identity) is held to.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The listener's name in the configuration.
    pub listener: String,
    /// What its session obeys.
    pub settings: Settings,
    /// The times that it is given.
    pub timeouts: Timeouts,
    /// A PROXY header is required before anything else, and must be there whole within so many ms; `None`: it is not
    /// looked for. It tells who the peer is, so it is the same in all scopes of a listener.
    pub proxy_timeout_ms: Option<u64>,
    /// What becomes of its mail.
    pub taking: Taking,
    /// Whether the CRC32C of the content of each message that is taken is added up, for a client that wants to know whether
    /// what it sent is what arrived.
    pub sums_content: bool,
    /// Peers for whom a proxy may speak beside those of this machine; `None`: everyone.
    pub served: Option<Arc<[IpNet]>>,
    /// Who decides about its mail.
    pub policy: Arc<dyn Policy>,
}

impl Scope {
    /// Whether mail of this peer is taken here, if somebody who may speaks for it; nobody in particular is on a Unix socket.
    pub fn serves(&self, peer: Option<IpAddr>) -> bool {
        let serves =
            |served: &[IpNet], peer: IpAddr| peer.is_loopback() || served.iter().any(|block| block.contains(&peer));
        let (Some(served), Some(peer)) = (&self.served, peer) else { return true };
        serves(served, peer.to_canonical())
    }
}

/// The scopes of one listener: the one place where a connection's scope is found.
#[derive(Debug)]
pub struct Scopes {
    everyone: Arc<Scope>,
    trusted: Option<Trusted>,
    /// Of peers that are not served: that of everyone, but greeted with 554.
    strangers: Option<Arc<Scope>>,
}

/// Peers that may say on whose behalf they speak.
#[derive(Debug)]
struct Trusted {
    /// At least one, at most [`TRUSTED_NETBLOCKS`](crate::limits::TRUSTED_NETBLOCKS).
    netblocks: Vec<IpNet>,
    /// That of everyone, with XCLIENT.
    scope: Arc<Scope>,
}

impl Scopes {
    /// `everyone` for every peer, with XCLIENT offered to those in `trusted`.
    pub fn new(everyone: Scope, trusted: Vec<IpNet>) -> Self {
        let with_xclient = || {
            let terms = everyone.settings.terms();
            let extensions = terms.extensions.with(Extension::Xclient);
            Scope { settings: Settings::new(Terms { extensions, ..terms.clone() }), ..everyone.clone() }
        };
        let scope = (!trusted.is_empty()).then(with_xclient);
        Self {
            trusted: scope.map(|scope| Trusted { netblocks: trusted, scope: Arc::new(scope) }),
            everyone: Arc::new(everyone),
            strangers: None,
        }
    }

    /// The same, for peers in `served` alone, and those of this machine: loopback, and Unix sockets. Who may say on whose behalf
    /// it speaks is served, too.
    pub fn serving(self, served: Vec<IpNet>) -> Self {
        let served: Option<Arc<[IpNet]>> = Some(served.into());
        let serving = |scope: &Arc<Scope>| Arc::new(Scope { served: served.clone(), ..Scope::clone(scope) });
        let strangers = Scope { policy: Arc::new(DenyAccess), ..Scope::clone(&self.everyone) };
        Self {
            everyone: serving(&self.everyone),
            trusted: self.trusted.map(|trusted| Trusted { scope: serving(&trusted.scope), ..trusted }),
            strangers: Some(Arc::new(strangers)),
        }
    }

    /// What a connection of this peer is held to. The peer is who a PROXY header names, where one does, or else the other end
    /// of the socket. `None`, as on a Unix socket, is nobody in particular, and never trusted. An IPv4 address in the form of
    /// an IPv6 one is the IPv4 address.
    pub fn of(&self, peer: Option<IpAddr>) -> &Arc<Scope> {
        let peer = peer.map(|peer| peer.to_canonical());
        match (&self.trusted, peer) {
            (Some(trusted), Some(peer)) if trusted.netblocks.iter().any(|block| block.contains(&peer)) => {
                &trusted.scope
            }
            (_, peer) => match &self.strangers {
                Some(strangers) if !self.everyone.serves(peer) => strangers,
                _ => &self.everyone,
            },
        }
    }

    /// The peers that are served beside those of this machine; `None`: everyone is.
    pub fn served(&self) -> Option<&[IpNet]> {
        self.everyone.served.as_deref()
    }

    /// Who is offered XCLIENT.
    pub fn trusted(&self) -> &[IpNet] {
        self.trusted.as_ref().map_or(&[], |trusted| &trusted.netblocks)
    }

    /// The same, sharing no count of references: each shard has scopes of its own.
    pub fn unshared(&self) -> Self {
        let unshared = |scope: &Arc<Scope>| Arc::new(Scope::clone(scope));
        Self {
            everyone: unshared(&self.everyone),
            trusted: self
                .trusted
                .as_ref()
                .map(|Trusted { netblocks, scope }| Trusted { netblocks: netblocks.clone(), scope: unshared(scope) }),
            strangers: self.strangers.as_ref().map(unshared),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decision::{AcceptAll, Asked, Decision, Ticket};
    use crate::smtp::reply::Reply;
    use crate::smtp::session::{Outcome, Question};

    fn scopes(trusted: &[&str]) -> Scopes {
        let timeouts = Timeouts { idle_ms: 1, transaction_ms: None, greet_pause_ms: 2, answer_ms: 3 };
        let everyone = Scope {
            listener: "a".into(),
            settings: Settings::new(Terms::public("mx.test")),
            timeouts,
            proxy_timeout_ms: Some(4),
            taking: Taking::Discard,
            sums_content: true,
            served: None,
            policy: Arc::new(AcceptAll),
        };
        Scopes::new(everyone, trusted.iter().map(|block| block.parse().unwrap()).collect())
    }

    fn is_trusted(scopes: &Scopes, peer: &str) -> bool {
        scopes.of(Some(peer.parse().unwrap())).settings.terms().extensions.has(Extension::Xclient)
    }

    #[test]
    fn xclient_is_offered_to_trusted_peers_alone() {
        let scopes = scopes(&["127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32"]);
        for scopes in [&scopes, &scopes.unshared()] {
            for peer in ["127.0.0.1", "10.255.0.1", "2001:db8:ffff::1", "::ffff:10.1.2.3", "::ffff:127.0.0.1"] {
                assert!(is_trusted(scopes, peer), "{peer}");
            }
            for peer in ["127.0.0.2", "11.0.0.0", "9.255.255.255", "::1", "2001:db9::", "::10.0.0.1", "::ffff:11.0.0.1"]
            {
                assert!(!is_trusted(scopes, peer), "{peer}");
            }
            assert!(!scopes.of(None).settings.terms().extensions.has(Extension::Xclient));
        }
    }

    #[test]
    fn all_of_one_family_are_not_all_of_the_other() {
        for (block, peer, other) in [("0.0.0.0/0", "::ffff:1.2.3.4", "2001:db8::1"), ("::/0", "2001:db8::1", "1.2.3.4")]
        {
            let scopes = scopes(&[block]);
            assert!(is_trusted(&scopes, peer) && !is_trusted(&scopes, other), "{block}");
        }
    }

    #[test]
    fn scopes_of_one_listener_differ_in_nothing_else() {
        let scopes = scopes(&["127.0.0.1/32"]);
        let (everyone, trusted) = (scopes.of(None), scopes.of(Some([127, 0, 0, 1].into())));
        let terms = |scope: &Scope| Terms { extensions: Default::default(), ..scope.settings.terms().clone() };
        assert_eq!(terms(everyone), terms(trusted));
        assert_eq!(
            everyone.settings.terms().extensions,
            trusted.settings.terms().extensions.without(Extension::Xclient)
        );
        assert_eq!((&everyone.listener, everyone.timeouts), (&trusted.listener, trusted.timeouts));
        assert_eq!((everyone.proxy_timeout_ms, trusted.proxy_timeout_ms), (Some(4), Some(4)));
        assert!(everyone.sums_content && trusted.sums_content);
        assert!(Arc::ptr_eq(&everyone.policy, &trusted.policy));
    }

    #[test]
    fn strangers_are_refused_at_the_greeting() {
        let serving = |served: &[&str]| {
            let served = served.iter().map(|block| block.parse().unwrap()).collect();
            scopes(&["192.0.2.0/24"]).serving(served)
        };
        let ticket = Ticket { shard: 0, slot: 0, generation: 0, question: 0 };
        let greeting = |scope: &Scope| scope.policy.decide(&Asked { question: Question::Connect, ticket, random: 0 });
        let (accepted, denied) = (Outcome::Accept, Outcome::Refuse(Reply::AccessDenied));
        let some = serving(&["10.0.0.0/8", "2001:db8::/32"]);
        for scopes in [&some, &some.unshared()] {
            for peer in
                ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
            {
                assert_eq!(greeting(scopes.of(Some(peer.parse().unwrap()))), Decision::Now(accepted.clone()), "{peer}");
            }
            for peer in ["11.0.0.1", "9.255.255.255", "2001:db9::1", "::ffff:11.0.0.1", "::10.0.0.1", "0.0.0.0", "::"] {
                assert_eq!(greeting(scopes.of(Some(peer.parse().unwrap()))), Decision::Now(denied.clone()), "{peer}");
            }
            assert_eq!(greeting(scopes.of(None)), Decision::Now(accepted.clone()), "a Unix socket");
            assert!(is_trusted(scopes, "192.0.2.1") && !is_trusted(scopes, "10.1.2.3"));
            assert_eq!(scopes.served().map(<[IpNet]>::len), Some(2));
            let (everyone, strangers) = (scopes.of(None), scopes.of(Some([11, 0, 0, 1].into())));
            assert_eq!(everyone.settings, strangers.settings);
        }
        let nobody = serving(&[]);
        assert_eq!(greeting(nobody.of(Some([10, 0, 0, 1].into()))), Decision::Now(denied));
        assert_eq!(greeting(nobody.of(Some([127, 0, 0, 1].into()))), Decision::Now(accepted));
        assert_eq!(scopes(&[]).served(), None);
    }

    #[test]
    fn without_trust_there_is_one_scope() {
        let scopes = scopes(&[]);
        assert!(Arc::ptr_eq(scopes.of(None), scopes.of(Some([127, 0, 0, 1].into()))));
        assert_eq!(scopes.trusted(), []);
    }
}
