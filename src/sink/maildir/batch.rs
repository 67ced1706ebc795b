//! A wave: files are written, synced together, renamed; directories are synced; verdicts are given.
//!
//! *Invariants*: nobody is told of a delivery before everything that it needs is on stable storage. A parcel that failed has no file
//! left in `tmp` or `new`, as far as the file system lets it be removed. A fault of one parcel changes nothing for another, but
//! for one of a sync, which fails the wave, and whose descriptors are not used again.
//!
//! *Does not* say how things are synced (`sync`), or where they lie (`path`, `name`).

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::fault::Fault;
use super::folder::{Folder, join};
use super::options::PathTemplate;
use super::path::Filler;
use super::sync::Way;
use super::{Maildir, Message, name, sync, walk};
use crate::handoff::delivery::Verdict;

/// A message for one maildir: one file.
struct Parcel {
    /// Its place in the batch.
    message: usize,
    /// Places of those of the message's recipients whose maildir it is.
    places: Vec<usize>,
    /// The maildir's path from the root.
    below: Box<[u8]>,
    name: Vec<u8>,
    stage: Stage,
}

/// How far a parcel has come.
enum Stage {
    /// Nothing was done.
    Waiting,
    /// It lies in `tmp`.
    Written { folder: Arc<Folder>, file: OwnedFd, octets: u64 },
    /// It lies in `new`.
    Renamed { folder: Arc<Folder>, octets: u64 },
    /// An earlier delivery was found in `cur`: the file, if it is there still, and the directory.
    Seen { file: Option<OwnedFd>, cur: Arc<OwnedFd> },
    /// Its recipients are refused.
    Failed(Fault),
}

