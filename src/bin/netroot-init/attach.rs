//! From nothing to a disk: nbd, a card, an address, the server, `/dev/nbd0`, the keeper.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netrootfs::boot::step::Step;

use crate::address::Held;
use crate::card::{self, Card};
use crate::console::{complain, say};
use crate::dhcp::Lease;
use crate::dial::{self, Connection, RemoteDisk};
use crate::disk;
use crate::herald::tell;
use crate::keeper;
use crate::lease::{self, Renewal};
use crate::link;
use crate::modules;
use crate::nbd::FLAG_CAN_MULTI_CONN;
use crate::servers;
use crate::settings::{Settings, StaticAddress};
use crate::spread::Spread;

/// A VLAN's link follows that of its card.
const VLAN_PATIENCE: Duration = Duration::from_secs(3);

/// Attaches the disk by the first card that leads to it, whose address is held then. `or` is what the servers are told if
/// they are reached and have none.
///
/// # Errors
/// If none does, with what is missing for each.
pub fn attach(settings: &Settings, or: Step) -> Result<Held> {
    modules::load_nbd()?;
    let cards = card::ready(settings)?;
    let patience = if cards.len() == 1 { lease::LONG } else { lease::SHORT };
    let mut refused = Vec::new();
    for (index, card) in cards.iter().enumerate() {
        match through(card, settings, index == 0, patience, or) {
            Ok(held) => return Ok(held),
            Err(error) => refused.push(format!("by {}: {error:#}", card.name)),
        }
    }
    bail!("{}", refused.join("; "));
}

fn through(card: &Card, settings: &Settings, first: bool, patience: &[u64], or: Step) -> Result<Held> {
    let tagged = settings.vlan.map(|id| vlan(card, id)).transpose()?;
    let card = tagged.as_ref().unwrap_or(card);
    let lease = address(card, settings, first, patience)?;
    let servers = servers::ranked(card.mac, settings.disk_servers(lease.boot_server));
    if servers.is_empty() {
        bail!("the kernel arguments name no NBD server, and DHCP names no boot server");
    }
    let held = lease::held(card, &lease, servers.iter().map(|server| *server.ip()).collect());
    introduce(card, &lease);
    link::set_up(card.index, lease.mtu)?;
    link::hold(&held).with_context(|| format!("the address {} can't be set", held.address.addr()))?;
    tell(&held, Step::Address);
    let remote = RemoteDisk { servers, export: settings.target.export.clone() };
    if let Err(error) = disk(&held, &remote, settings) {
        tell(&held, or);
        let _ = link::release(&held);
        return Err(error);
    }
    tell(&held, Step::Disk);
    name_servers(&lease);
    Ok(held)
}

fn introduce(card: &Card, lease: &Lease) {
    let gateway = lease.gateway.map(|gateway| format!(", gateway {gateway}")).unwrap_or_default();
    let server = lease.server.map(|server| format!(", by DHCP from {server}")).unwrap_or_default();
    say(&format!("{} ({}) has {}{gateway}{server}", card.name, card.mac, lease.address));
}

fn vlan(card: &Card, id: u16) -> Result<Card> {
    modules::load_vlan();
    let name = format!("netroot.{id}");
    link::add_vlan(card.index, &name, id).with_context(|| {
        format!("VLAN {id} can't be made on {} (is the module 8021q in the initramfs?)", card.name)
    })?;
    let tagged = Card::named(&name).with_context(|| format!("VLAN {id} on {} doesn't appear", card.name))?;
    link::set_up(tagged.index, None)?;
    let deadline = Instant::now() + VLAN_PATIENCE;
    while !tagged.has_carrier() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(tagged)
}

/// The address for a card: as the arguments fix it, else what the loader got, else by DHCP.
fn address(card: &Card, settings: &Settings, first: bool, patience: &[u64]) -> Result<Lease> {
    if let Some(given) = &settings.fixed {
        return Ok(without_lease(given));
    }
    // Only the card that the loader came by has that address.
    let loaders = settings.boot_card.map_or(first, |mac| mac == card.mac) && settings.vlan.is_none();
    match &settings.from_loader {
        Some(given) if loaders => confirmed(card, given, patience),
        _ => lease::obtain(card, patience),
    }
}

