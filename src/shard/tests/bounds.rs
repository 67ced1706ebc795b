//! Time limits, memory, buffers.

use super::*;

#[test]
fn an_idle_client_hears_421_when_its_time_is_over() {
    let mut house = House::new();
    let client = house.greeted();
    house.pass_ms(limits::IDLE_MS / 2);
    assert_eq!(house.codes(client, "NOOP\r\n"), [250]);
    house.pass_ms(limits::IDLE_MS - 1_000);
    assert_eq!(house.hear(client), "");
    house.pass_ms(2_000);
    assert!(house.hear(client).starts_with("421 4.4.2"));
    assert!(house.network.sees_end(client));
    house.pass_ms(limits::LINGER_MS + 200);
    house.is_clean(16);
    assert_eq!(house.counters.timeouts.get(), 1);
}

/// CONFORMANCE T041.
#[test]
fn a_line_that_trickles_in_has_its_own_time() {
    let mut house = House::new();
    let client = house.greeted();
    for _ in 0..(limits::IDLE_MS / 5_000 - 1) {
        house.network.send(client, b"N");
        house.turns();
        house.pass_ms(5_000);
    }
    assert_eq!(house.hear(client), "");
    house.pass_ms(6_000);
    assert!(house.hear(client).starts_with("421 4.4.2"));
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn each_transaction_has_its_own_time() {
    let mut house = House::new();
    let client = house.greeted();
    // Each piece ends one transaction and begins the next: one is always open, and none is old.
    house.codes(client, "MAIL FROM:<>\r\n");
    for _ in 0..30 {
        house.pass_ms(limits::IDLE_MS - 5_000);
        let codes = house.codes(client, "RCPT TO:<a@ok.test>\r\nBDAT 2 LAST\r\nhiMAIL FROM:<>\r\n");
        assert_eq!(codes, [250, 250, 250]);
    }
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn a_transaction_has_its_own_limit() {
    let mut house = House::new();
    let client = house.greeted();
    house.codes(client, MESSAGE);
    for _ in 0..13 {
        house.pass_ms(limits::IDLE_MS - 5_000);
        house.network.send(client, b"drop\r\n");
        house.turns();
    }
    assert!(house.hear(client).starts_with("421 4.4.2 Transaction"));
}

#[test]
fn a_client_that_never_reads_costs_its_bound_and_no_more() {
    let mut house = House::new();
    let client = house.greeted();
    house.network.set_window(client, 1_000);
    for _ in 0..100 {
        house.network.send(client, "NOOP\r\n".repeat(5_000).as_bytes());
        house.turns();
    }
    let held = house.shard.desk.pressure.octets() as usize;
    assert!(held > limits::OUTPUT_OCTETS / 2 && held < 4 * limits::OUTPUT_OCTETS, "{held}");
    assert!(house.counters.short_sends.get() > 0);
    // It reads after all: every reply is there, once.
    house.network.set_window(client, usize::MAX);
    let mut replies = String::new();
    for _ in 0..400 {
        replies += &house.hear(client);
    }
    assert_eq!(replies.matches("250 2.0.0 Ok\r\n").count(), 500_000);
    assert_eq!(replies.len(), 500_000 * "250 2.0.0 Ok\r\n".len());

    // It never does: its time ends.
    house.network.set_window(client, 0);
    house.network.send(client, "NOOP\r\n".repeat(20_000).as_bytes());
    house.turns();
    house.pass_ms(limits::IDLE_MS + 1_000);
    house.is_clean(16);
}

#[test]
fn receives_without_a_buffer_are_started_again() {
    let mut house = House::with(scope(Arc::new(AcceptAll)), 100, 2, 512);
    let clients: Vec<ClientId> = (0..20).map(|_| house.greeted()).collect();
    let message = format!("MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 3000 LAST\r\n{}", "x".repeat(3000));
    for client in &clients {
        house.network.send(*client, message.as_bytes());
    }
    for _ in 0..200 {
        house.turns();
    }
    for client in &clients {
        assert_eq!(codes(&String::from_utf8(house.network.read(*client)).unwrap()), [250, 250, 250]);
        house.network.end(*client);
    }
    assert_eq!(house.counters.message_octets.get(), 60_000);
    assert!(house.counters.buffers_exhausted.get() > 0);
    house.is_clean(2);
}
