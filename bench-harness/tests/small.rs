//! The instrument in its small size: both sides agree, and what is wrong is said to be wrong.

// Shared with tests/run, which needs all of it.
#[allow(dead_code, reason = "shared")]
#[path = "run/program.rs"]
mod program;
#[allow(dead_code, reason = "shared")]
#[path = "run/sink.rs"]
mod sink;

use std::process::{Command, Output, Stdio};

use sink::{Sink, ringmx};

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
    command.args(arguments).env("RINGMX_BIN", ringmx()).stdin(Stdio::null()).output().unwrap()
}

/// Without any other program than the instrument itself.
fn bench_alone(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
    command.args(arguments).env_remove("RINGMX_BIN").stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn compare(scenario: &str, expected: &[&str]) {
    let output = bench(&["compare", scenario, "--small"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for expected in expected {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn p1_agrees_with_the_byte_sink() {
    let expected =
        ["P1: run --depth 32 --bdat", "ringmx ÷ byte sink", "durability none", "commit", "machine", "/ringmx\n"];
    compare("p1", &expected);
}

#[test]
fn p2_agrees_with_the_byte_sink() {
    compare("p2", &["P2: run --depth 2", "ringmx ÷ byte sink"]);
}

#[test]
fn the_engine_within_is_measured_when_no_other_is_named() {
    let output = bench_alone(&["compare", "p1", "--small"]);
    let text = text(&output);
    assert!(output.status.success() && text.contains("the engine within this program"), "{text}");
}

#[test]
fn p5_has_a_durable_mx_beside_a_blackhole() {
    compare("p5", &["durable MX ÷ ringmx: messages/s", "--connections 200", "durability durable", "disk /"]);
}

#[test]
fn p6_has_octets_of_the_disk() {
    compare("p6", &["durable MX, BDAT of 4 KiB ÷ disk ceiling: octets/s", "BDAT of 64 KiB ÷ disk", "a block has"]);
}

#[test]
fn p7_times_one_client() {
    compare("p7", &["durable MX ÷ disk ceiling: p50 of the reply", "--connections 1", "p50 end of data"]);
}

#[test]
fn p8_has_what_the_disk_costs() {
    compare("p8", &["ringmx with disk − ringmx: CPU µs/message", "of ringmx without disk none"]);
}

#[test]
fn p21_runs_on_many_shards_and_on_two() {
    compare("p21", &["durable MX, 16 shards ÷ durable MX, 2 shards: messages/s"]);
}

/// One of a hundred is refused for ever: the others are delivered, and disk and memory are held to bounds.
#[test]
fn deferred_mail_stands_in_nobodys_way() {
    let output = bench_alone(&["deferred", "--small"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for expected in ["rate of those that are not refused ÷ rate without", "6,000 messages to each", "disk ÷ octets"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn durable_mail_is_not_measured_in_memory() {
    for arguments in [&["compare", "p6", "--small"][..], &["--small"]] {
        let output = bench(&[arguments, &["--data-dir", "/dev/shm"]].concat());
        let text = text(&output);
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains("never durable") && text.contains("--data-dir DIR names another place"), "{text}");
    }
}

#[test]
fn p9_agrees_with_the_byte_sink_about_large_messages() {
    compare("p9", &["ringmx ÷ byte sink, BDAT, 100 KiB", "ringmx ÷ byte sink, DATA, 10 MiB"]);
}

#[test]
fn p10_weighs_idle_connections() {
    compare("p10", &["P10: 500 idle connections", "every connection was still answered", "RssAnon"]);
}

#[test]
fn p11_counts_only_those_that_work() {
    compare("p11", &["ringmx, 100 beside 9,900 idle ÷ ringmx, 20 connections: CPU/message"]);
}

#[test]
fn p18_runs_on_two_shards_and_on_one() {
    let pair = "ringmx, 2 shards, BDAT at 40 % ÷ ringmx, 1 shard, BDAT at 40 %: CPU/message";
    compare("p18", &[pair, "open loops at equal rates", "messages of a turn", "Messages that cross shards: none"]);
}

#[test]
fn p20_times_an_open_loop() {
    compare("p20", &["ringmx ÷ floor: p99.9 of the reply", "open loop at 50 %"]);
}

#[test]
fn p3_agrees_with_floor_and_smtp_sink() {
    compare("p3", &["smtp-source -d", "ringmx ÷ floor", "ringmx ÷ smtp-sink"]);
}

#[test]
fn p4_agrees_with_floor_and_smtp_sink() {
    compare("p4", &["smtp-source -s 20", "ringmx ÷ smtp-sink: messages/s"]);
}

#[test]
fn p17_reads_what_the_engine_counts() {
    compare("p17", &["copied octets of content, each message", "system calls, each message"]);
}

#[test]
fn without_a_command_the_canonical_workload_runs() {
    let output = bench_alone(&["--small"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for expected in [
        "one round trip for each message (DATA)",
        "pipelined (BDAT, 32 in flight)",
        "each command a round trip (DATA)",
        "ringmx ÷ ceiling",
        "durable: what had its 250 is on the disk of",
        "MX, pipelined (BDAT, 32 in flight)",
        "÷ disk ceiling, blocks of 256 KiB",
        "blackhole with disk, pipelined",
        "MX, 16 shards",
        "the engine within this program",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    // Nobody looks on, so there is no progress.
    assert!(!text.contains('\r'), "{text:?}");
}

#[test]
fn the_disk_ceiling_has_a_row_for_each_block_and_depth() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let output = bench(&["disk-ceiling", directory, "--small", "--buffered"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for block in ["4 KiB", "64 KiB", "256 KiB", "1 MiB"] {
        let rows = text.lines().filter(|line| line.trim_start().starts_with(block)).count();
        assert_eq!(rows, 4, "{block} in\n{text}");
    }
    assert!(text.contains("RWF_DSYNC") && text.contains(directory), "{text}");
}

#[test]
fn memory_is_not_taken_for_a_disk() {
    let output = bench(&["disk-ceiling", "/dev/shm"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output).contains("never durable"), "{}", text(&output));
}

#[test]
fn idle_connections_are_held_and_weighed() {
    let sink = Sink::start(&[]);
    let pid = sink.pid();
    let small = [
        "--connections",
        "300",
        "--threads",
        "3",
        "--source",
        "127.0.1.1",
        "--source",
        "127.0.1.2",
        "--messages",
        "400",
        "--hold",
        "0.1",
        "--active",
    ];
    let output = bench(&[&["idle", &sink.address, "--pid", &pid], &small[..]].concat());
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for expected in ["RssAnon", "beside the idle", "all 300 connections still answer"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn only_loopback_is_loaded() {
    let output = bench(&["idle", "192.0.2.1:25"]);
    assert!(!output.status.success() && text(&output).contains("loopback"), "{}", text(&output));
}

#[test]
fn a_missing_ringmx_is_named() {
    let output = bench(&["compare", "p1", "--small", "--ringmx", "/nowhere/ringmx"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output).contains("/nowhere/ringmx"), "{}", text(&output));
}
