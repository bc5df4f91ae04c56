use super::*;
use crate::image::menu::tests::Memory;

const BOOT: &str = "linux /k\n initrd /i\n";

fn read_files(files: &[(&str, &str)]) -> Option<Menu> {
    read(&Memory::of(files), "/boot/grub/grub.cfg", &Environment::default())
}

fn read_one(text: &str) -> Menu {
    read_files(&[("/boot/grub/grub.cfg", text)]).unwrap()
}

fn titles(menu: &Menu) -> Vec<&str> {
    menu.entries.iter().map(|entry| entry.title.as_str()).collect()
}

/// Entries a (boots nothing), b, a submenu s with c and d, and e.
fn default_of(default: &str) -> Option<&'static str> {
    let script = format!(
        "{default}\nmenuentry a {{ reboot; }}\nmenuentry 'b > b' --id=bb {{ {BOOT} }}\n\
         submenu s --id ss {{ menuentry c {{ {BOOT} }}\n menuentry d {{ {BOOT} }}\n }}\nmenuentry e {{ {BOOT} }}\n"
    );
    let index = read_one(&script).default?;
    ["b", "c", "d", "e"].get(index).copied()
}

#[test]
fn options_stand_before_or_after_the_title() {
    let menu = read_one(&format!(
        "menuentry --class a --id=x 'Live' --hotkey=l --unrestricted --users '' {{ {BOOT} }}\n\
         menuentry \"Two\" --class b arg {{ linux /k $1 $2\ninitrd /i }}"
    ));
    assert_eq!(titles(&menu), ["Live", "Two"]);
    assert_eq!(menu.entries[1].args, "Two arg");
}

#[test]
fn linux_and_initrd_in_all_their_forms() {
    for (linux, initrd) in [("linux", "initrd"), ("linuxefi", "initrdefi"), ("linux16", "initrd16")] {
        let menu = read_one(&format!("menuentry a {{ {linux} (cd)/k x  y; {initrd} /i1 ($root)/i2 }}"));
        let entry = &menu.entries[0];
        assert_eq!((entry.kernel.as_str(), entry.args.to_string().as_str()), ("/k", "x y"));
        assert_eq!(entry.initrds, ["/i1", "/i2"]);
    }
}

#[test]
fn a_word_with_a_blank_is_quoted_for_the_kernel() {
    let menu = read_one("menuentry a { linux /k 'a b' c'd' 'ds=nocloud;s=/x'\n initrd /i\n}");
    assert_eq!(menu.entries[0].args, "\"a b\" cd ds=nocloud;s=/x");
}

#[test]
fn what_boots_no_linux_of_the_iso_is_left_out() {
    let menu = read_one(
        "menuentry a { linux /k; chainloader /x.efi }\nmenuentry b { multiboot2 --quirk-x /xen.gz a; module2 --nounzip /k x; \
         module2 /i }\nmenuentry c { linux /k; halt }\nmenuentry d { linux http://x/k\ninitrd /i }\n\
         menuentry e { kfreebsd /kernel.gz }\nmenuentry f { echo help }\nhiddenentry g { linux /k\ninitrd /i }\n",
    );
    let left_out: Vec<_> = menu.left_out.iter().map(|other| (other.title.as_str(), other.reason)).collect();
    let expected = [
        ("a", Reason::Chainload),
        ("b", Reason::Multiboot),
        ("c", Reason::Power),
        ("d", Reason::NotInIso),
        ("e", Reason::OtherSystem),
        ("f", Reason::NoLinux),
    ];
    assert_eq!((menu.entries.len(), menu.default, left_out.as_slice()), (0, None, expected.as_slice()));
    assert_eq!(menu.left_out[0].files, ["/x.efi"]);
    assert_eq!(menu.left_out[1].files, ["/xen.gz", "/k", "/i"]);
}

