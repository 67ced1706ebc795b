//! What an operator orders to be done with mail that waits: on a spool that nobody serves, of a server that runs, and of one that is
//! killed over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::Spool;
use super::fixture::id;
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::maildir;
use crate::process::patience::eventually;
use crate::process::server::{Finished, Server};

impl Spool {
    /// What `ls` says of each: state, and what is ordered.
    fn ordered(&self) -> BTreeMap<String, Vec<(String, Option<String>)>> {
        let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for line in self.done(&["ls", "--json"]).output.lines() {
            let object: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| object[key].as_str().map(str::to_owned);
            all.entry(text("id").unwrap()).or_default().push((text("state").unwrap(), text("ordered")));
        }
        all
    }

    fn of(&self, number: u64) -> Vec<(String, Option<String>)> {
        self.ordered().remove(&id(number).to_string()).unwrap_or_default()
    }

    fn order_files(&self) -> usize {
        let entries = fs::read_dir(self.path().join("deferred/store-0/inbox"));
        entries.map_or(0, |entries| {
            entries
                .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "orders"))
                .count()
        })
    }
}

#[test]
fn an_order_waits_where_no_server_runs() {
    let spool = Spool::new();
    let [third, fourth, fifth] = [3, 4, 5].map(|number| id(number).to_string());
    let run = spool.done(&["hold", &third]);
    assert_eq!(
        run.output,
        "1 message to be held: no server is seen to run on this spool; the next one does so when it starts"
    );
    assert_eq!((spool.of(3), spool.order_files()), (vec![("deferred".into(), Some("hold".into()))], 1));
    let shown = spool.done(&["show", &third]).output;
    assert!(shown.lines().any(|line| line.split_whitespace().eq("ordered to be held".split(' '))), "{shown}");
    assert!(spool.done(&["ls"]).output.lines().any(|line| line.starts_with(&third) && line.contains(" (to be held)")));
    assert_eq!(spool.done(&["hold", &third]).output, "nothing is to be held", "it is ordered already");
    // What is said last counts.
    let run = spool.done(&["release", &third, &fourth, &fifth]);
    assert!(run.output.starts_with("3 messages to be released: no server"), "{run:?}");
    assert_eq!(spool.of(3), [("deferred".into(), Some("release".into()))]);
    assert_eq!(spool.of(5), [("dead".into(), Some("release".into()))]);
    let run = spool.done(&["remove", "--all", "--state", "dead,quarantined", "--sender", "x.test", "--yes"]);
    assert!(run.output.starts_with("2 messages to be removed: no server"), "{run:?}");
    assert_eq!(spool.of(4), [("quarantined".into(), Some("remove".into()))]);
    assert_eq!(
        spool.done(&["release", "--all"]).output,
        "nothing is to be released",
        "with --all it is for what is held"
    );
    assert_eq!(spool.done(&["hold", "--all", "--sink", "hop"]).output, "nothing is to be held");
    spool.done(&["verify"]);
}

#[test]
fn what_cannot_be_ordered_is_told() {
    let spool = Spool::new();
    for (arguments, status, said) in [
        (vec!["hold", "3NONE"], 64, "3NONE"),
        (vec!["hold"], 64, "required"),
        (vec!["remove", "--all", "--yes"], 64, "--all wants a state to remove"),
        (vec!["remove", "--all", "--state", "dead"], 64, "--yes says that this is meant"),
        (
            vec!["remove", "--all", "--state", "active", "--yes"],
            64,
            "remove is for mail that is deferred, held, quarantined, dead",
        ),
        (vec!["hold", "--all", "--state", "dead"], 64, "hold is for mail that is deferred; not for what is dead"),
    ] {
        let run = spool.run(&arguments);
        assert_eq!(run.status.code(), Some(status), "{arguments:?}: {run:?}");
        assert!(run.errors.contains(said), "{arguments:?}: {run:?}");
    }
    let (first, third, none) = (id(1).to_string(), id(3).to_string(), id(99).to_string());
    let run = spool.run(&["hold", &first]);
    assert_eq!(run.status.code(), Some(74), "{run:?}");
    assert!(run.errors.contains(&format!("{first} is active, and so cannot be held")), "{run:?}");
    let run = spool.run(&["remove", &third]);
    assert_eq!(run.status.code(), Some(64), "nobody is asked where no terminal is: {run:?}");
    assert_eq!(spool.order_files(), 0, "nothing is ordered so far");
    let run = spool.run(&["hold", &third, &none]);
    assert_eq!((run.status.code(), spool.order_files()), (Some(66), 1), "what is there is held: {run:?}");
    assert!(run.errors.contains(&none) && !run.errors.contains(&third), "{run:?}");
}

