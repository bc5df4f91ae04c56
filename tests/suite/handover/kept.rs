//! What is open keeps its bytes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::place::{Daemon, Place, said};
use testkit::disc::Disc;

const PATHS: [&str; 2] = ["kernel", "cache"];

/// Kills the process that serves, and waits until another one does.
pub fn kill(place: &Place, daemon: &Daemon<'_>) {
    let old = daemon.server().unwrap();
    daemon.kill_server();
    place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
    // It is answered only when it is served.
    fs::metadata(place.mnt()).unwrap();
}

fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Has no pages of a file kept, so that each read asks who serves it.
fn forget_pages(file: &File) {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// The size as who serves it says now, whatever the kernel remembers.
fn size_now(file: &File) -> u64 {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    statx(file, "", flags, StatxFlags::SIZE).unwrap().stx_size
}

#[test]
fn open_files_are_read_on_and_opened_again() {
    let disc = Disc::new("One", 1);
    for path in PATHS {
        let place = Place::with("one.iso", &disc);
        let daemon = place.start(&["--data-path", path]);
        let files = [
            ("images/One.iso", &disc.iso),
            ("images/One", &disc.root),
            ("tftp/vmlinuz_One", &disc.kernel),
            ("trees/One/isolinux/initrd.img", &disc.initrd),
            ("trees/One/LiveOS/squashfs.img", &disc.root),
        ];
        let open: Vec<File> = files.iter().map(|(name, _)| File::open(place.tree(name)).unwrap()).collect();
        for round in 0..3 {
            kill(&place, &daemon);
            for (file, (name, bytes)) in open.iter().zip(files) {
                forget_pages(file);
                assert!(whole(file) == *bytes, "{name} on {path}, round {round}");
                // An inode that the kernel reads from a backing file may be opened with the same one only.
                let again = File::open(place.tree(name));
                let again = again.unwrap_or_else(|error| panic!("{name} on {path}, round {round}: {error}"));
                assert!(whole(&again) == *bytes, "{name} on {path}, round {round}");
            }
        }
        drop(open);
        for (name, bytes) in files {
            assert!(place.read(name) == *bytes, "{name} on {path}");
        }
        daemon.stop();
    }
}

#[test]
fn more_files_are_kept_than_a_session_may_have_open() {
    // What shells and logins have is a soft limit of 1024 and a hard one far above it.
    bound_by("ulimit -S -n 32", 40, |place, daemon, open| {
        assert_eq!(open.len(), 40);
        kill(place, daemon);
        for (_, file, disc) in open {
            forget_pages(file);
            assert!(whole(file) == disc.iso);
        }
    });
}

#[test]
fn of_more_files_than_can_be_kept_the_mount_outlives_its_daemon_all_the_same() {
    bound_by("ulimit -n 160", 100, |place, daemon, open| {
        kill(place, daemon);
        kill(place, daemon);
        for (_, file, disc) in open {
            forget_pages(file);
            let mut bytes = vec![0; disc.iso.len()];
            // Of those that are not kept it is an error.
            assert!(file.read_exact_at(&mut bytes, 0).is_err() || bytes == disc.iso);
        }
        let (_, file, disc) = &open[0];
        assert!(whole(file) == disc.iso);
        assert!(place.text("images/nbd.conf").contains("[generic]"));
    });
}

/// Serves so many ISOs by a daemon with that limit of descriptors, and has all open that are served: by name, with the disc.
fn bound_by(limit: &str, count: u64, then: impl Fn(&Place, &Daemon<'_>, &[(String, File, Disc)])) {
    for path in PATHS {
        let place = Place::new();
        let discs: Vec<_> = (0..count).map(|number| Disc::new(&format!("Disc{number}"), number)).collect();
        for (number, disc) in discs.iter().enumerate() {
            place.put(&format!("disc{number}.iso"), disc);
        }
        let program = place.command(&["--data-path", path]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]).arg(program.get_program());
        let daemon = place.start_by(command.args(program.get_args()).stdin(Stdio::null()));
        let open = |(number, disc)| {
            let name = format!("images/Disc{number}.iso");
            Some((name.clone(), File::open(place.tree(&name)).ok()?, disc))
        };
        let open: Vec<_> = discs.into_iter().enumerate().filter_map(open).collect();
        then(&place, &daemon, &open);
        drop(open);
        daemon.stop();
    }
}

/// The kernel takes its time to end watches, and says that a process has ended when it is done with that.
#[test]
fn the_end_of_its_watches_is_not_waited_for() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let config = place.elsewhere("netrootfs.toml");
    fs::write(&config, "").unwrap();
    let daemon = place.start(&["--config", config.to_str().unwrap()]);
    let queues = |pid: Option<Pid>| {
        let directory = format!("/proc/{}/fd", pid.map_or(0, Pid::as_raw_pid));
        let Ok(fds) = fs::read_dir(directory) else { return 0 };
        let targets = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        targets.filter(|target| target.as_os_str() == "anon_inode:inotify").count()
    };
    // Of directories: the ISOs', the loaders' and the configuration's; and of files.
    for _ in 0..3 {
        let both = || (queues(Some(daemon.pid)), queues(daemon.server()));
        place.eventually("held by both, and no older ones", || both() == (4, 4));
        kill(&place, &daemon);
    }
    daemon.stop();
}

