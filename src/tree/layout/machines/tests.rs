use super::*;
use crate::catalog::config::Config;
use crate::tree::arena::{Kind, Tree};
use crate::tree::layout::Given;
use crate::tree::render::{Firmware, Item};

fn entry(label: &str) -> IsoEntry {
    IsoEntry {
        label: label.into(),
        name: label.into(),
        title: format!("Title of {label}"),
        way: None,
        items: vec![Item {
            name: String::new(),
            title: format!("Title of {label}"),
            submenu: Vec::new(),
            kernel: format!("vmlinuz_{label}"),
            initrds: vec![format!("initrd_{label}.img")],
            args: "quiet --- init".into(),
            firmware: Firmware::Both,
            live: true,
        }],
    }
}

/// Two ISOs and a hidden one, with the machines of a configuration.
fn offers(text: &str) -> (Arc<Offers>, Vec<Arc<Machine>>) {
    let given = Given { mountpoint: "/m".into(), own_host: "10.0.2.2".into(), options: Default::default() };
    let settings = given.settings(&Arc::new(Config::parse(text).unwrap()));
    let offer = |label, hidden, arrived| Offer { entry: entry(label), hidden, arrived };
    let entries = vec![offer("A", false, 3), offer("B", false, 2), offer("H", true, 1)];
    let standing = Some(Label::parse("A").unwrap());
    (Arc::new(Offers::new(entries, standing, &settings)), settings.config.machines.clone())
}

/// A tree with the general menus, in which the names of machines are found.
fn tree(text: &str) -> Tree {
    let (offers, machines) = offers(text);
    let mtime = SystemTime::UNIX_EPOCH;
    let mut builder = Builder::new(mtime);
    let tftp = builder.directory(Tree::ROOT, "tftp", mtime);
    for name in ["grub.cfg", "boot.ipxe", "autoexec.ipxe", "vmlinuz_A", "menu.c32"] {
        builder.file(tftp, name, Content::text(format!("general {name}")), mtime);
    }
    let (efi, efi64) = (builder.directory(tftp, "efi", mtime), builder.directory(tftp, "efi64", mtime));
    let menus = [
        (tftp, "pxelinux.cfg", "default"),
        (tftp, "grub", "grub.cfg"),
        (efi, "A", "grub.cfg"),
        (efi64, "pxelinux.cfg", "default"),
    ];
    for (parent, directory, name) in menus {
        let parent = builder.directory(parent, directory, mtime);
        builder.file(parent, name, Content::text(format!("general {name}")), mtime);
    }
    add(&mut builder, tftp, &offers, &machines, mtime);
    builder.build()
}

fn read(tree: &Tree, path: &str) -> Option<String> {
    let Kind::File(content) = &tree.resolve(&format!("tftp/{path}"))?.kind else { return None };
    Some(String::from_utf8(content.read_at(0, usize::MAX).unwrap()).unwrap())
}

fn iso(label: &str) -> Choice {
    Choice::Iso(label.into())
}

fn labels(menu: &Menu) -> Vec<&str> {
    menu.entries.iter().map(|entry| entry.label.as_str()).collect()
}

const MACHINE: &str = r#"
[defaults]
timeout = 9
[[machine]]
mac = "52:54:00:AB:CD:01"
uuid = "00112233-4455-6677-8899-AABBCCDDEEFF"
address = ["10.0.2.111", "10.0.3.0/24"]
default = "H"
timeout = 3
append = "console=ttyS1"
only = ["A", "H"]
"#;

#[test]
fn the_general_menu_has_what_is_not_hidden() {
    let menu = offers("[defaults]\ndefault = \"B\"\n").0.menu(None);
    assert_eq!((labels(&menu), menu.default.clone(), menu.timeout), (vec!["A", "B"], iso("B"), 10));
    assert_eq!(offers("[defaults]\ndefault = \"H\"\n").0.menu(None).default, Choice::Live("A".into()));
}

#[test]
fn a_machine_has_its_choices() {
    let (offers, machines) = offers(MACHINE);
    let menu = offers.menu(Some(&machines[0]));
    assert_eq!((labels(&menu), menu.default.clone(), menu.timeout), (vec!["A", "H"], iso("H"), 3));
    assert_eq!(menu.append, "console=ttyS1");
    assert_eq!(menu.entries[0].items[0].args, "quiet console=ttyS1 --- init");
}

