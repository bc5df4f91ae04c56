//! Servers with all their processes: an NBD server with one export, on a port of its own, and what starts the others.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use testkit::nbd::Client;

use crate::speed::contender::{Contender, Running};
use crate::speed::place::{LABEL, Place};

/// nbd-server, a process a client; or nbdkit, a thread a request.
pub struct Server {
    address: SocketAddr,
    export: String,
    group: Group,
    /// Clients connect one after the other: nbd-server's queue for them holds ten.
    door: Mutex<()>,
    _conf: Option<TempDir>,
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
        ensure!(output.status.success(), "nbd-server: {}", String::from_utf8_lossy(&output.stderr));
        let pid = wait(|| fs::read_to_string(&pid_file).ok()?.trim().parse().ok().and_then(Pid::from_raw));
        let group = Group { leader: pid.context("nbd-server's pid file")?, child: None };
        Self { address, export: LABEL.into(), group, door: Mutex::default(), _conf: Some(dir) }.ready()
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

    /// nbdkit with every file of a directory, those that are yet to come too, as `nbdkit.service` has it.
    pub fn directory(images: &Path, export: &str) -> Result<Self> {
        let mut command = Command::new("nbdkit");
        command.args(["--threads", "4", "file"]).arg(format!("dir={}", images.display()));
        Self::nbdkit(command, export)
    }

    fn nbdkit(mut command: Command, export: &str) -> Result<Self> {
        let address = free_port()?;
        command.args(["--foreground", "--readonly", "--ipaddr", "127.0.0.1"]);
        command.args(["--port", &address.port().to_string()]);
        Self::child(command, address, export, None)
    }

    fn child(command: Command, address: SocketAddr, export: &str, conf: Option<TempDir>) -> Result<Self> {
        let (export, group) = (export.to_owned(), Group::spawn(command)?);
        Self { address, export, group, door: Mutex::default(), _conf: conf }.ready()
    }

    fn ready(self) -> Result<Self> {
        listens(self.address)?;
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

    /// Its processes.
    pub fn group(&self) -> &Group {
        &self.group
    }
}

/// A program and the processes that come from it, which end with the value.
pub struct Group {
    leader: Pid,
    child: Option<Child>,
}

impl Group {
    /// Starts a program that stays in the foreground.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().with_context(|| format!("{command:?}: is it installed?"))?;
        Ok(Self { leader: Pid::from_child(&child), child: Some(child) })
    }

    /// The process that all others of it come from.
    pub fn leader(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.leader, Signal::KILL);
        if let Some(child) = &mut self.child {
            let _ = child.wait();
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

/// Waits until somebody takes connections there.
pub fn listens(address: SocketAddr) -> Result<()> {
    let up = wait(|| std::net::TcpStream::connect(address).ok());
    up.with_context(|| format!("nobody listens on {address}")).map(drop)
}

/// What is asked for, as soon as it is there, within 10 s.
pub fn wait<T>(mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(value) = done() {
            return Some(value);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}
