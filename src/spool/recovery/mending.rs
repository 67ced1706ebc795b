//! Puts blocks right that were on stable storage and of which one bit has turned since.
//!
//! *Invariants*: what is written is what was sealed there: the block's checksum says so, its place, its sequence, each of its records, and the
//! checksums of the messages that lie in it as a whole. So a late write of the process before, if there were one to that block, would
//! write the same. One page is written, and of that one bit differs, so it is right before or behind whatever cuts the power.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::{Corruption, Recovered, Wanted};
use crate::limits;
use crate::mail::checksum;
use crate::memory::region::AlignedBuffer;
use crate::spool::format::{self, ALIGNMENT, Block, Record};
use crate::spool::scan::LogFile;
use crate::spool::storage::{Access, Storage};

/// A bit that was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The number of the segment that it lies in.
    pub segment: u32,
    /// The octet of that file.
    pub at: u64,
    /// The block's number in its log.
    pub sequence: u64,
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, at, sequence } = self;
        write!(
            f,
            "a bit had turned in octet {at} of segment {segment:04}, in block {sequence}: it is put right, and nothing is lost by it; \
             the disk, or this machine's memory, is not to be trusted"
        )
    }
}

/// Puts right what can be. What cannot, or cannot be written, stays as it is.
pub(super) fn mend(storage: &dyn Storage, directory: &Path, wanted: &Wanted<'_>, recovered: &Recovered) -> Vec<Mended> {
    let files = recovered.files();
    let Ok(mut buffer) = AlignedBuffer::new(limits::BLOCK_OCTETS) else { return Vec::new() };
    let mut mended = Vec::new();
    for Corruption { address, sequences, .. } in &recovered.corruption {
        // What is missing at the end of a segment may be the beginning of the next.
        let next = files.as_slice().iter().find(|file| file.base > *address);
        let places = [files.at(*address).map(|file| (file, *address)), next.map(|file| (file, file.base))];
        for (file, from) in places.into_iter().flatten() {
            // Void blocks may lie between, of writes that failed while those behind them did not.
            let most = (sequences.1 - sequences.0).saturating_add(1 + limits::GROUPS_UNDER_WAY as u64);
            let until = from.saturating_add(most.saturating_mul(limits::BLOCK_OCTETS as u64)).min(file.end());
            let mut at = from;
            // BOUND: each turn goes a page on.
            while at < until {
                let found = mend_at(storage, directory, wanted, &mut buffer, (file, at, *sequences));
                at = found.map_or(at + ALIGNMENT as u64, |(_, behind)| behind);
                mended.extend(found.map(|(one, _)| one));
            }
        }
    }
    mended
}

/// Gives the address behind it, too.
fn mend_at(
    storage: &dyn Storage,
    directory: &Path,
    wanted: &Wanted<'_>,
    buffer: &mut [u8],
    (file, address, sequences): (&LogFile, u64, (u64, u64)),
) -> Option<(Mended, u64)> {
    let offset = address - file.base;
    // Most pages are none that a block begins with, and a large hole has many.
    file.file.read_at(&mut buffer[..ALIGNMENT], offset).ok()?;
    if !format::may_begin_at(address, &buffer[..ALIGNMENT]) {
        return None;
    }
    let there = file.file.octets().checked_sub(offset)?.min(buffer.len() as u64) as usize;
    let octets = &mut buffer[..there / ALIGNMENT * ALIGNMENT];
    file.file.read_at(octets, offset).ok()?;
    let bit = format::mend(octets)?;
    let block = format::open(octets).ok()?;
    let is_it = wanted.owner.has(&block.header)
        && block.header.address == address
        && (sequences.0..=sequences.1).contains(&block.header.sequence)
        && wanted.epoch.is_none_or(|ours| block.header.epoch < ours)
        && is_whole(&block);
    if !is_it {
        return None;
    }
    let (sequence, behind) = (block.header.sequence, address + block.span() as u64);
    let page = bit / 8 / ALIGNMENT * ALIGNMENT;
    let path = directory.join(format::segment_name(file.number));
    let written = storage
        .open(&path, Access::Write)
        .and_then(|file| file.write_at(&octets[page..page + ALIGNMENT], offset + page as u64, true));
    written.ok()?;
    Some((Mended { segment: file.number, at: offset + bit as u64 / 8, sequence }, behind))
}

/// Whether all its records are some, and the content of those messages is theirs of which all lies there.
fn is_whole(block: &Block<'_>) -> bool {
    let mut parts: HashMap<u64, (u32, u32)> = HashMap::new();
    block.records().all(|record| match record.map(|located| located.record) {
        Ok(Record::Part { message, content }) => {
            let (count, crc) = parts.entry(message).or_default();
            (*count, *crc) = (*count + 1, checksum::crc32c_append(*crc, content));
            true
        }
        Ok(Record::Manifest { message, .. }) => {
            parts.entry(message).or_default().0 += 1;
            true
        }
        Ok(Record::End { message, end }) => {
            let (count, crc) = parts.remove(&message).unwrap_or_default();
            count != end.parts || crc == end.content_crc
        }
        Ok(_) => true,
        Err(_) => false,
    })
}