#[test]
fn what_a_machine_does_not_say_is_as_for_all() {
    let text = "[defaults]\ndefault = \"B\"\ntimeout = 4\nappend = \"x\"\n\
                [[machine]]\naddress = \"10.0.0.1\"\nwithout = [\"A\"]\ndefault = \"gone\"\n";
    let (offers, machines) = offers(text);
    let menu = offers.menu(Some(&machines[0]));
    assert_eq!((labels(&menu), menu.default.clone(), menu.timeout), (vec!["B"], iso("B"), 4));
    assert_eq!(menu.append, "x");
}

#[test]
fn where_nobody_names_one_everybody_boots_the_same_live_system() {
    let text = "[[machine]]\naddress = \"10.0.0.1\"\n[[machine]]\naddress = \"10.0.0.2\"\nwithout = [\"A\"]\n\
                [[machine]]\naddress = \"10.0.0.3\"\nonly = [\"H\", \"B\"]\n";
    let (offers, machines) = offers(text);
    let choice = |machine: usize| offers.menu(Some(&machines[machine])).default;
    assert_eq!(offers.menu(None).default, Choice::Live("A".into()));
    // A machine that isn't offered it boots what was there first of its own menu.
    let choices = [choice(0), choice(1), choice(2)];
    assert_eq!(choices, ["A", "B", "H"].map(|label| Choice::Live(label.into())));
}

#[test]
fn the_local_disk_and_a_wait_for_ever_can_be_said_for_all_and_for_a_machine() {
    let text = "[defaults]\ndefault = \"local\"\n[[machine]]\naddress = \"10.0.0.1\"\ndefault = \"none\"\ntimeout = 3\n\
                [[machine]]\naddress = \"10.0.0.2\"\n[[machine]]\naddress = \"10.0.0.3\"\ndefault = \"B\"\n";
    let (offers, machines) = offers(text);
    let of = |menu: Menu| (menu.default, menu.timeout);
    assert_eq!(of(offers.menu(None)), (Choice::Local, 10));
    assert_eq!(of(offers.menu(Some(&machines[0]))), (Choice::Local, 0));
    assert_eq!(of(offers.menu(Some(&machines[1]))), (Choice::Local, 10));
    assert_eq!(of(offers.menu(Some(&machines[2]))), (iso("B"), 10));
}

#[test]
fn a_machine_that_may_boot_nothing_boots_its_disk() {
    let text = "[[machine]]\nmac = \"52:54:00:ab:cd:01\"\nonly = [\"gone\"]\n";
    assert_eq!(
        read(&tree(text), "pxelinux.cfg/01-52-54-00-ab-cd-01").unwrap(),
        "ui menu.c32\nmenu title Network boot\nmenu margin 0\nmenu rows 16\nmenu tabmsgrow 21\n\
         menu cmdlinerow 21\nmenu timeoutrow 22\ndefault .local\ntimeout 100\n\n\
         label .local\n  menu label Boot from the local disk\n  localboot 0\n"
    );
}

#[test]
fn pxelinux_finds_its_menu_by_every_name() {
    let tree = tree(MACHINE);
    let text = "serial 1 9600\nui menu.c32\nmenu title Network boot\nmenu margin 0\nmenu rows 16\nmenu tabmsgrow 21\n\
         menu cmdlinerow 21\nmenu timeoutrow 22\ndefault H\ntimeout 30\n\n\
                label A\n  menu label Title of A\n  linux vmlinuz_A\n  initrd initrd_A.img\n  \
                append quiet console=ttyS1 --- init\n  ipappend 2\n\n\
                label H\n  menu label Title of H\n  linux vmlinuz_H\n  initrd initrd_H.img\n  \
                append quiet console=ttyS1 --- init\n  ipappend 2\n\n\
                label .local\n  menu label Boot from the local disk\n  localboot 0\n";
    for name in [
        "00112233-4455-6677-8899-aabbccddeeff",
        "33221100-5544-7766-8899-aabbccddeeff",
        "01-52-54-00-ab-cd-01",
        "0A00026F",
        "0A0003",
    ] {
        assert_eq!(read(&tree, &format!("pxelinux.cfg/{name}")).as_deref(), Some(text), "{name}");
    }
    assert_eq!(read(&tree, "pxelinux.cfg/0A00026E"), None);
    assert_eq!(read(&tree, "pxelinux.cfg/default").as_deref(), Some("general default"));
    let without_menu = read(&tree, "efi64/pxelinux.cfg/0A00026F").unwrap();
    assert!(without_menu.starts_with("serial 1 9600\nprompt 1\n"), "{without_menu}");
}

