//! What a process sets for itself before anything runs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises what the process may raise: locked memory, which rings count against, and open files, which the descriptors of
/// connections are registered against.
pub fn raise_limits() {
    let locked = getrlimit(Resource::Memlock);
    let _ = setrlimit(Resource::Memlock, Rlimit { current: locked.maximum, maximum: locked.maximum });
    raise_descriptor_limit();
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // As root the hard limit can be raised too, up to what the kernel allows any process.
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1 << 20);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) });
    if raised.is_err() {
        // What cannot be raised is kept; a ring that does not fit then says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}
