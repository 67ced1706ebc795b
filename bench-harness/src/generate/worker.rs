//! One thread of the generator: its ring, its connections, the turn of its loop.
//!
//! *A turn*: what completed is heard; connections that can go on write what they can; in an open loop, messages whose time has
//! come begin on connections with room, in turn; then one send for each connection, and one system call. *Invariants*: one send
//! for a connection is under way; a slot is used again when nothing is in flight for it. *Why the clock is read so often*: a
//! message begins when it is written, not when the turn began; 25 ns are less than the error.

mod arrivals;
mod clock;
mod mischief;
mod slots;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;
use ringmx::limits;
use ringmx::reactor::connecting::Route;
use ringmx::reactor::io::{Completion, Io, Kind, Operation, Payload, SendMode, Time};
use ringmx::reactor::ring::Ring;
use ringmx::reactor::wheel::Wheel;
use ringmx::smtp::client::Terms;

use super::content::Maker;
use super::gate::Gate;
use super::ledger::Page;
use super::plan::{Loop, Plan};
use super::schedule::Arrivals;
use super::supply::{Due, Supply};
use super::talk::{Begin, Start};
use super::tally::{Counts, Tally};
use crate::failure::Failure;
use arrivals::Foresight;
use mischief::Mischief;
use slots::{Phase, Slot};

/// Connects of one thread that are under way at once: far below what a listening socket's backlog takes.
const CONNECTS_AT_ONCE: usize = 64;

/// How long a thread sleeps at most before it looks whether it is to stop, or may start.
const LOOK_MS: u64 = 50;

/// How long what is in flight may take when somebody has interrupted the run.
const GRACE_MS: u64 = 2_000;

/// Until a connection that failed is tried again.
const RECONNECT_MS: u64 = 200;

/// Fresh messages begun in one turn of an open loop before what has completed is heard.
const BEGUN_PER_TURN: usize = 1024;

/// Octets of content with which a send is in pieces: the list of them costs the kernel 130 ns. Of one message on loopback, with
/// 200 octets of commands and header (ns for a send, best of many): 4 KiB copied 3,452, in pieces 3,569; 16 KiB 3,711 and 3,727.
/// Pipelined 32 deep, 4 KiB in pieces are 12 % of the generator's time for a message, and as much of the engine's beside it.
const SHARED_LEAST: usize = 32 * 1024;

/// What a thread tells each second.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which thread.
    pub thread: usize,
    /// The second that is over, since the start.
    pub second: u64,
    /// Of the whole run so far.
    pub counts: Counts,
    /// Times from the end of data to the reply, of this second.
    pub interval: Histogram<u64>,
}

/// A moment at which figures begin or end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    /// When.
    pub at: Time,
    /// What was counted by then.
    pub counts: Counts,
    /// Processor time that the thread had used.
    pub cpu_ns: u64,
    /// Time that it had waited for a processor.
    pub delay_ns: u64,
}

/// What came of a thread.
pub struct Outcome {
    /// All that it counted.
    pub tally: Tally,
    /// Where its figures begin and end.
    pub window: (Mark, Mark),
    /// Messages whose time had come by the end, and which had not begun.
    pub behind: u64,
    /// Processor time in all.
    pub cpu_ns: u64,
    /// Why it came to its end before its time, if the server was gone for good.
    pub gone: Option<String>,
}

/// What a worker is made of.
pub struct Parts<'p> {
    /// What is asked for.
    pub plan: &'p Plan,
    /// Which thread.
    pub thread: usize,
    /// Its ring, with a socket for each connection.
    pub ring: Ring,
    /// Its messages.
    pub maker: Maker<'p>,
    /// Shared with the others.
    pub gate: &'p Gate,
    /// Where snapshots go.
    pub tell: Sender<Snapshot>,
    /// Where acknowledged messages are written.
    pub page: Option<Page>,
}

