//! Who loses, doubles or alters a message is found out; what is counted is what happened.

use super::program::{Scratch, finish, run, start};
use super::server::{Answer, Message, OK, Server, Upstream};
use super::sink::Sink;

const MESSAGES: &str = "300";

/// A server in front of a sink, which does something to every hundredth message that it says it has taken.
fn front(sink: &Sink, mut crime: impl FnMut(&mut Upstream, &Message) + Send + 'static) -> Server {
    let address = sink.address.clone();
    let mut upstream = None;
    Server::start(move |number, message: &Message| {
        let upstream = upstream.get_or_insert_with(|| Upstream::connect(&address));
        match number % 100 {
            99 => crime(upstream, message),
            _ => upstream.send(message),
        }
        OK
    })
}

#[test]
fn an_honest_server_has_a_figure() {
    let sink = Sink::start(&[]);
    let server = front(&sink, |upstream, message| upstream.send(message));
    let ran = sink.compared(&server.address, &["-n", MESSAGES, "-c", "3"]).expect(0);
    assert_eq!(ran.report["ledger"], "agrees");
    assert!(ran.report["rate"].as_f64().is_some());
}

#[test]
fn a_message_that_was_accepted_and_lost_leaves_no_figure() {
    let sink = Sink::start(&[]);
    let server = front(&sink, |_, _| {});
    let ran = sink.compared(&server.address, &["-n", MESSAGES, "-c", "3"]).expect(3);
    assert!(ran.text.contains("3 messages are lost") && !ran.text.contains("messages/s"), "{}", ran.text);
    assert!(ran.report["rate"].is_null(), "{}", ran.report);
    assert_eq!(ran.report["ledger"], "DISAGREES");
}

#[test]
fn a_message_that_is_there_twice_leaves_no_figure() {
    let sink = Sink::start(&[]);
    let server = front(&sink, |upstream, message| {
        upstream.send(message);
        upstream.send(message);
    });
    let ran = sink.compared(&server.address, &["-n", MESSAGES]).expect(3);
    assert!(ran.text.contains("3 messages are there twice"), "{}", ran.text);
}

#[test]
fn a_message_that_is_altered_leaves_no_figure() {
    let sink = Sink::start(&[]);
    let server = front(&sink, |upstream, message| {
        let content = [b"X-Added: by the server\r\n", message.content.as_slice()].concat();
        upstream.send(&Message { content, ..message.clone() });
    });
    let ran = sink.compared(&server.address, &["-n", MESSAGES]).expect(3);
    assert!(ran.text.contains("content is altered"), "{}", ran.text);
}

/// Messages of one size, of which one octet differs: nothing but checksums can tell.
#[test]
fn one_altered_octet_is_told_by_checksums_alone() {
    let sink = Sink::start(&["--checksum"]);
    let alter = || {
        front(&sink, |upstream, message| {
            let mut content = message.content.clone();
            *content.iter_mut().rfind(|octet| octet.is_ascii_lowercase()).unwrap() ^= 1;
            upstream.send(&Message { content, ..message.clone() });
        })
    };
    let ran = sink.compared(&alter().address, &["-n", MESSAGES]).expect(0);
    assert_eq!(ran.report["ledger"], "agrees", "octets and messages are as many");
    let ran = sink.compared(&alter().address, &["-n", MESSAGES, "--checksum"]).expect(3);
    assert!(ran.text.contains("content is not what was sent") && !ran.text.contains("messages/s"), "{}", ran.text);
    assert!(ran.report["rate"].is_null() && ran.report["ledger"] == "DISAGREES", "{}", ran.report);
}

/// One message is lost for each that is doubled: neither messages nor octets tell.
#[test]
fn a_loss_and_a_duplicate_do_not_cancel_out() {
    let sink = Sink::start(&["--checksum"]);
    let mut crimes = 0;
    let server = front(&sink, move |upstream, message| {
        crimes += 1;
        for _ in 0..2 * (crimes % 2) {
            upstream.send(message);
        }
    });
    let ran = sink.compared(&server.address, &["-n", "400", "--checksum"]).expect(3);
    assert!(ran.text.contains("though messages and octets are as many"), "{}", ran.text);
    assert!(ran.report["rate"].is_null(), "{}", ran.report);
}

