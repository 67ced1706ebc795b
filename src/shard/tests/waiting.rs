//! Answers that come late, out of order, or never.

use std::collections::VecDeque;

use super::*;

#[test]
fn answers_may_come_late_and_out_of_order() {
    let policy = Elsewhere::at(&[Point::Mail, Point::Rcpt]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    let refused = Outcome::Refuse(Reply::Scripted550);
    assert_eq!(house.say(client, "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"), "");
    let [mail, first, second] = policy.take()[..] else { panic!("three questions") };
    for (ticket, outcome) in [(second, Outcome::Accept), (mail, Outcome::Accept)] {
        house.tell(Control::Outcome { ticket, outcome });
    }
    assert_eq!(house.codes(client, ""), [250]);
    house.tell(Control::Outcome { ticket: first, outcome: refused.clone() });
    assert_eq!(house.codes(client, ""), [550, 250, 354]);
    assert_eq!(house.codes(client, "x\r\n.\r\n"), [250]);
    assert_eq!(house.counters.recipients.get(), 1);
    house.tell(Control::Outcome { ticket: first, outcome: refused });
    assert_eq!(house.counters.answers_late.get(), 1);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn answers_that_never_come_end_in_451() {
    let policy = Elsewhere::at(&[Point::EndOfData]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    house.codes(client, MESSAGE);
    assert_eq!(house.say(client, "x\r\n.\r\n"), "");
    house.pass_ms(limits::ANSWER_MS - 1_000);
    assert_eq!(house.hear(client), "");
    house.pass_ms(1_500);
    assert!(house.hear(client).starts_with("451 4.3.0"));
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!((house.hear(client).as_str(), house.counters.answers_late.get()), ("", 1));
    assert_eq!(house.codes(client, "NOOP\r\n"), [250]);

    // The next one's client goes; the answer to it must not reach whoever has its slot then.
    house.codes(client, MESSAGE);
    house.say(client, "x\r\n.\r\n");
    let ticket = policy.take()[0];
    house.network.reset(client);
    house.turns();
    let other = house.greeted();
    house.tell(Control::Outcome { ticket, outcome: Outcome::Refuse(Reply::Scripted554) });
    assert_eq!((house.hear(other).as_str(), house.counters.answers_late.get()), ("", 2));
    house.network.end(other);
    house.is_clean(16);
}

/// A connection on which some answer is always waited for.
#[test]
fn each_message_of_a_pipeline_has_the_time_of_its_own_answer() {
    let policy = Elsewhere::at(&[Point::EndOfData]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    let message = "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 1 LAST\r\nx";
    house.say(client, message);
    let mut tickets = VecDeque::new();
    for _ in 0..10 {
        house.say(client, message);
        house.pass_ms(1_000);
        tickets.extend(policy.take());
        let ticket = tickets.pop_front().unwrap();
        house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    }
    let times = &house.shard.desk.histograms.end_to_reply;
    assert_eq!(times.len(), 10);
    assert!(times.min() > 990_000_000 && times.max() < 2_100_000_000, "{} to {}", times.min(), times.max());
    house.network.reset(client);
    house.is_clean(16);
}

#[test]
fn a_client_that_ends_while_an_answer_is_out_still_gets_it() {
    let policy = Elsewhere::at(&[Point::EndOfData]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    house.codes(client, MESSAGE);
    house.network.send(client, b"x\r\n.\r\nQUIT\r\n");
    house.network.end(client);
    assert_eq!(house.hear(client), "");
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!(house.codes(client, ""), [250, 221]);
    house.is_clean(16);
}

#[test]
fn a_paused_session_keeps_its_input_and_loses_none() {
    let policy = Elsewhere::at(&[Point::Data]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    let chunk = format!("BDAT 9000 LAST\r\n{}NOOP\r\n", "y".repeat(9000));
    assert_eq!(house.codes(client, &format!("MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\n{chunk}")), [250, 250]);
    assert!(house.counters.octets_copied_paused.get() >= 9000);
    assert_eq!(house.network.free_buffers(GroupId(0)), 16, "a paused session holds no buffer");
    house.network.send(client, b"RSET\r\n");
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!(house.codes(client, ""), [250, 250, 250]);
    assert_eq!(house.counters.message_octets.get(), 9000);
    house.network.end(client);
    house.is_clean(16);
}

#[test]
fn cancels_that_miss_are_tried_again() {
    let policy = Elsewhere::at(&[Point::Data]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    house.network.miss_cancels(3);
    house.say(client, "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 50000 LAST\r\nfirst");
    house.network.send(client, &vec![b'x'; 49_995]);
    house.turns();
    assert!(house.counters.octets_copied_paused.get() < 10, "the receive was cancelled in the end");
    let ticket = policy.take()[0];
    house.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
    assert_eq!(house.codes(client, ""), [250]);

    // One that is given up while it does not read.
    house.network.set_window(client, 0);
    house.network.send(client, "NOOP\r\n".repeat(100).as_bytes());
    house.turns();
    house.network.miss_cancels(5);
    house.pass_ms(limits::IDLE_MS + 20_000);
    house.is_clean(16);

    // A door, with all its accepts.
    house.network.miss_cancels(40);
    house.control.send(Control::Drain { patience_ms: 10_000 }).unwrap();
    house.network.wake();
    assert_eq!(house.turns(), Turn::Done);
}

#[test]
fn each_answer_has_its_own_time() {
    let policy = Elsewhere::at(&[Point::Rcpt]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    assert_eq!(house.codes(client, "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n"), [250]);
    house.pass_ms(limits::ANSWER_MS - 1_000);
    house.network.send(client, b"RCPT TO:<c@x.test>\r\n");
    house.turns();
    // The third is answered; the first two are lost, and both are over a second later.
    let third = policy.take()[2];
    house.tell(Control::Outcome { ticket: third, outcome: Outcome::Accept });
    assert_eq!(house.hear(client), "");
    house.pass_ms(2_000);
    assert_eq!(house.codes(client, ""), [451, 451, 250]);
    assert_eq!(house.counters.answers_timed_out.get(), 2);
    house.network.end(client);
    house.is_clean(16);
}
