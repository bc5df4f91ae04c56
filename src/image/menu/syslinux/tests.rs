use super::*;
use crate::image::menu::tests::Memory;

const BOOT: &str = "kernel /k\ninitrd /i\n";

fn read_one(text: &str) -> Menu {
    let mut menus = read(&Memory::of(&[("/isolinux/isolinux.cfg", text)]), "/isolinux/isolinux.cfg", None);
    assert_eq!(menus.len(), 1, "{menus:?}");
    menus.remove(0)
}

fn default_of(text: &str) -> Option<usize> {
    read_one(text).default
}

fn titles(menu: &Menu) -> Vec<&str> {
    menu.entries.iter().map(|entry| entry.title.as_str()).collect()
}

#[test]
fn keywords_in_any_case_with_tabs_and_crlf() {
    let menu =
        read_one("LABEL live\r\n\tMenu Label ^Live\tSystem\r\n\tKerNel\tvmlinuz\r\n\tAPPEND\tinitrd=i  a\tb");
    let entry = &menu.entries[0];
    assert_eq!((entry.title.as_str(), entry.kernel.as_str()), ("Live System", "/isolinux/vmlinuz"));
    assert_eq!((entry.initrds[0].as_str(), entry.args.to_string().as_str()), ("/isolinux/i", "a b"));
}

#[test]
fn initrds_by_comma_and_the_first_one_counts() {
    let menu = read_one(
        "label a\nkernel k\nappend initrd=x,y a initrd=z\nlabel b\ninitrd u,v\nlabel c\ninitrd u\nappend initrd=x\n",
    );
    assert_eq!(menu.entries[0].initrds, ["/isolinux/x", "/isolinux/y"]);
    assert_eq!(menu.entries[1].initrds, ["/isolinux/u", "/isolinux/v"]);
    assert_eq!(menu.entries[1].kernel, "/isolinux/b");
    // The line `initrd` is put behind the arguments (`com32/menu/readconfig.c`).
    assert_eq!(menu.entries[2].initrds, ["/isolinux/x"]);
}

#[test]
fn arguments_may_follow_the_kernel() {
    assert_eq!(read_one("label a\nlinux k one\nappend two initrd=i\n").entries[0].args, "one two");
}

#[test]
fn append_of_a_hyphen_is_empty_and_a_global_one_is_inherited() {
    let menu =
        read_one("append global\nlabel a\nkernel k\ninitrd i\nlabel b\nkernel k\ninitrd i\nappend -\n");
    assert_eq!(
        (menu.entries[0].args.to_string().as_str(), menu.entries[1].args.to_string().as_str()),
        ("global", "")
    );
}

#[test]
fn programs_disks_and_memdisk_are_no_entries() {
    let text = "label a\nkernel a.c32\ninitrd i\nlabel b\nlocalboot 0x80\nlabel c\nkernel memdisk\ninitrd d.img\n\
        label d\nkernel x.BIN\ninitrd i\nlabel e\ncom32 b\ninitrd i\nlabel f\ncom32 reboot.c32\n\
        label g\nkernel mboot.c32\nappend /xen.gz a --- /k b --- /i\nlabel h\nmenu goto x\nlabel k\nlinux k\ninitrd i\n";
    let menu = read_one(text);
    assert_eq!(titles(&menu), ["k"]);
    let left_out: Vec<_> = menu.left_out.iter().map(|other| (other.title.as_str(), other.reason)).collect();
    let expected = [
        ("a", Reason::Program),
        ("b", Reason::Chainload),
        ("c", Reason::DiskImage),
        ("d", Reason::Chainload),
        ("e", Reason::Program),
        ("f", Reason::Power),
        ("g", Reason::Multiboot),
        ("h", Reason::OtherMenu),
    ];
    assert_eq!(left_out, expected);
    assert_eq!(menu.left_out[2].files, ["/isolinux/d.img"]);
    assert_eq!(menu.left_out[6].files, ["/xen.gz", "/k", "/i"]);
}

#[test]
fn a_kernel_needs_no_initrd() {
    let menu = read_one("label a\nlinux memtest.bin\nlabel b\nkernel ipxe.lkrn\n");
    assert_eq!((titles(&menu), menu.entries[0].initrds.len()), (vec!["a", "b"], 0));
}

#[test]
fn a_menu_is_found_beside_isolinux() {
    let live = format!("label l\n{BOOT}");
    for dir in ["/slax/boot", "/porteus", "", "/a/b"] {
        let config = format!("{dir}/isolinux.cfg");
        let files =
            Memory::of(&[(config.as_str(), live.as_str()), ("/x/y/syslinux.cfg", "label m\nlocalboot 0\n")]);
        let mut menus = Vec::new();
        read_known(&mut BoundedFiles::new(&files), &mut menus);
        assert_eq!(menus[0].config, config);
    }
    let deep = Memory::of(&[("/a/b/c/isolinux.cfg", live.as_str()), ("/a/b.d/isolinux.cfg", live.as_str())]);
    let mut menus = Vec::new();
    read_known(&mut BoundedFiles::new(&deep), &mut menus);
    assert!(menus.is_empty());
}

#[test]
fn a_configuration_below_efi_is_for_uefi() {
    let files = Memory::of(&[("/EFI/boot/syslinux.cfg", format!("label l\n{BOOT}"))]);
    let mut menus = Vec::new();
    read_known(&mut BoundedFiles::new(&files), &mut menus);
    assert_eq!(menus[0].firmware, Firmware::Uefi);
}

