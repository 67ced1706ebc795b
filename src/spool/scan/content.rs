//! The content of a message, out of its log.
//!
//! *Invariant*: what was read without an error is what was written: so many octets, with this checksum.

use std::sync::Arc;

use crate::limits;
use crate::mail::checksum;
use crate::memory::region::AlignedBuffer;
use crate::spool::format::{ALIGNMENT, Record};
use crate::spool::scan::assembly::Message;
use crate::spool::scan::{Found, LogFiles, LogScan, Owner, no_memory};
use crate::spool::storage::StorageError;

/// Why there is no content.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContentError {
    /// The disk cannot read it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It lies where the log has no segment any more.
    #[error("it is not there any more: nothing of its log lies at address {0}")]
    Gone(u64),
    /// It is not what was written.
    #[error("its content is not what was written: from address {0} on its length or its checksum is another")]
    Checksum(u64),
}

/// Reads contents one after the other. What was read for one is there for the next.
#[derive(Debug)]
pub struct ContentReader {
    buffer: AlignedBuffer,
    /// The address that the buffer begins with, and how many octets of it are read.
    window: (u64, usize),
}

impl ContentReader {
    /// With its memory.
    pub fn new() -> Result<Self, StorageError> {
        let buffer = AlignedBuffer::new(limits::CONTENT_READ_OCTETS).map_err(no_memory)?;
        Ok(Self { buffer, window: (0, 0) })
    }

    /// Forgets what it has read: the log may have changed there.
    pub fn forget(&mut self) {
        self.window = (0, 0);
    }

    /// Gives the content of a message piece by piece, in order. After an error what was given is not to be relied on.
    pub fn read(
        &mut self,
        files: &LogFiles,
        owner: Owner,
        message: &Message,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), ContentError> {
        let (mut octets, mut checksum) = (0, 0);
        let mut give = |piece: &[u8]| {
            octets += piece.len() as u64;
            checksum = checksum::crc32c_append(checksum, piece);
            each(piece);
        };
        match &message.extents {
            Some(extents) => {
                for extent in extents {
                    self.read_extent(files, (extent.address, extent.octets as usize), &mut give)?;
                }
            }
            None => scattered(files, owner, message, &mut give)?,
        }
        let is_right = (octets, checksum) == (message.content_octets, message.content_crc);
        if is_right { Ok(()) } else { Err(ContentError::Checksum(message.first)) }
    }

    fn read_extent(
        &mut self,
        files: &LogFiles,
        (mut address, mut octets): (u64, usize),
        give: &mut impl FnMut(&[u8]),
    ) -> Result<(), ContentError> {
        while octets > 0 {
            let piece = self.window(files, address, octets)?;
            give(piece);
            address += piece.len() as u64;
            octets -= piece.len();
        }
        Ok(())
    }

    /// What the buffer has from an address on, at least one octet and at most so many; it is read if need be.
    fn window(&mut self, files: &LogFiles, address: u64, octets: usize) -> Result<&[u8], ContentError> {
        let (begin, filled) = self.window;
        if !(begin..begin + filled as u64).contains(&address) {
            let file = files.at(address).ok_or(ContentError::Gone(address))?;
            let begin = address / ALIGNMENT as u64 * ALIGNMENT as u64;
            let there = (file.end() - begin) as usize / ALIGNMENT * ALIGNMENT;
            let wanted =
                ((address - begin) as usize + octets).next_multiple_of(ALIGNMENT).max(limits::SCAN_OCTETS / 16);
            let filled = there.min(self.buffer.len()).min(wanted);
            self.window = (0, 0);
            Arc::clone(&file.file).read_at(&mut self.buffer[..filled], begin - file.base)?;
            self.window = (begin, filled);
        }
        let (begin, filled) = self.window;
        let from = (address - begin) as usize;
        self.buffer
            .get(from..filled.min(from + octets))
            .filter(|piece| !piece.is_empty())
            .ok_or(ContentError::Gone(address))
    }
}

/// The content of a message of which it is not known where it lies.
fn scattered(
    files: &LogFiles,
    owner: Owner,
    message: &Message,
    give: &mut impl FnMut(&[u8]),
) -> Result<(), ContentError> {
    files.at(message.first).ok_or(ContentError::Gone(message.first))?;
    let mut scan = LogScan::new(files, owner, message.first, message.behind);
    while let Some(found) = scan.next_found()? {
        let Found::Block(block) = found else { continue };
        if block.header.epoch != message.epoch {
            continue;
        }
        for record in block.records().map_while(Result::ok) {
            match record.record {
                Record::Part { message: of, content } if of == message.number => give(content),
                _ => {}
            }
        }
    }
    Ok(())
}
