//! From a shard to its consumers and back, without a shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::handoff::consumer::Deliveries;
use crate::handoff::delivery::{Delivery, Refusal};
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::gather::Gather;
use crate::handoff::intake::{Arrived, Intake};
use crate::handoff::mailbox::mailbox;
use crate::limits;
use crate::mail::address::{Mailbox, Path};
use crate::mail::envelope::{MailParameters, RcptParameters, Route};
use crate::mail::id::MessageId;
use crate::mail::manifest::Origin;
use crate::mail::marks::Marks;
use crate::mail::trace::{Transfer, With};
use crate::memory::slab::Slab;
use crate::policy::decision::{AcceptAll, Decision, Ticket};
use crate::policy::scope::{Promise, Scope, Taking, Timeouts};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Ended, Outcome, Record};
use crate::smtp::settings::{Settings, Terms};

mod refused;
mod spooled;

/// A shard's end, with consumers for two routes.
struct Way {
    gather: Gather,
    consumers: Vec<Deliveries>,
    question: u32,
}

fn scope(taking: Taking) -> Scope {
    Scope {
        listener: "mx".into(),
        settings: Settings::new(Terms::public("mx.test")),
        timeouts: Timeouts { idle_ms: 1, transaction_ms: None, greet_pause_ms: 0, answer_ms: 1 },
        proxy_timeout_ms: None,
        taking,
        sums_content: false,
        served: None,
        policy: Arc::new(AcceptAll),
    }
}

impl Way {
    fn new(blocks: usize) -> Self {
        let (sender, _receiver, _awaited) = mailbox::<()>().unwrap();
        Self::with(ExchangeOptions { blocks, shards: vec![sender.bell()], ..ExchangeOptions::default() })
    }

    fn with(options: ExchangeOptions) -> Self {
        let options = ExchangeOptions { node: 7, epoch: 3, consumers: vec![1, 1], ..options };
        let (mut gathers, deliveries) = connect(&options).unwrap();
        let consumers = deliveries.into_iter().flatten().collect();
        Self { gather: gathers.remove(0), consumers, question: 0 }
    }

    /// A message of this content, for recipients by their routes; what is said at its end, and under which question.
    fn send(&mut self, promise: Promise, content: &[u8], routes: &[u16]) -> (Decision, Ticket) {
        let scope = scope(Taking::HandOff(promise));
        let ticket = Ticket { shard: 0, slot: 5, generation: 1, question: self.question };
        self.question += 1;
        for piece in content.chunks(100_000) {
            self.gather.content(&scope, ticket.slot, piece);
        }
        let mut record = Record::default();
        record.begin(Path::Null, &MailParameters::default());
        for (number, route) in routes.iter().enumerate() {
            let local_part = number.to_string();
            let path = Path::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: b"ok.test" });
            let place = record.add(path, &RcptParameters::default()).unwrap();
            record.set_route(place, Route(*route));
        }
        let ended = Ended {
            content_octets: content.len() as u64,
            recipients: routes.len() as u32,
            marks: Marks::default(),
            with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
            record: Some(&record),
        };
        let origin = Origin::Host("192.0.2.1:25".parse().unwrap());
        let decision = self.gather.end(&Arrived { ticket, scope: &scope, ended: &ended, origin, at_ms: 1_000 });
        (decision, ticket)
    }

    fn take(&mut self, consumer: usize) -> Vec<Delivery> {
        self.gather.hand_on(0);
        self.gather.wake_consumers();
        let mut all = Vec::new();
        self.consumers[consumer].take_batch(&mut all, usize::MAX);
        all
    }

    fn outcome(&mut self) -> Option<(Ticket, Outcome)> {
        self.gather.outcome()
    }
}

/// With so few letters for each sink, and so few blocks of so many octets.
fn narrow(letters: usize, blocks: usize, block_octets: usize) -> Way {
    let (sender, _receiver, _awaited) = mailbox::<()>().unwrap();
    Way::with(ExchangeOptions {
        letters,
        blocks,
        block_octets,
        shards: vec![sender.bell()],
        ..ExchangeOptions::default()
    })
}

fn text(delivery: &Delivery) -> Vec<u8> {
    delivery.content().collect::<Vec<_>>().concat()
}

fn id(sequence: u64) -> MessageId {
    MessageId::new(7, 3, 0, sequence)
}