#[test]
fn linux_c32_boots_its_first_argument() {
    let entry = &read_one("label a\ncom32 linux.c32\nappend /k initrd=/i quiet\n").entries[0];
    assert_eq!((entry.kernel.as_str(), entry.args.to_string().as_str()), ("/k", "quiet"));
}

#[test]
fn the_last_default_that_names_a_label_wins() {
    let labels = format!("label a\n{BOOT}menu default\nlabel b\n{BOOT}label c\n{BOOT}");
    assert_eq!(default_of(&format!("default b\n{labels}default c")), Some(2));
    assert_eq!(default_of(&format!("default b\n{labels}default vesamenu.c32")), Some(0));
    assert_eq!(default_of(&format!("default B extra words\n{labels}")), Some(1));
}

#[test]
fn the_default_may_be_no_linux() {
    assert_eq!(default_of(&format!("default disk\nlabel disk\nlocalboot 0\nlabel a\n{BOOT}")), None);
}

#[test]
fn without_a_default_the_timeout_then_the_first_shown() {
    let labels = format!("menu separator\nlabel a\n{BOOT}menu hide\nlabel b\n{BOOT}label c\n{BOOT}");
    assert_eq!(default_of(&format!("ui menu.c32\n{labels}")), Some(1));
    assert_eq!(default_of(&format!("ontimeout c extra\n{labels}")), Some(2));
}

#[test]
fn a_default_in_a_submenu_counts_where_the_menu_starts() {
    let inner = format!("menu begin\nmenu title S\nlabel b\n{BOOT}label c\n{BOOT}menu default\nmenu end\n");
    assert_eq!(default_of(&format!("label a\n{BOOT}{inner}")), Some(0));
    assert_eq!(
        default_of(&format!("label a\n{BOOT}{}", inner.replace("title S", "title S\nmenu start"))),
        Some(2)
    );
}

#[test]
fn config_changes_the_working_directory() {
    let files = Memory::of(&[
        ("/isolinux/isolinux.cfg", "default go\nlabel go\nconfig /arch/boot/a.cfg\nappend /arch/\n"),
        (
            "/arch/boot/a.cfg",
            "default s\nlabel s\ncom32 whichsys.c32\nappend -pxe- p -sys- p -iso- q\nlabel q\nconfig boot/b.cfg\n",
        ),
        ("/arch/boot/b.cfg", "include boot/head.cfg\nlabel l\nlinux boot/k\ninitrd boot/i\n"),
        ("/arch/boot/head.cfg", "append from head\n"),
    ]);
    let menus = read(&files, "/isolinux/isolinux.cfg", None);
    assert_eq!((menus.len(), menus[0].config.as_str()), (1, "/arch/boot/b.cfg"));
    assert_eq!(menus[0].entries[0].kernel, "/arch/boot/k");
    assert_eq!(menus[0].entries[0].args, "from head");
}

#[test]
fn a_menu_program_may_name_its_file() {
    for first in ["ui vesamenu.c32 live.cfg", "default m\nlabel m\nkernel /menu.c32\nappend live.cfg"] {
        let live = format!("label l\n{BOOT}");
        let files = Memory::of(&[("/isolinux/isolinux.cfg", first), ("/isolinux/live.cfg", &live)]);
        assert_eq!(read(&files, "/isolinux/isolinux.cfg", None)[0].config, "/isolinux/live.cfg");
    }
}

#[test]
fn ifcpu64_chooses_the_64_bit_label() {
    let text = "label live\nmenu label Live\nkernel ifcpu64.c32\nappend l64 -- l32\n\
        label l32\nmenu hide\nkernel k32\ninitrd i32\nlabel l64\nmenu hide\nkernel k64\ninitrd i64\n";
    let entry = &read_one(text).entries[0];
    assert_eq!((entry.title.as_str(), entry.kernel.as_str()), ("Live", "/isolinux/k64"));
}

#[test]
fn without_own_entries_every_config_is_followed() {
    let files = Memory::of(&[
        (
            "/a.cfg",
            "ui menu.c32\nlabel x\nconfig b.cfg\nlabel y\nconfig c.cfg\nlabel z\nconfig a.cfg\n".to_owned(),
        ),
        ("/b.cfg", format!("label b\n{BOOT}")),
        ("/c.cfg", format!("label c\n{BOOT}label back\nconfig a.cfg\n")),
    ]);
    assert_eq!(read(&files, "/a.cfg", None).len(), 2);
}

#[test]
fn configurations_and_labels_in_a_circle_end() {
    let files = Memory::of(&[
        ("/a.cfg", "default x\nlabel x\nconfig b.cfg\n"),
        ("/b.cfg", "default x\nlabel x\nconfig a.cfg\n"),
        ("/c.cfg", "default x\nlabel x\nkernel ifcpu64.c32\nappend x -- x\n"),
    ]);
    assert!(read(&files, "/a.cfg", None).is_empty());
    assert!(read(&files, "/c.cfg", None)[0].entries.is_empty());
}

#[test]
fn any_configuration_of_the_directory_is_tried_at_last() {
    let files = Memory::of(&[("/isolinux/live.cfg", format!("label l\n{BOOT}"))]);
    let mut menus = Vec::new();
    read_known(&mut BoundedFiles::new(&files), &mut menus);
    assert_eq!(menus[0].config, "/isolinux/live.cfg");
}
