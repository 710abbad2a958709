//! A row of one of Dify's tables, as a database driver hands it over, to a record.
//!
//! The cells go through the same checks as the fields of native events: payload columns are Python's JSON in text, with
//! either spelling of empty; a refusal names the column. Nothing here knows a driver or a statement.

use std::sync::LazyLock;

use uuid::Uuid;

use super::python_json::Scalar;
use super::python_json::utf8::text_of;
use super::row::{Cell, ColumnNames, PayloadForm, RowCells, payload_of_text, places};
use super::{Cleaned, spelling};
use crate::domain::schema::{Column, Type};
use crate::domain::{Extra, JsonText, Kind, Record, Refusal};

/// One cell, by what its column's type is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TableCell<'a> {
    Null,
    /// Any text type. Meant to be UTF-8.
    Text(&'a [u8]),
    Uuid(Uuid),
    Integer(i64),
    Float(f64),
    /// Microseconds since 1970-01-01T00:00:00Z; the ends of the range stand for what no date expresses (`infinity`).
    Instant(i64),
    /// A type that no column of these tables should have.
    Other,
}

/// Decodes a row; `cells` come in the order of [`columns`](crate::domain::schema::columns), missing ones count as null.
///
/// # Errors
/// Why the row can be no record; `cleaned` says what was changed to keep one.
pub fn decode_row<'a>(
    kind: Kind,
    cells: impl IntoIterator<Item = TableCell<'a>>,
    cleaned: &mut Cleaned,
) -> Result<Record, Refusal> {
    decode_row_with_extra(kind, cells, cleaned, &mut Extra::default())
}

/// As [`decode_row`]; `extra` takes what stood in the columns where the record does not tell.
///
/// # Errors
/// As [`decode_row`].
pub fn decode_row_with_extra<'a>(
    kind: Kind,
    cells: impl IntoIterator<Item = TableCell<'a>>,
    cleaned: &mut Cleaned,
    extra: &mut Extra,
) -> Result<Record, Refusal> {
    let mut row = RowCells::new(names_of(kind), PayloadForm::ValueOrText);
    for ((column, place), cell) in places(kind).zip(cells) {
        let name = column.name;
        note_number(column, cell, extra);
        let cell = match cell {
            TableCell::Null => Cell::Absent,
            TableCell::Text(bytes) => {
                let mut own = Cleaned::default();
                let text = text_of(bytes, &mut own);
                let cell = if column.r#type == Type::Json {
                    let payload = payload_of_text(&text, &mut own);
                    spelling::note(name, &text, payload.as_ref(), &own, extra);
                    Cell::Payload(payload)
                } else {
                    if own.invalid_utf8 > 0 {
                        extra.lost.insert(name.into());
                    }
                    Cell::Scalar(Scalar::Text(text))
                };
                *cleaned += own;
                cell
            }
            TableCell::Uuid(uuid) => Cell::Uuid(uuid),
            TableCell::Integer(integer) => Cell::Integer(integer),
            TableCell::Float(float) => Cell::Float(float),
            TableCell::Instant(micros) => Cell::Instant(micros),
            TableCell::Other => Cell::Scalar(Scalar::Container),
        };
        row.set(place, cell);
    }
    let record = row.take_record(kind);
    *cleaned += row.cleaned;
    record
}

/// Notes what a number column holds where the record has its default instead.
fn note_number(column: &Column, cell: TableCell<'_>, extra: &mut Extra) {
    match cell {
        TableCell::Null if column.is_zero_by_default() => drop(extra.spelled.insert(column.name.into(), None)),
        TableCell::Float(float) if column.r#type == Type::Seconds && !float.is_finite() => {
            // As PostgreSQL spells them.
            let text = if float.is_nan() {
                "NaN"
            } else if float > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            extra.changed.insert(column.name.into(), Some(text.into()));
        }
        _ => {}
    }
}

/// Returns the payload that a table's text column, or a file in its place, holds. `None` if it is null or empty.
#[must_use]
pub fn decode_payload(text: &[u8], cleaned: &mut Cleaned) -> Option<JsonText> {
    let text = text_of(text, cleaned);
    payload_of_text(&text, cleaned)
}

