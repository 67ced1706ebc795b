//! A real server: Postfix, which queues on disk and relays all mail to the sink. Its own tables make it lose, alter and refuse.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::behind::{all_delivered, delivered, sink_address, through};
use super::program::Scratch;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Postfix. It is stopped when the test drops it.
struct Postfix {
    master: Child,
    directory: Scratch,
    address: String,
}

impl Postfix {
    /// One that relays to this address; `None`, and a word about it, where there is no Postfix, or nobody who may start it.
    fn start(sink: &str, more: &str) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let Some(daemons) = daemons().filter(|_| is_root) else {
            eprintln!("SKIPPED: Postfix is not installed (.ci/install does it), or this is not root");
            return None;
        };
        let directory = Scratch::new();
        let address = sink_address();
        make_directories(&directory.0);
        let write = |name: &str, text: String| std::fs::write(directory.0.join(name), text).unwrap();
        write("etc/main.cf", main_cf(&directory.0, &daemons, sink) + more);
        write("etc/master.cf", master_cf(&address));
        let errors = std::fs::File::create(directory.0.join("errors")).unwrap();
        let mut command = Command::new(daemons.join("master"));
        // In the foreground, in a process group of its own, which it takes with it when it ends.
        command.arg("-c").arg(directory.0.join("etc")).arg("-d").process_group(0);
        let master = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        let mut postfix = Self { master, directory, address };
        postfix.await_greeting();
        Some(postfix)
    }

    fn await_greeting(&mut self) {
        let began = Instant::now();
        let mut greeting = [0; 3];
        while TcpStream::connect(&self.address).and_then(|mut stream| stream.read_exact(&mut greeting)).is_err() {
            let ended = self.master.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "Postfix did not start: {ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(&greeting, b"220");
    }

    /// What it says, on both ways.
    fn log(&self) -> String {
        let read = |name| std::fs::read(self.directory.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("errors"), read("log")].concat()).into_owned()
    }
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

fn output(command: &str, arguments: &[&str]) -> Option<String> {
    // Postfix's tools are not on every user's path.
    let path = ["/usr/sbin", "/usr/local/sbin"].map(|directory| Path::new(directory).join(command));
    let path = path.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(command));
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where Postfix keeps its daemons; it knows itself.
fn daemons() -> Option<PathBuf> {
    output("postconf", &["-d", "-h", "daemon_directory"])
        .map(PathBuf::from)
        .filter(|path| path.join("master").is_file())
}

/// The queue, as `postfix check` would make it.
fn make_directories(root: &Path) {
    let number = |database: &str, name: &str| {
        let entry = output("getent", &[database, name]).unwrap_or_default();
        entry.split(':').nth(2).and_then(|number| number.parse::<u32>().ok()).expect("Postfix has made its users")
    };
    let (owner, droppers) = (number("passwd", "postfix"), number("group", "postdrop"));
    let make = |name: &str, group: Option<u32>, mode: u32| {
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap();
        chown(&path, Some(owner), group).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join("queue/pid")).unwrap();
    make("data", None, 0o700);
    for name in
        ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"]
    {
        make(&format!("queue/{name}"), None, 0o700);
    }
    make("queue/maildrop", Some(droppers), 0o730);
    make("queue/public", Some(droppers), 0o710);
}

fn main_cf(root: &Path, daemons: &Path, sink: &str) -> String {
    let (root, daemons) = (root.display(), daemons.display());
    let (host, port) = sink.rsplit_once(':').unwrap();
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
         mydestination =\n\
         relay_domains =\n\
         local_recipient_maps =\n\
         append_dot_mydomain = no\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\n\
         smtpd_recipient_restrictions =\n\
         # All of it goes to the sink.\n\
         default_transport = smtp\n\
         relayhost = [{host}]:{port}\n\
         smtp_bind_address = 127.0.0.1\n\
         # Many connections, as fast as they are.\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_client_connection_rate_limit = 0\n\
         in_flow_delay = 0\n"
    )
}

fn master_cf(address: &str) -> String {
    format!(
        "{address} inet n - n - 40 smtpd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         smtp unix - - n - - smtp\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         proxymap unix - - n - - proxymap\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}

#[test]
fn postfix_loses_doubles_and_alters_nothing() {
    let sink = sink_address();
    let Some(postfix) = Postfix::start(&sink, "") else { return };
    let load = ["-n", "600", "--recipients", "1-3", "--size", "lognormal(4k,1)"];
    let ran = through(&postfix.address, &sink, &load).expect(0);
    let [accepted, arrived, lost] = all_delivered(&ran, ["accepted", "arrived", "lost"]);
    assert_eq!((accepted, arrived, lost), (ran.count("accepted_recipients"), accepted, 0));
    assert_eq!(all_delivered(&ran, ["altered", "trimmed", "foreign", "misaddressed"]), [0; 4]);
    assert_eq!(ran.above_ms("end_to_end", 0), arrived);
    // Another run through the same server is a run of its own.
    let ran = through(&postfix.address, &sink, &["-n", "50", "--bdat"]);
    assert_eq!(ran.status, Some(0), "{}\n{}", ran.text, postfix.log());
}

#[test]
fn recipients_that_postfix_refuses_are_not_expected() {
    let sink = sink_address();
    let refusal = "smtpd_recipient_restrictions = check_recipient_access inline:{user000003@bench.example=REJECT}\n";
    let Some(postfix) = Postfix::start(&sink, refusal) else { return };
    let ran = through(&postfix.address, &sink, &["-n", "120", "--recipients", "3", "--users", "6"]).expect(0);
    let [accepted, arrived] = all_delivered(&ran, ["accepted", "arrived"]);
    assert!(accepted == arrived && (240..360).contains(&accepted), "{accepted} {arrived}\n{}", ran.text);
}

/// Message 7 is thrown away behind its 250, message 9 goes to somebody else; in another run every body is altered.
#[test]
fn what_postfix_is_told_to_do_is_found() {
    let sink = sink_address();
    let tables = "header_checks = regexp:{ {/^X-Ringmx-Message: [0-9a-f]+ 00000007 / DISCARD}, \
                  {/^X-Ringmx-Message: [0-9a-f]+ 00000009 / REDIRECT user999999@else.test} }\n\
                  body_checks = regexp:{ {/^altered/ REPLACE another line} }\n";
    let Some(postfix) = Postfix::start(&sink, tables) else { return };
    let corpus = Scratch::new();
    std::fs::write(&corpus.0, "Subject: a\r\n\r\nwhole\r\n").unwrap();
    let load = ["-n", "40", "--drain-patience", "8s", "--corpus", corpus.text()];
    let ran = through(&postfix.address, &sink, &load).expect(3);
    assert_eq!(all_delivered(&ran, ["accepted", "arrived", "lost", "misaddressed", "altered"]), [40, 38, 2, 1, 0]);
    for fault in ["message 7 is lost", "message 9 is lost", "message 9 arrived for <user999999@else.test>"] {
        assert!(ran.text.contains(fault), "{fault} in {}\n{}", ran.text, postfix.log());
    }
    std::fs::write(&corpus.0, "Subject: a\r\n\r\naltered\r\n").unwrap();
    let ran = through(&postfix.address, &sink, &[&load[..], &["-n", "5"]].concat()[2..]).expect(3);
    assert_eq!((delivered(&ran, "accepted"), delivered(&ran, "altered")), (5, 5), "{}", ran.text);
}
