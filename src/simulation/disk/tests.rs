//! What the disk keeps, and what it may lose.

use super::content::SECTOR_OCTETS;
use super::*;

const PAGE: usize = PAGE_OCTETS;

fn log() -> &'static Path {
    Path::new("/spool/durable-0000")
}

fn disk(octets: u64) -> (SimDisk, PathBuf, Arc<dyn StoredFile>) {
    let disk = SimDisk::new(1);
    disk.make_directory(log()).unwrap();
    let path = log().join("0000.segment");
    let file = disk.create(&path, octets).unwrap();
    file.sync().unwrap();
    disk.sync_directory(log()).unwrap();
    (disk, path, file)
}

#[test]
fn what_is_synced_stays_and_of_the_rest_any_part() {
    let (disk, path, file) = disk(4 * PAGE as u64);
    file.write_at(&[1; PAGE], 0, true).unwrap();
    file.write_at(&[2; PAGE], PAGE as u64, false).unwrap();
    file.sync().unwrap();
    file.write_at(&[3; 2 * PAGE], 2 * PAGE as u64, false).unwrap();
    let mut seen = BTreeMap::new();
    for seed in 0..400 {
        let octets = disk.power_cut(&mut Chance::new(seed)).octets(&path);
        assert!(octets[..PAGE] == [1; PAGE] && octets[PAGE..2 * PAGE] == [2; PAGE]);
        let sectors: Vec<u8> = octets[2 * PAGE..].chunks(SECTOR_OCTETS).map(|sector| sector[0]).collect();
        for (sector, first) in octets[2 * PAGE..].chunks(SECTOR_OCTETS).zip(&sectors) {
            assert!(sector.iter().all(|octet| octet == first), "a sector is whole");
        }
        *seen.entry(sectors).or_insert(0) += 1;
    }
    assert!(seen[&vec![3; 16]] > 50 && seen[&vec![0; 16]] > 50 && seen.len() > 60, "{}", seen.len());
    assert!(disk.octets(&path)[2 * PAGE..] == [3; 2 * PAGE], "who has no cut sees everything");
}

#[test]
fn a_kill_takes_nothing_but_what_is_under_way() {
    let (disk, path, file) = disk(3 * PAGE as u64);
    file.write_at(&[1; PAGE], 0, true).unwrap();
    file.write_at(&[2; PAGE], PAGE as u64, false).unwrap();
    let File::Numbered(number) = *file.shared() else { panic!() };
    let write = disk.begin_write(number, &[3; PAGE], 2 * PAGE as u64, true);
    let mut whole = 0;
    for seed in 0..100 {
        let after = disk.process_kill(&mut Chance::new(seed));
        let octets = after.octets(&path);
        assert!(octets[..PAGE] == [1; PAGE] && octets[PAGE..2 * PAGE] == [2; PAGE]);
        whole += u32::from(octets[2 * PAGE..] == [3; PAGE]);
        // What was not synced is so little on stable storage as before.
        let later = (0..50).map(|seed| after.power_cut(&mut Chance::new(seed)).octets(&path));
        assert!(later.into_iter().any(|octets| octets[PAGE..2 * PAGE] != [2; PAGE]));
    }
    assert!((10..90).contains(&whole), "{whole} of 100");
    assert_eq!(disk.complete_write(write), Ok(PAGE as u32), "it goes on as if nothing had happened");
}

#[test]
fn zeros_in_a_new_file_may_fail_like_others_and_last_when_they_are_synced() {
    let (disk, path, file) = disk(2 * PAGE as u64);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    disk.set_plan(move |call| {
        noted.lock().unwrap().push((call.what, call.at, call.octets));
        if call.at == 0 && call.octets == PAGE { Fate::Fails(Errno::IO) } else { Fate::Short(PAGE) }
    });
    assert!(file.write_at(&[0; PAGE], 0, false).is_err());
    file.write_at(&[0; PAGE], PAGE as u64, true).unwrap();
    let page = PAGE as u64;
    assert_eq!(*asked.lock().unwrap(), [(What::Write, 0, PAGE), (What::SyncedWrite, page, PAGE)]);
    disk.set_plan(|_| Fate::Done);
    file.write_at(&[1; PAGE], 0, true).unwrap();
    file.write_at(&[0; PAGE], 0, false).unwrap();
    let after = (0..50).map(|seed| disk.power_cut(&mut Chance::new(seed)).octets(&path)[0]);
    assert_eq!(after.collect::<std::collections::BTreeSet<u8>>().len(), 2, "zeros over others are like any octets");
}

