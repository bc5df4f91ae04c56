//! A boot of its own: a machine in QEMU boots from a mount, and the mount's status tells how far it came.
//!
//! QEMU's own network gives it an address and the files of the tree, so that no DHCP and no TFTP server takes part; its root
//! comes from the NBD or HTTP server that the menu names. A real machine that boots at the same time looks the same.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Finding, State};
use crate::boot::names::{self, Part};
use crate::tree::render::status::Status;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// How often the status is looked at.
const EACH: Duration = Duration::from_millis(500);

/// A stage of a boot, told by a file that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray)]
enum Stage {
    Loader,
    Menu,
    Kernel,
    Initrd,
    Root,
}

impl Stage {
    /// Whether it is this stage that opens this file of the tree.
    fn opens(self, path: &str) -> bool {
        match self {
            Self::Loader => path == format!("{}/{}", names::TFTP, names::PXELINUX),
            Self::Menu => Part::of(path) == Part::Menu("pxelinux"),
            Self::Kernel => Part::of(path) == Part::Kernel,
            Self::Initrd => Part::of(path) == Part::Initrd,
            Self::Root => Part::of(path) == Part::Root || path.starts_with(names::TREES),
        }
    }

    /// How often its files have been opened.
    fn count(self, status: &Status) -> u64 {
        let files = status.files.iter().filter(|file| self.opens(&file.path));
        files.map(|file| file.opens_kernel + file.opens_cache).sum()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Loader => "the loader",
            Self::Menu => "its menu",
            Self::Kernel => "a kernel",
            Self::Initrd => "an initrd",
            Self::Root => "an image of its root",
        }
    }

    /// What to do if it is this stage that doesn't come.
    fn advice(self) -> &'static str {
        match self {
            Self::Loader => "does this host's QEMU boot at all?",
            Self::Menu => "are pxelinux and its modules of one version?",
            Self::Kernel => "has the ISO gone away?",
            Self::Initrd => "is the kernel one for x86-64?",
            Self::Root => "does an NBD server serve MOUNTPOINT/images/nbd.conf, at the address in the menus?",
        }
    }
}

/// Boots a machine from a mount. It may take so long from one stage to the next.
///
/// # Errors
/// If that is no mount of netrootfs, or QEMU can't be had.
pub fn findings(mountpoint: &Path, patience: Duration) -> Result<Vec<Finding>> {
    let before = status(mountpoint)?;
    let loader = mountpoint.join("tftp").join(names::PXELINUX);
    ensure!(loader.exists(), "{}: it isn't there: install pxelinux", loader.display());
    let mut machine = match Machine::start(mountpoint) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let sentence = format!("boot: there is no {QEMU} to try one with: install qemu-system-x86");
            return Ok(vec![Finding::new(State::Note, sentence)]);
        }
        machine => machine.context(QEMU)?,
    };
    let mut course = Course::new(before, boots_something(mountpoint)?);
    let (began, mut last) = (Instant::now(), Instant::now());
    while last.elapsed() < patience && !course.is_over() {
        sleep(EACH);
        if let Some(said) = machine.ended()? {
            let sentence = format!("boot: {QEMU} has ended by itself: {said}");
            return Ok(vec![Finding::new(State::Bad, sentence)]);
        }
        if course.goes_on(&status(mountpoint)?, began.elapsed()) {
            last = Instant::now();
        }
    }
    drop(machine);
    Ok(course.findings(patience))
}

