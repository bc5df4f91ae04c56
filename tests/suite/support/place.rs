//! A directory of ISOs, a mount point, and the real netrootfs in the background between them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Once;
use std::time::Instant;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use testkit::disc::Disc;
use testkit::process::{PATIENCE, wait_for};
use testkit::promise::promised;

use crate::support::writers::wait_for_writers;

/// What is made anew each time that it is looked up, in the root of a tree.
pub const LIVE: [&str; 3] = ["index.html", "metrics", "status.json"];

/// Everything that one test has.
pub struct Place {
    dir: TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty directory of ISOs and a mount point.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("netrootfs-test.").tempdir().expect("a directory");
        // The servers run as users of their own and must get through.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("permissions");
        for name in ["isos", "mnt", "elsewhere"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        Self { dir }
    }

    /// A place with one ISO in it.
    pub fn with(file: &str, disc: &Disc) -> Self {
        let place = Self::new();
        place.put(file, disc);
        place
    }

    /// The directory that holds all of it.
    pub fn top(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory of ISOs.
    pub fn iso(&self, name: &str) -> PathBuf {
        self.dir.path().join("isos").join(name)
    }

    /// A path on the same file system that nobody watches.
    pub fn elsewhere(&self, name: &str) -> PathBuf {
        self.dir.path().join("elsewhere").join(name)
    }

    /// Where the tree is mounted.
    pub fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// A path in the tree.
    pub fn tree(&self, path: &str) -> PathBuf {
        self.mnt().join(path)
    }

    /// The bytes of a file of the tree.
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.tree(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The text of a file of the tree.
    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).expect("UTF-8")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Puts a whole ISO into the directory, in one moment.
    pub fn put(&self, file: &str, disc: &Disc) -> PathBuf {
        let new = self.elsewhere(file);
        fs::write(&new, &disc.iso).expect("an ISO");
        wait_for_writers(&new);
        fs::rename(new, self.iso(file)).expect("the ISO moved");
        self.iso(file)
    }

    /// The command that mounts this place, with a state directory and a log of its own.
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        command.arg(self.dir.path().join("isos")).arg(self.mnt());
        command.arg("--state-dir").arg(self.dir.path().join("state"));
        command.arg("--log-file").arg(self.dir.path().join("log"));
        command.args(["--server", "192.0.2.1"]).args(options).stdin(Stdio::null());
        command
    }

    /// Mounts it, in the background.
    pub fn start(&self, options: &[&str]) -> Daemon<'_> {
        self.start_by(&mut self.command(options))
    }

    /// Mounts it by this command, which goes to the background.
    pub fn start_by(&self, command: &mut Command) -> Daemon<'_> {
        adopt_orphans();
        let output = command.output().expect("netrootfs");
        assert!(output.status.success(), "{}\n{}", said(&output), self.log());
        let pid = holder_of(self.top()).expect("a process that holds the mount");
        Daemon { place: self, pid, ended: false }
    }

    /// The file systems that are mounted on the mount point.
    pub fn mounts(&self) -> usize {
        mounts_on(&self.mnt())
    }

    /// Waits until something is so, and fails if it isn't within the promised time.
    pub fn promised(&self, what: &str, mut done: impl FnMut() -> bool) {
        self.assert_so(promised(what, || Ok(done())));
    }

    /// Waits until something is so, however busy the machine is.
    pub fn eventually(&self, what: &str, mut done: impl FnMut() -> bool) {
        self.assert_so(wait_for(what, PATIENCE, || Ok(done())));
    }

    fn assert_so(&self, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            panic!("{error}; the log:\n{}", self.log());
        }
    }

    /// Waits until netrootfs has looked at the directory once more: a new ISO of this label is there.
    pub fn look_again(&self, label: &str) {
        self.put(&format!("{label}.iso"), &Disc::new(label, 999));
        self.eventually("a new ISO", || self.tree(&format!("images/{label}.iso")).exists());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        while mounts_on(&self.mnt()) > 0 && unmount(self.mnt(), UnmountFlags::DETACH).is_ok() {}
    }
}

/// A netrootfs in the background; killed and unmounted when the value goes.
pub struct Daemon<'a> {
    place: &'a Place,
    /// The process that stays, and starts the one that serves.
    pub pid: Pid,
    ended: bool,
}

