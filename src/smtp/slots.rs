//! Replies that wait behind an answer which is still out, in the order of their commands (DESIGN decision 7).
//!
//! *Invariant*: the front slot, if there is one, is pending; whatever stood ready before it has been given.

use std::collections::VecDeque;

use crate::limits;
use crate::smtp::reply::Reply;
use crate::smtp::session::Asking;

/// One reply to come.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Ready {
        reply: Reply,
        /// Of the transaction that the reply belongs to, while its MAIL may still be refused.
        transaction: Option<u32>,
    },
    Pending(Asking),
}

/// The waiting replies of one session.
#[derive(Debug, Default)]
pub struct Slots {
    waiting: VecDeque<Slot>,
    /// Number of the front slot; numbers are never used twice within 2³² replies.
    front: u32,
}

impl Slots {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether another command may be taken: one command needs two slots at most (its reply and a 421).
    pub fn has_room(&self) -> bool {
        self.waiting.len() + 2 <= limits::REPLY_SLOTS
    }

    /// The number that the next slot will have.
    pub fn next_number(&self) -> u32 {
        self.front.wrapping_add(self.waiting.len() as u32)
    }

    /// Adds a reply that waits only for those before it.
    pub fn push_ready(&mut self, reply: Reply, transaction: Option<u32>) {
        self.waiting.push_back(Slot::Ready { reply, transaction });
    }

    /// Adds a reply that waits for an answer.
    pub fn push_pending(&mut self, asking: Asking) {
        self.waiting.push_back(Slot::Pending(asking));
    }

    /// What is asked under this number, if the answer is still out.
    pub fn pending(&self, number: u32) -> Option<Asking> {
        match self.waiting.get(number.wrapping_sub(self.front) as usize)? {
            Slot::Pending(asking) => Some(*asking),
            Slot::Ready { .. } => None,
        }
    }

    /// The number of the oldest answer that is still out.
    pub fn oldest_pending(&self) -> Option<u32> {
        let index = self.waiting.iter().position(|slot| matches!(slot, Slot::Pending(_)))?;
        Some(self.front.wrapping_add(index as u32))
    }

    /// Gives a pending slot its reply.
    pub fn resolve(&mut self, number: u32, reply: Reply) {
        if let Some(slot) = self.waiting.get_mut(number.wrapping_sub(self.front) as usize) {
            *slot = Slot::Ready { reply, transaction: None };
        }
    }

    /// Gives every slot of a transaction that has come to nothing this reply.
    pub fn resolve_transaction(&mut self, number: u32, reply: Reply) {
        for slot in &mut self.waiting {
            let transaction = match slot {
                Slot::Ready { transaction, .. } => *transaction,
                Slot::Pending(asking) => asking.transaction(),
            };
            if transaction == Some(number) {
                *slot = Slot::Ready { reply, transaction: None };
            }
        }
    }

    /// Notes that input came in while DATA still waits for its answer: if DATA is refused, it cannot be commands.
    pub fn mark_sent_ahead(&mut self) {
        if let Some(Slot::Pending(Asking::Data { behind })) = self.waiting.back_mut() {
            *behind = true;
        }
    }

    /// Takes back the last slot.
    pub fn drop_last(&mut self) {
        self.waiting.pop_back();
    }

    /// Takes back every slot behind this one.
    pub fn drop_after(&mut self, number: u32) {
        self.waiting.truncate(number.wrapping_sub(self.front) as usize + 1);
    }

    /// Whether an answer is out that `which` names.
    pub fn any_pending(&self, which: impl Fn(Asking) -> bool) -> bool {
        self.waiting.iter().any(|slot| matches!(slot, Slot::Pending(asking) if which(*asking)))
    }

    /// Takes the front reply if it is ready.
    pub fn pop_ready(&mut self) -> Option<Reply> {
        let Some(Slot::Ready { reply, .. }) = self.waiting.front().copied() else { return None };
        self.waiting.pop_front();
        self.front = self.front.wrapping_add(1);
        Some(reply)
    }
}
