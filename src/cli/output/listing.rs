//! Tables for people: as wide as their content in a file or a pipe, never wider than the terminal on one.

use std::fmt;
use std::io::{self, IsTerminal as _};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use crate::domain::{JsonText, printable};

/// Characters of an id, which is never broken.
const ID: usize = 36;
/// A column narrower than this is not worth reading.
const NARROW: usize = 10;
/// Lines of one cell at most.
const LINES: usize = 6;

/// A cell of printable text.
#[derive(Debug, Clone)]
pub(in crate::cli) struct ListCell(String);

impl ListCell {
    /// Texts under one another.
    pub fn lines<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let lines: Vec<_> = texts.into_iter().map(|text| printable(text.as_ref()).into_owned()).collect();
        Self(lines.join("\n"))
    }

    fn width(&self) -> usize {
        self.0.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    /// Returns whether it is an id, which a narrow column must not break.
    fn holds_id(&self) -> bool {
        self.0.lines().any(|line| line.len() == ID && uuid::Uuid::try_parse(line).is_ok())
    }

    /// At most [`LINES`] lines of `width`.
    fn within(&self, width: usize) -> String {
        cut_to_width(&self.0, width.saturating_mul(LINES))
    }
}

impl<T: AsRef<str>> From<T> for ListCell {
    fn from(text: T) -> Self {
        Self(printable(text.as_ref()).into_owned())
    }
}

/// A table whose cells are printable. It displays without colours, for the terminal that standard output is.
#[derive(Debug)]
pub(in crate::cli) struct Listing {
    header: Vec<ListCell>,
    rows: Vec<Vec<ListCell>>,
}

/// Returns an empty table.
pub(in crate::cli) fn table(header: &[&str]) -> Listing {
    Listing { header: header.iter().map(ListCell::from).collect(), rows: Vec::new() }
}

impl Listing {
    pub fn add_row<T: Into<ListCell>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Returns how many rows it has.
    pub const fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the table for a terminal of so many columns; `None`: nothing is cut or wrapped. Where the columns do not
    /// fit side by side, each row is a paragraph with a line per column.
    pub fn render(&self, columns: Option<usize>) -> String {
        let natural = self.widths();
        let Some(columns) = columns else { return self.grid(None) };
        // A border beside every column and a blank on both sides of each content.
        let room = columns.saturating_sub(natural.len() * 3 + 1);
        if natural.iter().sum::<usize>() <= room {
            return self.grid(None);
        }
        match self.shrunk(&natural, room) {
            Some(widths) => self.grid(Some(&widths)),
            None => self.paragraphs(columns),
        }
    }

    fn column(&self, place: usize) -> impl Iterator<Item = &ListCell> {
        self.header.get(place).into_iter().chain(self.rows.iter().filter_map(move |row| row.get(place)))
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.header.len()).map(|place| self.column(place).map(ListCell::width).max().unwrap_or(0)).collect()
    }

    /// Widths that fit, the room shared evenly among those that want more; `None`: there is too little.
    fn shrunk(&self, natural: &[usize], room: usize) -> Option<Vec<usize>> {
        let least = |(place, natural): (usize, &usize)| {
            let whole = self.column(place).any(ListCell::holds_id);
            let header = self.header.get(place).map_or(0, ListCell::width);
            (*natural).min(header.max(if whole { ID } else { NARROW }))
        };
        let mut widths: Vec<usize> = natural.iter().enumerate().map(least).collect();
        let mut left = room.checked_sub(widths.iter().sum())?;
        while left > 0 {
            let wanting = widths.iter_mut().zip(natural).filter(|(width, natural)| **width < **natural);
            // The narrowest first.
            let Some((width, _)) = wanting.min_by_key(|(width, _)| **width) else { break };
            *width += 1;
            left -= 1;
        }
        Some(widths)
    }

    /// `None`: as wide as the content.
    fn grid(&self, widths: Option<&[usize]>) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let Some(widths) = widths else {
            let texts = |row: &[ListCell]| row.iter().map(|cell| cell.0.clone()).collect::<Vec<_>>();
            table.set_header(texts(&self.header)).add_rows(self.rows.iter().map(|row| texts(row)));
            return table.to_string();
        };
        let cells =
            |row: &[ListCell]| row.iter().zip(widths).map(|(cell, width)| cell.within(*width)).collect::<Vec<_>>();
        table.set_header(cells(&self.header)).add_rows(self.rows.iter().map(|row| cells(row)));
        let column = |width: &usize| u16::try_from(width + 2).unwrap_or(u16::MAX);
        let constraint = |width: &usize| ColumnConstraint::Absolute(Width::Fixed(column(width)));
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(widths.iter().map(column).fold(1, |sum, width| sum.saturating_add(width + 1)))
            .set_constraints(widths.iter().map(constraint));
        table.to_string()
    }

    fn paragraphs(&self, columns: usize) -> String {
        let names = self.header.iter().map(ListCell::width).max().unwrap_or(0);
        let room = columns.saturating_sub(names + 1);
        let line = |(name, cell): (&ListCell, &ListCell)| {
            let value = cut_to_width(&cell.0.replace('\n', " "), room);
            format!("{}{} {value}", name.0, " ".repeat(names.saturating_sub(name.width())))
        };
        let paragraph = |row: &Vec<ListCell>| self.header.iter().zip(row).map(line).collect::<Vec<_>>().join("\n");
        self.rows.iter().map(paragraph).collect::<Vec<_>>().join("\n\n")
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(columns()))
    }
}