fn later() -> Refusal {
    Refusal::new(Reply::MailboxFull, "full")
}

#[test]
fn a_message_comes_to_each_sink_with_its_own_recipients() {
    let mut way = Way::new(4);
    let (decision, _) = way.send(Promise::Memory, b"content", &[0, 1, 0]);
    assert_eq!(decision, Decision::Now(Outcome::AcceptAs(id(1))));
    for (consumer, indices, locals) in [(0, vec![0, 1], vec!["0", "2"]), (1, vec![0], vec!["1"])] {
        let mut all = way.take(consumer);
        let delivery = all.remove(0);
        assert_eq!((delivery.id(), text(&delivery), delivery.attempts()), (id(1), b"content".to_vec(), 0));
        let manifest = delivery.manifest();
        assert_eq!((manifest.recipients, manifest.by, manifest.listener), (3, "mx.test", "mx"));
        let seen: Vec<_> = delivery.recipients().map(|to| (to.index, to.path)).collect();
        assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<u32>>(), indices);
        for ((_, path), local) in seen.into_iter().zip(locals) {
            assert_eq!(path, Path::Mailbox(Mailbox { local_part: local.as_bytes(), domain: b"ok.test" }));
        }
        delivery.accept();
        assert!(way.take(consumer).is_empty());
    }
    assert_eq!(way.gather.holding().letters, 0);
    assert_eq!(way.outcome(), None, "nobody waited");
}

#[test]
fn what_is_dropped_comes_again_until_it_is_accepted() {
    let mut way = Way::new(4);
    way.send(Promise::Memory, b"a", &[0, 0]);
    drop(way.take(0));
    let mut again = way.take(0);
    assert_eq!((again.len(), again[0].attempts()), (1, 1));
    // One has it, and one has not: only that one comes again.
    again[0].conclude(1, Ok(()));
    drop(again);
    assert!(way.take(0).is_empty(), "not at once");
    assert_eq!(way.consumers[0].waiting(), 1);
    let mut patience = 0;
    let mut delivery = loop {
        assert!(way.consumers[0].wait(Some(Duration::from_secs(1))));
        if let Some(delivery) = way.take(0).pop() {
            break delivery;
        }
        patience += 1;
        assert!(patience < 60, "it never came again");
    };
    assert_eq!(delivery.recipients().map(|to| to.index).collect::<Vec<_>>(), [0]);
    delivery.conclude(0, Err(Refusal::new(Reply::DeliveryFailed, "why")));
    assert!(delivery.verdict(0).unwrap().as_ref().is_err_and(Refusal::is_temporary));
    drop(delivery);
    assert_eq!(way.gather.holding().letters, 1, "a refusal for now is not the end");
}

