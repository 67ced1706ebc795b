//! What is a fault of the server is found out, and leaves no figure; what is its right does not.

use super::behind::{all_delivered, delivered, sink_address, through};
use super::program::Ran;
use super::relay::{only_for, relay, relay_but, with_content};
use super::server::{Answer, Message, OK, Upstream};

const LOAD: [&str; 4] = ["-n", "300", "-c", "3"];

/// 300 messages, to every hundredth of which this happens.
#[track_caller]
fn after_crime(status: i32, more: &[&str], crime: impl FnMut(&mut Upstream, &Message) + Send + 'static) -> Ran {
    let sink = sink_address();
    let server = relay_but(&sink, crime);
    let ran = through(&server.address, &sink, &[&LOAD, more].concat()).expect(status);
    assert_eq!(ran.report["ledger"], if status == 3 { "DISAGREES" } else { "agrees" }, "{}", ran.text);
    let has_figure = ran.report["rate"].is_f64()
        && ran.report["arrival_rate"].is_f64()
        && ran.report["quantiles_ns"]["end_to_end"]["p50"].is_u64()
        && ran.text.contains("messages/s")
        && ran.text.contains("arrivals/s");
    let has_none = ran.report["rate"].is_null()
        && ran.report["arrival_rate"].is_null()
        && ran.report["quantiles_ns"]["end_to_end"].is_null()
        && !ran.text.contains("messages/s")
        && !ran.text.contains("arrivals/s");
    assert!(if status == 3 { has_none } else { has_figure }, "{}\n{}", ran.text, ran.report);
    ran
}

#[test]
fn an_honest_relay_has_figures() {
    let ran = after_crime(0, &["--assert", "e2e.max<600s", "--assert", "lost<1"], |upstream, message| {
        upstream.send(message);
    });
    assert_eq!(
        all_delivered(&ran, ["accepted", "arrived", "messages", "lost", "unacknowledged"]),
        [300, 300, 300, 0, 0]
    );
    assert_eq!(ran.above_ms("end_to_end", 0), 300);
}

#[test]
fn a_message_that_was_taken_over_and_lost_leaves_no_figure() {
    let ran = after_crime(3, &["--drain-patience", "500ms"], |_, _| {});
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "lost", "duplicates", "altered"]), [300, 297, 3, 0, 0]);
    assert!(ran.text.contains("3 deliveries of 300 are lost"), "{}", ran.text);
    assert_eq!(ran.text.matches("is lost for recipient 0").count(), 3, "{}", ran.text);
}

#[test]
fn a_message_that_arrives_twice_leaves_no_figure() {
    let twice = |upstream: &mut Upstream, message: &Message| {
        upstream.send(message);
        upstream.send(message);
    };
    let ran = after_crime(3, &[], twice);
    assert_eq!(all_delivered(&ran, ["arrived", "messages", "lost", "duplicates"]), [300, 303, 0, 3]);
    assert!(
        ran.text.contains("3 deliveries arrived twice") && ran.text.contains("arrived again for <user"),
        "{}",
        ran.text
    );
    // A server that was killed may do that.
    let ran = after_crime(0, &["--allow-duplicates", "--assert", "duplicates<4"], twice);
    assert_eq!(delivered(&ran, "duplicates"), 3);
}

#[test]
fn an_octet_that_is_another_is_found() {
    let ran = after_crime(3, &[], |upstream, message| {
        let mut altered = message.clone();
        let octet = altered.content.iter_mut().rev().find(|octet| octet.is_ascii_lowercase()).unwrap();
        *octet = if *octet == b'a' { b'b' } else { b'a' };
        upstream.send(&altered);
    });
    assert_eq!(all_delivered(&ran, ["arrived", "lost", "altered", "unreadable"]), [300, 0, 3, 0]);
    assert!(ran.text.contains("3 messages are altered") && ran.text.contains("in place of"), "{}", ran.text);
}

#[test]
fn a_line_that_is_added_or_cut_is_found() {
    for change in [
        |text: String| text + "-- \r\nsent by a relay\r\n",
        |text: String| text[..text.len() - 100].to_owned() + "\r\n",
        |text: String| text.replacen("\r\n\r\n", "\r\n\r\n\r\n", 1),
        |text: String| text.replacen("\r\n\r\n", "\r\n\r\n=20\r\n", 1),
    ] {
        let ran = after_crime(3, &[], move |upstream, message| upstream.send(&with_content(message, change)));
        assert_eq!(all_delivered(&ran, ["arrived", "lost", "altered"]), [300, 0, 3]);
    }
}

#[test]
fn a_number_that_cannot_be_read_is_found() {
    let stamp = "X-Ringmx-Message: ";
    for change in [
        |text: String, stamp: &str| text.replacen(stamp, &format!("{stamp}?"), 1),
        |text: String, stamp: &str| text.replacen(stamp, &format!("{stamp}0 "), 1),
    ] {
        let ran = after_crime(3, &["--drain-patience", "500ms"], move |upstream, message| {
            upstream.send(&with_content(message, |text| change(text, stamp)));
        });
        assert_eq!(all_delivered(&ran, ["arrived", "lost", "unreadable"]), [297, 3, 3]);
    }
}

