//! Servers from npm and PyPI, installed once for each target directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nodemailer's smtp-server, of the series that the script was written for.
#[track_caller]
pub fn smtp_server() -> PathBuf {
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefix"]);
    installed("smtp-server@3", "node_modules/smtp-server/package.json", command, |command, directory| {
        command.arg(directory).arg("smtp-server@3");
    })
}

/// aiosmtpd, likewise.
#[track_caller]
pub fn aiosmtpd() -> PathBuf {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--no-input", "--target"]);
    installed("aiosmtpd@1.4", "aiosmtpd/__init__.py", command, |command, directory| {
        command.arg(directory).arg("aiosmtpd==1.4.*");
    })
}

#[track_caller]
fn installed(name: &str, mark: &str, mut command: Command, complete: fn(&mut Command, &Path)) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let is_there = || path.join(mark).is_file();
    if !is_there() {
        let beside = path.with_file_name(format!("{name}.{}", std::process::id()));
        std::fs::create_dir_all(&beside).expect("the target directory can be written");
        complete(&mut command, &beside);
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; .ci/install installs it"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} is not installed, and cannot be: {said}");
        // Another run of the tests may have been faster.
        if std::fs::rename(&beside, &path).is_err() {
            assert!(is_there(), "{} cannot be renamed", beside.display());
            let _ = std::fs::remove_dir_all(&beside);
        }
    }
    path
}
