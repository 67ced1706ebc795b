//! What a message consists of, given its number: envelope, header with a Message-ID and a Date of its own, body.
//!
//! *Invariants*: message n of a seed is always the same, but for its Date where that is now. Lines end with CRLF, the last one
//! too. Nothing is allocated for a message: its header is written into memory that is kept, its body is a slice of text that
//! all messages share.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmx::mail::address::{Mailbox, Path};
use ringmx::mail::date::DateTime;
use ringmx::mail::envelope::{Body as BodyType, MailParameters};
use ringmx::smtp::client::{Message, Recipients, Transfer};
use ringmx::smtp::command::{MailCommand, RcptCommand};

use super::corpus::Corpus;
use super::plan::{Class, Dates, Plan, Texts};
use super::random::Random;
use crate::through::stamp::{Scan, Stamp, Sum};

/// Octets of the text that bodies are cut from: little enough to stay near the processor.
const POOL_OCTETS: usize = 32 * 1024;

/// Octets of a line of it, with its CRLF.
const LINE_OCTETS: usize = 78;

/// Text in lines, none of which begins with a dot.
///
/// It stays for the life of the process, so that it can be sent from where it is.
pub fn pool(seed: u64) -> &'static [u8] {
    let mut random = Random::of(seed, 0);
    let mut text = Vec::with_capacity(POOL_OCTETS);
    while text.len() + LINE_OCTETS <= POOL_OCTETS {
        for column in 0..LINE_OCTETS - 2 {
            let letter = b'a' + random.below(26) as u8;
            text.push(if column % 7 == 6 { b' ' } else { letter });
        }
        text.extend_from_slice(b"\r\n");
    }
    text.leak()
}

/// A message as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Made<'p> {
    from: Mailbox<'p>,
    recipients: &'p [RcptCommand<'p>],
    transfer: Transfer,
    body: Body,
    /// Octets of the whole content.
    octets: u64,
}

/// Some of a message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'c> {
    /// Of its header.
    Header(&'c [u8]),
    /// Of text that all messages share; empty at the end.
    Text(&'static [u8]),
}

impl<'c> Piece<'c> {
    /// Wherever they are.
    pub fn octets(self) -> &'c [u8] {
        match self {
            Self::Header(octets) | Self::Text(octets) => octets,
        }
    }
}

/// The octets behind the header.
#[derive(Clone, Copy, Debug)]
struct Body {
    /// Taken from `start` on, and again from the beginning when it is used up.
    pool: &'static [u8],
    start: usize,
    octets: u64,
    tail: &'static [u8],
    is_8bit: bool,
}

impl<'p> Made<'p> {
    /// For the client's session.
    pub fn message(&self) -> Message<'p> {
        let body = if self.body.is_8bit { BodyType::EightBitMime } else { BodyType::default() };
        let parameters = MailParameters { size_bytes: Some(self.octets), body, ..MailParameters::default() };
        Message {
            mail: MailCommand { reverse_path: Path::Mailbox(self.from), parameters },
            recipients: self.recipients,
            transfer: self.transfer,
            rule: Recipients::Any,
        }
    }

    /// Octets of its content.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The content from this octet on, as far as it lies in one piece.
    pub fn piece<'c>(&self, header: &'c [u8], at: u64) -> Piece<'c> {
        let Some(at) = at.checked_sub(header.len() as u64) else { return Piece::Header(&header[at as usize..]) };
        let body = &self.body;
        Piece::Text(match body.octets.checked_sub(at) {
            Some(left @ 1..) => {
                let from = (body.start as u64 + at) % body.pool.len() as u64;
                let rest = &body.pool[from as usize..];
                &rest[..(rest.len() as u64).min(left) as usize]
            }
            _ => body.tail.get((at - body.octets) as usize..).unwrap_or_default(),
        })
    }
}

