//! Nodemailer's smtp-server, with a handler that discards.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::{Contender, Home, Kind, Lack, PATIENCE, Places, Promise, counted, told};
use crate::compare::process::Process;
use crate::failure::Failure;

/// smtp-server's documentation, onData: the reply is the callback's; ours is called when the stream has ended, and keeps
/// nothing.
pub const KIND: Kind =
    Kind { name: "smtp-server", promise: Promise::Nothing, install: "npm install smtp-server", find };

const SCRIPT: &str = include_str!("smtp_server.cjs");

/// Where npm installs for everybody, and Debian its packages.
const GLOBAL: [&str; 4] =
    ["/usr/local/lib/node_modules", "/usr/lib/node_modules", "/usr/local/share/nodejs", "/usr/share/nodejs"];

#[derive(Debug)]
struct SmtpServer {
    node: PathBuf,
    packages: OsString,
    version: String,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let node = places.program(&KIND, &["node", "nodejs"])?;
    let packages = node_path(places)
        .ok_or_else(|| Lack::Unusable("a directory of packages has a colon in its name".to_owned()))?;
    match version(&node, &packages) {
        Some(version) => Ok(Box::new(SmtpServer { node, packages, version })),
        None => Err(format!("{} finds no package smtp-server", node.display()).into()),
    }
}

/// NODE_PATH: what was named, what is there already, and the usual places.
fn node_path(places: &Places<'_>) -> Option<OsString> {
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in places.packages() {
        directories.push(directory.join("node_modules"));
        directories.push(directory);
    }
    let known = std::env::var_os("NODE_PATH").unwrap_or_default();
    directories.extend(std::env::split_paths(&known));
    directories.extend(GLOBAL.map(PathBuf::from));
    std::env::join_paths(directories).ok()
}

fn version(node: &Path, packages: &OsString) -> Option<String> {
    const TELL: &str = "console.log(require('smtp-server/package.json').version, 'on Node.js', process.versions.node)";
    told(Command::new(node).args(["-e", TELL]).env("NODE_PATH", packages))
}

impl Contender for SmtpServer {
    fn version(&self) -> String {
        // Its connections begin with that, to see who talks too early; there is no setting (smtp-connection.js).
        format!("Nodemailer's smtp-server {}; it waits 100 ms before it greets", self.version)
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        let mut command = Command::new(&self.node);
        command.arg(home.write("server.cjs", SCRIPT)?).env("NODE_PATH", &self.packages);
        Ok(command)
    }

    fn announces_itself(&self) -> bool {
        true
    }

    fn stop(&self, process: Process, _home: &Home) -> Result<Option<u64>, Failure> {
        process.signal(Signal::TERM);
        counted(&process.finish(PATIENCE)?, "smtp-server")
    }
}
