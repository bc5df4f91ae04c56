//! How a catalog is laid out as a tree. Only this module knows the names `images/`, `tftp/` and `trees/`.
//!
//! ```text
//! images/nbd.conf, liveos_<LABEL>.img, <LABEL>.iso      for the NBD server
//! tftp/vmlinuz_<LABEL>, initrd_<LABEL>.img,
//!      boot loaders and their menus (see `loaders`)     for the TFTP server
//! trees/<LABEL>/                                        the ISO's own files, for HTTP and NFS servers
//! ```
//!
//! The root image has a second name that isn't listed, `images/<LABEL>`: nbdkit exports the files of a directory by
//! their names, nbd-server by the sections of nbd.conf, and with it both know the export by the same one.

mod loaders;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use siphasher::sip::SipHasher13;

use crate::boot::{self, Boot, Servers, Subject};
use crate::catalog::{Catalog, Disc, FileId, Iso};
use crate::content::{Content, Segments};
use crate::disc_tree::{self, Shelf};
use crate::iso::Extent;
use crate::label::Label;
use crate::loader::Loader;
use crate::render::{Entry, HOST, Menu, grub, ipxe, nbd, pxelinux};
use crate::source::{FileSource, PageCache, ReadAt};
use crate::tree::{Builder, NodeId, Tree};

/// What an administrator has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Absolute path where the tree is mounted.
    pub mountpoint: String,
    /// The servers, as clients reach them.
    pub servers: Servers,
    /// Whether the host was given, and is not just where netrootfs runs.
    pub host_given: bool,
    /// Arguments for every entry.
    pub append: String,
    /// The entry that boots by itself; the first one if there is no such ISO.
    pub default: Option<Label>,
    /// Seconds until it does.
    pub timeout: u32,
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

/// Lays out a catalog. What is looked into below `trees/` goes to `shelf`.
pub fn lay_out(catalog: &Catalog, settings: &Settings, host: &[LoaderFile], shelf: &Arc<Shelf>) -> Tree {
    let newest = catalog.isos.iter().map(|iso| iso.disc.mtime).max().unwrap_or(SystemTime::UNIX_EPOCH);
    let mut builder = Builder::new(newest);
    let images = builder.directory(Tree::ROOT, "images", newest);
    let tftp = builder.directory(Tree::ROOT, "tftp", newest);
    let trees = builder.directory(Tree::ROOT, "trees", newest);
    for iso in &catalog.isos {
        add_iso(&mut builder, images, tftp, iso);
        let root = Arc::new(disc_tree::Directory::root(shelf, iso));
        let identity = root.identity();
        builder.foreign(trees, iso.label.as_str(), root, identity, iso.disc.mtime);
    }
    let conf = render_nbd_conf(catalog, settings);
    builder.file(images, "nbd.conf", Content::text(conf), newest);
    let menu = menu(catalog, settings);
    // GRUB and iPXE know the server that they were loaded from; an address that was given is another.
    let server = &settings.servers.host;
    let given = settings.host_given.then_some(server.as_str());
    let menus = loaders::Menus {
        syslinux: &|graphical| pxelinux::render(&menu, graphical, server),
        grub: &|| grub::render(&menu, given),
        grub_for: &|iso| grub::lead_to("/grub.cfg", iso.label.as_str()),
        ipxe: &|| ipxe::render(&menu, given),
    };
    loaders::add(&mut builder, tftp, catalog, settings.default.as_ref(), host, &menus);
    builder.build()
}

/// The host's loaders as they are now; one that can't be read is not there.
pub fn loader_files(loaders: Vec<Loader>) -> Vec<LoaderFile> {
    let open = |loader: Loader| {
        let stat = loader.file.metadata().ok()?;
        let source = FileSource::new(Arc::new(loader.file), PageCache::Keep).ok()?;
        let identity = hash(&FileId::of(&stat));
        Some(LoaderFile {
            name: loader.name,
            source: Arc::new(source),
            identity,
            mtime: stat.modified().ok()?,
        })
    };
    loaders.into_iter().filter_map(open).collect()
}

/// How an ISO of the catalog boots.
///
/// # Errors
/// If it can't be booted with these servers, with the reason.
pub fn boot(iso: &Iso, servers: &Servers) -> Result<Boot, &'static str> {
    boot_with(iso, &iso.disc.facts.args, servers)
}

