//! The engine's loop with everything taken out of it: accept, receive, answer by rote, send, close.
//!
//! *The same as the engine*: ring, buffers, accepts outstanding, slots, one send for each connection in a turn, one system
//! call for each turn. *Not the same, and so below any correct server*: no parser, no limits, no timers, no latencies; and a
//! close does not wait for the client (its receive is cancelled and the descriptor closed behind the last reply).

use std::os::fd::OwnedFd;

use ringmx::handoff::mailbox::Receiver;
use ringmx::limits;
use ringmx::reactor::io::{
    Completion, GroupId, Io, IoCounts, Kind, ListenerId, Operation, Payload, Received, SendMode, Token,
};
use ringmx::reactor::ring::Ring;
use rustix::io::Errno;

const GROUP: GroupId = GroupId(0);
const NO_SLOT: u32 = u32::MAX;

/// What a responder answers.
pub trait Rote {
    /// What it remembers of a connection.
    type State: Default;

    /// A client has come.
    fn greet(&mut self, output: &mut Vec<u8>);

    /// Octets have come.
    fn hear(&mut self, state: &mut Self::State, octets: &[u8], output: &mut Vec<u8>) -> Then;

    /// The client has shut its side.
    fn hear_end(&mut self, _state: &mut Self::State, _output: &mut Vec<u8>) {}
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It does.
    GoOn,
    /// It is closed behind the output.
    Close,
}

/// Tells a responder to stop.
#[derive(Debug)]
pub struct Stop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Free,
    Accepting,
    Open,
    Closing,
    Closed,
}

struct Slot<S> {
    phase: Phase,
    state: S,
    /// Operations that have not ended.
    in_flight: u32,
    receiving: bool,
    listed: bool,
    output: Vec<u8>,
    /// Octets of the send under way, and where it began.
    sending: Option<(usize, usize)>,
}

/// See the module.
pub struct Responder<R: Rote> {
    io: Ring,
    /// What it answers, and what that has counted.
    rote: R,
    stop: Receiver<Stop>,
    listener: ListenerId,
    slots: Vec<Slot<R::State>>,
    free: Vec<u32>,
    accepting: usize,
    /// Slots with something to send, or to close.
    listed: Vec<u32>,
    /// Output buffers that no connection uses.
    spare: Vec<Vec<u8>>,
}

