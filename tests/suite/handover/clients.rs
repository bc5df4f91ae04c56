//! A dozen clients of different kinds, while the daemon is killed again and again: each byte is compared.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::place::{Daemon, Place, said};
use testkit::disc::Disc;
use testkit::nbd::{self, Client};
use testkit::ports::free;
use testkit::process::{Process, run};
use testkit::tftp;
use testkit::work::Work;

/// How often it is killed, two seconds apart; `NETROOTFS_KILLS` says otherwise.
const KILLS: u32 = 12;
const APART: Duration = Duration::from_secs(2);
/// It has served by then for longer than what would be a crash loop, however long the machine takes to get there.
const SERVED: Duration = Duration::from_millis(1500);

#[test]
fn a_dozen_clients_see_no_error_on_the_kernel_s_path() {
    killed_under_load("kernel");
}

#[test]
fn a_dozen_clients_see_no_error_on_the_cache_s_path() {
    killed_under_load("cache");
}

/// What all clients share.
struct Scene<'a> {
    place: &'a Place,
    disc: &'a Disc,
    nbd: SocketAddr,
    tftp: SocketAddr,
    over: &'a AtomicBool,
}

/// A client: does its work once, and says what went wrong.
type Task = fn(&Scene<'_>) -> Result<(), String>;

/// All kinds, by name.
const CLIENTS: [(&str, Task); 12] = [
    ("dd of the whole ISO", dd),
    ("dd in small pieces, whose pages are dropped", dd_small),
    ("fresh opens", fresh_opens),
    ("a held file", held_file),
    ("held text", held_text),
    ("nbdcopy", nbdcopy),
    ("an NBD connection", nbd_connection),
    ("TFTP", tftp_get),
    ("ls -lR", ls),
    ("a slow listing", slow_listing),
    ("a working directory below trees/", working_directory),
    ("files below trees/", below_trees),
];

fn killed_under_load(path: &str) {
    let disc = Disc::new("One", 1);
    let place = Place::with("one.iso", &disc);
    for number in 0..20 {
        let name = format!("Other{number}");
        Disc::new(&name, 1).write_without_root(&place.iso(&format!("{name}.iso")));
    }
    let port = free();
    let daemon = place.start(&["--data-path", path, "--cache-size", "1M", "--nbd-port", &port.to_string()]);
    place.eventually("all ISOs", || fs::read_dir(place.tree("images")).unwrap().count() == 43);
    let (nbd_server, (_tftpd, tftp)) = (NbdServer::start(&place, port), tftpd(&place));
    let over = AtomicBool::new(false);
    let scene = Scene { place: &place, disc: &disc, nbd: nbd_server.address, tftp, over: &over };
    let counts = CLIENTS.map(|_| AtomicU64::new(0));
    let faults: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = CLIENTS
            .iter()
            .zip(&counts)
            .map(|((name, client), count)| {
                let scene = &scene;
                scope.spawn(move || {
                    while !scene.over.load(Ordering::Relaxed) {
                        client(scene).map_err(|fault| format!("{name}: {fault}"))?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        let killed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kill_again_and_again(&place, &daemon)));
        over.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().filter_map(|client| client.join().expect("a client").err());
        ended.chain(killed.err().map(|_| "the kills: see above".to_owned())).collect()
    });
    assert!(faults.is_empty(), "on the {path}'s path: {faults:#?}");
    for ((name, _), count) in CLIENTS.iter().zip(&counts) {
        assert!(count.load(Ordering::Relaxed) > 0, "{name} has not come to an end once");
    }
    let log = place.log();
    assert!(!log.contains("can't be read any more") && !log.contains("outlive"), "{log}");
    drop(nbd_server);
    daemon.stop();
}

fn kill_again_and_again(place: &Place, daemon: &Daemon<'_>) {
    let kills = std::env::var("NETROOTFS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    for _ in 0..kills {
        let (old, since) = (daemon.server().unwrap(), Instant::now());
        daemon.kill_server();
        place.eventually("another process", || daemon.server().is_some_and(|new| new != old));
        // Asked of the mount, it is answered when it is served.
        fs::metadata(place.tree("tftp")).unwrap();
        let served = Instant::now();
        println!("served again after {:.0} ms", since.elapsed().as_secs_f64() * 1e3);
        while since.elapsed() < APART || served.elapsed() < SERVED {
            std::thread::yield_now();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn same(what: &str, got: &[u8], wanted: &[u8]) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    let at = got.iter().zip(wanted).position(|(one, other)| one != other);
    Err(format!("{what}: {} bytes of {}, the first other one at {at:?}", got.len(), wanted.len()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn by_dd(scene: &Scene<'_>, options: &[&str]) -> Result<(), String> {
    let from = format!("if={}", scene.place.tree("images/One.iso").display());
    let output = Command::new("dd").arg(from).args(options).stderr(Stdio::piped()).output().map_err(text)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    same("dd", &output.stdout, &scene.disc.iso)
}

fn dd(scene: &Scene<'_>) -> Result<(), String> {
    by_dd(scene, &["bs=64k"])
}

fn dd_small(scene: &Scene<'_>) -> Result<(), String> {
    by_dd(scene, &["bs=4k", "iflag=nocache"])
}

fn fresh_opens(scene: &Scene<'_>) -> Result<(), String> {
    for (name, bytes) in [
        ("images/One", &scene.disc.root),
        ("tftp/vmlinuz_One", &scene.disc.kernel),
        ("tftp/initrd_One.img", &scene.disc.initrd),
    ] {
        let file = File::open(scene.place.tree(name)).map_err(|error| format!("open {name}: {error}"))?;
        let at = bytes.len() / 2;
        let mut piece = vec![0; 5000];
        file.read_exact_at(&mut piece, at as u64).map_err(|error| format!("read {name}: {error}"))?;
        same(name, &piece, &bytes[at..at + 5000])?;
    }
    Ok(())
}

fn held_file(scene: &Scene<'_>) -> Result<(), String> {
    let mut file = File::open(scene.place.tree("images/One")).map_err(text)?;
    for _ in 0..100 {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(text)?;
        file.seek(SeekFrom::Start(0)).map_err(text)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(text)?;
        same("a held file", &bytes, &scene.disc.root)?;
        if scene.over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

fn held_text(scene: &Scene<'_>) -> Result<(), String> {
    let name = scene.place.tree("tftp/pxelinux.cfg/default");
    let file = File::open(name).map_err(text)?;
    let mut before = None;
    for _ in 0..100 {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(text)?;
        let mut bytes = vec![0; file.metadata().map_err(text)?.len() as usize];
        file.read_exact_at(&mut bytes, 0).map_err(text)?;
        same("held text", &bytes, before.get_or_insert_with(|| bytes.clone()))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn nbdcopy(scene: &Scene<'_>) -> Result<(), String> {
    let to = scene.place.elsewhere("nbdcopy");
    let output = Command::new("nbdcopy").arg(format!("nbd://{}/One.iso", scene.nbd)).arg(&to).output();
    let output = output.map_err(|error| format!("is it installed? {error}"))?;
    if !output.status.success() {
        return Err(said(&output));
    }
    same("nbdcopy", &fs::read(to).map_err(text)?, &scene.disc.iso)
}

fn nbd_connection(scene: &Scene<'_>) -> Result<(), String> {
    let mut client = Client::connect(scene.nbd, "One").map_err(text)?;
    for number in 0..400_usize {
        let at = number * 104_729 % (scene.disc.root.len() - 20_000);
        let bytes = client.read(at as u64, 20_000).map_err(|error| format!("{at}: {error}"))?;
        same("NBD", &bytes, &scene.disc.root[at..at + 20_000])?;
        if scene.over.load(Ordering::Relaxed) {
            break;
        }
    }
    client.disconnect().map_err(text)
}

fn tftp_get(scene: &Scene<'_>) -> Result<(), String> {
    same("TFTP", &tftp::fetch(scene.tftp, "vmlinuz_One").map_err(text)?, &scene.disc.kernel)
}

fn ls(scene: &Scene<'_>) -> Result<(), String> {
    let output = Command::new("ls").arg("-lR").arg(scene.place.mnt()).output().map_err(text)?;
    let list = String::from_utf8_lossy(&output.stdout);
    let discs = list.matches("isolinux.cfg").count();
    match output.status.success() && output.stderr.is_empty() && discs == 21 {
        true => Ok(()),
        false => Err(format!("{discs} discs; {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn slow_listing(scene: &Scene<'_>) -> Result<(), String> {
    let directory = File::open(scene.place.tree("images")).map_err(text)?;
    let mut names = Vec::new();
    // Room for few: so each some ask again.
    let mut room = Vec::with_capacity(300);
    let mut listing = rustix::fs::RawDir::new(&directory, room.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        names.push(entry.map_err(text)?.file_name().to_owned());
        std::thread::sleep(Duration::from_millis(20));
    }
    names.sort();
    names.dedup();
    if names.len() == 45 { Ok(()) } else { Err(format!("{} names", names.len())) }
}

fn working_directory(scene: &Scene<'_>) -> Result<(), String> {
    let script = "for i in 1 2 3 4 5 6 7 8; do ls -l >&2; cat initrd.img; cd ../LiveOS; cd ../isolinux; sleep 0.2; done";
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", script]).current_dir(scene.place.tree("trees/One/isolinux"));
    let output = command.output().map_err(text)?;
    let list = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || list.matches(" initrd.img\n").count() != 8 {
        return Err(list.into_owned());
    }
    same("a working directory", &output.stdout, &scene.disc.initrd.repeat(8))
}

fn below_trees(scene: &Scene<'_>) -> Result<(), String> {
    let read = |name: &str| {
        fs::read(scene.place.tree("trees/One").join(name)).map_err(|error| format!("{name}: {error}"))
    };
    same("vmlinuz", &read("isolinux/vmlinuz")?, &scene.disc.kernel)?;
    same("squashfs.img", &read("LiveOS/squashfs.img")?, &scene.disc.root)
}

/// nbd-server as Debian runs it: a daemon, as user nbd, with the tree's own configuration.
struct NbdServer {
    group: Pid,
    address: SocketAddr,
}

impl NbdServer {
    fn start(place: &Place, port: u16) -> Self {
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let line =
            users.lines().find(|line| line.starts_with("nbd:")).expect("no user nbd: is it installed?");
        let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        let pid_file = place.top().join("nbd-server.pid");
        File::create(&pid_file).unwrap();
        chown(&pid_file, Some(ids[0]), Some(ids[1])).unwrap();
        let mut command = Command::new("nbd-server");
        command.arg("-C").arg(place.tree("images/nbd.conf")).arg("-p").arg(&pid_file);
        run(command.uid(ids[0]).gid(ids[1])).unwrap();
        let pid = || fs::read_to_string(&pid_file).unwrap().trim().parse().ok().and_then(Pid::from_raw);
        place.eventually("nbd-server's pid file", || pid().is_some());
        let server = Self { group: pid().unwrap(), address: (Ipv4Addr::LOCALHOST, port).into() };
        place.eventually("nbd-server", || nbd::list(server.address).is_ok());
        server
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        // It leads a session; its children, one a client, are in its process group.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// in.tftpd on an address of this process alone.
fn tftpd(place: &Place) -> (Process, SocketAddr) {
    static NEXT: AtomicU64 = AtomicU64::new(100);
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed) as u8);
    let mut command = Command::new("in.tftpd");
    command.args(["--foreground", "--listen", "--secure", "--user", "tftp"]);
    command.arg("--address").arg(format!("{address}:69")).arg(place.tree("tftp"));
    let work = Work::new(&format!("handover-{address}")).unwrap();
    let process = Process::spawn(&mut command, &work).unwrap();
    place.eventually("in.tftpd", || tftp::ask(address, "pxelinux.cfg/default").is_ok());
    (process, (address, tftp::PORT).into())
}
