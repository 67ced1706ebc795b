//! The program, and what it reports.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A path that nobody else uses; what is there goes when this does.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ringmx-bench-test-{}-{number}", std::process::id())))
    }

    pub fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    /// Both outputs.
    pub text: String,
    /// The report, if there is one.
    pub report: Value,
}

impl Ran {
    pub fn count(&self, name: &str) -> u64 {
        self.report["counts"][name].as_u64().unwrap_or_else(|| panic!("no count {name}: {}", self.text))
    }

    /// How many times of this kind were above so many ms.
    pub fn above_ms(&self, time: &str, ms: u64) -> u64 {
        let steps = self.report["histograms_ns"][time].as_array().unwrap();
        let above = steps.iter().filter(|step| step[0].as_u64().unwrap() > ms * 1_000_000);
        above.map(|step| step[1].as_u64().unwrap()).sum()
    }

    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}", self.text);
        self
    }
}

/// Starts a run whose report goes to a file.
pub fn start(target: &str, arguments: &[&str], json: &Scratch) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
    command.args(["run", target, "--json", json.text()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn finish(child: Child, json: &Scratch) -> Ran {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let report = std::fs::read_to_string(&json.0).ok().and_then(|json| serde_json::from_str(&json).ok());
    Ran { status: status.code(), text, report: report.unwrap_or_default() }
}

pub fn run(target: &str, arguments: &[&str]) -> Ran {
    let json = Scratch::new();
    finish(start(target, arguments, &json), &json)
}
