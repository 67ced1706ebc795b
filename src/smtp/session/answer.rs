//! What an outcome does to a session, and how replies are given: each in its turn, mistakes counted.

use crate::mutant::Mutant;
use crate::smtp::data::DataDecoder;
use crate::smtp::reply::{Messages, Replies, Reply};
use crate::smtp::session::machine::{Machine, Phase, Reading};
use crate::smtp::session::question::{Asking, Outcome};
use crate::smtp::session::slots::Answer;
use crate::smtp::settings::{Dialect, Settings};

impl Machine {
    /// Acts on an outcome, and gives the reply in its turn; that to the first chunk follows its octets.
    #[inline]
    pub(super) fn conclude_now(
        &mut self,
        settings: &Settings,
        asking: Asking,
        outcome: Outcome,
        replies: &mut Replies,
    ) {
        match asking {
            Asking::EndOfData { recipients, octets } => {
                let answer = self.conclude_message(settings, recipients, octets, outcome, &mut replies.messages);
                if answer.closes() {
                    self.close();
                }
                self.give_answer(settings, answer, replies);
            }
            Asking::FirstChunk(chunk) => {
                self.begin_content(outcome.refusal());
                self.begin_chunk(chunk, settings, replies);
            }
            _ => {
                self.keep_route(asking, &outcome);
                let reply = self.conclude_command(settings, asking, outcome.refusal());
                self.give_for(settings, reply, asking.rcpt_of(), replies);
                if matches!(asking, Asking::Auth) {
                    self.end_if_too_many_errors(settings, replies);
                }
            }
        }
    }

    /// Acts on the outcome of a question that was deferred, and gives what can be given now.
    ///
    /// The session may be over by now: a command that was read before its end is still answered by what it came to.
    pub(super) fn conclude_later(
        &mut self,
        settings: &Settings,
        number: u32,
        asking: Asking,
        outcome: Outcome,
        replies: &mut Replies,
    ) {
        match asking {
            Asking::FirstChunk(chunk) => {
                self.begin_content(outcome.refusal());
                self.begin_chunk(chunk, settings, replies);
                self.slots.drop_first_chunk();
            }
            Asking::EndOfData { recipients, octets } => {
                let answer = self.conclude_message(settings, recipients, octets, outcome, &mut replies.messages);
                if answer.closes() {
                    self.close();
                }
                self.slots.resolve(number, answer);
            }
            _ => {
                self.keep_route(asking, &outcome);
                let reply = self.conclude_command(settings, asking, outcome.refusal());
                self.slots.resolve(number, Answer::One(reply));
            }
        }
        self.slots.give_ready(settings, replies);
        if matches!(asking, Asking::Auth) {
            self.end_if_too_many_errors(settings, replies);
        }
    }

    /// An accepted recipient's mail goes where the outcome says.
    #[inline]
    fn keep_route(&mut self, asking: Asking, outcome: &Outcome) {
        if let (Outcome::AcceptFor(route), Asking::Rcpt { transaction, place: Some(place) }) = (outcome, asking)
            && matches!(&self.phase, Phase::Open(open) if open.number == transaction)
            && let Some(record) = &mut self.record
        {
            record.set_route(place, *route);
        }
    }

    /// Acts on the outcome of a question about a command, and says which reply follows.
    #[inline]
    fn conclude_command(&mut self, settings: &Settings, asking: Asking, refusal: Option<Reply>) -> Reply {
        match (asking, refusal) {
            (Asking::Mail { .. }, None) => Reply::MailOk,
            (Asking::Rcpt { .. }, None) => Reply::RcptOk,
            _ => {
                let reply = self.conclude_other(settings, asking, refusal);
                if reply.closes() {
                    self.close();
                }
                reply
            }
        }
    }

