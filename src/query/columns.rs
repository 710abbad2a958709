//! Records as JSON with the column names of Dify's tables: what programs get, line by line. Payloads go through as the
//! texts they are; no number and no order of keys changes.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::schema::{RecordRef, Role, Value, columns};
use crate::domain::{Document, JsonText, Kind, Record};

/// Returns one document as one line of JSON: every column; what the row had beside them, where it had anything; for runs
/// and nodes always, else where there is some, under `truncated`, what was cut.
///
/// # Errors
/// None in practice: every part is known to be serialisable.
pub fn document(document: &Document) -> serde_json::Result<String> {
    serde_json::to_string(&Columns(document))
}

/// Returns the names of all that [`document`] may say of a kind, in its order.
pub fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    columns(kind).iter().map(|column| column.name).chain(["extra", "truncated"])
}

/// A record without payloads: a row of a list.
#[derive(Debug, Clone, Copy)]
pub struct RecordRow<'a>(RecordRef<'a>);

impl<'a> RecordRow<'a> {
    #[must_use]
    pub fn of(record: impl Into<RecordRef<'a>>) -> Self {
        Self(record.into())
    }
}

impl Serialize for RecordRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (column, value) in self.0.columns() {
            if column.role == Role::Summary {
                map.serialize_entry(column.name, &Plain(value))?;
            }
        }
        map.end()
    }
}

struct Columns<'a>(&'a Document);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (column, value) in self.0.record.columns() {
            map.serialize_entry(column.name, &Plain(value))?;
        }
        if let Some(extra) = &self.0.extra {
            map.serialize_entry("extra", &Plain(Value::Json(extra)))?;
        }
        if matches!(self.0.record, Record::Run(_) | Record::Node(_)) || !self.0.truncated.is_empty() {
            let mark = |mark: &crate::domain::Truncation| Truncated {
                field: mark.field.as_str(),
                original_bytes: mark.original_bytes,
                sha256: mark.sha256.to_string(),
            };
            map.serialize_entry("truncated", &self.0.truncated.iter().map(mark).collect::<Vec<_>>())?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Truncated {
    field: &'static str,
    original_bytes: u64,
    sha256: String,
}

/// A value as JSON.
struct Plain<'a>(Value<'a>);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_none(),
            Value::Id(id) => serializer.collect_str(id),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Integer(integer) => serializer.serialize_i64(integer),
            Value::Seconds(seconds) => serializer.serialize_f64(seconds),
            Value::Instant(at) => serializer.collect_str(&at),
            Value::Json(json) => payload(Some(json)).serialize(serializer),
        }
    }
}

/// Returns a payload as it is; as a JSON string where an old row holds what is no JSON.
#[must_use]
pub fn payload(text: Option<&JsonText>) -> Option<Box<RawValue>> {
    let text = text?.as_str();
    RawValue::from_string(text.to_owned()).or_else(|_| serde_json::value::to_raw_value(text)).ok()
}