#[test]
fn a_client_that_waits_hears_what_each_sink_said_of_each_recipient() {
    let mut way = Way::new(4);
    let (decision, ticket) = way.send(Promise::Delivered, b"a", &[0, 1, 0]);
    assert_eq!(decision, Decision::Elsewhere);
    assert_eq!(way.outcome(), None);
    let mut first = way.take(0);
    first[0].conclude(1, Err(later()));
    first[0].take_for_the_rest();
    drop(first);
    assert_eq!(way.outcome(), None, "the other has said nothing");
    way.take(1).pop().unwrap().accept();
    let each = Outcome::each(Some(id(1)), [Ok(()), Ok(()), Err(Reply::MailboxFull)]);
    assert_eq!(way.outcome(), Some((ticket, each)));
    assert!(way.take(0).is_empty(), "its word was final");
    let (_, ticket) = way.send(Promise::Delivered, b"b", &[1]);
    way.take(1).pop().unwrap().accept();
    assert_eq!(way.outcome(), Some((ticket, Outcome::AcceptAs(id(2)))));
    assert_eq!(way.gather.holding().letters, 0);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_delivered() {
    let mut way = Way::new(4);
    let (_, given_up) = way.send(Promise::Delivered, b"a", &[0]);
    let (_, kept) = way.send(Promise::Delivered, b"b", &[0]);
    way.gather.hand_on(0);
    way.gather.wake_consumers();
    way.gather.give_up(given_up);
    let all = way.take(0);
    assert_eq!((all.len(), text(&all[0])), (1, b"b".to_vec()));
    assert_eq!(way.consumers[0].given_up(), 1);
    // One that is out already: what is said of it reaches nobody, nor the message that has its place.
    way.gather.give_up(kept);
    let (_, third) = way.send(Promise::Delivered, b"c", &[0]);
    all.into_iter().for_each(Delivery::accept);
    assert_eq!(way.outcome(), None);
    way.take(0).pop().unwrap().accept();
    assert_eq!(way.outcome(), Some((third, Outcome::AcceptAs(id(3)))));
}

/// A full queue is waited for: the message is accepted when its sink has it, and not before.
#[test]
fn a_sink_whose_queue_is_full_makes_senders_wait() {
    let mut way = Way::new(64);
    for _ in 0..limits::LETTERS {
        assert!(way.gather.has_room(Route(0)));
        assert!(matches!(way.send(Promise::Memory, b"x", &[0]).0, Decision::Now(Outcome::AcceptAs(_))));
    }
    assert!(!way.gather.has_room(Route(0)) && way.gather.has_room(Route(1)), "another sink is not touched");
    let (decision, ticket) = way.send(Promise::Memory, b"y", &[0, 1]);
    assert_eq!(decision, Decision::Elsewhere);
    let (_, given_up) = way.send(Promise::Memory, b"z", &[0]);
    way.gather.give_up(given_up);
    assert!(way.gather.announce_sleep() || way.outcome().is_none());
    let mut all = way.take(0);
    assert_eq!((all.len(), way.outcome()), (limits::LETTERS, None));
    all.pop().unwrap().accept();
    assert!(way.gather.announce_sleep(), "there is room: no time to sleep");
    way.gather.withdraw_sleep();
    let fresh = way.take(0);
    assert_eq!(fresh.iter().map(text).collect::<Vec<_>>(), [b"y"]);
    let sequence = limits::LETTERS as u64 + 1;
    assert_eq!(way.outcome(), Some((ticket, Outcome::AcceptAs(id(sequence)))));
    drop(fresh);
    all.into_iter().for_each(Delivery::accept);
    assert_eq!(
        way.take(0).into_iter().map(|last| text(&last)).collect::<Vec<_>>(),
        [b"y"],
        "and never the one given up"
    );
}

#[test]
fn without_memory_a_message_is_refused_at_its_end_and_leaves_nothing() {
    let mut way = Way::new(2);
    let large = vec![b'x'; 2 * limits::BLOCK_OCTETS + 1];
    let refused = Decision::Now(Outcome::Refuse(Reply::NoMemory));
    assert_eq!(way.send(Promise::Memory, &large, &[0]).0, refused);
    assert!(way.take(0).is_empty());
    assert!(way.gather.holding().octets <= limits::BLOCK_OCTETS as u64);
    assert!(matches!(way.send(Promise::Memory, b"small", &[0]).0, Decision::Now(Outcome::AcceptAs(_))));
    // What is broken off is forgotten.
    way.gather.content(&scope(Taking::HandOff(Promise::Memory)), 5, b"half");
    way.gather.abort(5);
    way.send(Promise::Memory, b"whole", &[0]);
    assert_eq!(way.take(0).iter().map(text).collect::<Vec<_>>(), [&b"small"[..], b"whole"]);
    assert_eq!(Slab::new(2).octets_most(), way.gather.holding().octets_most);
}

#[test]
fn a_consumer_that_is_gone_refuses_for_now() {
    let mut way = Way::new(4);
    way.consumers.remove(1);
    assert_eq!(way.send(Promise::Memory, b"a", &[0, 1]).0, Decision::Now(Outcome::Refuse(Reply::DeliveryFailed)));
    assert_eq!(way.send(Promise::Memory, b"a", &[9]).0, Decision::Now(Outcome::Refuse(Reply::DeliveryFailed)));
    assert!(matches!(way.send(Promise::Memory, b"a", &[0]).0, Decision::Now(_)));
    assert_eq!(way.take(0).len(), 1);
}

/// Who had a place when its turn came is told so without anything else that would wake the shard.
#[test]
fn a_shard_does_not_sleep_over_what_it_has_to_say() {
    let mut way = narrow(1, 4, 4096);
    way.send(Promise::Memory, b"a", &[0]);
    let (decision, ticket) = way.send(Promise::Memory, b"b", &[0]);
    assert_eq!((decision, way.outcome()), (Decision::Elsewhere, None));
    way.take(0).pop().unwrap().accept();
    way.gather.hand_on(0);
    way.gather.wake_consumers();
    assert!(way.gather.announce_sleep(), "a sender waits to hear that its message is posted");
    way.gather.withdraw_sleep();
    assert_eq!(way.outcome(), Some((ticket, Outcome::AcceptAs(id(2)))));
    assert!(!way.gather.announce_sleep());
}

/// Memory that comes back after the shard has looked at it, and before it sleeps, wakes nobody: it is seen at the second look.
#[test]
fn a_shard_does_not_sleep_over_memory_that_has_come_back() {
    let mut way = narrow(8, 4, 4096);
    way.send(Promise::Memory, &[b'x'; 9000], &[0]);
    let delivery = way.take(0).pop().unwrap();
    let holding = way.gather.holding();
    assert!(holding.octets * 100 >= holding.octets_most * limits::ROOM_WANTED_PERCENT);
    assert!(!way.gather.announce_sleep());
    way.gather.withdraw_sleep();
    delivery.accept();
    assert!(way.gather.announce_sleep());
    way.gather.withdraw_sleep();
    assert!(way.gather.holding().octets < holding.octets);
    assert!(!way.gather.announce_sleep(), "it is known by now");
}

/// What became of letters has a place as well as the letters: none is lost while the shard has not listened.
#[test]
fn what_became_of_letters_is_not_lost_when_more_are_posted_before_it_is_heard() {
    let mut way = narrow(2, 4, 4096);
    let mut tickets: Vec<Ticket> = (0..2).map(|_| way.send(Promise::Delivered, b"x", &[0]).1).collect();
    way.take(0).into_iter().for_each(Delivery::accept);
    tickets.extend((0..2).map(|_| way.send(Promise::Delivered, b"y", &[0]).1));
    assert!(way.take(0).is_empty(), "their verdicts would have no place");
    let mut heard = Vec::new();
    for _ in 0..4 {
        way.take(0).into_iter().for_each(Delivery::accept);
        heard.extend(std::iter::from_fn(|| way.gather.outcome()).map(|(ticket, _)| ticket));
    }
    assert_eq!(heard, tickets);
}

/// A consumer that goes for good leaves nothing behind, and nobody waits for it.
#[test]
fn a_consumer_that_goes_gives_back_what_it_had() {
    let mut way = narrow(2, 8, 4096);
    let used = way.gather.watch();
    let failed =
        |sequence: u64, count: usize| Outcome::each(Some(id(sequence)), vec![Err(Reply::DeliveryFailed); count]);
    let (_, out) = way.send(Promise::Delivered, b"out", &[0]);
    let out_still = way.take(0);
    let (_, there) = way.send(Promise::Delivered, b"there", &[0, 0]);
    way.gather.hand_on(0);
    way.gather.wake_consumers();
    let (_, parked) = way.send(Promise::Memory, b"parked", &[0, 1]);
    assert!(!way.gather.announce_sleep());
    way.consumers.remove(0);
    assert!(way.gather.announce_sleep());
    way.gather.withdraw_sleep();
    way.gather.hand_on(0);
    way.gather.wake_consumers();
    let mut heard = [way.outcome().unwrap(), way.outcome().unwrap()];
    heard.sort_by_key(|(ticket, _)| ticket.question);
    assert_eq!(heard, [(there, failed(2, 2)), (parked, Outcome::Refuse(Reply::DeliveryFailed))]);
    assert!(!way.gather.has_room(Route(0)) && way.gather.has_room(Route(1)));
    // What is out comes to nobody again.
    drop(out_still);
    assert_eq!(way.outcome(), Some((out, failed(1, 1))));
    way.take(0).into_iter().for_each(Delivery::accept);
    assert_eq!((way.outcome(), way.gather.holding().letters), (None, 0));
    drop(way);
    assert_eq!(used(), 0);
}

#[test]
fn what_was_parked_and_given_up_is_forgotten_wherever_it_stood() {
    let mut way = narrow(1, 8, 4096);
    way.send(Promise::Memory, b"first", &[0]);
    let all: Vec<_> = (0..20_u8).map(|number| way.send(Promise::Memory, &[number], &[0]).1).collect();
    let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|ticket| ticket.question % 5 == 0);
    gone.into_iter().for_each(|ticket| way.gather.give_up(ticket));
    assert!(way.gather.holding().letters <= 1 + 2 * kept.len() as u64, "most of them hold nothing any more");
    let mut came = Vec::new();
    for _ in 0..=kept.len() {
        let mut all = way.take(0);
        came.extend(all.iter().map(text));
        all.drain(..).for_each(Delivery::accept);
    }
    let wanted: Vec<_> = kept.iter().map(|ticket| vec![ticket.question as u8 - 1]).collect();
    assert_eq!((&came[0], &came[1..]), (&b"first".to_vec(), &wanted[..]));
    assert_eq!(way.gather.holding().letters, 0);
}

