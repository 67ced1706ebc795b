//! What lies in maildirs, held against the ledger of those who sent it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::offers::{Ledger, number_of};

/// Messages by the id in their file's name, each with its number. All of each was there.
#[derive(Clone, Debug, Default)]
pub struct Kept(pub HashMap<String, u64>);

/// What came of comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub acknowledged: usize,
    pub kept: usize,
    /// Kept, though their senders heard no 250: sent again, they are there twice.
    pub kept_without_250: usize,
}

impl Kept {
    /// All that lies in `new` and `cur` below a directory, in maildirs at any depth.
    #[track_caller]
    pub fn below(root: &Path) -> Self {
        let mut kept = Self::default();
        for path in files_below(root, &["new", "cur"]) {
            kept.read(&path);
        }
        kept
    }

    /// Reads one file, unless it has been moved away by now.
    #[track_caller]
    pub fn read(&mut self, path: &Path) {
        let Ok(file) = std::fs::read(path) else { return };
        match number_of(&file) {
            Ok(number) => drop(self.0.insert(id_of(path), number)),
            Err(what) => panic!("{}: {what}", path.display()),
        }
    }

    /// Every message with a 250 is there, and is what was sent; there is none that was not offered.
    #[track_caller]
    pub fn judge(&self, ledger: &Ledger) -> Judged {
        let lost: Vec<_> = ledger.acknowledged.iter().filter(|(id, _)| !self.0.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged are lost: {lost:?}", lost.len(), ledger.acknowledged.len());
        for (id, number) in &self.0 {
            assert!(ledger.offered.contains(number), "{id} was never offered");
            let acknowledged = ledger.acknowledged.get(id);
            assert!(acknowledged.is_none_or(|acknowledged| acknowledged == number), "{id} is another's content");
        }
        let (acknowledged, kept) = (ledger.acknowledged.len(), self.0.len());
        Judged { acknowledged, kept, kept_without_250: kept - acknowledged }
    }
}

/// `SECONDS.ID.HOST`, with flags or without.
fn id_of(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name of ours");
    name.split('.').nth(1).unwrap_or_else(|| panic!("{name} is no name of ours")).to_owned()
}

/// Files in directories of these names, at any depth.
pub fn files_below(root: &Path, within: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        let is_wanted = directory.file_name().is_some_and(|name| within.iter().any(|wanted| name == *wanted));
        // One that is not there yet has nothing in it.
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(_) if is_wanted => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// Looks at `new` all the while: whatever a reader could see there is whole.
#[derive(Debug)]
pub struct Watcher {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Kept>,
}

impl Watcher {
    pub fn start(root: &Path) -> Self {
        let (root, is_over) = (root.to_owned(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut kept = Kept::default();
            while !told.load(Ordering::Relaxed) {
                Self::look(&root, &mut kept);
                std::thread::sleep(Duration::from_millis(1));
            }
            // So that nothing is missed.
            Self::look(&root, &mut kept);
            kept
        });
        Self { is_over, thread }
    }

    fn look(root: &Path, kept: &mut Kept) {
        for path in files_below(root, &["new"]) {
            if !kept.0.contains_key(&id_of(&path)) {
                kept.read(&path);
            }
        }
    }

    /// What was seen. Fails if anything was not whole.
    #[track_caller]
    pub fn finish(self) -> Kept {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
