//! What a shard takes mail with: a gather for what is handed off at once, and a log for each promise that is kept on disk, if it is one of
//! those that have logs.
//!
//! *Invariant*: the sinks hear of a message in a log when it is committed, and never before; of how far the log goes when they have
//! heard of all that is before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use crate::handoff::gather::Gather;
use crate::handoff::intake::{Arrived, Holding, Intake, LogCounts};
use crate::handoff::place::{self, LogId, LogKind, Place};
use crate::limits;
use crate::mail::envelope::Route;
use crate::memory::slab::Slab;
use crate::memory::write::Write;
use crate::policy::decision::{Decision, Ticket};
use crate::policy::scope::{Promise, Scope, Taking};
use crate::smtp::reply::Reply;
use crate::smtp::session::Outcome;
use crate::spool::writer::{Committed, Log};

/// The logs of a shard: as many as there are promises that need one.
const LOGS: usize = 3;

/// See the module.
#[derive(Debug)]
pub struct Spooler {
    gather: Gather,
    shard: u16,
    /// By [`place`]s of promises: durable, written, and what is written and discarded.
    logs: [Option<Log>; LOGS],
    /// How far each was published.
    published: [(u64, u64); LOGS],
    /// The lowest address that each needs still, for whoever frees what lies before.
    lows: [Arc<AtomicU64>; LOGS],
}

/// A log's place in a [`Spooler`], if mail that is taken like this has one.
fn log_of(taking: Taking) -> Option<usize> {
    match taking {
        Taking::HandOff(Promise::Durable) => Some(0),
        Taking::HandOff(Promise::Written) => Some(1),
        Taking::WriteAndDiscard => Some(2),
        Taking::Discard | Taking::HandOff(Promise::Memory | Promise::Delivered) => None,
    }
}

fn split(logs: [Option<(Log, Arc<AtomicU64>)>; LOGS]) -> ([Option<Log>; LOGS], [Arc<AtomicU64>; LOGS]) {
    let mut lows: [Arc<AtomicU64>; LOGS] = Default::default();
    let mut low = lows.iter_mut();
    let logs = logs.map(|log| {
        let (log, of_log) = log.unzip();
        if let (Some(place), Some(of_log)) = (low.next(), of_log) {
            *place = of_log;
        }
        log
    });
    (logs, lows)
}

/// The name under which consumers know a log, and what was promised of what is in it.
const KINDS: [Option<(LogKind, Promise)>; LOGS] =
    [Some((LogKind::Durable, Promise::Durable)), Some((LogKind::Written, Promise::Written)), None];

impl Spooler {
    /// `make` gives the logs that there are, by what is promised of them, with memory that counts together with the gather's; each with
    /// where it says what it needs still.
    pub fn new(
        shard: u16,
        gather: Gather,
        mut make: impl FnMut(Taking, &Slab) -> Option<(Log, Arc<AtomicU64>)>,
    ) -> Self {
        let takings = [Taking::HandOff(Promise::Durable), Taking::HandOff(Promise::Written), Taking::WriteAndDiscard];
        let logs = takings.map(|taking| make(taking, gather.slab()));
        let (logs, lows) = split(logs);
        Self { gather, shard, logs, published: [(0, 0); LOGS], lows }
    }

    /// The number of the message that was named last.
    #[cfg(test)]
    pub fn last_sequence(&self) -> u64 {
        self.gather.last_sequence()
    }

    /// Tells the sinks what was committed.
    fn post_committed(&mut self) {
        let Self { gather, logs, .. } = self;
        for (log, kind) in logs.iter_mut().zip(KINDS) {
            let (Some(log), Some((kind, promise))) = (log, kind) else { continue };
            // BOUND: what was committed in this turn.
            while let Some(committed) = log.take_committed() {
                let Committed { id, routes, first, place: address, retain, manifest, content } = committed;
                let place = Place { log: LogId { kind, shard: self.shard }, address, retain };
                let memory = content.as_ref().map(|content| (&manifest, content));
                let message = place::Committed { id, place, first, routes: routes.as_slice(), memory };
                gather.post_committed(&message, promise);
            }
        }
    }

