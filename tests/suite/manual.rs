//! The manual: each page is a sound man page and loses no word, what it names is there, and what can be named is in it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, Parser as _};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use netrootfs::boot::families::FAMILIES;
use netrootfs::catalog::config::Config;
use netrootfs::cli::manual::{PAGES, Page};
use netrootfs::cli::options::Cli;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_netrootfs");

#[test]
fn the_readme_is_read_to_its_end() {
    let lines = readme().lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn each_page_has_the_sections_of_one() {
    for page in PAGES {
        let sections = headings(page.source);
        let wanted: &[&str] = match page.to_string().as_str() {
            "netrootfs(1)" => {
                &["Synopsis", "Options", "Commands", "Signals", "Exit status", "Files", "Examples"]
            }
            "netroot-init(8)" | "netrootfs.toml(5)" => &["Synopsis"],
            _ => &[],
        };
        for wanted in ["Name", "Description", "See also"].iter().chain(wanted) {
            assert!(sections.contains(&(*wanted).to_owned()), "{page} has no {wanted}: {sections:?}");
        }
        assert!(page.source.starts_with(&format!("# {page}\n\n## Name\n\n{} - ", page.name)), "{page}");
        assert!(!page.markdown().contains("{{"), "{page}: something is not filled");
    }
}

#[test]
fn each_file_is_a_page() {
    let files = fs::read_dir(Path::new(ROOT).join("src/manual")).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let pages: BTreeSet<_> = PAGES.iter().map(|page| format!("{}.{}.md", page.name, page.section)).collect();
    assert_eq!(files, pages);
}

#[test]
fn man_shows_every_word_of_a_page_and_has_nothing_to_complain_of() -> Result<()> {
    for page in PAGES {
        let shown = man(&page.roff())?;
        let complaints = String::from_utf8_lossy(&shown.stderr);
        ensure!(shown.status.success() && complaints.is_empty(), "{page}: {complaints}");
        let shown = String::from_utf8(shown.stdout)?.to_lowercase();
        // Cells of a row that became a line have a semicolon between them.
        let words =
            |text: &str| text.split_whitespace().map(|word| word.trim_end_matches(';').to_owned()).collect();
        let shown: HashSet<String> = words(&shown);
        let written: HashSet<String> = words(&text(&page.markdown()).to_lowercase());
        let lost: Vec<_> = written.iter().filter(|word| !shown.contains(*word)).collect();
        ensure!(lost.is_empty() && written.len() > 100, "{page} has lost {lost:?}");
    }
    Ok(())
}

#[test]
fn each_family_is_named_where_it_says_what_boots() {
    let pages = ["netrootfs.7", "netrootfs-numbers.7"].map(|page| Page::find(page).unwrap().markdown());
    for family in FAMILIES {
        let name = family.name.replace("debian-installer", "Debian's installer");
        for text in pages.iter().chain([&readme()]) {
            assert!(
                text.contains(&name),
                "{name} is not in a page that begins with {:?}",
                text.lines().next()
            );
        }
    }
}

#[test]
fn each_option_and_command_is_in_the_manual() {
    let page = Page::find("netrootfs.1").unwrap().markdown();
    let mut command = Cli::command();
    command.build();
    let mut commands = vec![&command];
    commands.extend(command.get_subcommands().filter(|one| one.get_name() != "help"));
    for one in &commands {
        assert!(!one.is_hide_set(), "{} is hidden", one.get_name());
        for arg in one.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let named = match arg.get_long() {
                Some(long) => format!("`--{long}`"),
                None => format!("*{}*", arg.get_value_names().unwrap()[0]),
            };
            assert!(page.contains(&named), "{} {named}", one.get_name());
        }
    }
    for one in commands.get(1..).unwrap() {
        assert!(page.contains(&format!("\n### {}\n", one.get_name())), "{}", one.get_name());
    }
    assert!(commands.len() > 5);
}

#[test]
fn each_key_of_the_configuration_is_in_the_manual() {
    let page = Page::find("netrootfs.toml").unwrap();
    for (title, table) in
        [("Mount", "[mount]"), ("Defaults", "[defaults]"), ("ISOs", "[iso.x]"), ("Machines", "[[machine]]")]
    {
        let section = section(page.source, title);
        let keys = keys(&format!("{table}\nnonsense = 1\n"));
        assert!(keys.len() > 5, "{keys:?}");
        let missing: Vec<_> =
            keys.iter().filter(|key| !section.contains(&format!("\n`{key}`\n: "))).collect();
        assert!(missing.is_empty(), "{title} has no {missing:?}");
        let documented = section.matches("\n: ").count();
        assert_eq!(documented, keys.len(), "{title} has more than there is");
    }
    assert_eq!(keys("nonsense = 1\n"), ["mount", "defaults", "iso", "machine"]);
}

