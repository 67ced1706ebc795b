//! What the tools say of a spool, and that they change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringmx::spool::format::Chain;

use super::fixture::{LogMaker, id, manifest, spoil};
use super::{Spool, content};
use crate::process::directory::Directory;
use crate::process::server::Finished;

#[test]
fn what_waits_has_a_line_each() {
    let spool = Spool::new();
    let listed = spool.done(&["ls"]).output;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 7, "{listed}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["id", "state", "size", "age", "tries", "next", "from", "->", "recipients"]);
    let line = |number: u64| {
        let of = lines.iter().find(|line| line.starts_with(&id(number).to_string()));
        of.unwrap_or_else(|| panic!("{number} in {listed}"))
    };
    assert_eq!(words(line(1))[1..4], ["active", &content(1).len().to_string(), "B"]);
    assert!(line(1).ends_with(" now <> -> <a@ok.test> (store)"), "{listed}");
    assert!(line(2).ends_with(" now <s@x.test> -> <a@ok.test> (store) and 1 more"), "{listed}");
    let reply = r"(store): 452 4.2.2 Mailbox \x1B[31mfull\x0D\x0A";
    assert!(line(3).contains(" deferred ") && line(3).ends_with(reply), "{listed}");
    assert!(words(line(3))[6].ends_with(['m', 's']), "{listed}");
    assert_eq!(words(line(5))[1..8], ["dead", &content(5).len().to_string(), "B", "60m", "2", "-", "<s@x.test>"]);
    assert!(
        lines[6].starts_with("5 messages, ") && lines[6].ends_with(": 2 active, 1 deferred, 1 quarantined, 1 dead")
    );
    assert!(!listed.contains('\x1b'), "no colours where no terminal is");
}

#[test]
fn what_is_asked_for_is_listed() {
    let spool = Spool::new();
    for (arguments, states) in [
        (&["--state", "dead,quarantined"][..], &["quarantined", "dead"][..]),
        (&["--state", "delivered"], &[]),
        (&["--recipient", "other.test"], &["active"]),
        (&["--recipient", "a@", "--sender", "<>"], &["active"]),
        (&["--sender", "x.test", "--state", "active"], &["active"]),
        (&["--sink", "hop"], &["active"]),
        (&["--older-than", "30m"], &["dead"]),
        (&["--older-than", "1d"], &[]),
    ] {
        assert_eq!(spool.states(arguments), states, "{arguments:?}");
    }
    let json = spool.done(&["ls", "--json", "--sink", "hop"]);
    let object: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!((&object["id"], &object["sender"]), (&id(2).to_string().into(), &"s@x.test".into()));
    assert_eq!(object["recipients"][1], serde_json::json!({ "recipient": "b@other.test", "sink": "hop" }));
    assert!(json.errors.starts_with("1 message, "), "{json:?}");
}

#[test]
fn a_sink_that_never_was_is_told_from_one_without_mail() {
    let spool = Spool::new();
    let run = spool.run(&["ls", "--sink", "stroe"]);
    assert_eq!(run.status.code(), Some(64), "{run:?}");
    assert!(run.errors.contains("no sink \"stroe\" has ever run on this spool; there is \"store\""), "{run:?}");
    let none = spool.done(&["ls", "--sink", "store", "--older-than", "9000d"]);
    assert!(none.output.contains("no message"), "{none:?}");
}

#[test]
fn all_that_is_known_of_a_message_is_shown() {
    let spool = Spool::new();
    let shown = spool.done(&["show", &id(3).to_string()]).output;
    let rows: Vec<String> = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        &id(3).to_string(),
        "state deferred",
        "listener mx",
        "body 7BIT",
        "sender <s@x.test>",
        "waits for store: <a@ok.test>",
        "attempts 2",
        r"last reply 452 4.2.2 Mailbox \x1B[31mfull\x0D\x0A",
        "lies in deferred/store-0/300/0000.segment",
    ] {
        assert!(rows.iter().any(|row| row == wanted), "{wanted:?} in {shown}");
    }
    assert!(rows.iter().any(|row| row.starts_with("trace Received: from client.test")), "{shown}");
    let printed = spool.done(&["show", "--content", &id(1).to_string()]).output;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[..2], ["Return-Path: <>", "Delivered-To: a@ok.test"], "{printed}");
    assert_eq!(lines[lines.len() - 3..], ["Subject: number 1", "", "From here on: text."], "{printed}");
    let missing = spool.run(&["show", &id(99).to_string()]);
    assert_eq!(missing.status.code(), Some(66), "{missing:?}");
    assert!(missing.errors.contains(&id(99).to_string()), "{missing:?}");
}

