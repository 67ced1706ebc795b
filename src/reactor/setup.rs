//! Why this kernel, or this container, cannot run the engine: which call was refused, why that usually is, what to do.

use rustix::io::Errno;

/// A refusal at set-up. The operator's or the system's fault; exit status 69 (EX_UNAVAILABLE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} was refused: {errno}. {hint}", hint = self.hint())]
pub struct SetupError {
    /// The call, as the kernel's documentation names it.
    pub call: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl SetupError {
    /// Exit status of the process: EX_UNAVAILABLE.
    pub const EXIT_STATUS: u8 = 69;

    fn hint(&self) -> &'static str {
        match (self.call, self.errno) {
            ("io_uring_setup", Errno::PERM | Errno::ACCESS) => {
                "io_uring is forbidden here: look at the sysctl kernel.io_uring_disabled (0 allows it), and, in a container, at \
                 its seccomp profile, which must allow io_uring_setup, io_uring_enter and io_uring_register"
            }
            ("io_uring_setup", Errno::NOSYS) => {
                "This kernel has no io_uring, or a seccomp profile hides it; Linux 6.1 or later is needed"
            }
            ("io_uring_setup", Errno::INVAL) => {
                "This kernel does not know the ring flags that are used; Linux 6.6 or later is needed"
            }
            ("io_uring_setup", Errno::NOMEM) => {
                "The rings did not fit the limit of locked memory: raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity)"
            }
            ("io_uring_setup", Errno::MFILE | Errno::NFILE) | ("IORING_REGISTER_FILES2", Errno::MFILE) => {
                "The limit of open files is too low for the configured connections: raise RLIMIT_NOFILE (systemd: \
                 LimitNOFILE=), or lower server.connections_per_shard"
            }
            ("IORING_REGISTER_PBUF_RING", Errno::NOMEM) | ("mmap", _) => {
                "There is not enough memory for the receive buffers of each shard: lower server.shards, or raise the limit of \
                 memory (RLIMIT_AS, or that of the control group; systemd: MemoryMax=)"
            }
            ("io_uring features", _) => {
                "This kernel's io_uring lacks what never loses a completion (FEAT_NODROP) or waits with a timeout \
                 (FEAT_EXT_ARG); Linux 6.6 or later is needed"
            }
            _ => "This is not known to happen; please report it with the kernel's version",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_call_and_what_to_do() {
        let text = SetupError { call: "io_uring_setup", errno: Errno::PERM }.to_string();
        assert!(
            text.contains("io_uring_setup") && text.contains("kernel.io_uring_disabled") && text.contains("seccomp")
        );
    }
}
