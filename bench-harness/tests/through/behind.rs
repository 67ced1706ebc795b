//! The program, with the sink that a server relays to.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use super::program::{Ran, Scratch, finish};

/// An address of this process's own: nobody else has it, before the sink listens there and behind it.
pub fn sink_address() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{low}:{}", 64 + high % 64, 2525 + COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Starts a run whose report goes to a file.
pub fn start(target: &str, sink: &str, arguments: &[&str], json: &Scratch) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
    command.args(["through", target, "--sink", sink, "--sink-connections", "100", "--json", json.text()]);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What came of a run: see [`start`].
pub fn through(target: &str, sink: &str, arguments: &[&str]) -> Ran {
    let json = Scratch::new();
    finish(start(target, sink, arguments, &json), &json)
}

/// A count of deliveries.
#[track_caller]
pub fn delivered(ran: &Ran, name: &str) -> u64 {
    ran.report["deliveries"][name].as_u64().unwrap_or_else(|| panic!("no deliveries {name}: {}", ran.text))
}

/// Several of them.
#[track_caller]
pub fn all_delivered<const N: usize>(ran: &Ran, names: [&str; N]) -> [u64; N] {
    names.map(|name| delivered(ran, name))
}
