//! The messages: those of the package, and generated ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use super::generated;

/// One message as a client is given it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it is from.
    pub name: String,
    pub octets: Vec<u8>,
}

/// The package whose tests have the messages; its licence is Apache-2.0 or MIT.
const PACKAGE: &str = "mail-parser";

/// How many there must be at least, so that a package without its messages is noticed.
const PUBLIC: usize = 200;
const GENERATED: usize = 100;

impl Message {
    /// Whether a line of one dot (NULs aside) has an end, its own or the one before, that is none of mail data: another server
    /// could take it for the end of mail data, and ours refuses it, where a client has not made it whole.
    pub fn has_false_end(&self) -> bool {
        let (mut line, mut before_is_whole, mut at) = (Vec::new(), true, 0);
        while at < self.octets.len() {
            let (end, is_whole) = match &self.octets[at..] {
                [b'\r', b'\n', ..] => (2, true),
                [b'\r' | b'\n', ..] => (1, false),
                [octet, ..] => {
                    line.extend((*octet != 0).then_some(*octet));
                    at += 1;
                    continue;
                }
                [] => break,
            };
            if line == b"." && !(before_is_whole && is_whole) {
                return true;
            }
            line.clear();
            before_is_whole = is_whole;
            at += end;
        }
        line == b"." && !before_is_whole
    }
}

/// What any server would take, in an order that is the same in each run.
#[track_caller]
pub fn all() -> Vec<Message> {
    every().into_iter().filter(|message| !message.has_false_end()).collect()
}

/// The others.
#[track_caller]
pub fn smuggled() -> Vec<Message> {
    every().into_iter().filter(Message::has_false_end).collect()
}

/// Read and made once for all tests.
fn every() -> Vec<Message> {
    static EVERY: LazyLock<Vec<Message>> = LazyLock::new(collected);
    EVERY.clone()
}

fn collected() -> Vec<Message> {
    let mut messages = public();
    assert!(messages.len() >= PUBLIC, "{PACKAGE} has {} messages only", messages.len());
    let generated = generated::all();
    assert!(generated.len() >= GENERATED, "{} are generated only", generated.len());
    messages.extend(generated);
    messages
}

fn public() -> Vec<Message> {
    let root = package();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let message = |path: PathBuf| {
        let octets = std::fs::read(&path).expect("a file of a package can be read");
        let name = path.strip_prefix(&root).expect("it lies there").display().to_string();
        Message { name, octets }
    };
    paths.into_iter().map(message).collect()
}

/// Where cargo keeps the package: it is in the lock file, and on the disk once it was fetched.
#[track_caller]
fn package() -> PathBuf {
    let metadata = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).args(more);
        command.output().expect("cargo can be started")
    };
    // With the net only where it was never fetched: no target needs its code, so no build does it.
    let offline = metadata(&["--offline"]);
    let output = if offline.status.success() { offline } else { metadata(&[]) };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let package = packages.iter().find(|package| package["name"] == PACKAGE).expect("the manifest names it");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path is text"));
    manifest.parent().expect("a manifest lies in a directory").to_owned()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of a package can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            paths.push(path);
        }
    }
}
