//! Writes a batch of messages to the end of a class.
//!
//! *Invariants*: when it is done all of the batch is on stable storage, by one synced write where it fits into a block, and by one sync
//! for each segment that it is in where it does not. When it fails the class is as it was: what the disk may have of the batch is
//! void, and the next segment says so. Every octet is allocated before the first is written, so a disk that is full refuses a batch
//! before anything is written. *Nothing written is written over*, but in a segment that nobody needs.

use std::sync::Arc;

use crate::mail::checksum;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::log::{ClassLog, Tail};
use crate::spool::deferred::yard::Yard;
use crate::spool::format::{
    self, ALIGNMENT, End, HEAD_OCTETS, HEADER_OCTETS, Kind, Wait, encode_end, encode_segment, encode_void, encode_wait,
    filling, record_octets, span,
};

/// A message that is to be kept.
pub struct Parcel<'a> {
    /// How it waits.
    pub wait: Wait<'a>,
    /// What is known of it.
    pub manifest: &'a [u8],
    /// Octets of its content.
    pub content_octets: u64,
    /// That, piece by piece.
    pub content: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
}

impl Parcel<'_> {
    /// Octets of blocks that it takes, with what may be left at the end of some, but for headers.
    fn octets_most(&self) -> u64 {
        // Before its manifest a block, and a segment, may end early by as much as that takes.
        let manifest = record_octets(End::FIXED_OCTETS + self.manifest.len()) as u64;
        let wait = record_octets(64 + self.wait.reply.len()) as u64;
        let pieces = self.content_octets / SMALL_PIECE_OCTETS + 2;
        self.content_octets + pieces * (HEAD_OCTETS as u64 + 8) + 2 * manifest + 2 * wait
    }
}

/// Octets below which a piece of content is copied behind the one before it, into one record.
const SMALL_PIECE_OCTETS: u64 = 1024;

/// A batch that is being written.
struct Batch<'l> {
    log: &'l mut ClassLog,
    yard: &'l mut Yard,
    /// Octets of the block that is collected in the buffer; 0 if there is none.
    filled: usize,
    /// The last segment was written to without a sync.
    is_unsynced: bool,
    /// A segment begins with it, which says what is void.
    has_begun: bool,
    /// Kept for its memory.
    payload: Vec<u8>,
}

/// What the log was before a batch.
struct Before {
    segment: u32,
    sequence: u64,
    tail: Option<u64>,
}

impl ClassLog {
    /// Writes these. When it fails nothing was written that anybody will read.
    pub(super) fn append<'p>(
        &mut self,
        yard: &mut Yard,
        parcels: impl Iterator<Item = Parcel<'p>>,
    ) -> Result<(), DeferredError> {
        let parcels: Vec<Parcel<'p>> = parcels.collect();
        if parcels.is_empty() {
            return Ok(());
        }
        self.make_room(yard, parcels.iter().map(Parcel::octets_most).sum())?;
        let before = Before {
            segment: self.next.segment,
            sequence: self.next.sequence,
            tail: self.tail.as_ref().map(|tail| tail.written),
        };
        let mut batch = Batch { log: self, yard, filled: 0, is_unsynced: false, has_begun: false, payload: Vec::new() };
        let written = parcels.into_iter().try_for_each(|parcel| batch.put(parcel)).and_then(|()| batch.finish());
        match written {
            Ok(()) => {
                let tail = self.tail.as_ref().expect("it was written to");
                self.end = (tail.number, tail.written);
                yard.trim();
                yard.have_one_ahead();
                Ok(())
            }
            Err(error) => {
                self.take_back(yard, &before);
                Err(error)
            }
        }
    }

    /// Has segments for so many octets of records.
    fn make_room(&mut self, yard: &mut Yard, octets: u64) -> Result<(), DeferredError> {
        if !self.is_made {
            yard.storage.make_directory(&self.directory)?;
            self.is_made = true;
        }
        // A header for each block, and what is left of the last page. What is left of blocks before what must lie in one piece has been
        // counted with that.
        let of_block = (yard.sizes.block_octets - HEADER_OCTETS) as u64;
        let octets = octets + (octets / of_block + 1) * HEADER_OCTETS as u64 + ALIGNMENT as u64;
        let room = self.tail.as_ref().map_or(0, |tail| yard.sizes.segment_octets - tail.written);
        if octets <= room {
            return Ok(());
        }
        let of_segment = yard.sizes.segment_octets - 2 * ALIGNMENT as u64;
        yard.provide(octets.div_ceil(of_segment) as usize)
    }

    /// A batch was not written: what there is of it is void.
    fn take_back(&mut self, yard: &mut Yard, before: &Before) {
        let (from, to) = (before.sequence, self.next.sequence);
        if from < to {
            match self.voids.last_mut() {
                Some(last) if last.1 + 1 == from => last.1 = to - 1,
                _ => self.voids.push((from, to - 1)),
            }
        }
        // Segments that it began have nothing else; their places in the order are for others. What cannot be taken away now is
        // written over when the next segment takes its name.
        for number in before.segment..self.next.segment {
            let _ = yard.storage.remove(&self.path(number));
        }
        self.next.segment = before.segment;
        let is_touched = self.tail.as_ref().map(|tail| (tail.number, tail.written))
            != before.tail.map(|written| (before.segment.wrapping_sub(1), written));
        if is_touched || from < to {
            self.tail = None;
        }
    }
}

