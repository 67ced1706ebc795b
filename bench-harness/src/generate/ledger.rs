//! The ledger: a line for each message that the server took over, and the comparison with what the server itself counted.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ringmx::smtp::client::Reply;

use super::tally::{Counts, Tally};
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

/// What came of the comparison.
#[derive(Debug)]
pub enum Verdict {
    /// There was nothing to compare with.
    NotCompared,
    /// Both sides say the same.
    Agrees {
        /// Of the sum of checksums too.
        with_checksums: bool,
    },
    /// They do not, or what was asked for is not to be had: there is no figure.
    Fails(Failure),
}

impl Verdict {
    /// What it comes to.
    pub fn into_result(self) -> Result<(), Failure> {
        match self {
            Self::Fails(failure) => Err(failure),
            Self::Agrees { .. } | Self::NotCompared => Ok(()),
        }
    }

    /// For reports.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Agrees { .. } => "agrees",
            Self::Fails(Failure::Disagreement(_)) => "DISAGREES",
            Self::NotCompared | Self::Fails(_) => "not compared",
        }
    }
}

/// Compares what was sent with what the server counted meanwhile. Messages whose reply never came may be there or not. A reply
/// that came before what it answers, or to nothing at all, is an untruth whatever was counted.
pub fn compare(sent: &Tally, counted: Option<&Stats>, checksum: bool) -> Verdict {
    let mut wrong = Vec::new();
    let with_checksums = match counted.map(|counted| check(&sent.counts, counted, checksum, &mut wrong)).transpose() {
        Ok(with_checksums) => with_checksums,
        Err(failure) => return Verdict::Fails(failure),
    };
    if let Some(fault) = sent.out_of_turn {
        let replies = sent.counts.replies_out_of_turn;
        wrong.push(format!("{replies} replies came out of turn, unasked or before what they answer: first, {fault}"));
    }
    match (wrong.is_empty(), with_checksums) {
        (false, _) => Verdict::Fails(Failure::Disagreement(wrong.join("; "))),
        (true, None) => Verdict::NotCompared,
        (true, Some(with_checksums)) => Verdict::Agrees { with_checksums },
    }
}

/// Names what is wrong. Returns whether checksums were compared.
fn check(sent: &Counts, counted: &Stats, checksum: bool, wrong: &mut Vec<String>) -> Result<bool, Failure> {
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
    // With other numbers of messages the octets differ anyhow, and with other octets the checksums.
    if wrong.is_empty() && !(sent.accepted_octets..=octets_most).contains(&octets) {
        wrong.push(format!(
            "content is altered: {} octets were accepted, and the server counted {octets}",
            sent.accepted_octets
        ));
    }
    if !checksum || !wrong.is_empty() {
        return Ok(false);
    }
    let summed = counted.total("content_checksums").unwrap_or(0);
    let sum = counted.total("content_checksum_sum").unwrap_or(0);
    if summed < messages {
        return Err(Failure::Unavailable(format!(
            "the server has summed the content of {summed} of {messages} messages: --checksum needs `ringmx sink --checksum`, or \
             `checksum = true` of its listener"
        )));
    }
    let with_undecided = sent.checksum_sum.wrapping_add(sent.undecided_checksum_sum);
    let expected = match messages {
        _ if messages == sent.accepted => sent.checksum_sum,
        _ if messages == most => with_undecided,
        // Some of those arrived whose reply did not, and nobody knows which.
        _ => return Ok(false),
    };
    if sum != expected {
        wrong.push(format!(
            "content is not what was sent, though messages and octets are as many: the checksums of {messages} messages add up \
             to {expected}, and the server's to {sum}"
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use ringmx::smtp::client::{Code, Fault};

    use super::*;

    fn counted(messages: u64, octets: u64) -> Stats {
        Stats::of([("messages", messages), ("message_octets", octets)])
    }

    fn summed(messages: u64, octets: u64, sum: u64) -> Stats {
        Stats::of([
            ("messages", messages),
            ("message_octets", octets),
            ("content_checksums", messages),
            ("content_checksum_sum", sum),
        ])
    }

    fn sent() -> Tally {
        let counts = Counts {
            accepted: 10,
            accepted_octets: 1000,
            checksum_sum: u64::MAX,
            undecided: 2,
            undecided_octets: 70,
            undecided_checksum_sum: 5,
            ..Counts::default()
        };
        let mut tally = Tally::new();
        tally.counts = counts;
        tally
    }

    #[track_caller]
    fn fails(verdict: &Verdict, word: &str) {
        let Verdict::Fails(failure @ Failure::Disagreement(_)) = verdict else { panic!("{verdict:?}") };
        assert!(failure.to_string().contains(word), "{failure}");
        assert_eq!(verdict.words(), "DISAGREES");
    }

    #[test]
    fn what_is_lost_doubled_or_altered_is_named() {
        for (messages, octets) in [(10, 1000), (12, 1070)] {
            let verdict = compare(&sent(), Some(&counted(messages, octets)), false);
            assert!(matches!(verdict, Verdict::Agrees { with_checksums: false }), "{verdict:?}");
        }
        for (messages, octets, word) in [
            (9, 900, "1 messages are lost"),
            (13, 1100, "1 messages are there twice"),
            (10, 999, "altered"),
            (10, 1071, "altered"),
        ] {
            fails(&compare(&sent(), Some(&counted(messages, octets)), false), word);
        }
        assert!(matches!(compare(&sent(), None, true), Verdict::NotCompared));
    }

    #[test]
    fn what_only_checksums_tell_is_told() {
        // Sums wrap. Those whose reply never came are all there, or none is; else nothing can be said.
        for (counted, compared) in
            [(summed(10, 1000, u64::MAX), true), (summed(12, 1070, 4), true), (summed(11, 1030, 0), false)]
        {
            let verdict = compare(&sent(), Some(&counted), true);
            assert!(matches!(verdict, Verdict::Agrees { with_checksums } if with_checksums == compared), "{verdict:?}");
        }
        fails(&compare(&sent(), Some(&summed(10, 1000, 4)), true), "content is not what was sent");
        fails(&compare(&sent(), Some(&summed(12, 1070, u64::MAX)), true), "content is not what was sent");
        // Another ringmx, or one that was not told to, cannot be compared with; that is no disagreement.
        let silent = [("messages", 10), ("message_octets", 1000), ("content_checksums", 9)];
        for counted in [counted(10, 1000), Stats::of(silent)] {
            let verdict = compare(&sent(), Some(&counted), true);
            let Verdict::Fails(Failure::Unavailable(why)) = &verdict else { panic!("{verdict:?}") };
            assert!(why.contains("`ringmx sink --checksum`"), "{why}");
            assert_eq!(verdict.words(), "not compared");
        }
    }

    #[test]
    fn a_reply_out_of_turn_is_an_untruth_without_any_counters() {
        let mut sent = sent();
        sent.fault(Fault::AcceptedWithoutMail);
        assert!(matches!(compare(&sent, None, false), Verdict::NotCompared));
        sent.fault(Fault::Unasked(Code::CLOSING));
        fails(&compare(&sent, None, false), "1 replies came out of turn");
        fails(&compare(&sent, Some(&counted(9, 900)), false), "lost");
    }
}
