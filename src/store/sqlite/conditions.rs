//! What a question demands of a row: the text of a WHERE clause and its values, built together.

use rusqlite::types::Value;

use crate::domain::Timestamp;
use crate::domain::query::TimeRange;

/// Conditions that must all hold.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    pub fn add(&mut self, text: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.texts.push(text.into());
        self.values.extend(values);
    }

    pub fn append(&mut self, others: &Self) {
        self.texts.extend_from_slice(&others.texts);
        self.values.extend_from_slice(&others.values);
    }

    /// No values: any at all.
    pub fn any_of(&mut self, column: &str, values: impl ExactSizeIterator<Item = Value>) {
        if values.len() > 0 {
            let marks = vec!["?"; values.len()].join(", ");
            self.add(format!("{column} IN ({marks})"), values);
        }
    }

    pub fn created(&mut self, range: TimeRange) {
        let micros = |at: Timestamp| Value::Integer(at.micros());
        self.at_least("created_at", range.from.map(micros));
        if let Some(until) = range.until {
            self.add("created_at < ?", [micros(until)]);
        }
    }

    pub fn at_least(&mut self, column: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.add(format!("{column} >= ?"), [value]);
        }
    }

    pub fn at_most(&mut self, column: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.add(format!("{column} <= ?"), [value]);
        }
    }

    /// `WHERE …`, or nothing.
    pub fn clause(&self) -> String {
        if self.texts.is_empty() { String::new() } else { format!("WHERE {}", self.texts.join(" AND ")) }
    }

    /// In the order of the marks.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// A list of texts as values.
pub fn texts(texts: &[Box<str>]) -> impl ExactSizeIterator<Item = Value> {
    texts.iter().map(|text| Value::Text(text.to_string()))
}

/// An id as a value.
pub fn blob(bytes: &[u8; 16]) -> Value {
    Value::Blob(bytes.to_vec())
}
