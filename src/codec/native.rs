//! difylog's own events: `{"v":1,"kind":…,"record":{column names of the table}}`, one or an array of them.
//!
//! Payload columns hold any JSON value or, as the table has it, its text; keys that no table of this version has are
//! kept beside the record, as columns of a newer Dify.
//! `config/event.schema.json` describes the same for those who write events.

mod encode;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use super::python_json::utf8::{text_of, to_body_ranges};
use super::python_json::{Scalar, Scanner, Syntax, TypedLeaves};
use super::row::{CellPlace, ColumnNames, PayloadForm, RowCells, places};
use super::{Cleaned, Decoded, DecodedEvents, EventPart, Extras, Message};
use crate::domain::{Extra, JsonText, Kind, Record, Refusal, RefusalClass};

pub use encode::encode_native;

/// Most events in one message.
pub const MAX_EVENTS: usize = 10_000;

/// Most fields of one record that no table has. Each takes many times its bytes until the record is read; a table of
/// PostgreSQL has 1,600 columns at most.
pub const MAX_UNKNOWN_FIELDS: usize = 1_000;

/// The columns of all tables by their names.
static RECORD: LazyLock<[ColumnNames; 1]> = LazyLock::new(|| {
    let mut columns: Vec<(&'static str, CellPlace)> = Vec::new();
    for (column, place) in Kind::ALL.into_iter().flat_map(places) {
        if !columns.iter().any(|(name, _)| *name == column.name) {
            columns.push((column.name, place));
        }
    }
    [ColumnNames { prefix: "record.".to_owned(), columns }]
});

pub(super) fn decode(message: &Message) -> Result<Decoded, Refusal> {
    super::check_content_type(message)?;
    let mut cleaned = Cleaned::default();
    let text = text_of(&message.body, &mut cleaned);
    let mut scanner = Scanner::new(&text, TypedLeaves::Keep);
    let mut extras = Extras::new();
    let content = if scanner.peek() == Some(b'[') {
        let mut parts = read_parts(&mut scanner, &mut extras)?;
        if let Cow::Owned(_) = text {
            to_body_ranges(&message.body, parts.iter_mut().map(|part| &mut part.range));
        }
        DecodedEvents::Parts(parts)
    } else {
        let event = read_event(&mut scanner)?;
        scanner.end()?;
        let (record, extra) = event?;
        extras.extend(extra.map(|extra| (0, extra)));
        DecodedEvents::One(record)
    };
    cleaned += scanner.cleaned;
    Ok(Decoded { content, cleaned, extras })
}

/// Reads an array of events; what is wrong with one of them refuses only that one.
fn read_parts(scanner: &mut Scanner<'_>, extras: &mut Extras) -> Result<Vec<EventPart>, Refusal> {
    let mut parts = Vec::new();
    scanner.array(|scanner, index| {
        if index == MAX_EVENTS {
            let detail = format!("more than {MAX_EVENTS} events in one message");
            return Err(Refusal::new(RefusalClass::TooLarge, detail));
        }
        scanner.peek();
        let start = scanner.at();
        let record = read_event(scanner)?.map(|(record, extra)| {
            extras.extend(extra.map(|extra| (index, extra)));
            record
        });
        parts.push(EventPart { range: Range { start, end: scanner.at() }, record });
        Ok(())
    })?;
    scanner.end()?;
    Ok(parts)
}

/// Reads one event to its end, whatever is wrong with it: only what is no JSON is a [`Syntax`] error.
///
/// The columns of all kinds are read alike, so `record` may come before `kind`.
fn read_event(scanner: &mut Scanner<'_>) -> Result<Result<(Record, Option<JsonText>), Refusal>, Syntax> {
    if scanner.peek() != Some(b'{') {
        scanner.skip()?;
        return Ok(Err(Refusal::new(RefusalClass::UndecodableBody, "an event is not an object")));
    }
    let (mut version, mut kind) = (Scalar::Null, Scalar::Null);
    let mut record = RecordField::Missing;
    scanner.object(|scanner, key| {
        match key {
            "v" => version = scanner.scalar()?,
            "kind" => kind = scanner.scalar()?,
            "record" => record = read_record(scanner)?,
            _ => scanner.skip()?,
        }
        Ok(())
    })?;
    Ok(check_version(&version).and_then(|()| kind_of(&kind)).and_then(|kind| match record {
        RecordField::Missing => Err(Refusal::new(RefusalClass::MissingField, "record")),
        RecordField::NoObject => Err(Refusal::new(RefusalClass::InvalidField, "record: expected an object")),
        RecordField::TooManyUnknown => {
            let detail = format!("record: too many unknown fields, more than {MAX_UNKNOWN_FIELDS}");
            Err(Refusal::new(RefusalClass::InvalidField, detail))
        }
        RecordField::Row(mut row, extra) => {
            let record = row.take_record(kind);
            scanner.cleaned += row.cleaned;
            record.map(|record| (record, extra.to_json()))
        }
    }))
}

/// What `record` turned out to be.
enum RecordField<'a> {
    Missing,
    NoObject,
    TooManyUnknown,
    /// With the fields that no record has.
    Row(Box<RowCells<'a>>, Extra),
}

fn read_record<'a>(scanner: &mut Scanner<'a>) -> Result<RecordField<'a>, Syntax> {
    match scanner.peek() {
        Some(b'{') => {}
        Some(b'n') => return scanner.skip().map(|()| RecordField::Missing),
        _ => return scanner.skip().map(|()| RecordField::NoObject),
    }
    let [names] = &*RECORD;
    let mut row = Box::new(RowCells::new(&*RECORD, PayloadForm::ValueOrText));
    let mut extra = Extra::default();
    let mut too_many = false;
    scanner.object(|scanner, key| match names.place(key) {
        Some(place) => row.read(scanner, place),
        None if has_no_room(&extra, key) && scanner.peek() != Some(b'n') => {
            too_many = true;
            scanner.skip()
        }
        None => unknown_field(scanner, key, &mut extra),
    })?;
    Ok(if too_many { RecordField::TooManyUnknown } else { RecordField::Row(row, extra) })
}

