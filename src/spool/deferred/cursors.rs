//! How far each class of a sink's thread is done with, in one small file.
//!
//! *Invariants*: there are two slots, written by turns, each whole and synced before the other is touched: a crash leaves the one or
//! the other. Octets that are no slot count for nothing. Without any everything is read from its beginning: delivered twice perhaps,
//! and never lost. What the disk does not give is no such case: numbers that began anew beside a slot which comes back would be below
//! that one's, and at the next start mail would count as done with that nobody had.

use std::path::Path;
use std::sync::Arc;

use crate::limits::{self, PAGE_OCTETS};
use crate::mail::checksum;
use crate::memory::region::AlignedBuffer;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::log::Position;
use crate::spool::deferred::yard::Yard;
use crate::spool::storage::{Access, Storage, StorageError, StoredFile};

const NAME: &str = "cursors";
const MAGIC: [u8; 8] = *b"ringmxC1";
const OCTETS: u64 = 2 * PAGE_OCTETS as u64;
/// Magic, checksum, node, generation, number of entries, next base; the rest is kept for later.
const HEAD_OCTETS: usize = 64;
/// A class and its position.
const ENTRY_OCTETS: usize = 40;
const CHECKSUM: std::ops::Range<usize> = 8..12;

#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    positions: Vec<(Class, Position)>,
    next_base: u64,
}

/// What the slots say.
#[derive(Debug)]
enum Said {
    /// There was nothing yet.
    Nothing,
    /// This, which was written last, and of which generation it is.
    Last(u64, Written),
    /// Nothing that can be understood, though there was something.
    Damaged,
}

/// See the module.
pub(super) struct Cursors {
    file: Arc<dyn StoredFile>,
    buffer: AlignedBuffer,
    generation: u64,
    /// What is on stable storage: how far each class is done with, and an address that no segment has which is done with.
    written: Written,
    /// What there was at the start said nothing: all is delivered again.
    pub(super) is_damaged: bool,
}

impl Cursors {
    /// Reads what there is, or makes the file.
    pub(super) fn open(yard: &Yard) -> Result<Self, DeferredError> {
        let path = yard.root.join(NAME);
        let file = match yard.storage.open(&path, Access::Write) {
            Ok(file) if file.octets() == OCTETS => file,
            Err(error) if !error.is_not_found() => return Err(error.into()),
            // There is none, or a crash left one that was never written.
            missing => {
                if missing.is_ok() {
                    yard.storage.remove(&path)?;
                }
                make(yard)?
            }
        };
        let mut buffer = AlignedBuffer::new(PAGE_OCTETS).map_err(DeferredError::Memory)?;
        let (generation, written, is_damaged) = match read(&*file, &mut buffer, yard.owner.node)? {
            Said::Nothing => (0, Written::default(), false),
            Said::Last(generation, written) => (generation, written, false),
            Said::Damaged => (0, Written::default(), true),
        };
        Ok(Self { file, buffer, generation, written, is_damaged })
    }

    /// If what there was said nothing it is kept for a human, and a new file takes its place: no slot is left that could come to say
    /// something again, and be of a higher generation than what is written from now on. To be called before that.
    pub(super) fn replace_damaged(&mut self, yard: &mut Yard) -> Result<(), DeferredError> {
        if self.is_damaged {
            let path = yard.root.join(NAME);
            yard.set_apart(&path)?;
            self.file = make(yard)?;
        }
        Ok(())
    }

    /// No segment that is done with has this address, or a higher one.
    pub(super) fn next_base(&self) -> u64 {
        self.written.next_base
    }

    /// The position of a class.
    pub(super) fn position(&self, class: Class) -> Option<Position> {
        self.written.positions.iter().find(|(of, _)| *of == class).map(|(_, position)| *position)
    }

