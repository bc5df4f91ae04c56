//! `netrootfs check`: what each ISO is and how it boots, or why it can't be served.
//!
//! A second user of everything up to the layout, without a mount: a report of plain values, which are what `--json` prints
//! (netrootfs(1) has them all), and a [text] of lines for people.

use serde::Serialize;

pub mod against;
mod remote;

use crate::boot::inspect::BootFiles;
use crate::boot::names;
use crate::boot::netroot::Netroot;
use crate::boot::transport::Transport;
use crate::catalog::config::ByItself;
use crate::catalog::scan::{Catalog, Iso};
use crate::image::efi::{self, Arch};
use crate::tree::layout::{self, Settings};
use crate::tree::render::LeftOut;

pub mod text;
pub mod verify;

use verify::Verified;

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
    /// What boots by itself, as `--default` has it: a label, `local` or `none`.
    pub by_itself: String,
    /// Seconds until it does; 0 waits for ever.
    pub timeout: u32,
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
    /// Whether its bytes are those of its maker, if that was asked for.
    pub verified: Option<Verified>,
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
        let (by_itself, timeout) = layout::boots_by_itself(catalog, settings);
        let by_itself = match by_itself {
            ByItself::Iso(label) => label.to_string(),
            ByItself::Local => "local".into(),
            ByItself::Nothing => "none".into(),
        };
        Self { served, refused: refused.collect(), host, unknown, by_itself, timeout }
    }

    /// Whether each ISO is served, boots and isn't damaged, or is only just being copied.
    pub fn is_good(&self) -> bool {
        let is_good =
            |iso: &Served| iso.transport.is_some() && iso.verified.as_ref().is_none_or(Verified::is_good);
        self.refused.iter().all(|refused| refused.is_copy_under_way) && self.served.iter().all(is_good)
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
            verified: None,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::against::{Both, Comparison, Difference};

    use super::*;

    pub(super) fn served() -> Served {
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
            verified: None,
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

    pub(super) fn report() -> Report {
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
            by_itself: "F42".into(),
            timeout: 10,
        }
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
      "caveat_code": null,
      "verified": null
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
  ],
  "by_itself": "F42",
  "timeout": 10
}"#
        );
        let keys = |served: Served| match serde_json::to_value(served).unwrap() {
            serde_json::Value::Object(fields) => fields.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
            other => panic!("{other}"),
        };
        assert_eq!(keys(served()), keys(generic()));
    }

    #[test]
    fn each_key_of_the_json_is_in_the_manual_and_no_other() {
        fn enter(value: &serde_json::Value, path: &str, keys: &mut BTreeSet<String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    for (key, value) in fields {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        enter(value, &path, keys);
                        keys.insert(path);
                    }
                }
                serde_json::Value::Array(values) => {
                    values.iter().for_each(|value| enter(value, &format!("{path}[]"), keys));
                }
                _ => {}
            }
        }
        let verified = Verified { outcome: verify::Outcome::Ok, sums: vec!["isomd5sum".into()], error: None };
        let full = Served { verified: Some(verified), ..served() };
        let report = Report { served: vec![full, generic()], ..report() };
        let mut keys = BTreeSet::new();
        let difference = Difference { name: "F42".into(), reason: "differs".into(), code: "size".into() };
        let against = Comparison {
            directory: "/there".into(),
            same: vec!["F41".into()],
            differences: vec![difference],
        };
        let both = Both { report: &report, against: Some(&against) };
        enter(&serde_json::to_value(both).unwrap(), "", &mut keys);
        let page = include_str!("../manual/netrootfs.1.md");
        let section = page.split_once("\n## Output of check\n").unwrap().1.split("\n## ").next().unwrap();
        let lines: Vec<&str> = section.lines().collect();
        let terms = lines.windows(2).filter(|pair| pair[1].starts_with(": ")).map(|pair| pair[0]);
        let documented: BTreeSet<String> =
            terms.flat_map(|term| term.split(", ")).map(|key| key.trim_matches('`').to_owned()).collect();
        assert_eq!(keys, documented);
    }
}
