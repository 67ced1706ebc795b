//! Octets from clients: the receive of each connection, its stages, and the session that takes what comes.

use rustix::io::Errno;

use crate::handoff::intake::Intake;
use crate::limits;
use crate::mutant::Mutant;
use crate::policy::scope::Taking;
use crate::reactor::io::{Io, Kind, Operation, Received};
use crate::shard::connection::{Connection, Paused, Receiving, Stage};
use crate::shard::desk::{Desk, Progress};
use crate::shard::pressure::Level;
use crate::shard::{GROUP, Shard};
use crate::smtp::reply::Reply;

impl<I: Io, T: Intake> Shard<I, T> {
    /// Starts the connection's receive, unless it must not have one now.
    pub(super) fn arm(&mut self, slot: u32) {
        let level = self.desk.pressure.level();
        let has_no_room = self.must_wait_for_room(slot);
        let connection = self.table.at(slot);
        let held_back = has_no_room || (level >= Level::NoMailData && connection.session.is_receiving());
        // While a cancel is out it is not known what it will find; its end starts the receive.
        if connection.receiving != Receiving::Off || connection.paused.is_some() || connection.cancels > 0 {
            return;
        }
        if held_back {
            if !(has_no_room && Mutant::ForgetsHeldBack.is_on()) {
                self.unarmed.push(slot);
            }
            return;
        }
        connection.receiving = Receiving::Armed;
        self.start(slot, Kind::Receive, Operation::Receive { group: GROUP });
    }

    /// Whether the connection's mail data has to wait until memory comes back from consumers.
    fn must_wait_for_room(&mut self, slot: u32) -> bool {
        if !self.desk.handed_off.holds_back() {
            return false;
        }
        let connection = self.table.at(slot);
        let hands_off = connection.scope.as_ref().is_some_and(|scope| scope.taking != Taking::Discard);
        hands_off && connection.stage == Stage::Session && connection.session.is_receiving()
    }

    /// Cancels the connection's receive, if it has one.
    pub(super) fn disarm(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if connection.receiving == Receiving::Armed {
            connection.receiving = Receiving::Cancelling;
            let target = connection.token(Kind::Receive, slot);
            self.cancel(slot, target);
        }
    }

    /// Starts receives that had no buffer, or were held back.
    pub(super) fn keep_receiving(&mut self) {
        if self.receives_rest_until.is_some_and(|until| self.desk.now < until) {
            return;
        }
        self.receives_rest_until = None;
        for _ in 0..self.unarmed.len() {
            let slot = self.unarmed.swap_remove(0);
            if self.table.at(slot).is_open() && self.table.at(slot).stage < Stage::Gone {
                self.arm(slot);
            }
        }
    }

    /// Octets have come.
    pub(super) fn on_received(&mut self, slot: u32, received: Received, more: bool) {
        self.desk.counters.octets_received.add(u64::from(received.octets));
        if received.octets == 0 {
            self.io.release(received);
            return self.on_receive_ended(slot, Ok(0), more);
        }
        if matches!(self.table.at(slot).stage, Stage::Closing | Stage::Lingering | Stage::Gone) {
            if !Mutant::KeepsBufferOfDiscarded.is_on() {
                self.io.release(received);
            }
            self.discard(slot, received.octets);
            if !more {
                self.on_receive_stopped(slot);
            }
            return;
        }
        if self.table.at(slot).stage == Stage::Preamble {
            self.on_header(slot, received);
            if !more {
                self.on_receive_stopped(slot);
            }
            return;
        }
        if Mutant::ReadsReleasedBuffer.is_on() {
            self.io.release(received);
        }
        let progress = {
            let Self { io, desk, table, .. } = self;
            let connection = table.at(slot);
            connection.heard_at = desk.now;
            take_octets(desk, connection, slot, io.received(received))
        };
        self.io.release(received);
        self.after_input(slot, progress);
        if !more {
            self.on_receive_stopped(slot);
        }
    }

