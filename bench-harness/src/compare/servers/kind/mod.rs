//! The servers that can be compared: one file each, and a place in [`ALL`].
//!
//! A kind says how its program is found, how it is configured to accept everything and to keep nothing for long, what its 250
//! promises, and how it is asked what it counted. It does not know of loads and figures.

mod aiosmtpd;
mod exim;
mod floor;
mod opensmtpd;
mod postfix;
mod ringmx;
mod ringmx_mx;
mod smtp_server;
mod smtp_sink;

use std::fmt::Debug;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::super::process::Process;
use super::arguments::{Load, ServersArguments};
use crate::failure::Failure;

/// All of them, in the order of tables; ringmx first of those that promise as much as it does.
pub const ALL: [&Kind; 9] = [
    &ringmx::KIND,
    &floor::KIND,
    &smtp_sink::KIND,
    &aiosmtpd::KIND,
    &smtp_server::KIND,
    &opensmtpd::KIND,
    &ringmx_mx::KIND,
    &postfix::KIND,
    &exim::KIND,
];

/// How long a server may take to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a 250 to the end of data promises. It is said for the configuration that is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing: the message is gone.
    Nothing,
    /// It is in a file, and nobody waited until that was on disk.
    Written,
    /// Its file was synced (fsync) before the reply.
    Synced,
}

/// A server that can be compared.
#[derive(Debug)]
pub struct Kind {
    /// As it is called on the command line and in tables.
    pub name: &'static str,
    /// What its 250 promises.
    pub promise: Promise,
    /// The command that installs it.
    pub install: &'static str,
    /// Finds it, or says why it cannot run.
    pub find: fn(&Places<'_>) -> Result<Box<dyn Contender>, Lack>,
}

impl Kind {
    /// Whether it is ours, by which others are divided.
    pub fn is_ringmx(&self) -> bool {
        *self == ringmx::KIND || *self == ringmx_mx::KIND
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Why a server cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It, or a part of it, is not installed.
    Missing(String),
    /// It is installed, and cannot run here, as it is.
    Unusable(String),
}

impl Lack {
    /// In words, with what helps.
    pub fn words(&self, kind: &Kind) -> String {
        match self {
            Self::Missing(why) => format!("{why}; to install it: {}", kind.install),
            Self::Unusable(why) => why.clone(),
        }
    }
}

/// What is looked for and not found is missing.
impl<T: Into<String>> From<T> for Lack {
    fn from(why: T) -> Self {
        Self::Missing(why.into())
    }
}

/// A server that is installed.
pub trait Contender: Debug {
    /// What it is, with its version where it tells.
    fn version(&self) -> String;

    /// Writes what it needs into its directory, and gives the command that starts it in the foreground.
    fn prepare(&self, home: &Home) -> Result<Command, Failure>;

    /// Whether it says itself where it listens, as `ready on ADDRESS`; else it listens where its home says.
    fn announces_itself(&self) -> bool {
        false
    }

    /// Why it cannot be measured under a load.
    fn cannot(&self, _load: Load) -> Option<&'static str> {
        None
    }

    /// How long a client waits for a reply of it, as the generator's `--patience`.
    fn patience(&self) -> &'static str {
        "60s"
    }

    /// Whether it has nothing left to do for the messages that it took over.
    fn is_done(&self, _home: &Home) -> Result<bool, Failure> {
        Ok(true)
    }

    /// Stops it; gives the messages that it has counted, if it counts, and complains of what must not be.
    fn stop(&self, process: Process, home: &Home) -> Result<Option<u64>, Failure>;
}

/// Where a server is at home while it runs.
#[derive(Debug)]
pub struct Home {
    /// A directory of its own.
    pub directory: PathBuf,
    /// A free address.
    pub address: SocketAddr,
    /// The messages that it will get, if that is known.
    pub expected: Option<u64>,
}

impl Home {
    /// Makes a directory in it; itself, without a name.
    fn make(&self, name: &str, owner: Option<Owner>, mode: u32) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        let make = || -> io::Result<()> {
            fs::create_dir_all(&path)?;
            if let Some(Owner { user, group }) = owner {
                chown(&path, user, group)?;
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        };
        make().map_err(Failure::while_doing(format!("cannot make {}", path.display())))?;
        Ok(path)
    }

