//! From a new ISO to what a machine needs of it: its kernel whole by TFTP, and the first block of its root by NBD.
//!
//! All ways have the same servers, in.tftpd and nbdkit, which run before the ISO comes and find its files by themselves.
//! The ISO is in the page cache, as it is when it has just been copied to its place.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{UnmountFlags, unmount};
use serde::Serialize;
use testkit::process::run;

use crate::speed::contender::netrootfs;
use crate::speed::place::Place;
use crate::speed::served::Server;

const KERNEL: &str = "vmlinuz_BENCH";
const IMAGE: &str = "liveos_BENCH.img";

/// The steps of `livecd-iso-to-pxenetroot` of fedora-live-netroot, without its messages and menus; but it mounts the
/// ISO, where this takes kernel and initrd by xorriso and mounts the squashfs by its offset, as not every kernel has
/// iso9660. The squashfs holds bytes that can't be compressed, so nothing here waits for a decompressor; with a real live
/// ISO it does.
const SCRIPT: &str = "set -eu
mkdir mnt-live mnt-new
mount -t squashfs -o loop,ro,offset=$2 \"$1\" mnt-live
rootfs=mnt-live/LiveOS/rootfs.img
image=images/liveos_BENCH.img
mib=$(($(du -B 1M --apparent-size $rootfs | cut -f 1) + 1024))
dd if=/dev/zero of=$image bs=1M count=$mib status=none
mkfs -t ext4 -q $image
e2label $image BENCH
mount -o loop $image mnt-new
mkdir mnt-new/LiveOS
cp -p $rootfs mnt-new/LiveOS/ext3fs.img
umount mnt-new
umount mnt-live
rmdir mnt-live mnt-new
xorriso -osirrox on -indev \"$1\" -extract /isolinux/vmlinuz tftp/vmlinuz_BENCH \
    -extract /isolinux/initrd.img tftp/initrd_BENCH.img
";

/// The plain files out of the ISO, and no file system around the root image.
const EXTRACT: &str = "set -eu
xorriso -osirrox on -indev \"$1\" -extract /LiveOS/squashfs.img images/liveos_BENCH.img \
    -extract /isolinux/vmlinuz tftp/vmlinuz_BENCH -extract /isolinux/initrd.img tftp/initrd_BENCH.img
";

/// How long a way took, and what it needs of the disk.
#[derive(Debug, Clone, Serialize)]
pub struct Bootable {
    pub way: &'static str,
    /// Until the files were there, a time for each round.
    pub there: Vec<f64>,
    /// Until kernel and first block had arrived.
    pub arrived: Vec<f64>,
    /// Bytes of disk that it takes, besides the ISO.
    pub disk: u64,
}

/// All ways, in turns.
pub fn measure(place: &Place, rounds: usize) -> Result<Vec<Bootable>> {
    let ways = ["netrootfs", "extraction by xorriso", "livecd-iso-to-pxenetroot"];
    let mut all = ways.map(|way| Bootable { way, there: Vec::new(), arrived: Vec::new(), disk: 0 });
    for round in 0..rounds {
        eprintln!("from ISO to boot, {} of {rounds}", round + 1);
        for result in &mut all {
            io::copy(&mut File::open(&place.iso)?, &mut io::sink())?;
            let (there, arrived, disk) = match result.way {
                "netrootfs" => by_netrootfs(place)?,
                "extraction by xorriso" => by_steps(place, EXTRACT)?,
                _ => by_steps(place, SCRIPT)?,
            };
            result.there.push(there.as_secs_f64());
            result.arrived.push(arrived.as_secs_f64());
            result.disk = result.disk.max(disk);
        }
    }
    Ok(all.to_vec())
}

fn by_netrootfs(place: &Place) -> Result<(Duration, Duration, u64)> {
    let (aside, state) = (place.path("aside.iso"), place.path("state"));
    let _ = fs::remove_dir_all(&state);
    fs::rename(&place.iso, &aside)?;
    let mountpoint = place.path("bootable");
    fs::create_dir_all(&mountpoint)?;
    let mut command = netrootfs(place, &mountpoint, "auto");
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut daemon = Killed(child);
    wait("netrootfs", || mountpoint.join("images/nbd.conf").exists())?;
    let servers = Servers::start(&mountpoint)?;

    let start = Instant::now();
    fs::rename(&aside, &place.iso)?;
    let there = servers.see_files(&mountpoint, start)?;
    let arrived = servers.boot(start)?;

    let io = fs::read_to_string(format!("/proc/{}/io", daemon.0.id()))?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("write_bytes")?;
    drop(servers);
    let _ = unmount(&mountpoint, UnmountFlags::DETACH);
    daemon.0.kill()?;
    Ok((there, arrived, disk_usage(&state)?.max(written.parse()?)))
}

fn by_steps(place: &Place, steps: &str) -> Result<(Duration, Duration, u64)> {
    let work = place.path("steps");
    fs::create_dir_all(work.join("images"))?;
    fs::create_dir_all(work.join("tftp"))?;
    let servers = Servers::start(&work)?;
    let start = Instant::now();
    // In a namespace of its own, so that nothing stays mounted if a step fails.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", steps, "sh"]).arg(&place.iso);
    command.arg(place.offset.to_string()).current_dir(&work);
    run(&mut command)?;
    let there = servers.see_files(&work, start)?;
    let arrived = servers.boot(start)?;
    drop(servers);
    let disk = disk_usage(&work)?;
    fs::remove_dir_all(&work)?;
    Ok((there, arrived, disk))
}

/// A TFTP server and an NBD server.
struct Servers {
    _tftpd: Killed,
    tftp: SocketAddr,
    nbd: Server,
}

impl Servers {
    fn start(tree: &Path) -> Result<Self> {
        let tftp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new("in.tftpd");
        command.args(["--foreground", "--listen", "--secure", "--user", "root"]);
        command.arg("--address").arg(tftp.to_string()).arg(tree.join("tftp"));
        let tftpd = Killed(command.stdin(Stdio::null()).spawn().context("in.tftpd: is it installed?")?);
        let port = format!(":{:04X} ", tftp.port());
        wait("in.tftpd", || fs::read_to_string("/proc/net/udp").is_ok_and(|table| table.contains(&port)))?;
        Ok(Self { _tftpd: tftpd, tftp, nbd: Server::directory(&tree.join("images"), IMAGE)? })
    }

    fn see_files(&self, tree: &Path, start: Instant) -> Result<Duration> {
        let files = [tree.join("tftp").join(KERNEL), tree.join("images").join(IMAGE)];
        wait("kernel and root image", || files.iter().all(|file| file.exists()))?;
        Ok(start.elapsed())
    }

    fn boot(&self, start: Instant) -> Result<Duration> {
        let kernel = testkit::tftp::fetch(self.tftp, KERNEL)?;
        ensure!(kernel.len() == crate::speed::place::KERNEL, "{} bytes of the kernel", kernel.len());
        self.nbd.client()?.read(0, 4096)?;
        Ok(start.elapsed())
    }
}

/// A child that ends with the value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn disk_usage(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry?;
        let stat = entry.metadata()?;
        sum += if stat.is_dir() { disk_usage(&entry.path())? } else { stat.blocks() * 512 };
    }
    Ok(sum)
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        ensure!(Instant::now() < deadline, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
