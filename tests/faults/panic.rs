//! A panic on a shard ends the process at once (RELIABILITY F29): a half-done turn is not followed by another.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ringmx::config::{Plan, SinkOptions};
use ringmx::engine::Engine;
use ringmx::policy::decision::{Asked, Decision, Policy};
use ringmx::smtp::session::{Outcome, Question};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::process::client::Client;
use crate::process::lines::Lines;
use crate::process::patience::{PATIENCE, eventually};

/// Set in the process that is to panic.
const IN_CHILD: &str = "RINGMX_TEST_PANICS";

/// Panics when a client greets it by a certain name.
#[derive(Debug)]
struct Panics;

impl Policy for Panics {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        match asked.question {
            Question::Hello { name: b"panic.test" } => panic!("asked to by its client"),
            _ => Decision::Now(Outcome::Accept),
        }
    }
}

/// Not a test of its own: what the test below runs as another process.
#[test]
fn the_process_that_panics() {
    if std::env::var_os(IN_CHILD).is_none() {
        return;
    }
    // Its core is of no use to anybody.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).expect("a limit can be lowered");
    let options = SinkOptions {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        policy: Arc::new(Panics),
        shards: 2,
        ..SinkOptions::default()
    };
    let engine = Engine::start(Plan::sink(options).expect("it is a plan"), false).expect("it starts");
    let (_, bind) = engine.listening().next().expect("it listens");
    println!("\nlistening on {bind}");
    // It ends long before, or the other process fails.
    std::thread::sleep(2 * PATIENCE);
}

#[test]
fn a_panic_on_one_shard_aborts_the_process() {
    let mut command = Command::new(std::env::current_exe().expect("this is a program"));
    command.args(["--exact", "faults::panic::the_process_that_panics", "--nocapture", "--test-threads=1"]);
    command.env(IN_CHILD, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().expect("this program can be run"));
    let output = Lines::of(child.0.stdout.take().expect("it is a pipe"));
    let errors = Lines::of(child.0.stderr.take().expect("it is a pipe"));
    let listening = output.await_some("it listens", 1, |line| {
        line.strip_prefix("listening on ").map(|address| address.parse().expect("an address"))
    });
    let address = listening.unwrap_or_else(|| panic!("{}", errors.so_far()))[0];

    // Those of either shard are gone with it: nobody is left in a process of which half is missing.
    let mut others: Vec<Client> = (0..16).map(|_| Client::in_mail_data(address)).collect();
    let mut client = Client::greeted(address);
    client.send("EHLO panic.test\r\n").expect("the server takes it");
    assert!(client.rest().is_empty(), "the turn that panicked says nothing");
    for other in &mut others {
        // What is under way is not acknowledged by anybody any more.
        let _ = other.send(".\r\n");
        assert!(other.rest().is_empty(), "a process that has panicked goes on");
    }
    let status = eventually("the process ends", || child.0.try_wait().expect("a child can be waited for"));
    assert_eq!(status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{status}");
    let errors = errors.to_the_end();
    assert!(errors.contains("'shard-") && errors.contains("asked to by its client"), "{errors}");
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended was waited for, or is now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