fn has_no_room(extra: &Extra, key: &str) -> bool {
    extra.columns.len() >= MAX_UNKNOWN_FIELDS && !extra.columns.contains_key(key)
}

/// Keeps a field that no record has as the text that its column would have: texts as they are, other values as JSON. The
/// last of several counts, as everywhere; null is nothing.
fn unknown_field(scanner: &mut Scanner<'_>, key: &str, extra: &mut Extra) -> Result<(), Syntax> {
    let text = match scanner.peek() {
        Some(b'"') => Some(scanner.string()?.into()),
        _ => Some(scanner.copy()?).filter(|json| json.as_str() != "null").map(|json| json.as_str().into()),
    };
    match text {
        Some(text) => drop(extra.columns.insert(key.into(), Some(text))),
        None => drop(extra.columns.remove(key)),
    }
    Ok(())
}

fn check_version(version: &Scalar<'_>) -> Result<(), Refusal> {
    match version {
        Scalar::Number(number) if number == "1" => Ok(()),
        Scalar::Null => Err(Refusal::new(RefusalClass::MissingField, "v")),
        _ => Err(Refusal::new(RefusalClass::UnknownVersion, "v: this difylog knows version 1")),
    }
}

fn kind_of(kind: &Scalar<'_>) -> Result<Kind, Refusal> {
    match kind {
        Scalar::Text(text) => {
            text.parse().map_err(|error| Refusal::new(RefusalClass::UnknownKind, format!("kind: {error}")))
        }
        Scalar::Null => Err(Refusal::new(RefusalClass::MissingField, "kind")),
        _ => Err(Refusal::new(RefusalClass::InvalidField, "kind: expected a string")),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::codec::QueueFormat;
    use crate::synthetic::{Generator, Shape};

    /// Returns what becomes of a run with so many fields that no table has.
    fn with_unknown(count: usize) -> Result<usize, Refusal> {
        let record = Generator::new(1, "2026-11-01T00:00:00".parse().unwrap(), Shape::default()).run().remove(0);
        let event = String::from_utf8(encode_native(&record)).unwrap();
        let mut fields = String::new();
        for number in 0..count {
            write!(fields, r#""x{number}":1,"x{number}":{number},"n{number}":null,"#).unwrap();
        }
        let body = event.replacen(r#""record":{"#, &format!(r#""record":{{{fields}"#), 1).into();
        let message = Message { source: QueueFormat::Native, content_type: None, compression: None, task: None, body };
        let Decoded { extras, .. } = decode(&message)?;
        let kept = Extra::of_json(extras.get(&0)).unwrap().columns;
        assert!(kept.iter().all(|(key, value)| value.as_deref() == key.strip_prefix('x')));
        Ok(kept.len())
    }

    #[test]
    fn a_record_has_so_many_unknown_fields_and_no_more() {
        assert_eq!(with_unknown(MAX_UNKNOWN_FIELDS), Ok(MAX_UNKNOWN_FIELDS));
        let refusal = with_unknown(MAX_UNKNOWN_FIELDS + 1).unwrap_err();
        assert_eq!(refusal.class, RefusalClass::InvalidField);
        assert!(refusal.detail.contains("too many unknown fields"), "{refusal}");
    }
}
