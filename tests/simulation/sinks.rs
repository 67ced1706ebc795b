//! Who takes deliveries: soon and late, one or many at once, in any order, or not at all.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::handoff::consumer::Deliveries;
use crate::handoff::delivery::{Delivery, Refusal, Verdict};
use crate::reactor::io::Time;
use crate::simulation::chance::Chance;
use crate::smtp::reply::Reply;

use super::book::Book;
use super::scenario::SinkPlan;

/// How often a sink looks for what comes again.
const LOOKS_MS: u64 = 250;

/// A delivery that is worked on.
#[derive(Debug)]
struct Held {
    delivery: Delivery,
    /// Its message and parcel.
    of: (usize, usize),
    done_at: Time,
}

#[derive(Debug)]
struct Sink {
    route: u16,
    plan: SinkPlan,
    chance: Chance,
    /// None when it is gone.
    deliveries: Option<Deliveries>,
    held: Vec<Held>,
    next_at: Time,
    /// It took something when it looked last: there may be more.
    may_have_more: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Sinks {
    sinks: Vec<Sink>,
    book: Rc<RefCell<Book>>,
    clock: Arc<AtomicU64>,
    start: Time,
    /// They take and accept all, as fast as they can.
    hurries: bool,
}

impl Sinks {
    pub fn new(
        plans: &[SinkPlan],
        deliveries: Vec<Deliveries>,
        book: Rc<RefCell<Book>>,
        clock: Arc<AtomicU64>,
        chance: &Chance,
        start: Time,
    ) -> Self {
        let sinks = plans.iter().zip(deliveries).zip(0..).map(|((plan, deliveries), route)| Sink {
            route,
            plan: *plan,
            chance: chance.of("sink", u64::from(route)),
            deliveries: Some(deliveries),
            held: Vec::new(),
            next_at: start,
            may_have_more: false,
        });
        let sinks = sinks.collect();
        Self { sinks, book, clock, start, hurries: false }
    }

    pub fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Does what is due. Whether anything was done.
    pub fn act(&mut self, now: Time) -> bool {
        self.clock.store(now.since_ns(self.start), Ordering::Relaxed);
        let mut book = self.book.borrow_mut();
        let mut has_acted = false;
        for sink in &mut self.sinks {
            if self.hurries {
                sink.plan = SinkPlan { goes_at_ms: sink.plan.goes_at_ms, ..SinkPlan::PLAIN };
                sink.held.iter_mut().for_each(|held| held.done_at = now);
                sink.next_at = sink.next_at.min(now);
            }
            has_acted |= sink.act(now, self.start, &mut book, self.hurries);
        }
        has_acted
    }

    /// When one of them does something of its own accord.
    pub fn next_at(&self, now: Time) -> Option<Time> {
        self.sinks.iter().filter_map(|sink| sink.next_event(now, self.start)).min()
    }

    /// Takes all that is left, by a clock of its own. Whether every consumer that lives comes to its end.
    pub fn drain(&mut self, mut now: Time) -> bool {
        self.hurry();
        for _ in 0..400 {
            self.act(now);
            if self.sinks.iter().all(|sink| sink.deliveries.as_ref().is_none_or(Deliveries::is_over)) {
                return true;
            }
            now = now.plus_ms(1_000);
        }
        false
    }
}

impl Sink {
    fn is_stopped(&self, now: Time, start: Time) -> bool {
        let Some((from_ms, until_ms)) = self.plan.stops else { return false };
        now >= start.plus_ms(from_ms) && now < start.plus_ms(until_ms)
    }

    fn next_event(&self, now: Time, start: Time) -> Option<Time> {
        let deliveries = self.deliveries.as_ref()?;
        let goes_at = self.plan.goes_at_ms.map(|ms| start.plus_ms(ms));
        let resumes_at = self.plan.stops.map(|(_, until_ms)| start.plus_ms(until_ms));
        if self.is_stopped(now, start) {
            return [resumes_at, goes_at].into_iter().flatten().min();
        }
        let done = self.held.iter().map(|held| held.done_at.max(self.next_at)).min();
        let more = self.may_have_more.then_some(self.next_at);
        let again = (deliveries.waiting() > 0).then(|| self.next_at.max(now.plus_ms(LOOKS_MS)));
        [done, more, again, goes_at].into_iter().flatten().min()
    }

