//! Everything that a spool has, read and held against its checksums: what is lost, if something is.

use std::ops::{ControlFlow, Range};

use crate::spool::storage::StorageError;
use crate::spool::tools::assemble::{Assembler, Found};
use crate::spool::tools::log::Met;
use crate::spool::tools::message::{Message, Place};
use crate::spool::tools::survey::{Named, Survey};

/// What was found.
#[derive(Debug)]
pub enum Finding {
    /// Blocks that somebody relied on cannot be read. What was in them is named as far as other blocks tell.
    Blocks {
        /// In this log.
        log: String,
        /// In this file of it.
        segment: String,
        /// From this octet on.
        offset: u64,
        /// These.
        sequences: Range<u64>,
    },
    /// A message of which something is missing, or is not what it was.
    Message(Box<Message>, &'static str),
    /// A message of which nothing is known but where it lies.
    Unreadable(Place),
    /// Sound blocks of which some records mean nothing to this version.
    Records {
        /// In this log.
        log: String,
        /// So many.
        blocks: u64,
    },
    /// A writer was cut short, or is at work: nobody was told that what is missing is kept.
    Tail {
        /// Of this log.
        log: String,
        /// Blocks behind it, which count for nothing.
        ignored: u64,
    },
    /// A file that was not looked at, and why.
    Strange(String),
}

impl Finding {
    /// Whether something is lost that was promised.
    pub fn is_corruption(&self) -> bool {
        !matches!(self, Self::Tail { .. } | Self::Strange(_))
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Logs.
    pub logs: u64,
    /// Segments in use.
    pub segments: u64,
    /// Segments without content.
    pub spare: u64,
    /// Sound blocks.
    pub blocks: u64,
    /// Their octets.
    pub octets: u64,
    /// Whole messages.
    pub messages: u64,
    /// Messages that have begun and no end: a client is at it, or its writer was cut short.
    pub unfinished: u64,
}

impl Survey<'_> {
    /// Reads all of it. `watch` is told, from time to time, octets that were read, and of how many.
    pub fn verify(
        &self,
        watch: &mut dyn FnMut(u64, u64),
        report: &mut dyn FnMut(Finding),
    ) -> Result<Verified, StorageError> {
        let logs = self.logs()?;
        let (mut read, all) = (0, logs.iter().map(|log| log.octets).sum());
        let mut verified = Verified::default();
        for named in logs {
            match self.verify_log(&named, &mut |octets| watch(read + octets, all), report, &mut verified) {
                // A server that runs removes files.
                Err(error) if error.is_not_found() => {}
                done => done?,
            }
            read += named.octets;
        }
        Ok(verified)
    }

    fn verify_log(
        &self,
        named: &Named,
        watch: &mut dyn FnMut(u64),
        report: &mut dyn FnMut(Finding),
        verified: &mut Verified,
    ) -> Result<(), StorageError> {
        let log = self.open(named)?;
        verified.logs += 1;
        verified.segments += log.segments.len() as u64;
        verified.spare += log.spare as u64;
        log.strange.iter().cloned().for_each(|strange| report(Finding::Strange(strange)));
        let mut assembler = Assembler::new(&log.name, log.begins_at(), true);
        let mut octets = 0;
        let mut judge = |found: Found, report: &mut dyn FnMut(Finding)| match found {
            Found::Whole(_) => verified.messages += 1,
            Found::Broken(message, why) => report(Finding::Message(Box::new(message), why)),
            Found::Unreadable(place) => report(Finding::Unreadable(place)),
        };
        let mut blocks = 0;
        log.read(&mut |segment, met| {
            assembler.met(segment, &met, &mut |found| judge(found, report));
            match met {
                Met::Block(block) => {
                    (blocks, octets) = (blocks + 1, octets + block.span() as u64);
                    watch(octets);
                }
                Met::Void { .. } => {}
                Met::Damage { sequences, offset, .. } => report(Finding::Blocks {
                    log: named.name.clone(),
                    segment: segment.name.clone(),
                    offset,
                    sequences,
                }),
                Met::Tail { ignored } => report(Finding::Tail { log: named.name.clone(), ignored }),
            }
            ControlFlow::Continue(())
        })?;
        assembler.end(&mut |found| judge(found, report));
        if assembler.unreadable_records > 0 {
            report(Finding::Records { log: named.name.clone(), blocks: assembler.unreadable_records });
        }
        verified.blocks += blocks;
        verified.octets += octets;
        verified.unfinished += assembler.unfinished() as u64;
        Ok(())
    }
}
