//! The program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    /// Both outputs.
    pub text: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}", self.text);
        self
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.text.contains(word), "{word} in\n{}", self.text);
        }
        self
    }
}

/// The engine, which `cargo test --workspace` and `cargo build` put beside the instrument.
fn ringmx() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_ringmx-bench")).with_file_name("ringmx");
    let path = std::env::var_os("RINGMX_BIN").map_or(beside, PathBuf::from);
    assert!(path.is_file(), "there is no ringmx at {}: run cargo build first, or set RINGMX_BIN", path.display());
    path
}

/// A comparison, with its servers at home in this directory.
pub fn command(homes: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmx-bench"));
    command.args(["compare", "servers", "--directory"]).arg(homes).args(arguments);
    command.env("RINGMX_BIN", ringmx()).stdin(Stdio::null());
    command
}

/// A directory that nobody else has.
pub fn homes(name: &str) -> PathBuf {
    let homes = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("homes-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&homes).expect("the target directory can be written");
    homes
}

/// A small comparison, with its servers at home in a directory of its own, of which nothing may be left.
#[track_caller]
pub fn compare(name: &str, arguments: &[&str]) -> Ran {
    let homes = homes(name);
    let output = command(&homes, &[&["--small"], arguments].concat()).output().expect("it can be started");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Not empty, not removed.
    std::fs::remove_dir(&homes).unwrap_or_else(|error| panic!("{}: {error}\n{text}", homes.display()));
    Ran { status: output.status.code(), text }
}

/// A program on the path, or where only root looks.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|path| path.is_file())
}
