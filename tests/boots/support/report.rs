//! The report of a live system on itself (`tests/live/root/usr/local/sbin/netrootfs-marker`), read from the serial log.

use anyhow::{Context, Result, bail};

const MARKER: &str = "NETROOTFS-BOOT-OK ";

/// Lines after which nothing comes any more: loader, kernel, dracut, the live system's own payload check.
const FATAL: [&str; 12] = [
    "No bootable device",
    "UEFI Interactive Shell",
    "Could not find kernel image",
    "Kernel panic",
    "giving up; going on without the disk",
    "System halted",
    "Boot has failed",
    "Refusing to continue",
    "Entering emergency mode",
    "initramfs emergency recovery shell",
    "dracut: FATAL",
    "NETROOTFS-BOOT-BAD",
];

/// The report of a live system that came up with its payload intact.
#[derive(Debug)]
pub struct Report {
    /// The label that was built into the root.
    pub label: String,
    /// `/proc/cmdline`.
    pub cmdline: String,
    /// Seconds from the kernel's start to the report.
    pub uptime: String,
    /// The kernel's version.
    pub kernel: String,
    /// Bytes of memory in use, without what can be thrown away.
    pub used: u64,
    /// The network manager, and what it says of the interface.
    pub manager: String,
    /// Interfaces and their addresses.
    pub addresses: Vec<String>,
    /// Processes that systemd spares: their names begin with `@`.
    pub spared: Vec<String>,
    /// Lines of netroot-init in the kernel's log, after the seconds since the kernel's start.
    pub netroot: Vec<String>,
    /// Size of `/dev/nbd0`; 0 if it isn't connected.
    pub nbd_bytes: u64,
    /// Lines of `/proc/mounts`: what the root is made of.
    pub mounts: Vec<String>,
    /// Loop devices: size in bytes and file.
    pub loops: Vec<String>,
    /// Packages that an installer, or Alpine, has.
    pub components: Vec<String>,
    /// `bios` or `efi`.
    pub firmware: String,
    /// Lines of the kernel on Secure Boot.
    pub says: Vec<String>,
}

impl Report {
    /// Seconds from netroot-init's first sentence to its last before the ISO's own initramfs began.
    pub fn netroot_took(&self) -> Option<f64> {
        let time = |line: &String| line.split(' ').next()?.parse::<f64>().ok();
        let times = self.netroot.iter().filter_map(time);
        Some(times.clone().reduce(f64::max)? - times.reduce(f64::min)?)
    }

    /// The report, if it is complete; an error if the log says that there will be none.
    pub fn read(serial: &str) -> Result<Option<Self>> {
        let complete = serial.rfind('\n').map_or("", |end| &serial[..end]);
        let lines = || complete.lines().map(printed);
        if let Some(line) = lines().find(|line| FATAL.iter().any(|fatal| line.contains(fatal))) {
            bail!("the machine says: {line}");
        }
        let Some(label) = lines().find_map(|line| line.strip_prefix(MARKER)) else {
            return Ok(None);
        };
        let all = |key: &str| {
            let start = format!("guest: {key} ");
            let values = lines().filter_map(move |line| Some(line.strip_prefix(&start)?.to_owned()));
            values.collect::<Vec<_>>()
        };
        let one = |key: &str| all(key).pop().with_context(|| format!("no {key} in the report"));
        Ok(Some(Self {
            label: label.to_owned(),
            cmdline: one("cmdline")?,
            uptime: one("uptime")?,
            kernel: one("kernel")?,
            used: one("used")?.parse()?,
            manager: one("manager")?,
            addresses: all("address"),
            spared: all("process"),
            netroot: all("netroot"),
            nbd_bytes: all("nbd0").pop().map_or(Ok(0), |bytes| bytes.parse())?,
            mounts: all("mount"),
            loops: all("loop"),
            components: all("component"),
            firmware: one("firmware")?,
            says: all("says"),
        }))
    }
}

/// A line without what it begins with for the terminal: systemd erases the line that tells what it waits for (`ESC [ K`), and
/// another program's may come right behind that.
fn printed(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some((_, behind)) =
        rest.strip_prefix("\x1b[").and_then(|rest| rest.split_once(|end: char| ('@'..='~').contains(&end)))
    {
        rest = behind.trim();
    }
    rest
}

#[test]
fn a_line_behind_one_that_is_erased_is_read() -> Result<()> {
    let log = "[ *** ] Job a/start running\r\r\x1b[Kguest: cmdline quiet\r\n\r\x1b[Kguest: cmdline console\r\n\x1b[0m\x1b[Kguest: uptime 1\r\n\
        guest: kernel 6.1\r\nguest: used 1\r\nguest: manager none -\r\nguest: firmware bios\r\n\x1b[KNETROOTFS-BOOT-OK L\r\n";
    let report = Report::read(log)?.context("a report")?;
    assert_eq!((report.cmdline.as_str(), report.uptime.as_str()), ("console", "1"));
    Ok(())
}

#[test]
fn report_is_read_only_when_it_is_whole() -> Result<()> {
    let log = "junk\r\nguest: cmdline BOOT_IMAGE=k netroot=nbd:10.0.2.2:L.iso::ro\r\nguest: uptime 40.1\r\n\
        guest: kernel 6.1\r\nguest: used 2048\r\nguest: manager none -\r\nguest: nbd0 4096\r\nguest: firmware bios\r\nguest: mount /dev/nbd0 /run x\r\nNETROOTFS-BOOT-OK L";
    assert!(Report::read(log)?.is_none(), "the last line may go on");
    let report = Report::read(&format!("{log}\r\n"))?.context("a report")?;
    assert_eq!((report.label.as_str(), report.nbd_bytes), ("L", 4096));
    assert_eq!(report.mounts, ["/dev/nbd0 /run x"]);
    Ok(())
}

#[test]
fn fatal_line_ends_the_wait() {
    let error = Report::read("[ 1.0] Kernel panic - not syncing\r\n").map(|_| ());
    assert!(error.is_err_and(|error| error.to_string().contains("Kernel panic")));
}
