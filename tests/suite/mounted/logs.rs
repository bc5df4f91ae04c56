//! Where the log goes.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;
use testkit::disc::Disc;

use crate::support::place::Place;

#[test]
fn sighup_opens_the_log_file_anew_so_that_it_can_be_rotated() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let daemon = place.start(&[]);
    let (log, rotated) = (place.top().join("log"), place.top().join("log.1"));
    fs::rename(&log, &rotated).unwrap();
    let before = fs::read_to_string(&rotated).unwrap();
    assert!(before.contains("Alpha: a.iso"), "{before}");
    daemon.signal(Signal::HUP);
    place.eventually("a new log file", || log.exists());
    place.put("b.iso", &Disc::new("Beta", 2));
    place.eventually("a line in it", || place.log().contains("Beta: b.iso"));
    daemon.kill_server();
    place.eventually("a line of who starts it again", || {
        place.log().contains("is started again; clients wait")
    });
    assert_eq!(fs::read_to_string(&rotated).unwrap(), before);
}

/// A machine without journald: /dev has what netrootfs needs, and syslog's socket.
const WITHOUT_JOURNALD: &str = r#"
set -e
top=$1; shift
mkdir "$top/dev"
for name in fuse null urandom; do touch "$top/dev/$name"; mount --bind "/dev/$name" "$top/dev/$name"; done
touch "$top/dev/log"; mount --bind "$top/socket" "$top/dev/log"
mount --rbind "$top/dev" /dev
mount -t tmpfs none /run
exec "$@"
"#;

#[test]
fn without_journald_and_log_file_the_log_goes_to_syslog() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let syslog = UnixDatagram::bind(place.top().join("socket")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITHOUT_JOURNALD, "sh"]).arg(place.top());
    command.arg(env!("CARGO_BIN_EXE_netrootfs")).arg(place.iso("")).arg(place.mnt());
    command.arg("--state-dir").arg(place.top().join("state"));
    let daemon = place.start_by(&mut command);
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("mounted; ISOs: 1")) {
        let mut line = [0; 1024];
        let len = syslog.recv(&mut line).unwrap();
        lines.push(String::from_utf8(line[..len].to_vec()).unwrap());
    }
    let priority = libc::LOG_DAEMON | libc::LOG_INFO;
    for line in lines.iter().filter(|line| line.contains("Alpha")) {
        assert!(line.starts_with(&format!("<{priority}>")) && line.contains(" netrootfs["), "{line}");
    }
    daemon.stop();
}
