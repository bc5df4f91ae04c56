//! The package under real systemds: installed, restarted, killed, hung, upgraded, stopped and removed, while an NBD and a TFTP
//! client are at work.
//!
//! Needs root, systemd-nspawn, and the roots and packages of `scripts/boot-test`, which sees to all of it. What is missing is
//! an error, never a pass.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use testkit::disc::Disc;
use testkit::process::{PATIENCE, wait_for};
use testkit::work::Work;

use crate::support::container::Container;
use crate::support::isos::isos;

#[test]
fn the_package_serves_through_restart_crash_hang_and_upgrade_on_debian_12() -> Result<()> {
    let work = Work::new("systemd-12")?;
    Server::boot("debian", &work)
        .and_then(|server| server.serves_through_everything())
        .inspect_err(|_| work.print_logs())
}

#[test]
fn the_package_serves_through_restart_crash_hang_and_upgrade_on_debian_13() -> Result<()> {
    let work = Work::new("systemd-13")?;
    Server::boot("trixie", &work)
        .and_then(|server| server.serves_through_everything())
        .inspect_err(|_| work.print_logs())
}

#[test]
fn isos_may_come_late_and_a_crash_loop_ends_in_errors() -> Result<()> {
    let work = Work::new("systemd-late")?;
    Server::boot("debian", &work).and_then(|server| server.ends_in_order()).inspect_err(|_| work.print_logs())
}

const LABEL: &str = "Systemd-Test";

/// Clients that read again and again: a round is a kernel by TFTP and an ISO by NBD. What fails is written down.
const CLIENTS: &str = r#"
cat >/usr/local/bin/rounds <<'SH'
#!/bin/sh
while [ ! -e /run/enough ]; do
  rm -f /run/kernel
  tftp -m binary 127.0.0.1 -c get vmlinuz_Systemd-Test /run/kernel && cmp -s /run/kernel /root/kernel ||
    echo "$(date +%T) TFTP" >>/run/errors
  nbdcopy nbd://127.0.0.1/Systemd-Test.iso - 2>>/run/said | cmp -s - /root/iso || echo "$(date +%T) NBD" >>/run/errors
  echo round >>/run/rounds
done
SH
chmod +x /usr/local/bin/rounds
"#;

/// A Debian on which the package has been installed.
struct Server {
    container: Container,
    isos: PathBuf,
}

impl Server {
    fn boot(form: &str, work: &Work) -> Result<Self> {
        let isos = isos()?;
        let container = Container::boot(&isos.join(format!("servers-{form}.tar")), work)?;
        let server = Self { container, isos };
        server.install("0.0.1")?;
        server.run("systemctl is-active netrootfs && findmnt -n -t fuse.netrootfs /srv/netboot")?;
        server.status("no ISOs")?;
        Ok(server)
    }

    fn install(&self, version: &str) -> Result<()> {
        let package = format!("netrootfs-{version}.deb");
        fs::copy(self.isos.join(&package), self.container.root.join("root").join(&package))
            .with_context(|| package.clone())?;
        // As apt does it: questions about configuration files have no answer here.
        self.run(&format!(
            "DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /root/{package} </dev/null"
        ))
        .map(drop)
    }

    fn run(&self, line: &str) -> Result<String> {
        self.container.run(line)
    }

