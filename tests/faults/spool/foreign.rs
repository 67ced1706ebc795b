//! What may lie in a spool that this server did not put there so (RELIABILITY F9–F11): flipped bits cost what they hit, and are told;
//! whatever is not this server's stops its start with a message that names it, and nothing is touched.

use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use super::chance::Chance;
use super::house::{Seen, assert_no_alarm, configuration, segments};
use crate::faults::disk::Disk;
use crate::faults::machine::{needed, root};
use crate::faults::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::{Finished, Server};

/// A spool in which mail lies that no sink has had, and its ledger.
struct Left {
    home: Directory,
    ledger: Ledger,
}

impl Left {
    /// Taken by a server that is killed. What it delivered went nowhere, and that it did is forgotten.
    fn new() -> Self {
        let home = Directory::new();
        let left = Self { home, ledger: Ledger::default() };
        let text = left.configuration();
        let begin = text.find("[sink.store]").expect("it is there");
        let server = Server::serve(&format!("{}[sink.store]\nkind = 'blackhole'\n", &text[..begin]), 1);
        let offers = Offers::start(&Offer::of(server.address(), 8, 3_000));
        offers.go_on_for(1_500);
        drop(server);
        let ledger = offers.finish();
        std::fs::remove_dir_all(left.data().join("spool/cursors")).expect("it is there");
        Self { ledger, ..left }
    }

    fn configuration(&self) -> String {
        let path = self.home.path().display();
        let (data, mail) = (format!("{path}/data"), format!("{path}/mail"));
        configuration("127.0.0.1:0", &data, &mail, "durable", "retain_s = 86400")
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.data().join("spool/durable-0000")
    }

    fn try_to_serve(&self) -> Finished {
        let path = self.home.write("ringmx.toml", self.configuration());
        Finished::of([Path::new("--config"), &path])
    }

    /// All of its files, as they are.
    fn files(&self) -> Vec<(PathBuf, u64, u32)> {
        let (mut found, mut directories) = (Vec::new(), vec![self.data().join("spool")]);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).expect("it is there") {
                let path = entry.expect("it can be read").path();
                let kind = std::fs::symlink_metadata(&path).expect("it is there");
                if kind.is_dir() {
                    directories.push(path);
                } else {
                    let octets = std::fs::read(&path).unwrap_or_default();
                    found.push((path, kind.len(), crc32c::crc32c(&octets)));
                }
            }
        }
        found.sort();
        found
    }
}

/// Whole blocks of a segment: where each begins, and how long it is.
fn blocks(segment: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at + 64 <= segment.len() {
        let length = if segment[at..].starts_with(b"ringmxS1") {
            u32::from_le_bytes(segment[at + 48..at + 52].try_into().expect("four octets")) as usize
        } else {
            0
        };
        if length > 0 {
            blocks.push((at, length));
        }
        at += length.max(1).next_multiple_of(4096);
    }
    blocks
}

/// What is spoilt in the middle of what was durable: so many octets of a block, from one of its bits on.
fn spoil(left: &Left, chance: &mut Chance, octets: usize) -> (usize, String) {
    let path = segments(&left.log()).into_iter().next().expect("there is one");
    let before = std::fs::read(&path).expect("it can be read");
    let blocks = blocks(&before);
    assert!(blocks.len() > 20, "{}", blocks.len());
    // Neither the first, which says what the segment is, nor what a power cut could have torn.
    let (at, length) = blocks[1 + chance.below(blocks.len() as u64 / 2) as usize];
    let bit = chance.below(8 * (length - octets) as u64) as usize;
    let spoilt: Vec<u8> = match octets {
        0 => vec![before[at + bit / 8] ^ (1 << (bit % 8))],
        _ => before[at + bit / 8..][..octets].iter().map(|octet| !octet).collect(),
    };
    let file = std::fs::File::options().write(true).open(&path).expect("it is there");
    file.write_all_at(&spoilt, (at + bit / 8) as u64).expect("root may");
    (length, format!("{octets} octets from bit {bit} of {length} octets at {at} of {}", path.display()))
}

fn verified(left: &Left) -> Finished {
    let data = left.data();
    Finished::of(["spool", "--data-dir", data.to_str().expect("a plain path"), "verify"])
}

