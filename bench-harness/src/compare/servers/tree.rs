//! A server with all its processes, those too that come and go: their processor time, their memory, and their end.
//!
//! *Why a cgroup*: servers fork for a connection or a delivery, and what forked may be nobody's child at the end. The kernel
//! adds up what a cgroup has used, however short-lived who used it. Where no cgroup can be made, the tree of parents and
//! children is walked, and what was adopted by init and has ended is missed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Enters the cgroup, then is the server: so it is in there from its first instruction.
const ENTER: &str = r#"echo $$ >"$0" && exec "$@""#;

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often memory is looked at: it has to be read for each process, and that takes time from what is measured.
const MEMORY_EACH: Duration = Duration::from_millis(250);

/// Where a tree's processor time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// usage_usec of its cgroup.
    Group,
    /// schedstat, else utime and stime, of the processes that are there; cutime and cstime of those that they have waited for.
    Walk,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "a cgroup of its own (µs)",
            Self::Walk => {
                "its process tree (children that have ended in 10 ms ticks, orphans that have ended not at all)"
            }
        })
    }
}

/// Where the processes of a server are.
#[derive(Clone, Debug)]
pub struct Tree {
    group: Option<PathBuf>,
}

impl Tree {
    /// A cgroup below the own one, if that may be.
    pub fn new() -> Self {
        Self { group: own_group().and_then(|parent| make_group(&parent).ok()) }
    }

    /// Without a cgroup.
    #[cfg(test)]
    fn walked() -> Self {
        Self { group: None }
    }

    /// Where its processor time comes from.
    pub fn source(&self) -> Source {
        if self.group.is_some() { Source::Group } else { Source::Walk }
    }

    /// The same command, in the tree, and in a process group of its own: a Ctrl-C is ours to handle.
    pub fn within(&self, command: &Command) -> Command {
        let mut entering = match &self.group {
            Some(group) => {
                let mut entering = Command::new("/bin/sh");
                entering.args(["-c", ENTER]).arg(group.join("cgroup.procs")).arg(command.get_program());
                entering
            }
            None => Command::new(command.get_program()),
        };
        entering.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            entering.current_dir(directory);
        }
        entering.process_group(0);
        entering
    }

    /// The processes that are there, the first one given.
    pub fn processes(&self, first: u32) -> io::Result<Vec<u32>> {
        match &self.group {
            Some(group) => {
                let text = fs::read_to_string(group.join("cgroup.procs"))?;
                Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
            }
            None => Ok(walk(first)?.into_iter().map(|(pid, _)| pid).collect()),
        }
    }

    /// Processor time that the tree has used so far, in ns.
    pub fn used_ns(&self, first: u32) -> io::Result<u64> {
        match &self.group {
            Some(group) => {
                let text = fs::read_to_string(group.join("cpu.stat"))?;
                let us: Option<u64> = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
                us.map(|us| us * 1000).ok_or_else(|| io::Error::other("cpu.stat has no usage_usec"))
            }
            None => Ok(walk(first)?.into_iter().map(|(pid, used)| used.ns(pid)).sum()),
        }
    }

    /// Ends what is left of it, whatever that is. The first process is to be waited for by whoever started it.
    pub fn end(&self, first: u32) {
        match &self.group {
            // Where the kernel is too old for it, one by one.
            Some(group) if fs::write(group.join("cgroup.kill"), "1").is_ok() => {}
            _ => {
                for pid in self.processes(first).unwrap_or_default() {
                    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                        // It may have ended just now.
                        let _ = kill_process(pid, Signal::KILL);
                    }
                }
            }
        }
    }

    /// Takes the cgroup away; everything in it was told to end.
    pub fn remove(&self) {
        let Some(group) = &self.group else { return };
        let deadline = Instant::now() + PATIENCE;
        // Busy until the last process is gone.
        while fs::remove_dir(group).is_err() && group.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The directory of the cgroup (version 2) that this process is in.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        back.starts_with("cgroup2 ").then(|| front.split(' ').nth(4).map(PathBuf::from))?
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mount.join(own))
}

fn make_group(parent: &Path) -> io::Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let group = parent.join(format!("ringmx-bench-{}-{number}", std::process::id()));
    fs::create_dir(&group)?;
    let usable = || -> io::Result<()> {
        fs::read_to_string(group.join("cpu.stat"))?;
        // A process may only be moved where both groups, and what they have in common, may be written. One that is moved for a
        // try tells.
        let tried = Command::new("/bin/sh").args(["-c", ENTER]).arg(group.join("cgroup.procs")).arg("true").output()?;
        if tried.status.success() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    };
    match usable() {
        Ok(()) => Ok(group),
        Err(error) => {
            // Nothing is in it.
            let _ = fs::remove_dir(&group);
            Err(error)
        }
    }
}

/// Ticks that a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    own: u64,
    /// Of children that have ended, and that it has waited for.
    children: u64,
}

/// How far ticks and schedstat may differ: more, and schedstat has forgotten threads that have ended.
const DOUBT_NS: u64 = 30_000_000;

impl Ticks {
    /// In ns, its own as exact as can be.
    fn ns(self, pid: u32) -> u64 {
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let own = match schedstat_ns(pid) {
            Some(ns) if ns.abs_diff(self.own * tick_ns) <= DOUBT_NS => ns,
            _ => self.own * tick_ns,
        };
        own + self.children * tick_ns
    }
}

