//! Where a server that writes has its directory: on a disk, a new one for each run, and nothing of it is left.
//!
//! *Invariant*: never in memory, where nothing is durable and every figure is too good.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ceiling::disk::place::Place;
use crate::failure::Failure;

/// The names of such directories begin with this; the number of the process follows.
const NAME: &str = ".ringmx-bench-data-";

/// See the module. It goes with this, whatever has happened.
#[derive(Debug)]
pub struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        // What is left harms nobody, and goes when the next is made.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where runs that write do so: the directory that was named, or else that of this program, which is where it was built.
pub fn place(named: Option<&Path>) -> Result<Place, Failure> {
    let beside = || {
        let program = std::env::current_exe().map_err(Failure::while_doing("cannot find this program"))?;
        Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
    };
    let directory = named.map_or_else(beside, |named| Ok(named.to_owned()))?;
    Place::of(&directory).map_err(|failure| match failure {
        Failure::Unavailable(text) => Failure::Unavailable(format!("{text}; --data-dir DIR names another place")),
        other => other,
    })
}

impl Home {
    /// A new one. What runs before have left, which were ended from outside, goes.
    pub fn new(place: &Place) -> Result<Self, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep(&place.directory);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = place.directory.join(format!("{NAME}{}-{number}", std::process::id()));
        let made = fs::create_dir(&directory);
        made.map_err(|error| {
            let place = place.directory.display();
            Failure::Unavailable(format!("cannot make a directory in {place}: {error}; --data-dir DIR names another"))
        })?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file into it.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(Failure::while_doing("cannot write a configuration"))?;
        Ok(path)
    }
}

fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let place = place(Some(Path::new(env!("CARGO_MANIFEST_DIR")))).unwrap();
        // No process has a number as high as that.
        let left = place.directory.join(format!("{NAME}{}-0", u32::MAX));
        fs::create_dir(&left).unwrap();
        let home = Home::new(&place).unwrap();
        let path = home.path().to_owned();
        assert!(path.is_dir() && !left.exists());
        home.write("file", "text").unwrap();
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn memory_is_refused() {
        let refused = place(Some(Path::new("/dev/shm")));
        assert!(
            matches!(&refused, Err(Failure::Unavailable(text)) if text.contains("--data-dir") && text.contains("tmpfs")),
            "{refused:?}"
        );
    }
}