#[test]
fn what_is_replayed_goes_from_where_it_lay_and_stays_with_keep() {
    let spool = Spool::new();
    let run = spool.done(&["replay", "--all", "--state", "dead,quarantined"]);
    assert!(run.output.starts_with("2 messages handed to store: no server is seen"), "{run:?}");
    let copied_and_replayed = |number| {
        let all: BTreeSet<_> = spool.of(number).into_iter().collect();
        all.contains(&("active".into(), None)) && all.iter().any(|(_, ordered)| ordered.as_deref() == Some("replayed"))
    };
    assert!(copied_and_replayed(4) && copied_and_replayed(5), "{:?}", spool.ordered());
    let run = spool.done(&["replay", "--all", "--state", "dead,quarantined"]);
    assert_eq!(run.output, "0 messages handed to nobody", "it is on its way already");

    let spool = Spool::new();
    spool.done(&["replay", "--all", "--state", "dead", "--keep"]);
    assert_eq!((spool.of(5).len(), spool.order_files()), (2, 0));
    // What goes to its sink by itself stays where it is.
    spool.done(&["replay", &id(3).to_string()]);
    assert_eq!(spool.order_files(), 0);
}

/// A durable listener, and a maildir for each recipient; one that was refused is tried again in five minutes.
fn configuration(home: &Directory) -> String {
    let home = home.path().display();
    format!(
        "[server]\nhostname = 'mx.example.net'\ndata_dir = '{home}/data'\nshards = 1\n\
         [log]\ndeliveries = '{home}/log'\n\
         [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = 'durable'\nmessages_per_connection = 0\n\
         recipients = ['server.test']\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = '{home}/mail/{{local}}'\n"
    )
}

/// A server, and the mail that it has.
struct House {
    server: Server,
    home: Directory,
}

impl House {
    /// With so many messages for somebody whose maildir cannot be made. Gives their ids.
    fn new(messages: usize) -> (Self, Vec<String>) {
        let home = Directory::new();
        fs::create_dir(home.path().join("mail")).unwrap();
        fs::write(home.path().join("mail/stuck"), "This is no directory.").unwrap();
        let house = Self { server: Server::serve(&configuration(&home), 1), home };
        let mut client = Client::ready(house.server.address());
        let ids = (0..messages).map(|number| send(&mut client, number)).collect();
        eventually("all are deferred", || (house.waiting("deferred").len() == messages).then_some(()));
        (house, ids)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    #[track_caller]
    fn tool(&self, arguments: &[&str]) -> Finished {
        let data_dir = self.path("data");
        let run = Finished::of(["spool", "--data-dir", data_dir.to_str().unwrap()].iter().chain(arguments));
        assert!(run.status.success(), "{arguments:?}: {run:?}");
        run
    }

    #[track_caller]
    fn order(&self, verb: &str, ids: &[String]) -> Finished {
        self.tool(&[verb].into_iter().chain(ids.iter().map(String::as_str)).collect::<Vec<_>>())
    }

    /// The ids that wait in a state.
    #[track_caller]
    fn waiting(&self, state: &str) -> BTreeSet<String> {
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        self.tool(&["ls", "--json", "--state", state]).output.lines().map(id).collect()
    }

    #[track_caller]
    fn await_waiting(&self, state: &str, ids: &[String]) {
        let ids: BTreeSet<String> = ids.iter().cloned().collect();
        eventually("they wait like that", || (self.waiting(state) == ids).then_some(()));
    }

    /// The maildir can be made from now on.
    fn mend(&self) {
        fs::remove_file(self.path("mail/stuck")).unwrap();
    }

    fn delivered(&self) -> BTreeSet<String> {
        maildir::new_mail(&self.path("mail/stuck")).into_keys().collect()
    }

    fn await_delivered(&self, ids: &[String]) {
        let ids: BTreeSet<String> = ids.iter().cloned().collect();
        eventually("they are delivered", || (self.delivered() == ids).then_some(()));
    }

    fn kill_and_start(&mut self) {
        self.server.signal(Signal::KILL);
        self.server.wait();
        self.server = Server::serve(&configuration(&self.home), 1);
    }
}

/// Sends a message, and gives the id that the 250 names.
fn send(client: &mut Client, number: usize) -> String {
    client.say("MAIL FROM:<s@client.test>\r\n", "250");
    client.say("RCPT TO:<stuck@server.test>\r\n", "250");
    client.say("DATA\r\n", "354");
    client.send(format!("Subject: {number}\r\n\r\n{}\r\n.\r\n", "x".repeat(number * 97 % 9_000))).unwrap();
    let reply = client.reply().expect("there is a reply");
    maildir::id_in_reply(&reply.text).unwrap_or_else(|| panic!("{reply:?} names the message")).to_owned()
}

#[test]
fn a_server_that_runs_holds_releases_and_removes_and_its_spool_can_be_listed_meanwhile() {
    let (house, ids) = House::new(24);
    let is_over = AtomicBool::new(false);
    let listed = std::thread::scope(|scope| {
        let lists = scope.spawn(|| {
            let mut times = 0;
            // BOUND: the other stops it.
            while !is_over.load(Ordering::Relaxed) {
                house.tool(&["ls"]);
                times += 1;
            }
            times
        });
        let run = house.order("hold", &ids[..12]);
        let process =
            format!("12 messages to be held: the server (process {}) does so within moments", house.server.pid());
        assert_eq!(run.output, process);
        house.await_waiting("held", &ids[..12]);
        house.await_waiting("deferred", &ids[12..]);
        let held = house.tool(&["ls", "--state", "held"]).output;
        assert!(
            held.lines()
                .nth(1)
                .is_some_and(|line| line.contains(" 1     - <s@client.test>") && line.contains(": 451 ")),
            "{held}"
        );

        house.mend();
        house.order("release", &ids[..2]);
        house.await_delivered(&ids[..2]);
        house.order("release", &ids[20..]);
        let both = [&ids[..2], &ids[20..]].concat();
        house.await_delivered(&both);
        house.await_waiting("held", &ids[2..12]);
        house.await_waiting("deferred", &ids[12..20]);

        house.tool(&["remove", "--all", "--state", "deferred,held", "--recipient", "stuck@", "--yes"]);
        house.await_waiting("held", &[]);
        house.await_waiting("deferred", &[]);
        assert_eq!(house.delivered(), both.iter().cloned().collect());
        is_over.store(true, Ordering::Relaxed);
        lists.join().expect("ls never fails")
    });
    assert!(listed > 3, "{listed}");
    house.tool(&["verify"]);
    let log = house.path("log");
    let stats = house.server.await_stats("what waits is told", |stats| stats.of_sink("store", "held") == 0);
    for (name, count) in [
        ("ordered_held", 12),
        ("ordered_released", 6),
        ("ordered_removed", 18),
        ("orders_missed", 0),
        ("held", 0),
        ("waiting", 0),
        ("damages", 0),
    ] {
        assert_eq!(stats.of_sink("store", name), count, "{name}");
    }
    let lines = |result: &str| {
        let text = fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains(&format!(" result={result} "))).count()
    };
    eventually("each has its line", || (lines("removed") == 18).then_some(()));
    assert_eq!((lines("held"), lines("released"), lines("delivered")), (12, 6, 6));
    house.server.stop();
}

