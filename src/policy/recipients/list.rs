//! An ordered list of patterns, of which the first that matches an address is found by a few look-ups, however long it is.
//!
//! *Why this way*: an address is matched by its mailbox, its local-part, its host, each domain above its host, and all: so
//! each of those is looked up, and the smallest place is the first match. Nothing is allocated for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::key::Key;
use super::pattern::{Breadth, Pattern};

/// See the module.
#[derive(Default)]
pub(super) struct List {
    /// The place of each pattern, by its key; kinds of patterns differ in the signs of their keys.
    places: HashMap<Box<[u8]>, usize>,
    /// That of the pattern of everyone.
    all: Option<usize>,
    has_users: bool,
    has_mailboxes: bool,
    /// Most labels of a domain whose subdomains match: no longer ending of a host is looked up.
    deepest: usize,
}

impl List {
    /// Adds a pattern, unless it is there already: the place that it has is given back then.
    pub(super) fn insert(&mut self, pattern: &Pattern, place: usize) -> Result<(), usize> {
        match pattern.breadth() {
            Breadth::All => match self.all {
                Some(first) => return Err(first),
                None => {
                    self.all = Some(place);
                    return Ok(());
                }
            },
            Breadth::Host => {}
            Breadth::Subdomains => self.deepest = self.deepest.max(memchr::memchr_iter(b'.', pattern.key()).count()),
            Breadth::User => self.has_users = true,
            Breadth::Mailbox => self.has_mailboxes = true,
        }
        self.insert_key(pattern.key(), place)
    }

    /// Adds a host, or with a dot before it the subdomains of one.
    pub(super) fn insert_host(&mut self, host: &[u8], place: usize) {
        if host.starts_with(b".") {
            self.deepest = self.deepest.max(memchr::memchr_iter(b'.', host).count());
        }
        // Once is enough.
        let _ = self.insert_key(host, place);
    }

    fn insert_key(&mut self, key: &[u8], place: usize) -> Result<(), usize> {
        match self.places.entry(key.into()) {
            Entry::Occupied(first) => Err(*first.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(place);
                Ok(())
            }
        }
    }

    /// The place of the first pattern that matches the address, of those that `counts` for it.
    pub(super) fn first(&self, address: &Key, counts: impl Fn(usize, Breadth) -> bool) -> Option<usize> {
        let mut first = First { place: None, counts };
        if self.has_mailboxes {
            first.offer(self.places.get(address.mailbox()), Breadth::Mailbox);
        }
        if self.has_users {
            first.offer(self.places.get(address.user()), Breadth::User);
        }
        self.offer_hosts(address.host(), &mut first);
        first.offer(self.all.as_ref(), Breadth::All);
        first.place
    }

    /// The place of the first pattern that matches all that this one does, of those that `counts` for it.
    pub(super) fn covering(&self, pattern: &Pattern, counts: impl Fn(usize, Breadth) -> bool) -> Option<usize> {
        let mut first = First { place: None, counts };
        first.offer(self.all.as_ref(), Breadth::All);
        match pattern.breadth() {
            Breadth::All => {}
            Breadth::User => first.offer(self.places.get(pattern.key()), Breadth::User),
            Breadth::Host => self.offer_hosts(pattern.key(), &mut first),
            Breadth::Subdomains => self.offer_endings(pattern.key(), &mut first),
            Breadth::Mailbox => {
                let sign = memchr::memrchr(b'@', pattern.key()).unwrap_or_default();
                first.offer(self.places.get(pattern.key()), Breadth::Mailbox);
                first.offer(self.places.get(&pattern.key()[..=sign]), Breadth::User);
                self.offer_hosts(&pattern.key()[sign + 1..], &mut first);
            }
        }
        first.place
    }

    /// Whether it has the host, or the subdomains of a domain above it.
    pub(super) fn has_host(&self, host: &[u8]) -> bool {
        let mut first = First { place: None, counts: |_, _| true };
        self.offer_hosts(host, &mut first);
        first.place.is_some()
    }

    fn offer_hosts(&self, host: &[u8], first: &mut First<impl Fn(usize, Breadth) -> bool>) {
        first.offer(self.places.get(host), Breadth::Host);
        self.offer_endings(host, first);
    }

    /// Looks up the endings of a host that begin with a dot, the shortest first.
    fn offer_endings(&self, host: &[u8], first: &mut First<impl Fn(usize, Breadth) -> bool>) {
        for at in memchr::memrchr_iter(b'.', host).take(self.deepest) {
            first.offer(self.places.get(&host[at..]), Breadth::Subdomains);
        }
    }
}

/// The smallest place so far.
struct First<C> {
    place: Option<usize>,
    counts: C,
}

impl<C: Fn(usize, Breadth) -> bool> First<C> {
    fn offer(&mut self, place: Option<&usize>, breadth: Breadth) {
        if let Some(place) = place.copied()
            && self.place.is_none_or(|first| place < first)
            && (self.counts)(place, breadth)
        {
            self.place = Some(place);
        }
    }
}
