//! Block servers.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use testkit::disc::Disc;
use testkit::nbd::{self, Client};
use testkit::ports::{free, local};
use testkit::process::{Process, run};
use testkit::work::Work;

use crate::support::place::{Place, said};

fn user(name: &str) -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{name}:")));
    let line = line.unwrap_or_else(|| panic!("no user {name}: is the server installed?"));
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// nbd-server as Debian runs it: a daemon, as user nbd, with the tree's own configuration.
pub struct NbdServer {
    group: Pid,
}

impl NbdServer {
    pub fn start(place: &Place, port: u16) -> Self {
        let (uid, gid) = user("nbd");
        let pid_file = place.top().join("nbd-server.pid");
        File::create(&pid_file).unwrap();
        chown(&pid_file, Some(uid), Some(gid)).unwrap();
        let mut command = Command::new("nbd-server");
        command.arg("-C").arg(place.tree("images/nbd.conf")).arg("-p").arg(&pid_file).uid(uid).gid(gid);
        run(&mut command).unwrap();
        let pid = || fs::read_to_string(&pid_file).unwrap().trim().parse().ok().and_then(Pid::from_raw);
        place.eventually("nbd-server's pid file", || pid().is_some());
        let server = Self { group: pid().unwrap() };
        place.eventually("nbd-server", || nbd::list(local(port)).is_ok());
        server
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        // It leads a session; its children, one a client, are in its process group.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// An export as the real client sees it: its size, and whether it can only be read.
fn info(port: u16, export: &str) -> (u64, bool) {
    let uri = format!("nbd://127.0.0.1:{port}/{export}");
    let size = Command::new("nbdinfo").args(["--size", &uri]).output().expect("nbdinfo: is it installed?");
    assert!(size.status.success(), "{export}: {}", said(&size));
    let json = Command::new("nbdinfo").args(["--json", &uri]).output().unwrap();
    assert!(json.status.success(), "{export}: {}", said(&json));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let read_only = json["exports"][0]["is_read_only"].as_bool().unwrap();
    (String::from_utf8(size.stdout).unwrap().trim().parse().unwrap(), read_only)
}

/// The bytes of an export, fetched by the real client.
fn copy(place: &Place, port: u16, export: &str) -> Vec<u8> {
    let file = place.elsewhere(&format!("copy of {export}"));
    run(Command::new("nbdcopy").arg(format!("nbd://127.0.0.1:{port}/{export}")).arg(&file)).unwrap();
    fs::read(file).unwrap()
}

fn assert_served(place: &Place, port: u16, exports: &[(String, &[u8])]) {
    for (export, bytes) in exports {
        assert_eq!(info(port, export), (bytes.len() as u64, true), "{export}");
        assert!(copy(place, port, export) == *bytes, "the bytes of {export}");
    }
}

fn exports<'a>(label: &str, disc: &'a Disc) -> [(String, &'a [u8]); 2] {
    [(label.to_owned(), &disc.root), (format!("{label}.iso"), &disc.iso)]
}

#[test]
fn nbd_server_serves_every_export_byte_for_byte_and_read_only() {
    let (one, two) = (Disc::new("Fedora 42 %s [x]", 1), Disc::new("A.Name-of_32-Characters-is-full.", 2));
    let place = Place::with("one.iso", &one);
    place.put("two.iso", &two);
    let port = free();
    let _daemon = place.start(&["--nbd-port", &port.to_string()]);
    let _server = NbdServer::start(&place, port);
    let all = [exports("Fedora_42__s__x_", &one), exports("A.Name-of_32-Characters-is-full.", &two)].concat();
    let mut names = nbd::list(local(port)).unwrap();
    names.sort();
    let mut expected: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert_served(&place, port, &all);
    assert!(nbd::list(local(port)).is_ok(), "the server has ended");
}

#[test]
fn nbd_server_gives_the_same_bytes_on_both_data_paths() {
    let disc = Disc::new("One", 1);
    for path in ["kernel", "cache"] {
        let place = Place::with("one.iso", &disc);
        let port = free();
        let daemon = place.start(&["--nbd-port", &port.to_string(), "--data-path", path]);
        let server = NbdServer::start(&place, port);
        assert_served(&place, port, &exports("One", &disc));
        assert_eq!(daemon.descriptors().iter().any(|name| name == "/file"), path == "kernel");
        drop(server);
    }
}

#[test]
fn nbd_server_refuses_an_export_whose_iso_is_gone_and_serves_the_others() {
    let (gone, stays) = (Disc::new("Gone", 1), Disc::new("Stays", 2));
    let place = Place::with("gone.iso", &gone);
    place.put("stays.iso", &stays);
    let port = free();
    let _daemon =
        place.start(&["--nbd-port", &port.to_string(), "--data-path", "cache", "--cache-size", "0"]);
    let _server = NbdServer::start(&place, port);
    let mut client = Client::connect(local(port), "Gone.iso").unwrap();
    assert!(client.read(0, 4096).unwrap() == gone.iso[..4096]);
    fs::remove_file(place.iso("gone.iso")).unwrap();
    place.promised("its end", || !place.tree("images/Gone.iso").exists());
    assert!(Client::connect(local(port), "Gone.iso").is_err());
    assert!(Client::connect(local(port), "Gone").is_err());
    assert_served(&place, port, &exports("Stays", &stays));
    assert!(client.read_all().unwrap() == gone.iso, "a client from before reads on");
    assert!(nbd::list(local(port)).is_ok(), "the server has ended");
}

#[test]
fn nbd_server_serves_a_replaced_iso_to_new_clients_with_nothing_to_reload() {
    let (old, new) = (Disc::new("Live", 1), Disc::new("Live", 2));
    let place = Place::with("live.iso", &old);
    let port = free();
    let _daemon =
        place.start(&["--nbd-port", &port.to_string(), "--data-path", "cache", "--cache-size", "0"]);
    let _server = NbdServer::start(&place, port);
    let mut before = Client::connect(local(port), "Live").unwrap();
    let number = |path: &str| {
        fs::metadata(place.tree(path)).map(|stat| std::os::unix::fs::MetadataExt::ino(&stat)).ok()
    };
    let was = number("images/Live.iso");
    place.put("live.iso", &new);
    place.promised("the new ISO", || number("images/Live.iso").is_some_and(|now| Some(now) != was));
    assert_served(&place, port, &exports("Live", &new));
    assert!(before.read_all().unwrap() == old.root);
}

#[test]
fn nbd_server_starts_and_lives_on_an_empty_directory() {
    let place = Place::new();
    let port = free();
    let _daemon = place.start(&["--nbd-port", &port.to_string()]);
    let server = NbdServer::start(&place, port);
    let conf = place.read("images/nbd.conf");
    assert_served(&place, port, &[("nbd.conf".to_owned(), &conf)]);
    drop(server);
    let disc = Disc::new("First", 1);
    place.put("first.iso", &disc);
    place.promised("the ISO", || place.text("images/nbd.conf").contains("[First]"));
    let _server = NbdServer::start(&place, port);
    assert_served(&place, port, &exports("First", &disc));
}

#[test]
fn many_nbd_clients_read_at_once() {
    let disc = Disc::new("Live", 1);
    let place = Place::with("live.iso", &disc);
    let port = free();
    let _daemon =
        place.start(&["--nbd-port", &port.to_string(), "--data-path", "cache", "--cache-size", "1M"]);
    let _server = NbdServer::start(&place, port);
    std::thread::scope(|scope| {
        for client in 0..6 {
            let disc = &disc;
            scope.spawn(move || {
                let (export, bytes) = [("Live", &disc.root), ("Live.iso", &disc.iso)][client % 2];
                assert!(Client::connect(local(port), export).unwrap().read_all().unwrap() == *bytes);
            });
        }
    });
}

#[test]
fn nbdkit_serves_every_name_and_a_new_file_with_nothing_to_reload() {
    let disc = Disc::new("Live", 1);
    let place = Place::with("live.iso", &disc);
    let work = Work::new("servers-nbdkit").unwrap();
    let _daemon = place.start(&[]);
    let port = free();
    let (uid, gid) = user("nobody");
    let mut command = Command::new("nbdkit");
    command.args(["-f", "-r", "-i", "127.0.0.1", "-p", &port.to_string(), "file"]);
    command.arg(format!("dir={}", place.tree("images").display())).uid(uid).gid(gid);
    let mut server = Process::spawn(&mut command, &work).unwrap();
    place.eventually("nbdkit", || {
        server.ensure_runs().unwrap();
        nbd::list(local(port)).is_ok()
    });
    let names: BTreeSet<String> = nbd::list(local(port)).unwrap().into_iter().collect();
    assert_eq!(names, ["Live.iso", "liveos_Live.img", "nbd.conf"].map(str::to_owned).into());
    assert_served(&place, port, &exports("Live", &disc));
    assert_served(&place, port, &[("liveos_Live.img".to_owned(), &disc.root)]);
    let mut before = Client::connect(local(port), "Live").unwrap();

    let new = Disc::new("New", 2);
    place.put("new.iso", &new);
    place.promised("the new ISO", || place.tree("images/New.iso").exists());
    assert_served(&place, port, &exports("New", &new));

    fs::remove_file(place.iso("live.iso")).unwrap();
    place.promised("its end", || !place.tree("images/Live.iso").exists());
    assert!(Client::connect(local(port), "Live").is_err());
    assert!(before.read_all().unwrap() == disc.root, "a client from before reads on");
    server.ensure_runs().unwrap();
}
