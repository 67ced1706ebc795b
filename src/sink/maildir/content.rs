//! The octets of a message's file: trace fields that are rendered here, and the content.
//!
//! *Invariants*: with [`LineEnds::Crlf`] the content is kept octet for octet; with [`LineEnds::Lf`] each CRLF becomes LF, however
//! the content is cut into pieces, and nothing else changes. COST: nothing is allocated once the buffers are there; content that is
//! kept is not copied but by the kernel; content that changes is copied once, because a line for each piece of a vectored
//! write costs more than its copy.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::Message;
use super::options::LineEnds;
use crate::limits;
use crate::mail::address::Path;
use crate::mail::trace;

/// Writes files; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Writer {
    head: Vec<u8>,
    /// What is written at once where lines change.
    lines: Vec<u8>,
}

impl Writer {
    /// Renders the fields on top of a message for these of its recipients, and says how many octets the file has at most.
    pub(super) fn prepare<'a>(&mut self, message: &Message<'_>, recipients: impl Iterator<Item = Path<'a>>) -> u64 {
        self.head.clear();
        trace::write_return_path(message.manifest.envelope.sender().0, &mut self.head);
        recipients.for_each(|recipient| trace::write_delivered_to(recipient, &mut self.head));
        message.manifest.trace().write_received(&mut self.head);
        (self.head.len() + message.content.iter().map(|piece| piece.len()).sum::<usize>()) as u64
    }

    /// Writes what was prepared, and the content. Returned is how many octets there are now.
    pub(super) fn write(&mut self, file: BorrowedFd<'_>, content: &[&[u8]], line_ends: LineEnds) -> Result<u64, Errno> {
        match line_ends {
            LineEnds::Crlf => write_kept(file, &self.head, content),
            LineEnds::Lf => write_changed(file, &self.head, content, &mut self.lines),
        }
    }
}

/// Pieces of one system call; far below what the kernel takes (`UIO_MAXIOV`, 1,024).
const PIECES: usize = 64;

fn write_kept(file: BorrowedFd<'_>, head: &[u8], content: &[&[u8]]) -> Result<u64, Errno> {
    let mut written = 0;
    let mut pieces = std::iter::once(head).chain(content.iter().copied()).filter(|piece| !piece.is_empty()).peekable();
    // BOUND: each turn takes a piece.
    while pieces.peek().is_some() {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.by_ref()) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        written += write_all(file, &mut slices[..count])?;
    }
    Ok(written)
}

