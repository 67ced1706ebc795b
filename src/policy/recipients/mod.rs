//! Which recipients a listener takes, and where their mail goes: an ordered list, of which the first entry that matches
//! decides.
//!
//! *Invariants*: what no entry matches is refused; so is, where only a whole domain is taken, a local-part that may be meant as
//! an address elsewhere (`user%other`, `other!user`, `"user@other"`): nothing is relayed in any spelling. A postmaster is
//! always taken: alone, at the server's own name, and wherever some entry takes mail (RFC 5321 §4.5.1).
//!
//! *Does not* know whether a mailbox exists: whom a domain's entry takes, its sink may refuse.

mod key;
mod list;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;

pub use pattern::{BadPattern, Pattern};

use self::key::Key;
use self::list::List;
use self::pattern::Breadth;
use crate::mail::address::Path;
use crate::mail::envelope::Route;
use crate::policy::decision::{Asked, Decision, Policy};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Question};

/// What an entry does with the recipients that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Takes their mail.
    Take,
    /// 550 5.1.1: there is no such recipient.
    RefuseUnknown,
    /// 556 5.1.10: the domain takes no mail (RFC 7504, RFC 7505).
    RefuseDomain,
    /// 450 4.2.1: not now.
    RefuseForNow,
}

impl Action {
    /// The reply with which it refuses.
    pub fn refusal(self) -> Option<Reply> {
        match self {
            Self::Take => None,
            Self::RefuseUnknown => Some(Reply::UnknownRecipient),
            Self::RefuseDomain => Some(Reply::NoMailAccepted),
            Self::RefuseForNow => Some(Reply::RecipientLater),
        }
    }
}

/// Why an entry or a route would never be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Idle {
    /// Another before it matches all that it does, and does something else, or is the same.
    #[error("what number {0} (from 0) matches before it is all that it could")]
    Behind(usize),
    /// A postmaster is not refused.
    #[error("a postmaster is always taken (RFC 5321 §4.5.1)")]
    Postmaster,
}

/// See the module.
pub struct Recipients {
    entries: List,
    /// Of each entry.
    actions: Vec<Action>,
    /// Hosts whose postmaster is taken.
    served: List,
    routes: List,
    /// Of each pattern of a route.
    sinks: Vec<Route>,
    /// Where mail goes for which there is no route.
    sink: Route,
    /// The server's own name, as keys have it: the host of a recipient that has none.
    hostname: Box<[u8]>,
}

impl Recipients {
    /// Takes nobody but the postmaster of the server, named `hostname`. Mail goes to `sink` where no route says otherwise.
    pub fn new(hostname: &str, sink: Route) -> Self {
        let hostname: Box<[u8]> = Key::of(b"", hostname.as_bytes()).map_or_else(Box::default, |key| key.host().into());
        let mut served = List::default();
        served.insert_host(&hostname, 0);
        Self {
            entries: List::default(),
            actions: Vec::new(),
            served,
            routes: List::default(),
            sinks: Vec::new(),
            sink,
            hostname,
        }
    }

    /// Adds an entry behind the others; their numbers count from 0, and one that would never be used has none.
    pub fn add(&mut self, pattern: &Pattern, action: Action) -> Result<(), Idle> {
        if action != Action::Take && pattern.is_postmaster() {
            return Err(Idle::Postmaster);
        }
        let counts = |place, breadth| self.counts(place, breadth, pattern.seeks_relay());
        let covering = self.entries.covering(pattern, counts).filter(|first| self.actions[*first] != action);
        let place = self.actions.len();
        covering.map_or(Ok(()), Err).and_then(|()| self.entries.insert(pattern, place)).map_err(Idle::Behind)?;
        self.actions.push(action);
        if let (Action::Take, Some(host)) = (action, pattern.host()) {
            self.served.insert_host(host, place);
        }
        Ok(())
    }

    /// Adds a route behind the others: mail of the recipients that it matches, and that are taken, goes to `sink`. Numbers count
    /// as those of entries.
    pub fn route(&mut self, pattern: &Pattern, sink: Route) -> Result<(), Idle> {
        let covering = self.routes.covering(pattern, |_, _| true).filter(|first| self.sinks[*first] != sink);
        let place = self.sinks.len();
        covering.map_or(Ok(()), Err).and_then(|()| self.routes.insert(pattern, place)).map_err(Idle::Behind)?;
        self.sinks.push(sink);
        Ok(())
    }

    /// What RCPT for this recipient is answered: [`Outcome::AcceptFor`] or [`Outcome::Refuse`].
    ///
    /// COST: a look-up for each kind of pattern that there is, and for each domain above the recipient's.
    pub fn answer(&self, recipient: Path<'_>) -> Outcome {
        let key = match recipient {
            Path::Null => None,
            Path::Local(local_part) => Key::of(local_part, &self.hostname),
            Path::Mailbox(mailbox) => Key::of(mailbox.local_part, mailbox.domain),
        };
        let Some(key) = key else { return Outcome::Refuse(Reply::BadForwardPath) };
        let entry = self.entries.first(&key, |place, breadth| self.counts(place, breadth, key.seeks_relay()));
        let refusal = match entry {
            Some(entry) => self.actions[entry].refusal(),
            // Of a host that is served this one is not known; of another nobody is.
            None if self.served.has_host(key.host()) && !key.seeks_relay() => Some(Reply::UnknownRecipient),
            None => Some(Reply::RelayDenied),
        };
        match refusal {
            Some(reply) if !(key.is_postmaster() && self.served.has_host(key.host())) => Outcome::Refuse(reply),
            _ => Outcome::AcceptFor(self.route_of(&key)),
        }
    }

    /// A whole domain takes no local-part that may be meant for elsewhere.
    fn counts(&self, place: usize, breadth: Breadth, seeks_relay: bool) -> bool {
        let is_whole_domain = matches!(breadth, Breadth::Host | Breadth::Subdomains);
        !(seeks_relay && is_whole_domain && self.actions[place] == Action::Take)
    }

    fn route_of(&self, key: &Key) -> Route {
        self.routes.first(key, |_, _| true).map_or(self.sink, |place| self.sinks[place])
    }
}

/// Decides at RCPT; accepts the rest.
impl Policy for Recipients {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        Decision::Now(match asked.question {
            Question::Rcpt(rcpt) => self.answer(rcpt.forward_path),
            _ => Outcome::Accept,
        })
    }
}

/// In short: there may be millions of entries.
impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = (self.actions.len(), self.sinks.len());
        write!(f, "Recipients {{ {} entries, {} patterns of routes }}", numbers.0, numbers.1)
    }
}
