//! Titles and kernel arguments that mean something to a loader, by the loaders themselves: pxelinux, SYSLINUX for UEFI, GRUB
//! and iPXE in QEMU, and a kernel whose init prints its command line.
//!
//! Needs QEMU, OVMF, xorriso, cpio, a C compiler with a static library, this host's loaders, and one of the ISOs of
//! `scripts/live-iso` for its kernel: run it by `scripts/boot-test`, which sees to all of it. What is missing is an error,
//! never a pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::qemu::tell_monitor;
use anyhow::{Context, Result, bail, ensure};
use testkit::process::{Process, run, wait_for};
use testkit::work::Work;

/// Where the kernel comes from.
const ISO: &str = "debian.iso";
/// Firmware, loader and kernel under TCG on a busy host.
const PATIENCE: Duration = Duration::from_secs(180);

/// What of a screen is read: title of a row, and how each loader shows it.
struct Title {
    label: &'static str,
    written: &'static str,
    pxelinux: &'static str,
    others: &'static str,
}

const fn title(
    label: &'static str,
    written: &'static str,
    pxelinux: &'static str,
    others: &'static str,
) -> Title {
    Title { label, written, pxelinux, others }
}

const TITLES: [Title; 8] = [
    title(
        "T1",
        "Live && echo GONE && prompt || x",
        "T1: Live && echo GONE && prompt || x",
        "T1: Live && echo GONE && prompt || x",
    ),
    title("T2", "Fedora #1 # 2 ; reboot", "T2: Fedora #1 # 2 ; reboot", "T2: Fedora #1 # 2 ; reboot"),
    title(
        "T3",
        "Rescue & repair && ${mac} $mac",
        "T3: Rescue & repair && ${mac} $mac",
        "T3: Rescue & repair && ${mac} $mac",
    ),
    title(
        "T4",
        "it's \"quoted\" {x} <y> \\",
        "T4: it's \"quoted\" {x} <y> \\",
        "T4: it's \"quoted\" {x} <y> \\",
    ),
    title("T5", "Käse – Überraschung", "T5: Kase - Uberraschung", "T5: Kase - Uberraschung"),
    title("T6", "100% %s %n *", "T6: 100% %s %n *", "T6: 100% %s %n *"),
    title(
        "ALL-1.0",
        "All that can be said",
        "ALL-1.0: All that can be said",
        "ALL-1.0: All that can be said",
    ),
    title("ODD-1.0", "And what GRUB can't", "ODD-1.0: And what GRUB can't", ""),
];

/// Arguments that each loader can write.
const ALL: &str = "a=b&&c && || ; #x $y ${z e=$(f) {b} <c> (d) *?[g] %n k=v,w @h ~ ! i=\u{e9}";
/// And those that GRUB would change.
const ODD: &str = "j=a\\x20b l='m' n=\"o p\"";

/// From firmware to kernel.
struct Way {
    loader: &'static str,
    uefi: bool,
    file: &'static str,
    default: &'static str,
}

const WAYS: [Way; 4] = [
    Way { loader: "pxelinux", uefi: false, file: "pxelinux.0", default: "ODD-1.0" },
    Way { loader: "iPXE", uefi: false, file: "boot.ipxe", default: "ODD-1.0" },
    Way { loader: "SYSLINUX", uefi: true, file: "efi64/syslinux.efi", default: "ODD-1.0" },
    Way { loader: "GRUB", uefi: true, file: "bootx64.efi", default: "ALL-1.0" },
];

#[test]
fn titles_and_arguments_come_through_as_they_were_written() -> Result<()> {
    let work = Work::new("loaders")?;
    let isos = isos(&work)?;
    for way in &WAYS {
        let work = Work::new(&format!("loaders-{}", way.loader))?;
        boot(way, &isos, &work)
            .with_context(|| format!("by {}", way.loader))
            .inspect_err(|_| work.print_logs())?;
    }
    Ok(())
}

