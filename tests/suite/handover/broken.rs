//! What breaks while a mount is served, and would be refused at a start, doesn't end the mount when the daemon dies.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use testkit::disc::Disc;

use super::kept::kill;
use crate::support::place::{Daemon, Place};

const BEFORE: &str = "[iso.\"one.iso\"]\ntitle = \"Before\"\n";

/// A mount by a configuration file alone, with a file that is open.
struct Configured {
    place: Place,
    disc: Disc,
}

impl Configured {
    fn new() -> Self {
        let disc = Disc::new("One", 1);
        let place = Place::with("one.iso", &disc);
        fs::create_dir(place.top().join("logs")).unwrap();
        let mount = format!(
            "{BEFORE}[mount]\niso-dir = \"{0}/isos\"\nmountpoint = \"{0}/mnt\"\n\
             state-dir = \"{0}/state\"\nlog-file = \"{0}/logs/log\"\n",
            place.top().display()
        );
        fs::write(place.top().join("n.toml"), mount).unwrap();
        Self { place, disc }
    }

    fn start(&self) -> Daemon<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
        self.place.start_by(command.arg("--config").arg(self.place.top().join("n.toml")).current_dir("/"))
    }

    /// Breaks something, has the daemon die twice, and looks whether clients notice.
    fn goes_on_without(&self, what: &str, breaks: impl Fn(&Path)) {
        let Self { place, disc } = self;
        let daemon = self.start();
        let file = File::open(place.tree("images/One.iso")).unwrap();
        breaks(place.top());
        for _ in 0..2 {
            kill(place, &daemon);
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            let mut bytes = vec![0; disc.iso.len()];
            file.read_exact_at(&mut bytes, 0).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(bytes == disc.iso, "{what}");
            assert!(place.text("tftp/pxelinux.cfg/default").contains("Before"), "{what}");
        }
        daemon.stop();
        assert_eq!(place.mounts(), 0, "{what}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.top().join("logs/log")).unwrap_or_default()
    }
}

#[test]
fn a_configuration_file_that_is_broken_or_gone_stays_as_it_was() {
    let file = |top: &Path| top.join("n.toml");
    type Break = fn(&Path) -> std::io::Result<()>;
    let breaks: [(&str, Break); 4] = [
        ("no TOML", |file| fs::write(file, "title = = 1")),
        ("an unknown key", |file| fs::write(file, "[mount]\nnonsense = 1\n")),
        ("no file", |file| fs::remove_file(file)),
        ("a directory", |file| fs::remove_file(file).and_then(|()| fs::create_dir(file))),
    ];
    for (what, breaks) in breaks {
        let configured = Configured::new();
        configured.goes_on_without(what, |top| breaks(&file(top)).unwrap());
        let log = configured.log();
        assert!(
            log.contains("n.toml: ") && log.contains("; the configuration stays as it was"),
            "{what}: {log}"
        );
    }
}

#[test]
fn what_was_read_last_is_what_stays() {
    let configured = Configured::new();
    let Configured { place, .. } = &configured;
    let daemon = configured.start();
    let file = place.top().join("n.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("Before", "Later")).unwrap();
    let shows = |title: &str| place.text("tftp/pxelinux.cfg/default").contains(title);
    place.eventually("the new title", || shows("Later"));
    fs::write(&file, "title = ").unwrap();
    kill(place, &daemon);
    assert!(shows("Later"));
    fs::write(&file, text.replace("Before", "Whole again")).unwrap();
    place.eventually("a file that is whole again", || shows("Whole again"));
    kill(place, &daemon);
    assert!(shows("Whole again"));
    daemon.stop();
}

#[test]
fn what_mount_says_holds_from_the_next_start_on() {
    let configured = Configured::new();
    let Configured { place, .. } = &configured;
    for instead in ["", "[mount]\n", "[mount]\niso-dir = \"/nowhere\"\nmountpoint = \"/mnt\"\n"] {
        let file = place.top().join("n.toml");
        let text = fs::read_to_string(&file).unwrap();
        configured.goes_on_without(instead, |top| {
            fs::write(top.join("n.toml"), format!("{BEFORE}{instead}")).unwrap();
        });
        fs::write(&file, text).unwrap();
    }
}

#[test]
fn directories_that_go_are_waited_for() {
    let rename = |top: &Path, name: &str| fs::rename(top.join(name), top.join("away")).unwrap();
    Configured::new().goes_on_without("the state directory", |top| {
        rename(top, "state");
        fs::write(top.join("state"), "").unwrap();
    });
    Configured::new().goes_on_without("the log", |top| rename(top, "logs"));

    let configured = Configured::new();
    let Configured { place, disc } = &configured;
    for instead in [None, Some("a file")] {
        let daemon = configured.start();
        let file = File::open(place.tree("images/One.iso")).unwrap();
        rename(place.top(), "isos");
        if let Some(text) = instead {
            fs::write(place.top().join("isos"), text).unwrap();
        }
        kill(place, &daemon);
        let mut bytes = vec![0; disc.iso.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == disc.iso);
        if instead.is_some() {
            fs::remove_file(place.top().join("isos")).unwrap();
        }
        fs::rename(place.top().join("away"), place.top().join("isos")).unwrap();
        place.eventually("the ISOs", || place.tree("images/One.iso").exists());
        daemon.stop();
    }
}

/// Needs libnss_wrapper, by which a process sees other users than the host has.
#[test]
fn a_user_who_is_no_longer_known_serves_on() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let (users, groups) = (place.top().join("passwd"), place.top().join("group"));
    let know = |others: [&str; 2]| {
        fs::write(&users, format!("root:x:0:0::/:/bin/sh\n{}", others[0])).unwrap();
        fs::write(&groups, format!("root:x:0:\n{}", others[1])).unwrap();
    };
    know(["served:x:65534:65534::/:/bin/sh\n", "served:x:65534:\n"]);
    let mut command = place.command(&["--user", "served", "--gid", "served"]);
    command.env("LD_PRELOAD", "libnss_wrapper.so");
    command.env("NSS_WRAPPER_PASSWD", &users).env("NSS_WRAPPER_GROUP", &groups);
    let daemon = place.start_by(&mut command);
    place.eventually("the ISO", || place.tree("images/One.iso").exists());
    know(["", ""]);
    for _ in 0..2 {
        kill(&place, &daemon);
        assert!(place.read("images/One.iso") == disc.iso);
        assert_eq!(fs::metadata(place.tree("images/One.iso")).unwrap().gid(), 65534);
    }
    daemon.stop();
}
