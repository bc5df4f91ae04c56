//! Menus of single machines, beside the general ones, under the names by which loaders ask for them:
//!
//! ```text
//! pxelinux.cfg/01-<mac>, <uuid>, 0A00026F, 0A0002     pxelinux, from the most to the least special
//! grub.cfg-01-<mac>, grub.cfg-<uuid>, …               GRUB, the same beside each grub.cfg
//! mac-<mac>.ipxe, uuid-<uuid>.ipxe, ip-<address>.ipxe iPXE, which boot.ipxe sends there
//! <mac>/, <address>/                                  dnsmasq's tftp-unique-root: all of tftp/ with the machine's menus
//! ```
//!
//! None of them is listed, and none is rendered before a machine asks for it: a thousand machines with forty ISOs would
//! be a hundred megabytes.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use super::Settings;
use crate::boot::loader;
use crate::boot::names;
use crate::catalog::config::{ByItself, Machine};
use crate::image::args::Args;
use crate::image::label::Label;
use crate::image::mac::Mac;
use crate::storage::content::{Content, Lazy};
use crate::storage::identity::identity;
use crate::tree::arena::{Builder, NodeId};
use crate::tree::render::ipxe::{self, Machines};
use crate::tree::render::{Choice, Firmware, IsoEntry, Menu, grub, pxelinux};

/// Directories below `tftp/` in which pxelinux and syslinux look for `pxelinux.cfg/`.
const PXELINUX: [(&str, Firmware); 2] = [("", Firmware::Bios), (loader::EFI64, Firmware::Uefi)];

/// Directories below `tftp/` in which GRUB looks for the general menu. The ISOs' own, in `efi/<LABEL>`, fall back on the
/// second.
const GRUB: [&str; 2] = ["", "grub"];

/// An entry that a menu can have.
#[derive(Debug, Hash)]
pub struct Offer {
    pub entry: IsoEntry,
    /// Only in menus of machines that name it.
    pub hidden: bool,
    /// Number of its coming: what was there first has the lowest.
    pub arrived: u64,
}

impl Offer {
    /// Whether something of it may boot by itself though nobody has named it.
    pub fn is_live(&self) -> bool {
        self.entry.items.iter().any(|item| item.live)
    }
}

/// All that menus are made of. The same offers and the same machine are the same menu.
#[derive(Debug, Hash)]
pub struct Offers {
    /// In the order of the menu.
    entries: Vec<Offer>,
    default: Option<ByItself>,
    /// The ISO that boots by itself where nobody has named one.
    standing: Option<Label>,
    timeout: u32,
    append: Args,
    /// Address of the server.
    pub host: String,
    host_given: bool,
    /// How iPXE tells machines from each other.
    pub ipxe: Machines,
}

impl Offers {
    pub fn new(entries: Vec<Offer>, standing: Option<Label>, settings: &Settings) -> Self {
        Self {
            entries,
            default: settings.default.clone(),
            standing,
            timeout: settings.timeout,
            append: settings.append.clone(),
            host: settings.host.clone(),
            host_given: settings.host_given,
            ipxe: asked(&settings.config.machines),
        }
    }

    /// The ISO that boots by itself where nobody has named one.
    pub fn standing(&self) -> Option<&Label> {
        self.standing.as_ref()
    }

    /// The address for loaders that know the server that they were loaded from: one that was given may be another.
    pub fn given_host(&self) -> Option<&str> {
        self.host_given.then_some(self.host.as_str())
    }

    /// The menu of a machine, or the general one.
    pub fn menu(&self, machine: Option<&Machine>) -> Menu {
        let more = machine.and_then(|machine| machine.append.clone()).unwrap_or_default();
        let offered = self.entries.iter().filter(|offer| match machine {
            Some(machine) => is_offered(offer, machine),
            None => !offer.hidden,
        });
        let offered: Vec<&Offer> = offered.collect();
        let wanted = [machine.and_then(|machine| machine.default.as_ref()), self.default.as_ref()];
        let is_there = |wanted: &&ByItself| wanted.label().is_none_or(|label| has(&offered, label));
        let wanted = wanted.into_iter().flatten().find(is_there);
        let default = match wanted {
            None => self.unnamed(machine, &offered),
            Some(ByItself::Iso(label)) => Choice::Iso(label.to_string()),
            Some(ByItself::Local | ByItself::Nothing) => Choice::Local,
        };
        let timeout = match wanted {
            Some(ByItself::Nothing) => 0,
            _ => machine.and_then(|machine| machine.timeout).unwrap_or(self.timeout),
        };
        let entries = offered.iter().map(|offer| with_args(&offer.entry, &more)).collect();
        Menu { default, timeout, append: self.append.clone().append(more), entries }
    }

