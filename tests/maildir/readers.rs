//! Readers that other people wrote see every message, with its content.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use ringmx::sink::maildir::Maildir;
use ringmx::sink::maildir::options::{LineEnds, MaildirOptions};

use super::post::{deliver, options};
use crate::directory::Directory;
use crate::machine::{Missing, needed, output, root};

const MESSAGES: u64 = 40;

/// Differs from message to message, with lines that readers are tempted to change.
fn content(number: u64) -> Vec<u8> {
    format!(
        "From: <a@client.test>\r\nTo: <b@server.test>\r\nSubject: number {number}\r\n\r\n.one dot\r\nFrom here\r\n\
         >From there\r\nlast {number}\r\n"
    )
    .into_bytes()
}

/// Messages of one maildir, and the octets of their files.
fn filled(directory: &Directory, line_ends: LineEnds) -> BTreeSet<Vec<u8>> {
    let options = MaildirOptions { line_ends, ..options(directory.path(), "mail") };
    let mut maildir = Maildir::open(options).expect("it can be made");
    for number in 0..MESSAGES {
        assert_eq!(deliver(&mut maildir, &["a"], &content(number), number), [Ok(())]);
    }
    let new = fs::read_dir(directory.path().join("mail/new")).expect("it is there");
    let files: BTreeSet<Vec<u8>> =
        new.map(|entry| fs::read(entry.expect("it can be read").path()).expect("it can be read")).collect();
    assert_eq!(files.len() as u64, MESSAGES);
    files
}

#[test]
fn python_sees_each_message_octet_for_octet() {
    const SCRIPT: &str = "
import mailbox, sys
box = mailbox.Maildir(sys.argv[1], create=False)
for key in box.iterkeys():
    message = box[key]
    assert message.get_subdir() == 'new' and message['Delivered-To'] == 'a@x.test', key
    assert message['Return-Path'] == '<sender@example.org>' and message['Received'], key
    print(box.get_bytes(key).hex())
";
    for line_ends in [LineEnds::Crlf, LineEnds::Lf] {
        let directory = Directory::new();
        let files = filled(&directory, line_ends);
        let mail = directory.path().join("mail");
        let command = ["python3", "-c", SCRIPT, mail.to_str().expect("a path of ours")];
        let Some(printed) = needed("python's mailbox.Maildir", output(&command, "", "python3")) else { return };
        let octet = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("digits"), 16).expect("digits");
        let seen: BTreeSet<Vec<u8>> =
            printed.lines().map(|line| line.as_bytes().chunks(2).map(octet).collect()).collect();
        assert!(seen == files, "{} of {} are the same", seen.intersection(&files).count(), files.len());
    }
}

/// Mutt wants a terminal, and gets one; it writes line ends of its own.
#[test]
fn mutt_sees_each_message() {
    let directory = Directory::new();
    filled(&directory, LineEnds::Crlf);
    let path = directory.path().display();
    let settings = format!(
        "set quit=yes\nset delete=no\nset move=no\nset pipe_decode=no\nset pipe_split=yes\nset wait_key=no\n\
         set spoolfile={path}/none\nset folder={path}\nset header_cache=\"\"\nset auto_tag=yes\n\
         push '<tag-pattern>~A<enter><pipe-message>cat >> {path}/piped<enter><exit>'\n"
    );
    let settings = directory.write("muttrc", settings);
    let found = found("mutt").and_then(|()| found("script"));
    if needed("mutt", found).is_none() {
        return;
    }
    let command = format!("env TERM=xterm HOME={path} mutt -n -F {} -R -f {path}/mail", settings.display());
    output(&["timeout", "60", "script", "-qec", &command, "/dev/null"], "", "mutt").expect("it comes to its end");
    let piped = fs::read(directory.path().join("piped")).expect("mutt wrote it");
    expect_all(&String::from_utf8(piped).expect("it is ASCII"));
}

/// Dovecot reads no mail as root, so that the maildir is given to nobody.
#[test]
fn dovecot_sees_each_message() {
    let found = root().and_then(|()| found("doveadm"));
    if needed("dovecot", found).is_none() {
        return;
    }
    let directory = Directory::new();
    filled(&directory, LineEnds::Crlf);
    let path = directory.path().display();
    let settings = format!(
        "protocols =\nbase_dir = {path}/run\nstate_dir = {path}/run\nlog_path = /dev/stderr\nssl = no\nfirst_valid_uid = 0\n\
         first_valid_gid = 0\nmail_uid = 65534\nmail_gid = 65534\nmail_location = maildir:{path}/mail\n"
    );
    let settings = directory.write("dovecot.conf", settings);
    give_to_nobody(directory.path());
    let home = format!("HOME={path}");
    let settings = settings.to_str().expect("a path of ours");
    let command = ["env", "USER=reader", &home, "doveadm", "-c", settings, "fetch", "hdr body", "ALL"];
    let printed = output(&command, "", "dovecot-core").expect("it comes to its end");
    expect_all(&printed);
}

fn found(program: &str) -> Result<(), Missing> {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let is_there = path.split(':').any(|directory| Path::new(directory).join(program).is_file());
    if is_there { Ok(()) } else { Err(Missing(format!("{program}; .ci/install installs it"))) }
}

fn give_to_nobody(directory: &Path) {
    let done = Command::new("chown").args(["-R", "65534:65534"]).arg(directory).status().expect("there is a chown");
    assert!(done.success());
}

/// Each message once, with its fields and its lines; ends of lines are the reader's matter.
#[track_caller]
fn expect_all(shown: &str) {
    let shown = shown.replace('\r', "");
    let count = |text: &str| shown.matches(text).count() as u64;
    assert_eq!(count("Delivered-To: a@x.test\n"), MESSAGES, "{shown}");
    assert_eq!((count("\n.one dot\nFrom here\n>From there\n"), count("Received: from client")), (MESSAGES, MESSAGES));
    for number in 0..MESSAGES {
        assert_eq!((count(&format!("Subject: number {number}\n")), count(&format!("\nlast {number}\n"))), (1, 1));
    }
}