/// RELIABILITY F9: one bit.
#[test]
fn a_flipped_bit_is_put_right_and_all_is_delivered() {
    let left = Left::new();
    let (mut chance, seed) = Chance::of("RINGMX_FLIP_SEED");
    let (_, what) = spoil(&left, &mut chance, 0);
    eprintln!("RINGMX_FLIP_SEED={seed}: {what}");
    assert_eq!(verified(&left).status.code(), Some(65), "{what}");
    let server = Server::serve(&left.configuration(), 1);
    server.errors.await_text("ALARM", 1);
    let mut seen = Seen::default();
    seen.await_all(&left.home.path().join("mail"), false, &left.ledger);
    let said = server.errors.so_far();
    assert!(said.contains("durable-0000: a bit had turned in octet ") && said.contains("it is put right"), "{said}");
    server.stop();
    seen.judge(&left.ledger);
    assert_eq!(verified(&left).status.code(), Some(0), "{said}");
}

/// RELIABILITY F9: more than that.
#[test]
fn what_is_spoilt_costs_the_block_that_it_lies_in_and_everything_else_is_delivered() {
    let left = Left::new();
    let (mut chance, seed) = Chance::of("RINGMX_FLIP_SEED");
    let (length, what) = spoil(&left, &mut chance, 40);
    eprintln!("RINGMX_FLIP_SEED={seed}: {what}");
    let verify = verified(&left);
    assert_eq!(verify.status.code(), Some(65), "{verify:?}");

    let server = Server::serve(&left.configuration(), 1);
    server.errors.await_text("ALARM", 1);
    let mut seen = Seen::default();
    // What is lost is at most what was in the block, or was to end there.
    let most = length / 3_000 + 16;
    let mail = left.home.path().join("mail");
    eventually("the others are delivered", || {
        seen.look(&mail, false);
        (seen.lacks(&left.ledger).len() <= most).then_some(())
    });
    server.await_stats("it is counted", |stats| stats.of_spool("blocks_lost") == 1);
    let said = server.errors.so_far();
    server.stop();
    seen.look(&mail, false);
    let mut ledger = left.ledger.clone();
    let lost: Vec<String> = seen.lacks(&left.ledger).into_iter().cloned().collect();
    ledger.acknowledged.retain(|id, _| !lost.contains(id));
    eprintln!("{} lost with the block, {:?}; said: {said}", lost.len(), seen.judge(&ledger));
    assert!((1..=most).contains(&lost.len()), "{} lost with {length} octets", lost.len());
    // Whose messages they were stood in the block.
    assert!(said.contains("durable-0000: blocks ") && said.contains("in segment 0000"), "{said}");
}

/// One thing wrong with a spool, and its cure.
struct Wrong {
    what: &'static str,
    /// The message has these words.
    says: &'static [&'static str],
    make: fn(&Left),
    mend: fn(&Left),
}

fn first(left: &Left) -> PathBuf {
    segments(&left.log()).into_iter().next().expect("there is one")
}

/// Of another version: sealed anew.
fn of_version(left: &Left, version: u16) {
    let path = first(left);
    let mut octets = std::fs::read(&path).expect("it can be read");
    for (at, length) in blocks(&octets) {
        octets[at + 8..at + 10].copy_from_slice(&version.to_le_bytes());
        octets[at + 52..at + 56].fill(0);
        let sum = crc32c::crc32c(&octets[at..at + length]);
        octets[at + 52..at + 56].copy_from_slice(&sum.to_le_bytes());
    }
    let file = std::fs::File::options().write(true).open(path).expect("it is there");
    file.write_all_at(&octets, 0).expect("root may");
}

fn node(left: &Left, change: impl Fn(u32) -> u32) {
    let path = left.data().join("identity");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let [version, node, epoch] = text.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let node = change(u32::from_str_radix(node, 16).expect("a number"));
    std::fs::write(&path, format!("{version} {node:08x} {epoch}\n")).expect("root may");
}