/// The last word counts: one that takes all of a batch may find out later that it has not.
#[test]
fn what_was_taken_for_all_may_be_refused_before_it_is_let_go_of() {
    let mut way = Way::new(4);
    let (_, ticket) = way.send(Promise::Delivered, b"a", &[0, 0]);
    let mut delivery = way.take(0).pop().unwrap();
    delivery.take_for_the_rest();
    assert_eq!(delivery.recipients().count(), 0);
    delivery.conclude(1, Err(later()));
    drop(delivery);
    assert_eq!(way.outcome(), Some((ticket, Outcome::each(Some(id(1)), [Ok(()), Err(Reply::MailboxFull)]))));
}

#[test]
fn what_comes_again_is_not_starved_by_what_is_fresh() {
    let mut way = narrow(16, 8, 4096);
    way.send(Promise::Memory, b"again", &[0]);
    drop(way.take(0));
    (0..10).for_each(|_| _ = way.send(Promise::Memory, b"fresh", &[0]));
    way.gather.hand_on(0);
    way.gather.wake_consumers();
    let mut came = Vec::new();
    for most in [1, 1, 4] {
        let mut all = Vec::new();
        way.consumers[0].take_batch(&mut all, most);
        came.extend(all.iter().map(text));
        all.into_iter().for_each(Delivery::accept);
    }
    assert!(came[..2].contains(&b"again".to_vec()) && came[..2].contains(&b"fresh".to_vec()), "{came:?}");
    assert_eq!(came.len(), 6, "no place is left empty");
}

