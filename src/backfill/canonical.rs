//! The canonical form of a record: what PostgreSQL and the store are compared in. It never looks at how a value is
//! spelled, only at what it says, and both sides must have gone through the codec.
//!
//! - Payloads count as JSON values (`canonical/json.rs`). NULL, an empty text and `{}` are alike, and so are a NULL and an
//!   empty `error`: Dify's writers differ in them, its readers do not.
//! - Seconds count to the microsecond; before the end of a run or node they mean nothing and do not count.
//! - `AppLog.creator` is no column of Dify's and does not count.

mod json;
mod sum;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};

pub(super) use self::json::push_json;
use self::json::push_text;
pub use self::sum::Sum;
use crate::domain::document::{ContentHash, GraphHash};
use crate::domain::schema::{Column, Role, Type, Value};
use crate::domain::{Extra, JsonText, Record};

/// A value of a column of Dify's.
#[derive(Debug, Clone, Copy)]
pub struct CanonicalCell<'a> {
    pub column: &'static Column,
    pub value: Value<'a>,
    /// Seconds of what has not ended: they mean nothing, and all are alike.
    pub is_running: bool,
}

/// Returns the columns of a record that Dify's table has, in a fixed order.
pub fn columns(record: &Record) -> impl Iterator<Item = CanonicalCell<'_>> {
    let has_finished = match record {
        Record::Run(run) => run.finished_at.is_some(),
        Record::Node(node) => node.finished_at.is_some(),
        Record::AppLog(_) | Record::Offload(_) => true,
    };
    let cell = move |(column, value): (&'static Column, _)| {
        let is_running = column.r#type == Type::Seconds && !has_finished;
        CanonicalCell { column, value, is_running }
    };
    record.columns().filter(|(column, _)| !column.is_ours).map(cell)
}

impl CanonicalCell<'_> {
    fn push(self, out: &mut Vec<u8>) {
        if self.column.is_nullable {
            out.push(u8::from(!self.is_void()));
        }
        match self.value {
            Value::Null => {}
            _ if self.is_void() => {}
            Value::Id(id) => out.extend_from_slice(id.as_bytes()),
            Value::Text(text) => push_text(out, text),
            Value::Integer(integer) => out.extend_from_slice(&integer.to_be_bytes()),
            Value::Seconds(seconds) => {
                let seconds = if self.is_running { 0.0 } else { seconds };
                out.extend_from_slice(&micros(seconds).to_be_bytes());
            }
            Value::Instant(at) => out.extend_from_slice(&at.micros().to_be_bytes()),
            Value::Json(json) => push_json(out, json.as_str()),
        }
    }

    /// Returns whether there is nothing: an empty payload and an empty error are alike to NULL.
    fn is_void(self) -> bool {
        match self.value {
            Value::Null => true,
            Value::Json(json) => json.is_void(),
            Value::Text(text) => text.is_empty() && self.column.r#type == Type::Text,
            _ => false,
        }
    }

    /// Returns whether it is a payload that is not there.
    #[must_use]
    pub fn is_void_json(self) -> bool {
        self.column.r#type == Type::Json && self.is_void()
    }

    /// Returns whether two values of the same column say the same.
    #[must_use]
    pub fn same(self, other: Self) -> bool {
        if let (Value::Seconds(one), Value::Seconds(two)) = (self.value, other.value)
            && !self.is_running
            && !other.is_running
        {
            // A rounded microsecond can fall to either side.
            return (micros(one) - micros(two)).abs() <= 1;
        }
        let (mut one_bytes, mut other_bytes) = (Vec::new(), Vec::new());
        self.push(&mut one_bytes);
        other.push(&mut other_bytes);
        one_bytes == other_bytes
    }
}

/// Returns a value as PostgreSQL writes it; `None` is NULL.
fn sql_text(value: Value<'_>) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Id(id) => id.to_string(),
        Value::Text(text) => text.to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Seconds(seconds) => seconds.to_string(),
        Value::Instant(at) => {
            let text = at.to_string().replace('T', " ");
            text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Value::Json(json) => json.as_str().to_owned(),
    })
}

fn push_optional<T>(out: &mut Vec<u8>, value: Option<T>, push: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        push(out, value);
    }
}

fn micros(seconds: f64) -> i64 {
    // 285 years of microseconds fit exactly; beyond them the cast saturates.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, as said above")]
    let micros = (seconds * 1e6).round() as i64;
    micros.clamp(-(1 << 62), 1 << 62)
}

/// Most graphs whose canonical form is remembered; a site has few canvases at work at a time.
const GRAPHS: usize = 4096;

/// Hashes records, remembering the canvases it has seen: Dify repeats them in every run.
#[derive(Default)]
pub struct Hasher {
    buffer: Vec<u8>,
    graphs: HashMap<GraphHash, [u8; 32]>,
}

impl Hasher {
    /// Returns the SHA-256 of the canonical form of a record, with what it has beside it as far as values go: unknown
    /// columns, and values that the record could not keep. `graph` is the content hash of its graph, where it is known.
    pub fn hash(&mut self, record: &Record, extra: &Extra, graph: Option<GraphHash>) -> [u8; 32] {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        // Columns of newer versions count as the unknown ones that they were, so that sums of before stay true.
        let mut beside: BTreeMap<&str, Option<Cow<'_, str>>> =
            extra.columns.iter().map(|(name, text)| (&**name, text.as_deref().map(Cow::Borrowed))).collect();
        for cell in columns(record) {
            if cell.column.is_newer {
                if let Some(text) = sql_text(cell.value) {
                    beside.insert(cell.column.name, Some(text.into()));
                }
                continue;
            }
            push_text(&mut buffer, cell.column.name);
            match cell.value {
                Value::Json(json) if cell.column.role == Role::Graph && !json.is_void() => {
                    buffer.push(1);
                    buffer.extend_from_slice(&self.graph(json, graph));
                }
                _ => cell.push(&mut buffer),
            }
        }
        let changed = extra.changed.iter().map(|(name, text)| (&**name, text.as_deref().map(Cow::Borrowed)));
        for (name, text) in beside.into_iter().chain(changed) {
            push_text(&mut buffer, name);
            push_optional(&mut buffer, text.as_deref(), push_text);
        }
        let hash = Sha256::digest(&buffer).into();
        self.buffer = buffer;
        hash
    }

    fn graph(&mut self, text: &JsonText, known: Option<GraphHash>) -> [u8; 32] {
        let content = known.unwrap_or_else(|| ContentHash::new(Sha256::digest(text.as_str()).into()));
        if let Some(hash) = self.graphs.get(&content) {
            return *hash;
        }
        if self.graphs.len() >= GRAPHS {
            self.graphs.clear();
        }
        let mut canonical = Vec::new();
        push_json(&mut canonical, text.as_str());
        let hash = Sha256::digest(&canonical).into();
        self.graphs.insert(content, hash);
        hash
    }
}

#[cfg(test)]
pub(super) mod tests;