/// Time on a processor of the threads that are there.
fn schedstat_ns(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// The first process and all that descend from it, each with what it has used.
fn walk(first: u32) -> io::Result<Vec<(u32, Ticks)>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may end while this looks at it.
        if let Some(known) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| parse_stat(&text)) {
            all.insert(pid, known);
        }
    }
    Ok(descendants(first, &all))
}

/// Of processes by number, each with its parent and its ticks.
fn descendants(first: u32, all: &BTreeMap<u32, (u32, Ticks)>) -> Vec<(u32, Ticks)> {
    let mut tree: Vec<(u32, Ticks)> = all.get(&first).map(|(_, ticks)| (first, *ticks)).into_iter().collect();
    let mut at = 0;
    while at < tree.len() {
        let parent = tree[at].0;
        tree.extend(all.iter().filter(|(_, known)| known.0 == parent).map(|(pid, (_, ticks))| (*pid, *ticks)));
        at += 1;
    }
    tree
}

/// Its parent, and utime, stime, cutime and cstime, from `/proc/PID/stat` (proc(5)).
fn parse_stat(text: &str) -> Option<(u32, Ticks)> {
    let rest: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let times: Option<Vec<u64>> = rest.get(11..15)?.iter().map(|field| field.parse().ok()).collect();
    let times = times?;
    Some((rest.get(1)?.parse().ok()?, Ticks { own: times[0] + times[1], children: times[2] + times[3] }))
}

/// Looks at a tree's memory now and then, and remembers the most.
///
/// It is the sum of proportional set sizes: what processes share, such as the program's text, is counted once. What the kernel
/// keeps for them, socket buffers and cached files, is not in it.
#[derive(Debug)]
pub struct MemoryWatch {
    tree: Tree,
    first: u32,
    most: Arc<AtomicU64>,
    /// Its end ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Begins to look.
    pub fn start(tree: &Tree, first: u32) -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let (seen, watched) = (most.clone(), tree.clone());
        let thread = std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(MEMORY_EACH) {
                seen.fetch_max(memory(&watched, first), Ordering::Relaxed);
            }
        });
        Self { tree: tree.clone(), first, most, stop: Some(stop), thread: Some(thread) }
    }

    /// Looks once more, and gives the most that was seen.
    pub fn most(&self) -> u64 {
        self.most.fetch_max(memory(&self.tree, self.first), Ordering::Relaxed);
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It only adds up numbers.
            let _ = thread.join();
        }
    }
}

/// Octets of all processes of a tree, now.
fn memory(tree: &Tree, first: u32) -> u64 {
    let each = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    tree.processes(first).unwrap_or_default().into_iter().filter_map(each).sum()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Stdio};

    use super::*;

    /// A shell that works in two children, waits for one of them, and then tells and waits for its input's end.
    const WORK: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

    fn start(tree: &Tree) -> (Child, u32) {
        let script = format!("sh -c '{WORK}'; (sh -c '{WORK}'; echo done; exec sleep 600) & wait");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let mut child = tree.within(&command).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
        let pid = child.id();
        (child, pid)
    }

    fn is_alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn everything_is_seen_and_ended(tree: &Tree) {
        let began = Instant::now();
        let (mut child, pid) = start(tree);
        let used = tree.used_ns(pid).unwrap();
        // Two loops of some 100 ms, of which one has ended.
        assert!(used > 20_000_000 && used < 2 * began.elapsed().as_nanos() as u64 + 20_000_000, "{used}");
        let processes = tree.processes(pid).unwrap();
        assert!(processes.contains(&pid) && processes.len() >= 2, "{processes:?}");
        let watch = MemoryWatch::start(tree, pid);
        assert!(watch.most() > 100_000, "{}", watch.most());
        tree.end(pid);
        child.wait().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while processes.iter().any(|pid| is_alive(*pid)) {
            assert!(Instant::now() < deadline, "{processes:?} are not ended");
            std::thread::sleep(Duration::from_millis(2));
        }
        tree.remove();
    }

    #[test]
    fn a_walked_tree_knows_its_processes() {
        everything_is_seen_and_ended(&Tree::walked());
    }

    #[test]
    fn a_group_knows_its_processes() {
        // Where there can be none, this is the same as above.
        let tree = Tree::new();
        everything_is_seen_and_ended(&tree);
        assert!(tree.group.is_none_or(|group| !group.exists()), "it is taken away");
    }

    #[test]
    fn a_tree_is_found_by_its_parents() {
        let ticks = |own, children| Ticks { own, children };
        let all =
            [(1, 0), (7, 1), (8, 7), (9, 8), (10, 1)].map(|(pid, parent)| (pid, (parent, ticks(u64::from(pid), 0))));
        let all = all.into();
        assert_eq!(descendants(7, &all), [(7, ticks(7, 0)), (8, ticks(8, 0)), (9, ticks(9, 0))]);
        assert_eq!(descendants(11, &all), []);
        assert_eq!(descendants(0, &all), [], "it is nobody's number");
        let stat = "123 (a) b) c) S 12 2 3 0 -1 4194304 118 0 0 0 70 5 300 1000 20 0 1 0 275190";
        assert_eq!(parse_stat(stat), Some((12, ticks(75, 1300))));
    }
}
