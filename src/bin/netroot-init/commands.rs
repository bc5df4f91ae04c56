//! A part of it by hand, for when a boot fails: from a shell in the initramfs, or on any machine of that network.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use netrootfs::image::mac::Mac;

use crate::card::Card;
use crate::console::say;
use crate::dial::{self, RemoteDisk};
use crate::keeper::{self, Kept};
use crate::lease;
use crate::link;
use crate::reader::Here;
use crate::servers;
use crate::settings::{self, Target};
use crate::spread::Spread;

const USAGE: &str = "usage: netroot-init nbd SERVER:PORT/EXPORT | read MAC SERVER:PORT,.../EXPORT | dhcp INTERFACE | hold INTERFACE";
/// As much as Linux asks for at once by default (`max_sectors_kb`).
const PIECE: usize = 128 << 10;

/// Does what the words say.
pub fn run(words: &[String]) -> ExitCode {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["nbd", target] => nbd(target),
        ["read", card, disk] => read(card, disk),
        ["dhcp", interface] => dhcp(interface),
        ["hold", interface] => hold(interface),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netroot-init: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn nbd(target: &str) -> Result<()> {
    let target = Target::parse(target)?;
    let Some(host) = target.host else { bail!("a server must be named") };
    let found = dial::dial(SocketAddrV4::new(host, target.port), &target.export, dial::TALK_PATIENCE)?;
    println!("size {}", found.export.size);
    println!("flags {:#x}", found.export.flags);
    println!("block {}", found.export.block);
    println!("disc {}", dial::volume_id(&found.sector).as_deref().unwrap_or("not ISO 9660"));
    Ok(())
}

/// Writes the disc to the standard output, as long as somebody takes it.
fn read(card: &str, disk: &str) -> Result<()> {
    let card: Mac = card.parse()?;
    let (servers, export) = disk.split_once('/').context("the form is SERVER:PORT,.../EXPORT")?;
    let servers = servers::ranked(card, settings::servers(servers)?);
    let remote = RemoteDisk { servers, export: export.to_owned() };
    let spread = Spread::of(card);
    let first = dial::first(&remote, spread)?;
    let (size, block) = (first.export.size, first.export.block as usize);
    let piece = first.export.longest.map_or(PIECE, |longest| PIECE.min(longest as usize));
    say(&format!("{}/{export} has {size} bytes", first.server));
    let here = Here::new(&first.socket)?;
    let kept = keeper::Disk::new(remote, first, spread, here.clone());
    keeper::beside("connection", || kept.keep(None));
    copy(&here, size, piece - piece % block)
}

fn copy(disk: &Here, size: u64, piece: usize) -> Result<()> {
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; piece];
    for offset in (0..size).step_by(piece) {
        buffer.truncate(usize::try_from(size - offset).unwrap_or(usize::MAX));
        disk.read(offset, &mut buffer)?;
        match output.write_all(&buffer) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("the standard output")?,
        }
    }
    Ok(())
}

fn card(interface: &str) -> Result<Card> {
    let card = Card::named(interface).with_context(|| format!("there is no network card {interface}"))?;
    link::set_up(card.index, None).with_context(|| format!("{interface} can't be switched on"))?;
    Ok(card)
}

fn dhcp(interface: &str) -> Result<()> {
    let lease = lease::obtain(&card(interface)?, lease::LONG)?;
    println!("address {}", lease.address);
    let addresses =
        [("gateway", lease.gateway), ("server", lease.server), ("boot-server", lease.boot_server)];
    for (name, address) in addresses {
        if let Some(address) = address {
            println!("{name} {address}");
        }
    }
    for server in &lease.dns {
        println!("dns {server}");
    }
    if let Some(domain) = &lease.domain {
        println!("domain {domain}");
    }
    if let Some(terms) = lease.terms {
        println!(
            "lease {} s, renewed after {} s, by any server after {} s",
            terms.lease, terms.renew, terms.rebind
        );
    }
    Ok(())
}

fn hold(interface: &str) -> Result<()> {
    let card = card(interface)?;
    let lease = lease::obtain(&card, lease::LONG)?;
    let held = lease::held(&card, &lease, Vec::new());
    link::set_up(card.index, lease.mtu)?;
    link::hold(&held)?;
    println!("holds {}", held.address);
    Kept::address(held).hold()
}
