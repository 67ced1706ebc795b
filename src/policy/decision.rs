//! The decision points of a session, and who answers them.

use std::fmt::Debug;

use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Question};

/// What a policy says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The answer is known.
    Now(Outcome),
    /// The answer is known, and is to be given after a time.
    After {
        /// How long the session waits, in ms.
        delay_ms: u64,
        /// What it then hears.
        outcome: Outcome,
    },
    /// Somebody else will answer, by the ticket, through the shard's control mailbox.
    Elsewhere,
}

/// Who asks: enough to answer by ticket, and to decide by chance reproducibly.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'q> {
    /// The question.
    pub question: Question<'q>,
    /// Names the connection and the question for a late answer.
    pub ticket: Ticket,
    /// Uniform randomness for this question alone.
    pub random: u64,
}

/// Names one question of one connection of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The shard.
    pub shard: u16,
    /// The connection's slot on it.
    pub slot: u32,
    /// The slot's generation: a later connection in the slot has another.
    pub generation: u32,
    /// The question's number within the session.
    pub question: u32,
}

/// Decides at each point of a session where something can be refused.
pub trait Policy: Send + Sync + Debug {
    /// Answers, or says who will. Called on the shard: must not block.
    fn decide(&self, asked: &Asked<'_>) -> Decision;
}

/// Accepts all: the policy of a blackhole that nobody scripted.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptAll;

impl Policy for AcceptAll {
    fn decide(&self, _: &Asked<'_>) -> Decision {
        Decision::Now(Outcome::Accept)
    }
}

/// Serves nobody, from the greeting on: the policy for strangers of a private listener.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAccess;

impl Policy for DenyAccess {
    fn decide(&self, _: &Asked<'_>) -> Decision {
        Decision::Now(Outcome::Refuse(Reply::AccessDenied))
    }
}