/// Trace fields, folding, another order, empty lines at the end: a server may do that.
#[test]
fn what_is_a_servers_right_is_not_held_against_it() {
    let ran = after_crime(0, &[], |upstream, message| {
        upstream.send(&with_content(message, |text| {
            let (header, body) = text.split_once("\r\n\r\n").unwrap();
            let mut fields: Vec<String> = header
                .split("\r\n")
                .map(|field| field.replace(": ", ":\r\n\t").replace("Message:", "message:"))
                .collect();
            fields.reverse();
            let trace =
                "Received: from a by b\r\n\twith ESMTP id c;\r\n Thu, 1 Jan 2026 00:00:00 +0000\r\nDelivered-To: d\r\n";
            format!("{trace}{}\r\nX-Behind: e\r\n\r\n{body}", fields.join("\r\n"))
        }));
    });
    assert_eq!(all_delivered(&ran, ["arrived", "altered", "trimmed", "unreadable", "foreign"]), [300, 0, 0, 0, 0]);
    let ran = after_crime(0, &[], |upstream, message| upstream.send(&with_content(message, |text| text + "\r\n")));
    assert_eq!(delivered(&ran, "trimmed"), 3);
    assert!(ran.text.contains("WARNING: 3 messages have other empty lines at their end"), "{}", ran.text);
}

#[test]
fn each_recipient_is_judged_for_itself() {
    let recipients = ["-n", "200", "--recipients", "1-7"];
    let split = |upstream: &mut Upstream, message: &Message| {
        (1..message.envelope.len()).for_each(|one| upstream.send(&only_for(message, one - 1)));
    };
    // One copy for each, in any order, is as good as one for all.
    let sink = sink_address();
    let server = relay(&sink, move |upstream, number, message| {
        if number % 2 == 0 {
            split(upstream, message)
        } else {
            upstream.send(message)
        }
        OK
    });
    let ran = through(&server.address, &sink, &recipients).expect(0);
    let [accepted, arrived, messages] = all_delivered(&ran, ["accepted", "arrived", "messages"]);
    assert_eq!((accepted, arrived), (ran.count("accepted_recipients"), accepted));
    assert!(200 < messages && messages < arrived, "{messages} of {arrived}");

    // The first recipient's copy is there twice, the last one's not at all: their number is right, and they are not.
    let recipients = ["-n", "300", "--recipients", "3", "--drain-patience", "500ms"];
    let sink = sink_address();
    let server = relay_but(&sink, |upstream, message| {
        [0, 1, 0].into_iter().for_each(|recipient| upstream.send(&only_for(message, recipient)));
    });
    let ran = through(&server.address, &sink, &recipients).expect(3);
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "lost", "duplicates"]), [900, 897, 3, 3]);
    assert_eq!(ran.text.matches("is lost for recipient 2").count(), 3, "{}", ran.text);

    // Somebody else gets it.
    let sink = sink_address();
    let server = relay_but(&sink, |upstream, message| {
        let mut astray = message.clone();
        astray.envelope[2] = "RCPT TO:<postmaster@else.test>".to_owned();
        upstream.send(&astray);
    });
    let ran = through(&server.address, &sink, &recipients).expect(3);
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "lost", "misaddressed"]), [900, 897, 3, 3]);
    assert!(ran.text.contains("arrived for <postmaster@else.test>, who is no recipient of it"), "{}", ran.text);
}

/// The test's server refuses whoever is in one domain. Nothing is expected to arrive for them.
#[test]
fn recipients_that_are_refused_are_not_waited_for() {
    let sink = sink_address();
    let server = relay(&sink, |upstream, _, message| {
        let mut taken = message.clone();
        taken.envelope.retain(|command| !command.contains("@refused.test"));
        // Where all are refused a client that pipelines sends an empty message.
        if taken.envelope.len() > 1 {
            upstream.send(&taken);
        }
        OK
    });
    let domains = ["--domain", "refused.test", "--domain", "ok.test=2", "--recipients", "5", "-n", "200"];
    let ran = through(&server.address, &sink, &domains).expect(0);
    let [accepted, arrived] = all_delivered(&ran, ["accepted", "arrived"]);
    assert!(accepted == arrived && (500..900).contains(&accepted), "{accepted} {arrived}");
    assert_eq!(ran.count("accepted_recipients"), accepted);
}

/// What is refused and handed on all the same, and what is handed on without a reply.
#[test]
fn what_was_not_taken_over_may_arrive_and_is_said_to() {
    let sink = sink_address();
    let server = relay(&sink, |upstream, number, message| {
        upstream.send(message);
        match number % 50 {
            49 => Answer::Reply("451 4.3.0 Not now"),
            48 => Answer::Close,
            _ => OK,
        }
    });
    let ran = through(&server.address, &sink, &["-n", "200", "-c", "1"]).expect(0);
    assert_eq!((ran.count("tempfailed"), ran.count("undecided")), (4, 4));
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "unacknowledged", "lost"]), [192, 200, 8, 0]);
    // Nobody knows about those that were cut off. The others are the server's doing.
    assert!(ran.text.contains("WARNING: 4 deliveries arrived that the server had refused"), "{}", ran.text);
}

#[test]
fn messages_of_others_are_counted_and_not_judged() {
    let bounce = |message: &Message| Message {
        envelope: vec!["MAIL FROM:<>".to_owned(), message.envelope[1].clone()],
        content: [b"Subject: undeliverable\r\n\r\n".as_slice(), &message.content].concat(),
    };
    let ran = after_crime(0, &["--assert", "foreign<4"], move |upstream, message| {
        upstream.send(&bounce(message));
        upstream.send(message);
    });
    assert_eq!(all_delivered(&ran, ["arrived", "messages", "foreign", "duplicates"]), [300, 300, 3, 0]);
    assert!(ran.text.contains("WARNING: 3 messages arrived that are not of this run"), "{}", ran.text);
}
