//! On a file system of the machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::spool::storage::Fault;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmx-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_written_is_read_by_whoever_opens_it() {
    let place = Place::new("file");
    let disk = Disk::new(&place.0);
    let log = place.path("spool/durable-0000");
    disk.make_directory(&log).unwrap();
    disk.make_directory(&log).unwrap();
    assert_eq!((mode(&log), mode(&place.path("spool"))), (0o700, 0o700));
    let path = log.join("0000.segment");
    let file = disk.create(&path, 4 * 4096).unwrap();
    disk.sync_directory(&log).unwrap();
    assert_eq!((file.octets(), mode(&path), fs::metadata(&path).unwrap().len()), (16384, 0o600, 16384));
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 32, "its place is taken");
    assert_eq!(disk.create(&path, 4096).unwrap_err().cause, Cause::System(Errno::EXIST));

    let mut page = AlignedBuffer::new(4096).unwrap();
    file.read_at(&mut page, 3 * 4096).unwrap();
    assert_eq!(&page[..], &[0; 4096], "it reads as zeros");
    page.fill(7);
    file.write_at(&page, 4096, true).unwrap();
    file.write_at(&[8; 4097][1..], 8192, false).unwrap();
    file.sync().unwrap();
    let again = disk.open(&path, Access::Read).unwrap();
    // Wherever the memory lies.
    let mut read = vec![0; 3 * 4096 + 1];
    again.read_at(&mut read[1..], 0).unwrap();
    assert!(read[1..] == [[0; 4096], [7; 4096], [8; 4096]].concat()[..]);
    assert_eq!(again.read_at(&mut page, 4 * 4096).unwrap_err().cause, Cause::UnexpectedEnd);
    for wrong in [again.read_at(&mut page, 1), again.read_at(&mut page[..9], 0), file.write_at(&page[..9], 0, true)] {
        assert_eq!(wrong.unwrap_err().fault(), Fault::Program);
    }
    let refused = again.write_at(&page, 0, true).unwrap_err();
    assert!(refused.to_string().starts_with(&format!("{}: cannot write it: ", path.display())), "{refused}");
    // A ring writes to the same file, and waits rather than to be told to come again.
    let shared = file.shared();
    let File::Open(descriptor) = &*shared else { panic!() };
    assert!(!rustix::fs::fcntl_getfl(descriptor).unwrap().contains(OFlags::NONBLOCK));

    let to = log.join("0001.segment");
    disk.rename(&path, &to).unwrap();
    let names = |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.name, entry.kind, entry.octets));
    assert!(names(disk.entries(&log).unwrap()).eq([("0001.segment".into(), EntryKind::File, 16384)]));
    disk.remove(&to).unwrap();
    assert_eq!(disk.entries(&log).unwrap(), []);
    assert!(disk.remove(&to).unwrap_err().is_not_found() && disk.open(&to, Access::Read).unwrap_err().is_not_found());
    assert!(disk.free_octets(&place.path("not/yet")).unwrap() > 0);
}

#[test]
fn links_and_what_is_no_file_are_refused_and_left_alone() {
    let place = Place::new("links");
    let disk = Disk::new(&place.0);
    disk.make_directory(&place.path("log")).unwrap();
    fs::write(place.path("elsewhere"), [7; 4096]).unwrap();
    symlink(place.path("elsewhere"), place.path("log/0000.segment")).unwrap();
    symlink(place.path("log"), place.path("link")).unwrap();
    fs::create_dir(place.path("log/0001.segment")).unwrap();
    let fifo = rustix::fs::CWD;
    rustix::fs::mknodat(fifo, place.path("log/fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();

    for path in ["log/0000.segment", "link/0000.segment", "log/0001.segment", "log/fifo"] {
        let error = disk.open(&place.path(path), Access::Read).unwrap_err();
        assert!(error.fault() == Fault::Operator && error.path == place.path(path), "{error}");
    }
    for error in [
        disk.create(&place.path("log/0000.segment"), 4096).unwrap_err(),
        disk.create(&place.path("link/0002.segment"), 4096).unwrap_err(),
        disk.make_directory(&place.path("link")).unwrap_err(),
        disk.make_directory(&place.path("link/more")).unwrap_err(),
        disk.make_directory(&place.path("elsewhere")).unwrap_err(),
        disk.entries(&place.path("link")).unwrap_err(),
        disk.sync_directory(&place.path("link")).unwrap_err(),
    ] {
        assert_eq!(error.fault(), Fault::Operator, "{error}");
    }
    assert_eq!(fs::read(place.path("elsewhere")).unwrap(), [7; 4096]);
    let kinds: Vec<EntryKind> = disk.entries(&place.path("log")).unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Link, EntryKind::Directory, EntryKind::Other]);
    for outside in ["/etc/passwd", "log/0000.segment", ".."] {
        assert_eq!(disk.open(Path::new(outside), Access::Read).unwrap_err().cause, Cause::Outside);
    }
    assert_eq!(disk.open(&place.path("log/../elsewhere"), Access::Read).unwrap_err().cause, Cause::Outside);
}

/// Root gives a file away; anyone else finds root's.
#[test]
fn what_belongs_to_another_is_refused() {
    let place = Place::new("owner");
    let disk = Disk::new(&place.0);
    disk.make_directory(&place.path("log")).unwrap();
    let own = place.path("log/0000.segment");
    fs::write(&own, [0; 4096]).unwrap();
    assert!(disk.open(&own, Access::Read).is_ok());
    let (error, owner) = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&own, Some(12345), None).unwrap();
        let file = disk.open(&own, Access::Read).unwrap_err();
        std::os::unix::fs::chown(place.path("log"), Some(12345), None).unwrap();
        assert_eq!(disk.entries(&place.path("log")).unwrap_err().cause, Cause::Owner(12345));
        assert_eq!(disk.make_directory(&place.path("log")).unwrap_err().cause, Cause::Owner(12345));
        (file, 12345)
    } else {
        (Disk::new("/etc").open(Path::new("/etc/passwd"), Access::Read).unwrap_err(), 0)
    };
    assert_eq!(error.cause, Cause::Owner(owner));
    assert!(error.to_string().contains("with chown"), "{error}");
}

#[test]
fn what_is_memory_only_is_told() {
    let disk = Disk::new("/");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut seen = 0;
    for line in mounts.lines() {
        let [_, path, kind, ..] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        // What was mounted there last is what is there.
        let is_last = mounts.lines().rfind(|other| other.split(' ').nth(1) == Some(path)) == Some(line);
        if is_last && (kind == "tmpfs" || kind == "ext4") && fs::metadata(path).is_ok_and(|found| found.is_dir()) {
            let said = disk.refuses_durability(&Path::new(path).join("not/there"));
            assert_eq!(said, (kind == "tmpfs").then_some("tmpfs"), "{line}");
            seen += 1;
        }
    }
    assert!(seen > 0, "a machine has one or the other");

    let mounts = "28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
                  30 28 0:5 / /b rw - ext4 /dev/vdb rw,nobarrier\n\
                  31 28 0:6 / /c rw - overlay overlay rw,lowerdir=/a,upperdir=/b,volatile\n\
                  32 28 0:7 / /d rw - ext3 /dev/vdc rw,barrier=0\n";
    assert_eq!(volatile(mounts, 28), None);
    assert_eq!(volatile(mounts, 3), None);
    assert!(volatile(mounts, 30).unwrap().contains("barriers") && volatile(mounts, 32).unwrap().contains("barriers"));
    assert!(volatile(mounts, 31).unwrap().contains("overlay"));
}
