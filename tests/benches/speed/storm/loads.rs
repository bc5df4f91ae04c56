//! Machines that load kernel and initramfs: by TFTP as pxelinux does, or by HTTP as iPXE may.
//!
//! Each server has the settings that netrootfs-many(7) has for many machines. What comes is compared, every byte.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testkit::ports::{free, local};
use testkit::tftp::{self, Loaders};

use super::{Kind, Played, Served};
use crate::speed::contender::Contender;
use crate::speed::place::Place;
use crate::speed::served::{Group, listens, wait};

const FILES: [&str; 2] = ["vmlinuz_BENCH", "initrd_BENCH.img"];

/// More than there are machines, in the settings of servers.
const MANY: &str = "4096";

/// As many as atftpd can bear: each takes two descriptors, and select(2) knows 1024.
const MOST_THREADS: &str = "450";

/// What all machines load together by TFTP, at most: it waits for each block, so that more takes as much longer.
const TOGETHER: u64 = 512 << 20;

/// Blocks of a window, where there are windows.
const WINDOW: u16 = 16;

/// Until a machine asks again that was sent away.
const PAUSE: Duration = Duration::from_secs(1);

/// What a machine's thread needs.
const STACK: usize = 256 << 10;

/// Kernel and initramfs, as netrootfs shows them and as plain files.
pub struct Loads {
    beside: PathBuf,
    files: Vec<Vec<u8>>,
}

impl Loads {
    /// Copies them out of the tree.
    pub fn new(place: &Place) -> Result<Self> {
        let beside = place.path("beside");
        fs::create_dir_all(&beside)?;
        let running = Contender::Kernel.start(place)?;
        let tree = running.file.ancestors().nth(2).context("the mount")?.join("tftp");
        let mut files = Vec::new();
        for name in FILES {
            fs::copy(tree.join(name), beside.join(name)).with_context(|| name.to_owned())?;
            files.push(fs::read(beside.join(name))?);
        }
        Ok(Self { beside, files })
    }

    /// The directory of the plain files.
    pub fn beside(&self) -> &Path {
        &self.beside
    }

    /// Their paths in a directory, as soon as they are there.
    pub fn files_in(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let paths = FILES.map(|name| directory.join(name)).to_vec();
        wait(|| paths.iter().all(|path| path.exists()).then_some(())).context("no kernel and initramfs")?;
        for (path, file) in paths.iter().zip(&self.files) {
            ensure!(fs::metadata(path)?.len() == file.len() as u64, "{} has changed", path.display());
        }
        Ok(paths)
    }

    /// A server with that directory.
    pub fn serve(&self, kind: Kind, directory: &Path) -> Result<Box<dyn Served + '_>> {
        let window = if kind == Kind::Atftpd { WINDOW } else { 1 };
        Ok(match kind {
            Kind::Nginx => Box::new(ByHttp::start(&self.files, directory)?),
            _ => Box::new(ByTftp::start(&self.files, kind, directory, window)?),
        })
    }
}

struct ByTftp<'a> {
    files: &'a [Vec<u8>],
    window: u16,
    address: Ipv4Addr,
    group: Group,
}

impl<'a> ByTftp<'a> {
    /// On an address of its own, since dnsmasq knows no port but 69.
    fn start(files: &'a [Vec<u8>], kind: Kind, directory: &Path, window: u16) -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = match kind {
            Kind::Dnsmasq => {
                let mut command = Command::new("dnsmasq");
                command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file="]);
                command.args([
                    "--bind-interfaces",
                    "--user=root",
                    "--log-facility=/dev/null",
                    "--enable-tftp",
                ]);
                command.arg(format!("--listen-address={address}"));
                command.arg(format!("--tftp-max={MANY}"));
                command.arg(format!("--tftp-root={}", directory.display()));
                command
            }
            Kind::Atftpd => {
                let mut command = Command::new(atftpd());
                command.args(["--daemon", "--no-fork", "--port", "69", "--user", "root.root"]);
                command.args(["--logfile", "/dev/null", "--verbose=0", "--maxthread", MOST_THREADS]);
                command.arg("--bind-address").arg(address.to_string()).arg(directory);
                command
            }
            _ => {
                let mut command = Command::new("in.tftpd");
                command.args(["--foreground", "--listen", "--secure", "--user", "root"]);
                command.arg("--address").arg(format!("{address}:69")).arg(directory);
                command
            }
        };
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        let group = Group::spawn(command)?;
        wait(|| tftp::ask(address, FILES[0]).ok()).with_context(|| format!("{}: no answer", kind.name()))?;
        Ok(Self { files, window, address, group })
    }
}

/// What can't be installed beside tftpd-hpa is only unpacked, see scripts/setup.
fn atftpd() -> PathBuf {
    let unpacked = std::env::var_os("NETROOTFS_ATFTPD").map(PathBuf::from);
    let unpacked = unpacked.unwrap_or("/var/tmp/netrootfs-tools/usr/sbin/atftpd".into());
    if unpacked.is_file() { unpacked } else { "atftpd".into() }
}

