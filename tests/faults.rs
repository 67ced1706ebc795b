//! Faults that only real sockets, real limits and real networks can show (RELIABILITY F1–F8, F13–F29, F32, F33,
//! F35, F36).
//!
//! `tests/faults/README.md` says which test shows what, and what is left to the simulator. Nothing here leans on time:
//! conditions are waited for, times are lower bounds, and whatever is measured is a count or a ratio.
//!
//! What the machine lacks (root, a kernel part, a program) skips a test, and that is said on standard error, past the
//! capture of output. With `RINGMX_EVERY_FAULT=1`, as in `.ci/test`, it is a failure. `RINGMX_LONG=1` makes the counts those
//! of a release: 100,000 idle connections, 200,000 in the storm.

#[path = "process"]
#[allow(dead_code, reason = "shared with tests/process.rs, which needs all of it")]
mod process {
    pub mod client;
    pub mod directory;
    pub mod lines;
    pub mod load;
    pub mod patience;
    pub mod server;
    pub mod stats;
}

mod faults {
    mod crowd;
    mod device;
    mod disk;
    mod machine;
    mod maildirs;
    mod network;
    mod offers;
    mod small_shard;

    mod spool {
        mod chance;
        mod house;

        mod absorbed;
        mod broken;
        mod foreign;
        mod full;
        mod killed;
        mod power;
        mod slow;
    }

    mod deaf;
    mod delivery_log;
    mod descriptors;
    mod full_disk;
    mod half_open;
    mod idle;
    mod killed;
    mod killed_disk;
    mod links;
    mod memory;
    mod panic;
    mod poison;
    mod resets;
    mod reuse;
    mod rings;
    mod slow_disk;
    mod stall;
    mod standing;
    mod stopping;
    mod storm;
    mod trickle;
}
