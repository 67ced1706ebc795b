//! Postfix with its real queue; what it has taken over it delivers to its discard transport.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contender, Home, Kind, Lack, Owner, Places, Promise, needs_root, number_of, terminate, told};
use crate::compare::process::Process;
use crate::failure::Failure;

/// cleanup(8) syncs the queue file before smtpd(8) answers (src/global/mail_stream.c); strace of 3.7.11 shows one fsync for each
/// message between its 354 and its 250.
pub const KIND: Kind = Kind { name: "postfix", promise: Promise::Synced, install: "apt-get install postfix", find };

/// Where a message is until it is removed.
const QUEUES: [&str; 6] = ["maildrop", "incoming", "active", "deferred", "hold", "corrupt"];

/// By these lines a run is not what it should be.
const FAILURES: [&str; 5] = ["status=bounced", "status=deferred", "fatal: ", "panic: ", "killed by signal"];

#[derive(Debug)]
struct Postfix {
    daemons: PathBuf,
    version: String,
    /// The queue's owner, and the group that may submit.
    owner: u32,
    droppers: u32,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let postconf = places.program(&KIND, &["postconf"])?;
    needs_root("Postfix")?;
    let default = |name| told(Command::new(&postconf).args(["-d", "-h", name]));
    let daemons = default("daemon_directory").map(PathBuf::from).filter(|path| path.join("master").is_file());
    Ok(Box::new(Postfix {
        daemons: daemons.ok_or_else(|| format!("{} knows no master", postconf.display()))?,
        version: default("mail_version").unwrap_or_default(),
        owner: number_of("passwd", "postfix").ok_or("there is no user postfix")?,
        droppers: number_of("group", "postdrop").ok_or("there is no group postdrop")?,
    }))
}

impl Contender for Postfix {
    fn version(&self) -> String {
        format!("Postfix {}, its queue and discard(8)", self.version)
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        let owned = |group| Some(Owner { user: Some(self.owner), group });
        for name in ["", "queue", "queue/pid", "etc"] {
            home.make(name, None, 0o755)?;
        }
        home.make("data", owned(None), 0o700)?;
        for name in ["bounce", "defer", "flush", "private", "saved", "trace"].iter().chain(&QUEUES[1..]) {
            home.make(&format!("queue/{name}"), owned(None), 0o700)?;
        }
        home.make("queue/maildrop", owned(Some(self.droppers)), 0o730)?;
        home.make("queue/public", owned(Some(self.droppers)), 0o710)?;
        home.write("etc/main.cf", &main_cf(&home.directory, &self.daemons))?;
        home.write("etc/master.cf", &master_cf(&home.address.to_string()))?;
        let mut command = Command::new(self.daemons.join("master"));
        command.arg("-c").arg(home.directory.join("etc")).arg("-d");
        Ok(command)
    }

    fn is_done(&self, home: &Home) -> Result<bool, Failure> {
        for name in QUEUES {
            if !home.is_empty(&format!("queue/{name}"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn stop(&self, process: Process, home: &Home) -> Result<Option<u64>, Failure> {
        terminate(process);
        let log = home.read("log");
        if let Some(line) = log.lines().find(|line| FAILURES.iter().any(|sign| line.contains(sign))) {
            return Err(Failure::Disagreement(format!("Postfix is not well: {line}")));
        }
        Ok(Some(log.lines().filter(|line| line.contains("/qmgr[") && line.ends_with(": removed")).count() as u64))
    }
}

/// Defaults, but for what makes it accept and discard everything, ask nobody, and take as many clients as come, as fast as they
/// are: in_flow_delay would slow them down for the delivery's sake.
fn main_cf(root: &Path, daemons: &Path) -> String {
    let (root, daemons) = (root.display(), daemons.display());
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {root}/queue\n\
         data_directory = {root}/data\n\
         daemon_directory = {daemons}\n\
         maillog_file = {root}/log\n\
         maillog_file_prefixes = {root}\n\
         myhostname = mx.test\n\
         mydomain = test\n\
         myorigin = mx.test\n\
         inet_interfaces = loopback-only\n\
         inet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\n\
         smtpd_peername_lookup = no\n\
         smtp_host_lookup = native\n\
         disable_dns_lookups = yes\n\
         alias_maps =\n\
         alias_database =\n\
         mydestination =\n\
         relay_domains =\n\
         local_recipient_maps =\n\
         smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
         smtpd_recipient_restrictions =\n\
         smtpd_reject_unlisted_recipient = no\n\
         default_transport = discard:\n\
         local_transport = discard:\n\
         relay_transport = discard:\n\
         virtual_transport = discard:\n\
         notify_classes =\n\
         message_size_limit = 104857600\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_client_connection_rate_limit = 0\n\
         in_flow_delay = 0\n"
    )
}

fn master_cf(address: &str) -> String {
    format!(
        "{address} inet n - n - 100 smtpd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         discard unix - - n - - discard\n\
         anvil unix - - n - 1 anvil\n\
         proxymap unix - - n - - proxymap\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}
