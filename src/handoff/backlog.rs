//! The cut between a consumer and a log: what is read of it, and what is noted there; and between it and what keeps what it refused.
//!
//! *Does not* know how a log lies on a disk.

use crate::handoff::delivery::Delivery;
use crate::handoff::place::{LogId, Position, Spooled};

/// How far a reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// All that ends before this, and not before where the reading began, was given.
    pub reached: Position,
    /// Why it did not get on; later it may.
    pub stuck: Option<Stuck>,
}

/// What keeps a reading from getting on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Memory, which whoever holds what was read before may let go of.
    Memory,
    /// The disk.
    Disk,
}

/// A log, for one consumer. One thread's.
pub trait Backlog: Send {
    /// Reads on from a position: messages for this consumer which end there or behind, and before `upto`, go to `out` in the order of
    /// their places, so many at most. It may give fewer, and none, without having come to `upto`.
    fn read(&mut self, from: Position, upto: u64, most: usize, out: &mut Vec<Spooled>) -> Reading;

    /// Notes for the next start that all before this is done with. Whether that is on stable storage now.
    fn keep(&mut self, kept: Position) -> bool;
}

/// A log and what a consumer has done of it, for [`attach`](crate::handoff::consumer::Deliveries::attach).
pub struct Attached {
    /// Its name.
    pub log: LogId,
    /// From here on it is wanted.
    pub start: Position,
    /// Behind the last block that it had before this start.
    pub end: u64,
    /// A shard of this process goes on with it.
    pub is_written_on: bool,
    /// To read it.
    pub backlog: Box<dyn Backlog>,
}

/// Keeps spooled mail that its consumer refused, or said nothing of too often, and gives it again in its time. One thread's. What could
/// not be kept is given once more as it was, before anything else, or given up.
pub trait Keeper: Send {
    /// Keeps what is left of these; says whether that is on stable storage.
    fn keep(&mut self, refused: &[Delivery]) -> bool;

    /// Takes out what is due, so many at most. What was taken out before is done with by then.
    fn take_due(&mut self, most: usize, out: &mut Vec<Spooled>);

    /// All that was taken out is done with, but for these, which are kept again; says whether that is on stable storage.
    fn conclude(&mut self, refused: &[Delivery]) -> bool;

    /// What could not be kept is not given once more. `is_all`: what was taken out is not done with.
    fn give_up(&mut self, is_all: bool);
}
