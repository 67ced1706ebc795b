//! A disk in memory that loses power: what is synced stays, and of the rest any part.
//!
//! # What a power cut keeps
//!
//! * Of a file: what a synced write wrote that was completed, and what was written before a sync that was completed. Of every other write,
//!   completed, failed or under way, what chance keeps of its sectors of 512 octets: all, none, the first ones, or any.
//! * Of the names in a directory: those at its last sync, and of what was done since what chance keeps, each by itself.
//! * What a failed sync should have kept is as if it had never been synced, though a later sync says that all is well: the kernel takes such pages
//!   for clean (RELIABILITY, what was observed on ext4).
//! * The length of a file, and that its place is taken: when it was synced, or when chance says so. A file that lost its length is empty.
//!
//! # Two ways in
//!
//! As a [`Storage`], for what blocks. By number, for the simulated kernel: [`SimDisk::begin_write`] when an operation is taken,
//! [`SimDisk::complete_write`] when it completes. A cut between the two tears the write.
//!
//! What fails, and how, is a plan's ([`SimDisk::set_plan`]): the same calls with the same plan and seed give the same disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::chance::Chance;
use crate::memory::write::File;
use crate::spool::storage::{Access, Cause, Entry, EntryKind, Storage, StorageError, StoredFile, check_alignment};
use content::{Content, PAGE_OCTETS, Pages, Pending, put};

mod content;

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Octets.
    Read,
    /// Octets, which need not last.
    Write,
    /// Octets, which last when it is done.
    SyncedWrite,
    /// That what was written lasts.
    Sync,
    /// A file.
    Create,
    /// Another name for a file.
    Rename,
    /// That a file is gone.
    Remove,
    /// That names last.
    SyncDirectory,
}

/// A call, before it is done.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Of this kind.
    pub what: What,
    /// For this file or directory.
    pub path: &'a Path,
    /// From this octet on.
    pub at: u64,
    /// So many.
    pub octets: usize,
}

/// What shall become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Done,
    /// It fails. What a write that fails leaves is chance's.
    Fails(Errno),
    /// A write writes no more than so many octets.
    Short(usize),
}

/// How often what goes wrong, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// A write fails with EIO.
    pub write_fails: u8,
    /// A sync of a file or a directory fails with EIO.
    pub sync_fails: u8,
    /// A write is short, by whole pages.
    pub short_write: u8,
    /// A read fails with EIO.
    pub read_fails: u8,
    /// A file finds no room.
    pub full: u8,
}

impl DiskFaults {
    /// A plan that draws.
    pub fn plan(self, mut chance: Chance) -> impl FnMut(&Call<'_>) -> Fate + Send + 'static {
        move |call| match call.what {
            What::Write | What::SyncedWrite if chance.percent(self.write_fails) => Fate::Fails(Errno::IO),
            What::Write | What::SyncedWrite if chance.percent(self.short_write) => {
                Fate::Short(chance.below(call.octets / PAGE_OCTETS + 1) * PAGE_OCTETS)
            }
            What::Sync | What::SyncDirectory if chance.percent(self.sync_fails) => Fate::Fails(Errno::IO),
            What::Read if chance.percent(self.read_fails) => Fate::Fails(Errno::IO),
            What::Create if chance.percent(self.full) => Fate::Fails(Errno::NOSPC),
            _ => Fate::Done,
        }
    }
}

type Plan = Box<dyn FnMut(&Call<'_>) -> Fate + Send>;

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    names: BTreeMap<PathBuf, Node>,
    /// Those that last.
    lasting: BTreeMap<PathBuf, Node>,
    /// What was done to names and need not last, in order.
    changes: Vec<Change>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    under_way: BTreeMap<u64, UnderWay>,
    next_write: u64,
    free_octets: u64,
    volatile: Option<&'static str>,
    plan: Plan,
    chance: Chance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Directory,
    Link,
}

#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    /// Whether it is on stable storage with the names of that directory. A move from one directory to another is one change of both.
    fn is_of(&self, directory: &Path) -> bool {
        let is_there = |path: &Path| path.parent().unwrap_or(Path::new("")) == directory;
        match self {
            Self::Create(path, _) | Self::Remove(path) => is_there(path),
            Self::Rename(from, to) => is_there(from) || is_there(to),
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Create(path, number) => _ = names.insert(path, Node::File(number)),
            Self::Remove(path) => _ = names.remove(&path),
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(&from) {
                    names.insert(to, node);
                }
            }
        }
    }
}

