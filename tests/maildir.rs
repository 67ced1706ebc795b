//! The maildir sink against what it will meet: readers that other people wrote, and file systems that are full, read-only or broken.
//!
//! What the machine lacks (root, a reader) skips a test, and that is said on standard error; with `RINGMX_EVERY_FAULT=1`, as in
//! `.ci/test`, it is a failure. A file system that a test mounts is mounted in a mount namespace of its own: the test starts itself
//! again there, and all is gone with that process.

#[path = "faults/machine.rs"]
#[allow(dead_code, reason = "shared with tests/faults.rs, which needs all of it")]
mod machine;

#[path = "process/directory.rs"]
mod directory;

#[path = "common/letter.rs"]
mod letter;

mod maildir {
    mod namespace;
    mod post;

    mod file_systems;
    mod readers;
}
