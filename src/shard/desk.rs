//! What a connection's session needs around it while it takes input: policy, intake, time, chance, and where replies go.
//!
//! *Does not* know the reactor: nothing here starts an operation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use crate::handoff::intake::{Arrived, Intake};
use crate::limits;
use crate::mail::checksum;
use crate::mail::manifest::Origin;
use crate::metrics::counters::Counters;
use crate::metrics::histograms::Histograms;
use crate::mutant::Mutant;
use crate::policy::decision::{Asked, Decision, Ticket};
use crate::policy::scope::{Scope, Taking};
use crate::protocol::xclient::{self, Known, Xclient};
use crate::reactor::io::Time;
use crate::shard::connection::{Connection, Deferred};
use crate::shard::pressure::{HandedOff, Level, Pressure};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::{Effect, Outcome, Point, Question};

/// How far a session came with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All was taken.
    Hungry,
    /// It can take no more for now; so many octets of the input were taken.
    Blocked {
        /// From the front.
        taken: usize,
    },
    /// The session is over.
    Over,
}

/// An answer that is to be given at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delayed {
    at: Time,
    ticket: Ticket,
    outcome: Outcome,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |delayed: &Self| (delayed.at, delayed.ticket.slot, delayed.ticket.question);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a desk is made with.
#[derive(Debug)]
pub struct DeskOptions<T> {
    /// The shard's number.
    pub shard: u16,
    /// Where mail goes.
    pub intake: T,
    /// What is counted.
    pub counters: Arc<CachePadded<Counters>>,
    /// Octets of memory that sessions may hold in all.
    pub session_octets: u64,
}

/// See the module. One for each shard.
#[derive(Debug)]
pub struct Desk<T> {
    /// The shard's number.
    pub shard: u16,
    /// The time of this turn.
    pub now: Time,
    /// The same by the calendar, in ms since 1970.
    pub at_ms: u64,
    /// Where mail goes.
    pub intake: T,
    /// What is counted.
    pub counters: Arc<CachePadded<Counters>>,
    /// What is timed.
    pub histograms: Box<Histograms>,
    /// Memory that sessions hold.
    pub pressure: Pressure,
    /// Memory of messages that are handed off, or will be.
    pub handed_off: HandedOff,
    /// The replies of the connection in hand; its octets are the connection's own.
    replies: Option<Box<Replies>>,
    /// Output buffers that no connection uses.
    spare: Vec<Vec<u8>>,
    random: u64,
    delayed: BinaryHeap<Reverse<Delayed>>,
}

impl<T: Intake> Desk<T> {
    /// A desk, with a seed for what is decided by chance.
    pub fn new(options: DeskOptions<T>, now: Time, seed: u64) -> Self {
        let DeskOptions { shard, intake, counters, session_octets } = options;
        Self {
            shard,
            now,
            at_ms: 0,
            intake,
            counters,
            histograms: Box::default(),
            pressure: Pressure::new(session_octets),
            handed_off: HandedOff::new(now),
            replies: Some(Box::default()),
            spare: (0..limits::OUTPUT_BUFFERS_PREPARED)
                .map(|_| Vec::with_capacity(limits::OUTPUT_BUFFER_OCTETS))
                .collect(),
            random: seed | 1,
            delayed: BinaryHeap::new(),
        }
    }