impl<R: Rote> Responder<R> {
    /// A responder with so many slots, which the ring must have.
    pub fn new(mut io: Ring, socket: OwnedFd, slots: u32, rote: R, stop: Receiver<Stop>) -> Self {
        let listener = io.add_listener(socket);
        io.start(Token { kind: Kind::Wake, generation: 0, slot: NO_SLOT }, Operation::AwaitWake);
        let slot = || Slot {
            phase: Phase::Free,
            state: R::State::default(),
            in_flight: 0,
            receiving: false,
            listed: false,
            output: Vec::new(),
            sending: None,
        };
        Self {
            io,
            rote,
            stop,
            listener,
            slots: (0..slots).map(|_| slot()).collect(),
            free: (0..slots).rev().collect(),
            accepting: 0,
            listed: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Turns until it is told to stop. Gives what was counted.
    pub fn run(mut self) -> Result<(R, IoCounts), Errno> {
        loop {
            self.keep_accepting();
            self.dispatch();
            let until = self.io.now().plus_ms(limits::IDLE_MS);
            self.io.wait(Some(until))?;
            for _ in 0..limits::COMPLETIONS_PER_TURN {
                let Some(completion) = self.io.complete() else { break };
                self.handle(completion);
            }
            if self.stop.take().is_some() {
                let counts = self.io.counts();
                return Ok((self.rote, counts));
            }
        }
    }

    fn handle(&mut self, completion: Completion) {
        let Completion { token, result, more, payload } = completion;
        if token.kind == Kind::Wake {
            return self.io.start(token, Operation::AwaitWake);
        }
        let slot = token.slot;
        if !more {
            self.slots[slot as usize].in_flight -= 1;
        }
        match (token.kind, payload) {
            (Kind::Accept, _) => self.on_accepted(slot, result.is_ok()),
            (Kind::Receive, Payload::Received(received)) if received.octets > 0 => {
                self.on_received(slot, received);
                if !more {
                    self.on_receive_ended(slot, true);
                }
            }
            (Kind::Receive, payload) => {
                if let Payload::Received(received) = payload {
                    self.io.release(received);
                }
                if !more {
                    self.on_receive_ended(slot, result == Err(Errno::NOBUFS));
                }
            }
            (Kind::Send, Payload::Octets(octets)) => self.on_sent(slot, result, octets),
            _ => {}
        }
        self.free_if_done(slot);
    }

    fn keep_accepting(&mut self) {
        while self.accepting < limits::ACCEPTS_PER_SOCKET
            && let Some(slot) = self.free.pop()
        {
            self.accepting += 1;
            self.slots[slot as usize].phase = Phase::Accepting;
            self.start(slot, Kind::Accept, Operation::Accept { listener: self.listener });
        }
    }

    fn on_accepted(&mut self, index: u32, is_open: bool) {
        self.accepting -= 1;
        let slot = &mut self.slots[index as usize];
        if !is_open {
            slot.phase = Phase::Closed;
            return;
        }
        slot.phase = Phase::Open;
        slot.state = R::State::default();
        slot.output = self.spare.pop().unwrap_or_default();
        self.rote.greet(&mut slot.output);
        self.receive(index);
        self.list(index);
    }

    fn receive(&mut self, index: u32) {
        self.slots[index as usize].receiving = true;
        self.start(index, Kind::Receive, Operation::Receive { group: GROUP });
    }

    fn on_received(&mut self, index: u32, received: Received) {
        let slot = &mut self.slots[index as usize];
        if slot.phase == Phase::Open {
            if slot.output.capacity() == 0 {
                slot.output = self.spare.pop().unwrap_or_default();
            }
            let octets = self.io.received(received);
            if self.rote.hear(&mut slot.state, octets, &mut slot.output) == Then::Close {
                slot.phase = Phase::Closing;
            }
        }
        self.io.release(received);
        self.list(index);
    }

    fn on_receive_ended(&mut self, index: u32, again: bool) {
        let slot = &mut self.slots[index as usize];
        slot.receiving = false;
        if slot.phase != Phase::Open {
            return;
        }
        if again {
            return self.receive(index);
        }
        slot.phase = Phase::Closing;
        self.rote.hear_end(&mut slot.state, &mut slot.output);
        self.list(index);
    }

    fn list(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.listed && (!slot.output.is_empty() || slot.phase == Phase::Closing) {
            slot.listed = true;
            self.listed.push(index);
        }
    }

    /// One send for each connection that has something to say, and behind it the close, if it was the last.
    fn dispatch(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        for index in listed.drain(..) {
            let slot = &mut self.slots[index as usize];
            slot.listed = false;
            if slot.sending.is_some() {
                continue;
            }
            let (phase, receiving) = (slot.phase, slot.receiving);
            if !slot.output.is_empty() {
                let octets = std::mem::take(&mut slot.output);
                slot.sending = Some((octets.len(), 0));
                self.start(index, Kind::Send, Operation::Send { octets, from: 0, mode: SendMode::Quiet });
            }
            if phase == Phase::Closing {
                self.slots[index as usize].phase = Phase::Closed;
                if receiving {
                    let target = Token { kind: Kind::Receive, generation: 0, slot: index };
                    self.start(index, Kind::Cancel, Operation::Cancel { target });
                }
                self.start(index, Kind::Close, Operation::Close);
            }
        }
        self.listed = listed;
    }

    fn on_sent(&mut self, index: u32, result: Result<u32, Errno>, mut octets: Vec<u8>) {
        let slot = &mut self.slots[index as usize];
        let Some((all, from)) = slot.sending.take() else { return };
        let sent = match result {
            Ok(sent) => sent as usize,
            Err(Errno::AGAIN) => 0,
            Err(_) => all,
        };
        if from + sent < all && slot.phase != Phase::Closed {
            let from = from + sent;
            slot.sending = Some((all, from));
            return self.start(index, Kind::Send, Operation::Send { octets, from, mode: SendMode::Patient });
        }
        octets.clear();
        self.spare.push(octets);
        self.list(index);
    }

    fn start(&mut self, slot: u32, kind: Kind, operation: Operation) {
        self.slots[slot as usize].in_flight += 1;
        self.io.start(Token { kind, generation: 0, slot }, operation);
    }

    fn free_if_done(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.phase == Phase::Closed && slot.in_flight == 0 {
            slot.phase = Phase::Free;
            self.free.push(index);
        }
    }
}