/// Makes messages, on one thread.
pub struct Maker<'p> {
    plan: &'p Plan,
    pool: &'static [u8],
    senders: &'p [Mailbox<'p>],
    recipients: &'p [RcptCommand<'p>],
    /// The second that was rendered last.
    second: u64,
    date: Vec<u8>,
    /// Where the stamp stands in the header that was made last, and what sums the body.
    stamp_at: usize,
    scan: Scan,
}

impl<'p> Maker<'p> {
    /// From a pool of text and of people, which all threads share.
    pub fn new(
        plan: &'p Plan,
        pool: &'static [u8],
        senders: &'p [Mailbox<'p>],
        recipients: &'p [RcptCommand<'p>],
    ) -> Self {
        let scan = Scan::new(plan.stamp.unwrap_or_default());
        Self { plan, pool, senders, recipients, second: u64::MAX, date: Vec::new(), stamp_at: 0, scan }
    }

    /// Once in a turn: the time that messages show.
    pub fn look_at_clock(&mut self) {
        if self.plan.dates == Dates::Now {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            self.show(now);
        }
    }

    fn show(&mut self, second: u64) {
        if second != self.second {
            self.second = second;
            self.date.clear();
            // Writing to memory cannot fail.
            let _ = write!(self.date, "{}", DateTime::from_unix_seconds(second));
        }
    }

    /// Message `number`; its header is put into `header`.
    pub fn make(&mut self, number: u64, header: &mut Vec<u8>) -> Made<'p> {
        header.clear();
        let mut random = Random::of(self.plan.seed, number);
        let class = self.plan.class(&mut random);
        if let Dates::From(start) = self.plan.dates {
            self.show(start + number / 1000);
        }
        // Everybody in turn: neighbours in memory, which chance would miss.
        let from = self.senders[(number % self.senders.len() as u64) as usize];
        let count = class.recipients.draw(&mut random) as usize;
        let first = random.below(self.plan.people.len() as u64) as usize;
        let recipients = &self.recipients[first..first + count];
        let body = match &class.texts {
            Texts::Generated(sizes) => {
                let mut octets = sizes.draw(&mut random);
                self.header(number, from, recipients, header);
                if self.plan.stamp.is_some() {
                    // It must be known again: it is as large as that takes.
                    octets = octets.max(header.len() as u64 + 2);
                }
                // A message in which the fields do not fit has none.
                if octets < header.len() as u64 + 2 {
                    header.clear();
                }
                generated(self.pool, octets - header.len() as u64, &mut random)
            }
            Texts::Corpus(corpus) => {
                self.fields(number, from, header);
                real(corpus, &mut random)
            }
        };
        let octets = header.len() as u64 + body.octets + body.tail.len() as u64;
        let transfer = match class.chunk_octets {
            None => Transfer::Data,
            Some(chunk_octets) => Transfer::Chunks { octets, chunk_octets },
        };
        let made = Made { from, recipients, transfer, body, octets };
        if let Some(run) = self.plan.stamp {
            let body = self.sum(&made, header);
            let stamp = Stamp { run, number: number as u32, body, first: first as u32, recipients: count as u32 };
            stamp.write(&mut header[self.stamp_at..self.stamp_at + Stamp::OCTETS]);
        }
        made
    }

    /// Looks at the content as whoever receives it will.
    fn sum(&mut self, made: &Made<'_>, header: &[u8]) -> Sum {
        let mut at = 0;
        while at < made.octets {
            let piece = made.piece(header, at).octets();
            self.scan.feed(piece);
            at += piece.len() as u64;
        }
        self.scan.end().1
    }

    fn header(&mut self, number: u64, from: Mailbox<'_>, recipients: &[RcptCommand<'_>], header: &mut Vec<u8>) {
        header.extend_from_slice(b"From: <");
        mailbox(from, header);
        header.extend_from_slice(b">\r\nTo: <");
        if let Some(RcptCommand { forward_path: Path::Mailbox(to), .. }) = recipients.first() {
            mailbox(*to, header);
        }
        header.extend_from_slice(b">\r\nSubject: ringmx-bench ");
        hexadecimal(number, header);
        header.extend_from_slice(b"\r\n");
        self.fields(number, from, header);
        header.extend_from_slice(b"\r\n");
    }

    /// Those that every message has for itself.
    fn fields(&mut self, number: u64, from: Mailbox<'_>, header: &mut Vec<u8>) {
        if self.plan.stamp.is_some() {
            self.stamp_at = header.len();
            header.extend_from_slice(&[b' '; Stamp::OCTETS]);
        }
        header.extend_from_slice(b"Date: ");
        header.extend_from_slice(&self.date);
        header.extend_from_slice(b"\r\nMessage-ID: <");
        hexadecimal(self.plan.seed, header);
        header.push(b'.');
        hexadecimal(number, header);
        header.push(b'@');
        header.extend_from_slice(from.domain);
        header.extend_from_slice(b">\r\n");
    }
}

