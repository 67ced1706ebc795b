//! Every shape of load arrives as it was sent: both ledgers agree.

use std::fs;

use super::program::{Scratch, finish, run, start};
use super::server::{Message, OK, Server};
use super::sink::Sink;

#[track_caller]
fn all_arrive(sink: &Sink, messages: &str, arguments: &[&str]) {
    let ran = sink.load(&[&["-n", messages], arguments].concat()).expect(0);
    assert_eq!(ran.count("accepted").to_string(), messages, "{arguments:?}: {}", ran.text);
    assert_eq!(ran.report["ledger"], "agrees");
}

#[test]
fn shapes_of_smtp_arrive() {
    let sink = Sink::start(&["--checksum"]);
    for arguments in [
        &[][..],
        &["--no-pipelining", "-c", "3"],
        &["--depth", "16"],
        &["--depth", "16", "--bdat", "--size", "2-20k"],
        &["--depth", "4", "--chunk", "1k", "--size", "10k", "--reset-between"],
        &["--recipients", "1-50", "--size", "lognormal(2k,2)"],
        &["--threads", "3", "-c", "7", "--size", "2-400"],
    ] {
        all_arrive(&sink, "1003", arguments);
    }
    // A message that is far larger than what is sent at once, and an envelope that is.
    all_arrive(&sink, "12", &["--size", "3m", "-c", "2", "--checksum"]);
    all_arrive(&sink, "12", &["--size", "3m", "-c", "2", "--chunk", "300k"]);
    all_arrive(&sink, "6", &["--recipients", "5000", "-c", "2"]);
}

#[test]
fn lmtp_has_a_reply_for_each_recipient() {
    let sink = Sink::start(&["--lmtp"]);
    let ran = sink.load(&["-n", "500", "--lmtp", "--recipients", "3", "--depth", "8", "--bdat"]).expect(0);
    assert_eq!((ran.count("accepted"), ran.count("accepted_recipients")), (500, 1500));
    let ran = sink.load(&["-n", "500", "--lmtp", "--recipients", "3"]).expect(0);
    assert_eq!((ran.count("accepted"), ran.count("accepted_recipients")), (500, 1500));
}

#[test]
fn a_unix_socket_is_a_target() {
    let path = Scratch::new();
    let sink = Sink::start_at(path.text(), &["--lmtp"]);
    let ran = sink.compared(path.text(), &["-n", "1000", "--lmtp", "--depth", "4", "-c", "8"]).expect(0);
    assert_eq!(ran.count("accepted"), 1000);
}

#[test]
fn connections_are_churned() {
    let sink = Sink::start(&[]);
    let ran = sink.load(&["-n", "600", "--messages-per-connection", "3", "-c", "6"]).expect(0);
    assert_eq!(ran.count("accepted"), 600);
    assert!((200..=206).contains(&ran.count("connects")), "{}", ran.count("connects"));
    let ran =
        sink.load(&["-n", "200", "--messages-per-connection", "1", "--rate", "2000", "--lag-most", "10s"]).expect(0);
    assert_eq!(ran.count("accepted"), 200);
}

#[test]
fn peers_are_named_by_a_proxy_header() {
    let sink = Sink::start(&["--proxy-protocol"]);
    for version in ["v1", "v2"] {
        all_arrive(&sink, "100", &["--proxy", version, "--messages-per-connection", "5"]);
    }
}

#[test]
fn many_connections_come_from_many_addresses() {
    let sink = Sink::start(&[]);
    let sources = ["--source", "127.0.1.1", "--source", "127.0.1.2", "--source", "127.0.1.3"];
    all_arrive(&sink, "2000", &[&["-c", "1000"], &sources[..]].concat());
}

#[test]
fn real_messages_arrive_as_they_are() {
    let maildir = Scratch::new();
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.0.join(directory)).unwrap();
    }
    let plain = "Subject: dots\nDate: long ago\n\n.one\n..two\n.\nlast without an end";
    fs::write(maildir.0.join("cur/1"), plain).unwrap();
    fs::write(maildir.0.join("new/2"), "Subject: \u{e9}\r\n\r\nsmall\r\n").unwrap();
    let server = Server::start(|_, _: &Message| OK);
    let ran = run(&server.address, &["-n", "50", "--corpus", maildir.text()]).expect(0);
    assert_eq!(ran.count("accepted"), 50);
    assert!(ran.text.contains("line ends made CRLF in 1") && ran.text.contains("1 with lines that begin with a dot"));
    let bodies =
        ["Subject: dots\r\n\r\n.one\r\n..two\r\n.\r\nlast without an end\r\n", "Subject: \u{e9}\r\n\r\nsmall\r\n"];
    let mut found = [0, 0];
    for message in server.messages() {
        let text = String::from_utf8(message.content).unwrap();
        let which = bodies.iter().position(|body| text.ends_with(body)).expect("one of both");
        assert_eq!(text.matches("Message-ID:").count(), 1);
        assert_eq!(text.matches("Date:").count(), 1, "{text}");
        assert_eq!(message.envelope[0].ends_with("BODY=8BITMIME"), which == 1, "{:?}", message.envelope);
        found[which] += 1;
    }
    assert!(found[0] > 0 && found[1] > 0, "{found:?}");
}

