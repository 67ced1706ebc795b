//! aiosmtpd, with a handler that discards.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::{Contender, Home, Kind, Lack, PATIENCE, Places, Promise, counted, told};
use crate::compare::process::Process;
use crate::failure::Failure;

/// aiosmtpd/smtp.py, smtp_DATA: the content is a list of lines in memory until the handler has answered; ours keeps nothing.
pub const KIND: Kind = Kind { name: "aiosmtpd", promise: Promise::Nothing, install: "pip install aiosmtpd", find };

const SCRIPT: &str = include_str!("aiosmtpd.py");

#[derive(Debug)]
struct Aiosmtpd {
    python: PathBuf,
    /// PYTHONPATH, where the package is not among Python's own.
    packages: Option<PathBuf>,
    version: String,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let mut pythons = Vec::new();
    for directory in places.packages() {
        // A virtual environment has a Python of its own.
        let own = [directory.join("bin/python3"), directory.join("venv/bin/python3")];
        pythons.extend(own.into_iter().filter(|python| python.is_file()).map(|python| (python, None)));
    }
    let python = places.program(&KIND, &["python3", "python"])?;
    pythons.push((python.clone(), None));
    pythons.extend(places.packages().into_iter().map(|directory| (python.clone(), Some(directory))));
    for (python, packages) in pythons {
        if let Some(version) = version(&python, packages.as_deref()) {
            return Ok(Box::new(Aiosmtpd { python, packages, version }));
        }
    }
    Err(format!("{} has no package aiosmtpd", python.display()).into())
}

fn python(program: &Path, packages: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    if let Some(packages) = packages {
        command.env("PYTHONPATH", packages);
    }
    // It would write bytecode beside the packages.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn version(program: &Path, packages: Option<&Path>) -> Option<String> {
    const TELL: &str = "import aiosmtpd, platform; print(aiosmtpd.__version__, 'on Python', platform.python_version())";
    told(python(program, packages).args(["-c", TELL]))
}

impl Contender for Aiosmtpd {
    fn version(&self) -> String {
        format!("aiosmtpd {}", self.version)
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        let mut command = python(&self.python, self.packages.as_deref());
        command.arg(home.write("server.py", SCRIPT)?);
        Ok(command)
    }

    fn announces_itself(&self) -> bool {
        true
    }

    fn stop(&self, process: Process, _home: &Home) -> Result<Option<u64>, Failure> {
        process.signal(Signal::TERM);
        counted(&process.finish(PATIENCE)?, "aiosmtpd")
    }
}