const WRONG: [Wrong; 8] = [
    Wrong {
        what: "a file that is none of ours",
        says: &["notes.txt"],
        make: |left| std::fs::write(left.log().join("notes.txt"), "mine").expect("root may"),
        mend: |left| std::fs::remove_file(left.log().join("notes.txt")).expect("it is there"),
    },
    Wrong {
        what: "a symbolic link in place of a segment",
        says: &["9999.segment"],
        make: |left| symlink(first(left), left.log().join("9999.segment")).expect("root may"),
        mend: |left| std::fs::remove_file(left.log().join("9999.segment")).expect("it is there"),
    },
    Wrong {
        what: "a symbolic link in place of a log",
        says: &["durable-0001"],
        make: |left| {
            let (log, away) = (left.data().join("spool/durable-0001"), left.home.path().join("away"));
            std::fs::rename(&log, &away).expect("root may");
            symlink(&away, &log).expect("root may");
        },
        mend: |left| {
            let (log, away) = (left.data().join("spool/durable-0001"), left.home.path().join("away"));
            std::fs::remove_file(&log).expect("it is there");
            std::fs::rename(&away, &log).expect("root may");
        },
    },
    Wrong {
        what: "a segment of another version",
        says: &["version", ".segment"],
        make: |left| of_version(left, 2),
        mend: |left| of_version(left, 1),
    },
    Wrong {
        what: "a spool of another node",
        says: &["node", ".segment"],
        make: |left| node(left, |node| node ^ 1),
        mend: |left| node(left, |node| node ^ 1),
    },
    Wrong {
        what: "a segment twice",
        says: &["9998.segment", "copy"],
        make: |left| {
            std::fs::copy(first(left), left.log().join("9998.segment")).expect("root may");
        },
        mend: |left| std::fs::remove_file(left.log().join("9998.segment")).expect("it is there"),
    },
    Wrong {
        what: "a segment that was cut",
        says: &[".segment", "octets"],
        make: |left| {
            let (path, aside) = (first(left), left.home.path().join("aside"));
            std::fs::copy(&path, &aside).expect("root may");
            let file = std::fs::File::options().write(true).open(path).expect("it is there");
            file.set_len(1 << 20).expect("root may");
        },
        mend: |left| {
            let (path, aside) = (first(left), left.home.path().join("aside"));
            std::fs::copy(&aside, path).expect("root may");
        },
    },
    Wrong {
        what: "a segment of another user",
        says: &[".segment"],
        make: |left| std::os::unix::fs::chown(first(left), Some(12_345), None).expect("root may"),
        mend: |left| std::os::unix::fs::chown(first(left), Some(0), None).expect("root may"),
    },
];

/// RELIABILITY F10.
#[test]
fn what_is_not_this_servers_stops_its_start_and_is_left_as_it_is() {
    let Some(()) = needed("what_is_not_this_servers", root()) else { return };
    let left = Left::new();
    for Wrong { what, says, make, mend } in WRONG {
        make(&left);
        let before = left.files();
        let run = left.try_to_serve();
        let code = run.status.code();
        assert!(code.is_some_and(|code| (65..=78).contains(&code)), "{what}: {run:?}");
        assert!(says.iter().all(|word| run.errors.contains(word)), "{what}: {says:?} in {run:?}");
        assert!(!run.output.contains("is ready"), "{what}: {run:?}");
        let after = left.files();
        let changed: Vec<_> = before.iter().filter(|file| !after.contains(file)).collect();
        assert!(changed.is_empty(), "{what}: {changed:?}");
        eprintln!("{what}: {}, {}", code.unwrap_or_default(), run.errors.trim());
        mend(&left);
    }
    let server = Server::serve(&left.configuration(), 1);
    let mut seen = Seen::default();
    seen.await_all(&left.home.path().join("mail"), false, &left.ledger);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("{:?}", seen.judge(&left.ledger));
}

/// RELIABILITY F11.
#[test]
fn a_second_process_on_a_spool_ends_and_the_first_goes_on() {
    let left = Left::new();
    let server = Server::serve(&left.configuration(), 1);
    let offers = Offers::start(&Offer::of(server.address(), 4, 3_000));
    offers.go_on_for(50);
    for _ in 0..5 {
        let run = left.try_to_serve();
        assert_eq!(run.status.code(), Some(69), "{run:?}");
        assert!(run.errors.contains(&format!("process {}", server.pid())), "{run:?}");
        offers.go_on_for(50);
    }
    let mut ledger = offers.finish();
    ledger.add(left.ledger.clone());
    let mut seen = Seen::default();
    seen.await_all(&left.home.path().join("mail"), false, &ledger);
    server.stop();
    eprintln!("{:?}", seen.judge(&ledger));
}

/// Nothing that a process writes there outlasts the power.
#[test]
fn a_file_system_in_memory_is_refused_for_durable_mail_with_what_to_do() {
    let Some(disk) = needed("a_file_system_in_memory", Disk::tmpfs("size=64m")) else { return };
    let text = configuration("127.0.0.1:0", "DISK/data", "DISK/mail", "durable", "");
    let run = disk.try_to_serve(&text);
    assert_eq!(run.status.code(), Some(78), "{run:?}");
    for word in ["tmpfs", "data_dir", "durab"] {
        assert!(run.errors.contains(word), "{word} in {run:?}");
    }
    eprintln!("{}", run.errors.trim());
    // What is promised to outlast the process only may lie there.
    let server = disk.serve(&configuration("127.0.0.1:0", "DISK/data", "DISK/mail", "written", ""), 1);
    let offers = Offers::start(&Offer::of(server.address(), 4, 3_000));
    offers.go_on_for(50);
    let ledger = offers.finish();
    let mut seen = Seen::default();
    seen.await_all(&disk.seen().join("mail"), false, &ledger);
    server.stop();
    eprintln!("{:?}", seen.judge(&ledger));
}
