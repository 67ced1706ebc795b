//! How a tool hands something to a sink's thread: as a file in its inbox, which is there whole and on stable storage, or not at all.
//! Whatever is handed over goes this way, whether a server runs or not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::spool::storage::{Access, Storage, StorageError};

/// Which data directory it is, and who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    /// The random number of the data directory.
    pub node: u32,
    /// The count of starts on it.
    pub epoch: u32,
    /// How the files are called; no other hand has the same name. Sinks take them up in the order of the names.
    pub name: String,
}

impl Hand {
    /// Puts octets into an inbox as the file of this number, or of the first behind it that no file has. Gives the number that is next.
    pub fn put(
        &self,
        storage: &dyn Storage,
        inbox: &Path,
        mut number: u32,
        suffix: &str,
        octets: &[u8],
    ) -> Result<u32, StorageError> {
        storage.make_directory(inbox)?;
        let (made, named) = self.free_name(storage, inbox, &mut number, suffix)?;
        let file = storage.create(&made, octets.len() as u64)?;
        let written = file.write_at(octets, 0, true).and_then(|()| file.sync());
        if let Err(error) = written.and_then(|()| storage.rename(&made, &named)) {
            // What it leaves behind nobody reads.
            let _ = storage.remove(&made);
            return Err(error);
        }
        storage.sync_directory(inbox)?;
        Ok(number)
    }

    /// A name that no file has yet, after the one under which it is made. A rename would replace what has it.
    fn free_name(
        &self,
        storage: &dyn Storage,
        inbox: &Path,
        number: &mut u32,
        suffix: &str,
    ) -> Result<(PathBuf, PathBuf), StorageError> {
        // BOUND: each turn passes a file that is there.
        loop {
            let name = OsString::from(format!("{}-{number:04}{suffix}", self.name));
            *number += 1;
            let named = inbox.join(&name);
            match storage.open(&named, Access::Read) {
                Err(error) if error.is_not_found() => {
                    let mut made = OsString::from(".");
                    made.push(&name);
                    return Ok((inbox.join(made), named));
                }
                opened => drop(opened?),
            }
        }
    }
}
