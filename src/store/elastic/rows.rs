//! A document as the engines keep it (`_source`) and back: the domain's columns by their names, and what the store adds.
//! Nothing here knows indices or requests.
//!
//! A payload is a JSON *string* that holds the payload's text: numbers and key order survive, and no mapping ever
//! grows with data. Instants are texts with six digits. What is null is left out.

mod source;

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::query::{NodeSummary, RunSummary};
use crate::domain::schema::{self, Role, Value};
use crate::domain::{AppLog, Document, Graph, JsonText, Kind, NodeExecution, Record, TenantId, Timestamp, Truncation};

use source::SourceFields;

/// A column of text: borrowed when written, owned when read.
type Text<'a> = Cow<'a, str>;

/// Anything that prints and parses, as a JSON string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AsText<T>(pub(super) T);

impl<T: Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The mark of a truncated payload.
#[derive(Serialize, Deserialize)]
struct TruncationRow<'a> {
    field: Text<'a>,
    original_bytes: u64,
    sha256: AsText<ContentHash>,
}

/// A graph.
#[derive(Serialize, Deserialize)]
struct GraphRow<'a> {
    tenant_id: AsText<TenantId>,
    graph: Text<'a>,
}

/// Appends the `_source` of a document to a request body.
pub(super) fn write_document(document: &Document, body: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut serializer = serde_json::Serializer::new(body);
    let mut map = serializer.serialize_map(None)?;
    for (column, value) in document.record.columns() {
        let name = column.name;
        match value {
            _ if column.role == Role::Graph => optional(&mut map, "graph_hash", document.graph.map(AsText))?,
            Value::Null => {}
            Value::Id(id) => map.serialize_entry(name, &AsText(*id))?,
            Value::Text(text) => map.serialize_entry(name, text)?,
            Value::Integer(integer) => map.serialize_entry(name, &integer)?,
            Value::Seconds(seconds) => map.serialize_entry(name, &finite(seconds))?,
            Value::Instant(at) => map.serialize_entry(name, &AsText(at))?,
            Value::Json(json) => map.serialize_entry(name, json.as_str())?,
        }
    }
    if let Record::Node(node) = &document.record {
        for (name, text) in NodeExecution::ENCLOSING.into_iter().zip(node.enclosing()) {
            optional(&mut map, name, text)?;
        }
    }
    map.serialize_entry("revision", &document.revision.value())?;
    if matches!(document.record, Record::Run(_) | Record::Node(_)) {
        map.serialize_entry("payload_bytes", &payload_bytes(document))?;
    }
    optional(&mut map, "truncated", Some(truncation_rows(&document.truncated)).filter(|rows| !rows.is_empty()))?;
    optional(&mut map, "origin", document.origin.map(|origin| AsText(origin.uuid())))?;
    optional(&mut map, "extra", document.extra.as_ref().map(JsonText::as_str))?;
    map.end()
}

fn optional<M: SerializeMap>(map: &mut M, name: &'static str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

/// Bytes of the payloads, kept as a column of its own so that a reader can ask for no more than it can hold.
fn payload_bytes(document: &Document) -> u64 {
    let bytes = |(_, value)| if let Value::Json(json) = value { json.len() } else { 0 };
    let payloads = document.record.columns().filter(|(column, _)| column.role == Role::Payload);
    (payloads.map(bytes).sum::<usize>() + document.extra.as_ref().map_or(0, JsonText::len)) as u64
}

/// Appends the `_source` of a graph.
pub(super) fn write_graph(graph: &Graph, body: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(body, &GraphRow { tenant_id: AsText(graph.tenant_id), graph: graph.text.as_str().into() })
}

/// What stays of an erased record. It has none of the columns that questions ask for, so that none ever finds it; its
/// version is the greatest there is, so that no later write of the record passes.
#[derive(Serialize, Deserialize)]
struct TombstoneRow {
    erased_at: AsText<Timestamp>,
}

/// Appends the `_source` of a tombstone.
pub(super) fn write_tombstone(erased_at: Timestamp, body: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(body, &TombstoneRow { erased_at: AsText(erased_at) })
}

/// Reads a `_source` back; `None` if it is a tombstone.
pub(super) fn read_document(kind: Kind, source: &str) -> serde_json::Result<Option<Document>> {
    match read_columns(kind, source) {
        Err(_) if serde_json::from_str::<TombstoneRow>(source).is_ok() => Ok(None),
        read => read.map(Some),
    }
}

/// Returns what [`RunRow`], [`NodeRow`] and [`LogRow`] read of a kind: what lists show.
pub(super) fn summary_columns(kind: Kind) -> Vec<&'static str> {
    let columns = schema::columns(kind).iter().filter(|column| column.role == Role::Summary).map(|column| column.name);
    let enclosing = if kind == Kind::NodeExecution { NodeExecution::ENCLOSING.as_slice() } else { &[] };
    columns.chain(enclosing.iter().copied()).chain(["revision"]).collect()
}