#[test]
fn a_later_synced_write_is_never_undone_by_an_earlier_one() {
    let (disk, path, file) = disk(PAGE as u64);
    file.write_at(&[1; PAGE], 0, false).unwrap();
    file.write_at(&[2; PAGE], 0, true).unwrap();
    for seed in 0..50 {
        assert!(disk.power_cut(&mut Chance::new(seed)).octets(&path) == [2; PAGE]);
    }
}

#[test]
fn a_write_that_is_under_way_is_torn() {
    let (disk, path, file) = disk(2 * PAGE as u64);
    let File::Numbered(number) = *file.shared() else { panic!() };
    let write = disk.begin_write(number, &[1; 2 * PAGE], 0, true);
    let images = |disk: &SimDisk| -> Vec<Vec<u8>> {
        let cut = |seed| disk.power_cut(&mut Chance::new(seed)).octets(&path);
        (0..100).map(|seed| cut(seed).chunks(SECTOR_OCTETS).map(|sector| sector[0]).collect()).collect()
    };
    let before = images(&disk);
    assert!(before.iter().any(|image| image.contains(&0) && image.contains(&1)));
    assert!(before == images(&disk), "chance alone decides");
    let mut page = [9; PAGE];
    file.read_at(&mut page, 0).unwrap();
    assert!(page == [0; PAGE], "it is not there yet");
    assert_eq!(disk.complete_write(write), Ok(2 * PAGE as u32));
    assert!(images(&disk).iter().all(|image| *image == [1; 16]));
    file.read_at(&mut page, 0).unwrap();
    assert!(page == [1; PAGE]);
}

#[test]
fn a_name_lasts_when_its_directory_is_synced() {
    let disk = SimDisk::new(1);
    disk.make_directory(log()).unwrap();
    let (old, new) = (log().join("cursor.new"), log().join("cursor"));
    let has = |disk: &SimDisk, path: &Path| disk.open(path, Access::Read).is_ok();
    let file = disk.create(&old, PAGE as u64).unwrap();
    let cuts = |disk: &SimDisk| (0..40).map(|seed| disk.power_cut(&mut Chance::new(seed))).collect::<Vec<_>>();
    let after = cuts(&disk);
    assert!(after.iter().any(|disk| has(disk, &old)) && after.iter().any(|disk| !has(disk, &old)));
    disk.sync_directory(log()).unwrap();
    let lengths: Vec<usize> = cuts(&disk).iter().map(|disk| disk.octets(&old).len()).collect();
    assert!(lengths.contains(&0) && lengths.contains(&PAGE), "its length may be lost");
    file.write_at(&[1; PAGE], 0, true).unwrap();
    disk.rename(&old, &new).unwrap();
    let after = cuts(&disk);
    assert!(after.iter().all(|disk| has(disk, &old) != has(disk, &new)), "one or the other");
    assert!(after.iter().any(|disk| has(disk, &old)) && after.iter().any(|disk| has(disk, &new)));
    disk.sync_directory(log()).unwrap();
    assert!(cuts(&disk).iter().all(|disk| has(disk, &new) && disk.octets(&new) == [1; PAGE]));
    disk.remove(&new).unwrap();
    assert!(disk.open(&new, Access::Read).unwrap_err().is_not_found());
    assert!(cuts(&disk).iter().any(|disk| has(disk, &new)), "it may come back");
}

