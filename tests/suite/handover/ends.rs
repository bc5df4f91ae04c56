//! How a mount ends that outlives its daemon: by who stops it, and by a daemon that can't be kept.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Command;

use rustix::process::{Signal, WaitOptions, kill_process, waitpid};

use crate::handover::kept::kill;
use crate::support::place::{Place, said, status};
use testkit::disc::Disc;

#[test]
fn after_a_takeover_it_ends_as_before() {
    for how in ["TERM", "fusermount3 -u", "umount -l"] {
        let place = Place::with("one.iso", &Disc::new("One", 1));
        let mut daemon = place.start(&[]);
        kill(&place, &daemon);
        let mut words = how.split(' ');
        match words.next().unwrap() {
            "TERM" => daemon.signal(Signal::TERM),
            program => {
                assert!(Command::new(program).args(words).arg(place.mnt()).status().unwrap().success())
            }
        }
        assert_eq!(daemon.wait().code(), Some(0), "{how}: {}", place.log());
        assert_eq!(place.mounts(), 0, "{how}");
    }
}

#[test]
fn a_stop_while_nobody_serves_unmounts() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let mut daemon = place.start(&["--data-path", "cache"]);
    let file = File::open(place.tree("images/One.iso")).unwrap();
    daemon.signal(Signal::STOP);
    kill_process(daemon.server().unwrap(), Signal::KILL).unwrap();
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    daemon.wait();
    assert_eq!(place.mounts(), 0);
    assert!(file.read_at(&mut [0; 10], 500_000).is_err(), "nobody is left to serve it");
}

#[test]
fn a_daemon_that_can_not_be_kept_ends_in_errors_and_not_in_clients_that_hang() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let mut daemon = place.start(&["--data-path", "cache"]);
    let file = File::open(place.tree("images/One.iso")).unwrap();
    // Whoever reads meanwhile gets an error in the end, and doesn't wait for ever.
    let client = std::thread::spawn(move || {
        let mut at = 0;
        while file.read_at(&mut [0; 4096], at % 1_000_000).is_ok() {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            at += 4096;
        }
    });
    while place.mounts() > 0 {
        daemon.kill_server();
    }
    let status = daemon.wait();
    assert_ne!(status.code(), Some(0), "{status}");
    client.join().unwrap();
    let log = place.log();
    assert!(log.contains("times in a row") && log.contains("is unmounted"), "{log}");
    assert_eq!(fs::read_dir(place.mnt()).unwrap().count(), 0);
    // And it can be started again.
    let again = place.start(&[]);
    assert!(place.tree("images/One.iso").exists());
    again.stop();
}

#[test]
fn upgrade_lets_another_process_serve_and_clients_wait() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let (file, old) = (File::open(place.tree("images/One.iso")).unwrap(), daemon.server());
    let upgrade = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        command.arg("upgrade").arg(place.mnt()).output().unwrap()
    };
    let output = upgrade();
    assert!(output.status.success(), "{}", said(&output));
    let new = daemon.server();
    assert_ne!(new, old);
    let number = new.unwrap().as_raw_nonzero();
    assert_eq!(
        said(&output),
        format!("exit status: 0: {}: served by process {number} now\n", place.mnt().display())
    );
    let mut bytes = vec![0; disc.iso.len()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == disc.iso);
    drop(file);
    daemon.stop();
    let output = upgrade();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no netrootfs serves it that would be started again"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_program_that_can_not_be_started_leaves_the_mount_to_the_one_before() {
    let disc = Disc::new("One", 1);
    for instead in [None, Some("#!/bin/sh\nexit 1\n")] {
        let place = Place::with("one.iso", &disc);
        let (program, new) = (place.elsewhere("netrootfs"), place.elsewhere("new"));
        // By another process: what this one writes, another test's child may have open when it is executed (ETXTBSY).
        let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_netrootfs")).arg(&program).status();
        assert!(copy.unwrap().success());
        let daemon = place.start_by(Command::new(&program).args(place.command(&[]).get_args()));
        let file = File::open(place.tree("images/One.iso")).unwrap();
        match instead {
            None => fs::remove_file(&program).unwrap(),
            Some(script) => {
                fs::write(&new, script).unwrap();
                fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
                fs::rename(&new, &program).unwrap();
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        let output = command.arg("upgrade").arg(place.mnt()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("the one before serves on"), "{}", said(&output));
        let mut bytes = vec![0; disc.iso.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == disc.iso);
        let log = place.log();
        assert!(log.contains("the program that served before goes on"), "{instead:?}: {log}");
        daemon.stop();
    }
}

#[test]
fn a_daemon_that_nobody_holds_any_more_serves_on_says_so_and_is_not_upgraded() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut daemon = place.start(&[]);
    let server = daemon.server().unwrap();
    // The holder alone.
    daemon.signal(Signal::KILL);
    daemon.wait();
    place.eventually("a line of the log", || place.log().contains("the mount ends with this process now"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    let output = command.arg("upgrade").arg(place.mnt()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no netrootfs serves it that would be started again"),
        "{}",
        said(&output)
    );
    assert!(fs::read(place.tree("images/One.iso")).unwrap() == disc.iso);
    kill_process(server, Signal::TERM).unwrap();
    // It has been adopted.
    waitpid(Some(server), WaitOptions::empty()).unwrap();
    assert_eq!(place.mounts(), 0);
}

#[test]
fn paths_that_were_relative_are_after_a_takeover_too() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.args(["isos", "mnt", "--state-dir", "state", "--log-file"]).arg(place.top().join("log"));
    let daemon = place.start_by(command.current_dir(place.top()));
    kill(&place, &daemon);
    assert!(place.tree("images/One.iso").exists());
    place.put("two.iso", &Disc::new("Two", 2));
    place.eventually("a new ISO", || place.tree("images/Two.iso").exists());
    daemon.stop();
}

#[test]
fn a_stop_while_the_next_daemon_begins_unmounts_as_any_other() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::with("one.iso", &Disc::new("One", 1));
        let mut daemon = place.start(&[]);
        // The holder finds both when it goes on: a death, and the word to stop, for the dead or for one that has just begun.
        daemon.signal(Signal::STOP);
        daemon.kill_server();
        daemon.signal(signal);
        daemon.signal(Signal::CONT);
        assert_eq!(daemon.wait().code(), Some(0), "{signal:?}: {}", place.log());
        assert_eq!(place.mounts(), 0, "{signal:?}");
    }
}

