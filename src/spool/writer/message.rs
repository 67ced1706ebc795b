//! What becomes of one message in a log: its parts, its end, or that it is void.

use crate::handoff::gather::Described;
use crate::limits;
use crate::mail::checksum;
use crate::memory::slab::{Lease, Leases, SlabFull};
use crate::mutant::Mutant;
use crate::policy::decision::Ticket;
use crate::smtp::reply::Reply;
use crate::spool::format::{End, HEAD_OCTETS, Kind};
use crate::spool::writer::group::{Ended, Group, Open, Routes, State};
use crate::spool::writer::{Log, Standing};

impl Log {
    /// A piece of the content of a message; gives the octets that were copied. What cannot be kept is refused at its end.
    pub fn content(&mut self, slot: u32, mut piece: &[u8]) -> usize {
        let index = slot as usize;
        if self.place(slot).is_none() {
            self.open[index] = Some(self.new_message());
        }
        let mut copied = 0;
        while !piece.is_empty() {
            let Some(mut open) = self.open[index].take_if(|open| open.refusal.is_none()) else { return copied };
            let added = self.add_content(slot, &mut open, piece);
            self.open[index] = Some(open);
            match added {
                Ok(added) => {
                    copied += added;
                    piece = &piece[added..];
                }
                Err(SlabFull) => self.cut(slot, Reply::NoMemory),
            }
        }
        copied
    }

    /// Where the message of a connection's slot is.
    fn place(&mut self, slot: u32) -> &mut Option<Open> {
        let index = slot as usize;
        if index >= self.open.len() {
            self.open.resize_with(index + 1, || None);
        }
        &mut self.open[index]
    }

    fn new_message(&mut self) -> Open {
        self.next_tag += 1;
        Open {
            tag: self.next_tag,
            first: None,
            is_spanning: false,
            last: u64::MAX,
            parts: 0,
            octets: 0,
            checksum: 0,
            content: self.is_read().then(Leases::default),
            refusal: matches!(self.standing, Standing::Failed { .. }).then_some(Reply::DeliveryFailed),
        }
    }

    fn add_content(&mut self, slot: u32, open: &mut Open, piece: &[u8]) -> Result<usize, SlabFull> {
        self.block(1)?;
        self.note_span(open);
        let Self { gathering: Some(gathering), slab, .. } = self else { return Err(SlabFull) };
        let (added, is_new) = gathering.add_content(slab, open.tag, open.content.as_mut(), piece);
        if is_new {
            open.parts += 1;
            gathering.touch(slot, open);
        }
        open.checksum = checksum::crc32c_append(open.checksum, &piece[..added]);
        open.octets += added as u64;
        if open.octets > limits::LETTER_CONTENT_OCTETS {
            // Whoever wants it reads it from the disk.
            open.content = None;
        }
        Ok(added)
    }

    /// Nothing of a message is kept any more, and it is refused at its end.
    pub(super) fn cut(&mut self, slot: u32, reply: Reply) {
        let Some(open) = self.open.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        open.content = None;
        open.refusal = Some(reply);
        self.void(slot);
    }

    /// What came of a message since its last end is void.
    pub fn abort(&mut self, slot: u32) {
        self.void(slot);
        if let Some(open) = self.open.get_mut(slot as usize)
            && !Mutant::KeepsMemoryOfAborted.is_on()
        {
            *open = None;
        }
    }

    /// Whoever reads the log hears that a message is void of which there is something in it.
    fn void(&mut self, slot: u32) {
        let Some(open) = self.open.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(first) = open.first.take() else { return };
        let (tag, is_spanning) = (open.tag, std::mem::take(&mut open.is_spanning));
        if is_spanning {
            self.forget_first(first);
        }
        self.add_abort(tag);
    }

    /// Without memory for it nothing is lost: no end, no message.
    pub(super) fn add_abort(&mut self, tag: u64) {
        if self.block(1).is_ok()
            && let Self { gathering: Some(gathering), slab, .. } = self
        {
            gathering.add(slab, Kind::Abort, tag, 0, |_| ());
        }
    }

    /// The block in which a message began is closed, and the message is not in its place, where [`Log::close_block`] looks for it: it is
    /// being added to.
    fn note_span(&mut self, open: &mut Open) {
        let Some(first) = open.first.filter(|_| !Mutant::SpoolForgetsBeginning.is_on()) else { return };
        let is_here = self.gathering.as_ref().is_some_and(|gathering| gathering.address == first);
        if !is_here && !std::mem::replace(&mut open.is_spanning, true) {
            *self.firsts.entry(first).or_default() += 1;
        }
    }