impl ByTftp<'_> {
    /// Of each file.
    fn most(&self, machines: usize) -> u64 {
        TOGETHER / (FILES.len() * machines) as u64
    }
}

impl Served for ByTftp<'_> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn bytes(&self, machines: usize) -> u64 {
        self.files.iter().map(|file| self.most(machines).min(file.len() as u64)).sum()
    }

    fn play(&self, machines: usize, until: Instant, meanwhile: &mut dyn FnMut()) -> Result<Played> {
        let server: SocketAddr = (self.address, tftp::PORT).into();
        let mut loaders = Loaders::start(server, &FILES, machines, self.window)?.only(self.most(machines));
        let mut looked = false;
        loaders.run(until, |block| {
            // The first one has its kernel, the others the most of it.
            if block.file == 1 && !looked {
                looked = true;
                meanwhile();
            }
            same(self.files, block.file, block.offset, block.data)
        })?;
        Ok(Played { times: loaders.fetched().to_vec(), again: loaders.again() })
    }
}

struct ByHttp<'a> {
    files: &'a [Vec<u8>],
    address: SocketAddr,
    group: Group,
    _conf: TempDir,
}

impl<'a> ByHttp<'a> {
    fn start(files: &'a [Vec<u8>], directory: &Path) -> Result<Self> {
        let (dir, address) = (tempfile::tempdir()?, local(free()));
        let of_its_own = |name: &str| dir.path().join(name).display().to_string();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", of_its_own(name)));
        let conf = format!(
            "daemon off; user root; worker_processes auto; pid {};\nevents {{ worker_connections {MANY}; }}\n\
             http {{\naccess_log off; sendfile on;\n{}server {{ listen {address} backlog={MANY}; root {}; }}\n}}\n",
            of_its_own("pid"),
            temporary.concat(),
            directory.display()
        );
        fs::write(of_its_own("nginx.conf"), conf)?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]).arg(of_its_own("nginx.conf"));
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        let group = Group::spawn(command)?;
        listens(address)?;
        Ok(Self { files, address, group, _conf: dir })
    }

    /// Both files, one after the other; whether in time.
    fn load(&self, until: Instant, again: &AtomicUsize) -> Result<bool> {
        let agent = ureq::Agent::new_with_defaults();
        let mut next = 0;
        while next < FILES.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match self.get(&agent, next, left) {
                Ok(()) => next += 1,
                Err(ureq::Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(error.into());
                }
                Err(ureq::Error::StatusCode(code)) => anyhow::bail!("{}: status {code}", FILES[next]),
                Err(_) => {
                    again.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(left.min(PAUSE));
                }
            }
        }
        Ok(true)
    }

    fn get(&self, agent: &ureq::Agent, file: usize, left: Duration) -> Result<(), ureq::Error> {
        let request = agent.get(format!("http://{}/{}", self.address, FILES[file]));
        let answer = request.config().timeout_global(Some(left)).build().call()?;
        let (mut body, mut bytes, mut offset) = (answer.into_body().into_reader(), vec![0; 64 << 10], 0);
        loop {
            let len = body.read(&mut bytes)?;
            if len == 0 {
                break;
            }
            same(self.files, file, offset, &bytes[..len])?;
            offset += len as u64;
        }
        if offset < self.files[file].len() as u64 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}

impl Served for ByHttp<'_> {
    fn group(&self) -> &Group {
        &self.group
    }

    fn bytes(&self, _machines: usize) -> u64 {
        self.files.iter().map(|file| file.len() as u64).sum()
    }

    fn play(&self, machines: usize, until: Instant, meanwhile: &mut dyn FnMut()) -> Result<Played> {
        let (ready, again) = (Barrier::new(machines), AtomicUsize::new(0));
        let (sender, ended) = mpsc::channel();
        let machine = |sender: mpsc::Sender<_>| {
            ready.wait();
            let start = Instant::now();
            let loaded = self.load(until, &again);
            let _ = sender.send(loaded.map(|loaded| loaded.then(|| start.elapsed())));
        };
        let times = std::thread::scope(|scope| {
            for _ in 0..machines {
                let (machine, sender) = (&machine, sender.clone());
                let thread = std::thread::Builder::new().stack_size(STACK);
                thread.spawn_scoped(scope, move || machine(sender))?;
            }
            drop(sender);
            let mut times = Vec::new();
            for (number, time) in ended.into_iter().enumerate() {
                // The first one has all.
                if number == 0 {
                    meanwhile();
                }
                times.extend(time?);
            }
            Ok::<_, anyhow::Error>(times)
        })?;
        Ok(Played { times, again: again.into_inner() })
    }
}

/// An error if those aren't the bytes of that file.
fn same(files: &[Vec<u8>], file: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let rest = usize::try_from(offset).ok().and_then(|offset| files[file].get(offset..)).unwrap_or_default();
    if rest.starts_with(bytes) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: other bytes at {offset}", FILES[file])))
}
