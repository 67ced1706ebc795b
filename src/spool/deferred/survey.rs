//! What a segment has, and where its log ends if it is the last one.
//!
//! A batch counts when all of its blocks are on stable storage, and the blocks of one batch get there in any order: so what is missing
//! may be what a crash tore, and what lies behind it of the same batch counts for nothing. But a block says up to which sequence all was
//! durable when it was sealed: what is missing below that was promised to somebody, and is lost. It ends nothing: its neighbours are
//! read, and the reader that comes to the place notes it.
//!
//! *Invariants*: all of the file is looked at, whatever lies in it. A page that the disk does not give is never taken for one that was
//! torn: it may come back, so the log does not end before it. *Residue*: of a batch that was the last of its class, a part that goes bad
//! looks like one that was torn, since no later block says that it was durable.

use std::path::Path;
use std::sync::Arc;

use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::yard::Yard;
use crate::spool::format::{self, ALIGNMENT, Block, BlockError, Chain, Record};
use crate::spool::scan::{Found, Owner, SegmentScan, Strange};
use crate::spool::storage::{Access, StoredFile};

/// A base that no segment has.
const NOWHERE: u64 = 1;

/// Good blocks that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Octets of the file before the first, and up to the end of the last.
    at: u64,
    until: u64,
    /// The sequences of both.
    first: u64,
    last: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) octets: u64,
    /// `None` if no block says so.
    pub(super) base: Option<u64>,
    /// The highest number of a message, in whatever block: one that counts for nothing may be taken for another if what says so is lost.
    pub(super) message: Option<u64>,
    /// In order; nothing good lies between them.
    runs: Vec<Run>,
    /// Blocks with lower sequences were durable, as good ones say.
    durable_upto: u64,
    /// Octets up to the end of the last page that the disk did not give.
    unreadable_until: u64,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Octets that count, with what is bad among them.
    pub(super) end: u64,
    /// Blocks of this sequence, and of those behind it, count for nothing.
    pub(super) first_void: u64,
    /// Something of what counts is missing.
    pub(super) is_damaged: bool,
    /// So is what would say how far its numbers go.
    pub(super) has_unknown: bool,
}

impl Survey {
    fn add(&mut self, block: &Block<'_>, base: u64) {
        let (sequence, at) = (block.header.sequence, block.header.address - base);
        let until = at + block.span() as u64;
        match self.runs.last_mut() {
            Some(run) if (run.until, run.last + 1) == (at, sequence) => (run.until, run.last) = (until, sequence),
            _ => self.runs.push(Run { at, until, first: sequence, last: sequence }),
        }
        self.durable_upto = self.durable_upto.max(block.header.durable_upto);
        let records = block.records().map_while(Result::ok).map(|located| located.record);
        let messages = records.filter(|record| record.kind().has_message()).map(|record| record.message());
        self.message = self.message.max(messages.max());
    }

    /// Whether its first block is good.
    pub(super) fn has_beginning(&self) -> bool {
        self.runs.first().is_some_and(|run| run.at == 0)
    }

    /// No block that is here has this sequence, or a higher one.
    pub(super) fn behind(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.last + 1)
    }

    /// Where it ends. So many octets of it, and so many sequences, somebody was behind already: what was read was durable.
    pub(super) fn ending(&self, passed_octets: u64, passed_sequence: u64) -> Ending {
        let Some(last) = self.runs.last() else {
            return Ending { end: self.octets, first_void: passed_sequence, is_damaged: true, has_unknown: true };
        };
        let durable = self.durable_upto.max(passed_sequence);
        let mut holes = self.runs.array_windows::<2>();
        let torn = holes.find(|[before, behind]| behind.first > durable && before.until >= self.unreadable_until);
        let (end, first_void) = match torn {
            // The first of what is missing was durable: the reader shall come to where it lay.
            Some([before, behind]) if before.last + 1 < durable => (behind.at, durable),
            Some([before, _]) => (before.until, before.last + 1),
            None => (last.until, durable.max(last.last + 1)),
        };
        let end = end.max(passed_octets).max(self.unreadable_until);
        let has_unknown = self.unreadable_until > last.until;
        Ending { end, first_void, is_damaged: self.is_missing_before(end), has_unknown }
    }

    /// Whether there is no good block somewhere before that place.
    fn is_missing_before(&self, end: u64) -> bool {
        let counting = self.runs.iter().take_while(|run| run.until <= end);
        let whole = counting.fold(0, |whole, run| if run.at == whole { run.until } else { whole });
        whole < end
    }
}

/// Looks at all of a segment.
pub(super) fn survey(yard: &mut Yard, path: &Path) -> Result<Survey, DeferredError> {
    let file = yard.storage.open(path, Access::Read)?;
    let mut survey = Survey { octets: file.octets(), ..Survey::default() };
    let opened = match opening(yard, &*file, path)? {
        None => guess(yard, &file, path)?,
        opened => opened,
    };
    let Some((owner, base)) = opened else { return Ok(survey) };
    survey.base = Some(base);
    let mut scan = SegmentScan::whole(file, owner, base)?;
    while let Some(found) = scan.next_found()? {
        if let Found::Block(block) = found {
            survey.add(&block, base);
        }
    }
    survey.unreadable_until = scan.unreadable_until().map_or(0, |address| address - base);
    Ok(survey)
}

