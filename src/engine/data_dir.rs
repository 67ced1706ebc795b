//! The data directory: one process has it, and it knows how often it was started on.
//!
//! *Invariant*: no two starts on a directory have the same node and epoch, whatever was killed or lost power in between: the epoch is on
//! stable storage before it is used. *Does not* know what else lies in the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::limits;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "data directory {path}: process {owner} uses it; stop that, or give this one a directory of its own (server.data_dir)"
    )]
    Taken {
        /// The directory.
        path: String,
        /// The number of the process, as it wrote it down.
        owner: String,
    },
    /// What it says of itself cannot be read.
    #[error(
        "data directory {path}: the file identity {why}; put it back from a copy, or give the server another directory: without \
         it, names of messages could be used twice"
    )]
    Identity {
        /// The directory.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The system refuses something.
    #[error("data directory {path}: cannot {what}: {error}")]
    System {
        /// The directory.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl DataDirError {
    /// EX_CANTCREAT, or EX_UNAVAILABLE where another process is in the way.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Taken { .. } => 69,
            Self::Identity { .. } | Self::System { .. } => 73,
        }
    }
}

/// A data directory that is this process's until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held for its lock. Never given to a ring, which would keep it after a kill.
    _lock: File,
    node: u32,
    epoch: u32,
}

