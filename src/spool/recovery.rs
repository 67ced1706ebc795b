//! What is in a log when a process starts on it: where it goes on, and what is lost.
//!
//! # What counts
//!
//! A log's blocks have sequences, one after the other, in the order of their addresses. Each says up to which sequence everything was on
//! stable storage, or void, when it was made; D is the highest that any says. What is missing, or bad, and
//!
//! * is named by a `Void` record, of whatever good block: that is as it should be;
//! * is D or above: the **torn tail** of a power cut. It, and every block behind it, counts for nothing: no message that ends there was
//!   acknowledged. Nothing is said of it;
//! * is below D: **corruption**. It was on stable storage. Where one bit has turned that is put right (`mending`); else it is named, with
//!   the messages that lost something, and everything around it counts.
//!
//! # What follows
//!
//! The next epoch begins a segment of its own, whose first block names as void the torn tail and all that it could still grow: the sequences
//! of blocks that a process which was killed may have had under way, and which may come to the disk late. Its base is above all addresses
//! that were used, by a distance that is drawn: an address is what tells a block from content that looks like one, so nobody who
//! sends mail may know it ([`scan`](super::scan)).
//!
//! *A segment is in use* when its first block says so, be it that a bit of it has turned, or when that is bad and good blocks follow it:
//! then its base is that of the last of them. What is in the last kind may be left from a use before, when the power went while the file
//! was to be used again; nobody needs that, and cursors know.
//! Any other file is spare. A file that was half made is short, and no segment. Segments of one log may have different lengths, each
//! that which it says: what is configured may change while mail waits.
//!
//! *Invariants*: nothing is renamed or removed, and nothing written but a bit that turned. What cannot be ours (another version, node, log,
//! owner; a file that is no segment; a symbolic link; two files with one address) is refused with its name, and left as it is. Each file
//! is read once, a mebioctet and more at a time; twice where its first block is bad, and all of them where something was put right.
//! *Does not* know cursors, or who reads.

mod error;
#[cfg(test)]
mod images;
mod mending;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::path::Path;

use crate::limits;
use crate::mail::id::MessageId;
use crate::spool::format::ALIGNMENT;
use crate::spool::scan::{LogFile, LogFiles, Owner, Voids};
use crate::spool::storage::Storage;
pub use error::RecoveryError;
pub use mending::Mended;
use walk::Walk;

/// What is asked of a log.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose it is.
    pub owner: Owner,
    /// This start's count: there can be no block of it yet, nor of a later one. `None`: whatever there is.
    pub epoch: Option<u32>,
    /// No address below this one is given out, though the log has none any more: that of the furthest cursor.
    pub least_base: u64,
    /// Nobody needs what lies before this address: that of the lowest cursor's retain. What is missing there is not worth a word.
    pub needed_from: u64,
    /// A random number.
    pub entropy: u32,
    /// Files which may lie in the directory beside segments.
    pub others: &'a [&'a str],
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Octets that were read.
    pub octets: u64,
    /// Octets of all segments.
    pub of: u64,
}

/// A segment in use.
#[derive(Clone, Debug)]
pub struct SegmentFound {
    /// Number, base, and the file.
    pub file: LogFile,
    /// The address behind its last good block.
    pub end: u64,
}

/// A file that nothing is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    /// The number in its name.
    pub number: u32,
    /// Its length. One that was half made when the power went is shorter than the others.
    pub octets: u64,
}

/// A message that lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its name, where that is known: where its end is there.
    pub id: Option<MessageId>,
    /// The address of the block with the first of its records that is known.
    pub first: u64,
    /// The address of its end.
    pub place: Option<u64>,
}

