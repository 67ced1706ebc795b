//! Memory is short (RELIABILITY F14): a start that cannot be says which call was refused and what to do; a flood of input
//! that has to wait stays within what is stated, and whoever is not served hears so for a while, never for good.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::crowd::{Slow, socket_from, source};
use super::machine::{Missing, is_long, needed, raise_descriptors, root};
use rustix::process::Signal;

use crate::process::client::Client;
use crate::process::patience::eventually;
use crate::process::server::{Finished, PROGRAM, Server};

/// Rings count against the limit of locked memory; here there is none, and no right to do without.
#[test]
fn too_little_locked_memory_is_named_with_its_cure() {
    let mut command = Command::new("prlimit");
    command.arg("--memlock=0:0");
    if root().is_ok() {
        let lost = "-ipc_lock,-sys_resource";
        command.args(["setpriv", "--bounding-set", lost, "--inh-caps", lost]);
    }
    command.args([PROGRAM, "sink", "127.0.0.1:0", "--shards", "1"]);
    let run = Finished::of_command(command);
    assert_eq!(run.status.code(), Some(69), "{run:?}");
    for said in ["io_uring_setup", "RLIMIT_MEMLOCK", "LimitMEMLOCK="] {
        assert!(run.errors.contains(said), "{said} in {run:?}");
    }
    assert!(!run.output.contains("is ready"), "{run:?}");
}

/// A control group with a bound of memory, for one process; its end is the group's.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self, Missing> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        root()?;
        let name = format!("ringmx-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from("/sys/fs/cgroup/memory").join(name);
        std::fs::create_dir(&path).map_err(|error| Missing(format!("control groups of memory (v1): {error}")))?;
        Ok(Self(path))
    }

    fn write(&self, file: &str, value: impl ToString) {
        std::fs::write(self.0.join(file), value.to_string()).expect("root may");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process has ended before; the kernel may need a moment to see that.
        for _ in 0..1000 {
            if std::fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Clients whose sessions wait for an answer that does not come, and who go on sending: all that they send must be kept,
/// or not be read.
struct Flood {
    clients: Vec<Slow>,
    text: Vec<u8>,
}

impl Flood {
    fn start(server: &Server, clients: u32) -> Self {
        let clients = (0..clients)
            .map(|number| {
                let socket = socket_from(source(number));
                socket.connect(&server.address().into()).expect("the server is there");
                socket.set_nonblocking(true).expect("a socket can be so");
                Slow { socket, heard: Vec::new(), is_over: false }
            })
            .collect();
        let message = "MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n.\r\n";
        // More replies than a session keeps slots for, so that it takes no further command.
        let text = format!("EHLO flood.test\r\n{}{}", message.repeat(100), "NOOP\r\n".repeat(200_000));
        Self { clients, text: text.into_bytes() }
    }

    fn greeted(&mut self) {
        eventually("all are greeted", || {
            self.clients.iter_mut().for_each(Slow::hear);
            self.clients.iter().all(|client| !client.heard.is_empty()).then_some(())
        });
    }

    /// Each sends what is taken, up to a megabyte, until the server holds back as far as it can, and reads no more.
    fn press(&mut self, server: &Server) {
        let mut sent = vec![0; self.clients.len()];
        let mut received = 0;
        eventually("the memory is filled", || {
            for (client, sent) in self.clients.iter_mut().zip(&mut sent) {
                client.hear();
                *sent += client.say(&self.text[*sent..]);
            }
            let stats = server.stats_now();
            let before = std::mem::replace(&mut received, stats.total("octets_received"));
            (stats.total("pressure_level") == 3 && before == received).then_some(())
        });
    }
}

/// Memory of sessions on one shard, in octets: what the server states.
const STATED: u64 = ringmx::limits::SESSION_MEMORY_OCTETS;

/// What may be resident beyond the stated amount, as a share of it: buffers are doubled as they grow, and kept for reuse.
const OVER: f64 = 1.5;

/// The whole memory that is stated is filled by input that must wait. The process stays within it, in a group that would
/// end it otherwise; the client that is in a session hears 452, and all of it is given back.
#[test]
fn a_flood_of_input_that_must_wait_stays_within_what_is_stated() {
    const CLIENTS: u32 = 2000;
    raise_descriptors(CLIENTS.into()).unwrap_or_else(|missing| panic!("{missing:?}"));
    let group = needed("a_flood_of_input_that_must_wait (under a bound of the kernel's)", Group::new());
    let server = Server::sink(&["--shards", "1", "--delay", "10m"]);
    let mut flood = Flood::start(&server, CLIENTS);
    flood.greeted();
    let mut other = Client::ready(server.address());
    let before = server.resident_kib() * 1024;
    if let Some(group) = &group {
        // What was resident before stays on its old group's account.
        group.write("memory.limit_in_bytes", (STATED as f64 * OVER) as u64);
        group.write("cgroup.procs", server.pid());
    }
    flood.press(&server);
    let grown = server.resident_kib() * 1024 - before;
    let share = grown as f64 / STATED as f64;
    eprintln!("{CLIENTS} clients filled {share:.2} of the memory that is stated");
    assert!(share <= OVER, "{grown} octets are {share:.2} of what is stated");
    // For now, and not for good; the session lives on.
    other.say("MAIL FROM:<>\r\n", "452 4.3.1");
    other.say("NOOP\r\n", "250");
    for client in &mut flood.clients {
        client.hear();
        let heard = String::from_utf8_lossy(&client.heard).into_owned();
        // Of commands behind a MAIL that was refused for now, the replies say that there was none.
        let refused = heard.lines().find(|line| line.starts_with(['4', '5']));
        assert!(refused.is_none_or(|line| line.starts_with('4')), "a local fault is told as the client's: {heard:?}");
    }
    drop(flood);
    if is_long() {
        // A session that waits for an answer does not look for its client's end: it has until the answer's time is over.
        server.await_stats("the memory is free", |stats| {
            stats.total("connections_open") == 1 && stats.total("pressure_level") == 0
        });
        other.say("MAIL FROM:<>\r\nRSET\r\n", "250 2.1.0");
        other.expect("250 2.0.0");
    }
    // Asked for once, it would wait for the answers.
    server.signal(Signal::TERM);
    other.expect("421 4.3.2");
    server.signal(Signal::TERM);
    let stats = server.finish();
    for none in ["pressure_level", "connections_open", "stale_completions", "accept_failures"] {
        assert_eq!(stats.total(none), 0, "{none}");
    }
}