#[test]
fn grub_finds_its_menu_by_every_name() {
    let tree = tree(MACHINE);
    let text = "serial --unit=1 --speed=9600\nterminal_input --append serial\nterminal_output --append serial\n\
                set timeout=3\n\
                set netrootfs_mac=$net_default_mac\n\
                regexp --set=1:netrootfs_mac1 --set=2:netrootfs_mac2 --set=3:netrootfs_mac3 \
                --set=4:netrootfs_mac4 --set=5:netrootfs_mac5 --set=6:netrootfs_mac6 \
                '^(..):(..):(..):(..):(..):(..)$' \"$netrootfs_mac\"\n\
                if [ -n \"$netrootfs_mac6\" ]; then set netrootfs_mac=$netrootfs_mac1-$netrootfs_mac2-\
                $netrootfs_mac3-$netrootfs_mac4-$netrootfs_mac5-$netrootfs_mac6; fi\n\
                export netrootfs_mac\nset default='H'\n\
                if [ -n \"$netrootfs_default\" ]; then set default=\"$netrootfs_default\"; fi\n\n\
                menuentry 'Title of A' --id 'A' {\n  echo 'Loading Title of A ...'\n  \
                linux /vmlinuz_A BOOTIF=01-$netrootfs_mac quiet console=ttyS1 --- init\n  \
                initrd /initrd_A.img\n}\n\n\
                menuentry 'Title of H' --id 'H' {\n  echo 'Loading Title of H ...'\n  \
                linux /vmlinuz_H BOOTIF=01-$netrootfs_mac quiet console=ttyS1 --- init\n  \
                initrd /initrd_H.img\n}\n\n\
                menuentry 'Boot from the local disk' --id '.local' {\n  exit\n}\n";
    for directory in ["", "grub/", "efi/A/"] {
        for name in ["00112233-4455-6677-8899-aabbccddeeff", "01-52-54-00-ab-cd-01", "0A00026F", "0A0003"] {
            let path = format!("{directory}grub.cfg-{name}");
            assert_eq!(read(&tree, &path).as_deref(), Some(text), "{path}");
        }
    }
}

#[test]
fn ipxe_finds_its_script_by_every_name() {
    let tree = tree(MACHINE);
    let text = read(&tree, "mac-525400abcd01.ipxe").unwrap();
    assert!(text.contains("\n:.start\nmenu Network boot\nitem A Title of A\nitem H Title of H\n"), "{text}");
    for name in [
        "uuid-00112233-4455-6677-8899-aabbccddeeff",
        "uuid-33221100-5544-7766-8899-aabbccddeeff",
        "ip-10.0.2.111",
        "ip-10.0.3.0",
        "ip-10.0.3.255",
    ] {
        assert_eq!(read(&tree, &format!("{name}.ipxe")).as_ref(), Some(&text), "{name}");
    }
    assert_eq!(read(&tree, "ip-10.0.4.0.ipxe"), None);
}

