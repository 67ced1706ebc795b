//! What a directory lies on: the file system, as the kernel names it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// File systems in which nothing is durable, whatever a write asks for.
const IN_MEMORY: [&str; 4] = ["tmpfs", "ramfs", "devtmpfs", "hugetlbfs"];

/// A directory that can be written to durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Without symbolic links.
    pub directory: PathBuf,
    /// Such as ext4.
    pub file_system: String,
}

impl Place {
    /// Looks at a directory. One in memory is refused.
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::Unavailable(format!("cannot use {}: {error}", directory.display()));
        let directory = fs::canonicalize(directory).map_err(cannot)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(cannot)?;
        let file_system = file_system(&mounts, &directory).unwrap_or("an unknown file system").to_owned();
        if IN_MEMORY.contains(&file_system.as_str()) {
            return Err(Failure::Unavailable(format!(
                "{} is {file_system}, in memory: what is written there is never durable, and its speed is no disk's",
                directory.display()
            )));
        }
        Ok(Self { directory, file_system })
    }
}

/// The type of the last mount whose point the path lies under, of those with the longest. Its name stands behind ` - `.
fn file_system<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let (before, behind) = line.split_once(" - ")?;
        // Blanks in a mount point are written in octal.
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then_some((point.len(), behind.split(' ').next()?))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:5 / /dev rw,nosuid - devtmpfs udev rw
23 22 0:6 / /dev/shm rw - tmpfs tmpfs rw
24 21 8:1 / /srv/my\\040spool rw - xfs /dev/sda1 rw
25 21 8:2 / /srv rw - btrfs /dev/sda2 rw
26 21 8:3 / /srv rw - zfs tank rw
";

    #[test]
    fn the_nearest_mount_has_it() {
        for (path, expected) in [
            ("/", "ext4"),
            ("/development", "ext4"),
            ("/dev/shm/x", "tmpfs"),
            ("/dev/x", "devtmpfs"),
            ("/srv/my spool/x", "xfs"),
            ("/srv/x", "zfs"),
        ] {
            assert_eq!(file_system(MOUNTS, Path::new(path)), Some(expected), "{path}");
        }
    }

    #[test]
    fn memory_is_no_disk() {
        let refused = Place::of(Path::new("/dev/shm"));
        assert!(matches!(&refused, Err(Failure::Unavailable(text)) if text.contains("never durable")), "{refused:?}");
        assert!(matches!(Place::of(Path::new("/nowhere/at/all")), Err(Failure::Unavailable(_))));
    }
}
