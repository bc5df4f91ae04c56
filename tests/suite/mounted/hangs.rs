//! What hangs, hangs alone: a file server that doesn't answer costs its own ISOs, and nothing else.
//!
//! Nothing here is timed: it has to go on while the file server hangs, and that goes on only when it has.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rustix::process::Signal;

use testkit::disc::Disc;

use crate::support::hanging::{Hang, Hanging};
use crate::support::place::Place;

/// ISOs that lie far away, and one that doesn't.
struct Far {
    place: Place,
    server: Hanging,
    discs: Vec<(String, Disc)>,
    local: Disc,
}

/// `names` are on the server, with links to them in the directory of ISOs.
fn far(names: &[&str]) -> Far {
    let place = Place::with("local.iso", &Disc::new("Local", 99));
    fs::create_dir(place.top().join("server")).unwrap();
    fs::create_dir(place.top().join("far")).unwrap();
    let mut discs = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let disc = Disc::new(name, number as u64 + 1);
        fs::write(place.top().join("server").join(format!("{name}.iso")), &disc.iso).unwrap();
        symlink(format!("../far/{name}.iso"), place.iso(&format!("{name}.iso"))).unwrap();
        discs.push(((*name).to_owned(), disc));
    }
    let server = Hanging::mount(&place.top().join("server"), &place.top().join("far"));
    Far { place, server, discs, local: Disc::new("Local", 99) }
}