    /// Writes them, unless they are what is written. On stable storage when this is done.
    pub(super) fn write(&mut self, yard: &Yard, positions: Vec<(Class, Position)>) -> Result<(), DeferredError> {
        let all = Written { positions, next_base: yard.next_base };
        debug_assert!(all.positions.len() <= limits::DEFERRED_CLASSES, "they fit into a page");
        if all.positions == self.written.positions {
            return Ok(());
        }
        let generation = self.generation + 1;
        self.buffer.fill(0);
        self.buffer[..8].copy_from_slice(&MAGIC);
        self.buffer[12..16].copy_from_slice(&yard.owner.node.to_le_bytes());
        self.buffer[16..24].copy_from_slice(&generation.to_le_bytes());
        self.buffer[24..32].copy_from_slice(&(all.positions.len() as u64).to_le_bytes());
        self.buffer[32..40].copy_from_slice(&all.next_base.to_le_bytes());
        for ((class, position), entry) in
            all.positions.iter().zip(self.buffer[HEAD_OCTETS..].chunks_exact_mut(ENTRY_OCTETS))
        {
            let Position { segment, at, message, sequence } = *position;
            let numbers = [class.number(), u64::from(segment), at, message, sequence];
            for (octets, number) in entry.chunks_exact_mut(8).zip(numbers) {
                octets.copy_from_slice(&number.to_le_bytes());
            }
        }
        let checksum = checksum::crc32c(&self.buffer);
        self.buffer[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        let at = generation % 2 * PAGE_OCTETS as u64;
        self.file.write_at(&self.buffer, at, true)?;
        (self.generation, self.written) = (generation, all);
        Ok(())
    }
}

/// A file that says nothing yet, on stable storage.
fn make(yard: &Yard) -> Result<Arc<dyn StoredFile>, DeferredError> {
    let file = yard.storage.create(&yard.root.join(NAME), OCTETS)?;
    file.sync()?;
    yard.storage.sync_directory(&yard.root)?;
    Ok(file)
}

/// Reads both slots.
fn read(file: &dyn StoredFile, buffer: &mut AlignedBuffer, node: u32) -> Result<Said, StorageError> {
    let (mut last, mut is_blank) = (None::<(u64, Written)>, true);
    for slot in 0..2 {
        file.read_at(buffer, slot * PAGE_OCTETS as u64)?;
        is_blank &= buffer.iter().all(|octet| *octet == 0);
        if let Some(found) = decode(buffer, node)
            && last.as_ref().is_none_or(|(before, _)| *before < found.0)
        {
            last = Some(found);
        }
    }
    Ok(match last {
        Some((generation, written)) => Said::Last(generation, written),
        // The power went before anything was written.
        None if is_blank => Said::Nothing,
        None => Said::Damaged,
    })
}

/// For tools: how far each class of a sink's thread is done with, in the directory of that: messages with lower numbers are. Nothing is
/// written, and what cannot be read says nothing.
pub fn done_with(storage: &dyn Storage, root: &Path, node: u32) -> Vec<(Class, u64)> {
    let (Ok(file), Ok(mut buffer)) = (storage.open(&root.join(NAME), Access::Read), AlignedBuffer::new(PAGE_OCTETS))
    else {
        return Vec::new();
    };
    let Ok(Said::Last(_, written)) = read(&*file, &mut buffer, node) else { return Vec::new() };
    written.positions.into_iter().map(|(class, position)| (class, position.message)).collect()
}

/// What a slot says, if it is one.
fn decode(slot: &[u8], node: u32) -> Option<(u64, Written)> {
    let number = |octets: &[u8], at: usize| Some(u64::from_le_bytes(*octets.get(at..)?.first_chunk()?));
    let mut unsealed = slot.to_vec();
    unsealed.get_mut(CHECKSUM)?.fill(0);
    let is_whole = slot.starts_with(&MAGIC)
        && slot.get(CHECKSUM)? == checksum::crc32c(&unsealed).to_le_bytes()
        && slot.get(12..16)? == node.to_le_bytes();
    if !is_whole {
        return None;
    }
    let count = number(slot, 24)? as usize;
    let entry = |entry: &[u8]| {
        let position = Position {
            segment: u32::try_from(number(entry, 8)?).ok()?,
            at: number(entry, 16)?,
            message: number(entry, 24)?,
            sequence: number(entry, 32)?,
        };
        Some((Class::of_number(number(entry, 0)?)?, position))
    };
    let positions =
        slot[HEAD_OCTETS..].chunks_exact(ENTRY_OCTETS).take(count).map(entry).collect::<Option<Vec<_>>>()?;
    Some((number(slot, 16)?, Written { positions, next_base: number(slot, 32)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::disk::SimDisk;
    use crate::spool::deferred::yard::{Owner, Sizes};

    /// A tool sees what was written last, and nothing where there is nothing, or another's.
    #[test]
    fn tools_see_how_far_each_class_is_done_with() {
        let disk: Arc<dyn Storage> = Arc::new(SimDisk::default());
        let root = Path::new("spool/deferred/store-0");
        let owner = Owner { node: 7, epoch: 1, thread: 0, sink: "store".into() };
        assert_eq!(done_with(&*disk, root, 7), []);
        let yard = Yard::open(Arc::clone(&disk), root.to_owned(), owner, Sizes::default()).unwrap();
        let mut cursors = Cursors::open(&yard).unwrap();
        assert_eq!(done_with(&*disk, root, 7), []);
        let at = |message| Position { segment: 3, at: 4096, message, sequence: 9 };
        for message in 1..4 {
            let positions = vec![(Class::Retry(300), at(message)), (Class::Dead, at(8))];
            cursors.write(&yard, positions).unwrap();
            assert_eq!(done_with(&*disk, root, 7), [(Class::Retry(300), message), (Class::Dead, 8)]);
        }
        assert_eq!(done_with(&*disk, root, 8), []);
    }

    /// Slots that say nothing make way for a file without any, and lie where nobody reads them.
    #[test]
    fn a_slot_that_comes_back_never_counts_for_more_than_what_was_written_since() {
        let disk = SimDisk::default();
        let root = Path::new("spool/deferred/store-0");
        let owner = Owner { node: 7, epoch: 1, thread: 0, sink: "store".into() };
        let mut yard = Yard::open(Arc::new(disk.clone()), root.to_owned(), owner, Sizes::default()).unwrap();
        let at = |message| vec![(Class::Dead, Position { segment: 3, at: 4096, message, sequence: 9 })];
        let mut cursors = Cursors::open(&yard).unwrap();
        assert!(!cursors.is_damaged, "there is nothing yet");
        (1..9).for_each(|message| cursors.write(&yard, at(message)).unwrap());
        let path = root.join(NAME);
        let before = disk.octets(&path);
        // One of the two says enough.
        disk.flip(&path, 8 * 100);
        assert_eq!(Cursors::open(&yard).unwrap().written.positions, at(7));
        disk.flip(&path, 8 * (PAGE_OCTETS as u64 + 100));
        let mut cursors = Cursors::open(&yard).unwrap();
        assert!(cursors.is_damaged && cursors.written == Written::default());
        assert_eq!(disk.octets(&path).len(), before.len(), "it is not touched yet");
        cursors.replace_damaged(&mut yard).unwrap();
        cursors.write(&yard, at(1)).unwrap();
        let again = Cursors::open(&yard).unwrap();
        assert_eq!((again.is_damaged, again.written.positions), (false, at(1)));
        let kept = disk.entries(&root.join("damaged")).unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
    }
}
