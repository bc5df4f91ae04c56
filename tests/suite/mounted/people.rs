//! Who may read, and who may mount.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::built::install;
use testkit::disc::Disc;

use crate::support::place::{Place, said};

/// Debian's nobody and nogroup.
const NOBODY: u32 = 65_534;

/// Runs a program as nobody.
fn as_nobody(program: &[&str]) -> Output {
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).args(program);
    command.stdin(Stdio::null()).output().expect("setpriv")
}

#[test]
fn everybody_can_read() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let _daemon = place.start(&[]);
    let output = as_nobody(&["cat", place.tree("images/One.iso").to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == disc.iso);
    let listed = as_nobody(&["ls", place.tree("images").to_str().unwrap()]);
    assert!(said(&listed).contains("One.iso"), "{}", said(&listed));
}

#[test]
fn files_belong_to_who_mounts_and_can_only_be_read() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&[]);
    let file = fs::metadata(place.tree("images/One.iso")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode()), (0, 0, 0o100_444));
    let directory = fs::metadata(place.tree("images")).unwrap();
    assert_eq!((directory.uid(), directory.gid(), directory.mode()), (0, 0, 0o040_555));
}

#[test]
fn owner_and_mode_are_those_of_the_options() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let _daemon = place.start(&["--uid", "102", "--gid", "105", "--mode", "0440"]);
    for (path, mode) in [("images/One.iso", 0o100_440), ("images/nbd.conf", 0o100_440), ("tftp", 0o040_550)] {
        let stat = fs::metadata(place.tree(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid(), stat.mode()), (102, 105, mode), "{path}");
    }
    let output = as_nobody(&["cat", place.tree("images/One.iso").to_str().unwrap()]);
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
}

/// The needs of somebody who is not root, as a machine has them that is used by such people: /dev/fuse for everybody, and
/// an /etc/fuse.conf. Both in a mount namespace of their own.
fn mount_as_nobody(place: &Place, fuse_conf: &str, options: &[&str]) -> Command {
    for directory in ["isos", "mnt", "elsewhere", ""] {
        chown(place.top().join(directory), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // A program in a build directory need not be reachable for everybody.
    let program = place.elsewhere("netrootfs");
    install(Path::new(env!("CARGO_BIN_EXE_netrootfs")), &program);
    fs::write(place.elsewhere("fuse.conf"), fuse_conf).unwrap();
    let script = "mknod -m ${NODE_MODE:-666} elsewhere/fuse c 10 229 && mount --bind elsewhere/fuse /dev/fuse \
                  && mount --bind elsewhere/fuse.conf /etc/fuse.conf \
                  && exec ${BECOME-setpriv --reuid 65534 --regid 65534 --clear-groups --} \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(program).args(["-f", "isos", "mnt"]);
    command.args(["--state-dir", "state", "--server", "192.0.2.1"]).args(options);
    command.current_dir(place.top()).stdin(Stdio::null());
    command
}

#[test]
fn somebody_who_is_not_root_can_mount_where_fuse_conf_lets_him() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut child = mount_as_nobody(&place, "user_allow_other\n", &["--log-file", "log"]).spawn().unwrap();
    let inside = PathBuf::from(format!("/proc/{}/root", child.id()));
    let tree = inside.join(place.mnt().strip_prefix("/").unwrap());
    let image = tree.join("images/One.iso");
    place.eventually("the tree", || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}\n{}", place.log());
        image.exists()
    });
    // Root is somebody else here.
    assert!(fs::read(&image).unwrap() == disc.iso);
    let stat = fs::metadata(&image).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (NOBODY, NOBODY));
    let line = "the kernel can't read them by itself: mounting needs root";
    assert_eq!(place.log().matches(line).count(), 1, "{}", place.log());
    // A lease on the file of somebody else is refused to it: then a file is whole when it stays the same.
    let new = Disc::new("New", 2);
    fs::write(place.elsewhere("new.iso"), &new.iso).unwrap();
    fs::rename(place.elsewhere("new.iso"), place.iso("new.iso")).unwrap();
    place.promised("a new ISO of root's", || tree.join("images/New.iso").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}\n{}", place.log());
    assert!(!place.log().contains("ERROR"), "{}", place.log());
}

