//! The octets of a log, as they lie in its segment files. Pure: no file, no clock.
//!
//! # Log, segment, address
//!
//! A **log** is a directory of **segment** files of one size, `0000.segment`, `0001.segment` and so on. Its octets have
//! **addresses**, which grow as long as the log lives and are never used twice. A segment in use begins at its *base* address, so
//! that what lies at an offset of the file has the address base + offset. Segments are written over when nobody needs them any more: what lies behind the last
//! block of a segment may be from an earlier use of the file, and is told from what is new by address, sequence and epoch.
//!
//! # Block
//!
//! A segment is a row of blocks, each at a multiple of 4,096 octets. A block is what one write writes, and what one group of
//! messages waits for. It has a header of 64 octets, then records, then zeros up to a multiple of 4,096; at most
//! [`limits::BLOCK_OCTETS`] in all. Numbers are little-endian.
//!
//! | at | octets | what |
//! |---|---|---|
//! | 0 | 8 | `ringmxS1` |
//! | 8 | 2 | version, 1 |
//! | 10 | 1 | chain: 1 durable, 2 written, 3 blackhole, 4 deferred |
//! | 11 | 1 | 0 |
//! | 12 | 2 | shard |
//! | 14 | 2 | 0 |
//! | 16 | 4 | node: the random number of the data directory |
//! | 20 | 4 | epoch: the count of starts on it |
//! | 24 | 8 | sequence: the block's number in its log, one more for each, never used twice |
//! | 32 | 8 | address: its own, a multiple of 4,096 |
//! | 40 | 8 | durable_upto: every block with a lower sequence is on stable storage, or void |
//! | 48 | 4 | length: header and records without the zeros behind them; a multiple of 8 |
//! | 52 | 4 | CRC32C of that many octets, these four taken as 0 |
//! | 56 | 8 | 0 |
//!
//! Magic, version, length and checksum stay where they are in every version, so that what is sound and of another version can be told
//! from what is broken: a version counts for something only where the checksum is right.
//!
//! # Record
//!
//! Each at a multiple of 8 octets from the block's start.
//!
//! | at | octets | what |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 3 | 0 |
//! | 4 | 4 | octets of payload |
//! | 8 | 8 | message: among those that are open in this log. It is no id: it comes again in another epoch, and never in the same |
//! | 16 | … | payload, then zeros up to a multiple of 8 |
//!
//! | kind | | payload |
//! |---|---|---|
//! | 1 | `Segment`: begins a segment, the first record of its first block, which has nothing else but `Void`. Message 0 | octets of a segment 8 · base 8 · oldest 8: no message that is open began before this address · names of sinks by their routes' index: count 2, then each as length 1 and UTF-8 |
//! | 2 | `Part`: a piece of content. A message's pieces come in order, those of others between them | content |
//! | 3 | `End`: the message is whole. Without it there is no message | first 8: address of the block with its first record · retain 8: the lowest first of all that were open when this ended, itself too · octets of content 8 · CRC32C of content 4 · number of its `Part` and `Manifest` records 4 · manifest ([`crate::mail::manifest`]), or its last piece |
//! | 4 | `Abort`: the message is void | none |
//! | 5 | `Void`: these blocks are, whatever the disk has. Message 0 | first sequence 8 · last sequence 8 |
//! | 6 | `Wait`: of deferred mail, before its `End` | state 1 · attempts 4 · deferred first at 8 · next attempt at 8, both in ms since 1970 · reply code 2 · text of the last reply |
//! | 7 | `Manifest`: a piece of a manifest that is too long for the block of its `End`. Pieces come in order | that piece |
//!
//! # Invariants
//!
//! *What was written is read*, and a bit that turned in a block's header or records is seen. *Any octets can be read*: what nobody wrote
//! is refused; never a panic, never beyond the end, nothing copied.
//!
//! *Does not* know which block follows which, nor what is lost when one is bad: that is the matter of `scan` and
//! `recovery`.

use crate::limits;

pub mod block;
pub mod mend;
pub mod record;