#[test]
fn the_configuration_of_the_packages_names_every_key() {
    let text = fs::read_to_string(Path::new(ROOT).join("scripts/systemd/netrootfs.toml")).unwrap();
    assert!(Config::parse(&text).is_ok());
    let is_example = |line: &str| line.starts_with('[') || line.contains(" = ");
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(example) if is_example(example) => example,
        _ => line,
    });
    let written: Vec<&str> = lines.filter(|line| is_example(line)).collect();
    Config::parse(&written.join("\n")).unwrap();
    for (header, table) in [
        ("[mount]", "[mount]"),
        ("[defaults]", "[defaults]"),
        ("[iso.", "[iso.x]"),
        ("[[machine]]", "[[machine]]"),
    ] {
        let after = written.iter().skip_while(|line| !line.starts_with(header)).skip(1);
        let named: BTreeSet<&str> = after
            .take_while(|line| !line.starts_with('['))
            .map(|line| line.split_once(" = ").unwrap().0)
            .collect();
        let keys = keys(&format!("{table}\nnonsense = 1\n"));
        assert_eq!(named, keys.iter().map(String::as_str).collect(), "{header}");
    }
}

#[test]
fn what_options_say_can_stand_in_the_configuration() {
    let keys: HashSet<_> = ["[mount]", "[defaults]"]
        .iter()
        .flat_map(|table| keys(&format!("{table}\nnonsense = 1\n")))
        .collect();
    let command = Cli::command();
    let options = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| arg.get_long());
    let missing: Vec<_> = options.filter(|long| !keys.contains(&long.replace("label", "labels"))).collect();
    assert_eq!(missing, ["config", "foreground", "verbose"]);
}

#[test]
fn each_kernel_argument_of_netroot_init_is_in_the_manual() {
    let settings = fs::read_to_string(Path::new(ROOT).join("src/bin/netroot-init/settings.rs")).unwrap();
    let names = settings.split(".value(\"").skip(1).map(|rest| rest.split_once('"').unwrap().0);
    let page = Page::find("netroot-init").unwrap();
    let missing: Vec<_> =
        names.clone().filter(|name| !page.source.contains(&format!("\n`{name}="))).collect();
    assert!(names.count() > 5);
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_linked_is_there() {
    let manual = PAGES.iter().map(|page| (path(page), page.markdown()));
    for (file, source) in manual.chain([(Path::new(ROOT).join("README.md"), readme())]) {
        let mut links = 0;
        for event in events(&source) {
            let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) =
                event
            else {
                continue;
            };
            if dest_url.starts_with("http") {
                continue;
            }
            let (target, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            let target = file.parent().unwrap().join(target);
            assert!(target.exists(), "{}: {dest_url}", file.display());
            if !anchor.is_empty() {
                let anchors: Vec<_> = headings(&fs::read_to_string(&target).unwrap())
                    .iter()
                    .map(|heading| heading.to_lowercase().replace(' ', "-"))
                    .collect();
                assert!(anchors.iter().any(|one| one == anchor), "{}: {dest_url}", file.display());
            }
            links += 1;
        }
        assert!(links > 1, "{}", file.display());
    }
}

#[test]
fn pages_that_are_named_are_there() {
    let pages: HashSet<_> = PAGES.iter().map(Page::to_string).collect();
    let mut named = HashSet::new();
    for source in PAGES.iter().map(Page::markdown).chain([readme()]) {
        for word in text(&source).split(|c: char| !(c.is_alphanumeric() || "()-._".contains(c))) {
            let word = word.trim_end_matches(['.', '-']);
            if word.starts_with("netroot") && word.ends_with(')') && word.contains('(') {
                assert!(pages.contains(word), "{word}");
                named.insert(word.to_owned());
            }
        }
    }
    assert_eq!(named, pages, "each is named somewhere");
}

#[test]
fn commands_that_are_shown_are_understood() {
    let mut shown = 0;
    for source in PAGES.iter().map(|page| page.source.to_owned()).chain([readme()]) {
        for line in commands(&source) {
            let parsed = Cli::try_parse_from(shell_words(&line));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            shown += 1;
        }
    }
    assert!(shown > 10, "{shown}");
}

#[test]
fn to_a_pipe_it_is_roff() -> Result<()> {
    let first = program(&["man"])?;
    ensure!(first.status.success() && first.stdout == Page::find("netrootfs.1").unwrap().roff().into_bytes());
    ensure!(first.stdout.starts_with(b"'\\\" t\n"));
    let named = program(&["man", "netrootfs.toml"])?;
    ensure!(named.stdout == Page::find("netrootfs.toml.5").unwrap().roff().into_bytes());
    Ok(())
}

#[test]
fn the_list_has_each_page_by_a_name_that_is_understood() -> Result<()> {
    let list = String::from_utf8(program(&["man", "--list"])?.stdout)?;
    ensure!(list.lines().count() == PAGES.len());
    for (line, page) in list.lines().zip(PAGES) {
        let (name, summary) = line.split_once(' ').context("a line of two")?;
        ensure!(Page::find(name) == Ok(page) && summary.trim_start() == page.summary(), "{line}");
    }
    Ok(())
}

#[test]
fn an_unknown_page_is_refused_with_the_names_of_all() -> Result<()> {
    let refused = program(&["man", "netrootfs.9"])?;
    let sentence = String::from_utf8(refused.stderr)?;
    ensure!(refused.status.code() == Some(2));
    ensure!(PAGES.iter().all(|page| sentence.contains(&page.to_string())), "{sentence}");
    Ok(())
}

#[test]
fn on_a_terminal_man_shows_it_and_without_man_it_is_plain_text() -> Result<()> {
    let shown = on_terminal(&format!("MANPAGER=cat exec {PROGRAM} man 'netrootfs(7)'"))?;
    ensure!(shown.contains("NETROOTFS(7)") && shown.contains("COMING AND GOING"), "{shown}");
    let plain = on_terminal(&format!("PATH=/nowhere exec {PROGRAM} man 'netrootfs(7)'"))?;
    ensure!(plain.starts_with("# netrootfs(7)") && plain.contains("## Coming and going"), "{plain}");
    Ok(())
}

fn readme() -> String {
    fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

fn path(page: &Page) -> PathBuf {
    Path::new(ROOT).join(format!("src/manual/{}.{}.md", page.name, page.section))
}

/// What man(1) makes of it on 80 columns.
fn man(roff: &str) -> Result<Output> {
    let mut man = Command::new("man")
        .args(["--warnings", "--no-hyphenation", "--local-file", "-"])
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "80")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("man, of package man-db")?;
    man.stdin.take().context("its input")?.write_all(roff.as_bytes())?;
    Ok(man.wait_with_output()?)
}

fn program(args: &[&str]) -> Result<Output> {
    Ok(Command::new(PROGRAM).args(args).output()?)
}

fn on_terminal(command: &str) -> Result<String> {
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .context("script, of package bsdutils")?;
    ensure!(output.status.success(), "{command}: {}", output.status);
    // Bold is a letter over itself there.
    let shown = String::from_utf8(output.stdout)?.replace('\r', "");
    let over = shown.chars().skip(1).chain(['\n']);
    Ok(shown
        .chars()
        .zip(over)
        .filter(|(c, next)| *c != '\u{8}' && *next != '\u{8}')
        .map(|(c, _)| c)
        .collect())
}

fn events(source: &str) -> Parser<'_> {
    Parser::new_ext(source, Options::ENABLE_TABLES | Options::ENABLE_DEFINITION_LIST)
}

