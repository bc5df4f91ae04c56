//! The real servers, over a tree: nbd-server, in.tftpd, dnsmasq for DHCP, and a web server.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use testkit::netns::{BRIDGE, GUESTS, NETWORK, SERVER, ip, listens, wait_for_listener};
use testkit::netrootfs::Tree;
use testkit::process::{PATIENCE, Process, run, wait_for};
use testkit::work::Work;

/// DHCP's answer: the file to load.
pub enum Dhcp {
    /// These files: one for firmware, one for iPXE.
    Files { firmware: String, ipxe: String },
    /// The output of `netrootfs dhcp --dnsmasq`, with dnsmasq as the TFTP server too.
    Snippet,
}

impl Dhcp {
    /// One file for all.
    pub fn file(name: &str) -> Self {
        Self::Files { firmware: name.to_owned(), ipxe: name.to_owned() }
    }
}

/// Port of the web server.
pub const HTTP_PORT: &str = "8080";

/// All that a diskless machine boots from, and a log of what it asks for. All of it ends with this value.
pub struct Servers {
    nbd: NbdServer,
    _http: Process,
    _tftp: Option<Process>,
    _dhcp: Process,
    _requests: Process,
}

impl Servers {
    /// Starts them in the calling thread's network.
    pub fn start(tree: &Tree, dhcp: &Dhcp, work: &Work) -> Result<Self> {
        let (tftp, dhcp) = match dhcp {
            Dhcp::Files { firmware, ipxe } => (Some(tftp(&tree.tftp, work)?), dnsmasq(firmware, ipxe, work)?),
            Dhcp::Snippet => (None, dnsmasq_by_snippet(&tree.root, work)?),
        };
        Ok(Self {
            nbd: NbdServer::start(&tree.images, work)?,
            _http: http(&tree.root, work)?,
            _tftp: tftp,
            _dhcp: dhcp,
            _requests: requests(work)?,
        })
    }

    /// Bytes that nbd-server has read so far, and so has sent: all of its processes, those that have ended too.
    pub fn nbd_bytes(&self) -> Result<u64> {
        self.nbd.bytes()
    }

    /// Kills nbd-server with the processes of all its clients, and starts it anew.
    pub fn restart_nbd(&mut self, tree: &Tree, work: &Work) -> Result<()> {
        self.nbd.kill();
        wait_for("the port of nbd-server to be free", PATIENCE, || Ok(!listens("tcp", 10809)?))?;
        self.nbd = NbdServer::start(&tree.images, work)?;
        Ok(())
    }
}

/// nbd-server as Debian runs it: a daemon, as user nbd.
struct NbdServer {
    group: Pid,
}

impl NbdServer {
    // Not `-d`: that serves a single client, without forking.
    fn start(images: &Path, work: &Work) -> Result<Self> {
        let (uid, gid) = user("nbd")?;
        let pid_file = work.scratch("nbd-server.pid");
        File::create(&pid_file)?;
        chown(&pid_file, Some(uid), Some(gid))?;
        run(Command::new("nbd-server")
            .arg("-C")
            .arg(images.join("nbd.conf"))
            .arg("-p")
            .arg(&pid_file)
            .uid(uid)
            .gid(gid))?;
        wait_for_listener("tcp", 10809)?;
        let pid = fs::read_to_string(&pid_file)?;
        let group = Pid::from_raw(pid.trim().parse().context("nbd-server's pid file")?)
            .context("nbd-server's pid")?;
        Ok(Self { group })
    }

    fn kill(&self) {
        // The daemon leads a session; its children, one a client, are in its process group.
        let _ = kill_process_group(self.group, Signal::KILL);
    }

    // proc(5), io: what a child has read is added to its parent's figures when that has waited for it.
    fn bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for entry in fs::read_dir("/proc")? {
            let process = entry?.path();
            let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
            let group = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2));
            if group.and_then(|group| group.parse().ok()).and_then(Pid::from_raw) != Some(self.group) {
                continue;
            }
            // It may have ended a moment ago.
            let io = fs::read_to_string(process.join("io")).unwrap_or_default();
            let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
            sum += read.map_or(Ok(0), str::parse::<u64>)?;
        }
        Ok(sum)
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tftp(directory: &Path, work: &Work) -> Result<Process> {
    let server = Process::spawn(
        Command::new("in.tftpd")
            .args(["--foreground", "--listen", "--secure", "--user", "tftp"])
            .args(["--address", &format!("{SERVER}:69")])
            .arg(directory),
        work,
    )?;
    wait_for_listener("udp", 69)?;
    Ok(server)
}