pub use block::{Block, BlockError, Header, open, span};
pub use mend::{may_begin_at, mend};
pub use record::{
    End, Kind, Located, Opening, Record, RecordError, Records, Routes, Wait, encode_end, encode_segment, encode_void,
    encode_wait, filling, head, put_record, record_octets,
};

/// Octets of a block's header.
pub const HEADER_OCTETS: usize = 64;

/// Octets before a record's payload.
pub const HEAD_OCTETS: usize = 16;

/// Blocks begin at multiples of so many octets, and are written in multiples of them: what a disk writes in one piece, and what
/// writes past the page cache must be aligned to.
pub const ALIGNMENT: usize = 4096;

/// Records begin at multiples of so many octets.
pub const RECORD_ALIGNMENT: usize = 8;

/// The most that a record's payload can be: it has a block for itself.
pub const PAYLOAD_OCTETS: usize = limits::BLOCK_OCTETS - HEADER_OCTETS - HEAD_OCTETS;

const _: () = assert!(limits::BLOCK_OCTETS.is_multiple_of(ALIGNMENT) && ALIGNMENT.is_multiple_of(RECORD_ALIGNMENT));
const _: () = assert!(HEADER_OCTETS.is_multiple_of(RECORD_ALIGNMENT) && HEAD_OCTETS.is_multiple_of(RECORD_ALIGNMENT));

/// What a log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Mail that is on stable storage when it is answered.
    Durable,
    /// Mail that the kernel has when it is answered.
    Written,
    /// Mail that is written and nowhere delivered.
    Blackhole,
    /// Mail that a sink could not take yet.
    Deferred,
}

impl Chain {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Durable, Self::Written, Self::Blackhole, Self::Deferred];

    /// Whether what is written there is on stable storage before anybody relies on it.
    pub const fn is_synced(self) -> bool {
        !matches!(self, Self::Written)
    }

    /// In the name of its directories.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Written => "written",
            Self::Blackhole => "blackhole",
            Self::Deferred => "deferred",
        }
    }

    /// The directory of a shard's log, below that of the spool. Deferred mail has more than one there, each named by its class.
    pub fn directory(self, shard: u16) -> String {
        format!("{}-{shard:04}", self.name())
    }

    /// What [`Self::directory`] named.
    pub fn of_directory(name: &str) -> Option<(Self, u16)> {
        let (chain, shard) = name.split_once('-')?;
        let chain = Self::ALL.into_iter().find(|known| known.name() == chain)?;
        let shard = shard.parse().ok()?;
        // One log has one name: `durable-3` is none.
        (chain.directory(shard) == name).then_some((chain, shard))
    }

    const fn code(self) -> u8 {
        match self {
            Self::Durable => 1,
            Self::Written => 2,
            Self::Blackhole => 3,
            Self::Deferred => 4,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.code() == code)
    }
}

/// The file of a segment, by its number.
pub fn segment_name(number: u32) -> String {
    format!("{number:04}.segment")
}

/// The number in the name of a segment's file; `None` for any other file.
pub fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".segment")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// A number that lies at this offset.
fn number<const OCTETS: usize>(octets: &[u8], at: usize) -> Option<[u8; OCTETS]> {
    octets.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_and_a_segment_have_one_name_each() {
        for chain in Chain::ALL {
            for shard in [0, 3, 9999, u16::MAX] {
                assert_eq!(Chain::of_directory(&chain.directory(shard)), Some((chain, shard)));
            }
            assert_eq!(Chain::of_code(chain.code()), Some(chain));
        }
        assert_eq!(Chain::Durable.directory(3), "durable-0003");
        for name in ["durable", "durable-3", "durable-00003", "durable-+003", "other-0003", "durable-70000", ""] {
            assert_eq!(Chain::of_directory(name), None, "{name}");
        }
        for number in [0, 7, 9999, 10_000, u32::MAX] {
            assert_eq!(segment_number(&segment_name(number)), Some(number));
        }
        for name in ["1.segment", "00001.segment", "0001", "0001.segment.new", "+001.segment", ".segment", ""] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