#[test]
fn a_replay_moves_what_lay_aside() {
    let (house, ids) = House::new(4);
    house.order("hold", &ids);
    house.await_waiting("held", &ids);
    house.mend();
    let run = house.tool(&["replay", &ids[0], &ids[1]]);
    assert!(run.output.starts_with("2 messages handed to store: the server (process "), "{run:?}");
    house.await_delivered(&ids[..2]);
    house.await_waiting("held", &ids[2..]);
    house.tool(&["replay", "--keep", &ids[2]]);
    house.await_delivered(&ids[..3]);
    house.await_waiting("held", &ids[2..]);
    let stats = house.server.await_stats("it is told", |stats| stats.of_sink("store", "held") == 2);
    assert_eq!((stats.of_sink("store", "ordered_replayed"), stats.of_sink("store", "orders_missed")), (2, 0));
    house.server.stop();
}

/// Killed at any moment after orders were given: each message is where it was, or where it was ordered to be, and the order is carried out by the
/// next server.
#[test]
fn orders_outlast_kill_9_and_lose_nothing() {
    let (mut house, ids) = House::new(120);
    let rounds = if std::env::var_os("RINGMX_LONG").is_some() { 60 } else { 6 };
    for round in 0..rounds {
        // Another half in each round.
        let is_one = |number: usize| (number >> (round % 3)).is_multiple_of(2);
        let part = |which| ids.iter().enumerate().filter(move |(number, _)| is_one(*number) == which);
        let [held, released] = [true, false].map(|which| part(which).map(|(_, id)| id.clone()).collect::<Vec<_>>());
        house.order("hold", &held);
        if round % 2 == 0 {
            house.order("release", &released);
        }
        // At another moment of it each time.
        std::thread::sleep(Duration::from_millis(round * 1_300 / rounds));
        house.kill_and_start();
        let held: BTreeSet<String> = held.into_iter().collect();
        eventually("each that is to be held is", || house.waiting("held").is_superset(&held).then_some(()));
    }
    house.tool(&["verify"]);
    house.mend();
    house.order("release", &ids);
    house.await_delivered(&ids);
    // What a crash left in two places is delivered twice, to one file; of two in one batch a maildir refuses the second for now.
    eventually("nothing is left", || {
        house.tool(&["release", "--all", "--state", "deferred,held"]);
        (house.waiting("held").is_empty() && house.waiting("deferred").is_empty()).then_some(())
    });
    house.await_delivered(&ids);
    house.server.stop();
}