/// A directory of ISOs that is on the server itself, with one of them, and the command that serves it.
fn directory_far_away() -> (Place, Hanging, Disc, Command) {
    let place = Place::new();
    for name in ["server", "far"] {
        fs::create_dir(place.top().join(name)).unwrap();
    }
    let disc = Disc::new("One", 1);
    fs::write(place.top().join("server/one.iso"), &disc.iso).unwrap();
    let server = Hanging::mount(&place.top().join("server"), &place.top().join("far"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    command.arg(place.top().join("far")).arg(place.mnt()).arg("--state-dir").arg(place.top().join("state"));
    command.arg("--log-file").arg(place.top().join("log"));
    (place, server, disc, command)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netrootfs")).args(arguments).output().unwrap()
}

/// Reads a piece of a file far away, in a thread of its own.
fn reader(path: &Path, bytes: &[u8], offset: usize) -> JoinHandle<bool> {
    let (path, wanted) = (path.to_owned(), bytes[offset..offset + 1000].to_vec());
    spawn(move || {
        let mut buffer = vec![0; 1000];
        File::open(path).unwrap().read_exact_at(&mut buffer, offset as u64).unwrap();
        buffer == wanted
    })
}

/// All that has to go on: listings, menus, reads of each kind, the trees of ISOs, a new one.
fn all_goes_on(place: &Place, local: &Disc, round: &str) {
    assert!(fs::read_dir(place.tree("images")).unwrap().flatten().count() > 2);
    for menu in ["tftp/pxelinux.cfg/default", "tftp/boot.ipxe", "images/nbd.conf"] {
        assert!(place.text(menu).contains("Local"), "{menu}");
    }
    assert!(place.read("tftp/vmlinuz_Local") == local.kernel);
    assert!(place.read("images/Local.iso") == local.iso);
    assert!(place.read("trees/Local/isolinux/vmlinuz") == local.kernel);
    let new = Disc::new(&format!("New{round}"), 500);
    place.put(&format!("new{round}.iso"), &new);
    place.eventually("a new ISO", || place.tree(&format!("images/New{round}.iso")).exists());
    assert!(place.read(&format!("images/New{round}")) == new.root);
}

#[test]
fn readers_of_isos_that_hang_stop_nobody_else() {
    for path in ["auto", "cache"] {
        let Far { place, server, discs, local } = far(&["One", "Two", "Three", "Four"]);
        let daemon = place.start(&["--data-path", path]);
        let there = |name: &str| place.tree(&format!("images/{name}.iso"));
        place.eventually("the ISOs", || discs.iter().all(|(name, _)| there(name).exists()));
        place.eventually("the verdicts", || place.top().join("state/initrds.json").exists());
        let (hanging, answering) = discs.split_at(3);
        hanging.iter().for_each(|(name, _)| server.hang(Hang::Read(format!("{name}.iso"))));
        let readers: Vec<_> = (0..90)
            .map(|number| {
                let (name, disc) = &hanging[number % 3];
                reader(&there(name), &disc.iso, 200_000 + number * 30_000)
            })
            .collect();
        place.eventually("reads that hang", || server.hung() >= 20);
        all_goes_on(&place, &local, path);
        let (name, disc) = &answering[0];
        assert!(fs::read(there(name)).unwrap() == disc.iso, "another ISO of the same server");
        for (name, _) in hanging {
            assert_eq!(fs::metadata(there(name)).unwrap().len(), disc.iso.len() as u64);
        }
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        server.release();
        assert!(readers.into_iter().all(|reader| reader.join().unwrap()), "the right bytes in the end");
        daemon.stop();
    }
}

#[test]
fn a_new_iso_that_hangs_keeps_no_other_out_and_comes_when_it_answers() {
    let Far { place, server, discs, local } = far(&["One"]);
    let daemon = place.start(&[]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    for (name, what) in
        [("Two", Hang::Open as fn(String) -> Hang), ("Three", Hang::Read), ("Four", Hang::Stat)]
    {
        let file = format!("{name}.iso");
        server.hang(what(file.clone()));
        let disc = Disc::new(name, 7);
        fs::write(place.top().join("server").join(&file), &disc.iso).unwrap();
        symlink(format!("../far/{file}"), place.iso(&file)).unwrap();
        let reason = format!("{file} is not served: its file system doesn't answer");
        place.eventually("the reason", || place.log().contains(&reason));
        all_goes_on(&place, &local, name);
        assert!(place.read("images/One.iso") == discs[0].1.iso);
        server.release();
        place.eventually("the ISO", || place.tree(&format!("images/{file}")).exists());
        assert!(place.read(&format!("images/{file}")) == disc.iso);
    }
    daemon.stop();
}

#[test]
fn clients_of_a_process_that_was_killed_wait_for_an_iso_that_answers_late() {
    let Far { place, server, discs, .. } = far(&["One"]);
    let daemon = place.start(&[]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    place.eventually("its label is kept", || place.top().join("state/labels.json").exists());
    server.hang(Hang::Open("One.iso".into()));
    let old = daemon.server().unwrap();
    daemon.kill_server();
    place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
    place.eventually("a look that hangs", || server.hung() > 0);
    let reader = reader(&place.tree("images/One.iso"), &discs[0].1.iso, 300_000);
    // Longer than a scan waits for a file that it doesn't know.
    sleep(Duration::from_millis(1500));
    server.release();
    assert!(reader.join().unwrap(), "the right bytes");
    daemon.stop();
}

#[test]
fn after_a_takeover_only_who_asks_for_what_hangs_waits_for_it() {
    let Far { place, server, discs, local } = far(&["One"]);
    let runs = place.top().join("runs");
    let daemon = place.start(&[
        "--on-change",
        &format!("cat {}/images/nbd.conf >>{}", place.mnt().display(), runs.display()),
    ]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    place.eventually("the command", || fs::read_to_string(&runs).is_ok_and(|said| said.contains("[One]")));
    place.eventually("its label is kept", || place.top().join("state/labels.json").exists());
    fs::remove_file(&runs).unwrap();
    server.hang(Hang::Open("One.iso".into()));
    let old = daemon.server().unwrap();
    daemon.kill_server();
    place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
    let there =
        |path: &str| {
            let path = place.tree(path);
            spawn(move || {
                if path.is_dir() {
                    fs::read_dir(path).unwrap().count()
                } else {
                    fs::read(path).unwrap().len()
                }
            })
        };
    let waiting = [
        there("images/One.iso"),
        there("tftp/boot.ipxe"),
        there("images"),
        there("trees/One/isolinux/vmlinuz"),
    ];
    assert!(
        place.read("images/Local.iso") == local.iso
            && place.read("trees/Local/isolinux/vmlinuz") == local.kernel
    );
    assert!(!place.tree("images/no such file").exists() && fs::read_dir(place.mnt()).unwrap().count() > 3);
    assert!(server.hung() > 0 && waiting.iter().all(|client| !client.is_finished()));
    server.release();
    let [iso, menu, listing, kernel] = waiting.map(|client| client.join().unwrap());
    assert_eq!((iso, kernel), (discs[0].1.iso.len(), discs[0].1.kernel.len()));
    assert_eq!(menu, place.text("tftp/boot.ipxe").len());
    assert!(place.text("tftp/boot.ipxe").contains("One"));
    assert_eq!(listing, fs::read_dir(place.tree("images")).unwrap().count());
    daemon.stop();
    assert!(!runs.exists(), "nothing has changed: {}", fs::read_to_string(&runs).unwrap());
}

#[test]
fn who_is_killed_again_and_again_while_an_iso_hangs_has_not_died_of_it() {
    let Far { place, server, discs, local } = far(&["One"]);
    let daemon = place.start(&[]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    place.eventually("its label is kept", || place.top().join("state/labels.json").exists());
    server.hang(Hang::Read("One.iso".into()));
    for death in 1..=5 {
        let (old, hung) = (daemon.server().unwrap(), server.hung());
        daemon.kill_server();
        place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
        place.eventually("a look that hangs", || server.hung() > hung);
        let serves = format!("\"takeovers\": {death}");
        place.eventually("what it says of itself", || place.text("status.json").contains(&serves));
    }
    assert!(place.read("images/Local.iso") == local.iso);
    server.release();
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    assert!(place.read("images/One.iso") == discs[0].1.iso);
    assert!(!place.log().contains("each time that it looked"), "{}", place.log());
    daemon.stop();
}

#[test]
fn a_takeover_comes_to_its_end_without_an_iso_that_does_not_answer() {
    let Far { place, server, local, .. } = far(&["One"]);
    let daemon = place.start(&[]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    server.hang(Hang::Open("One.iso".into()));
    daemon.kill_server();
    place.eventually("the takeover", || place.log().contains("taken over"));
    all_goes_on(&place, &local, "");
    server.release();
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    daemon.stop();
}

#[test]
fn a_takeover_does_not_wait_for_who_has_an_iso_open_that_does_not_answer() {
    let Far { place, server, discs, local } = far(&["One"]);
    let daemon = place.start(&[]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    let iso = &discs[0].1.iso;
    let (open, other) =
        (|| File::open(place.tree("images/One.iso")).unwrap(), place.tree("images/Local.iso"));
    let (far, near) = (open(), File::open(other).unwrap());
    for what in [Hang::Open as fn(String) -> Hang, Hang::Read, Hang::Stat] {
        server.hang(what("One.iso".into()));
    }
    daemon.kill_server();
    let mut bytes = vec![0; 1000];
    near.read_exact_at(&mut bytes, 200_000).unwrap();
    assert!(bytes == local.iso[200_000..201_000], "what is open of another ISO");
    all_goes_on(&place, &local, "");
    let reader = spawn(move || far.read_exact_at(&mut bytes, 300_000).map(|()| bytes));
    server.release();
    assert!(reader.join().unwrap().unwrap() == iso[300_000..301_000], "what was open of it");
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    daemon.stop();
}

#[test]
fn what_can_not_be_closed_keeps_nobody() {
    for path in ["auto", "cache"] {
        let Far { place, server, discs, local } = far(&["One", "Two"]);
        let daemon = place.start(&["--data-path", path]);
        let there = |name: &str| place.tree(&format!("images/{name}.iso"));
        place.eventually("the ISOs", || discs.iter().all(|(name, _)| there(name).exists()));
        place.eventually("the verdicts", || place.top().join("state/initrds.json").exists());
        let tree = |name: &str| File::open(place.tree(&format!("trees/{name}/isolinux/vmlinuz"))).unwrap();
        let open = discs.iter().map(|(name, _)| (File::open(there(name)).unwrap(), tree(name)));
        let mut open: Vec<_> = open.collect();
        let all_hang = |server: &Hanging, name: &str| {
            for what in [Hang::Open as fn(String) -> Hang, Hang::Read, Hang::Stat, Hang::Close] {
                server.hang(what(format!("{name}.iso")));
            }
        };
        all_hang(&server, "One");
        // Its clients go first, then it; of the other one it is the other way round.
        open.remove(0);
        fs::remove_file(place.iso("One.iso")).unwrap();
        place.eventually("its end", || !there("One").exists());
        all_goes_on(&place, &local, "a");
        all_hang(&server, "Two");
        fs::remove_file(place.iso("Two.iso")).unwrap();
        place.eventually("its end", || !there("Two").exists());
        let (kept, closed) = open.remove(0);
        drop(closed);
        all_goes_on(&place, &local, "b");
        let old = daemon.server().unwrap();
        daemon.kill_server();
        place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
        all_goes_on(&place, &local, "c");
        place.eventually("a look into an initrd", || {
            place.text("tftp/pxelinux.cfg/default").contains("netroot=nbd:192.0.2.1:Newc::ro")
        });
        assert!(server.hung() > 0);
        let mut bytes = vec![0; 1000];
        let reader = spawn(move || kept.read_exact_at(&mut bytes, 400_000).map(|()| bytes));
        server.release();
        assert!(reader.join().unwrap().unwrap() == discs[1].1.iso[400_000..401_000]);
        daemon.stop();
    }
}

#[test]
fn an_iso_that_stops_answering_stays_in_the_tree() {
    let Far { place, server, discs, local } = far(&["One"]);
    let daemon = place.start(&[]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    server.hang(Hang::Stat("One.iso".into()));
    place.eventually("a look that hangs", || server.hung() > 0);
    all_goes_on(&place, &local, "");
    assert!(place.text("tftp/boot.ipxe").contains("One"));
    server.release();
    assert!(place.read("images/One.iso") == discs[0].1.iso);
    daemon.stop();
}

#[test]
fn a_directory_that_hangs_takes_nothing_and_the_end_does_not_wait_for_it() {
    let (place, server, disc, mut command) = directory_far_away();
    let mut daemon = place.start_by(&mut command);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    server.hang(Hang::List);
    daemon.signal(Signal::HUP);
    place.eventually("the complaint", || place.log().contains("doesn't answer; its ISOs stay as they were"));
    assert!(place.text("tftp/boot.ipxe").contains("One"));
    assert!(place.read("images/One.iso") == disc.iso);
    daemon.signal(Signal::TERM);
    place.eventually("the end of the mount", || place.mounts() == 0);
    // The kernel lets a process go when its last request has been answered.
    server.release();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_process_that_takes_over_while_the_directory_hangs_serves_and_can_be_ended() {
    let (place, server, disc, mut command) = directory_far_away();
    let mut daemon = place.start_by(&mut command);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    let open = File::open(place.tree("images/One.iso")).unwrap();
    server.hang(Hang::List);
    for name in ["server", "one.iso"] {
        for what in [Hang::Open as fn(String) -> Hang, Hang::Read, Hang::Stat] {
            server.hang(what(name.into()));
        }
    }
    for upgrade in [false, true] {
        let old = daemon.server().unwrap();
        match upgrade {
            true => assert!(run(&["upgrade", place.mnt().to_str().unwrap()]).status.success()),
            false => daemon.kill_server(),
        }
        place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
        place.eventually("what it says of itself", || place.text("status.json").contains("\"takeovers\""));
    }
    assert!(!place.log().contains("kept") && !place.log().contains("won't find"), "{}", place.log());
    let mut bytes = vec![0; 1000];
    let reader = spawn(move || open.read_exact_at(&mut bytes, 300_000).map(|()| bytes));
    server.release();
    assert!(reader.join().unwrap().unwrap() == disc.iso[300_000..301_000]);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    server.hang(Hang::List);
    server.hang(Hang::Stat("server".into()));
    daemon.kill_server();
    daemon.signal(Signal::TERM);
    assert_eq!((daemon.wait().code(), place.mounts()), (Some(0), 0));
    server.release();
}

#[test]
fn what_could_not_be_read_is_looked_into_again() {
    let Far { place, server, discs, .. } = far(&["One"]);
    let disc = &discs[0].1;
    let start = disc.iso.windows(disc.initrd.len()).position(|bytes| bytes == disc.initrd).unwrap();
    let middle = (start + disc.initrd.len() / 2) as u64;
    server.unreadable(Some(("One.iso", middle..middle + 1)));
    let line = "One.iso: looking into it ended where it can't be read: Input/output error (os error 5); tried again later";
    let lines = || place.log().matches(line).count();
    let boots = |name: &str| {
        place.text("tftp/pxelinux.cfg/default").contains(&format!("netroot=nbd:192.0.2.1:{name}::ro"))
    };
    for round in 1..=2 {
        let daemon = place.start(&[]);
        place.eventually("a line of it, also after a restart", || lines() == round);
        place.eventually("the others", || boots("Local"));
        assert!(!boots("One") && place.read("trees/One/isolinux/vmlinuz") == disc.kernel);
        daemon.stop();
    }
    let daemon = place.start(&[]);
    place.eventually("the line", || lines() == 3);
    server.unreadable(None);
    place.eventually("what it boots by", || boots("One"));
    assert!(place.log().contains("One.iso: could be looked into now"), "{}", place.log());
    assert_eq!(lines(), 3);
    daemon.stop();
}

#[test]
fn an_iso_whose_menu_could_not_be_read_is_not_served_without_it() {
    let Far { place, server, discs, .. } = far(&["One"]);
    let iso = &discs[0].1.iso;
    let at = iso.windows(7).position(|bytes| bytes == b"append ").unwrap() as u64;
    server.unreadable(Some(("One.iso", at..at + 1)));
    let daemon = place.start(&[]);
    let line = "One.iso is not served: Input/output error (os error 5)";
    place.eventually("a line of it", || place.log().contains(line));
    assert!(place.tree("images/Local.iso").exists() && !place.tree("images/One.iso").exists());
    server.unreadable(None);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    assert_eq!(place.log().matches(line).count(), 1, "{}", place.log());
    daemon.stop();
}
