//! Records as JSON with the column names of Dify's tables: what programs get, line by line. Payloads go through as the
//! texts they are; no number and no order of keys changes.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::query::{NodeSummary, RunSummary};
use crate::domain::{Document, JsonText, Record, Timestamp};

/// One document as one line of JSON: every column, and under `truncated` what was cut.
///
/// # Errors
/// None in practice: every part is known to be serialisable.
pub fn document(document: &Document) -> serde_json::Result<String> {
    let truncated = document
        .truncated
        .iter()
        .map(|mark| Truncated {
            field: mark.field.as_str(),
            original_bytes: mark.original_bytes,
            sha256: mark.sha256.to_string(),
        })
        .collect();
    match &document.record {
        Record::Run(run) => serde_json::to_string(&RunColumns {
            row: RunRow {
                id: run.id.to_string(),
                app_id: run.app_id.to_string(),
                workflow_id: run.workflow_id.to_string(),
                r#type: &run.r#type,
                triggered_from: &run.triggered_from,
                version: &run.version,
                status: run.status.as_str(),
                elapsed_time: run.elapsed_time,
                total_tokens: run.total_tokens,
                total_steps: run.total_steps,
                created_by_role: &run.created_by_role,
                created_by: run.created_by.to_string(),
                created_at: run.created_at.to_string(),
                finished_at: instant(run.finished_at),
                exceptions_count: run.exceptions_count,
            },
            tenant_id: run.tenant_id.to_string(),
            graph: payload(run.graph.as_ref()),
            inputs: payload(run.inputs.as_ref()),
            outputs: payload(run.outputs.as_ref()),
            error: run.error.as_deref(),
            extra: payload(document.extra.as_ref()),
            truncated,
        }),
        Record::Node(node) => serde_json::to_string(&NodeColumns {
            row: NodeRow {
                id: node.id.to_string(),
                app_id: node.app_id.to_string(),
                workflow_id: node.workflow_id.to_string(),
                workflow_run_id: node.workflow_run_id.map(|id| id.to_string()),
                triggered_from: &node.triggered_from,
                index: node.index,
                predecessor_node_id: node.predecessor_node_id.as_deref(),
                node_execution_id: node.node_execution_id.as_deref(),
                node_id: &node.node_id,
                node_type: &node.node_type,
                title: &node.title,
                status: node.status.as_str(),
                elapsed_time: node.elapsed_time,
                created_by_role: &node.created_by_role,
                created_by: node.created_by.to_string(),
                created_at: node.created_at.to_string(),
                finished_at: instant(node.finished_at),
            },
            tenant_id: node.tenant_id.to_string(),
            inputs: payload(node.inputs.as_ref()),
            process_data: payload(node.process_data.as_ref()),
            outputs: payload(node.outputs.as_ref()),
            execution_metadata: payload(node.execution_metadata.as_ref()),
            error: node.error.as_deref(),
            extra: payload(document.extra.as_ref()),
            truncated,
        }),
        Record::AppLog(log) => serde_json::to_string(&serde_json::json!({
            "id": log.id.to_string(),
            "tenant_id": log.tenant_id.to_string(),
            "app_id": log.app_id.to_string(),
            "workflow_id": log.workflow_id.to_string(),
            "workflow_run_id": log.workflow_run_id.to_string(),
            "created_from": log.created_from,
            "created_by_role": log.created_by_role,
            "created_by": log.created_by.to_string(),
            "creator": log.creator,
            "created_at": log.created_at.to_string(),
        })),
        Record::Offload(offload) => serde_json::to_string(&serde_json::json!({
            "id": offload.id.to_string(),
            "tenant_id": offload.tenant_id.to_string(),
            "app_id": offload.app_id.to_string(),
            "node_execution_id": offload.node_execution_id.map(|id| id.to_string()),
            "type": offload.r#type,
            "file_id": offload.file_id.to_string(),
            "created_at": offload.created_at.to_string(),
        })),
    }
}

