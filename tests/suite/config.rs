//! The configuration file on a real mount: what netrootfs.toml(5) says.
//!
//! Needs /dev/fuse and xorriso; the test of dnsmasq needs root for a network of its own. What is missing is an error,
//! never a pass.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use netrootfs::catalog::config::Config;
use testkit::netrootfs::Mounted;
use testkit::process::{PATIENCE, Process};
use testkit::promise::promised;
use testkit::work::Work;

use crate::support::isos::Files;

const MACHINE: &str = r#"
[[machine]]
mac = "52:54:00:AB:CD:01"
timeout = 7
"#;

#[test]
fn a_machine_has_menus_of_its_own_that_no_listing_shows() -> Result<()> {
    let place = Place::new("own", MACHINE)?;
    let mounted = place.mount(&[])?;
    let tftp = mounted.tree().tftp;
    for (name, line) in [
        ("pxelinux.cfg/01-52-54-00-ab-cd-01", "timeout 70\n"),
        ("grub.cfg-01-52-54-00-ab-cd-01", "set timeout=7\n"),
        ("grub/grub.cfg-01-52-54-00-ab-cd-01", "set timeout=7\n"),
        ("mac-525400abcd01.ipxe", "--timeout 7000 "),
        ("52-54-00-ab-cd-01/pxelinux.cfg/default", "timeout 70\n"),
        ("52-54-00-ab-cd-01/grub.cfg", "set timeout=7\n"),
        ("52-54-00-ab-cd-01/boot.ipxe", "--timeout 7000 "),
    ] {
        let path = tftp.join(name);
        let size = fs::metadata(&path).with_context(|| name.to_owned())?.len();
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(line), "{name}:\n{text}");
        ensure!(size == text.len() as u64, "{name}: {size} bytes are announced, {} come", text.len());
        let (directory, name) = name.rsplit_once('/').unwrap_or((".", name));
        // The directory of a machine isn't listed; what is in it may be.
        let shown = names(&tftp.join(directory))?;
        ensure!(!shown.iter().any(|shown| shown == name) || directory.starts_with("52-"), "{shown:?}");
    }
    let general = fs::read_to_string(tftp.join("pxelinux.cfg/default"))?;
    ensure!(general.contains("timeout 100\n"), "{general}");
    let kernel = fs::read(tftp.join("vmlinuz_LIVE"))?;
    ensure!(fs::read(tftp.join("52-54-00-ab-cd-01/vmlinuz_LIVE"))? == kernel);
    ensure!(!names(&tftp)?.iter().any(|name| name.starts_with("52-")), "{:?}", names(&tftp)?);
    ensure!(!tftp.join("pxelinux.cfg/01-52-54-00-ab-cd-02").exists());
    mounted.stop()
}

#[test]
fn a_change_of_the_file_is_seen_without_a_restart() -> Result<()> {
    let place = Place::new("change", MACHINE)?;
    let mounted = place.mount(&[])?;
    let menu = mounted.tree().tftp.join("pxelinux.cfg/01-52-54-00-ab-cd-01");
    ensure!(fs::read_to_string(&menu)?.contains("timeout 70\n"));

    place.write(&MACHINE.replace('7', "8"))?;
    promised("a change by replacement", || Ok(fs::read_to_string(&menu)?.contains("timeout 80\n")))?;
    fs::write(place.config(), MACHINE.replace('7', "9"))?;
    promised("a change in place", || Ok(fs::read_to_string(&menu)?.contains("timeout 90\n")))?;
    place.write("[iso.LIVE]\ntitle = 'For everybody'\n")?;
    promised("a machine without choices", || Ok(!menu.exists()))?;
    let general = fs::read_to_string(mounted.tree().tftp.join("pxelinux.cfg/default"))?;
    ensure!(general.contains("menu label For everybody\n"), "{general}");
    mounted.stop()
}

#[test]
fn a_file_behind_a_symbolic_link_is_followed() -> Result<()> {
    let place = Place::new("link", "")?;
    fs::create_dir(place.work.scratch("elsewhere"))?;
    let target = place.work.scratch("elsewhere/any");
    fs::write(&target, MACHINE)?;
    fs::remove_file(place.config())?;
    symlink(&target, place.config())?;
    let mounted = place.mount(&[])?;
    let menu = mounted.tree().tftp.join("pxelinux.cfg/01-52-54-00-ab-cd-01");
    fs::write(&target, MACHINE.replace('7', "8"))?;
    promised("a change behind the link", || Ok(fs::read_to_string(&menu)?.contains("timeout 80\n")))?;
    mounted.stop()
}

