//! `netrootfs doctor --boot`: a boot of its own, to the root.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::built::program;
use testkit::netrootfs::Mounted;
use testkit::ports;
use testkit::process::wait_for;
use testkit::work::Work;

use crate::support::isos::isos;
use crate::support::qemu::one_at_a_time;
use crate::support::servers::nbdkit;

const LABEL: &str = "Live-Debian-12";

#[test]
fn it_boots_a_machine_to_its_root() -> Result<()> {
    let work = Work::new("doctor")?;
    try_doctor(&work).inspect_err(|_| work.print_logs())
}

fn try_doctor(work: &Work) -> Result<()> {
    let _turn = one_at_a_time();
    let port = ports::free();
    let mountpoint = work.scratch("mnt");
    fs::create_dir(&mountpoint)?;
    let number = port.to_string();
    let options = ["--server", "10.0.2.2", "--timeout", "1", "--default", LABEL, "--nbd-port", &number];
    let mounted = Mounted::start(&isos()?, &mountpoint, &options, work)?;
    let tree = mounted.tree();
    wait_for("the entry", Duration::from_secs(300), || {
        Ok(fs::read_to_string(tree.tftp.join("pxelinux.cfg/default"))?.contains(&format!("/{LABEL}.iso ")))
    })?;
    let server = nbdkit(&tree.images, port, work)?;
    let mut doctor = Command::new(program("netrootfs"));
    doctor.args(["doctor", "--patience", "600", "--boot"]).arg(&mountpoint);
    let said = String::from_utf8(doctor.output()?.stdout)?;
    let parts = ["the loader after ", ", its menu after ", ", a kernel after ", ", an initrd after "];
    ensure!(said.contains("ok    boot: a machine in QEMU opened the loader after "), "{said}");
    for part in parts.into_iter().chain([", an image of its root after "]) {
        ensure!(said.contains(part), "{part}: {said}");
    }
    ensure!(!said.contains("boot: then"), "{said}");
    drop(server);
    mounted.stop()
}