#[test]
fn an_iso_that_somebody_has_opened_for_writing_is_there_at_once() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let writer = File::options().write(true).open(place.iso("one.iso")).unwrap();
    for _ in 0..2 {
        kill(&place, &daemon);
        assert!(place.read("images/One.iso") == disc.iso);
        assert!(place.text("tftp/pxelinux.cfg/default").contains("One"));
    }
    // Of what is written now, nobody knows whether that is all.
    writer.write_all_at(b"x", 0).unwrap();
    kill(&place, &daemon);
    place.eventually("a tree without it", || !place.tree("images/One.iso").exists());
    drop(writer);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    daemon.stop();
}

#[test]
fn a_young_iso_of_somebody_else_is_there_at_once() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    // Without a lease on it, a file is whole when its time is some seconds ago.
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    File::options().write(true).open(place.iso("one.iso")).unwrap().set_modified(tomorrow).unwrap();
    let daemon = place.start(&["--user", "nobody"]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    place.eventually("the state", || place.top().join("state/labels.json").exists());
    kill(&place, &daemon);
    assert!(place.read("images/One.iso") == disc.iso);
    daemon.stop();
}

/// Whoever opens a file while it grows waits for all processors.
#[test]
fn the_table_of_descriptors_is_large_enough_from_the_beginning() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    kill(&place, &daemon);
    let status = fs::read_to_string(daemon.proc("status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
    assert!(size.trim().parse::<usize>().unwrap() >= 4096, "{size}");
    daemon.stop();
}

#[test]
fn a_file_outlives_its_iso_and_the_daemon() {
    let (disc, other) = (Disc::new("One", 1), Disc::new("Two", 2));
    for path in PATHS {
        let place = Place::with("one.iso", &disc);
        let daemon = place.start(&["--data-path", path]);
        let names = ["images/One.iso", "tftp/vmlinuz_One", "trees/One/isolinux/initrd.img"];
        let open = names.map(|name| File::open(place.tree(name)).unwrap());
        fs::remove_file(place.iso("one.iso")).unwrap();
        place.put("two.iso", &other);
        place.eventually("the ISO's end", || !place.tree("images/One.iso").exists());
        for _ in 0..2 {
            kill(&place, &daemon);
            for (file, bytes) in open.iter().zip([&disc.iso, &disc.kernel, &disc.initrd]) {
                forget_pages(file);
                assert!(whole(file) == *bytes, "on {path}");
            }
        }
        assert!(place.read("images/Two.iso") == other.iso);
        drop(open);
        // With its last handle goes what was held for it.
        place.eventually("the ISO to be let go of", || {
            let held = fs::read_dir(format!("/proc/{}/fd", daemon.pid.as_raw_nonzero())).unwrap().flatten();
            !held.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.ends_with("one.iso (deleted)"))
        });
        daemon.stop();
    }
}

