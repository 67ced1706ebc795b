//! exim with its real queue; a router discards what it has taken over, in a delivery process for each message.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contender, Home, Kind, Lack, Owner, Places, Promise, needs_root, terminate, told};
use crate::compare::process::Process;
use crate::failure::Failure;

/// Data file and header file are synced before the reply (src/receive.c, src/spool_out.c); strace of 4.96 shows three fsyncs
/// for each message ahead of its 250, the third behind the header file's rename.
pub const KIND: Kind =
    Kind { name: "exim", promise: Promise::Synced, install: "apt-get install exim4-daemon-light", find };

#[derive(Debug)]
struct Exim {
    program: PathBuf,
    version: String,
    /// Whom it was built to run as; it does not start where there is no such user.
    user: Owner,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let program = places.program(&KIND, &["exim4", "exim"])?;
    needs_root("exim")?;
    let program = program.canonicalize().map_err(|error| error.to_string())?;
    // It executes itself as its user.
    if let Some(closed) = program.ancestors().skip(1).find(|directory| !is_open(directory)) {
        let why = format!("exim's user cannot reach {}: {} is closed", program.display(), closed.display());
        return Err(Lack::Unusable(why));
    }
    let told_of = |what: &str| told(Command::new(&program).args(["-C", "/dev/null", "-bP", what]));
    let number = |what| told_of(what)?.split_once('=')?.1.trim().parse::<String>().ok();
    let version = told(Command::new(&program).args(["-C", "/dev/null", "-bV"]))
        .ok_or_else(|| format!("{} -bV fails: has it no user of its own?", program.display()))?;
    let version = version.lines().find_map(|line| line.strip_prefix("Exim version ")).unwrap_or_default();
    let user = number("exim_user").and_then(|name| id("passwd", &name)).ok_or("exim does not tell its user")?;
    let group = number("exim_group").and_then(|name| id("group", &name)).ok_or("exim does not tell its group")?;
    Ok(Box::new(Exim {
        version: version.split(' ').next().unwrap_or_default().to_owned(),
        program,
        user: Owner { user: Some(user), group: Some(group) },
    }))
}

/// A number, or the number of a name.
fn id(database: &str, name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| super::number_of(database, name))
}

fn is_open(directory: &Path) -> bool {
    directory.metadata().is_ok_and(|metadata| metadata.mode() & 0o001 != 0)
}

impl Contender for Exim {
    fn version(&self) -> String {
        format!("exim {}, its queue and :blackhole:", self.version)
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        home.make("", None, 0o755)?;
        home.make("spool", Some(self.user), 0o750)?;
        home.make("log", Some(self.user), 0o750)?;
        let configuration = home.write("exim.conf", &self.configuration(home))?;
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(configuration).arg("-bdf");
        Ok(command)
    }

    fn is_done(&self, home: &Home) -> Result<bool, Failure> {
        home.is_empty("spool/input")
    }

    fn stop(&self, process: Process, home: &Home) -> Result<Option<u64>, Failure> {
        terminate(process);
        let panics = home.read("log/paniclog");
        if let Some(line) = panics.lines().next() {
            return Err(Failure::Disagreement(format!("exim is not well: {line}")));
        }
        Ok(Some(home.read("log/mainlog").lines().filter(|line| line.ends_with(" Completed")).count() as u64))
    }
}

impl Exim {
    /// Defaults, but for what makes it accept and discard everything, ask nobody, and take as many clients and messages as come.
    ///
    /// deliver_drop_privilege is for hosts that deliver to no local user: the delivery process need not execute exim anew. It
    /// makes exim faster than its default does, and spares it a complaint about the configuration for each message.
    fn configuration(&self, home: &Home) -> String {
        let (root, port, program) = (home.directory.display(), home.address.port(), self.program.display());
        let Owner { user, group } = self.user;
        format!(
            "exim_path = {program}\n\
             exim_user = {user}\n\
             exim_group = {group}\n\
             spool_directory = {root}/spool\n\
             log_file_path = {root}/log/%slog\n\
             pid_file_path = {root}/pid\n\
             primary_hostname = mx.test\n\
             keep_environment =\n\
             local_interfaces = 127.0.0.1\n\
             daemon_smtp_ports = {port}\n\
             host_lookup =\n\
             rfc1413_hosts =\n\
             tls_advertise_hosts =\n\
             deliver_drop_privilege = true\n\
             smtp_accept_max = 200\n\
             smtp_accept_max_per_connection = 1000000000\n\
             smtp_accept_queue_per_connection = 0\n\
             smtp_connect_backlog = 512\n\
             acl_smtp_rcpt = accept\n\
             acl_smtp_data = accept\n\
             begin routers\n\
             discard:\n\
             \x20 driver = redirect\n\
             \x20 data = :blackhole:\n",
            user = user.unwrap_or_default(),
            group = group.unwrap_or_default(),
        )
    }
}