#[test]
fn a_broken_file_keeps_what_was_and_is_told_once() -> Result<()> {
    let place = Place::new("broken", MACHINE)?;
    let mounted = place.mount(&[])?;
    let menu = mounted.tree().tftp.join("pxelinux.cfg/01-52-54-00-ab-cd-01");
    let sentence = format!("{}: line 3: unknown field `timeut`, expected one of", place.config().display());
    place.write("\n[defaults]\ntimeut = 3\n")?;
    promised("a line in the log", || Ok(place.logged(&sentence)? == 1))?;
    ensure!(fs::read_to_string(&menu)?.contains("timeout 70\n"));
    // Whatever makes it look again.
    fs::write(place.work.scratch("other"), "")?;
    place.put("SECOND")?;
    promised("another look", || Ok(mounted.tree().images.join("SECOND.iso").exists()))?;
    ensure!(place.logged(&sentence)? == 1);
    ensure!(place.logged("the configuration stays as it was")? == 1);

    place.write(&MACHINE.replace('7', "8"))?;
    promised("the repaired file", || Ok(fs::read_to_string(&menu)?.contains("timeout 80\n")))?;
    mounted.stop()
}

#[test]
fn a_broken_file_stops_the_start() -> Result<()> {
    let place = Place::new("start", "[[machine]]\nmac = \"x\"\n")?;
    let expected = format!(
        "netrootfs: {}: line 2: 'x' is no MAC address such as 52:54:00:12:34:56\n",
        place.config().display()
    );
    let output = netrootfs(&[&place.isos(), &place.mountpoint(), Path::new("--foreground")], &place)?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stderr).ends_with(&expected), "{output:?}");
    ensure!(!place.mountpoint().join("tftp").exists());
    fs::remove_file(place.config())?;
    let output = netrootfs(&[Path::new("tree"), &place.isos()], &place)?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("No such file or directory"), "{output:?}");
    Ok(())
}

#[test]
fn the_command_line_has_the_last_word() -> Result<()> {
    let place = Place::new("options", "[defaults]\ntimeout = 3\nserver = '10.9.9.9'\nappend = 'spam=1'\n")?;
    let path = Path::new("tftp/pxelinux.cfg/default");
    let text = |options: &[&str]| -> Result<String> {
        let options: Vec<&Path> = options.iter().map(Path::new).collect();
        let isos = place.isos();
        let words = [&[Path::new("cat"), &isos, path], options.as_slice()].concat();
        Ok(String::from_utf8(netrootfs(&words, &place)?.stdout)?)
    };
    let by_file = text(&[])?;
    ensure!(by_file.contains("timeout 30\n") && by_file.contains("netroot=nbd:10.9.9.9:"), "{by_file}");
    let by_options = text(&["--timeout", "4", "--server", "10.1.1.1", "--append", ""])?;
    ensure!(by_options.contains("timeout 40\n") && by_options.contains("netroot=nbd:10.1.1.1:"));
    ensure!(by_file.contains(" spam=1\n") && !by_options.contains(" spam=1\n"), "{by_options}");
    Ok(())
}

#[test]
fn choices_for_an_iso_are_in_every_menu_and_in_check() -> Result<()> {
    let choices = "[iso.'LIVE.iso']\norder = 2\ntransport = 'nbd-image'\nargs = 'one'\nappend = 'two'\n\
                   [iso.SECOND]\nhidden = true\n";
    let place = Place::new("isos", choices)?;
    place.put("SECOND")?;
    place.put("THIRD")?;
    let cat = |path: &str| -> Result<String> {
        let output = netrootfs(&[Path::new("cat"), &place.isos(), Path::new(path)], &place)?;
        Ok(String::from_utf8(output.stdout)?)
    };
    for path in ["tftp/pxelinux.cfg/default", "tftp/grub.cfg", "tftp/boot.ipxe"] {
        let text = cat(path)?;
        ensure!(
            text.contains("root=live:/dev/nbd0") && text.contains("rd.live.image one two"),
            "{path}:\n{text}"
        );
        ensure!(!text.contains("SECOND"), "{path}:\n{text}");
        ensure!(text.find("vmlinuz_THIRD") < text.find("vmlinuz_LIVE"), "{path}:\n{text}");
    }
    ensure!(cat("images/nbd.conf")?.contains("[SECOND]"), "a hidden ISO is in the tree");
    let output = netrootfs(&[Path::new("check"), &place.isos()], &place)?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(said.contains("NBD [LIVE]\n") && said.contains(" one two\n"), "{said}");
    Ok(())
}

#[test]
fn dnsmasq_gives_a_machine_the_root_of_its_address() -> Result<()> {
    let place = Place::new("dnsmasq", "[[machine]]\naddress = '127.0.0.1'\ntimeout = 7\n")?;
    testkit::netns::enter()?;
    let mounted = place.mount(&[])?;
    let root = mounted.tree().tftp;
    let server = Process::spawn(
        Command::new("dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=lo", "--bind-interfaces"])
            .args(["--enable-tftp", "--tftp-unique-root=ip"])
            .arg(format!("--tftp-root={}", root.display())),
        &place.work,
    )?;
    testkit::netns::wait_for_listener("udp", 69)?;
    let own = tftp("pxelinux.cfg/default")?;
    ensure!(own == fs::read(root.join("pxelinux.cfg/7F000001"))?);
    ensure!(String::from_utf8_lossy(&own).contains("timeout 70\n"));
    ensure!(tftp("vmlinuz_LIVE")? == fs::read(root.join("vmlinuz_LIVE"))?);
    drop(server);
    mounted.stop()
}