/// Blocks that were on stable storage and are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Where the first of them was.
    pub address: u64,
    /// The number of the segment with that address, if there is one.
    pub segment: Option<u32>,
    /// The first of their sequences, and the last.
    pub sequences: (u64, u64),
    /// Messages that have lost something there. Those that lay there with their ends and all are not known.
    pub lost: Vec<Lost>,
    /// Messages beyond those that are named.
    pub more: u64,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, segment, sequences: (first, last), lost, more } = self;
        write!(f, "blocks {first} to {last} were on stable storage and are not sound, from address {address}")?;
        if let Some(number) = segment {
            write!(f, " in segment {number:04}")?;
        }
        for lost in lost {
            match lost.id {
                Some(id) => write!(f, "; message {id} has lost a part")?,
                None => write!(f, "; a message that began at address {} has lost a part", lost.first)?,
            }
        }
        if *more > 0 {
            write!(f, "; and {more} more")?;
        }
        Ok(())
    }
}

/// A sink that mail of a log is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFound {
    /// Its name in the configuration.
    pub name: String,
    /// The base of the first segment that knows it: there is no mail for it before.
    pub from: u64,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Segments in use, in order of their bases.
    pub in_use: Vec<SegmentFound>,
    /// The others.
    pub spare: Vec<Spare>,
    /// The next block's number.
    pub next_sequence: u64,
    /// The next segment's base.
    pub next_base: u64,
    /// All blocks below this sequence are on stable storage, or recorded as void. No block may say more before the first one of the next
    /// segment is durable: what it names as void is corruption for whoever does not find it.
    pub durable_upto: u64,
    /// Blocks that count for nothing, all of them: for whoever reads the log.
    pub voids: Voids,
    /// Those of them that the first block of the next segment must name.
    pub new_voids: Vec<(u64, u64)>,
    /// What was corruption, and is put right.
    pub mended: Vec<Mended>,
    /// What is lost, in order.
    pub corruption: Vec<Corruption>,
    /// Sinks that mail is for, in the order in which they came up.
    pub routes: Vec<RouteFound>,
    /// Messages that began and have no end: void.
    pub unfinished: u64,
    /// Good blocks that were read, and count.
    pub blocks: u64,
    /// Octets that were read.
    pub octets_read: u64,
}

impl Recovered {
    /// The segments in use, to be read.
    pub fn files(&self) -> LogFiles {
        LogFiles::new(self.in_use.iter().map(|segment| segment.file.clone()).collect())
    }
}

/// Looks, and changes nothing.
pub fn inspect(
    storage: &dyn Storage,
    directory: &Path,
    wanted: &Wanted<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, RecoveryError> {
    let mut walk = Walk::new(directory, wanted, progress);
    let files = walk.open_all(storage)?;
    let (in_use, spare) = walk.classify(files)?;
    let mut recovered = walk.read_all(in_use)?;
    recovered.spare.extend(spare);
    recovered.spare.sort_by_key(|spare| spare.number);
    Ok(recovered)
}

/// Looks, puts right what can be, and makes sure that what it found stays: a block that is whole may be so in memory alone when its process
/// was killed.
pub fn recover(
    storage: &dyn Storage,
    directory: &Path,
    wanted: &Wanted<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, RecoveryError> {
    let mut recovered = inspect(storage, directory, wanted, progress)?;
    let mended = mending::mend(storage, directory, wanted, &recovered);
    if !mended.is_empty() {
        recovered = Recovered { mended, ..inspect(storage, directory, wanted, progress)? };
    }
    if wanted.owner.chain.is_synced() {
        for segment in &recovered.in_use {
            segment.file.file.sync()?;
        }
    }
    Ok(recovered)
}

/// Where a log goes on that has used everything below this address.
fn base_after(above: u64, segment_octets: u64, entropy: u32) -> Option<u64> {
    let page = ALIGNMENT as u64;
    let late = segment_octets.checked_mul(limits::LATE_SEGMENTS)?;
    let drawn = (u64::from(entropy) + 1).checked_mul(page)?;
    above.checked_next_multiple_of(page)?.checked_add(late)?.checked_add(drawn)
}
