//! A ringmx that discards mail and counts it, until the test ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::program::{Ran, Scratch, run};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The engine, which `cargo test --workspace` and `cargo build` put beside the instrument.
pub fn ringmx() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_ringmx-bench")).with_file_name("ringmx");
    let path = std::env::var_os("RINGMX_BIN").map_or(beside, PathBuf::from);
    assert!(path.is_file(), "there is no ringmx at {}: run cargo build first, or set RINGMX_BIN", path.display());
    path
}

pub struct Sink {
    child: Mutex<Child>,
    pub address: String,
    stats: Scratch,
}

impl Sink {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    pub fn start_at(address: &str, arguments: &[&str]) -> Self {
        let stats = Scratch::new();
        let mut command = Command::new(ringmx());
        command.args(["sink", address, "--shards", "1", "--stats-json", stats.text()]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, ready) = mpsc::channel();
        // It reads on to the end, so that the sink never waits for a reader.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("ready on ") {
                    let _ = tell.send(address.to_owned());
                }
            }
        });
        let mut sink = Self { child: Mutex::new(child), address: String::new(), stats };
        sink.address = ready.recv_timeout(PATIENCE).expect("the sink says where it listens");
        sink
    }

    /// Its process.
    pub fn pid(&self) -> String {
        self.child.lock().unwrap().id().to_string()
    }

    /// Its end, without a word.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// A run against `target`, whose ledger is compared with this sink's.
    pub fn compared(&self, target: &str, arguments: &[&str]) -> Ran {
        let compared = ["--server-pid", &self.pid(), "--server-stats", self.stats.text()];
        run(target, &[&compared, arguments].concat())
    }

    /// A run against this sink.
    pub fn load(&self, arguments: &[&str]) -> Ran {
        self.compared(&self.address, arguments)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.kill();
    }
}
