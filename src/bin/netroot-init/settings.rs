//! Settings out of the kernel arguments. Pure; every value is checked here.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ipnet::Ipv4Net;
use netrootfs::image::args::Args;
use netrootfs::image::mac::Mac;

/// IANA's port for NBD.
const PORT: u16 = 10809;
/// More servers than this are a mistake.
const MOST_SERVERS: usize = 16;
/// More connections than this only cost the server.
const MOST_CONNECTIONS: u8 = 16;

/// The NBD export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `None` is the server that DHCP, or the loader, names.
    pub host: Option<Ipv4Addr>,
    pub port: u16,
    pub export: String,
}

impl Target {
    /// Reads `HOST:PORT/EXPORT`; host and port may be left out.
    pub fn parse(text: &str) -> Result<Self> {
        let (server, export) = text
            .split_once('/')
            .ok_or_else(|| anyhow!("'{text}' names no export: HOST:PORT/EXPORT is the form"))?;
        ensure!(!server.starts_with('['), "the server '{server}' is an IPv6 address: only IPv4 is done here");
        let (host, port) = server.split_once(':').unwrap_or((server, ""));
        let host = match host {
            "" => None,
            host => Some(host.parse().map_err(|_| anyhow!("the server '{host}' is no IPv4 address"))?),
        };
        let port = match port {
            "" => PORT,
            port => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| anyhow!("'{port}' is no port"))?
            }
        };
        Ok(Self { host, port, export: export.to_owned() })
    }
}

/// An address that needs no DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticAddress {
    pub address: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    /// The server that the loader booted from.
    pub server: Option<Ipv4Addr>,
}

/// Everything asked for, but for what is to be run afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub target: Target,
    /// `netroot.servers=`: all that have the export.
    pub servers: Vec<SocketAddrV4>,
    /// `netroot.if=`: this card and no other.
    pub interface: Option<String>,
    /// `BOOTIF=`: this card first.
    pub boot_card: Option<Mac>,
    /// `netroot.ip=`.
    pub fixed: Option<StaticAddress>,
    /// `ip=` of the loader, from its own DHCP.
    pub from_loader: Option<StaticAddress>,
    pub vlan: Option<u16>,
    pub connections: u8,
}

impl Settings {
    /// Reads the kernel's command line.
    ///
    /// # Errors
    /// If a value can't be.
    pub fn parse(args: &Args) -> Result<Self> {
        let target = args
            .value("netroot.nbd")
            .context("the kernel argument netroot.nbd=HOST:PORT/EXPORT is missing")?;
        Ok(Self {
            target: Target::parse(target).context("netroot.nbd")?,
            servers: args.value("netroot.servers").map_or(Ok(Vec::new()), servers)?,
            interface: args.value("netroot.if").map(str::to_owned),
            boot_card: args.value("BOOTIF").and_then(boot_card),
            fixed: args.value("netroot.ip").map(fixed).transpose()?,
            from_loader: args.values("ip").find_map(from_loader),
            vlan: args.value("netroot.vlan").map(vlan).transpose()?,
            connections: args.value("netroot.connections").map_or(Ok(1), connections)?,
        })
    }
}

impl Settings {
    /// The servers that have the disk: those that are named, else the one that the machine booted from.
    pub fn disk_servers(&self, booted_from: Option<Ipv4Addr>) -> Vec<SocketAddrV4> {
        let port = self.target.port;
        let named = self.target.host.or(booted_from.filter(|_| self.servers.is_empty()));
        let named = named.map(|host| SocketAddrV4::new(host, port));
        self.servers.iter().copied().chain(named).collect()
    }
}

/// `netroot.init=`: what is run afterwards.
pub fn init(args: &Args) -> &str {
    args.value("netroot.init").filter(|path| path.starts_with('/')).unwrap_or("/init")
}

/// pxelinux writes the hardware type before the address, `01` for Ethernet; iPXE's scripts may leave it out.
fn boot_card(text: &str) -> Option<Mac> {
    text.parse()
        .or_else(|_| text.strip_prefix("01-").or(text.strip_prefix("01:")).unwrap_or_default().parse())
        .ok()
}

