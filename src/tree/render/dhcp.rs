//! What a DHCP server has to say for this tree: dnsmasq(8), dhcpd.conf(5), Kea's Dhcp4.
//!
//! Clients tell their architecture in option 93 (RFC 4578, 2.1, and IANA's registry of processor architecture types): 0 is
//! BIOS, 7 and 9 UEFI on x86-64, 11 UEFI on AArch64, 16 and 19 the same two by HTTP.

use std::net::Ipv4Addr;

use crate::boot::names::{self, EFI_AA64 as ARM64, EFI_X64 as X64, PXELINUX as BIOS};

/// The DHCP server that the snippet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// dnsmasq.
    Dnsmasq,
    /// ISC dhcpd.
    Isc,
    /// Kea.
    Kea,
}

/// Values of a snippet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Address of the TFTP server.
    pub server: String,
    /// Where the tree is mounted.
    pub mountpoint: String,
    /// Network card of the boot network.
    pub interface: String,
    /// The network and its prefix length.
    pub network: (Ipv4Addr, u8),
    /// Beside a DHCP server that gives the addresses.
    pub proxy: bool,
    /// URL of the tree, for UEFI machines that boot by HTTP.
    pub http: Option<String>,
}

const IPXE: &str = names::IPXE[0];

/// Renders a snippet. Kea and dhcpd can't be a proxy; they get the lines for the server that is there.
pub fn render(dialect: Dialect, site: &Site) -> String {
    match dialect {
        Dialect::Dnsmasq => dnsmasq(site),
        Dialect::Isc => isc(site),
        Dialect::Kea => kea(site),
    }
}

fn dnsmasq(site: &Site) -> String {
    let Site { mountpoint, interface, .. } = site;
    let tftp = format!("enable-tftp\ntftp-root={mountpoint}/tftp\n");
    // shim looks for its GRUB beside the file that the old BOOTP field names, which dnsmasq leaves empty otherwise.
    let head = format!(
        "# dnsmasq for {mountpoint}\nport=0\ninterface={interface}\nbind-interfaces\ndhcp-no-override\n{tftp}"
    );
    if site.proxy {
        let (network, _) = site.network;
        return format!(
            "{head}dhcp-range={network},proxy\n\
             pxe-service=x86PC,\"Network boot\",pxelinux\n\
             pxe-service=x86-64_EFI,\"Network boot\",{X64}\n\
             pxe-service=BC_EFI,\"Network boot\",{X64}\n\
             pxe-service=ARM64_EFI,\"Network boot\",{ARM64}\n"
        );
    }
    let (first, last) = range(site.network);
    let http = site.http.as_ref().map_or_else(String::new, |url| {
        format!(
            "dhcp-match=set:http64,option:client-arch,16\n\
             dhcp-option-force=tag:http64,60,HTTPClient\n\
             dhcp-boot=tag:http64,{url}/tftp/{X64}\n"
        )
    });
    format!(
        "{head}dhcp-range={first},{last},12h\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-match=set:efi64,option:client-arch,7\n\
         dhcp-match=set:efi64,option:client-arch,9\n\
         dhcp-match=set:arm64,option:client-arch,11\n\
         {http}\
         dhcp-boot=tag:ipxe,{IPXE}\n\
         dhcp-boot=tag:efi64,tag:!ipxe,{X64}\n\
         dhcp-boot=tag:arm64,tag:!ipxe,{ARM64}\n\
         dhcp-boot=tag:!efi64,tag:!arm64,tag:!ipxe{},{BIOS}\n",
        if site.http.is_some() { ",tag:!http64" } else { "" }
    )
}

fn isc(site: &Site) -> String {
    let (first, last) = range(site.network);
    let (network, prefix) = site.network;
    let http = site.http.as_ref().map_or_else(String::new, |url| {
        format!(
            "  }} elsif option arch = 00:10 {{\n    option vendor-class-identifier \"HTTPClient\";\n    \
             filename \"{url}/tftp/{X64}\";\n"
        )
    });
    let pool = if site.proxy { String::new() } else { format!("  range {first} {last};\n") };
    format!(
        "# ISC dhcpd for {}\noption arch code 93 = unsigned integer 16;\n\n\
         subnet {network} netmask {} {{\n{pool}  next-server {};\n\
         \x20 if exists user-class and option user-class = \"iPXE\" {{\n    filename \"{IPXE}\";\n\
         \x20 }} elsif option arch = 00:07 or option arch = 00:09 {{\n    filename \"{X64}\";\n\
         \x20 }} elsif option arch = 00:0b {{\n    filename \"{ARM64}\";\n{http}\
         \x20 }} else {{\n    filename \"{BIOS}\";\n  }}\n}}\n",
        site.mountpoint,
        mask(prefix),
        site.server
    )
}

