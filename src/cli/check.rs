//! `netrootfs check`: what each ISO is and how it boots, or why it can't be served.
//!
//! A second user of everything up to the layout, without a mount: a report of plain values, and two ways to print it.

use std::fmt::{self, Write as _};

use serde::Serialize;

pub mod against;

use crate::boot::inspect::BootFiles;
use crate::boot::names;
use crate::boot::netroot::Netroot;
use crate::boot::transport::{Export, Transport};
use crate::catalog::scan::{Catalog, Iso};
use crate::image::efi::{self, Arch};
use crate::tree::layout::{self, Settings};
use crate::tree::render::LeftOut;

/// All that is known of the ISOs.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Those that are served.
    pub served: Vec<Served>,
    /// Those that are not.
    pub refused: Vec<Refused>,
    /// Things that this host lacks.
    pub host: Vec<String>,
    /// Names on the command line and in the configuration file that no ISO has.
    pub unknown: Vec<String>,
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
    /// Abilities of the initrd, in words.
    pub initrd_can: String,
    /// How its root comes to the client; `None` if it has no entry in the menus.
    pub transport: Option<&'static str>,
    /// Name of the export that its entry attaches.
    pub export: Option<String>,
    /// Kernel arguments of its entry.
    pub args: Option<String>,
    /// The second initramfs that lets it boot over NBD.
    pub netroot: Option<Archive>,
    /// Why there is none.
    pub no_netroot: Option<String>,
    /// Number of entries of its own menu that are offered.
    pub entries: usize,
    /// Those that are not.
    pub not_offered: Vec<NotOffered>,
    /// The loaders for UEFI that it carries, one a processor.
    pub uefi: Vec<Uefi>,
    /// Entries that single loaders can't boot, and why.
    pub unwritable: Vec<Unwritable>,
    /// What stands in the way of a boot, or why there is no entry: a sentence.
    pub caveat: Option<String>,
    /// The same as a word that stays.
    pub caveat_code: Option<&'static str>,
}