/// Columns of the terminal that standard output is; `None`: it is none.
fn columns() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    // A terminal over a serial line or a bare pty does not know its size.
    let told = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
    let named = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.filter(|columns| *columns > 0).or_else(named).or(Some(80))
}

/// Returns a payload for people: one line, cut to `width` characters.
pub(in crate::cli) fn glimpse(text: Option<&JsonText>, width: usize) -> String {
    text.map_or_else(|| "–".into(), |text| cut(text.as_str(), width))
}

/// Returns a text for people: cut to `width` characters, of which control characters are blanks.
pub(in crate::cli) fn cut(text: &str, width: usize) -> String {
    let mut shown: String = text.chars().take(width).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(width).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns a text of at most so many columns, whose end says if there was more.
fn cut_to_width(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut shown: String = text.chars().take_while(fits).collect();
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Listing {
        let mut shown = table(&["created_at", "id", "status", "from"]);
        shown.add_row(["2026-11-23T15:28:34.123456Z", "aaaaaaaa-5555-4000-8000-000000000001", "succeeded", "app-run"]);
        let hostile = "s\x1b[2J\x07\r\nfake-row | x \u{202e}日本語".repeat(20);
        shown.add_row(["2026-11-23T15:28:35Z", "aaaaaaaa-5555-4000-8000-000000000002", &hostile, &hostile]);
        shown
    }

    #[test]
    fn a_table_is_never_wider_than_its_terminal_and_keeps_ids_whole() {
        for columns in 60..200 {
            let shown = runs().render(Some(columns));
            for line in shown.lines() {
                assert!(line.width() <= columns, "{columns}: {} {line}", line.width());
                assert_eq!(printable(line), line);
            }
            for id in ["aaaaaaaa-5555-4000-8000-000000000001", "aaaaaaaa-5555-4000-8000-000000000002"] {
                assert!(shown.contains(id), "{columns}\n{shown}");
            }
            assert!(shown.contains('…') && !shown.contains("\nfake"), "{columns}\n{shown}");
        }
    }

    #[test]
    fn a_narrow_terminal_gets_a_paragraph_per_row() {
        let shown = runs().render(Some(60));
        assert!(shown.starts_with("created_at 2026-11-23T15:28:34.123456Z\nid         aaaaaaaa-"), "{shown}");
        assert!(shown.contains("\n\ncreated_at 2026-11-23T15:28:35Z\n"), "{shown}");
    }

    #[test]
    fn nothing_is_cut_in_a_file() {
        let mut shown = table(&["id", "texts"]);
        let long = "x".repeat(5000);
        shown.add_row([ListCell::from("1"), ListCell::lines([&long, "two\nlines", "3", "4", "5", "6", "7", "8"])]);
        let whole = shown.render(None);
        assert!(whole.contains(&long) && whole.contains("two\\nlines") && whole.contains(" 8 "), "{whole}");
        assert_eq!(whole.lines().count(), 12, "{whole}");
    }
}
