//! The kernel's accounts at one moment: a server's, this process's, the machine's. What neither of the first two used is noise.

use std::io;
use std::time::{Duration, Instant};

use super::processor;
use crate::failure::Failure;

/// See the module. `S` is how a server's processor time is read.
#[derive(Debug)]
pub struct Account<S> {
    /// The server's.
    pub server: S,
    client_ns: u64,
    machine_ns: u64,
    at: Instant,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// By the server.
    pub server_ns: u64,
    /// By this process, and its children that have ended.
    pub client_ns: u64,
    /// By all processes and interrupts.
    pub machine_ns: u64,
    /// Time that passed.
    pub elapsed: Duration,
}

impl<S> Account<S> {
    /// Now.
    pub fn read(server: impl FnOnce() -> io::Result<S>) -> Result<Self, Failure> {
        let read = || -> io::Result<Self> {
            let (client_ns, machine_ns) = (processor::own_ns()?, processor::machine_ns()?);
            Ok(Self { server: server()?, client_ns, machine_ns, at: Instant::now() })
        };
        read().map_err(Failure::while_doing("cannot read the kernel's accounts"))
    }

    /// What was used since an earlier moment, with what the server's two accounts come to.
    pub fn since(&self, earlier: &Self, server_ns: u64) -> Used {
        Used {
            server_ns,
            client_ns: self.client_ns - earlier.client_ns,
            machine_ns: self.machine_ns - earlier.machine_ns,
            elapsed: self.at - earlier.at,
        }
    }
}

impl Used {
    /// What neither server nor client used of the machine, as a share of all processors' time: the noise.
    pub fn others(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others_ns = self.machine_ns.saturating_sub(self.server_ns + self.client_ns);
        others_ns as f64 / (cores as f64 * self.elapsed.as_nanos() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_here_used_is_others() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let elapsed = Duration::from_secs(1);
        let used = Used { server_ns: 200_000_000, client_ns: 300_000_000, machine_ns: 500_000_000, elapsed };
        assert_eq!(used.others(), 0.0);
        let busy = Used { machine_ns: 500_000_000 + cores * 250_000_000, ..used };
        assert_eq!(busy.others(), 0.25);
        // Ticks are coarser than what the processes are told.
        assert_eq!(Used { machine_ns: 490_000_000, ..used }.others(), 0.0);
    }
}
