//! An NBD server with one export, on a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use testkit::nbd::Client;

use crate::speed::contender::{Contender, Running};
use crate::speed::place::{LABEL, Place};

/// nbd-server, a process a client; or nbdkit, a thread a request.
pub struct Server {
    address: SocketAddr,
    export: String,
    running: Daemon,
    /// Clients connect one after the other: nbd-server's queue for them holds ten.
    door: Mutex<()>,
    _conf: Option<TempDir>,
}

enum Daemon {
    Child(Child),
    Group(Pid),
}

impl Server {
    /// The server of a contender: nbd-server over its file.
    pub fn start(contender: Contender, running: Option<&Running>, place: &Place) -> Result<Self> {
        match running {
            Some(running) => Self::nbd_server(&running.file),
            None if contender == Contender::Nbdkit => Self::offset(place),
            None => bail!("{contender} has no server"),
        }
    }

    /// nbd-server over a file.
    pub fn nbd_server(file: &Path) -> Result<Self> {
        let address = free_port()?;
        let dir = tempfile::tempdir()?;
        let (conf, pid_file) = (dir.path().join("nbd.conf"), dir.path().join("pid"));
        write_conf(&conf, &format!("  listenaddr = 127.0.0.1\n  port = {}\n", address.port()), file)?;
        let started = Command::new("nbd-server").arg("-C").arg(&conf).arg("-p").arg(&pid_file).output();
        let output = started.context("nbd-server: is it installed?")?;
        anyhow::ensure!(output.status.success(), "nbd-server: {}", String::from_utf8_lossy(&output.stderr));
        let pid = wait(|| fs::read_to_string(&pid_file).ok()?.trim().parse().ok().and_then(Pid::from_raw));
        let running = Daemon::Group(pid.context("nbd-server's pid file")?);
        Self { address, export: LABEL.into(), running, door: Mutex::default(), _conf: Some(dir) }.ready()
    }

    /// An nbd-server for each connection.
    pub fn per_connection(file: &Path) -> Result<Self> {
        let address = free_port()?;
        let dir = tempfile::tempdir()?;
        let conf = dir.path().join("nbd.conf");
        write_conf(&conf, "", file)?;
        let mut command = Command::new("systemd-socket-activate");
        command.args(["--accept", "--inetd", "--listen", &address.to_string()]);
        command.args(["nbd-server", "-d", "-C"]).arg(&conf).arg("127.0.0.1:0");
        Self::child(command, address, LABEL, Some(dir))
    }

    /// nbdkit's offset filter over the ISO.
    fn offset(place: &Place) -> Result<Self> {
        let mut command = Command::new("nbdkit");
        command.args(["--filter=offset", "file"]).arg(&place.iso);
        command.arg(format!("offset={}", place.offset)).arg(format!("range={}", place.len));
        Self::nbdkit(command, "")
    }

    /// nbdkit with every file of a directory, those that are yet to come too.
    pub fn directory(images: &Path, export: &str) -> Result<Self> {
        let mut command = Command::new("nbdkit");
        command.arg("file").arg(format!("dir={}", images.display()));
        Self::nbdkit(command, export)
    }

    fn nbdkit(mut command: Command, export: &str) -> Result<Self> {
        let address = free_port()?;
        command.args(["--foreground", "--readonly", "--ipaddr", "127.0.0.1"]);
        command.args(["--port", &address.port().to_string()]);
        Self::child(command, address, export, None)
    }

    fn child(mut command: Command, address: SocketAddr, export: &str, conf: Option<TempDir>) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{command:?}: is it installed?"))?;
        let (export, running) = (export.to_owned(), Daemon::Child(child));
        Self { address, export, running, door: Mutex::default(), _conf: conf }.ready()
    }

    fn ready(self) -> Result<Self> {
        let up = wait(|| std::net::TcpStream::connect(self.address).ok());
        up.with_context(|| format!("nobody listens on {}", self.address))?;
        Ok(self)
    }

    /// A new connection.
    pub fn client(&self) -> Result<Client> {
        let _door = self.door.lock().expect("the door");
        Ok(Client::connect(self.address, &self.export)?)
    }

    /// A new connection, whoever else calls at that moment, without more than this of silence.
    pub fn call(&self, patience: Duration) -> std::io::Result<Client> {
        Client::connect_within(self.address, &self.export, patience)
    }

    /// The process that all others of it come from.
    pub fn process(&self) -> u32 {
        match &self.running {
            Daemon::Child(child) => child.id(),
            Daemon::Group(pid) => pid.as_raw_nonzero().get().unsigned_abs(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.running {
            Daemon::Child(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            // It leads a session; its children, one a client, are in its process group.
            Daemon::Group(pid) => {
                let _ = kill_process_group(*pid, Signal::KILL);
            }
        }
    }
}

fn write_conf(conf: &Path, generic: &str, file: &Path) -> Result<()> {
    let file = file.display();
    let export = format!("[{LABEL}]\n  exportname = {file}\n  readonly = true\n  virtstyle = none\n");
    Ok(fs::write(conf, format!("[generic]\n{generic}{export}"))?)
}

/// An address that nobody listens on.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn wait<T>(mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(value) = done() {
            return Some(value);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}