impl Daemon<'_> {
    /// The process that serves; another one after its death. One that lingers is older.
    pub fn server(&self) -> Option<Pid> {
        let pid = self.pid.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next_back()?.parse().ok()?)
    }

    /// The process beside the one that serves.
    pub fn broker(&self) -> Option<Pid> {
        let pid = self.server()?.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let is_it = |pid: &str| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"netrootfs-broker\0"))
        };
        children.split_whitespace().find(|pid| is_it(pid)).and_then(|pid| Pid::from_raw(pid.parse().ok()?))
    }

    /// Mapped files that it holds.
    pub fn mapped(&self) -> usize {
        self.descriptors().iter().filter(|name| *name == "/file").count()
    }

    /// Kills the process that serves, if there is one just now.
    pub fn kill_server(&self) {
        if let Some(pid) = self.server() {
            // It may have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("a signal");
    }

    /// Kills both of its processes.
    pub fn kill(&mut self) {
        let server = self.server();
        self.signal(Signal::KILL);
        self.wait();
        if let Some(pid) = server {
            kill_process(pid, Signal::KILL).expect("a signal");
            // It has been adopted.
            waitpid(Some(pid), WaitOptions::empty()).expect("the server's end");
        }
    }

    /// Lets the process that serves go on.
    pub fn go_on(&self) {
        kill_process(self.server().expect("a process that serves"), Signal::CONT).expect("a signal");
    }

    /// Stops it, and waits until not one of its threads runs; [`Daemon::go_on`] makes it go on.
    pub fn stand_still(&self) {
        kill_process(self.server().expect("a process that serves"), Signal::STOP).expect("a signal");
        let still = || self.tasks("stat").iter().all(|stat| stat.contains(") T "));
        self.place.eventually("the daemon to stand still", still);
    }

    /// How it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::NOHANG).expect("the daemon's end")
            {
                self.ended = true;
                return ExitStatus::from_raw(status.as_raw());
            }
            if Instant::now() > deadline {
                let threads = self.tasks("comm").into_iter().zip(self.tasks("wchan")).collect::<Vec<_>>();
                panic!("the daemon has not ended: {threads:?}; the log:\n{}", self.place.log());
            }
            std::thread::yield_now();
        }
    }

    /// Ends it as an administrator does, and sees that nothing is left.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}\n{}", self.place.log());
        assert_eq!(self.place.mounts(), 0, "a mount is left");
    }

    /// Descriptors that it has open.
    pub fn descriptors(&self) -> Vec<String> {
        let fds = fs::read_dir(self.proc("fd")).expect("its descriptors");
        // One may be closed between the listing and the question.
        let targets = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        let mut names: Vec<_> = targets.map(|target| target.display().to_string()).collect();
        names.sort();
        names
    }

    /// A file of the directory in /proc of each of its threads.
    pub fn tasks(&self, name: &str) -> Vec<String> {
        let tasks = fs::read_dir(self.proc("task")).expect("its threads").flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join(name)).ok()).collect()
    }

    /// A file of the directory in /proc of the process that serves, or what a link there leads to.
    pub fn proc(&self, name: &str) -> PathBuf {
        let pid = self.server().unwrap_or(self.pid);
        PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()))
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let server = self.server();
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = server.map(|pid| kill_process(pid, Signal::KILL));
            let _ = unmount(self.place.mnt(), UnmountFlags::DETACH);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
            let _ = server.map(|pid| waitpid(Some(pid), WaitOptions::empty()));
        }
        if std::thread::panicking() {
            println!("== the log\n{}", self.place.log());
        }
    }
}

/// The end and the words of a program.
pub fn said(output: &Output) -> String {
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// How many file systems are mounted on a directory, one over the other (proc(5), mountinfo).
pub fn mounts_on(directory: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let on = |line: &&str| line.split(' ').nth(4).is_some_and(|path| Path::new(path) == directory);
    mounts.lines().filter(on).count()
}

/// Becomes the parent of daemons, so that their exit status can be asked for.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("a subreaper");
    });
}

/// The process whose log lies in that directory, or whose mount point or configuration does, and which has none such above it.
fn holder_of(top: &Path) -> Option<Pid> {
    let wanted = ["log", "mnt", "n.toml"].map(|name| top.join(name).into_os_string().into_encoded_bytes());
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let serves = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"/netrootfs"))
            && words.any(|word| wanted.iter().any(|wanted| word == wanted))
    };
    let found: Vec<i32> = ids.into_iter().filter(serves).collect();
    found.iter().find(|pid| !found.contains(&parent(**pid))).copied().and_then(Pid::from_raw)
}

/// What proc_pid_status(5) says of a process; nothing if there is none.
pub fn status(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default()
}

/// The parent of a process: field 4 of proc_pid_stat(5).
fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    field.unwrap_or(0)
}