    fn put(&self, directory: &Path, disc: &Disc) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("new.part"), &disc.iso)?;
        Ok(fs::rename(directory.join("new.part"), directory.join("test.iso"))?)
    }

    /// Waits until the unit's status line is that.
    fn status(&self, wanted: &str) -> Result<()> {
        self.container.wait_for(&format!("systemctl show -P StatusText netrootfs | grep -qx \"{wanted}\""))
    }

    fn main_pid(&self) -> Result<String> {
        self.run("systemctl show -P MainPID netrootfs")
    }

    /// From now on a system call that a unit doesn't allow ends the process that makes it.
    fn bound_strictly(&self) -> Result<()> {
        for unit in ["netrootfs", "nbdkit", "nbd-netrootfs@"] {
            let directory = format!("/run/systemd/system/{unit}.service.d");
            self.run(&format!(
                "mkdir -p {directory} && printf '[Service]\\nSystemCallErrorNumber=kill\\n' >{directory}/strict.conf"
            ))?;
        }
        self.run("systemctl daemon-reload && systemctl restart netrootfs").map(drop)
    }

    /// Whether no process was ended by a system call; whoever looks into an ISO tells of that in the log.
    fn kept_within_bounds(&self) -> Result<()> {
        self.run("! journalctl --no-pager --boot | grep -E 'status=31/SYS|signal: 31|looking into it'")?;
        // What goes for want of memory goes alone.
        self.run("systemctl show -P OOMPolicy netrootfs | grep -qx continue")?;
        // What systemd-analyze(1) says of them, times ten.
        for (unit, most) in [("netrootfs", 49), ("nbdkit", 13), ("nbd-netrootfs@1", 35)] {
            self.run(&format!("systemd-analyze security --no-pager --threshold={most} {unit}.service"))?;
        }
        Ok(())
    }

    fn serves_through_everything(&self) -> Result<()> {
        self.bound_strictly()?;
        let disc = Disc::new(LABEL, 1);
        fs::write(self.container.root.join("root/kernel"), &disc.kernel)?;
        fs::write(self.container.root.join("root/iso"), &disc.iso)?;
        self.put(&self.container.root.join("srv/isos"), &disc)?;
        self.status("1 ISO")?;
        self.run("echo 'TFTP_USERNAME=tftp TFTP_DIRECTORY=/srv/netboot/tftp TFTP_ADDRESS=:69 TFTP_OPTIONS=--secure' \
                  | tr ' ' '\\n' >/etc/default/tftpd-hpa")?;
        self.run("ip link set lo up && systemctl restart tftpd-hpa && systemctl start nbdkit")?;
        self.container.wait_for("nbdinfo --size nbd://127.0.0.1/Systemd-Test.iso")?;
        self.run(CLIENTS)?;
        self.run("systemd-run --quiet --unit=rounds /usr/local/bin/rounds")?;
        self.rounds()?;

        self.another_process("a restart", "systemctl restart netrootfs")?;
        self.another_process("a crash", "systemctl kill --signal=KILL --kill-who=main netrootfs")?;
        // The watchdog, with less patience than the unit has.
        self.run("mkdir -p /run/systemd/system/netrootfs.service.d && printf '[Service]\\nWatchdogSec=2\\nTimeoutAbortSec=1\\n' \
                  >/run/systemd/system/netrootfs.service.d/watchdog.conf && systemctl daemon-reload")?;
        self.another_process("a restart with a watchdog", "systemctl restart netrootfs")?;
        self.another_process(
            "a process that hangs",
            "systemctl kill --signal=STOP --kill-who=main netrootfs",
        )?;
        let before = self.main_pid()?;
        self.install("0.0.2")?;
        ensure!(self.main_pid()? != before, "an upgrade goes on with the old program");
        self.rounds()?;
        self.run("systemctl reload netrootfs && systemctl is-active netrootfs")?;
        self.rounds()?;

        self.run("touch /run/enough")?;
        self.container.wait_for("! systemctl is-active --quiet rounds")?;
        let errors = fs::read_to_string(self.container.root.join("run/errors")).unwrap_or_default();
        let errors = errors + &self.run("cat /run/errors 2>/dev/null || true")?;
        ensure!(errors.is_empty(), "clients saw errors:\n{errors}\n{}", self.run("cat /run/said")?);

        self.run("systemctl stop nbdkit && ! systemctl is-failed nbdkit")?;
        self.run("systemctl start nbd-netrootfs.socket")?;
        self.run("nbdcopy nbd://127.0.0.1/Systemd-Test.iso - | cmp - /root/iso && systemctl stop nbd-netrootfs.socket")?;
        self.kept_within_bounds()?;
        self.run("dpkg -r netrootfs && ! findmnt /srv/netboot && test -e /etc/netrootfs.toml")?;
        self.run("dpkg -P netrootfs && ! test -e /etc/netrootfs.toml && ! test -e /var/cache/netrootfs")?;
        self.run("test -s /srv/isos/test.iso").map(drop)
    }

    /// Does what ends the process, and waits until another one serves clients.
    fn another_process(&self, what: &str, line: &str) -> Result<()> {
        let before = self.main_pid()?;
        self.run(line)?;
        let another = || Ok(self.main_pid()? != before && self.main_pid()?.trim() != "0");
        wait_for(&format!("another process after {what}"), PATIENCE, another)?;
        self.rounds().with_context(|| format!("after {what}"))
    }

    /// Waits for two rounds of the clients, the second of which began afterwards.
    fn rounds(&self) -> Result<()> {
        let rounds = || {
            self.run("cat /run/rounds 2>/dev/null | wc -l")
                .map(|count| count.trim().parse::<u32>().unwrap_or(0))
        };
        let before = rounds()?;
        wait_for("rounds of the clients", PATIENCE, || Ok(rounds()? >= before + 2))
    }

    fn ends_in_order(&self) -> Result<()> {
        // A file system that isn't there yet, and a daemon that isn't root.
        self.bound_strictly()?;
        self.run("sed -i -e 's:/srv/isos:/mnt/late/isos:' -e 's:^# data-path = .*:data-path = \"cache\":' /etc/netrootfs.toml")?;
        self.run("sed -i 's:^# on-change = .*:on-change = \"systemctl is-active netrootfs >/run/changed\":' /etc/netrootfs.toml")?;
        self.run("sed -i 's:^# user = :user = :' /etc/netrootfs.toml")?;
        self.run("systemctl stop netrootfs && rm -r /var/cache/netrootfs && ! systemctl start netrootfs")?;
        self.run("journalctl --no-pager --unit netrootfs | grep \"'install -d -o 65534 /var/cache/netrootfs' helps\"")?;
        self.run("systemctl stop netrootfs && systemctl reset-failed netrootfs && install -d -o nobody /var/cache/netrootfs && systemctl start netrootfs")?;
        self.run("ps -o user= -p $(systemctl show -P MainPID netrootfs) | grep -qx nobody")?;
        self.status("no ISOs; the directory can't be read")?;
        self.run("mkdir -p /mnt/late && mount -t tmpfs none /mnt/late")?;
        self.put(&self.container.root.join("root/isos"), &Disc::new(LABEL, 1))?;
        self.run("cp -r /root/isos /mnt/late/")?;
        self.status("1 ISO")?;
        self.run("cmp /srv/netboot/images/Systemd-Test.iso /root/isos/test.iso")?;
        self.container.wait_for("grep -qx active /run/changed")?;
        self.kept_within_bounds()?;
        self.run("systemctl stop netrootfs && ! findmnt /srv/netboot && ! systemctl is-failed netrootfs")?;
        self.run("umount /mnt/late && systemctl start netrootfs")?;
        self.status("no ISOs; the directory can't be read")?;

        // A daemon that can't be kept: nobody hangs.
        self.run("mv /usr/bin/netrootfs /usr/bin/netrootfs.sound && ln -s /bin/false /usr/bin/netrootfs")?;
        self.run("systemctl kill --signal=KILL --kill-who=main netrootfs")?;
        self.container.wait_for("systemctl is-failed netrootfs")?;
        let said = self.run("timeout 60 ls /srv/netboot 2>&1; echo $?")?;
        ensure!(!said.trim().ends_with("124"), "a client hangs: {said}");
        ensure!(said.contains("not connected"), "{said}");
        self.run("mv /usr/bin/netrootfs.sound /usr/bin/netrootfs && systemctl reset-failed netrootfs")?;
        self.run("systemctl start netrootfs && cat /srv/netboot/images/nbd.conf").map(drop)
    }
}
