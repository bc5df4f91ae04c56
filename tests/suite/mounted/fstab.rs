//! Mounted by mount(8), as a line of fstab(5) has it.

use std::process::Command;

use testkit::disc::Disc;

use crate::support::place::{Place, said};

/// mount(8), which is told where the program is: by the name alone it must be in a directory of the system.
fn mount(place: &Place, options: &str) -> Command {
    let kept = format!("state-dir={0}/state,log-file={0}/log", place.top().display());
    let mut command = Command::new("mount");
    command.arg("-t").arg(concat!("fuse.", env!("CARGO_BIN_EXE_netrootfs")));
    command.args(["-o", &format!("{kept},{options}")]).arg(place.top().join("isos")).arg(place.mnt());
    command
}

#[test]
fn mount_mounts_with_the_options_of_a_line_in_fstab() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let options = r"defaults,_netdev,nofail,server=192.0.2.7,timeout=7,append=console=ttyS0\,115200";
    let daemon = place.start_by(&mut mount(&place, options));
    let menu = place.text("tftp/pxelinux.cfg/default");
    assert!(menu.contains("\ntimeout 70\n") && menu.contains("console=ttyS0,115200"), "{menu}");
    assert!(menu.contains("netroot=nbd:192.0.2.7:"), "{menu}");
    let shown = Command::new("findmnt").args(["-no", "FSTYPE"]).arg(place.mnt()).output().unwrap();
    assert!(said(&shown).ends_with("fuse.netrootfs\n"), "{}", said(&shown));
    assert!(Command::new("umount").arg(place.mnt()).status().unwrap().success());
    let mut daemon = daemon;
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_mistake_in_fstab_is_told_with_its_option() {
    let place = Place::new();
    let output = mount(&place, "time-out=7").output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("--time-out"), "{}", said(&output));
    assert_eq!(place.mounts(), 0);
}
