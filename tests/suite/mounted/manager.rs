//! What a service manager is told.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};

use testkit::disc::Disc;

use crate::support::place::Place;

/// A manager, as far as its socket.
struct Manager {
    socket: UnixDatagram,
    service: Child,
}

impl Manager {
    fn start(place: &Place, watchdog: &str) -> Self {
        let socket = UnixDatagram::bind(place.top().join("notify")).unwrap();
        let mut command: Command = place.command(&["--foreground"]);
        command.env("NOTIFY_SOCKET", place.top().join("notify")).env("WATCHDOG_USEC", watchdog);
        Self { socket, service: command.spawn().unwrap() }
    }

    /// Takes messages until one has that line.
    fn until(&self, wanted: &str) {
        let mut text = [0; 4096];
        loop {
            // Descriptors in it are closed, and so a barrier is lifted.
            let len = self.socket.recv(&mut text).unwrap();
            if String::from_utf8_lossy(&text[..len]).lines().any(|line| line == wanted) {
                return;
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.service);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.service.wait();
    }
}

#[test]
fn the_status_says_how_many_isos_there_are() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let manager = Manager::start(&place, "0");
    manager.until("STATUS=1 ISO");
    manager.until("READY=1");
    std::fs::write(place.iso("b.iso"), [0; 70_000]).unwrap();
    manager.until("STATUS=1 ISO, 1 left out");
    place.put("c.iso", &Disc::new("Gamma", 3));
    manager.until("STATUS=2 ISOs, 1 left out");
}

#[test]
fn as_a_service_it_starts_before_the_directory_of_isos_is_there() {
    let place = Place::new();
    std::fs::remove_dir(place.iso("")).unwrap();
    let manager = Manager::start(&place, "0");
    manager.until("STATUS=no ISOs; the directory can't be read");
    manager.until("READY=1");
    let with_iso = place.elsewhere("isos");
    std::fs::create_dir(&with_iso).unwrap();
    std::fs::write(with_iso.join("a.iso"), Disc::new("Alpha", 1).iso).unwrap();
    std::fs::rename(with_iso, place.iso("")).unwrap();
    manager.until("STATUS=1 ISO");
    place.put("b.iso", &Disc::new("Beta", 2));
    manager.until("STATUS=2 ISOs");
}

#[test]
fn the_watchdog_hears_that_the_mount_answers() {
    let place = Place::new();
    let manager = Manager::start(&place, "100000");
    manager.until("STATUS=no ISOs");
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
}
