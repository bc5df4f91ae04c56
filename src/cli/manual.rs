//! The manual: pages in Markdown (`src/manual/`), built into the program and shown as man pages.
//!
//! A page is what its file says, with the options out of the command line's definition (`definition`) where it has a
//! line such as `{{options}}`. `roff` makes a man page of it, for man(1) and for packages. A new page is a file and a line
//! in [`PAGES`].

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

mod definition;
mod roff;

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Name, without the section.
    pub name: &'static str,
    /// Section of the manual, such as 5 for formats of files.
    pub section: u8,
    /// The text of its file.
    pub source: &'static str,
}

macro_rules! pages {
    ($(($name:literal, $section:literal)),* $(,)?) => {
        [$(Page {
            name: $name,
            section: $section,
            source: include_str!(concat!("../manual/", $name, ".", $section, ".md")),
        }),*]
    };
}

/// All pages. The first is shown if none is named; of two with one name, the first has it.
pub const PAGES: [Page; 11] = pages![
    ("netrootfs", 1),
    ("netrootfs.toml", 5),
    ("netrootfs", 7),
    ("netrootfs-servers", 7),
    ("netrootfs-many", 7),
    ("netrootfs-status", 7),
    ("netrootfs-security", 7),
    ("netrootfs-boots", 7),
    ("netrootfs-images", 7),
    ("netrootfs-numbers", 7),
    ("netroot-init", 8),
];

impl Page {
    /// The page by its name: `netrootfs.toml`, `netrootfs.toml.5`, `netrootfs.toml(5)`, or `servers` for
    /// `netrootfs-servers`.
    ///
    /// # Errors
    /// With the names of all pages, if there is none.
    pub fn find(wanted: &str) -> Result<Self, String> {
        let is = |page: &&Self| {
            let Self { name, section, .. } = page;
            wanted == *name
                || wanted == format!("{name}.{section}")
                || wanted == page.to_string()
                || name.strip_prefix("netrootfs-") == Some(wanted)
        };
        PAGES.iter().find(is).copied().ok_or_else(|| {
            let names: Vec<_> = PAGES.iter().map(Self::to_string).collect();
            format!("there is no such page, but {}", names.join(", "))
        })
    }

    /// Its subject, from its first section.
    pub fn summary(&self) -> &'static str {
        let name = self.source.lines().find_map(|line| line.split_once(" - "));
        name.map_or("", |(_, summary)| summary)
    }

    /// The whole page as Markdown.
    pub fn markdown(&self) -> String {
        definition::fill(self.source)
    }

    /// The page as man(1) wants it.
    pub fn roff(&self) -> String {
        roff::render(self, &self.markdown())
    }

    /// Writes roff to standard output; to a terminal, through man(1), or as Markdown where that isn't installed.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub fn show(&self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if !stdout.is_terminal() {
            return stdout.write_all(self.roff().as_bytes());
        }
        if through_man(&self.roff()) { Ok(()) } else { stdout.write_all(self.markdown().as_bytes()) }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.section)
    }
}

/// A line for each page: the name by which it is asked for, and what it is about.
pub fn list() -> String {
    let line = |page: &Page| {
        let name = format!("{}.{}", page.name, page.section);
        format!("{name:<21} {}\n", page.summary())
    };
    PAGES.iter().map(line).collect()
}

/// Whether man(1) is there and has shown it.
fn through_man(roff: &str) -> bool {
    let Ok(mut man) = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn() else {
        return false;
    };
    if let Some(mut stdin) = man.stdin.take() {
        // Who leaves the pager early has seen enough.
        let _ = stdin.write_all(roff.as_bytes());
    }
    man.wait().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_several_names() {
        let found = |wanted| Page::find(wanted).unwrap().to_string();
        assert_eq!(found("netrootfs"), "netrootfs(1)");
        assert_eq!(found("netrootfs.7"), "netrootfs(7)");
        assert_eq!(found("netrootfs(7)"), "netrootfs(7)");
        assert_eq!(found("netrootfs.toml"), "netrootfs.toml(5)");
        assert_eq!(found("servers"), "netrootfs-servers(7)");
        let error = Page::find("server").unwrap_err();
        assert!(PAGES.iter().all(|page| error.contains(&page.to_string())), "{error}");
    }
}
