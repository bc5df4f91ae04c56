use super::*;
use std::collections::BTreeMap;

/// An ISO of a few files in memory.
#[derive(Default)]
pub(crate) struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Memory {
    pub(crate) fn of<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Self {
        Self(files.iter().map(|(path, bytes)| (path.to_string(), bytes.as_ref().to_vec())).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }

    fn exists(&self, path: &str) -> bool {
        self.0.keys().any(|key| key == path || key.starts_with(&format!("{path}/")))
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        let rest = self.0.keys().filter_map(|key| key.strip_prefix(&prefix));
        let mut names: Vec<String> =
            rest.filter_map(|rest| rest.split('/').next()).map(String::from).collect();
        names.dedup();
        names
    }
}

fn entry(title: &str, kernel: &str, args: &str) -> MenuEntry {
    MenuEntry {
        title: title.into(),
        submenu: Vec::new(),
        kernel: kernel.into(),
        initrds: vec!["/initrd".into()],
        args: Args::parse(args),
    }
}

fn menu(entries: Vec<MenuEntry>, default: Option<usize>) -> Menu {
    Menu {
        config: "/x.cfg".into(),
        loader: Loader::Grub,
        firmware: Firmware::Both,
        entries,
        default,
        left_out: Vec::new(),
    }
}

const GRUB: &str = "menuentry 'Live' {\n linux /k a\n initrd /i\n}\n";
const ISOLINUX: &str = "label live\n kernel /k\n append initrd=/i b\n";

#[test]
fn boot_entry_is_the_default() {
    let menu = menu(vec![entry("a", "/k", ""), entry("b", "/k", "quiet")], Some(1));
    assert_eq!(menu.boot_entry().unwrap().title, "b");
}

#[test]
fn boot_entry_avoids_the_media_check_and_keeps_the_kernel() {
    let entries = vec![
        entry("Installer", "/install", ""),
        entry("Test this media & start Live", "/k", "rd.live.image rd.live.check"),
        entry("Start Live", "/k", "rd.live.image"),
    ];
    assert_eq!(menu(entries, Some(1)).boot_entry().unwrap().title, "Start Live");
}

#[test]
fn boot_entry_is_the_check_if_there_is_nothing_else() {
    let menu = menu(vec![entry("check", "/k", "checksum=y")], Some(0));
    assert_eq!(menu.boot_entry().unwrap().title, "check");
}

#[test]
fn boot_entry_without_a_default_is_the_first() {
    let menu = menu(vec![entry("a", "/k", ""), entry("b", "/k", "")], None);
    assert_eq!(menu.boot_entry().unwrap().title, "a");
}

#[test]
fn media_checks_are_known_by_argument_or_title() {
    let checks = |title: &str, args: &str| entry(title, "/k", args).checks_media();
    assert!(checks("x", "quiet rd.live.check"));
    assert!(checks("x", "checksum=y"));
    assert!(checks("x", "boot=casper integrity-check"));
    assert!(checks("x", "MENU=/bin/cdrom-checker-menu"));
    assert!(checks("Check iso for defects", ""));
    assert!(checks("Boot and verify integrity of the medium (checksum)", ""));
    assert!(!checks("Arch Linux", "cms_verify=y"));
    assert!(!checks("x", "rd.live.check=0"));
    assert!(!checks("Try it (test version)", "fsck.mode=skip"));
    assert!(!checks("Start the live image", "rd.live.image"));
}

#[test]
fn grub_comes_first_and_loopback_last() {
    let loopback = "menuentry 'Loop' {\n linux /k iso=$iso_path\n initrd /i\n}";
    let files = Memory::of(&[
        ("/isolinux/isolinux.cfg", ISOLINUX),
        ("/boot/grub/grub.cfg", GRUB),
        ("/boot/grub/loopback.cfg", loopback),
    ]);
    let configs: Vec<String> = read(&files, &Environment::default()).into_iter().map(|m| m.config).collect();
    assert_eq!(configs, ["/boot/grub/grub.cfg", "/isolinux/isolinux.cfg", "/boot/grub/loopback.cfg"]);
}

#[test]
fn a_menu_of_either_firmware_is_read_for_both() {
    let script = format!("{GRUB}if [ $grub_platform = pc ]; then menuentry m {{ linux16 /memtest; }}; fi\n");
    let files = Memory::of(&[("/boot/grub/grub.cfg", &script)]);
    let menus = read(&files, &Environment::default());
    let seen: Vec<_> = menus.iter().map(|menu| (menu.firmware, menu.entries.len())).collect();
    assert_eq!(seen, [(Firmware::Uefi, 1), (Firmware::Bios, 2)]);
    let files = Memory::of(&[("/boot/grub/grub.cfg", GRUB)]);
    let menus = read(&files, &Environment::default());
    assert_eq!((menus.len(), menus[0].firmware), (1, Firmware::Both));
}

#[test]
fn with_isolinux_grub_is_for_uefi() {
    let files = Memory::of(&[("/boot/grub/grub.cfg", GRUB), ("/isolinux/isolinux.cfg", ISOLINUX)]);
    let menus = read(&files, &Environment::default());
    let seen: Vec<_> = menus.iter().map(|menu| (menu.loader, menu.firmware)).collect();
    assert_eq!(seen, [(Loader::Grub, Firmware::Uefi), (Loader::Syslinux, Firmware::Bios)]);
}

#[test]
fn uefis_own_configuration_comes_before_the_common_one() {
    let other = GRUB.replace("Live", "Other");
    let files = Memory::of(&[("/boot/grub2/grub.cfg", other.as_str()), ("/EFI/BOOT/grub.cfg", GRUB)]);
    let menus = read(&files, &Environment::default());
    let seen: Vec<_> = menus.iter().map(|menu| (menu.config.as_str(), menu.firmware)).collect();
    assert_eq!(seen, [("/EFI/BOOT/grub.cfg", Firmware::Uefi), ("/boot/grub2/grub.cfg", Firmware::Both)]);
}

#[test]
fn menus_without_entries_come_last() {
    let files = Memory::of(&[
        ("/boot/grub/grub.cfg", "menuentry xen { multiboot2 /xen.gz; module2 /k; }"),
        ("/isolinux/isolinux.cfg", ISOLINUX),
    ]);
    let menus = read(&files, &Environment::default());
    assert_eq!((menus[0].loader, menus[1].left_out[0].reason), (Loader::Syslinux, Reason::Multiboot));
}

#[test]
fn boot_entry_without_a_default_has_an_initrd() {
    let mut memtest = entry("memtest", "/memtest", "");
    memtest.initrds.clear();
    let both = menu(vec![memtest.clone(), entry("live", "/k", "")], None);
    assert_eq!(both.boot_entry().unwrap().title, "live");
    assert_eq!(menu(vec![memtest.clone()], None).boot_entry().unwrap().title, "memtest");
    assert_eq!(menu(vec![memtest, entry("live", "/k", "")], Some(0)).boot_entry().unwrap().title, "memtest");
}

#[test]
fn copies_of_a_menu_come_once() {
    let files = Memory::of(&[("/EFI/BOOT/grub.cfg", GRUB), ("/EFI/BOOT/BOOT.conf", GRUB)]);
    assert_eq!(read(&files, &Environment::default()).len(), 1);
}

#[test]
fn names_in_another_case_are_found() {
    let files = Memory::of(&[("/ISOLINUX/ISOLINUX.CFG", ISOLINUX), ("/K", ""), ("/I", "")]);
    let menus = read(&files, &Environment::default());
    assert_eq!(menus[0].config, "/ISOLINUX/ISOLINUX.CFG");
    assert_eq!((menus[0].entries[0].kernel.as_str(), menus[0].entries[0].initrds[0].as_str()), ("/K", "/I"));
}

#[test]
fn an_iso_without_menus_has_none() {
    assert!(read(&Memory::default(), &Environment::default()).is_empty());
}
