//! The listening sockets of a shard, and the accepts that stand outstanding on them.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;

use crate::handoff::intake::Intake;
use crate::limits;
use crate::mutant::Mutant;
use crate::policy::scope::{Scope, Scopes};
use crate::reactor::io::{Io, Kind, ListenerId, Operation, Time, Token};
use crate::reactor::listening::Bind;
use crate::shard::connection::{Connection, Stage};
use crate::shard::control::Door;
use crate::shard::preamble::Awaited;
use crate::shard::pressure::Level;
use crate::shard::{NO_SLOT, Shard};
use crate::smtp::reply::Reply;

/// How far a door is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connections are served.
    Open,
    /// Connections are told 421, until none waits in the kernel's queue.
    Emptying {
        /// Whether one came since the last turn.
        came: bool,
    },
    /// The outstanding accepts are being cancelled.
    Cancelling,
    /// The socket is closed; the place can be taken by another.
    Closed,
}

#[derive(Debug)]
struct OpenDoor {
    bind: Bind,
    scopes: Arc<Scopes>,
    listener: ListenerId,
    state: State,
    /// Slots in which accepts are outstanding.
    accepting: Vec<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Doors {
    doors: Vec<OpenDoor>,
    /// A cancel of an accept found nothing: the accept has ended, or goes on.
    has_missed_cancel: bool,
    /// Accepting rests until then, after the system had no descriptor or memory for a connection.
    paused_until: Option<Time>,
}

impl Doors {
    /// When there is something to do at the doors that no completion announces: accepting goes on after a failure, or the
    /// next turn will show whether a door is empty.
    pub fn next_time(&self, now: Time) -> Option<Time> {
        let emptying = self.doors.iter().any(|door| matches!(door.state, State::Emptying { .. }));
        if emptying { Some(now) } else { self.paused_until }
    }

    /// Whether nothing can come in any more.
    pub fn are_closed(&self) -> bool {
        self.doors.iter().all(|door| door.state == State::Closed)
    }

    /// Accepts that may stand outstanding on each door, so that all of them leave half of the spare slots for refusals.
    fn accepts_each(&self) -> usize {
        let doors = self.doors.iter().filter(|door| door.state != State::Closed).count().max(1);
        (limits::SPARE_SLOTS_PER_SHARD as usize / 2 / doors).clamp(1, limits::ACCEPTS_PER_SOCKET)
    }
}

impl<I: Io, T: Intake> Shard<I, T> {
    /// These are the doors from now on.
    pub(super) fn swap_doors(&mut self, doors: Vec<Door<I::Listener>>) {
        for old in self.doors.doors.iter_mut().filter(|old| old.state == State::Open) {
            if !doors.iter().any(|door| door.bind == old.bind && door.socket.is_none()) {
                // As if one had just come: accepts must stand for a whole turn before the queue is known to be empty.
                old.state = State::Emptying { came: true };
            }
        }
        for door in doors {
            match door.socket {
                Some(socket) => {
                    let listener = self.io.add_listener(socket);
                    let state = State::Open;
                    let opened =
                        OpenDoor { bind: door.bind, scopes: door.scopes, listener, state, accepting: Vec::new() };
                    match self.doors.doors.iter().position(|old| old.state == State::Closed) {
                        Some(free) => self.doors.doors[free] = opened,
                        None => self.doors.doors.push(opened),
                    }
                }
                None => {
                    let same =
                        self.doors.doors.iter_mut().find(|old| old.bind == door.bind && old.state == State::Open);
                    if let Some(old) = same {
                        old.scopes = door.scopes;
                    }
                }
            }
        }
    }

    /// Closes every door.
    pub(super) fn close_doors(&mut self) {
        self.swap_doors(Vec::new());
    }

    /// Keeps accepts outstanding on open doors, and closes those that are to be closed.
    pub(super) fn keep_accepting(&mut self) {
        let now = self.desk.now;
        if self.doors.paused_until.is_some_and(|until| now >= until) && !Mutant::RestsForEver.is_on() {
            self.doors.paused_until = None;
        }
        let resting = self.doors.paused_until.is_some() || self.desk.pressure.level() >= Level::NoAccepts;
        let each = self.doors.accepts_each();
        for index in 0..self.doors.doors.len() {
            match self.doors.doors[index].state {
                State::Open if resting => {}
                State::Open => self.post_accepts(index, each),
                // An accept that stands outstanding for a whole turn found the kernel's queue empty.
                State::Emptying { came: false } => self.cancel_accepts(index),
                State::Emptying { .. } => {
                    self.doors.doors[index].state = State::Emptying { came: false };
                    self.post_accepts(index, each);
                }
                State::Cancelling => {
                    let door = &mut self.doors.doors[index];
                    if door.accepting.is_empty() {
                        door.state = State::Closed;
                        self.io.remove_listener(door.listener);
                    } else if self.doors.has_missed_cancel {
                        self.cancel_accepts(index);
                    }
                }
                State::Closed => {}
            }
        }
        self.doors.has_missed_cancel = false;
    }

