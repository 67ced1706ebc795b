//! Any octets as the segment files of a log: recovery says what is there or refuses, and changes nothing. Whatever it finds is read to its
//! end; what it takes for messages has the content that their ends speak of.
//!
//! The first octet says how many files there are, and whether what lies at the places of checksums is made right: chance finds none.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringmx::memory::write::File;
use ringmx::spool::format::{ALIGNMENT, Chain, HEADER_OCTETS};
use ringmx::spool::recovery::{Wanted, inspect};
use ringmx::spool::scan::assembly::{Assembler, Event};
use ringmx::spool::scan::content::ContentReader;
use ringmx::spool::scan::{Found, LogScan, Owner};
use ringmx::spool::storage::{Access, Cause, Entry, EntryKind, Storage, StorageError, StoredFile};

const OWNER: Owner = Owner { chain: Chain::Durable, shard: 0, node: 0 };

#[derive(Clone, Debug)]
struct Octets(Arc<[u8]>);

impl StoredFile for Octets {
    fn octets(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<(), StorageError> {
        let there = usize::try_from(at).ok().and_then(|at| self.0.get(at..)?.get(..into.len()));
        into.copy_from_slice(there.ok_or_else(|| error(Cause::UnexpectedEnd))?);
        Ok(())
    }

    fn write_at(&self, _octets: &[u8], _at: u64, _is_synced: bool) -> Result<(), StorageError> {
        unreachable!("nothing is written")
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn shared(&self) -> Arc<File> {
        Arc::new(File::Numbered(0))
    }
}

fn error(cause: Cause) -> StorageError {
    StorageError { path: "/log".into(), what: "do it", cause }
}

#[derive(Debug)]
struct Log(Vec<Octets>);

impl Storage for Log {
    fn entries(&self, _directory: &Path) -> Result<Vec<Entry>, StorageError> {
        let entry = |(number, file): (usize, &Octets)| {
            let name = format!("{number:04}.segment").into();
            Entry { name, kind: EntryKind::File, octets: file.octets() }
        };
        Ok(self.0.iter().enumerate().map(entry).collect())
    }

    fn open(&self, path: &Path, _access: Access) -> Result<Arc<dyn StoredFile>, StorageError> {
        let number: usize = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a segment's name");
        Ok(Arc::new(self.0[number].clone()))
    }

    fn make_directory(&self, _directory: &Path) -> Result<(), StorageError> {
        unreachable!("nothing is made")
    }

    fn create(&self, _path: &Path, _octets: u64) -> Result<Arc<dyn StoredFile>, StorageError> {
        unreachable!("nothing is made")
    }

    fn rename(&self, _from: &Path, _to: &Path) -> Result<(), StorageError> {
        unreachable!("nothing is renamed")
    }

    fn remove(&self, _path: &Path) -> Result<(), StorageError> {
        unreachable!("nothing is removed")
    }

    fn sync_directory(&self, _directory: &Path) -> Result<(), StorageError> {
        unreachable!("nothing is changed")
    }

    fn free_octets(&self, _path: &Path) -> Result<u64, StorageError> {
        unreachable!("nothing is made")
    }

    fn refuses_durability(&self, _path: &Path) -> Option<&'static str> {
        None
    }
}

/// Pages with the octets of the input at their beginnings: blocks that begin there and say that they end there.
fn pages(input: &[u8], is_sealed: bool) -> Vec<u8> {
    let mut file = Vec::new();
    for piece in input.chunks(256) {
        let at = file.len();
        file.extend_from_slice(piece);
        file.resize(at + ALIGNMENT, 0);
        if is_sealed && piece.len() > HEADER_OCTETS {
            let block = &mut file[at..];
            block[..8].copy_from_slice(b"ringmxS1");
            block[48..56].fill(0);
            let length = piece.len() & !7;
            block[48..50].copy_from_slice(&(length as u16).to_le_bytes());
            let checksum = crc32c(&block[..length]);
            block[52..56].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    file
}

/// Bit by bit: another than the library's.
fn crc32c(octets: &[u8]) -> u32 {
    let bit = |checksum: u32, _| checksum >> 1 ^ (0x82F6_3B78 & (checksum & 1).wrapping_neg());
    !octets.iter().fold(u32::MAX, |checksum, octet| (0..8).fold(checksum ^ u32::from(*octet), bit))
}

fuzz_target!(|input: &[u8]| {
    let ([how], octets) = ringmx_fuzz::header(input);
    let (files, is_sealed) = (usize::from(how & 3) + 1, how & 4 != 0);
    let each = octets.len().div_ceil(files).next_multiple_of(256).max(256);
    let log = Log(octets.chunks(each).map(|piece| Octets(pages(piece, is_sealed).into())).collect());
    let wanted = Wanted { owner: OWNER, epoch: None, least_base: 0, needed_from: 0, entropy: 7, others: &[] };
    let mut read = 0;
    let Ok(found) = inspect(&log, Path::new("/log"), &wanted, &mut |progress| {
        assert!(progress.octets >= read && progress.octets <= progress.of, "it goes forward, to the end");
        read = progress.octets;
    }) else {
        return;
    };
    assert_eq!(found.in_use.len() + found.spare.len(), log.0.len());
    assert!(found.in_use.iter().all(|segment| segment.file.end() < found.next_base));
    let files = found.files();
    let mut scan = LogScan::new(&files, OWNER, 0, u64::MAX);
    let mut assembler = Assembler::new(0);
    let mut reader = ContentReader::new().expect("there is memory");
    while let Some(next) = scan.next_found().expect("it can be read") {
        match next {
            Found::Block(block) if found.voids.has(block.header.sequence) => assembler.void(block.header.address),
            Found::Block(block) => assembler.block(&block, |event| {
                if let Event::Message(message, _) = event {
                    let mut octets = 0;
                    if reader.read(&files, OWNER, &message, |piece| octets += piece.len() as u64).is_ok() {
                        assert_eq!(octets, message.content_octets);
                    }
                }
            }),
            Found::Bad { address, .. } => assembler.bad(address),
        }
    }
});
