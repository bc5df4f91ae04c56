//! The menu readers against menus as they stand in real ISOs, each with what a careful reading of it gives.
//!
//! `NETROOTFS_SAMPLES` says where they are. They are not part of the project: many carry no licence.

use netrootfs::image::args::Arg;
use netrootfs::image::menu::{self, Environment, Files, Firmware, Menu, MenuEntry, Reason};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the expected reading is knowingly not followed: the sample, the configuration, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "endeavouros-2020",
        "loader",
        "The expected entries are sorted by name. systemd-boot sorts names as versions, the newest first \
         (boot.c, strverscmp_improved): `-` comes before `.`, so that `archiso-x86_64.conf` is first.",
    ),
    (
        "nixos-2505",
        "EFI/boot/grub.cfg",
        "`[ ${iso_path} ]` with the variable unset is `[ ]`, which GRUB's test.c finds true: `isoboot` becomes \
         `findiso=`. It is not exported, so that entries in submenus do not get it.",
    ),
    (
        "grml-2025.12",
        "boot/grub/grub.cfg",
        "As nixos-2505, but exported: GRUB 2.06 itself, given this menu, passes `findiso=` between its arguments.",
    ),
];

/// Samples that are expected in part: how many entries there are in all.
const EXPECTED_IN_PART: [(&str, usize); 2] = [("debian12-live-grub", 24), ("shredos-img", 5)];

/// A directory that holds the menus of an ISO, and nothing else of it: any other file is taken to be there.
struct Sample(PathBuf);

impl Sample {
    fn file(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

impl Files for Sample {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.file(path)).ok()
    }