/// Delivers a batch in waves.
pub(super) fn deliver(maildir: &mut Maildir, messages: &[Message<'_>], mut conclude: impl FnMut(usize, u32, Verdict)) {
    let shared = maildir.shared.clone();
    let mut filler = std::mem::take(&mut maildir.filler);
    let most = maildir.files_per_wave;
    let mut wave = Vec::new();
    let mut run = |wave: &mut Vec<Parcel>| {
        maildir.run(messages, wave);
        for parcel in wave.drain(..) {
            let verdict = if let Stage::Failed(fault) = &parcel.stage { fault.verdict() } else { Ok(()) };
            for place in parcel.places {
                conclude(parcel.message, messages[parcel.message].recipients[place].0, verdict.clone());
            }
        }
    };
    for (index, message) in messages.iter().enumerate() {
        let mut parcels = parcels(index, message, &shared.options.path, &mut filler).into_iter();
        // BOUND: each turn takes parcels, or there are none left.
        while parcels.len() > 0 {
            wave.extend(parcels.by_ref().take(most - wave.len()));
            if wave.len() == most {
                run(&mut wave);
            }
        }
    }
    if !wave.is_empty() {
        run(&mut wave);
    }
    maildir.filler = filler;
}

/// One for each maildir that the message goes to, in the order of their paths.
fn parcels(index: usize, message: &Message<'_>, template: &PathTemplate, filler: &mut Filler) -> Vec<Parcel> {
    let mut file_name = Vec::new();
    name::write(&message.manifest, &mut file_name);
    let mut maildirs: BTreeMap<Box<[u8]>, Vec<usize>> = BTreeMap::new();
    for (place, (_, recipient)) in message.recipients.iter().enumerate() {
        let mut below = Vec::new();
        filler.fill(template, *recipient, message.manifest.by, &mut below);
        maildirs.entry(below.into()).or_default().push(place);
    }
    let parcel =
        |(below, places)| Parcel { message: index, places, below, name: file_name.clone(), stage: Stage::Waiting };
    maildirs.into_iter().map(parcel).collect()
}

impl Maildir {
    /// Delivers one wave.
    fn run(&mut self, messages: &[Message<'_>], wave: &mut [Parcel]) {
        match self.root.look_again() {
            Ok(false) => {}
            Ok(true) => self.folders.clear(),
            Err(fault) => return wave.iter_mut().for_each(|parcel| parcel.stage = Stage::Failed(fault.clone())),
        }
        self.folders.begin_turn();
        self.look_for_repeats(messages, wave);
        for parcel in wave.iter_mut().filter(|parcel| matches!(parcel.stage, Stage::Waiting)) {
            parcel.stage = self.write(&messages[parcel.message], parcel).unwrap_or_else(Stage::Failed);
        }
        let device = self.root.device();
        // Where an earlier delivery lies is not looked up.
        let is_beyond = |parcel: &Parcel| match &parcel.stage {
            Stage::Written { folder, .. } => folder.identity.device != device,
            stage => matches!(stage, Stage::Seen { .. }),
        };
        let beyond = wave.iter().any(is_beyond);
        let under_way = wave.iter().filter(|parcel| !matches!(parcel.stage, Stage::Failed(_))).count();
        let way = self.syncer.way(self.root.as_fd(), under_way, beyond);

        if let Err(errno) = self.sync_files(way, wave) {
            return self.give_up(errno, wave);
        }
        let above = if way == Way::Each { self.directories_above(wave) } else { Vec::new() };
        wave.iter_mut().for_each(|parcel| self.rename(parcel));
        if let Err(errno) = self.sync_directories(way, wave, &above) {
            return self.give_up(errno, wave);
        }
        if way != Way::Never {
            folders(wave).for_each(|folder| self.folders.set_lasting(folder));
        }
    }

    /// Finds those that a reader has in `cur` already. Each directory is read once, however many may be there.
    fn look_for_repeats(&self, messages: &[Message<'_>], wave: &mut [Parcel]) {
        let mut repeats: BTreeMap<Box<[u8]>, HashMap<Vec<u8>, &mut Parcel>> = BTreeMap::new();
        for parcel in wave.iter_mut().filter(|parcel| messages[parcel.message].is_repeat) {
            repeats.entry(parcel.below.clone()).or_default().insert(parcel.name.clone(), parcel);
        }
        for (below, mut parcels) in repeats {
            let path = join(&below, b"cur");
            let cur = match self.root.directory(&path, OFlags::RDONLY) {
                Ok(cur) => Arc::new(cur),
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    let fault = self.root.fault(errno, "cannot look for an earlier delivery", &path);
                    parcels.values_mut().for_each(|parcel| parcel.stage = Stage::Failed(fault.clone()));
                    continue;
                }
            };
            for (entry, _) in walk::entries(&cur) {
                if let Some(parcel) = parcels.get_mut(name::without_flags(entry.to_bytes())) {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    // A reader may rename or delete it any moment; then it is his.
                    let file = rustix::fs::openat(&*cur, &entry, flags, Mode::empty()).ok();
                    parcel.stage = Stage::Seen { file, cur: cur.clone() };
                }
            }
        }
    }

    /// Writes a parcel's file in `tmp`.
    fn write(&mut self, message: &Message<'_>, parcel: &Parcel) -> Result<Stage, Fault> {
        let recipients = parcel.places.iter().map(|place| message.recipients[*place].1);
        let most = self.writer.prepare(message, recipients);
        let mut folder = self.folders.folder(&self.root, &parcel.below)?;
        let quota = self.shared.quota.as_ref();
        if let Some(quota) = quota.filter(|quota| !quota.reserve(most, &self.root)) {
            return Err(Fault::quota(self.root.path(), quota.most()));
        }
        let settle = |octets| quota.into_iter().for_each(|quota| quota.settle(most, octets));
        let mut created = create(&folder, &parcel.name);
        if matches!(created, Err(Errno::NOENT)) {
            // It was opened, and is gone.
            self.folders.forget(&parcel.below);
            folder = self.folders.folder(&self.root, &parcel.below).inspect_err(|_| settle(0))?;
            created = create(&folder, &parcel.name);
        }
        let fault = |errno, what| {
            settle(0);
            self.root.fault(errno, what, &folder.inside(&join(b"tmp", &parcel.name)))
        };
        let file = created.map_err(|errno| fault(errno, "cannot create the file"))?;
        match self.writer.write(file.as_fd(), &message.content, self.shared.options.line_ends) {
            Ok(octets) => {
                settle(octets);
                Ok(Stage::Written { folder, file, octets })
            }
            Err(errno) => {
                remove(&folder.tmp, &parcel.name);
                Err(fault(errno, "cannot write the file"))
            }
        }
    }

    fn sync_files(&mut self, way: Way, wave: &[Parcel]) -> Result<(), Errno> {
        let files: Vec<BorrowedFd<'_>> = wave.iter().filter_map(|parcel| parcel.stage.file()).collect();
        match way {
            Way::Each => sync::each(&files),
            Way::Whole if !files.is_empty() => self.syncer.whole(self.root.as_fd()),
            Way::Never | Way::Whole => Ok(()),
        }
    }

    /// Those up to the root of maildirs that are not known to last. One that cannot be opened fails the parcels below it.
    fn directories_above(&self, wave: &mut [Parcel]) -> Vec<OwnedFd> {
        let mut opened: BTreeMap<Vec<u8>, OwnedFd> = BTreeMap::new();
        for parcel in wave {
            let Stage::Written { folder, octets, .. } = &parcel.stage else { continue };
            if self.folders.is_lasting(folder) {
                continue;
            }
            let ends = (0..folder.below.len()).filter(|at| folder.below[*at] == b'/').chain([0, folder.below.len()]);
            for end in ends {
                let path = &folder.below[..end];
                if opened.contains_key(path) {
                    continue;
                }
                match self.root.directory(path, OFlags::RDONLY) {
                    Ok(directory) => drop(opened.insert(path.to_vec(), directory)),
                    Err(errno) => {
                        let fault = self.root.fault(errno, "cannot open the directory", path);
                        self.remove(&folder.tmp, &parcel.name, *octets);
                        parcel.stage = Stage::Failed(fault);
                        break;
                    }
                }
            }
        }
        opened.into_values().collect()
    }

    fn rename(&mut self, parcel: &mut Parcel) {
        let Stage::Written { folder, octets, .. } = &parcel.stage else { return };
        let name = OsStr::from_bytes(&parcel.name);
        parcel.stage = match rustix::fs::renameat(&folder.tmp, name, &folder.new, name) {
            Ok(()) => Stage::Renamed { folder: folder.clone(), octets: *octets },
            Err(errno) => {
                self.remove(&folder.tmp, &parcel.name, *octets);
                self.folders.forget(&parcel.below);
                let path = folder.inside(&join(b"new", &parcel.name));
                Stage::Failed(self.root.fault(errno, "cannot rename the file into place", &path))
            }
        };
    }

    fn sync_directories(&mut self, way: Way, wave: &[Parcel], above: &[OwnedFd]) -> Result<(), Errno> {
        let renamed = wave.iter().filter_map(|parcel| match &parcel.stage {
            Stage::Renamed { folder, .. } => Some((&*parcel.below, folder.new.as_fd())),
            _ => None,
        });
        let seen = wave.iter().filter_map(|parcel| match &parcel.stage {
            Stage::Seen { cur, .. } => Some((&*parcel.below, cur.as_fd())),
            _ => None,
        });
        // Each once.
        let renamed: BTreeMap<&[u8], BorrowedFd<'_>> = renamed.collect();
        let seen: BTreeMap<&[u8], BorrowedFd<'_>> = seen.collect();
        if renamed.is_empty() && seen.is_empty() {
            return Ok(());
        }
        match way {
            Way::Never => Ok(()),
            Way::Whole => self.syncer.whole(self.root.as_fd()),
            Way::Each => {
                let above = above.iter().map(AsFd::as_fd);
                let all: Vec<_> = above.chain(renamed.into_values()).chain(seen.into_values()).collect();
                sync::each(&all)
            }
        }
    }

    /// A sync failed: all of the wave is refused and removed, and no descriptor of it is used again.
    fn give_up(&mut self, errno: Errno, wave: &mut [Parcel]) {
        let fault = self.root.fault(errno, "cannot sync what was delivered together", b"");
        for parcel in wave {
            match &parcel.stage {
                Stage::Written { folder, octets, .. } => self.remove(&folder.tmp, &parcel.name, *octets),
                Stage::Renamed { folder, octets } => self.remove(&folder.new, &parcel.name, *octets),
                Stage::Failed(_) => continue,
                Stage::Waiting | Stage::Seen { .. } => {}
            }
            parcel.stage = Stage::Failed(fault.clone());
        }
        self.folders.clear();
    }

    fn remove(&self, directory: &OwnedFd, name: &[u8], octets: u64) {
        remove(directory, name);
        if let Some(quota) = &self.shared.quota {
            quota.remove(octets);
        }
    }
}

impl Stage {
    /// What must be synced before a rename.
    fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Written { file, .. } => Some(file.as_fd()),
            Self::Seen { file, .. } => file.as_ref().map(AsFd::as_fd),
            Self::Waiting | Self::Renamed { .. } | Self::Failed(_) => None,
        }
    }
}

/// Those that have a file in them.
fn folders(wave: &[Parcel]) -> impl Iterator<Item = &Folder> {
    wave.iter().filter_map(|parcel| match &parcel.stage {
        Stage::Written { folder, .. } | Stage::Renamed { folder, .. } => Some(&**folder),
        Stage::Waiting | Stage::Seen { .. } | Stage::Failed(_) => None,
    })
}

/// A file of that name in `tmp` is ours, of an attempt that was cut off.
fn create(folder: &Folder, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(&folder.tmp, OsStr::from_bytes(name), flags, Mode::RUSR | Mode::WUSR);
    match create() {
        Err(Errno::EXIST) => {
            remove(&folder.tmp, name);
            create()
        }
        done => done,
    }
}

/// What cannot be removed stays until `walk` finds it, or the same message overwrites it.
fn remove(directory: &OwnedFd, name: &[u8]) {
    let _ = rustix::fs::unlinkat(directory, OsStr::from_bytes(name), AtFlags::empty());
}
