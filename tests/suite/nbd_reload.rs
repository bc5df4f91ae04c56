//! How a running block server learns a new export while its clients go on reading: the three ways that the manual
//! names, each with the real server on plain files.

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use testkit::nbd::{self, Client};
use testkit::ports;
use testkit::process::PATIENCE;

const NBD_RELOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/nbd-reload");

#[test]
fn a_client_reads_on_through_three_reloads_and_each_brings_its_export() {
    let tree = Tree::new();
    tree.add_export("first.iso");
    assert_reloaded(&tree.reload());
    let first = tree.bytes("first.iso");
    let mut client = tree.client("first.iso");
    assert!(client.is_read_only());

    let stop = AtomicBool::new(false);
    let reads = std::thread::scope(|threads| {
        // Reads all the time, so that requests are under way at the moment of each reload.
        let reader = threads.spawn(|| {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let offset = reads * 4096 % (first.len() - 4096);
                let got = client.read(offset as u64, 4096).expect("a read");
                assert!(got == first[offset..offset + 4096], "bytes at {offset}");
                reads += 1;
            }
            (reads, client)
        });

        let _stop_also_on_panic = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let mut names = vec!["first.iso".to_owned()];
        for name in ["second.iso", "third.iso", "fourth.iso"] {
            let parent = tree.parent();
            assert!(tree.connect(name).is_err(), "{name} before its reload");
            tree.add_export(name);
            assert_reloaded(&tree.reload());
            assert_ne!(tree.parent(), parent);

            names.push(name.to_owned());
            assert_eq!(nbd::list(tree.server()).expect("the list"), names);
            for name in &names {
                let got = tree.client(name).read_all().expect(name);
                assert!(got == tree.bytes(name), "the bytes of {name}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        let (reads, mut client) = reader.join().expect("the reader");
        assert!(client.read_all().expect("the whole export") == first);
        client.disconnect().expect("a good-bye");
        reads
    });
    assert!(reads > 0);
}

#[test]
fn a_client_that_is_silent_in_its_handshake_does_not_keep_the_port() {
    let tree = Tree::new();
    tree.add_export("old.iso");
    assert_reloaded(&tree.reload());
    let mut old = tree.client("old.iso");
    let mut silent = TcpStream::connect(tree.server()).expect("a connection");
    silent.read_exact(&mut [0; 18]).expect("the greeting");

    tree.add_export("new.iso");
    assert_reloaded(&tree.reload());

    assert!(tree.client("new.iso").read_all().unwrap() == tree.bytes("new.iso"));
    assert!(old.read_all().expect("the old client") == tree.bytes("old.iso"));
}

#[test]
fn a_stale_pid_file_kills_nobody() {
    let tree = Tree::new();
    tree.add_export("any.iso");
    let mut stranger = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
    fs::write(tree.pid_file(), format!("{}\n", stranger.id())).unwrap();

    assert_reloaded(&tree.reload());

    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    assert!(tree.client("any.iso").read_all().unwrap() == tree.bytes("any.iso"));
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
}

#[test]
fn a_port_that_another_program_holds_is_said_and_left_to_it() {
    let tree = Tree::new();
    tree.add_export("any.iso");
    let other = TcpListener::bind(tree.server()).expect("the port");

    let output = tree.reload();

    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("port {} is taken by process", tree.port);
    assert!(said.contains(&expected), "{said}");
    drop(other);
}

#[test]
fn an_nbd_server_for_each_connection_has_nothing_to_reload() {
    need("nbd-server", "nbd-server (Debian) or nbd (Fedora)");
    need("systemd-socket-activate", "systemd");
    let tree = Tree::without_port();
    tree.add_export("old.iso");
    // What the units nbd-netrootfs.socket and nbd-netrootfs@.service do.
    let _listener = tree.spawn(
        Command::new("systemd-socket-activate")
            .arg(format!("--listen={}", tree.server()))
            .args(["--accept", "--inetd", "nbd-server", "-d", "-C"])
            .arg(tree.conf())
            .arg("127.0.0.1:0"),
    );
    let mut old = tree.first_client("old.iso");
    assert!(old.read(0, 4096).unwrap() == tree.bytes("old.iso")[..4096]);

    tree.add_export("new.iso");

    assert_eq!(nbd::list(tree.server()).unwrap(), ["old.iso", "new.iso"]);
    assert!(tree.client("new.iso").read_all().unwrap() == tree.bytes("new.iso"));
    assert!(old.read_all().unwrap() == tree.bytes("old.iso"));
    old.disconnect().expect("a good-bye");
}

#[test]
fn nbdkit_has_nothing_to_reload() {
    need("nbdkit", "nbdkit");
    let tree = Tree::without_port();
    tree.add_export("old.iso");
    let mut nbdkit = Command::new("nbdkit");
    nbdkit.args(["--foreground", "--readonly", "--ipaddr", "127.0.0.1"]);
    nbdkit.args(["--port", &tree.port.to_string()]);
    if is_root() {
        nbdkit.args(["--user", "nbd", "--group", "nbd"]);
    }
    nbdkit.arg("file").arg(format!("dir={}", tree.images().display()));
    let _nbdkit = tree.spawn(&mut nbdkit);
    let mut old = tree.first_client("old.iso");
    assert!(old.is_read_only());

    tree.add_export("new.iso");

    assert!(tree.client("new.iso").read_all().unwrap() == tree.bytes("new.iso"));
    assert!(old.read_all().unwrap() == tree.bytes("old.iso"));
}

/// A directory of plain files in the shape of the tree's `images/`, and a port for its server. Dropped, it kills what
/// runs on its configuration: no process of anyone else has that path among its arguments.
struct Tree {
    directory: TempDir,
    port: u16,
}

impl Tree {
    /// Its nbd.conf names the port.
    fn new() -> Self {
        let tree = Self::without_port();
        let conf = fs::read_to_string(tree.conf()).unwrap();
        fs::write(tree.conf(), format!("{conf}port = {}\n", tree.port)).unwrap();
        tree
    }

    /// Its nbd.conf leaves the port to the command line.
    fn without_port() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // The server runs as another user.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(directory.path().join("images")).unwrap();
        let tree = Self { directory, port: ports::free() };
        let user = if is_root() { "user = nbd\ngroup = nbd\n" } else { "" };
        let generic = "[generic]\nallowlist = true\nlistenaddr = 127.0.0.1\n";
        fs::write(tree.conf(), format!("{generic}{user}")).unwrap();
        tree
    }

    fn images(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    fn conf(&self) -> PathBuf {
        self.images().join("nbd.conf")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.path().join("nbd-server.pid")
    }

    fn server(&self) -> SocketAddr {
        ports::local(self.port)
    }

    /// Writes a file of `name`'s own bytes, of a size that is no multiple of a block, and its section.
    fn add_export(&self, name: &str) {
        let path = self.images().join(name);
        let seed = name.bytes().fold(7u32, |sum, byte| sum * 31 % 65_521 + u32::from(byte));
        let bytes = (0..1_300_003u32).map(|n| (n.wrapping_mul(seed) >> 7).to_le_bytes()[0]);
        fs::write(&path, bytes.collect::<Vec<_>>()).unwrap();
        let mut conf = fs::read_to_string(self.conf()).unwrap();
        conf += &format!("[{name}]\nexportname = {}\nreadonly = true\n", path.display());
        conf += "virtstyle = none\nmultifile = false\ncopyonwrite = false\n";
        fs::write(self.conf(), conf).unwrap();
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.images().join(name)).unwrap()
    }

    fn reload(&self) -> Output {
        need("nbd-server", "nbd-server (Debian) or nbd (Fedora)");
        need("ss", "iproute2 (Debian) or iproute (Fedora)");
        // A pipe would stay open in the daemon, and nobody would see its end.
        let stderr = self.directory.path().join("stderr");
        let status = Command::new(NBD_RELOAD)
            .arg(self.conf())
            .arg(self.pid_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).unwrap())
            .status()
            .expect("scripts/nbd-reload");
        Output { status, stdout: Vec::new(), stderr: fs::read(stderr).unwrap() }
    }

    fn parent(&self) -> String {
        fs::read_to_string(self.pid_file()).expect("a pid file")
    }

    fn connect(&self, export: &str) -> std::io::Result<Client> {
        Client::connect(self.server(), export)
    }

    fn client(&self, export: &str) -> Client {
        self.connect(export).expect(export)
    }

    /// A client of a server that was started a moment ago: tries until it listens.
    fn first_client(&self, export: &str) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.connect(export) {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < deadline, "{export}: {error}"),
            }
            std::thread::yield_now();
        }
    }

    fn spawn(&self, command: &mut Command) -> Killed {
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Killed(child.expect("a server"))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for pid in processes_with_argument(&self.conf()) {
            let _gone_already = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// A child process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn processes_with_argument(argument: &Path) -> Vec<Pid> {
    let argument = argument.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let arguments = fs::read(entry.path().join("cmdline")).ok()?;
        let found = arguments.split(|byte| *byte == 0).any(|one| one == argument);
        found.then_some(pid)
    });
    pids.collect()
}

fn assert_reloaded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nbd-reload: {said}");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn need(program: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    assert!(found, "this test needs {program}: install the package {package}");
}