#[test]
fn a_scenario_mixes_its_classes() {
    let file = Scratch::new();
    let text = "[[class]]\nname = \"small\"\nweight = 9\nsize = \"500\"\n\
                [[class]]\nname = \"large\"\nsize = \"20k\"\nrecipients = \"3\"\n";
    fs::write(&file.0, text).unwrap();
    let server = Server::start(|_, _: &Message| OK);
    run(&server.address, &["-n", "1000", "--scenario", file.text(), "--seed", "4"]).expect(0);
    let messages = server.messages();
    let large: Vec<&Message> = messages.iter().filter(|message| message.content.len() == 20 * 1024).collect();
    assert!(messages.len() == 1000 && (60..140).contains(&large.len()), "{}", large.len());
    assert!(large.iter().all(|message| message.envelope.len() == 4));
}

#[test]
fn a_scenario_says_the_load_and_the_command_line_stands_over_it() {
    let file = Scratch::new();
    let class = "[[class]]\nname = \"small\"\nsize = \"500\"\n";
    let written = |load: &str| fs::write(&file.0, format!("{load}\n{class}")).unwrap();
    let server = Server::start(|_, _: &Message| OK);
    let load = |arguments: &[&str]| run(&server.address, &[&["--scenario", file.text()], arguments].concat());
    written(
        "connections = 3\nmessages = 40\nmessages_per_connection = 5\nusers = 2\nseed = 7\nassert = [\"accepted>39\"]\npoisson = false",
    );
    let ran = load(&[]).expect(0);
    assert_eq!((ran.count("accepted"), &ran.report["connections"], &ran.report["seed"]), (40, &3.into(), &7.into()));
    let people: std::collections::BTreeSet<String> =
        server.messages().into_iter().flat_map(|message| message.envelope.into_iter().skip(1)).collect();
    assert_eq!(people.len(), 2, "{people:?}");
    let ran = load(&["-c", "1", "-n", "10", "--assert", "accepted<11"]).expect(0);
    assert_eq!((ran.count("accepted"), &ran.report["connections"]), (10, &1.into()));
    // What cannot stand beside an argument gives way to it.
    assert_eq!(load(&["--once"]).expect(4).count("accepted"), 1);
    for (wrong, said) in [
        ("conections = 3", "conections"),
        ("connections = 0", "invalid value '0' for '--connections <N>'"),
        ("rate = \"fast\"", "'fast' is no rate"),
        ("users = { many = 1 }", "users is a text, a number, true, or a list"),
    ] {
        written(wrong);
        let ran = load(&["-n", "1"]).expect(64);
        assert!(ran.text.contains(said), "{wrong}: {}", ran.text);
    }
}

#[test]
fn one_message_shows_its_dialogue() {
    let sink = Sink::start(&[]);
    let ran = sink.load(&["--once", "-v"]).expect(0);
    for line in ["S: 220 ", "C: EHLO bench.example", "C: MAIL FROM:<", "C: DATA", "S: 354", "C: .", "C: QUIT", "S: 221"]
    {
        assert!(ran.text.contains(line), "{line} in\n{}", ran.text);
    }
}

#[test]
fn reports_of_machines_are_added_up() {
    let sink = Sink::start(&[]);
    let (one, other) = (Scratch::new(), Scratch::new());
    // 200 messages of each are due in the first 4 s, the others soon behind; there are as many s more to get them through.
    let steps = ["--rate", "50,2000", "-t", "8s", "--lag-most", "60s"];
    let started = [(&one, "300"), (&other, "500")].map(|(report, messages)| {
        let arguments = [&["-n", messages, "--seed", messages], &steps[..]].concat();
        (start(&sink.address, &arguments, report), report, messages)
    });
    for (child, report, messages) in started {
        let ran = finish(child, report).expect(0);
        assert_eq!(ran.count("accepted").to_string(), messages);
    }
    let merge = |assertion: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
        command.args(["merge", one.text(), other.text(), "--assert", assertion]).output().unwrap()
    };
    let output = merge("accepted>799");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let counted = |line: &str| line.split_whitespace().any(|word| word == "800");
    let steps = ["50 ", "2000 "].map(|step| text.lines().find(|line| line.starts_with(step)).unwrap_or_default());
    let offered = steps.map(|row| row.split_whitespace().nth(2).and_then(|offered| offered.parse::<u64>().ok()));
    assert!(
        offered[0].zip(offered[1]).is_some_and(|(one, other)| one.abs_diff(400) <= 2 && one + other == 800),
        "{text}"
    );
    for row in ["accepted ", "end of data ", "message ", "MAIL "] {
        assert!(text.lines().any(|line| line.starts_with(row) && counted(line)), "{row}in\n{text}");
    }
    assert_eq!(merge("accepted>800").status.code(), Some(4));
    assert_eq!(merge("p50<1us").status.code(), Some(4));
}

