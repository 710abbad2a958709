//! Actions to bound values. Compression happens when a [`Row`] is made, on the caller's side of the writer's queue.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::text::{self, Frame};
use crate::domain::{
    AppLog, BulkAction, Document, JsonText, NodeExecution, Offload, Record, RecordId, Timestamp, Truncation,
    WorkflowRun,
};

/// Long texts of a record: at most this many.
const TEXTS: usize = 6;

type Values<'a> = Vec<ToSqlOutput<'a>>;

/// An action ready to be written: its long texts compressed.
pub struct Row {
    action: BulkAction,
    /// In the order of [`texts`].
    frames: [Option<Frame>; TEXTS],
}

impl Row {
    /// Compresses the action's long texts if asked to. Graphs always are: they are most of the bytes.
    pub fn new(action: BulkAction, compress: bool) -> Self {
        let frames = match &action {
            BulkAction::Graph(graph) => [text::pack_graph(graph.text.as_str()), None, None, None, None, None],
            BulkAction::Document(document) if compress => texts(document).map(|text| text.and_then(text::pack)),
            BulkAction::Document(_) => [const { None }; TEXTS],
        };
        Self { action, frames }
    }

    pub fn action(&self) -> &BulkAction {
        &self.action
    }

    /// The values of a document, in the order of its table's columns.
    pub fn document_values<'a>(&'a self, document: &'a Document) -> Values<'a> {
        let [first, second, third, fourth, fifth, extra] = self.text_values(document);
        let revision = integer(document.revision.value());
        match &document.record {
            Record::Run(run) => {
                let mut values = run_values(run, revision);
                let graph = document.graph.as_ref().map(|hash| hash.as_bytes().as_slice());
                let graph = optional(graph.map(ValueRef::Blob));
                values.extend([graph, truncations(&document.truncated), origin(document)]);
                values.extend([first, second, third, extra]);
                values
            }
            Record::Node(node) => {
                let mut values = node_values(node, revision);
                values.extend([truncations(&document.truncated), origin(document)]);
                values.extend([first, second, third, fourth, fifth, extra]);
                values
            }
            Record::AppLog(log) => {
                let mut values = app_log_values(log, revision, origin(document));
                values.push(extra);
                values
            }
            Record::Offload(offload) => {
                let mut values = offload_values(offload, revision, origin(document));
                values.push(extra);
                values
            }
        }
    }

    /// The value of a graph's text.
    pub fn graph_text<'a>(&'a self, graph: &'a JsonText) -> ToSqlOutput<'a> {
        let [frame, ..] = &self.frames;
        text::value(Some(graph.as_str()), frame.as_deref())
    }

    fn text_values<'a>(&'a self, document: &'a Document) -> [ToSqlOutput<'a>; TEXTS] {
        let mut frames = self.frames.iter();
        texts(document).map(|text| text::value(text, frames.next().and_then(Option::as_deref)))
    }
}

/// Bytes of text that an action carries, about.
pub fn weight(action: &BulkAction) -> usize {
    match action {
        BulkAction::Graph(graph) => graph.text.len(),
        BulkAction::Document(document) => texts(document).iter().flatten().map(|text| text.len()).sum(),
    }
}

/// The long texts of a document, in the order of its table's last columns; what the row had besides always last.
fn texts(document: &Document) -> [Option<&str>; TEXTS] {
    let extra = json(document.extra.as_ref());
    match &document.record {
        Record::Run(run) => {
            [run.error.as_deref(), json(run.inputs.as_ref()), json(run.outputs.as_ref()), None, None, extra]
        }
        Record::Node(node) => [
            node.error.as_deref(),
            json(node.inputs.as_ref()),
            json(node.process_data.as_ref()),
            json(node.outputs.as_ref()),
            json(node.execution_metadata.as_ref()),
            extra,
        ],
        Record::AppLog(_) | Record::Offload(_) => [None, None, None, None, None, extra],
    }
}

