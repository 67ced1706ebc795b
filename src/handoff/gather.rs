//! The shard's end of the hand-off: content is copied once, to where its consumers read it, and complete messages are handed on.
//!
//! *Invariants*: a message that is accepted was handed to each of the sinks that its recipients' routes name. Where the promise is
//! [`Promise::Memory`] it is accepted once every one of those has it in its queue, and where it is [`Promise::Delivered`] once each
//! has said what became of it. What is refused at its end, or given up by its client before, leaves nothing; what nobody answered in
//! time may be delivered all the same, as long as some sink had it already. Nothing blocks.
//!
//! *Why this way*: what is handed on in a turn is published at its end, once for each consumer (DESIGN decision 16).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::handoff::delivery::Verdict;
use crate::handoff::handshake::Marks;
use crate::handoff::intake::{Arrived, Holding, Intake};
use crate::handoff::letter::{Awaited, Done, FROM_LOG, Letter};
use crate::handoff::link::Home;
use crate::handoff::outlet::{Outlet, Wake};
use crate::handoff::place::{Committed, LogId, LogKind};
use crate::handoff::sleep::{Sleeper, Waker};
use crate::limits;
use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::memory::slab::{Lease, Leases, Slab};
use crate::mutant::Mutant;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::{Promise, Scope, Taking};
use crate::smtp::reply::Reply;
use crate::smtp::session::Outcome;

/// What the ids of a shard's messages are made of: DESIGN decision 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The random number of the data directory.
    pub node: u32,
    /// The count of starts on it.
    pub epoch: u32,
    /// The shard.
    pub shard: u16,
}

/// A message whose content is coming.
#[derive(Debug, Default)]
struct Open {
    content: Leases,
    /// There was no memory for all of it: it is refused at its end.
    is_cut: bool,
}

/// A message whose end is not answered.
#[derive(Debug)]
struct Unanswered {
    ticket: Ticket,
    id: MessageId,
    /// Sinks of which something is awaited: that they have it in their queue, or what they say of it.
    sinks: u32,
    recipients: u32,
    /// To know whose verdicts a sink's are.
    manifest: Lease,
    /// Of all recipients, once one has refused.
    verdicts: Vec<Verdict>,
}

/// See the module. One for each shard.
#[derive(Debug)]
pub struct Gather {
    identity: Identity,
    sequence: u64,
    slab: Slab,
    /// By the slots of their connections.
    open: Vec<Option<Open>>,
    /// By route.
    outlets: Vec<Outlet>,
    unanswered: Vec<Option<Unanswered>>,
    /// Their places, by what asked for them.
    places: HashMap<Ticket, u32>,
    /// Places of those that have none.
    vacant: Vec<u32>,
    outcomes: VecDeque<(Ticket, Outcome)>,
    /// Of memory in use, when it was told last.
    octets_seen: u64,
    home: Arc<Home>,
    sleeper: Sleeper,
    /// Kept for their memory.
    scratch: Vec<u8>,
    routes: Vec<(Route, u32)>,
    /// How far the shard's logs go, by their kinds.
    marks: [Arc<Marks>; LogKind::OF_SHARDS.len()],
    /// The same, not published yet: watermark and low mark.
    passing: [Option<(LogId, u64, u64)>; LogKind::OF_SHARDS.len()],
    /// The time of this turn, and that before which consumers are not woken for what logs have, in ms.
    now_ms: u64,
    wakes_ms: u64,
    is_wake_put_off: bool,
}

/// A message that was named, and is not posted.
#[derive(Clone, Copy, Debug)]
pub struct Described<'g> {
    /// Its name.
    pub id: MessageId,
    /// What is known of it, encoded.
    pub manifest: &'g [u8],
    /// The routes of its recipients, each with their number.
    pub routes: &'g [(Route, u32)],
}