struct UnderWay {
    file: u64,
    pending: Pending,
    is_synced: bool,
    fate: Fate,
}

impl State {
    fn ask(&mut self, what: What, path: &Path, at: u64, octets: usize) -> Fate {
        (self.plan)(&Call { what, path, at, octets })
    }

    fn allow(&mut self, what: What, path: &Path) -> Result<(), Cause> {
        match self.ask(what, path, 0, 0) {
            Fate::Fails(errno) => Err(Cause::System(errno)),
            Fate::Done | Fate::Short(_) => Ok(()),
        }
    }

    fn content(&mut self, file: u64) -> &mut Content {
        self.files.get_mut(&file).expect("a file of this disk")
    }

    /// The file of a name.
    fn file(&self, path: &Path) -> Result<u64, Cause> {
        self.check_directory(path.parent().unwrap_or(Path::new("")))?;
        match self.names.get(path) {
            None => Err(Cause::System(Errno::NOENT)),
            Some(Node::File(number)) if self.files[number].is_foreign => Err(Cause::Owner(12345)),
            Some(Node::File(number)) => Ok(*number),
            Some(Node::Directory) => Err(Cause::Kind),
            Some(Node::Link) => Err(Cause::System(Errno::LOOP)),
        }
    }

    fn check_directory(&self, path: &Path) -> Result<(), Cause> {
        match self.names.get(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(Cause::System(Errno::NOTDIR)),
            Some(Node::Link) => Err(Cause::System(Errno::LOOP)),
            None => Err(Cause::System(Errno::NOENT)),
        }
    }

    /// All changes of that directory last, in their order; and those of directories from which or to which something moved there.
    fn settle(&mut self, directory: &Path) {
        let mut directories = vec![directory.to_owned()];
        let mut known = 0;
        // BOUND: each turn finds another directory.
        while known < directories.len() {
            known = directories.len();
            for change in &self.changes {
                let Change::Rename(from, to) = change else { continue };
                if directories.iter().any(|directory| change.is_of(directory)) {
                    let both = [from, to].map(|path| path.parent().unwrap_or(Path::new("")).to_owned());
                    let others: Vec<PathBuf> =
                        both.into_iter().filter(|directory| !directories.contains(directory)).collect();
                    directories.extend(others);
                }
            }
        }
        let is_settled = |change: &Change| directories.iter().any(|directory| change.is_of(directory));
        let (settled, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.changes).into_iter().partition(is_settled);
        self.changes = rest;
        settled.into_iter().for_each(|change| change.apply(&mut self.lasting));
    }

    fn begin(&mut self, file: u64, octets: &[u8], at: u64, is_synced: bool) -> UnderWay {
        let content = &self.files[&file];
        let path = content.path.clone();
        assert!(at + octets.len() as u64 <= content.octets, "{}: a file never grows", path.display());
        check_alignment(octets.len(), at).expect("a write is aligned");
        let what = if is_synced { What::SyncedWrite } else { What::Write };
        let fate = self.ask(what, &path, at, octets.len());
        UnderWay { file, pending: Pending::new(at, octets), is_synced, fate }
    }

    fn complete(&mut self, UnderWay { file, pending, is_synced, fate }: UnderWay) -> Result<usize, Errno> {
        let mut chance = self.chance.clone();
        let content = self.content(file);
        let done = match fate {
            Fate::Done => Ok(pending.octets.len()),
            Fate::Short(most) => Ok(pending.octets.len().min(most)),
            Fate::Fails(errno) => Err(errno),
        };
        match done {
            Ok(octets) => {
                let written = &pending.octets[..octets];
                put(&mut content.now, pending.at, written);
                if is_synced {
                    content.last(pending.at, written);
                    content.has_lasting_length = true;
                } else if octets > 0 {
                    content.pending.push(Pending::new(pending.at, written));
                }
            }
            Err(_) => {
                pending.tear(&mut content.now, &mut chance);
                content.pending.push(Pending { has_failed: true, ..pending });
            }
        }
        self.chance = chance;
        done
    }

