//! A Postfix of the test's own: its configuration, queue and log lie in a temporary directory, and the system's are not
//! touched.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{EXTENSIONS, JUNK_COMMANDS, MESSAGE_OCTETS, MISTAKES};
use crate::peers::tool::{find, run};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::private_address;

/// What EHLO of Postfix can list without TLS and users.
const KEYWORDS: [&str; 8] =
    ["PIPELINING", "SIZE", "VRFY", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"];

/// Sessions at the same time; the test's threads are far fewer.
const PROCESSES: usize = 40;

/// A running Postfix. It is stopped when the test drops it.
pub struct Postfix {
    master: Child,
    directory: Directory,
    pub address: SocketAddr,
}

impl Postfix {
    #[track_caller]
    pub fn start() -> Self {
        find("postfix", "postfix");
        assert!(rustix::process::geteuid().is_root(), "Postfix is started by root only: run this test as root");
        let directory = Directory::new();
        let address = private_address();
        make_directories(directory.path());
        std::fs::create_dir(directory.path().join("etc")).expect("the directory is new");
        directory.write("etc/main.cf", main_cf(directory.path()));
        directory.write("etc/master.cf", master_cf(&address));
        let errors = std::fs::File::create(directory.path().join("errors")).expect("the directory can be written");
        let mut command = Command::new(daemons().join("master"));
        command.arg("-c").arg(directory.path().join("etc"));
        // In the foreground, in a process group of its own, which it takes with it when it ends.
        command.arg("-d").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let master = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let mut postfix = Self { master, directory, address: address.parse().expect("it is an address") };
        postfix.await_greeting();
        postfix
    }

    fn await_greeting(&mut self) {
        eventually("Postfix listens", || {
            let ended = self.master.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "Postfix did not start: {ended:?}\n{}", self.log());
            TcpStream::connect(self.address).ok()
        });
    }

    /// What it says, on both ways.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read(self.directory.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("errors"), read("log")].concat()).into_owned()
    }

    /// The lines of the log by which nothing else can be trusted.
    pub fn failures(&self) -> String {
        const SIGNS: [&str; 5] = ["status=bounced", "status=deferred", "fatal: ", "panic: ", "killed by signal"];
        let is_bad = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
        self.log().lines().filter(is_bad).collect::<Vec<_>>().join("\n")
    }

    /// Waits until these messages have been delivered to all their recipients. Others may be: Postfix reports deliveries
    /// (RFC 3461) with messages of its own.
    #[track_caller]
    pub fn await_deliveries(&self, accepted: &BTreeSet<String>) {
        eventually("every message that Postfix accepted is delivered", || {
            let failures = self.failures();
            assert!(failures.is_empty(), "Postfix is not well:\n{failures}");
            let log = self.log();
            let delivered: BTreeSet<String> = log.lines().filter_map(removed).collect();
            accepted.is_subset(&delivered).then_some(())
        });
    }
}

/// `... postfix/qmgr[123]: 3F2A: removed`.
fn removed(line: &str) -> Option<String> {
    let (_, behind) = line.split_once("/qmgr[")?;
    Some(behind.split_once("]: ")?.1.strip_suffix(": removed")?.to_owned())
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.master);
        // On SIGTERM the master ends its group, and itself.
        let _ = kill_process(pid, Signal::TERM);
        for _ in 0..400 {
            if !matches!(self.master.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // It is still there, so the group is its own.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.master.wait();
    }
}

/// Where Postfix keeps its daemons; it knows itself.
fn daemons() -> PathBuf {
    let mut command = Command::new(find("postconf", "postfix"));
    command.args(["-d", "-h", "daemon_directory"]).stdin(Stdio::null());
    PathBuf::from(run(command).trim())
}

/// The queue, as `postfix check` would make it.
fn make_directories(root: &Path) {
    let (owner, droppers) = (number_of("passwd", "postfix"), number_of("group", "postdrop"));
    let private =
        ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"];
    let make = |name: &str, group: Option<u32>, mode: u32| {
        let path = root.join(name);
        std::fs::create_dir_all(&path).expect("the directory can be written");
        chown(&path, Some(owner), group).expect("root may do that");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("root may do that");
    };
    std::fs::create_dir_all(root.join("queue/pid")).expect("the directory can be written");
    make("data", None, 0o700);
    private.iter().for_each(|name| make(&format!("queue/{name}"), None, 0o700));
    make("queue/maildrop", Some(droppers), 0o730);
    make("queue/public", Some(droppers), 0o710);
}

/// The number of a user or group.
#[track_caller]
fn number_of(database: &str, name: &str) -> u32 {
    let mut command = Command::new("getent");
    command.args([database, name]).stdin(Stdio::null());
    let entry = run(command);
    let number = entry.split(':').nth(2).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("there is no {name} in {database}"))
}

/// The keywords of EHLO that are not among [`EXTENSIONS`]: Postfix then refuses their parameters too.
fn discarded_keywords() -> String {
    let is_off = |keyword: &&str| !EXTENSIONS.contains(keyword);
    KEYWORDS.into_iter().filter(is_off).map(str::to_ascii_lowercase).collect::<Vec<_>>().join(", ")
}

fn main_cf(root: &Path) -> String {
    let (root, daemons, discarded) = (root.display(), daemons(), discarded_keywords());
    let daemons = daemons.display();
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
         # No look-ups anywhere.\n\
         smtpd_peername_lookup = no\n\
         smtp_host_lookup = native\n\
         disable_dns_lookups = yes\n\
         alias_maps =\n\
         alias_database =\n\
         # Every recipient is accepted and thrown away, as by the blackhole.\n\
         mydestination =\n\
         relay_domains =\n\
         local_recipient_maps =\n\
         append_dot_mydomain = no\n\
         smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
         smtpd_recipient_restrictions =\n\
         smtpd_reject_unlisted_recipient = no\n\
         default_transport = discard:\n\
         local_transport = discard:\n\
         relay_transport = discard:\n\
         virtual_transport = discard:\n\
         notify_classes =\n\
         # The limits of the blackhole.\n\
         message_size_limit = {MESSAGE_OCTETS}\n\
         smtpd_recipient_limit = 1000\n\
         smtpd_hard_error_limit = {MISTAKES}\n\
         smtpd_soft_error_limit = {MISTAKES}\n\
         smtpd_error_sleep_time = 0\n\
         smtpd_junk_command_limit = {JUNK_COMMANDS}\n\
         # Its modes.\n\
         smtpd_helo_required = yes\n\
         smtpd_forbid_unauth_pipelining = yes\n\
         smtpd_forbid_bare_newline = normalize\n\
         smtpd_forbid_bare_newline_exclusions =\n\
         smtputf8_enable = yes\n\
         smtpd_discard_ehlo_keywords = {discarded}\n\
         # As many clients as there are, as fast as they are.\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_client_connection_rate_limit = 0\n\
         in_flow_delay = 0\n"
    )
}

fn master_cf(address: &str) -> String {
    format!(
        "{address} inet n - n - {PROCESSES} smtpd\n\
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
