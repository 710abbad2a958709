//! Tables for people.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::domain::JsonText;

/// A table that prints without colours and wraps to the terminal.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.iter().copied());
    table
}

/// A payload for people: one line, cut to `width` characters.
pub(super) fn glimpse(text: Option<&JsonText>, width: usize) -> String {
    text.map_or_else(|| "–".into(), |text| cut(text.as_str(), width))
}

/// A text for people: one line, cut to `width` characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut shown: String = text.chars().take(width).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(width).is_some() {
        shown.push('…');
    }
    shown
}
