use super::*;
use crate::image::menu::tests::Memory;

fn menu(settings: &str, entries: &[(&str, &str)]) -> Option<Menu> {
    let mut files = Memory::of(&[(CONFIG, settings)]);
    for (name, text) in entries {
        files.0.insert(format!("{ENTRIES}/{name}"), text.as_bytes().to_vec());
    }
    read(&files, &Environment::default())
}

fn titles(menu: &Menu) -> Vec<&str> {
    menu.entries.iter().map(|entry| entry.title.as_str()).collect()
}

#[test]
fn initrds_and_options_may_repeat() {
    let text = "# c\r\ntitle\tLive  One\r\nlinux /k\ninitrd /ucode\ninitrd /initrd\noptions a\noptions b  c";
    let menu = menu("", &[("a.conf", text)]).unwrap();
    let entry = &menu.entries[0];
    assert_eq!((entry.title.as_str(), entry.args.to_string().as_str()), ("Live One", "a b c"));
    assert_eq!(entry.initrds, ["/ucode", "/initrd"]);
}

#[test]
fn efi_programs_and_other_architectures_are_left_out() {
    let entries = [
        ("a.conf", "title A\nlinux /k\ninitrd /i\narchitecture aa64"),
        ("b.conf", "title B\nefi /shell.efi"),
        ("c.conf", "title C\nlinux /k\ninitrd /i\narchitecture x64"),
        ("d.txt", "title D\nlinux /k\ninitrd /i"),
    ];
    assert_eq!(titles(&menu("", &entries).unwrap()), ["C"]);
}

#[test]
fn the_default_is_named_with_or_without_suffix_or_by_a_glob() {
    let text = "linux /k\ninitrd /i";
    let entries = [("aa.conf", text), ("bb.conf", text), ("cc.conf", text)];
    let default = |settings: &str| menu(settings, &entries).unwrap().default.unwrap();
    assert_eq!(titles(&menu("", &entries).unwrap()), ["cc.conf", "bb.conf", "aa.conf"]);
    assert_eq!(default("timeout 3\ndefault bb\n"), 1);
    assert_eq!(default("default AA.conf"), 2);
    assert_eq!(default("default b*"), 1);
    assert_eq!(default("default ?a.conf"), 2);
    assert_eq!(default("default nothing*"), 0);
    assert_eq!(default(""), 0);
}

#[test]
fn a_default_that_boots_no_linux_is_none() {
    let entries = [("a.conf", "linux /k\ninitrd /i"), ("b.conf", "efi /shell.efi")];
    assert_eq!(menu("default b.conf", &entries).unwrap().default, None);
}

#[test]
fn sort_keys_come_first_and_newer_versions_before_older() {
    let text = |title: &str, rest: &str| format!("title {title}\nlinux /k\ninitrd /i\n{rest}");
    let (a, b) = (text("none", ""), text("old", "sort-key x\nversion 6.9"));
    let (c, d) = (text("new", "sort-key x\nversion 6.10"), text("first", "sort-key a"));
    let entries = [("z.conf", a.as_str()), ("b.conf", &b), ("c.conf", &c), ("d.conf", &d)];
    assert_eq!(titles(&menu("", &entries).unwrap()), ["first", "new", "old", "none"]);
}

#[test]
fn versions_compare_by_number() {
    assert_eq!(compare_versions("6.10", "6.9"), Ordering::Greater);
    assert_eq!(compare_versions("6.1~rc1", "6.1"), Ordering::Less);
    assert_eq!(compare_versions("a-x", "a"), Ordering::Greater);
    assert_eq!(compare_versions("a-x.conf", "a.conf"), Ordering::Less);
    assert_eq!(compare_versions("007", "7"), Ordering::Equal);
}

#[test]
fn nothing_to_read_is_no_menu() {
    assert!(menu("default x", &[("x.txt", "title X\nlinux /k")]).is_none());
}

#[test]
fn what_is_left_out_says_why() {
    let entries = [
        ("a.conf", "title A\nlinux /k\ninitrd /i\narchitecture aa64"),
        ("b.conf", "title B\nefi /shell.efi"),
        ("c.conf", "title C\noptions x"),
    ];
    let menu = menu("", &entries).unwrap();
    let reasons: Vec<_> = menu.left_out.iter().map(|other| (other.title.as_str(), other.reason)).collect();
    assert_eq!(reasons, [("C", Reason::NoLinux), ("B", Reason::Chainload), ("A", Reason::Architecture)]);
    assert_eq!(menu.left_out[1].files, ["/shell.efi"]);
}

#[test]
fn a_kernel_needs_no_initrd() {
    let menu = menu("", &[("a.conf", "title A\nlinux /bzImage\noptions x")]).unwrap();
    assert!(menu.entries[0].initrds.is_empty());
}
