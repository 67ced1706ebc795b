//! Which shard serves a new connection. The kernel spreads connections by a hash of their addresses, which leaves one shard
//! with many and another with none when they are few; so a shard that has too many, or whose log takes no mail, hands new ones
//! on before they are greeted.
//!
//! *Invariant*: a connection counts for exactly one shard's load, also while it is on its way. Messages never cross shards.
//!
//! *Why this way*: the hash cannot be told of loads, and a connection is moved cheapest when nothing has been said. A busy
//! stream of short connections is left where the kernel puts it: there the hash is even enough, and each move would cost more
//! than it brings. Before Linux 6.8 a connection cannot leave its ring, and stays.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam::utils::CachePadded;

use crate::handoff::intake::Intake;
use crate::handoff::mailbox::{Sender, Unsent};
use crate::limits;
use crate::mutant::Mutant;
use crate::policy::scope::{Scope, Scopes, Taking};
use crate::reactor::io::{Io, Kind, Operation, Time};
use crate::shard::Shard;
use crate::shard::connection::Stage;
use crate::shard::control::Control;
use crate::shard::preamble::Awaited;

/// Connections that last less are left alone.
const BRIEF_NS: u64 = limits::BALANCE_LIFETIME_MS * 1_000_000;

/// What the shards of an engine know of each other.
#[derive(Debug, Default)]
pub struct Load {
    /// Connections that it has, or that are on their way to it.
    connections: AtomicU32,
    /// It accepts none, for want of memory.
    is_full: AtomicBool,
    /// A log of its takes no mail.
    is_refusing: AtomicBool,
}