#[test]
fn what_fails_is_the_plans() {
    let (disk, path, file) = disk(4 * PAGE as u64);
    let mut count = 0;
    disk.set_plan(move |call| {
        count += 1;
        match (count, call.what) {
            (1, What::SyncedWrite) => Fate::Fails(Errno::IO),
            (2, What::Write) => Fate::Short(PAGE),
            (4, What::Sync) | (5, What::SyncDirectory) | (6, What::Read) => Fate::Fails(Errno::IO),
            (7, What::Create) => Fate::Fails(Errno::NOSPC),
            (8, What::Write) => Fate::Short(0),
            _ => Fate::Done,
        }
    });
    let cause = |result: Result<(), StorageError>| result.unwrap_err().cause;
    assert_eq!(cause(file.write_at(&[1; PAGE], 0, true)), Cause::System(Errno::IO));
    file.write_at(&[2; 2 * PAGE], 0, false).unwrap();
    assert!(disk.octets(&path)[..2 * PAGE] == [2; 2 * PAGE], "the rest is written, too");
    assert_eq!(cause(file.sync()), Cause::System(Errno::IO));
    assert_eq!(cause(disk.sync_directory(log())), Cause::System(Errno::IO));
    assert_eq!(cause(file.read_at(&mut [0; PAGE], 0)), Cause::System(Errno::IO));
    assert_eq!(cause(disk.create(&log().join("x"), 0).map(drop)), Cause::System(Errno::NOSPC));
    assert_eq!(cause(file.write_at(&[2; PAGE], 0, false)), Cause::System(Errno::NOSPC));
    // What failed to be synced may be there or not, though the next sync says that it is.
    file.sync().unwrap();
    let after: Vec<u8> = (0..60).map(|seed| disk.power_cut(&mut Chance::new(seed)).octets(&path)[0]).collect();
    assert!(after.contains(&0) && after.contains(&2));

    disk.set_free_octets(PAGE as u64);
    assert_eq!(cause(disk.create(&log().join("y"), 2 * PAGE as u64).map(drop)), Cause::System(Errno::NOSPC));
    disk.create(&log().join("y"), PAGE as u64).unwrap();
    assert_eq!(disk.free_octets(log()).unwrap(), 0);
    disk.remove(&log().join("y")).unwrap();
    assert_eq!(disk.free_octets(log()).unwrap(), PAGE as u64);
}

#[test]
fn odds_are_kept() {
    let (disk, _, file) = disk(PAGE as u64);
    let faults = DiskFaults { write_fails: 20, sync_fails: 30, ..DiskFaults::default() };
    disk.set_plan(faults.plan(Chance::new(1)));
    let failed = (0..1000).filter(|_| file.write_at(&[1; PAGE], 0, true).is_err()).count();
    let unsynced = (0..1000).filter(|_| file.sync().is_err()).count();
    assert!((150..250).contains(&failed) && (250..350).contains(&unsynced), "{failed} {unsynced}");
}

#[test]
fn links_owners_and_kinds_are_as_on_the_machine() {
    let (disk, path, file) = disk(PAGE as u64);
    disk.flip(&path, 8 * 700 + 3);
    assert_eq!(disk.octets(&path)[700], 8);
    disk.put_link(&log().join("link"));
    disk.give_away(&path);
    assert_eq!(disk.open(&path, Access::Read).unwrap_err().cause, Cause::Owner(12345));
    assert_eq!(disk.open(&log().join("link"), Access::Read).unwrap_err().errno(), Errno::LOOP);
    assert_eq!(disk.open(log(), Access::Read).unwrap_err().cause, Cause::Kind);
    assert_eq!(disk.entries(Path::new("/none")).unwrap_err().cause, Cause::System(Errno::NOENT));
    assert_eq!(file.read_at(&mut [0; 9], 0).unwrap_err().cause, Cause::Alignment);
    assert_eq!(file.write_at(&[0; PAGE], 9, true).unwrap_err().cause, Cause::Alignment);
    assert_eq!(file.read_at(&mut [0; PAGE], PAGE as u64).unwrap_err().cause, Cause::UnexpectedEnd);
    let kinds: Vec<EntryKind> = disk.entries(log()).unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::File, EntryKind::Link]);
    assert_eq!(disk.entries(Path::new("/spool")).unwrap()[0].kind, EntryKind::Directory);
    disk.set_volatile(Some("tmpfs"));
    assert_eq!(disk.refuses_durability(&path), Some("tmpfs"));
}
