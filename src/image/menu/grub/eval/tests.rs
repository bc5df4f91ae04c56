use super::*;
use crate::image::menu::grub::variables::DEVICE;
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
fn variables_are_set_in_two_ways() {
    assert_eq!(x("set x=1").unwrap(), "1");
    assert_eq!(x("x='a b'").unwrap(), "a b");
    assert_eq!(x("x=1; export x=3").unwrap(), "1");
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
fn a_file_knows_its_place() {
    let files = Memory::of(&[("/a/b", "x=$config_directory")]);
    assert_eq!(x_in(&files, "source /a/b; x=$x$config_file"), Some("/a".into()));
}

#[test]
fn only_functions_return() {
    let files = Memory::of(&[("/b", "x=1; return; x=2")]);
    assert_eq!(x_in(&files, "source /b").unwrap(), "2");
    assert_eq!(x_in(&files, "function f { source /b; x=3; }; f").unwrap(), "1");
    assert_eq!(x("return; x=1").unwrap(), "1");
}

#[test]
fn commands_go_before_functions() {
    assert_eq!(x("function set { x=1; }; set x=2").unwrap(), "2");
    assert_eq!(x("function x=3 { x=1; }; x=2").unwrap(), "2");
}

#[test]
fn the_status_is_a_variable() {
    assert_eq!(x("false; x=$?").unwrap(), "1");
    assert_eq!(x("true; x=$?; if [ $? = 0 ]; then x=b$x; fi").unwrap(), "b0");
    assert_eq!(x("unknown; x=$?").unwrap(), "0");
}

#[test]
fn shift_takes_a_number() {
    assert_eq!(x("function f { shift 2; x=\"$*\"; }; f a b c d").unwrap(), "c d");
    assert_eq!(x("function f { shift; shift 9; x=$#$?; }; f a b c").unwrap(), "21");
    assert_eq!(x("function f { shift x; shift 1 2; x=\"$*\"; }; f a b").unwrap(), "a b");
}

#[test]
fn break_and_continue_count_loops() {
    let script =
        "for i in a b; do for j in 1 2; do if [ $j = 2 ]; then WHAT 2; fi; x=$x$i$j; done; x=$x.; done";
    assert_eq!(x(&script.replace("WHAT", "continue")).unwrap(), "a1b1");
    assert_eq!(x(&script.replace("WHAT", "break")).unwrap(), "a1");
    assert_eq!(x("break; x=1").unwrap(), "1");
    assert_eq!(x("function f { break; x=$x.; }; for i in 1 2; do f; done").unwrap(), "..");
}

#[test]
fn wildcards_stand_for_files() {
    let files = Memory::of(&[("/d/a.cfg", ""), ("/d/b.cfg", ""), ("/d/c.txt", ""), ("/e/a.cfg", "")]);
    let x = |pattern: &str| x_in(&files, &format!("for i in {pattern}; do x=\"$x $i\"; done")).unwrap();
    assert_eq!(x("/d/*.cfg"), " /d/a.cfg /d/b.cfg");
    assert_eq!(x("(cd0)/?/a*"), " (cd0)/d/a.cfg (cd0)/e/a.cfg");
    assert_eq!(x("\"/d\"/*.txt"), " /d/c.txt");
    assert_eq!(x("/*/c.txt"), " /d/c.txt");
    assert_eq!(x("/d/*.x \"/d/*\" '/d/*' /d/\\* *.cfg"), " /d/*.x /d/* /d/* /d/* *.cfg");
}

#[test]
fn regexp_sets_groups() {
    assert_eq!(x("regexp --set x '^(a+)(b)' aab").unwrap(), "aa");
    assert_eq!(x("regexp -s 2:x '^(a+)(b)' aab").unwrap(), "b");
    assert_eq!(x("regexp --set=0:x 'a.b' -aab-").unwrap(), "aab");
    assert_eq!(x("x=1; regexp --set 5:x 'a' a"), None);
    assert_eq!(x("if regexp y aab; then x=1; else x=2; fi").unwrap(), "2");
    assert_eq!(x("if regexp '(' aab; then x=1; else x=2; fi").unwrap(), "2");
}

#[test]
fn a_pattern_may_hold_the_device() {
    let script = "regexp --set 1:x \"(\"(cd0)/boot\"/.+)_default.cfg\" \"(cd0)/boot/a_default.cfg\"";
    assert_eq!(x(script).unwrap(), "(cd0)/boot/a");
}

#[test]
fn a_file_may_read_itself_once_more() {
    let files = Memory::of(&[("/a", "x=$x.; if [ $x = . ]; then source /a; fi")]);
    assert_eq!(x_in(&files, "source /a").unwrap(), "..");
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
