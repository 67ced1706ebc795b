//! Messages of a log as a tool is told of them.
//!
//! *Invariant*: a message is given when its end is on stable storage, as far as the log says; one that is void by then never is. At the
//! end of the log the rest is given, as recovery would find it. *Does not* know how messages come of blocks: that is
//! [`assembly`]'s matter.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::spool::scan::assembly::{self, Damage, Event};
use crate::spool::tools::log::{Met, Segment};
use crate::spool::tools::message::{Message, Place, State};

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
    messages: assembly::Assembler,
    epoch: u32,
    /// Those that have ended, with the sequence of the block of the end, and their number among the open ones.
    ended: VecDeque<(u64, u64, Found)>,
    /// Blocks of which some records could not be read, though their octets are what was written.
    pub unreadable_records: u64,
}

impl Assembler {
    /// For a log that begins at this address. `sums`: content is held against its checksum.
    pub fn new(log: &Arc<str>, begins_at: u64, sums: bool) -> Self {
        let messages = assembly::Assembler::new(begins_at);
        let messages = if sums { messages.summing() } else { messages };
        Self { log: Arc::clone(log), messages, epoch: 0, ended: VecDeque::new(), unreadable_records: 0 }
    }

    /// What is met next; gives each message that is known to be on stable storage.
    pub fn met(&mut self, segment: &Segment, met: &Met<'_>, found: &mut dyn FnMut(Found)) {
        let block = match met {
            Met::Block(block) => block,
            Met::Void { before } => return self.messages.void(before.saturating_sub(1)),
            Met::Damage { before, .. } => return self.messages.bad(before.saturating_sub(1)),
            Met::Tail { .. } => return,
        };
        let header = block.header;
        if header.epoch != self.epoch {
            self.end(found);
            self.epoch = header.epoch;
        }
        while self.ended.front().is_some_and(|(sequence, ..)| *sequence < header.durable_upto) {
            self.ended.pop_front().into_iter().for_each(|(.., message)| found(message));
        }
        let Self { log, messages, ended, unreadable_records, .. } = self;
        messages.block(block, |event| {
            let (message, manifest, damage) = match event {
                Event::Message(message, manifest) => (message, manifest, None),
                Event::Damaged(message, manifest, damage) => (message, manifest, Some(damage)),
                Event::Aborted(number) => return ended.retain(|(_, ended, _)| *ended != number),
                Event::Strange(..) => return *unreadable_records += 1,
                Event::Unfinished(_) => return,
            };
            ended.push_back((message.sequence, message.number, told(log, segment, message, manifest, damage)));
        });
    }

    /// Nothing follows.
    pub fn end(&mut self, found: &mut dyn FnMut(Found)) {
        self.ended.drain(..).for_each(|(.., message)| found(message));
    }

    /// Messages that have begun and have no end so far.
    pub fn unfinished(&self) -> usize {
        self.messages.open()
    }
}

fn told(
    log: &Arc<str>,
    segment: &Segment,
    message: assembly::Message,
    manifest: Cow<'_, [u8]>,
    damage: Option<Damage>,
) -> Found {
    let (log, segment, sinks) = (Arc::clone(log), segment.name.clone(), Arc::clone(&segment.sinks));
    let place = Place { log, segment, record: message };
    let Some(message) = Message::new(State::Active, place.clone(), manifest.into_owned(), sinks) else {
        return Found::Unreadable(place);
    };
    match damage {
        None => Found::Whole(message),
        Some(Damage::Part) => Found::Broken(message, "a part of it is missing"),
        Some(Damage::Content) => Found::Broken(message, "its content is not what it was"),
    }
}
