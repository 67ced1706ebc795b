//! Mail that is handed off: when its client hears what, and who waits for room.

use super::*;

use crate::handoff::consumer::Deliveries;
use crate::handoff::delivery::{Delivery, Refusal};
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::gather::Gather;
use crate::mail::envelope::Route;
use crate::policy::scope::Promise;
use crate::shard::pressure::Level;

/// Takes every recipient for one sink, and messages after a time.
#[derive(Debug)]
struct ForSink {
    delay_ms: u64,
}

impl Policy for ForSink {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        match asked.question.point() {
            Point::Rcpt => Decision::Now(Outcome::AcceptFor(Route(0))),
            Point::EndOfData if self.delay_ms > 0 => {
                Decision::After { delay_ms: self.delay_ms, outcome: Outcome::Accept }
            }
            _ => Decision::Now(Outcome::Accept),
        }
    }
}

/// With one sink, room for so many letters, and eight blocks of memory.
fn handing(promise: Promise, letters: usize, delay_ms: u64) -> (House<Gather>, Deliveries) {
    let mut deliveries = None;
    let intake = |control: &Sender<Control<ListenerId, SimulatedSocket>>| {
        let options = ExchangeOptions {
            shards: vec![control.bell()],
            consumers: vec![1],
            letters,
            blocks: 8,
            block_octets: 4096,
            ..ExchangeOptions::default()
        };
        let (mut gathers, mut of_routes) = connect(&options).unwrap();
        deliveries = of_routes.remove(0).pop();
        gathers.remove(0)
    };
    let scope = scope(Arc::new(ForSink { delay_ms }));
    let settings = Settings::new(Terms { discards: false, ..scope.settings.terms().clone() });
    let scope = Scope { settings, taking: Taking::HandOff(promise), ..scope };
    let shape = GroupShape { buffer_octets: 512, buffers: 16 };
    let house = House::taking(intake, Neighbours::none(), Scopes::new(scope, Vec::new()), 100, shape);
    (house, deliveries.unwrap())
}

fn taken(deliveries: &mut Deliveries) -> Vec<Delivery> {
    let mut all = Vec::new();
    deliveries.take_batch(&mut all, usize::MAX);
    all
}

/// A message of so many octets.
fn message(octets: usize) -> String {
    format!("MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nBDAT {octets} LAST\r\n{}", "x".repeat(octets))
}

