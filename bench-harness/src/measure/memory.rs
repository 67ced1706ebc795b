//! Resident memory of a process.

use std::fs;
use std::io;

/// Octets of `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// RssAnon: memory of its own, such as heap, stacks and receive buffers.
    pub anonymous: u64,
    /// VmRSS: all that is resident, program text too.
    pub all: u64,
}

impl Resident {
    /// Of a process, now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        parse(&status).ok_or_else(|| io::Error::other(format!("/proc/{pid}/status tells no memory")))
    }
}

fn parse(status: &str) -> Option<Resident> {
    let octets = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Resident { anonymous: octets("RssAnon")?, all: octets("VmRSS")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read() {
        let status = "Name:\tringmx\nVmRSS:\t   20000 kB\nRssAnon:\t    1234 kB\nRssFile:\t 1 kB\n";
        assert_eq!(parse(status), Some(Resident { anonymous: 1234 * 1024, all: 20_000 * 1024 }));
        assert_eq!(parse("Name:\tkthreadd\n"), None);
        assert!(Resident::of(std::process::id()).unwrap().anonymous > 0);
    }
}