fn boot_with(iso: &Iso, args: &str, servers: &Servers) -> Result<Boot, &'static str> {
    let facts = &iso.disc.facts;
    let subject = Subject {
        family: facts.family,
        found: &facts.found,
        label: &iso.label,
        volume_id: &facts.volume_id,
        len: iso.disc.len,
        args,
        root: facts.root.as_ref().map(|root| root.format),
        initrd: iso.initrd.as_deref(),
    };
    boot::boot(&subject, servers)
}

/// The initrds of an ISO as the one file that they are served as, for who reads it once.
pub fn plain_initrd(disc: &Disc) -> Content {
    Content::Segments(Segments::new(disc.plain.clone(), hash(&disc.id)).archives(&disc.facts.initrds))
}

fn add_iso(builder: &mut Builder, images: NodeId, tftp: NodeId, iso: &Iso) {
    let Iso { label, disc, .. } = iso;
    let facts = &disc.facts;
    let mut file = |parent, name: String, content| builder.file(parent, &name, content, disc.mtime);
    let whole = Extent { offset: 0, len: disc.len };
    file(images, iso_file(label), Content::Segments(segments(disc).extents([&whole])));
    file(tftp, kernel_file(label), Content::Segments(segments(disc).extents(&facts.kernel.extents)));
    file(tftp, initrd_file(label), Content::Segments(segments(disc).archives(&facts.initrds)));
    if let Some(root) = &facts.root {
        let content = Content::Segments(segments(disc).extents(&root.file.extents));
        let node = file(images, image_file(label), content);
        builder.alias(images, label.as_str(), node);
    }
}

fn segments(disc: &Disc) -> Segments {
    Segments::new(disc.source.clone(), hash(&disc.id))
}

fn hash(id: &FileId) -> u64 {
    // Fixed keys: inode numbers are made of this, and are the same after a restart.
    let mut hasher = SipHasher13::new();
    id.hash(&mut hasher);
    hasher.finish()
}

fn render_nbd_conf(catalog: &Catalog, settings: &Settings) -> String {
    let mut exports = Vec::new();
    for iso in &catalog.isos {
        if iso.disc.facts.root.is_some() {
            exports.push(nbd::Export { name: iso.label.to_string(), file: image_file(&iso.label) });
        }
        exports.push(nbd::Export { name: iso_file(&iso.label), file: iso_file(&iso.label) });
    }
    nbd::render(
        settings.servers.port,
        &format!("{}/images", settings.mountpoint.trim_end_matches('/')),
        &exports,
    )
}

/// The menu that all loaders show: the ISOs that can be booted with these servers.
fn menu(catalog: &Catalog, settings: &Settings) -> Menu {
    // The renderers put the address, or their loader's own name for it, in its place.
    let servers = Servers { host: HOST.into(), ..settings.servers.clone() };
    let entries: Vec<Entry> = catalog.isos.iter().filter_map(|iso| entry(iso, &servers, settings)).collect();
    let wanted = settings.default.as_ref().map(Label::as_str);
    let default = entries.iter().find(|entry| Some(entry.label.as_str()) == wanted).or(entries.first());
    let default = default.map(|entry| entry.label.clone()).unwrap_or_default();
    Menu { default, timeout: settings.timeout, append: settings.append.clone(), entries }
}

fn entry(iso: &Iso, servers: &Servers, settings: &Settings) -> Option<Entry> {
    let facts = &iso.disc.facts;
    let args = |own: &str| {
        let boot = boot_with(iso, own, servers).ok()?;
        Some(boot.args.append(&settings.append).to_string())
    };
    let more = facts.more.iter().filter_map(|(title, own)| Some((title.clone(), args(own)?)));
    Some(Entry {
        label: iso.label.to_string(),
        title: title(iso),
        kernel: kernel_file(&iso.label),
        initrd: initrd_file(&iso.label),
        args: args(&facts.args)?,
        more: more.collect(),
    })
}

fn title(iso: &Iso) -> String {
    match iso.disc.facts.title.as_str() {
        "" => iso.label.to_string(),
        title => format!("{}: {title}", iso.label),
    }
}

fn image_file(label: &Label) -> String {
    format!("liveos_{label}.img")
}

fn iso_file(label: &Label) -> String {
    format!("{label}.iso")
}

fn kernel_file(label: &Label) -> String {
    format!("vmlinuz_{label}")
}

fn initrd_file(label: &Label) -> String {
    format!("initrd_{label}.img")
}