/// A run without payloads.
#[derive(Debug, Serialize)]
pub struct RunRow<'a> {
    id: String,
    app_id: String,
    workflow_id: String,
    r#type: &'a str,
    triggered_from: &'a str,
    version: &'a str,
    status: &'a str,
    elapsed_time: f64,
    total_tokens: i64,
    total_steps: i64,
    created_by_role: &'a str,
    created_by: String,
    created_at: String,
    finished_at: Option<String>,
    exceptions_count: i64,
}

impl<'a> From<&'a RunSummary> for RunRow<'a> {
    fn from(run: &'a RunSummary) -> Self {
        Self {
            id: run.id.to_string(),
            app_id: run.app_id.to_string(),
            workflow_id: run.workflow_id.to_string(),
            r#type: &run.r#type,
            triggered_from: &run.triggered_from,
            version: &run.version,
            status: run.status.as_str(),
            elapsed_time: run.elapsed_time,
            total_tokens: run.total_tokens,
            total_steps: run.total_steps,
            created_by_role: &run.created_by_role,
            created_by: run.created_by.to_string(),
            created_at: run.created_at.to_string(),
            finished_at: instant(run.finished_at),
            exceptions_count: run.exceptions_count,
        }
    }
}

/// A node execution without payloads.
#[derive(Debug, Serialize)]
pub struct NodeRow<'a> {
    id: String,
    app_id: String,
    workflow_id: String,
    workflow_run_id: Option<String>,
    triggered_from: &'a str,
    index: i64,
    predecessor_node_id: Option<&'a str>,
    node_execution_id: Option<&'a str>,
    node_id: &'a str,
    node_type: &'a str,
    title: &'a str,
    status: &'a str,
    elapsed_time: f64,
    created_by_role: &'a str,
    created_by: String,
    created_at: String,
    finished_at: Option<String>,
}

impl<'a> From<&'a NodeSummary> for NodeRow<'a> {
    fn from(node: &'a NodeSummary) -> Self {
        Self {
            id: node.id.to_string(),
            app_id: node.app_id.to_string(),
            workflow_id: node.workflow_id.to_string(),
            workflow_run_id: node.workflow_run_id.map(|id| id.to_string()),
            triggered_from: &node.triggered_from,
            index: node.index,
            predecessor_node_id: node.predecessor_node_id.as_deref(),
            node_execution_id: node.node_execution_id.as_deref(),
            node_id: &node.node_id,
            node_type: &node.node_type,
            title: &node.title,
            status: node.status.as_str(),
            elapsed_time: node.elapsed_time,
            created_by_role: &node.created_by_role,
            created_by: node.created_by.to_string(),
            created_at: node.created_at.to_string(),
            finished_at: instant(node.finished_at),
        }
    }
}

#[derive(Serialize)]
struct RunColumns<'a> {
    tenant_id: String,
    #[serde(flatten)]
    row: RunRow<'a>,
    graph: Option<Box<RawValue>>,
    inputs: Option<Box<RawValue>>,
    outputs: Option<Box<RawValue>>,
    error: Option<&'a str>,
    /// What the row had beside these columns; left out where there is nothing, as in nearly all.
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Box<RawValue>>,
    truncated: Vec<Truncated>,
}

#[derive(Serialize)]
struct NodeColumns<'a> {
    tenant_id: String,
    #[serde(flatten)]
    row: NodeRow<'a>,
    inputs: Option<Box<RawValue>>,
    process_data: Option<Box<RawValue>>,
    outputs: Option<Box<RawValue>>,
    execution_metadata: Option<Box<RawValue>>,
    error: Option<&'a str>,
    /// What the row had beside these columns; left out where there is nothing, as in nearly all.
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Box<RawValue>>,
    truncated: Vec<Truncated>,
}

#[derive(Serialize)]
struct Truncated {
    field: &'static str,
    original_bytes: u64,
    sha256: String,
}

fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// A payload as it is; as a JSON string where an old row holds what is no JSON.
#[must_use]
pub fn payload(text: Option<&JsonText>) -> Option<Box<RawValue>> {
    let text = text?.as_str();
    RawValue::from_string(text.to_owned()).or_else(|_| serde_json::value::to_raw_value(text)).ok()
}