#[test]
fn a_second_kernel_is_chosen_by_hand() -> Result<()> {
    let work = Work::new("second")?;
    let isos = isos(&work)?;
    for way in WAYS.iter().filter(|way| ["pxelinux", "GRUB"].contains(&way.loader)) {
        let work = Work::new(&format!("second-{}", way.loader))?;
        let way = Way { default: "ALL-1.0", ..*way };
        choose(&way, &isos, &work)
            .with_context(|| format!("by {}", way.loader))
            .inspect_err(|_| work.print_logs())?;
    }
    Ok(())
}

/// The row on which a menu that waits begins, and behind it the second entry of that ISO.
fn choose(way: &Way, isos: &Path, work: &Work) -> Result<()> {
    let mount = Mount::start(isos, way, "0", work)?;
    let mut machine = Machine::start(way, &mount.path.join("tftp"), work)?;
    machine.shows("Boot from the local disk")?;
    machine.press("ret")?;
    machine.shows("Another way")?;
    machine.press("down")?;
    machine.press("ret")?;
    let line = machine.command_line("SECOND")?;
    ensure!(line.split(' ').any(|word| word == "another=way"), "{line}");
    println!("{}: {line}", way.loader);
    Ok(())
}

fn boot(way: &Way, isos: &Path, work: &Work) -> Result<()> {
    let mount = Mount::start(isos, way, "2", work)?;
    let mut machine = Machine::start(way, &mount.path.join("tftp"), work)?;
    let line = machine.command_line("LINE")?;
    let screen = machine.screen();
    // The screen goes on with what the kernel says.
    for Title { label, written, pxelinux, others } in &TITLES {
        let syslinux = way.file.contains("linux");
        let shown = match way.loader {
            "iPXE" if others.is_empty() => (*pxelinux).to_owned(),
            "iPXE" => others.replace("${mac}", "$ {mac}"),
            _ if syslinux => (*pxelinux).to_owned(),
            _ => (*others).to_owned(),
        };
        ensure!(screen.contains(&shown), "{label}: no '{shown}' in the menu");
        ensure!(!shown.is_empty() || !screen.contains(written), "{label}: '{written}' is in the menu");
    }
    ensure!(!screen.contains("netrootfs-nothing"), "something of the language is shown");
    let mut want = format!("{ALL} {}", if way.loader == "GRUB" { "" } else { ODD });
    want = want.trim_end().to_owned();
    ensure!(line.contains(&format!(" {want} ")) || line.ends_with(&format!(" {want}")), "{want}\n{line}");
    ensure!(line.contains(" BOOTIF=01-52-54-00-12-34-56"), "{line}");
    ensure!(!line.contains("/gone"), "the loader's own word is in the line: {line}");
    println!("{}: {line}", way.loader);
    Ok(())
}

/// A directory of ISOs, one a title.
fn isos(work: &Work) -> Result<PathBuf> {
    let from = crate::support::isos::isos()?;
    let (disc, isos) = (work.scratch("disc"), work.scratch("isos"));
    for directory in [&disc.join("images/pxeboot"), &disc.join("LiveOS"), &disc.join("isolinux"), &isos] {
        fs::create_dir_all(directory)?;
    }
    let kernel = disc.join("images/pxeboot/vmlinuz");
    let mut extract = Command::new("xorriso");
    extract.args(["-osirrox", "on", "-indev"]).arg(from.join(ISO));
    run(extract.args(["-extract", "/live/vmlinuz"]).arg(&kernel))?;
    fs::copy(&kernel, disc.join("images/pxeboot/vmlinuz2"))?;
    initrd(&work.scratch("initrd"), "LINE", &disc.join("images/pxeboot/initrd.img"))?;
    initrd(&work.scratch("initrd2"), "SECOND", &disc.join("images/pxeboot/initrd2.img"))?;
    fs::write(disc.join("LiveOS/squashfs.img"), format!("hsqs{:04092}", 0))?;
    for Title { label, written, .. } in &TITLES {
        let odd = if *label == "ODD-1.0" { ODD } else { "" };
        // What boots by itself lies behind a row: it has a second entry.
        let more = if label.ends_with(".0") {
            "label more\n  menu label Another way\n  kernel /images/pxeboot/vmlinuz2\n  \
             append initrd=/images/pxeboot/initrd2.img console=ttyS0 quiet another=way\n"
        } else {
            ""
        };
        let menu = format!(
            "default live\nlabel live\n  menu label {written}\n  kernel /images/pxeboot/vmlinuz\n  \
             append initrd=/images/pxeboot/initrd.img console=ttyS0 quiet {ALL} {odd}\n{more}"
        );
        fs::write(disc.join("isolinux/isolinux.cfg"), menu)?;
        let mut make = Command::new("xorriso");
        make.args(["-as", "mkisofs", "-quiet", "-R", "-V", label, "-o"])
            .arg(isos.join(format!("{label}.iso")));
        run(make.arg(&disc))?;
    }
    Ok(isos)
}