fn kea(site: &Site) -> String {
    let (first, last) = range(site.network);
    let (network, prefix) = site.network;
    let not_ipxe = "not member('ipxe')";
    let mut classes = vec![
        class("ipxe", "option[77].hex == 'iPXE'", IPXE, ""),
        class(
            "efi-x64",
            &format!("(option[93].hex == 0x0007 or option[93].hex == 0x0009) and {not_ipxe}"),
            X64,
            "",
        ),
        class("efi-arm64", &format!("option[93].hex == 0x000b and {not_ipxe}"), ARM64, ""),
        class("bios", &format!("option[93].hex == 0x0000 and {not_ipxe}"), BIOS, ""),
    ];
    if let Some(url) = &site.http {
        let vendor = ",\n        \"option-data\": [ { \"name\": \"vendor-class-identifier\", \"data\": \"HTTPClient\" } ]";
        classes.push(class("http-x64", "option[93].hex == 0x0010", &format!("{url}/tftp/{X64}"), vendor));
    }
    let pools = if site.proxy {
        String::new()
    } else {
        format!("\n        \"pools\": [ {{ \"pool\": \"{first} - {last}\" }} ],")
    };
    format!(
        "{{\n  \"Dhcp4\": {{\n    \"interfaces-config\": {{ \"interfaces\": [ \"{}\" ] }},\n    \
         \"lease-database\": {{ \"type\": \"memfile\" }},\n    \"client-classes\": [\n{}\n    ],\n    \
         \"subnet4\": [\n      {{ \"id\": 1,\n        \"subnet\": \"{network}/{prefix}\",{pools}\n        \
         \"next-server\": \"{}\" }}\n    ]\n  }}\n}}\n",
        site.interface,
        classes.join(",\n"),
        site.server
    )
}

fn class(name: &str, test: &str, file: &str, more: &str) -> String {
    format!(
        "      {{ \"name\": \"{name}\",\n        \"test\": \"{test}\",\n        \"boot-file-name\": \"{file}\"{more} }}"
    )
}

/// Addresses to give away: the upper half of the network.
fn range((network, prefix): (Ipv4Addr, u8)) -> (Ipv4Addr, Ipv4Addr) {
    let size = 1_u32.checked_shl(32 - u32::from(prefix.min(30))).unwrap_or(u32::MAX);
    let base = network.to_bits() & mask(prefix).to_bits();
    (Ipv4Addr::from_bits(base.saturating_add(size / 2)), Ipv4Addr::from_bits(base.saturating_add(size - 2)))
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            server: "192.168.50.1".into(),
            mountpoint: "/srv/netboot".into(),
            interface: "eth1".into(),
            network: (Ipv4Addr::new(192, 168, 50, 0), 24),
            proxy: false,
            http: None,
        }
    }

    #[test]
    fn dnsmasq_gives_each_architecture_its_loader() {
        assert_eq!(
            render(Dialect::Dnsmasq, &site()),
            "# dnsmasq for /srv/netboot\nport=0\ninterface=eth1\nbind-interfaces\ndhcp-no-override\nenable-tftp\n\
             tftp-root=/srv/netboot/tftp\ndhcp-range=192.168.50.128,192.168.50.254,12h\ndhcp-match=set:ipxe,175\n\
             dhcp-match=set:efi64,option:client-arch,7\ndhcp-match=set:efi64,option:client-arch,9\n\
             dhcp-match=set:arm64,option:client-arch,11\ndhcp-boot=tag:ipxe,boot.ipxe\n\
             dhcp-boot=tag:efi64,tag:!ipxe,bootx64.efi\ndhcp-boot=tag:arm64,tag:!ipxe,bootaa64.efi\n\
             dhcp-boot=tag:!efi64,tag:!arm64,tag:!ipxe,pxelinux.0\n"
        );
    }

    #[test]
    fn a_proxy_gives_no_addresses() {
        let text = render(Dialect::Dnsmasq, &Site { proxy: true, ..site() });
        assert!(text.contains("dhcp-range=192.168.50.0,proxy\n") && !text.contains("12h"), "{text}");
    }

    #[test]
    fn kea_reads_json() {
        for http in [None, Some("http://192.168.50.1".to_owned())] {
            let text = render(Dialect::Kea, &Site { http, ..site() });
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["Dhcp4"]["subnet4"][0]["next-server"], "192.168.50.1");
            assert_eq!(value["Dhcp4"]["client-classes"][3]["boot-file-name"], "pxelinux.0");
        }
    }

    #[test]
    fn isc_has_a_branch_for_http() {
        let text = render(Dialect::Isc, &Site { http: Some("http://h".into()), ..site() });
        assert!(
            text.contains("elsif option arch = 00:10 {\n    option vendor-class-identifier \"HTTPClient\";"),
            "{text}"
        );
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(
            text.contains(
                "subnet 192.168.50.0 netmask 255.255.255.0 {\n  range 192.168.50.128 192.168.50.254;"
            )
        );
    }

    #[test]
    fn the_range_is_the_upper_half() {
        let range = |address: [u8; 4], prefix| range((Ipv4Addr::from(address), prefix));
        assert_eq!(range([10, 0, 0, 77], 24), (Ipv4Addr::new(10, 0, 0, 128), Ipv4Addr::new(10, 0, 0, 254)));
        assert_eq!(range([10, 0, 0, 0], 8), (Ipv4Addr::new(10, 128, 0, 0), Ipv4Addr::new(10, 255, 255, 254)));
        assert_eq!(mask(0), Ipv4Addr::UNSPECIFIED);
    }
}