    /// Writes a file in it that everybody may read.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        // Servers read it as other users, and mistrust what others may write, whatever our umask is.
        let write =
            || fs::write(&path, text).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)));
        write().map_err(Failure::while_doing(format!("cannot write {}", path.display())))?;
        Ok(path)
    }

    /// A file in it, as far as it is there.
    fn read(&self, name: &str) -> String {
        let octets = fs::read(self.directory.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Whether there is no file in a directory of it and those below.
    fn is_empty(&self, name: &str) -> Result<bool, Failure> {
        has_no_file(&self.directory.join(name)).map_err(Failure::while_doing("cannot look into a queue"))
    }
}

/// Who a file is to belong to.
#[derive(Clone, Copy, Debug)]
struct Owner {
    user: Option<u32>,
    group: Option<u32>,
}

fn has_no_file(directory: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(directory) {
        // It may go while this looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || !has_no_file(&entry.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where programs and packages are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a>(pub &'a ServersArguments);

impl Places<'_> {
    /// A kind's program: the one that was named, else the first of these that is on the path.
    fn program(self, kind: &Kind, names: &[&str]) -> Result<PathBuf, String> {
        if let Some((_, path)) = self.0.programs.iter().find(|(known, _)| *known == kind) {
            return match path.is_file() {
                true => Ok(path.clone()),
                false => Err(format!("there is no {}", path.display())),
            };
        }
        on_path(names).ok_or_else(|| format!("there is no {} on the PATH", names.join(" or ")))
    }

    /// Directories of packages: those that were named, and the current one.
    fn packages(self) -> Vec<PathBuf> {
        let here = std::env::current_dir().ok();
        let named = self.0.packages.iter().filter_map(|path| path.canonicalize().ok());
        named.chain(here).collect()
    }
}

/// A program on the path, or where Debian has those that only root needs.
fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from)).collect();
    let all = names.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    all.into_iter().find(|path| path.is_file())
}

/// What a command says, on either way, if it succeeds.
fn told(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    output.status.success().then(|| String::from_utf8_lossy(&said).trim().to_owned())
}

/// The number of a user or group, from the machine's own database.
fn number_of(database: &str, name: &str) -> Option<u32> {
    told(Command::new("getent").args([database, name]))?.split(':').nth(2)?.parse().ok()
}

fn needs_root(who: &str) -> Result<(), Lack> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(Lack::Unusable(format!("{who} is started by root only"))),
    }
}

/// Asks it to end, as an operator would. How it does is not ours to judge: whoever leaves without a word has counted already.
fn terminate(process: Process) {
    process.signal(Signal::TERM);
    let _ = process.finish(PATIENCE);
}

/// What a script of ours says at its end: `counted MESSAGES`.
fn counted(lines: &[String], who: &str) -> Result<Option<u64>, Failure> {
    let count = lines.iter().rev().find_map(|line| line.strip_prefix("counted ")?.parse().ok());
    count.map(Some).ok_or_else(|| Failure::System(format!("{who} has not told what it counted: {}", lines.join(" / "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_kind_can_be_installed() {
        for kind in ALL {
            assert_eq!(ALL.iter().filter(|other| **other == kind).count(), 1, "{}", kind.name);
            assert!(!kind.install.is_empty(), "{}", kind.name);
        }
        // What others are divided by stands before them.
        let ours: Vec<&str> = ALL.iter().filter(|kind| kind.is_ringmx()).map(|kind| kind.name).collect();
        assert_eq!((ALL[0].name, ours), ("ringmx", vec!["ringmx", "ringmx-mx"]));
        // Tables show a promise's servers together.
        assert!(ALL.is_sorted_by_key(|kind| kind.promise));
    }

    #[test]
    fn a_queue_is_empty_without_files() {
        let directory = std::env::temp_dir().join(format!("ringmx-bench-queue-{}", std::process::id()));
        fs::create_dir_all(directory.join("a/b")).unwrap();
        assert!(has_no_file(&directory).unwrap());
        fs::write(directory.join("a/b/message"), "x").unwrap();
        assert!(!has_no_file(&directory).unwrap());
        fs::remove_dir_all(&directory).unwrap();
        assert!(has_no_file(&directory).unwrap(), "what is gone is empty");
    }

    #[test]
    fn scripts_tell_what_they_counted() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(counted(&lines("ready on x\ncounted 12\nbye"), "x"), Ok(Some(12)));
        assert!(counted(&lines("counted twelve"), "x").is_err());
    }
}