#[test]
fn what_was_open_before_the_daemon_died_outlives_what_changes_afterwards() {
    let (disc, other) = (Disc::new("One", 1), Disc::new("Two", 2));
    for path in PATHS {
        let place = Place::with("one.iso", &disc);
        let daemon = place.start(&["--data-path", path]);
        let names =
            ["images/One.iso", "tftp/vmlinuz_One", "trees/One/isolinux/initrd.img", "images/nbd.conf"];
        let open = names.map(|name| (File::open(place.tree(name)).unwrap(), place.read(name)));
        kill(&place, &daemon);
        // By the new process, which has the same ISO.
        assert_eq!(size_now(&open[0].0), disc.iso.len() as u64);
        fs::remove_file(place.iso("one.iso")).unwrap();
        place.put("two.iso", &other);
        place.eventually("another tree", || {
            !place.tree("images/One.iso").exists() && place.tree("images/Two.iso").exists()
        });
        for round in 0..2 {
            for ((file, bytes), name) in open.iter().zip(names) {
                forget_pages(file);
                assert_eq!(size_now(file), bytes.len() as u64, "{name} on {path}, round {round}");
                assert!(whole(file) == *bytes, "{name} on {path}, round {round}");
            }
            kill(&place, &daemon);
        }
        daemon.stop();
    }
}

#[test]
fn rendered_text_that_is_open_stays_as_it_was() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let names = ["images/nbd.conf", "tftp/pxelinux.cfg/default"];
    let open = names.map(|name| (File::open(place.tree(name)).unwrap(), place.read(name)));
    place.put("two.iso", &Disc::new("Two", 2));
    place.eventually("the new ISO", || place.text("images/nbd.conf").contains("[Two]"));
    kill(&place, &daemon);
    for (file, before) in &open {
        forget_pages(file);
        assert!(whole(file) == *before);
    }
    assert!(place.text("images/nbd.conf").contains("[Two]"));
    daemon.stop();
}

#[test]
fn a_listing_goes_on_where_it_was() {
    let place = Place::new();
    let disc = Disc::new("x", 1);
    // More than the kernel asks for at once.
    for number in 0..300 {
        let mut disc = disc.clone();
        disc.rename(&format!("An-ISO-with-a-long-name-{number:04}"));
        disc.write_without_root(&place.iso(&format!("{number}.iso")));
    }
    let daemon = place.start(&[]);
    place.eventually("all ISOs", || fs::read_dir(place.tree("images")).unwrap().count() == 601);
    let mut listing = rustix::fs::Dir::read_from(File::open(place.tree("images")).unwrap()).unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut next = |count: usize, names: &mut Vec<String>| {
        for entry in listing.by_ref().take(count) {
            names.push(entry.unwrap().file_name().to_str().unwrap().to_owned());
        }
    };
    next(10, &mut names);
    // Those who list the same take the room of one, and what one leaves the others have.
    let others: Vec<File> = (0..500).map(|_| File::open(place.tree("images")).unwrap()).collect();
    let state = format!("/proc/{}/fd", daemon.server().unwrap().as_raw_nonzero());
    let state = fs::read_dir(state).unwrap().flatten().map(|fd| fd.path());
    let is_state =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|file| file.starts_with("/memfd:netrootfs (deleted)"));
    let room = state.filter(is_state).map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    assert!((1..1 << 20).contains(&room), "{room} bytes are written down");
    drop(others);
    place.look_again("0-comes-first");
    kill(&place, &daemon);
    next(1000, &mut names);
    let mut once = names.clone();
    once.sort();
    once.dedup();
    assert_eq!((names.len(), once.len()), (603, 603), "dots, two of each ISO, nbd.conf");
    assert!(!names.iter().any(|name| name.starts_with("0-")), "it was opened before");
    daemon.stop();
}

