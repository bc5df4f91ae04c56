//! How a catalog is laid out as a tree. The names are those of [`names`].
//!
//! ```text
//! images/nbd.conf, liveos_<LABEL>.img, <LABEL>.iso      for the NBD server
//! tftp/vmlinuz_<LABEL>, initrd_<LABEL>.img,
//!      netroot_<LABEL>.img where it is ready
//!      boot loaders and their menus (see `loaders`)     for the TFTP server
//! trees/<LABEL>/                                        the ISO's own files, for HTTP and NFS servers
//! status.json, metrics, index.html                      how it fares, where it is mounted: for people and programs
//! ```
//!
//! The root image has a second name that isn't listed, `images/<LABEL>`: nbdkit exports the files of a directory by
//! their names, nbd-server by the sections of nbd.conf, and with it both know the export by the same one.
//! Menus of single machines are `machines`'.

mod loaders;

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::SystemTime;

use crate::boot::families::{self, Boot, Subject};
use crate::boot::inspect::{BootFiles, Entry, Unbootable};
use crate::boot::loader::Loader;
use crate::boot::names;
use crate::boot::netroot::Netroot;
use crate::boot::plan;
use crate::boot::reasons::Refusal;
use crate::boot::servers::{self, Servers};
use crate::boot::transport::{Export, Transport};
use crate::catalog::config::{ByItself, Config, Defaults, IsoChoice};
use crate::catalog::scan::{Catalog, FileId, Iso, IsoFile};
use crate::image::args::Args;
use crate::image::label::Label;
use crate::image::menu;
use crate::storage::content::{Content, Segments};
use crate::storage::extent::Extent;
use crate::storage::identity::identity;
use crate::storage::source::{FileSource, PageCache, ReadAt};
use crate::tree::arena::{Builder, NodeId, Tree};
use crate::tree::iso_files::{self, DirectoryCache};
use crate::tree::live::Live;
use crate::tree::render::{self, Choice, Firmware, IsoEntry, Item, LeftOut, grub, ipxe, nbd, pxelinux};

mod by_itself;
mod called;
mod machines;

pub use by_itself::{Chosen, choose};

use by_itself::{chosen, leaves_disks_alone};
use machines::{Offer, Offers};

/// The choices of an administrator, with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Absolute path where the tree is mounted.
    pub mountpoint: String,
    /// The servers, as clients reach them.
    pub servers: Servers,
    /// Their address or name, for loaders that have none of their own for it; empty where nobody knows it.
    pub host: String,
    /// Whether the host was given, and is not just where netrootfs runs.
    pub host_given: bool,
    /// Arguments for every entry.
    pub append: Args,
    /// What boots by itself; where it is not there or not said, the live system that was there first.
    pub default: Option<ByItself>,
    /// Seconds until it does.
    pub timeout: u32,
    /// Choices for single ISOs and machines.
    pub config: Arc<Config>,
}

/// The part that holds whatever the configuration file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Absolute path where the tree is mounted.
    pub mountpoint: String,
    /// Where netrootfs runs, which is where the servers are unless somebody says otherwise; empty where nobody knows it.
    pub own_host: String,
    /// The command line's choices.
    pub options: Defaults,
}

/// Seconds until an entry boots by itself, if nobody says otherwise.
pub const DEFAULT_TIMEOUT: u32 = 10;

impl Given {
    /// Together with what the file says. The command line has the last word.
    pub fn settings(&self, config: &Arc<Config>) -> Settings {
        let chosen = self.options.clone().or(&config.defaults);
        let host_given = chosen.server.is_some();
        let host = chosen.server.unwrap_or_else(|| self.own_host.clone());
        let port = chosen.nbd_port.unwrap_or(servers::NBD_PORT);
        let several = chosen.servers.unwrap_or_default().into_iter();
        Settings {
            mountpoint: self.mountpoint.clone(),
            host_given,
            servers: Servers {
                host: Some(host.clone()).filter(|host| !host.is_empty()),
                by_name: host_given && servers::is_name(&host),
                port,
                several: several
                    .map(|server| SocketAddrV4::new(server.address, server.port.unwrap_or(port)))
                    .collect(),
                prefer: chosen.root_export.and_then(|choice| choice.0),
                http: chosen.http_url,
                nfs: chosen.nfs,
            },
            host,
            append: chosen.append.unwrap_or_default(),
            default: chosen.default,
            timeout: chosen.timeout.unwrap_or(DEFAULT_TIMEOUT),
            config: config.clone(),
        }
    }
}

