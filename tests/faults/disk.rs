//! Disks that can fail: file systems that only this test and the servers it starts can see. They are gone when the test is, also
//! when it fails or is killed: the mount namespace ends with the process that keeps it.
//!
//! *Recipe* of the disk that breaks (RELIABILITY, injecting faults): nbdkit keeps it in memory and does what its filters say, nbdfuse
//! shows it as a file, and a loop device on that file carries ext4. For one that a test holds, [`Device`] is in nbdkit's place.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::device::{Device, Fault};
use super::machine::{Missing, output, root, run};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::{Finished, PROGRAM, Server};

/// See the module.
#[derive(Debug)]
pub struct Disk {
    /// What is mounted there is in the namespace only.
    directory: Directory,
    mounted: String,
    keeper: Child,
    /// What does as the disk is told, for one that breaks.
    daemon: Option<Child>,
    /// What it shows, for one that the test holds in its hands.
    device: Option<Device>,
    /// The file or device that carries it; none for a tmpfs.
    image: Option<PathBuf>,
}

/// While it lives nothing can be written.
#[derive(Debug)]
pub struct Frozen<'d>(&'d Disk);

impl Disk {
    fn new() -> Result<Self, Missing> {
        root()?;
        // Gone with this test's end of its input.
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--propagation", "private", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = keeper.spawn().map_err(|error| Missing(format!("unshare, of the package util-linux: {error}")))?;
        let directory = Directory::new();
        let mounted = directory.path().join("disk").to_str().expect("a plain path").to_owned();
        let disk = Self { directory, mounted, keeper, daemon: None, device: None, image: None };
        std::fs::create_dir(disk.path()).expect("the directory is new");
        let comm = format!("/proc/{}/comm", disk.keeper.id());
        eventually("the namespace is there", || {
            let is_inside = std::fs::read_to_string(&comm).is_ok_and(|comm| comm.trim() == "cat");
            is_inside.then_some(())
        });
        disk.inside(&["true"]).map_err(|Missing(why)| Missing(format!("mount namespaces: {why}")))?;
        Ok(disk)
    }

    /// One in memory; options as of mount(8), `size=4m,nr_inodes=100`.
    pub fn tmpfs(options: &str) -> Result<Self, Missing> {
        let disk = Self::new()?;
        let options = format!("mode=0755,{options}");
        disk.inside(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", disk.text()])?;
        Ok(disk)
    }

    /// ext4 of 256 MiB.
    pub fn ext4() -> Result<Self, Missing> {
        Self::ext4_of(256)
    }

    /// The same, of so many MiB.
    pub fn ext4_of(mib: u64) -> Result<Self, Missing> {
        let mut disk = Self::new()?;
        // In memory, so that this machine's own disk, and who else uses it, are no part of what is measured.
        let memory = disk.directory.path().join("memory");
        std::fs::create_dir(&memory).expect("the directory is new");
        disk.inside(&["mount", "-t", "tmpfs", "tmpfs", memory.to_str().expect("a plain path")])?;
        let image = memory.join("image");
        std::fs::File::create(disk.seen_at(&image))
            .and_then(|file| file.set_len(mib << 20))
            .expect("a file can be made");
        disk.format(&image, &[])?;
        disk.image = Some(image);
        disk.mount()?;
        Ok(disk)
    }

    /// ext4 on what nbdkit makes of these arguments, filters first; `DISK` stands for a directory for its files.
    pub fn breaking(arguments: &[&str]) -> Result<Self, Missing> {
        let nbdkit = Command::new("nbdkit").arg("--version").stdout(Stdio::null()).status();
        nbdkit.map_err(|error| Missing(format!("nbdkit, of the package of that name: {error}")))?;
        let mut disk = Self::new()?;
        let files = disk.directory.path().to_str().expect("a plain path").to_owned();
        let mut shown =
            ["--command", "nbdkit", "-s", "--exit-with-parent", "memory", "128M"].map(str::to_owned).to_vec();
        shown.extend(arguments.iter().map(|argument| argument.replace("DISK", &files)));
        disk.show(&shown, &[])?;
        Ok(disk)
    }

    /// ext4 of so many MiB on a device that fails as the test says, and keeps a journal; with options of mkfs.ext4.
    pub fn held(mib: usize, options: &[&str]) -> Result<Self, Missing> {
        let mut disk = Self::new()?;
        let socket = disk.directory.path().join("device");
        disk.device = Some(Device::start(mib, &socket));
        disk.show(&["--unix".to_owned(), socket.to_str().expect("a plain path").to_owned()], options)?;
        Ok(disk)
    }

    /// ext4 on what nbdfuse shows of this.
    fn show(&mut self, shown: &[String], options: &[&str]) -> Result<(), Missing> {
        let image = self.directory.path().join("image");
        std::fs::write(&image, "").expect("a file can be made");
        let mut daemon = Command::new("setpriv");
        // It goes with the thread that runs the test.
        daemon.args(["--pdeathsig", "TERM", "nsenter", &self.namespace(), "nbdfuse"]).arg(&image).args(shown);
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemon = Some(daemon.spawn().map_err(|error| Missing(format!("setpriv: {error}")))?);
        let seen = self.seen_at(&image);
        let is_there = eventually("nbdfuse shows the disk, or ends", || {
            if std::fs::metadata(&seen).is_ok_and(|file| file.len() > 0) {
                return Some(true);
            }
            let daemon = self.daemon.as_mut().expect("it was started");
            daemon.try_wait().expect("a child can be waited for").map(|_| false)
        });
        if !is_there {
            return Err(Missing("nbdfuse, of the package libnbd-bin, and FUSE".to_owned()));
        }
        self.format(&image, options)?;
        self.image = Some(image);
        self.mount()
    }

    /// What carries it, where the test holds that.
    pub fn device(&self) -> &Device {
        self.device.as_ref().expect("it is held")
    }

    /// Another content, of one in memory that is not mounted.
    pub fn replace_image(&self, octets: &[u8]) {
        let image = self.image.as_ref().expect("it has an image");
        std::fs::write(self.seen_at(image), octets).expect("it can be written");
    }

    fn format(&self, image: &Path, options: &[&str]) -> Result<(), Missing> {
        let whole = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        let image = image.to_str().expect("a plain path");
        self.inside(&[&["mkfs.ext4"], &whole[..], options, &[image]].concat())
    }

    /// Where it is, for those in the namespace.
    pub fn path(&self) -> &Path {
        Path::new(&self.mounted)
    }

    fn text(&self) -> &str {
        &self.mounted
    }

    /// The same, for this process.
    pub fn seen(&self) -> PathBuf {
        self.seen_at(self.path())
    }

    fn seen_at(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("it is absolute");
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(inside)
    }

    /// Where files of its own lie that are on no broken disk: switches of its filters.
    pub fn switch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes one, whole.
    pub fn write_switch(&self, name: &str, text: &str) {
        self.directory.write(name, text);
    }

    fn namespace(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.keeper.id())
    }