impl DataDir {
    /// Makes the directory if there is none, takes it, and counts this start.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let system = |what| move |error| DataDirError::System { path: path.display().to_string(), what, error };
        fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(system("make it"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path.join("lock"))
            .map_err(system("open its file lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = lock.read_to_string(&mut owner);
            let owner = if owner.trim().is_empty() { "of unknown number".to_owned() } else { owner.trim().to_owned() };
            return Err(DataDirError::Taken { path: path.display().to_string(), owner });
        }
        let number = format!("{}\n", std::process::id());
        // Over what is there: a full disk has no room for it elsewhere. It is for people, and the lock holds without it.
        let _ = lock.write_all(number.as_bytes()).and_then(|()| lock.set_len(number.len() as u64));
        let (node, epoch) = match read_identity(path)? {
            // After as many starts as can be counted another node begins.
            Some((node, epoch)) if epoch < u32::MAX => (node, epoch + 1),
            _ => (random().map_err(|errno| system("draw a random number")(errno.into()))?, 1),
        };
        write_identity(path, node, epoch).map_err(system("write its file identity"))?;
        Ok(Self { path: path.to_owned(), _lock: lock, node, epoch })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The random number that was drawn when it was made.
    pub fn node(&self) -> u32 {
        self.node
    }

    /// How often it was started on, with this time.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

fn random() -> rustix::io::Result<u32> {
    let mut octets = [0; 4];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(octets))
}

/// The node, and the epoch of the last start, of a directory that somebody else may have; `None`: nobody ever started on it.
pub fn identity(path: &Path) -> Result<Option<(u32, u32)>, DataDirError> {
    read_identity(path)
}

/// The process that has the directory now, as far as this one can see; it is not disturbed. `None`: none, or one in another namespace.
pub fn owner(path: &Path) -> Option<u32> {
    let lock = path.join("lock");
    let owner: u32 = fs::read_to_string(&lock).ok()?.trim().parse().ok()?;
    // To try the lock would be in the way of a server that starts.
    let number = fs::metadata(&lock).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let is_it = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let of = |place: usize| words.get(place).copied().unwrap_or_default();
        let inode = of(5).rsplit(':').next().and_then(|inode| inode.parse().ok());
        of(1) == "FLOCK" && of(4).parse() == Ok(owner) && inode == Some(number)
    };
    locks.lines().any(is_it).then_some(owner)
}

/// What the directory knows of itself; `None` if it is new.
fn read_identity(path: &Path) -> Result<Option<(u32, u32)>, DataDirError> {
    let wrong = |why: String| DataDirError::Identity { path: path.display().to_string(), why };
    let mut text = String::new();
    match File::open(path.join("identity")) {
        Ok(file) => file
            .take(limits::IDENTITY_OCTETS)
            .read_to_string(&mut text)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let mut words = text.split_whitespace();
    let mut word = || words.next().unwrap_or_default();
    let (version, node, epoch) = (word(), word(), word());
    if version != VERSION {
        return Err(wrong(format!("begins with {version:?} rather than {VERSION:?}")));
    }
    match (u32::from_str_radix(node, 16), epoch.parse()) {
        (Ok(node), Ok(epoch)) => Ok(Some((node, epoch))),
        _ => Err(wrong(format!("has {node:?} and {epoch:?} for node and epoch"))),
    }
}

/// The first word of the file.
const VERSION: &str = "ringmx-identity-1";

fn write_identity(path: &Path, node: u32, epoch: u32) -> io::Result<()> {
    let fresh = path.join("identity.new");
    let text = format!("{VERSION} {node:08x} {epoch}\n");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        file.sync_all()
    };
    write()?;
    fs::rename(&fresh, path.join("identity"))?;
    // The room that the next start writes its own to, so that one on a full disk can deliver what lies there.
    let _ = write();
    File::open(path)?.sync_all()?;
    // The directory's own name must last as long as what is in it.
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringmx-data-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_start_has_an_epoch_of_its_own() {
        let place = Place::new("epoch");
        let path = place.0.join("deep/er");
        let first = DataDir::open(&path).unwrap();
        let (node, epoch) = (first.node(), first.epoch());
        assert_eq!(epoch, 1);
        drop(first);
        assert_eq!(owner(&path), None, "nobody has it");
        let second = DataDir::open(&path).unwrap();
        assert_eq!(owner(&path), Some(std::process::id()));
        assert_eq!((second.node(), second.epoch(), second.path()), (node, 2, path.as_path()));
        assert_eq!(identity(&path).unwrap(), Some((node, 2)), "whoever has it");
        assert_eq!(identity(&place.0).unwrap(), None);
        let others = DataDir::open(&place.0.join("other")).unwrap();
        assert_ne!(others.node(), node, "drawn anew: one in four thousand million is alike");
        drop(second);
        fs::write(path.join("identity"), format!("{VERSION} {node:08x} {}\n", u32::MAX)).unwrap();
        let after_all = DataDir::open(&path).unwrap();
        assert_eq!(after_all.epoch(), 1);
        assert_ne!(after_all.node(), node);
    }

    /// On a full disk nothing else can be made (tests/faults has one).
    #[test]
    fn each_start_leaves_room_for_the_next() {
        let place = Place::new("room");
        for epoch in 1..4 {
            assert_eq!(DataDir::open(&place.0).unwrap().epoch(), epoch);
            let [identity, next] = ["identity", "identity.new"].map(|name| fs::read(place.0.join(name)).unwrap());
            assert_eq!(identity, next);
        }
        // Whatever was left there of one that was cut off.
        fs::write(place.0.join("identity.new"), "x".repeat(100)).unwrap();
        assert_eq!(DataDir::open(&place.0).unwrap().epoch(), 4);
        assert_eq!(identity(&place.0).unwrap().map(|(_, epoch)| epoch), Some(4));
    }

    #[test]
    fn a_directory_has_one_owner() {
        let place = Place::new("owner");
        let first = DataDir::open(&place.0).unwrap();
        let second = DataDir::open(&place.0).unwrap_err();
        let said = format!("process {} uses it", std::process::id());
        assert!(second.to_string().contains(&said) && second.exit_status() == 69, "{second}");
        drop(first);
        assert_eq!(DataDir::open(&place.0).unwrap().epoch(), 2, "a failed start is none");
    }

    #[test]
    fn what_cannot_be_read_is_never_replaced() {
        let place = Place::new("broken");
        drop(DataDir::open(&place.0).unwrap());
        for (text, said) in [
            ("", "begins with \"\""),
            ("ringmx-identity-2 0 1", "begins with \"ringmx-identity-2\""),
            ("ringmx-identity-1 xyz 1", "\"xyz\" and \"1\""),
            ("ringmx-identity-1 12", "\"12\" and \"\""),
        ] {
            fs::write(place.0.join("identity"), text).unwrap();
            let error = DataDir::open(&place.0).unwrap_err();
            assert!(error.to_string().contains(said) && error.exit_status() == 73, "{error}");
            assert_eq!(fs::read_to_string(place.0.join("identity")).unwrap(), text);
        }
        fs::write(place.0.join("file"), "").unwrap();
        let error = DataDir::open(&place.0.join("file")).unwrap_err();
        assert!(error.to_string().contains("cannot make it: "), "{error}");
    }
}
