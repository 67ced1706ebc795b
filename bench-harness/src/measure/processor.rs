//! Processor time of a process and of the machine, as the kernel accounts for it.
//!
//! *Why this way*: `/proc/PID/task/*/schedstat` is exact to the ns while a thread sleeps, but forgets threads that have ended
//! (io_uring's own workers come and go); `/proc/PID/stat` forgets nothing but counts ticks of 10 ms. So the first is taken,
//! unless the second says that something is missing.

use std::fmt;
use std::fs;
use std::io;

/// Where a time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Sum of the threads' schedstat, in ns.
    Schedstat,
    /// utime + stime of the process, in clock ticks.
    Stat,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schedstat => "schedstat of its threads (ns)",
            Self::Stat => "utime+stime (10 ms ticks)",
        })
    }
}

/// Processor time that a process has used so far, all threads, user and system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessTime {
    threads_ns: u64,
    ticks_ns: u64,
}

/// How far ticks and schedstat may differ before schedstat is taken to have missed a thread: three ticks.
const DOUBT_NS: u64 = 30_000_000;

impl ProcessTime {
    /// Of a process, now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads_ns = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end while this looks at it; a kernel may have no schedstat. The ticks tell in both cases.
            if let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) {
                threads_ns += parse_schedstat(&text).unwrap_or(0);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = parse_stat(&stat, 2).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat cannot be read")))?;
        Ok(Self { threads_ns, ticks_ns: ticks * tick_ns() })
    }

    /// What was used since an earlier time, and which account says so.
    pub fn since_ns(self, earlier: Self) -> (u64, Source) {
        let ticks_ns = self.ticks_ns.saturating_sub(earlier.ticks_ns);
        match self.threads_ns.checked_sub(earlier.threads_ns) {
            Some(ns) if ns + DOUBT_NS >= ticks_ns && ns <= ticks_ns + DOUBT_NS => (ns, Source::Schedstat),
            _ => (ticks_ns, Source::Stat),
        }
    }
}

/// Processor time that the whole machine has used so far: user, system and interrupts, of every process.
pub fn machine_ns() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    parse_machine(&stat).map(|ticks| ticks * tick_ns()).ok_or_else(|| io::Error::other("/proc/stat cannot be read"))
}

/// Processor time that this process and its children that have ended and were waited for have used so far.
pub fn own_ns() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    parse_stat(&stat, 4)
        .map(|ticks| ticks * tick_ns())
        .ok_or_else(|| io::Error::other("/proc/self/stat cannot be read"))
}

/// Processor time that this thread has used so far, and time that it was ready and had to wait for a processor.
pub fn thread_ns() -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse().ok());
    fields.next().zip(fields.next()).ok_or_else(|| io::Error::other("/proc/thread-self/schedstat cannot be read"))
}

fn tick_ns() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second()
}

/// Time on a processor, the first of three fields.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The sum of so many fields of proc(5) from the 14th on: utime, stime, and those of children, cutime and cstime. The name in
/// field 2 may have anything in it but its last parenthesis.
fn parse_stat(text: &str, fields: usize) -> Option<u64> {
    let rest = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let times: Vec<u64> = rest.take(fields).map_while(|field| field.parse().ok()).collect();
    (times.len() == fields).then(|| times.iter().sum())
}

/// user, nice, system, irq and softirq; not idle, iowait, and what other guests took.
fn parse_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    (fields.len() >= 7).then(|| fields[0] + fields[1] + fields[2] + fields[5] + fields[6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read() {
        assert_eq!(parse_schedstat("781408568 134903638 30225\n"), Some(781_408_568));
        let stat = "123 (a) b) c) S 1 2 3 0 -1 4194304 118 0 0 0 70 5 300 1000 20 0 1 0 275190";
        assert_eq!((parse_stat(stat, 2), parse_stat(stat, 4)), (Some(75), Some(1375)));
        assert_eq!(parse_stat("123 (short) S 1", 2), None);
        let machine = "cpu  100 1 50 9000 7 3 4 99 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse_machine(machine), Some(158));
    }

    #[test]
    fn a_thread_that_has_ended_is_not_lost() {
        let time = |threads_ns, ticks_ns| ProcessTime { threads_ns, ticks_ns };
        let before = time(1_000_000_000, 1_000_000_000);
        assert_eq!(time(1_500_000_000, 1_510_000_000).since_ns(before), (500_000_000, Source::Schedstat));
        assert_eq!(time(1_100_000_000, 1_510_000_000).since_ns(before), (510_000_000, Source::Stat));
        assert_eq!(time(900_000_000, 1_510_000_000).since_ns(before), (510_000_000, Source::Stat));
    }

    #[test]
    fn this_process_uses_time() {
        let pid = std::process::id();
        let before = ProcessTime::of(pid).unwrap();
        let machine = machine_ns().unwrap();
        let mut sum = 0_u64;
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 100 {
            sum = std::hint::black_box(sum.wrapping_mul(3).wrapping_add(1));
        }
        let (used_ns, _) = ProcessTime::of(pid).unwrap().since_ns(before);
        assert!(used_ns > 10_000_000, "{used_ns}");
        assert!(machine_ns().unwrap() > machine);
        assert!(own_ns().unwrap() > 0);
    }
}
