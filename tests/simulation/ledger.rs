//! The intake of the simulation: keeps what doors discard, and watches the production intake take over what they hand off.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::handoff::clock::Clock;
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::gather::Gather;
use crate::handoff::intake::{Arrived, Holding, Intake};
use crate::handoff::sleep::Bell;
use crate::mail::envelope::Route;
use crate::mail::manifest::Manifest;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::{Scope, Taking};
use crate::reactor::io::Time;
use crate::simulation::chance::Chance;
use crate::simulation::world::Network;
use crate::smtp::session::{Outcome, Point};

use super::answers::{self, Clerk, about_end};
use super::book::{self, Book, Message, Parcel, id};
use super::scenario::HandOff;
use super::sinks::Sinks;

/// A message that was handed to the intake.
#[derive(Clone, Debug)]
pub struct Handed {
    pub slot: u32,
    pub content: Vec<u8>,
    /// Its place in the book, if it is handed off.
    pub message: Option<usize>,
}

/// The production intake, and what is seen of it.
#[derive(Debug)]
pub struct Watched {
    pub gather: Gather,
    pub plan: HandOff,
    pub sinks: Rc<RefCell<Sinks>>,
    pub book: Rc<RefCell<Book>>,
    /// What wakes the shard.
    pub bell: OwnedFd,
    pub network: Network,
    /// Blocks in use.
    pub used: Used,
    /// Of messages under way: there was not memory enough for all that came.
    pub is_short: BTreeMap<u32, bool>,
    /// In this turn it was asked to the end what became of messages.
    pub has_listened: bool,
}

/// Blocks of memory in use, asked from outside.
#[derive(Clone)]
pub struct Used(pub Rc<dyn Fn() -> usize>);

impl std::fmt::Debug for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} blocks", (self.0)())
    }
}

/// Keeps everything.
#[derive(Debug)]
pub struct Ledger {
    pub clerk: Arc<Clerk>,
    pub open: BTreeMap<u32, Vec<u8>>,
    pub handed: Rc<RefCell<Vec<Handed>>>,
    pub watched: Option<Watched>,
}

impl Intake for Ledger {
    fn content(&mut self, scope: &Scope, slot: u32, piece: &[u8]) -> usize {
        assert!(!piece.is_empty(), "a piece of content is never empty");
        self.open.entry(slot).or_default().extend_from_slice(piece);
        match &mut self.watched {
            Some(watched) if scope.taking != Taking::Discard => watched.content(scope, slot, piece),
            _ => 0,
        }
    }

    fn abort(&mut self, slot: u32) {
        self.open.remove(&slot);
        if let Some(watched) = &mut self.watched {
            watched.is_short.remove(&slot);
            watched.gather.abort(slot);
        }
    }

    fn end(&mut self, arrived: &Arrived<'_>) -> Decision {
        let Arrived { ticket, ended: message, .. } = *arrived;
        let content = self.open.remove(&ticket.slot).unwrap_or_default();
        assert_eq!(content.len() as u64, message.content_octets, "the content of {ticket:?}");
        if let (Taking::HandOff(_), Some(watched)) = (arrived.scope.taking, &mut self.watched) {
            let (decision, message) = watched.end(arrived, &content);
            self.handed.borrow_mut().push(Handed { slot: ticket.slot, content, message: Some(message) });
            return decision;
        }
        let about = about_end(message.content_octets, message.recipients);
        self.handed.borrow_mut().push(Handed { slot: ticket.slot, content, message: None });
        self.clerk.decide(ticket, Point::EndOfData, about, message.recipients)
    }

    fn admits(&mut self, scope: &Scope, route: Route) -> bool {
        let Some(watched) = &mut self.watched else { return true };
        let admits = watched.gather.admits(scope, route);
        if !admits {
            watched.book.borrow_mut().refuse_recipient(route.0);
        }
        admits
    }

    fn give_up(&mut self, ticket: Ticket) {
        if let Some(watched) = &mut self.watched {
            let now = watched.network.now();
            watched.book.borrow_mut().give_up(ticket, now, watched.has_listened);
            watched.gather.give_up(ticket);
        }
    }

    fn hand_on(&mut self, now_ms: u64) {
        if let Some(watched) = &mut self.watched {
            watched.gather.hand_on(now_ms);
        }
    }

    fn owes_wakes(&mut self) -> bool {
        self.watched.as_mut().is_some_and(|watched| watched.gather.owes_wakes())
    }

    fn wake_consumers(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.gather.wake_consumers();
        }
    }

    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        let watched = self.watched.as_mut()?;
        let next = watched.gather.outcome();
        watched.has_listened = next.is_none();
        let (ticket, outcome) = next?;
        watched.book.borrow_mut().settle_later(ticket, &outcome);
        Some((ticket, outcome))
    }

    fn holding(&mut self) -> Holding {
        self.watched.as_mut().map_or(Holding::default(), |watched| watched.gather.holding())
    }

    fn announce_sleep(&mut self) -> bool {
        self.watched.as_mut().is_some_and(Watched::announce_sleep)
    }

    fn withdraw_sleep(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.gather.withdraw_sleep();
        }
    }
}

