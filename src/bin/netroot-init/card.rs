//! The network cards: which there are, in which order to try them, and whether a cable is in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use netrootfs::image::mac::Mac;

use crate::console::{complain, say};
use crate::link;
use crate::modules::{self, read};
use crate::settings::Settings;

/// For drivers to bring up their cards; USB ones are slow.
const CARDS_PATIENCE: Duration = Duration::from_secs(15);
/// From link up to carrier: an e1000 takes 2 to 4 s, 10 Gb/s over copper up to 8.
const CARRIER_PATIENCE: Duration = Duration::from_secs(12);
/// For carriers of further cards once the first is there.
const FURTHER_PATIENCE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(100);
/// `ARPHRD_ETHER`.
const ETHERNET: &str = "1";

/// A wired card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub name: String,
    pub index: u32,
    pub mac: Mac,
}

impl Card {
    /// The card of that name.
    pub fn named(name: &str) -> Option<Self> {
        let directory = directory(name);
        Some(Self {
            name: name.to_owned(),
            index: read(directory.join("ifindex")).trim().parse().ok()?,
            mac: read(directory.join("address")).trim().parse().ok()?,
        })
    }

    /// Whether there is a cable with something at its other end.
    pub fn has_carrier(&self) -> bool {
        read(directory(&self.name).join("carrier")).trim() == "1"
    }
}

fn directory(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// All wired cards, by number. Not those that some program has made.
fn all() -> Vec<Card> {
    let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut cards: Vec<_> = names
        .filter(|entry| {
            let directory = entry.path();
            directory.join("device").exists()
                && !directory.join("wireless").exists()
                && !directory.join("phy80211").exists()
                && read(directory.join("type")).trim() == ETHERNET
        })
        .filter_map(|entry| Card::named(entry.file_name().to_str()?))
        .collect();
    cards.sort_by_key(|card| card.index);
    cards
}

/// A card of this machine, whichever comes first.
pub fn first() -> Option<Card> {
    all().into_iter().next()
}

/// The cards in the order in which they are to be tried: up, and with a cable in.
///
/// # Errors
/// If there is none.
pub fn ready(settings: &Settings) -> Result<Vec<Card>> {
    let cards = wait_for_cards(settings)?;
    let mut refused = Vec::new();
    let mut up = Vec::new();
    for card in cards {
        match link::set_up(card.index, None) {
            Ok(()) => up.push(card),
            Err(error) => refused.push(format!("{} can't be switched on: {error}", card.name)),
        }
    }
    wait_for_carrier(&up, settings);
    let (linked, dark): (Vec<_>, Vec<_>) = up.into_iter().partition(Card::has_carrier);
    refused.extend(
        dark.iter().map(|card| format!("{} ({}) has no link: is the cable in?", card.name, card.mac)),
    );
    if linked.is_empty() {
        bail!("{}", refused.join("; "));
    }
    // With the loader's card there, nobody has waited for the others.
    if !linked.iter().any(|card| Some(card.mac) == settings.boot_card) {
        refused.iter().for_each(|sentence| say(sentence));
    }
    Ok(linked)
}

/// Loads drivers until the card that is asked for is there, or any; then all that come into question, that one first.
fn wait_for_cards(settings: &Settings) -> Result<Vec<Card>> {
    let deadline = Instant::now() + CARDS_PATIENCE;
    let first = |card: &Card| settings.boot_card.is_none_or(|mac| card.mac == mac);
    let mut done = BTreeSet::new();
    let mut cards;
    loop {
        modules::load_cards(&mut done);
        cards = all();
        if let Some(name) = &settings.interface {
            cards.retain(|card| card.name == *name);
        }
        if cards.iter().any(first) || Instant::now() > deadline {
            break;
        }
        thread::sleep(INTERVAL);
    }
    if cards.is_empty() {
        match &settings.interface {
            Some(name) => bail!("there is no network card {name} (netroot.if); there are: {}", names(&all())),
            None => bail!(
                "no network card has a driver here: the initramfs and netrootfs's archive have none for it"
            ),
        }
    }
    if let Some(mac) = settings.boot_card
        && !cards.iter().any(first)
    {
        complain(&format!(
            "the card {mac} that the loader came by (BOOTIF) has no driver here; trying {}",
            names(&cards)
        ));
    }
    cards.sort_by_key(|card| !first(card)); // stable: the others stay by number
    Ok(cards)
}

fn names(cards: &[Card]) -> String {
    let names: Vec<_> = cards.iter().map(|card| format!("{} ({})", card.name, card.mac)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Waits until the card of the loader has a carrier, or, if that is not known, one and a little longer.
fn wait_for_carrier(cards: &[Card], settings: &Settings) {
    let mut deadline = Instant::now() + CARRIER_PATIENCE;
    let mut found = false;
    while Instant::now() < deadline {
        let loaders = cards.iter().find(|card| Some(card.mac) == settings.boot_card);
        if cards.iter().all(Card::has_carrier) || loaders.is_some_and(Card::has_carrier) {
            return;
        }
        if loaders.is_none() && !found && cards.iter().any(Card::has_carrier) {
            found = true;
            deadline = deadline.min(Instant::now() + FURTHER_PATIENCE);
        }
        thread::sleep(INTERVAL);
    }
}
