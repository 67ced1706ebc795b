//! What comes from other threads, and answers whose time has come.

use rustix::io::Errno;

use crate::handoff::intake::Intake;
use crate::limits;
use crate::mutant::Mutant;
use crate::policy::decision::Ticket;
use crate::reactor::io::{Io, Kind, Operation, Token};
use crate::shard::Shard;
use crate::shard::connection::{Receiving, Stage};
use crate::shard::control::{Control, Page, SessionInfo};
use crate::shard::pressure::Level;
use crate::smtp::reply::Reply;
use crate::smtp::session::Outcome;

impl<I: Io, T: Intake> Shard<I, T> {
    /// Acts on control messages.
    pub(super) fn hear_control(&mut self) {
        self.has_more_control = false;
        for _ in 0..limits::CONTROL_MESSAGES_PER_TURN {
            let Some(message) = self.control.take() else { return };
            match message {
                Control::Swap(doors) => self.swap_doors(doors),
                Control::Drain { patience_ms } => self.drain(patience_ms),
                // Whoever asked may be gone; then nobody needs the answer.
                Control::List { from, reply } => drop(reply.send(self.page(from))),
                Control::Snapshot { empty, reply } => {
                    drop(reply.send(std::mem::replace(&mut self.desk.histograms, empty)));
                }
                Control::Outcome { ticket, outcome } => self.on_outcome(ticket, outcome),
                Control::Adopt(moved) => self.adopt(*moved),
            }
        }
        self.has_more_control = true;
    }

    /// Acts on what consumers say of messages that are awaited.
    pub(super) fn hear_intake(&mut self) {
        // BOUND: messages whose end is not answered.
        while let Some((ticket, outcome)) = self.desk.intake.outcome() {
            self.on_outcome(ticket, outcome);
        }
    }

    /// What was taken over in this turn goes on its way, before anybody is told that it was.
    pub(super) fn hand_on(&mut self) {
        self.desk.intake.hand_on(self.desk.now.ms());
        self.neighbours.note_refusing(self.desk.intake.is_refusing());
        while let Some((number, write)) = self.desk.intake.write() {
            self.writes.push((number, self.desk.now));
            self.io.start(Token { kind: Kind::Write, generation: 0, slot: number }, Operation::Write { write });
        }
    }

    /// Wakes those for whom there is something, once replies and writes are on their way.
    pub(super) fn wake_consumers(&mut self) -> Result<(), Errno> {
        if self.desk.intake.owes_wakes() {
            self.io.wait(None)?;
            self.desk.intake.wake_consumers();
        }
        Ok(())
    }

    /// A write of the intake's has come to its end.
    pub(super) fn on_written(&mut self, number: u32, result: Result<u32, Errno>) {
        let number = match self.writes.first() {
            Some((first, _)) if Mutant::MixesWrites.is_on() => *first,
            _ => number,
        };
        if let Some(index) = self.writes.iter().position(|(other, _)| *other == number) {
            let (_, since) = self.writes.swap_remove(index);
            self.desk.histograms.spool_write.saturating_record(self.desk.now.since_ns(since));
        }
        if Mutant::ForgetsFailedWrite.is_on() && result.is_err() {
            return;
        }
        self.desk.intake.written(number, result);
    }

    /// Gives delayed answers whose time has come.
    pub(super) fn answer_delayed(&mut self) {
        while let Some((ticket, outcome)) = self.desk.pop_delayed() {
            self.on_outcome(ticket, outcome);
        }
    }

    fn on_outcome(&mut self, ticket: Ticket, outcome: Outcome) {
        let token = Token { kind: Kind::Receive, generation: ticket.generation, slot: ticket.slot };
        let known = match self.table.of(token) {
            Some(connection) if connection.stage == Stage::Session => {
                self.desk.outcome(connection, ticket.question, outcome)
            }
            _ => false,
        };
        if known {
            self.after_outcome(ticket.slot);
        } else {
            self.desk.counters.answers_late.one();
        }
    }

    /// The session may go on, or be over.
    pub(super) fn after_outcome(&mut self, slot: u32) {
        self.list(slot);
        self.resume(slot);
        let connection = self.table.at(slot);
        if connection.stage != Stage::Session {
            return;
        }
        let ended = connection.receiving == Receiving::Ended && connection.paused.is_none();
        if connection.session.is_closed() || (ended && !connection.session.is_waiting()) {
            self.close(slot);
        }
        self.watch(slot);
    }

    fn drain(&mut self, patience_ms: u64) {
        self.close_doors();
        self.draining_until = Some(self.desk.now.plus_ms(patience_ms));
        for slot in 0..self.table.end() {
            let connection = self.table.at(slot);
            match connection.stage {
                Stage::Session => {
                    self.desk.drain(connection);
                    let over = connection.session.is_closed();
                    self.list(slot);
                    if over {
                        self.close(slot);
                    }
                }
                Stage::Preamble | Stage::Scope | Stage::Handshake | Stage::Pause | Stage::Greeting
                    if !Mutant::DrainForgetsUngreeted.is_on() =>
                {
                    self.turn_away(slot, Reply::ShuttingDown);
                }
                _ => {}
            }
        }
    }

    /// Sees whether the level of back-pressure changes.
    pub(super) fn relieve_pressure(&mut self) {
        let holding = self.desk.intake.holding();
        if self.desk.handed_off.update(holding, self.desk.now) {
            self.desk.counters.pressure_changes.one();
        }
        if self.desk.pressure.update() {
            self.desk.counters.pressure_changes.one();
            let level = self.desk.pressure.level();
            self.desk.counters.pressure_level.set(level as u64);
            self.note_pressure(level >= Level::NoAccepts);
        }
    }

    fn page(&mut self, from: u32) -> Page {
        let now = self.desk.now;
        let mut page = Page::default();
        for slot in from..self.table.end() {
            if page.sessions.len() == limits::SESSIONS_PER_PAGE {
                page.next = Some(slot);
                break;
            }
            let connection = self.table.at(slot);
            let is_ours = connection.is_open() && connection.stage != Stage::Leaving;
            let Some(scope) = connection.scope.as_ref().filter(|_| is_ours) else { continue };
            page.sessions.push(SessionInfo {
                slot,
                listener: scope.listener.clone(),
                peer: connection.peer,
                phase: connection.session.phase_name(),
                age_ms: now.since_ns(connection.accepted_at) / 1_000_000,
                messages: connection.session.messages(),
            });
        }
        page
    }
}