    pub(super) fn forget_first(&mut self, first: u64) {
        debug_assert!(self.firsts.contains_key(&first), "what spans blocks is known by where it begins");
        if let Some(count) = self.firsts.get_mut(&first) {
            *count -= 1;
            if *count == 0 {
                self.firsts.remove(&first);
            }
        }
    }

    /// A message is complete. Unless it is refused here, [`Log::take_answer`] gives what becomes of it.
    pub fn end(&mut self, ticket: Ticket, message: &Described<'_>) -> Result<(), Reply> {
        let slot = ticket.slot;
        let mut open = self.place(slot).take().unwrap_or_else(|| self.new_message());
        if let Some(reply) = open.refusal {
            return Err(reply);
        }
        let added = self.add_end(&mut open, ticket, message);
        added.map_err(|SlabFull| {
            *self.place(slot) = Some(open);
            self.abort(slot);
            Reply::NoMemory
        })
    }

    fn add_end(&mut self, open: &mut Open, ticket: Ticket, message: &Described<'_>) -> Result<(), SlabFull> {
        let slot = ticket.slot;
        let mut last = message.manifest;
        // BOUND: each turn but the last fills a block up. Nearly every manifest is short, and this is looked at once.
        loop {
            self.block(1)?;
            self.note_span(open);
            let Self { gathering: Some(gathering), slab, .. } = self else { return Err(SlabFull) };
            let room = gathering.room(slab).unwrap_or(0);
            if End::FIXED_OCTETS + last.len() <= room {
                break;
            }
            if End::FIXED_OCTETS + last.len() <= limits::BLOCK_LEAST_OCTETS / 2 {
                // Another block has room for it in one piece.
                self.block(End::FIXED_OCTETS + last.len())?;
                self.note_span(open);
                break;
            }
            let (piece, rest) = last.split_at(room.min(last.len() - 1));
            gathering.touch(slot, open);
            gathering.add(slab, Kind::Manifest, open.tag, piece.len(), |slab| slab.put_within(piece));
            open.parts += 1;
            last = rest;
        }
        let is_whole = last.len() == message.manifest.len();
        let elsewhere = match self.is_read() && !is_whole {
            true => Some(self.whole.append_whole(message.manifest)?),
            false => None,
        };
        let lowest = self.firsts.keys().next().copied();
        let is_read = self.is_read();
        let Self { gathering: Some(gathering), slab, .. } = self else { return Err(SlabFull) };
        let address = gathering.address;
        let first = open.first.unwrap_or(address);
        let retain = lowest.map_or(address, |lowest| address.min(lowest));
        let (content_octets, content_crc, parts) = (open.octets, open.checksum, open.parts);
        let fixed = End { first, retain, content_octets, content_crc, parts, manifest: &[] }.fixed();
        let mut kept = elsewhere;
        let offset = gathering.add(slab, Kind::End, open.tag, End::FIXED_OCTETS + last.len(), |slab| {
            slab.put_within(&fixed);
            match is_read && kept.is_none() {
                true => kept = Some(slab.put_whole(last)),
                false => slab.put_within(last),
            }
        });
        let place = address + offset as u64;
        gathering.ends.push(ended(open, (ticket, message), (first, place, retain), kept));
        Ok(())
    }

    /// A block that is made whole stands next in the log, there in the segment.
    pub(super) fn push_whole(
        &mut self,
        at: u64,
        body: &[u8],
        ends: Vec<Ended>,
        opens: Option<Vec<(u64, u64)>>,
    ) -> Result<(), SlabFull> {
        let (sequence, base) = (self.sequence, self.base);
        let address = base + at;
        let mut octets = Vec::new();
        self.header(sequence, address).put(body, &mut octets);
        let octets = self.append_aligned(&octets)?;
        self.at = Some(at + octets.octets().len() as u64);
        let (touched, state, segment) = (Vec::new(), State::Waiting, None);
        self.push_group(Group {
            number: 0,
            sequence,
            address,
            durable_upto: self.durable_upto,
            base,
            octets,
            ends,
            touched,
            opens,
            state,
            segment,
        });
        Ok(())
    }
}

fn ended(
    open: &mut Open,
    (ticket, message): (Ticket, &Described<'_>),
    (first, place, retain): (u64, u64, u64),
    manifest: Option<Lease>,
) -> Ended {
    Ended {
        ticket,
        id: message.id,
        routes: Routes::of(message.routes),
        tag: open.tag,
        first,
        place,
        retain,
        manifest,
        content: open.content.take(),
        is_refused: false,
        is_spanning: open.is_spanning,
    }
}

const _: () = assert!(HEAD_OCTETS < limits::BLOCK_LEAST_OCTETS);