/// The loader's address with what the DHCP server knows about it: the time, the name servers.
fn confirmed(card: &Card, given: &StaticAddress, patience: &[u64]) -> Result<Lease> {
    match lease::confirm(card, given.address.addr()) {
        Ok(Some(Renewal::Until(lease))) if lease.address.addr() == given.address.addr() => {
            Ok(Lease { boot_server: given.server.or(lease.boot_server), ..*lease })
        }
        Ok(Some(Renewal::Refused(sentence))) => {
            say(&format!("{sentence}, which the loader had; asking for another one"));
            let lease = lease::obtain(card, patience)?;
            Ok(Lease { boot_server: given.server.or(lease.boot_server), ..lease })
        }
        _ => {
            say(&format!(
                "no DHCP server confirms {}, which the loader had; taking it as it is",
                given.address.addr()
            ));
            Ok(without_lease(given))
        }
    }
}

fn without_lease(given: &StaticAddress) -> Lease {
    Lease {
        address: given.address,
        gateway: given.gateway,
        mtu: None,
        dns: Vec::new(),
        domain: None,
        boot_server: given.server,
        server: None,
        terms: None,
    }
}

/// The connection, the disk and the keeper.
fn disk(held: &Held, remote: &RemoteDisk, settings: &Settings) -> Result<()> {
    let spread = Spread::of(held.mac);
    let first = dial::first(remote, spread)?;
    let mut further = Vec::new();
    match one_only(settings, remote, &first) {
        Some(sentence) => say(&sentence),
        None => {
            for _ in 1..settings.connections {
                further.push(dial::dial(first.server, &remote.export, dial::TALK_PATIENCE)?.socket);
            }
        }
    }
    let sockets: Vec<&TcpStream> = [&first.socket].into_iter().chain(&further).collect();
    disk::connect(&sockets, &first.export).context("the kernel doesn't take the connection as /dev/nbd0")?;
    if let Err(error) = check(&first) {
        let _ = disk::disconnect();
        return Err(error);
    }
    if let Err(error) = keeper::leave(held, remote, &first, &sockets) {
        complain(&format!(
            "nobody keeps the connection, so the machine may hang when it is shut down: {error:#}"
        ));
    }
    let volume = dial::volume_id(&first.sector);
    let what = volume.map_or_else(|| "not an ISO 9660 disc".to_owned(), |id| format!("the disc '{id}'"));
    say(&format!(
        "{} is {}/{}: {what}, {} bytes",
        disk::DEVICE,
        first.server,
        remote.export,
        first.export.size
    ));
    Ok(())
}

/// The reason for one connection where several are wanted.
fn one_only(settings: &Settings, remote: &RemoteDisk, first: &Connection) -> Option<String> {
    if settings.connections < 2 {
        return None;
    }
    // Linux sends what was under way on one of several again after 30 s only, and takes another server at once else.
    if remote.servers.len() > 1 {
        return Some(
            "with several NBD servers there is one connection, so that another server takes over soon".into(),
        );
    }
    let several = first.export.flags & FLAG_CAN_MULTI_CONN != 0;
    (!several).then(|| format!("the NBD server {} takes one connection only", first.server))
}

fn check(first: &Connection) -> Result<()> {
    if first.export.size < dial::DESCRIPTOR_AT + dial::SECTOR as u64 {
        return Ok(());
    }
    disk::check(&first.sector)
}

/// A resolv.conf, which live systems take over from the initramfs, if there is none.
fn name_servers(lease: &Lease) {
    const FILE: &str = "/etc/resolv.conf";
    if lease.dns.is_empty() || Path::new(FILE).exists() {
        return;
    }
    let mut text: String = lease.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    if let Some(domain) = &lease.domain {
        text.insert_str(0, &format!("search {domain}\n"));
    }
    let _ = fs::create_dir("/etc");
    if let Err(error) = fs::write(FILE, text) {
        complain(&format!("{FILE} can't be written: {error}"));
    }
}
