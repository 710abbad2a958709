//! Records back to native events: what `publish --generate` sends, and what decoding reads back unchanged.

use std::fmt::{Display, Write};

use crate::codec::python_json::string::push_quoted;
use crate::domain::Record;
use crate::domain::schema::Value;

/// Returns the native event of a record. Decoding it returns the same record.
#[must_use]
pub fn encode_native(record: &Record) -> Vec<u8> {
    let mut columns = Columns { out: format!(r#"{{"v":1,"kind":"{}","record":"#, record.kind()), separator: '{' };
    for (column, value) in record.columns() {
        columns.name(column.name);
        match value {
            Value::Id(id) => columns.plain(format_args!("\"{id}\"")),
            Value::Instant(at) => columns.plain(format_args!("\"{at}\"")),
            Value::Text(text) => push_quoted(&mut columns.out, text),
            Value::Integer(integer) => columns.plain(integer),
            Value::Seconds(seconds) if seconds.is_finite() => columns.plain(format_args!("{seconds:?}")),
            Value::Null | Value::Seconds(_) => columns.null(),
            // A string stands for JSON text.
            Value::Json(json) if json.as_str().starts_with('"') => push_quoted(&mut columns.out, json.as_str()),
            Value::Json(json) => columns.out.push_str(json.as_str()),
        }
    }
    columns.out.push_str("}}");
    columns.out.into_bytes()
}

struct Columns {
    out: String,
    separator: char,
}

impl Columns {
    fn name(&mut self, name: &str) {
        self.out.push(self.separator);
        self.separator = ',';
        push_quoted(&mut self.out, name);
        self.out.push(':');
    }

    /// What needs no escapes.
    fn plain(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn null(&mut self) {
        self.out.push_str("null");
    }
}