    /// What boots by itself though nobody has named it: the live system that everybody boots, else, for a machine that isn't
    /// offered that, the oldest of its menu. What comes later changes neither.
    fn unnamed(&self, machine: Option<&Machine>, offered: &[&Offer]) -> Choice {
        let standing = self.standing.as_ref().filter(|label| has(offered, label)).map(Label::to_string);
        let is_narrowed = |machine: &Machine| machine.only.is_some() || !machine.without.is_empty();
        let oldest = || {
            machine.filter(|machine| is_narrowed(machine))?;
            let own = offered.iter().filter(|offer| offer.is_live());
            Some(own.min_by_key(|offer| offer.arrived)?.entry.label.clone())
        };
        standing.or_else(oldest).map_or(Choice::Local, Choice::Live)
    }
}

fn has(offered: &[&Offer], label: &Label) -> bool {
    offered.iter().any(|offer| offer.entry.label == label.as_str())
}

fn is_offered(offer: &Offer, machine: &Machine) -> bool {
    let named = |labels: &[Label]| labels.iter().any(|label| label.as_str() == offer.entry.label);
    let offered = machine.only.as_deref().map_or(!offer.hidden, named);
    offered && !named(&machine.without)
}

fn with_args(entry: &IsoEntry, more: &Args) -> IsoEntry {
    if more.is_empty() {
        return entry.clone();
    }
    let mut entry = entry.clone();
    for item in &mut entry.items {
        item.args = std::mem::take(&mut item.args).append(more.clone());
    }
    entry
}

fn asked(machines: &[Arc<Machine>]) -> Machines {
    let any = |has: fn(&Machine) -> bool| machines.iter().any(|machine| has(machine));
    Machines {
        uuid: any(|machine| !machine.uuid.is_empty()),
        mac: any(|machine| !machine.mac.is_empty()),
        address: any(|machine| machine.address.iter().any(|range| range.few().next().is_some())),
    }
}

/// Adds the menus of all machines. The tree below `tftp/` must be whole.
pub fn add(
    builder: &mut Builder,
    tftp: NodeId,
    offers: &Arc<Offers>,
    machines: &[Arc<Machine>],
    mtime: SystemTime,
) {
    if machines.is_empty() {
        return;
    }
    let (general, below) = (identity(offers.as_ref()), builder.digest(tftp));
    let mut taken = Taken::default();
    let shape = Shape::of(builder, tftp);
    let mut add = Add { builder, shape, offers, mtime, general };
    for machine in machines {
        let names = taken.take(machine);
        let identity = identity(&(general, below, machine));
        add.machine(machine, &names, identity);
    }
    let Some(grub) = builder.find(tftp, "grub") else { return };
    let of_isos = builder.find(tftp, "efi").map(|efi| builder.directories(efi)).unwrap_or_default();
    // An ISO's own GRUB asks beside itself: it finds there what the others find.
    of_isos.into_iter().for_each(|(_, directory)| builder.fall_back(directory, grub));
}

/// Names that machines have: who comes first has them.
#[derive(Default)]
struct Taken {
    macs: HashSet<Mac>,
    uuids: HashSet<String>,
    /// Hexadecimal addresses, whole or shortened.
    prefixes: HashSet<String>,
    addresses: HashSet<Ipv4Addr>,
}

/// The names of a machine.
struct Names {
    /// As pxelinux has them, and GRUB behind `grub.cfg-`.
    configs: Vec<String>,
    scripts: Vec<String>,
    roots: Vec<String>,
}

impl Taken {
    fn take(&mut self, machine: &Machine) -> Names {
        let mut names = Names { configs: Vec::new(), scripts: Vec::new(), roots: Vec::new() };
        for uuid in machine.uuid.iter().flat_map(|uuid| uuid.names()) {
            if self.uuids.insert(uuid.clone()) {
                names.scripts.push(format!("uuid-{uuid}.ipxe"));
                names.configs.push(uuid);
            }
        }
        for mac in machine.mac.iter().filter(|mac| self.macs.insert(**mac)) {
            names.configs.push(format!("01-{}", mac.dashed()));
            names.scripts.push(format!("mac-{}.ipxe", mac.plain()));
            names.roots.push(mac.dashed());
        }
        for range in machine.address.iter() {
            let free = |name: &String| {
                (1..=name.len()).all(|len| !self.prefixes.contains(name.get(..len).unwrap_or(name)))
            };
            let free_names: Vec<String> = range.names().into_iter().filter(free).collect();
            let hexadecimal = |address: &Ipv4Addr| format!("{:08X}", u32::from(*address));
            let few = range.few().filter(|address| free(&hexadecimal(address)));
            let few: Vec<Ipv4Addr> = few.filter(|address| !self.addresses.contains(address)).collect();
            names.scripts.extend(few.iter().map(|address| format!("ip-{address}.ipxe")));
            if range.few().count() == 1 {
                names.roots.extend(few.iter().map(Ipv4Addr::to_string));
            }
            names.configs.extend(free_names.iter().cloned());
            self.prefixes.extend(free_names);
            self.addresses.extend(few);
        }
        names
    }
}