    fn conclude_other(&mut self, settings: &Settings, asking: Asking, refusal: Option<Reply>) -> Reply {
        match (asking, refusal) {
            (Asking::Connect, None) => {
                self.phase = Phase::Start;
                Reply::Greeting
            }
            (Asking::Connect, Some(reply)) => {
                self.phase = if reply.code() == 554 { Phase::NoService } else { Phase::Closed };
                reply
            }
            (Asking::Hello { extended }, None) => {
                // RFC 5321 §4.1.4: as RSET.
                if matches!(self.phase, Phase::Receiving(receiving) if receiving.refusal.is_none()) {
                    self.reading = Reading::Void;
                }
                self.phase = Phase::Idle;
                self.is_extended = extended;
                if let Some(record) = &mut self.record {
                    record.accept_hello();
                }
                match (extended, self.is_secure) {
                    (false, _) => Reply::Helo,
                    (true, false) => Reply::Ehlo,
                    (true, true) => Reply::EhloSecure,
                }
            }
            (Asking::Xclient, None) => {
                self.phase = Phase::Start;
                self.is_authenticated = false;
                Reply::Greeting
            }
            (Asking::Auth, refusal) => {
                self.forget_credentials();
                self.is_authenticated = refusal.is_none();
                if refusal.is_some() {
                    self.errors += 1;
                }
                refusal.unwrap_or(Reply::Authenticated)
            }
            (Asking::Mail { transaction }, Some(reply)) => {
                if !Mutant::KeepsRecipientsOfRefusedMail.is_on() {
                    self.slots.resolve_recipients(transaction, Reply::MailFirst);
                }
                if matches!(self.phase, Phase::Open(open) if open.number == transaction) {
                    self.phase = Phase::MailRefused;
                }
                reply
            }
            (Asking::Rcpt { transaction, place }, Some(reply)) => {
                if let Phase::Open(open) = &mut self.phase
                    && open.number == transaction
                {
                    open.recipients -= 1;
                    open.refused_recipients += 1;
                    if let (Some(record), Some(place)) = (&mut self.record, place) {
                        record.withdraw(place);
                    }
                }
                reply
            }
            (Asking::Data { .. }, None) => {
                self.begin_content(None);
                self.reading = Reading::Data(DataDecoder::new(settings.terms().bare_newline));
                Reply::StartMail
            }
            (Asking::Data { behind }, Some(reply)) => {
                // What follows is mail data that the client sent ahead: it must not be read as commands.
                if behind {
                    self.close();
                }
                reply
            }
            (Asking::Hello { .. } | Asking::Xclient, Some(reply)) => reply,
            (Asking::Mail { .. } | Asking::Rcpt { .. }, None)
            | (Asking::FirstChunk(_) | Asking::EndOfData { .. }, _) => {
                unreachable!("they are concluded apart")
            }
        }
    }

    fn conclude_message(
        &mut self,
        settings: &Settings,
        recipients: u32,
        octets: u64,
        outcome: Outcome,
        messages: &mut Messages,
    ) -> Answer {
        let terms = settings.terms();
        let takers = match &outcome {
            Outcome::Each(each) if terms.dialect == Dialect::Lmtp || outcome.refusal().is_none() => {
                each.recipients.iter().filter(|one| one.is_ok()).count() as u32
            }
            outcome if outcome.refusal().is_none() => recipients,
            _ => 0,
        };
        if takers > 0 {
            self.errors = 0;
            self.junk_commands = 0;
            messages.taken += 1;
            messages.octets += octets;
            messages.recipients += u64::from(takers);
        } else {
            messages.refused += 1;
        }
        let (taken, refusal) = (terms.taken(), outcome.refusal());
        match (terms.dialect, outcome) {
            (Dialect::Lmtp, Outcome::Each(each)) => Answer::Each(each, 0),
            (Dialect::Smtp, Outcome::Each(each)) => match (refusal, each.id) {
                (None, Some(id)) => Answer::Taken(id, 1),
                _ => Answer::One(refusal.unwrap_or(taken)),
            },
            (dialect, Outcome::AcceptAs(id)) => Answer::Taken(id, replies_of(dialect, recipients)),
            (Dialect::Lmtp, _) => Answer::Times(refusal.unwrap_or(taken), recipients),
            (Dialect::Smtp, _) => Answer::One(refusal.unwrap_or(taken)),
        }
    }