fn mailbox(mailbox: Mailbox<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(mailbox.local_part);
    out.push(b'@');
    out.extend_from_slice(mailbox.domain);
}

/// Sixteen digits, so that every header of one pair of addresses has the same length.
fn hexadecimal(number: u64, out: &mut Vec<u8>) {
    // Eight digits at a time, one in each octet of a word.
    let eight = |half: u64| {
        let mut word = (half | half << 16) & 0x0000_ffff_0000_ffff;
        word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
        word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // 10 to 15 are letters.
        let letters = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        (word + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
    };
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight(number >> 32));
    digits[8..].copy_from_slice(&eight(number & 0xffff_ffff));
    out.extend_from_slice(&digits);
}

/// Exactly so many octets, from some line of the pool on; the last line ends with CRLF however it comes out.
fn generated(pool: &'static [u8], octets: u64, random: &mut Random) -> Body {
    let line = random.below((pool.len() / LINE_OCTETS) as u64) as usize;
    let start = line * LINE_OCTETS;
    let (text, tail): (u64, &'static [u8]) = match octets {
        0 | 1 => (octets, b""),
        // A CR before it would make the line end "\r\r\n".
        _ if (octets - 2) % LINE_OCTETS as u64 == LINE_OCTETS as u64 - 1 => (octets - 3, b"x\r\n"),
        _ => (octets - 2, b"\r\n"),
    };
    Body { pool, start, octets: text, tail, is_8bit: false }
}

fn real(corpus: &Corpus, random: &mut Random) -> Body {
    let message = corpus.messages[random.below(corpus.messages.len() as u64) as usize];
    // An empty message has an empty slice, of which nothing is ever taken.
    Body { pool: message, start: 0, octets: message.len() as u64, tail: b"", is_8bit: !message.is_ascii() }
}