#[test]
fn the_last_loader_counts_up_to_boot() {
    let menu = read_one(
        "menuentry a { chainloader /x; linux /a y; initrd /i; boot; halt }\n\
         menuentry b { linux /a; initrd /i; linux16 /b }",
    );
    assert_eq!(titles(&menu), ["a", "b"]);
    assert_eq!((menu.entries[0].args.to_string().as_str(), menu.entries[0].initrds.len()), ("y", 1));
    assert_eq!((menu.entries[1].kernel.as_str(), menu.entries[1].initrds.len()), ("/b", 0));
}

#[test]
fn bodies_expand_when_booted_and_titles_when_read() {
    let menu =
        read_one(&format!("x=1\nmenuentry \"t$x\" {{ y=$x; linux /k $x$y\n initrd /i }}\nx=2\n{BOOT}"));
    assert_eq!((menu.entries[0].title.as_str(), menu.entries[0].args.to_string().as_str()), ("t1", "22"));
}

#[test]
fn what_an_entry_sets_stays_inside() {
    let menu =
        read_one(&format!("menuentry a {{ x=1\n {BOOT} }}\nmenuentry b {{ linux /k x$x\n initrd /i }}"));
    assert_eq!(menu.entries[1].args, "x");
}

#[test]
fn submenus_see_exported_variables_only() {
    let menu = read_one("a=1\nb=2\nexport b\nsubmenu s {\nmenuentry t { linux /k a$a b$b\n initrd /i }\n}");
    assert_eq!(menu.entries[0].args, "a b2");
    assert_eq!(menu.entries[0].submenu, ["s"]);
}

#[test]
fn the_default_by_number_title_id_and_path() {
    assert_eq!(default_of("set default=1"), Some("b"));
    assert_eq!(default_of("default='b >> b'"), Some("b"));
    assert_eq!(default_of("default=bb"), Some("b"));
    assert_eq!(default_of("default='2>1'"), Some("d"));
    assert_eq!(default_of("default='ss>d'"), Some("d"));
    assert_eq!(default_of("default=2"), Some("c"));
    assert_eq!(default_of("default=\"3\""), Some("e"));
}

#[test]
fn the_default_is_the_first_if_it_is_none() {
    for default in ["", "default=", "default=99", "default=nothing", "default=$saved_entry", "default=0"] {
        assert_eq!(default_of(default), None, "{default}");
    }
    assert_eq!(read_one(&format!("menuentry a {{ {BOOT} }}")).default, Some(0));
}

#[test]
fn source_reads_in_place_and_knows_variables() {
    let menu = read_files(&[
        ("/boot/grub/grub.cfg", "x=1; source $prefix/b.cfg\nsource /missing.cfg\n. (cd)/c.cfg"),
        ("/boot/grub/b.cfg", "menuentry b$x { linux /k\n initrd /i }\n"),
        ("/c.cfg", "menuentry c { linux /k\n initrd /i }\n"),
    ]);
    assert_eq!(titles(&menu.unwrap()), ["b1", "c"]);
}

#[test]
fn configfile_shows_the_other_menu() {
    let menu = read_files(&[
        ("/boot/grub/grub.cfg", "x=1\nmenuentry a { linux /k\n initrd /i }\nconfigfile /b.cfg\nx=2"),
        ("/b.cfg", "default=1\nmenuentry b$x { linux /k\n initrd /i }\nmenuentry c { linux /k\n initrd /i }"),
    ]);
    let menu = menu.unwrap();
    assert_eq!((menu.config.as_str(), titles(&menu), menu.default), ("/b.cfg", vec!["b", "c"], Some(1)));
}

#[test]
fn configfile_without_entries_changes_nothing() {
    let menu = read_files(&[
        ("/boot/grub/grub.cfg", "configfile /b.cfg\nmenuentry a$x { linux /k\n initrd /i }"),
        ("/b.cfg", "export x=1"),
    ]);
    assert_eq!(titles(&menu.unwrap()), ["a"]);
}

