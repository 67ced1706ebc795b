//! The cut between a shard and what becomes of the mail that it takes.
//!
//! *Invariants*: everything here is called on the shard, and must not block. Messages of several connections interleave, each
//! named by its connection's slot; a message ends once, by [`Intake::end`] or by [`Intake::abort`].

use crate::mail::envelope::Route;
use crate::mail::manifest::Origin;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::Scope;
use crate::smtp::session::{Ended, Outcome};

/// A message that has come in full, and that policy accepts.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'m> {
    /// Names the question that its end is, for an answer that comes later.
    pub ticket: Ticket,
    /// What its connection is held to.
    pub scope: &'m Scope,
    /// The message, but for its content.
    pub ended: &'m Ended<'m>,
    /// Who sent it.
    pub origin: Origin,
    /// The time, in ms since 1970.
    pub at_ms: u64,
}

/// How much of what an intake may hold it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Octets of memory in use.
    pub octets: u64,
    /// Octets that may be.
    pub octets_most: u64,
    /// Messages that are handed off and not acknowledged, each for each of its sinks.
    pub letters: u64,
    /// Messages that were accepted, and that no consumer will have because theirs is gone, each for each of its sinks.
    pub lost: u64,
}

/// Takes the mail of a shard. One for each.
pub trait Intake {
    /// A piece of the content of a message. It must be copied if it is needed after the call. Gives the number of octets that
    /// were copied.
    fn content(&mut self, scope: &Scope, slot: u32, piece: &[u8]) -> usize;

    /// What came of a message since the last end is void, if anything did.
    fn abort(&mut self, slot: u32);

    /// The message is complete. It is the intake's from now on, whatever becomes of its connection, unless it is refused. An
    /// intake that says [`Decision::Elsewhere`] answers by [`Intake::outcome`], or through the shard's mailbox.
    fn end(&mut self, message: &Arrived<'_>) -> Decision;

    /// Whether a recipient may be added whose mail goes there.
    fn admits(&mut self, _route: Route) -> bool {
        true
    }

    /// Nobody waits for the answer to this question any more: its sender was told to come again.
    fn give_up(&mut self, _ticket: Ticket) {}

    /// The turn is over: what was collected in it goes on its way.
    fn hand_on(&mut self) {}

    /// An answer that [`Intake::end`] left open.
    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        None
    }

    /// What it holds. Who sleeps after this is woken when it becomes less, while it is much.
    fn holding(&mut self) -> Holding {
        Holding::default()
    }

    /// The shard is about to sleep, and is woken for what others do from now on. Whether there is something to do already.
    fn announce_sleep(&mut self) -> bool {
        false
    }

    /// The shard is up.
    fn withdraw_sleep(&mut self) {}
}

/// Keeps nothing: content is discarded where it lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Intake for Discard {
    #[inline]
    fn content(&mut self, _scope: &Scope, _slot: u32, _piece: &[u8]) -> usize {
        0
    }

    #[inline]
    fn abort(&mut self, _slot: u32) {}

    #[inline]
    fn end(&mut self, _message: &Arrived<'_>) -> Decision {
        Decision::Now(Outcome::Accept)
    }
}
