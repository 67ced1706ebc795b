//! What a consumer of spooled mail refuses is kept elsewhere, here in a list, and comes again from there.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::spooled::{LOGS, Spool, lease};
use super::*;
use crate::handoff::backlog::Keeper;
use crate::handoff::place::{LogId, LogKind, Place, Spooled};
use crate::memory::slab::Leases;

/// What is kept, and what of it is taken out; by name, with how often it was kept.
#[derive(Debug, Default)]
struct Kept {
    waiting: Vec<(MessageId, u32)>,
    out: Vec<(MessageId, u32)>,
    /// What failed is given once more as it was.
    failed: Option<Vec<MessageId>>,
    /// Refused for good.
    dead: BTreeSet<MessageId>,
    /// What was accepted so far.
    accepted: BTreeSet<MessageId>,
    is_broken: bool,
    failures: u64,
}

struct List(Arc<Mutex<Kept>>);

impl Kept {
    fn settle(&mut self, refused: &[Delivery]) -> bool {
        let ids: Vec<MessageId> = refused.iter().map(Delivery::id).collect();
        assert!(self.failed.take().is_none_or(|failed| failed == ids));
        if self.is_broken {
            self.failures += 1;
            self.failed = Some(ids);
            return false;
        }
        for delivery in refused {
            let is_for_good =
                delivery.verdict(0).is_some_and(|verdict| verdict.as_ref().is_err_and(|no| !no.is_temporary()));
            assert!(is_for_good || delivery.verdict(0).is_none_or(Result::is_err), "it was accepted");
            match is_for_good {
                true => assert!(self.dead.insert(delivery.id())),
                false => self.waiting.push((delivery.id(), delivery.attempts() + 1)),
            }
        }
        true
    }
}

impl Keeper for List {
    fn keep(&mut self, refused: &[Delivery]) -> bool {
        assert!(!refused.is_empty() && refused.iter().all(|one| one.place().unwrap().log != DEFERRED));
        self.0.lock().unwrap().settle(refused)
    }

    fn take_due(&mut self, most: usize, out: &mut Vec<Spooled>) {
        let mut kept = self.0.lock().unwrap();
        assert!(kept.out.is_empty() && most > 0, "what was taken out is done with by now");
        let count = most.min(kept.waiting.len());
        let taken: Vec<_> = kept.waiting.drain(..count).collect();
        for (at, (id, attempts)) in taken.iter().enumerate() {
            let place = Place { log: DEFERRED, address: at as u64, retain: 0 };
            let (id, attempts, content) = (*id, *attempts, Leases::default());
            out.push(Spooled { id, place, route: Route(0), recipients: 1, attempts, manifest: lease(), content });
        }
        kept.out = taken;
    }

    fn conclude(&mut self, refused: &[Delivery]) -> bool {
        assert!(refused.iter().all(|one| one.place().unwrap().log == DEFERRED));
        let mut kept = self.0.lock().unwrap();
        let is_back = |id: &MessageId| kept.accepted.contains(id) != refused.iter().any(|one| one.id() == *id);
        assert!(kept.out.iter().all(|(id, _)| is_back(id)), "each of them has come back");
        let is_kept = kept.settle(refused);
        if is_kept {
            kept.out.clear();
        }
        is_kept
    }

    fn give_up(&mut self, is_all: bool) {
        let mut kept = self.0.lock().unwrap();
        kept.failed = None;
        if is_all {
            let mut out = std::mem::take(&mut kept.out);
            kept.waiting.append(&mut out);
        }
    }
}

const DEFERRED: LogId = LogId { kind: LogKind::Deferred, shard: 0 };

fn refuse(delivery: &mut Delivery, code: u16) {
    let refusal = Refusal::new(Reply::scripted(code).unwrap(), "no");
    delivery.refuse_the_rest(&refusal);
}

/// One whose mail waits in a list when it was refused.
fn house() -> (Spool, Arc<Mutex<Kept>>) {
    let mut spool = Spool::new(64);
    let kept = Arc::<Mutex<Kept>>::default();
    spool.way.consumers[0].keep_refused(Box::new(List(Arc::clone(&kept))));
    spool.publish();
    (spool, kept)
}