    fn publish(&mut self) {
        let Self { gather, logs, published, lows, .. } = self;
        for (((log, kind), published), lowest) in logs.iter().zip(KINDS).zip(published).zip(lows) {
            let Some(log) = log else { continue };
            let reached = log.published();
            if reached == std::mem::replace(published, reached) {
                continue;
            }
            let (watermark, low) = reached;
            lowest.store(log.needed_from(), Ordering::Release);
            if let Some((kind, _)) = kind {
                gather.publish_watermark(LogId { kind, shard: self.shard }, watermark, low);
            }
        }
    }
}

impl Intake for Spooler {
    #[inline]
    fn content(&mut self, scope: &Scope, slot: u32, piece: &[u8]) -> usize {
        match log_of(scope.taking) {
            Some(log) => self.logs[log].as_mut().map_or(0, |log| log.content(slot, piece)),
            None => self.gather.content(scope, slot, piece),
        }
    }

    #[inline]
    fn abort(&mut self, slot: u32) {
        self.gather.abort(slot);
        self.logs.iter_mut().flatten().for_each(|log| log.abort(slot));
    }

    #[inline]
    fn end(&mut self, message: &Arrived<'_>) -> Decision {
        let taking = message.scope.taking;
        let log = match log_of(taking).map(|log| &mut self.logs[log]) {
            Some(Some(log)) => log,
            // Nothing would keep it.
            Some(None) => return Decision::Now(Outcome::Refuse(Reply::DeliveryFailed)),
            None => return self.gather.end(message),
        };
        let promise = match taking {
            Taking::HandOff(promise) => Some(promise),
            Taking::Discard | Taking::WriteAndDiscard => None,
        };
        let described = match self.gather.describe(message, promise) {
            Ok(described) => described,
            Err(reply) => {
                log.abort(message.ticket.slot);
                return Decision::Now(Outcome::Refuse(reply));
            }
        };
        match log.end(message.ticket, &described) {
            Ok(()) => Decision::Elsewhere,
            Err(reply) => Decision::Now(Outcome::Refuse(reply)),
        }
    }

    fn refuses(&mut self, scope: &Scope) -> Option<Reply> {
        match self.logs[log_of(scope.taking)?].as_mut() {
            Some(log) => log.refuses(),
            None => Some(Reply::SpoolFailed),
        }
    }

    fn is_refusing(&self) -> bool {
        self.logs.iter().flatten().any(|log| log.refuses().is_some())
    }

    fn admits(&mut self, scope: &Scope, route: Route) -> bool {
        // What is spooled waits in its log, and not in a queue.
        log_of(scope.taking).is_some() || self.gather.admits(scope, route)
    }

    fn give_up(&mut self, ticket: Ticket) {
        // What a log has it keeps: it may be on disk already.
        self.gather.give_up(ticket);
    }

    fn hand_on(&mut self, now_ms: u64) {
        self.logs.iter_mut().flatten().for_each(|log| log.hand_on(now_ms));
        self.post_committed();
        self.publish();
        self.gather.hand_on(now_ms);
    }

    fn owes_wakes(&mut self) -> bool {
        self.gather.owes_wakes()
    }

    fn wake_consumers(&mut self) {
        self.gather.wake_consumers();
    }

    fn write(&mut self) -> Option<(u32, Write)> {
        self.logs.iter_mut().zip(0..).find_map(|(log, index)| {
            let (number, write) = log.as_mut()?.write()?;
            Some((number * LOGS as u32 + index, write))
        })
    }

    fn written(&mut self, number: u32, result: Result<u32, Errno>) {
        if let Some(log) = &mut self.logs[number as usize % LOGS] {
            log.written(number / LOGS as u32, result);
        }
    }