    fn write(&mut self, file: u64, octets: &[u8], at: u64, is_synced: bool) -> Result<(), Cause> {
        check_alignment(octets.len(), at)?;
        let mut done = 0;
        let mut idle = 0;
        // COST: a file that is made is filled with zeros, which is what is in it, whatever becomes of the write.
        let is_blank = self.files[&file].is_blank() && content::are_zeros(octets);
        while done < octets.len() {
            let (rest, at) = (&octets[done..], at + done as u64);
            let written = match is_blank {
                true => self.leave_blank(file, rest.len(), at, is_synced)?,
                false => {
                    let write = self.begin(file, rest, at, is_synced);
                    self.complete(write)?
                }
            };
            // As the machine's own: what writes nothing at all has no room.
            idle = if written == 0 { idle + 1 } else { 0 };
            if idle == 1 {
                return Err(Cause::System(Errno::NOSPC));
            }
            done += written;
        }
        Ok(())
    }

    fn leave_blank(&mut self, file: u64, octets: usize, at: u64, is_synced: bool) -> Result<usize, Errno> {
        let path = self.files[&file].path.clone();
        let what = if is_synced { What::SyncedWrite } else { What::Write };
        let done = match self.ask(what, &path, at, octets) {
            Fate::Done => octets,
            Fate::Short(most) => octets.min(most),
            Fate::Fails(errno) => return Err(errno),
        };
        self.content(file).has_lasting_length |= is_synced;
        Ok(done)
    }

    fn read(&mut self, file: u64, into: &mut [u8], at: u64) -> Result<(), Cause> {
        check_alignment(into.len(), at)?;
        let path = self.files[&file].path.clone();
        if let Fate::Fails(errno) = self.ask(What::Read, &path, at, into.len()) {
            return Err(Cause::System(errno));
        }
        let content = &self.files[&file];
        if at + into.len() as u64 > content.octets {
            return Err(Cause::UnexpectedEnd);
        }
        for (number, page) in into.chunks_mut(PAGE_OCTETS).enumerate() {
            match content.now.get(&(at / PAGE_OCTETS as u64 + number as u64)) {
                Some(written) => page.copy_from_slice(&written[..]),
                None => page.fill(0),
            }
        }
        Ok(())
    }

    fn sync(&mut self, file: u64) -> Result<(), Cause> {
        let path = self.files[&file].path.clone();
        let synced = self.allow(What::Sync, &path);
        let content = self.content(file);
        if synced.is_err() {
            content.pending.iter_mut().for_each(|pending| pending.has_failed = true);
            return synced;
        }
        let (failed, lasting) =
            std::mem::take(&mut content.pending).into_iter().partition(|pending| pending.has_failed);
        content.pending = failed;
        for pending in &lasting as &Vec<Pending> {
            pending.sectors().for_each(|(at, sector)| content.last(at, sector));
        }
        content.has_lasting_length = true;
        Ok(())
    }

    fn create(&mut self, path: &Path, octets: u64) -> Result<u64, Cause> {
        check_alignment(0, octets)?;
        self.check_directory(path.parent().unwrap_or(Path::new("")))?;
        if self.names.contains_key(path) {
            return Err(Cause::System(Errno::EXIST));
        }
        self.allow(What::Create, path)?;
        self.free_octets = self.free_octets.checked_sub(octets).ok_or(Cause::System(Errno::NOSPC))?;
        let number = self.next_file;
        self.next_file += 1;
        let content = Content {
            path: path.to_owned(),
            octets,
            has_lasting_length: false,
            is_foreign: false,
            now: Pages::new(),
            lasting: Pages::new(),
            pending: Vec::new(),
        };
        self.files.insert(number, content);
        self.change(Change::Create(path.to_owned(), number));
        Ok(number)
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names);
        self.changes.push(change);
    }

    fn remove(&mut self, path: &Path) -> Result<(), Cause> {
        let number = self.file(path)?;
        self.allow(What::Remove, path)?;
        self.free_octets += self.files[&number].octets;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Cause> {
        let number = self.file(from)?;
        self.check_directory(to.parent().unwrap_or(Path::new("")))?;
        self.allow(What::Rename, from)?;
        if let Ok(replaced) = self.file(to) {
            self.free_octets += self.files[&replaced].octets;
        }
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
        self.content(number).path = to.to_owned();
        Ok(())
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new(0)
    }
}