/// An initramfs whose init prints the kernel's arguments behind that word, with the names by which one is known that attaches NBD by itself.
fn initrd(tree: &Path, word: &str, to: &Path) -> Result<()> {
    const INIT: &str = r#"
        #include <fcntl.h>
        #include <sys/mount.h>
        #include <sys/reboot.h>
        #include <sys/stat.h>
        #include <unistd.h>
        int main(void) {
            static char line[8192];
            mkdir("/proc", 0755);
            mount("proc", "/proc", "proc", 0, 0);
            int from = open("/proc/cmdline", O_RDONLY), to = open("/dev/console", O_WRONLY);
            long len = read(from, line, sizeof line);
            write(to, "\n" WORD "-BEGINS ", sizeof WORD + 9);
            write(to, line, len);
            write(to, " " WORD "-ENDS\n", sizeof WORD + 6);
            sync();
            for (;;) pause();
        }
    "#;
    const NAMES: [&str; 9] = [
        "lib/dracut/dracut-059",
        "usr/lib/dracut-lib.sh",
        "usr/lib/dracut/hooks/cmdline/90-parse-nbdroot.sh",
        "usr/sbin/nbdroot",
        "usr/sbin/nbd-client",
        "usr/libexec/nm-initrd-generator",
        "sbin/dmsquash-live-root",
        "sbin/livenetroot",
        "usr/lib/modules/6.1.0/kernel/drivers/block/nbd.ko",
    ];
    for name in NAMES {
        let file = tree.join(name);
        fs::create_dir_all(file.parent().context("a directory")?)?;
        fs::write(file, "")?;
    }
    fs::create_dir_all(tree.join("dev"))?;
    fs::write(tree.join("init.c"), INIT)?;
    let word = format!("-DWORD=\"{word}\"");
    run(Command::new("cc").args(["-static", "-Os", &word, "-o", "init", "init.c"]).current_dir(tree))?;
    // The kernel opens the console before it runs init.
    let pack = "set -o pipefail; rm init.c; mknod dev/console c 5 1; \
                find . | cpio --quiet -o -H newc -R 0:0 | gzip >\"$1\"";
    run(Command::new("bash").args(["-c", pack, "bash"]).arg(to).current_dir(tree))
}

/// netrootfs, mounted.
struct Mount {
    path: PathBuf,
    process: Process,
}