/// `client:server:gateway:netmask`, pxelinux's IPAPPEND 1, which is how the kernel's own `ip=` begins. Other forms of
/// `ip=` are the initramfs's.
fn from_loader(text: &str) -> Option<StaticAddress> {
    let mut fields = text.split(':');
    let mut field = || fields.next();
    let (client, server, gateway, netmask) = (field()?, field()?, field()?, field()?);
    let some = |text: &str| text.parse().ok().filter(|address: &Ipv4Addr| !address.is_unspecified());
    Some(StaticAddress {
        address: Ipv4Net::with_netmask(some(client)?, netmask.parse().ok()?).ok()?,
        gateway: some(gateway),
        server: some(server),
    })
}

fn fixed(text: &str) -> Result<StaticAddress> {
    let read = || {
        let (address, gateway) =
            text.split_once(',').map_or((text, None), |(address, gateway)| (address, Some(gateway)));
        Some(StaticAddress {
            address: address.parse().ok()?,
            gateway: gateway.map(str::parse).transpose().ok()?,
            server: None,
        })
    };
    read().ok_or_else(|| anyhow!("netroot.ip={text} is not of the form ADDRESS/PREFIX,GATEWAY"))
}

/// Reads `ADDRESS:PORT,…`; the ports may be left out.
///
/// # Errors
/// If that is no list of a reasonable length.
pub fn servers(text: &str) -> Result<Vec<SocketAddrV4>> {
    let server = |text: &str| {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        let port = if port.is_empty() { Some(PORT) } else { port.parse().ok().filter(|port| *port != 0) };
        Some(SocketAddrV4::new(host.parse().ok()?, port?))
    };
    let servers: Option<Vec<_>> = text.split(',').map(server).collect();
    match servers {
        Some(servers) if servers.len() <= MOST_SERVERS => Ok(servers),
        Some(_) => bail!("netroot.servers: more than {MOST_SERVERS} servers"),
        None => bail!("netroot.servers={text} is not of the form ADDRESS:PORT,ADDRESS:PORT,..."),
    }
}

fn vlan(text: &str) -> Result<u16> {
    // IEEE 802.1Q: 0 is no VLAN, 4095 is reserved.
    let id = text.parse().ok().filter(|id| (1..=4094).contains(id));
    id.ok_or_else(|| anyhow!("netroot.vlan={text}: a VLAN's number is between 1 and 4094"))
}

