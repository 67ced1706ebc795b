//! One core: its listening sockets, its connections, and the turn of its loop.
//!
//! Data flows one way: `doors` (listener) → `connection` and its stages (`reception`) → session (`desk`) → intake; replies go
//! back through `dispatch`. *Invariants*: no received octet is kept beyond its turn but what `paused` holds; at most one
//! send for a connection is under way; a slot is freed when nothing is in flight for it; the thread never blocks but in
//! `wait`. Of other shards it knows how many connections they have, and hands new ones on to them (`balance`).

#![forbid(unsafe_code)]

pub mod balance;
mod closing;
pub mod connection;
pub mod control;
pub mod desk;
mod dispatch;
mod doors;
mod hearing;
mod preamble;
pub mod pressure;
mod reception;
mod stall;
mod table;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;

use crossbeam::utils::CachePadded;
use rustix::io::Errno;

use crate::handoff::intake::Intake;
use crate::handoff::mailbox::Receiver;
use crate::limits;
use crate::metrics::counters::Counters;
use crate::metrics::histograms::Histograms;
use crate::mutant::Mutant;
use crate::reactor::io::{Completion, GroupId, Io, Kind, Operation, Payload, Time, Token};
use crate::reactor::wheel::Wheel;
use crate::shard::balance::Neighbours;
use crate::shard::control::Control;
use crate::shard::desk::{Desk, DeskOptions};
use crate::shard::doors::Doors;
use crate::shard::stall::CatchUp;
use crate::shard::table::Table;

/// The receive buffers of every connection: one group so far.
const GROUP: GroupId = GroupId(0);

/// The slot in the token of what is no connection's.
const NO_SLOT: u32 = u32::MAX;

/// What a shard is made with.
#[derive(Debug)]
pub struct ShardOptions<L, S = L> {
    /// Its number.
    pub number: u16,
    /// Most connections.
    pub connections: u32,
    /// Where its control messages come from.
    pub control: Receiver<Control<L, S>>,
    /// The others, and its place among them.
    pub neighbours: Neighbours<L, S>,
    /// What it counts, on cache lines of its own.
    pub counters: Arc<CachePadded<Counters>>,
    /// Octets of memory that its sessions may hold in all; [`limits::SESSION_MEMORY_OCTETS`] but in tests.
    pub session_octets: u64,
}

/// One shard on a back end, with an intake for its mail.
#[derive(Debug)]
pub struct Shard<I: Io, T: Intake> {
    io: I,
    desk: Desk<T>,
    table: Table,
    doors: Doors,
    wheel: Wheel,
    control: Receiver<Control<I::Listener, I::Socket>>,
    neighbours: Neighbours<I::Listener, I::Socket>,
    connections_most: u32,
    /// Slots with replies to send.
    listed: Vec<u32>,
    /// Slots whose receive found no buffer, or was held back.
    unarmed: Vec<u32>,
    /// They rest until then, after the system had no memory for one.
    receives_rest_until: Option<Time>,
    /// Slots whose timers have fired; kept for its memory.
    fired: Vec<u32>,
    /// Control messages may be left from the last turn, for which nobody wakes the shard again.
    has_more_control: bool,
    /// When a drain ends by force.
    draining_until: Option<Time>,
    /// Writes that are under way, and since when: a few at most.
    writes: Vec<(u32, Time)>,
    /// See [`stall`].
    catch_up: CatchUp,
}

/// Whether a shard has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    More,
    /// The drain is done.
    Done,
}

impl<I: Io, T: Intake> Shard<I, T> {
    /// A shard without doors: a [`Control::Swap`] gives it some.
    pub fn new(mut io: I, intake: T, options: ShardOptions<I::Listener, I::Socket>) -> Self {
        let now = io.now();
        let seed = io.random();
        io.start(Token { kind: Kind::Wake, generation: 0, slot: NO_SLOT }, Operation::AwaitWake);
        let ShardOptions { number, counters, session_octets, .. } = options;
        Self {
            io,
            desk: Desk::new(DeskOptions { shard: number, intake, counters, session_octets }, now, seed),
            table: Table::new(slots_for(options.connections)),
            doors: Doors::default(),
            wheel: Wheel::new(now),
            control: options.control,
            neighbours: options.neighbours,
            connections_most: options.connections,
            listed: Vec::with_capacity(limits::COMPLETIONS_PREPARED),
            unarmed: Vec::with_capacity(limits::COMPLETIONS_PREPARED),
            receives_rest_until: None,
            fired: Vec::new(),
            has_more_control: false,
            draining_until: None,
            writes: Vec::new(),
            catch_up: CatchUp::default(),
        }
    }

    /// Turns until the shard was drained. Gives its last histograms.
    pub fn run(mut self) -> Result<Box<Histograms>, Errno> {
        while self.turn()? == Turn::More {}
        Ok(self.desk.histograms)
    }

    /// One turn: all that happens on a shard happens in one of these, in this order.
    pub fn turn(&mut self) -> Result<Turn, Errno> {
        self.wait()?;
        self.reap();
        self.hear_control();
        self.hear_intake();
        self.answer_delayed();
        if !self.catch_up.is_under_way() {
            self.expire_timers();
        }
        self.hand_on();
        self.relieve_pressure();
        self.keep_receiving();
        self.keep_accepting();
        self.dispatch_replies();
        self.wake_consumers()?;
        self.count();
        Ok(if self.is_drained() { Turn::Done } else { Turn::More })
    }

