//! `netrootfs doctor`: whether this host has what a netboot needs, from the kernel to the ISOs, and what to do if not.
//!
//! It looks and changes nothing, and has a machine boot if it is asked to ([`boot`]). What it knows of a host comes from files below one root, so a made-up host can be tried.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::boot::netroot::kernel::Arch;
use crate::boot::netroot::program::Programs;
use crate::boot::servers::NBD_PORT;
use crate::boot::{loader, names};
use crate::catalog::scan::Catalog;

pub mod boot;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Good enough, or not known.
    Note,
    /// Something won't work.
    Bad,
}

/// One line of the answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub state: State,
    /// The thing that was looked at, and advice.
    pub sentence: String,
}

impl Finding {
    fn new(state: State, sentence: impl Into<String>) -> Self {
        Self { state, sentence: sentence.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.state {
            State::Good => "ok  ",
            State::Note => "note",
            State::Bad => "BAD ",
        };
        write!(f, "{mark}  {}", self.sentence)
    }
}

/// A host, as far as files tell.
pub struct Host {
    root: PathBuf,
    /// Whether this is run by root.
    is_root: bool,
}

impl Host {
    /// This one.
    pub fn this() -> Self {
        Self { root: "/".into(), is_root: rustix::process::geteuid().is_root() }
    }

    /// All findings, in the order in which a boot needs the things.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = vec![self.kernel(), self.device(), self.fusermount()];
        found.extend((!self.is_root).then(|| self.others()));
        found.push(self.listens("udp", 69, "TFTP", "install tftpd-hpa, atftpd or dnsmasq with TFTP"));
        found.push(self.listens(
            "tcp",
            NBD_PORT,
            "NBD",
            "start nbd-server -C MOUNTPOINT/images/nbd.conf, or nbdkit",
        ));
        found.push(self.dhcp());
        found.extend(self.guards());
        found
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn kernel(&self) -> Finding {
        let release = self.read("proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.trim().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let release = release.trim();
        match version {
            (0, _) => Finding::new(State::Note, "the kernel doesn't say which one it is"),
            _ if version >= (6, 12) && self.is_root => {
                Finding::new(State::Good, format!("Linux {release}: the kernel can read ISOs by itself"))
            }
            _ if version >= (6, 12) => Finding::new(
                State::Note,
                format!("Linux {release} could read ISOs by itself, for a netrootfs that root runs"),
            ),
            _ => Finding::new(
                State::Note,
                format!("Linux {release}: all reads go through netrootfs' cache; from 6.12 on they needn't"),
            ),
        }
    }

    fn device(&self) -> Finding {
        use rustix::fs::{Access, access};
        let path = self.root.join("dev/fuse");
        if !path.exists() {
            return Finding::new(State::Bad, "there is no /dev/fuse: try 'modprobe fuse'");
        }
        match access(&path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Finding::new(State::Good, "/dev/fuse can be opened"),
            Err(_) => Finding::new(State::Bad, "this user may not open /dev/fuse: it should have mode 0666"),
        }
    }

    fn fusermount(&self) -> Finding {
        let places = ["usr/bin/fusermount3", "bin/fusermount3", "usr/local/bin/fusermount3"];
        match places.iter().find(|place| self.root.join(place).exists()) {
            Some(place) => Finding::new(State::Good, format!("/{place} is there")),
            None if self.is_root => {
                Finding::new(State::Note, "there is no fusermount3 (package fuse3); root can do without")
            }
            None => Finding::new(State::Bad, "there is no fusermount3: install the package fuse3"),
        }
    }

    /// Whether other users, as servers are, may see a user's mount (fuse.conf(5)).
    fn others(&self) -> Finding {
        let conf = self.read("etc/fuse.conf").unwrap_or_default();
        if conf.lines().any(|line| line.trim() == "user_allow_other") {
            Finding::new(State::Good, "/etc/fuse.conf lets servers see what this user mounts")
        } else {
            Finding::new(State::Bad, "servers run as other users: put user_allow_other into /etc/fuse.conf")
        }
    }

    fn listens(&self, protocol: &str, port: u16, name: &str, advice: &str) -> Finding {
        let shown = protocol.to_uppercase();
        if self.listening(protocol, port) {
            Finding::new(State::Good, format!("{name}: a server listens on {shown} port {port}"))
        } else {
            Finding::new(State::Bad, format!("{name}: nothing listens on {shown} port {port}: {advice}"))
        }
    }

    fn dhcp(&self) -> Finding {
        match self.listening("udp", 67) {
            true => Finding::new(State::Good, "DHCP: a server listens on UDP port 67"),
            false => Finding::new(
                State::Note,
                "DHCP: no server on this host; the one of the boot network needs what 'netrootfs dhcp' prints",
            ),
        }
    }

    /// Whether there is a socket (proc_net(5)): for TCP one that listens, for UDP one without a peer.
    fn listening(&self, protocol: &str, port: u16) -> bool {
        let state = if protocol == "tcp" { "0A" } else { "07" };
        ["", "6"].iter().filter_map(|suffix| self.read(&format!("proc/net/{protocol}{suffix}"))).any(
            |table| {
                table.lines().skip(1).any(|line| {
                    let mut fields = line.split_whitespace().skip(1);
                    let local = fields.next().and_then(|local| local.rsplit_once(':'));
                    let is_port = local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port));
                    is_port && fields.nth(1) == Some(state)
                })
            },
        )
    }

