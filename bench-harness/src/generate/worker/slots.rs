//! The connections of a worker: how each is made, heard, ended and made again.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ringmx::protocol::proxy::{Origin, write_v1, write_v2};
use ringmx::reactor::io::{GroupId, Io, Kind, Operation, Parts, Received, SendMode, Time, Token};
use ringmx::reactor::listening::Bind;
use ringmx::smtp::client::{InTheClear, Session};
use rustix::io::Errno;

use super::mischief::Mischief;
use super::{CONNECTS_AT_ONCE, RECONNECT_MS, Worker};
use crate::failure::Failure;
use crate::generate::arguments::ProxyVersion;
use crate::generate::talk::{Ear, Talk};
use crate::generate::tally::Timed;

const GROUP: GroupId = GroupId(0);

/// Peers have addresses from here on: RFC 2544's, which nobody else has.
const PEERS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Octets of memory above which it is given back behind a send.
const SPARE_OCTETS: usize = 512 * 1024;

/// Where a slot's connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    #[default]
    Free,
    /// It is being made.
    Connecting,
    /// It is.
    Open,
    /// It is being closed.
    Closing,
    /// There is none, and there will be none.
    Retired,
}

/// A connection, or room for one.
#[derive(Default)]
pub struct Slot<'p> {
    pub phase: Phase,
    /// Operations that have not ended.
    pub in_flight: u32,
    pub is_listed: bool,
    pub is_roomy: bool,
    /// Whether its first opening is over.
    pub has_arrived: bool,
    is_receiving: bool,
    /// Whether the next connection waits a while.
    has_failed: bool,
    /// Octets of the send under way, and where it began.
    pub sending: Option<(usize, usize)>,
    pub talk: Option<Talk<'p>>,
    pub connecting_since: Time,
    /// Which of the worker's connections it is, from 1 on.
    ordinal: u64,
    /// Whether its connections misbehave, and how.
    pub mischief: Option<Mischief>,
}

impl Slot<'_> {
    /// One that has no connection yet. Nobody waits for those that misbehave.
    pub fn new(mischief: Option<Mischief>) -> Self {
        Self { mischief, has_arrived: mischief.is_some(), ..Self::default() }
    }
}

/// Slots are used again only when nothing is in flight for them, so that one generation does.
pub fn token(kind: Kind, slot: u32) -> Token {
    Token { kind, generation: 0, slot }
}

/// Memory to write into, where there is none. What is to be sent may be shared octets alone, which need none.
pub fn lend(spare: &mut Vec<Parts>, out: &mut Parts) {
    if out.is_empty() && out.own.capacity() == 0 {
        *out = spare.pop().unwrap_or_default();
    }
}

/// Prints a side of the dialogue, but no secret.
pub fn show(prefix: &str, octets: &[u8]) {
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let line = if line.starts_with(b"AUTH PLAIN ") { b"AUTH PLAIN (not shown)" } else { line };
        println!("{prefix}{}", String::from_utf8_lossy(line).trim_end().escape_debug());
    }
}

