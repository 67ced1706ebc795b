//! Nodemailer from npm, installed once for each target directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tool::find;

/// What is installed: the name, and the series that the scripts were written for.
const PACKAGE: &str = "nodemailer@7";

/// Where the package is; it is installed once for each target directory.
#[track_caller]
pub fn installed() -> PathBuf {
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