impl SimDisk {
    /// An empty one, on which nothing fails.
    pub fn new(seed: u64) -> Self {
        let root = || BTreeMap::from([(PathBuf::from("/"), Node::Directory), (PathBuf::new(), Node::Directory)]);
        Self(Arc::new(Mutex::new(State {
            names: root(),
            lasting: root(),
            changes: Vec::new(),
            files: BTreeMap::new(),
            next_file: 1,
            under_way: BTreeMap::new(),
            next_write: 1,
            free_octets: 1 << 40,
            volatile: None,
            plan: Box::new(|_| Fate::Done),
            chance: Chance::new(seed),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    /// Says what becomes of each call from now on.
    pub fn set_plan(&self, plan: impl FnMut(&Call<'_>) -> Fate + Send + 'static) {
        self.state().plan = Box::new(plan);
    }

    /// So much is free.
    pub fn set_free_octets(&self, octets: u64) {
        self.state().free_octets = octets;
    }

    /// What is written is gone with the power, it says.
    pub fn set_volatile(&self, why: Option<&'static str>) {
        self.state().volatile = why;
    }

    /// A write of the simulated kernel to the file of that number ([`File::Numbered`]) begins. Places and lengths are aligned.
    pub fn begin_write(&self, file: u64, octets: &[u8], at: u64, is_synced: bool) -> u64 {
        let mut state = self.state();
        let write = state.begin(file, octets, at, is_synced);
        let number = state.next_write;
        state.next_write += 1;
        state.under_way.insert(number, write);
        number
    }

    /// That write ends, with so many octets, or as the plan said when it began.
    ///
    /// # Panics
    /// When no such write is under way.
    pub fn complete_write(&self, write: u64) -> Result<u32, Errno> {
        let mut state = self.state();
        let write = state.under_way.remove(&write).expect("a write that is under way");
        state.complete(write).map(|octets| octets as u32)
    }

    /// The same, and no better than that.
    ///
    /// # Panics
    /// When no such write is under way.
    pub(super) fn complete_write_as(&self, write: u64, result: Result<u32, Errno>) -> Result<u32, Errno> {
        if let Some(write) = self.state().under_way.get_mut(&write)
            && write.fate == Fate::Done
        {
            write.fate = match result {
                Ok(octets) => Fate::Short(octets as usize),
                Err(errno) => Fate::Fails(errno),
            };
        }
        self.complete_write(write)
    }

    /// Whether there is a file of that number.
    pub(super) fn has_file(&self, file: u64) -> bool {
        self.state().files.contains_key(&file)
    }

    /// What is there when the power comes back. This disk goes on as if nothing had happened.
    pub fn power_cut(&self, chance: &mut Chance) -> Self {
        let state = self.state();
        let mut names = state.lasting.clone();
        for change in &state.changes {
            if chance.percent(50) {
                change.clone().apply(&mut names);
            }
        }
        let after = Self::new(chance.draw());
        let mut later = after.state();
        for number in names.values().filter_map(|node| if let Node::File(number) = node { Some(number) } else { None })
        {
            let under_way = state.under_way.values().filter(|write| write.file == *number);
            let under_way: Vec<&Pending> = under_way.map(|write| &write.pending).collect();
            later.files.insert(*number, state.files[number].after_cut(chance, &under_way));
        }
        (later.lasting, later.names) = (names.clone(), names);
        (later.next_file, later.free_octets) = (state.next_file, state.free_octets);
        later.volatile = state.volatile;
        drop(later);
        after
    }

    /// What is there when the process is killed, and the machine goes on: all that was written, and of what is under way what chance
    /// keeps. This disk goes on as if nothing had happened.
    pub fn process_kill(&self, chance: &mut Chance) -> Self {
        let state = self.state();
        let after = Self::new(chance.draw());
        let mut later = after.state();
        (later.names, later.lasting) = (state.names.clone(), state.lasting.clone());
        (later.changes, later.files) = (state.changes.clone(), state.files.clone());
        for UnderWay { file, pending, .. } in state.under_way.values() {
            let content = later.content(*file);
            pending.tear(&mut content.now, chance);
            content.pending.push(pending.clone());
        }
        (later.next_file, later.free_octets) = (state.next_file, state.free_octets);
        later.volatile = state.volatile;
        drop(later);
        after
    }

    /// All octets of a file, as they are read now.
    pub fn octets(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        let content = &state.files[&state.file(path).expect("a file")];
        let mut octets = vec![0; content.octets as usize];
        for (page, written) in &content.now {
            let at = *page as usize * PAGE_OCTETS;
            octets[at..at + PAGE_OCTETS].copy_from_slice(&written[..]);
        }
        octets
    }

    /// Puts octets into a file behind everybody's back: they are there, and last.
    pub fn forge(&self, path: &Path, at: u64, octets: &[u8]) {
        let mut state = self.state();
        let file = state.file(path).expect("a file");
        let content = state.content(file);
        put(&mut content.now, at, octets);
        content.last(at, octets);
    }

    /// Turns one bit of a file.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut octets = self.octets(path);
        let page = bit / 8 / PAGE_OCTETS as u64 * PAGE_OCTETS as u64;
        octets[(bit / 8) as usize] ^= 1 << (bit % 8);
        self.forge(path, page, &octets[page as usize..page as usize + PAGE_OCTETS]);
    }

    /// Puts a symbolic link there.
    pub fn put_link(&self, path: &Path) {
        let mut state = self.state();
        state.names.insert(path.to_owned(), Node::Link);
        state.lasting.insert(path.to_owned(), Node::Link);
    }

    /// Gives a file to another user.
    pub fn give_away(&self, path: &Path) {
        let mut state = self.state();
        let file = state.file(path).expect("a file");
        state.content(file).is_foreign = true;
    }

    fn stored(&self, path: &Path, number: u64) -> Arc<dyn StoredFile> {
        let octets = self.state().files[&number].octets;
        let file = Arc::new(File::Numbered(number));
        Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), number, octets, file })
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimDisk").field("names", &self.state().names).finish_non_exhaustive()
    }
}

fn failed(path: &Path, what: &'static str) -> impl Fn(Cause) -> StorageError {
    move |cause| StorageError { path: path.to_owned(), what, cause }
}

impl Storage for SimDisk {
    fn entries(&self, directory: &Path) -> Result<Vec<Entry>, StorageError> {
        let state = self.state();
        state.check_directory(directory).map_err(failed(directory, "list the directory"))?;
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(directory));
        let entry = |(path, node): (&PathBuf, &Node)| {
            let (kind, octets) = match node {
                Node::File(number) => (EntryKind::File, state.files[number].octets),
                Node::Directory => (EntryKind::Directory, 0),
                Node::Link => (EntryKind::Link, 0),
            };
            path.file_name().map(|name| Entry { name: name.to_owned(), kind, octets })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn make_directory(&self, directory: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        let above: Vec<&Path> = directory.ancestors().collect();
        for path in above.into_iter().rev() {
            state.names.entry(path.to_owned()).or_insert(Node::Directory);
            state.lasting.entry(path.to_owned()).or_insert(Node::Directory);
            state.check_directory(path).map_err(failed(path, "make the directory"))?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, _access: Access) -> Result<Arc<dyn StoredFile>, StorageError> {
        let number = self.state().file(path).map_err(failed(path, "open the file"))?;
        Ok(self.stored(path, number))
    }

    fn create(&self, path: &Path, octets: u64) -> Result<Arc<dyn StoredFile>, StorageError> {
        let number = self.state().create(path, octets).map_err(failed(path, "make the file"))?;
        Ok(self.stored(path, number))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.state().rename(from, to).map_err(failed(from, "rename the file"))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.state().remove(path).map_err(failed(path, "remove the file"))
    }

    fn sync_directory(&self, directory: &Path) -> Result<(), StorageError> {
        let mut state = self.state();
        state
            .check_directory(directory)
            .and_then(|()| state.allow(What::SyncDirectory, directory))
            .map_err(failed(directory, "sync the directory"))?;
        state.settle(directory);
        Ok(())
    }

    fn free_octets(&self, _path: &Path) -> Result<u64, StorageError> {
        Ok(self.state().free_octets)
    }

    fn refuses_durability(&self, _path: &Path) -> Option<&'static str> {
        self.state().volatile
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    number: u64,
    octets: u64,
    file: Arc<File>,
}

impl StoredFile for SimFile {
    fn octets(&self) -> u64 {
        self.octets
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<(), StorageError> {
        self.disk.state().read(self.number, into, at).map_err(failed(&self.path, "read it"))
    }

    fn write_at(&self, octets: &[u8], at: u64, is_synced: bool) -> Result<(), StorageError> {
        self.disk.state().write(self.number, octets, at, is_synced).map_err(failed(&self.path, "write it"))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.disk.state().sync(self.number).map_err(failed(&self.path, "sync it"))
    }

    fn shared(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

#[cfg(test)]
mod tests;