/// Shards on one side, consumers on the other, each on a thread; some of what comes is let go of at first.
#[test]
fn nothing_is_lost_between_threads() {
    const MESSAGES: u64 = 20_000;
    let way = Way::new(limits::BLOCKS);
    let Way { gather, consumers, .. } = way;
    let consumers: Vec<_> = consumers
        .into_iter()
        .map(|deliveries| {
            std::thread::spawn(move || {
                let mut seen = BTreeMap::new();
                for (number, delivery) in deliveries.enumerate() {
                    assert_eq!(text(&delivery), delivery.id().sequence().to_string().into_bytes());
                    if number % 7 == 0 && delivery.attempts() == 0 {
                        continue;
                    }
                    *seen.entry(delivery.id().sequence()).or_insert(0) += 1;
                    delivery.accept();
                }
                seen
            })
        })
        .collect();
    let mut way = Way { gather, consumers: Vec::new(), question: 0 };
    let mut accepted = 0;
    let mut waiting = 0;
    for number in 1..=MESSAGES {
        let promise = if number % 3 == 0 { Promise::Delivered } else { Promise::Memory };
        let (decision, _) = way.send(promise, number.to_string().as_bytes(), &[0, 1]);
        match decision {
            Decision::Now(Outcome::AcceptAs(_)) => accepted += 1,
            Decision::Elsewhere => waiting += 1,
            other => panic!("{other:?}"),
        }
        if number % 16 == 0 {
            way.gather.hand_on(0);
            way.gather.wake_consumers();
        }
        while let Some((_, outcome)) = way.outcome() {
            assert!(matches!(outcome, Outcome::AcceptAs(_)));
            waiting -= 1;
            accepted += 1;
        }
    }
    while waiting > 0 {
        way.gather.hand_on(0);
        way.gather.wake_consumers();
        while let Some((_, outcome)) = way.outcome() {
            assert!(matches!(outcome, Outcome::AcceptAs(_)));
            waiting -= 1;
            accepted += 1;
        }
        std::thread::yield_now();
    }
    assert_eq!(accepted, MESSAGES);
    drop(way);
    for consumer in consumers {
        let seen = consumer.join().unwrap();
        assert!(seen.into_iter().eq((1..=MESSAGES).map(|sequence| (sequence, 1))));
    }
}
