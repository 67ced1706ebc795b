//! The orderly end of a connection: last replies, shut, discard, close (DESIGN decision 4).

use crate::limits;
use crate::reactor::io::{Io, Kind, Operation};
use crate::shard::Shard;
use crate::shard::connection::{Receiving, Sending, Stage};
use crate::smtp::reply::Reply;

impl<I: Io> Shard<I> {
    /// The session is over: once its replies are sent, the connection is shut. While answers are out it waits for them.
    pub(super) fn close(&mut self, slot: u32) {
        let now = self.desk.now;
        let connection = self.table.at(slot);
        if connection.stage >= Stage::Closing || connection.session.is_waiting() {
            return;
        }
        connection.stage = Stage::Closing;
        connection.stage_at = now;
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
        if connection.stage != Stage::Closing || connection.has_output() {
            return;
        }
        if connection.receiving == Receiving::Ended {
            return self.give_up(slot);
        }
        connection.stage = Stage::Lingering;
        connection.stage_at = now;
        connection.discarded = 0;
        self.start(slot, Kind::Shutdown, Operation::Shutdown);
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
        if connection.stage >= Stage::Gone {
            return;
        }
        connection.stage = Stage::Gone;
        let (paused, output) = (connection.paused.take(), std::mem::take(&mut connection.output));
        self.desk.pressure.give(paused.map_or(0, |paused| paused.held()));
        self.desk.pressure.give(output.len());
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
            self.start(slot, Kind::Cancel, Operation::Cancel { target });
        }
    }

    /// A cancel found nothing: what it was for has ended, or was just being worked on, between two waits, and goes on. Then
    /// it is cancelled again.
    pub(super) fn on_cancel_missed(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if connection.receiving == Receiving::Cancelling {
            connection.receiving = Receiving::Armed;
            if connection.paused.is_some() || connection.stage == Stage::Gone {
                self.disarm(slot);
            }
        }
        if self.table.at(slot).stage == Stage::Gone {
            self.cancel_send(slot);
        }
    }

    /// Closes the descriptor of a connection for which nothing is under way any more.
    pub(super) fn give_up_if_done(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if connection.stage == Stage::Gone && connection.in_flight == 0 && !connection.is_descriptor_closing {
            connection.is_descriptor_closing = true;
            self.start(slot, Kind::Close, Operation::Close);
        }
    }

    /// The descriptor is closed: the slot is free.
    pub(super) fn on_closed(&mut self, slot: u32) {
        self.desk.counters.connections_closed.one();
        self.table.release(slot);
    }
}
