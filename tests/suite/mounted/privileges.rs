//! The rights of the processes that serve, and of what they start.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use testkit::disc::Disc;

use crate::support::place::{Daemon, Place, said, status};

/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID and CAP_LEASE by their numbers (Linux,
/// include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 28;
/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN.
const BROKER: u64 = 1 << 1 | 1 << 2 | 1 << 19 | 1 << 21;

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{status}"));
    u64::from_str_radix(line.trim(), 16).unwrap()
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
    for path in ["kernel", "cache"] {
        let disc = Disc::new("One", 1);
        let place = Place::with("one.iso", &disc);
        let daemon = place.start(&["--data-path", path]);
        place.eventually("the verdict", || place.top().join("state/initrds.json").exists());
        let file = File::open(place.tree("images/One")).unwrap();
        assert_eq!(daemon.mapped(), usize::from(path == "kernel"));
        assert!(place.read("images/One") == disc.root);
        has_no_rights_but(&daemon, KEPT);
        drop(file);
        let beside = status(daemon.broker().expect("the process that mounts"));
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
    has_no_rights_but(&daemon, KEPT);
    daemon.stop();
}

/// The user that nothing belongs to.
const NOBODY: u32 = 65534;

#[test]
fn a_daemon_of_a_user_has_no_rights_and_serves_everything() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let user = place.elsewhere("user");
    let command = format!("id -u > {0}.new; mv {0}.new {0}", user.display());
    let daemon = place.start(&["--user", "nobody", "--data-path", "kernel", "--on-change", &command]);
    let is_nobody = || {
        has_no_rights_but(&daemon, 0);
        for status in daemon.tasks("status") {
            assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
            assert!(status.contains("\nGid:\t65534\t65534\t65534\t65534\n"), "{status}");
        }
    };
    is_nobody();
    let menu = || place.text("tftp/pxelinux.cfg/default");
    place.eventually("what is known", || menu().contains("netroot=nbd:192.0.2.1:One::ro"));
    place.eventually("the state", || place.top().join("state/initrds.json").exists());
    assert_eq!(fs::metadata(place.top().join("state/initrds.json")).unwrap().uid(), NOBODY);
    place.look_again("Next");
    place.eventually("the command", || user.exists());
    assert_eq!(fs::read_to_string(&user).unwrap(), "0\n");
    let device = fs::metadata(place.mnt()).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kib = fs::read_to_string(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb")).unwrap();
    assert!(kib.trim().parse::<u64>().unwrap() >= 4096, "{kib}");

    let open = File::open(place.tree("images/One.iso")).unwrap();
    daemon.stand_still();
    let mut bytes = vec![0; disc.iso.len()];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == disc.iso, "the kernel reads by itself");
    daemon.go_on();
    let server = daemon.server();
    daemon.kill_server();
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == disc.iso, "what was open is read on");
    // The kernel needs no daemon for that, but for this.
    assert!(menu().contains("One"));
    assert_ne!(daemon.server(), server);
    let output =
        Command::new(env!("CARGO_BIN_EXE_netrootfs")).arg("upgrade").arg(place.mnt()).output().unwrap();
    assert!(output.status.success(), "{}\n{}", said(&output), place.log());
    assert!(place.read("images/One.iso") == disc.iso);
    is_nobody();
    daemon.stop();
}

#[test]
fn an_iso_that_the_user_may_not_read_is_left_out() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let secret = place.put("secret.iso", &Disc::new("Secret", 2));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = place.start(&["--user", "nobody"]);
    place.eventually("the other one", || place.tree("images/One.iso").exists());
    assert!(!place.tree("images/Secret.iso").exists());
    assert!(place.log().contains("secret.iso"), "{}", place.log());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    place.eventually("it", || place.tree("images/Secret.iso").exists());
    daemon.stop();
}

#[test]
fn a_user_waits_for_an_iso_to_be_quiet_and_keeps_a_log_that_it_can_not_make_anew() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&["--user", "nobody"]);
    let mut writer = File::create(place.iso("new.iso")).unwrap();
    writer.write_all(&Disc::new("New", 2).iso).unwrap();
    place.eventually("the one that is quiet", || place.tree("images/New.iso").exists());
    drop(writer);
    let renamed = place.top().join("log.1");
    fs::rename(place.top().join("log"), &renamed).unwrap();
    for _ in 0..2 {
        let before = fs::read_to_string(&renamed).unwrap().matches("told to look again").count();
        daemon.signal(Signal::HUP);
        let lines = || fs::read_to_string(&renamed).unwrap().matches("told to look again").count();
        place.eventually("a line in the old one", || lines() > before);
    }
    assert!(!place.top().join("log").exists());
    daemon.stop();
}

#[test]
fn a_user_that_can_not_serve_is_refused_with_the_reason() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let refused = |options: &[&str], reason: &str| {
        let output = place.command(options).output().unwrap();
        assert!(!output.status.success() && said(&output).contains(reason), "{}", said(&output));
        assert_eq!(place.mounts(), 0);
    };
    refused(&["--user", "root"], "root is who it is without this option");
    refused(&["--user", "nobody-of-that-name"], "this host has no user of that name");
    fs::create_dir(place.top().join("state")).unwrap();
    refused(&["--user", "nobody"], "the user of --user can't write there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg(place.top().join("isos")).arg(place.mnt()).args(["--user", "nobody"]);
    let output = command.uid(NOBODY).output().unwrap();
    assert!(said(&output).contains("only root can become somebody else"), "{}", said(&output));
}
