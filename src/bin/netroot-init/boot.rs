//! The first process of the machine: mounts, tries, asks when it fails, clears up, and becomes the ISO's `/init`.
//!
//! Whatever happens, it never ends, because that is a kernel panic.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use netrootfs::boot::step::Step;
use netrootfs::image::args::Args;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::RebootCommand;

use crate::address::Held;
use crate::attach::attach;
use crate::card;
use crate::console::{self, Choice, complain, say};
use crate::herald::tell;
use crate::modules::read;
use crate::settings::{self, Settings};
use crate::spread::Spread;

const MOUNTS: [(&str, &str); 3] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];
/// How long to wait for a key before each further try, in seconds, and up to half as long again.
const PAUSES: [u64; 5] = [5, 10, 20, 30, 60];
const SHELLS: [&str; 4] = ["/bin/sh", "/usr/bin/sh", "/bin/bash", "/bin/busybox"];

/// Attaches the disk and becomes `/init`.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!("an error in this program: {panic}"));
        hand_over(&[]);
    }));
    let mounted: Vec<_> =
        MOUNTS.into_iter().filter(|(kind, place)| mount_new(kind, place)).map(|(_, place)| place).collect();
    say(&format!("version {}", env!("CARGO_PKG_VERSION")));
    if let Some(held) = attach_or_ask() {
        tell(&held, Step::Init);
    }
    hand_over(&mounted)
}

/// Mounts, unless it is mounted there already.
fn mount_new(kind: &str, place: &str) -> bool {
    let _ = fs::create_dir(place);
    match mount(kind, place, kind, MountFlags::NOSUID, None) {
        Ok(()) => true,
        Err(Errno::BUSY) => false,
        Err(error) => {
            complain(&format!("{place} can't be mounted: {error}"));
            false
        }
    }
}

/// The address by which the disk is attached, if it is.
fn attach_or_ask() -> Option<Held> {
    let args = Args::parse(&read("/proc/cmdline"));
    let mut pauses = (0..PAUSES.len() as u32).zip(PAUSES);
    loop {
        let or = if pauses.len() > 0 { Step::Failed } else { Step::GaveUp };
        match Settings::parse(&args).and_then(|settings| attach(&settings, or)) {
            Ok(held) => return Some(held),
            Err(error) => complain(&format!("the disk can't be attached: {error:#}")),
        }
        let Some((attempt, pause)) = pauses.next() else {
            complain("giving up; going on without the disk");
            return None;
        };
        let own = card::first().map_or(0, |card| half_of(pause, Spread::of(card.mac), attempt));
        if !ask(pause + own, settings::init(&args)) {
            return None;
        }
    }
}

/// The machine's own part of half a pause, in seconds.
fn half_of(pause: u64, spread: Spread, attempt: u32) -> u64 {
    spread.within(Duration::from_secs(pause / 2 + 1), attempt).as_secs()
}

/// Asks what to do; whether it is to try again.
fn ask(pause: u64, init: &str) -> bool {
    loop {
        let shell = shell();
        let mut offered = vec![Choice::Retry, Choice::GoOn, Choice::Reboot];
        offered.extend(shell.map(|_| Choice::Shell));
        let for_shell = if shell.is_some() { ", s for a shell" } else { "" };
        complain(&format!(
            "press r to try again, i to run {init} without the disk{for_shell}, b to boot anew; trying again in {pause} s"
        ));
        match (console::ask(&offered, Duration::from_secs(pause)), shell) {
            (Some(Choice::GoOn), _) => return false,
            (Some(Choice::Reboot), _) => reboot(),
            (Some(Choice::Shell), Some(shell)) => run_shell(shell),
            _ => return true,
        }
    }
}

fn shell() -> Option<&'static str> {
    SHELLS.into_iter().find(|shell| Path::new(shell).exists())
}

fn run_shell(shell: &str) {
    complain("'exit' ends the shell");
    let mut command = Command::new(shell);
    if shell.ends_with("busybox") {
        command.arg("sh");
    }
    if let Err(error) = command.arg("-i").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").status() {
        complain(&format!("{shell} doesn't start: {error}"));
    }
}

fn reboot() {
    if let Err(error) = rustix::system::reboot(RebootCommand::Restart) {
        complain(&format!("the machine can't be booted anew: {error}"));
    }
}

/// Becomes the ISO's `/init`, with the kernel's own arguments and environment.
fn hand_over(mounted: &[&str]) -> ! {
    let args = Args::parse(&read("/proc/cmdline"));
    let mut inits = vec![settings::init(&args)];
    inits.extend(
        ["/init", "/sbin/init", "/bin/init"].into_iter().filter(|init| *init != settings::init(&args)),
    );
    for place in mounted.iter().rev() {
        // What still has a file open there must not stop it.
        let _ = unmount(*place, UnmountFlags::DETACH);
    }
    for init in inits {
        let error = Command::new(init).args(std::env::args_os().skip(1)).exec();
        complain(&format!("{init} can't be run: {error}"));
    }
    loop {
        ask(3600, "/init");
        let error = Command::new("/init").args(std::env::args_os().skip(1)).exec();
        complain(&format!("/init can't be run: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netrootfs::image::mac::Mac;

    use super::*;

    #[test]
    fn machines_try_again_after_pauses_of_their_own() {
        for (attempt, pause) in (0..).zip(PAUSES) {
            let machines = (0..=255).map(|number| Spread::of(Mac([0x52, 0x54, 0, 0x12, 0, number])));
            let own: BTreeSet<_> = machines.map(|machine| half_of(pause, machine, attempt)).collect();
            assert_eq!(own, (0..=pause / 2).collect());
        }
    }
}