/// See the module.
pub struct Worker<'p> {
    plan: &'p Plan,
    thread: usize,
    io: Ring,
    maker: Maker<'p>,
    gate: &'p Gate,
    tell: Sender<Snapshot>,
    page: Option<Page>,
    terms: Arc<Terms>,
    routes: Vec<Arc<Route>>,
    slots: Vec<Slot<'p>>,
    wheel: Wheel,
    fired: Vec<u32>,
    /// Slots that something has happened to.
    listed: Vec<u32>,
    /// Slots with something to send.
    sends: Vec<u32>,
    /// Memory for what is to be sent; what was used last is near the processor, and is used first.
    spare: Vec<ringmx::reactor::io::Parts>,
    /// Memory to put a send of pieces together in.
    joined: Vec<u8>,
    /// Slots that wait to be connected.
    unconnected: VecDeque<u32>,
    connecting: usize,
    /// Slots whose opening is not over.
    opening: usize,
    /// Whether a session was opened, ever.
    has_session: bool,
    /// Slots that have a connection, or wait for one.
    open: usize,
    /// Slots with room for a message: all of them in an open loop, in a closed one those for which there was none.
    roomy: VecDeque<u32>,
    /// Since when there are such.
    roomy_since: Time,
    supply: Supply,
    arrivals: Option<Arrivals>,
    /// Of the next fresh message, when the clock has started.
    next_arrival: Option<Time>,
    /// The same arrivals, further on.
    foresight: Option<Foresight>,
    /// When the server was heard for the last time.
    alive: Time,
    /// Connections made.
    connections_made: u64,
    tally: Tally,
    start: Option<Time>,
    measure_from: Time,
    deadline: Option<Time>,
    is_ending: bool,
    give_up_at: Option<Time>,
    next_snapshot: Time,
    seconds: u64,
    window: (Option<Mark>, Option<Mark>),
    /// Why no server is there any more.
    gone: Option<String>,
    failure: Option<Failure>,
}

impl<'p> Worker<'p> {
    /// With its connections still to be made.
    pub fn new(parts: Parts<'p>) -> Result<Self, Failure> {
        let Parts { plan, thread, mut ring, maker, gate, tell, page } = parts;
        let route = |source| Route::new(plan.target.clone(), source).map(Arc::new);
        let routes: Result<Vec<_>, _> = plan.sources.iter().copied().map(route).collect();
        let count = plan.connections_of(thread);
        let now = ring.read_clock();
        // The first connection of a thread behaves whatever the share is.
        let slots: Vec<_> =
            (0..count).map(|number| Slot::new(Mischief::of(number, plan.misbehaving_per_thousand))).collect();
        let working = slots.iter().filter(|slot| slot.mischief.is_none()).count();
        let arrivals = match &plan.pace {
            Loop::Closed | Loop::Idle => None,
            Loop::Open(rate, spacing) => Some(Arrivals::new(rate, *spacing, plan.seed, thread, plan.threads)),
        };
        let may_return = plan.on_tempfail == super::arguments::OnTempfail::Retry;
        Ok(Self {
            plan,
            thread,
            io: ring,
            maker,
            gate,
            tell,
            page,
            terms: Arc::new(plan.terms.clone()),
            routes: routes
                .map_err(|error| Failure::Usage(format!("cannot connect to {}: {error}", plan.target_text)))?,
            slots,
            wheel: Wheel::new(now),
            fired: Vec::new(),
            listed: Vec::new(),
            sends: Vec::new(),
            spare: Vec::new(),
            joined: Vec::new(),
            unconnected: (0..count as u32).collect(),
            connecting: 0,
            opening: working,
            has_session: false,
            open: count,
            roomy: VecDeque::with_capacity(count),
            roomy_since: now,
            supply: match plan.pace {
                Loop::Idle => Supply::of_nothing(),
                _ => Supply::new(thread, plan.threads, plan.messages, may_return),
            },
            arrivals,
            next_arrival: None,
            foresight: None,
            alive: now,
            connections_made: 0,
            tally: Tally::new(),
            start: None,
            measure_from: now,
            deadline: None,
            is_ending: false,
            give_up_at: None,
            next_snapshot: now,
            seconds: 0,
            window: (None, None),
            gone: None,
            failure: None,
        })
    }

