//! What is on its way: backlog and drain time, tries that come later, and ends before all has arrived.

use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::behind::{all_delivered, delivered, sink_address, start, through};
use super::program::{Scratch, finish};
use super::relay::relay;
use super::server::{Answer, Message, OK, Server, Upstream};

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that takes messages over and keeps them, until it is told to hand them on, last ones first.
fn holding(sink: &str, messages: usize) -> (Server, mpsc::Sender<()>) {
    let (keep, kept) = mpsc::channel::<Message>();
    let (release, released) = mpsc::channel();
    let address = sink.to_owned();
    std::thread::spawn(move || {
        let mut all: Vec<Message> = kept.iter().take(messages).collect();
        if released.recv().is_ok() {
            let mut upstream = Upstream::connect(&address);
            all.drain(..).rev().for_each(|message| upstream.send(&message));
        }
    });
    let server = Server::start(move |_, message: &Message| {
        let _ = keep.send(message.clone());
        OK
    });
    (server, release)
}

fn seconds(lines: &Scratch) -> Vec<Value> {
    let text = std::fs::read_to_string(&lines.0).unwrap_or_default();
    // The last line may not be whole yet.
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

fn wait_for(lines: &Scratch, what: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    while !seconds(lines).iter().any(&what) {
        assert!(began.elapsed() < PATIENCE, "{:?}", seconds(lines));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// All is taken over, nothing arrives until the program itself has said so, and then all does, in another order.
#[test]
fn a_server_that_holds_mail_back_shows_its_backlog() {
    let sink = sink_address();
    let (server, release) = holding(&sink, 400);
    let (json, lines) = (Scratch::new(), Scratch::new());
    let child = start(&server.address, &sink, &["-n", "400", "--ndjson", lines.text()], &json);
    wait_for(&lines, |line| line["backlog"] == 400);
    // All of it waits so long at least.
    std::thread::sleep(Duration::from_millis(600));
    release.send(()).unwrap();
    let ran = finish(child, &json).expect(0);
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "lost"]), [400, 400, 0]);
    assert_eq!(ran.report["backlog_most"], 400);
    assert!(ran.report["drain_ns"].as_u64() > Some(600_000_000), "{}", ran.report["drain_ns"]);
    assert_eq!(ran.above_ms("end_to_end", 595), 400);
    // The replies did not wait for it.
    assert!(2 * ran.above_ms("message", 595) < 400, "{}", ran.text);
    let all = seconds(&lines);
    for (name, expected) in [("accepted", 400), ("arrived", 400)] {
        let sum: u64 = all.iter().map(|second| second[name].as_u64().unwrap()).sum();
        assert_eq!(sum, expected, "{name} of {all:?}");
    }
    assert_eq!(all.last().unwrap()["backlog"], 0);
}

#[test]
fn a_relay_that_is_slow_is_waited_for() {
    let sink = sink_address();
    // It hands on while it goes on to take over; its patience is shorter than all of it takes.
    let (keep, kept) = mpsc::channel::<Message>();
    let address = sink.clone();
    std::thread::spawn(move || {
        let mut upstream = None;
        for message in kept {
            std::thread::sleep(Duration::from_millis(20));
            upstream.get_or_insert_with(|| Upstream::connect(&address)).send(&message);
        }
    });
    let server = Server::start(move |_, message: &Message| {
        let _ = keep.send(message.clone());
        OK
    });
    let ran = through(&server.address, &sink, &["-n", "200", "--drain-patience", "3900ms"]).expect(0);
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "lost"]), [200, 200, 0]);
    // Each arrives 20 ms behind the one before it at least.
    let rate = ran.report["arrival_rate"].as_f64().unwrap();
    assert!(rate <= 50.0 && ran.report["backlog_most"].as_u64() > Some(1), "{}", ran.text);
}

