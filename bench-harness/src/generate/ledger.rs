//! The ledger: a line for each message that the server took over, and the comparison with what the server itself counted.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ringmx::smtp::client::Reply;

use super::tally::Counts;
use crate::compare::stats::Stats;
use crate::failure::Failure;

/// Octets of a page, which is written when it is full.
const PAGE_OCTETS: usize = 64 * 1024;

/// The file, of all threads.
#[derive(Clone, Debug)]
pub struct Book(Arc<Mutex<File>>);

impl Book {
    /// A new one.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let mut file = File::create(path)
            .map_err(|error| Failure::Unavailable(format!("cannot write {}: {error}", path.display())))?;
        file.write_all(b"# number, Message-ID, octets of content, CRC32C (0 without --checksum), reply\n")
            .map_err(Failure::while_doing("cannot write the ledger"))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// A page for one thread.
    pub fn page(&self, seed: u64) -> Page {
        Page { book: self.clone(), seed, lines: Vec::with_capacity(2 * PAGE_OCTETS), failure: None }
    }
}

/// What one thread has to write.
#[derive(Debug)]
pub struct Page {
    book: Book,
    seed: u64,
    lines: Vec<u8>,
    failure: Option<io::Error>,
}

impl Page {
    /// Enters a message.
    pub fn acknowledge(&mut self, number: u64, octets: u64, checksum: u32, reply: Reply<'_>) {
        let seed = self.seed;
        // Writing to memory cannot fail.
        let _ = write!(self.lines, "{number} {seed:016x}.{number:016x} {octets} {checksum:08x} ");
        for (index, line) in reply.lines().enumerate() {
            let separator = if index > 0 { " / " } else { "" };
            let _ = write!(self.lines, "{separator}{}", line.escape_ascii());
        }
        self.lines.push(b'\n');
        if self.lines.len() >= PAGE_OCTETS {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let mut file = self.book.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&self.lines) {
            self.failure.get_or_insert(error);
        }
        self.lines.clear();
    }

    /// Writes what is left.
    pub fn close(mut self) -> Result<(), Failure> {
        self.turn();
        match self.failure.take() {
            None => Ok(()),
            Some(error) => Err(Failure::System(format!("cannot write the ledger: {error}"))),
        }
    }
}

/// Compares what was sent with what the server counted meanwhile. Messages whose reply never came may be there or not.
pub fn compare(sent: &Counts, counted: &Stats) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let messages = counted.total("messages")?;
    let most = sent.accepted + sent.undecided;
    if messages < sent.accepted {
        let lost = sent.accepted - messages;
        wrong.push(format!(
            "{lost} messages are lost: {} were accepted, and the server counted {messages}",
            sent.accepted
        ));
    }
    if messages > most {
        let more = messages - most;
        wrong.push(format!("{more} messages are there twice: {most} can have come, and the server counted {messages}"));
    }
    let octets = counted.total("message_octets")?;
    let octets_most = sent.accepted_octets + sent.undecided_octets;
    // With other numbers of messages the octets differ anyhow.
    if wrong.is_empty() && !(sent.accepted_octets..=octets_most).contains(&octets) {
        wrong.push(format!(
            "content is altered: {} octets were accepted, and the server counted {octets}",
            sent.accepted_octets
        ));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::Disagreement(wrong.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(messages: u64, octets: u64) -> Stats {
        Stats::of([("messages", messages), ("message_octets", octets)])
    }

    #[test]
    fn what_is_lost_doubled_or_altered_is_named() {
        let sent =
            Counts { accepted: 10, accepted_octets: 1000, undecided: 1, undecided_octets: 70, ..Counts::default() };
        for (messages, octets) in [(10, 1000), (11, 1070)] {
            assert_eq!(compare(&sent, &counted(messages, octets)), Ok(()));
        }
        for (messages, octets, word) in [
            (9, 900, "1 messages are lost"),
            (12, 1100, "1 messages are there twice"),
            (10, 999, "altered"),
            (10, 1071, "altered"),
        ] {
            let failure = compare(&sent, &counted(messages, octets)).unwrap_err();
            assert!(matches!(failure, Failure::Disagreement(_)) && failure.to_string().contains(word), "{failure}");
        }
    }
}
