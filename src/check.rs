//! `netrootfs check`: what each ISO is and how it boots, or why it can't be served.
//!
//! A second user of everything up to the layout, without a mount: a report of plain values, and two ways to print it.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::catalog::{Catalog, Iso};
use crate::efi::{self, Arch};
use crate::family::{Export, Server};
use crate::layout;

/// What is known of the ISOs.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Those that are served.
    pub served: Vec<Served>,
    /// Those that are not.
    pub refused: Vec<Refused>,
    /// What this host lacks.
    pub host: Vec<String>,
}

/// An ISO that is served.
#[derive(Debug, Serialize)]
pub struct Served {
    /// Label.
    pub label: String,
    /// File name.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
    /// Family.
    pub family: &'static str,
    /// Path of the kernel in the ISO.
    pub kernel: String,
    /// Paths of the initrds in the ISO.
    pub initrds: Vec<String>,
    /// The root image.
    pub root: Option<Root>,
    /// What the initrd can do, in words.
    pub initrd_can: String,
    /// Name of the export that its entry attaches.
    pub export: Option<String>,
    /// Kernel arguments of its entry.
    pub args: String,
    /// The loaders for UEFI that it carries, one a processor.
    pub uefi: Vec<Uefi>,
    /// What stands in the way of a boot.
    pub caveat: Option<&'static str>,
}

/// An ISO's own loaders for UEFI.
#[derive(Debug, Serialize)]
pub struct Uefi {
    /// Processor, as in `bootx64.efi`.
    pub arch: &'static str,
    /// What the firmware loads, below `tftp/`.
    pub loader: String,
    /// Whether shim and GRUB are signed.
    pub signed: bool,
    /// Whether its GRUB can load files by TFTP.
    pub network: bool,
}

/// A root image.
#[derive(Debug, Serialize)]
pub struct Root {
    /// Path in the ISO.
    pub path: String,
    /// Offset of its first extent in the ISO, in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Number of extents.
    pub extents: usize,
    /// File system.
    pub format: &'static str,
}

/// An ISO that is not served.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// File name.
    pub file: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Reports on a catalog. `host` is what this host lacks.
    pub fn new(catalog: &Catalog, server: &Server, append: &str, host: Vec<String>) -> Self {
        let served = catalog.isos.iter().map(|iso| Served::new(iso, server, append)).collect();
        let refused = catalog.skipped.iter();
        let refused =
            refused.map(|skipped| Refused { file: skipped.name.clone(), reason: skipped.reason.clone() });
        Self { served, refused: refused.collect(), host }
    }
}

impl Served {
    fn new(iso: &Iso, server: &Server, append: &str) -> Self {
        let facts = &iso.disc.facts;
        let boot = layout::boot(iso, server);
        Self {
            label: iso.label.to_string(),
            file: iso.name.clone(),
            size: iso.disc.len,
            family: facts.family.name(),
            kernel: facts.kernel.path.clone(),
            initrds: facts.initrds.iter().map(|file| file.path.clone()).collect(),
            root: facts.root.as_ref().map(|root| Root {
                path: root.file.path.clone(),
                offset: root.file.extents.first().map_or(0, |extent| extent.offset),
                size: root.file.len,
                extents: root.file.extents.len(),
                format: root.format.name(),
            }),
            initrd_can: iso
                .initrd
                .as_ref()
                .map_or_else(|| "not looked into yet".into(), |initrd| initrd.to_string()),
            export: boot.export.map(|export| match export {
                Export::Image => iso.label.to_string(),
                Export::Iso => format!("{}.iso", iso.label),
            }),
            args: boot.args.append(append).to_string(),
            uefi: Arch::ALL.iter().filter_map(|arch| Uefi::new(iso, *arch)).collect(),
            caveat: boot.caveat,
        }
    }
}

impl Uefi {
    fn new(iso: &Iso, arch: Arch) -> Option<Self> {
        let chain = efi::chain(&iso.disc.facts.efi, arch)?;
        Some(Self {
            arch: arch.suffix(),
            loader: format!("efi/{}/boot{}.efi", iso.label, arch.suffix()),
            signed: chain.signed(),
            network: chain.has_network(&iso.disc.source),
        })
    }
}

impl fmt::Display for Uefi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.signed { "signed shim and GRUB" } else { "GRUB, not signed for Secure Boot" };
        write!(f, "{}: {what}", self.arch)?;
        match self.network {
            true => write!(f, ", boots by TFTP as {}", self.loader),
            false => f.write_str(", without TFTP: of use on a disc only"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.served.iter().map(Served::row).collect();
        let head = ["LABEL", "FAMILY", "KERNEL", "INITRD", "ROOT IMAGE", "EXPORT"].map(String::from);
        f.write_str(&table(&head, &rows))?;
        for iso in &self.served {
            writeln!(
                f,
                "\n{} ({})\n  initrd: {}\n  arguments: {}",
                iso.label, iso.file, iso.initrd_can, iso.args
            )?;
            for uefi in &iso.uefi {
                writeln!(f, "  UEFI {uefi}")?;
            }
            if let Some(caveat) = iso.caveat {
                writeln!(f, "  but: {caveat}")?;
            }
        }
        if !self.refused.is_empty() {
            writeln!(f, "\nNot served:")?;
        }
        for refused in &self.refused {
            writeln!(f, "  {}: {}", refused.file, refused.reason)?;
        }
        for sentence in &self.host {
            writeln!(f, "\nThis host: {sentence}")?;
        }
        Ok(())
    }
}

impl Served {
    fn row(&self) -> [String; 6] {
        let root = self.root.as_ref().map_or_else(
            || "-".into(),
            |root| format!("{} {} @{} +{}", root.path, root.format, root.offset, root.size),
        );
        [
            self.label.clone(),
            self.family.into(),
            self.kernel.clone(),
            self.initrds.join(" "),
            root,
            self.export.clone().unwrap_or_else(|| "-".into()),
        ]
    }
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let mut out = String::new();
    let all = || std::iter::once(head).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in all() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}
