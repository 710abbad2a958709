//! Tables for people and JSON for programs. Field names are Dify's column names.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Map, Value, json};

use crate::domain::document::Truncation;
use crate::domain::query::RunSummary;
use crate::domain::{Document, JsonText, Record, RecordId, Timestamp};

/// A table that prints without colours and wraps to the terminal.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.iter().copied());
    table
}

/// A document as JSON: the columns of its table, payloads as JSON values where they can be, and what was truncated.
pub(super) fn document(document: &Document) -> Value {
    let mut fields = match &document.record {
        Record::Run(run) => columns(json!({
            "id": run.id.to_string(),
            "tenant_id": run.tenant_id.to_string(),
            "app_id": run.app_id.to_string(),
            "workflow_id": run.workflow_id.to_string(),
            "type": run.r#type,
            "triggered_from": run.triggered_from,
            "version": run.version,
            "graph": payload(run.graph.as_ref()),
            "inputs": payload(run.inputs.as_ref()),
            "status": run.status.as_str(),
            "outputs": payload(run.outputs.as_ref()),
            "error": run.error,
            "elapsed_time": run.elapsed_time,
            "total_tokens": run.total_tokens,
            "total_steps": run.total_steps,
            "created_by_role": run.created_by_role,
            "created_by": run.created_by.to_string(),
            "created_at": run.created_at.to_string(),
            "finished_at": instant(run.finished_at),
            "exceptions_count": run.exceptions_count,
        })),
        Record::Node(node) => columns(json!({
            "id": node.id.to_string(),
            "tenant_id": node.tenant_id.to_string(),
            "app_id": node.app_id.to_string(),
            "workflow_id": node.workflow_id.to_string(),
            "triggered_from": node.triggered_from,
            "workflow_run_id": node.workflow_run_id.map(|id| id.to_string()),
            "index": node.index,
            "predecessor_node_id": node.predecessor_node_id,
            "node_execution_id": node.node_execution_id,
            "node_id": node.node_id,
            "node_type": node.node_type,
            "title": node.title,
            "inputs": payload(node.inputs.as_ref()),
            "process_data": payload(node.process_data.as_ref()),
            "outputs": payload(node.outputs.as_ref()),
            "status": node.status.as_str(),
            "error": node.error,
            "elapsed_time": node.elapsed_time,
            "execution_metadata": payload(node.execution_metadata.as_ref()),
            "created_at": node.created_at.to_string(),
            "created_by_role": node.created_by_role,
            "created_by": node.created_by.to_string(),
            "finished_at": instant(node.finished_at),
        })),
        Record::AppLog(log) => columns(json!({
            "id": log.id.to_string(),
            "tenant_id": log.tenant_id.to_string(),
            "app_id": log.app_id.to_string(),
            "workflow_id": log.workflow_id.to_string(),
            "workflow_run_id": log.workflow_run_id.to_string(),
            "created_from": log.created_from,
            "created_by_role": log.created_by_role,
            "created_by": log.created_by.to_string(),
            "created_at": log.created_at.to_string(),
        })),
        Record::Offload(offload) => columns(json!({
            "id": offload.id.to_string(),
            "tenant_id": offload.tenant_id.to_string(),
            "app_id": offload.app_id.to_string(),
            "node_execution_id": offload.node_execution_id.map(|id: RecordId| id.to_string()),
            "type": offload.r#type,
            "file_id": offload.file_id.to_string(),
            "created_at": offload.created_at.to_string(),
        })),
    };
    fields.insert("truncated".into(), document.truncated.iter().map(truncation).collect());
    Value::Object(fields)
}

/// A row of a list as JSON.
pub(super) fn summary(run: &RunSummary) -> Value {
    json!({
        "id": run.id.to_string(),
        "app_id": run.app_id.to_string(),
        "workflow_id": run.workflow_id.to_string(),
        "type": run.r#type,
        "triggered_from": run.triggered_from,
        "version": run.version,
        "status": run.status.as_str(),
        "elapsed_time": run.elapsed_time,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "created_by_role": run.created_by_role,
        "created_by": run.created_by.to_string(),
        "created_at": run.created_at.to_string(),
        "finished_at": instant(run.finished_at),
        "exceptions_count": run.exceptions_count,
    })
}

fn columns(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn truncation(mark: &Truncation) -> Value {
    json!({
        "field": mark.field.as_str(),
        "original_bytes": mark.original_bytes,
        "sha256": mark.sha256.to_string(),
    })
}

/// A payload as a JSON value; as its text where it is nested too deep or holds numbers too large for this process.
fn payload(text: Option<&JsonText>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text.as_str()).unwrap_or_else(|_| text.as_str().into()))
}

/// A payload for people: one line, cut to `width` characters.
pub(super) fn glimpse(text: Option<&JsonText>, width: usize) -> String {
    let Some(text) = text else { return "–".into() };
    let mut shown: String = text.as_str().chars().take(width).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.as_str().chars().nth(width).is_some() {
        shown.push('…');
    }
    shown
}