impl Settings {
    /// For a tree mounted there and servers of that address, with all else as it is where nobody says anything.
    pub fn of_server(mountpoint: &str, host: &str) -> Self {
        let options = Defaults { server: Some(host.to_owned()), ..Defaults::default() };
        let own_host = String::new();
        Given { mountpoint: mountpoint.to_owned(), own_host, options }.settings(&Arc::default())
    }
}

/// A boot loader's file of this host, ready to be passed through.
pub struct LoaderFile {
    /// Path below `tftp/`.
    pub name: String,
    /// Its bytes.
    pub source: Arc<dyn ReadAt>,
    /// Identity of its content.
    pub identity: u64,
    /// Modification time.
    pub mtime: SystemTime,
}

/// Lays out a catalog. What is looked into below `trees/` goes to `directories`.
///
/// ```
/// use netrootfs::catalog::scan::Catalog;
/// use netrootfs::tree::layout::{self, Given};
///
/// let given = Given {
///     mountpoint: "/srv/netboot".into(),
///     own_host: "10.0.0.1".into(),
///     options: Default::default(),
/// };
/// let settings = given.settings(&Default::default());
/// let tree = layout::lay_out(&Catalog::default(), &settings, &[], &Default::default());
/// assert!(tree.find("images/nbd.conf")?.is_some() && tree.find("tftp/boot.ipxe")?.is_some());
/// # std::io::Result::Ok(())
/// ```
pub fn lay_out(
    catalog: &Catalog,
    settings: &Settings,
    host: &[LoaderFile],
    directories: &Arc<DirectoryCache>,
) -> Tree {
    lay_out_with(&[], catalog, settings, host, directories)
}

/// The same with files in the root that are made when somebody looks them up, by name.
pub fn lay_out_with(
    live: &[(&str, Arc<dyn Live>)],
    catalog: &Catalog,
    settings: &Settings,
    host: &[LoaderFile],
    directories: &Arc<DirectoryCache>,
) -> Tree {
    let newest = catalog.isos.iter().map(|iso| iso.disc.mtime).max().unwrap_or(SystemTime::UNIX_EPOCH);
    let mut builder = Builder::new(newest);
    let images = builder.directory(Tree::ROOT, names::IMAGES, newest);
    let tftp = builder.directory(Tree::ROOT, names::TFTP, newest);
    let trees = builder.directory(Tree::ROOT, names::TREES, newest);
    for (name, file) in live {
        builder.live(Tree::ROOT, name, file.clone(), newest);
    }
    for iso in &catalog.isos {
        add_iso(&mut builder, images, tftp, iso);
        let root = Arc::new(iso_files::Directory::root(directories, iso));
        let identity = root.identity();
        builder.lazy(trees, iso.label.as_str(), root, identity, iso.disc.mtime);
    }
    let conf = render_nbd_conf(catalog, settings);
    builder.file(images, names::NBD_CONF, Content::text(conf), newest);
    let offers = Arc::new(offers(catalog, settings));
    let (menu, given) = (offers.menu(None), offers.given_host());
    let menus = loaders::Menus {
        syslinux: &|firmware, graphical| pxelinux::render(&menu, firmware, graphical, &offers.host),
        grub: &|| grub::render(&menu, given),
        grub_for: &|iso| grub::lead_to("/grub.cfg", &menu, given, iso.label.as_str()),
        ipxe: &|| ipxe::render(&menu, given, offers.ipxe),
    };
    let default = settings.default.as_ref().and_then(ByItself::label).or(offers.standing());
    loaders::add(&mut builder, tftp, catalog, default, host, &menus);
    machines::add(&mut builder, tftp, &offers, &settings.config.machines, newest);
    builder.build()
}