/// What was meant to be sent half a second ago was late by that, whoever is to blame.
#[test]
fn a_message_that_is_tried_again_was_meant_for_the_first_time() {
    let sink = sink_address();
    let server = relay(&sink, |upstream, number, message| {
        if number < 40 {
            return Answer::Reply("450 4.2.1 Later");
        }
        upstream.send(message);
        OK
    });
    let ran = through(&server.address, &sink, &["-n", "40", "-c", "4", "--on-tempfail", "retry"]).expect(0);
    assert_eq!((ran.count("retried"), delivered(&ran, "arrived")), (40, 40));
    assert_eq!(ran.above_ms("end_to_end", 495), 40, "{}", ran.text);
}

#[test]
fn a_warm_up_is_judged_and_not_timed() {
    let sink = sink_address();
    let server = relay(&sink, |upstream, _, message| {
        upstream.send(message);
        OK
    });
    let open = ["--rate", "200", "--warm-up", "1s", "-t", "1s", "--lag-most", "60s"];
    let ran = through(&server.address, &sink, &open).expect(0);
    let (timed, arrived) = (ran.above_ms("end_to_end", 0), delivered(&ran, "arrived"));
    assert!((1..=200).contains(&timed) && timed < arrived && arrived == ran.count("accepted"), "{timed} of {arrived}");
}

#[test]
fn an_interrupted_run_says_what_was_on_its_way() {
    // While it waits for what is held back, and while it sends.
    for load in [&["-n", "50"][..], &["-t", "600s", "--rate", "50"]] {
        let sink = sink_address();
        let (server, _held) = holding(&sink, usize::MAX);
        let (json, lines) = (Scratch::new(), Scratch::new());
        let child = start(&server.address, &sink, &[load, &["--ndjson", lines.text()]].concat(), &json);
        wait_for(&lines, |line| line["backlog"].as_u64() > Some(0));
        interrupt(&child);
        let ran = finish(child, &json).expect(130);
        let [accepted, arrived, lost, outstanding] =
            all_delivered(&ran, ["accepted", "arrived", "lost", "outstanding"]);
        assert!(accepted > 0 && ran.report["partial"] == true, "{}", ran.text);
        assert_eq!((arrived, lost, outstanding), (0, 0, accepted), "nobody knows yet what is lost");
        assert!(ran.text.contains("still on their way"), "{}", ran.text);
    }
}

#[test]
fn conditions_have_a_status_of_their_own() {
    let sink = sink_address();
    let server = relay(&sink, |upstream, _, message| {
        upstream.send(message);
        OK
    });
    let with = |more: &[&str]| through(&server.address, &sink, &[&["-n", "20"], more].concat());
    let ran = with(&["--assert", "e2e.p50<1us", "--assert", "accepted>20", "--assert", "foreign<1"]).expect(4);
    assert!(ran.text.contains("e2e.p50<1us: it is") && ran.text.contains("accepted>20: it is 20"), "{}", ran.text);
    assert!(!ran.text.contains("foreign<1"), "{}", ran.text);
}

#[test]
fn what_cannot_be_is_said() {
    let sink = sink_address();
    let server = Server::start(|_, _: &Message| OK);
    for (arguments, status, words) in [
        (
            &["-n", "200000000"][..],
            64,
            "200000000 messages to up to 1 recipients are too many to be followed: 119304647",
        ),
        (&["--find-max", "--slo", "p99<1s"], 64, "no --find-max"),
        (&["--abort-on", "lost>1"], 64, "--abort-on knows the counts of `run` only"),
        (&["--sink", "127.0.0.1"], 64, "port"),
    ] {
        let ran = through(&server.address, &sink, arguments).expect(status);
        assert!(ran.text.contains(words), "{words} in {}", ran.text);
    }
    // The server's own address.
    let ran = through(&server.address, &server.address, &["-n", "1"]).expect(69);
    assert!(ran.text.contains("--sink: ") && ran.text.contains(&server.address), "{}", ran.text);
    let ran = super::program::run(&server.address, &["-n", "1", "--assert", "e2e.p99<1s"]).expect(64);
    assert!(ran.text.contains("use `through`"), "{}", ran.text);
}
