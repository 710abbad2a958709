//! Rows as CSV (RFC 4180), made of the same columns as the JSON lines.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The columns of a table. They are of its kind, not of its first row: rows lack what they have nothing in.
pub(super) struct Csv(Vec<&'static str>);

impl Csv {
    /// Returns the table of these columns.
    pub(super) fn new(columns: impl IntoIterator<Item = &'static str>) -> Self {
        Self(columns.into_iter().collect())
    }

    /// Returns the first line of the table, without its line feed.
    pub(super) fn head(&self) -> String {
        self.0.join(",") + "\r"
    }

    /// Returns the line of a JSON object, without its line feed. Texts that a spreadsheet would take for a formula begin with
    /// an apostrophe.
    pub(super) fn line(&self, json: &str) -> String {
        // Payloads keep the text that they are.
        let cells = serde_json::from_str::<Cells>(json).unwrap_or_default().0;
        let mut line = String::with_capacity(json.len() + 64);
        for (place, column) in self.0.iter().enumerate() {
            if place > 0 {
                line.push(',');
            }
            if let Some((_, value)) = cells.iter().find(|(name, _)| name == column) {
                push_cell(&mut line, value.get());
            }
        }
        line.push('\r');
        line
    }
}

/// The members of an object in their order, unread.
#[derive(Default)]
struct Cells(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Cells;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(Cells(cells))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn push_cell(line: &mut String, json: &str) {
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Null) => {}
        Ok(Value::String(text)) => {
            let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
            push_text(line, if is_formula { "'" } else { "" }, &text);
        }
        _ => push_text(line, "", json),
    }
}

fn push_text(line: &mut String, mark: &str, text: &str) {
    if mark.is_empty() && !text.contains([',', '"', '\r', '\n']) && !text.starts_with(' ') && !text.ends_with(' ') {
        line.push_str(text);
        return;
    }
    line.push('"');
    line.push_str(mark);
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let csv = Csv::new(["id", "inputs", "error", "tokens", "extra"]);
        assert_eq!(csv.head(), "id,inputs,error,tokens,extra\r");
        let first = csv.line(r#"{"id": "1", "inputs": {"a": "x, \"y\"", "n": 1.50}, "error": null, "tokens": -5}"#);
        assert_eq!(first, "1,\"{\"\"a\"\": \"\"x, \\\"\"y\\\"\"\"\", \"\"n\"\": 1.50}\",,-5,\r");
        let second = csv.line(r#"{"tokens": 1, "id": "=HYPERLINK(1)", "error": "two\nlines", "extra": 7}"#);
        assert_eq!(second, "\"'=HYPERLINK(1)\",,\"two\nlines\",1,7\r");
    }
}