#[test]
fn the_example_of_the_manual_is_one() -> Result<()> {
    let manual = include_str!("../../src/manual/netrootfs.toml.5.md");
    let chapter = manual.split_once("\n## Example\n").context("the section")?.1;
    let example = chapter.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```\n"));
    let config = Config::parse(example.context("the example")?.0)?;
    ensure!(config.defaults.server.is_some() && config.isos.len() > 1 && config.machines.len() > 1);
    Ok(())
}

/// A directory with one ISO, a mount point and a configuration file.
#[test]
fn the_file_alone_can_say_it_all() -> Result<()> {
    let place = Place::new("alone", "")?;
    let text = format!(
        "[mount]\niso-dir = '{}'\nmountpoint = '{}'\nstate-dir = '{}'\nmode = '0440'\ncache-size = '16M'\n\
         log-file = '{}'\nlabels = {{ 'LIVE.iso' = 'Mine' }}\n",
        place.isos().display(),
        place.mountpoint().display(),
        place.work.scratch("state").display(),
        place.work.scratch("log").display()
    );
    place.write(&text)?;
    let output = netrootfs(&[], &place)?;
    ensure!(output.status.success(), "{output:?}");
    let kernel = place.mountpoint().join("tftp/vmlinuz_Mine");
    let mode = fs::metadata(&kernel).map(|stat| stat.mode() & 0o777);
    place.write(&text.replace("0440", "0444"))?;
    promised("a word that a restart is needed", || {
        Ok(fs::read_to_string(place.work.scratch("log"))?.contains("[mount]: what has changed there holds"))
    })?;
    let ended = Command::new("fusermount3").arg("-u").arg(place.mountpoint()).output()?;
    ensure!(ended.status.success(), "{ended:?}");
    ensure!(mode? == 0o440);

    place.write("[mount]\nmode = '0444'\n")?;
    let output = netrootfs(&[], &place)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("iso-dir and mountpoint under [mount]"), "{said}");
    Ok(())
}

struct Place {
    work: Work,
}

impl Place {
    fn new(test: &str, config: &str) -> Result<Self> {
        let place = Self { work: Work::new(&format!("config-{test}"))? };
        fs::create_dir(place.isos())?;
        fs::create_dir(place.mountpoint())?;
        fs::create_dir(place.work.scratch("etc"))?;
        fs::write(place.config(), config)?;
        place.put("LIVE")?;
        Ok(place)
    }

    fn isos(&self) -> PathBuf {
        self.work.scratch("isos")
    }

    fn mountpoint(&self) -> PathBuf {
        self.work.scratch("mnt")
    }

    fn config(&self) -> PathBuf {
        self.work.scratch("etc/netrootfs.toml")
    }

    /// Adds an ISO of that label, in one moment.
    fn put(&self, label: &str) -> Result<()> {
        let new = self.work.scratch("new.iso");
        Files::live().xorriso(&["-R", "-V", label], &new);
        Ok(fs::rename(new, self.isos().join(format!("{label}.iso")))?)
    }

    /// Replaces the configuration file as editors do.
    fn write(&self, text: &str) -> Result<()> {
        let new = self.work.scratch("etc/new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, self.config())?)
    }

    fn mount(&self, options: &[&str]) -> Result<Mounted> {
        let config = self.config();
        let config = config.to_str().context("a printable path")?;
        Mounted::start(
            &self.isos(),
            &self.mountpoint(),
            &[&["--config", config], options].concat(),
            &self.work,
        )
    }

    /// How often the log has a sentence.
    fn logged(&self, sentence: &str) -> Result<usize> {
        Ok(fs::read_to_string(self.work.log("netrootfs"))?.matches(sentence).count())
    }
}

/// Runs netrootfs with the configuration file of a place.
fn netrootfs(words: &[&Path], place: &Place) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netrootfs"));
    Ok(command.args(words).arg("--config").arg(place.config()).output()?)
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Reads a file from the TFTP server on this host (RFC 1350).
fn tftp(name: &str) -> Result<Vec<u8>> {
    const DATA: u8 = 3;
    const BLOCK: usize = 512;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(format!("\0\x01{name}\0octet\0").as_bytes(), "127.0.0.1:69")?;
    let mut file = Vec::new();
    let mut packet = [0; 4 + BLOCK];
    loop {
        let (len, server) = socket.recv_from(&mut packet).context("an answer by TFTP")?;
        let [0, kind, high, low, data @ ..] = &packet[..len] else { bail!("{name}: a short packet") };
        ensure!(*kind == DATA, "{name}: {}", String::from_utf8_lossy(data));
        file.extend_from_slice(data);
        socket.send_to(&[0, 4, *high, *low], server)?;
        if data.len() < BLOCK {
            return Ok(file);
        }
    }
}
