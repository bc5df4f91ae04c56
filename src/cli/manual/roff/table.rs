//! A table of a page: tbl(1)'s if it fits into 80 columns, else a list with an item for each row.

use roff::{Inline, Roff, bold, italic, line_break, roman};

/// What man(1) leaves of 80 columns: 7 are its indentation, 2 its margin.
const WIDTH: usize = 71;
/// What tbl(1) puts between columns.
const GAP: usize = 3;
/// A cell of more lines than this is easier to read in a list.
const MOST_LINES: usize = 3;
/// An item of a list with more columns than this runs on.
const MOST_LABELLED: usize = 6;

type Cell = Vec<Inline>;

/// The cells, the head's first.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    row: Vec<Cell>,
}

impl Table {
    /// Adds a cell to the row.
    pub fn push(&mut self, cell: Cell) {
        self.row.push(cell);
    }

    /// The row is whole.
    pub fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }

    /// Writes it.
    pub fn write(self, roff: &mut Roff) {
        match self.widths() {
            Some(widths) => self.write_table(&widths, roff),
            None => self.write_list(roff),
        }
    }

    /// The columns' widths, if they fit.
    fn widths(&self) -> Option<Vec<usize>> {
        let columns = self.rows.first()?.len();
        let longest = |measure: fn(&str) -> usize, column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| measure(&plain(cell)))
                .max()
                .unwrap_or(0)
        };
        let whole: Vec<_> = (0..columns).map(|column| longest(|text| text.chars().count(), column)).collect();
        let least: Vec<_> = (0..columns).map(|column| longest(longest_word, column)).collect();
        let room = WIDTH.checked_sub(GAP * (columns - 1))?;
        let mut widths = whole.clone();
        // The widest gives way, down to its longest word.
        while widths.iter().sum::<usize>() > room {
            let can = |(width, least): &(&mut usize, &usize)| **width > **least;
            let (widest, _) = widths.iter_mut().zip(&least).filter(can).max_by_key(|(width, _)| **width)?;
            *widest -= 1;
        }
        let fits = |(whole, width): (&usize, &usize)| *whole <= width * MOST_LINES;
        whole.iter().zip(&widths).all(fits).then_some(widths)
    }

    fn write_table(self, widths: &[usize], roff: &mut Roff) {
        let format = |font: &str| {
            let columns: Vec<_> =
                widths.iter().map(|width| format!("l{font}w({}n)", (*width).max(1))).collect();
            columns.join(" ")
        };
        // On a terminal a page grows when it is asked to, and tbl(1) doesn't ask for the lines of a cell.
        let lines = (self.rows.len() * MOST_LINES).to_string();
        roff.control("PP", []).control("if", ["n", ".ne", &*lines]).control("TS", []);
        roff.text([roman(format("b"))]).text([roman(format("") + ".")]);
        for row in self.rows {
            roff.text([roman("T{")]);
            for (column, cell) in row.into_iter().enumerate() {
                if column > 0 {
                    roff.text([roman("T}\tT{")]);
                }
                if !cell.is_empty() {
                    roff.text(cell);
                }
            }
            roff.text([roman("T}")]);
        }
        roff.control("TE", []);
    }

    /// An item for each row; with more than two columns, each cell by its column's name, and if they aren't many, on a line
    /// of its own.
    fn write_list(self, roff: &mut Roff) {
        let mut rows = self.rows.into_iter();
        let heads = rows.next().unwrap_or_default();
        for row in rows {
            let mut cells = row.into_iter().zip(&heads);
            let title = cells.next().map(|(cell, _)| cell).unwrap_or_default();
            let title = if title.is_empty() { vec![bold("\u{2013}")] } else { title };
            roff.control("TP", []).text(title);
            let mut text = Vec::new();
            for (cell, head) in cells.filter(|(cell, _)| !cell.is_empty()) {
                if !text.is_empty() {
                    text.push(if heads.len() > MOST_LABELLED { roman("; ") } else { line_break() });
                }
                if heads.len() > 2 {
                    text.push(italic(plain(head) + ":"));
                    text.push(roman(" "));
                }
                text.extend(cell);
            }
            roff.text(text);
        }
    }
}

/// The characters of a text.
pub fn plain(text: &[Inline]) -> String {
    let characters = |inline: &Inline| match inline {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    };
    text.iter().map(characters).collect()
}

fn longest_word(text: &str) -> usize {
    text.split(' ').map(|word| word.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(rows: &[&[&str]]) -> String {
        let mut table = Table::default();
        for row in rows {
            row.iter().for_each(|cell| table.push(vec![roman(*cell)]));
            table.end_row();
        }
        let mut roff = Roff::new();
        table.write(&mut roff);
        roff.to_roff()
    }

    #[test]
    fn a_small_table_is_one() {
        let expected = ".PP\n.if n .ne 6\n.TS\nlbw(6n) lbw(7n)\nlw(6n) lw(7n).\nT{\nport\nT}\tT{\nfor\nT}\nT{\nUDP 69\nT}\tT{\n\\&.tftp 1\nT}\n.TE\n";
        assert_eq!(rendered(&[&["port", "for"], &["UDP 69", ".tftp 1"]]), expected);
    }

    #[test]
    fn a_wide_one_is_a_list() {
        let long = "word ".repeat(60);
        let expected = format!(".TP\na\n\\fIcause:\\fR {long}\n.br\n\\fIcure:\\fR c\n");
        assert_eq!(rendered(&[&["you see", "cause", "cure"], &["a", &long, "c"]]), expected);
        assert_eq!(rendered(&[&["you see", "cause"], &["a", &long]]), format!(".TP\na\n{long}\n"));
    }
}