/// Whose a segment is and where it begins, as its first block says. `None`: that is bad, or the disk does not give it.
fn opening(yard: &mut Yard, file: &dyn StoredFile, path: &Path) -> Result<Option<(Owner, u64)>, DeferredError> {
    let there = (file.octets() / ALIGNMENT as u64).min((yard.sizes.block_octets / ALIGNMENT) as u64) as usize;
    let octets = &mut yard.buffer[..there * ALIGNMENT];
    // What cannot be read is bad, and seen to be again when all is read.
    if file.read_at(octets, 0).is_err() && !read_first_page(file, octets) {
        return Ok(None);
    }
    let foreign = |why| Err(DeferredError::Foreign { path: path.to_owned(), why });
    let block = match format::open(&yard.buffer[..there * ALIGNMENT]) {
        Ok(block) => block,
        Err(BlockError::Version(_)) => return foreign("it is of another version of it"),
        Err(_) => return Ok(None),
    };
    if !yard.is_ours(&block.header) {
        return foreign(OTHERS);
    }
    // What a tool has put there does not name this thread.
    let owner = Owner { chain: block.header.chain, shard: block.header.shard, node: block.header.node };
    let base = block.records().map_while(Result::ok).find_map(|located| match located.record {
        Record::Segment(opening) => Some(opening.base),
        _ => None,
    });
    Ok(base.filter(|base| *base == block.header.address).map(|base| (owner, base)))
}

const OTHERS: &str = "it is of another data directory, or no deferred mail";

/// It says what the segment is, mostly alone: a page behind it that the disk does not give must not hide that.
fn read_first_page(file: &dyn StoredFile, octets: &mut [u8]) -> bool {
    octets.fill(0);
    octets.first_chunk_mut::<ALIGNMENT>().is_some_and(|page| file.read_at(page, 0).is_ok())
}

/// The same by the first good block that there is. What is left of an earlier use of the file lies behind those of the last one.
fn guess(yard: &Yard, file: &Arc<dyn StoredFile>, path: &Path) -> Result<Option<(Owner, u64)>, DeferredError> {
    let owner = Owner { chain: Chain::Deferred, shard: yard.owner.thread, node: yard.owner.node };
    let mut scan = SegmentScan::whole(Arc::clone(file), owner, NOWHERE)?;
    while scan.next_found()?.is_some() {}
    match (scan.elsewhere(), scan.strange()) {
        (None, Some(Strange::Owner(other))) if (other.chain, other.node) != (owner.chain, owner.node) => {
            Err(DeferredError::Foreign { path: path.to_owned(), why: OTHERS })
        }
        (base, _) => Ok(base.map(|base| (owner, base))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = ALIGNMENT as u64;

    /// Blocks of a page each, by sequence; between the ones that are bad. Sequences begin with 100.
    fn found(good: &[u64], durable_upto: u64, unreadable: Option<u64>) -> Survey {
        let mut survey = Survey { octets: 16 * PAGE, base: Some(0), durable_upto, ..Survey::default() };
        for sequence in good {
            let at = (sequence - 100) * PAGE;
            match survey.runs.last_mut() {
                Some(run) if run.until == at => (run.until, run.last) = (at + PAGE, *sequence),
                _ => survey.runs.push(Run { at, until: at + PAGE, first: *sequence, last: *sequence }),
            }
        }
        survey.unreadable_until = unreadable.map_or(0, |sequence| (sequence - 99) * PAGE);
        survey
    }

    /// By sequences: the end, and the first that is void.
    fn ending(survey: &Survey, passed: u64) -> (u64, u64, bool, bool) {
        let Ending { end, first_void, is_damaged, has_unknown } =
            survey.ending(passed.saturating_sub(100) * PAGE, passed);
        (100 + end / PAGE, first_void, is_damaged, has_unknown)
    }

    #[test]
    fn what_was_torn_ends_it_and_what_was_durable_does_not() {
        let of = |good: &[u64], durable_upto| ending(&found(good, durable_upto, None), 0);
        assert_eq!(of(&[100, 101, 102, 103], 102), (104, 104, false, false), "nothing is missing");
        assert_eq!(of(&[100, 101, 103, 104], 102), (102, 102, false, false), "one of the last batch");
        assert_eq!(of(&[100, 101, 103, 104], 103), (105, 105, true, false), "one of a batch before");
        assert_eq!(of(&[100, 101, 104, 105], 103), (104, 103, true, false), "one of each: what is left does not count");
        assert_eq!(of(&[100, 102, 104, 106], 103), (103, 103, true, false), "the first one that may be torn");
        assert_eq!(of(&[100, 102, 104, 106], 104), (105, 105, true, false));
        assert_eq!(of(&[101, 102], 101), (103, 103, true, false), "what it begins with");
    }

    #[test]
    fn what_somebody_was_behind_was_durable_though_no_block_says_so() {
        let survey = found(&[100, 101, 103, 104], 102, None);
        assert_eq!(ending(&survey, 102), (102, 102, false, false));
        assert_eq!(ending(&survey, 103), (105, 105, true, false));
        assert_eq!(ending(&found(&[100, 101], 101, None), 104), (104, 104, true, false), "it never ends before that");
    }

    #[test]
    fn what_the_disk_does_not_give_was_not_torn() {
        let of = |good: &[u64], unreadable| ending(&found(good, 100, Some(unreadable)), 0);
        assert_eq!(of(&[100, 101, 103, 104], 102), (105, 105, true, false));
        assert_eq!(of(&[100, 101, 103, 105], 102), (104, 104, true, false), "what is missing behind it may have been");
        assert_eq!(of(&[100, 101], 104), (105, 102, true, true));
        assert_eq!(ending(&found(&[], 0, Some(103)), 0), (116, 0, true, true), "all of it is looked at again");
    }
}