impl Mount {
    fn start(isos: &Path, way: &Way, timeout: &str, work: &Work) -> Result<Self> {
        let path = work.scratch("mnt");
        fs::create_dir_all(&path)?;
        let process = Process::spawn(
            Command::new(testkit::built::program("netrootfs"))
                .args([
                    "--foreground",
                    "--server",
                    "10.0.2.2",
                    "--timeout",
                    timeout,
                    "--default",
                    way.default,
                ])
                .args(["--append", "initrd=/gone"])
                .arg("--state-dir")
                .arg(work.scratch("state"))
                .arg(isos)
                .arg(&path),
            work,
        )?;
        let mut mount = Self { path, process };
        // All ISOs have their entries once their initrds have been looked into.
        wait_for("the menu", Duration::from_secs(120), || {
            mount.process.ensure_runs()?;
            let menu = fs::read_to_string(mount.path.join("tftp/pxelinux.cfg/default")).unwrap_or_default();
            let ready = |title: &Title| menu.contains(&format!("\nlabel {}\n", title.label));
            Ok(TITLES.iter().all(ready) && menu.contains(&format!("\ndefault {}\n", way.default)))
        })?;
        Ok(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.process.terminate(Duration::from_secs(10));
        let _ = Command::new("fusermount3").args(["-uqz"]).arg(&self.path).status();
    }
}

/// A machine that is switched on.
struct Machine {
    process: Process,
    serial: PathBuf,
    monitor: PathBuf,
}

impl Machine {
    /// Its screen is its serial line: SeaBIOS and OVMF write it there.
    fn start(way: &Way, tftp: &Path, work: &Work) -> Result<Self> {
        let (serial, monitor) = (work.log("serial"), work.scratch("monitor"));
        let net = format!("user,id=net,tftp={},bootfile={}", tftp.display(), way.file);
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-cpu", "max,-erms", "-m", "768", "-display", "none", "-no-reboot"])
            .args(["-monitor", &format!("unix:{},server=on,wait=off", monitor.display())])
            .args(["-netdev", &net, "-serial", &format!("file:{}", serial.display())]);
        let card = "virtio-net-pci,netdev=net,bootindex=1,mac=52:54:00:12:34:56";
        if way.uefi {
            let variables = work.scratch("variables.fd");
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables)
                .context("OVMF: is package ovmf installed?")?;
            let flash = |unit: u8, rest: String| format!("if=pflash,unit={unit},format=raw,{rest}");
            command.args(["-machine", "q35,accel=tcg", "-device", &format!("{card},romfile=")]);
            let code = flash(0, "readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd".into());
            command.args(["-drive", &code, "-drive", &flash(1, format!("file={}", variables.display()))]);
        } else {
            command.args(["-machine", "q35,accel=tcg,graphics=off", "-device", card]);
        }
        Ok(Self { process: Process::spawn(&mut command, work)?, serial, monitor })
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    /// Waits for a text on its screen.
    fn shows(&mut self, text: &str) -> Result<()> {
        wait_for(text, PATIENCE, || {
            self.process.ensure_runs()?;
            Ok(self.screen().contains(text))
        })
    }

    /// Presses a key of its keyboard.
    fn press(&self, key: &str) -> Result<()> {
        tell_monitor(&self.monitor, &format!("sendkey {key}"))
    }

    /// What its kernel was given, behind that word.
    fn command_line(&mut self, word: &str) -> Result<String> {
        let (begins, ends) = (format!("{word}-BEGINS "), format!(" {word}-ENDS"));
        let mut line = None;
        wait_for("the kernel's command line", PATIENCE, || {
            let said = self.said();
            let rest = said.split_once(&begins).map(|(_, rest)| rest);
            line = rest.and_then(|rest| rest.split_once(&ends)).map(|(line, _)| line.trim().to_owned());
            if line.is_none() && self.process.ended()?.is_some() {
                bail!("QEMU has ended");
            }
            Ok(line.is_some())
        })?;
        Ok(format!(" {}", line.context("a line")?))
    }

    /// What was on its screen up to then, without the codes of the terminal.
    fn screen(&self) -> String {
        let said = self.said();
        let menu = said.split("LINE-BEGINS").next().unwrap_or_default();
        let mut text = String::new();
        let mut symbols = menu.chars();
        while let Some(symbol) = symbols.next() {
            match symbol {
                '\u{1b}' => drop(symbols.by_ref().find(char::is_ascii_alphabetic)),
                symbol => text.push(symbol),
            }
        }
        text
    }
}
