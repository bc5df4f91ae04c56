//! How it starts, goes to the background, or says why not.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal};
use testkit::disc::Disc;

use crate::support::place::{Place, said};

#[test]
fn a_file_can_be_read_when_the_command_returns() {
    let disc = Disc::new("First", 1);
    let place = Place::with("first.iso", &disc);
    let _daemon = place.start(&[]);
    assert!(place.read("images/First.iso") == disc.iso);
}

#[test]
fn the_log_begins_with_version_data_path_and_the_address_in_the_menus() {
    let place = Place::new();
    for (path, words) in [("kernel", "by the kernel"), ("cache", "through the block cache")] {
        let daemon = place.start(&["--data-path", path]);
        let line = format!(
            "netrootfs {}; ISOs are read {words}; the address in the menus is 192.0.2.1",
            env!("CARGO_PKG_VERSION")
        );
        assert!(place.log().contains(&line), "{}", place.log());
        daemon.stop();
    }
}

#[test]
fn it_stays_in_the_background_in_a_session_of_its_own() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let pid = daemon.pid.as_raw_nonzero().get();
    assert_eq!(session(pid), Some(pid));
    daemon.stop();
}

#[test]
fn it_lets_go_of_terminal_and_working_directory() {
    let place = Place::new();
    let daemon = place.start(&[]);
    for fd in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(daemon.proc(fd)).unwrap(), Path::new("/dev/null"), "{fd}");
    }
    assert_eq!(fs::read_link(daemon.proc("cwd")).unwrap(), Path::new("/"));
}

#[test]
fn paths_may_be_relative_in_the_background_too() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.args(["isos", "./mnt/", "--state-dir", "state", "--log-file"]).arg(place.top().join("log"));
    command.current_dir(place.top());
    let daemon = place.start_by(&mut command);
    let images = place.mnt().join("images");
    assert!(place.text("images/nbd.conf").contains(&format!("exportname = {}/First.iso", images.display())));
    place.eventually("the state file", || place.top().join("state/initrds.json").exists());
    assert!(place.log().contains("First"));
    daemon.stop();
}

#[test]
fn with_f_it_stays_in_front() {
    let place = Place::with("first.iso", &Disc::new("First", 1));
    let mut child = place.command(&["-f"]).stderr(Stdio::null()).spawn().unwrap();
    place.eventually("the tree", || place.tree("images/First.iso").exists());
    let pid = Pid::from_child(&child);
    let (alive, its) = (child.try_wait().unwrap().is_none(), session(pid.as_raw_nonzero().get()));
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(alive, "it has ended by itself");
    assert_eq!(its, session(rustix::process::getpid().as_raw_nonzero().get()));
    assert!(its.is_some());
    assert_eq!((status.code(), place.mounts()), (Some(0), 0));
}