    /// A receive has ended without octets: the client's end, a failure, or no buffer.
    pub(super) fn on_receive_ended(&mut self, slot: u32, result: Result<u32, Errno>, more: bool) {
        if more {
            return;
        }
        match result {
            Ok(_) => {
                self.table.at(slot).receiving = Receiving::Ended;
                self.on_client_end(slot);
            }
            Err(Errno::NOBUFS) => {
                self.desk.counters.buffers_exhausted.one();
                self.table.at(slot).receiving = Receiving::Off;
                // Not at once: the buffers come back at the end of the turn at the latest.
                if !Mutant::ForgetsReceiveWithoutBuffer.is_on() {
                    self.unarmed.push(slot);
                }
            }
            // Our lack, not the client's fault: what it sent waits with the kernel.
            Err(Errno::NOMEM) => {
                self.desk.counters.receive_failures.one();
                self.table.at(slot).receiving = Receiving::Off;
                self.unarmed.push(slot);
                self.receives_rest_until = Some(self.desk.now.plus_ms(limits::RECEIVE_PAUSE_MS));
            }
            Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => self.on_receive_stopped(slot),
            Err(_) => {
                let connection = self.table.at(slot);
                connection.receiving = Receiving::Ended;
                // Behind the session's end a reset is just another way to go.
                if connection.stage < Stage::Closing {
                    self.desk.counters.connections_reset.one();
                }
                self.abandon(slot);
            }
        }
    }

    /// The receive will give no more, but the client may: cancelled by us, or ended by the kernel for reasons of its own.
    fn on_receive_stopped(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        let cancelled = connection.receiving == Receiving::Cancelling;
        connection.receiving = Receiving::Off;
        if !connection.is_open() || connection.stage == Stage::Gone {
            return;
        }
        if !cancelled {
            self.desk.counters.receives_rearmed.one();
            if Mutant::ForgetsReceiveThatEnded.is_on() {
                return;
            }
        }
        self.arm(slot);
    }

    /// The client has shut its sending side.
    fn on_client_end(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        match connection.stage {
            Stage::Lingering => self.give_up(slot),
            // The last replies go out first: a client may half-close and read on (CONFORMANCE "Closing").
            Stage::Closing => {}
            Stage::Session if Mutant::ForgetsHalfClosed.is_on() => self.give_up(slot),
            Stage::Session if connection.paused.is_some() || connection.session.is_waiting() => {}
            _ => self.end_by_client(slot),
        }
    }

    /// All that the client sent was taken, and no more will come.
    fn end_by_client(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if connection.session.is_in_transaction() {
            self.desk.counters.connections_lost_in_transaction.one();
        }
        self.close(slot);
    }

    /// What follows from how far the session came.
    pub(super) fn after_input(&mut self, slot: u32, progress: Progress) {
        let connection = self.table.at(slot);
        match progress {
            Progress::Hungry => {
                if connection.receiving == Receiving::Ended && connection.stage == Stage::Session {
                    if connection.session.is_waiting() {
                        self.list(slot);
                    } else {
                        self.end_by_client(slot);
                    }
                    return;
                }
                // A receive that is armed would bring more, as long as there is more.
                if self.must_wait_for_room(slot) {
                    self.disarm(slot);
                }
            }
            Progress::Blocked { .. } => {
                self.desk.counters.pauses.one();
                if self.desk.pressure.is_full() {
                    self.desk.counters.paused_input_full.one();
                    self.cut(slot, Reply::Overloaded);
                    return;
                }
                self.disarm(slot);
            }
            Progress::Over => self.close(slot),
        }
        self.list(slot);
        self.watch(slot);
    }

