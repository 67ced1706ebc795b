//! The intake of the simulation: keeps what doors discard, and watches the production intake take over what they hand off.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::handoff::clock::Clock;
use crate::handoff::consumer::Deliveries;
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::intake::{Arrived, Holding, Intake, LogCounts};
use crate::handoff::sleep::Bell;
use crate::mail::envelope::Route;
use crate::mail::manifest::Manifest;
use crate::memory::write::Write;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::{Scope, Taking};
use crate::reactor::io::Time;
use crate::simulation::chance::Chance;
use crate::simulation::world::Network;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point};
use crate::spool::intake::Spooler;

use super::answers::{self, Clerk, about_end};
use super::book::{self, Book, Message, Parcel, id};
use super::scenario::{HandOff, Scenario};
use super::sinks::Sinks;
use super::spool::log_of;
use super::spool::rig::{Parts, Rig};

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
    pub spooler: Spooler,
    /// What its logs stand on, if it has some.
    pub rig: Option<Rc<RefCell<Rig>>>,
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
            watched.spooler.abort(slot);
        }
    }

    fn end(&mut self, arrived: &Arrived<'_>) -> Decision {
        let Arrived { ticket, ended: message, .. } = *arrived;
        let content = self.open.remove(&ticket.slot).unwrap_or_default();
        assert_eq!(content.len() as u64, message.content_octets, "the content of {ticket:?}");
        if arrived.scope.taking != Taking::Discard
            && let Some(watched) = &mut self.watched
        {
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
        let admits = watched.spooler.admits(scope, route);
        if !admits {
            watched.book.borrow_mut().refuse_recipient(route.0);
        }
        admits
    }

    fn give_up(&mut self, ticket: Ticket) {
        if let Some(watched) = &mut self.watched {
            let now = watched.network.now();
            watched.book.borrow_mut().give_up(ticket, now, watched.has_listened);
            watched.spooler.give_up(ticket);
        }
    }

    fn refuses(&mut self, scope: &Scope) -> Option<Reply> {
        let watched = self.watched.as_mut()?;
        let reply = watched.spooler.refuses(scope)?;
        let mut book = watched.book.borrow_mut();
        match log_of(scope.taking) {
            Some(log) => book.turn_away(log, reply),
            None => book.faults.push(format!("{:?} has no log, and takes nothing: {reply:?}", scope.taking)),
        }
        Some(reply)
    }

    fn is_refusing(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.spooler.is_refusing())
    }

    fn hand_on(&mut self, now_ms: u64) {
        if let Some(watched) = &mut self.watched {
            watched.note_memory();
            watched.spooler.hand_on(now_ms);
            if let Some(rig) = &watched.rig {
                rig.borrow_mut().note_hung(now_ms);
            }
            watched.note_memory();
        }
    }

    fn owes_wakes(&mut self) -> bool {
        self.watched.as_mut().is_some_and(|watched| watched.spooler.owes_wakes())
    }

    fn wake_consumers(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.spooler.wake_consumers();
        }
    }

    fn write(&mut self) -> Option<(u32, Write)> {
        let watched = self.watched.as_mut()?;
        let (number, write) = watched.spooler.write()?;
        if let Some(rig) = &watched.rig {
            rig.borrow().witness.offered(number, &write);
        }
        Some((number, write))
    }

    fn written(&mut self, number: u32, result: Result<u32, Errno>) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(rig) = &watched.rig {
            rig.borrow().witness.told(number, result);
        }
        watched.spooler.written(number, result);
        watched.note_memory();
    }

    fn next_time_ms(&self) -> Option<u64> {
        self.watched.as_ref()?.spooler.next_time_ms()
    }

    fn log_counts(&self) -> LogCounts {
        self.watched.as_ref().map_or(LogCounts::default(), |watched| watched.spooler.log_counts())
    }

    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        let watched = self.watched.as_mut()?;
        let next = watched.spooler.outcome();
        watched.has_listened = next.is_none();
        let (ticket, outcome) = next?;
        watched.settle(ticket, &outcome);
        Some((ticket, outcome))
    }

    fn holding(&mut self) -> Holding {
        self.watched.as_mut().map_or(Holding::default(), |watched| watched.spooler.holding())
    }

    fn announce_sleep(&mut self) -> bool {
        self.watched.as_mut().is_some_and(Watched::announce_sleep)
    }

    fn withdraw_sleep(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.spooler.withdraw_sleep();
        }
    }
}