#[test]
fn what_is_damaged_is_named_and_what_is_torn_is_not() {
    let spool = Spool::empty();
    let mut log = LogMaker::new(&spool.path(), "durable-0000", Chain::Durable, &["store"]);
    let first = log.address();
    // A message of two blocks.
    log.part(90, b"first part, ");
    log.block();
    for number in 2..5 {
        log.message(&manifest(number, "s@x.test", &[("a@ok.test", 0)], 0, &content(number)), &content(number), None);
    }
    log.part(90, b"second part");
    let whole = b"first part, second part";
    log.end(90, first, 2, whole, &manifest(1, "s@x.test", &[("a@ok.test", 0), ("b@ok.test", 0)], 0, whole));
    log.block();
    let last = log.address();
    log.message(&manifest(6, "s@x.test", &[("a@ok.test", 0)], 0, b"torn"), b"torn", None);
    let path = log.write();
    let verified = spool.done(&["verify"]).output;
    assert!(verified.ends_with(": 5 whole messages; 0 without an end, 0 segments unused"), "{verified}");

    spoil(&path, (last - (1 << 20)) as usize + 82);
    let torn = spool.done(&["verify"]).output;
    assert!(torn.contains(": 4 whole messages; ") && !torn.contains("DAMAGED"), "{torn}");

    spoil(&path, (first - (1 << 20)) as usize + 82);
    let damaged = spool.run(&["verify"]);
    assert_eq!(damaged.status.code(), Some(65), "{damaged:?}");
    let named =
        format!("DAMAGED message {}: a part of it is missing; from <s@x.test> for <a@ok.test> <b@ok.test>", id(1));
    assert!(damaged.output.contains(&named), "{damaged:?}");
    assert!(damaged.output.contains("DAMAGED durable-0000/0000.segment: 1 block from octet 4,096 on"), "{damaged:?}");
    assert!(damaged.output.contains(": 3 whole messages; "), "{damaged:?}");
    assert!(damaged.errors.contains("2 damages of what was promised"), "{damaged:?}");
    assert_eq!(spool.states(&[]).len(), 3, "its neighbours are there");
}

/// Where there is nothing to look at, what was looked for is named.
#[test]
fn a_spool_that_is_not_there_is_named() {
    let nowhere = Directory::new();
    let path = nowhere.path().to_str().unwrap();
    for arguments in [&["spool", "ls", "--data-dir", path][..], &["spool", "--data-dir", path, "verify"]] {
        let run = Finished::of(arguments);
        assert_eq!(run.status.code(), Some(66), "{run:?}");
        assert!(run.errors.contains(path) && run.errors.contains("--data-dir"), "{run:?}");
    }
    assert_eq!(fs::read_dir(nowhere.path()).unwrap().count(), 0, "nothing was made");
    let spool = Spool::new();
    // The configuration lies beside the data directory.
    let home = spool.directory.path().parent().unwrap();
    let name = spool.directory.path().file_name().unwrap().to_str().unwrap();
    let config = home.join(format!("{name}.toml"));
    let text = format!("[server]\ndata_dir = {name:?}\n[listener.a]\nkind = 'blackhole'\nbind = '127.0.0.1:0'\n");
    fs::write(&config, text).unwrap();
    let by_config = Finished::of(["spool", "ls", "--config", config.to_str().unwrap()]);
    fs::remove_file(&config).unwrap();
    assert!(by_config.status.success() && by_config.output.contains("5 messages"), "{by_config:?}");
    for arguments in [
        &["spool"][..],
        &["spool", "ls", "--state", "lost"],
        &["spool", "ls", "--recipient", "@x"],
        &["spool", "show", "x"],
        &["spool", "export", "--to", "x"],
        &["spool", "export", "--all"],
        &["spool", "ls", "--config", "a", "--data-dir", "b"],
        &["spool", "ls", "--older-than", "2 weeks"],
    ] {
        let run = Finished::of(arguments);
        assert_eq!(run.status.code(), Some(64), "{arguments:?}: {run:?}");
    }
}

/// Every file with its octets.
fn picture(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            picture(&path, found);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn who_looks_changes_nothing() {
    let spool = Spool::new();
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    picture(spool.directory.path(), &mut before);
    let out = Directory::new();
    spool.done(&["ls"]);
    spool.done(&["show", &id(1).to_string()]);
    spool.done(&["verify"]);
    spool.done(&["export", "--all", "--to", out.path().to_str().unwrap()]);
    picture(spool.directory.path(), &mut after);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after);
}
