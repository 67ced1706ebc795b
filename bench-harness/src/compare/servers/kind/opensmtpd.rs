//! OpenSMTPD with its real queue; what it has taken over it hands to `cat >/dev/null`, a process for each message: it has no
//! smaller delivery.
//!
//! Its queue, its socket and the directory that it gives itself up to are compiled in. It is therefore started in a mount
//! namespace of its own, in which those lie in the temporary directory, and the machine's are out of its sight.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::arguments::Load;
use super::{Contender, Home, Kind, Lack, Places, Promise, needs_root, number_of, on_path, terminate, told};
use crate::compare::process::Process;
use crate::failure::Failure;

/// strace of all processes of 6.8.0p2 on Linux shows each 250 behind two renames of what was written, and no fsync, no O_SYNC.
pub const KIND: Kind =
    Kind { name: "opensmtpd", promise: Promise::Written, install: "apt-get install opensmtpd", find };

/// Users that it was built to run as.
const USERS: [&str; 2] = ["opensmtpd", "opensmtpq"];

/// In the namespace: `$1` is its home, `$2` the program, `$3` a directory of its helpers or nothing.
const START: &str = r#"set -e
mount --bind "$1/run" /run
mount --bind "$1/spool" /var/spool
mount --bind "$1/lib" /var/lib
[ -z "$3" ] || mount --bind "$3" /usr/libexec
exec "$2" -d -f "$1/smtpd.conf" >"$1/log" 2>&1"#;

#[derive(Debug)]
struct Opensmtpd {
    program: PathBuf,
    version: String,
    /// Its helpers, if they are not where it looks for them.
    helpers: Option<PathBuf>,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let program = places.program(&KIND, &["smtpd"])?;
    let usage = Command::new(&program).arg("-h").stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let usage = String::from_utf8_lossy(&[usage.stdout, usage.stderr].concat()).into_owned();
    let version = usage.lines().find_map(|line| line.strip_prefix("version: OpenSMTPD "));
    let version = version.ok_or_else(|| format!("{} is not OpenSMTPD", program.display()))?.to_owned();
    needs_root("OpenSMTPD")?;
    if let Some(missing) = USERS.iter().find(|name| number_of("passwd", name).is_none()) {
        return Err(format!("there is no user {missing}").into());
    }
    let unshare = on_path(&["unshare"]).ok_or("there is no unshare on the PATH")?;
    told(Command::new(unshare).args(["--mount", "--propagation", "private", "true"])).ok_or_else(|| {
        Lack::Unusable("its paths are compiled in, and there can be no mount namespace here".to_owned())
    })?;
    // Unpacked somewhere else than where it is installed, it has its helpers beside it.
    let beside = program.canonicalize().ok().and_then(|path| Some(path.parent()?.parent()?.join("libexec")));
    let is_helped = |path: &PathBuf| path.join("opensmtpd/mail.mda").is_file();
    let helpers = match is_helped(&PathBuf::from("/usr/libexec")) {
        true => None,
        false => Some(beside.filter(is_helped).ok_or("its helpers are not in /usr/libexec/opensmtpd")?),
    };
    Ok(Box::new(Opensmtpd { program, version, helpers }))
}

impl Contender for Opensmtpd {
    fn version(&self) -> String {
        format!("OpenSMTPD {}, its queue and an mda that discards", self.version)
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        for (name, mode) in [
            ("", 0o755),
            ("run", 0o755),
            ("spool", 0o755),
            ("spool/smtpd", 0o711),
            ("lib", 0o755),
            ("lib/opensmtpd", 0o755),
            ("lib/opensmtpd/empty", 0o755),
        ] {
            home.make(name, None, mode)?;
        }
        home.write("smtpd.conf", &configuration(home.address.port()))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", START, "sh"]);
        command.arg(&home.directory).arg(&self.program).arg(self.helpers.as_deref().unwrap_or(Path::new("")));
        Ok(command)
    }

    /// Seen with 6.8.0p2 even from a single client that comes again as soon as it has gone: within a few dozen connections one is
    /// taken, and never greeted.
    fn cannot(&self, load: Load) -> Option<&'static str> {
        (load == Load::Connection).then_some("it never greets some of the connections that follow each other quickly")
    }

    /// Its listening socket has a backlog of 5: of many that connect at once the kernel loses some, which are never greeted. They
    /// are to be given up soon, and to come again.
    fn patience(&self) -> &'static str {
        "3s"
    }

    fn is_done(&self, home: &Home) -> Result<bool, Failure> {
        Ok(home.is_empty("spool/smtpd/incoming")? && home.is_empty("spool/smtpd/queue")?)
    }

    fn stop(&self, process: Process, home: &Home) -> Result<Option<u64>, Failure> {
        terminate(process);
        let log = home.read("log");
        let mut delivered = 0;
        for line in log.lines().filter(|line| line.contains(" mda delivery ")) {
            match line.contains(" result=Ok ") {
                true => delivered += 1,
                false => return Err(Failure::Disagreement(format!("OpenSMTPD has not delivered: {line}"))),
            }
        }
        Ok(Some(delivered))
    }
}

/// Every recipient is the user nobody.
fn configuration(port: u16) -> String {
    format!(
        "listen on 127.0.0.1 port {port} hostname mx.test\n\
         action \"discard\" mda \"cat >/dev/null\" virtual {{ \"@\" = \"nobody\" }}\n\
         match from any for any action \"discard\"\n"
    )
}