/// An entry of an ISO's own menu that isn't offered.
#[derive(Debug, Serialize)]
pub struct NotOffered {
    /// Its title.
    pub title: String,
    /// Why: a sentence.
    pub reason: String,
    /// The same as a word that stays.
    pub code: &'static str,
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

/// An entry that some loaders' menus don't have.
#[derive(Debug, Serialize)]
pub struct Unwritable {
    /// Its title.
    pub title: String,
    /// The loaders.
    pub loaders: Vec<&'static str>,
    /// Why, for programs.
    pub code: &'static str,
    /// All of it as a sentence.
    pub reason: String,
}

impl Unwritable {
    fn new(left_out: &LeftOut) -> Self {
        Self {
            title: left_out.title.clone(),
            loaders: left_out.loaders.clone(),
            code: left_out.refusal.code(),
            reason: left_out.to_string(),
        }
    }
}

/// A second initramfs.
#[derive(Debug, Serialize)]
pub struct Archive {
    /// Size in bytes.
    pub size: u64,
    /// Its content besides the program, in words.
    pub holds: String,
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
    /// Why: a sentence.
    pub reason: String,
    /// The same as a word that stays.
    pub code: &'static str,
    /// Set if it is a copy under way, which will be served by itself.
    #[serde(skip)]
    pub is_copy_under_way: bool,
}

impl Report {
    /// Reports on a catalog. `host` is what this host lacks, `unknown` are names that no ISO has.
    pub fn new(catalog: &Catalog, settings: &Settings, host: Vec<String>, unknown: Vec<String>) -> Self {
        let served = catalog.isos.iter().map(|iso| Served::new(iso, settings)).collect();
        let refused = catalog.skipped.iter().map(|skipped| Refused {
            file: skipped.name.clone(),
            reason: skipped.reason.to_string(),
            code: skipped.reason.code(),
            is_copy_under_way: skipped.reason.is_copy_under_way(),
        });
        Self { served, refused: refused.collect(), host, unknown }
    }
}

impl Report {
    /// Whether each ISO is served and boots, or is only just being copied.
    pub fn is_good(&self) -> bool {
        self.refused.iter().all(|refused| refused.is_copy_under_way)
            && self.served.iter().all(|iso| iso.transport.is_some())
    }
}

impl Served {
    fn new(iso: &Iso, settings: &Settings) -> Self {
        let facts = &iso.disc.facts;
        let (boot, caveat) = match layout::boot(iso, settings) {
            Ok(boot) => (
                Some((boot.transport, boot.args.to_string())),
                boot.caveat.map(|caveat| (caveat.to_string(), caveat.code())),
            ),
            Err(reason) => (None, Some((reason.to_string(), reason.code()))),
        };
        let transport = boot.as_ref().map(|(transport, _)| *transport);
        Self {
            label: iso.label.to_string(),
            file: iso.name.clone(),
            size: iso.disc.len,
            family: facts.family.name,
            kernel: facts.main_files().map_or_else(|| "-".into(), |files| files.kernel.path.clone()),
            initrds: facts.main_files().map_or_else(Vec::new, paths_of_initrds),
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
            transport: transport.map(Transport::name),
            export: transport.and_then(Transport::export).map(|export| names::export(&iso.label, export)),
            args: boot.map(|(_, args)| args),
            netroot: match &iso.netroot {
                Netroot::Ready(archive) => {
                    Some(Archive { size: archive.content().size(), holds: archive.holds.clone() })
                }
                _ => None,
            },
            no_netroot: match &iso.netroot {
                Netroot::Refused(reason) => Some(reason.to_string()),
                _ => None,
            },
            entries: facts
                .entries
                .iter()
                .filter(|entry| layout::boot_entry(iso, entry, settings).is_ok())
                .count(),
            not_offered: not_offered(iso, settings),
            uefi: Arch::ALL.iter().filter_map(|arch| Uefi::new(iso, *arch)).collect(),
            unwritable: layout::left_out(iso, settings).iter().map(Unwritable::new).collect(),
            caveat_code: caveat.as_ref().map(|(_, code)| *code),
            caveat: caveat.map(|(sentence, _)| sentence),
        }
    }
}

fn paths_of_initrds(files: &BootFiles) -> Vec<String> {
    files.initrds.iter().map(|file| file.path.clone()).collect()
}

/// What isn't for a network, then what isn't Linux.
fn not_offered(iso: &Iso, settings: &Settings) -> Vec<NotOffered> {
    let facts = &iso.disc.facts;
    let refused = facts.entries.iter().skip(1).filter_map(|entry| {
        let refusal = layout::boot_entry(iso, entry, settings).err()?;
        Some(NotOffered { title: entry.title.clone(), reason: refusal.to_string(), code: refusal.code() })
    });
    let others = facts.left_out.iter().map(|entry| NotOffered {
        title: entry.title.clone(),
        reason: entry.reason.to_string(),
        code: entry.reason.into(),
    });
    refused.chain(others).collect()
}

impl Uefi {
    fn new(iso: &Iso, arch: Arch) -> Option<Self> {
        let chain = efi::chain(&iso.disc.facts.efi, arch)?;
        Some(Self {
            arch: arch.suffix(),
            loader: format!("{}/{}", names::efi_directory(&iso.label), names::efi_loader(arch.suffix())),
            signed: chain.signed(),
            network: chain.has_network(&iso.disc.plain),
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
        let head = ["LABEL", "FAMILY", "KERNEL", "INITRD", "ROOT IMAGE", "BOOTS BY"].map(String::from);
        f.write_str(&table(&head, &rows))?;
        for iso in &self.served {
            writeln!(f, "\n{} ({})\n  initrd: {}", iso.label, iso.file, iso.initrd_can)?;
            match &iso.args {
                Some(args) => writeln!(f, "  arguments: {}", if args.is_empty() { "-" } else { args })?,
                None => writeln!(f, "  no entry in the menus")?,
            }
            if let Some(Archive { size, holds }) = &iso.netroot {
                writeln!(f, "  netroot: {size} bytes; {holds}")?;
            }
            // What attaches its root by itself doesn't miss it.
            if let Some(reason) = iso.no_netroot.as_ref().filter(|_| !iso.boots_by_nbd()) {
                writeln!(f, "  no netroot: {reason}")?;
            }
            if iso.entries > 1 || !iso.not_offered.is_empty() {
                writeln!(f, "  menu: {} entries, {} left out", iso.entries, iso.not_offered.len())?;
            }
            for NotOffered { title, reason, .. } in &iso.not_offered {
                writeln!(f, "    left out: {title}: {reason}")?;
            }
            for uefi in &iso.uefi {
                writeln!(f, "  UEFI {uefi}")?;
            }
            for unwritable in &iso.unwritable {
                writeln!(f, "  not offered: {}", unwritable.reason)?;
            }
            if let Some(caveat) = &iso.caveat {
                writeln!(f, "  but: {caveat}")?;
            }
        }
        for (heading, is_copy) in [("Not served", false), ("Not served yet", true)] {
            let refused = || self.refused.iter().filter(|refused| refused.is_copy_under_way == is_copy);
            if refused().next().is_some() {
                writeln!(f, "\n{heading}:")?;
            }
            refused().try_for_each(|refused| writeln!(f, "  {}: {}", refused.file, refused.reason))?;
        }
        for sentence in &self.host {
            writeln!(f, "\nThis host: {sentence}")?;
        }
        for sentence in &self.unknown {
            writeln!(f, "\nUnknown name: {sentence}")?;
        }
        Ok(())
    }
}

impl Served {
    fn boots_by_nbd(&self) -> bool {
        self.transport == Some(Transport::Nbd(Export::Iso).name())
    }

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
            match (self.transport, &self.export) {
                (Some(transport), Some(export)) => format!("{transport} [{export}]"),
                (Some(transport), None) => transport.into(),
                (None, _) => "-".into(),
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> Served {
        Served {
            label: "F42".into(),
            file: "fedora.iso".into(),
            size: 2_000_000_000,
            family: "LiveOS",
            kernel: "/images/pxeboot/vmlinuz".into(),
            initrds: vec!["/images/pxeboot/initrd.img".into()],
            root: Some(Root {
                path: "/LiveOS/squashfs.img".into(),
                offset: 129_024,
                size: 1_900_000_000,
                extents: 1,
                format: "squashfs",
            }),
            initrd_can: "dracut 104, nbd".into(),
            transport: Some("NBD"),
            export: Some("F42".into()),
            args: Some("root=live:/dev/nbd0 quiet".into()),
            netroot: None,
            no_netroot: Some("its kernel has no nbd".into()),
            entries: 3,
            not_offered: vec![NotOffered {
                title: "Restart".into(),
                reason: "halts, restarts or leaves the boot loader".into(),
                code: "power",
            }],
            uefi: vec![Uefi {
                arch: "x64",
                loader: "efi/F42/bootx64.efi".into(),
                signed: true,
                network: true,
            }],
            unwritable: Vec::new(),
            caveat: None,
            caveat_code: None,
        }
    }

    fn generic() -> Served {
        Served {
            label: "Käse".into(),
            file: "other.iso".into(),
            family: "generic",
            kernel: "/k".into(),
            initrds: vec!["/a".into(), "/b".into()],
            root: None,
            initrd_can: "nothing that is known".into(),
            transport: Some("its own"),
            export: None,
            args: Some(String::new()),
            netroot: Some(Archive { size: 680_000, holds: "nbd out of /x".into() }),
            no_netroot: None,
            entries: 1,
            not_offered: Vec::new(),
            uefi: Vec::new(),
            unwritable: vec![Unwritable {
                title: "Start".into(),
                loaders: vec!["GRUB"],
                code: "argument-backslash",
                reason: "'Start' by GRUB: 'a\\x20b' would get more backslashes".into(),
            }],
            caveat: Some("how it would boot over a network is not known".into()),
            caveat_code: Some("unknown-network"),
            ..served()
        }
    }

    fn report() -> Report {
        Report {
            served: vec![served(), generic()],
            refused: vec![Refused {
                is_copy_under_way: false,
                file: "junk.iso".into(),
                reason: "it is not an ISO 9660 image".into(),
                code: "not-an-iso",
            }],
            host: vec!["no pxelinux.0 is installed".into()],
            unknown: vec!["--label: there is no file 'x.iso'".into()],
        }
    }

    #[test]
    fn a_report_is_a_table_with_details_and_reasons() {
        assert_eq!(
            report().to_string(),
            "\
LABEL  FAMILY   KERNEL                   INITRD                      ROOT IMAGE                                         BOOTS BY
F42    LiveOS   /images/pxeboot/vmlinuz  /images/pxeboot/initrd.img  /LiveOS/squashfs.img squashfs @129024 +1900000000  NBD [F42]
Käse   generic  /k                       /a /b                       -                                                  its own

F42 (fedora.iso)
  initrd: dracut 104, nbd
  arguments: root=live:/dev/nbd0 quiet
  menu: 3 entries, 1 left out
    left out: Restart: halts, restarts or leaves the boot loader
  UEFI x64: signed shim and GRUB, boots by TFTP as efi/F42/bootx64.efi

Käse (other.iso)
  initrd: nothing that is known
  arguments: -
  netroot: 680000 bytes; nbd out of /x
  not offered: 'Start' by GRUB: 'a\\x20b' would get more backslashes
  but: how it would boot over a network is not known

Not served:
  junk.iso: it is not an ISO 9660 image

This host: no pxelinux.0 is installed

Unknown name: --label: there is no file 'x.iso'
"
        );
    }

    #[test]
    fn a_report_of_nothing_is_a_head() {
        let report =
            Report { served: Vec::new(), refused: Vec::new(), host: Vec::new(), unknown: Vec::new() };
        assert_eq!(report.to_string(), "LABEL  FAMILY  KERNEL  INITRD  ROOT IMAGE  BOOTS BY\n");
    }

    #[test]
    fn json_has_the_same_fields_for_every_iso() {
        let report = Report { served: vec![served()], ..report() };
        assert_eq!(
            serde_json::to_string_pretty(&report).unwrap(),
            r#"{
  "served": [
    {
      "label": "F42",
      "file": "fedora.iso",
      "size": 2000000000,
      "family": "LiveOS",
      "kernel": "/images/pxeboot/vmlinuz",
      "initrds": [
        "/images/pxeboot/initrd.img"
      ],
      "root": {
        "path": "/LiveOS/squashfs.img",
        "offset": 129024,
        "size": 1900000000,
        "extents": 1,
        "format": "squashfs"
      },
      "initrd_can": "dracut 104, nbd",
      "transport": "NBD",
      "export": "F42",
      "args": "root=live:/dev/nbd0 quiet",
      "netroot": null,
      "no_netroot": "its kernel has no nbd",
      "entries": 3,
      "not_offered": [
        {
          "title": "Restart",
          "reason": "halts, restarts or leaves the boot loader",
          "code": "power"
        }
      ],
      "uefi": [
        {
          "arch": "x64",
          "loader": "efi/F42/bootx64.efi",
          "signed": true,
          "network": true
        }
      ],
      "unwritable": [],
      "caveat": null,
      "caveat_code": null
    }
  ],
  "refused": [
    {
      "file": "junk.iso",
      "reason": "it is not an ISO 9660 image",
      "code": "not-an-iso"
    }
  ],
  "host": [
    "no pxelinux.0 is installed"
  ],
  "unknown": [
    "--label: there is no file 'x.iso'"
  ]
}"#
        );
        let keys = |served: Served| match serde_json::to_value(served).unwrap() {
            serde_json::Value::Object(fields) => fields.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
            other => panic!("{other}"),
        };
        assert_eq!(keys(served()), keys(generic()));
    }
}
