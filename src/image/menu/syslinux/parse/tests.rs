use super::*;
use crate::image::menu::tests::Memory;

fn parse(text: &str) -> Config {
    Config::read(&mut BoundedFiles::new(&Memory::of(&[("/a.cfg", text)])), "/a.cfg", "/").unwrap()
}

fn names(config: &Config) -> Vec<&str> {
    config.labels.iter().map(|label| label.name.as_str()).collect()
}

fn menu_titles(config: &Config) -> Vec<&str> {
    config.labels.iter().map(|label| config.menus[label.menu].title.as_str()).collect()
}

#[test]
fn comments_and_unknown_words_are_skipped() {
    assert_eq!(names(&parse("#label a\n # label b\nlabels c\nlabel d # e\n")), ["d # e"]);
}

#[test]
fn help_text_is_skipped_even_if_it_never_ends() {
    assert_eq!(
        names(&parse("label a\nTEXT HELP\nlabel b\n EndText\nlabel c\ntext help\nlabel d\n")),
        ["a", "c"]
    );
}

#[test]
fn menus_nest_and_stay_open() {
    let config = parse(
        "label a\nmenu begin x\nmenu title ^X\nlabel b\nmenu begin\nmenu label Y\nlabel c\nmenu end\nlabel d\n",
    );
    assert_eq!(menu_titles(&config), ["", "X", "Y", "X"]);
}

#[test]
fn menus_may_end_once_too_often() {
    let config = parse("menu begin ^T\nlabel a\nmenu end\nmenu end\nlabel b\n");
    assert_eq!(menu_titles(&config), ["T", ""]);
}

#[test]
fn disabled_labels_and_separators_are_not_shown() {
    let config = parse("label a\nmenu disable\nmenu separator\nlabel b\nmenu hide\nlabel c\n");
    assert_eq!((names(&config), config.menus[0].items.len()), (vec!["b", "c"], 1));
}

#[test]
fn a_default_before_the_first_label_is_nobodys() {
    assert_eq!(parse("menu default\nlabel a\nlabel b\n").menus[0].default, None);
}

#[test]
fn a_submenu_may_be_the_default() {
    let config = parse("label a\nmenu begin\nmenu default\nlabel b\nmenu end\n");
    assert_eq!(config.menus[0].default, Some(1));
}

#[test]
fn a_missing_include_is_no_error_and_a_circle_ends() {
    let files = Memory::of(&[
        ("/a.cfg", "include missing.cfg\ninclude B.CFG\nlabel a\ninclude a.cfg\n"),
        ("/b.cfg", "label b\nmenu include a.cfg\n"),
    ]);
    let config = Config::read(&mut BoundedFiles::new(&files), "/a.cfg", "/").unwrap();
    assert_eq!(names(&config), ["b", "a"]);
}

#[test]
fn an_include_with_a_tag_is_a_submenu() {
    let files =
        Memory::of(&[("/a.cfg", "menu include b.cfg More ^things\nlabel a\n"), ("/b.cfg", "label b\n")]);
    let config = Config::read(&mut BoundedFiles::new(&files), "/a.cfg", "/").unwrap();
    assert_eq!(menu_titles(&config), ["More things", ""]);
}

#[test]
fn long_lines_and_many_labels_are_cut() {
    let config = parse(&format!("label {}\n", "é".repeat(MAX_LINE)));
    assert!(config.labels[0].name.len() < MAX_LINE);
    assert_eq!(parse(&"label a\n".repeat(2 * MAX_ENTRIES)).labels.len(), MAX_ENTRIES);
    assert_eq!(parse(&"menu begin\n".repeat(2 * MAX_ENTRIES)).menus.len(), MAX_ENTRIES);
}