/// A directory and those in it that are listed, as they are before machines come in: to look for them among the names of
/// all machines, for each machine, would take longer than all the rest.
struct Shape {
    node: NodeId,
    directories: Vec<(String, Shape)>,
}

impl Shape {
    fn of(builder: &Builder, node: NodeId) -> Self {
        let directories = builder.directories(node).into_iter();
        Self { node, directories: directories.map(|(name, node)| (name, Self::of(builder, node))).collect() }
    }
}

/// The tree in the making.
struct Add<'a> {
    builder: &'a mut Builder,
    /// `tftp/`.
    shape: Shape,
    offers: &'a Arc<Offers>,
    mtime: SystemTime,
    /// Stands for the offers.
    general: u64,
}

/// The menus of a machine, by path below `tftp/` of the general menu that they take the place of.
type Menus = Vec<(String, NodeId)>;

impl Add<'_> {
    fn machine(&mut self, machine: &Arc<Machine>, names: &Names, identity: u64) {
        let tftp = self.shape.node;
        let mut menus = Menus::new();
        for (directory, firmware) in PXELINUX {
            let Some(parent) = self.builder.find(tftp, &format!("{directory}/pxelinux.cfg")) else {
                continue;
            };
            let menu_module = format!("{directory}/{}", loader::MENU);
            let graphical = self.builder.find(tftp, &menu_module).is_some();
            let content = self.content(machine, &("pxelinux", firmware, graphical), move |offers, menu| {
                pxelinux::render(menu, firmware, graphical, &offers.host)
            });
            let node = self.add(parent, "", &names.configs, content);
            let path = format!("{directory}/pxelinux.cfg/default");
            menus.extend(node.map(|node| (path.trim_start_matches('/').to_owned(), node)));
        }
        let content = self.content(machine, &"grub", |offers, menu| grub::render(menu, offers.given_host()));
        if let Some(node) = self.add(tftp, "grub.cfg-", &names.configs, content) {
            for directory in GRUB {
                let Some(parent) = self.builder.find(tftp, directory) else { continue };
                if parent != tftp {
                    let names = names.configs.iter().map(|name| format!("grub.cfg-{name}"));
                    names.for_each(|name| self.builder.alias(parent, &name, node));
                }
                menus.push((format!("{directory}/grub.cfg").trim_start_matches('/').to_owned(), node));
            }
        }
        let content = self.content(machine, &"ipxe", |offers, menu| {
            ipxe::render(menu, offers.given_host(), Machines::default())
        });
        if let Some(node) = self.add(tftp, "", &names.scripts, content) {
            menus.extend(names::IPXE.map(|name| (name.to_owned(), node)));
        }
        for root in &names.roots {
            lay_over(self.builder, tftp, root, &self.shape, "", identity, &menus);
        }
    }

    fn content<K: std::hash::Hash>(
        &self,
        machine: &Arc<Machine>,
        kind: &K,
        render: impl Fn(&Offers, &Menu) -> String + Send + Sync + 'static,
    ) -> Content {
        // Another version of this program may render another text.
        let identity = identity(&(env!("CARGO_PKG_VERSION"), kind, self.general, machine));
        let (offers, machine) = (self.offers.clone(), machine.clone());
        let text = move || render(&offers, &offers.menu(Some(&machine))).into_bytes();
        Content::Lazy(Lazy::new(identity, text))
    }

    /// Adds one file under several names.
    fn add(&mut self, parent: NodeId, prefix: &str, names: &[String], content: Content) -> Option<NodeId> {
        let (first, rest) = names.split_first()?;
        let node = self.builder.hidden_file(parent, &format!("{prefix}{first}"), content, self.mtime);
        rest.iter().for_each(|name| self.builder.alias(parent, &format!("{prefix}{name}"), node));
        Some(node)
    }
}

/// Adds a directory that answers like the one of that shape, which is at `path` below `tftp/`, but for the machine's menus.
fn lay_over(
    builder: &mut Builder,
    parent: NodeId,
    name: &str,
    shape: &Shape,
    path: &str,
    identity: u64,
    menus: &Menus,
) {
    let node = builder.overlay(parent, name, shape.node, identity);
    for (menu, text) in menus {
        if let Some(name) = menu.strip_prefix(path).filter(|name| !name.contains('/')) {
            builder.link(node, name, *text);
        }
    }
    for (name, below) in &shape.directories {
        lay_over(builder, node, name, below, &format!("{path}{name}/"), identity, menus);
    }
}

#[cfg(test)]
mod tests;