#[test]
fn a_machine_has_a_root_of_its_own() {
    let tree = tree(MACHINE);
    for root in ["52-54-00-ab-cd-01", "10.0.2.111"] {
        let same = |path: &str, other: &str| {
            let text = read(&tree, &format!("{root}/{path}"));
            assert!(text.is_some() && text == read(&tree, other), "{root}/{path}");
        };
        same("vmlinuz_A", "vmlinuz_A");
        same("pxelinux.cfg/default", "pxelinux.cfg/0A00026F");
        same("grub.cfg", "grub.cfg-0A00026F");
        same("grub/grub.cfg", "grub.cfg-0A00026F");
        same("efi/A/grub.cfg", "efi/A/grub.cfg");
        same("efi64/pxelinux.cfg/default", "efi64/pxelinux.cfg/0A00026F");
        same("boot.ipxe", "mac-525400abcd01.ipxe");
        same("autoexec.ipxe", "mac-525400abcd01.ipxe");
        let node = tree.resolve(&format!("tftp/{root}")).unwrap();
        let mut names: Vec<&str> = tree.list(node).map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "autoexec.ipxe",
                "boot.ipxe",
                "efi",
                "efi64",
                "grub",
                "grub.cfg",
                "menu.c32",
                "pxelinux.cfg",
                "vmlinuz_A"
            ]
        );
    }
    assert!(tree.resolve("tftp/10.0.3.1").is_none(), "only single addresses");
}

#[test]
fn a_listing_has_none_of_it() {
    let tree = tree(MACHINE);
    let names = |path| tree.list(tree.resolve(path).unwrap()).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        names("tftp"),
        [
            "autoexec.ipxe",
            "boot.ipxe",
            "efi",
            "efi64",
            "grub",
            "grub.cfg",
            "menu.c32",
            "pxelinux.cfg",
            "vmlinuz_A"
        ]
    );
    assert_eq!((names("tftp/pxelinux.cfg"), names("tftp/grub")), (vec!["default"], vec!["grub.cfg"]));
    assert_eq!(names("tftp/efi/A"), ["grub.cfg"]);
}

#[test]
fn of_two_machines_with_a_name_the_first_has_it() {
    let text = r#"
        [[machine]]
        mac = ["52:54:00:00:00:01", "52:54:00:00:00:01"]
        address = "10.0.2.0/24"
        timeout = 1
        [[machine]]
        mac = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
        address = ["10.0.2.5", "10.0.2.250-10.0.3.1"]
        timeout = 2
    "#;
    let tree = tree(text);
    let timeout = |path: &str| {
        read(&tree, path)?.lines().find_map(|line| Some(line.strip_prefix("timeout ")?.to_owned()))
    };
    assert_eq!(timeout("pxelinux.cfg/01-52-54-00-00-00-01").as_deref(), Some("10"));
    assert_eq!(timeout("pxelinux.cfg/01-52-54-00-00-00-02").as_deref(), Some("20"));
    assert_eq!(timeout("pxelinux.cfg/0A0002").as_deref(), Some("10"));
    assert_eq!(timeout("pxelinux.cfg/0A000205"), None, "or pxelinux would take it first");
    assert_eq!(timeout("pxelinux.cfg/0A0002FA"), None);
    assert_eq!(timeout("pxelinux.cfg/0A000301").as_deref(), Some("20"));
    assert_eq!(read(&tree, "ip-10.0.2.5.ipxe"), read(&tree, "mac-525400000001.ipxe"));
    assert!(tree.resolve("tftp/10.0.2.5").is_none());
}

#[test]
fn other_choices_are_another_inode_and_the_same_ones_the_same() {
    let ino = |text: &str, path: &str| tree(text).resolve(&format!("tftp/{path}")).unwrap().ino;
    let other = MACHINE.replace("timeout = 3", "timeout = 5");
    let more = format!("{MACHINE}[[machine]]\naddress = \"10.9.9.9\"\n");
    for path in ["pxelinux.cfg/0A00026F", "grub.cfg-0A00026F", "mac-525400abcd01.ipxe", "10.0.2.111"] {
        assert_eq!(ino(MACHINE, path), ino(MACHINE, path));
        assert_eq!(ino(MACHINE, path), ino(&more, path), "another machine is no change");
        assert_ne!(ino(MACHINE, path), ino(&other, path), "{path}");
    }
}

#[test]
fn a_network_is_a_few_names() {
    let text = "[[machine]]\naddress = [\"10.1.0.0/16\", \"10.2.0.1-10.2.255.254\"]\n";
    let dump = tree(text).dump();
    assert!(dump.lines().count() < 500, "{}", dump.lines().count());
    assert!(dump.contains("(tftp/pxelinux.cfg/0A01) "));
}
