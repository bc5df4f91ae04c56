//! A live ISO as kiwi makes it, whose menu asks kiwi's module for dracut to make a partition on the disk that it boots from:
//! that it doesn't do, and it finds its label and its root on the attached disk.

use anyhow::{Result, ensure};

use crate::support::boot::Boot;
use crate::support::loaders::Loaders;
use crate::support::root::Root;

#[test]
fn kiwi_finds_its_label_on_the_attached_disk() -> Result<()> {
    let report = Boot::new("Live-Kiwi-12", Loaders::pxelinux(), Root::Netroot).run("kiwi")?.report;
    let own = "root=live:CDLABEL=Live-Kiwi-12 splash rd.live.image rd.live.overlay.cowfs=ext4";
    ensure!(report.cmdline.contains(own), "without {own}: {}", report.cmdline);
    for (device, place) in [("/dev/nbd0", "/run/overlay/live"), ("LiveOS_rootfs", "/")] {
        let mount = report.mounts.iter().any(|mount| mount.starts_with(&format!("{device} {place} ")));
        ensure!(mount, "{device} is not on {place}: {:?}", report.mounts);
    }
    Ok(())
}
