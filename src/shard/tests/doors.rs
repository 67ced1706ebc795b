//! Doors open and close, shards drain, control messages are heard.

use super::*;

#[test]
fn a_drain_lets_mail_data_end_and_tells_the_others() {
    let mut house = House::new();
    let (idle, busy) = (house.greeted(), house.greeted());
    house.codes(busy, MESSAGE);
    house.network.send(busy, b"half ");
    house.turns();
    house.tell(Control::Drain { patience_ms: 10_000 });
    assert!(house.hear(idle).starts_with("421 4.3.2"));
    assert_eq!(house.codes(busy, "and half\r\n.\r\n"), [250, 421]);
    house.network.end(idle);
    house.network.end(busy);
    assert_eq!(house.turns(), Turn::Done);
    house.is_clean(16);
    assert_eq!(house.counters.messages.get(), 1);
}

#[test]
fn a_shard_without_connections_drains_at_once() {
    let mut house = House::new();
    house.control.send(Control::Drain { patience_ms: 10_000 }).unwrap();
    house.network.wake();
    assert_eq!(house.turns(), Turn::Done);
}

#[test]
fn a_drain_ends_by_force_when_its_patience_does() {
    let mut house = House::new();
    let client = house.greeted();
    house.codes(client, MESSAGE);
    house.tell(Control::Drain { patience_ms: 10_000 });
    house.pass_ms(9_000);
    assert_eq!(house.network.open_sockets(), 1);
    house.pass_ms(2_000);
    assert_eq!(house.turns(), Turn::Done);
    house.is_clean(16);
}

#[test]
fn a_door_that_closes_tells_who_waits_and_leaves_sessions_alone() {
    let mut house = House::new();
    let old = house.greeted();
    let waiting: Vec<ClientId> = (0..40).map(|_| house.network.connect(DOOR)).collect();
    house.tell(Control::Swap(Vec::new()));
    house.turns();
    for client in waiting {
        let replies = String::from_utf8(house.network.read(client)).unwrap();
        assert!(replies.starts_with("421 4.3.2") || replies.starts_with("220"), "{replies:?}");
        house.network.end(client);
    }
    let late = house.network.connect(DOOR);
    house.turns();
    assert!(house.network.sees_end(late), "the socket is closed");
    assert_eq!(house.codes(old, "NOOP\r\n"), [250]);

    // It opens again, with another scope; the old session keeps its own.
    let mut other = scope(Arc::new(AcceptAll));
    other.settings = Settings::new(Terms { hostname: "other.test".into(), ..other.settings.terms().clone() });
    house.tell(Control::Swap(vec![Door {
        bind: bind(),
        scopes: Arc::new(Scopes::new(other, Vec::new())),
        socket: Some(DOOR),
    }]));
    let new = house.connect();
    assert!(house.hear(new).starts_with("220 other.test"));
    assert!(house.say(old, "EHLO c.test\r\n").starts_with("250-mx.test"));
    house.network.end(old);
    house.network.end(new);
    house.is_clean(16);
}

#[test]
fn connections_above_the_limit_hear_why() {
    let mut house = House::with(scope(Arc::new(AcceptAll)), 3, 16, 4096);
    let inside: Vec<ClientId> = (0..3).map(|_| house.greeted()).collect();
    let outside = house.connect();
    assert!(house.hear(outside).starts_with("421 4.3.2"));
    assert!(house.network.sees_end(outside));
    house.network.end(outside);
    house.network.end(inside[0]);
    house.turns();
    let fourth = house.greeted();
    for client in [inside[1], inside[2], fourth] {
        assert_eq!(house.codes(client, "NOOP\r\n"), [250]);
        house.network.end(client);
    }
    house.is_clean(16);
    assert_eq!(house.counters.connections_over_limit.get(), 1);
}

#[test]
fn accepting_pauses_when_the_system_has_nothing_left() {
    let mut house = House::new();
    let old = house.greeted();
    house.network.fail_accept(Errno::MFILE);
    let client = house.network.connect(DOOR);
    house.turns();
    assert_eq!(house.counters.accept_failures.get(), 1);
    assert_eq!(house.codes(old, "NOOP\r\n"), [250]);
    house.pass_ms(limits::ACCEPT_PAUSE_MS + 20);
    assert_eq!(house.codes(client, "NOOP\r\n"), [220, 250]);
    house.network.end(old);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn early_talkers_are_refused_where_a_pause_is_set() {
    let mut paused = scope(Arc::new(AcceptAll));
    paused.timeouts.greet_pause_ms = 2_000;
    let mut house = House::with(paused, 100, 16, 4096);
    let (early, patient) = (house.connect(), house.connect());
    assert!(house.say(early, "EHLO c.test\r\n").starts_with("554 5.5.0"));
    assert!(house.network.sees_end(early));
    assert_eq!(house.hear(patient), "");
    house.pass_ms(2_100);
    assert_eq!(house.codes(patient, ""), [220]);
    house.network.end(early);
    house.network.end(patient);
    house.is_clean(16);
}

#[test]
fn many_control_messages_need_one_wake() {
    let mut house = House::new();
    let asked = 3 * limits::CONTROL_MESSAGES_PER_TURN;
    let (reply, pages) = std::sync::mpsc::channel();
    for _ in 0..asked {
        house.control.send(Control::List { from: 0, reply: reply.clone() }).unwrap();
    }
    house.network.wake();
    house.turns();
    assert_eq!(pages.try_iter().count(), asked);
}

#[test]
fn sessions_are_listed_in_pages() {
    let mut house = House::with(scope(Arc::new(AcceptAll)), 400, 16, 4096);
    let clients: Vec<ClientId> = (0..300).map(|_| house.greeted()).collect();
    let mut seen = 0;
    let mut from = Some(0);
    while let Some(slot) = from {
        let (reply, page) = std::sync::mpsc::channel();
        house.tell(Control::List { from: slot, reply });
        let page = page.recv().unwrap();
        assert!(page.sessions.iter().all(|session| session.phase == "idle" && session.listener == "test"));
        seen += page.sessions.len();
        from = page.next;
    }
    assert_eq!(seen, 300);
    clients.into_iter().for_each(|client| house.network.end(client));
    house.is_clean(16);
}
