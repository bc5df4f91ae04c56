//! The rights of the process that serves, and of what it starts.

use std::fs;

use testkit::disc::Disc;

use crate::support::place::Place;

/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_LEASE by their
/// numbers (Linux, include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19 | 1 << 21 | 1 << 28;

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{status}"));
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
fn each_thread_has_the_rights_that_serving_takes_and_can_get_no_others() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    place.eventually("the verdict", || place.top().join("state/initrds.json").exists());
    let threads = daemon.tasks("status");
    assert!(threads.len() > 16);
    for status in threads {
        for set in ["CapEff:", "CapPrm:"] {
            assert_eq!(field(&status, set) & !KEPT, 0, "{set} {status}");
        }
        assert_eq!((field(&status, "CapInh:"), field(&status, "NoNewPrivs:")), (0, 1), "{status}");
    }
    daemon.stop();
}

#[test]
fn a_command_of_the_administrator_has_all_rights() {
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
    assert!(daemon.tasks("status").iter().all(|status| field(status, "CapEff:") & !KEPT == 0));
    daemon.stop();
}
