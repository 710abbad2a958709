//! Compares records with the rows that Dify 1.10.1's own tasks wrote for the same messages. Every difference that is
//! allowed has a name and a reason; any other is reported.

use std::collections::BTreeMap;
use std::fmt::Write;

use difylog::codec::encode_native;
use difylog::codec::python_json::{Scanner, TypedLeaves};
use difylog::domain::document::ContentHash;
use difylog::domain::{Record, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where difylog's record is meant to differ from Dify's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviation {
    /// Dify's task never stores `exceptions_count`, so its rows say 0; the message has the count and difylog keeps it.
    ExceptionsCountLost,
    /// Dify's task never updates `index` and `predecessor_node_id`, so a retried node keeps those of its first start; a
    /// retry's snapshot has a later index and no predecessor, and difylog keeps the newest snapshot whole.
    FirstStartKept,
    /// Dify's task spells "no error" as an empty text; difylog as null.
    ErrorEmptyText,
    /// Dify's task writes `{}` for a payload that is null; readers treat both alike.
    EmptyPayload,
    /// Dify's task keeps the first `created_at` of a resumed run, and an `elapsed_time` that counts from the
    /// resumption; difylog keeps the newest snapshot whole, so both are the resumption's.
    ResumedRun,
}

/// The one retried node and the one resumed run among the captured messages.
const RETRIED_NODE: &str = "47b4b377";
const RESUMED_RUN: &str = "53d1797e";

/// Compares all records with all expected rows (`{"table", "row"}`). Answers the differences that have no name, and the
/// deviations that were met.
///
/// `NaN` and lone surrogates are no difference: Dify's text is cleaned by the same rules before it is compared.
pub fn compare<'a>(expected: &[Value], records: impl IntoIterator<Item = &'a Record>) -> (Vec<String>, Vec<Deviation>) {
    let mut found: BTreeMap<String, Value> =
        records.into_iter().map(|record| (key_of(record), columns(record))).collect();
    let (mut differences, mut deviations) = (Vec::new(), Vec::new());
    for row in expected {
        let key =
            format!("{}/{}", row["table"].as_str().unwrap_or_default(), row["row"]["id"].as_str().unwrap_or_default());
        let Some(columns) = found.remove(&key) else {
            differences.push(format!("{key}: missing"));
            continue;
        };
        for (column, expected) in row["row"].as_object().into_iter().flatten() {
            let found = &columns[column];
            if same(column, expected, found) {
                continue;
            }
            match deviation(&key, column, expected, found) {
                Some(deviation) => deviations.push(deviation),
                None => differences.push(format!("{key}.{column}: expected {expected}, found {found}")),
            }
        }
    }
    differences.extend(found.into_keys().map(|key| format!("{key}: not expected")));
    deviations.sort_unstable();
    deviations.dedup();
    (differences, deviations)
}

fn key_of(record: &Record) -> String {
    let table = match record {
        Record::Run(_) => "workflow_runs",
        Record::Node(_) => "workflow_node_executions",
        Record::AppLog(_) => "workflow_app_logs",
        Record::Offload(_) => "workflow_node_execution_offload",
    };
    format!("{table}/{}", record.id())
}

/// The columns of a record by name.
fn columns(record: &Record) -> Value {
    let event: Value = serde_json::from_slice(&encode_native(record)).expect("an event is JSON");
    event["record"].clone()
}

fn same(column: &str, expected: &Value, found: &Value) -> bool {
    match column {
        "graph" | "inputs" | "process_data" | "outputs" | "execution_metadata" => same_payload(expected, found),
        "created_at" | "finished_at" => instant(expected) == instant(found),
        _ => expected == found,
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| text.parse().expect("an instant"))
}

fn same_payload(expected: &Value, found: &Value) -> bool {
    match expected {
        Value::String(text) => {
            let (json, _) = Scanner::new(text, TypedLeaves::Keep).document().expect("Dify's columns are Python's JSON");
            serde_json::from_str::<Value>(json.as_str()).expect("clean JSON") == *found
        }
        Value::Object(digest) => {
            let dumped = python_dumps(found);
            let sha256 = ContentHash::new(Sha256::digest(&dumped).into()).to_string();
            digest["$chars"] == dumped.len() && digest["$sha256"] == sha256
        }
        _ => expected == found,
    }
}

/// `json.dumps` as Dify calls it: ASCII only, a space after `,` and `:`.
fn python_dumps(value: &Value) -> String {
    match value {
        Value::Array(elements) => format!("[{}]", elements.iter().map(python_dumps).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{}: {}", python_dumps(&Value::from(key.as_str())), python_dumps(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::String(_) => {
            let json = value.to_string();
            if json.is_ascii() {
                return json;
            }
            let mut ascii = String::new();
            for unit in json.encode_utf16() {
                match u8::try_from(unit) {
                    Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
                    _ => write!(ascii, "\\u{unit:04x}").expect("a String takes all"),
                }
            }
            ascii
        }
        other => other.to_string(),
    }
}

fn deviation(key: &str, column: &str, expected: &Value, found: &Value) -> Option<Deviation> {
    let id = key.split('/').nth(1).unwrap_or_default();
    match column {
        "exceptions_count" if *expected == 0 => Some(Deviation::ExceptionsCountLost),
        "index" if id.starts_with(RETRIED_NODE) && expected.as_i64() < found.as_i64() => {
            Some(Deviation::FirstStartKept)
        }
        "predecessor_node_id" if id.starts_with(RETRIED_NODE) && found.is_null() => Some(Deviation::FirstStartKept),
        "error" if expected == "" && found.is_null() => Some(Deviation::ErrorEmptyText),
        "graph" | "inputs" | "process_data" | "outputs" | "execution_metadata"
            if expected == "{}" && found.is_null() =>
        {
            Some(Deviation::EmptyPayload)
        }
        "created_at" | "elapsed_time" if id.starts_with(RESUMED_RUN) => Some(Deviation::ResumedRun),
        _ => None,
    }
}