#[test]
fn checksums_agree_whatever_the_shape() {
    let sink = Sink::start(&["--checksum"]);
    for shape in [
        &["--size", "2-9k", "-c", "3"][..],
        &["--size", "lognormal(3k,1)", "--depth", "8", "--bdat"],
        &["--chunk", "700", "--depth", "3", "--size", "4k"],
        &["--size", "600k", "-n", "20"],
    ] {
        let most = if shape.contains(&"-n") { &[][..] } else { &["-n", MESSAGES] };
        let ran = sink.load(&[shape, most, &["--checksum"]].concat()).expect(0);
        assert_eq!((&ran.report["ledger"], &ran.report["checksums"]), (&"agrees".into(), &"agree".into()), "{shape:?}");
        assert!(ran.count("checksum_sum") > 0);
    }
}

#[test]
fn a_sink_that_does_not_sum_is_told_how_it_would() {
    let sink = Sink::start(&[]);
    let ran = sink.load(&["-n", "10", "--checksum"]).expect(69);
    assert!(ran.text.contains("`ringmx sink --checksum`") && !ran.text.contains("messages/s"), "{}", ran.text);
    assert_eq!(ran.report["ledger"], "not compared");
}

/// The message is larger than what sockets hold, so that its end cannot have been sent when the server takes it over.
#[test]
fn a_message_that_is_acknowledged_before_it_was_sent_leaves_no_figure() {
    let server = Server::hasty();
    let ran = run(&server.address, &["-n", "2", "-c", "1", "--size", "64m"]).expect(3);
    assert!(ran.text.contains("replies came out of turn") && !ran.text.contains("messages/s"), "{}", ran.text);
    assert!(ran.count("replies_out_of_turn") > 0 && ran.count("accepted") == 0, "{}", ran.text);
    assert!(ran.report["rate"].is_null(), "{}", ran.report);
}

#[test]
fn a_reply_that_nobody_asked_for_leaves_no_figure() {
    for shape in [&["--depth", "1", "-n", "50"][..], &["--no-pipelining", "-n", "1"]] {
        let server = Server::start(|_, _: &Message| Answer::Twice);
        let ran = run(&server.address, &[shape, &["-c", "1"]].concat()).expect(3);
        assert!(ran.text.contains("replies came out of turn") && !ran.text.contains("messages/s"), "{}", ran.text);
    }
}

/// Where every reply is 250, one too many moves them all: each message is acknowledged by the reply to another command, before
/// the server has it. That shows at the end alone.
#[test]
fn a_reply_too_many_among_equals_leaves_no_figure() {
    let chunks = ["-n", "200", "-c", "1", "--bdat", "--depth", "8"];
    let ran = run(&Server::chunking(|_, _: &Message| OK).address, &chunks).expect(0);
    assert_eq!(ran.count("accepted"), 200);
    let server = Server::chunking(|number, _: &Message| if number == 100 { Answer::Twice } else { OK });
    let ran = run(&server.address, &chunks).expect(3);
    assert!(ran.text.contains("replies came out of turn") && !ran.text.contains("messages/s"), "{}", ran.text);
}

/// One machine without a figure leaves none for all of them.
#[test]
fn a_sum_of_reports_of_which_one_is_void_is_no_figure() {
    let (void, good) = (Scratch::new(), Scratch::new());
    for (report, is_lying, status) in [(&void, true, 3), (&good, false, 0)] {
        let server = Server::start(move |_, _: &Message| if is_lying { Answer::Twice } else { OK });
        finish(start(&server.address, &["-n", "20", "-c", "1"], report), report).expect(status);
    }
    for files in [[void.text(), good.text()], [good.text(), void.text()]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
        let output = command.arg("merge").args(files).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("replies came out of turn") && !text.contains("messages/s"), "{text}");
    }
}

/// What a server has acknowledged goes with it: nobody can say any more whether it had it.
#[test]
fn a_server_that_is_killed_with_what_it_acknowledged_leaves_no_figure() {
    let sink = std::sync::Arc::new(Sink::start(&[]));
    let (killed, address) = (sink.clone(), sink.address.clone());
    let mut upstream = None;
    let server = Server::start(move |number, message: &Message| {
        match number {
            0..100 => upstream.get_or_insert_with(|| Upstream::connect(&address)).send(message),
            100 => killed.kill(),
            // The front goes on as if nothing had happened.
            _ => {}
        }
        OK
    });
    let ran = sink.compared(&server.address, &["-n", MESSAGES]).expect(3);
    assert_eq!(ran.count("accepted").to_string(), MESSAGES);
    let said = ["there is no process", "300 messages that were accepted", "cannot be known"];
    assert!(said.iter().all(|said| ran.text.contains(said)) && !ran.text.contains("messages/s"), "{}", ran.text);
    assert!(ran.report["rate"].is_null(), "{}", ran.report);
}

