//! What a message that is handed off has coming to it: kept beside the production code, and held against each thing that it does.
//!
//! Faults are noted where they are seen; the house ends with the first.

use std::collections::BTreeMap;

use crate::handoff::delivery::Delivery;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::metrics::counters::Counters;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::{Promise, Taking};
use crate::reactor::io::Time;
use crate::smtp::reply::Reply;
use crate::smtp::session::Outcome;

use super::answers;
use super::spool::log_of;

/// What makes ids, beside the shard and the sequence.
pub const NODE: u32 = 0x5EED;
pub const EPOCH: u32 = 3;

/// A message, for one of its sinks.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub route: u16,
    /// Places of its recipients among the message's.
    pub places: Vec<usize>,
    /// The final word for each.
    pub words: Vec<Option<Result<(), Reply>>>,
    /// How often it came.
    pub came: u32,
    pub is_out: bool,
    /// The step in which it was let go of last.
    pub done_in: u64,
}

impl Parcel {
    pub fn is_done(&self) -> bool {
        self.words.iter().all(Option::is_some)
    }
}

/// A message that an intake was given to hand off.
#[derive(Clone, Debug)]
pub struct Message {
    pub ticket: Ticket,
    pub taking: Taking,
    /// Its number, if it got one.
    pub sequence: Option<u64>,
    pub recipients: Vec<String>,
    pub parcels: Vec<Parcel>,
    pub content: Vec<u8>,
    /// The encoded manifest.
    pub manifest: Vec<u8>,
    /// What its session was told, and in which step.
    pub said: Option<(Outcome, u64)>,
    /// Nobody wanted to hear it any more.
    pub given_up: bool,
    pub ended_at: Time,
    /// When it was said.
    pub said_at: Time,
    /// How long its client waits.
    pub answer_ms: u64,
    /// Its sender could not be answered at once.
    pub had_to_wait: bool,
    /// Nobody waited for the answer, which was that its log has it not.
    pub is_lost: bool,
}

impl Message {
    fn is_awaited(&self) -> bool {
        self.taking == Taking::HandOff(Promise::Delivered)
    }

    fn is_memory(&self) -> bool {
        self.taking == Taking::HandOff(Promise::Memory)
    }

    /// The log that has it, if one does.
    pub fn log(&self) -> Option<usize> {
        log_of(self.taking)
    }

    /// It was refused at its end: nobody has it.
    pub fn is_refused_at_end(&self) -> bool {
        !self.had_to_wait && matches!(self.said, Some((Outcome::Refuse(_), _)))
    }

    /// It was refused, and not because nobody waited any more.
    fn is_refused(&self) -> bool {
        matches!(self.said, Some((Outcome::Refuse(reply), _)) if reply != Reply::AnswerTimeout) || self.is_lost
    }
}

/// What is known of a log from outside of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogNotes {
    pub is_there: bool,
    /// A write has failed, or was short.
    pub has_failed: bool,
    /// Nothing was heard of a write for so long that it may be given up.
    pub was_silent: bool,
    /// No segment came, for want of room, or because none could be made.
    pub was_full: bool,
    pub was_broken: bool,
    /// Blocks whose writes were begun.
    pub begun: u64,
    /// Blocks that were written, and their octets.
    pub blocks: u64,
    pub octets: u64,
    /// Messages that it said to have.
    pub committed: u64,
    /// Reasons why it took no mail.
    pub refused: [bool; 2],
}

impl LogNotes {
    /// Whether what happened to the disk explains this reply.
    fn explains(&self, reply: Reply) -> bool {
        match reply {
            Reply::DeliveryFailed | Reply::SpoolFailed => self.has_failed || self.was_silent || self.was_broken,
            Reply::InsufficientStorage => self.was_full,
            _ => false,
        }
    }
}

/// How often what came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub waited: u64,
    pub given_up: u64,
    pub came_again: u64,
    pub refused: u64,
    pub without_memory: u64,
    pub gone: u64,
    pub woken: u64,
    pub settled: u64,
    /// Messages that ended while one before them, of the same client, waited for the disk.
    pub overtaking: u64,
    /// Looks at what is left behind a kill or a power cut; messages there, and such that nobody was promised anything of.
    pub images: u64,
    pub found: u64,
    pub unasked: u64,
    /// Messages that a log refused.
    pub failed: u64,
    /// Senders that were told at MAIL that a log takes nothing.
    pub turned_away: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    pub messages: Vec<Message>,
    by_sequence: BTreeMap<u64, usize>,
    by_ticket: BTreeMap<(u32, u32, u32), usize>,
    /// By route.
    pub is_gone: Vec<bool>,
    /// A recipient was refused for want of room, of this route.
    pub refused_routes: Vec<bool>,
    pub letters: usize,
    pub step: u64,
    pub faults: Vec<String>,
    pub tally: Tally,
    pub logs: [LogNotes; 3],
    /// Most blocks of memory that were in use, and how many there are.
    pub blocks_used: usize,
    pub blocks: usize,
}