impl Load {
    /// Connections that count for this shard.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Another connection counts for it.
    pub fn add(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// One fewer does.
    pub fn remove(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that another shard has accepted.
#[derive(Debug)]
pub struct Moved<S> {
    /// The connection.
    pub socket: S,
    /// Who has connected.
    pub peer: Option<SocketAddr>,
    /// What it is held to.
    pub scope: Arc<Scope>,
    /// One of these will be its scope, where a PROXY header must come first.
    pub awaited: Option<Arc<Scopes>>,
}

/// A shard's place among the others.
#[derive(Debug)]
pub struct Neighbours<L, S> {
    own: usize,
    loads: Arc<[CachePadded<Load>]>,
    /// The control mailbox of each.
    mailboxes: Arc<[Sender<Control<L, S>>]>,
    /// The first so many have logs.
    logging: usize,
    /// Where the next look begins.
    next: usize,
    /// How long connections lasted that were closed lately, in ns, on average, and when the last was closed.
    lifetime_ns: u64,
    closed_at: Option<Time>,
}

impl<L, S> Neighbours<L, S> {
    /// Of the shard with this number; loads and mailboxes are those of all shards, in their order, of which the first so many have logs.
    pub fn new(
        own: u16,
        loads: Arc<[CachePadded<Load>]>,
        mailboxes: Arc<[Sender<Control<L, S>>]>,
        logging: NonZeroU16,
    ) -> Self {
        let logging = usize::from(logging.get()).min(loads.len());
        Self { own: own.into(), loads, mailboxes, logging, next: 0, lifetime_ns: 0, closed_at: None }
    }

    /// A shard that is alone.
    pub fn none() -> Self {
        Self::new(0, Arc::new([CachePadded::default()]), Arc::new([]), NonZeroU16::MIN)
    }

    fn load(&self) -> &Load {
        &self.loads[self.own]
    }

    /// A shard that should rather have one of this shard's connections, whose mail is taken like this: one that would still have fewer
    /// with it, or that takes mail where this one refuses it. Who refuses has few connections, and would draw each new one to itself.
    fn better(&mut self, taking: Taking, now: Time) -> Option<usize> {
        let is_refused = |load: &Load| taking.is_logged() && load.is_refusing.load(Ordering::Relaxed);
        let needs_log = taking.is_logged() && !Mutant::HandsOverToAnyShard.is_on();
        let all = if needs_log { self.logging } else { self.loads.len() };
        let others = all - 1;
        let must_go = is_refused(self.load());
        if others == 0 || !must_go && self.are_short_lived(now) {
            return None;
        }
        let looks = others.min(limits::NEIGHBOURS_LOOKED_AT);
        let from = self.next;
        self.next = (from + looks) % others;
        let (least, other) = (0..looks)
            .map(|look| (self.own + 1 + (from + look) % others) % all)
            .filter(|other| !self.loads[*other].is_full.load(Ordering::Relaxed) && !is_refused(&self.loads[*other]))
            .map(|other| (self.loads[other].connections(), other))
            .min()?;
        let own = self.load().connections();
        (must_go || own > least + 1 + least / limits::BALANCE_PART).then_some(other)
    }

    /// Whether connections come and go faster than it pays to move them.
    fn are_short_lived(&self, now: Time) -> bool {
        self.closed_at.is_some_and(|at| now.since_ns(at) < BRIEF_NS) && self.lifetime_ns < BRIEF_NS
    }

    /// A log of this shard takes no mail, or they all do.
    pub(super) fn note_refusing(&self, is_refusing: bool) {
        let said = &self.load().is_refusing;
        // COST: asked in each turn; a store would take the line from those who read it.
        if said.load(Ordering::Relaxed) != is_refusing {
            said.store(is_refusing, Ordering::Relaxed);
        }
    }

    /// A connection has come.
    pub(super) fn note_accepted(&self) {
        self.load().add();
    }

    /// A connection has ended that was served here.
    fn note_closed(&mut self, lasted_ns: u64, now: Time) {
        self.load().remove();
        let is_long_ago = self.closed_at.replace(now).is_none_or(|before| now.since_ns(before) >= BRIEF_NS);
        self.lifetime_ns = if is_long_ago { lasted_ns } else { (self.lifetime_ns * 7 + lasted_ns) / 8 };
    }
}

impl<I: Io, T: Intake> Shard<I, T> {
    /// A connection has come to a slot: it is served here, or elsewhere.
    pub(super) fn welcome(&mut self, slot: u32) {
        let taking = self.table.at(slot).scope.as_ref().map(|scope| scope.taking);
        let better = taking.and_then(|taking| self.neighbours.better(taking, self.desk.now));
        if self.draining_until.is_some() || better.is_none() {
            return self.serve(slot);
        }
        self.table.at(slot).stage = Stage::Leaving;
        self.start(slot, Kind::Part, Operation::Part);
    }

    /// A connection that should leave can be handed over, or cannot.
    pub(super) fn on_parted(&mut self, slot: u32) {
        let socket = self.io.parted(slot);
        if self.table.at(slot).stage != Stage::Leaving {
            return;
        }
        let is_gone = self.draining_until.is_none() && socket.is_some_and(|socket| self.hand_over(slot, socket));
        if !is_gone || Mutant::KeepsHandedOver.is_on() {
            return self.serve(slot);
        }
        self.desk.counters.connections_handed_over.one();
        self.table.at(slot).is_descriptor_closing = true;
        self.start(slot, Kind::Close, Operation::Close);
    }

    fn hand_over(&mut self, slot: u32, socket: I::Socket) -> bool {
        let connection = self.table.at(slot);
        let Some(scope) = connection.scope.clone() else { return false };
        let Some(other) = self.neighbours.better(scope.taking, self.desk.now) else { return false };
        let awaited = connection.preamble.as_ref().map(|awaited| awaited.scopes());
        let moved = Moved { socket, peer: connection.peer, scope, awaited };
        self.neighbours.loads[other].add();
        match self.neighbours.mailboxes[other].try_send(Control::Adopt(Box::new(moved))) {
            Ok(()) => self.neighbours.load().remove(),
            // It is served here; the socket that was made for the other is closed with the message.
            Err(Unsent::Full(_) | Unsent::Gone(_)) => {
                self.neighbours.loads[other].remove();
                return false;
            }
        }
        true
    }

    /// Another shard has handed a connection over, which counts for this one already.
    pub(super) fn adopt(&mut self, moved: Moved<I::Socket>) {
        let Moved { socket, peer, scope, awaited } = moved;
        let adopted = self.table.reserve().filter(|slot| {
            let is_placed = self.io.adopt(*slot, socket).is_ok();
            if !is_placed {
                self.table.release(*slot);
            }
            is_placed
        });
        let Some(slot) = adopted else {
            self.desk.counters.accept_failures.one();
            return self.neighbours.load().remove();
        };
        self.desk.counters.connections_taken_over.one();
        self.seat(slot, peer, scope, awaited.map(|scopes| Box::new(Awaited::new(scopes))));
        self.serve(slot);
    }

    /// The slot of a connection is about to be free.
    pub(super) fn note_released(&mut self, slot: u32) {
        let now = self.desk.now;
        let connection = self.table.at(slot);
        if connection.stage != Stage::Leaving {
            let lasted_ns = now.since_ns(connection.accepted_at);
            self.desk.counters.connections_closed.one();
            self.neighbours.note_closed(lasted_ns, now);
        }
    }

    /// The level of back-pressure has changed.
    pub(super) fn note_pressure(&self, is_full: bool) {
        self.neighbours.load().is_full.store(is_full, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::scope::Promise;

    fn among(own: u32, others: &[u32]) -> Neighbours<(), ()> {
        let loads: Arc<[CachePadded<Load>]> = [own].iter().chain(others).map(|_| CachePadded::default()).collect();
        for (load, connections) in loads.iter().zip([own].iter().chain(others)) {
            load.connections.store(*connections, Ordering::Relaxed);
        }
        Neighbours::new(0, loads, Arc::new([]), NonZeroU16::MAX)
    }

    #[test]
    fn a_connection_goes_where_fewer_are() {
        let now = Time(1_000_000_000);
        assert_eq!(Neighbours::<(), ()>::none().better(Taking::Discard, now), None);
        for (own, others, expected) in [
            (1, &[0][..], None),
            (2, &[0], Some(1)),
            (2, &[1], None),
            (3, &[1, 0, 2], Some(2)),
            // A few more or less among many are not worth a move.
            (101, &[95], None),
            (110, &[95], Some(1)),
        ] {
            assert_eq!(among(own, others).better(Taking::Discard, now), expected, "{own} {others:?}");
        }
    }

    /// What it would be asked to keep it could not.
    #[test]
    fn a_shard_without_logs_gets_none_that_needs_one() {
        let durable = Taking::HandOff(Promise::Durable);
        for (logging, others, expected) in
            [(1, &[0, 0][..], None), (2, &[8, 0], None), (2, &[5, 0], Some(1)), (3, &[5, 0], Some(2))]
        {
            let mut neighbours = Neighbours { logging, ..among(9, others) };
            assert_eq!(neighbours.better(durable, Time(1)), expected, "{logging} {others:?}");
            assert_eq!(neighbours.better(Taking::WriteAndDiscard, Time(1)), expected);
            assert!(neighbours.better(Taking::HandOff(Promise::Delivered), Time(1)).is_some());
        }
    }

    #[test]
    fn a_shard_without_memory_gets_none() {
        let mut neighbours = among(9, &[0, 3]);
        neighbours.loads[1].is_full.store(true, Ordering::Relaxed);
        assert_eq!(neighbours.better(Taking::Discard, Time(1)), Some(2));
    }

    /// It has few connections because it refuses, and would get all that come.
    #[test]
    fn a_shard_whose_log_takes_nothing_gets_none_that_needs_one_and_keeps_none() {
        let (durable, now) = (Taking::HandOff(Promise::Durable), Time(1_000_000_000));
        let mut neighbours = among(9, &[0, 3]);
        let set = |neighbours: &Neighbours<(), ()>, of: usize, is_refusing| {
            neighbours.loads[of].is_refusing.store(is_refusing, Ordering::Relaxed);
        };
        set(&neighbours, 1, true);
        assert_eq!((neighbours.better(durable, now), neighbours.better(Taking::Discard, now)), (Some(2), Some(1)));
        neighbours.loads[0].connections.store(0, Ordering::Relaxed);
        assert_eq!(neighbours.better(durable, now), None);
        neighbours.note_refusing(true);
        neighbours.closed_at = Some(now);
        assert_eq!(
            neighbours.better(durable, now),
            Some(2),
            "though connections are short, as they are when they are refused"
        );
        set(&neighbours, 2, true);
        assert_eq!(neighbours.better(durable, now), None, "nobody takes it");
        neighbours.note_refusing(false);
        assert_eq!(neighbours.better(durable, now), None);
    }

    #[test]
    fn all_neighbours_are_looked_at_in_time() {
        let mut neighbours = among(50, &[9; 100]);
        neighbours.loads[77].connections.store(0, Ordering::Relaxed);
        let looks = 100_usize.div_ceil(limits::NEIGHBOURS_LOOKED_AT);
        assert!((0..looks).any(|_| neighbours.better(Taking::Discard, Time(1)) == Some(77)));
    }

    #[test]
    fn short_connections_stay_while_they_come() {
        let ms = |ms| Time(0).plus_ms(ms);
        let mut neighbours = among(30, &[0]);
        neighbours.note_closed(1_000_000, ms(1_000));
        assert_eq!(neighbours.better(Taking::Discard, ms(1_001)), None);
        assert_eq!(
            neighbours.better(Taking::Discard, ms(1_000 + limits::BALANCE_LIFETIME_MS)),
            Some(1),
            "they came long ago"
        );
        neighbours.note_closed(1_000_000, ms(1_900));
        (0..50).for_each(|_| neighbours.load().add());
        (0..50).for_each(|_| neighbours.note_closed(60_000_000_000, ms(2_000)));
        assert_eq!(neighbours.better(Taking::Discard, ms(2_001)), Some(1), "they are long by now");
    }
}
