//! The menu readers against menus as they stand in real ISOs, each with what a careful reading of it gives.
//!
//! `NETROOTFS_SAMPLES` says where they are. They are not part of the project: many carry no licence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Only tests are in here.

use netrootfs::image::args::Arg;
use netrootfs::image::menu::{self, Environment, Files, Menu, MenuEntry};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the expected reading is knowingly not followed: the sample, the configuration, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
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
];

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
    let entries = config["entries"].as_array().unwrap().iter();
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
            let default = config["default"]["index"].as_u64().map(|index| index as usize);
            if menu.entries == expected && menu.default == default {
                continue;
            }
            if let Some(exception) = EXCEPTIONS.iter().find(|known| (known.0, known.1) == (&name, &path)) {
                used.push(*exception);
                continue;
            }
            differences.push(format!("{name} {path}: default {:?}, expected {default:?}", menu.default));
            for index in 0..menu.entries.len().max(expected.len()) {
                let (found, wanted) = (menu.entries.get(index), expected.get(index));
                if found != wanted {
                    differences.push(format!("  found    {found:?}\n  expected {wanted:?}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert!(used.is_empty() || used == EXCEPTIONS, "an exception is no longer one");
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
        for menu in menus {
            let entry = menu.boot_entry().unwrap();
            assert!(!entry.checks_media(), "{dir:?} {entry:?}");
        }
    }
}
