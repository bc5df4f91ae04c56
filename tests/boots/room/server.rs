//! A server of the room: netrootfs over its own copy of the ISO, and nbdkit in a network of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use anyhow::Result;
use testkit::netns::{CARD, Network, ip};
use testkit::netrootfs::Mounted;
use testkit::process::{PATIENCE, Process, wait_for};
use testkit::work::Work;

/// All servers.
pub const ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 2, 11), Ipv4Addr::new(10, 0, 2, 12), Ipv4Addr::new(10, 0, 2, 13)];
const PORT: u16 = 10809;

pub struct Server {
    address: Ipv4Addr,
    network: Network,
    nbdkit: Option<Process>,
    mounted: Mounted,
    work: Work,
}

impl Server {
    /// Switches it on.
    pub fn start(address: Ipv4Addr, iso: &Path) -> Result<Self> {
        let work = Work::new(&format!("room-server-{address}"))?;
        let network = Network::on_bridge(&format!("{address}/24"), &cable(address))?;
        let (isos, mountpoint) = (work.scratch("isos"), work.scratch("mnt"));
        fs::create_dir(&isos)?;
        fs::create_dir(&mountpoint)?;
        fs::copy(iso, isos.join("copy.iso"))?;
        let mounted = Mounted::start(&isos, &mountpoint, &["--server", &address.to_string()], &work)?;
        let mut server = Self { address, network, nbdkit: None, mounted, work };
        server.serve()?;
        Ok(server)
    }

    /// Starts its nbdkit.
    pub fn serve(&mut self) -> Result<()> {
        let mut command = self.network.command("nbdkit");
        command
            .args(["--foreground", "--readonly", "--ipaddr", &self.address.to_string(), "file"])
            .arg(format!("dir={}", self.mounted.tree().images.display()));
        let mut nbdkit = Process::spawn(&mut command, &self.work)?;
        wait_for("nbdkit", PATIENCE, || {
            nbdkit.ensure_runs()?;
            Ok(TcpStream::connect((self.address, PORT)).is_ok())
        })?;
        self.nbdkit = Some(nbdkit);
        Ok(())
    }

    /// Kills its nbdkit.
    pub fn kill(&mut self) {
        self.nbdkit = None;
    }

    /// Pulls its cable out of the switch, which its machines are not told, or puts it in again.
    pub fn plug(&self, connected: bool) -> Result<()> {
        ip(&format!("link set {} {}", cable(self.address), if connected { "up" } else { "down" }))
    }

    /// Lets it send no more than so many Mbit/s. It keeps what waits, and loses nothing: all machines' reads are 4 MiB.
    pub fn limit(&self, rate: u32) -> Result<()> {
        self.network
            .run(&format!("tc qdisc replace dev {CARD} root tbf rate {rate}mbit burst 64k latency 2s"))
    }
}

fn cable(address: Ipv4Addr) -> String {
    format!("server{}", address.octets()[3])
}
