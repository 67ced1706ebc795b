//! The real program as a child process. It is killed, by its pid, when the test drops it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::directory::Directory;
use super::lines::Lines;
use super::patience::eventually;
use super::stats::Stats;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ringmx");

/// A running program.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub output: Lines,
    pub errors: Lines,
    pub directory: Directory,
    stats: PathBuf,
    /// Names of listeners and where they are ready, in the order of the configuration.
    ready: Vec<(String, String)>,
}

impl Server {
    /// A load-test sink on a free port of 127.0.0.1.
    #[track_caller]
    pub fn sink(arguments: &[&str]) -> Self {
        Self::sink_at("127.0.0.1:0", arguments)
    }

    #[track_caller]
    pub fn sink_at(address: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["sink", address]).args(arguments);
        Self::start(command, Directory::new(), 1)
    }

    /// The program on a configuration, which is written to `ringmx.toml` in the server's directory; ready when so many
    /// addresses are.
    #[track_caller]
    pub fn serve(configuration: &str, addresses: usize) -> Self {
        Self::serve_in(Directory::new(), configuration, addresses)
    }

    #[track_caller]
    pub fn serve_in(directory: Directory, configuration: &str, addresses: usize) -> Self {
        let path = directory.write("ringmx.toml", configuration);
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(path);
        Self::start(command, directory, addresses)
    }

    /// Starts the command and waits until so many addresses are ready.
    #[track_caller]
    pub fn start(mut command: Command, directory: Directory, addresses: usize) -> Self {
        let stats = directory.path().join("stats.json");
        command.arg("--stats-json").arg(&stats);
        command.stdin(Stdio::null());
        let (child, output, errors) = spawn(command);
        let mut server = Self { child, output, errors, directory, stats, ready: Vec::new() };
        let ready = server.output.await_some("the listeners are ready", addresses, ready_address);
        let Some(ready) = ready else {
            let errors = server.errors.to_the_end();
            panic!("it did not start: {}\n{}\n{errors}", server.wait(), server.output.so_far());
        };
        server.ready = ready;
        server
    }

    /// Where it listens, when that is one TCP address.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let [(_, address)] = &self.ready[..] else { panic!("there is one address: {:?}", self.ready) };
        address.parse().expect("a TCP address")
    }

    /// The first address of this listener.
    #[track_caller]
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        let (_, address) = self.ready.iter().find(|(name, _)| name == listener).expect("it is a listener");
        address.parse().expect("a TCP address")
    }

    /// All its TCP addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ready.iter().filter_map(|(_, address)| address.parse().ok()).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has a pid");
        kill_process(pid, signal).expect("a child can be signalled until it is waited for");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().expect("a child can be waited for"))
    }

    /// Waits for its end, which must be a success, and gives what it counted.
    #[track_caller]
    pub fn finish(mut self) -> Stats {
        let status = self.wait();
        assert!(status.success(), "{status}\n{}\n{}", self.output.so_far(), self.errors.so_far());
        Stats::parse(&std::fs::read_to_string(&self.stats).expect("the statistics were written"))
    }

    /// Asks it to stop, waits for its end, which must be a success, and gives what it counted.
    #[track_caller]
    pub fn stop(self) -> Stats {
        self.signal(Signal::TERM);
        self.finish()
    }

    /// What it has counted so far.
    #[track_caller]
    pub fn stats_now(&self) -> Stats {
        // The file is renamed into its place, so it is there whole or not at all.
        let _ = std::fs::remove_file(&self.stats);
        self.signal(Signal::USR1);
        let text = eventually("statistics are written on SIGUSR1", || std::fs::read_to_string(&self.stats).ok());
        Stats::parse(&text)
    }

    /// Waits until the counters satisfy, and gives them.
    #[track_caller]
    pub fn await_stats(&self, what: &str, satisfy: impl Fn(&Stats) -> bool) -> Stats {
        eventually(what, || Some(self.stats_now()).filter(|stats| satisfy(stats)))
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the program runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended was waited for, or is now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run of the program that ends by itself.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

impl Finished {
    #[track_caller]
    pub fn of(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).stdin(Stdio::null());
        Self::of_command(command)
    }

    /// The same for any program, with whatever input it was given.
    #[track_caller]
    pub fn of_command(command: Command) -> Self {
        let (child, output, errors) = spawn(command);
        let mut server =
            Server { child, output, errors, directory: Directory::new(), stats: PathBuf::new(), ready: Vec::new() };
        let status = server.wait();
        Self { status, output: server.output.to_the_end(), errors: server.errors.to_the_end() }
    }
}

fn spawn(mut command: Command) -> (Child, Lines, Lines) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let output = Lines::of(child.stdout.take().expect("it is a pipe"));
    let errors = Lines::of(child.stderr.take().expect("it is a pipe"));
    (child, output, errors)
}

/// `ringmx: listener NAME is ready on ADDRESS`.
fn ready_address(line: &str) -> Option<(String, String)> {
    let (name, address) = line.strip_prefix("ringmx: listener ")?.split_once(" is ready on ")?;
    Some((name.to_owned(), address.to_owned()))
}

/// A loopback address and port that no other test and no outgoing connection can have: for servers that are started on
/// the same address again.
pub fn private_address() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{low}:{}", 64 + high % 64, 2525 + COUNT.fetch_add(1, Ordering::Relaxed))
}
