//! A message that is read once more, from its first part to its end, into memory of its own.
//!
//! *Bound*: one at a time; the next when nobody holds the one before.

use super::Far;
use super::atlas::Atlas;
use super::walk::{Stuck, Walk};
use crate::limits;
use crate::mail::checksum;
use crate::memory::slab::{Lease, Leases, Slab, SlabFull};
use crate::spool::format::{Block, HEADER_OCTETS, Record};

/// What came of it.
#[derive(Debug)]
pub(super) enum Loaded {
    /// All of it: manifest and content.
    Whole(Lease, Leases),
    /// A block in which some of it stood is void: nobody was told that it is kept.
    Void,
    /// Some of it cannot be read.
    Lost,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Large {
    /// In which the last one lies.
    content: Option<Slab>,
    /// How often the disk refused.
    refused: u32,
}

impl Large {
    pub(super) fn load(&mut self, atlas: &mut Atlas, far: &Far) -> Result<Loaded, Stuck> {
        let loaded = self.try_to(atlas, far);
        self.refused = if let Err(Stuck::Storage(_)) = &loaded { self.refused + 1 } else { 0 };
        loaded
    }

    fn try_to(&mut self, atlas: &mut Atlas, far: &Far) -> Result<Loaded, Stuck> {
        atlas.refresh()?;
        if atlas.at(far.first).is_none() {
            // What is not kept any more nobody needs: it was refused, and ends before that is said.
            return Ok(Loaded::Void);
        }
        // The slab itself holds its last block.
        if self.content.as_ref().is_some_and(|slab| slab.octets() > limits::BLOCK_OCTETS as u64) {
            return Err(SlabFull.into());
        }
        let octets = far.content_octets as usize + limits::MANIFEST_OCTETS;
        let blocks = octets.div_ceil(limits::BLOCK_OCTETS) + 2;
        let slab = self.content.insert(Slab::new(blocks));
        let mut runs = Slab::with_blocks_of(limits::LOG_READ_OCTETS, 1);
        let (mut walk, mut content) = (Walk::again(far.first, self.refused), Leases::default());
        let mut manifest = Vec::new();
        let (mut parts, mut octets, mut crc, mut has_void, mut is_sound) = (0, 0, 0, false, true);
        while let Some(found) = walk.next(atlas, &mut runs, far.behind)? {
            has_void |= found.is_behind_void;
            if found.header.epoch != far.epoch {
                continue;
            }
            let block = &walk.octets().octets()[found.from..][..found.length];
            let block = Block { header: found.header, length: found.length, body: &block[HEADER_OCTETS..] };
            for located in block.records().map_while(Result::ok) {
                match located.record {
                    Record::Part { message, content: part } if message == far.message => {
                        octets += part.len() as u64;
                        if octets > far.content_octets {
                            is_sound = false;
                            break;
                        }
                        slab.append(&mut content, part)?;
                        (parts, crc) = (parts + 1, checksum::crc32c_append(crc, part));
                    }
                    Record::Manifest { message, octets } if message == far.message => {
                        parts += 1;
                        manifest.extend_from_slice(octets);
                    }
                    Record::End { message, end } if message == far.message => manifest.extend_from_slice(end.manifest),
                    _ => {}
                }
            }
        }
        let is_whole = (parts, octets, crc) == (far.parts, far.content_octets, far.content_crc);
        Ok(match () {
            () if is_sound && is_whole => Loaded::Whole(slab.append_whole(&manifest)?, content),
            () if has_void => Loaded::Void,
            () => Loaded::Lost,
        })
    }
}
