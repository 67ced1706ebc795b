//! What the system refuses at start is said, with what to do (DESIGN decision 24).

use std::process::Command;

use super::server::{Finished, PROGRAM};

/// The limit of open files is raised as far as may be; here it may not, and a ring does not fit.
#[test]
fn too_few_descriptors() {
    let mut command = Command::new("prlimit");
    command.arg("--nofile=64:64");
    if rustix::process::geteuid().is_root() {
        // Root could raise it again.
        command.args(["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"]);
    }
    command.args([PROGRAM, "sink", "127.0.0.1:0", "--shards", "1"]);
    let run = Finished::of_command(command);
    assert_eq!(run.status.code(), Some(69), "{run:?}");
    assert!(run.errors.contains("RLIMIT_NOFILE"), "{run:?}");
    assert!(!run.output.contains("is ready"), "{run:?}");
}
