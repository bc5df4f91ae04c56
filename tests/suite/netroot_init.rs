//! `netroot-init` against real servers: nbd-server and nbdkit on loopback, dnsmasq in a network of the test's own.
//!
//! The program is run by hand, as in a rescue shell, and as the first process of a User Mode Linux, as far as it gets there
//! without a network. Needs root for the networks, nbdkit, nbd-server, dnsmasq, iproute2, util-linux, user-mode-linux, the
//! programs that compress, and the static program of `scripts/netroot-init`; what is missing is an error, never a pass.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use netrootfs::boot::netroot::kernel::Arch;
use netrootfs::boot::netroot::program::Programs;
use netrootfs::image::cpio::Writer;
use rustix::process::{Pid, Signal, kill_process};
use testkit::disc::noise;
use testkit::netns::{self, BRIDGE, GUESTS, SERVER};
use testkit::ports;
use testkit::process::{PATIENCE, Process, run, wait_for};
use testkit::uml::Uml;
use testkit::work::Work;

const PROGRAM: &str = env!("CARGO_BIN_EXE_netroot-init");
const DISC_SIZE: usize = 64 * 1024;

/// The words of `netroot-init nbd`: on both outputs, and whether it was content.
struct Said {
    text: String,
    good: bool,
}

fn ask(port: u16, export: &str) -> Result<Said> {
    let output = Command::new(PROGRAM).args(["nbd", &format!("127.0.0.1:{port}/{export}")]).output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    Ok(Said { text, good: output.status.success() })
}

fn refused(port: u16, export: &str, words: &[&str]) -> Result<()> {
    let said = ask(port, export)?;
    ensure!(!said.good, "it is content: {}", said.text);
    for word in words {
        ensure!(said.text.contains(word), "no '{word}' in: {}", said.text);
    }
    Ok(())
}

/// A directory with `disc.iso`: nothing but a primary volume descriptor (ECMA-119, 8.4).
fn disc(work: &Work) -> Result<PathBuf> {
    let directory = work.scratch("images");
    fs::create_dir(&directory)?;
    let mut disc = vec![0; DISC_SIZE];
    disc[32768..32774].copy_from_slice(b"\x01CD001");
    disc[32808..32840].copy_from_slice(b"Netroot-Test-12                 ");
    fs::write(directory.join("disc.iso"), disc)?;
    Ok(directory)
}

/// nbdkit on a port of its own, ready.
fn nbdkit(work: &Work, words: &[&str]) -> Result<(Process, u16)> {
    let port = ports::free();
    let mut command = Command::new("nbdkit");
    command
        .args(["--foreground", "--readonly", "--ipaddr", "127.0.0.1", "--port", &port.to_string()])
        .args(words);
    let mut server = Process::spawn(&mut command, work)?;
    wait_for("nbdkit", PATIENCE, || {
        server.ensure_runs()?;
        listens(port)
    })?;
    Ok((server, port))
}

fn listens(port: u16) -> Result<bool> {
    Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
}

#[test]
fn nbdkits_disc_is_named() -> Result<()> {
    let work = Work::new("netroot-init-nbdkit")?;
    let directory = disc(&work)?;
    let (_server, port) = nbdkit(&work, &["file", &format!("dir={}", directory.display())])?;
    let said = ask(port, "disc.iso")?;
    ensure!(said.good && said.text.contains("size 65536\n"), "{}", said.text);
    ensure!(
        said.text.contains("block 512\n") && said.text.contains("disc Netroot-Test-12\n"),
        "{}",
        said.text
    );
    refused(port, "nothing.iso", &["refuses the export 'nothing.iso'"])
}