/// Returns what is left out of a light document.
pub(super) fn payload_columns(kind: Kind) -> impl Iterator<Item = &'static str> {
    let payloads = schema::columns(kind).iter().filter(|column| column.role == Role::Payload);
    payloads.map(|column| column.name).chain(["extra"])
}

/// A run as lists show it.
pub(super) struct RunRow(RunSummary);

/// A node execution as lists show it.
pub(super) struct NodeRow(NodeSummary);

/// An app log.
pub(super) struct LogRow(pub(super) AppLog);

impl<'de> Deserialize<'de> for RunRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Document { record, revision, .. } = SourceFields::of(Kind::WorkflowRun, deserializer)?.document;
        let Record::Run(run) = record else { return Err(another_kind()) };
        Ok(Self(RunSummary { run: *run, revision }))
    }
}

impl<'de> Deserialize<'de> for NodeRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SourceFields { document, enclosing: [iteration_id, loop_id] } =
            SourceFields::of(Kind::NodeExecution, deserializer)?;
        let Record::Node(node) = document.record else { return Err(another_kind()) };
        Ok(Self(NodeSummary { node: *node, iteration_id, loop_id, revision: document.revision }))
    }
}

impl<'de> Deserialize<'de> for LogRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match SourceFields::of(Kind::AppLog, deserializer)?.document.record {
            Record::AppLog(log) => Ok(Self(*log)),
            _ => Err(another_kind()),
        }
    }
}

fn another_kind<E: serde::de::Error>() -> E {
    E::custom("a record of another kind")
}

impl From<RunRow> for RunSummary {
    fn from(row: RunRow) -> Self {
        row.0
    }
}

impl From<NodeRow> for NodeSummary {
    fn from(row: NodeRow) -> Self {
        row.0
    }
}

fn read_columns(kind: Kind, source: &str) -> serde_json::Result<Document> {
    Ok(SourceFields::of(kind, &mut serde_json::Deserializer::from_str(source))?.document)
}

/// Reads a graph back, with the tenant that it says it belongs to.
pub(super) fn read_graph(source: &str) -> serde_json::Result<(TenantId, JsonText)> {
    let row: GraphRow = serde_json::from_str(source)?;
    Ok((row.tenant_id.0, JsonText::from_clean(row.graph)))
}

fn truncation_rows(marks: &[Truncation]) -> Vec<TruncationRow<'static>> {
    let row = |mark: &Truncation| TruncationRow {
        field: mark.field.as_str().into(),
        original_bytes: mark.original_bytes,
        sha256: AsText(mark.sha256),
    };
    marks.iter().map(row).collect()
}

fn truncations<E: serde::de::Error>(rows: Vec<TruncationRow>) -> Result<Vec<Truncation>, E> {
    let mark = |row: TruncationRow| {
        let field =
            PayloadField::from_column(&row.field).ok_or_else(|| E::custom("truncated names an unknown field"))?;
        Ok(Truncation { field, original_bytes: row.original_bytes, sha256: row.sha256.0 })
    };
    rows.into_iter().map(mark).collect()
}

/// JSON has no NaN and no infinity; a duration that is neither is 0, as Dify's column default.
fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