/// The host's loaders as they are now; one that can't be read is not there.
pub fn loader_files(loaders: Vec<Loader>) -> Vec<LoaderFile> {
    let open = |loader: Loader| {
        let stat = loader.file.metadata().ok()?;
        let source = FileSource::new(Arc::new(loader.file), PageCache::Keep).ok()?;
        let identity = identity(&FileId::of(&stat));
        Some(LoaderFile {
            name: loader.name,
            source: Arc::new(source),
            identity,
            mtime: stat.modified().ok()?,
        })
    };
    loaders.into_iter().filter_map(open).collect()
}

/// How an ISO of the catalog boots when nobody chooses one of its entries.
///
/// # Errors
/// If it can't be booted with these settings, with the reason.
pub fn boot(iso: &Iso, settings: &Settings) -> Result<Boot, NoEntry> {
    let facts = &iso.disc.facts;
    if let Some(reason) = &facts.unbootable {
        return Err(NoEntry::Unbootable(reason.clone()));
    }
    let first = facts.entries.first().ok_or(NoEntry::Unbootable(Unbootable::NothingToBoot))?;
    Ok(boot_entry(iso, first, settings)?)
}

/// How an entry of an ISO boots: the first, or another.
///
/// # Errors
/// If it can't be booted with these settings.
pub fn boot_entry(iso: &Iso, entry: &Entry, settings: &Settings) -> Result<Boot, Refusal> {
    let choice = settings.config.iso(&iso.label, &iso.name);
    boot_with(iso, entry, &choice, &settings.servers, settings)
}