#[test]
fn a_disc_is_read_to_its_end_and_from_the_next_server_when_one_dies() -> Result<()> {
    let work = Work::new("netroot-init-read")?;
    let directory = disc(&work)?;
    let file = directory.join("disc.iso");
    // More than pipe and sockets hold, so that somebody still reads when the first server is gone.
    let disc = [fs::read(&file)?, noise(1, 64 << 20)].concat();
    fs::write(&file, &disc)?;
    let dir = format!("dir={}", directory.display());
    let servers = [nbdkit(&work, &["file", &dir])?, nbdkit(&work, &["file", &dir])?];
    let names = servers.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    let complaints = work.log("read");
    let mut reader = Command::new(PROGRAM)
        .args(["read", "52:54:00:12:34:56", &format!("{}/disc.iso", names.join(","))])
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&complaints)?)
        .spawn()?;
    let mut output = reader.stdout.take().context("a pipe")?;
    let mut read = vec![0; 1 << 20];
    output.read_exact(&mut read)?;
    let said = fs::read_to_string(&complaints)?;
    ensure!(said.contains(&format!("/disc.iso has {} bytes", disc.len())), "{said}");
    let (used, _other): (Vec<_>, Vec<_>) =
        servers.into_iter().partition(|(_, port)| said.contains(&format!("127.0.0.1:{port}/")));
    let gone: Vec<_> = used.into_iter().map(|(_, port)| port).collect();
    output.read_to_end(&mut read)?;
    ensure!(reader.wait()?.success(), "{}", fs::read_to_string(&complaints)?);
    ensure!(read == disc, "{} bytes that are not the disc's", read.len());
    let said = fs::read_to_string(&complaints)?;
    // Whether it still says who took its place before it has read the rest, is left to chance.
    ensure!(said.contains(&format!("the NBD server 127.0.0.1:{} is gone", gone[0])), "{said}");
    Ok(())
}

#[test]
fn a_reader_that_wants_no_more_of_a_disc_is_no_error() -> Result<()> {
    let work = Work::new("netroot-init-head")?;
    let directory = disc(&work)?;
    fs::write(directory.join("disc.iso"), noise(1, 8 << 20))?;
    let (_server, port) = nbdkit(&work, &["file", &format!("dir={}", directory.display())])?;
    let mut reader = Command::new(PROGRAM)
        .args(["read", "52:54:00:12:34:56", &format!("127.0.0.1:{port}/disc.iso")])
        .stdout(Stdio::piped())
        .spawn()?;
    reader.stdout.take().context("a pipe")?.read_exact(&mut [0; 512])?;
    ensure!(reader.wait()?.success());
    Ok(())
}

#[test]
fn a_smallest_block_is_kept() -> Result<()> {
    let work = Work::new("netroot-init-blocks")?;
    let directory = disc(&work)?;
    let file = directory.join("disc.iso");
    let file = file.to_string_lossy();
    let limits = ["blocksize-minimum=2048", "blocksize-preferred=4096", "blocksize-maximum=1M"];
    let words = [&["--filter=blocksize-policy", "file", &file][..], &limits].concat();
    let (_server, port) = nbdkit(&work, &words)?;
    let said = ask(port, "")?;
    ensure!(said.good && said.text.contains("block 2048\n"), "{}", said.text);
    Ok(())
}

#[test]
fn a_server_that_wants_tls_is_told_apart() -> Result<()> {
    let work = Work::new("netroot-init-tls")?;
    let directory = disc(&work)?;
    let keys = work.scratch("keys");
    fs::write(&keys, "netroot:00112233445566778899aabbccddeeff\n")?;
    let (psk, dir) = (format!("--tls-psk={}", keys.display()), format!("dir={}", directory.display()));
    let (_server, port) = nbdkit(&work, &["--tls=require", &psk, "file", &dir])?;
    refused(port, "disc.iso", &["refuses the export 'disc.iso'", "TLS"])
}

#[test]
fn a_slow_server_is_waited_for() -> Result<()> {
    let work = Work::new("netroot-init-slow")?;
    let directory = disc(&work)?;
    let dir = format!("dir={}", directory.display());
    let (_server, port) = nbdkit(&work, &["--filter=delay", "file", &dir, "delay-open=2", "delay-read=2"])?;
    let said = ask(port, "disc.iso")?;
    ensure!(said.good && said.text.contains("disc Netroot-Test-12\n"), "{}", said.text);
    Ok(())
}

