//! Replies that wait behind an answer which is still out, in the order of their commands (DESIGN decision 7).
//!
//! *Invariants*: the front slot, if there is one, is pending when nobody works on the slots, or has replies of which some
//! had no room: whatever else stood ready before it has been given. A question that stops the reading is in the last slot. Numbers of questions are never used twice within
//! 2³², so a late answer cannot meet another question.

use std::collections::VecDeque;

use crate::limits;
use crate::mail::id::MessageId;
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::question::{Asking, Each};
use crate::smtp::settings::Settings;

/// What a command is answered with, in one reply or several (RFC 2033 §4.2).
#[derive(Debug)]
pub(super) enum Answer {
    /// This.
    One(Reply),
    /// This, so many times.
    Times(Reply, u32),
    /// The message was taken over, for so many recipients.
    Taken(MessageId, u32),
    /// For each recipient from this one on: taken, or refused with this.
    Each(Box<Each>, usize),
}

impl Answer {
    /// Whether the connection is closed behind it.
    pub(super) fn closes(&self) -> bool {
        match self {
            Self::One(reply) | Self::Times(reply, _) => reply.closes(),
            Self::Taken(..) => false,
            Self::Each(each, _) => each.recipients.iter().any(|one| one.is_err_and(Reply::closes)),
        }
    }

    /// Gives as many of its replies as there is room for. Whether that was all.
    fn give(&mut self, settings: &Settings, replies: &mut Replies) -> bool {
        match self {
            Self::One(reply) => {
                replies.push(*reply, settings);
                true
            }
            Self::Times(reply, times) => {
                while *times > 0 && replies.have_room() {
                    *times -= 1;
                    replies.push(*reply, settings);
                }
                *times == 0
            }
            Self::Taken(id, times) => {
                while *times > 0 && replies.have_room() {
                    *times -= 1;
                    replies.push_accepted(*id);
                }
                *times == 0
            }
            Self::Each(each, next) => {
                while let Some(one) = each.recipients.get(*next).filter(|_| replies.have_room()) {
                    *next += 1;
                    match (one, each.id) {
                        (Err(reply), _) => replies.push(*reply, settings),
                        (Ok(()), Some(id)) => replies.push_accepted(id),
                        (Ok(()), None) => replies.push(settings.terms().taken(), settings),
                    }
                }
                *next == each.recipients.len()
            }
        }
    }
}

/// One answer to come.
#[derive(Debug)]
enum Slot {
    Ready {
        answer: Answer,
        /// Of the transaction whose RCPT it answers: it changes when the MAIL before it is refused.
        rcpt_of: Option<u32>,
    },
    Pending {
        number: u32,
        asking: Asking,
    },
}

/// The waiting replies of one session.
#[derive(Debug, Default)]
pub(super) struct Slots {
    waiting: VecDeque<Slot>,
    /// Number of the next question.
    next: u32,
}

impl Slots {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether another command may be taken: one command needs two slots at most (its reply and a 421).
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() + 2 <= limits::REPLY_SLOTS
    }

    /// The number that the next question will have.
    pub(super) fn next_number(&self) -> u32 {
        self.next
    }

    /// Adds a reply that waits only for those before it.
    pub(super) fn push_ready(&mut self, answer: Answer, rcpt_of: Option<u32>) {
        self.waiting.push_back(Slot::Ready { answer, rcpt_of });
    }

    /// Adds a reply that waits for an answer.
    pub(super) fn push_pending(&mut self, asking: Asking) {
        self.waiting.push_back(Slot::Pending { number: self.next, asking });
        self.next = self.next.wrapping_add(1);
    }

    /// What is asked under this number, if the answer is still out.
    pub(super) fn pending(&self, number: u32) -> Option<Asking> {
        self.waiting.iter().find_map(|slot| match slot {
            Slot::Pending { number: this, asking } if *this == number => Some(*asking),
            _ => None,
        })
    }

    /// The number of the oldest answer that is still out.
    pub(super) fn oldest_pending(&self) -> Option<u32> {
        self.waiting.iter().find_map(|slot| match slot {
            Slot::Pending { number, .. } => Some(*number),
            Slot::Ready { .. } => None,
        })
    }

    /// Whether an answer is out that `which` names.
    pub(super) fn any_pending(&self, which: impl Fn(Asking) -> bool) -> bool {
        self.waiting.iter().any(|slot| matches!(slot, Slot::Pending { asking, .. } if which(*asking)))
    }

    /// Gives a pending slot its reply. One that closes the session is the last: what stands behind it is taken back.
    pub(super) fn resolve(&mut self, number: u32, answer: Answer) {
        for (index, slot) in self.waiting.iter_mut().enumerate() {
            if let Slot::Pending { number: this, asking } = slot
                && *this == number
            {
                let closes = answer.closes();
                *slot = Slot::Ready { answer, rcpt_of: asking.rcpt_of() };
                if closes {
                    self.waiting.truncate(index + 1);
                }
                return;
            }
        }
    }

    /// Gives every RCPT of a transaction whose MAIL was refused this reply. One that closes the session stands: nothing
    /// was read behind it.
    pub(super) fn resolve_recipients(&mut self, transaction: u32, refusal: Reply) {
        for slot in &mut self.waiting {
            let rcpt_of = match slot {
                Slot::Ready { answer, rcpt_of } if !answer.closes() => *rcpt_of,
                Slot::Ready { .. } => None,
                Slot::Pending { asking, .. } => asking.rcpt_of(),
            };
            if rcpt_of == Some(transaction) {
                *slot = Slot::Ready { answer: Answer::One(refusal), rcpt_of: None };
            }
        }
    }

    /// Whether no command may be read before an answer has come.
    pub(super) fn is_reading_stopped(&self) -> bool {
        matches!(self.waiting.back(), Some(Slot::Pending { asking, .. }) if asking.stops_reading())
    }

    /// Gives the question that stops the reading, if there is one, this reply. Returns whether there was.
    pub(super) fn resolve_stopper(&mut self, reply: Reply) -> bool {
        let is_stopped = self.is_reading_stopped();
        if let Some(last) = self.waiting.back_mut()
            && is_stopped
        {
            *last = Slot::Ready { answer: Answer::One(reply), rcpt_of: None };
        }
        is_stopped
    }

    /// Notes that input came in while DATA still waits for its answer: if DATA is refused, it cannot be commands.
    pub(super) fn mark_sent_ahead(&mut self) {
        if let Some(Slot::Pending { asking: Asking::Data { behind }, .. }) = self.waiting.back_mut() {
            *behind = true;
        }
    }

    /// Takes the first chunk's question back when it was answered without a reply: that one follows the chunk's octets.
    pub(super) fn drop_first_chunk(&mut self) {
        if let Some(Slot::Pending { asking: Asking::FirstChunk(_), .. }) = self.waiting.back() {
            self.waiting.pop_back();
        }
    }

    /// Whether replies are ready that had no room.
    pub(super) fn owes(&self) -> bool {
        matches!(self.waiting.front(), Some(Slot::Ready { .. }))
    }

    /// Gives the replies for which nothing waits any more, as far as there is room for those of many recipients.
    pub(super) fn give_ready(&mut self, settings: &Settings, replies: &mut Replies) {
        while let Some(Slot::Ready { answer, .. }) = self.waiting.front_mut()
            && answer.give(settings, replies)
        {
            self.waiting.pop_front();
        }
    }
}