impl Batch<'_> {
    fn put(&mut self, parcel: Parcel<'_>) -> Result<(), DeferredError> {
        let message = self.log.next.message;
        self.log.next.message += 1;
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        encode_wait(&parcel.wait, &mut payload);
        self.need(record_octets(payload.len()))?;
        let tail = self.log.tail.as_ref().expect("there is room in it");
        let first = tail.base + tail.written;
        self.put_record(Kind::Wait, message, &payload);
        let (mut octets, mut crc, mut parts) = (0, 0, 0);
        let mut small = Vec::new();
        for piece in parcel.content {
            octets += piece.len() as u64;
            crc = checksum::crc32c_append(crc, piece);
            if small.len() + piece.len() < SMALL_PIECE_OCTETS as usize {
                small.extend_from_slice(piece);
                continue;
            }
            parts += self.put_pieces(Kind::Part, message, &small)?;
            small.clear();
            parts += self.put_pieces(Kind::Part, message, piece)?;
        }
        parts += self.put_pieces(Kind::Part, message, &small)?;
        debug_assert_eq!(octets, parcel.content_octets, "as was said");
        // A manifest that is too long for one block goes ahead of its end.
        let most = self.yard.sizes.block_octets - HEADER_OCTETS - HEAD_OCTETS - End::FIXED_OCTETS;
        let (ahead, manifest) = parcel.manifest.split_at(parcel.manifest.len().saturating_sub(most));
        parts += self.put_pieces(Kind::Manifest, message, ahead)?;
        payload.clear();
        let end = End { first, retain: first, content_octets: octets, content_crc: crc, parts, manifest };
        encode_end(&end, &mut payload);
        self.need(record_octets(payload.len()))?;
        self.put_record(Kind::End, message, &payload);
        self.payload = payload;
        Ok(())
    }

    /// Puts octets into as many records as they need. Gives how many.
    fn put_pieces(&mut self, kind: Kind, message: u64, mut octets: &[u8]) -> Result<u32, DeferredError> {
        let mut records = 0;
        while !octets.is_empty() {
            self.need(record_octets(octets.len().min(64)))?;
            let room = self.room() - HEAD_OCTETS;
            let (now, later) = octets.split_at(octets.len().min(room));
            self.put_record(kind, message, now);
            (octets, records) = (later, records + 1);
        }
        Ok(records)
    }

    /// Octets of records for which there is room in the block.
    fn room(&self) -> usize {
        let Some(tail) = &self.log.tail else { return 0 };
        let rest = self.yard.sizes.segment_octets - tail.written;
        (self.yard.sizes.block_octets as u64).min(rest) as usize - self.filled
    }

    /// Has room for so many octets in one piece: in the block, the next one, or the first of another segment.
    fn need(&mut self, octets: usize) -> Result<(), DeferredError> {
        if self.filled > 0 {
            if octets <= self.room() {
                return Ok(());
            }
            self.write_block(false)?;
        }
        if octets + HEADER_OCTETS > self.room() {
            self.begin_segment()?;
        }
        self.filled = HEADER_OCTETS;
        debug_assert!(octets <= self.room(), "{octets} in {}", self.room());
        Ok(())
    }

    fn put_record(&mut self, kind: Kind, message: u64, payload: &[u8]) {
        self.put_octets(&format::head(kind, payload.len() as u32, message));
        self.put_octets(payload);
        let zeros = filling(payload.len());
        self.put_octets(&[0; 8][..zeros]);
    }

    fn put_octets(&mut self, octets: &[u8]) {
        self.yard.buffer[self.filled..self.filled + octets.len()].copy_from_slice(octets);
        self.filled += octets.len();
    }

    /// Seals what is collected; gives how many octets it takes.
    fn seal(&mut self, address: u64) -> usize {
        let sequence = self.log.next.sequence;
        self.log.next.sequence += 1;
        // Of a batch that is being written only what was before it is known to be there.
        let header = self.yard.header(sequence, address, sequence.min(self.log.durable_upto));
        let sealed = header.seal(&self.yard.buffer[HEADER_OCTETS..self.filled]);
        self.yard.buffer[..HEADER_OCTETS].copy_from_slice(&sealed);
        let octets = span(self.filled);
        self.yard.buffer[self.filled..octets].fill(0);
        self.filled = 0;
        octets
    }

    fn write_block(&mut self, is_last: bool) -> Result<(), DeferredError> {
        let Some(tail) = &self.log.tail else { return Ok(()) };
        let (address, at, file) = (tail.base + tail.written, tail.written, Arc::clone(&tail.file));
        let octets = self.seal(address);
        // One write is synced by itself; several need a sync for them all.
        let is_synced = is_last && !self.is_unsynced;
        file.write_at(&self.yard.buffer[..octets], at, is_synced)?;
        self.is_unsynced |= !is_synced;
        if let Some(tail) = &mut self.log.tail {
            tail.written += octets as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DeferredError> {
        if let Some(tail) = self.log.tail.as_ref().filter(|_| self.is_unsynced) {
            tail.file.sync()?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), DeferredError> {
        if self.filled > 0 {
            self.write_block(true)?;
        }
        self.sync()?;
        self.log.durable_upto = self.log.next.sequence;
        if self.has_begun {
            self.log.voids.clear();
        }
        Ok(())
    }

    /// The segment has no room for what comes next: another one begins.
    fn begin_segment(&mut self) -> Result<(), DeferredError> {
        self.sync()?;
        let (spare, file) = self.yard.take_spare()?;
        let (number, base) = (self.log.next.segment, self.yard.next_base);
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let octets = self.yard.sizes.segment_octets;
        encode_segment(octets, base, base, [self.yard.owner.sink.as_str()], &mut payload);
        self.filled = HEADER_OCTETS;
        self.put_record(Kind::Segment, 0, &payload);
        for (from, to) in self.log.voids.clone() {
            payload.clear();
            encode_void(from, to, &mut payload);
            self.put_record(Kind::Void, 0, &payload);
        }
        self.payload = payload;
        let written = self.seal(base);
        self.yard.next_base += octets;
        if let Err(error) = file.write_at(&self.yard.buffer[..written], 0, true) {
            // Of both failures the first is told.
            let _ = self.yard.give_up(spare);
            return Err(error.into());
        }
        let path = self.log.path(number);
        if let Err(error) = self.yard.storage.rename(&spare, &path) {
            self.yard.give_back(spare);
            return Err(error.into());
        }
        // From here on a failure takes it away again.
        self.log.next.segment += 1;
        for directory in [spare.parent(), path.parent()].into_iter().flatten() {
            self.yard.storage.sync_directory(directory)?;
        }
        self.log.tail = Some(Tail { number, base, file, written: written as u64 });
        self.has_begun = true;
        Ok(())
    }
}