impl Gather {
    /// With this memory, and an outlet for each route.
    pub(super) fn new(
        identity: Identity,
        slab: Slab,
        outlets: Vec<Outlet>,
        home: Arc<Home>,
        sleeper: Sleeper,
        marks: [Arc<Marks>; LogKind::OF_SHARDS.len()],
    ) -> Self {
        Self {
            marks,
            passing: [None; LogKind::OF_SHARDS.len()],
            now_ms: 0,
            wakes_ms: 0,
            is_wake_put_off: false,
            identity,
            sequence: 0,
            slab,
            open: Vec::new(),
            outlets,
            unanswered: Vec::new(),
            places: HashMap::new(),
            octets_seen: 0,
            vacant: Vec::new(),
            outcomes: VecDeque::new(),
            home,
            sleeper,
            scratch: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// See [`Slab::watch`].
    #[cfg(test)]
    pub fn watch(&self) -> impl Fn() -> usize + 'static {
        self.slab.watch()
    }

    /// The number of the message that was named last.
    #[cfg(test)]
    pub fn last_sequence(&self) -> u64 {
        self.sequence
    }

    /// Wakes its shard, if that sleeps.
    pub fn waker(&self) -> Waker {
        self.home.waker.clone()
    }

    /// Its memory, with which that of its logs counts.
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Whether a message for this route would be posted at once.
    pub fn has_room(&self, route: Route) -> bool {
        self.outlets.get(usize::from(route.0)).is_some_and(Outlet::has_room)
    }

    fn take_open(&mut self, slot: u32) -> Open {
        self.open.get_mut(slot as usize).and_then(Option::take).unwrap_or_default()
    }

    /// A message that is handed on, under this promise.
    fn take_over(&mut self, message: &Arrived<'_>, promise: Promise) -> Decision {
        let refuse = |reply| Decision::Now(Outcome::Refuse(reply));
        let Open { content, is_cut } = self.take_open(message.ticket.slot);
        if is_cut {
            return refuse(Reply::NoMemory);
        }
        let id = match self.describe(message, Some(promise)) {
            Ok(Described { id, .. }) => id,
            Err(reply) => return refuse(reply),
        };
        let routes = std::mem::take(&mut self.routes);
        let manifest = self.slab.append_whole(&self.scratch);
        self.scratch.shrink_to(limits::ENVELOPE_KEPT_OCTETS);
        let decision = match manifest {
            Ok(manifest) => self.post(message, promise, id, &routes, &manifest, &content),
            Err(_) => refuse(Reply::NoMemory),
        };
        self.routes = routes;
        decision
    }

    /// Names a message that is taken over under this promise, or for nobody; and says what goes with it, or why it is not taken.
    /// What a log is to have is not refused for want of a consumer.
    pub fn describe(&mut self, message: &Arrived<'_>, promise: Option<Promise>) -> Result<Described<'_>, Reply> {
        let Some(record) = message.ended.record else {
            debug_assert!(false, "a session whose mail is handed on keeps its envelope");
            return Err(Reply::DeliveryFailed);
        };
        let envelope = record.envelope().view();
        let Self { routes, outlets, scratch, .. } = self;
        routes.clear();
        for recipient in envelope.recipients() {
            match routes.iter_mut().find(|(route, _)| *route == recipient.route) {
                Some((_, recipients)) => *recipients += 1,
                None => routes.push((recipient.route, 1)),
            }
        }
        let is_spooled = matches!(promise, Some(Promise::Durable | Promise::Written));
        let is_served = |route: &Route| {
            outlets.get(usize::from(route.0)).is_some_and(|outlet| is_spooled || !outlet.is_abandoned())
        };
        if promise.is_some() && (routes.is_empty() || !routes.iter().all(|(route, _)| is_served(route))) {
            return Err(Reply::DeliveryFailed);
        }
        self.sequence += 1;
        let Identity { node, epoch, shard } = self.identity;
        let id = MessageId::new(node, epoch, shard, self.sequence);
        let terms = message.scope.settings.terms();
        let manifest = Manifest {
            id,
            received_at_ms: message.at_ms,
            content_octets: message.ended.content_octets,
            recipients: message.ended.recipients,
            marks: message.ended.marks,
            with: message.ended.with,
            origin: message.origin,
            listener: &message.scope.listener,
            by: &terms.hostname,
            hello: record.hello(),
            envelope,
        };
        scratch.clear();
        manifest.encode(scratch);
        Ok(Described { id, manifest: scratch, routes })
    }

    /// Posts a message that is committed to each of its sinks, or leaves it to its log: to be called once for each, in the order
    /// of their places, before the watermark passes it. `promise` is what it was taken over under.
    pub fn post_committed(&mut self, message: &Committed<'_>, promise: Promise) {
        let Committed { id, place, first, routes, memory } = *message;
        for (route, recipients) in routes {
            let Some(outlet) = self.outlets.get_mut(usize::from(route.0)) else { continue };
            let letter = memory.map(|(manifest, content)| {
                move || Letter {
                    id,
                    route: *route,
                    awaited: None,
                    promise,
                    place: Some(place),
                    live_from: FROM_LOG,
                    recipients: *recipients,
                    attempts: 0,
                    is_of_before: false,
                    manifest: manifest.share(),
                    content: content.share(),
                    verdicts: Vec::new(),
                    is_taken: false,
                    is_apart: false,
                }
            });
            outlet.post_spooled(place.log, place.address, first, letter);
        }
    }

    /// A log of this shard goes as far as `watermark`, behind its last committed block, and every message that ends there or
    /// behind begins at `low` or behind. Sinks hear of it at the next [`Intake::hand_on`]; neither may ever become less.
    pub fn publish_watermark(&mut self, log: LogId, watermark: u64, low: u64) {
        self.passing[log.kind.index()] = Some((log, watermark, low));
    }

    /// The turn is over: first what was posted, then how far the logs go.
    fn publish(&mut self) {
        for outlet in &mut self.outlets {
            outlet.publish();
        }
        for (passing, marks) in self.passing.iter_mut().zip(&self.marks) {
            let Some((log, watermark, low)) = passing.take() else { continue };
            marks.publish(watermark, low);
            self.outlets.iter_mut().for_each(|outlet| outlet.pass(log, watermark));
        }
    }

    fn post(
        &mut self,
        message: &Arrived<'_>,
        promise: Promise,
        id: MessageId,
        routes: &[(Route, u32)],
        manifest: &Lease,
        content: &Leases,
    ) -> Decision {
        let has_room = routes.iter().all(|(route, _)| self.outlets[usize::from(route.0)].has_room());
        let awaited = if promise == Promise::Memory && (has_room || Mutant::AcceptsBeforePosted.is_on()) {
            None
        } else {
            let unanswered = Unanswered {
                ticket: message.ticket,
                id,
                sinks: 0,
                recipients: message.ended.recipients,
                manifest: manifest.share(),
                verdicts: Vec::new(),
            };
            let Some(awaited) = self.await_answer(unanswered) else {
                return Decision::Now(Outcome::Refuse(Reply::NoMemory));
            };
            Some(awaited)
        };
        let mut left = 0;
        for (route, recipients) in routes {
            let letter = Letter {
                id,
                route: *route,
                awaited,
                recipients: *recipients,
                attempts: 0,
                is_of_before: false,
                manifest: manifest.share(),
                content: content.share(),
                verdicts: Vec::new(),
                is_taken: false,
                is_apart: false,
                promise,
                place: None,
                live_from: 0,
            };
            let outlet = &mut self.outlets[usize::from(route.0)];
            let is_posted = if has_room {
                // Not looked at again: who was accepted must not be parked.
                outlet.put(letter);
                true
            } else {
                outlet.post(letter)
            };
            left += u32::from(promise == Promise::Delivered || !is_posted);
        }
        match awaited {
            Some(awaited) => {
                if let Some(unanswered) = self.unanswered[awaited.place as usize].as_mut() {
                    unanswered.sinks = left;
                }
                Decision::Elsewhere
            }
            None => Decision::Now(Outcome::AcceptAs(id)),
        }
    }

    /// A place for a message whose end is answered later; `None` when all are taken.
    fn await_answer(&mut self, unanswered: Unanswered) -> Option<Awaited> {
        let place = match self.vacant.pop() {
            Some(place) => place,
            None if self.unanswered.len() < limits::MESSAGES_AWAITED => {
                self.unanswered.push(None);
                self.unanswered.len() as u32 - 1
            }
            None => return None,
        };
        self.places.insert(unanswered.ticket, place);
        self.unanswered[place as usize] = Some(unanswered);
        Some(Awaited { place, generation: self.home.waiting.renew(place) })
    }

    /// Nothing is awaited for this message any more.
    fn vacate(&mut self, place: u32) -> Option<Unanswered> {
        let unanswered = self.unanswered[place as usize].take()?;
        self.places.remove(&unanswered.ticket);
        self.home.waiting.renew(place);
        self.vacant.push(place);
        Some(unanswered)
    }

    /// One sink less is awaited.
    fn settle(&mut self, awaited: Awaited) {
        let Some(unanswered) = self.unanswered[awaited.place as usize].as_mut() else { return };
        unanswered.sinks = unanswered.sinks.saturating_sub(1);
        if unanswered.sinks > 0 {
            return;
        }
        if let Some(Unanswered { ticket, id, verdicts, .. }) = self.vacate(awaited.place) {
            let outcome = match verdicts.iter().any(Result::is_err) {
                true => Outcome::each(Some(id), verdicts.into_iter().map(|one| one.map_err(|refusal| refusal.reply))),
                false => Outcome::AcceptAs(id),
            };
            self.outcomes.push_back((ticket, outcome));
        }
    }

    fn hear(&mut self, Done { awaited, route, refusals }: Done) {
        if !self.home.waiting.has(awaited) {
            return;
        }
        if let (Some(unanswered), Some(refusals)) = (self.unanswered[awaited.place as usize].as_mut(), refusals) {
            let manifest = Manifest::decode(unanswered.manifest.octets()).expect("this process encoded it");
            unanswered.verdicts.resize(unanswered.recipients as usize, Ok(()));
            let of_route = manifest.envelope.recipients().zip(&mut unanswered.verdicts);
            let of_route = of_route.filter(|(recipient, _)| recipient.route == route || Mutant::MixesVerdicts.is_on());
            for ((_, verdict), said) in of_route.zip(refusals) {
                *verdict = said;
            }
        }
        self.settle(awaited);
    }

    /// Posts what was parked.
    fn post_parked(&mut self) {
        for at in 0..self.outlets.len() {
            if self.outlets[at].must_close() {
                self.close(at);
            }
            // BOUND: as many as there are parked.
            while let Some(awaited) = self.outlets[at].post_parked() {
                if let Some(awaited) = awaited {
                    self.settle(awaited);
                }
            }
        }
    }

    /// A consumer is gone: who waits for it alone, or with others, is told to come again.
    fn close(&mut self, at: usize) {
        for awaited in self.outlets[at].close().iter().filter_map(|letter| letter.awaited) {
            if !self.home.waiting.has(awaited) {
                continue;
            }
            if let Some(Unanswered { ticket, .. }) = self.vacate(awaited.place) {
                self.outcomes.push_back((ticket, Outcome::Refuse(Reply::DeliveryFailed)));
                self.outlets.iter_mut().for_each(Outlet::forget_parked);
            }
        }
    }
}

impl Intake for Gather {
    #[inline]
    fn content(&mut self, scope: &Scope, slot: u32, piece: &[u8]) -> usize {
        if scope.taking == Taking::Discard {
            return 0;
        }
        let slot = slot as usize;
        if slot >= self.open.len() {
            self.open.resize_with(slot + 1, || None);
        }
        let open = self.open[slot].get_or_insert_default();
        if !open.is_cut && self.slab.append(&mut open.content, piece).is_err() {
            // Its memory is for others: this one comes again.
            *open = Open { content: Leases::default(), is_cut: true };
        }
        if open.is_cut { 0 } else { piece.len() }
    }

    #[inline]
    fn abort(&mut self, slot: u32) {
        if let Some(open) = self.open.get_mut(slot as usize)
            && !Mutant::KeepsMemoryOfAborted.is_on()
        {
            *open = None;
        }
    }

    #[inline]
    fn end(&mut self, message: &Arrived<'_>) -> Decision {
        match message.scope.taking {
            Taking::Discard | Taking::WriteAndDiscard => Decision::Now(Outcome::Accept),
            Taking::HandOff(promise) => self.take_over(message, promise),
        }
    }

    fn admits(&mut self, _scope: &Scope, route: Route) -> bool {
        self.has_room(route)
    }

    fn give_up(&mut self, ticket: Ticket) {
        let Some(place) = self.places.get(&ticket) else { return };
        self.vacate(*place);
        // What was not posted never will be; what was is left to lie by its consumer.
        self.outlets.iter_mut().for_each(Outlet::forget_parked);
    }

    fn hand_on(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.post_parked();
        self.publish();
        self.slab.trim(limits::BLOCKS_KEPT);
    }

    fn owes_wakes(&mut self) -> bool {
        let owed = self.outlets.iter_mut().map(Outlet::owed).max().unwrap_or(Wake::Nothing);
        self.is_wake_put_off = owed == Wake::InTime && self.now_ms < self.wakes_ms;
        owed > Wake::Nothing && !self.is_wake_put_off
    }

    fn wake_consumers(&mut self) {
        self.outlets.iter_mut().for_each(Outlet::wake);
        self.wakes_ms = self.now_ms + limits::WAKE_MS;
    }

    fn next_time_ms(&self) -> Option<u64> {
        self.is_wake_put_off.then_some(self.wakes_ms)
    }

    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        for at in 0..self.outlets.len() {
            // BOUND: letters that are not acknowledged.
            while self.outcomes.is_empty()
                && let Some(done) = self.outlets[at].link.take_done()
            {
                self.hear(done);
            }
        }
        self.outcomes.pop_front()
    }

    fn holding(&mut self) -> Holding {
        self.octets_seen = self.slab.octets();
        Holding {
            octets: self.octets_seen,
            octets_most: self.slab.octets_most(),
            letters: self.outlets.iter().map(|outlet| outlet.outstanding() + outlet.parked.len() as u64).sum(),
            lost: self.outlets.iter().map(|outlet| outlet.link.lost()).sum(),
            writes: 0,
        }
    }

    fn announce_sleep(&mut self) -> bool {
        if self.outlets.is_empty() {
            return false;
        }
        let is_short = self.octets_seen * 100 >= self.slab.octets_most() * limits::ROOM_WANTED_PERCENT;
        let wants_room = is_short || self.outlets.iter().any(|outlet| !outlet.parked.is_empty());
        self.home.wants_room.store(wants_room, Ordering::Relaxed);
        self.sleeper.announce();
        // The second look is for all that wakes: what became of messages, room for others, memory, and that a consumer is gone.
        let has_news = |outlet: &Outlet| {
            outlet.link.has_done() || outlet.must_close() || (!outlet.parked.is_empty() && outlet.has_place())
        };
        let finds = !self.outcomes.is_empty()
            || self.outlets.iter().any(has_news)
            || (is_short && self.slab.octets() < self.octets_seen);
        finds && !Mutant::SleepsOverNews.is_on()
    }

    fn withdraw_sleep(&mut self) {
        if !self.outlets.is_empty() {
            self.sleeper.withdraw();
        }
    }
}