impl Watched {
    /// Between a shard that has this bell, and sinks as planned.
    pub fn new(plan: &HandOff, bell: Bell, rung: OwnedFd, network: &Network, chance: &Chance) -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let options = ExchangeOptions {
            node: book::NODE,
            epoch: book::EPOCH,
            shards: vec![bell],
            consumers: vec![1; plan.sinks.len()],
            blocks: plan.blocks,
            block_octets: plan.block_octets,
            letters: plan.letters,
            clock: Clock::set_by(Arc::clone(&clock)),
        };
        let (gathers, deliveries) = connect(&options).expect("the system has descriptors");
        let gather = gathers.into_iter().next().expect("there is one shard");
        let deliveries = deliveries.into_iter().flatten().collect();
        let book = Rc::new(RefCell::new(Book::new(plan.sinks.len(), plan.letters)));
        let sinks = Sinks::new(&plan.sinks, deliveries, Rc::clone(&book), clock, chance, network.now());
        Self {
            used: Used(Rc::new(gather.watch())),
            gather,
            plan: plan.clone(),
            sinks: Rc::new(RefCell::new(sinks)),
            book,
            bell: rung,
            network: network.clone(),
            is_short: BTreeMap::new(),
            has_listened: false,
        }
    }

    /// Whether so many octets more, in pieces or in one, may be more than there is memory for.
    fn is_short_for(&self, octets: usize) -> bool {
        let HandOff { blocks, block_octets, .. } = self.plan;
        (self.used.0)() + octets.div_ceil(block_octets) + 1 > blocks
    }

    fn content(&mut self, scope: &Scope, slot: u32, piece: &[u8]) -> usize {
        let is_short = self.is_short_for(piece.len());
        *self.is_short.entry(slot).or_default() |= is_short;
        self.gather.content(scope, slot, piece)
    }

    fn end(&mut self, arrived: &Arrived<'_>, content: &[u8]) -> (Decision, usize) {
        let Arrived { ticket, scope, ended, origin, at_ms } = *arrived;
        let Taking::HandOff(promise) = scope.taking else { unreachable!("who discards hands nothing off") };
        let record = ended.record.expect("who hands off keeps a record");
        let envelope = record.envelope().view();
        let mut parcels: Vec<Parcel> = Vec::new();
        for (place, recipient) in envelope.recipients().enumerate() {
            let route = recipient.route.0;
            let at = parcels.iter().position(|parcel| parcel.route == route).unwrap_or_else(|| {
                parcels.push(Parcel {
                    route,
                    places: Vec::new(),
                    words: Vec::new(),
                    came: 0,
                    is_out: false,
                    done_in: 0,
                });
                parcels.len() - 1
            });
            parcels[at].places.push(place);
            parcels[at].words.push(None);
        }
        let terms = scope.settings.terms();
        let wanted = Manifest {
            id: id(0),
            received_at_ms: at_ms,
            content_octets: content.len() as u64,
            recipients: envelope.recipients().count() as u32,
            marks: ended.marks,
            with: ended.with,
            origin,
            listener: &scope.listener,
            by: &terms.hostname,
            hello: record.hello(),
            envelope,
        };
        let mut manifest = Vec::new();
        wanted.encode(&mut manifest);
        let is_short = self.is_short.remove(&ticket.slot).unwrap_or(false) || self.is_short_for(manifest.len());
        let before = self.gather.last_sequence();
        let decision = self.gather.end(arrived);
        let sequence = Some(self.gather.last_sequence()).filter(|last| *last != before);
        let message = Message {
            ticket,
            promise,
            sequence,
            recipients: envelope.recipients().map(|recipient| answers::path(recipient.path)).collect(),
            parcels,
            content: content.to_vec(),
            manifest,
            said: None,
            given_up: false,
            ended_at: self.network.now(),
            said_at: Time::default(),
            answer_ms: scope.timeouts.answer_ms,
            had_to_wait: false,
        };
        let at = self.book.borrow_mut().enter(message, &decision, is_short);
        (decision, at)
    }

    /// Consumers act while the shard sleeps, too: then it is woken, or has nothing to do.
    fn announce_sleep(&mut self) -> bool {
        self.has_listened = false;
        if self.gather.announce_sleep() {
            return true;
        }
        if self.book.borrow().has_unheard() {
            self.book.borrow_mut().faults.push("the shard sleeps over what its sinks have said".to_owned());
        }
        self.has_rung();
        if !self.sinks.borrow_mut().act(self.network.now()) {
            return false;
        }
        if self.has_rung() {
            self.book.borrow_mut().tally.woken += 1;
            self.network.wake();
        } else if self.gather.announce_sleep() {
            self.book.borrow_mut().faults.push("nobody wakes the shard for what it has to do".to_owned());
        }
        false
    }

    /// Whether the shard was woken since this was asked last.
    fn has_rung(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_rung = poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0);
        has_rung && rustix::io::read(&self.bell, &mut [0; 8]).is_ok()
    }
}