fn key(ticket: Ticket) -> (u32, u32, u32) {
    (ticket.slot, ticket.generation, ticket.question)
}

pub fn id(sequence: u64) -> MessageId {
    MessageId::new(NODE, EPOCH, 0, sequence)
}

impl Book {
    pub fn new(routes: usize, letters: usize, blocks: usize) -> Self {
        Self { is_gone: vec![false; routes], refused_routes: vec![false; routes], letters, blocks, ..Self::default() }
    }

    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(what());
        }
    }

    /// A message has ended, and the intake has decided. Gives its place.
    pub fn enter(&mut self, message: Message, decision: &Decision, is_short: bool) -> usize {
        let at = self.messages.len();
        if let Some(sequence) = message.sequence {
            let before = self.by_sequence.insert(sequence, at);
            self.check(before.is_none(), || format!("number {sequence} is given twice"));
        }
        self.by_ticket.insert(key(message.ticket), at);
        let is_served = message.parcels.iter().all(|parcel| !self.is_gone[usize::from(parcel.route)]);
        let (taking, log, parcels) = (message.taking, message.log(), message.parcels.len());
        let waits = |other: &Message| other.said.is_none() && other.log().is_some();
        let client = |message: &Message| (message.ticket.slot, message.ticket.generation);
        let is_same = |other: &Message| client(other) == client(&message);
        let is_behind = self.messages.iter().rev().take(8).any(|other| waits(other) && is_same(other));
        self.tally.overtaking += u64::from(is_behind);
        self.messages.push(message);
        match decision {
            Decision::Now(Outcome::Refuse(Reply::NoMemory)) => {
                self.tally.without_memory += 1;
                self.check(is_short, || format!("message {at} is refused for want of memory, and there is some"));
            }
            // What the disk has to do with it is seen to below.
            Decision::Now(Outcome::Refuse(_)) if log.is_some() => self.tally.failed += 1,
            Decision::Now(Outcome::Refuse(Reply::DeliveryFailed)) => {
                self.check(!is_served, || format!("message {at} is refused though its sinks are there"));
            }
            Decision::Now(Outcome::AcceptAs(_)) if taking == Taking::HandOff(Promise::Memory) => {}
            Decision::Elsewhere => {
                self.messages[at].had_to_wait = true;
                self.tally.waited += u64::from(taking == Taking::HandOff(Promise::Memory));
            }
            other => self.faults.push(format!("message {at}: {other:?} under {taking:?}, for {parcels} sinks")),
        }
        if let Decision::Now(outcome) = decision {
            self.settle(at, outcome.clone());
        }
        at
    }

    /// The intake says what became of a message whose end it had left open.
    /// Gives the message's number.
    pub fn settle_later(&mut self, ticket: Ticket, outcome: &Outcome) -> Option<usize> {
        let place = self.by_ticket.get(&key(ticket)).copied();
        if let Some(at) = place
            && let Some(log) = self.messages[at].log()
        {
            self.logs[log].committed += u64::from(matches!(outcome, Outcome::AcceptAs(_)));
            self.messages[at].is_lost |= self.messages[at].given_up && outcome.refusal().is_some();
        }
        match self.by_ticket.get(&key(ticket)).copied() {
            Some(at) if self.messages[at].said.is_none() => {
                self.tally.settled += 1;
                self.settle(at, outcome.clone());
            }
            // Its sender went before it could be told.
            Some(at) if self.messages[at].given_up => self.messages[at].given_up = false,
            _ => self.faults.push(format!("an outcome for {ticket:?}, which nobody waits for")),
        }
        place
    }

    /// A sender is told that this log takes nothing for now.
    pub fn turn_away(&mut self, log: usize, reply: Reply) {
        self.tally.turned_away += 1;
        let notes = &mut self.logs[log];
        notes.refused[usize::from(reply == Reply::SpoolFailed)] = true;
        let is_so = notes.explains(reply);
        self.check(is_so, || format!("log {log} takes nothing and says {reply:?}, and the disk is as it should be"));
    }

    /// Whether a sender was told so.
    pub fn has_turned_away(&self, log: usize, reply: Reply) -> bool {
        self.logs[log].refused[usize::from(reply == Reply::SpoolFailed)]
    }

    /// Whether the sender of the message with this number waits for its answer.
    pub fn is_unsaid(&self, sequence: u64) -> bool {
        self.by_sequence.get(&sequence).is_some_and(|at| self.messages[*at].said.is_none())
    }

    /// The place of the message with this name.
    pub fn at(&self, told: MessageId) -> Option<usize> {
        self.by_sequence.get(&told.sequence()).copied().filter(|_| id(told.sequence()) == told)
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        let is_gone = self.is_gone.clone();
        let gone = |parcel: &&Parcel| is_gone[usize::from(parcel.route)];
        let message = &mut self.messages[at];
        message.said = Some((outcome.clone(), self.step));
        let message = message.clone();
        if let Outcome::AcceptAs(told) = &outcome {
            self.check(message.sequence.map(id) == Some(*told), || format!("message {at} is told as {told}"));
        }
        if let Some(log) = message.log() {
            return self.settle_logged(at, log, &outcome);
        }
        let Taking::HandOff(promise) = message.taking else { unreachable!("it is handed off") };
        match (promise, &outcome) {
            (_, Outcome::Refuse(Reply::NoMemory)) => {}
            (_, Outcome::Refuse(Reply::DeliveryFailed)) => {
                let is_so = message.parcels.iter().any(|parcel| gone(&parcel));
                self.check(is_so, || format!("message {at} is refused though its sinks are there"));
            }
            (Promise::Memory, Outcome::AcceptAs(_)) => {
                for parcel in &message.parcels {
                    let route = parcel.route;
                    let (queued, most) = (self.queued(route), self.letters);
                    let is_gone = self.is_gone[usize::from(route)];
                    self.check(is_gone || queued <= most, || {
                        format!("message {at} is accepted as the {queued}th of {most} that sink {route} can have")
                    });
                }
            }
            (Promise::Delivered, Outcome::AcceptAs(_)) => {
                let words = message.parcels.iter().flat_map(|parcel| &parcel.words);
                let is_so = words.into_iter().all(|word| *word == Some(Ok(())));
                self.check(is_so, || format!("message {at} is accepted, and its sinks say {:?}", message.parcels));
            }
            (Promise::Delivered, Outcome::Each(each)) => {
                let mut wanted = vec![Ok(()); message.recipients.len()];
                for parcel in &message.parcels {
                    for (place, word) in parcel.places.iter().zip(&parcel.words) {
                        let unsaid = Err(Reply::DeliveryFailed);
                        wanted[*place] = match word {
                            Some(word) => *word,
                            None if gone(&parcel) => unsaid,
                            None => {
                                self.faults.push(format!("message {at} is answered, and a sink is silent"));
                                unsaid
                            }
                        };
                    }
                }
                self.check(*each.recipients == *wanted, || {
                    format!("message {at} is told {each:?}, its sinks said {wanted:?}")
                });
            }
            (promise, outcome) => self.faults.push(format!("message {at}: {outcome:?} under {promise:?}")),
        }
    }

    /// What a log says of a message.
    fn settle_logged(&mut self, at: usize, log: usize, outcome: &Outcome) {
        let notes = self.logs[log];
        let had_to_wait = self.messages[at].had_to_wait;
        match outcome {
            Outcome::AcceptAs(_) => self.check(had_to_wait, || format!("message {at} is accepted at once")),
            // That there was no memory at its end was seen to; what was to be laid out anew may have none either.
            Outcome::Refuse(Reply::NoMemory) => {
                let is_so = !had_to_wait || notes.explains(Reply::DeliveryFailed) && self.was_short(0);
                self.check(is_so, || format!("message {at} is refused for want of memory, and there is some"));
            }
            Outcome::Refuse(reply) => {
                self.tally.failed += u64::from(had_to_wait);
                let is_so = notes.explains(*reply);
                self.check(is_so, || format!("message {at} is told {reply:?}, and the disk is as it should be"));
            }
            other => self.faults.push(format!("message {at}: {other:?} of a log")),
        }
    }

    /// Whether so many blocks of memory more may have been more than there are: each log may begin one, and another for blocks that
    /// are made whole.
    pub fn was_short(&self, more: usize) -> bool {
        let logs = self.logs.iter().filter(|notes| notes.is_there).count();
        self.blocks_used + more + 2 * logs + 1 > self.blocks
    }

    /// Letters that a sink has in its queue for certain, or works on.
    fn queued(&self, route: u16) -> usize {
        let is_posted =
            |message: &&Message| message.log().is_none() && matches!(message.said, Some((Outcome::AcceptAs(_), _)));
        let of_route = |message: &Message| {
            message.parcels.iter().filter(|parcel| parcel.route == route && !parcel.is_done()).count()
        };
        self.messages.iter().filter(is_posted).map(of_route).sum()
    }

    /// A recipient of this route is refused for want of room: there must be as many letters, or more.
    pub fn refuse_recipient(&mut self, route: u16) {
        self.refused_routes[usize::from(route)] = true;
        // Of what is given up since, nobody says when it leaves the queue.
        let was_taken = |message: &&Message| match message.log() {
            Some(_) => !message.is_refused(),
            None => message.had_to_wait || !matches!(message.said, Some((Outcome::Refuse(_), _))),
        };
        let of_route = |message: &Message| {
            let is_heard = |parcel: &Parcel| {
                // The shard makes use of room that has come in this turn when it has heard what is new.
                parcel.done_in < self.step && (message.is_memory() || message.said.is_some())
            };
            let is_done = |parcel: &Parcel| parcel.is_done() && is_heard(parcel);
            message.parcels.iter().filter(|parcel| parcel.route == route && !is_done(parcel)).count()
        };
        let count: usize = self.messages.iter().filter(was_taken).map(of_route).sum();
        let (most, is_gone) = (self.letters, self.is_gone[usize::from(route)]);
        self.check(is_gone || count >= most, || format!("sink {route} is full with {count} of {most}"));
    }

    /// Nobody wants to hear any more what becomes of this message; the shard may have listened before, in this turn.
    pub fn give_up(&mut self, ticket: Ticket, now: Time, has_listened: bool) {
        let Some(at) = self.by_ticket.get(&key(ticket)).copied() else { return };
        let step = self.step;
        let message = &mut self.messages[at];
        if message.said.is_some() {
            return;
        }
        message.given_up = true;
        message.said_at = now;
        message.said = Some((Outcome::Refuse(Reply::AnswerTimeout), step));
        self.tally.given_up += 1;
        let is_said = has_listened && message.is_awaited() && message.parcels.iter().all(Parcel::is_done);
        self.check(!is_said, || format!("message {at} is not answered though all of its sinks have spoken"));
    }

    /// A delivery has come out of a queue. Gives its message and its parcel.
    pub fn come(&mut self, route: u16, delivery: &Delivery) -> Option<(usize, usize)> {
        let told = delivery.id();
        let at = self.at(told);
        let parcel = |at: usize| self.messages[at].parcels.iter().position(|parcel| parcel.route == route);
        let Some((at, place)) = at.and_then(|at| Some((at, parcel(at)?))) else {
            self.faults.push(format!("sink {route} is given {told}, which nobody sent there"));
            return None;
        };
        let message = &mut self.messages[at];
        let is_void = message.given_up && message.is_awaited();
        let is_refused = match message.log() {
            Some(_) => message.is_refused(),
            None => matches!(message.said, Some((Outcome::Refuse(Reply::NoMemory), _))),
        };
        // Sinks hear of what a log has before its sender does, and not before it is there.
        let is_awaited_still = message.is_awaited();
        let parcel = &mut message.parcels[place];
        let (was_out, before) = (std::mem::replace(&mut parcel.is_out, true), parcel.came);
        parcel.came += 1;
        self.tally.came_again += u64::from(before > 0);
        let open = parcel.places.iter().zip(&parcel.words).zip(0..);
        let open = open.filter(|((_, word), _)| word.is_none());
        let wanted: Vec<(u32, String)> =
            open.map(|((place, _), index)| (index, message.recipients[*place].clone())).collect();
        let came: Vec<(u32, String)> = delivery.recipients().map(|to| (to.index, answers::path(to.path))).collect();
        let content: Vec<u8> = delivery.content().flatten().copied().collect();
        let is_content = content == message.content && delivery.content_octets() == content.len() as u64;
        let manifest = Manifest::decode(&message.manifest).expect("it was encoded here");
        let is_manifest = delivery.manifest() == Manifest { id: told, ..manifest };
        let is_awaited = delivery.is_awaited() == is_awaited_still;
        let is_count = delivery.attempts() == before && delivery.recipients_in_all() as usize == parcel.words.len();
        let mut check = |holds: bool, what: &str| {
            if !holds {
                self.faults.push(format!("message {at} comes to sink {route}: {what}"));
            }
        };
        check(!was_out, "it is there already");
        check(!wanted.is_empty(), "all was said of it");
        check(wanted == came, &format!("for {came:?} in place of {wanted:?}"));
        check(is_content, "with another content");
        check(is_manifest, "with another manifest");
        check(is_awaited, "under another promise");
        check(is_count, &format!("as often as {}, and it was {before}", delivery.attempts()));
        check(!is_void, "its sender was told to come again");
        check(!is_refused, "it was refused");
        Some((at, place))
    }

    /// A delivery is let go of with these words, by index.
    pub fn let_go(&mut self, (at, place): (usize, usize), words: &[Option<Result<(), Reply>>]) {
        let message = &mut self.messages[at];
        let is_awaited = message.is_awaited();
        let parcel = &mut message.parcels[place];
        parcel.is_out = false;
        parcel.done_in = self.step;
        for (last, word) in parcel.words.iter_mut().zip(words) {
            let is_final =
                |word: &Result<(), Reply>| is_awaited || word.is_ok() || word.is_err_and(|no| no.code() > 499);
            if let Some(word) = word.filter(is_final) {
                self.tally.refused += u64::from(word.is_err());
                let before = last.replace(word);
                debug_assert!(before.is_none(), "only open ones are spoken of");
            }
        }
    }

    /// The shard is about to sleep: whether somebody waits for what all of the sinks have said.
    pub fn has_unheard(&self) -> bool {
        let is_unheard = |message: &Message| {
            message.is_awaited() && message.said.is_none() && message.parcels.iter().all(Parcel::is_done)
        };
        self.messages.iter().any(is_unheard)
    }

    /// What is counted of the logs.
    pub fn check_counters(&mut self, counters: &Counters) {
        let sum = |of: fn(&LogNotes) -> u64| self.logs.iter().map(of).sum::<u64>();
        let (blocks, octets, committed) = (sum(|log| log.blocks), sum(|log| log.octets), sum(|log| log.committed));
        let was_silent = self.logs.iter().any(|log| log.was_silent);
        let has_failed = was_silent || self.logs.iter().any(|log| log.has_failed);
        let counted = [&counters.spool_commits, &counters.spool_octets, &counters.spool_messages].map(|one| one.get());
        let [commits, octets_counted, messages] = counted;
        self.check(commits <= blocks, || format!("{commits} blocks are counted, {blocks} were written"));
        self.check(octets_counted <= octets, || format!("{octets_counted} octets are counted, {octets} were written"));
        self.check(messages >= committed, || format!("{messages} messages are counted, {committed} were committed"));
        self.check(has_failed || counters.spool_failures.get() == 0, || "failures that nobody saw".to_owned());
        self.check(was_silent || counters.spool_writes_hung.get() == 0, || "writes hang that do not".to_owned());
        let (doubtful, failures) = (counters.spool_messages_doubtful.get(), counters.spool_failures.get());
        let was_full = self.logs.iter().any(|log| log.was_full || log.was_broken);
        self.check(failures > 0 || was_full || doubtful == 0, || format!("{doubtful} doubtful messages"));
    }

    /// Whether each message that a log has was delivered to all of its sinks that are there.
    pub fn are_logs_read(&self) -> bool {
        let is_owed = |parcel: &Parcel| !parcel.is_done() && !self.is_gone[usize::from(parcel.route)];
        let is_accepted = |message: &&Message| matches!(message.said, Some((Outcome::AcceptAs(_), _)));
        let of_logs = self.messages.iter().filter(|message| message.log().is_some());
        !of_logs.filter(is_accepted).any(|message| message.parcels.iter().any(is_owed))
    }

    /// At the end: what was promised was kept.
    pub fn close(&mut self) -> Result<(), String> {
        for (at, message) in self.messages.iter().enumerate() {
            let is_gone = |parcel: &Parcel| self.is_gone[usize::from(parcel.route)];
            let is_accepted = matches!(message.said, Some((Outcome::AcceptAs(_), _)));
            // Of what a log has nothing is lost with the shard: what is on the disk says whether it is.
            let lost = message.parcels.iter().find(|parcel| !parcel.is_done() && !is_gone(parcel));
            let lost = lost.filter(|_| message.log().is_none());
            if is_accepted && let Some(Parcel { route, words, .. }) = lost {
                self.faults.push(format!("message {at} was accepted, and sink {route} has it not: {words:?}"));
            }
            // It was given up because one of its sinks had no room for it: there it never comes.
            let is_whole = message.parcels.iter().all(|parcel| parcel.came > 0);
            if message.is_memory() && message.given_up && is_whole {
                self.faults.push(format!("message {at} was given up, and came all the same"));
            }
        }
        self.first_fault()
    }

    pub fn first_fault(&self) -> Result<(), String> {
        match self.faults.first() {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }
}