    fn exists(&self, path: &str) -> bool {
        let is_config = path.ends_with(".cfg") || path.ends_with(".conf");
        self.file(path).exists() || (!is_config && Path::new(path).extension().is_some())
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.file(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn samples() -> Option<Vec<PathBuf>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/samples");
    let dir = std::env::var_os("NETROOTFS_SAMPLES").unwrap_or(default.into());
    let Ok(entries) = std::fs::read_dir(&dir) else {
        assert!(std::env::var_os("CI").is_none(), "no samples of boot menus in {dir:?} (NETROOTFS_SAMPLES)");
        eprintln!("\n*** NOT RUN: no samples of boot menus in {dir:?}; set NETROOTFS_SAMPLES ***\n");
        return None;
    };
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("expected.json").exists());
    dirs.sort();
    assert!(!dirs.is_empty(), "no expected.json under {dir:?}");
    Some(dirs)
}

fn expected(sample: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(sample.join("expected.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    value["configs"].as_array().unwrap().clone()
}

fn environment(config: &Value) -> Environment {
    let iso_path = config["environment"]["iso_path"].as_str().map(String::from);
    Environment { iso_path, fs_uuid: Some("@UUID@".into()), ..Environment::default() }
}

/// Reads the configuration itself, not what leads to it.
fn read_config(sample: &Sample, config: &Value) -> Option<Menu> {
    let path = format!("/{}", config["config"].as_str().unwrap());
    match config["family"].as_str().unwrap() {
        "grub" => menu::grub::read(sample, &path, &environment(config)),
        "syslinux" => {
            menu::syslinux::read(sample, &path, config["environment"]["cwd"].as_str()).into_iter().next()
        }
        "systemd-boot" => menu::bls::read(sample, &environment(config)),
        family => panic!("{family}"),
    }
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.map(|value| one_line(value.as_str().unwrap())).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expected_entries(config: &Value) -> Vec<MenuEntry> {
    // What an entry is called that boots Xen stands in brackets: it is left out.
    let entries = config["entries"].as_array().unwrap().iter();
    let entries = entries.filter(|entry| !entry["title"].as_str().unwrap().ends_with("(Xen, multiboot2)"));
    entries
        .map(|entry| MenuEntry {
            title: one_line(entry["title"].as_str().unwrap()),
            submenu: strings(&entry["submenu"]),
            kernel: entry["kernel"].as_str().unwrap().into(),
            initrds: strings(&entry["initrd"]),
            args: one_line(entry["args"].as_str().unwrap()).as_str().into(),
        })
        .collect()
}

/// The entries with an initrd, or those that are expected without one; and which of them is the default.
fn found_entries(menu: &Menu, expected: &[MenuEntry]) -> (Vec<MenuEntry>, Option<usize>) {
    let is_counted = |entry: &&MenuEntry| !entry.initrds.is_empty() || expected.contains(entry);
    let entries: Vec<MenuEntry> = menu.entries.iter().filter(is_counted).cloned().collect();
    let default =
        menu.default.and_then(|index| entries.iter().position(|entry| *entry == menu.entries[index]));
    (entries, default)
}

#[test]
fn every_sample_reads_as_expected() {
    let mut differences = Vec::new();
    let mut used = Vec::new();
    for dir in samples().into_iter().flatten() {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        for config in expected(&dir) {
            let path = config["config"].as_str().unwrap().to_owned();
            let Some(menu) = read_config(&Sample(dir.clone()), &config) else {
                differences.push(format!("{name} {path}: no menu"));
                continue;
            };
            let expected = expected_entries(&config);
            let (mut found, found_default) = found_entries(&menu, &expected);
            let default = config["default"]["index"].as_u64().map(|index| index as usize);
            let default = default.filter(|index| *index < expected.len());
            if let Some((_, count)) = EXPECTED_IN_PART.iter().find(|(sample, _)| *sample == name) {
                assert_eq!(menu.entries.len(), *count, "{name} {path}");
                found.truncate(expected.len());
            }
            if found == expected && found_default == default {
                continue;
            }
            if let Some(exception) = EXCEPTIONS.iter().find(|known| (known.0, known.1) == (&name, &path)) {
                used.push(*exception);
                continue;
            }
            differences.push(format!("{name} {path}: default {found_default:?}, expected {default:?}"));
            for index in 0..found.len().max(expected.len()) {
                let (found, wanted) = (found.get(index), expected.get(index));
                if found != wanted {
                    differences.push(format!("  found    {found:?}\n  expected {wanted:?}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    used.sort();
    let mut all = EXCEPTIONS;
    all.sort();
    assert!(used.is_empty() || used == all, "an exception is no longer one");
}

/// The titles of what a careful reading leaves out are those that come out as entries without an initrd, or as left out.
#[test]
fn every_sample_leaves_out_what_is_expected() {
    let sorted = |mut titles: Vec<String>| {
        titles.sort();
        titles
    };
    for dir in samples().into_iter().flatten() {
        for config in expected(&dir).into_iter().filter(|config| config["skipped"].is_array()) {
            let menu = read_config(&Sample(dir.clone()), &config).unwrap();
            let skipped = config["skipped"].as_array().unwrap();
            let (kernels, others): (Vec<&Value>, Vec<&Value>) = skipped
                .iter()
                .partition(|other| other["why"].as_str().unwrap().starts_with("kernel without"));
            let titles = |values: Vec<&Value>| {
                sorted(values.iter().map(|other| one_line(other["title"].as_str().unwrap())).collect())
            };
            let bare = menu.entries.iter().filter(|entry| entry.initrds.is_empty());
            let bare = sorted(bare.map(|entry| entry.title.clone()).collect());
            let left_out = sorted(menu.left_out.iter().map(|other| other.title.clone()).collect());
            assert_eq!((bare, left_out), (titles(kernels), titles(others)), "{dir:?} {config}");
        }
    }
}

#[test]
fn xen_is_understood_by_bios_and_uefi() {
    let Some(dir) = samples().into_iter().flatten().find(|dir| dir.ends_with("xcp-ng-8.3")) else { return };
    let menus = menu::read(&Sample(dir), &Environment::default());
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let menu = menus.iter().find(|menu| menu.firmware == firmware).unwrap();
        let install = &menu.left_out[0];
        assert_eq!((install.title.as_str(), install.reason), ("install", Reason::Multiboot));
        assert_eq!(install.files, ["/boot/xen.gz", "/boot/vmlinuz", "/install.img"]);
        assert_eq!(menu.left_out.iter().filter(|other| other.reason == Reason::Multiboot).count(), 6);
    }
}

/// The menu that a machine shows first.
fn menu_for(sample: &str, firmware: Firmware) -> Option<Menu> {
    let dir = samples()?.into_iter().find(|dir| dir.ends_with(sample))?;
    let menus = menu::read(&Sample(dir), &Environment::default());
    Some(menus.into_iter().find(|menu| menu.firmware.is_for(firmware)).unwrap())
}

#[test]
fn bios_and_uefi_get_their_own_menus() {
    for (sample, bios, uefi) in [
        ("fedora43-live-lorax", "/boot/grub2/grub.cfg", "/EFI/BOOT/grub.cfg"),
        ("centos7-efi-custom", "/isolinux/isolinux.cfg", "/EFI/BOOT/grub.cfg"),
        ("void-live", "/boot/isolinux/isolinux.cfg", "/boot/grub/grub.cfg"),
        ("ubuntu-server-24.04", "/boot/grub/grub.cfg", "/boot/grub/grub.cfg"),
    ] {
        for (firmware, config) in [(Firmware::Bios, bios), (Firmware::Uefi, uefi)] {
            let Some(menu) = menu_for(sample, firmware) else { return };
            assert_eq!(menu.config, config, "{sample} {firmware:?}");
        }
    }
}

/// The configuration of an exception as it is read, and as it is expected; nothing without samples.
fn exception(number: usize) -> Option<(Menu, Value)> {
    let (name, path, _) = EXCEPTIONS[number];
    let dir = samples()?.into_iter().find(|dir| dir.ends_with(name))?;
    let config = expected(&dir).into_iter().find(|config| config["config"] == path).expect(path);
    Some((read_config(&Sample(dir), &config).expect(path), config))
}

#[test]
fn the_endeavouros_exception_is_one_of_order() {
    let Some((found, config)) = exception(0) else {
        return;
    };
    let mut wanted = expected_entries(&config);
    wanted.reverse();
    assert_eq!(found.entries, wanted);
    assert_eq!(found.boot_entry().unwrap().title, config["default"]["title"]);
}

#[test]
fn the_nixos_exception_is_what_its_reason_says() {
    let Some((found, config)) = exception(1) else {
        return;
    };
    let mut wanted = expected_entries(&config);
    for entry in wanted.iter_mut().filter(|entry| entry.submenu.is_empty()) {
        entry.args = entry.args.clone().prepend([Arg::new("findiso=")]);
    }
    assert_eq!(found.entries, wanted);
    assert_eq!(found.default, Some(0));
}

#[test]
fn the_grml_exception_is_what_its_reason_says() {
    let Some((found, config)) = exception(2) else {
        return;
    };
    let args = |args: String| args.replace(" findiso=", "");
    for (found, wanted) in found.entries.iter().zip(expected_entries(&config)) {
        assert_eq!(
            (&found.title, &found.submenu, &found.kernel),
            (&wanted.title, &wanted.submenu, &wanted.kernel)
        );
        assert!(found.args.has("findiso"));
        assert_eq!(args(found.args.to_string()), wanted.args.to_string());
    }
    assert_eq!((found.entries.len(), found.default), (10, Some(0)));
}

#[test]
fn every_menu_is_found_by_itself() {
    for dir in samples().into_iter().flatten() {
        for config in expected(&dir) {
            let wanted = read_config(&Sample(dir.clone()), &config).unwrap();
            let menus = menu::read(&Sample(dir.clone()), &environment(&config));
            let found = menus.iter().find(|menu| menu.entries == wanted.entries);
            assert!(found.is_some_and(|menu| menu.default == wanted.default), "{dir:?} {config}\n{menus:#?}");
        }
    }
}

#[test]
fn what_boots_by_itself_checks_no_medium() {
    for dir in samples().into_iter().flatten() {
        let menus = menu::read(&Sample(dir.clone()), &Environment::default());
        assert!(!menus.is_empty(), "{dir:?}");
        for menu in menus.iter().filter(|menu| !menu.entries.is_empty()) {
            let entry = menu.boot_entry().unwrap();
            assert!(!entry.checks_media(), "{dir:?} {entry:?}");
        }
    }
}
