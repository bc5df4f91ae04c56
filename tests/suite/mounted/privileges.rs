//! The rights of the processes that serve, and of what they start.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use testkit::disc::Disc;

use crate::support::place::{Daemon, Place};

/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID and CAP_LEASE by their numbers (Linux,
/// include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 28;
/// CAP_SYS_ADMIN.
const KERNEL: u64 = 1 << 21;
/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN.
const BROKER: u64 = 1 << 1 | 1 << 2 | 1 << 19 | 1 << 21;

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{status}"));
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// The process beside the one that serves.
fn broker(daemon: &Daemon<'_>) -> Option<Pid> {
    let pid = daemon.server()?.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let is_it = |pid: &str| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"netrootfs-broker\0"))
    };
    children.split_whitespace().find(|pid| is_it(pid)).and_then(|pid| Pid::from_raw(pid.parse().ok()?))
}

fn status(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default()
}

/// Each thread's rights are no others than these, for ever.
fn has_no_rights_but(daemon: &Daemon<'_>, kept: u64) {
    let threads = daemon.tasks("status");
    assert!(threads.len() > 16);
    for status in threads {
        for set in ["CapEff:", "CapPrm:"] {
            assert_eq!(field(&status, set) & !kept, 0, "{set} {status}");
        }
        assert_eq!((field(&status, "CapInh:"), field(&status, "NoNewPrivs:")), (0, 1), "{status}");
    }
}

#[test]
fn each_thread_has_the_rights_that_serving_takes_and_can_get_no_others() {
    for (path, kept) in [("auto", KEPT | KERNEL), ("cache", KEPT)] {
        let place = Place::with("one.iso", &Disc::new("One", 1));
        let daemon = place.start(&["--data-path", path]);
        place.eventually("the verdict", || place.top().join("state/initrds.json").exists());
        has_no_rights_but(&daemon, kept);
        let beside = status(broker(&daemon).expect("the process that mounts"));
        assert_eq!((field(&beside, "CapPrm:") & !BROKER, field(&beside, "NoNewPrivs:")), (0, 1), "{beside}");
        daemon.stop();
    }
}

#[test]
fn a_command_of_the_administrator_has_all_rights_and_the_daemon_has_not() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let status = place.elsewhere("status");
    let command = format!("cat /proc/self/status > {0}.new; mv {0}.new {0}", status.display());
    let daemon = place.start(&["--on-change", &command]);
    place.look_again("Next");
    place.eventually("the command", || status.exists());
    let (theirs, ours) =
        (fs::read_to_string(&status).unwrap(), fs::read_to_string("/proc/self/status").unwrap());
    assert_eq!(field(&theirs, "CapEff:"), field(&ours, "CapEff:"));
    assert_eq!(field(&theirs, "NoNewPrivs:"), 0);
    has_no_rights_but(&daemon, KEPT | KERNEL);
    daemon.stop();
}

#[test]
fn who_stops_all_processes_at_once_unmounts() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let mut daemon = place.start(&[]);
    for pid in [broker(&daemon), daemon.server()] {
        kill_process(pid.expect("a process"), Signal::TERM).unwrap();
    }
    assert!(daemon.wait().success(), "{}", place.log());
    assert_eq!(place.mounts(), 0);
}

#[test]
fn a_daemon_without_the_process_that_mounts_gives_way_to_another() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let (server, first) = (daemon.server(), broker(&daemon).expect("the process that mounts"));
    kill_process(first, Signal::KILL).unwrap();
    place.eventually("another daemon", || daemon.server().is_some_and(|pid| Some(pid) != server));
    assert!(place.read("images/One.iso") == disc.iso);
    assert!(
        place.log().contains("the process for mounting has ended (signal: 9 (SIGKILL))"),
        "{}",
        place.log()
    );
    assert_ne!(broker(&daemon), Some(first));
    daemon.stop();
}

#[test]
fn the_process_that_mounts_ends_with_its_daemon() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let first = broker(&daemon).expect("the process that mounts");
    daemon.kill_server();
    // Its parent is dead, so that it is waited for at once.
    place.eventually("its end", || status(first).is_empty() || status(first).contains("State:\tZ"));
    place.eventually("another one", || broker(&daemon).is_some_and(|pid| pid != first));
    daemon.stop();
}
