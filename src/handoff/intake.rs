//! The cut between a shard and what becomes of the mail that it takes.
//!
//! *Invariants*: everything here is called on the shard, and must not block. Messages of several connections interleave, each
//! named by its connection's slot; a message ends once, by [`Intake::end`] or by [`Intake::abort`].

use rustix::io::Errno;

use crate::mail::envelope::Route;
use crate::mail::manifest::Origin;
use crate::memory::write::Write;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::Scope;
use crate::smtp::reply::Reply;
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
    /// Writes that are under way or to come: their end gives memory back.
    pub writes: u64,
}

/// What the logs of a shard did since they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Blocks that were committed.
    pub commits: u64,
    /// Messages in them.
    pub messages: u64,
    /// Octets that were written, with all that lies around the content.
    pub octets: u64,
    /// Blocks that failed.
    pub failures: u64,
    /// Of those, blocks of which nothing was heard in time.
    pub hung: u64,
    /// Messages that were refused because of that, and that may be on disk all the same.
    pub doubtful: u64,
    /// Times that a segment was wanted and none was ready.
    pub starved: u64,
}

impl LogCounts {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            commits: self.commits + other.commits,
            messages: self.messages + other.messages,
            octets: self.octets + other.octets,
            failures: self.failures + other.failures,
            hung: self.hung + other.hung,
            doubtful: self.doubtful + other.doubtful,
            starved: self.starved + other.starved,
        }
    }
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
    fn admits(&mut self, _scope: &Scope, _route: Route) -> bool {
        true
    }

    /// Nobody waits for the answer to this question any more: its sender was told to come again.
    fn give_up(&mut self, _ticket: Ticket) {}

    /// Why no mail is taken under this scope for now, if there is a reason: asked at MAIL.
    fn refuses(&mut self, _scope: &Scope) -> Option<Reply> {
        None
    }

    /// Whether there is something that it takes none of for now: a log that has failed, or that has no room.
    fn is_refusing(&self) -> bool {
        false
    }

    /// The turn is over: what was collected in it goes on its way. The time is in ms from an arbitrary start, and only grows.
    fn hand_on(&mut self, _now_ms: u64) {}

    /// Whether somebody sleeps for whom there was something in [`Intake::hand_on`], and is to be woken in this turn.
    fn owes_wakes(&mut self) -> bool {
        false
    }

    /// Wakes them: a wake is a system call, and takes a processor from those whose replies are not on their way yet. To be called in each
    /// turn in which [`Intake::owes_wakes`], before the shard sleeps.
    fn wake_consumers(&mut self) {}

    /// A write that is to be started, and its number; to be asked after [`Intake::hand_on`] until there is none.
    fn write(&mut self) -> Option<(u32, Write)> {
        None
    }

    /// The write of this number has come to its end, with so many octets written.
    fn written(&mut self, _number: u32, _result: Result<u32, Errno>) {}

    /// When [`Intake::hand_on`] is to be called, and then [`Intake::owes_wakes`], whatever else happens.
    fn next_time_ms(&self) -> Option<u64> {
        None
    }

    /// An answer that [`Intake::end`] left open.
    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        None
    }

    /// What its logs did.
    fn log_counts(&self) -> LogCounts {
        LogCounts::default()
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