#[test]
fn in_front_it_logs_to_standard_error() {
    let place = Place::with("broken.iso", &Disc::new("x", 1));
    fs::write(place.iso("broken.iso"), [b'x'; 100_000]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.args(["-f", "isos", "mnt", "--state-dir", "state"]).current_dir(place.top());
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    place.eventually("the tree", || place.tree("images/nbd.conf").exists());
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let text = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    child.wait().unwrap();
    assert!(text.contains("broken.iso is not served: it is not an ISO 9660 image"), "{text}");
}

/// Runs it with these directories, and expects it to fail with this sentence.
fn refused(place: &Place, isos: &Path, mnt: &Path, sentence: &str) {
    refused_with(&[], place, isos, mnt, sentence);
}

fn refused_with(options: &[&str], place: &Place, isos: &Path, mnt: &Path, sentence: &str) {
    for mode in [&["-f"][..], &[]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        command.arg(isos).arg(mnt).args(mode).args(options).arg("--log-file").arg(place.top().join("log"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(text.starts_with("netrootfs: ") && text.contains(sentence), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn a_mount_point_that_is_missing_is_refused() {
    let place = Place::new();
    let missing = place.top().join("missing");
    refused(&place, &place.iso(""), &missing, "mount point ");
    refused(&place, &place.iso(""), &missing, "missing: there is no such directory; make it with 'mkdir -p ");
}

#[test]
fn a_mount_point_that_is_a_file_is_refused() {
    let place = Place::new();
    let file = place.elsewhere("file");
    fs::write(&file, "").unwrap();
    refused(&place, &place.iso(""), &file, "file: the mount point is not a directory");
}

#[test]
fn a_missing_directory_of_isos_is_refused() {
    let place = Place::new();
    refused(&place, &place.top().join("none"), &place.mnt(), "none: there is no such directory");
    assert_eq!(place.mounts(), 0);
}

#[test]
fn a_file_for_a_directory_of_isos_is_refused() {
    let place = Place::new();
    let file = place.elsewhere("a.iso");
    fs::write(&file, "").unwrap();
    refused(&place, &file, &place.mnt(), "a.iso: it is not a directory");
}

#[test]
fn isos_under_the_mount_point_are_refused() {
    let place = Place::new();
    let below = place.mnt().join("isos");
    fs::create_dir(&below).unwrap();
    let sentence = "the directory of ISOs would lie under the mount";
    refused_with(&["--nonempty"], &place, &below, &place.mnt(), sentence);
    refused_with(&["--nonempty"], &place, &place.mnt(), &place.mnt(), sentence);
}

#[test]
fn a_second_netrootfs_on_the_same_mount_point_is_refused() {
    let place = Place::new();
    let daemon = place.start(&[]);
    refused(&place, &place.iso(""), &place.mnt(), "a netrootfs is mounted there already");
    assert_eq!(place.mounts(), 1);
    daemon.stop();
}

#[test]
fn a_log_file_that_can_not_be_written_is_refused() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    let command = command.arg(place.iso("")).arg(place.mnt()).args(["--log-file", "/nonexistent/log"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("log file /nonexistent/log: No such file or directory"),
        "{}",
        said(&output)
    );
}

fn run(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netrootfs")).args(options).output().unwrap()
}

#[test]
fn bad_usage_ends_with_2_and_a_hint() {
    let place = Place::new();
    let (isos, mnt) = (place.iso(""), place.mnt());
    let both = [isos.to_str().unwrap(), mnt.to_str().unwrap()];
    for wrong in [
        &[][..],
        &both[..1],
        &[both[0], both[1], "third"],
        &[both[0], both[1], "--no-such-option"],
        &[both[0], both[1], "--mode", "999"],
        &[both[0], both[1], "--nbd-port", "0"],
        &[both[0], both[1], "--label", "x.iso"],
        &[both[0], both[1], "--label", "x.iso=Same", "--label", "y.iso=Same"],
        &[both[0], both[1], "--label", "x.iso=One", "--label", "x.iso=Other"],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", said(&output));
        assert!(said(&output).contains("--help"), "{wrong:?}: {}", said(&output));
    }
    assert_eq!(place.mounts(), 0);
}

#[test]
fn a_mount_that_a_killed_daemon_left_is_cleaned_up() {
    let disc = Disc::new("First", 1);
    let place = Place::with("first.iso", &disc);
    for round in 0..2 {
        let mut killed = place.start(&[]);
        killed.kill();
        assert_eq!(place.mounts(), 1, "round {round}");
        assert_eq!(fs::metadata(place.mnt()).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    }
    let daemon = place.start(&[]);
    assert!(place.read("images/First.iso") == disc.iso);
    assert_eq!(place.mounts(), 1);
    daemon.stop();
}

#[test]
fn a_dead_mount_is_cleaned_up_by_its_relative_name_too() {
    let place = Place::new();
    let mut killed = place.start(&[]);
    killed.kill();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.args(["isos", "mnt/", "--state-dir", "state", "--log-file"]).arg(place.top().join("log"));
    let daemon = place.start_by(command.current_dir(place.top()));
    let conf = format!("exportname = {}/images/nbd.conf", place.mnt().display());
    assert!(place.text("images/nbd.conf").contains(&conf), "{}", place.text("images/nbd.conf"));
    daemon.stop();
}

#[test]
fn an_empty_directory_serves_an_nbd_conf_and_a_menu() {
    let place = Place::new();
    let _daemon = place.start(&[]);
    let conf = place.text("images/nbd.conf");
    assert!(conf.starts_with("[generic]\n") && conf.contains("[nbd.conf]\n"), "{conf}");
    let menu = place.text("tftp/pxelinux.cfg/default");
    assert!(menu.contains("localboot 0"), "{menu}");
}

#[test]
fn a_start_that_is_interrupted_while_the_isos_can_not_be_reached_leaves_nothing() {
    // As in the test of its end: the file server of an ISO is another netrootfs, and stopped. Its directory is here, so that
    // the command gets as far as its first look at what is in it.
    let far = Place::with("first.iso", &Disc::new("First", 1));
    let server = far.start(&[]);
    let place = Place::new();
    symlink(far.tree("images/First.iso"), place.iso("first.iso")).unwrap();
    server.stand_still();
    // It waits a second for what doesn't answer, and then goes on without it: on a busy machine that is too early for this
    // test, which then tries again.
    let stat = loop {
        let mut parent = place.command(&[]).spawn().unwrap();
        place.eventually("a child", || {
            children(parent.id()).len() == 1 || parent.try_wait().unwrap().is_some()
        });
        let child = children(parent.id()).first().copied();
        place.eventually("it to be in the background", || {
            child.is_none_or(|child| session(child) == Some(child)) || parent.try_wait().unwrap().is_some()
        });
        let early = parent.try_wait().unwrap().is_none();
        let _ = parent.kill();
        parent.wait().unwrap();
        match child.filter(|_| early && place.mounts() == 0) {
            Some(child) => break format!("/proc/{child}/stat"),
            None => drop(Command::new("umount").arg("-l").arg(place.mnt()).output().unwrap()),
        }
    };
    // Where a daemon is adopted by this process, it stays as a zombie.
    place.eventually("the child's end", || {
        fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
    server.go_on();
    assert_eq!(place.mounts(), 0);
}

fn children(pid: u32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The session of a process: field 6 of proc_pid_stat(5), 0 if its leader is in another PID namespace. `getsid` of rustix
/// panics on that.
fn session(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(3)?.parse().ok()
}

#[test]
fn root_s_mount_is_read_ahead_of_in_large_pieces() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let device = fs::metadata(place.mnt()).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kib = fs::read_to_string(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb")).unwrap();
    assert!(kib.trim().parse::<u64>().unwrap() >= 4096, "{kib}");
}

#[test]
fn the_mount_s_type_names_the_program() {
    let place = Place::new();
    let _daemon = place.start(&[]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mnt = place.mnt().to_str().unwrap().to_owned();
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(&mnt)).unwrap();
    assert!(line.contains(" - fuse.netrootfs netrootfs ro,"), "{line}");
}