/// Who refuses all for now, without end, holds no log: all of it comes again from elsewhere, and fresh mail has most of the places.
#[test]
fn who_refuses_for_ever_holds_no_log() {
    const MESSAGES: usize = 3_000;
    let (mut spool, kept) = house();
    let progress = spool.way.consumers[0].progress(LOGS[0]).unwrap();
    let (mut fresh, mut again, mut turns) = (0, 0, 0);
    while fresh < MESSAGES + 10 {
        turns += 1;
        assert!(turns < 10 * MESSAGES, "{fresh} {again}");
        if turns <= MESSAGES {
            spool.commit(0, &[0], true, 99);
            spool.publish();
        }
        let mut batch = Vec::new();
        spool.way.consumers[0].take_batch(&mut batch, 4);
        for mut delivery in batch {
            match delivery.place().unwrap().log == DEFERRED {
                true => again += 1,
                false => fresh += 1,
            }
            refuse(&mut delivery, 451);
        }
        spool.clock.fetch_add(1_000_000, Ordering::Relaxed);
    }
    assert!(again > MESSAGES / 5, "{again} came again while there was fresh mail");
    // It is noted now and then.
    spool.clock.fetch_add(u64::from(u32::MAX), Ordering::Relaxed);
    (0..2).for_each(|_| _ = spool.way.consumers[0].take_batch(&mut Vec::new(), 1));
    assert!(progress.retain() >= spool.next[0] - 100, "{} of {}", progress.retain(), spool.next[0]);
    let kept = kept.lock().unwrap();
    assert_eq!(kept.waiting.len() + kept.out.len(), MESSAGES + 10);
}

/// Nothing is given to anybody meanwhile but what fits the bound, nothing is lost, and what was refused is kept once.
#[test]
fn while_nothing_can_be_kept_the_log_has_it() {
    let (mut spool, kept) = house();
    let progress = spool.way.consumers[0].progress(LOGS[0]).unwrap();
    kept.lock().unwrap().is_broken = true;
    for _ in 0..200 {
        spool.commit(0, &[0], true, 99);
        spool.publish();
        let mut batch = Vec::new();
        spool.way.consumers[0].take_batch(&mut batch, 8);
        batch.iter_mut().for_each(|delivery| refuse(delivery, 451));
        drop(batch);
        spool.clock.fetch_add(100_000_000, Ordering::Relaxed);
    }
    assert!(progress.retain() <= 1000, "behind a message that nobody has");
    let failures = kept.lock().unwrap().failures;
    assert!((3..20).contains(&failures), "it is tried now and then: {failures}");
    kept.lock().unwrap().is_broken = false;
    for _ in 0..400 {
        spool.clock.fetch_add(1_000_000_000, Ordering::Relaxed);
        let mut batch = Vec::new();
        spool.way.consumers[0].take_batch(&mut batch, 8);
        for delivery in batch {
            assert!(kept.lock().unwrap().accepted.insert(delivery.id()), "it comes once");
            delivery.accept();
        }
    }
    assert_eq!(kept.lock().unwrap().accepted.len(), 200 + 10);
    assert!(progress.retain() >= spool.next[0] - 100);
}

proptest! {
    /// Whatever is said of it, each message is accepted once, dead once, or comes again: nothing is lost and nothing comes twice.
    #[test]
    fn each_message_has_one_end(words in prop::collection::vec((0..100_u8, 1..9_usize), 50..300)) {
        let (mut spool, kept) = house();
        let (mut held, mut sent) = (Vec::<Delivery>::new(), 10);
        for (word, most) in words {
            match word {
                0..30 => {
                    spool.commit(usize::from(word % 2), &[0], word % 3 != 0, 20);
                    spool.publish();
                    sent += 1;
                }
                30..60 => _ = spool.way.consumers[0].take_batch(&mut held, most),
                60..65 => kept.lock().unwrap().is_broken = word % 2 == 0,
                65..70 => _ = spool.clock.fetch_add(1_000_000_000, Ordering::Relaxed),
                _ if held.is_empty() => {}
                _ => {
                    let mut delivery = held.swap_remove(most % held.len());
                    match word {
                        70..80 => {
                            prop_assert!(kept.lock().unwrap().accepted.insert(delivery.id()));
                            delivery.accept();
                        }
                        80..90 => refuse(&mut delivery, 451),
                        90..95 => refuse(&mut delivery, 550),
                        _ => drop(delivery),
                    }
                }
            }
        }
        kept.lock().unwrap().is_broken = false;
        for _ in 0..2 * sent + 20 {
            for delivery in held.drain(..) {
                prop_assert!(kept.lock().unwrap().accepted.insert(delivery.id()));
                delivery.accept();
            }
            spool.clock.fetch_add(u64::from(u32::MAX), Ordering::Relaxed);
            spool.way.consumers[0].take_batch(&mut held, 16);
        }
        let kept = kept.lock().unwrap();
        prop_assert!(kept.waiting.is_empty() && kept.out.is_empty() && held.is_empty());
        prop_assert!(kept.accepted.is_disjoint(&kept.dead));
        prop_assert_eq!(kept.accepted.len() + kept.dead.len(), sent);
        let progress = LOGS.map(|log| spool.way.consumers[0].progress(log).unwrap().retain());
        prop_assert!(progress.iter().zip(spool.next).all(|(retain, next)| retain + 100 >= next), "{:?}", progress);
    }
}
