//! A shard, or the whole process, that stands still for a while (RELIABILITY F28): the others go on, nothing is lost, and
//! nobody is blamed for a silence that was ours.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ringmx::config::{Plan, SinkOptions};
use ringmx::engine::Engine;
use ringmx::policy::decision::{Asked, Decision, Policy};
use ringmx::smtp::session::{Outcome, Question};
use rustix::process::Signal;

use crate::process::client::Client;
use crate::process::load::Load;
use crate::process::patience::{PATIENCE, eventually};
use crate::process::server::Server;

/// A policy that notes which shard a client is on, and that stands still when a client asks for it.
#[derive(Debug, Default)]
struct Stalling {
    /// By the name that the client gave itself.
    shards: Mutex<HashMap<Vec<u8>, u16>>,
    is_stalled: Mutex<bool>,
    changed: Condvar,
}

impl Stalling {
    fn shard_of(&self, name: &str) -> u16 {
        self.shards.lock().unwrap()[name.as_bytes()]
    }

    /// Waits until the shard stands still.
    fn await_stall(&self) {
        let stalled = self.is_stalled.lock().unwrap();
        let waited = self.changed.wait_timeout_while(stalled, PATIENCE, |stalled| !*stalled).unwrap();
        assert!(!waited.1.timed_out(), "the question did not come");
    }

    fn go_on(&self) {
        *self.is_stalled.lock().unwrap() = false;
        self.changed.notify_all();
    }
}

impl Policy for Stalling {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        if let Question::Hello { name } = asked.question {
            self.shards.lock().unwrap().insert(name.to_vec(), asked.ticket.shard);
            if name == b"stall.test" {
                let mut stalled = self.is_stalled.lock().unwrap();
                *stalled = true;
                self.changed.notify_all();
                drop(self.changed.wait_timeout_while(stalled, PATIENCE, |stalled| *stalled).unwrap());
            }
        }
        Decision::Now(Outcome::Accept)
    }
}

fn start(policy: &Arc<Stalling>) -> (Engine, SocketAddr) {
    let options = SinkOptions {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        policy: Arc::clone(policy) as Arc<dyn Policy>,
        shards: 2,
        ..SinkOptions::default()
    };
    let engine = Engine::start(Plan::sink(options).expect("it is a plan"), false).expect("it starts");
    let (_, bind) = engine.listening().next().expect("it listens");
    let address = bind.to_string().parse().expect("an address");
    (engine, address)
}

/// Clients of both shards, with their shard.
fn clients_of_both(address: SocketAddr, policy: &Stalling) -> Vec<(Client, u16)> {
    let mut clients: Vec<(Client, u16)> = Vec::new();
    // Where a connection goes is the kernel's choice.
    for number in 0..1000 {
        let mut client = Client::greeted(address);
        let name = format!("{number}.test");
        client.say(format!("EHLO {name}\r\n"), "250");
        let shard = policy.shard_of(&name);
        clients.push((client, shard));
        if number >= 20 && [0, 1].into_iter().all(|shard| clients.iter().any(|(_, of)| *of == shard)) {
            return clients;
        }
    }
    panic!("a thousand connections went to one shard");
}

/// Clients of the other shard are served as if nothing were; those of the one that stands still wait, and miss nothing.
#[test]
fn one_shard_that_stands_still_keeps_nobody_else_waiting() {
    let policy = Arc::new(Stalling::default());
    let (engine, address) = start(&policy);
    let mut clients = clients_of_both(address, &policy);
    let mut stalls = Client::greeted(address);
    stalls.send("EHLO stall.test\r\n").unwrap();
    policy.await_stall();
    let stalled = policy.shard_of("stall.test");

    // Those that wait have said all that they have to say.
    for (client, _) in clients.iter_mut().filter(|(_, shard)| *shard == stalled) {
        client.send("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nwaits\r\n.\r\nQUIT\r\n").unwrap();
    }
    let mut delivered = 0;
    for (client, _) in clients.iter_mut().filter(|(_, shard)| *shard != stalled) {
        for _ in 0..20 {
            client.deliver("goes on\r\n");
            delivered += 1;
        }
    }
    assert_eq!(engine.total(|counters| counters.messages.get()), delivered, "the other shard stands still");
    // New ones are accepted by the kernel; none of them is refused, whichever shard it waits for.
    let new: Vec<Client> = (0..20).map(|_| Client::connect(address).expect("the backlog has room")).collect();

    policy.go_on();
    stalls.expect("250");
    for (client, shard) in &mut clients {
        if *shard == stalled {
            for codes in ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"] {
                client.expect(codes);
            }
            client.expect_end();
            delivered += 1;
        }
    }
    for mut client in new {
        client.expect("220");
        client.quit();
    }
    drop((clients, stalls));
    eventually("all are gone", || (engine.total(|counters| counters.connections_open.get()) == 0).then_some(()));
    let report = engine.stop();
    assert_eq!(report.total("messages"), delivered);
    assert_eq!((report.total("timeouts"), report.total("stale_completions")), (0, 0));
}

/// Stops the process, and waits until each of its threads stands still: the signal alone is only on its way.
fn stop(server: &Server) {
    server.signal(Signal::STOP);
    eventually("it stands still", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it is there");
        let stands_still = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T "))
        };
        tasks.flatten().all(stands_still).then_some(())
    });
}

/// SIGSTOP for longer than the idle timeout. What clients said meanwhile is heard before their silence is judged.
#[test]
fn clients_that_spoke_while_the_process_stood_still_are_not_timed_out() {
    const IDLE: Duration = Duration::from_secs(2);
    const CLIENTS: usize = 200;
    let text = "[server]\nshards = 1\n[listener.a]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nidle_timeout_s = 2\n";
    for _ in 0..10 {
        let server = Server::serve(text, 1);
        let begun = Instant::now();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::greeted(server.address())).collect();
        stop(&server);
        for client in &mut clients {
            client.send("EHLO late.test\r\n").unwrap();
        }
        // On a machine this busy they would have been timed out before they spoke, and rightly.
        let in_time = begun.elapsed() < IDLE;
        std::thread::sleep(IDLE + Duration::from_millis(500));
        server.signal(Signal::CONT);
        if !in_time {
            continue;
        }
        for client in &mut clients {
            client.expect("250");
        }
        assert_eq!(server.stop().total("timeouts"), 0);
        return;
    }
    panic!("this machine is too busy to connect {CLIENTS} clients in {IDLE:?}");
}

/// A process that is stopped again and again under load loses nothing, and tells nobody anything wrong.
#[test]
fn a_process_that_stands_still_now_and_then_loses_nothing() {
    let server = Server::sink(&[]);
    let load = Load::start(server.address(), 8);
    for _ in 0..10 {
        load.go_on_for(50);
        stop(&server);
        std::thread::sleep(Duration::from_millis(50));
        server.signal(Signal::CONT);
    }
    let ledger = load.finish();
    assert_eq!((ledger.unanswered, ledger.refused), (0, 0), "{ledger:?}");
    let stats = server.stop();
    assert_eq!(stats.mail(), (ledger.acknowledged, ledger.acknowledged));
    assert_eq!(stats.total("message_octets"), ledger.octets);
    assert_eq!((stats.total("timeouts"), stats.total("stale_completions")), (0, 0));
}