    /// Lets the connection's session work with replies that go to the connection's output.
    fn with_replies<R>(
        &mut self,
        connection: &mut Connection,
        work: impl FnOnce(&mut Self, &mut Connection, &mut Replies) -> R,
    ) -> R {
        let mut octets = std::mem::take(&mut connection.output);
        if octets.capacity() == 0 {
            octets = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(limits::OUTPUT_BUFFER_OCTETS));
        }
        let before = octets.len();
        // The counts stay with the desk, the octets with the connection: only the vector is moved in and out.
        let mut replies = self.replies.take().unwrap_or_default();
        replies.octets = octets;
        let result = work(self, connection, &mut replies);
        while let Some(deferred) = connection.take_answered() {
            if deferred.is_ending {
                self.histograms.end_to_reply.saturating_record(self.now.since_ns(deferred.at));
            }
        }
        let octets = std::mem::take(&mut replies.octets);
        self.replies = Some(replies);
        self.pressure.take(octets.len() - before);
        if octets.is_empty() {
            self.keep_spare(octets);
        } else {
            connection.output = octets;
        }
        result
    }

    /// Keeps an output buffer for the next connection that needs one.
    pub fn keep_spare(&mut self, mut octets: Vec<u8>) {
        if self.spare.len() < limits::OUTPUT_BUFFERS_KEPT && octets.capacity() <= limits::OUTPUT_KEPT_OCTETS {
            octets.clear();
            self.spare.push(octets);
        }
    }

    /// Asks whether the client is served, and greets it.
    pub fn open(&mut self, connection: &mut Connection, slot: u32) {
        let Some(scope) = connection.scope.clone() else { return };
        self.with_replies(connection, |desk, connection, replies| {
            let number = connection.session.question_number();
            let Effect::Ask(question) = connection.session.handle_open() else { return };
            let origin = || Origin::Unknown;
            let decision = desk.decide(&scope, connection.generation, slot, number, question, origin);
            desk.settle(connection, &scope, slot, decision, Point::Connect, replies);
        });
    }

    /// Gives input to the connection's session until it is used up, or the session can take no more.
    pub fn feed(&mut self, connection: &mut Connection, slot: u32, input: &[u8]) -> Progress {
        let Some(scope) = connection.scope.clone() else { return Progress::Over };
        self.with_replies(connection, |desk, connection, replies| {
            let progress = desk.drive(connection, &scope, slot, input, replies);
            let copied = connection.session.take_copied_octets();
            if copied > 0 {
                desk.counters.octets_copied_commands.add(copied);
            }
            connection.note_progress(desk.now);
            progress
        })
    }

    #[inline]
    fn drive(
        &mut self,
        connection: &mut Connection,
        scope: &Scope,
        slot: u32,
        input: &[u8],
        replies: &mut Replies,
    ) -> Progress {
        let mut rest = input;
        loop {
            let number = connection.session.question_number();
            let generation = connection.generation;
            match connection.session.handle_input(&scope.settings, &mut rest, replies) {
                Effect::Continue => {}
                Effect::NeedInput => return Progress::Hungry,
                Effect::Blocked => return Progress::Blocked { taken: input.len() - rest.len() },
                Effect::Content(piece) => {
                    if scope.sums_content {
                        connection.checksum = checksum::crc32c_append(connection.checksum, piece);
                    }
                    let copied = self.intake.content(scope, slot, piece);
                    if copied > 0 {
                        self.counters.octets_copied_content.add(copied as u64);
                    }
                }
                Effect::Abort => {
                    self.counters.messages_void.one();
                    if !Mutant::SumsAbortedContent.is_on() {
                        connection.checksum = 0;
                    }
                    if !Mutant::KeepsAbortedContent.is_on() {
                        self.intake.abort(slot);
                    }
                }
                // No listener of this build offers it.
                Effect::StartTls => return Progress::Over,
                Effect::Close => return Progress::Over,
                Effect::Ask(Question::Xclient { attributes }) => {
                    // Who may say so was decided with the scope.
                    let outcome = match xclient::parse(attributes) {
                        Ok(client) => {
                            let mut peer = connection.peer;
                            note_peer(&mut peer, &client);
                            if scope.serves(peer.map(|peer| peer.ip())) {
                                connection.is_peer_unknown |= client.address == Some(Known::Unavailable);
                                connection.peer = peer;
                                Outcome::Accept
                            } else {
                                Outcome::Refuse(Reply::AccessDenied)
                            }
                        }
                        Err(_) => Outcome::Refuse(Reply::BadXclient),
                    };
                    connection.session.answer(&scope.settings, outcome, replies);
                }
                Effect::Ask(question) => {
                    let point = question.point();
                    let origin = || origin(connection.peer, connection.is_peer_unknown);
                    let decision = self.decide(scope, generation, slot, number, question, origin);
                    let taken = replies.messages.taken;
                    self.settle(connection, scope, slot, decision, point, replies);
                    if scope.sums_content && point == Point::EndOfData {
                        self.note_content(connection, number, replies.messages.taken > taken);
                    }
                }
            }
        }
    }

    /// The content of a message has come to its end, under this question: its checksum counts when the message does, at once
    /// or when the answer comes.
    fn note_content(&mut self, connection: &mut Connection, question: u32, is_taken: bool) {
        let checksum = std::mem::take(&mut connection.checksum);
        if is_taken {
            self.add_checksum(checksum);
        } else if let Some(deferred) = connection.asked.back_mut().filter(|deferred| deferred.question == question) {
            deferred.checksum = checksum;
        }
    }

    fn add_checksum(&self, checksum: u32) {
        self.counters.content_checksums.one();
        self.counters.content_checksum_sum.add(u64::from(checksum));
    }

    /// What policy, memory and intake say. Where the message came from is asked at its end.
    #[inline]
    fn decide(
        &mut self,
        scope: &Scope,
        generation: u32,
        slot: u32,
        number: u32,
        question: Question<'_>,
        origin: impl Fn() -> Origin,
    ) -> Decision {
        if question.point() == Point::Mail && self.level(scope) >= Level::NoMail {
            return Decision::Now(Outcome::Refuse(Reply::NoMemory));
        }
        if question.point() == Point::Mail
            && let Some(reply) = self.intake.refuses(scope)
        {
            return Decision::Now(Outcome::Refuse(reply));
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = self.random ^ (self.random >> 29);
        let ticket = Ticket { shard: self.shard, slot, generation, question: number };
        let decision = scope.policy.decide(&Asked { question, ticket, random });
        let Question::EndOfData(ended) = question else {
            return match decision {
                Decision::Now(Outcome::AcceptFor(route))
                    if scope.taking != Taking::Discard && !self.intake.admits(scope, route) =>
                {
                    self.counters.recipients_without_room.one();
                    Decision::Now(Outcome::Refuse(Reply::InsufficientStorage))
                }
                other => other,
            };
        };
        let accepted =
            matches!(decision, Decision::Now(Outcome::Accept) | Decision::After { outcome: Outcome::Accept, .. });
        if !accepted {
            self.intake.abort(slot);
            let is_refused = match &decision {
                Decision::Now(outcome) | Decision::After { outcome, .. } => outcome.refusal().is_some(),
                Decision::Elsewhere => false,
            };
            if scope.taking != Taking::Discard && !is_refused {
                // Whoever accepted it later would accept what nobody has.
                debug_assert!(false, "{decision:?} at the end of mail data, which is handed off");
                return Decision::Now(Outcome::Refuse(Reply::DeliveryFailed));
            }
            return decision;
        }
        if Mutant::CountsTwice.is_on() {
            self.counters.messages.one();
        }
        match self.intake.end(&Arrived { ticket, scope, ended: &ended, origin: origin(), at_ms: self.at_ms }) {
            Decision::Now(Outcome::Accept) => decision,
            Decision::Now(outcome) => match decision {
                Decision::After { delay_ms, .. } => Decision::After { delay_ms, outcome },
                _ => Decision::Now(outcome),
            },
            other => other,
        }
    }

    /// What nobody hears any more who is gone.
    pub fn forget(&mut self, connection: &Connection, slot: u32) {
        for deferred in &connection.asked {
            let Deferred { question, .. } = *deferred;
            self.intake.give_up(Ticket { shard: self.shard, slot, generation: connection.generation, question });
        }
    }

    /// Answers the session, now or later, and notes the moments that latencies are taken from.
    #[inline]
    fn settle(
        &mut self,
        connection: &mut Connection,
        scope: &Scope,
        slot: u32,
        decision: Decision,
        point: Point,
        replies: &mut Replies,
    ) {
        let moments = &mut connection.moments;
        match point {
            Point::Connect => moments.is_greeting = true,
            Point::Mail => moments.mail = Some(self.now),
            // Behind an answer that is waited for, a reply goes out with that one: nobody knows when.
            Point::EndOfData if matches!(decision, Decision::Now(_)) && !connection.session.is_waiting() => {
                moments.ended.get_or_insert(self.now);
                moments.endings += 1;
            }
            _ => {}
        }
        let wait = match decision {
            // COST: nearly every answer; said as a constant, what follows from others is left out where this is inlined.
            Decision::Now(Outcome::Accept) => {
                let before = replies.counts[Reply::StartMail.index()];
                connection.session.answer(&scope.settings, Outcome::Accept, replies);
                return note_start_mail(connection, before, replies);
            }
            Decision::Now(outcome) => {
                let before = replies.counts[Reply::StartMail.index()];
                connection.session.answer(&scope.settings, outcome, replies);
                return note_start_mail(connection, before, replies);
            }
            Decision::After { delay_ms, outcome } => Some((delay_ms, outcome)),
            Decision::Elsewhere if Mutant::AnswersBeforeOutcome.is_on() => {
                return connection.session.answer(&scope.settings, Outcome::Accept, replies);
            }
            Decision::Elsewhere => None,
        };
        self.counters.answers_awaited.one();
        let question = connection.session.question_number();
        connection.asked.push_back(Deferred {
            question,
            at: self.now,
            checksum: 0,
            is_ending: point == Point::EndOfData,
        });
        if let Some((delay_ms, outcome)) = wait {
            let ticket = Ticket { shard: self.shard, slot, generation: connection.generation, question };
            self.delayed.push(Reverse(Delayed { at: self.now.plus_ms(delay_ms), ticket, outcome }));
        }
        connection.session.defer();
    }

    /// How far mail is held back that comes under this scope.
    pub fn level(&self, scope: &Scope) -> Level {
        match scope.taking {
            Taking::Discard if !Mutant::HoldsBackDiscard.is_on() => self.pressure.level(),
            _ => self.pressure.level().max(self.handed_off.level()),
        }
    }

    /// When the next delayed answer is due.
    pub fn next_delayed(&self) -> Option<Time> {
        self.delayed.peek().map(|Reverse(delayed)| delayed.at)
    }

    /// The next delayed answer that is due.
    pub fn pop_delayed(&mut self) -> Option<(Ticket, Outcome)> {
        if self.next_delayed()? > self.now {
            return None;
        }
        self.delayed.pop().map(|Reverse(delayed)| (delayed.ticket, delayed.outcome))
    }

    /// Gives the session an answer that it waited for. Returns whether it still waited.
    pub fn outcome(&mut self, connection: &mut Connection, question: u32, outcome: Outcome) -> bool {
        let Some(scope) = connection.scope.clone() else { return false };
        self.with_replies(connection, |desk, connection, replies| {
            let before = replies.counts[Reply::StartMail.index()];
            let taken = replies.messages.taken;
            let known = connection.session.handle_outcome(&scope.settings, question, outcome, replies);
            note_start_mail(connection, before, replies);
            if scope.sums_content
                && replies.messages.taken > taken
                && let Some(deferred) = connection.asked.iter().find(|deferred| deferred.question == question)
            {
                desk.add_checksum(deferred.checksum);
            }
            known
        })
    }

    /// The oldest answer did not come in time.
    pub fn answer_timeout(&mut self, connection: &mut Connection, slot: u32) {
        let Some(scope) = connection.scope.clone() else { return };
        self.counters.answers_timed_out.one();
        if let Some(deferred) = connection.asked.front() {
            let Deferred { question, .. } = *deferred;
            self.intake.give_up(Ticket { shard: self.shard, slot, generation: connection.generation, question });
        }
        self.with_replies(connection, |_, connection, replies| {
            connection.session.handle_answer_timeout(&scope.settings, replies);
        });
    }

    /// Gives replies that had no room before some were sent.
    pub fn poll_replies(&mut self, connection: &mut Connection) {
        let Some(scope) = connection.scope.clone() else { return };
        self.with_replies(connection, |_, connection, replies| {
            connection.session.poll_replies(&scope.settings, replies);
        });
    }

    /// Ends the session with this reply.
    pub fn refuse(&mut self, connection: &mut Connection, reply: Reply) {
        let Some(scope) = connection.scope.clone() else { return };
        self.with_replies(connection, |_, connection, replies| {
            connection.session.refuse(&scope.settings, reply, replies);
        });
    }

    /// Ends the session when no message is under way.
    pub fn drain(&mut self, connection: &mut Connection) {
        let Some(scope) = connection.scope.clone() else { return };
        self.with_replies(connection, |_, connection, replies| {
            connection.session.drain(&scope.settings, replies);
        });
    }

    /// Counts the replies of this turn.
    pub fn count_replies(&mut self) {
        if let Some(replies) = &mut self.replies {
            self.counters.take_replies(replies);
        }
    }
}

/// Where a message comes from.
fn origin(peer: Option<SocketAddr>, is_unknown: bool) -> Origin {
    match peer {
        Some(host) => Origin::Host(host),
        None if is_unknown => Origin::Unknown,
        None => Origin::UnixSocket,
    }
}

/// The client is who XCLIENT says. A port alone is that of the address which is known.
fn note_peer(peer: &mut Option<SocketAddr>, client: &Xclient<'_>) {
    let port = match client.port {
        Some(Known::Value(port)) => Some(port),
        _ => None,
    };
    match (client.address, peer.as_mut()) {
        (Some(Known::Value(address)), _) => *peer = Some(SocketAddr::new(address, port.unwrap_or(0))),
        (Some(Known::Unavailable), _) => *peer = None,
        (None, Some(peer)) => peer.set_port(port.unwrap_or(peer.port())),
        (None, None) => {}
    }
}

/// If the last answer gave a 354, the time since its MAIL is to be recorded when that is sent.
#[inline]
fn note_start_mail(connection: &mut Connection, before: u32, replies: &Replies) {
    if replies.counts[Reply::StartMail.index()] > before {
        connection.moments.data = connection.moments.mail.take();
    }
}