/// Why an ISO has no entry in the menus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEntry {
    /// There is nothing in it to boot.
    #[error(transparent)]
    Unbootable(#[from] Unbootable),
    /// It doesn't boot with these servers and wishes.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl NoEntry {
    /// Its name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unbootable(reason) => reason.code(),
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

/// What of an ISO is left out of the menus of single loaders, because it can't be said in their languages.
pub fn left_out(iso: &Iso, settings: &Settings) -> Vec<LeftOut> {
    let choice = settings.config.iso(&iso.label, &iso.name);
    let servers = Servers { host: None, ..settings.servers.clone() };
    let entry = entry(iso, &choice, &servers, settings);
    entry.map(|entry| render::left_out(&entry, &settings.host, settings.host_given)).unwrap_or_default()
}

fn boot_with(
    iso: &Iso,
    entry: &Entry,
    choice: &IsoChoice,
    servers: &Servers,
    settings: &Settings,
) -> Result<Boot, Refusal> {
    let facts = &iso.disc.facts;
    let (initrd, netroot) = iso.known(entry.files);
    let subject = Subject {
        family: families::of_initrd(facts.family, initrd),
        found: &facts.found,
        label: &iso.label,
        medium: &facts.medium,
        len: iso.disc.len,
        root: facts.root.as_ref().map(|root| root.format),
        initrd,
        netroot: netroot.is_ready(),
        has_initrd: has_initrd(iso, entry),
        checks_media: entry.checks_media,
    };
    let boot = plan::boot(&subject, own_args(iso, entry, choice), choice.transport, servers)?;
    Ok(Boot { args: boot.args.append(added_args(choice, settings)), ..boot })
}

fn has_initrd(iso: &Iso, entry: &Entry) -> bool {
    iso.disc.facts.files.get(entry.files).is_some_and(|files| !files.initrds.is_empty())
}

/// The arguments of its own menu, or what an administrator has put in the place of those.
fn own_args(iso: &Iso, entry: &Entry, choice: &IsoChoice) -> Args {
    let is_first = iso.disc.facts.entries.first() == Some(entry);
    choice.args.as_ref().filter(|_| is_first).unwrap_or(&entry.args).clone()
}

fn added_args(choice: &IsoChoice, settings: &Settings) -> Args {
    settings.append.clone().append(choice.append.clone().unwrap_or_default())
}

fn add_iso(builder: &mut Builder, images: NodeId, tftp: NodeId, iso: &Iso) {
    let Iso { label, disc, .. } = iso;
    let facts = &disc.facts;
    let mut file = |parent, name: String, content| builder.file(parent, &name, content, disc.mtime);
    let whole = Extent { offset: 0, len: disc.len };
    file(images, names::whole_iso(label), Content::Segments(segments(disc).extents([&whole])));
    for (position, files) in facts.files.iter().enumerate() {
        let name = files.name.as_deref();
        let kernel = segments(disc).extents(&files.kernel.extents);
        file(tftp, names::kernel(label, name), Content::Segments(kernel));
        if !files.initrds.is_empty() {
            let initrds = segments(disc).archives(files.initrds.iter().map(|file| file.extents.as_slice()));
            file(tftp, names::initrd(label, name), Content::Segments(initrds));
        }
        if let (_, Netroot::Ready(archive)) = iso.known(position) {
            file(tftp, names::netroot(label, name), archive.content());
        }
    }
    if let Some(root) = &facts.root {
        let content = Content::Segments(segments(disc).extents(&root.file.extents));
        let node = file(images, names::root_image(label), content);
        builder.alias(images, &names::export(label, Export::Image), node);
    }
}

fn segments(disc: &IsoFile) -> Segments {
    Segments::new(disc.source.clone(), identity(&disc.id))
}

fn render_nbd_conf(catalog: &Catalog, settings: &Settings) -> String {
    let mut exports = Vec::new();
    for iso in &catalog.isos {
        if iso.disc.facts.root.is_some() {
            let name = names::export(&iso.label, Export::Image);
            exports.push(nbd::Section { name, file: names::root_image(&iso.label) });
        }
        let name = names::export(&iso.label, Export::Iso);
        exports.push(nbd::Section { name, file: names::whole_iso(&iso.label) });
    }
    nbd::render(
        settings.servers.port,
        &format!("{}/{}", settings.mountpoint.trim_end_matches('/'), names::IMAGES),
        &exports,
    )
}

/// What boots by itself on machines that have no menu of their own, and after how many seconds.
pub fn boots_by_itself(catalog: &Catalog, settings: &Settings) -> (ByItself, u32) {
    let menu = offers(catalog, settings).menu(None);
    let what = match menu.default {
        _ if menu.timeout == 0 => ByItself::Nothing,
        Choice::Local => ByItself::Local,
        // What is in a menu has a label.
        Choice::Iso(label) | Choice::Live(label) => {
            Label::parse(&label).map_or(ByItself::Local, ByItself::Iso)
        }
    };
    (what, menu.timeout)
}

/// The offers of menus: the ISOs that can be booted with these servers.
fn offers(catalog: &Catalog, settings: &Settings) -> Offers {
    let found = found(catalog, settings);
    let standing = chosen(catalog, settings, &found).label;
    Offers::new(found, standing, settings)
}

fn found(catalog: &Catalog, settings: &Settings) -> Vec<Offer> {
    // The renderers put the address, or their loader's own name for it, in its place.
    let servers = Servers { host: None, ..settings.servers.clone() };
    let mut found: Vec<(i32, Offer)> = Vec::new();
    for iso in &catalog.isos {
        let choice = settings.config.iso(&iso.label, &iso.name);
        if let Some(entry) = entry(iso, &choice, &servers, settings) {
            found.push((choice.order, Offer { entry, hidden: choice.hidden, arrived: iso.arrived }));
        }
    }
    tell_apart(&mut found);
    // What is called the same stays in the catalog's order, which is that of the labels.
    found.sort_by_cached_key(|(order, offer)| (*order, called::as_people_sort(&offer.entry.name)));
    found.into_iter().map(|(_, offer)| offer).collect()
}

/// Gives those their labels back that are called the same without.
fn tell_apart(found: &mut [(i32, Offer)]) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for (_, offer) in found.iter() {
        *times.entry(offer.entry.title.clone()).or_default() += 1;
    }
    for IsoEntry { label, name, title, .. } in found.iter_mut().map(|(_, offer)| &mut offer.entry) {
        if times.get(title).is_some_and(|times| *times > 1) {
            (*name, *title) = (label.clone(), format!("{label}: {title}"));
        }
    }
}