/// The words of a page, but for what a man page can't have or says otherwise: pictures, and heads of tables.
fn text(source: &str) -> String {
    let (mut text, mut skipped) = (String::new(), false);
    for event in events(source) {
        match event {
            Event::Start(Tag::Image { .. } | Tag::TableHead) => skipped = true,
            Event::End(TagEnd::Image | TagEnd::TableHead) => skipped = false,
            Event::Text(part) | Event::Code(part) if !skipped => text += &part,
            Event::SoftBreak | Event::Start(Tag::Item) => text.push(' '),
            Event::End(TagEnd::Link | TagEnd::Strong | TagEnd::Emphasis) => {}
            Event::End(_) => text.push(' '),
            _ => {}
        }
    }
    text
}

fn headings(source: &str) -> Vec<String> {
    let heading =
        |line: &str| line.strip_prefix("##").map(|rest| rest.trim_start_matches('#').trim().to_owned());
    source.lines().filter_map(heading).collect()
}

fn section<'a>(source: &'a str, title: &str) -> &'a str {
    let rest = source.split_once(&format!("\n## {title}\n")).unwrap().1;
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The keys that a table may have, from the refusal of one that it may not have.
fn keys(text: &str) -> Vec<String> {
    let refusal = Config::parse(text).unwrap_err().reason;
    let (_, expected) = refusal.split_once("expected one of ").unwrap();
    expected.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

/// The command lines of netrootfs in blocks of code, each in one line.
fn commands(source: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut code = false;
    for event in events(source) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => code = true,
            Event::End(TagEnd::CodeBlock) => code = false,
            Event::Text(text) if code => commands.extend(
                text.replace("\\\n", " ")
                    .lines()
                    .filter(|line| line.starts_with("netrootfs "))
                    .map(str::to_owned),
            ),
            _ => {}
        }
    }
    commands
}

/// As a shell splits a line, up to a pipe, a redirection or a comment.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            '|' | '>' | '#' | '&' if !quoted => break,
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