    /// Turns until all is sent, or it is time.
    pub fn run(mut self) -> Result<Outcome, Failure> {
        loop {
            self.connect_more();
            self.work();
            self.offer();
            self.dispatch();
            if self.open == 0 || self.failure.is_some() {
                break;
            }
            let until = self.until();
            self.io.wait(Some(until)).map_err(Failure::while_doing("the ring failed"))?;
            self.look_around();
            for _ in 0..limits::COMPLETIONS_PER_TURN {
                let Some(completion) = self.io.complete() else { break };
                self.handle(completion);
            }
        }
        if self.start.is_none() && self.opening > 0 {
            // Others wait for this thread.
            self.gate.arrive(self.io.now(), self.has_session);
        }
        if let Some(page) = self.page.take() {
            page.close()?;
        }
        if let Some(failure) = self.failure {
            self.gate.stop();
            return Err(failure);
        }
        let end = self.mark();
        self.snapshot();
        let behind = match (self.next_arrival, self.window.1) {
            (Some(next), Some(window)) if next < window.at && self.supply.peek_fresh().is_some() => {
                self.arrivals_by(window.at)
            }
            _ => 0,
        };
        let window = (self.window.0.unwrap_or(end), self.window.1.unwrap_or(end));
        if let Some(steps) = &mut self.tally.steps {
            steps.end(window.1);
        }
        Ok(Outcome { tally: self.tally, window, behind, cpu_ns: end.cpu_ns, gone: self.gone })
    }

    fn handle(&mut self, completion: Completion) {
        let Completion { token, result, more, payload } = completion;
        let index = token.slot;
        if token.kind == Kind::Wake || index as usize >= self.slots.len() {
            return;
        }
        if !more {
            self.slots[index as usize].in_flight -= 1;
        }
        match (token.kind, payload) {
            (Kind::Connect, _) => self.on_connected(index, result),
            (Kind::Receive, Payload::Received(received)) if received.octets > 0 => {
                self.on_received(index, received);
                if !more {
                    self.on_receive_ended(index, None);
                }
            }
            (Kind::Receive, payload) => {
                if let Payload::Received(received) = payload {
                    self.io.release(received);
                }
                if !more {
                    self.on_receive_ended(index, Some(result));
                }
            }
            (Kind::Send, Payload::Parts(parts)) => self.on_sent(index, result, parts),
            _ => {}
        }
        self.free_if_done(index);
    }

    fn start(&mut self, index: u32, kind: Kind, operation: Operation) {
        self.slots[index as usize].in_flight += 1;
        self.io.start(slots::token(kind, index), operation);
    }

    fn list(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.is_listed {
            slot.is_listed = true;
            self.listed.push(index);
        }
    }

    fn list_all(&mut self) {
        for index in 0..self.slots.len() as u32 {
            self.list(index);
        }
    }

    /// Connections that something has happened to go on.
    fn work(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        for index in listed.drain(..) {
            self.slots[index as usize].is_listed = false;
            self.work_on(index);
        }
        // What was listed meanwhile waits for the next turn.
        listed.append(&mut self.listed);
        self.listed = listed;
    }

    fn work_on(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.phase == Phase::Free {
            // It waits for a connection that is not wanted any more.
            if self.is_ending && slot.in_flight == 0 {
                self.retire(index);
            }
            return;
        }
        if slot.phase != Phase::Open {
            return;
        }
        if slot.mischief.is_some() {
            if self.is_ending {
                self.close(index);
            }
            return;
        }
        let now = self.io.read_clock();
        let Some(talk) = &mut slot.talk else { return };
        if talk.session.is_closed() {
            return self.close(index);
        }
        slots::lend(&mut self.spare, &mut talk.out);
        talk.transmit(now, self.plan.checksum);
        if self.plan.xclient && talk.standing.is_ready && !talk.standing.is_introduced {
            self.introduce(index);
        } else if self.plan.login.is_some() && talk.standing.is_ready && !talk.standing.is_authenticated {
            self.authenticate(index);
        }
        self.arrive(index);
        if self.arrivals.is_none() && self.start.is_some() {
            while self.has_room(index) && self.begin_closed(index, now) {}
        }
        self.quit_if_done(index);
        let slot = &mut self.slots[index as usize];
        if let Some(talk) = &mut slot.talk {
            match talk.out.is_empty() {
                true if talk.out.own.capacity() > 0 => self.spare.push(std::mem::take(&mut talk.out)),
                true => {}
                false => self.sends.push(index),
            }
        }
        // In a closed loop it waits for a message that is tried again.
        self.make_room(index);
    }

