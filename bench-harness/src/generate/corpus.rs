//! Real messages: `.eml` files, maildirs, mboxes. What is changed about them is counted, so that it can be said.
//!
//! Line ends become CRLF, an mbox's `>From ` loses its quote (mboxrd), and Date and Message-ID are taken out, because each
//! message that is sent gets its own. Dots are doubled when mail data is sent, not here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Octets of all messages together: they stand in memory.
const OCTETS_MOST: u64 = 1 << 30;

/// Messages, and what was done to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corpus {
    /// Each with whole lines, from its first header field on. They stay for the life of the process, so that they can be sent
    /// from where they are.
    pub messages: Vec<&'static [u8]>,
    /// Those in which a bare LF or CR was made CRLF.
    pub normalized: usize,
    /// Lines that an mbox had quoted.
    pub unquoted: usize,
    /// Messages that have a line which begins with a dot.
    pub dotted: usize,
}

impl Corpus {
    /// Reads all that stands under these paths.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut corpus = Self::default();
        let mut octets = 0;
        for path in paths {
            for file in files_of(path)? {
                octets += fs::metadata(&file).map(|metadata| metadata.len()).unwrap_or(0);
                if octets > OCTETS_MOST {
                    return Err(Failure::Usage(format!("the messages are above {OCTETS_MOST} octets")));
                }
                let text = fs::read(&file).map_err(|error| unreadable(&file, &error))?;
                corpus.add(&text);
            }
        }
        match corpus.messages.is_empty() {
            true => Err(Failure::Usage("there is no message in what --corpus names".to_owned())),
            false => Ok(corpus),
        }
    }

    /// What was done, in a line.
    pub fn describe(&self) -> String {
        let octets: usize = self.messages.iter().map(|message| message.len()).sum();
        format!(
            "{} messages of {} octets on average; line ends made CRLF in {}, {} quoted From lines unquoted, {} with lines that \
             begin with a dot (doubled in mail data); Date and Message-ID are new for each that is sent",
            self.messages.len(),
            octets / self.messages.len().max(1),
            self.normalized,
            self.unquoted,
            self.dotted,
        )
    }

    /// One message, or an mbox of many.
    fn add(&mut self, text: &[u8]) {
        if !text.starts_with(b"From ") {
            return self.add_message(text, false);
        }
        let mut message = Vec::new();
        let mut is_first = true;
        let mut is_blank = true;
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b"From ") && is_blank {
                if !is_first {
                    self.add_message(&message, true);
                }
                message.clear();
                is_first = false;
            } else {
                message.extend_from_slice(line);
            }
            is_blank = matches!(line, b"\n" | b"\r\n");
        }
        self.add_message(&message, true);
    }

    fn add_message(&mut self, text: &[u8], is_quoted: bool) {
        let mut message = Vec::with_capacity(text.len() + text.len() / 32);
        let (mut in_header, mut is_cut, mut has_dot, mut is_changed) = (true, false, false, false);
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            is_changed |= !line.ends_with(b"\r\n");
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            for content in content.split(|octet| *octet == b'\r') {
                let is_continued = matches!(content.first(), Some(b' ' | b'\t'));
                in_header &= !content.is_empty();
                is_cut = in_header && ((is_cut && is_continued) || is_replaced(content));
                if is_cut {
                    continue;
                }
                let unquoted = match is_quoted && is_quoted_from(content) {
                    true => &content[1..],
                    false => content,
                };
                self.unquoted += usize::from(unquoted.len() < content.len());
                has_dot |= unquoted.first() == Some(&b'.');
                message.extend_from_slice(unquoted);
                message.extend_from_slice(b"\r\n");
            }
            is_changed |= content.contains(&b'\r');
        }
        // The empty line before the next message of an mbox is not the message's.
        if is_quoted && message.ends_with(b"\r\n\r\n") {
            message.truncate(message.len() - 2);
        }
        self.normalized += usize::from(is_changed);
        self.dotted += usize::from(has_dot);
        self.messages.push(message.leak());
    }
}

/// `>From `, `>>From ` and so on.
fn is_quoted_from(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    quotes > 0 && line[quotes..].starts_with(b"From ")
}

fn is_replaced(line: &[u8]) -> bool {
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
    name.eq_ignore_ascii_case(b"Date") || name.eq_ignore_ascii_case(b"Message-ID")
}

/// A file is itself, a maildir its `cur` and `new`, any other directory its `.eml` files; in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_maildir = path.join("cur").is_dir() && path.join("new").is_dir();
    let directories = if is_maildir { vec![path.join("cur"), path.join("new")] } else { vec![path.to_owned()] };
    let mut files = Vec::new();
    for directory in directories {
        for entry in fs::read_dir(&directory).map_err(|error| unreadable(&directory, &error))? {
            let file = entry.map_err(|error| unreadable(&directory, &error))?.path();
            let is_wanted = is_maildir || file.extension().is_some_and(|extension| extension == "eml");
            if is_wanted && file.is_file() {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Corpus {
        let mut corpus = Corpus::default();
        corpus.add(text.as_bytes());
        corpus
    }

    fn texts(corpus: &Corpus) -> Vec<&str> {
        corpus.messages.iter().map(|message| std::str::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn line_ends_are_made_whole() {
        let corpus = read("Subject: a\n\n.one\r\ntwo\rthree");
        assert_eq!(texts(&corpus), ["Subject: a\r\n\r\n.one\r\ntwo\r\nthree\r\n"]);
        assert_eq!((corpus.normalized, corpus.dotted), (1, 1));
        assert_eq!(read("Subject: a\r\n\r\nb\r\n").normalized, 0);
    }

    #[test]
    fn date_and_message_id_make_room_in_the_header_alone() {
        let corpus = read("Date: x\n y\nSubject: a\nmessage-id : <b>\nTo: c\n d\n\nDate: stays\n");
        assert_eq!(texts(&corpus), ["Subject: a\r\nTo: c\r\n d\r\n\r\nDate: stays\r\n"]);
    }

    #[test]
    fn an_mbox_is_taken_apart_and_unquoted() {
        let corpus = read(
            "From a@b Thu Jan  1 00:00:00 1970\nSubject: 1\n\n>From the start\n>>From there\nFrom x is text\n\n\
             From c@d Thu Jan  1 00:00:00 1970\nSubject: 2\n\nbody\n",
        );
        assert_eq!(
            texts(&corpus),
            ["Subject: 1\r\n\r\nFrom the start\r\n>From there\r\nFrom x is text\r\n", "Subject: 2\r\n\r\nbody\r\n"]
        );
        assert_eq!(corpus.unquoted, 2);
    }

    #[test]
    fn directories_are_looked_through() {
        let root = std::env::temp_dir().join(format!("ringmx-corpus-{}", std::process::id()));
        for directory in ["mail/cur", "mail/new", "mail/tmp", "plain"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (file, text) in [("mail/cur/1:2,S", "a: 1\n"), ("mail/new/2", "a: 2\n"), ("mail/tmp/3", "a: 3\n")] {
            fs::write(root.join(file), text).unwrap();
        }
        fs::write(root.join("plain/x.eml"), "a: 4\n").unwrap();
        fs::write(root.join("plain/x.txt"), "a: 5\n").unwrap();
        let corpus = Corpus::read(&[root.join("mail"), root.join("plain")]).unwrap();
        assert_eq!(texts(&corpus), ["a: 1\r\n", "a: 2\r\n", "a: 4\r\n"]);
        assert!(Corpus::read(&[root.join("mail/tmp")]).is_err());
        assert!(Corpus::read(&[root.join("nothing")]).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