fn run_values<'a>(run: &'a WorkflowRun, revision: ToSqlOutput<'a>) -> Values<'a> {
    vec![
        blob(run.tenant_id.as_bytes()),
        blob(run.id.as_bytes()),
        blob(run.app_id.as_bytes()),
        blob(run.workflow_id.as_bytes()),
        revision,
        integer(run.created_at.micros()),
        instant(run.finished_at),
        string(&run.r#type),
        string(&run.triggered_from),
        string(&run.version),
        string(run.status.as_str()),
        real(run.elapsed_time),
        integer(run.total_tokens),
        integer(run.total_steps),
        integer(run.exceptions_count),
        string(&run.created_by_role),
        blob(run.created_by.as_bytes()),
    ]
}

fn node_values<'a>(node: &'a NodeExecution, revision: ToSqlOutput<'a>) -> Values<'a> {
    let metadata = json(node.execution_metadata.as_ref());
    let enclosing = |key| owned(metadata.and_then(|metadata| text::metadata_text(metadata, key)));
    vec![
        blob(node.tenant_id.as_bytes()),
        blob(node.id.as_bytes()),
        blob(node.app_id.as_bytes()),
        blob(node.workflow_id.as_bytes()),
        revision,
        integer(node.created_at.micros()),
        instant(node.finished_at),
        optional_id(node.workflow_run_id.as_ref()),
        string(&node.triggered_from),
        integer(node.index),
        optional_string(node.predecessor_node_id.as_deref()),
        optional_string(node.node_execution_id.as_deref()),
        string(&node.node_id),
        string(&node.node_type),
        string(&node.title),
        string(node.status.as_str()),
        real(node.elapsed_time),
        string(&node.created_by_role),
        blob(node.created_by.as_bytes()),
        enclosing("iteration_id"),
        enclosing("loop_id"),
    ]
}

fn app_log_values<'a>(log: &'a AppLog, revision: ToSqlOutput<'a>, origin: ToSqlOutput<'a>) -> Values<'a> {
    vec![
        blob(log.tenant_id.as_bytes()),
        blob(log.id.as_bytes()),
        blob(log.app_id.as_bytes()),
        blob(log.workflow_id.as_bytes()),
        revision,
        integer(log.created_at.micros()),
        blob(log.workflow_run_id.as_bytes()),
        string(&log.created_from),
        string(&log.created_by_role),
        blob(log.created_by.as_bytes()),
        optional_string(log.creator.as_deref()),
        origin,
    ]
}

fn offload_values<'a>(offload: &'a Offload, revision: ToSqlOutput<'a>, origin: ToSqlOutput<'a>) -> Values<'a> {
    vec![
        blob(offload.tenant_id.as_bytes()),
        blob(offload.id.as_bytes()),
        blob(offload.app_id.as_bytes()),
        revision,
        integer(offload.created_at.micros()),
        optional_id(offload.node_execution_id.as_ref()),
        string(&offload.r#type),
        blob(offload.file_id.as_bytes()),
        origin,
    ]
}

/// `[["inputs",5242880,"<sha256>"]]`; null where nothing was cut.
fn truncations(marks: &[Truncation]) -> ToSqlOutput<'static> {
    if marks.is_empty() {
        return optional(None);
    }
    let marks: Vec<_> = marks
        .iter()
        .map(|mark| serde_json::json!([mark.field.as_str(), mark.original_bytes, mark.sha256.to_string()]))
        .collect();
    ToSqlOutput::Owned(Value::Text(serde_json::Value::Array(marks).to_string()))
}

/// The mark of the migration that writes the document.
fn origin(document: &Document) -> ToSqlOutput<'static> {
    let bytes = document.origin.map(|origin| Value::Blob(origin.uuid().into_bytes().to_vec()));
    ToSqlOutput::Owned(bytes.unwrap_or(Value::Null))
}

fn owned(text: Option<String>) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(text.map_or(Value::Null, Value::Text))
}

fn optional(value: Option<ValueRef<'_>>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(value.unwrap_or(ValueRef::Null))
}

fn blob(bytes: &[u8; 16]) -> ToSqlOutput<'_> {
    optional(Some(ValueRef::Blob(bytes)))
}

fn optional_id(id: Option<&RecordId>) -> ToSqlOutput<'_> {
    optional(id.map(|id| ValueRef::Blob(id.as_bytes())))
}

fn string(text: &str) -> ToSqlOutput<'_> {
    optional_string(Some(text))
}

fn optional_string(text: Option<&str>) -> ToSqlOutput<'_> {
    optional(text.map(|text| ValueRef::Text(text.as_bytes())))
}

fn integer(number: i64) -> ToSqlOutput<'static> {
    optional(Some(ValueRef::Integer(number)))
}

fn real(number: f64) -> ToSqlOutput<'static> {
    optional(Some(ValueRef::Real(number)))
}

fn instant(instant: Option<Timestamp>) -> ToSqlOutput<'static> {
    optional(instant.map(|instant| ValueRef::Integer(instant.micros())))
}

fn json(text: Option<&JsonText>) -> Option<&str> {
    text.map(JsonText::as_str)
}