#[test]
fn what_is_asked_of_the_next_daemon_before_it_listens_is_done_and_is_not_its_end() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    for deaths in 1..=3 {
        let server = daemon.server().expect("a daemon");
        // The holder finds both when it goes on: a death, and what it is to tell the one that has just begun.
        daemon.signal(Signal::STOP);
        place.eventually("it to stand still", || status(daemon.pid).contains("State:\tT"));
        daemon.kill_server();
        place.eventually("the death", || status(server).contains("State:\tZ"));
        daemon.signal(Signal::HUP);
        daemon.signal(Signal::USR1);
        daemon.signal(Signal::CONT);
        place.eventually("another daemon", || daemon.server().is_some_and(|pid| pid != server));
        place.eventually("both to be done", || {
            let log = place.log();
            let done = |line| log.matches(line).count() == deaths;
            done("told to look again") && done("INFO ] cache: ")
        });
        assert_eq!(place.log().matches("the daemon has ended").count(), deaths, "{}", place.log());
    }
    daemon.stop();
}

#[test]
fn the_command_of_on_change_is_run_for_what_came_while_nobody_served_and_for_nothing_else() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let runs = place.elsewhere("runs");
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    let daemon = place.start(&["--on-change", &format!("echo run >>{}", runs.display())]);
    kill(&place, &daemon);
    daemon.signal(Signal::STOP);
    daemon.kill_server();
    place.put("two.iso", &Disc::new("Two", 2));
    daemon.signal(Signal::CONT);
    place.eventually("the ISO", || place.tree("images/Two.iso").exists());
    place.eventually("the command", || count() > 0);
    daemon.stop();
    assert_eq!(count(), 1);
    let line = "for the ISOs that there are now, the command has not been run to its end";
    assert_eq!(place.log().matches(line).count(), 1, "{}", place.log());
}

#[test]
fn the_command_of_on_change_is_run_again_if_the_daemon_dies_meanwhile() {
    let place = Place::new();
    let runs = place.elsewhere("runs");
    let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
    let end = place.elsewhere("end");
    let command =
        format!("echo run >>{}; until test -e {}; do sleep 0.1; done", runs.display(), end.display());
    let daemon = place.start(&["--on-change", &command]);
    place.put("one.iso", &Disc::new("One", 1));
    place.eventually("the command", || count() > 0);
    kill(&place, &daemon);
    place.eventually("the command once more", || count() > 1);
    fs::write(&end, "").unwrap();
    daemon.stop();
}

#[test]
fn the_command_of_on_change_sees_nothing_of_it() {
    let place = Place::new();
    let said = place.elsewhere("said");
    let command = format!("env > {0}.new; ls -l /proc/self/fd >> {0}.new; mv {0}.new {0}", said.display());
    let daemon = place.start(&["--on-change", &command]);
    kill(&place, &daemon);
    place.put("one.iso", &Disc::new("One", 1));
    place.eventually("the command", || said.exists());
    let text = fs::read_to_string(said).unwrap();
    for word in ["NOTIFY_SOCKET", "LISTEN_", "NETROOTFS_SERVER", "NETROOTFS_BACKGROUND", "/dev/fuse", "memfd"]
    {
        assert!(!text.contains(word), "{text}");
    }
    daemon.stop();
}

#[test]
fn a_connection_that_is_cut_is_a_failure_and_there_is_a_new_mount() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let device = fs::metadata(place.mnt()).unwrap().dev();
    // What /sys/fs/fuse/connections is where systemd has mounted it; the device of a FUSE mount has no major number
    // (fs/fuse/control.c).
    let connections = place.elsewhere("connections");
    fs::create_dir(&connections).unwrap();
    let script = "mount -t fusectl fusectl \"$0\" && echo 1 >\"$0/$1/abort\"";
    let mut abort = Command::new("unshare");
    abort.args(["--mount", "--", "sh", "-c", script]).arg(connections).arg(device.to_string());
    assert!(abort.status().unwrap().success());
    place.eventually("a new mount", || {
        fs::read(place.tree("images/One.iso")).is_ok_and(|bytes| bytes == disc.iso)
    });
    let log = place.log();
    assert!(log.contains("the daemon has ended (exit status: 1) and is started again"), "{log}");
    assert!(log.contains("the event loops ended: the connection with the kernel was cut"), "{log}");
    assert_eq!(place.mounts(), 1);
    daemon.stop();
}
