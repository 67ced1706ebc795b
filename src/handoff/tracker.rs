//! What was handed out of one log and is not done with: in order of place, done with in any order.
//!
//! *Invariant*: the position that it gives never lies behind a message that is not done with. *Bound*: letters that are out.

use std::collections::VecDeque;

use crate::handoff::place::{Place, Position};

#[derive(Clone, Copy, Debug)]
struct Out {
    position: Position,
    is_done: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    out: VecDeque<Out>,
}

impl Tracker {
    /// A message is handed out; its place is behind those of all before it.
    pub(super) fn hand_out(&mut self, place: Place) {
        debug_assert!(self.out.back().is_none_or(|last| last.position.address < place.address), "in order of place");
        self.out.push_back(Out { position: Position::at(place), is_done: false });
    }

    /// It is done with.
    pub(super) fn settle(&mut self, address: u64) {
        let found = self.out.binary_search_by_key(&address, |out| out.position.address);
        debug_assert!(found.is_ok(), "it was handed out, and is done with once");
        if let Ok(at) = found {
            self.out[at].is_done = true;
        }
        while self.out.front().is_some_and(|first| first.is_done) {
            self.out.pop_front();
        }
    }

    /// What is before this is done with, all that was handed out lying before `reached`.
    pub(super) fn kept(&self, reached: Position) -> Position {
        self.out.front().map_or(reached, |first| first.position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::handoff::place::{LogId, LogKind};

    proptest! {
        /// In whatever order: the position is that of the first message that is not done with.
        #[test]
        fn stands_at_the_first_that_is_not_done_with(order in Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle(), out_first in 1..40_usize) {
            let log = LogId { kind: LogKind::Durable, shard: 0 };
            let place = |number: u64| Place { log, address: 100 * number, retain: 100 * number / 3 };
            let (mut tracker, mut next, mut done) = (Tracker::default(), 0, Vec::new());
            let mut waiting: Vec<u64> = order;
            while !waiting.is_empty() {
                while next < 40 && next < done.len() as u64 + out_first as u64 {
                    tracker.hand_out(place(next));
                    next += 1;
                }
                let at = waiting.iter().position(|number| *number < next).unwrap();
                let number = waiting.remove(at);
                tracker.settle(place(number).address);
                done.push(number);
                let reached = Position { address: 100 * next, from: 100 * next };
                let first = (0..next).find(|number| !done.contains(number));
                let wanted = first.map_or(reached, |number| Position::at(place(number)));
                prop_assert_eq!(tracker.kept(reached), wanted);
                prop_assert!(tracker.out.len() <= 40);
            }
            prop_assert!(tracker.out.is_empty());
        }
    }
}