/// What the rate is depends on the machine; that one is found, or none, does not.
#[test]
fn the_highest_rate_that_keeps_a_promise_is_found() {
    let server = Server::start(|_, _: &Message| OK);
    let search = ["--find-max", "--slo", "refused<1", "-t", "300ms", "--lag-most", "10s", "-c", "2"];
    let ran = run(&server.address, &search).expect(0);
    assert!(
        ran.text.contains("the highest rate that keeps it is") && ran.report["rate"].as_f64().is_some(),
        "{}",
        ran.text
    );
    let ran = run(&server.address, &["--find-max", "--slo", "p50<1us", "-t", "20ms", "--lag-most", "10s"]).expect(4);
    assert!(ran.text.contains("no rate keeps it"), "{}", ran.text);
}

/// Those that behave get all of their messages through, and nothing of the others counts as one.
#[test]
fn clients_that_misbehave_stand_beside_those_that_work() {
    let sink = Sink::start(&[]);
    let ran =
        sink.load(&["-n", "2000", "-c", "24", "--misbehave", "50%", "--rate", "2000", "--lag-most", "10s"]).expect(0);
    assert_eq!((ran.count("accepted"), ran.count("attempted")), (2000, 2000), "{}", ran.text);
    assert!(ran.count("misbehaved") >= 12, "{}", ran.text);
    assert_eq!(ran.report["ledger"], "agrees");
    run(&sink.address, &["-n", "1", "-c", "1", "--misbehave", "101%"]).expect(64);
}

#[test]
fn a_login_stands_before_the_first_message() {
    let server = Server::start(|_, _: &Message| OK);
    let file = Scratch::new();
    fs::write(&file.0, "load:se:cret\nand more\n").unwrap();
    let load = ["-n", "20", "-c", "2", "--threads", "1"];
    for login in
        [&["--auth", "load:se:cret"][..], &["--auth-file", file.text()], &["--auth", "load:se:cret", "--xclient"]]
    {
        let before = server.logins().len();
        let ran = run(&server.address, &[&load, login].concat()).expect(0);
        assert_eq!((ran.count("accepted"), server.logins().len() - before), (20, 2), "once on each connection");
        assert!(ran.text.lines().any(|line| line.starts_with("AUTH ") && line.contains("235")), "{}", ran.text);
    }
    let ran = run(&server.address, &["--once", "-v", "--auth", "load:se:cret"]).expect(0);
    assert!(ran.text.contains("C: AUTH PLAIN (not shown)") && !ran.text.contains("AGxv"), "{}", ran.text);
    // Who is refused sends nothing; who would be overheard says nothing; and a sink knows no users.
    let ran = run(&server.address, &[&load[..], &["--auth", "load:wrong"]].concat()).expect(69);
    assert!(ran.text.contains("535 to AUTH"), "{}", ran.text);
    let ran = run("192.0.2.1:25", &["-n", "1", "--i-operate", "192.0.2.1", "--auth", "a:b"]).expect(64);
    assert!(ran.text.contains("--auth would go there in the clear"), "{}", ran.text);
    let ran = Sink::start(&[]).load(&["-n", "1", "--auth", "a:b"]).expect(69);
    assert!(ran.text.contains("AUTH PLAIN cannot be sent"), "{}", ran.text);
    let ran = run(&server.address, &["-n", "1", "--auth-env", "NO_SUCH_VARIABLE"]).expect(69);
    assert!(ran.text.contains("no variable NO_SUCH_VARIABLE"), "{}", ran.text);
}

#[test]
fn peers_are_named_by_xclient() {
    let server = Server::start(|_, _: &Message| OK);
    let churn =
        ["-n", "40", "--messages-per-connection", "2", "-c", "2", "--threads", "1", "--xclient", "--peers", "7"];
    let ran = run(&server.address, &churn).expect(0);
    assert_eq!(ran.count("accepted"), 40);
    let mut peers = std::collections::BTreeMap::new();
    server.peers().into_iter().for_each(|peer| *peers.entry(peer).or_insert(0) += 1);
    assert_eq!(peers.len(), 7, "{peers:?}");
    assert!(peers.keys().all(|peer| peer.starts_with("XCLIENT ADDR=198.18.0.")), "{peers:?}");
    // However the connections of a load overtake each other, the peers come in turn.
    assert!(peers.values().max() <= peers.values().min().map(|least| least + 1).as_ref(), "{peers:?}");
    // Who does not offer it is told so.
    let sink = Sink::start(&[]);
    let ran = sink.load(&["-n", "1", "--xclient"]).expect(69);
    assert!(ran.text.contains("XCLIENT cannot be sent"), "{}", ran.text);
}