#[test]
fn a_disk_that_cant_be_read_is_no_disk() -> Result<()> {
    let work = Work::new("netroot-init-error")?;
    let directory = disc(&work)?;
    let dir = format!("dir={}", directory.display());
    let (_server, port) = nbdkit(&work, &["--filter=error", "file", &dir, "error-pread-rate=100%"])?;
    refused(port, "disc.iso", &["can't read the disk"])
}

#[test]
fn nbd_server_says_which_exports_it_has() -> Result<()> {
    let work = Work::new("netroot-init-nbd-server")?;
    let directory = disc(&work)?;
    let (port, config, pid) = (ports::free(), work.scratch("nbd.conf"), work.scratch("nbd.pid"));
    let place = directory.display();
    fs::write(
        &config,
        format!(
            "[generic]\nport = {port}\nlistenaddr = 127.0.0.1\n\
             [disc.iso]\nexportname = {place}/disc.iso\nreadonly = true\n\
             [gone.iso]\nexportname = {place}/gone.iso\nreadonly = true\n"
        ),
    )?;
    // `-d` would serve one client only.
    run(Command::new("nbd-server").arg("-C").arg(&config).arg("-p").arg(&pid))?;
    let _end = KillByFile(&pid);
    wait_for("nbd-server", PATIENCE, || listens(port))?;

    let said = ask(port, "disc.iso")?;
    ensure!(said.good && said.text.contains("disc Netroot-Test-12\n"), "{}", said.text);
    refused(port, "nothing.iso", &["refuses the export 'nothing.iso'", "no export of that name"])?;
    refused(port, "gone.iso", &["refuses the export 'gone.iso'"])
}

/// Ends a daemon that has written its number into a file.
struct KillByFile<'a>(&'a Path);

impl Drop for KillByFile<'_> {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.0).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

#[test]
fn a_port_without_a_server_is_named() -> Result<()> {
    refused(ports::free(), "disc.iso", &["no NBD server listens", "connection refused"])
}

#[test]
fn a_server_that_hangs_up_is_named() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || listener.accept()?.0.write_all(b"NBDMAGICIHAVEOPT"));
    refused(port, "disc.iso", &["closed the connection in the middle"])?;
    server.join().map_err(|_| anyhow!("the server panicked"))??;
    Ok(())
}

#[test]
fn bad_words_are_bad_usage() -> Result<()> {
    for words in [&["nbd"][..], &[], &["dhcp", "a", "b"], &["read", "52:54:00:00:00:01"]] {
        let output = Command::new(PROGRAM).args(words).output()?;
        ensure!(output.status.code() == Some(2), "{words:?}: {output:?}");
    }
    Ok(())
}

/// A machine on the bridge: a network and a `/sys` of its own, with one card, in which the program runs.
struct Machine {
    child: Child,
    said: BufReader<ChildStdout>,
    complaints: PathBuf,
}

/// The machine's card, and the bridge's end of its cable.
const CARD: &str = "card0";
const PORT: &str = "port0";

