//! Times are taken from when a message was meant to be sent, and what is no figure is not given as one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::program::{Scratch, finish, run, start};
use super::server::{Answer, Message, OK, Server};
use super::sink::Sink;

/// One stall, of which a client that waits for replies notices one message, though hundreds were meant to be sent meanwhile.
#[test]
fn a_stall_shows_in_corrected_times_and_hardly_in_others() {
    let stall = |number, _: &Message| if number == 100 { Answer::After(Duration::from_millis(1500)) } else { OK };
    let server = Server::start(stall);
    let ran = run(&server.address, &["--rate", "300", "-n", "900", "-c", "1", "--lag-most", "60s"]).expect(0);
    assert_eq!(ran.count("accepted"), 900);
    // 300 messages/s were due in the first second of the stall, and so waited half a second at least.
    let (corrected, uncorrected) = (ran.above_ms("message", 500), ran.above_ms("message_uncorrected", 500));
    assert!(corrected >= 250, "{corrected}");
    assert!(uncorrected >= 1 && 20 * uncorrected < corrected, "{uncorrected} of {corrected}");
    assert!(ran.above_ms("end_of_data", 500) >= 250);

    // A closed loop cannot know better, and says so by having one time only.
    let server = Server::start(stall);
    let ran = run(&server.address, &["-n", "900", "-c", "1"]).expect(0);
    assert_eq!(ran.above_ms("message", 500), ran.above_ms("message_uncorrected", 500));
    assert!(!ran.text.contains("uncorrected"), "{}", ran.text);
}

/// A hundred million messages a second are meant to be sent: nothing can, so what is timed is the generator.
#[test]
fn a_saturated_generator_has_no_figure() {
    let sink = Sink::start(&[]);
    let rate = ["--rate", "100000000", "--lag-most", "1us", "-t", "300ms", "--depth", "100"];
    let ran = sink.load(&rate).expect(5);
    assert!(ran.text.contains("saturated") && !ran.text.contains("messages/s"), "{}", ran.text);
    assert!(ran.report["rate"].is_null() && ran.report["saturated"].is_string(), "{}", ran.report);
    assert_eq!(ran.report["ledger"], "agrees");
}

#[test]
fn a_rate_is_kept_and_its_arrivals_are_counted() {
    let sink = Sink::start(&[]);
    for spacing in [&[][..], &["--poisson"]] {
        let ran = sink.load(&[&["--rate", "2000", "-n", "3000", "--lag-most", "10s"], spacing].concat()).expect(0);
        assert_eq!((ran.count("offered"), ran.count("accepted")), (3000, 3000));
        // It cannot be faster than it was meant to be; how much slower is the machine's affair.
        assert!(ran.report["seconds"].as_f64().unwrap() > 1.3, "{}", ran.report["seconds"]);
    }
}

/// 150 messages of 100, 400 and 200 a second are taken, and then none for 1.2 s: until the middle of the last step.
#[test]
fn each_step_of_a_rate_has_figures_of_its_own() {
    let stall = |number, _: &Message| if number == 150 { Answer::After(Duration::from_millis(1200)) } else { OK };
    let server = Server::start(stall);
    let steps = ["--rate", "100,400,200", "-t", "3s", "-c", "1", "--threads", "1", "--lag-most", "60s"];
    let ran = run(&server.address, &steps).expect(0);
    let steps = ran.report["steps"].as_array().unwrap();
    let counts = |name: &str| steps.iter().map(|step| step[name].as_u64().unwrap()).collect::<Vec<_>>();
    // What is meant to be sent in a step depends on nothing; the last one may be due in the moment of the end.
    let offered = counts("offered");
    assert!(offered.iter().zip([100_u64, 400, 200]).all(|(one, other)| one.abs_diff(other) <= 1), "{offered:?}");
    // From 1.125 s on nothing was taken before 2.325 s, whatever else the machine did.
    let (accepted, late) = (counts("accepted"), counts("late"));
    assert!(accepted[0] <= 101 && accepted[1] <= 151 && late[1] >= 349, "{accepted:?} {late:?}");
    let p50 = steps[1]["quantiles_ns"]["message"]["p50"].as_u64().unwrap();
    assert!(p50 >= 325_000_000, "half of the second step waited for 2.325 s: {p50}");
    assert!(steps.iter().all(|step| step["rate"].is_number() && step["saturated"] == false), "{steps:?}");
    let row = ran.text.lines().find(|line| line.starts_with("400 ")).expect("a row for the second step");
    assert!(row.contains("begun behind it"), "{row}");

    // A ramp has ten parts; a level rate has none.
    let parts = |rate: &str| {
        let ran = run(&server.address, &["--rate", rate, "-t", "1s", "--lag-most", "60s"]).expect(0);
        (ran.report["steps"].as_array().unwrap().len(), ran.text.contains("step, messages/s"))
    };
    assert_eq!((parts("50..150"), parts("100")), ((10, true), (0, false)));
}

