//! The canonical form of a record: what PostgreSQL and the store are compared in. It never looks at how a value is
//! spelled, only at what it says, and both sides must have gone through the codec.
//!
//! - Payloads count as JSON values (`canonical/json.rs`). NULL, an empty text and `{}` are alike, and so are a NULL and an
//!   empty `error`: Dify's writers differ in them, its readers do not.
//! - Seconds count to the microsecond; before the end of a run or node they mean nothing and do not count.
//! - `AppLog.creator` is no column of Dify's and does not count.

mod json;
mod sum;

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use self::json::{push_json, push_text};
pub use self::sum::Sum;
use crate::domain::document::{ContentHash, GraphHash};
use crate::domain::{AppLog, Extra, JsonText, NodeExecution, Offload, Record, RecordId, Timestamp, WorkflowRun};

/// A value of a column.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    Id(&'a [u8; 16]),
    OptionalId(Option<RecordId>),
    Text(&'a str),
    OptionalText(Option<&'a str>),
    Integer(i64),
    Seconds(f64),
    /// Seconds of what has not ended: they mean nothing, and all are alike.
    Running(f64),
    Instant(Timestamp),
    OptionalInstant(Option<Timestamp>),
    Json(Option<&'a JsonText>),
    /// A plain text in which nothing and an empty text are alike.
    Error(Option<&'a str>),
}

/// The columns of a record by their names in Dify's table, in a fixed order.
#[must_use]
pub fn columns(record: &Record) -> Vec<(&'static str, Cell<'_>)> {
    match record {
        Record::Run(run) => columns_of_run(run),
        Record::Node(node) => columns_of_node(node),
        Record::AppLog(log) => columns_of_app_log(log),
        Record::Offload(offload) => columns_of_offload(offload),
    }
}

fn columns_of_run(run: &WorkflowRun) -> Vec<(&'static str, Cell<'_>)> {
    vec![
        ("id", Cell::Id(run.id.as_bytes())),
        ("tenant_id", Cell::Id(run.tenant_id.as_bytes())),
        ("app_id", Cell::Id(run.app_id.as_bytes())),
        ("workflow_id", Cell::Id(run.workflow_id.as_bytes())),
        ("type", Cell::Text(&run.r#type)),
        ("triggered_from", Cell::Text(&run.triggered_from)),
        ("version", Cell::Text(&run.version)),
        ("graph", Cell::Json(run.graph.as_ref())),
        ("inputs", Cell::Json(run.inputs.as_ref())),
        ("status", Cell::Text(run.status.as_str())),
        ("outputs", Cell::Json(run.outputs.as_ref())),
        ("error", Cell::Error(run.error.as_deref())),
        ("elapsed_time", seconds(run.elapsed_time, run.finished_at)),
        ("total_tokens", Cell::Integer(run.total_tokens)),
        ("total_steps", Cell::Integer(run.total_steps)),
        ("created_by_role", Cell::Text(&run.created_by_role)),
        ("created_by", Cell::Id(run.created_by.as_bytes())),
        ("created_at", Cell::Instant(run.created_at)),
        ("finished_at", Cell::OptionalInstant(run.finished_at)),
        ("exceptions_count", Cell::Integer(run.exceptions_count)),
    ]
}

fn columns_of_node(node: &NodeExecution) -> Vec<(&'static str, Cell<'_>)> {
    vec![
        ("id", Cell::Id(node.id.as_bytes())),
        ("tenant_id", Cell::Id(node.tenant_id.as_bytes())),
        ("app_id", Cell::Id(node.app_id.as_bytes())),
        ("workflow_id", Cell::Id(node.workflow_id.as_bytes())),
        ("triggered_from", Cell::Text(&node.triggered_from)),
        ("workflow_run_id", Cell::OptionalId(node.workflow_run_id)),
        ("index", Cell::Integer(node.index)),
        ("predecessor_node_id", Cell::OptionalText(node.predecessor_node_id.as_deref())),
        ("node_execution_id", Cell::OptionalText(node.node_execution_id.as_deref())),
        ("node_id", Cell::Text(&node.node_id)),
        ("node_type", Cell::Text(&node.node_type)),
        ("title", Cell::Text(&node.title)),
        ("inputs", Cell::Json(node.inputs.as_ref())),
        ("process_data", Cell::Json(node.process_data.as_ref())),
        ("outputs", Cell::Json(node.outputs.as_ref())),
        ("status", Cell::Text(node.status.as_str())),
        ("error", Cell::Error(node.error.as_deref())),
        ("elapsed_time", seconds(node.elapsed_time, node.finished_at)),
        ("execution_metadata", Cell::Json(node.execution_metadata.as_ref())),
        ("created_at", Cell::Instant(node.created_at)),
        ("created_by_role", Cell::Text(&node.created_by_role)),
        ("created_by", Cell::Id(node.created_by.as_bytes())),
        ("finished_at", Cell::OptionalInstant(node.finished_at)),
    ]
}

fn columns_of_app_log(log: &AppLog) -> Vec<(&'static str, Cell<'_>)> {
    vec![
        ("id", Cell::Id(log.id.as_bytes())),
        ("tenant_id", Cell::Id(log.tenant_id.as_bytes())),
        ("app_id", Cell::Id(log.app_id.as_bytes())),
        ("workflow_id", Cell::Id(log.workflow_id.as_bytes())),
        ("workflow_run_id", Cell::Id(log.workflow_run_id.as_bytes())),
        ("created_from", Cell::Text(&log.created_from)),
        ("created_by_role", Cell::Text(&log.created_by_role)),
        ("created_by", Cell::Id(log.created_by.as_bytes())),
        ("created_at", Cell::Instant(log.created_at)),
    ]
}

fn columns_of_offload(offload: &Offload) -> Vec<(&'static str, Cell<'_>)> {
    vec![
        ("id", Cell::Id(offload.id.as_bytes())),
        ("tenant_id", Cell::Id(offload.tenant_id.as_bytes())),
        ("app_id", Cell::Id(offload.app_id.as_bytes())),
        ("node_execution_id", Cell::OptionalId(offload.node_execution_id)),
        ("type", Cell::Text(&offload.r#type)),
        ("file_id", Cell::Id(offload.file_id.as_bytes())),
        ("created_at", Cell::Instant(offload.created_at)),
    ]
}

fn seconds(elapsed: f64, finished_at: Option<Timestamp>) -> Cell<'static> {
    if finished_at.is_some() { Cell::Seconds(elapsed) } else { Cell::Running(elapsed) }
}

impl Cell<'_> {
    fn push(self, out: &mut Vec<u8>) {
        match self {
            Self::Id(id) => out.extend_from_slice(id),
            Self::OptionalId(id) => push_optional(out, id, |out, id| out.extend_from_slice(id.as_bytes())),
            Self::Text(text) => push_text(out, text),
            Self::OptionalText(text) => push_optional(out, text, push_text),
            Self::Integer(integer) => out.extend_from_slice(&integer.to_be_bytes()),
            Self::Seconds(seconds) => out.extend_from_slice(&micros(seconds).to_be_bytes()),
            Self::Running(_) => out.extend_from_slice(&micros(0.0).to_be_bytes()),
            Self::Instant(at) => out.extend_from_slice(&at.micros().to_be_bytes()),
            Self::OptionalInstant(at) => {
                push_optional(out, at, |out, at| out.extend_from_slice(&at.micros().to_be_bytes()));
            }
            Self::Json(json) => push_optional(out, json.filter(|json| !json.is_void()), |out, json| {
                push_json(out, json.as_str());
            }),
            Self::Error(text) => push_optional(out, text.filter(|text| !text.is_empty()), push_text),
        }
    }

    /// Whether it is a payload that is not there.
    #[must_use]
    pub fn is_void_json(self) -> bool {
        matches!(self, Self::Json(json) if json.is_none_or(JsonText::is_void))
    }

    /// Whether two values of the same column say the same.
    #[must_use]
    pub fn same(self, other: Self) -> bool {
        if let (Self::Seconds(one), Self::Seconds(other)) = (self, other) {
            // A rounded microsecond can fall to either side.
            return (micros(one) - micros(other)).abs() <= 1;
        }
        let (mut one_bytes, mut other_bytes) = (Vec::new(), Vec::new());
        self.push(&mut one_bytes);
        other.push(&mut other_bytes);
        one_bytes == other_bytes
    }
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
        for (name, cell) in columns(record) {
            push_text(&mut buffer, name);
            match cell {
                Cell::Json(Some(json)) if name == "graph" && !json.is_void() => {
                    buffer.push(1);
                    buffer.extend_from_slice(&self.graph(json, graph));
                }
                cell => cell.push(&mut buffer),
            }
        }
        for texts in [&extra.columns, &extra.changed] {
            for (name, text) in texts {
                push_text(&mut buffer, name);
                push_optional(&mut buffer, text.as_deref(), push_text);
            }
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
