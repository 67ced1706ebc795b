//! Connections by the thousand that say nothing (RELIABILITY F19, PERFORMANCE P10). Processes of their own hold them, because
//! no process here may have descriptors enough for both ends.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::crowd::{connect_from, source};
use super::machine::is_long;
use crate::process::client::Client;
use crate::process::lines::Lines;
use crate::process::server::Server;

/// What P10 allows an idle connection in the server's process, in octets.
const OCTETS_EACH: u64 = 1024;

/// So many first: what a server needs for any number of connections is in use when they are there.
const FIRST: u32 = 1000;

/// What the process that holds connections is to do: the server's address, the number of the first, and how many.
const TASK: &str = "RINGMX_TEST_HOLDS";

/// Descriptors that a process needs beside its connections.
const BESIDE: u32 = 500;

fn descriptors() -> u32 {
    getrlimit(Resource::Nofile).maximum.map_or(1 << 20, |most| most.min(1 << 20) as u32)
}

/// Not a test of its own: what the test below runs as another process. It says a line when it has done what a line on its
/// input asked for: NOOP on every connection, and in the end to hear why each was closed.
#[test]
fn the_process_that_holds_connections() {
    let Ok(task) = std::env::var(TASK) else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit may be the hard one");
    let mut words = task.split(' ');
    let address: SocketAddr = words.next().expect("an address").parse().expect("an address");
    let [from, count] = [(); 2].map(|()| words.next().expect("two numbers").parse::<u32>().expect("a number"));
    let mut clients: Vec<Client> = (from..from + count)
        .map(|number| {
            let mut client = connect_from(source(number), address);
            client.expect("220");
            client.say("EHLO idle.test\r\n", "250");
            client
        })
        .collect();
    println!("\nconnected");
    for line in std::io::stdin().lock().lines() {
        match line.expect("the other process speaks").as_str() {
            "noop" => clients.iter_mut().for_each(|client| drop(client.say("NOOP\r\n", "250 2.0.0"))),
            _ => clients.drain(..).for_each(|mut client| {
                client.expect("421 4.3.2");
                client.expect_end();
            }),
        }
        println!("\ndone");
    }
}

/// One process that holds connections.
struct Holder {
    child: Child,
    orders: Option<ChildStdin>,
    output: Lines,
    done: usize,
}

impl Holder {
    fn start(address: SocketAddr, from: u32, count: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this is a program"));
        command.args(["--exact", "faults::idle::the_process_that_holds_connections", "--nocapture"]);
        command.env(TASK, format!("{address} {from} {count}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this can be run");
        let orders = child.stdin.take();
        let output = Lines::of(BufReader::new(child.stdout.take().expect("it is a pipe")));
        Self { child, orders, output, done: 0 }
    }

    #[track_caller]
    fn await_connected(&self) {
        self.output.await_text("connected", 1);
    }

    fn order(&mut self, order: &str) {
        self.done += 1;
        writeln!(self.orders.as_mut().expect("it hears"), "{order}").expect("it hears");
    }

    #[track_caller]
    fn await_done(&self) {
        let done =
            self.output.await_some("the connections are there", self.done, |line| (line == "done").then_some(()));
        assert!(done.is_some(), "a connection was not there:\n{}", self.output.so_far());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.orders = None;
        // One that has ended is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// They cost what is stated, take nothing from the one that works, and each is there when it speaks again.
#[test]
fn thousands_wait_while_one_works() {
    let all: u32 = if is_long() { 100_000 } else { 16_000 };
    let most = descriptors();
    let each_holder = most.saturating_sub(BESIDE).min(all - FIRST);
    assert!(each_holder > FIRST, "a limit of {most} open files is too low for anything (RLIMIT_NOFILE)");
    // A shard's table is bounded by the limit too. One shard where that will do: each has memory in pages of 2 MiB, which
    // would be taken for that of connections. The kernel does not spread connections evenly over several.
    let connections = (most - ringmx::limits::SPARE_SLOTS_PER_SHARD).min(all + 1);
    let shards = if connections > all { 1 } else { (all + all / 2).div_ceil(connections) };
    let server = Server::sink(&["--connections", &connections.to_string(), "--shards", &shards.to_string()]);
    let address = server.address();
    let mut active = Client::ready(address);
    active.deliver("busy\r\n");

    let mut holders = vec![Holder::start(address, 0, FIRST)];
    holders[0].await_connected();
    let before = server.resident_kib();
    for from in (FIRST..all).step_by(each_holder as usize) {
        holders.push(Holder::start(address, from, each_holder.min(all - from)));
    }
    holders.iter().for_each(Holder::await_connected);
    assert_eq!(server.stats_now().total("connections_open"), u64::from(all) + 1);
    let each = (server.resident_kib() - before) * 1024 / u64::from(all - FIRST);
    eprintln!("{all} idle connections take {each} octets each, of {OCTETS_EACH}");
    assert!(each <= OCTETS_EACH, "an idle connection takes {each} octets, of {OCTETS_EACH} allowed");

    for _ in 0..100 {
        active.deliver("busy\r\n");
    }
    holders.iter_mut().for_each(|holder| holder.order("noop"));
    holders.iter().for_each(Holder::await_done);
    active.deliver("busy\r\n");
    active.quit();
    server.signal(rustix::process::Signal::TERM);
    holders.iter_mut().for_each(|holder| holder.order("hear the end"));
    holders.iter().for_each(Holder::await_done);
    let stats = server.finish();
    assert_eq!(stats.mail().0, 102);
    assert_eq!(stats.total("connections_accepted"), u64::from(all) + 1);
    assert_eq!(stats.replies("ShuttingDown"), u64::from(all));
    for none in ["timeouts", "connections_over_limit", "accept_failures", "stale_completions", "connections_open"] {
        assert_eq!(stats.total(none), 0, "{none}");
    }
}