    /// The first time that a slot is ready, or cannot be.
    fn arrive(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let standing = slot.talk.as_ref().map(|talk| talk.standing);
        self.has_session |= standing.is_some_and(|standing| standing.is_ready && !standing.is_spent);
        if standing.is_none_or(|standing| standing.is_ready || standing.is_spent) && !slot.has_arrived {
            slot.has_arrived = true;
            self.opening -= 1;
            if self.opening == 0 {
                let now = self.io.read_clock();
                self.gate.arrive(now, self.has_session);
            }
        }
    }

    fn has_room(&self, index: u32) -> bool {
        let slot = &self.slots[index as usize];
        let most = self.plan.messages_per_connection.unwrap_or(u64::MAX);
        !self.is_ending
            && slot.phase == Phase::Open
            && slot.talk.as_ref().is_some_and(|talk| talk.messages < most && talk.has_room())
    }

    /// Closed loop: the next message begins here. Returns whether there may be another.
    fn begin_closed(&mut self, index: u32, now: Time) -> bool {
        let Some(due) = self.supply.peek_retry(now).or_else(|| self.supply.peek_fresh()) else { return false };
        self.begin(index, due, now, now)
    }

    fn begin(&mut self, index: u32, due: Due, intended: Time, now: Time) -> bool {
        let slot = &mut self.slots[index as usize];
        let Some(talk) = &mut slot.talk else { return false };
        slots::lend(&mut self.spare, &mut talk.out);
        let is_measured = intended >= self.measure_from && self.window.1.is_none();
        let maker = &mut self.maker;
        let start = Start { due, intended, now, is_measured };
        match talk.begin(start, |header| maker.make(due.number, header), &mut self.tally) {
            Begin::Begun => {
                self.supply.take(due);
                if let Some(witness) = &self.plan.witness
                    && due.tries == 0
                {
                    witness.begin(due.number, intended, is_measured);
                }
                talk.transmit(now, self.plan.checksum);
                if self.arrivals.is_none() && due.tries == 0 {
                    self.tally.counts.offered += 1;
                }
                true
            }
            Begin::Spent => {
                self.list(index);
                false
            }
            Begin::Unsendable => {
                self.supply.take(due);
                self.supply.end(due, false, now);
                self.tally.counts.unsendable += 1;
                true
            }
            Begin::Lacking(refusal) => {
                let text = format!("{} cannot take this load: {refusal}", self.plan.target_text);
                self.failure.get_or_insert(Failure::Unavailable(text));
                false
            }
        }
    }

    /// One send for each connection that has something to say.
    fn dispatch(&mut self) {
        let mut sends = std::mem::take(&mut self.sends);
        for index in sends.drain(..) {
            let slot = &mut self.slots[index as usize];
            let Some(talk) = &mut slot.talk else { continue };
            if slot.phase != Phase::Open || slot.sending.is_some() || talk.out.is_empty() {
                continue;
            }
            let mut parts = std::mem::take(&mut talk.out);
            if (1..SHARED_LEAST).contains(&parts.shared_octets()) {
                parts.join(&mut self.joined);
            }
            // What goes on without a reply must hear of the end of its send; all others hear of a reply.
            let mode = if talk.has_more { SendMode::Prompt } else { SendMode::Quiet };
            if self.plan.verbose {
                slots::show("C: ", &parts.pieces(0).collect::<Vec<_>>().concat());
            }
            self.tally.counts.octets_sent += parts.len() as u64;
            self.tally.counts.sends += 1;
            slot.sending = Some((parts.len(), 0));
            self.start(index, Kind::Send, Operation::SendParts { parts, from: 0, mode });
        }
        self.sends = sends;
    }
}
