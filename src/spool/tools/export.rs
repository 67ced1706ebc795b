//! A message as others read it: a file of its own (RFC 5322), or one of many in an mbox (RFC 4155, in the variant `mboxrd`).
//!
//! *Invariant*: content in a file of its own is kept octet for octet below the fields on its top. In an mbox line ends are LF, and each line that
//! begins with `From `, or with that behind any number of `>`, has one `>` more, so that it can be read back.

use std::io::{self, Write};

use crate::mail::address::Path;
use crate::mail::date::DateTime;
use crate::mail::shown::ShownPath;
use crate::mail::trace;
use crate::spool::tools::message::Message;

/// The fields on top of its content: what a maildir has there, for the recipients that are left.
pub fn head(message: &Message) -> Vec<u8> {
    let (manifest, mut head) = (message.manifest(), Vec::new());
    trace::write_return_path(manifest.envelope.sender().0, &mut head);
    message.recipients().for_each(|(recipient, _)| trace::write_delivered_to(recipient.path, &mut head));
    manifest.trace().write_received(&mut head);
    head
}

/// Writes the message as one of an mbox.
pub fn write_mbox(message: &Message, content: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let manifest = message.manifest();
    let sender = match manifest.envelope.sender().0 {
        Path::Null => "MAILER-DAEMON".to_owned(),
        path => ShownPath(path).to_string(),
    };
    writeln!(out, "From {sender} {}", asctime(manifest.received_at_ms / 1000))?;
    let mut lines = Lines::new(out);
    lines.push(&head(message))?;
    lines.push(content)?;
    lines.end()
}

/// As asctime(3) has it: `Thu Jan  1 00:00:00 1970`.
fn asctime(seconds: u64) -> String {
    let date = DateTime::from_unix_seconds(seconds).to_string();
    let words: Vec<&str> = date.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [weekday, day, month, year, time, _] = words[..] else { return date };
    format!("{weekday} {month} {:>2} {time} {year}", day.trim_start_matches('0'))
}

/// Lines of an mbox.
struct Lines<'o> {
    out: &'o mut dyn Write,
    at: At,
    /// A CR whose successor is not known yet.
    has_cr: bool,
    /// Nothing of the line has come yet.
    is_empty: bool,
}

/// Where the next octet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind any number of `>`, and so many octets of [`FROM`], from the beginning of the line on.
    Start(usize),
    /// Behind something else.
    Line,
}

const FROM: &[u8] = b"From ";

impl<'o> Lines<'o> {
    fn new(out: &'o mut dyn Write) -> Self {
        Self { out, at: At::Start(0), has_cr: false, is_empty: true }
    }

    fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        for octet in octets {
            if std::mem::take(&mut self.has_cr) && *octet != b'\n' {
                self.put(b'\r')?;
            }
            if *octet == b'\r' {
                self.has_cr = true;
            } else {
                self.put(*octet)?;
            }
        }
        Ok(())
    }

    /// One octet, with each CRLF as LF.
    fn put(&mut self, octet: u8) -> io::Result<()> {
        if let At::Start(read) = self.at {
            if octet == FROM[read] {
                self.is_empty = false;
                if read + 1 < FROM.len() {
                    self.at = At::Start(read + 1);
                    return Ok(());
                }
                self.at = At::Line;
                self.out.write_all(b">")?;
                return self.out.write_all(FROM);
            }
            self.out.write_all(&FROM[..read])?;
            // Those behind a part of the word begin no line.
            self.at = if octet == b'>' && read == 0 { At::Start(0) } else { At::Line };
        }
        if octet == b'\n' {
            self.at = At::Start(0);
        }
        self.is_empty = octet == b'\n';
        self.out.write_all(&[octet])
    }

    /// Ends the last line, and the message by an empty one.
    fn end(mut self) -> io::Result<()> {
        if self.has_cr {
            self.put(b'\r')?;
        }
        if let At::Start(read) = self.at {
            self.out.write_all(&FROM[..read])?;
        }
        self.out.write_all(if self.is_empty { b"\n" } else { b"\n\n" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spool::tools::message::State;
    use crate::spool::tools::message::tests::message;

    fn body(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out);
        for piece in pieces {
            lines.push(piece).unwrap();
        }
        lines.end().unwrap();
        out
    }

    #[test]
    fn lines_that_look_like_a_beginning_are_quoted() {
        for (content, written) in [
            (&b"a\r\nb\r\n"[..], &b"a\nb\n\n"[..]),
            (b"From x\r\n>From y\r\n>>From z\r\n", b">From x\n>>From y\n>>>From z\n\n"),
            (b"Fro\r\nFrom\r\n> From \r\n>x>From \r\nFrFrom \r\n", b"Fro\nFrom\n> From \n>x>From \nFrFrom \n\n"),
            (b"no end", b"no end\n\n"),
            (b"From", b"From\n\n"),
            (b">", b">\n\n"),
            (b"a\rb\r\r\n\r", b"a\rb\r\n\r\n\n"),
            (b"a\nFrom b\n", b"a\n>From b\n\n"),
            (b"", b"\n"),
        ] {
            assert_eq!(body(&[content]), written, "{:?}", content.escape_ascii().to_string());
        }
    }

    proptest! {
        /// What a reader of mboxrd takes out is what went in, but for line ends; and no line of a message begins another.
        #[test]
        fn what_is_quoted_is_read_back(
            words in prop::collection::vec(prop::sample::select(vec!["From ", ">", "F", "\r\n", "\r", "x", "rom "]), 0..30),
            cut in any::<prop::sample::Index>(),
        ) {
            let content = words.concat();
            let cut = cut.index(content.len() + 1);
            let (one, other) = content.as_bytes().split_at(cut);
            let written = body(&[one, other]);
            prop_assert_eq!(&written, &body(&[content.as_bytes()]));
            let text = String::from_utf8(written).unwrap();
            prop_assert!(!text.split('\n').any(|line| line.starts_with("From ")));
            let read: Vec<&str> = text
                .strip_suffix("\n").unwrap()
                .split('\n')
                .map(|line| if line.trim_start_matches('>').starts_with("From ") { &line[1..] } else { line })
                .collect();
            let mut wanted = content.replace("\r\n", "\n");
            if !wanted.is_empty() && !wanted.ends_with('\n') {
                wanted.push('\n');
            }
            prop_assert_eq!(read.join("\n"), wanted);
        }
    }

    #[test]
    fn a_message_has_its_fields_on_top() {
        let message = message(State::Dead, "s p@x.test", &[("a@ok.test", 0), ("b@ok.test", 1)], 951_782_400_000);
        let head = String::from_utf8(head(&message)).unwrap();
        assert!(head.starts_with("Return-Path: <s p@x.test>\r\nDelivered-To: a@ok.test\r\n"), "{head}");
        assert!(head.contains("Delivered-To: b@ok.test\r\nReceived: from client.test"), "{head}");
        let mut mbox = Vec::new();
        write_mbox(&message, b"Subject: x\r\n\r\nFrom me\r\n", &mut mbox).unwrap();
        let mbox = String::from_utf8(mbox).unwrap();
        assert!(mbox.starts_with("From s\\x20p@x.test Tue Feb 29 00:00:00 2000\nReturn-Path: "), "{mbox}");
        assert!(mbox.ends_with("+0000\nSubject: x\n\n>From me\n\n") && !mbox.contains('\r'), "{mbox}");
        let bounce = super::super::message::tests::message(State::Dead, "", &[], 0);
        let mut mbox = Vec::new();
        write_mbox(&bounce, b"", &mut mbox).unwrap();
        assert!(mbox.starts_with(b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nReturn-Path: <>\n"));
    }
}
