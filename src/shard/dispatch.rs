//! Replies to clients: one send for each connection in a turn, and never two under way.

use rustix::io::Errno;

use crate::handoff::intake::Intake;
use crate::metrics::histograms::Histograms;
use crate::mutant::Mutant;
use crate::reactor::io::{Io, Kind, Operation, SendMode, Time};
use crate::shard::Shard;
use crate::shard::connection::{Connection, Sending, Stage};

impl<I: Io, T: Intake> Shard<I, T> {
    /// Notes that the connection may have replies to send.
    pub(super) fn list(&mut self, slot: u32) {
        let connection = self.table.at(slot);
        if !connection.is_listed {
            connection.is_listed = true;
            self.listed.push(slot);
        }
    }

    /// Starts the sends of this turn.
    pub(super) fn dispatch_replies(&mut self) {
        let mut clock = None;
        let mut listed = std::mem::take(&mut self.listed);
        for slot in listed.drain(..) {
            let connection = self.table.at(slot);
            connection.is_listed = false;
            let is_sending = connection.sending != Sending::Idle && !Mutant::SendsTwice.is_on();
            if connection.output.is_empty() || is_sending || connection.stage >= Stage::Gone {
                self.shut_if_sent(slot);
                continue;
            }
            let now = *clock.get_or_insert_with(|| self.io.read_clock());
            record_latencies(&mut self.desk.histograms, connection, now);
            let held = connection.output.len() as u32;
            let octets = connection.transport.seal(std::mem::take(&mut connection.output));
            // [`limits::OUTPUT_OCTETS`], and what a cipher adds.
            connection.sending = Sending::Underway { octets: octets.len() as u32, from: 0, held };
            // Something follows when these are sent: the end, or the input that had to wait.
            let awaited = connection.stage == Stage::Closing || connection.paused.is_some();
            let mode = if awaited { SendMode::Prompt } else { SendMode::Quiet };
            self.start(slot, Kind::Send, Operation::Send { octets, from: 0, mode });
        }
        self.listed = listed;
    }

    /// A send has ended.
    pub(super) fn on_sent(&mut self, slot: u32, result: Result<u32, Errno>, octets: Vec<u8>) {
        let connection = self.table.at(slot);
        let Sending::Underway { octets: all, from, held } = connection.sending else { return };
        let sent = match result {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => 0,
            Err(_) => all,
        };
        self.desk.counters.octets_sent.add(if result.is_ok() { u64::from(sent) } else { 0 });
        if result.is_ok() && sent > 0 {
            // A client that reads is not idle, though it may not be able to say anything while its replies back up.
            connection.heard_at = self.desk.now;
        }
        let is_reset = result.is_err() && sent == all;
        if from + sent < all && connection.stage < Stage::Gone && !Mutant::DropsRestOfSend.is_on() {
            self.desk.counters.short_sends.one();
            let from = from + sent;
            connection.sending = Sending::Underway { octets: all, from, held };
            return self.start(
                slot,
                Kind::Send,
                Operation::Send { octets, from: from as usize, mode: SendMode::Patient },
            );
        }
        connection.sending = Sending::Idle;
        self.desk.pressure.give(held as usize);
        self.desk.keep_spare(octets);
        let connection = self.table.at(slot);
        if connection.stage >= Stage::Gone {
            return;
        }
        if is_reset {
            self.desk.counters.connections_reset.one();
            return self.abandon(slot);
        }
        if connection.session.owes_replies() {
            self.desk.poll_replies(connection);
            self.after_outcome(slot);
        } else {
            if !connection.output.is_empty() {
                self.list(slot);
            }
            self.resume(slot);
        }
        self.shut_if_sent(slot);
    }
}

/// The replies in hand are about to be given to the kernel.
fn record_latencies(histograms: &mut Histograms, connection: &mut Connection, now: Time) {
    let moments = &mut connection.moments;
    if std::mem::take(&mut moments.is_greeting) {
        histograms.accept_to_greeting.saturating_record(now.since_ns(connection.accepted_at));
    }
    if let Some(mail) = moments.data.take() {
        histograms.mail_to_data.saturating_record(now.since_ns(mail));
    }
    if let Some(ended) = moments.ended.take() {
        let endings = u64::from(std::mem::take(&mut moments.endings));
        histograms.end_to_reply.saturating_record_n(now.since_ns(ended), endings);
    }
}