    /// Runs a command there.
    pub fn inside(&self, command: &[&str]) -> Result<(), Missing> {
        run(&[&["nsenter", &self.namespace()], command].concat(), "", "util-linux, e2fsprogs")
    }

    /// The program on a configuration, in which `DISK` stands for the disk.
    pub fn serve(&self, configuration: &str, addresses: usize) -> Server {
        self.serve_by(&[], configuration, addresses)
    }

    /// The same, by a program that becomes it.
    pub fn serve_by(&self, by: &[&str], configuration: &str, addresses: usize) -> Server {
        let directory = Directory::new();
        Server::start(self.program(by, &directory, configuration), directory, addresses)
    }

    /// The same, which need not start.
    pub fn try_to_serve(&self, configuration: &str) -> Finished {
        let directory = Directory::new();
        Finished::of_command(self.program(&[], &directory, configuration))
    }

    fn program(&self, by: &[&str], directory: &Directory, configuration: &str) -> Command {
        let path = directory.write("ringmx.toml", configuration.replace("DISK", self.text()));
        let mut command = Command::new("nsenter");
        // What starts it there becomes it, so that the pid is its own.
        command.arg(self.namespace()).args(by).args([PROGRAM, "--config"]).arg(path);
        command
    }

    /// Mounts it again.
    pub fn mount(&self) -> Result<(), Missing> {
        let image = self.image.as_ref().and_then(|image| image.to_str()).expect("it has an image");
        self.inside(&["mount", "-t", "ext4", "-o", "loop", image, self.text()])
    }

    /// Unmounts it, when nobody uses it any more.
    #[track_caller]
    pub fn unmount(&self) {
        eventually("nobody uses the disk", || self.inside(&["umount", self.text()]).ok());
    }

    /// Other options for what is mounted; whether the kernel took them.
    pub fn remount(&self, options: &str) -> bool {
        self.inside(&["mount", "-o", &format!("remount,{options}"), self.text()]).is_ok()
    }

    /// Mends what is unmounted, as an operator would.
    pub fn repair(&self) {
        let image = self.image.as_ref().and_then(|image| image.to_str()).expect("it has an image");
        // It says by its status that there was something to mend.
        let mended = output(
            &["nsenter", &self.namespace(), "sh", "-c", "e2fsck -fy \"$0\" || test $? -lt 4", image],
            "",
            "e2fsprogs",
        );
        mended.unwrap_or_else(|missing| panic!("{missing:?}"));
    }

    /// Nothing can be written any more, nobody is told so: who tries waits.
    pub fn freeze(&self) -> Frozen<'_> {
        self.inside(&["fsfreeze", "-f", self.text()]).unwrap_or_else(|missing| panic!("{missing:?}"));
        Frozen(self)
    }

    /// What is not on the disk by now will never be, and each access is an error until it is mounted anew: what a power cut
    /// leaves. (`EXT4_IOC_SHUTDOWN` without flushing the journal.)
    pub fn cut_off(&self) -> Result<(), Missing> {
        let call = "import fcntl, os, struct, sys\n\
                    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        self.inside(&["python3", "-c", call, self.text()])
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Whoever waits in it could not even be killed.
        let thawed = self.0.inside(&["fsfreeze", "-u", self.0.text()]);
        if !std::thread::panicking() {
            thawed.unwrap_or_else(|missing| panic!("{missing:?}"));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nobody waits for it any more.
        if let Some(device) = &self.device {
            device.set(Fault::None);
        }
        // Before what carries it; if that does not work, the namespace's end does it.
        let _ = self.inside(&["umount", "--lazy", self.text()]);
        if let Some(mut daemon) = self.daemon.take() {
            if let Some(image) = self.image.as_ref().and_then(|image| image.to_str()) {
                let _ = self.inside(&["umount", "--lazy", image]);
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        // While the directory with its socket is there.
        self.device = None;
    }
}