    /// The cancel of an accept has ended.
    pub(super) fn on_accept_cancel(&mut self, result: Result<u32, Errno>) {
        self.doors.has_missed_cancel |= result.is_err();
    }

    fn post_accepts(&mut self, index: usize, most: usize) {
        while self.doors.doors[index].accepting.len() < most
            && let Some(slot) = self.table.reserve()
        {
            self.table.at(slot).door = index;
            let door = &mut self.doors.doors[index];
            door.accepting.push(slot);
            let listener = door.listener;
            self.start(slot, Kind::Accept, Operation::Accept { listener });
        }
    }

    fn cancel_accepts(&mut self, index: usize) {
        let door = &mut self.doors.doors[index];
        door.state = State::Cancelling;
        for &slot in &door.accepting {
            let target = self.table.at(slot).token(Kind::Accept, slot);
            self.io.start(Token { kind: Kind::Cancel, generation: 0, slot: NO_SLOT }, Operation::Cancel { target });
        }
    }

    /// An accept has ended.
    pub(super) fn on_accepted(&mut self, slot: u32, result: Result<u32, Errno>, peer: Option<SocketAddr>) {
        // A door is only closed, and its place taken by another, when none of its accepts is outstanding.
        let index = self.table.at(slot).door;
        let door = &mut self.doors.doors[index];
        door.accepting.retain(|accepting| *accepting != slot);
        if let State::Emptying { came } = &mut door.state {
            *came = result.is_ok();
        }
        let closing = door.state != State::Open;
        let scopes = Arc::clone(&door.scopes);
        if let Err(errno) = result {
            self.table.release(slot);
            match errno {
                // Cancelled by us, or given up by the client before it was accepted.
                Errno::CANCELED | Errno::CONNABORTED | Errno::INTR | Errno::AGAIN => {}
                // No descriptor or memory, or something worse: in no case is it tried again at once.
                _ => {
                    self.desk.counters.accept_failures.one();
                    self.doors.paused_until = Some(self.desk.now.plus_ms(limits::ACCEPT_PAUSE_MS));
                }
            }
            return;
        }
        self.desk.counters.connections_accepted.one();
        let scope = Arc::clone(scopes.of(peer.map(|peer| peer.ip())));
        let preamble = scope.proxy_timeout_ms.map(|_| Box::new(Awaited::new(scopes)));
        self.seat(slot, peer, scope, preamble);
        self.neighbours.note_accepted();
        if closing {
            self.turn_away(slot, Reply::ShuttingDown);
        } else {
            self.welcome(slot);
        }
    }

    /// A client has come to a reserved slot.
    pub(super) fn seat(
        &mut self,
        slot: u32,
        peer: Option<SocketAddr>,
        scope: Arc<Scope>,
        preamble: Option<Box<Awaited>>,
    ) {
        self.table.opened();
        let now = self.desk.now;
        let connection = self.table.at(slot);
        *connection = Connection {
            stage: Stage::Preamble,
            preamble,
            scope: Some(scope),
            peer,
            accepted_at: now,
            heard_at: now,
            stage_at: now,
            generation: connection.generation,
            in_flight: connection.in_flight,
            cancels: connection.cancels,
            has_missed_cancel: connection.has_missed_cancel,
            ..Connection::new()
        };
    }

    /// The client of a slot is served here, if there is room.
    pub(super) fn serve(&mut self, slot: u32) {
        self.table.at(slot).stage = Stage::Preamble;
        if self.draining_until.is_some() {
            self.turn_away(slot, Reply::ShuttingDown);
        } else if self.table.served() > self.connections_most {
            self.desk.counters.connections_over_limit.one();
            self.turn_away(slot, Reply::TooManyConnections);
        } else {
            self.arm(slot);
            self.advance(slot);
        }
    }
}
