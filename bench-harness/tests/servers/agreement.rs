//! Every server counts what the client counts, under every load.

use crate::packages;
use crate::program::{Ran, compare, on_path};

const LOADS: [&str; 3] = ["session", "pipelined", "connection"];

const NOTHING: &str = "250 promises nothing";
const SYNCED: &str = "250 promises a message on disk";
const WRITTEN: &str = "250 promises a file in the page cache";

/// A test's temporary directory lies on a disk, or the servers' promises would be worth less.
const AGREED: &str = "every server has counted as many messages as the client";

#[track_caller]
fn agrees(server: &str, promise: &str, options: &[&str]) {
    agrees_under(&LOADS, server, promise, options);
}

#[track_caller]
fn agrees_under(loads: &[&str], server: &str, promise: &str, options: &[&str]) {
    for load in loads {
        let arguments = [&["--servers", server, "--load", load], options].concat();
        let ran = compare(&format!("{server}-{load}"), &arguments).expect(0).says(&[AGREED]);
        assert!(has_row(&ran, server), "{}", ran.text);
        assert!(ran.text.contains(promise) || ran.text.contains("IN MEMORY"), "{}", ran.text);
    }
}

/// Whether the server has figures.
fn has_row(ran: &Ran, server: &str) -> bool {
    let is_figure = |word: &str| word.parse::<f64>().is_ok_and(|figure| figure > 0.0);
    ran.text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(server) && words.next().is_some_and(is_figure)
    })
}

#[test]
fn ringmx_counts() {
    agrees("ringmx", NOTHING, &["--shards", "1"]);
}

#[test]
fn a_ringmx_that_keeps_messages_counts() {
    agrees("ringmx-mx", SYNCED, &["--shards", "1"]);
}

#[test]
fn the_floor_counts() {
    agrees("floor", NOTHING, &[]);
}

#[test]
fn smtp_sink_counts() {
    agrees("smtp-sink", NOTHING, &[]);
}

#[test]
fn aiosmtpd_counts() {
    let packages = packages::aiosmtpd();
    agrees("aiosmtpd", NOTHING, &["--packages", packages.to_str().unwrap()]);
}

#[test]
fn smtp_server_counts() {
    let packages = packages::smtp_server();
    agrees("smtp-server", NOTHING, &["--packages", packages.to_str().unwrap()]);
}

#[test]
fn postfix_counts() {
    agrees("postfix", SYNCED, &[]);
}

/// Debian has one mail server at a time, so that these are not there where Postfix is; unpacked elsewhere they are named by the
/// environment.
fn program(server: &str, names: &[&str], variable: &str) -> Option<String> {
    let named = std::env::var_os(variable).map(Into::into);
    let Some(program) = named.or_else(|| names.iter().find_map(|name| on_path(name))) else {
        eprintln!("skipped: {server} is not installed, and {variable} does not say where it is");
        return None;
    };
    Some(format!("{server}={}", program.display()))
}

#[test]
fn exim_counts() {
    if let Some(program) = program("exim", &["exim4", "exim"], "EXIM_BIN") {
        agrees("exim", SYNCED, &["--program", &program]);
    }
}

/// Its backlog is 5, and it does not stand a connection for each message: that is said, and not tried.
#[test]
fn opensmtpd_counts() {
    if let Some(program) = program("opensmtpd", &["smtpd"], "OPENSMTPD_BIN") {
        let options = ["--program", &program, "--connections", "4"];
        agrees_under(&LOADS[..2], "opensmtpd", WRITTEN, &options);
        let arguments = [&["--servers", "opensmtpd", "--load", "connection"], &options[..]].concat();
        compare("opensmtpd-connection", &arguments).expect(69).says(&["opensmtpd: it never greets"]);
    }
}

#[test]
fn equal_promises_are_divided_and_others_are_not() {
    let ran = compare("promises", &["--servers", "ringmx,smtp-sink,postfix", "--ringmx-options", "--shards", "2"]);
    let ran = ran.expect(0).says(&["ringmx ÷ smtp-sink", "no ratio: no ringmx whose 250", "--shards 2"]);
    assert!(!ran.text.contains("÷ postfix"), "{}", ran.text);
    compare("kept", &["--servers", "ringmx-mx,postfix"]).expect(0).says(&["ringmx-mx ÷ postfix"]);
    assert!(ran.text.contains("different tables promise different things"), "{}", ran.text);
}
