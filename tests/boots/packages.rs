//! The .rpm on a system with systemd, and the tarball where there is nothing else.
//!
//! Needs root, systemd-nspawn, rpm, unshare, and the roots and packages of `scripts/boot-test`, which sees to all of it. What
//! is missing is an error, never a pass. That system is a Debian with this host's rpm: it has the scripts of a package run by
//! a shell and tells systemd, as on Fedora; what the package needs of others is not looked at.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::disc::Disc;
use testkit::process::run;
use testkit::work::Work;

use crate::support::container::Container;
use crate::support::isos::isos;

const LABEL: &str = "Package-Test";

#[test]
fn the_rpm_is_installed_upgraded_under_a_reader_and_removed() -> Result<()> {
    let work = Work::new("packages-rpm")?;
    try_rpm(&work).inspect_err(|_| work.print_logs())
}

/// Has the ISO open during the upgrade, and reads it afterwards.
const READER: &str = "exec 3</srv/netboot/images/Package-Test.iso; touch /run/open; \
                      while [ ! -e /run/upgraded ]; do sleep 0.1; done; cmp /root/iso - <&3 && touch /run/same";

fn try_rpm(work: &Work) -> Result<()> {
    let isos = isos()?;
    let container = Container::boot(&isos.join("servers-debian.tar"), work)?;
    bring_rpm(&container.root)?;
    let disc = Disc::new(LABEL, 1);
    fs::write(container.root.join("root/iso"), &disc.iso)?;
    for version in ["0.0.1", "0.0.2"] {
        let package = format!("netrootfs-{version}.rpm");
        fs::copy(isos.join(&package), container.root.join("root").join(&package)).context(package)?;
    }
    container.run("rpm --install --nodeps /root/netrootfs-0.0.1.rpm")?;
    // Nothing that was installed is missing or has changed.
    let all = "rpm --verify --nodeps netrootfs && test $(rpm --query --list netrootfs | wc -l) -gt 20";
    container.run(all)?;
    container.run("cd /srv/isos && cp /root/iso new.part && mv new.part test.iso")?;
    container.run("systemctl enable --now netrootfs && findmnt -n -t fuse.netrootfs /srv/netboot")?;
    container.wait_for("cmp /root/iso /srv/netboot/images/Package-Test.iso")?;
    container.run("netrootfs man netrootfs-status | grep -q 'status.json'")?;

    container.run(&format!("systemd-run --quiet --unit=reader /bin/sh -c '{READER}'"))?;
    container.wait_for("test -e /run/open")?;
    let process = || container.run("systemctl show -P MainPID netrootfs");
    let before = process()?;
    container.run("rpm --upgrade --nodeps /root/netrootfs-0.0.2.rpm")?;
    ensure!(process()? != before, "an upgrade goes on with the old program");
    container.run(all)?;
    container
        .run("systemctl is-active netrootfs && systemctl is-enabled netrootfs && touch /run/upgraded")?;
    container.wait_for("test -e /run/same")?;

    container.run("echo '# changed' >>/etc/netrootfs.toml && rpm --erase --nodeps netrootfs")?;
    container.run(
        "! findmnt /srv/netboot && ! systemctl is-active netrootfs && ! systemctl is-enabled netrootfs",
    )?;
    let left = container.run("find / -xdev -path /root -prune -o -name '*netrootfs*' -print")?;
    // What the administrator has changed stays, and what the service has noted.
    let ours = left.lines().filter(|path| path.starts_with("/usr/") || path.starts_with("/etc/"));
    let ours: Vec<_> = ours.collect();
    ensure!(ours == ["/etc/netrootfs.toml.rpmsave"], "{left}");
    container.run("test -s /srv/isos/test.iso").map(drop)
}

/// Puts this host's rpm into a root, with the libraries that it needs.
fn bring_rpm(root: &Path) -> Result<()> {
    const SCRIPT: &str = r#"
set -e
mkdir -p "$1/opt/rpm/lib"
cp /usr/bin/rpm "$1/opt/rpm/"
ldd /usr/bin/rpm | grep -o '/[^ ]*' | xargs -I{} cp -L {} "$1/opt/rpm/lib/"
cp -r /usr/lib/rpm "$1/opt/rpm/config"
cat >"$1/usr/local/bin/rpm" <<'SH'
#!/bin/sh
RPM_CONFIGDIR=/opt/rpm/config exec /opt/rpm/lib/ld-linux-*.so.* --library-path /opt/rpm/lib /opt/rpm/rpm "$@"
SH
chmod +x "$1/usr/local/bin/rpm"
"#;
    run(Command::new("sh").args(["-c", SCRIPT, "sh"]).arg(root)).context("this host's rpm")
}

#[test]
fn the_tarball_works_where_there_is_nothing_else() -> Result<()> {
    let work = Work::new("packages-tarball")?;
    try_tarball(&work).inspect_err(|_| work.print_logs())
}

/// In a root with the tarball's directory, ISOs, `/proc` and `/dev/fuse`. There is no shell in it, and none of its libraries.
const IN_IT: &str = r#"
set -e
root=$1
mount -t proc none "$root/proc"
touch "$root/dev/fuse" "$root/dev/null"
mount --bind /dev/fuse "$root/dev/fuse"
mount --bind /dev/null "$root/dev/null"
netrootfs() { chroot "$root" /netrootfs/bin/netrootfs "$@"; }
netrootfs --version
netrootfs man netrootfs-status | grep -q status.json
netrootfs check /isos
netrootfs --state-dir /state --server 192.0.2.1 /isos /mnt
cmp "$root/isos/test.iso" "$root/mnt/images/Package-Test.iso"
netrootfs status /mnt
umount "$root/mnt"
"#;

fn try_tarball(work: &Work) -> Result<()> {
    let root = work.scratch("root");
    for directory in ["isos", "mnt", "dev", "proc", "state", "tmp", "netrootfs"] {
        fs::create_dir_all(root.join(directory))?;
    }
    let tarball = isos()?.join("netrootfs.tar.gz");
    let mut unpack = Command::new("tar");
    unpack.args(["--strip-components=1", "-xzf"]).arg(&tarball).arg("-C").arg(root.join("netrootfs"));
    run(&mut unpack)?;
    for part in ["lib/netrootfs", "share/man/man1/netrootfs.1.gz", "etc/netrootfs.toml"] {
        ensure!(root.join("netrootfs").join(part).exists(), "there is no {part} in it");
    }
    fs::write(root.join("isos/test.iso"), &Disc::new(LABEL, 1).iso)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", IN_IT, "sh"]).arg(&root);
    let output = command.output().context("unshare")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    for words in ["netrootfs 0.", "Package-Test (test.iso)", "ISOs      1 of /isos"] {
        ensure!(said.contains(words), "no '{words}' in:\n{said}");
    }
    // netroot-init lies where the program looks for it.
    ensure!(!said.contains("netroot-init"), "{said}");
    Ok(())
}