impl Worker<'_> {
    /// Makes connections that are missing, a few at a time.
    pub fn connect_more(&mut self) {
        while self.connecting < CONNECTS_AT_ONCE
            && !self.is_ending
            && let Some(index) = self.unconnected.pop_front()
        {
            self.connecting += 1;
            self.tally.counts.connects += 1;
            let now = self.io.read_clock();
            let slot = &mut self.slots[index as usize];
            (slot.phase, slot.connecting_since) = (Phase::Connecting, now);
            self.wheel.set(index, self.deadline_of(now));
            let number = index as usize * self.plan.threads + self.thread;
            let route = self.routes[number % self.routes.len()].clone();
            self.start(index, Kind::Connect, Operation::Connect { route });
        }
    }

    pub fn deadline_of(&self, since: Time) -> Time {
        Time(since.0.saturating_add(self.plan.patience.as_nanos() as u64))
    }

    pub fn on_connected(&mut self, index: u32, result: Result<u32, Errno>) {
        self.connecting -= 1;
        let now = self.io.now();
        if let Err(errno) = result {
            return self.on_connect_failed(index, errno);
        }
        self.connections_made += 1;
        let slot = &mut self.slots[index as usize];
        slot.ordinal = self.connections_made;
        self.tally.time(Timed::Connect, now.since_ns(slot.connecting_since));
        slot.has_failed = false;
        if let Some(mischief) = slot.mischief {
            return self.misbehave(index, mischief, now);
        }
        let session = Session::new(self.terms.clone(), false);
        let mut talk = Talk::new(session, slot.talk.take(), self.terms.pipelining, now);
        self.write_proxy(index, &mut talk.out.own);
        let slot = &mut self.slots[index as usize];
        (slot.phase, slot.talk) = (Phase::Open, Some(talk));
        self.receive(index);
        self.list(index);
    }

    fn on_connect_failed(&mut self, index: u32, errno: Errno) {
        self.tally.counts.connects_failed += 1;
        self.tally.counts.ports_exhausted += u64::from(errno == Errno::ADDRNOTAVAIL);
        if self.connections_made == 0 && errno != Errno::CANCELED {
            let text = format!("cannot connect to {}: {}", self.plan.target_text, std::io::Error::from(errno));
            self.failure.get_or_insert(Failure::Unavailable(text));
        }
        self.give_up_if_gone();
        self.arrive(index);
        self.slots[index as usize].has_failed = true;
        self.close_descriptor(index);
    }

    /// A server that cannot be reached, or takes connections and says nothing, is not tried for ever.
    fn give_up_if_gone(&mut self) {
        if self.io.now() >= self.deadline_of(self.alive) {
            let silence = self.plan.patience;
            let text = format!("{} is gone: nothing was heard of it for {silence:.1?}", self.plan.target_text);
            // What was measured before stands in the report.
            self.gone.get_or_insert(text);
            self.gate.stop();
        }
    }

    pub fn receive(&mut self, index: u32) {
        self.slots[index as usize].is_receiving = true;
        self.start(index, Kind::Receive, Operation::Receive { group: GROUP });
    }

    /// The address of the peer that this connection pretends to be of: each in turn.
    fn peer(&self, index: u32) -> SocketAddrV4 {
        let ordinal = self.slots[index as usize].ordinal;
        let number = (ordinal * self.plan.threads as u64 + self.thread as u64) % u64::from(self.plan.peers);
        SocketAddrV4::new(Ipv4Addr::from(u32::from(PEERS) + number as u32), 1024 + (number % 60_000) as u16)
    }

    fn write_proxy(&self, index: u32, out: &mut Vec<u8>) {
        let Some(version) = self.plan.proxy else { return };
        let destination = match &self.plan.target {
            Bind::Tcp(SocketAddr::V4(address)) => *address,
            _ => SocketAddrV4::new(Ipv4Addr::LOCALHOST, 25),
        };
        let origin = Origin::V4 { source: self.peer(index), destination };
        match version {
            ProxyVersion::V1 => write_v1(&origin, out),
            // Addresses without values beside them always fit.
            ProxyVersion::V2 => drop(write_v2(&origin, &[], false, out)),
        }
    }

    /// XCLIENT, once on each connection.
    pub fn introduce(&mut self, index: u32) {
        let attributes = format!("ADDR={} NAME=peer.example", self.peer(index).ip());
        let Some(talk) = &mut self.slots[index as usize].talk else { return };
        talk.standing.is_introduced = true;
        talk.standing.is_ready = false;
        if let Err(refusal) = talk.session.xclient(attributes.as_bytes(), &mut talk.out.own) {
            let text = format!("XCLIENT cannot be sent to {}: {refusal}", self.plan.target_text);
            self.failure.get_or_insert(Failure::Unavailable(text));
        }
    }

    /// AUTH, once on each connection. The plan has made sure that it stays on this machine, or in its network.
    pub fn authenticate(&mut self, index: u32) {
        let (Some(talk), Some(login)) = (&mut self.slots[index as usize].talk, &self.plan.login) else { return };
        talk.standing.is_authenticated = true;
        talk.standing.is_ready = false;
        if let Err(refusal) = talk.session.auth(&login.credentials(), InTheClear::Allow, &mut talk.out.own) {
            let text = format!("AUTH PLAIN cannot be sent to {}: {refusal}", self.plan.target_text);
            self.failure.get_or_insert(Failure::Unavailable(text));
        }
    }

    pub fn on_received(&mut self, index: u32, received: Received) {
        if self.slots[index as usize].mischief.is_some() {
            return self.overhear(received);
        }
        self.tally.counts.octets_received += u64::from(received.octets);
        let now = self.io.now();
        self.alive = now;
        let octets = self.io.received(received);
        if self.plan.verbose {
            show("S: ", octets);
        }
        let mut ear = Ear {
            now,
            tally: &mut self.tally,
            supply: &mut self.supply,
            ledger: self.page.as_mut(),
            witness: self.plan.witness.as_deref(),
        };
        if let Some(talk) = &mut self.slots[index as usize].talk {
            lend(&mut self.spare, &mut talk.out);
            talk.hear(octets, &mut ear);
        }
        self.io.release(received);
        self.list(index);
    }

    /// `None`: it ended behind octets, and is to be started again, as when there were no buffers.
    pub fn on_receive_ended(&mut self, index: u32, result: Option<Result<u32, Errno>>) {
        let slot = &mut self.slots[index as usize];
        slot.is_receiving = false;
        if slot.phase != Phase::Open {
            return;
        }
        match result {
            None | Some(Err(Errno::NOBUFS)) => self.receive(index),
            Some(_) => self.hear_end(index),
        }
    }

    /// The connection is over: what was under way on it ends.
    fn hear_end(&mut self, index: u32) {
        let now = self.io.now();
        let is_early = |talk: &Talk<'_>| !talk.session.is_closed() && !talk.standing.is_ready;
        if self.slots[index as usize].talk.as_ref().is_some_and(is_early) {
            self.slots[index as usize].has_failed = true;
            // Before the start it may be slow to begin, and what it said then is told elsewhere.
            if self.start.is_some() && !self.is_ending {
                self.give_up_if_gone();
            }
        }
        let mut ear = Ear {
            now,
            tally: &mut self.tally,
            supply: &mut self.supply,
            ledger: self.page.as_mut(),
            witness: self.plan.witness.as_deref(),
        };
        if let Some(talk) = &mut self.slots[index as usize].talk {
            talk.session.handle_end();
            talk.hear(&[], &mut ear);
        }
        self.close(index);
    }

    pub fn on_sent(&mut self, index: u32, result: Result<u32, Errno>, mut parts: Parts) {
        let slot = &mut self.slots[index as usize];
        let Some((all, from)) = slot.sending.take() else { return };
        let sent = match result {
            Ok(sent) => sent as usize,
            Err(Errno::AGAIN) => 0,
            // The receive tells of the connection's end.
            Err(_) => all,
        };
        if from + sent < all && slot.phase == Phase::Open {
            let from = from + sent;
            slot.sending = Some((all, from));
            return self.start(index, Kind::Send, Operation::SendParts { parts, from, mode: SendMode::Patient });
        }
        parts.clear();
        if parts.own.capacity() <= SPARE_OCTETS {
            self.spare.push(parts);
        }
        if let Some(talk) = &mut slot.talk {
            talk.heard = self.io.now();
            // Without anything to write, nothing depends on the end of a send.
            if !talk.out.is_empty() || talk.has_more {
                self.list(index);
            }
        }
    }

    /// A session that has no more to do says QUIT.
    pub fn quit_if_done(&mut self, index: u32) {
        let most = self.plan.messages_per_connection.unwrap_or(u64::MAX);
        let is_over = self.is_ending || (self.start.is_some() && self.supply.is_exhausted());
        let slot = &mut self.slots[index as usize];
        let Some(talk) = &mut slot.talk else { return };
        let is_used_up = talk.messages >= most || talk.standing.is_spent;
        if !is_over && !is_used_up {
            return;
        }
        let is_idle = talk.session.in_flight() == 0;
        if is_idle || (is_used_up && self.plan.terms.depth > 1) {
            // It cannot be sent where the session is not that far, or has said it already.
            let _ = talk.session.quit(&mut talk.out.own);
        }
    }

    pub fn close(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.phase != Phase::Open {
            return;
        }
        self.arrive_at_last(index);
        if self.slots[index as usize].is_receiving {
            self.start(index, Kind::Cancel, Operation::Cancel { target: token(Kind::Receive, index) });
        }
        if self.slots[index as usize].sending.is_some() {
            self.start(index, Kind::Cancel, Operation::Cancel { target: token(Kind::Send, index) });
        }
        self.close_descriptor(index);
    }

    /// A connection that was closed before it was ready does not keep the others waiting.
    fn arrive_at_last(&mut self, index: u32) {
        if let Some(talk) = &mut self.slots[index as usize].talk {
            talk.standing.is_spent = true;
        }
        self.arrive(index);
    }

    fn close_descriptor(&mut self, index: u32) {
        self.slots[index as usize].phase = Phase::Closing;
        self.wheel.clear(index);
        self.start(index, Kind::Close, Operation::Close);
    }

    pub fn free_if_done(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.in_flight > 0 || slot.phase != Phase::Closing {
            return;
        }
        slot.phase = Phase::Free;
        if self.is_ending || self.supply.is_exhausted() {
            self.retire(index);
        } else if slot.has_failed || slot.mischief.is_some() {
            let at = self.io.now().plus_ms(RECONNECT_MS);
            self.wheel.set(index, at);
        } else {
            self.unconnected.push_back(index);
        }
    }

    /// No connection is wanted here any more.
    pub fn retire(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.phase == Phase::Free {
            slot.phase = Phase::Retired;
            self.open -= 1;
            self.wheel.clear(index);
            self.arrive_at_last(index);
        }
    }

    /// A time-out, or the time to try again. Time-outs move when they fire.
    pub fn on_timer(&mut self, index: u32, now: Time) {
        let slot = &self.slots[index as usize];
        if let (Phase::Open, Some(mischief)) = (slot.phase, slot.mischief) {
            return self.misbehave_on(index, mischief, now);
        }
        match slot.phase {
            Phase::Free => self.unconnected.push_back(index),
            Phase::Connecting if now >= self.deadline_of(slot.connecting_since) => {
                self.start(index, Kind::Cancel, Operation::Cancel { target: token(Kind::Connect, index) });
            }
            Phase::Open => {
                let heard = slot.talk.as_ref().map_or(now, |talk| talk.heard);
                let is_waiting = slot.talk.as_ref().is_some_and(|talk| talk.session.awaits().is_some());
                let deadline = self.deadline_of(if is_waiting { heard } else { now });
                if now < deadline {
                    return self.wheel.set(index, deadline);
                }
                self.tally.counts.sessions_timed_out += 1;
                let slot = &mut self.slots[index as usize];
                slot.has_failed = true;
                if let Some(talk) = &mut slot.talk {
                    talk.standing.has_timed_out = true;
                }
                self.hear_end(index);
            }
            Phase::Connecting | Phase::Closing | Phase::Retired => {}
        }
    }

    /// Nobody waits any longer.
    pub fn give_up_all(&mut self) {
        for index in 0..self.slots.len() as u32 {
            match self.slots[index as usize].phase {
                Phase::Open => self.hear_end(index),
                Phase::Free => self.retire(index),
                Phase::Connecting => {
                    self.start(index, Kind::Cancel, Operation::Cancel { target: token(Kind::Connect, index) });
                }
                Phase::Closing | Phase::Retired => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_octets_that_wait_are_not_lent_over() {
        let mut spare = vec![Parts::from(Vec::with_capacity(10))];
        let mut out = Parts::default();
        assert!(out.share(b"text of the pool"));
        lend(&mut spare, &mut out);
        assert_eq!((out.len(), spare.len()), (16, 1));
        out = Parts::default();
        lend(&mut spare, &mut out);
        assert!(out.own.capacity() >= 10 && spare.is_empty());
    }
}
