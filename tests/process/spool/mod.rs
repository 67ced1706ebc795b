//! `ringmx spool` on spools that were made for it, and on that of a server that runs.

#[path = "../../common/spool.rs"]
mod fixture;
mod gone;
mod handing;
mod live;
mod looking;
mod orders;
mod sharing;

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmx::spool::format::{Chain, Wait};

use self::fixture::{LogMaker, NODE, manifest};
use super::directory::Directory;
use super::server::Finished;

/// A data directory with mail in each state; the messages are numbered as `TEXTS` are.
struct Spool {
    directory: Directory,
}

const LATER: &[u8] = b"4.2.2 Mailbox \x1b[31mfull\r\n";

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as u64
}

fn content(number: u64) -> Vec<u8> {
    format!("Subject: number {number}\r\n\r\nFrom here on: text.\r\n").into_bytes()
}

impl Spool {
    /// Messages 1 and 2 are active, 3 is deferred, 4 quarantined, 5 dead; the last came an hour ago, the others now.
    fn new() -> Self {
        let spool = Self::empty();
        let (root, now) = (spool.path(), now_ms());
        let mut log = LogMaker::new(&root, "durable-0000", Chain::Durable, &["store", "hop"]);
        let bounce = manifest(1, "", &[("a@ok.test", 0)], now, &content(1));
        log.message(&bounce, &content(1), None);
        let both = manifest(2, "s@x.test", &[("a@ok.test", 0), ("b@other.test", 1)], now, &content(2));
        log.message(&both, &content(2), None);
        log.write();
        for (number, class, next_ms) in [(3, "300", now + 240_000), (4, "quarantined", 0), (5, "dead", 0)] {
            let wait = Wait { state: 0, attempts: 2, since_ms: now, next_ms, code: 452, reply: LATER };
            let mut log = LogMaker::new(&root, &format!("deferred/store-0/{class}"), Chain::Deferred, &["store"]);
            let received = if number == 5 { now - 3_600_000 } else { now };
            let manifest = manifest(number, "s@x.test", &[("a@ok.test", 0)], received, &content(number));
            log.message(&manifest, &content(number), Some(&wait));
            log.write();
        }
        spool
    }

    /// With no log.
    fn empty() -> Self {
        let directory = Directory::new();
        directory.write("identity", format!("ringmx-identity-1 {NODE:08x} 3\n"));
        let spool = Self { directory };
        fs::create_dir(spool.path()).expect("the directory is new");
        spool
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    /// `ringmx spool` with these.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Finished {
        let data_dir = self.directory.path().to_str().expect("a plain path");
        Finished::of(["spool", "--data-dir", data_dir].iter().chain(arguments))
    }

    /// The same, which must be done.
    #[track_caller]
    fn done(&self, arguments: &[&str]) -> Finished {
        let run = self.run(arguments);
        assert!(run.status.success(), "{arguments:?}: {run:?}");
        run
    }

    /// The states of what `ls` shows with these arguments.
    #[track_caller]
    fn states(&self, arguments: &[&str]) -> Vec<String> {
        let all = ["ls", "--json"].iter().chain(arguments).copied().collect::<Vec<_>>();
        let state = |line: &str| {
            let object: serde_json::Value = serde_json::from_str(line).expect("each line is an object");
            object["state"].as_str().expect("it has a state").to_owned()
        };
        self.done(&all).output.lines().map(state).collect()
    }
}