#[test]
fn a_menu_of_languages_leads_to_the_next() {
    let menu = read_files(&[
        ("/boot/grub/grub.cfg", "menuentry English { export l\n l=en\n configfile ${prefix}/next.cfg }"),
        ("/boot/grub/next.cfg", "menuentry Live { linux /k lang=$l\n initrd /i }"),
    ]);
    let menu = menu.unwrap();
    assert_eq!(
        (menu.config.as_str(), menu.entries[0].args.to_string().as_str()),
        ("/boot/grub/next.cfg", "lang=en")
    );
    let circle = "menuentry a { configfile /boot/grub/grub.cfg }";
    assert_eq!(read_files(&[("/boot/grub/grub.cfg", circle)]), None);
}

#[test]
fn the_platforms_directory_is_not_the_prefix() {
    let files = Memory::of(&[
        ("/boot/grub/x86_64-efi/grub.cfg", "source $prefix/a.cfg"),
        ("/boot/grub/a.cfg", "menuentry a { linux /k\n initrd /i }"),
    ]);
    assert!(read(&files, "/boot/grub/x86_64-efi/grub.cfg", &Environment::default()).is_some());
}

#[test]
fn any_vendors_configuration_is_tried_at_last() {
    let files = Memory::of(&[("/EFI/vendor/grub.cfg", format!("menuentry a {{ {BOOT} }}"))]);
    let mut menus = Vec::new();
    read_known(&mut BoundedFiles::new(&files), &Environment::default(), &mut menus);
    assert_eq!(menus[0].config, "/EFI/vendor/grub.cfg");
}

#[test]
fn an_entry_runs_what_it_sources() {
    let menu = read_files(&[
        ("/boot/grub/grub.cfg", "menuentry a { x=1; source /b.cfg }"),
        ("/b.cfg", "linux /k x$x\ninitrd /i\nmenuentry b { linux /k }"),
    ]);
    let menu = menu.unwrap();
    assert_eq!((titles(&menu), menu.entries[0].args.to_string().as_str()), (vec!["a"], "x1"));
}

#[test]
fn an_entry_ends_where_it_shows_another_menu() {
    let menu = read_files(&[
        (
            "/boot/grub/grub.cfg",
            "menuentry a { configfile /b.cfg; linux /k }\nmenuentry c { configfile /missing.cfg; linux /k }",
        ),
        ("/b.cfg", "menuentry b { linux /k }"),
    ]);
    let menu = menu.unwrap();
    assert_eq!((titles(&menu), menu.left_out[0].reason), (vec!["c"], Reason::OtherMenu));
}

#[test]
fn entries_may_come_from_functions_loops_and_eval() {
    let body = "{ linux /k $2\n initrd /i\n }";
    let menu = read_one(&format!(
        "function f {{\n menuentry $1 $2 {body}\n}}\nf a 1\nfor i in b c; do f $i 2; done\n\
         eval \"menuentry d 3 {}\"",
        body.replace('$', "\\$")
    ));
    assert_eq!(titles(&menu), ["a", "b", "c", "d"]);
    let args: Vec<String> = menu.entries.iter().map(|entry| entry.args.to_string()).collect();
    assert_eq!(args, ["1", "2", "2", "3"]);
}

#[test]
fn submenus_and_entries_without_end_are_limited() {
    let deep = format!("{} menuentry a {{ {BOOT}", "submenu s { ".repeat(500));
    assert_eq!(read_files(&[("/boot/grub/grub.cfg", &deep)]), None);
    let many = format!("menuentry a {{ {BOOT} }};").repeat(2 * MAX_ENTRIES);
    assert_eq!(read_one(&many).entries.len(), MAX_ENTRIES);
    let endless = format!("while true; do menuentry a {{ {BOOT} }}; done");
    assert_eq!(read_files(&[("/boot/grub/grub.cfg", &endless)]), None);
    let fan = "function f { submenu s { f; f; f; }; menuentry a { linux /k\n initrd /i }; }; f";
    assert!(read_one(fan).entries.len() <= MAX_ENTRIES);
}

#[test]
fn crlf_and_nul_and_a_missing_end_of_line() {
    let menu = read_one("menuentry 'a\0b' {\r\n linux /k x \\\r\n  y\r\n initrd /i\r\n}\r");
    assert_eq!((menu.entries[0].title.as_str(), menu.entries[0].args.to_string().as_str()), ("a b", "x y"));
}
