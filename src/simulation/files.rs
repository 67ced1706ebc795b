//! Where the shard's writes go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use crate::reactor::io::Time;
use crate::simulation::disk::SimDisk;

/// A disk with files that have numbers, as it is written to by the shard. It may be others' at the same time.
///
/// What has begun and not ended may be on it in part, if the power goes.
pub trait Files: fmt::Debug {
    /// The time at which the next of these calls is made.
    fn set_now(&self, _now: Time) {}

    /// These octets are on their way to this place of this file. Gives the write a number; `None` when there is no such file.
    fn begin_write(&self, file: u64, at: u64, octets: &[u8], is_synced: bool) -> Option<u64>;

    /// The write ends like that, unless the disk has something worse to say: gives what has become of it. Of one that fails nobody
    /// knows which octets are written.
    fn end_write(&self, write: u64, result: Result<u32, Errno>) -> Result<u32, Errno>;
}

/// The files of a disk that never loses anything.
#[derive(Clone, Debug, Default)]
pub struct Plain(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    files: BTreeMap<u64, Vec<u8>>,
    /// File, place and octets.
    under_way: BTreeMap<u64, (u64, u64, Vec<u8>)>,
    begun: u64,
}

impl Plain {
    /// Makes a file of zeros.
    pub fn create(&self, file: u64, octets: usize) {
        self.contents().files.insert(file, vec![0; octets]);
    }

    /// What a file has.
    pub fn read(&self, file: u64) -> Vec<u8> {
        self.contents().files[&file].clone()
    }

    /// Writes that have not ended.
    pub fn under_way(&self) -> usize {
        self.contents().under_way.len()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("nobody fails with it")
    }
}

impl Files for Plain {
    fn begin_write(&self, file: u64, at: u64, octets: &[u8], _is_synced: bool) -> Option<u64> {
        let mut contents = self.contents();
        contents.files.get(&file)?;
        contents.begun += 1;
        let number = contents.begun;
        contents.under_way.insert(number, (file, at, octets.to_vec()));
        Some(number)
    }

    fn end_write(&self, write: u64, result: Result<u32, Errno>) -> Result<u32, Errno> {
        let Contents { files, under_way, .. } = &mut *self.contents();
        let (file, at, octets) = under_way.remove(&write).expect("it has begun and not ended");
        let (content, at) = (files.get_mut(&file).expect("it was there"), at as usize);
        let octets = &octets[..result.unwrap_or(0) as usize];
        let end = at + octets.len();
        content.resize(content.len().max(end), 0);
        content[at..end].copy_from_slice(octets);
        result
    }
}

impl Files for SimDisk {
    fn begin_write(&self, file: u64, at: u64, octets: &[u8], is_synced: bool) -> Option<u64> {
        self.has_file(file).then(|| SimDisk::begin_write(self, file, octets, at, is_synced))
    }

    fn end_write(&self, write: u64, result: Result<u32, Errno>) -> Result<u32, Errno> {
        self.complete_write_as(write, result)
    }
}
