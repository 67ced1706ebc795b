//! What is missing is named with what installs it; who refuses or miscounts gets no figure.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::program::{compare, on_path};

/// Every server that is not in this workspace, and what installs it.
const OTHERS: [(&str, &str); 6] = [
    ("smtp-sink", "apt-get install postfix"),
    ("postfix", "apt-get install postfix"),
    ("exim", "apt-get install exim4-daemon-light"),
    ("opensmtpd", "apt-get install opensmtpd"),
    ("aiosmtpd", "pip install aiosmtpd"),
    ("smtp-server", "npm install smtp-server"),
];

#[test]
fn what_is_missing_is_named_and_left_out() {
    let nowhere = OTHERS.map(|(name, _)| format!("{name}=/nowhere/{name}"));
    let mut arguments: Vec<&str> = Vec::new();
    for program in &nowhere {
        arguments.extend(["--program", program]);
    }
    let ran = compare("missing", &arguments).expect(0).says(&["ringmx ÷ floor"]);
    for (name, install) in OTHERS {
        let line = ran.text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        let named = format!("there is no /nowhere/{name}");
        assert!(line.contains("left out") && line.contains(&named) && line.contains(install), "{name}: {}", ran.text);
    }
}

#[test]
fn what_is_asked_for_by_its_name_must_be_there() {
    for (name, install) in OTHERS {
        let program = format!("{name}=/nowhere/{name}");
        let arguments = ["--servers", &format!("ringmx,{name}"), "--program", &program];
        compare("asked", &arguments).expect(69).says(&[name, "/nowhere/", install]);
    }
    compare("asked-ringmx", &["--servers", "ringmx", "--ringmx", "/nowhere/ringmx"])
        .expect(69)
        .says(&["/nowhere/ringmx"]);
}

/// smtp-sink behind a script that changes its words.
struct Changed(PathBuf);

impl Changed {
    fn new(name: &str, script: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sink-{}-{name}", std::process::id()));
        let sink = on_path("smtp-sink").expect("smtp-sink is installed: .ci/install does it");
        std::fs::write(&path, format!("#!/bin/sh\nsink={}\n{script}\n", sink.display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn program(&self) -> String {
        format!("smtp-sink={}", self.0.display())
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[track_caller]
fn has_no_figure(name: &str, script: &str, says: &[&str]) {
    let changed = Changed::new(name, script);
    let ran = compare(name, &["--servers", "ringmx,smtp-sink", "--program", &changed.program()]).expect(3).says(says);
    assert!(ran.text.contains("no figure: smtp-sink"), "{}", ran.text);
    assert!(!ran.text.contains("CPU µs/message"), "{}", ran.text);
}

/// It is told to end with one message more than it gets, and then some.
const MORE: &str = r#"for word; do
    [ "$before" = -M ] && word=$((word + ADD))
    before=$word
    set -- "$@" "$word"
    shift
done
exec "$sink" "$@""#;

#[test]
fn a_server_that_counts_too_few_has_no_figure() {
    has_no_figure("few", &MORE.replace("ADD", "5"), &["fewer messages than were sent"]);
}

/// It ends before the last messages.
#[test]
fn a_server_that_ends_has_no_figure() {
    has_no_figure("ends", &MORE.replace("ADD", "-50"), &["it has ended under the load"]);
}

#[test]
fn a_server_that_refuses_has_no_figure() {
    has_no_figure("refuses", r#"exec "$sink" -f . "$@""#, &["0 accepted", "200 refused", "end of data", "500"]);
    has_no_figure("delays", r#"exec "$sink" -r RCPT "$@""#, &["0 accepted", "200 tempfailed", "RCPT", "450"]);
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let changed = Changed::new("mute", "echo all is lost >&2; exit 7");
    let arguments = ["--servers", "smtp-sink", "--program", &changed.program()];
    compare("mute", &arguments).expect(71).says(&["smtp-sink does not answer", "all is lost", "7"]);
}