impl Watched {
    /// Between a shard that has this bell, and sinks as planned.
    pub fn new(
        scenario: &Scenario,
        plan: &HandOff,
        bell: Bell,
        rung: OwnedFd,
        network: &Network,
        chance: &Chance,
    ) -> Self {
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
        let mut deliveries: Vec<Deliveries> = deliveries.into_iter().flatten().collect();
        let used = Used(Rc::new(gather.watch()));
        let book = Rc::new(RefCell::new(Book::new(plan.sinks.len(), plan.letters, plan.blocks)));
        let takings: Vec<Taking> = scenario.plans.iter().flat_map(|plan| &plan.doors).map(|door| door.taking).collect();
        let (rig, spooler) = match &plan.spool {
            None => (None, Spooler::new(0, gather, |_, _| None)),
            Some(plan) => {
                let slack = (scenario.slack_ms(), scenario.has_odd_time());
                let parts = Parts { plan, takings: &takings, book: &book, network, chance, slack };
                let (rig, spooler) = Rig::new(&parts, gather, &mut deliveries);
                (Some(Rc::new(RefCell::new(rig))), spooler)
            }
        };
        let sinks = Sinks::new(&plan.sinks, deliveries, Rc::clone(&book), clock, chance, network.now());
        Self {
            used,
            spooler,
            rig,
            plan: plan.clone(),
            sinks: Rc::new(RefCell::new(sinks)),
            book,
            bell: rung,
            network: network.clone(),
            is_short: BTreeMap::new(),
            has_listened: false,
        }
    }

    fn note_memory(&self) {
        let mut book = self.book.borrow_mut();
        book.blocks_used = book.blocks_used.max((self.used.0)());
    }

    /// The intake has said what became of a message.
    fn settle(&self, ticket: Ticket, outcome: &Outcome) {
        let at = self.book.borrow_mut().settle_later(ticket, outcome);
        let (Some(at), Some(rig)) = (at, &self.rig) else { return };
        let witness = rig.borrow().witness.clone();
        let (log, sequence) = {
            let book = self.book.borrow();
            (book.messages[at].log(), book.messages[at].sequence)
        };
        let (Some(log), Some(sequence)) = (log, sequence) else { return };
        match outcome {
            Outcome::AcceptAs(_) if !witness.is_safe(log, sequence) => {
                self.book
                    .borrow_mut()
                    .faults
                    .push(format!("message {at} is acknowledged, and not all of it is written"));
            }
            Outcome::AcceptAs(_) => witness.pass(),
            _ => witness.forget(sequence),
        }
    }

    /// Whether so many octets more, in pieces or in one, may be more than there is memory for.
    fn is_short_for(&self, octets: usize) -> bool {
        let HandOff { blocks, block_octets, .. } = self.plan;
        let of_logs =
            if self.rig.is_some() { self.book.borrow().logs.iter().filter(|log| log.is_there).count() } else { 0 };
        (self.used.0)() + octets.div_ceil(block_octets) + 1 + 2 * of_logs > blocks
    }

    fn content(&mut self, scope: &Scope, slot: u32, piece: &[u8]) -> usize {
        let is_short = self.is_short_for(piece.len());
        *self.is_short.entry(slot).or_default() |= is_short;
        self.spooler.content(scope, slot, piece)
    }

    fn end(&mut self, arrived: &Arrived<'_>, content: &[u8]) -> (Decision, usize) {
        let Arrived { ticket, scope, ended, origin, at_ms } = *arrived;
        let record = ended.record.expect("who hands off keeps a record");
        let envelope = record.envelope().view();
        let mut parcels: Vec<Parcel> = Vec::new();
        let is_for_sinks = scope.taking != Taking::WriteAndDiscard;
        for (place, recipient) in envelope.recipients().enumerate().filter(|_| is_for_sinks) {
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
        let before = self.spooler.last_sequence();
        let decision = self.spooler.end(arrived);
        let sequence = Some(self.spooler.last_sequence()).filter(|last| *last != before);
        let message = Message {
            ticket,
            taking: scope.taking,
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
            is_lost: false,
        };
        let at = self.book.borrow_mut().enter(message, &decision, is_short);
        (decision, at)
    }

    /// Consumers act while the shard sleeps, too: then it is woken, or has nothing to do.
    fn announce_sleep(&mut self) -> bool {
        self.has_listened = false;
        if self.spooler.announce_sleep() {
            return true;
        }
        if self.book.borrow().has_unheard() {
            self.book.borrow_mut().faults.push("the shard sleeps over what its sinks have said".to_owned());
        }
        self.has_rung();
        if let Some(rig) = &self.rig
            && rig.borrow_mut().act(self.network.now())
            && self.has_rung()
        {
            self.network.wake();
            return false;
        }
        if !self.sinks.borrow_mut().act(self.network.now()) {
            return false;
        }
        if self.has_rung() {
            self.book.borrow_mut().tally.woken += 1;
            self.network.wake();
        } else if self.spooler.announce_sleep() {
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
