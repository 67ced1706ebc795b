//! The orderly end of a connection: last replies, shut, discard, close (DESIGN decision 4).

use crate::handoff::intake::Intake;
use crate::limits;
use crate::mutant::Mutant;
use crate::reactor::io::{Io, Kind, Operation, Token};
use crate::shard::Shard;
use crate::shard::connection::{Receiving, Sending, Stage};
use crate::smtp::reply::Reply;

impl<I: Io, T: Intake> Shard<I, T> {
    /// The session is over: once its replies are sent, the connection is shut. While answers are out it waits for them.
    pub(super) fn close(&mut self, slot: u32) {
        let now = self.desk.now;
        let connection = self.table.at(slot);
        if connection.stage >= Stage::Closing || connection.session.is_waiting() {
            return;
        }
        connection.stage = Stage::Closing;
        connection.stage_at = now;
        self.desk.intake.abort(slot);
        if let Some(paused) = connection.paused.take() {
            self.desk.pressure.give(paused.held());
        }
        // What still comes is discarded, and the client's end must be seen.
        self.arm(slot);
        self.list(slot);
        self.watch(slot);
    }

    /// A client that is not served hears why, in place of a greeting.
    pub(super) fn turn_away(&mut self, slot: u32, reply: Reply) {
        self.table.turned_away(slot);
        let connection = self.table.at(slot);
        connection.stage = Stage::Session;
        self.desk.refuse(connection, reply);
        self.close(slot);
    }

    /// Ends a session for a reason of ours, whatever it waits for.
    pub(super) fn cut(&mut self, slot: u32, reply: Reply) {
        let connection = self.table.at(slot);
        if connection.stage >= Stage::Closing || connection.session.is_waiting() || connection.sending != Sending::Idle
        {
            // Nothing can be said: answers to come would have to be given first, or the client does not read.
            return self.abandon(slot);
        }
        self.desk.refuse(connection, reply);
        self.close(slot);
    }

    /// When the last reply is sent, the sending side is shut, so that the client sees the end and no reply is lost.
    pub(super) fn shut_if_sent(&mut self, slot: u32) {
        let now = self.desk.now;
        let connection = self.table.at(slot);
        let has_output = connection.has_output() && !Mutant::ClosesBeforeReplies.is_on();
        if connection.stage != Stage::Closing || has_output {
            return;
        }
        if connection.receiving == Receiving::Ended {
            return self.give_up(slot);
        }
        connection.stage = Stage::Lingering;
        connection.stage_at = now;
        connection.discarded = 0;
        self.start(slot, Kind::Shutdown, Operation::Shutdown);
        if Mutant::LingersForEver.is_on() {
            return self.wheel.clear(slot);
        }
        self.watch(slot);
    }

    /// Octets that came after the end of the session.
    pub(super) fn discard(&mut self, slot: u32, octets: u32) {
        let connection = self.table.at(slot);
        connection.discarded += u64::from(octets);
        if connection.stage == Stage::Lingering && connection.discarded > limits::LINGER_OCTETS {
            self.give_up(slot);
        }
    }

    /// Ends a connection at once: nothing more can or must be said.
    pub(super) fn abandon(&mut self, slot: u32) {
        if self.table.at(slot).session.is_in_transaction() && self.table.at(slot).stage == Stage::Session {
            self.desk.counters.connections_lost_in_transaction.one();
        }
        self.give_up(slot);
    }

    /// Cancels what is under way; the descriptor is closed when all of it has ended.
    pub(super) fn give_up(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        // One that was handed over is another shard's already.
        if connection.stage >= Stage::Gone || connection.is_descriptor_closing {
            return;
        }
        connection.stage = Stage::Gone;
        self.desk.intake.abort(slot);
        self.desk.forget(connection, slot);
        let (paused, output) = (connection.paused.take(), std::mem::take(&mut connection.output));
        self.desk.pressure.give(paused.map_or(0, |paused| paused.held()));
        if !Mutant::LeaksMemory.is_on() {
            self.desk.pressure.give(output.len());
        }
        self.desk.keep_spare(output);
        self.wheel.clear(slot);
        self.disarm(slot);
        self.cancel_send(slot);
        self.give_up_if_done(slot);
    }

    fn cancel_send(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if connection.sending != Sending::Idle {
            let target = connection.token(Kind::Send, slot);
            self.cancel(slot, target);
        }
    }

    /// Cancels the receive or the send of a connection: at most one cancel for each is out.
    pub(super) fn cancel(&mut self, slot: u32, target: Token) {
        self.table.at(slot).cancels += 1;
        self.start(slot, Kind::Cancel, Operation::Cancel { target });
    }

    /// A cancel has ended. If it found nothing, what it was for has ended, or was just being worked on, between two waits, and
    /// goes on: then it is cancelled again, when no other cancel is out that may be for the same.
    pub(super) fn on_cancelled(&mut self, slot: u32, has_found: bool) {
        let connection = self.table.at(slot);
        connection.cancels -= 1;
        connection.has_missed_cancel |= !has_found;
        if Mutant::ForgetsMissedCancel.is_on() || (connection.cancels > 0 && !Mutant::RepeatsCancels.is_on()) {
            return;
        }
        let has_missed = std::mem::take(&mut connection.has_missed_cancel);
        let is_gone = connection.stage == Stage::Gone;
        if has_missed && connection.receiving == Receiving::Cancelling {
            connection.receiving = Receiving::Armed;
            if connection.paused.is_some() || is_gone {
                self.disarm(slot);
            }
        }
        match (is_gone, has_missed) {
            (true, true) => self.cancel_send(slot),
            (true, false) => {}
            // What was cancelled may be wanted again by now.
            (false, _) => self.arm(slot),
        }
    }

    /// Closes the descriptor of a connection for which nothing is under way any more.
    pub(super) fn give_up_if_done(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        let is_idle = connection.in_flight == 0 || Mutant::FreesSlotInFlight.is_on();
        if connection.stage == Stage::Gone && is_idle && !connection.is_descriptor_closing {
            connection.is_descriptor_closing = true;
            self.start(slot, Kind::Close, Operation::Close);
        }
    }

    /// The descriptor is closed: the slot is free.
    pub(super) fn on_closed(&mut self, slot: u32) {
        self.note_released(slot);
        self.table.release(slot);
    }
}
