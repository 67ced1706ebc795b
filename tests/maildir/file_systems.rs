//! File systems that are full, turn read-only, break, or are gone (RELIABILITY F1 to F4, F35): mail is refused for now, with the path
//! and the error; nothing that is not whole is seen; and mail comes again when the fault is over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringmx::handoff::delivery::Verdict;
use ringmx::smtp::reply::Reply;

use super::namespace::{MOUNTS, NOBODY, is_inside};
use super::post::{self, deliver, maildir};
use crate::directory::Directory;
use crate::machine::{needed, run};

/// Unmounted when it is dropped, so that the directory can be removed.
struct Mounted<'p>(&'p Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // It may be done already.
        let _ = run(&["umount", "--lazy", self.0.to_str().expect("a path of ours")], "", "mount");
    }
}

fn mount<'p>(arguments: &[&str], at: &'p Path) -> Mounted<'p> {
    fs::create_dir_all(at).expect("it can be made");
    remount(arguments, at);
    Mounted(at)
}

fn remount(arguments: &[&str], at: &Path) {
    let at = at.to_str().expect("a path of ours");
    run(&[&["mount"], arguments, &[at]].concat(), "", "mount").expect("it can be mounted in a namespace of ours");
}

fn all_ok(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(Result::is_ok)
}

/// All are refused with this reply, for this reason.
#[track_caller]
fn refused(verdicts: &[Verdict], reply: Reply, wanted: &str) {
    assert!(!verdicts.is_empty());
    for verdict in verdicts {
        let refusal = verdict.as_ref().expect_err("it is refused");
        assert!(refusal.reply == reply && refusal.why.contains(wanted), "{refusal:?}");
    }
}

/// Names in a directory; none if it is not there.
fn names(directory: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.expect("it can be read").file_name().into_string().expect("a name of ours")).collect()
}

/// What is in `new` is whole, as many as were taken, and nothing lies in `tmp`.
#[track_caller]
fn expect_whole(mail: &Path, local_part: &str, taken: usize, content: &[u8]) {
    let new = mail.join(local_part).join("new");
    let names_in_new = names(new.clone());
    assert_eq!(names_in_new.len(), taken);
    for name in names_in_new {
        assert!(fs::read(new.join(&name)).expect("it can be read").ends_with(content), "{name}");
    }
    assert_eq!(names(mail.join(local_part).join("tmp")), Vec::<String>::new());
}

#[test]
fn a_full_file_system() {
    if !is_inside("a_full_file_system", MOUNTS) {
        return;
    }
    let directory = Directory::new();
    let mail = directory.path().join("mail");
    let _mounted = mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], &mail);
    let mut maildir = maildir(&mail, "{local}");
    let content = [b'x'; 100_000];
    let verdicts = deliver(&mut maildir, &["a"; 20], &content, 0);
    let (taken, rest): (Vec<Verdict>, Vec<Verdict>) = verdicts.into_iter().partition(Result::is_ok);
    assert!((5..12).contains(&taken.len()), "{}", taken.len());
    refused(&rest, Reply::InsufficientStorage, "cannot write the file: No space left on device");
    expect_whole(&mail, "a", taken.len(), &content);
    // A reader deletes one.
    fs::remove_file(mail.join("a/new").join(&names(mail.join("a/new"))[0])).expect("it is there");
    assert!(all_ok(&deliver(&mut maildir, &["a"], &content, 100)));
    expect_whole(&mail, "a", taken.len(), &content);
}

#[test]
fn no_inodes_left() {
    if !is_inside("no_inodes_left", MOUNTS) {
        return;
    }
    let directory = Directory::new();
    let mail = directory.path().join("mail");
    let _mounted = mount(&["-t", "tmpfs", "-o", "nr_inodes=12", "tmpfs"], &mail);
    let mut maildir = maildir(&mail, "{local}");
    // The root, four directories, and what is left.
    let verdicts = deliver(&mut maildir, &["a"; 12], b"x", 0);
    let (taken, rest): (Vec<Verdict>, Vec<Verdict>) = verdicts.into_iter().partition(Result::is_ok);
    assert!((1..8).contains(&taken.len()), "{}", taken.len());
    refused(&rest, Reply::InsufficientStorage, "cannot create the file: No space left on device");
    refused(
        &deliver(&mut maildir, &["b"], b"x", 50),
        Reply::InsufficientStorage,
        "cannot make the directory: No space",
    );
    expect_whole(&mail, "a", taken.len(), b"x");
}