    fn next_time_ms(&self) -> Option<u64> {
        self.logs.iter().flatten().filter_map(Log::next_time_ms).chain(self.gather.next_time_ms()).min()
    }

    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        let answer = self.logs.iter_mut().flatten().find_map(Log::take_answer);
        match answer {
            Some((ticket, Ok(id))) => Some((ticket, Outcome::AcceptAs(id))),
            Some((ticket, Err(reply))) => Some((ticket, Outcome::Refuse(reply))),
            None => self.gather.outcome(),
        }
    }

    fn log_counts(&self) -> LogCounts {
        self.logs.iter().flatten().map(Log::counts).fold(LogCounts::default(), LogCounts::plus)
    }

    fn holding(&mut self) -> Holding {
        let writes = self.logs.iter().flatten().map(Log::writes).sum();
        Holding { writes, ..self.gather.holding() }
    }

    fn announce_sleep(&mut self) -> bool {
        self.gather.announce_sleep() || self.logs.iter().flatten().any(Log::has_answers)
    }

    fn withdraw_sleep(&mut self) {
        self.gather.withdraw_sleep();
    }
}

const _: () =
    assert!(super::writer::WRITE_NUMBERS as u64 * LOGS as u64 <= u32::MAX as u64 && limits::GROUPS_UNDER_WAY < 64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::backlog::{Attached, Backlog, Reading};
    use crate::handoff::exchange::{ExchangeOptions, connect};
    use crate::handoff::mailbox::mailbox;
    use crate::handoff::place::{Position, Spooled};
    use crate::mail::id::MessageId;
    use crate::memory::slab::Leases;

    /// A log in which there is nothing that was not told.
    struct Empty;

    impl Backlog for Empty {
        fn read(&mut self, from: Position, _upto: u64, _most: usize, _out: &mut Vec<Spooled>) -> Reading {
            Reading { reached: from, stuck: None }
        }

        fn keep(&mut self, _kept: Position) -> bool {
            true
        }
    }

    /// The shard sleeps until then at most: nothing else may happen.
    #[test]
    fn a_wake_that_is_put_off_is_a_time_to_come_back_at() {
        let (sender, _messages, _wake) = mailbox::<()>().unwrap();
        let options = ExchangeOptions { shards: vec![sender.bell()], consumers: vec![1], ..ExchangeOptions::default() };
        let (mut gathers, mut deliveries) = connect(&options).unwrap();
        let (mut spooler, sink) = (Spooler::new(0, gathers.remove(0), |_, _| None), &mut deliveries[0][0]);
        let (log, start) = (LogId { kind: LogKind::Durable, shard: 0 }, Position::default());
        sink.attach(Attached { log, start, end: 0, is_written_on: true, backlog: Box::new(Empty) });
        // It keeps up.
        for _ in 0..2 {
            spooler.gather.publish_watermark(log, 0, 0);
            spooler.hand_on(0);
            sink.take_batch(&mut Vec::new(), 1);
        }
        let mut slab = Slab::with_blocks_of(4096, 16);
        let memory = (slab.append_whole(b"m").unwrap(), Leases::default());
        let mut turn = |address: u64, now_ms| {
            let place = Place { log, address, retain: 0 };
            let id = MessageId::new(7, 3, 0, address);
            let routes = [(Route(0), 1)];
            let message =
                place::Committed { id, place, first: address, routes: &routes, memory: Some((&memory.0, &memory.1)) };
            sink.asleep(|| {
                spooler.gather.post_committed(&message, Promise::Durable);
                spooler.hand_on(now_ms);
                let owes = spooler.owes_wakes();
                if owes {
                    spooler.wake_consumers();
                }
                (owes, spooler.next_time_ms())
            })
        };
        assert_eq!(turn(1, 10), (true, None));
        assert_eq!(turn(2, 10), (false, Some(10 + limits::WAKE_MS)));
        assert_eq!(turn(3, 10 + limits::WAKE_MS), (true, None));
    }
}