    /// Gives the reply to a message that is refused here: LMTP has one for each recipient.
    pub(super) fn give_message(&mut self, settings: &Settings, reply: Reply, recipients: u32, replies: &mut Replies) {
        let answer = match replies_of(settings.terms().dialect, recipients) {
            1 => Answer::One(reply),
            times => Answer::Times(reply, times),
        };
        self.give_answer(settings, answer, replies);
    }

    /// Gives a reply in its turn.
    pub(super) fn give(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.give_for(settings, reply, None, replies);
    }

    /// The same for a RCPT of a transaction.
    #[inline]
    pub(super) fn give_for(&mut self, settings: &Settings, reply: Reply, rcpt_of: Option<u32>, replies: &mut Replies) {
        if self.slots.is_empty() || Mutant::OvertakesSlots.is_on() {
            replies.push(reply, settings);
        } else {
            self.slots.push_ready(Answer::One(reply), rcpt_of);
        }
    }

    /// The same for an answer that may be several replies.
    #[inline]
    fn give_answer(&mut self, settings: &Settings, answer: Answer, replies: &mut Replies) {
        match answer {
            Answer::One(reply) => self.give(settings, reply, replies),
            several => {
                self.slots.push_ready(several, None);
                self.slots.give_ready(settings, replies);
            }
        }
    }

    /// Gives a reply to a client's mistake, and counts it.
    pub(super) fn give_error(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.give(settings, reply, replies);
        self.count_error(settings, replies);
    }

    /// Refuses a command for its place. What merely follows from an earlier refusal is no mistake: a pipelining client
    /// could not know of that (RFC 2920 §3.1), and must not be cut off for it.
    pub(super) fn give_refusal(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.give(settings, reply, replies);
        let follows = match reply {
            Reply::MailFirst => matches!(self.phase, Phase::MailRefused),
            Reply::NoValidRecipients | Reply::NobodyToTakeIt => true,
            _ => false,
        };
        if !follows {
            self.count_error(settings, replies);
        }
    }

    pub(super) fn count_error(&mut self, settings: &Settings, replies: &mut Replies) {
        self.errors += 1;
        self.end_if_too_many_errors(settings, replies);
    }

    pub(super) fn end_if_too_many_errors(&mut self, settings: &Settings, replies: &mut Replies) {
        if settings.terms().errors.is_some_and(|most| self.errors >= most) {
            self.refuse(settings, Reply::TooManyErrors, replies);
        }
    }

    /// Counts a command that furthers no message. True when the session has ended for it.
    pub(super) fn count_junk(&mut self, settings: &Settings, replies: &mut Replies) -> bool {
        self.junk_commands += 1;
        let too_many = settings.terms().junk_commands.is_some_and(|most| self.junk_commands > most);
        if too_many {
            self.refuse(settings, Reply::TooManyJunkCommands, replies);
        }
        too_many
    }

    /// Ends the session with this reply, in its turn. It is the answer to a command that stops the reading, if one does.
    pub(super) fn refuse(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if self.slots.resolve_stopper(reply) {
            self.slots.give_ready(settings, replies);
        } else {
            self.give(settings, reply, replies);
        }
        self.close();
    }

    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.reading = Reading::Commands;
    }
}

/// How many replies the end of a message has.
fn replies_of(dialect: Dialect, recipients: u32) -> u32 {
    match dialect {
        Dialect::Smtp => 1,
        Dialect::Lmtp => recipients,
    }
}

impl Outcome {
    /// The one reply with which it refuses. Of several recipients: nobody is told that all is well while the message must
    /// come again for one; where some took it and others never will, it is taken, and the sender hears of those otherwise.
    pub fn refusal(&self) -> Option<Reply> {
        match self {
            Self::Accept | Self::AcceptFor(_) | Self::AcceptAs(_) => None,
            Self::Refuse(reply) => Some(*reply),
            Self::Each(each) => {
                let all = &each.recipients;
                let refusals = || all.iter().filter_map(|one| one.err());
                let temporary = refusals().find(|reply| reply.code() < 500);
                let is_taken = all.iter().any(Result::is_ok);
                temporary.or_else(|| refusals().next().filter(|_| !is_taken))
            }
        }
    }
}