#[test]
fn a_warm_up_is_in_the_ledger_and_not_in_the_figures() {
    let sink = Sink::start(&[]);
    let ran = sink.load(&["--rate", "500", "--warm-up", "1s", "-t", "1s", "--lag-most", "60s"]).expect(0);
    // 500 were due behind the warm-up; a machine that is busy may have begun fewer.
    let timed: u64 = ran.above_ms("message", 0);
    assert!((1..=500).contains(&timed) && timed < ran.count("accepted"), "{timed}");
    assert_eq!(ran.report["ledger"], "agrees");
}

#[test]
fn assertions_have_a_status_of_their_own() {
    let sink = Sink::start(&[]);
    sink.load(&["-n", "100", "--assert", "p99<600s", "--assert", "refused<1", "--assert", "rate>1"]).expect(0);
    let ran = sink.load(&["-n", "100", "--assert", "p50<1us", "--assert", "accepted>100"]).expect(4);
    assert!(ran.text.contains("p50<1us: it is") && ran.text.contains("accepted>100: it is 100"), "{}", ran.text);
    // Nothing in a chunk is answered with 354.
    let ran = sink.load(&["-n", "10", "--bdat", "--assert", "data.p50<1s"]).expect(4);
    assert!(ran.text.contains("nothing was timed"), "{}", ran.text);
}

#[test]
fn a_run_ends_when_it_is_no_use() {
    let server = Server::start(|_, _: &Message| Answer::Reply("554 5.7.1 Never"));
    let ran = run(&server.address, &["-t", "600s", "--rate", "100", "--abort-on", "refused>20"]).expect(6);
    assert!(ran.count("refused") > 20 && ran.report["partial"] == true, "{}", ran.text);
}

#[test]
fn an_interrupted_run_reports_what_it_has() {
    let sink = Sink::start(&[]);
    let (json, lines) = (Scratch::new(), Scratch::new());
    let child = start(&sink.address, &["-t", "600s", "--rate", "200", "--ndjson", lines.text()], &json);
    // A line for a second is written while the run goes on.
    let began = std::time::Instant::now();
    while std::fs::read_to_string(&lines.0).unwrap_or_default().lines().count() < 1 {
        assert!(began.elapsed() < Duration::from_secs(60), "a line comes each second");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = finish(child, &json).expect(130);
    assert!(ran.report["partial"] == true && ran.count("accepted") > 0, "{}", ran.text);
    assert_eq!(ran.count("accepted"), ran.count("attempted"), "what was under way came to its end");
}

#[test]
fn seconds_add_up_to_the_whole() {
    let sink = Sink::start(&[]);
    let lines = Scratch::new();
    // The last message is that of one thread, while the others are done.
    let threads = ["--threads", "3", "-c", "3", "--rate", "200", "-n", "401"];
    let ran = sink.load(&[&threads[..], &["--ndjson", lines.text(), "--lag-most", "60s"]].concat()).expect(0);
    let text = std::fs::read_to_string(&lines.0).unwrap();
    let seconds: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(seconds.len() >= 2, "{text}");
    for name in ["accepted", "octets_sent", "accepted_octets", "connects"] {
        let sum: u64 = seconds.iter().map(|second| second[name].as_u64().unwrap()).sum();
        assert_eq!(sum, ran.count(name), "{name}");
    }
}

#[test]
fn only_ones_own_servers_are_loaded() {
    let ran = run("192.0.2.1:25", &["-n", "1"]).expect(64);
    assert!(ran.text.contains("--i-operate 192.0.2.1"), "{}", ran.text);
    run("192.0.2.1:25", &["-n", "1", "--i-operate", "mx.example"]).expect(64);
    // Nobody answers in a range for documentation, and nothing is sent there: the source is loopback.
    let operated = ["--i-operate", "192.0.2.1", "--source", "::1"];
    run("192.0.2.1:25", &[&["-n", "1"], &operated[..]].concat()).expect(64);
}

#[test]
fn what_is_not_there_is_said() {
    let ran = run("127.0.0.1:1", &["-n", "1"]).expect(69);
    assert!(ran.text.contains("cannot connect to 127.0.0.1:1: Connection refused"), "{}", ran.text);
    let server = Server::start(|_, _: &Message| OK);
    let ran = run(&server.address, &["-n", "1", "--lmtp"]).expect(69);
    assert!(ran.text.contains("no session could be opened") && ran.text.contains("500 to EHLO"), "{}", ran.text);
    let ran = run(&server.address, &["-n", "1", "--bdat"]).expect(69);
    assert!(ran.text.contains("does not offer CHUNKING"), "{}", ran.text);
}

/// A name may have addresses at which nobody is; where it has only one, that is the one.
#[test]
fn the_address_of_a_name_is_said() {
    let server = Server::start(|_, _: &Message| OK);
    let port = server.address.rsplit_once(':').unwrap().1;
    let ran = run(&format!("localhost:{port}"), &["-n", "1"]).expect(0);
    assert_eq!(ran.report["address"], server.address.as_str());
    assert!(ran.text.contains(&format!("target localhost:{port} at {}", server.address)), "{}", ran.text);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = Server::start(|_, _: &Message| Answer::After(Duration::from_secs(3600)));
    let ran = run(&server.address, &["-n", "4", "-c", "4", "--patience", "300ms"]).expect(0);
    assert_eq!((ran.count("undecided"), ran.count("sessions_timed_out")), (4, 4), "{}", ran.text);
}

/// A server that stops reading in the middle of mail data: the message is cut off, and certainly not taken over.
#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listening.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listening.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut replies = ["220 x", "250 x", "250 x", "250 x", "354 x"].into_iter();
            let mut line = String::new();
            while let Some(reply) = replies.next() {
                (&stream).write_all(format!("{reply}\r\n").as_bytes()).unwrap();
                if replies.len() > 0 && reader.read_line(&mut line).unwrap() == 0 {
                    break;
                }
            }
            held.push(stream);
        }
    });
    let ran = run(&address, &["-n", "1", "-c", "1", "--size", "100m", "--patience", "500ms"]).expect(0);
    let counts = ["attempted", "timed_out", "undecided", "sessions_timed_out"].map(|name| ran.count(name));
    assert_eq!(counts, [1, 1, 0, 1], "{}", ran.text);
}

