//! What a question demands of a row: the text of a WHERE clause and its values, built together.

use rusqlite::types::Value;

use crate::domain::Timestamp;
use crate::domain::query::{Demand, TimeRange};

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

    /// What a filter demands of a column, which may be spelled in another way.
    pub fn demand(&mut self, column: &str, demand: &Demand<'_>) {
        match demand {
            Demand::Ids(ids) => self.any_of(column, ids.iter().map(|id| blob(id.as_bytes()))),
            Demand::Texts(texts) => self.any_of(column, texts.iter().map(|text| Value::Text((*text).to_owned()))),
            Demand::Integers(bounds) => {
                self.bounds(column, bounds.min.map(Value::Integer), bounds.max.map(Value::Integer));
            }
            Demand::Seconds(bounds) => self.bounds(column, bounds.min.map(Value::Real), bounds.max.map(Value::Real)),
            Demand::Instants(range) => self.created(*range),
        }
    }

    pub fn created(&mut self, range: TimeRange) {
        let micros = |at: Timestamp| Value::Integer(at.micros());
        self.bounds("created_at", range.from.map(micros), None);
        if let Some(until) = range.until {
            self.add("created_at < ?", [micros(until)]);
        }
    }

    fn bounds(&mut self, column: &str, min: Option<Value>, max: Option<Value>) {
        for (sign, bound) in [(">=", min), ("<=", max)] {
            if let Some(bound) = bound {
                self.add(format!("{column} {sign} ?"), [bound]);
            }
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

/// Returns an id as a value.
pub fn blob(bytes: &[u8; 16]) -> Value {
    Value::Blob(bytes.to_vec())
}
