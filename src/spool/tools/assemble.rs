//! Messages out of blocks: parts of many, between each other, until each has its end.
//!
//! *Invariant*: a message is given when its end is on stable storage, as far as the log says; one that is void by then never is. At the
//! end of the log the rest is given, as recovery would find it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::mail::checksum;
use crate::spool::format::{Block, Located, Record, Wait};
use crate::spool::tools::log::Segment;
use crate::spool::tools::message::{Attempts, Message, Place, State};

/// What is known of a message before its end.
#[derive(Debug, Default)]
struct Open {
    parts: u32,
    octets: u64,
    crc: u32,
    manifest: Vec<u8>,
    attempts: Option<Attempts>,
}

/// A message, or what is left of one.
#[derive(Debug)]
pub enum Found {
    /// It is whole, as far as it was looked at.
    Whole(Message),
    /// Its end is there, and a part of it is not, or is not what it was.
    Broken(Message, &'static str),
    /// Its end is there, and says nothing that can be read.
    Unreadable(Place),
}

/// See the module.
#[derive(Debug)]
pub struct Assembler {
    log: Arc<str>,
    /// Messages that begin before it had their end dealt with: their parts are gone.
    begins_at: u64,
    /// Whether content is summed.
    sums: bool,
    epoch: u32,
    open: HashMap<u64, Open>,
    /// With the sequence of the block of its end, and its number among the open ones.
    ended: VecDeque<(u64, u64, Found)>,
    /// Blocks of which some records could not be read, though their octets are what was written.
    pub unreadable_records: u64,
}

impl Assembler {
    /// For a log that begins at this address. `sums`: content is held against its checksum.
    pub fn new(log: &Arc<str>, begins_at: u64, sums: bool) -> Self {
        Self {
            log: Arc::clone(log),
            begins_at,
            sums,
            epoch: 0,
            open: HashMap::new(),
            ended: VecDeque::new(),
            unreadable_records: 0,
        }
    }

    /// The next block; gives each message that is known to be on stable storage.
    pub fn block(&mut self, segment: &Segment, block: &Block<'_>, found: &mut dyn FnMut(Found)) {
        let header = block.header;
        if header.epoch != self.epoch {
            self.ended.drain(..).for_each(|(.., message)| found(message));
            // What was open when its writer ended never ends.
            self.open.clear();
            self.epoch = header.epoch;
        }
        while self.ended.front().is_some_and(|(sequence, ..)| *sequence < header.durable_upto) {
            self.ended.pop_front().into_iter().for_each(|(.., message)| found(message));
        }
        for located in block.records() {
            let Ok(located) = located else {
                self.unreadable_records += 1;
                return;
            };
            self.record(segment, block, located);
        }
    }

    /// Nothing follows.
    pub fn end(&mut self, found: &mut dyn FnMut(Found)) {
        self.ended.drain(..).for_each(|(.., message)| found(message));
    }

    /// Messages that have begun and have no end so far.
    pub fn unfinished(&self) -> usize {
        self.open.len()
    }

    fn record(&mut self, segment: &Segment, block: &Block<'_>, located: Located<Record<'_>>) {
        match located.record {
            Record::Segment(_) | Record::Void { .. } => {}
            Record::Abort { message } => {
                self.open.remove(&message);
                self.ended.retain(|(_, ended, _)| *ended != message);
            }
            Record::Part { message, content } => {
                let sums = self.sums;
                let open = self.opened(message);
                open.parts += 1;
                open.octets += content.len() as u64;
                if sums {
                    open.crc = checksum::crc32c_append(open.crc, content);
                }
            }
            Record::Manifest { message, octets } => {
                let open = self.opened(message);
                open.parts += 1;
                open.manifest.extend_from_slice(octets);
            }
            Record::Wait { message, wait } => self.opened(message).attempts = Some(attempts(&wait)),
            Record::End { message, end } => {
                let open = self.open.remove(&message).unwrap_or_default();
                let place = Place {
                    log: Arc::clone(&self.log),
                    segment: segment.name.clone(),
                    first: end.first,
                    end: block.header.address + located.at as u64,
                    epoch: block.header.epoch,
                    message,
                };
                // Who dealt with it gave its parts away.
                if end.first < self.begins_at {
                    return;
                }
                let broken = if open.parts != end.parts || open.octets != end.content_octets {
                    Some("a part of it is missing")
                } else if self.sums && open.crc != end.content_crc {
                    Some("its content is not what it was")
                } else {
                    None
                };
                let (mut manifest, content) = (open.manifest, (end.content_octets, end.content_crc));
                manifest.extend_from_slice(end.manifest);
                let sinks = Arc::clone(&segment.sinks);
                let made = Message::new(State::Active, place.clone(), content, manifest, sinks);
                let made = made.map(|made| made.attempted(open.attempts));
                let found = match (made, broken) {
                    (None, _) => Found::Unreadable(place),
                    (Some(made), Some(why)) => Found::Broken(made, why),
                    (Some(made), None) => Found::Whole(made),
                };
                self.ended.push_back((block.header.sequence, message, found));
            }
        }
    }

    fn opened(&mut self, message: u64) -> &mut Open {
        self.open.entry(message).or_default()
    }
}

fn attempts(wait: &Wait<'_>) -> Attempts {
    let Wait { attempts, since_ms, next_ms, code, reply, .. } = *wait;
    Attempts { count: attempts, since_ms, next_ms, code, reply: reply.to_vec() }
}
