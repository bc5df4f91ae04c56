//! The machines of the room: they read the disc from front to back, again and again, and each byte is compared.

use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use md5::{Digest, Md5};
use netrootfs::image::cpio::Writer;
use testkit::netns::add_tap;
use testkit::uml::{self, Uml};
use testkit::work::Work;

use super::EXPORT;
use super::server::ADDRESSES;

pub trait Machine {
    /// Bytes that it has read so far.
    ///
    /// # Errors
    /// If it has ended, or a byte was wrong.
    fn bytes(&mut self) -> Result<u64>;

    /// How long it has waited for a read at most since this was asked last.
    fn longest_wait(&mut self) -> Duration;

    /// What it has said.
    fn said(&self) -> Result<String>;

    /// Switches it off.
    fn end(self: Box<Self>) -> Result<()>;
}

#[derive(Debug, Default)]
struct Progress {
    bytes: u64,
    longest: Duration,
    over: bool,
}

/// `netroot-init read`, and a thread that compares.
pub struct Client {
    progress: Arc<Mutex<Progress>>,
    comparing: Option<JoinHandle<Result<()>>>,
    log: PathBuf,
}

impl Client {
    /// Switches it on.
    pub fn start(number: u8, disc: &'static [u8], work: &Work) -> Result<Self> {
        let log = work.log(&format!("client-{number}"));
        let progress = Arc::default();
        let comparing = {
            let (progress, log) = (Arc::clone(&progress), File::create(&log)?);
            // The thread is in the network of the one that starts it.
            thread::spawn(move || compare_on(number, disc, &log, &progress))
        };
        Ok(Self { progress, comparing: Some(comparing), log })
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&mut self) -> Result<()> {
        let comparing = self.comparing.take().context("it has ended")?;
        comparing.join().map_err(|_| anyhow!("a panic"))?
    }
}

impl Machine for Client {
    fn bytes(&mut self) -> Result<u64> {
        if self.comparing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.join().with_context(|| self.log.display().to_string())?;
            bail!("{}: it has ended", self.log.display());
        }
        Ok(self.progress().bytes)
    }

    fn longest_wait(&mut self) -> Duration {
        std::mem::take(&mut self.progress().longest)
    }

    fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    fn end(mut self: Box<Self>) -> Result<()> {
        self.progress().over = true;
        self.join()
    }
}

fn compare_on(number: u8, disc: &[u8], log: &File, progress: &Mutex<Progress>) -> Result<()> {
    loop {
        let mut reader = Command::new(env!("CARGO_BIN_EXE_netroot-init"))
            .args(["read", &mac(0, number), &format!("{}/{EXPORT}", addresses())])
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()?;
        let over = compare(&mut reader, disc, progress);
        let ended = reader.wait()?;
        if over? {
            return Ok(());
        }
        ensure!(ended.success(), "{ended}");
    }
}

/// Compares all that it reads; whether the scene is over.
fn compare(reader: &mut Child, disc: &[u8], progress: &Mutex<Progress>) -> Result<bool> {
    let mut output = reader.stdout.take().context("a pipe")?;
    let mut piece = vec![0; 64 << 10];
    let mut rest = disc;
    while !rest.is_empty() {
        let began = Instant::now();
        let len = output.read(&mut piece)?;
        let waited = began.elapsed();
        ensure!(len > 0, "it has ended before the disc");
        let expected = rest.split_off(..len).context("more than the disc has")?;
        ensure!(
            piece.get(..len) == Some(expected),
            "another byte than the disc has before its last {}",
            rest.len()
        );
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.bytes += len as u64;
        progress.longest = progress.longest.max(waited);
        if progress.over {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A machine whose kernel has the disk. Its `/init` reads the disc piece by piece, past the page cache, and prints sums.
pub struct Guest<'a> {
    machine: Uml<'a>,
    disc: &'static [u8],
    /// Pieces that were looked at.
    seen: usize,
    longest: Duration,
}

const PIECE: usize = 64 << 10;
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
pieces=$(($(cat /sys/block/nbd0/size) / 128))
piece=0
while :; do
  read before idle </proc/uptime
  sum=$(dd if=/dev/nbd0 bs=64k skip=$piece count=1 iflag=direct 2>/dev/null | md5sum)
  read after idle </proc/uptime
  echo \"piece $piece ${sum%% *} $before $after\"
  piece=$(((piece + 1) % pieces))
done
";

impl<'a> Guest<'a> {
    /// Switches it on.
    pub fn start(number: u8, disc: &'static [u8], work: &'a Work) -> Result<Self> {
        let tap = format!("guest{number}");
        add_tap(&tap)?;
        let arguments = [
            uml::card(&tap, &mac(1, number)),
            "rdinit=/netrootfs/init".to_owned(),
            format!("netroot.ip=10.0.2.{}/24", 100 + number),
            format!("netroot.nbd=/{EXPORT} netroot.servers={}", addresses()),
        ];
        let arguments: Vec<_> = arguments.iter().flat_map(|words| words.split(' ')).collect();
        let machine = Uml::boot(&initramfs()?, &arguments, work)?;
        Ok(Self { machine, disc, seen: 0, longest: Duration::ZERO })
    }

    /// Compares a line's sum: `piece NUMBER SUM BEFORE AFTER`.
    fn look(&mut self, line: &str) -> Result<()> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, piece, sum, before, after] = fields[..] else { bail!("half a line: {line}") };
        let start = piece.parse::<usize>()? * PIECE;
        let expected = self.disc.get(start..start + PIECE).context("a piece behind the disc")?;
        let expected: String = Md5::digest(expected).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(sum == expected, "{line}: the disc has {expected}");
        let waited = after.parse::<f64>()? - before.parse::<f64>()?;
        self.longest = self.longest.max(Duration::from_secs_f64(waited));
        self.seen += 1;
        Ok(())
    }
}

impl Machine for Guest<'_> {
    fn bytes(&mut self) -> Result<u64> {
        self.machine.ensure_runs()?;
        let said = self.said()?;
        if let Some(line) = said.lines().find(|line| line.contains("I/O error")) {
            bail!("a guest says: {line}");
        }
        let complete = said.rfind('\n').map_or("", |end| &said[..end]);
        for line in complete.lines().filter(|line| line.starts_with("piece ")).skip(self.seen) {
            self.look(line)?;
        }
        Ok((self.seen * PIECE) as u64)
    }

    fn longest_wait(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }

    fn said(&self) -> Result<String> {
        self.machine.console()
    }

    fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn initramfs() -> Result<Vec<u8>> {
    let program = Path::new(env!("CARGO_BIN_EXE_netrootfs"))
        .with_file_name(format!("netroot-init-{}", std::env::consts::ARCH));
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let mut writer = Writer::default();
    ["bin", "netrootfs", "netrootfs/modules"].into_iter().for_each(|name| writer.directory(name));
    writer.file("bin/busybox", 0o755, &read(Path::new("/bin/busybox"))?);
    writer.file("netrootfs/init", 0o755, &read(&program)?);
    writer.file("netrootfs/modules/nbd.ko", 0o644, &read(&uml::module("drivers/block/nbd.ko")?)?);
    writer.file("netrootfs/load", 0o644, b"nbd.ko\n");
    writer.file("init", 0o755, INIT.as_bytes());
    Ok(writer.finish())
}

fn mac(kind: u8, number: u8) -> String {
    format!("52:54:00:12:{kind:02x}:{number:02x}")
}

/// As netroot-init wants them.
fn addresses() -> String {
    ADDRESSES.map(|address: Ipv4Addr| address.to_string()).join(",")
}