/// The plainest web server there is. It logs each request.
fn http(directory: &Path, work: &Work) -> Result<Process> {
    let server = Process::spawn(
        Command::new("python3")
            .args(["-u", "-m", "http.server", "--bind", SERVER, HTTP_PORT, "--directory"])
            .arg(directory),
        work,
    )?;
    wait_for_listener("tcp", HTTP_PORT.parse()?)?;
    Ok(server)
}

/// What saves a machine's loader 16 seconds: dnsmasq looks by a ping whether an address is taken, for 3 seconds, and iPXE asks
/// for a router of IPv6 for 13 if none answers. This one answers that it leads nowhere; a host without IPv6 has none.
fn at_once() -> Vec<String> {
    let mut options = vec!["--no-ping".to_owned()];
    let router = "fd00:a::1";
    if ip(&format!("address add {router}/64 dev {BRIDGE} nodad")).is_ok() {
        let range = format!("--dhcp-range={router},ra-only");
        options.extend(["--enable-ra".into(), range, format!("--ra-param={BRIDGE},0,0")]);
    }
    options
}

fn dnsmasq(firmware: &str, ipxe: &str, work: &Work) -> Result<Process> {
    let leases = work.scratch("leases");
    let server = Process::spawn(
        Command::new("dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--port=0"])
            // shim looks for its GRUB beside the name in the answer's own field, which dnsmasq leaves empty otherwise.
            .args(["--bind-interfaces", "--log-dhcp", "--dhcp-no-override"])
            .arg(format!("--interface={BRIDGE}"))
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .arg(format!("--dhcp-range={GUESTS},1h"))
            // iPXE's own options are in 175.
            .arg("--dhcp-match=set:ipxe,175")
            .arg(format!("--dhcp-boot=tag:ipxe,{ipxe},,{SERVER}"))
            .arg(format!("--dhcp-boot=tag:!ipxe,{firmware},,{SERVER}"))
            // No router, no name server: there is nothing else in this network.
            .args(["--dhcp-option=3", "--dhcp-option=6"])
            .args(at_once()),
        work,
    )?;
    wait_for_listener("udp", 67)?;
    Ok(server)
}

/// dnsmasq, told by netrootfs what to say.
fn dnsmasq_by_snippet(mountpoint: &Path, work: &Work) -> Result<Process> {
    let snippet = Command::new(env!("CARGO_BIN_EXE_netrootfs"))
        .args(["dhcp", "--dnsmasq", "--server", SERVER, "--interface", BRIDGE, "--network", NETWORK])
        .arg("--mountpoint")
        .arg(mountpoint)
        .output()?;
    ensure!(snippet.status.success(), "netrootfs dhcp: {}", String::from_utf8_lossy(&snippet.stderr));
    let conf = work.scratch("dnsmasq.conf");
    fs::write(&conf, &snippet.stdout)?;
    let server = Process::spawn(
        Command::new("dnsmasq")
            .args(["--no-daemon", "--log-dhcp"])
            .args(at_once())
            .arg(format!("--conf-file={}", conf.display()))
            .arg(format!("--dhcp-leasefile={}", work.scratch("leases").display())),
        work,
    )?;
    wait_for_listener("udp", 67)?;
    wait_for_listener("udp", 69)?;
    Ok(server)
}

/// Files asked for by TFTP, and connections to nbd-server: both servers log to syslog, which may not be there.
fn requests(work: &Work) -> Result<Process> {
    Process::spawn(
        Command::new("tcpdump")
            .args(["-l", "-n", "-i", BRIDGE])
            .arg("udp port 69 or (tcp port 10809 and tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0)"),
        work,
    )
}

fn user(name: &str) -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let entry = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
        .with_context(|| format!("no user {name}: is the server installed?"))?;
    match entry.as_slice() {
        [_, _, uid, gid, ..] => Ok((uid.parse()?, gid.parse()?)),
        _ => anyhow::bail!("/etc/passwd: {entry:?}"),
    }
}

/// nbdkit with all files of a directory, on the loopback address, ready.
pub fn nbdkit(directory: &Path, port: u16, work: &Work) -> Result<Process> {
    let mut command = Command::new("nbdkit");
    command.args([
        "--foreground",
        "--readonly",
        "--ipaddr",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "file",
    ]);
    let mut server = Process::spawn(command.arg(format!("dir={}", directory.display())), work)?;
    wait_for("nbdkit", PATIENCE, || {
        server.ensure_runs()?;
        Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
    })?;
    Ok(server)
}
