//! Messages that are taken out of a spool, or handed to their sinks again.

use std::fs;

use super::fixture::{id, spoil};
use super::{Spool, content};
use crate::process::directory::Directory;

#[test]
fn messages_are_exported_as_files_and_none_is_written_over() {
    let (spool, out) = (Spool::new(), Directory::new());
    let to = out.path().join("mail");
    let to = to.to_str().unwrap();
    let run = spool.done(&["export", &id(2).to_string(), &id(4).to_string(), "--to", to]);
    assert!(run.errors.contains("2 messages written"), "{run:?}");
    let file = |number: u64| fs::read(out.path().join(format!("mail/{}.eml", id(number))));
    let second = file(2).unwrap();
    assert!(
        second.starts_with(b"Return-Path: <s@x.test>\r\nDelivered-To: a@ok.test\r\nDelivered-To: b@other.test\r\n")
    );
    assert!(second.ends_with(&content(2)) && file(4).unwrap().ends_with(&content(4)) && file(3).is_err());
    assert_eq!(fs::read_dir(to).unwrap().count(), 2, "and nothing else");

    fs::write(out.path().join(format!("mail/{}.eml", id(2))), "mine").unwrap();
    let again = spool.run(&["export", "--all", "--to", to]);
    assert_eq!(again.status.code(), Some(73), "{again:?}");
    assert!(again.errors.contains(&format!("{}.eml", id(2))), "{again:?}");
    assert_eq!(file(2).unwrap(), b"mine");
    let missing = spool.run(&["export", &id(99).to_string(), "--to", to]);
    assert_eq!(missing.status.code(), Some(66), "{missing:?}");
}

#[test]
fn messages_are_exported_as_one_mbox() {
    let spool = Spool::new();
    let mbox = spool.done(&["export", "--all", "--state", "dead,active", "--to", "-"]).output;
    let senders: Vec<&str> =
        mbox.lines().filter(|line| line.starts_with("From ")).map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(senders, ["MAILER-DAEMON", "s@x.test", "s@x.test"], "{mbox}");
    assert_eq!(mbox.matches("\n>From here on: text.\n").count(), 3, "{mbox}");
}

/// Each is exported that can be, and what cannot is told.
#[test]
fn what_is_damaged_is_not_exported() {
    let (spool, out) = (Spool::new(), Directory::new());
    // Within the content of the first message of the second block: the block is as it was sealed, but for this.
    let path = spool.path().join("deferred/store-0/dead/0000.segment");
    spoil(&path, 4096 + 64 + 16 + 60);
    let run = spool.run(&["export", "--all", "--to", out.path().to_str().unwrap()]);
    assert!(run.status.success(), "a block that is gone with its message's end is verify's matter: {run:?}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 4);
}

#[test]
fn messages_are_handed_to_their_sinks_again() {
    let spool = Spool::new();
    let inbox = spool.path().join("deferred/store-0/inbox");
    let segments = |entry: &std::io::Result<fs::DirEntry>| {
        entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "segment")
    };
    let files = || fs::read_dir(&inbox).map_or(0, |entries| entries.filter(segments).count());
    let run = spool.done(&["replay", "--all", "--state", "dead,quarantined"]);
    assert!(run.output.starts_with("2 messages handed to store: "), "{run:?}");
    assert_eq!(files(), 1);
    // Where they lay they are still, until a server runs; and two wait for the sink to take them up.
    assert_eq!(spool.states(&[]).iter().filter(|state| *state == "active").count(), 4);
    assert_eq!(spool.states(&["--state", "dead,quarantined"]).len(), 2);
    spool.done(&["verify"]);
    let run = spool.done(&["replay", &id(3).to_string()]);
    assert!(run.errors.contains("is deferred, and goes to its sink by itself, too"), "{run:?}");
    assert_eq!(files(), 2);

    // One that has a sink which never ran goes to that which did.
    let run = spool.run(&["replay", &id(2).to_string()]);
    assert_eq!(run.status.code(), Some(74), "{run:?}");
    assert!(run.errors.contains("no sink \"hop\" has ever run"), "{run:?}");
    assert!(run.output.starts_with("1 message handed to store: "), "{run:?}");
    let run = spool.done(&["replay", &id(2).to_string(), "--sink", "store"]);
    assert!(run.output.starts_with("1 message handed to store: ") && files() == 4, "{run:?}");
}

#[test]
fn what_cannot_be_handed_over_is_told() {
    let spool = Spool::new();
    for (arguments, status, said) in [
        (&["replay", "--all"][..], 64, "--all wants a state"),
        (&["replay", &id(99).to_string()], 66, &*id(99).to_string()),
        (&["replay", &id(5).to_string(), "--sink", "../x"], 64, "there is \"store\""),
        (&["replay", &id(5).to_string(), "--all"], 64, "cannot be used with"),
    ] {
        let run = spool.run(arguments);
        assert_eq!(run.status.code(), Some(status), "{arguments:?}: {run:?}");
        assert!(run.errors.contains(said), "{arguments:?}: {run:?}");
    }
    assert!(!spool.path().join("deferred/store-0/inbox").exists(), "nothing was made");
}