fn write_all(file: BorrowedFd<'_>, mut slices: &mut [IoSlice<'_>]) -> Result<u64, Errno> {
    let mut written = 0;
    // BOUND: each turn writes something.
    while !slices.is_empty() {
        match rustix::io::writev(file, slices) {
            Ok(0) => return Err(Errno::IO),
            Ok(octets) => {
                written += octets as u64;
                IoSlice::advance_slices(&mut slices, octets);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(written)
}

fn write_changed(file: BorrowedFd<'_>, head: &[u8], content: &[&[u8]], lines: &mut Vec<u8>) -> Result<u64, Errno> {
    lines.clear();
    lines.reserve(limits::MAILDIR_WRITE_OCTETS);
    let mut written = 0;
    // A CR whose successor is not known yet.
    let mut has_cr = false;
    for piece in std::iter::once(&head).chain(content) {
        // Twice as many would not be too many at once: a piece has at most a CR more than it had.
        for part in piece.chunks(limits::MAILDIR_WRITE_OCTETS - 1) {
            if lines.len() + part.len() + 1 > limits::MAILDIR_WRITE_OCTETS {
                written += write_all(file, &mut [IoSlice::new(lines)])?;
                lines.clear();
            }
            has_cr = push_lines(part, has_cr, lines);
        }
    }
    if has_cr {
        lines.push(b'\r');
    }
    Ok(written + write_all(file, &mut [IoSlice::new(lines)][usize::from(lines.is_empty())..])?)
}

/// Appends with LF for each CRLF; `has_cr` says whether a CR stands before, and so does what is returned for what comes next.
fn push_lines(mut rest: &[u8], has_cr: bool, out: &mut Vec<u8>) -> bool {
    if has_cr && !rest.is_empty() && rest[0] != b'\n' {
        out.push(b'\r');
    }
    if rest.is_empty() {
        return has_cr;
    }
    // BOUND: each turn takes a CR.
    while let Some(at) = memchr::memchr(b'\r', rest) {
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        out.extend_from_slice(before);
        match behind.first() {
            None => return true,
            Some(b'\n') => {}
            Some(_) => out.push(b'\r'),
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    false
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::*;
    use crate::sink::maildir::samples;

    fn written(head: &[u8], content: &[&[u8]], line_ends: LineEnds) -> Vec<u8> {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut lines = Writer { head: head.to_vec(), lines: Vec::new() };
        std::thread::scope(|scope| {
            let told = scope.spawn(move || lines.write(writer.as_fd(), content, line_ends).unwrap());
            let mut octets = Vec::new();
            reader.read_to_end(&mut octets).unwrap();
            assert_eq!(told.join().unwrap(), octets.len() as u64);
            octets
        })
    }

    fn naive_lf(octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, octet) in octets.iter().enumerate() {
            if !(*octet == b'\r' && octets.get(at + 1) == Some(&b'\n')) {
                out.push(*octet);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            content in prop::collection::vec(prop::sample::select(b"\r\n\r\nab\0".to_vec()), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &content[cut[0]..cut[1]]).collect();
            prop_assert_eq!(written(b"", &pieces, LineEnds::Crlf), content.clone());
            prop_assert_eq!(written(b"", &pieces, LineEnds::Lf), naive_lf(&content));
        }
    }

    #[test]
    fn sizes_around_a_buffer_are_kept() {
        for octets in [0, 1, 2, 3] {
            let octets = limits::MAILDIR_WRITE_OCTETS - 2 + octets;
            for end in ["\r\n", "\r", "\n", "x"] {
                let content =
                    ["\r".repeat(octets).as_bytes(), end.as_bytes(), "\r\n".repeat(70_000).as_bytes()].concat();
                let (one, other) = content.split_at(octets);
                assert_eq!(written(b"h\r\n", &[one, other], LineEnds::Lf)[2..], naive_lf(&content), "{octets} {end:?}");
            }
        }
        let many: Vec<&[u8]> = std::iter::repeat_n(&b"ab"[..], 3 * PIECES + 1).collect();
        assert_eq!(written(b"h", &many, LineEnds::Crlf).len(), 1 + 2 * many.len());
    }

    #[test]
    fn fields_stand_on_top() {
        let head = |recipients: &[&str], shown: usize| {
            let envelope = samples::envelope(recipients);
            let manifest = samples::manifest(&envelope, 1, b"");
            let message = Message { manifest, is_repeat: false, recipients: Vec::new(), content: vec![b"12", b"3"] };
            let mut writer = Writer::default();
            let octets = writer.prepare(&message, envelope.recipients().take(shown).map(|recipient| recipient.path));
            assert_eq!(octets, writer.head.len() as u64 + 3);
            String::from_utf8(writer.head).unwrap()
        };
        let one = head(&["a@x.test"], 1);
        let wanted = "Return-Path: <sender@example.org>\r\nDelivered-To: a@x.test\r\nReceived: from client.example.org";
        assert!(one.starts_with(wanted), "{one}");
        assert!(one.contains("for <a@x.test>"), "{one}");
        let two = head(&["a@x.test", "b@x.test"], 2);
        assert!(two.contains("\r\nDelivered-To: a@x.test\r\nDelivered-To: b@x.test\r\nReceived:"), "{two}");
        // The others are none of a recipient's business, in this maildir or another.
        let other = head(&["a@x.test", "b@x.test"], 1);
        assert!(!other.contains("for <") && !other.contains("b@x.test"), "{other}");
    }
}
