//! The kernel's NFS server over `trees/`, exported as the manual says: in a guest with Debian's kernel, which mounts it from
//! itself. What this host's kernel can do is of no account.
//!
//! Needs root, QEMU, cpio, and the root of `tests/nfs/build`: `scripts/boot-test` sees to all of it. What is missing is an
//! error, never a pass.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netrootfs::cli::manual::Page;
use testkit::disc::Disc;
use testkit::process::{Process, run, wait_for};
use testkit::work::Work;

use crate::support::isos::isos;

/// On a busy host, without KVM.
const PATIENCE: Duration = Duration::from_secs(600);

/// The first process of the guest. Each `is` is a line of the report.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /run
exec >/dev/ttyS0 2>&1
is() { what=$1; shift; if "$@"; then echo "REPORT $what: yes"; else echo "REPORT $what: no"; fi; }
sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }
ip link set lo up
modprobe -a fuse nfsd nfsv3 nfsv4
mkdir -p /run/rpcbind /var/lib/nfs/v4recovery
mount -t nfsd none /proc/fs/nfsd
netrootfs --server 127.0.0.1 --nfs 127.0.0.1:/srv/netboot/trees --state-dir /run/state /srv/isos /srv/netboot
sums /srv/netboot/trees >/run/sums
is 'files in the tree' grep -q isolinux/vmlinuz /run/sums
rpcbind -w && rpc.mountd
is 'exported' exportfs -ra
rpc.nfsd 2

same() { sums /mnt/nfs | cmp - /run/sums; }
is 'NFS 4.2 mounted' mount -t nfs -o ro,vers=4.2 127.0.0.1:/srv/netboot/trees /mnt/nfs
is 'NFS 4.2 same' same
exec 3</mnt/nfs/Nfs-Test/isolinux/vmlinuz
# The one that serves, of the two that there are.
before=$(pidof netrootfs)
kill -KILL "${before%% *}"
until now=$(pidof netrootfs) && [ "${now#* }" != "$now" ] && [ "$now" != "$before" ]; do sleep 0.1; done
echo 3 >/proc/sys/vm/drop_caches
is 'open file after a crash' cmp - /srv/netboot/trees/Nfs-Test/isolinux/vmlinuz <&3
is 'NFS 4.2 same after a crash' same
exec 3<&-
umount /mnt/nfs
is 'NFS 3 mounted' mount -t nfs -o ro,vers=3,nolock 127.0.0.1:/srv/netboot/trees /mnt/nfs
is 'NFS 3 same' same
umount /mnt/nfs

sed -i 's/fsid=[0-9]*,//' /etc/exports
is 'exported without fsid' exportfs -ra
echo 'REPORT end'
echo o >/proc/sysrq-trigger
sleep 60
"#;

#[test]
fn the_kernels_nfs_server_exports_the_trees_as_the_manual_says() -> Result<()> {
    let work = Work::new("nfs")?;
    try_nfs(&work).inspect_err(|_| work.print_logs())
}

fn try_nfs(work: &Work) -> Result<()> {
    let root = work.scratch("root");
    fs::create_dir(&root)?;
    run(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(isos()?.join("nfs.tar")))?;
    let kernel = work.scratch("vmlinuz");
    fs::rename(root.join("boot/vmlinuz"), &kernel)?;
    fill(&root)?;
    let initrd = work.scratch("initrd.gz");
    let pack = "set -o pipefail; find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >\"$1\"";
    run(Command::new("bash").args(["-c", pack, "bash"]).arg(&initrd).current_dir(&root))?;

    let serial = work.log("serial");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "q35,accel=tcg", "-cpu", "max,-erms", "-m", "1536", "-nic", "none"]);
    command.args(["-display", "none", "-monitor", "none", "-no-reboot", "-device", "virtio-rng-pci"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    command.args(["-append", "console=ttyS0 quiet rdinit=/check"]);
    command.arg("-serial").arg(format!("file:{}", serial.display()));
    let mut guest = Process::spawn(&mut command, work)?;
    wait_for("the guest's end", PATIENCE, || Ok(guest.ended()?.is_some()))?;
    let said = String::from_utf8_lossy(&fs::read(&serial)?).into_owned();
    let report: Vec<_> = said.lines().filter_map(|line| line.trim().strip_prefix("REPORT ")).collect();
    let expected = [
        "files in the tree: yes",
        "exported: yes",
        "NFS 4.2 mounted: yes",
        "NFS 4.2 same: yes",
        "open file after a crash: yes",
        "NFS 4.2 same after a crash: yes",
        "NFS 3 mounted: yes",
        "NFS 3 same: yes",
        "exported without fsid: no",
        "end",
    ];
    ensure!(report == expected, "{report:#?}\n{said}");
    ensure!(said.contains("requires fsid= for NFS export"), "{said}");
    Ok(())
}

/// Puts netrootfs, an ISO and the export into the guest's root.
fn fill(root: &Path) -> Result<()> {
    for directory in ["srv/isos", "srv/netboot", "mnt/nfs"] {
        fs::create_dir_all(root.join(directory))?;
    }
    let program = root.join("usr/bin/netrootfs");
    run(Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_netrootfs")))?;
    fs::write(root.join("srv/isos/test.iso"), &Disc::new("Nfs-Test", 1).iso)?;
    let page = Page::find("netrootfs-servers").map_err(anyhow::Error::msg)?.source;
    let line = page.lines().find(|line| line.starts_with("/srv/netboot/trees ")).context("the export")?;
    let line = line.replace("192.168.50.0/24", "127.0.0.0/8");
    ensure!(line.contains("127.0.0.0/8") && line.contains("fsid="), "{line}");
    fs::write(root.join("etc/exports"), line + "\n")?;
    let init = root.join("check");
    fs::write(&init, INIT)?;
    run(Command::new("chmod").arg("+x").arg(&init))
}
