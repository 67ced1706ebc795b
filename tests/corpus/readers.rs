//! Programs of others that read maildirs: Python's `mailbox`, and mutt.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use super::house;
use crate::peers::tool::{find, run};
use crate::process::patience::eventually;

/// Each reader must find each message of which the content is given by id, with its subject.
#[track_caller]
pub fn all_see(directory: &Path, contents: &BTreeMap<String, Vec<u8>>) {
    let sent = directory.join("sent");
    std::fs::create_dir(&sent).expect("a directory can be made");
    for (id, content) in contents {
        std::fs::write(sent.join(id), content).expect("a file can be written");
    }
    for sink in ["crlf", "lf"] {
        let maildir = house::maildir(directory, sink);
        let subjects = python_sees(&maildir, &sent, contents.len());
        mutt_sees(directory, &maildir, contents.len(), &subjects);
    }
}

/// `mailbox.Maildir` gives as many; each has the subjects and the parts that the same library finds in what was sent. Gives the
/// subjects that any reader shows alike.
#[track_caller]
fn python_sees(maildir: &Path, sent: &Path, count: usize) -> Vec<String> {
    let mut command = Command::new(find("python3", "python3"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/maildir_sees.py");
    command.arg(script).arg(maildir).arg(sent).stdin(Stdio::null());
    let said = run(command);
    let mut lines = said.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some(&*count.to_string()), "so many messages");
    let subjects: Vec<String> = lines.collect();
    assert!(subjects.len() * 3 > count, "many subjects are simple: {} of {count}", subjects.len());
    subjects
}

/// What mutt is told. It pipes each message as it shows it.
const MUTTRC: &str = "set folder=/dev/null\nset spoolfile=/dev/null\nset record=\"\"\nset mbox_type=Maildir\n\
    set quit=yes\nset wait_key=no\nset sleep_time=0\nset mail_check_stats=no\nset charset=utf-8\n\
    set auto_tag=yes\nset pipe_split=yes\nset pipe_decode=yes\nset pipe_sep=\"\"\nignore *\nunignore subject\n";

/// It must list as many messages, and show each of the subjects as often.
#[track_caller]
fn mutt_sees(directory: &Path, maildir: &Path, count: usize, subjects: &[String]) {
    let (muttrc, seen) = (directory.join("muttrc"), directory.join("seen.txt"));
    std::fs::write(&muttrc, MUTTRC).expect("a file can be written");
    let mutt = find("mutt", "mutt");
    let keys = format!("<tag-pattern>~A<enter><pipe-message>sed -n 1p >> {}<enter><exit>", seen.display());
    let line =
        format!("{} -R -n -F {} -f {} -e 'push \"{keys}\"'", mutt.display(), muttrc.display(), maildir.display());
    // It wants a terminal. On a machine that is starved it may drop keys that it was told to push: the maildir stands still, so
    // that it is asked again changes nothing of what it can find.
    let shown = eventually("mutt shows so many messages", || {
        let _ = std::fs::remove_file(&seen);
        let mut command = Command::new(find("script", "bsdutils"));
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("HOME", directory).stdin(Stdio::null());
        run(command);
        let shown = String::from_utf8_lossy(&std::fs::read(&seen).ok()?).into_owned();
        (shown.lines().count() == count).then_some(shown)
    });
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for line in shown.lines() {
        *left.entry(line.strip_prefix("Subject: ").unwrap_or_default().trim_end()).or_default() += 1;
    }
    for subject in subjects {
        let left = left.entry(subject).or_default();
        *left -= 1;
        assert!(*left >= 0, "mutt does not show {subject:?} so often:\n{shown}");
    }
}
