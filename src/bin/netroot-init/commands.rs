//! A part of it by hand, for when a boot fails: from a shell in the initramfs, or on any machine of that network.

use std::net::SocketAddrV4;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::card::Card;
use crate::dial;
use crate::keeper::Kept;
use crate::lease;
use crate::link;
use crate::settings::Target;

const USAGE: &str = "usage: netroot-init nbd SERVER:PORT/EXPORT | dhcp INTERFACE | hold INTERFACE";

/// Does what the words say.
pub fn run(words: &[String]) -> ExitCode {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["nbd", target] => nbd(target),
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
    let found = dial::dial(SocketAddrV4::new(host, target.port), &target.export)?;
    println!("size {}", found.export.size);
    println!("flags {:#x}", found.export.flags);
    println!("block {}", found.export.block);
    println!("disc {}", dial::volume_id(&found.sector).as_deref().unwrap_or("not ISO 9660"));
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