    fn act(&mut self, now: Time, start: Time, book: &mut Book, hurries: bool) -> bool {
        if self.deliveries.is_none() {
            return false;
        }
        if self.plan.goes_at_ms.is_some_and(|ms| now >= start.plus_ms(ms)) {
            book.is_gone[usize::from(self.route)] = true;
            book.tally.gone += 1;
            // What it works on goes before or after it.
            let after = if self.chance.percent(50) { self.held.split_off(self.held.len() / 2) } else { Vec::new() };
            self.held.clear();
            self.deliveries = None;
            drop(after);
            return true;
        }
        if now < self.next_at || self.is_stopped(now, start) {
            return false;
        }
        let mut has_acted = self.finish(now, book, hurries);
        let room = self.plan.holds.saturating_sub(self.held.len()).min(self.plan.batch);
        let mut taken = Vec::new();
        let deliveries = self.deliveries.as_mut().expect("it was there above");
        let count = deliveries.take_batch(&mut taken, room);
        for delivery in taken {
            if let Some(of) = book.come(self.route, &delivery) {
                let works_ms = self.chance.between(0, self.plan.works_ms);
                self.held.push(Held { delivery, of, done_at: now.plus_ms(works_ms) });
            }
        }
        has_acted |= count > 0;
        has_acted |= self.finish(now, book, hurries);
        self.may_have_more = has_acted;
        if has_acted {
            self.next_at = now.plus_ms(self.plan.pause_ms);
        }
        has_acted
    }

    /// Lets go of what is done, in any order.
    fn finish(&mut self, now: Time, book: &mut Book, hurries: bool) -> bool {
        let mut has_finished = false;
        loop {
            let due: Vec<usize> = (0..self.held.len()).filter(|at| self.held[*at].done_at <= now).collect();
            if due.is_empty() {
                return has_finished;
            }
            has_finished = true;
            let Held { delivery, of, .. } = self.held.swap_remove(*self.chance.pick(&due));
            self.conclude(delivery, of, book, hurries);
        }
    }

    fn conclude(&mut self, mut delivery: Delivery, of: (usize, usize), book: &mut Book, hurries: bool) {
        let SinkPlan { drops, later, never, .. } = self.plan;
        let mut words = vec![None; delivery.recipients_in_all() as usize];
        let open: Vec<u32> = delivery.recipients().map(|to| to.index).collect();
        if !hurries && self.chance.percent(drops) {
            // It says something of some, perhaps.
            let some = open.iter().filter(|_| self.chance.percent(20)).copied().collect::<Vec<_>>();
            for index in some {
                words[index as usize] = Some(self.word(later, never));
            }
        } else {
            for index in &open {
                words[*index as usize] = Some(if hurries { Ok(()) } else { self.word(later, never) });
            }
        }
        if !open.is_empty()
            && open.iter().all(|index| words[*index as usize] == Some(Ok(())))
            && self.chance.percent(50)
        {
            delivery.accept();
        } else {
            for index in open {
                if let Some(word) = words[index as usize] {
                    let verdict: Verdict = word.map_err(|reply| Refusal::new(reply, "the seed says so"));
                    delivery.conclude(index, verdict);
                }
            }
            drop(delivery);
        }
        book.let_go(of, &words);
    }

    fn word(&mut self, later: u8, never: u8) -> Result<(), Reply> {
        if self.chance.percent(later) {
            return Err(*self.chance.pick(&[Reply::MailboxFull, Reply::Scripted451]));
        }
        if self.chance.percent(never) { Err(Reply::Scripted550) } else { Ok(()) }
    }
}