fn entry(iso: &Iso, choice: &IsoChoice, servers: &Servers, settings: &Settings) -> Option<IsoEntry> {
    let facts = &iso.disc.facts;
    let boot = |entry: &Entry| boot_with(iso, entry, choice, servers, settings).ok();
    let (first, others) = facts.entries.split_first()?;
    let boot_first = boot(first)?;
    let transport = boot_first.transport;
    let others = others.iter().enumerate();
    let item =
        |name, entry, boot| item(iso, name, entry, boot, leaves_disks_alone(iso, entry, choice, settings));
    let others = others.filter_map(|(number, entry)| item(number.to_string(), entry, boot(entry)?));
    let items: Vec<Item> = item(String::new(), first, boot_first).into_iter().chain(others).collect();
    // A row that boots a live system by itself isn't called by the installer that its own menu would boot.
    let stands_for_first = items.first().is_none_or(|item| item.live) || !items.iter().any(|item| item.live);
    let of_menu = if stands_for_first { first.title.as_str() } else { "" };
    let (name, title) = names_of(iso, choice, of_menu);
    Some(IsoEntry {
        label: iso.label.to_string(),
        name,
        title,
        // Who gives a title has said all that it is to say.
        way: (choice.title.is_none() && transport != Transport::Own).then(|| transport.name()),
        items,
    })
}

fn item(iso: &Iso, name: String, entry: &Entry, boot: Boot, live: bool) -> Option<Item> {
    let files = iso.disc.facts.files.get(entry.files)?;
    let own = files.name.as_deref();
    let initrds = initrds(iso, entry, files, boot.transport);
    Some(Item {
        name,
        title: entry.title.clone(),
        submenu: entry.submenu.clone(),
        kernel: names::kernel(&iso.label, own),
        initrds,
        args: boot.args,
        firmware: match entry.firmware {
            menu::Firmware::Bios => Firmware::Bios,
            menu::Firmware::Uefi => Firmware::Uefi,
            menu::Firmware::Both => Firmware::Both,
        },
        live,
    })
}

/// The initrds of an entry, in the order in which they are unpacked.
fn initrds(iso: &Iso, entry: &Entry, files: &BootFiles, transport: Transport) -> Vec<String> {
    let own = files.name.as_deref();
    let mut initrds = Vec::new();
    initrds.extend((!files.initrds.is_empty()).then(|| names::initrd(&iso.label, own)));
    if transport == Transport::Netroot {
        let (_, netroot) = iso.known(entry.files);
        let first = matches!(netroot, Netroot::Ready(archive) if archive.first);
        initrds.insert(if first { 0 } else { initrds.len() }, names::netroot(&iso.label, own));
    }
    initrds
}

/// The title of each ISO's row, as it is in the menus, or would be if it were in one.
pub fn titles(catalog: &Catalog, settings: &Settings) -> Vec<String> {
    let offers = found(catalog, settings);
    let of_rows: HashMap<&str, &str> =
        offers.iter().map(|Offer { entry, .. }| (entry.label.as_str(), entry.title.as_str())).collect();
    let title_of = |iso: &Iso| match of_rows.get(iso.label.as_str()) {
        Some(title) => (*title).to_owned(),
        None => {
            let of_menu = iso.disc.facts.entries.first().map_or("", |first| &first.title);
            names_of(iso, &settings.config.iso(&iso.label, &iso.name), of_menu).1
        }
    };
    catalog.isos.iter().map(title_of).collect()
}

/// Name and title of an ISO whose own menu calls it that: as an administrator calls it, or as what is on it.
fn names_of(iso: &Iso, choice: &IsoChoice, of_menu: &str) -> (String, String) {
    let facts = &iso.disc.facts;
    match &choice.title {
        Some(title) => (title.clone(), title.clone()),
        None => {
            let product = facts.product.as_deref().or(iso.product.as_deref());
            called::called(iso.label.as_str(), &facts.volume_id, product, of_menu)
        }
    }
}