fn status(mountpoint: &Path) -> Result<Status> {
    let path = mountpoint.join(names::STATUS);
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("{}: no netrootfs is mounted there", mountpoint.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Whether pxelinux's menu boots an ISO by itself.
fn boots_something(mountpoint: &Path) -> Result<bool> {
    let path = mountpoint.join("tftp/pxelinux.cfg/default");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(boots_by_itself(&text))
}

fn boots_by_itself(menu: &str) -> bool {
    let value = |word: &str| menu.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    value("default").is_some_and(|label| !label.starts_with('.')) && value("timeout") != Some("0")
}

/// How a boot went.
struct Course {
    before: Status,
    boots_something: bool,
    /// The stages that have come, and when.
    came: Vec<(Stage, Duration)>,
}

impl Course {
    fn new(before: Status, boots_something: bool) -> Self {
        Self { before, boots_something, came: Vec::new() }
    }

    fn next(&self) -> Option<Stage> {
        <Stage as strum::VariantArray>::VARIANTS.get(self.came.len()).copied()
    }

    /// Whether nothing more is to come.
    fn is_over(&self) -> bool {
        self.next().is_none_or(|next| next == Stage::Kernel && !self.boots_something)
    }

    /// Whether a stage has come by now.
    fn goes_on(&mut self, now: &Status, after: Duration) -> bool {
        let already = self.came.len();
        while let Some(next) = self.next()
            && next.count(now) > next.count(&self.before)
        {
            self.came.push((next, after));
        }
        self.came.len() > already
    }

    fn findings(&self, patience: Duration) -> Vec<Finding> {
        let mut came = String::new();
        for (stage, after) in &self.came {
            let comma = if came.is_empty() { "" } else { ", " };
            let _ = write!(came, "{comma}{} after {} s", stage.name(), after.as_secs());
        }
        let mut found = Vec::new();
        if !came.is_empty() {
            found.push(Finding::new(State::Good, format!("boot: a machine in QEMU opened {came}")));
        }
        found.extend(self.next().map(|next| match next {
            Stage::Kernel if !self.boots_something => Finding::new(
                State::Note,
                "boot: the menu boots no ISO by itself, so no more was tried: --default LABEL has it do so",
            ),
            next => {
                let sentence = format!(
                    "boot: then {} was not opened for {} s: {}",
                    next.name(),
                    patience.as_secs(),
                    next.advice()
                );
                Finding::new(State::Bad, sentence)
            }
        }));
        found
    }
}

/// A machine that is switched on; off when the value goes.
struct Machine(Child);

impl Machine {
    fn start(mountpoint: &Path) -> io::Result<Self> {
        // A comma would begin QEMU's next word (qemu(1), -netdev).
        let tftp = mountpoint.join("tftp").display().to_string().replace(',', ",,");
        let net = format!("user,id=net,tftp={tftp},bootfile=/{}", names::PXELINUX);
        let mut command = Command::new(QEMU);
        // A host may have a KVM that doesn't work, in a virtual machine for one; there is no hurry.
        command.args(["-machine", "q35,accel=tcg", "-cpu", "max", "-m", "2048", "-display", "none"]);
        command.args(["-monitor", "none", "-serial", "none", "-no-reboot", "-netdev", &net]);
        command.args(["-device", "virtio-net-pci,netdev=net,bootindex=1"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map(Self)
    }

    /// What it has said, if it has ended.
    fn ended(&mut self) -> io::Result<Option<String>> {
        if self.0.try_wait()?.is_none() {
            return Ok(None);
        }
        let mut said = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            stderr.read_to_string(&mut said)?;
        }
        Ok(Some(said.trim().to_owned()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::render::status::File;

    fn opened(paths: &[&str]) -> Status {
        let file = |path: &&str| File { path: (*path).into(), opens_cache: 1, ..File::default() };
        Status { files: paths.iter().map(file).collect(), ..Status::default() }
    }

    const WAY: [&str; 5] = [
        "tftp/pxelinux.0",
        "tftp/pxelinux.cfg/default",
        "tftp/vmlinuz_A",
        "tftp/netroot_A.img",
        "images/A.iso",
    ];

    #[test]
    fn each_stage_is_told_by_the_file_that_it_opens() {
        let mut course = Course::new(opened(&["images/nbd.conf"]), true);
        for stages in 0..=WAY.len() {
            let more = course.goes_on(&opened(&WAY[..stages]), Duration::from_secs(stages as u64));
            assert_eq!((more, course.came.len()), (stages > 0, stages));
        }
        assert!(course.is_over());
        let [found] = course.findings(Duration::ZERO).try_into().unwrap();
        assert_eq!(
            found,
            Finding::new(
                State::Good,
                "boot: a machine in QEMU opened the loader after 1 s, its menu after 2 s, a kernel after 3 s, an initrd \
                 after 4 s, an image of its root after 5 s"
            )
        );
    }

    #[test]
    fn what_other_machines_have_opened_before_does_not_count() {
        let mut course = Course::new(opened(&WAY), true);
        assert!(!course.goes_on(&opened(&WAY), Duration::ZERO));
        let found = course.findings(Duration::from_secs(7));
        assert_eq!(found[0].state, State::Bad);
        assert!(found[0].sentence.starts_with("boot: then the loader was not opened for 7 s: "), "{found:?}");
    }

    #[test]
    fn where_nothing_boots_by_itself_it_is_over_at_the_menu() {
        let mut course = Course::new(opened(&[]), false);
        assert!(course.goes_on(&opened(&WAY[..2]), Duration::ZERO));
        assert!(course.is_over());
        assert_eq!(course.findings(Duration::ZERO)[1].state, State::Note);
        assert!(!boots_by_itself("default .local\ntimeout 100\n"));
        assert!(!boots_by_itself("default A\ntimeout 0\n"));
        assert!(boots_by_itself("ui menu.c32\ndefault A\ntimeout 100\n"));
    }
}
