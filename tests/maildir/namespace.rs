//! A test in a process of its own: in another mount namespace, or as another user.

use std::process::Command;

use crate::machine::{needed, root, run};

const INSIDE: &str = "RINGMX_INSIDE";

/// In a mount namespace of its own.
pub const MOUNTS: &[&str] = &["unshare", "--mount", "--propagation", "private"];
/// As somebody to whom permissions mean something.
pub const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Runs the rest of the test only where this says so. Elsewhere the test is started again by the command `inside`, and what it came
/// to there is what it comes to here.
#[track_caller]
pub fn is_inside(test: &str, inside: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some_and(|name| name == test) {
        return true;
    }
    if needed(test, root().and_then(|()| run(&[inside, &["true"]].concat(), "", "util-linux"))).is_none() {
        return false;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new(inside[0])
        .args(&inside[1..])
        .arg(program)
        .args(["--exact", &format!("maildir::file_systems::{test}"), "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .expect("it was found a moment ago");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test}:\n{said}\n{complained}");
    false
}