impl Class {
    /// In a line.
    pub fn describe(&self) -> String {
        let texts = match &self.texts {
            Texts::Generated(sizes) => sizes.to_string(),
            Texts::Corpus(corpus) => corpus.describe(),
        };
        let transfer = match self.chunk_octets {
            None => "DATA".to_owned(),
            Some(u64::MAX) => "BDAT, one chunk".to_owned(),
            Some(octets) => format!("BDAT, chunks of {octets} octets"),
        };
        format!("{texts}; {} recipients; {transfer}", self.recipients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::people::{People, parse_domain};

    fn plan(arguments: &[&str]) -> Plan {
        use clap::Parser as _;
        let arguments = [&["ringmx-bench", "run", "127.0.0.1:25", "--seed", "5"], arguments].concat();
        let Ok(parsed) = crate::arguments::Arguments::try_parse_from(arguments) else { panic!("they are arguments") };
        let Some(crate::arguments::Command::Run(options)) = parsed.command else { panic!("it is a run") };
        Plan::new(&options).unwrap()
    }

    /// The whole content of messages, taken in pieces.
    fn contents(plan: &Plan, numbers: impl Iterator<Item = u64>) -> Vec<Vec<u8>> {
        let pool = pool(plan.seed);
        let people = People::new(1, 100, &[parse_domain("from.test").unwrap()]);
        let (senders, recipients) = (people.senders(), plan.people.recipients(plan.recipients_most()));
        let mut maker = Maker::new(plan, pool, &senders, &recipients);
        let mut header = Vec::new();
        let content = |number| {
            let made = maker.make(number, &mut header);
            let mut content = Vec::new();
            while content.len() < made.octets() as usize {
                let (Piece::Header(piece) | Piece::Text(piece)) = made.piece(&header, content.len() as u64);
                assert!(!piece.is_empty());
                content.extend_from_slice(piece);
            }
            assert_eq!(content.len() as u64, made.octets());
            assert_eq!(made.piece(&header, made.octets()), Piece::Text(b""));
            content
        };
        numbers.map(content).collect()
    }

    #[test]
    fn numbers_have_sixteen_digits() {
        for number in [0, 1, 0xdead_beef, 0x0123_4567_89ab_cdef, u64::MAX, 1 << 63, 0xa0b0_c0d0_e0f0_9f90] {
            let mut digits = Vec::new();
            hexadecimal(number, &mut digits);
            assert_eq!(String::from_utf8(digits).unwrap(), format!("{number:016x}"));
        }
    }

    #[test]
    fn content_has_its_size_and_whole_lines() {
        for size in (2..1200).chain([78 * 1000, 100_000, 100_001, 1 << 20]) {
            let plan = plan(&["--size", &size.to_string()]);
            for content in contents(&plan, 0..2) {
                assert_eq!(content.len(), size);
                let text = std::str::from_utf8(&content).unwrap();
                assert!(text.ends_with("\r\n"), "{size}");
                for line in text.split_terminator("\r\n") {
                    assert!(!line.starts_with('.') && !line.contains(['\r', '\n']), "{size}: {line:?}");
                }
            }
        }
    }

    /// Everybody is drawn as often, and nobody twice for a message.
    #[test]
    fn recipients_are_drawn_at_random() {
        let plan = plan(&["--users", "10", "--recipients", "1-10"]);
        let (pool, people) = (pool(plan.seed), People::new(1, 100, &[parse_domain("from.test").unwrap()]));
        let (senders, recipients) = (people.senders(), plan.people.recipients(plan.recipients_most()));
        let mut maker = Maker::new(&plan, pool, &senders, &recipients);
        let mut header = Vec::new();
        let mut counts = std::collections::BTreeMap::new();
        let mut drawn = 0_u32;
        for number in 0..10_000 {
            let made = maker.make(number, &mut header);
            let names: std::collections::BTreeSet<String> =
                made.recipients.iter().map(|recipient| format!("{:?}", recipient.forward_path)).collect();
            assert_eq!(names.len(), made.recipients.len(), "nobody twice");
            drawn += names.len() as u32;
            names.into_iter().for_each(|name| *counts.entry(name).or_insert(0_u32) += 1);
        }
        let mean = drawn / 10;
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|count| count.abs_diff(mean) < mean / 20), "{counts:?}");
    }

    #[test]
    fn every_message_has_an_id_of_its_own_and_always_the_same_octets() {
        let plan = plan(&["--size", "1k-8k", "--recipients", "1-9"]);
        let all = contents(&plan, 0..1000);
        assert_eq!(all, contents(&plan, 0..1000));
        let id = |content: &Vec<u8>| {
            let text = std::str::from_utf8(content).unwrap().to_owned();
            let ids: Vec<String> =
                text.lines().filter_map(|line| line.strip_prefix("Message-ID: ")).map(str::to_owned).collect();
            assert_eq!(ids.len(), 1);
            ids[0].clone()
        };
        let ids: std::collections::BTreeSet<String> = all.iter().map(id).collect();
        assert_eq!(ids.len(), 1000);
        assert!(all[999].windows(37).any(|window| window == b"Date: Thu, 01 Jan 2026 00:00:00 +0000"));
    }
}
