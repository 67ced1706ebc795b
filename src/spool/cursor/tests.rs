use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::simulation::chance::Chance;
use crate::simulation::disk::{Fate, SimDisk, What};
use rustix::io::Errno;

const LOG: LogId = LogId { kind: LogKind::Durable, shard: 3 };

fn open(disk: &SimDisk) -> (CursorFile, Said) {
    CursorFile::open(disk, Path::new("/spool/cursors"), ("store", LOG, 7)).unwrap()
}

fn position(number: u64) -> Position {
    Position { address: 100 * number, from: 64 * number }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever fails, and whenever the power goes: it says what was written last and done, or what was written since.
    #[test]
    fn is_never_ahead_and_never_behind_what_was_done(seed: u64, writes in 0..12_u64, fails in 0..60_u8) {
        let disk = SimDisk::new(seed);
        let (mut cursor, said) = open(&disk);
        prop_assert_eq!(said, Said::Nothing);
        let mut chance = Chance::new(seed);
        disk.set_plan(move |call| match call.what {
            What::SyncedWrite if chance.percent(fails) => Fate::Fails(Errno::IO),
            _ => Fate::Done,
        });
        let (mut done, mut tried) = (0, 0);
        for number in 1..=writes {
            tried = number;
            if cursor.write(position(number)).is_ok() {
                done = number;
            }
        }
        disk.set_plan(|_| Fate::Done);
        let (mut again, said) = open(&disk.power_cut(&mut Chance::new(seed)));
        let said = match said {
            Said::Nothing => 0,
            Said::Position(position) => position.address / 100,
            // The very first write was torn.
            Said::Damaged => 0,
        };
        prop_assert!((done..=tried).contains(&said), "{} of {}..={}", said, done, tried);
        again.write(position(99)).unwrap();
    }
}

#[test]
fn what_is_no_cursor_of_this_log_says_nothing() {
    let disk = SimDisk::new(1);
    let (mut cursor, _) = open(&disk);
    (1..4).for_each(|number| cursor.write(position(number)).unwrap());
    assert_eq!(open(&disk).1, Said::Position(position(3)));
    // The newer one is damaged: the older one counts.
    disk.flip(cursor.path(), 8 * (ALIGNMENT as u64 + 30));
    assert_eq!(open(&disk).1, Said::Position(position(2)));
    disk.flip(cursor.path(), 8 * 30);
    assert_eq!(open(&disk).1, Said::Damaged);
    let other = CursorFile::open(&disk, Path::new("/spool/cursors"), ("store", LOG, 8)).unwrap();
    assert_eq!(other.1, Said::Damaged, "of another data directory");
}

#[test]
fn one_whose_process_ended_while_it_was_made_is_made_anew() {
    let disk = SimDisk::new(1);
    let path = Path::new("/spool/cursors/store/durable-0003.cursor");
    disk.make_directory(path.parent().unwrap()).unwrap();
    for octets in [0, ALIGNMENT as u64] {
        drop(disk.create(path, octets).unwrap());
        let (mut cursor, said) = open(&disk);
        assert_eq!(said, Said::Nothing, "{octets}");
        cursor.write(position(1)).unwrap();
        assert_eq!(open(&disk).1, Said::Position(position(1)));
        disk.remove(path).unwrap();
    }
}

#[test]
fn each_sink_has_a_name_of_its_own() {
    for (sink, name) in [("store", "store"), ("a/b", "a%2fb"), ("..", "%2e%2e"), ("a%2fb", "a%252fb"), ("ü", "%c3%bc")]
    {
        assert_eq!(file_name(sink), name);
        assert_eq!(sink_name(name).as_deref(), Some(sink));
    }
    assert_eq!((sink_name("%2"), sink_name("%zz"), sink_name("a.b")), (None, None, None));
}

#[test]
fn tools_see_what_each_sink_is_done_with() {
    let disk = SimDisk::new(1);
    for (sink, number) in [("store", 5), ("a/b", 6)] {
        let directory = directory(Path::new("/spool"));
        let (mut cursor, _) = CursorFile::open(&disk, &directory, (sink, LOG, 7)).unwrap();
        cursor.write(position(number)).unwrap();
    }
    let seen = done_with(&disk, Path::new("/spool"), LOG, 7);
    assert_eq!(seen, [("a/b".to_owned(), 600), ("store".to_owned(), 500)]);
    assert_eq!(done_with(&disk, Path::new("/spool"), LogId { shard: 4, ..LOG }, 7), []);
    assert_eq!(done_with(&disk, Path::new("/none"), LOG, 7), []);
}