impl Machine {
    fn start(command: &str, work: &Work) -> Result<Self> {
        let complaints = work.log("netroot-init");
        let script = "mount -t sysfs sysfs /sys && echo ready && read go && exec \"$@\"";
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script, "sh", PROGRAM, command, CARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&complaints)?)
            .spawn()
            .context("unshare doesn't start")?;
        let mut go = child.stdin.take().context("no stdin")?;
        let said = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut machine = Self { child, said, complaints };
        ensure!(machine.line()? == "ready", "the machine doesn't start: {}", machine.complaints()?);
        let pid = machine.child.id().to_string();
        run(Command::new("ip").args(["link", "add", PORT, "type", "veth", "peer", "name", CARD]))?;
        run(Command::new("ip").args(["link", "set", PORT, "master", BRIDGE, "up"]))?;
        run(Command::new("ip").args(["link", "set", CARD, "netns", &pid]))?;
        go.write_all(b"go\n")?;
        Ok(machine)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn rest(mut self) -> Result<String> {
        let mut text = String::new();
        self.said.read_to_string(&mut text)?;
        Ok(text)
    }

    fn complaints(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.complaints)?)
    }

    /// `ip` in the machine's network.
    fn ip(&self, words: &str) -> Result<String> {
        let network = format!("--net=/proc/{}/ns/net", self.child.id());
        let output = Command::new("nsenter").arg(network).arg("ip").args(words.split(' ')).output()?;
        ensure!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the card is up with that address and the default route, all as it was.
    fn wait_for_address(&self, address: &str) -> Result<()> {
        wait_for(&format!("{address} on a card that is up"), PATIENCE, || {
            let link = self.ip(&format!("-oneline address show dev {CARD} up"))?;
            let routes = self.ip("route show default")?;
            Ok(link.contains(&format!("inet {address} ")) && routes.contains("metric 4096"))
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// dnsmasq on the bridge; its log has a line for each message.
fn dnsmasq(range: &str, words: &[&str], work: &Work) -> Result<Process> {
    let mut command = Command::new("dnsmasq");
    command
        .args([
            "--keep-in-foreground",
            "--log-facility=-",
            "--conf-file=/dev/null",
            "--port=0",
            "--bind-interfaces",
        ])
        .args(["--dhcp-authoritative", "--no-ping", "--user=root"])
        .arg(format!("--interface={BRIDGE}"))
        .arg(format!("--dhcp-range={range},255.255.255.0,1h"))
        .arg(format!("--dhcp-leasefile={}", work.scratch("leases").display()))
        .args(words);
    let server = Process::spawn(&mut command, work)?;
    netns::wait_for_listener("udp", 67)?;
    Ok(server)
}

#[test]
fn a_dhcp_servers_answer_is_understood() -> Result<()> {
    let work = Work::new("netroot-init-dhcp")?;
    netns::enter()?;
    let options = [
        "--dhcp-option=option:router,10.0.2.1",
        "--dhcp-option=option:dns-server,10.0.2.3,10.0.2.4",
        "--domain=example.net",
        "--dhcp-boot=pxelinux.0,boot,10.0.2.9",
    ];
    let _server = dnsmasq(GUESTS, &options, &work)?;
    let said = Machine::start("dhcp", &work)?.rest()?;
    for line in [
        "address 10.0.2.1",
        "gateway 10.0.2.1\n",
        &format!("server {SERVER}\n"),
        "boot-server 10.0.2.9\n",
        "dns 10.0.2.3\ndns 10.0.2.4\n",
        "domain example.net\n",
        "lease 3600 s, ",
    ] {
        ensure!(said.contains(line), "no '{line}' in: {said}");
    }
    Ok(())
}

#[test]
fn an_address_is_put_back_renewed_and_kept() -> Result<()> {
    const FIRST: &str = "10.0.2.100";
    let work = Work::new("netroot-init-hold")?;
    netns::enter()?;
    let often =
        ["--dhcp-option=option:router,10.0.2.2", "--dhcp-option=option:T1,3", "--dhcp-option=option:T2,20"];
    let server = dnsmasq(&format!("{FIRST},{FIRST}"), &often, &work)?;
    let mut machine = Machine::start("hold", &work)?;
    let address = format!("{FIRST}/24");
    let said = machine.line()?;
    ensure!(said == format!("holds {address}"), "{said}: {}", machine.complaints()?);
    machine.wait_for_address(&address)?;

    // As network managers do when they stop, or start.
    machine.ip(&format!("address flush dev {CARD}"))?;
    machine.wait_for_address(&format!("{FIRST}/32"))?;
    let routes = machine.ip("route show 10.0.2.0/24")?;
    ensure!(routes.contains("scope link") && routes.contains("metric 4096"), "{routes}");
    // A DHCP client that has flushed the card finds room for what it gets.
    machine.ip(&format!("address add {address} brd 10.0.2.255 dev {CARD}"))?;
    machine.wait_for_address(&address)?;
    machine.ip(&format!("link set {CARD} down"))?;
    machine.wait_for_address(&address)?;
    machine.ip("route del default")?;
    machine.wait_for_address(&address)?;

    wait_for("the lease to be renewed", PATIENCE, || {
        let log = fs::read_to_string(work.log("dnsmasq"))?;
        Ok(log.matches("DHCPACK").count() > 1)
    })?;
    ensure!(machine.complaints()?.is_empty(), "{}", machine.complaints()?);

    // A server that has given its network to others says no; the disk needs the address all the same.
    drop(server);
    let _server = dnsmasq("10.0.2.200,10.0.2.210", &often, &work)?;
    wait_for("the server's no", PATIENCE, || Ok(machine.complaints()?.contains("refuses the address")))?;
    ensure!(machine.complaints()?.contains("the address stays"), "{}", machine.complaints()?);
    machine.wait_for_address(&address)
}

/// The second initramfs, as it is served.
fn archive() -> Result<Vec<u8>> {
    let programs = Programs::find(Path::new(PROGRAM).parent());
    let archive =
        programs.archive(Arch::X86_64).map_err(|reason| anyhow!("{reason}; run scripts/netroot-init"))?;
    Ok(archive.read_at(0, usize::MAX)?)
}

/// An initramfs as an ISO may have it, in one archive.
fn initramfs() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.file("init", 0o755, b"#!/bin/sh\n");
    // Of no length that is a multiple of anything, so that what is packed isn't either.
    writer.file("text", 0o644, &b"some text\n".repeat(1234));
    writer.finish()
}

/// Packs it by a program, as a distribution's build does.
fn packed(words: &str) -> Result<Vec<u8>> {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    let mut program = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    program.stdin.take().context("a pipe")?.write_all(&initramfs())?;
    let output = program.wait_with_output()?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(output.stdout)
}

/// As loaders put them one behind the other: each from a multiple of four on.
fn loaded(initrds: &[&[u8]]) -> Vec<u8> {
    let mut memory = Vec::new();
    for initrd in initrds {
        memory.resize(memory.len().next_multiple_of(4), 0);
        memory.extend_from_slice(initrd);
    }
    memory
}

#[test]
fn linux_starts_it_whatever_the_first_initrd_ends_in() -> Result<()> {
    const STARTED: &str = "netroot: version";
    const PANIC: &str = "Kernel panic";
    let work = Work::new("netroot-init-uml")?;
    let starts = |memory: &[u8]| -> Result<bool> {
        let mut machine = Uml::boot(memory, &["rdinit=/netrootfs/init"], &work)?;
        Ok(machine.wait_for(&[STARTED, PANIC])?.contains(STARTED))
    };
    let second = archive()?;
    for program in ["cat", "gzip -n", "bzip2", "xz --check=crc32", "xz --format=lzma", "zstd -q", "lz4 -q -l"]
    {
        ensure!(starts(&loaded(&[&packed(program)?, &second]))?, "behind {program}");
    }
    // Without zeros it doesn't get behind that one: this is what they are for.
    let without: Vec<u8> = second.iter().copied().skip_while(|byte| *byte == 0).collect();
    ensure!(!starts(&loaded(&[&packed("lz4 -q -l")?, &without]))?, "lz4 without zeros");
    // Junk stops it anywhere, so the second one comes first.
    let junk = [&packed("gzip -n")?[..], b"junk"].concat();
    ensure!(!starts(&loaded(&[&junk, &second]))?, "behind junk");
    ensure!(starts(&loaded(&[&second, &junk]))?, "before junk");
    Ok(())
}

#[test]
fn its_errors_and_its_question_are_on_the_console_once_however_quiet_the_kernel_is() -> Result<()> {
    const QUESTION: &str = "press r to try again, i to run /init without the disk";
    let work = Work::new("netroot-init-quiet")?;
    let archive = archive()?;
    for quiet in ["loglevel=7", "quiet", "loglevel=3", "loglevel=1", "loglevel=7 printk.devkmsg=off"] {
        let arguments = format!("rdinit=/netrootfs/init netroot.nbd=/x {quiet}");
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let console = Uml::boot(&archive, &arguments, &work)?.wait_for(&[QUESTION])?;
        for words in ["the disk can't be attached: the kernel ", QUESTION] {
            ensure!(console.matches(words).count() == 1, "{quiet}: '{words}' in: {console}");
        }
    }
    Ok(())
}
