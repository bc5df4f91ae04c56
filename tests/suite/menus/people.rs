//! Menus as people see them: what rows are called, in which order they stand, and what is always in sight.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use netrootfs::catalog::scan::{Plain, Scanner};
use netrootfs::tree::arena::{Kind, Tree};
use netrootfs::tree::layout::{self, Given};
use testkit::disc::Disc;
use testkit::work::Work;

use crate::support::isos::Files;

/// The lines of the narrowest screen's list: GRUB's text menu.
const ROWS: usize = 12;

fn tree(directory: &Path) -> Tree {
    let catalog = Scanner::new(directory.to_path_buf(), HashMap::new(), Arc::new(Plain)).scan().unwrap();
    let given = Given { mountpoint: "/m".into(), own_host: "10.0.2.2".into(), options: Default::default() };
    layout::lay_out(&catalog, &given.settings(&Default::default()), &[], &Arc::default())
}

fn text(tree: &Tree, path: &str) -> String {
    let Kind::File(content) = &tree.resolve(path).unwrap().kind else { panic!("{path} is no file") };
    String::from_utf8(content.read_at(0, usize::MAX).unwrap()).unwrap()
}

/// Titles of the rows of GRUB's first screen.
fn first_screen(tree: &Tree) -> Vec<String> {
    let title = |line: &str| {
        let rest = line.strip_prefix("menuentry '").or(line.strip_prefix("submenu '"))?;
        Some(rest.split('\'').next()?.to_owned())
    };
    text(tree, "tftp/grub.cfg").lines().filter_map(title).collect()
}

fn live(directory: &Path, file: &str, volume_id: &str, menu_title: &str, product: Option<(&str, &str)>) {
    let menu = format!(
        "default live\nlabel live\n  menu label {menu_title}\n  kernel /images/pxeboot/vmlinuz\n  \
         append initrd=/images/pxeboot/initrd.img rd.live.image\n"
    );
    let files = Files::live().with("isolinux/isolinux.cfg", menu);
    let files = match product {
        Some((path, text)) => files.with(path, text),
        None => files,
    };
    files.xorriso(&["-R", "-V", volume_id], &directory.join(file));
}

#[test]
fn a_label_that_says_nothing_gives_way_to_the_name_of_the_product() {
    let work = Work::new("people-product").unwrap();
    let isos = work.scratch("isos");
    std::fs::create_dir(&isos).unwrap();
    let info = "Debian GNU/Linux 12.5.0 \"Bookworm\" - Official amd64 LIVE 20240210-11:27";
    live(&isos, "a.iso", "CDROM", "Live system", Some((".disk/info", info)));
    live(&isos, "b.iso", "Tools", "Tools 7 with a shell", None);
    live(&isos, "c.iso", "Custom", "Start", Some((".disk/info", "Other 1")));
    let tree = tree(&isos);
    assert_eq!(
        first_screen(&tree),
        [
            "Custom: Start [NBD]",
            "Debian GNU/Linux 12.5.0 \"Bookworm\": Live system [NBD]",
            "Tools 7 with a shell [NBD]",
            "Boot from the local disk"
        ]
    );
    // Files and names of entries stay those of the label.
    assert!(
        text(&tree, "tftp/boot.ipxe").contains("\nitem CDROM Debian GNU/Linux 12.5.0 \"Bookworm\": Live")
    );
}

#[test]
fn a_tree_info_names_the_product_too() {
    let work = Work::new("people-treeinfo").unwrap();
    let isos = work.scratch("isos");
    std::fs::create_dir(&isos).unwrap();
    let info = "[general]\nname = Fedora 42\nvariant = KDE\n";
    live(&isos, "a.iso", "LIVECD", "", Some(("boot/.treeinfo", info)));
    live(&isos, "b.iso", "ISOIMAGE", "Start", Some((".disk/info", "Fedora 42 KDE")));
    live(&isos, "c.iso", "ISOIMAGE", "Start", Some((".disk/info", "Fedora 42 KDE")));
    let titles = first_screen(&tree(&isos));
    // Two that would look the same have their labels again.
    assert!(titles.contains(&"ISOIMAGE: Fedora 42 KDE: Start [NBD]".to_owned()), "{titles:?}");
    assert!(titles.iter().any(|title| title.starts_with("ISOIMAGE-")), "{titles:?}");
}

#[test]
fn rows_are_sorted_as_people_sort() {
    let work = Work::new("people-sorted").unwrap();
    let isos = work.scratch("isos");
    std::fs::create_dir(&isos).unwrap();
    for (seed, volume_id) in
        ["Debian-12", "debian-9", "Debian-10", "alpine-3.9", "Alpine-3.10"].iter().enumerate()
    {
        Disc::new(volume_id, seed as u64).write_without_root(&isos.join(format!("{seed}.iso")));
    }
    let titles = first_screen(&tree(&isos));
    let names: Vec<&str> = titles.iter().map(|title| title.split(':').next().unwrap()).collect();
    assert_eq!(
        names,
        ["alpine-3.9", "Alpine-3.10", "debian-9", "Debian-10", "Debian-12", "Boot from the local disk"]
    );
}

#[test]
fn sixty_isos_are_in_groups_and_the_local_disk_is_always_in_sight() {
    let work = Work::new("people-many").unwrap();
    let mut disc = Disc::new("Live", 1);
    for many in [11, 12, 60] {
        let isos = work.scratch(&format!("isos-{many}"));
        std::fs::create_dir(&isos).unwrap();
        let mut labels = Vec::new();
        for number in 0..many {
            let label = format!("Live-{number}");
            disc.rename(&label);
            disc.write_without_root(&isos.join(format!("{number:03}.iso")));
            labels.push(label);
        }
        let tree = tree(&isos);
        let titles = first_screen(&tree);
        assert!(titles.len() <= ROWS, "{titles:?}");
        assert_eq!(titles.last().unwrap(), "Boot from the local disk");
        // Each of them is there once, in each loader's menu.
        let [pxelinux, grub, ipxe] =
            ["tftp/pxelinux.cfg/default", "tftp/grub.cfg", "tftp/boot.ipxe"].map(|path| text(&tree, path));
        for label in &labels {
            let mut rows = String::new();
            let _ = write!(rows, "\nlabel {label}\n");
            assert_eq!(pxelinux.matches(&rows).count(), 1, "{label}");
            assert_eq!(grub.matches(&format!(" --id '{label}' {{")).count(), 1, "{label}");
            assert_eq!(ipxe.matches(&format!("\nitem {label} ")).count(), 1, "{label}");
        }
        if many > 12 {
            assert!(titles[1].starts_with("Live-"), "{titles:?}");
            assert!(titles.iter().any(|title| title.contains(" to Live-")), "{titles:?}");
        }
    }
}