    /// Submits what was started, and sleeps until something completes or a time has come.
    fn wait(&mut self) -> Result<(), Errno> {
        let at_once = (self.has_more_control || self.catch_up.is_under_way()).then_some(self.desk.now);
        let doors = self.doors.next_time(self.desk.now);
        let intake = self.desk.intake.next_time_ms().filter(|_| !Mutant::SleepsOverWrites.is_on());
        let intake = intake.map(|ms| Time::default().plus_ms(ms));
        let timers =
            [self.wheel.next(), self.desk.next_delayed(), self.draining_until, self.receives_rest_until, intake];
        let news = self.desk.intake.announce_sleep().then_some(self.desk.now);
        let until = [at_once, news, self.desk.handed_off.next_time(), doors].into_iter().chain(timers);
        // Without any timer a shard still looks around now and then: it costs nothing, and nothing can be forgotten.
        let latest = self.io.now().plus_ms(limits::IDLE_MS);
        let until = until.flatten().fold(latest, Time::min);
        self.io.wait(Some(until))?;
        self.desk.intake.withdraw_sleep();
        (self.desk.now, self.desk.at_ms) = (self.io.now(), self.io.date_ms());
        if self.catch_up.note_wait(until, self.desk.now) {
            self.desk.counters.stalls.one();
        }
        Ok(())
    }

    /// Handles what has completed.
    fn reap(&mut self) {
        let mut completions = 0;
        while completions < limits::COMPLETIONS_PER_TURN
            && let Some(completion) = self.io.complete()
        {
            completions += 1;
            self.handle(completion);
        }
        self.catch_up.note_completions(completions);
        if completions > 0 {
            self.desk.histograms.completions_per_turn.saturating_record(completions as u64);
        }
    }

    fn handle(&mut self, completion: Completion) {
        let Completion { token, result, more, payload } = completion;
        match token.kind {
            Kind::Wake => return self.io.start(token, Operation::AwaitWake),
            Kind::Cancel if token.slot == NO_SLOT => return self.on_accept_cancel(result),
            Kind::Write => return self.on_written(token.slot, result),
            _ => {}
        }
        let Some(connection) = self.table.of(token) else {
            // Cannot be while slots are only freed with nothing in flight; a counter tells if it ever is.
            self.desk.counters.stale_completions.one();
            if let Payload::Received(received) = payload {
                self.io.release(received);
            }
            return;
        };
        if !more {
            connection.in_flight -= 1;
        }
        match (token.kind, payload) {
            (Kind::Accept, Payload::Peer(peer)) => self.on_accepted(token.slot, result, peer),
            (Kind::Receive, Payload::Received(received)) => self.on_received(token.slot, received, more),
            (Kind::Receive, _) => self.on_receive_ended(token.slot, result, more),
            (Kind::Send, Payload::Octets(octets)) => self.on_sent(token.slot, result, octets),
            (Kind::Close, _) => self.on_closed(token.slot),
            (Kind::Part, _) => self.on_parted(token.slot),
            (Kind::Cancel, _) => self.on_cancelled(token.slot, result.is_ok()),
            // Of a shutdown only the end of being in flight matters.
            _ => {}
        }
        self.give_up_if_done(token.slot);
    }

    /// Starts an operation for a connection.
    fn start(&mut self, slot: u32, kind: Kind, operation: Operation) {
        let connection = self.table.at(slot);
        connection.in_flight += 1;
        let token = connection.token(kind, slot);
        self.io.start(token, operation);
    }

    /// Publishes what is counted elsewhere.
    fn count(&mut self) {
        self.desk.count_replies();
        let counters = &self.desk.counters;
        let io = self.io.counts();
        counters.turns.one();
        counters.connections_open.set(u64::from(self.table.open()));
        counters.system_calls.set(io.enters);
        counters.operations.set(io.operations);
        counters.completion_overflows.set(io.overflows);
        counters.submission_full.set(io.full_submissions);
        counters.session_octets.set(self.desk.pressure.octets());
        let holding = self.desk.handed_off.holding();
        counters.handed_off_octets.set(holding.octets);
        counters.handed_off.set(holding.letters);
        counters.handed_off_lost.set(holding.lost);
        let logs = self.desk.intake.log_counts();
        counters.spool_commits.set(logs.commits);
        counters.spool_messages.set(logs.messages);
        counters.spool_octets.set(logs.octets);
        counters.spool_failures.set(logs.failures);
        counters.spool_writes_hung.set(logs.hung);
        counters.spool_messages_doubtful.set(logs.doubtful);
        counters.spool_starved.set(logs.starved);
    }

    fn is_drained(&self) -> bool {
        let has_heard_all = !self.has_more_control;
        self.draining_until.is_some() && has_heard_all && self.table.open() == 0 && self.doors.are_closed()
    }
}

/// Slots that a shard with so many connections needs on its back end.
pub fn slots_for(connections: u32) -> u32 {
    connections + limits::SPARE_SLOTS_PER_SHARD
}
