//! Every shape of load arrives as it was sent. The sink is the server itself here: what it takes over has arrived.

use std::fs;

use super::behind::{all_delivered, sink_address, through};
use super::program::Scratch;

#[track_caller]
fn all_arrive(address: &str, messages: u64, arguments: &[&str]) {
    let ran = through(address, address, &[&["-n", &messages.to_string()], arguments].concat()).expect(0);
    let [accepted, arrived, unacknowledged] = all_delivered(&ran, ["accepted", "arrived", "unacknowledged"]);
    assert_eq!((accepted, arrived, unacknowledged), (ran.count("accepted_recipients"), accepted, 0), "{arguments:?}");
    assert_eq!(all_delivered(&ran, ["messages", "trimmed", "foreign"]), [messages, 0, 0], "{arguments:?}");
    assert_eq!(ran.above_ms("end_to_end", 0), arrived, "{arguments:?}");
}

#[test]
fn generated_messages_arrive() {
    for arguments in [
        &["--size", "2"][..],
        &["--size", "2-700", "--threads", "3", "-c", "7"],
        &["--no-pipelining", "-c", "3", "--size", "lognormal(2k,2)"],
        &["--depth", "16", "--bdat", "--size", "2-20k", "--sink-shards", "1"],
        &["--depth", "4", "--chunk", "1k", "--size", "10k"],
        &["--recipients", "1-50", "--sink-shards", "3"],
        &["--messages-per-connection", "3", "--misbehave", "30%"],
        &["--rate", "5000", "--poisson", "--lag-most", "10s"],
    ] {
        all_arrive(&sink_address(), 1003, arguments);
    }
    all_arrive(&sink_address(), 12, &["--size", "3m", "-c", "2"]);
    all_arrive(&sink_address(), 6, &["--recipients", "5000", "-c", "2"]);
}

#[test]
fn lmtp_over_a_unix_socket_arrives() {
    let path = Scratch::new();
    all_arrive(path.text(), 1000, &["--lmtp", "--sink-lmtp", "--recipients", "3", "--depth", "4", "-c", "8"]);
}

/// Without a header, with one only, with an end that is not one, with a stamp of another run.
#[test]
fn real_messages_arrive() {
    let corpus = Scratch::new();
    fs::create_dir(&corpus.0).unwrap();
    for (name, text) in [
        ("plain.eml", "Subject: a\n\n.one\n..two\n.\nlast without an end"),
        ("lines.eml", "Subject: a\r\n\r\n\r\n\r\nb\r\n\r\n\r\n"),
        ("header.eml", "Subject: a header only\r\n"),
        ("body.eml", "\r\na body only\r\n"),
        ("empty.eml", "\r\n"),
        ("eight.eml", "Subject: \u{e9}\r\n\r\n\u{e9}\r\n"),
        ("again.eml", "X-Ringmx-Message: 0123456789abcdef 00000001 00000000 00000001 0002 00000 00001\r\n\r\nb\r\n"),
        ("folded.eml", " a line that goes on\r\nSubject: b\r\n\r\nc\r\n"),
    ] {
        fs::write(corpus.0.join(name), text).unwrap();
    }
    for arguments in [&["--bdat"][..], &[], &["--chunk", "7", "--depth", "3"]] {
        all_arrive(&sink_address(), 500, &[&["--corpus", corpus.text()], arguments].concat());
    }
}