fn connections(text: &str) -> Result<u8> {
    match text.parse() {
        Ok(number @ 1..=MOST_CONNECTIONS) => Ok(number),
        _ => bail!("netroot.connections={text}: between 1 and {MOST_CONNECTIONS}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<Settings> {
        Settings::parse(&Args::parse(line))
    }

    #[test]
    fn host_and_port_may_be_left_out() {
        let target = |text| Target::parse(text).unwrap();
        let server = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(target("192.0.2.1:99/A.iso"), Target { host: server, port: 99, export: "A.iso".into() });
        assert_eq!(target("192.0.2.1/A.iso"), Target { host: server, port: PORT, export: "A.iso".into() });
        assert_eq!(target(":99/A.iso"), Target { host: None, port: 99, export: "A.iso".into() });
        assert_eq!(target("/A/B"), Target { host: None, port: PORT, export: "A/B".into() });
    }

    #[test]
    fn a_bad_target_is_named() {
        for (text, sentence) in [
            ("192.0.2.1", "names no export"),
            ("nas.example/x", "no IPv4 address"),
            ("[2001:db8::1]:10809/x", "IPv6"),
            ("192.0.2.1:0/x", "no port"),
            ("192.0.2.1:65536/x", "no port"),
        ] {
            let error = format!("{:#}", parse(&format!("quiet netroot.nbd={text}")).unwrap_err());
            assert!(error.contains(sentence), "{text}: {error}");
        }
        assert!(parse("quiet").unwrap_err().to_string().contains("netroot.nbd="));
    }

    #[test]
    fn the_loaders_words_are_understood() {
        let settings = parse(
            "boot=live ip=10.0.2.15:10.0.2.2:10.0.2.3:255.255.255.0 BOOTIF=01-52-54-00-12-34-56 netroot.nbd=/a",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.boot_card, Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
        let given = settings.from_loader.unwrap();
        assert_eq!(given.address.to_string(), "10.0.2.15/24");
        assert_eq!((given.address.prefix_len(), given.gateway), (24, Some([10, 0, 2, 3].into())));
        assert_eq!(given.server, Some([10, 0, 2, 2].into()));
        // As the kernel's form goes on; and pxelinux without a gateway.
        let settings = parse("netroot.nbd=/a ip=10.0.2.15:10.0.2.2:0.0.0.0:255.0.0.0:name:eth0:off").unwrap();
        assert_eq!(
            settings.from_loader.map(|given| (given.address.prefix_len(), given.gateway)),
            Some((8, None))
        );
    }

    #[test]
    fn other_forms_of_ip_are_left_to_the_initramfs() {
        for ip in ["dhcp", "eth0:dhcp", "::::name:eth0:dhcp", "10.0.2.15", "10.0.2.15:::255.0.255.0"] {
            assert_eq!(parse(&format!("netroot.nbd=/a ip={ip}")).unwrap().from_loader, None, "{ip}");
        }
    }

    #[test]
    fn own_arguments_are_checked() {
        let settings =
            parse("netroot.nbd=/a netroot.ip=10.0.2.9/16,10.0.0.1 netroot.vlan=7 netroot.connections=4");
        let settings = settings.unwrap();
        let fixed = settings.fixed.unwrap();
        assert_eq!((fixed.address.prefix_len(), fixed.gateway), (16, Some([10, 0, 0, 1].into())));
        assert_eq!((settings.vlan, settings.connections), (Some(7), 4));
        for bad in
            ["ip=10.0.2.9", "ip=10.0.2.9/33", "ip=10.0.2.9/8,x", "vlan=0", "vlan=4095", "connections=0"]
        {
            assert!(parse(&format!("netroot.nbd=/a netroot.{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_servers_take_the_place_of_the_one_that_the_machine_booted_from() {
        let servers = |line: &str| {
            let servers = parse(line).unwrap().disk_servers(Some([192, 0, 2, 9].into()));
            servers.iter().map(SocketAddrV4::to_string).collect::<Vec<_>>()
        };
        assert_eq!(servers("netroot.nbd=/a"), ["192.0.2.9:10809"]);
        assert_eq!(servers("netroot.nbd=10.0.0.3:99/a"), ["10.0.0.3:99"]);
        let line = "netroot.nbd=/a netroot.servers=10.0.0.1,10.0.0.2:99";
        assert_eq!(servers(line), ["10.0.0.1:10809", "10.0.0.2:99"]);
        let line = "netroot.nbd=10.0.0.3/a netroot.servers=10.0.0.1";
        assert_eq!(servers(line), ["10.0.0.1:10809", "10.0.0.3:10809"]);
        for bad in ["", "10.0.0.1,", "nas", "10.0.0.1:0", "[::1]"] {
            assert!(parse(&format!("netroot.nbd=/a netroot.servers={bad}")).is_err(), "{bad}");
        }
        let many = vec!["10.0.0.1"; 17].join(",");
        assert!(parse(&format!("netroot.nbd=/a netroot.servers={many}")).is_err());
    }

    #[test]
    fn init_is_a_path() {
        assert_eq!(init(&Args::parse("netroot.init=/sbin/init")), "/sbin/init");
        assert_eq!(init(&Args::parse("netroot.init=init")), "/init");
        assert_eq!(init(&Args::parse("init=/bin/bash")), "/init");
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC{0,200}", key in "(ip|BOOTIF|netroot.(nbd|ip|vlan|if|servers))", value in "[0-9a-f:./,-]{0,40}") {
            let _ = parse(&format!("netroot.nbd=/a {key}={value} {line}"));
        }
    }
}
