//! What a test needs of the machine: limits raised, programs found; and what follows when that is not to be had.

use std::io::Write;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is missing, in words.
#[derive(Debug)]
pub struct Missing(pub String);

/// Gives what was found. What is missing skips the test that asked, and says so where nothing captures it; where every
/// fault must run it is a failure.
#[track_caller]
pub fn needed<T>(test: &str, found: Result<T, Missing>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(Missing(what)) if std::env::var_os("RINGMX_EVERY_FAULT").is_some_and(|said| !said.is_empty()) => {
            panic!("{test} needs {what}, and RINGMX_EVERY_FAULT allows no skip")
        }
        Err(Missing(what)) => {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: it needs {what}");
            None
        }
    }
}

/// Whether counts are those of a release.
pub fn is_long() -> bool {
    std::env::var_os("RINGMX_LONG").is_some()
}

/// Lets this process have so many descriptors for clients, beside those that it needs anyway.
pub fn raise_descriptors(clients: u64) -> Result<(), Missing> {
    // The tests beside the one that asks need some too.
    let wanted = clients + 4000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|errno| Missing(format!("{wanted} descriptors (RLIMIT_NOFILE): {errno}")))
}

/// Fails unless this process is root's.
pub fn root() -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Missing("root".to_owned())) }
}

/// Runs a command to its end, with this on its standard input; `package` has the program.
pub fn run(command: &[&str], input: &str, package: &str) -> Result<(), Missing> {
    output(command, input, package).map(drop)
}

/// The same; gives what it printed.
pub fn output(command: &[&str], input: &str, package: &str) -> Result<String, Missing> {
    let shown = command.join(" ");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .env("PATH", path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(|error| Missing(format!("{}, of the package {package}: {error}", command[0])))?;
    // One that does not read says why.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    let done = child.wait_with_output().expect("a child can be waited for");
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(Missing(format!("\"{shown}\" to work: {}", String::from_utf8_lossy(&done.stderr).trim())))
}
