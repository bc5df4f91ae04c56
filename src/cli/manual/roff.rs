//! Markdown → roff, for man(1).
//!
//! As much of Markdown as the pages use: headings, paragraphs, lists, definition lists, code, tables and links. A link to
//! another page becomes its name, one into the repository its text; pictures are left out. Tables are tbl(1)'s where they
//! fit.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

use super::Page;

mod table;

use table::Table;

/// The page as roff.
pub fn render(page: &Page, markdown: &str) -> String {
    let mut writer = Writer::default();
    let source = concat!("netrootfs ", env!("CARGO_PKG_VERSION"));
    writer
        .roff
        .control("TH", [&*page.name.to_uppercase(), &page.section.to_string(), "\"\"", source, "netrootfs"]);
    // Ragged and without hyphens: names and options stay as they are typed.
    writer.roff.control("ad", ["l"]).control("nh", []);
    // In a locale without Unicode.
    writer.roff.control("fchar", ["\\[u2026]", "..."]);
    let options = Options::ENABLE_TABLES | Options::ENABLE_DEFINITION_LIST;
    Parser::new_ext(markdown, options).for_each(|event| writer.take(event));
    // The first line tells man(1) that tbl(1) is wanted.
    format!("'\\\" t\n{}", writer.roff.render())
}

#[derive(Default)]
struct Writer {
    roff: Roff,
    /// What is not yet written of the block.
    text: Vec<Inline>,
    bold: bool,
    italic: bool,
    code: bool,
    /// Of the lists around: the number of the next item, if they are numbered.
    lists: Vec<Option<u64>>,
    /// The next block stands beside the bullet, or below the title, that has just been written.
    begun: bool,
    defining: bool,
    image: bool,
    link: Option<String>,
    table: Option<Table>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(_) if self.image => {}
            Event::Text(text) if self.code => {
                for line in text.lines() {
                    self.roff.text([roman(line)]);
                }
            }
            Event::Text(text) => self.push(&text),
            Event::Code(text) => self.text.push(bold(text.into_string())),
            Event::SoftBreak | Event::HardBreak => self.push(" "),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Strong => self.bold = true,
            Tag::Emphasis => self.italic = true,
            Tag::Link { dest_url, .. } => {
                self.bold = dest_url.ends_with(".md");
                self.link = Some(dest_url.into_string());
            }
            Tag::Image { .. } => self.image = true,
            Tag::CodeBlock(_) => {
                self.flush();
                self.space();
                let indent = if self.indented() { "11" } else { "4" };
                self.roff.control("RS", [indent]).control("nf", []);
                self.code = true;
            }
            Tag::List(number) => {
                self.flush();
                if self.indented() {
                    // As far as its text: the tag of a definition is 7 wide, a bullet 3.
                    self.roff.control("RS", [if self.lists.is_empty() { "7" } else { "3" }]);
                }
                // Its items are lines, and no paragraphs.
                self.roff.control("PD", ["0"]);
                self.lists.push(number);
            }
            Tag::Item => self.bullet(),
            Tag::DefinitionListDefinition => (self.defining, self.begun) = (true, true),
            Tag::Table(_) => self.table = Some(Table::default()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong => self.bold = false,
            TagEnd::Emphasis => self.italic = false,
            TagEnd::Link => self.end_link(),
            TagEnd::Image => self.image = false,
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph => self.flush(),
            TagEnd::CodeBlock => {
                self.roff.control("fi", []).control("RE", []);
                self.code = false;
            }
            TagEnd::Item => self.flush(),
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.roff.control("PD", []);
                }
                if self.indented() {
                    self.roff.control("RE", []);
                }
            }
            TagEnd::DefinitionListTitle => {
                self.roff.control("TP", []).text(std::mem::take(&mut self.text));
            }
            TagEnd::DefinitionListDefinition => {
                self.flush();
                (self.defining, self.begun) = (false, false);
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                if let Some(table) = &mut self.table {
                    table.push(cell);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    table.end_row();
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    table.write(&mut self.roff);
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, text: &str) {
        self.text.push(match (self.bold, self.italic) {
            (true, _) => bold(text),
            (_, true) => italic(text),
            _ => roman(text),
        });
    }

    /// Whether the text is that of an item or a definition.
    fn indented(&self) -> bool {
        !self.lists.is_empty() || self.defining
    }

    /// What stands between two blocks.
    fn space(&mut self) {
        if !std::mem::take(&mut self.begun) {
            self.roff.control(if self.indented() { "sp" } else { "PP" }, []);
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.space();
            self.roff.text(std::mem::take(&mut self.text));
        }
    }

    fn bullet(&mut self) {
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}.", *number - 1)
            }
            _ => "\\(bu".to_owned(),
        };
        self.roff.control("IP", [&*mark, "3"]);
        self.begun = true;
    }

    /// The title of the whole page is in its first line already.
    fn heading(&mut self, level: HeadingLevel) {
        let text = table::plain(&std::mem::take(&mut self.text));
        match level {
            HeadingLevel::H1 => {}
            HeadingLevel::H2 => drop(self.roff.control("SH", [&*text.to_uppercase()])),
            _ => drop(self.roff.control("SS", [&*text])),
        }
    }

    fn end_link(&mut self) {
        self.bold = false;
        let target = self.link.take().unwrap_or_default();
        if target.starts_with("http") && !table::plain(&self.text).ends_with(&target) {
            self.text.push(roman(format!(" <{target}>")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(markdown: &str) -> String {
        let page = Page { name: "x", section: 7, source: "" };
        let roff = render(&page, markdown);
        let (head, body) = roff.split_once("\n.fchar \\[u2026] ...\n").unwrap();
        assert!(head.starts_with("'\\\" t\n") && head.contains("\n.TH X 7 \"\" \"netrootfs "), "{head}");
        body.to_owned()
    }

    #[test]
    fn headings_become_sections() {
        assert_eq!(body("# x(7)\n\n## Coming and going\n\n### One\n"), ".SH \"COMING AND GOING\"\n.SS One\n");
    }

    #[test]
    fn fonts_are_kept() {
        assert_eq!(
            body("A `--x` *VALUE*,\nand **so** on."),
            ".PP\nA \\fB\\-\\-x\\fR \\fIVALUE\\fR, and \\fBso\\fR on.\n"
        );
    }

    #[test]
    fn a_link_to_a_page_is_its_name() {
        let markdown = "[x(1)](x.1.md), [the unit](../scripts/x.service), [here](https://example.org/)";
        assert_eq!(body(markdown), ".PP\n\\fBx(1)\\fR, the unit, here <https://example.org/>\n");
    }

    #[test]
    fn code_keeps_its_lines() {
        assert_eq!(body("```\na  b\n\n.c\n```\nd\n"), ".PP\n.RS 4\n.nf\na  b\n\n\\&.c\n.fi\n.RE\n.PP\nd\n");
    }

    #[test]
    fn lists_and_definitions() {
        assert_eq!(body("1. a\n2. b\n"), ".PD 0\n.IP 1. 3\na\n.IP 2. 3\nb\n.PD\n");
        assert_eq!(
            body("- a\n  - c\n- d\n"),
            ".PD 0\n.IP \\(bu 3\na\n.RS 3\n.PD 0\n.IP \\(bu 3\nc\n.RE\n.IP \\(bu 3\nd\n.PD\n"
        );
        assert_eq!(
            body("`a`, `b`\n: c\n\n`d`\n: e\n\n  f\n"),
            ".TP\n\\fBa\\fR, \\fBb\\fR\nc\n.TP\n\\fBd\\fR\ne\n.sp\nf\n"
        );
    }
}
