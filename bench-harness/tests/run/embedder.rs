//! A program that embeds the engine gets what the generator sent: as many messages, and as many octets.
//!
//! A million, by hand: `cargo run --release --example consume -- 127.0.0.1:2530 1000000`, and beside it
//! `ringmx-bench run 127.0.0.1:2530 -n 1000000 --ledger ledger.txt`.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::program::{Scratch, run};

const MESSAGES: u64 = 20_000;

/// The example of the engine's package; cargo builds it with the package's tests, or now.
fn consume() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", "ringmx", "--example", "consume", "--message-format", "json"]);
    let built = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo can be started");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout).expect("JSON is UTF-8");
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "consume").then_some(())?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().find_map(executable).expect("cargo says where it is")
}

/// It is killed, by its pid, when the test ends before it does.
struct Consumer(Child);

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn all_that_was_acknowledged_is_consumed() {
    let mut command = Command::new(consume());
    command.args(["127.0.0.1:0", &MESSAGES.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut consumer = Consumer(command.spawn().expect("it can be started"));
    let mut output = BufReader::new(consumer.0.stdout.take().expect("it is a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it says where it listens");
    let address = line.trim_end().strip_prefix("listener mx is ready on ").expect(&line);

    let ledger = Scratch::new();
    let number = MESSAGES.to_string();
    let shape = ["--size", "300-9k", "--recipients", "1-5", "--depth", "4"];
    let ran = run(address, &[&["-n", &number, "--ledger", ledger.text()], &shape[..]].concat());
    assert_eq!(ran.count("accepted"), MESSAGES, "{}", ran.text);

    // It ends when it has had so many.
    let mut said = String::new();
    output.read_to_string(&mut said).expect("it says what there was");
    assert!(consumer.0.wait().expect("it is a child").success(), "{said}");
    let text = std::fs::read_to_string(&ledger.0).expect("the ledger is there");
    let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.splitn(5, ' ').collect()).collect();
    let octets: u64 = lines.iter().map(|line| line[2].parse::<u64>().expect("a number of octets")).sum();
    assert_eq!(lines.len() as u64, MESSAGES);
    assert_eq!(said.trim_end(), format!("{MESSAGES} messages, {octets} octets of content"));
    // Each 250 named a message of its own.
    let mut ids: Vec<&str> = lines.iter().map(|line| line[4].rsplit(' ').next().unwrap_or_default()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() as u64 == MESSAGES && ids[0].len() == 26, "{} ids, such as {}", ids.len(), ids[0]);
}