/// Debian gives /dev/fuse to everybody, others to a group or to root alone.
#[test]
fn as_a_user_it_needs_no_rights_on_dev_fuse_if_root_starts_it() {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    let mut command = mount_as_nobody(&place, "", &["--user", "nobody", "--log-file", "log"]);
    command.env("NODE_MODE", "600").env("BECOME", "");
    let mut child = command.spawn().unwrap();
    let inside = PathBuf::from(format!("/proc/{}/root", child.id()));
    let image = inside.join(place.mnt().strip_prefix("/").unwrap()).join("images/One.iso");
    place.eventually("the tree", || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}\n{}", place.log());
        image.exists()
    });
    assert!(fs::read(&image).unwrap() == disc.iso);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let server = || fs::read_to_string(&children).unwrap().trim().parse().ok().and_then(Pid::from_raw);
    let first = server().unwrap();
    assert_eq!(fs::metadata(format!("/proc/{}", first.as_raw_pid())).unwrap().uid(), NOBODY);
    kill_process(first, Signal::KILL).unwrap();
    place.eventually("another process", || server().is_some_and(|next| next != first));
    assert!(fs::read(&image).unwrap() == disc.iso);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}\n{}", place.log());
}

#[test]
fn who_is_not_root_can_not_have_the_kernel_read_the_isos_and_is_told_so() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let text = refusal(&place, "user_allow_other\n", &["--data-path", "kernel"]);
    assert!(text.contains("netrootfs: --data-path kernel: mounting needs root"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

fn refusal(place: &Place, fuse_conf: &str, options: &[&str]) -> String {
    let options = [&["--log-file", "log"], options].concat();
    let output = mount_as_nobody(place, fuse_conf, &options).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[test]
fn without_user_allow_other_it_says_what_to_do() {
    let place = Place::new();
    let text = refusal(&place, "# nothing\n", &[]);
    assert!(text.contains("put user_allow_other into /etc/fuse.conf, or run as root"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_mount_point_of_somebody_else_is_refused_with_a_sentence() {
    let place = Place::new();
    let mut command = mount_as_nobody(&place, "user_allow_other\n", &[]);
    chown(place.mnt(), Some(0), Some(0)).unwrap();
    fs::set_permissions(place.mnt(), PermissionsExt::from_mode(0o755)).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let line = "netrootfs: mount point mnt: user nobody may not write there, so it can't be mounted on; ";
    assert!(said(&output).contains(line), "{}", said(&output));
}

#[test]
fn an_iso_that_can_not_be_read_is_left_out_with_a_sentence() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    place.put("secret.iso", &Disc::new("Secret", 2));
    fs::set_permissions(place.iso("secret.iso"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut child = mount_as_nobody(&place, "user_allow_other\n", &["--log-file", "log"]).spawn().unwrap();
    let root = format!("/proc/{}/root", child.id());
    let tree = Path::new(&root).join(place.mnt().strip_prefix("/").unwrap());
    place.eventually("the tree", || tree.join("images/One.iso").exists());
    assert!(!tree.join("images/Secret.iso").exists());
    assert!(place.log().contains("secret.iso is not served: permission denied"), "{}", place.log());
    // As soon as it can be read it is there.
    fs::set_permissions(place.iso("secret.iso"), PermissionsExt::from_mode(0o644)).unwrap();
    place.eventually("the ISO", || tree.join("images/Secret.iso").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn who_may_not_open_dev_fuse_is_told_so() {
    let place = Place::new();
    let mut command = mount_as_nobody(&place, "user_allow_other\n", &[]);
    let output = command.env("NODE_MODE", "600").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("this user may not open /dev/fuse"), "{}", said(&output));
}
