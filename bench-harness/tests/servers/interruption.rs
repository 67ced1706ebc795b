//! Somebody stops a comparison: nothing is left of it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{command, homes};

const PATIENCE: Duration = Duration::from_secs(60);

/// Processes in whose words this path stands.
fn processes_of(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let words = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let words = words.map(|words| String::from_utf8_lossy(&words).replace('\0', " "));
    // Not the comparison itself, which was told the directory.
    words.filter(|words| words.contains(path) && !words.contains("compare servers")).collect()
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_is_left_of_a_comparison_that_is_stopped() {
    let homes = homes("stopped");
    // Postfix is a tree of processes; without the signal this would last for minutes.
    let mut command = command(&homes, &["--servers", "postfix", "--seconds", "100"]);
    let mut comparison = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("Postfix runs", || !processes_of(&homes).is_empty());
    eventually("it gets mail", || {
        let mut homes = std::fs::read_dir(&homes).unwrap().filter_map(Result::ok);
        homes.any(|home| std::fs::read_to_string(home.path().join("log")).is_ok_and(|log| log.contains(": removed")))
    });
    kill_process(Pid::from_child(&comparison), Signal::TERM).unwrap();
    let mut status = None;
    eventually("it ends", || {
        status = comparison.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(130));
    assert_eq!(processes_of(&homes), Vec::<String>::new());
    std::fs::remove_dir(&homes).expect("it is empty");
}
