//! What a reader finds in a maildir, and what must stand on top of each message there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringmx::mail::date::DateTime;

/// One file of a maildir.
#[derive(Clone, Debug)]
pub struct Kept {
    pub path: PathBuf,
    pub octets: Vec<u8>,
}

/// A transaction as the trace fields must tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub from: &'a str,
    /// Those whose maildir it is.
    pub delivered_to: &'a [&'a str],
    /// The recipient, where the transaction had one.
    pub only: Option<&'a str>,
    pub hello: &'a str,
    /// What stands behind it, with its brackets.
    pub peer: &'a str,
    pub by: &'a str,
    pub with: &'a str,
}

impl Kept {
    /// The parts of the file's name: seconds, id, host.
    #[track_caller]
    pub fn name(&self) -> (u64, &str, &str) {
        let name = self.path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        let mut parts = name.splitn(3, '.');
        let mut part = || parts.next().unwrap_or_else(|| panic!("{name} is seconds.id.host"));
        (part().parse().expect(name), part(), part())
    }

    pub fn id(&self) -> &str {
        self.name().1
    }

    /// The trace fields must be these, octet for octet; gives what stands below them.
    #[track_caller]
    pub fn content(&self, told: &Told<'_>, line_end: &str) -> &[u8] {
        let (seconds, id, _) = self.name();
        let Told { from, hello, peer, by, with, .. } = told;
        let mut head = format!("Return-Path: <{from}>\r\n");
        told.delivered_to.iter().for_each(|to| head.push_str(&format!("Delivered-To: {to}\r\n")));
        head.push_str(&format!("Received: from {hello} ({peer})\r\n\tby {by} with {with} id {id}"));
        told.only.iter().for_each(|to| head.push_str(&format!("\r\n\tfor <{to}>")));
        head.push_str(&format!(";\r\n\t{}\r\n", DateTime::from_unix_seconds(seconds)));
        let head = head.replace("\r\n", line_end);
        self.octets.strip_prefix(head.as_bytes()).unwrap_or_else(|| {
            let begin = &self.octets[..self.octets.len().min(head.len())];
            panic!("{}: {head:?} is wanted on top of it, not {:?}", self.path.display(), String::from_utf8_lossy(begin))
        })
    }
}

/// The files in one directory of a maildir; none where there is no such directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry can be read").path()).collect()
}

/// What lies in `new`, by id: each once.
#[track_caller]
pub fn new_mail(maildir: &Path) -> BTreeMap<String, Kept> {
    let mut found = BTreeMap::new();
    for path in files(&maildir.join("new")) {
        let kept = Kept { octets: std::fs::read(&path).expect("it can be read"), path };
        let twice = found.insert(kept.id().to_owned(), kept);
        assert!(twice.is_none(), "a message lies there twice: {twice:?}");
    }
    found
}

/// The id in `250 2.0.0 Ok: queued as ID`.
pub fn id_in_reply(reply: &str) -> Option<&str> {
    let (_, id) = reply.trim_end().rsplit_once(" as ")?;
    Some(id)
}
