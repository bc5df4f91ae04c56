use super::*;
use crate::image::menu::tests::Memory;

/// The value of `$x` after a script.
fn x_in(files: &Memory, script: &str) -> Option<String> {
    let environment = Environment { fs_uuid: Some("2026-01-01".into()), ..Environment::default() };
    let mut iso = BoundedFiles::new(files);
    let mut machine = Machine::new(&mut iso, &environment, Variables::new(&environment));
    machine.text(script);
    machine.variables.value("x").map(String::from)
}

fn x(script: &str) -> Option<String> {
    x_in(&Memory::default(), script)
}

#[test]
fn variables_are_set_in_three_ways() {
    assert_eq!(x("set x=1").unwrap(), "1");
    assert_eq!(x("x='a b'").unwrap(), "a b");
    assert_eq!(x("export x=3").unwrap(), "3");
    assert_eq!(x("x=1; unset x"), None);
}

#[test]
fn a_variable_may_hold_the_command() {
    assert_eq!(x("c=set; $c x=1").unwrap(), "1");
}

#[test]
fn branches_are_taken_by_status() {
    let script = "if false; then x=1; elif [ a = b ]; then x=2; else x=3; fi";
    assert_eq!(x(script).unwrap(), "3");
    assert_eq!(x("if loadfont y; then x=1; else x=2; fi").unwrap(), "1");
    assert_eq!(x("if ! false; then x=1; fi").unwrap(), "1");
    assert_eq!(x("if test \"$grub_platform\" == efi; then x=1; fi").unwrap(), "1");
}

#[test]
fn functions_have_arguments_and_return() {
    let script = "function f {\n x=$x$2\n return 1\n x=no\n}\nif f a b; then x=; fi; f a c";
    assert_eq!(x(script).unwrap(), "bc");
}

#[test]
fn loops_end_by_list_break_and_condition() {
    assert_eq!(x("for i in a b c; do x=$x$i; done").unwrap(), "abc");
    assert_eq!(x("for i in a b c; do if [ $i = b ]; then break; fi; x=$x$i; done").unwrap(), "a");
    assert_eq!(x("for i in a b c; do if [ $i = b ]; then continue; fi; x=$x$i; done").unwrap(), "ac");
    assert_eq!(x("while [ \"$x\" != aaa ]; do x=a$x; done").unwrap(), "aaa");
    assert_eq!(x("until [ \"$x\" = aa ]; do x=a$x; done").unwrap(), "aa");
}

#[test]
fn eval_reads_its_arguments() {
    assert_eq!(x("y=1; eval 'x=$y; x=${x}'\"$y\"").unwrap(), "11");
}

#[test]
fn search_finds_the_iso() {
    let files = Memory::of(&[("/marker", "")]);
    assert_eq!(x_in(&files, "search --no-floppy --set=x --file /marker").unwrap(), DEVICE);
    assert_eq!(x_in(&files, "search --file /marker --hint y --set x"), None);
    assert_eq!(x_in(&files, "search --set=x --file /other"), None);
    assert_eq!(x_in(&files, "search --set=x -l LABEL").unwrap(), DEVICE);
    assert_eq!(x_in(&files, "search.fs_uuid 1234 x").unwrap(), DEVICE);
}

#[test]
fn probe_tells_the_uuid() {
    assert_eq!(x("probe --set x --fs-uuid \"$root\"").unwrap(), "2026-01-01");
    assert_eq!(x("probe --fs-uuid --set=x (cd)").unwrap(), "2026-01-01");
}

#[test]
fn endless_scripts_end() {
    for script in [
        "while true; do x=1; done",
        "while true; do continue; done",
        "until false; do eval 'x=1'; done",
        "function f { f; f; }; f; f",
        "x='eval $x'; eval $x",
        "set a=1; while true; do set a=$a$a; done",
        "function f { for i in 1 2 3 4 5 6 7 8; do f; done; }; f",
        "while true; do while true; do break; done; done",
    ] {
        x(script);
    }
}

#[test]
fn a_file_knows_its_place_and_may_return() {
    let files = Memory::of(&[("/a/b", "x=$config_directory; return; x=no")]);
    assert_eq!(x_in(&files, "source /a/b; x=$x$config_file"), Some("/a".into()));
}

#[test]
fn menus_ask_for_features() {
    assert_eq!(x("if [ x$feature_menuentry_id = xy ]; then x=--id; fi").unwrap(), "--id");
}

#[test]
fn files_that_source_one_another_end() {
    let files = Memory::of(&[("/a", "source /b; source /b"), ("/b", "source /a; configfile /a; x=1")]);
    assert_eq!(x_in(&files, "source /a").unwrap(), "1");
}