    /// Guards between servers and clients.
    fn guards(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.read("sys/fs/selinux/enforce").is_some_and(|enforce| enforce.trim() == "1") {
            found.push(Finding::new(
                State::Note,
                "SELinux is enforcing, and files of the mount are fusefs_t: 'ausearch -m avc' shows what it keeps \
                 servers from",
            ));
        }
        let tables = self.read("proc/net/ip_tables_names").unwrap_or_default();
        if tables.lines().any(|table| table == "filter") {
            found.push(Finding::new(
                State::Note,
                format!("a packet filter has rules: UDP 67 and 69 and TCP {NBD_PORT} must come in"),
            ));
        }
        found
    }
}

/// Loaders and netroot-init of this host.
pub fn installed(programs: Option<&Path>, root: &Path) -> Vec<Finding> {
    let loaders = loader::find(root);
    let names: Vec<&str> = loaders.iter().map(|loader| loader.name.as_str()).collect();
    let missing = loader::missing(&loaders).into_iter().map(|sentence| Finding::new(State::Bad, sentence));
    let has = |name: &&&str| [names::PXELINUX, names::EFI_X64, "ipxe.efi", "undionly.kpxe"].contains(*name);
    let known: Vec<&str> = names.iter().filter(has).copied().collect();
    let mut found: Vec<Finding> = missing.collect();
    if !known.is_empty() {
        found.push(Finding::new(State::Good, format!("loaders: {}", known.join(", "))));
    }
    found.push(match Programs::find(programs).archive(Arch::X86_64) {
        Ok(_) => Finding::new(State::Good, "netroot-init is installed: unmodified ISOs boot over NBD"),
        Err(reason) => Finding::new(State::Bad, format!("unmodified ISOs can't boot over NBD: {reason}")),
    });
    found
}

/// How many of the ISOs are served.
pub fn isos(catalog: &Catalog, shown: &Path) -> Finding {
    let (served, skipped) = (catalog.isos.len(), catalog.skipped.len());
    let state = match (served, skipped) {
        (0, _) => State::Bad,
        (_, 0) => State::Good,
        _ => State::Note,
    };
    let more = if skipped == 0 { String::new() } else { "; 'netrootfs check' says why".into() };
    Finding::new(state, format!("{}: {served} ISOs are served, {skipped} left out{more}", shown.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)], is_root: bool) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host { root: root.path().into(), is_root };
        (root, host)
    }

    fn states(host: &Host) -> Vec<State> {
        host.findings().iter().map(|finding| finding.state).collect()
    }

    const UDP: &str = "  sl  local_address rem_address   st\n   1: 00000000:0045 00000000:0000 07 0:0\n   \
                       2: 00000000:0043 00000000:0000 07 0:0\n";
    const TCP6: &str = "  sl  local_address rem_address   st\n   \
                        0: 00000000000000000000000000000000:2A39 00000000000000000000000000000000:0000 0A 0:0\n";

    #[test]
    fn a_host_that_has_it_all_is_good() {
        let (_root, host) = host(
            &[
                ("proc/sys/kernel/osrelease", "6.12.48-amd64\n"),
                ("dev/fuse", ""),
                ("usr/bin/fusermount3", ""),
                ("proc/net/udp", UDP),
                ("proc/net/tcp6", TCP6),
            ],
            true,
        );
        assert!(states(&host).iter().all(|state| *state == State::Good), "{:?}", host.findings());
    }

    #[test]
    fn an_empty_host_is_told_what_to_do() {
        let (_root, host) = host(&[], false);
        let said: Vec<String> = host.findings().iter().map(Finding::to_string).collect();
        let said = said.join("\n");
        for advice in [
            "note  the kernel doesn't say which one it is",
            "BAD   there is no /dev/fuse: try 'modprobe fuse'",
            "BAD   there is no fusermount3: install the package fuse3",
            "BAD   servers run as other users: put user_allow_other",
            "BAD   TFTP: nothing listens on UDP port 69: install tftpd-hpa",
            "BAD   NBD: nothing listens on TCP port 10809: start nbd-server",
            "note  DHCP: no server on this host",
        ] {
            assert!(said.contains(advice), "{advice}:\n{said}");
        }
    }

    #[test]
    fn a_connection_is_no_server() {
        let connected = TCP6.replace(" 0A ", " 01 ");
        let (_root, host) = host(&[("proc/net/tcp6", &connected)], true);
        assert!(!host.listening("tcp", NBD_PORT));
    }

    #[test]
    fn an_old_kernel_and_guards_are_notes() {
        let (_root, host) = host(
            &[
                ("proc/sys/kernel/osrelease", "6.1.0-40-amd64"),
                ("sys/fs/selinux/enforce", "1"),
                ("proc/net/ip_tables_names", "nat\nfilter\n"),
            ],
            true,
        );
        assert_eq!(host.kernel().state, State::Note);
        assert_eq!(host.guards().len(), 2);
    }
}
