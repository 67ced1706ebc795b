//! What was sent to a spool and what came of it, kept outside: nothing that was acknowledged may be missing in the end.

use std::collections::BTreeMap;

use crate::handoff::delivery::Delivery;
use crate::mail::address::Path;
use crate::mail::id::MessageId;

/// What a sink has had of a message, for one recipient.
#[derive(Clone, Copy, Debug, Default)]
pub struct Had {
    /// How often it was told that it has been taken.
    pub taken: u32,
    /// It was refused for good, and that is noted.
    pub refused: bool,
    /// It lies where such mail is kept.
    pub is_dead: bool,
    /// The life of the process in which it came first, and that in which the last final word was settled.
    pub came_in: Option<u32>,
    pub settled_in: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not sent to its end, or refused there.
    Nothing,
    Unanswered,
    Accepted,
    Refused,
}

#[derive(Debug)]
pub struct Entry {
    pub octets: usize,
    pub state: State,
    pub id: Option<MessageId>,
    /// By route and place among the recipients of that route.
    pub had: BTreeMap<(u16, u32), Had>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub lives: u64,
    pub messages: u64,
    pub accepted: u64,
    pub deliveries: u64,
    /// Deliveries of what a sink had already, after a crash.
    pub again: u64,
    /// Deliveries of what was refused or not answered.
    pub unasked: u64,
    /// Deliveries out of the deferred log.
    pub retried: u64,
    pub dead: u64,
}

impl Tally {
    pub fn plus(self, other: Self) -> Self {
        Self {
            lives: self.lives + other.lives,
            messages: self.messages + other.messages,
            accepted: self.accepted + other.accepted,
            deliveries: self.deliveries + other.deliveries,
            again: self.again + other.again,
            unasked: self.unasked + other.unasked,
            retried: self.retried + other.retried,
            dead: self.dead + other.dead,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    pub tally: Tally,
}

impl Ledger {
    /// A message of so many octets, at least 8; routes of its recipients.
    pub fn begin(&mut self, octets: usize, routes: &[u16]) -> usize {
        let mut had: BTreeMap<(u16, u32), Had> = BTreeMap::new();
        for route in routes {
            let index = had.keys().filter(|(other, _)| other == route).count() as u32;
            had.insert((*route, index), Had::default());
        }
        self.entries.push(Entry { octets: octets.max(8), state: State::Nothing, id: None, had });
        self.tally.messages += 1;
        self.entries.len() - 1
    }

    /// The content begins with the number.
    pub fn content(&self, number: usize, text: &[u8]) -> Vec<u8> {
        let octets = self.entries[number].octets;
        let from = number.wrapping_mul(4_099) % (text.len() / 2);
        [&(number as u64).to_le_bytes()[..], &text[from..from + octets - 8]].concat()
    }

    pub fn answered(&mut self, number: usize, said: Result<MessageId, ()>) -> Result<(), String> {
        let entry = &mut self.entries[number];
        if entry.state != State::Unanswered {
            return Err(format!("message {number} was answered {said:?}, and is {:?}", entry.state));
        }
        entry.state = if said.is_ok() { State::Accepted } else { State::Refused };
        self.tally.accepted += u64::from(said.is_ok());
        match (said, entry.id) {
            (Ok(id), Some(before)) if id != before => {
                Err(format!("message {number} is {before} and was answered as {id}"))
            }
            (Ok(id), _) => {
                entry.id = Some(id);
                Ok(())
            }
            (Err(()), _) => Ok(()),
        }
    }

    /// A delivery has come to a sink. Gives its number, and for each of its recipients their place in the ledger.
    pub fn come(
        &mut self,
        route: u16,
        delivery: &Delivery,
        text: &[u8],
        life: u32,
    ) -> Result<(usize, Vec<u32>), String> {
        let content: Vec<u8> = delivery.content().collect::<Vec<_>>().concat();
        let Some(number) = self.number_of(&content, text) else {
            return Err(format!("what came as {} was never sent, or is altered", delivery.id()));
        };
        let entry = &mut self.entries[number];
        if entry.state == State::Nothing {
            return Err(format!("message {number} was not sent to its end, and came"));
        }
        if *entry.id.get_or_insert(delivery.id()) != delivery.id() {
            return Err(format!("message {number} came as {} and {:?}", delivery.id(), entry.id));
        }
        self.tally.deliveries += 1;
        self.tally.unasked += u64::from(entry.state != State::Accepted);
        self.tally.retried += u64::from(crate::spool::settlement::is_retried(delivery));
        let manifest = delivery.manifest();
        if manifest.content_octets != content.len() as u64 || manifest.recipients != entry.had.len() as u32 {
            return Err(format!("message {number} came with another manifest: {manifest:?}"));
        }
        let mut places = Vec::new();
        for to in delivery.recipients() {
            let place = place_of(to.path).ok_or("to nobody")?;
            let Some(had) = entry.had.get_mut(&(route, place)) else {
                return Err(format!("message {number} came to {place} of sink {route}, who is no recipient of it"));
            };
            // Else it may be in the log and, deferred, a second time.
            if *had.came_in.get_or_insert(life) == life && had.settled_in == Some(life) {
                return Err(format!("message {number} came again to {place} of sink {route}: {had:?}"));
            }
            self.tally.again += u64::from(had.taken > 0 || had.refused);
            places.push(place);
        }
        Ok((number, places))
    }

    /// Mail of a sink that was refused for good was found where it is kept, for these recipients.
    pub fn lies_dead<'a>(
        &mut self,
        route: u16,
        (id, content): (MessageId, &[u8]),
        text: &[u8],
        recipients: impl Iterator<Item = Path<'a>>,
    ) -> Result<(), String> {
        let number =
            self.number_of(content, text).ok_or_else(|| format!("{id} is dead, and was never sent, or altered"))?;
        for path in recipients {
            let had = place_of(path).and_then(|place| self.entries[number].had.get_mut(&(route, place)));
            had.ok_or_else(|| format!("message {number} is dead for who is no recipient of it"))?.is_dead = true;
        }
        Ok(())
    }

    /// What was acknowledged and is not dealt with. What a sink took it has; what it refused must lie there. That a word of it is noted is
    /// not asked for: the write that notes it may have failed, and be there all the same.
    pub fn missing(&self) -> Option<String> {
        let is_open = |had: &Had| !had.is_dead && (had.taken == 0 || had.refused);
        self.entries.iter().enumerate().filter(|(_, entry)| entry.state == State::Accepted).find_map(
            |(number, entry)| {
                let open = entry.had.iter().find(|(_, had)| is_open(had))?;
                Some(format!("message {number} is lost for {open:?}: {entry:?}"))
            },
        )
    }

    /// The message with this content.
    fn number_of(&self, content: &[u8], text: &[u8]) -> Option<usize> {
        let number = u64::from_le_bytes(*content.first_chunk()?) as usize;
        (number < self.entries.len() && content == self.content(number, text)).then_some(number)
    }
}

/// The place in the ledger of a recipient: its local-part.
fn place_of(path: Path<'_>) -> Option<u32> {
    let Path::Mailbox(mailbox) = path else { return None };
    str::from_utf8(mailbox.local_part).ok()?.parse().ok()
}
