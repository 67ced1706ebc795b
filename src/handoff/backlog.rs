//! The cut between a consumer and a log: what is read of it, and what is noted there.
//!
//! *Does not* know how a log lies on a disk.

use crate::handoff::place::{LogId, Position, Spooled};

/// How far a reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// All that ends before this, and not before where the reading began, was given.
    pub reached: Position,
    /// It did not get on, for want of memory or because the disk refused: later it may.
    pub is_stuck: bool,
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