#[test]
fn a_file_system_that_turns_read_only() {
    if !is_inside("a_file_system_that_turns_read_only", MOUNTS) {
        return;
    }
    let directory = Directory::new();
    let mail = directory.path().join("mail");
    let _mounted = mount(&["-t", "tmpfs", "tmpfs"], &mail);
    let mut maildir = maildir(&mail, "{local}");
    for local_parts in [&["a"][..], &["a"; 9]] {
        let first = 100 * local_parts.len() as u64;
        assert!(all_ok(&deliver(&mut maildir, local_parts, b"x", first)));
        remount(&["-o", "remount,ro"], &mail);
        let verdicts = deliver(&mut maildir, local_parts, b"x", first + 50);
        refused(&verdicts, Reply::DeliveryFailed, "cannot create the file: Read-only file system");
        refused(
            &deliver(&mut maildir, &["new"], b"x", 1),
            Reply::DeliveryFailed,
            "new: cannot make the directory: Read-only",
        );
        remount(&["-o", "remount,rw"], &mail);
    }
    expect_whole(&mail, "a", 10, b"x");
}

/// What lies beneath a mount point is not where mail belongs.
#[test]
fn a_file_system_that_is_gone() {
    if !is_inside("a_file_system_that_is_gone", MOUNTS) {
        return;
    }
    let directory = Directory::new();
    let mail = directory.path().join("mail");
    let mounted = mount(&["-t", "tmpfs", "tmpfs"], &mail);
    let mut maildir = maildir(&mail, "{local}");
    assert!(all_ok(&deliver(&mut maildir, &["a"], b"x", 0)));
    drop(mounted);
    let verdicts = deliver(&mut maildir, &["a"; 5], b"x", 1);
    refused(&verdicts, Reply::DeliveryFailed, "mail: is on another file system than when the sink was started");
    assert_eq!(names(mail), Vec::<String>::new());
}

/// A loop device whose own file has no room: what the file system took into the page cache cannot be written, and the sync tells.
/// Nobody in that wave is told that the message is safe, whether files are synced each or as a whole.
#[test]
fn an_error_of_the_device_fails_the_sync() {
    if !is_inside("an_error_of_the_device_fails_the_sync", MOUNTS) {
        return;
    }
    for (count, content) in [(1, vec![b'x'; 6 << 20]), (8, vec![b'x'; 1 << 20])] {
        let directory = Directory::new();
        let (store, mail) = (directory.path().join("store"), directory.path().join("mail"));
        let _store = mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &store);
        let image = store.join("image");
        let file = fs::File::create(&image).expect("there is room for nothing");
        file.set_len(64 << 20).expect("it takes no room");
        let image = image.to_str().expect("a path of ours");
        // Tables are written when they are needed, so that the image begins small.
        let make = ["mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", image];
        run(&make, "", "e2fsprogs").expect("a file system can be made");
        fs::create_dir(&mail).expect("it can be made");
        let mounted = run(&["mount", "-o", "loop", image, mail.to_str().expect("a path of ours")], "", "mount");
        if needed("a loop device", mounted).is_none() {
            return;
        }
        let _mail = Mounted(&mail);
        let mut maildir = maildir(&mail, "{local}");
        let verdicts = deliver(&mut maildir, &vec!["a"; count], &content, 0);
        let wanted = "cannot sync what was delivered together: ";
        for verdict in &verdicts {
            let refusal = verdict.as_ref().expect_err("nothing is safe");
            assert!((400..500).contains(&refusal.reply.code()) && refusal.why.contains(wanted), "{count}: {refusal:?}");
        }
        assert_eq!((names(mail.join("a/new")).len(), names(mail.join("a/tmp")).len()), (0, 0), "{count}");
    }
}

/// A maildir that this process may not write to, or not read, fails alone.
#[test]
fn permission_denied() {
    if !is_inside("permission_denied", NOBODY) {
        return;
    }
    let directory = Directory::new();
    let mut maildir = maildir(directory.path(), "{local}");
    let local_parts = ["tmp", "new", "all", "good"];
    assert!(all_ok(&deliver(&mut maildir, &local_parts, b"x", 0)));
    let set = |path: &str, mode: u32| {
        let path = directory.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    for (path, mode) in [("tmp/tmp", 0o500), ("new/new", 0o500), ("all", 0)] {
        set(path, mode);
    }
    for first in [100, 200] {
        let verdicts = deliver(&mut maildir, &local_parts, b"x", first);
        refused(&verdicts[..1], Reply::DeliveryFailed, "cannot create the file: Permission denied");
        refused(&verdicts[1..2], Reply::DeliveryFailed, "cannot rename the file into place: Permission denied");
        assert_eq!(verdicts[3], Ok(()));
        // Those who find it closed say so; the descriptors of before still lead there.
        maildir = post::maildir(directory.path(), "{local}");
        let verdicts = deliver(&mut maildir, &["all"], b"x", first + 50);
        refused(&verdicts, Reply::DeliveryFailed, "all: cannot open the maildir: Permission denied");
    }
    for (path, mode) in [("tmp/tmp", 0o700), ("new/new", 0o700), ("all", 0o700)] {
        set(path, mode);
    }
    assert!(all_ok(&deliver(&mut maildir, &local_parts, b"x", 300)));
    expect_whole(directory.path(), "good", 4, b"x");
    expect_whole(directory.path(), "new", 2, b"x");
}
