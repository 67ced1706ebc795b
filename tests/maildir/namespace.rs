//! A mount namespace of a test's own.

use std::process::Command;

use crate::machine::{Missing, needed, root};

const INSIDE: &str = "RINGMX_MOUNT_NAMESPACE";

/// Runs the rest of the test only where this says so. Elsewhere the test is started again in a namespace of its own, and what it came
/// to there is what it comes to here.
#[track_caller]
pub fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some_and(|name| name == test) {
        return true;
    }
    if needed(test, root().and_then(|()| can_unshare())).is_none() {
        return false;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args(["--exact", &format!("maildir::file_systems::{test}"), "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .expect("it was found a moment ago");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test}:\n{said}\n{complained}");
    false
}

fn can_unshare() -> Result<(), Missing> {
    let done = Command::new("unshare").args(["--mount", "true"]).output();
    match done {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Missing(format!("mount namespaces: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        Err(error) => Err(Missing(format!("unshare, of the package util-linux: {error}"))),
    }
}
