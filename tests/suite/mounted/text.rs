//! Options that reach the rendered files.

use testkit::disc::Disc;

use crate::support::place::Place;

fn rendered(place: &Place) -> [String; 2] {
    [place.text("images/nbd.conf"), place.text("tftp/pxelinux.cfg/default")]
}

#[test]
fn label_names_everything() {
    let disc = Disc::new("Fedora-WS-Live-42", 1);
    let place = Place::with("f=42.iso", &disc);
    let _daemon = place.start(&["--label", "f=42.iso=F42"]);
    assert!(place.read("images/F42.iso") == disc.iso);
    assert!(place.read("tftp/vmlinuz_F42") == disc.kernel);
    let [conf, menu] = rendered(&place);
    assert!(conf.contains("\n[F42]\n") && conf.contains("\n[F42.iso]\n"), "{conf}");
    assert!(menu.contains("\nlabel F42\n") && menu.contains("\n  linux vmlinuz_F42\n"), "{menu}");
    assert!(!place.tree("images/Fedora-WS-Live-42.iso").exists());
}

#[test]
fn default_and_timeout_choose_what_boots_by_itself() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    place.put("b.iso", &Disc::new("Beta", 2));
    let daemon = place.start(&["--default", "Beta", "--timeout", "3"]);
    let [_, menu] = rendered(&place);
    assert!(menu.contains("\ndefault Beta\ntimeout 30\n"), "{menu}");
    daemon.stop();
    let _daemon = place.start(&["--timeout", "0"]);
    let [_, menu] = rendered(&place);
    assert!(menu.contains("\ndefault Alpha\ntimeout 0\n"), "{menu}");
}

#[test]
fn a_default_that_is_not_there_yet_counts_when_it_comes() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let _daemon = place.start(&["--default", "Beta"]);
    assert!(rendered(&place)[1].contains("\ndefault Alpha\n"));
    place.put("b.iso", &Disc::new("Beta", 2));
    place.promised("the new default", || rendered(&place)[1].contains("\ndefault Beta\n"));
}

#[test]
fn append_and_server_are_in_every_entry() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    place.put("b.iso", &Disc::new("Beta", 2));
    let daemon = place.start(&["--append", "console=ttyS0,115200 foo=\"b c\""]);
    let [_, menu] = rendered(&place);
    assert!(menu.starts_with("serial 0 115200\n"), "{menu}");
    assert_eq!(menu.matches(" console=ttyS0,115200 foo=\"b c\"\n").count(), 2, "{menu}");
    assert_eq!(menu.matches("netroot=nbd:192.0.2.1:").count(), 2, "{menu}");
    daemon.stop();
}

#[test]
fn the_port_is_in_nbd_conf() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let daemon = place.start(&["--nbd-port", "10999"]);
    assert!(rendered(&place)[0].starts_with("[generic]\nallowlist = true\nport = 10999\n"));
    daemon.stop();
    let _daemon = place.start(&[]);
    assert!(!rendered(&place)[0].contains("\nport ="), "{}", rendered(&place)[0]);
}

#[test]
fn root_export_chooses_the_export() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    for (choice, wanted) in
        [("image", "netroot=nbd:192.0.2.1:Alpha::ro"), ("iso", "netroot=nbd:192.0.2.1:Alpha.iso::ro ip=dhcp")]
    {
        let daemon = place.start(&["--root-export", choice]);
        place.eventually("the verdict", || place.top().join("state/initrds.json").exists());
        assert!(rendered(&place)[1].contains(wanted), "{}", rendered(&place)[1]);
        daemon.stop();
    }
}

#[test]
fn exports_name_the_files_of_this_mount() {
    let place = Place::with("a.iso", &Disc::new("Alpha", 1));
    let _daemon = place.start(&[]);
    let conf = place.text("images/nbd.conf");
    let exports: Vec<&str> = conf.lines().filter_map(|line| line.strip_prefix("exportname = ")).collect();
    let images = place.mnt().join("images");
    let wanted = ["liveos_Alpha.img", "Alpha.iso"].map(|name| images.join(name).display().to_string());
    assert_eq!(exports, wanted);
}

#[test]
fn labels_are_made_of_what_every_server_takes() {
    let place = Place::new();
    for (file, volume_id) in [
        ("1.iso", "CentOS 7 x86_64"),
        ("2.iso", "10809"),
        ("3.iso", "generic"),
        ("4.iso", "../%s[x]"),
        ("näme 5.iso", ""),
    ] {
        place.put(file, &Disc::new(volume_id, 1));
    }
    let _daemon = place.start(&[]);
    for entry in std::fs::read_dir(place.tree("images")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!(name.bytes().all(plain) && !name.starts_with(['.', '-']), "{name}");
        if let Some(label) = name.strip_suffix(".iso") {
            assert!(label != "generic" && !label.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
        }
    }
    assert!(place.tree("images/CentOS_7_x86_64.iso").exists());
    assert_eq!(std::fs::read_dir(place.tree("images")).unwrap().count(), 1 + 2 * 5);
}

#[test]
fn a_menu_that_changes_to_one_of_the_same_length_has_a_new_time_and_keeps_it() {
    let place = Place::with("one.iso", &Disc::new("One", 1));
    let config = place.elsewhere("netrootfs.toml");
    let title = |title: &str| {
        let new = place.elsewhere("new");
        std::fs::write(&new, format!("[iso.One]\ntitle = \"{title}\"\n")).unwrap();
        std::fs::rename(new, &config).unwrap();
    };
    let stat = |path: &str| {
        let stat = std::fs::metadata(place.tree(path)).unwrap();
        (stat.modified().unwrap(), stat.len())
    };
    title("First title");
    let options = ["--config", config.to_str().unwrap()];
    let daemon = place.start(&options);
    place.eventually("the look into the initrd", || {
        place.text("tftp/pxelinux.cfg/default").contains("/dev/nbd0")
    });
    place.eventually("the first title", || place.text("tftp/boot.ipxe").contains("First title"));
    let (menu, conf) = (stat("tftp/boot.ipxe"), stat("images/nbd.conf"));
    title("Other title");
    place.eventually("the other title", || place.text("tftp/boot.ipxe").contains("Other title"));
    place.eventually("its time", || stat("tftp/boot.ipxe").0 > menu.0);
    let changed = stat("tftp/boot.ipxe");
    assert_eq!((changed.1, stat("images/nbd.conf")), (menu.1, conf));
    daemon.stop();
    let daemon = place.start(&options);
    assert_eq!((stat("tftp/boot.ipxe"), stat("images/nbd.conf")), (changed, conf));
    daemon.stop();
}
