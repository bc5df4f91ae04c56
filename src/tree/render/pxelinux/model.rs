//! menu.c32 and pxelinux as readers of their file (com32/menu/readconfig.c, com32/elflink/ldlinux/execute.c and kernel.c).

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a model fails by panicking")]

use super::*;
use crate::tree::render::hostile::{Booted, Read, expected, kernel_args};

const BOOTIF_ARG: &str = "BOOTIF=01-52-54-00-12-34-56";

/// An entry in the making.
#[derive(Debug, Default, Clone)]
struct Label {
    name: String,
    title: Option<String>,
    kernel: String,
    initrd: Option<String>,
    append: String,
    hidden: bool,
    exits: bool,
}

#[derive(Default)]
struct Reader {
    label: Option<Label>,
    done: Vec<Label>,
    depth: usize,
    default: String,
    on_timeout: Option<String>,
    lit: bool,
}

/// Pieces of at most 4095 bytes that end with a line (com32/lib/fgets.c).
fn lines(text: &str) -> Vec<String> {
    let pieces = text.split_inclusive('\n').flat_map(|line| line.as_bytes().chunks(4095));
    pieces
        .map(|piece| String::from_utf8_lossy(piece).split(['\r', '\n']).next().unwrap().to_owned())
        .collect()
}

/// The rest of a line that begins with that word, without blanks in front.
fn after<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    let blank = |symbol: char| symbol <= ' ';
    let line = line.trim_start_matches(blank);
    let head = line.get(..word.len())?;
    let rest = &line[word.len()..];
    (head.eq_ignore_ascii_case(word) && (rest.is_empty() || rest.starts_with(blank)))
        .then(|| rest.trim_start_matches(blank))
}

impl Reader {
    fn record(&mut self) {
        self.done.extend(self.label.take());
    }

    fn line(&mut self, line: &str) {
        let of = |word| after(line, word);
        if let Some(rest) = of("menu") {
            self.menu(rest);
        } else if let Some(rest) = of("append") {
            self.label.as_mut().unwrap().append = if rest == "-" { String::new() } else { rest.to_owned() };
        } else if let Some(rest) = of("initrd") {
            self.label.as_mut().unwrap().initrd = Some(rest.to_owned());
        } else if let Some(rest) = of("label") {
            self.record();
            self.label = Some(Label { name: rest.to_owned(), ..Label::default() });
        } else if let Some(rest) = of("linux") {
            self.label.as_mut().unwrap().kernel = rest.to_owned();
        } else if let Some(rest) = of("default") {
            self.default = rest.to_owned();
        } else if let Some(rest) = of("ontimeout") {
            self.on_timeout = Some(rest.to_owned());
        } else {
            let harmless = ["ui", "timeout", "ipappend", "localboot", "prompt", "say"];
            assert!(line.is_empty() || harmless.iter().any(|word| of(word).is_some()), "{line}");
        }
    }

    fn menu(&mut self, line: &str) {
        let of = |word| after(line, word);
        let layout = ["title", "margin", "rows", "tabmsgrow", "cmdlinerow", "timeoutrow"];
        if let Some(rest) = of("label") {
            if let Some(label) = &mut self.label {
                label.title = Some(rest.to_owned());
            }
        } else if of("begin").is_some() {
            self.record();
            self.depth += 1;
        } else if of("end").is_some() {
            self.record();
            self.depth -= 1;
        } else if of("hide").is_some() {
            self.label.as_mut().unwrap().hidden = true;
        } else if of("exit").is_some() {
            self.label.as_mut().unwrap().exits = true;
        } else if of("default").is_some() {
            assert!(self.label.is_none(), "of a menu, not of an entry");
            self.lit = true;
        } else {
            assert!(layout.iter().any(|word| of(word).is_some()), "menu {line}");
        }
    }
}

/// What is booted by an entry (`execute`, `new_linux_kernel`).
fn booted(label: &Label) -> Booted {
    let initrd = label.initrd.as_ref().map(|names| format!(" initrd={names}")).unwrap_or_default();
    let command = format!(".linux {} {}{initrd} {BOOTIF_ARG}", label.kernel, label.append);
    assert!(command.len() < 2048, "cmdline too long");
    let line = command.replacen(".linux ", "BOOT_IMAGE=", 1);
    let named = line.split_once("initrd=").map(|(_, rest)| rest.split(' ').next().unwrap());
    let mut args = kernel_args(&line);
    // A word alone is none of the loader's.
    args.retain(|(key, value)| {
        value.is_none() || !matches!(key.as_str(), "BOOT_IMAGE" | "initrd" | "BOOTIF")
    });
    Booted {
        name: label.name.clone(),
        title: label.title.clone().unwrap_or_default().replace('^', ""),
        kernel: label.kernel.clone(),
        initrds: named.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        args,
    }
}

fn read(text: &str) -> Read {
    let mut reader = Reader::default();
    lines(text).iter().for_each(|line| reader.line(line));
    reader.record();
    assert_eq!(reader.depth, 0, "each menu ends");
    let kernels = |label: &&Label| !label.exits && label.name != LOCAL;
    let hidden = reader.done.iter().find(|label| label.hidden);
    let default = reader.on_timeout.clone().unwrap_or(reader.default);
    if let Some(hidden) = hidden {
        assert!(reader.lit && reader.on_timeout.as_ref() == Some(&hidden.name), "{text}");
        let shown = reader.done.iter().filter(|label| label.name == hidden.name && !label.hidden);
        let same = |label: &Label| Booted { title: String::new(), ..booted(label) };
        assert!(shown.map(same).all(|shown| shown == same(hidden)), "{text}");
    }
    let mut booted: Vec<_> =
        reader.done.iter().filter(kernels).filter(|label| !label.hidden).map(booted).collect();
    booted.sort();
    assert!(reader.done.iter().any(|label| label.name == default), "{default} is there");
    Read { booted, default }
}

/// Renders a menu, reads it back as menu.c32 or pxelinux does, and compares.
///
/// # Panics
/// If they would offer or boot anything else than the menu says.
pub fn assert_reads(menu: &Menu, uefi: bool, graphical: bool) {
    let host = "10.0.2.2";
    let firmware = if uefi { Firmware::Uefi } else { Firmware::Bios };
    let shown = |title: &str| title.replace('^', "").trim().to_owned();
    let want = expected(menu, firmware, |item| refuse(item, host).is_none(), shown, host);
    let read = read(&render(menu, firmware, graphical, host));
    assert_eq!(read.booted, want.booted);
    assert_eq!(read.default, want.default);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::render::hostile::cases;

    #[test]
    fn the_kernel_keeps_all_that_is_written() {
        cases::assert_the_kernel_keeps_all(|menu| {
            read(&render(menu, Firmware::Bios, true, "10.0.2.2")).booted
        });
    }

    /// Found by fuzzing: the model took it for the loader's own.
    #[test]
    fn an_argument_that_is_a_word_of_the_loader_s_alone_is_kept() {
        let booted = booted(&Label { kernel: "k".into(), append: "quiet initrd".into(), ..Label::default() });
        assert_eq!(booted.args, [("quiet".to_owned(), None), ("initrd".to_owned(), None)]);
    }

    proptest! {
        #[test]
        fn it_reads_exactly_the_menu(menu in cases::menu(), uefi: bool, graphical: bool) {
            assert_reads(&menu, uefi, graphical);
        }
    }
}