#[test]
fn a_working_directory_below_trees_stays_one() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let daemon = place.start(&[]);
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "while read -r line; do cksum initrd.img ../LiveOS/squashfs.img; ls; pwd; echo end; done",
    ]);
    command.current_dir(place.tree("trees/One/isolinux")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = command.stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..3 {
        kill(&place, &daemon);
        std::io::Write::write_all(shell.stdin.as_mut().unwrap(), b"\n").unwrap();
    }
    let output = shell.wait_with_output().unwrap();
    let text = said(&output);
    assert_eq!(text.matches("end\n").count(), 3, "{text}");
    assert_eq!(text.matches("initrd.img\nisolinux.cfg\n").count(), 3, "{text}");
    assert_eq!(text.matches(" 3000017 ../LiveOS/squashfs.img").count(), 3, "{text}");
    assert!(output.stderr.is_empty(), "{text}");
    daemon.stop();
}

#[test]
fn numbers_of_inodes_and_of_the_device_stay() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&[]);
    let numbers = || {
        ["", "images/One.iso", "images/nbd.conf", "trees/One/isolinux/vmlinuz"].map(|name| {
            let stat = fs::metadata(place.tree(name)).unwrap();
            (stat.dev(), stat.ino(), stat.len(), stat.mode())
        })
    };
    let before = numbers();
    kill(&place, &daemon);
    assert_eq!(numbers(), before);
    assert_eq!(place.mounts(), 1);
    daemon.stop();
}

#[test]
fn what_is_written_over_while_nobody_serves_it_is_an_error_to_who_has_it_open() {
    let (disc, other) = (Disc::new("One", 1), Disc::new("One", 2));
    for path in PATHS {
        let place = Place::with("one.iso", &disc);
        let daemon = place.start(&["--data-path", path]);
        let names = ["images/One.iso", "tftp/vmlinuz_One"];
        let open = names.map(|name| File::open(place.tree(name)).unwrap());
        // What holds the mount stands still, so that nobody starts anything.
        daemon.signal(Signal::STOP);
        kill_process(daemon.server().unwrap(), Signal::KILL).unwrap();
        fs::write(place.iso("one.iso"), &other.iso).unwrap();
        daemon.signal(Signal::CONT);
        for file in &open {
            // The kernel goes on by itself until somebody is there who notices.
            place.eventually("an error", || {
                forget_pages(file);
                let read = file.read_exact_at(&mut [0; 4096], 40_960);
                assert!(path == "kernel" || read.is_err(), "other bytes on {path}");
                read.is_err_and(|error| error.raw_os_error() == Some(libc::EIO))
            });
        }
        place.eventually("the new image", || {
            fs::read(place.tree("images/One.iso")).is_ok_and(|bytes| bytes == other.iso)
        });
        daemon.stop();
    }
}

#[test]
fn nothing_is_left_of_what_was_closed() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let daemon = place.start(&["--data-path", "kernel"]);
    let held = || {
        let fds = fs::read_dir(format!("/proc/{}/fd", daemon.pid.as_raw_nonzero())).unwrap();
        let mut held: Vec<_> = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        held.sort();
        held
    };
    let round = || {
        for name in ["images/One.iso", "images/One", "trees/One/isolinux/vmlinuz", "images/nbd.conf"] {
            place.read(name);
        }
        fs::read_dir(place.tree("trees/One")).unwrap().for_each(drop);
    };
    round();
    kill(&place, &daemon);
    round();
    // What a daemon has held last is there, and nothing of what was open.
    let quiet = |held: &[PathBuf]| {
        let people = held.iter().any(|file| file.to_string_lossy().contains("memfd:people"));
        people && !held.iter().any(|file| file.ends_with("one.iso"))
    };
    let mut before = Vec::new();
    place.eventually("files to be closed", || {
        before = held();
        quiet(&before)
    });
    for _ in 0..3 {
        round();
        kill(&place, &daemon);
        round();
    }
    let mut after = Vec::new();
    place.eventually("files to be closed", || {
        after = held();
        quiet(&after)
    });
    assert_eq!(after, before);
    daemon.stop();
}