/// A connection that is cut behind the end of data leaves it open whether the message is there. Both are true then.
#[test]
fn what_nobody_knows_is_neither_lost_nor_doubled() {
    let sink = Sink::start(&["--checksum"]);
    let address = sink.address.clone();
    let mut upstream = None;
    let server = Server::start(move |number, message: &Message| {
        let upstream = upstream.get_or_insert_with(|| Upstream::connect(&address));
        if number % 40 != 39 || number % 80 == 79 {
            upstream.send(message);
        }
        if number % 40 == 39 { Answer::Close } else { OK }
    });
    let shape = ["-n", "200", "-c", "2", "--on-tempfail", "retry", "--checksum"];
    let ran = sink.compared(&server.address, &shape).expect(0);
    assert_eq!(ran.report["checksums"], "not compared", "two of five have arrived: {}", ran.text);
    assert!(ran.text.contains("WARNING: checksums were not compared"), "{}", ran.text);
    assert_eq!((ran.count("undecided"), ran.count("retried")), (5, 0), "{}", ran.text);
    assert_eq!(ran.count("accepted"), 195);
}

#[test]
fn replies_are_counted_by_code_and_command() {
    let server = Server::start(|number, _: &Message| match number % 10 {
        0 => Answer::Reply("451 4.3.0 Not now"),
        1 | 2 => Answer::Reply("554 5.7.1 Never"),
        _ => OK,
    });
    let ran = run(&server.address, &["-n", "100"]).expect(0);
    let counts = ["accepted", "tempfailed", "refused"].map(|name| ran.count(name));
    assert_eq!(counts, [70, 10, 20]);
    let replies = ran.report["replies"].as_array().unwrap();
    let count = |command: &str, code: u64| {
        let found = replies.iter().find(|reply| reply["command"] == command && reply["code"] == code);
        found.map_or(0, |reply| reply["count"].as_u64().unwrap())
    };
    assert_eq!([250, 451, 554].map(|code| count("end of data", code)), [70, 10, 20]);
    assert_eq!((count("RCPT", 250), count("DATA", 354)), (100, 100));
}

#[test]
fn what_is_refused_for_now_comes_again_as_the_same_message() {
    let server = Server::start(|number, _: &Message| if number < 50 { Answer::Reply("450 4.2.1 Later") } else { OK });
    let ran = run(&server.address, &["-n", "50", "-c", "5", "--on-tempfail", "retry", "--seed", "1"]).expect(0);
    assert_eq!(["accepted", "tempfailed", "retried", "attempted"].map(|name| ran.count(name)), [50, 50, 50, 100]);
    let messages = server.messages();
    let sorted = |messages: &[Message]| {
        let mut contents: Vec<Vec<u8>> = messages.iter().map(|message| message.content.clone()).collect();
        contents.sort();
        contents
    };
    assert!(sorted(&messages[..50]) == sorted(&messages[50..]), "the second try has the same octets");
}

#[test]
fn acknowledged_messages_are_written_down_with_their_sums() {
    let server = Server::start(|number, _: &Message| if number % 2 == 1 { Answer::Reply("550 no") } else { OK });
    let ledger = Scratch::new();
    let ran =
        run(&server.address, &["-n", "40", "--checksum", "--ledger", ledger.text(), "--size", "300-9k"]).expect(0);
    let text = std::fs::read_to_string(&ledger.0).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.splitn(5, ' ').collect()).collect();
    assert_eq!((lines.len() as u64, ran.count("accepted")), (20, 20));
    let messages = server.messages();
    let mut sum = 0;
    for line in &lines {
        let id = line[1].as_bytes();
        let message = messages.iter().find(|message| message.content.windows(id.len()).any(|window| window == id));
        let content = &message.expect("the message was sent").content;
        assert_eq!(line[2], content.len().to_string());
        assert_eq!(line[3], format!("{:08x}", crc32c::crc32c(content)));
        assert_eq!(line[4], "2.0.0 Ok");
        sum += u64::from(crc32c::crc32c(content));
    }
    assert_eq!(ran.count("checksum_sum"), sum);
}

#[test]
fn the_same_seed_sends_the_same_octets() {
    let octets = |seed: &str| {
        let server = Server::start(|_, _: &Message| OK);
        let mixed = ["--size", "lognormal(3k,1)", "--recipients", "1-4", "--domain", "a.test=3", "--domain", "b.test"];
        let ran = run(&server.address, &[&["-n", "60", "-c", "1", "--seed", seed], &mixed[..]].concat()).expect(0);
        assert_eq!(ran.count("accepted"), 60);
        server.octets()
    };
    let one = octets("7");
    assert!(one == octets("7"), "octet for octet");
    assert!(one != octets("8"));
}
