//! A message of the spool, as a tool sees it: what it is, how it waits, and where it lies.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mail::envelope::Recipient;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::mail::trace;
use crate::spool::deferred::order::{Verb, copy_print};
use crate::spool::format::Wait;
use crate::spool::scan::assembly::{self, Waiting};

/// How a message waits, or that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its sink has not had it yet.
    Active,
    /// Its sink refused it for now, and is asked again.
    Deferred,
    /// An operator holds it.
    Held,
    /// Delivering it went wrong too often: it may be its fault.
    Quarantined,
    /// Its sink refused it for good, or for too long.
    Dead,
    /// All its sinks have dealt with it; it lies there still.
    Delivered,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Active, Self::Deferred, Self::Held, Self::Quarantined, Self::Dead, Self::Delivered];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
        }
    }

    /// Whether it is still to be delivered, by itself or when an operator says so.
    pub fn waits(self) -> bool {
        self != Self::Delivered
    }

    /// Whether nothing happens to it unless an operator does something.
    pub fn is_aside(self) -> bool {
        matches!(self, Self::Held | Self::Quarantined | Self::Dead)
    }
}

/// Where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory of its log, below that of the spool.
    pub log: Arc<str>,
    /// The file with its end.
    pub segment: String,
    /// What its log says of it.
    pub record: assembly::Message,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How it waits.
    pub state: State,
    /// Where it lies.
    pub place: Place,
    /// Its manifest, which was read once without a fault.
    manifest: Vec<u8>,
    /// The sinks of its log, by the index of the route.
    sinks: Arc<[String]>,
    /// Routes by which it is still to go, in any order; `None`: by all that it has.
    pub(super) left: Option<Vec<u16>>,
    /// Recipients that are not: they lie in another log. Each with its sink.
    pub(super) elsewhere: BTreeSet<(Vec<u8>, String)>,
    /// What an operator has ordered, and is not carried out yet.
    pub ordered: Option<Verb>,
}

impl Message {
    /// `None`: that is no manifest.
    pub(super) fn new(state: State, place: Place, manifest: Vec<u8>, sinks: Arc<[String]>) -> Option<Self> {
        Manifest::decode(&manifest).ok()?;
        Some(Self { state, place, manifest, sinks, left: None, elsewhere: BTreeSet::new(), ordered: None })
    }

    /// Octets of its content.
    pub fn content_octets(&self) -> u64 {
        self.place.record.content_octets
    }

    /// Their CRC32C.
    pub fn content_crc(&self) -> u32 {
        self.place.record.content_crc
    }

    /// How it waits to be tried again; `None`: it was not deferred.
    pub fn wait(&self) -> Option<Wait<'_>> {
        self.place.record.waiting.as_ref().map(Waiting::wait)
    }

    /// What is known of it.
    pub fn manifest(&self) -> Manifest<'_> {
        Manifest::decode(&self.manifest).expect("it was read before")
    }

    /// What tells this copy of it from others.
    pub fn print(&self) -> u64 {
        let (attempts, since_ms) = self.wait().map_or((0, 0), |wait| (wait.attempts, wait.since_ms));
        copy_print(attempts, since_ms, &self.manifest)
    }

    /// Its name.
    pub fn id(&self) -> MessageId {
        self.manifest().id
    }

    /// The recipients that are left, each with the name of its sink.
    pub fn recipients(&self) -> impl Iterator<Item = (Recipient<'_>, &str)> {
        let is_left = |route: u16| self.left.as_ref().is_none_or(|left| left.contains(&route));
        let left = self.manifest().envelope.recipients().filter(move |recipient| is_left(recipient.route.0));
        let with_sinks = left.map(|recipient| {
            let sink = self.sinks.get(usize::from(recipient.route.0)).map_or("", String::as_str);
            (recipient, sink)
        });
        with_sinks
            .filter(|(recipient, sink)| self.elsewhere.is_empty() || !self.elsewhere.contains(&key(recipient, sink)))
    }
}

/// What tells a recipient of a message from others.
pub(super) fn key(recipient: &Recipient<'_>, sink: &str) -> (Vec<u8>, String) {
    let mut path = Vec::new();
    trace::write_delivered_to(recipient.path, &mut path);
    (path, sink.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::spool::tools::fixture::manifest;

    /// A message of two sinks, `store` and `hop`.
    pub fn message(state: State, from: &str, to: &[(&str, u16)], received_at_ms: u64) -> Message {
        let record = assembly::Message {
            number: 1,
            epoch: 1,
            sequence: 0,
            first: 0,
            block: 0,
            behind: 0,
            place: 0,
            retain: 0,
            content_octets: 5,
            content_crc: 0,
            extents: None,
            waiting: None,
        };
        let place = Place { log: "durable-0000".into(), segment: "0000.segment".into(), record };
        let sinks = ["store".to_owned(), "hop".to_owned()].into();
        Message::new(state, place, manifest(7, from, to, received_at_ms, b"text."), sinks).unwrap()
    }

    #[test]
    fn those_that_are_left_are_named_with_their_sinks() {
        let mut message =
            message(State::Active, "s@x.test", &[("a@ok.test", 0), ("b@ok.test", 1), ("c@ok.test", 7)], 0);
        let named = |message: &Message| {
            message.recipients().map(|(recipient, sink)| (recipient.route.0, sink.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(named(&message), [(0, "store".into()), (1, "hop".into()), (7, String::new())]);
        message.left = Some(vec![1]);
        assert_eq!(named(&message), [(1, "hop".into())]);
        let Message { place, sinks, .. } = message;
        assert_eq!(Message::new(State::Dead, place, b"none".to_vec(), sinks), None);
    }

    #[test]
    fn every_state_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = State::ALL.into_iter().map(State::name).collect();
        assert_eq!(names.len(), State::ALL.len());
        assert!(State::ALL.into_iter().filter(|state| state.is_aside()).all(State::waits));
    }
}