/// A server that goes away and comes back: what was under way is counted, and the run goes on.
#[test]
fn a_server_that_comes_back_is_found_again() {
    let sink = Sink::start(&[]);
    let (address, json, lines) = (sink.address.clone(), Scratch::new(), Scratch::new());
    let arguments = ["-t", "600s", "--rate", "300", "-c", "4", "--abort-on", "accepted>900", "--on-tempfail", "retry"];
    let child = start(&address, &[&arguments[..], &["--ndjson", lines.text()]].concat(), &json);
    let began = std::time::Instant::now();
    let seconds = || std::fs::read_to_string(&lines.0).unwrap_or_default().lines().count();
    let wait_for = |count: usize| {
        while seconds() < count {
            assert!(began.elapsed() < Duration::from_secs(60), "a line comes each second");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(1);
    drop(sink);
    wait_for(2);
    let _sink = Sink::start_at(&address, &[]);
    let ran = finish(child, &json).expect(6);
    assert!(ran.count("connects_failed") > 0 && ran.count("connects") > 8, "{}", ran.text);
    assert!(ran.count("accepted") > 900, "{}", ran.text);
}

#[test]
fn a_server_that_is_gone_for_good_ends_the_run() {
    let sink = Sink::start(&[]);
    let (json, lines) = (Scratch::new(), Scratch::new());
    let arguments = ["-n", "1000000000", "-c", "4", "--rate", "100", "--patience", "1s", "--ndjson", lines.text()];
    let child = start(&sink.address, &arguments, &json);
    let began = std::time::Instant::now();
    while std::fs::read_to_string(&lines.0).unwrap_or_default().lines().count() < 1 {
        assert!(began.elapsed() < Duration::from_secs(60), "a line comes each second");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(sink);
    let ran = finish(child, &json).expect(69);
    assert!(ran.text.contains("is gone: nothing was heard of it for 1.0s"), "{}", ran.text);
    // What was true before stands in the report.
    assert!(ran.report["partial"] == true && ran.report["gone"].is_string(), "{}", ran.text);
    assert!(ran.count("accepted") > 0 && ran.count("connects_failed") > 0, "{}", ran.text);
}

/// It takes a message, and from then on connections only, of which it says nothing.
#[test]
fn a_server_that_is_there_and_says_nothing_any_more_ends_the_run() {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listening.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (stream, _) = listening.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        for reply in ["220 x", "250 x", "250 x", "250 x", "354 x"] {
            (&stream).write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        while line != ".\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        (&stream).write_all(b"250 x\r\n").unwrap();
        drop((stream, reader));
        listening.incoming().for_each(drop);
    });
    let ran = run(&address, &["-n", "3", "-c", "1", "--patience", "700ms"]).expect(69);
    assert!(ran.text.contains("is gone: nothing was heard of it for 700.0ms"), "{}", ran.text);
}

#[test]
fn a_server_that_wants_nobody_is_left_alone() {
    for (greeting, said) in [
        ("HTTP/1.1 400 Bad Request", "nothing that can be read"),
        ("554 5.7.1 Go away", "554 to greeting"),
        ("", "nothing"),
    ] {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listening.incoming().map_while(Result::ok) {
                let _ = stream.write_all(format!("{greeting}\r\n").as_bytes());
            }
        });
        let ran = run(&address, &["-n", "10", "-c", "5"]).expect(69);
        assert!(ran.text.contains("no session could be opened") && ran.text.contains(said), "{greeting}: {}", ran.text);
    }
}
