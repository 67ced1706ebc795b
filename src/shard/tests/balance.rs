//! Connections that are handed to another shard, and those that cannot be.

use std::num::NonZeroU16;

use super::*;
use crate::handoff::mailbox::Receiver;
use crate::shard::balance::Load;

type Mailbox = Receiver<Control<ListenerId, SimulatedSocket>>;

/// A shard beside one that has no connection, and what that one is told.
fn beside_an_idle_one() -> (House, Mailbox, Arc<[CachePadded<Load>]>) {
    let loads: Arc<[CachePadded<Load>]> = (0..2).map(|_| CachePadded::default()).collect();
    let (own, _, _wake) = mailbox().unwrap();
    let (other, messages, _wake) = mailbox().unwrap();
    let neighbours = Neighbours::new(0, Arc::clone(&loads), [own, other].into_iter().collect(), NonZeroU16::MAX);
    let scopes = Scopes::new(scope(Arc::new(AcceptAll)), Vec::new());
    let shape = GroupShape { buffer_octets: 4096, buffers: 16 };
    (House::among(neighbours, scopes, 1000, shape), messages, loads)
}

#[test]
fn every_other_connection_goes_to_the_other_shard() {
    let (mut house, messages, loads) = beside_an_idle_one();
    let clients: Vec<ClientId> = (0..10).map(|_| house.connect()).collect();
    let greeted = clients.iter().filter(|client| house.network.has_unread(**client)).count();
    assert_eq!((greeted, house.counters.connections_handed_over.get()), (5, 5));
    assert_eq!((loads[0].connections(), loads[1].connections()), (5, 5));
    assert_eq!(house.network.open_sockets(), 5);
    // None of them has seen an end; when the other shard lets go, it does.
    assert!(!clients.iter().any(|client| house.network.sees_end(*client)));
    while let Some(message) = messages.take() {
        assert!(matches!(message, Control::Adopt(_)));
    }
    assert_eq!(clients.iter().filter(|client| house.network.sees_end(**client)).count(), 5);
}

#[test]
fn a_shard_serves_those_that_the_other_cannot_be_told_of() {
    let (mut house, messages, loads) = beside_an_idle_one();
    // As if the other had fewer than any, and never looked.
    for _ in 0..limits::CONTROL_MESSAGES + 20 {
        (0..loads[1].connections()).for_each(|_| loads[1].remove());
        house.connect();
    }
    let handed = limits::CONTROL_MESSAGES as u64;
    // The first finds nobody who has fewer.
    assert_eq!(house.counters.connections_handed_over.get(), handed);
    assert_eq!(house.counters.connections_open.get(), 20);
    assert_eq!(loads[0].connections(), 20);
    drop(messages);
    let last = house.connect();
    assert!(house.hear(last).starts_with("220"), "who is gone gets none");
    assert_eq!(house.counters.connections_handed_over.get(), handed);
}

#[test]
fn what_is_handed_over_is_served_and_counted() {
    let (mut house, messages, loads) = beside_an_idle_one();
    let clients = [house.connect(), house.connect()];
    let moved = messages.take().unwrap();
    // Back again, as the other shard would hand one over.
    loads[0].add();
    loads[1].remove();
    house.tell(moved);
    assert_eq!(clients.map(|client| house.codes(client, "NOOP\r\n")), [[220, 250]; 2]);
    assert_eq!(house.counters.connections_taken_over.get(), 1);
    house.tell(Control::Drain { patience_ms: 1_000 });
    clients.iter().for_each(|client| house.network.end(*client));
    house.is_clean(16);
    assert_eq!((loads[0].connections(), loads[1].connections()), (0, 0));
}

#[test]
fn while_it_drains_a_shard_hands_nothing_over() {
    let (mut house, messages, _) = beside_an_idle_one();
    let first = house.connect();
    let second = house.network.connect(DOOR);
    house.control.send(Control::Drain { patience_ms: 1_000 }).unwrap();
    house.network.wake();
    house.turns();
    assert!(messages.take().is_none());
    for client in [first, second] {
        assert!(house.hear(client).contains("421 4.3.2"));
        house.network.end(client);
    }
    house.is_clean(16);
}
