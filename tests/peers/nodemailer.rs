//! Nodemailer, from npm: `nodemailer_client.cjs` says what it sent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tool::{Sent, expect_counted, find, run, script};
use crate::process::server::Server;

/// What is installed: the name, and the series that the script was written for.
const PACKAGE: &str = "nodemailer@7";

#[test]
fn counts_agree() {
    let server = Server::sink(&[]);
    let mut command = Command::new(find("node", "nodejs"));
    command.arg(script("nodemailer_client.cjs")).arg(server.address().port().to_string());
    command.env("NODE_PATH", installed().join("node_modules")).stdin(Stdio::null());
    let sent = Sent::parse(&run(command));
    assert!(sent.messages > 100, "{sent:?}");
    expect_counted(server, sent);
}

/// Where the package is; it is installed once for each target directory.
#[track_caller]
fn installed() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    let is_there = || path.join("node_modules/nodemailer/package.json").is_file();
    if !is_there() {
        let beside = path.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(&beside).expect("the target directory can be written");
        let mut command = Command::new(find("npm", "npm"));
        command.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefix"]);
        command.arg(&beside).arg(PACKAGE).stdin(Stdio::null());
        let output = command.output().expect("npm can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{PACKAGE} is not installed, and npm cannot install it: {said}");
        // Another run of the tests may have been faster.
        if std::fs::rename(&beside, &path).is_err() {
            assert!(is_there(), "{} cannot be renamed", beside.display());
            let _ = std::fs::remove_dir_all(&beside);
        }
    }
    path
}
