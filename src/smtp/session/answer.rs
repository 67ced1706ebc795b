//! What an outcome does to a session, and how replies are given: each in its turn, mistakes counted.

use crate::smtp::data::DataDecoder;
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::machine::{Machine, Phase, Reading};
use crate::smtp::session::question::{Asking, Outcome};
use crate::smtp::settings::Settings;

impl Machine {
    /// Acts on an outcome, and says which reply follows; that to the first chunk follows its octets.
    ///
    /// The session may be over by now: a command that was read before its end is still answered by what it came to.
    pub(super) fn conclude(
        &mut self,
        settings: &Settings,
        asking: Asking,
        outcome: Outcome,
        replies: &mut Replies,
    ) -> Option<Reply> {
        let reply = match (asking, outcome) {
            (Asking::Connect, Outcome::Accept) => {
                self.phase = Phase::Start;
                Reply::Greeting
            }
            (Asking::Connect, Outcome::Refuse(reply)) => {
                self.phase = if reply.code() == 554 { Phase::NoService } else { Phase::Closed };
                reply
            }
            (Asking::Hello { extended }, Outcome::Accept) => {
                // RFC 5321 §4.1.4: as RSET.
                if matches!(self.phase, Phase::Receiving(receiving) if receiving.refusal.is_none()) {
                    self.reading = Reading::Void;
                }
                self.phase = Phase::Idle;
                if extended { Reply::Ehlo } else { Reply::Helo }
            }
            (Asking::Mail { .. }, Outcome::Accept) => Reply::MailOk,
            (Asking::Mail { transaction }, Outcome::Refuse(reply)) => {
                self.slots.resolve_recipients(transaction, Reply::MailFirst);
                if matches!(self.phase, Phase::Open(open) if open.number == transaction) {
                    self.phase = Phase::MailRefused;
                }
                reply
            }
            (Asking::Rcpt { .. }, Outcome::Accept) => Reply::RcptOk,
            (Asking::Rcpt { transaction }, Outcome::Refuse(reply)) => {
                if let Phase::Open(open) = &mut self.phase
                    && open.number == transaction
                {
                    open.recipients -= 1;
                    open.refused_recipients += 1;
                }
                reply
            }
            (Asking::Data { .. }, Outcome::Accept) => {
                self.begin_content(None);
                self.reading = Reading::Data(DataDecoder::new(settings.terms().bare_newline));
                Reply::StartMail
            }
            (Asking::Data { behind }, Outcome::Refuse(reply)) => {
                // What follows is mail data that the client sent ahead: it must not be read as commands.
                if behind {
                    self.close();
                }
                reply
            }
            (Asking::FirstChunk(chunk), outcome) => {
                self.begin_content(match outcome {
                    Outcome::Accept => None,
                    Outcome::Refuse(reply) => Some(reply),
                });
                self.begin_chunk(chunk, settings, replies);
                return None;
            }
            (Asking::EndOfData, Outcome::Accept) => {
                self.errors = 0;
                self.junk_commands = 0;
                if settings.terms().discards { Reply::Discarded } else { Reply::Accepted }
            }
            (Asking::Hello { .. } | Asking::EndOfData, Outcome::Refuse(reply)) => reply,
        };
        if reply.closes() {
            self.close();
        }
        Some(reply)
    }

    /// Gives a reply in its turn.
    pub(super) fn give(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.give_for(settings, reply, None, replies);
    }

    /// The same for a RCPT of a transaction.
    #[inline]
    pub(super) fn give_for(&mut self, settings: &Settings, reply: Reply, rcpt_of: Option<u32>, replies: &mut Replies) {
        if self.slots.is_empty() {
            replies.push(reply, settings);
        } else {
            self.slots.push_ready(reply, rcpt_of);
        }
    }

    /// Gives the replies for which nothing waits any more.
    pub(super) fn flush(&mut self, settings: &Settings, replies: &mut Replies) {
        while let Some(reply) = self.slots.pop_ready() {
            replies.push(reply, settings);
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
            Reply::NoValidRecipients => true,
            _ => false,
        };
        if !follows {
            self.count_error(settings, replies);
        }
    }

    pub(super) fn count_error(&mut self, settings: &Settings, replies: &mut Replies) {
        self.errors += 1;
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
            self.flush(settings, replies);
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
