//! A document as the engines keep it (`_source`) and back. Each kind has one struct in here that is the list of its
//! columns for both directions. Nothing here knows indices or requests.
//!
//! A payload is a JSON *string* that holds the payload's text: numbers and key order survive, and no mapping ever
//! grows with data. Instants are texts with six digits.

mod node;
mod run;
mod small;

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::document::{ContentHash, PayloadField};
use crate::domain::{Document, Graph, JsonText, Kind, Record, TenantId, Timestamp, Truncation};

pub(super) use node::{NODE_SUMMARY_COLUMNS, NodeSummaryRow};
pub(super) use run::{SUMMARY_COLUMNS, SummaryRow};
pub(super) use small::AppLogRow;

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
    match &document.record {
        Record::Run(run) => serde_json::to_writer(body, &run::RunRow::new(run, document)),
        Record::Node(node) => serde_json::to_writer(body, &node::NodeRow::new(node, document)),
        Record::AppLog(log) => serde_json::to_writer(body, &small::AppLogRow::new(log, document)),
        Record::Offload(offload) => serde_json::to_writer(body, &small::OffloadRow::new(offload, document)),
    }
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

fn read_columns(kind: Kind, source: &str) -> serde_json::Result<Document> {
    match kind {
        Kind::WorkflowRun => serde_json::from_str::<run::RunRow>(source)?.into_document(),
        Kind::NodeExecution => serde_json::from_str::<node::NodeRow>(source)?.into_document(),
        Kind::AppLog => Ok(serde_json::from_str::<small::AppLogRow>(source)?.into_document()),
        Kind::Offload => Ok(serde_json::from_str::<small::OffloadRow>(source)?.into_document()),
    }
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

fn truncations(rows: Vec<TruncationRow>) -> serde_json::Result<Vec<Truncation>> {
    let mark = |row: TruncationRow| {
        let field = PayloadField::from_column(&row.field)
            .ok_or_else(|| serde::de::Error::custom("truncated names an unknown field"))?;
        Ok(Truncation { field, original_bytes: row.original_bytes, sha256: row.sha256.0 })
    };
    rows.into_iter().map(mark).collect()
}

fn origin_row(document: &Document) -> Option<AsText<Uuid>> {
    document.origin.map(|origin| AsText(origin.uuid()))
}

fn payload(text: Option<&JsonText>) -> Option<Text<'_>> {
    text.map(|text| text.as_str().into())
}

fn optional(text: Option<&str>) -> Option<Text<'_>> {
    text.map(Into::into)
}

fn json_text(text: Option<Text>) -> Option<JsonText> {
    text.map(JsonText::from_clean)
}

/// Bytes of the payloads, kept as a column of its own so that a reader can ask for no more than it can hold.
fn payload_bytes(texts: &[Option<&JsonText>]) -> u64 {
    texts.iter().flatten().map(|text| text.len() as u64).sum()
}

/// JSON has no NaN and no infinity; a duration that is neither is 0, as Dify's column default.
fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