/// Returns the columns by the names of their tables, for refusals.
fn names_of(kind: Kind) -> &'static [ColumnNames] {
    static NAMES: LazyLock<[[ColumnNames; 1]; 4]> = LazyLock::new(|| {
        Kind::ALL.map(|kind| {
            let prefix = format!("{}.", kind.table());
            [ColumnNames { prefix, columns: places(kind).map(|(column, place)| (column.name, place)).collect() }]
        })
    });
    let [runs, nodes, logs, offloads] = &*NAMES;
    match kind {
        Kind::WorkflowRun => runs,
        Kind::NodeExecution => nodes,
        Kind::AppLog => logs,
        Kind::Offload => offloads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RefusalClass;
    use crate::domain::schema::columns;

    fn run(change: impl Fn(&str, TableCell<'static>) -> TableCell<'static>) -> (Result<Record, Refusal>, Cleaned) {
        let cells = columns(Kind::WorkflowRun).iter().map(|column| {
            let name = column.name;
            let usual = match name {
                "id" | "tenant_id" | "app_id" | "workflow_id" | "created_by" => TableCell::Uuid(Uuid::from_u128(7)),
                "graph" | "inputs" => TableCell::Text(br#"{"a": "\u4f60"}"#),
                "outputs" => TableCell::Text(b"{}"),
                "elapsed_time" => TableCell::Float(1.5),
                "total_tokens" => TableCell::Integer(3_000_000_000),
                "created_at" => TableCell::Instant(1_764_000_000_123_456),
                "error" | "finished_at" | "total_steps" | "exceptions_count" => TableCell::Null,
                _ if column.is_nullable => TableCell::Null,
                _ => TableCell::Text(b"x"),
            };
            change(name, usual)
        });
        let mut cleaned = Cleaned::default();
        let record = decode_row(Kind::WorkflowRun, cells.collect::<Vec<_>>(), &mut cleaned);
        (record, cleaned)
    }

    #[test]
    fn typed_cells_become_the_record_that_an_event_would() {
        let (record, cleaned) = run(|_, cell| cell);
        let Record::Run(run) = record.unwrap() else { panic!() };
        assert_eq!(run.id.uuid(), Uuid::from_u128(7));
        assert_eq!(run.inputs.unwrap().as_str(), r#"{"a": "你"}"#);
        assert_eq!(run.outputs.unwrap().as_str(), "{}");
        assert_eq!((run.total_tokens, run.total_steps, run.error), (3_000_000_000, 0, None));
        assert_eq!(run.created_at.micros(), 1_764_000_000_123_456);
        assert_eq!(cleaned, Cleaned::default());
    }

    #[test]
    fn bad_payloads_are_kept_and_counted() {
        let (record, cleaned) = run(|name, cell| match name {
            "inputs" => TableCell::Text(b"{'no': json}"),
            "outputs" => TableCell::Text(br#"{"n": NaN, "s": "\ud83d"}"#),
            "error" => TableCell::Text(b"\xff"),
            "elapsed_time" => TableCell::Float(f64::NAN),
            _ => cell,
        });
        let Record::Run(run) = record.unwrap() else { panic!() };
        assert_eq!(run.inputs.unwrap().as_str(), r#""{'no': json}""#);
        assert_eq!(run.outputs.unwrap().as_str(), "{\"n\": null, \"s\": \"\u{fffd}\"}");
        assert_eq!((run.error.as_deref(), run.elapsed_time), (Some("\u{fffd}"), 0.0));
        assert_eq!((cleaned.not_json, cleaned.nan, cleaned.surrogates, cleaned.invalid_utf8), (1, 2, 1, 1));
    }

    #[test]
    fn what_can_be_no_record_is_refused_by_column() {
        type Change = fn(&str, TableCell<'static>) -> TableCell<'static>;
        let cases: [(Change, RefusalClass, &str); 4] = [
            (
                |name, cell| if name == "created_at" { TableCell::Instant(i64::MAX) } else { cell },
                RefusalClass::DateOutOfRange,
                "workflow_runs.created_at",
            ),
            (
                |name, cell| if name == "app_id" { TableCell::Text(b"none") } else { cell },
                RefusalClass::InvalidId,
                "workflow_runs.app_id",
            ),
            (
                |name, cell| if name == "status" { TableCell::Null } else { cell },
                RefusalClass::MissingField,
                "workflow_runs.status",
            ),
            (
                |name, cell| if name == "total_tokens" { TableCell::Other } else { cell },
                RefusalClass::InvalidField,
                "workflow_runs.total_tokens",
            ),
        ];
        for (change, class, column) in cases {
            let refusal = run(change).0.unwrap_err();
            assert_eq!(refusal.class, class);
            assert!(refusal.detail.contains(column), "{refusal}");
        }
    }
}