    /// Lets a paused session go on with the input that it could not take.
    pub(super) fn resume(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if Mutant::ForgetsPaused.is_on() {
            return;
        }
        let Some(mut paused) = connection.paused.take() else { return };
        let held = paused.held();
        if connection.stage != Stage::Session {
            return self.desk.pressure.give(held);
        }
        let progress = self.desk.feed(connection, slot, &paused.octets[paused.taken..]);
        if let Progress::Blocked { taken } = progress {
            // It stays where it is until all of it is taken: nothing is copied twice.
            paused.taken += taken;
            connection.paused = Some(paused);
            return self.list(slot);
        }
        self.desk.pressure.give(held);
        self.after_input(slot, progress);
        // The receive was cancelled for the pause; `arm` does nothing while it is still ending, which arms it later.
        self.arm(slot);
    }

    /// Moves the connection through its stages as far as it can go now.
    pub(super) fn advance(&mut self, slot: u32) {
        loop {
            let now = self.desk.now;
            let connection = self.table.at(slot);
            connection.stage = match connection.stage {
                Stage::Preamble if connection.preamble.is_some() => return self.watch(slot),
                Stage::Preamble => Stage::Scope,
                // It is found at the accept, or with the PROXY header: pass through.
                Stage::Scope => Stage::Handshake,
                // No TLS in this build: pass through.
                Stage::Handshake => Stage::Pause,
                Stage::Pause => {
                    let pause_ms = connection.scope.as_ref().map_or(0, |scope| scope.timeouts.greet_pause_ms);
                    if now < connection.stage_at.plus_ms(pause_ms) {
                        return self.watch(slot);
                    }
                    Stage::Greeting
                }
                Stage::Greeting => {
                    connection.stage = Stage::Session;
                    self.desk.open(connection, slot);
                    let over = connection.session.is_closed();
                    self.after_input(slot, if over { Progress::Over } else { Progress::Hungry });
                    return;
                }
                _ => return,
            };
            self.table.at(slot).stage_at = now;
        }
    }
}

/// Takes octets as they came from the socket.
pub(super) fn take_octets<T: Intake>(
    desk: &mut Desk<T>,
    connection: &mut Connection,
    slot: u32,
    mut octets: &mut [u8],
) -> Progress {
    let mut progress = Progress::Hungry;
    // The transport lends plain text out of itself or out of the octets, while the rest of the connection is worked on.
    let mut transport = std::mem::take(&mut connection.transport);
    while !octets.is_empty() {
        match transport.feed(&mut octets) {
            Ok(plain) => progress = take_plain(desk, connection, slot, plain),
            Err(_) => {
                progress = Progress::Over;
                break;
            }
        }
    }
    connection.transport = transport;
    progress
}

/// Takes plain text in the stage that the connection is in.
fn take_plain<T: Intake>(desk: &mut Desk<T>, connection: &mut Connection, slot: u32, plain: &[u8]) -> Progress {
    match connection.stage {
        Stage::Session => {
            if connection.paused.is_some() {
                keep_for_later(desk, connection, plain);
                return Progress::Blocked { taken: plain.len() };
            }
            let progress = desk.feed(connection, slot, plain);
            if let Progress::Blocked { taken } = progress {
                keep_for_later(desk, connection, &plain[taken..]);
            }
            progress
        }
        Stage::Pause => {
            // Only where a pause was configured: the client spoke before it was greeted.
            desk.refuse(connection, Reply::EarlyTalker);
            Progress::Over
        }
        // The connection is over, and what was behind its end in the same octets is discarded.
        _ => Progress::Over,
    }
}

/// Copies input that the session cannot take, because its buffer goes back to the kernel in this turn.
fn keep_for_later<T: Intake>(desk: &mut Desk<T>, connection: &mut Connection, plain: &[u8]) {
    let paused = connection.paused.get_or_insert_with(|| Box::new(Paused { octets: Vec::new(), taken: 0 }));
    let before = paused.held();
    let plain = if Mutant::LosesPausedOctet.is_on() && plain.len() > 1 { &plain[1..] } else { plain };
    paused.keep(plain);
    desk.pressure.take(paused.held() - before);
    desk.counters.octets_copied_paused.add(plain.len() as u64);
}
