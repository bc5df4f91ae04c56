//! TFTP servers.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use testkit::disc::Disc;
use testkit::process::{PATIENCE, Process};
use testkit::promise::Stopwatch;
use testkit::tftp::{Answer, Loaders, PORT, ask};
use testkit::work::Work;

use crate::support::place::{Place, said};

/// The servers, and how they run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    TftpdHpa,
    Atftpd,
    Dnsmasq,
    DnsmasqSecure,
}

/// A server on an address of its own, since dnsmasq knows no port but 69.
pub struct Server {
    pub address: Ipv4Addr,
    _process: Process,
}

impl Server {
    pub fn start(kind: Kind, place: &Place) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed));
        let root = place.tree("tftp");
        let mut command = match kind {
            Kind::TftpdHpa => {
                let mut command = Command::new("in.tftpd");
                command.args(["--foreground", "--listen", "--secure", "--user", "tftp", "-vvv"]);
                command.arg("--address").arg(format!("{address}:69")).arg(root);
                command
            }
            Kind::Atftpd => {
                let mut command = Command::new(atftpd());
                command.args(["--daemon", "--no-fork", "--port", "69", "--user", "nobody.nogroup"]);
                command.args(["--logfile", "-", "--verbose=7"]);
                command.arg("--bind-address").arg(address.to_string()).arg(root);
                command
            }
            Kind::Dnsmasq | Kind::DnsmasqSecure => {
                let mut command = Command::new("dnsmasq");
                command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file="]);
                command.args(["--bind-interfaces", "--user=dnsmasq", "--log-facility=-", "--enable-tftp"]);
                command.arg(format!("--listen-address={address}"));
                command.arg(format!("--tftp-root={}", root.display()));
                command.args((kind == Kind::DnsmasqSecure).then_some("--tftp-secure"));
                command
            }
        };
        let work = Work::new(&format!("servers-{address}")).unwrap();
        let mut process = Process::spawn(&mut command, &work).unwrap();
        place.eventually("the TFTP server", || {
            if let Err(error) = process.ensure_runs() {
                work.print_logs();
                panic!("{error}");
            }
            ask(address, "pxelinux.cfg/default").is_ok()
        });
        Self { address, _process: process }
    }
}