#[test]
fn who_is_told_250_is_told_the_id_that_its_sink_sees() {
    let (mut house, mut deliveries) = handing(Promise::Memory, 4, 0);
    let client = house.greeted();
    let replies = house.say(client, &message(3));
    let all = taken(&mut deliveries);
    let wanted = format!("250 2.0.0 Ok: queued as {}\r\n", all[0].id());
    assert_eq!((all.len(), replies.lines().last()), (1, Some(wanted.trim_end())));
    assert_eq!(house.counters.handed_off.get(), 1);
    all.into_iter().for_each(Delivery::accept);
    house.turns();
    assert_eq!((house.counters.handed_off.get(), house.counters.octets_copied_content.get()), (0, 3));
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn a_reply_that_is_the_sinks_waits_for_it() {
    let (mut house, mut deliveries) = handing(Promise::Delivered, 4, 0);
    let client = house.greeted();
    let two = message(3).replace("RCPT TO:<a@ok.test>\r\n", &"RCPT TO:<a@ok.test>\r\n".repeat(2));
    assert_eq!(house.codes(client, &two), [250, 250, 250], "the last is not there");
    let mut delivery = taken(&mut deliveries).pop().unwrap();
    delivery.conclude(1, Err(Refusal::new(Reply::MailboxFull, "full")));
    assert_eq!(house.hear(client), "");
    delivery.accept();
    assert!(house.hear(client).starts_with("452 4.2.2"), "for all, as it must come again for one");
    assert_eq!(house.codes(client, &message(3)), [250, 250]);
    let delivery = taken(&mut deliveries).pop().unwrap();
    let id = delivery.id();
    delivery.accept();
    assert_eq!(house.hear(client), format!("250 2.0.0 Ok: queued as {id}\r\n"));
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn who_was_told_to_come_again_is_not_delivered() {
    let (mut house, mut deliveries) = handing(Promise::Delivered, 1, 0);
    // In the queue; parked, with its client gone by then; parked, with a client that waits.
    let [client, gone, other] = [(); 3].map(|()| house.greeted());
    for client in [client, gone, other] {
        assert_eq!(house.codes(client, "MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\n"), [250, 250]);
    }
    for client in [client, gone, other] {
        assert_eq!(house.say(client, "BDAT 3 LAST\r\nxyz"), "");
    }
    assert_eq!(house.counters.handed_off.get(), 3);
    house.network.reset(gone);
    house.turns();
    assert_eq!(house.counters.handed_off.get(), 2);
    house.pass_ms(limits::ANSWER_MS + 2_000);
    for client in [client, other] {
        assert!(house.hear(client).starts_with("451 4.3.0"));
    }
    assert!(taken(&mut deliveries).is_empty());
    assert_eq!(deliveries.given_up(), 1);
    house.turns();
    assert_eq!((house.counters.handed_off.get(), house.counters.answers_late.get()), (0, 0));
    for client in [client, other] {
        house.network.end(client);
    }
    house.is_clean(16);
}

/// Of a client that is gone, what no sink has taken yet is dropped at once.
#[test]
fn who_is_gone_waits_for_nothing() {
    let (mut house, mut deliveries) = handing(Promise::Delivered, 4, 0);
    let client = house.greeted();
    house.codes(client, &message(3));
    house.network.reset(client);
    house.turns();
    assert!(taken(&mut deliveries).is_empty());
    assert_eq!(deliveries.given_up(), 1);
    house.is_clean(16);
}

#[test]
fn a_scripted_delay_is_kept() {
    let (mut house, mut deliveries) = handing(Promise::Memory, 4, 5_000);
    let client = house.greeted();
    assert_eq!(house.codes(client, &message(3)), [250, 250]);
    let id = taken(&mut deliveries)[0].id();
    assert_eq!(house.hear(client), "");
    house.pass_ms(5_500);
    assert_eq!(house.hear(client), format!("250 2.0.0 Ok: queued as {id}\r\n"));
    house.network.end(client);
    house.is_clean(16);
}

/// Clients in mail data wait as long as that may help, and no longer; those whose mail is discarded do not.
#[test]
fn memory_that_consumers_hold_makes_clients_wait() {
    let (mut house, mut deliveries) = handing(Promise::Memory, 100, 0);
    let [sender, waiter] = [(); 2].map(|()| house.greeted());
    let discarding = scope(Arc::new(AcceptAll));
    let mut held = Vec::new();
    let fill = |house: &mut House<Gather>, held: &mut Vec<Delivery>, deliveries: &mut Deliveries, to: Level| {
        for _ in 0..100 {
            if house.shard.desk.handed_off.level() >= to {
                return;
            }
            house.say(sender, &message(1_000));
            held.extend(taken(deliveries));
        }
        panic!("it never becomes {to:?}");
    };
    fill(&mut house, &mut held, &mut deliveries, Level::NoAccepts);
    assert_eq!(house.codes(waiter, MESSAGE), [250, 250, 354]);
    fill(&mut house, &mut held, &mut deliveries, Level::NoMailData);
    // What is there is taken, and then the receive is cancelled.
    assert_eq!(house.say(waiter, "x"), "");
    let copied = house.counters.octets_copied_content.get();
    let copied_since = |house: &House<Gather>| house.counters.octets_copied_content.get() - copied;
    assert_eq!(house.say(waiter, &"x".repeat(3_000)), "");
    assert_eq!(copied_since(&house), 0);
    // It goes on when memory comes back, though no time passes.
    held.drain(..).for_each(Delivery::accept);
    house.turns();
    assert_eq!((copied_since(&house), house.shard.desk.handed_off.level()), (3_000, Level::Normal));
    assert_eq!(house.codes(waiter, "\r\n.\r\n"), [250]);
    held.extend(taken(&mut deliveries));

    // Of a sink that stands still nothing is hoped for.
    assert_eq!(house.codes(waiter, MESSAGE), [250, 250, 354]);
    fill(&mut house, &mut held, &mut deliveries, Level::NoMailData);
    assert_eq!(house.say(waiter, "x"), "");
    let copied = house.counters.octets_copied_content.get();
    assert_eq!(house.say(waiter, &"x".repeat(1_000)), "");
    house.pass_ms(limits::HELD_BACK_MS / 2);
    assert_eq!(house.counters.octets_copied_content.get() - copied, 0);
    house.pass_ms(limits::HELD_BACK_MS / 2 + 20 * limits::HELD_BACK_STEP_MS);
    assert_eq!(house.counters.octets_copied_content.get() - copied, 1_000);
    assert_eq!(house.codes(waiter, "\r\n.\r\n"), [250]);
    held.extend(taken(&mut deliveries));

    fill(&mut house, &mut held, &mut deliveries, Level::NoMail);
    assert!(house.say(waiter, "MAIL FROM:<>\r\n").starts_with("452 4.3.1"));
    assert_eq!(house.shard.desk.level(&discarding), Level::Normal);
    assert_eq!(house.shard.desk.pressure.level(), Level::Normal);
    held.drain(..).for_each(Delivery::accept);
    house.turns();
    assert_eq!(house.codes(waiter, "MAIL FROM:<>\r\n"), [250]);
    for client in [sender, waiter] {
        house.network.end(client);
    }
    house.is_clean(16);
}
