//! How far a sink is done with a log, on stable storage: a file for each, by the sink's name.
//!
//! *Invariants*: what it says is never ahead of what was done; behind it only means that some comes again. It has two places, written in
//! turns, so that one is whole whenever the power goes. *Does not* know what it means to be done.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::handoff::place::{LogId, LogKind, Position};
use crate::mail::checksum;
use crate::memory::region::AlignedBuffer;
use crate::spool::format::ALIGNMENT;
use crate::spool::storage::{Access, Cause, Storage, StorageError, StoredFile};

const MAGIC: [u8; 8] = *b"ringmxC1";
/// Two places, each of what a disk writes in one piece.
const FILE_OCTETS: u64 = 2 * ALIGNMENT as u64;
/// Octets that its checksum covers, which stand before it.
const SUMMED: usize = 48;

/// See the module.
#[derive(Debug)]
pub struct CursorFile {
    file: Arc<dyn StoredFile>,
    path: PathBuf,
    buffer: AlignedBuffer,
    log: LogId,
    node: u32,
    sequence: u64,
}

/// What a cursor said at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// There was none.
    Nothing,
    /// What is before this is done with.
    Position(Position),
    /// Nothing that can be read, though there was something.
    Damaged,
}

impl CursorFile {
    /// Opens that of a sink and a log in a directory, or makes it, for the data directory of this random number; with what it says.
    pub fn open(
        storage: &dyn Storage,
        directory: &Path,
        (sink, log, node): (&str, LogId, u32),
    ) -> Result<(Self, Said), StorageError> {
        let directory = directory.join(file_name(sink));
        let path = directory.join(log_name(log));
        let there = match storage.open(&path, Access::Write) {
            Ok(file) if file.octets() >= FILE_OCTETS => Some(file),
            Ok(file) => {
                // Its process ended while it was made.
                drop(file);
                storage.remove(&path)?;
                None
            }
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let is_new = there.is_none();
        let make = || {
            storage.make_directory(&directory)?;
            let file = storage.create(&path, FILE_OCTETS)?;
            file.sync()?;
            storage.sync_directory(&directory)?;
            Ok(file)
        };
        let file = there.map_or_else(make, Ok)?;
        let no_memory =
            |errno| StorageError { path: path.clone(), what: "have memory for it", cause: Cause::System(errno) };
        let buffer = AlignedBuffer::new(ALIGNMENT).map_err(no_memory)?;
        let mut this = Self { file, path, buffer, log, node, sequence: 0 };
        let said = if is_new { Said::Nothing } else { this.read()? };
        Ok((this, said))
    }

    fn read(&mut self) -> Result<Said, StorageError> {
        let (mut best, mut is_blank) = (None, true);
        for slot in 0..2 {
            self.file.read_at(&mut self.buffer, slot * ALIGNMENT as u64)?;
            is_blank &= self.buffer.iter().all(|octet| *octet == 0);
            if let Some((sequence, position)) = self.decode()
                && best.is_none_or(|(before, _)| before < sequence)
            {
                best = Some((sequence, position));
            }
        }
        Ok(match best {
            Some((sequence, position)) => {
                self.sequence = sequence;
                Said::Position(position)
            }
            // The power went before anything was written.
            None if is_blank => Said::Nothing,
            None => Said::Damaged,
        })
    }

    fn decode(&self) -> Option<(u64, Position)> {
        let number = |at: usize| self.buffer[at..].first_chunk().map(|octets| u64::from_le_bytes(*octets));
        let crc = u32::from_le_bytes(*self.buffer[SUMMED..].first_chunk()?);
        let is_ours = self.buffer[..8] == MAGIC && number(8) == Some(self.tag()) && number(40) == Some(0);
        let position = Position { address: number(24)?, from: number(32)? };
        (is_ours && checksum::crc32c(&self.buffer[..SUMMED]) == crc).then_some((number(16)?, position))
    }

    /// Of which log it is.
    fn tag(&self) -> u64 {
        let kind = match self.log.kind {
            LogKind::Durable => 1_u64,
            LogKind::Written => 2,
            LogKind::Deferred => 4,
        };
        u64::from(self.node) << 32 | kind << 16 | u64::from(self.log.shard)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is before this is done with: that is on stable storage when this is done.
    pub fn write(&mut self, position: Position) -> Result<(), StorageError> {
        let sequence = self.sequence + 1;
        self.buffer.fill(0);
        self.buffer[..8].copy_from_slice(&MAGIC);
        let numbers = [self.tag(), sequence, position.address, position.from, 0];
        for (number, place) in numbers.into_iter().zip(self.buffer[8..SUMMED].chunks_exact_mut(8)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = checksum::crc32c(&self.buffer[..SUMMED]);
        self.buffer[SUMMED..SUMMED + 4].copy_from_slice(&crc.to_le_bytes());
        // A write that failed may have spoilt its place: the next goes to the same one.
        self.file.write_at(&self.buffer, sequence % 2 * ALIGNMENT as u64, true)?;
        self.sequence = sequence;
        Ok(())
    }
}

/// Where cursors lie in a spool.
pub fn directory(spool: &Path) -> PathBuf {
    spool.join("cursors")
}

/// For tools: which messages of a log each sink is done with, by its name: those that end before this address. Nothing is written.
pub fn done_with(storage: &dyn Storage, spool: &Path, log: LogId, node: u32) -> Vec<(String, u64)> {
    let directory = directory(spool);
    let sinks = storage.entries(&directory).unwrap_or_default();
    let sinks = sinks.into_iter().filter_map(|entry| sink_name(entry.name.to_str()?));
    let done = sinks.filter_map(|sink| {
        let path = directory.join(file_name(&sink)).join(log_name(log));
        let file = storage.open(&path, Access::Read).ok()?;
        let buffer = AlignedBuffer::new(ALIGNMENT).ok()?;
        match (CursorFile { file, path, buffer, log, node, sequence: 0 }).read() {
            Ok(Said::Position(position)) => Some((sink, position.address)),
            _ => None,
        }
    });
    done.collect()
}

fn log_name(log: LogId) -> String {
    let kind = match log.kind {
        LogKind::Durable => "durable",
        LogKind::Written => "written",
        LogKind::Deferred => "deferred",
    };
    format!("{kind}-{:04}.cursor", log.shard)
}

/// The name of a sink as that of a directory: one for each, whatever is in it.
pub fn file_name(sink: &str) -> String {
    let mut name = String::new();
    for octet in sink.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(octet.into()),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

/// What [`file_name`] named.
fn sink_name(name: &str) -> Option<String> {
    let (mut octets, mut rest) = (Vec::new(), name);
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix('%').map(|digits| digits.get(..2));
        match escaped {
            Some(digits) => {
                octets.push(u8::from_str_radix(digits?, 16).ok()?);
                rest = &rest[3..];
            }
            None => {
                octets.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    let sink = String::from_utf8(octets).ok()?;
    (file_name(&sink) == name).then_some(sink)
}

#[cfg(test)]
mod tests;