fn atftpd() -> PathBuf {
    if let Some(program) = std::env::var_os("NETROOTFS_ATFTPD").map(PathBuf::from) {
        assert!(program.is_file(), "NETROOTFS_ATFTPD is {}, and that is no program", program.display());
        return program;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.push("/var/tmp/netrootfs-tools/usr/sbin".into());
    let programs = directories.into_iter().map(|directory| directory.join("atftpd"));
    programs.into_iter().find(|program| program.is_file()).expect(
        "no atftpd: install it, or unpack it ('apt-get download atftpd', 'dpkg-deb -x') and say by NETROOTFS_ATFTPD where",
    )
}

/// Options of netrootfs that a server needs.
fn options(kind: Kind) -> Vec<String> {
    if kind != Kind::DnsmasqSecure {
        return Vec::new();
    }
    // tftp-secure serves only what belongs to dnsmasq's own user.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line =
        users.lines().find(|line| line.starts_with("dnsmasq:")).expect("no user dnsmasq: is it installed?");
    let fields: Vec<&str> = line.split(':').collect();
    ["--uid", fields[2], "--gid", fields[3]].map(str::to_owned).into()
}

/// A file fetched by tftp-hpa's client.
fn by_tftp(place: &Place, server: &Server, file: &str) -> Result<Vec<u8>, String> {
    let local = place.elsewhere("by tftp");
    let _ = fs::remove_file(&local);
    let mut command = Command::new("tftp");
    command.args(["-m", "binary", &server.address.to_string(), "-c", "get", file]).arg(&local);
    let output = command.stdin(Stdio::null()).output().expect("tftp: is tftp-hpa installed?");
    let text = said(&output);
    if text.contains("Error code") { Err(text) } else { Ok(fs::read(&local).expect(&text)) }
}

/// A file fetched by atftp, with its options.
fn by_atftp(place: &Place, server: &Server, file: &str) -> Result<Vec<u8>, String> {
    let local = place.elsewhere("by atftp");
    let _ = fs::remove_file(&local);
    let mut command = Command::new("atftp");
    command.args(["--option", "tsize 0", "--option", "blksize 1428", "-g", "-r", file, "-l"]).arg(&local);
    command.args([&server.address.to_string(), "69"]);
    let output = command.stdin(Stdio::null()).output().expect("atftp: is it installed?");
    if output.status.success() { Ok(fs::read(&local).unwrap()) } else { Err(said(&output)) }
}

/// All that holds for every server.
fn serves(kind: Kind) {
    let (old, odd) = (Disc::new("Live", 1), Disc::new("Odd: %s ^[x] 100%", 2));
    let place = Place::with("live.iso", &old);
    place.put("odd.iso", &odd);
    let options = options(kind);
    let _daemon = place.start(&options.iter().map(String::as_str).collect::<Vec<_>>());
    place.eventually("the verdicts", || {
        place.text("tftp/pxelinux.cfg/default").matches("/dev/nbd0").count() == 2
    });
    let server = Server::start(kind, &place);

    let label = fs::read_dir(place.tree("images")).unwrap().flatten();
    let label =
        label.filter_map(|entry| entry.file_name().into_string().ok()).find(|name| name.starts_with("Odd"));
    let label = label.unwrap().strip_suffix(".iso").unwrap().to_owned();
    let mut files = vec![
        ("vmlinuz_Live".to_owned(), old.kernel.clone()),
        ("initrd_Live.img".to_owned(), old.initrd.clone()),
        (format!("vmlinuz_{label}"), odd.kernel.clone()),
        (format!("initrd_{label}.img"), odd.initrd.clone()),
    ];
    for file in ["pxelinux.0", "pxelinux.cfg/default"] {
        files.push((file.to_owned(), place.read(&format!("tftp/{file}"))));
    }
    for (file, bytes) in &files {
        assert!(by_tftp(&place, &server, file).expect(file) == *bytes, "{file} by tftp");
        assert!(by_atftp(&place, &server, file).expect(file) == *bytes, "{file} by atftp");
        assert_eq!(ask(server.address, file).unwrap(), Answer::Size(bytes.len() as u64), "{file}");
    }
    // As GRUB asks.
    let menu = place.read("tftp/pxelinux.cfg/default");
    assert!(by_atftp(&place, &server, "/pxelinux.cfg/default").expect("a leading slash") == menu);

    // As pxelinux searches: each name must be refused at once.
    for missing in ["pxelinux.cfg/01-52-54-00-12-34-56", "pxelinux.cfg/0A00026F", "grub.efi", "none/none"] {
        let watch = Stopwatch::start();
        let answer = ask(server.address, missing).unwrap();
        assert!(matches!(answer, Answer::Refused(1, _)), "{missing}: {answer:?}");
        let took = watch.took();
        assert!(took < Duration::from_secs(1), "{missing}: {took:?}");
    }
    assert!(by_tftp(&place, &server, "missing").is_err());

    // New content under the same names, and names that come and go.
    let new = Disc::new("Live", 3);
    place.put("live.iso", &new);
    place.put("third.iso", &Disc::new("Third", 4));
    place.promised("the new ISO", || {
        place.text("tftp/pxelinux.cfg/default").contains("label Third\n")
            && place.read("tftp/vmlinuz_Live") == new.kernel
    });
    assert!(by_tftp(&place, &server, "vmlinuz_Live").unwrap() == new.kernel);
    assert!(by_atftp(&place, &server, "initrd_Live.img").unwrap() == new.initrd);
    let menu = String::from_utf8(by_tftp(&place, &server, "pxelinux.cfg/default").unwrap()).unwrap();
    assert!(menu.contains("label Third\n"), "{menu}");
    fs::remove_file(place.iso("odd.iso")).unwrap();
    place.promised("its end", || !place.tree(&format!("tftp/vmlinuz_{label}")).exists());
    let answer = ask(server.address, &format!("vmlinuz_{label}")).unwrap();
    assert!(matches!(answer, Answer::Refused(1, _)), "{answer:?}");
}

#[test]
fn tftpd_hpa_serves_the_tree() {
    serves(Kind::TftpdHpa);
}

#[test]
fn atftpd_serves_the_tree() {
    serves(Kind::Atftpd);
}

#[test]
fn dnsmasq_serves_the_tree() {
    serves(Kind::Dnsmasq);
}

#[test]
fn dnsmasq_with_tftp_secure_serves_a_tree_of_its_own_user() {
    serves(Kind::DnsmasqSecure);
}

#[test]
fn loaders_that_ask_in_one_moment_get_every_byte() {
    const LOADERS: usize = 16;
    let disc = Disc::new("Live", 1);
    let place = Place::with("live.iso", &disc);
    let _daemon = place.start(&[]);
    place.eventually("the verdicts", || place.text("tftp/pxelinux.cfg/default").contains("/dev/nbd0"));
    let files = ["vmlinuz_Live", "initrd_Live.img"];
    for (kind, window) in [(Kind::TftpdHpa, 1), (Kind::Dnsmasq, 1), (Kind::Atftpd, 1), (Kind::Atftpd, 16)] {
        let server = Server::start(kind, &place);
        let mut loaders = Loaders::start((server.address, PORT).into(), &files, LOADERS, window).unwrap();
        let mut fetched = vec![[Vec::<u8>::new(), Vec::new()]; LOADERS];
        let until = Instant::now() + PATIENCE;
        loaders
            .run(until, |block| {
                fetched[block.machine][block.file].extend(block.data);
                Ok(())
            })
            .unwrap();
        assert_eq!(loaders.fetched().len(), LOADERS, "{kind:?}");
        assert!(fetched.iter().all(|files| files[0] == disc.kernel && files[1] == disc.initrd), "{kind:?}");
    }
}

#[test]
fn a_server_that_is_stopped_leaves_the_tree_to_be_unmounted() {
    let place = Place::with("live.iso", &Disc::new("Live", 1));
    let daemon = place.start(&[]);
    for kind in [Kind::TftpdHpa, Kind::Atftpd, Kind::Dnsmasq] {
        drop(Server::start(kind, &place));
    }
    daemon.stop();
}
