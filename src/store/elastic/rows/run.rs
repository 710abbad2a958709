//! The columns of a run, and of a run in a list.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AsText, Text, TruncationRow, finite, json_text, optional, origin_row, payload, payload_bytes};
use crate::domain::query::RunSummary;
use crate::domain::{
    AppId, Document, GraphHash, Origin, Record, RecordId, Revision, RunStatus, TenantId, Timestamp, WorkflowRun,
};

#[derive(Serialize, Deserialize)]
pub(super) struct RunRow<'a> {
    id: AsText<RecordId>,
    tenant_id: AsText<TenantId>,
    app_id: AsText<AppId>,
    workflow_id: AsText<RecordId>,
    r#type: Text<'a>,
    triggered_from: Text<'a>,
    version: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graph_hash: Option<AsText<GraphHash>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Text<'a>>,
    status: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Text<'a>>,
    elapsed_time: f64,
    total_tokens: i64,
    total_steps: i64,
    created_by_role: Text<'a>,
    created_by: AsText<RecordId>,
    created_at: AsText<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<AsText<Timestamp>>,
    exceptions_count: i64,
    revision: i64,
    payload_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<TruncationRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<AsText<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Text<'a>>,
}

impl<'a> RunRow<'a> {
    pub(super) fn new(run: &'a WorkflowRun, document: &'a Document) -> Self {
        Self {
            id: AsText(run.id),
            tenant_id: AsText(run.tenant_id),
            app_id: AsText(run.app_id),
            workflow_id: AsText(run.workflow_id),
            r#type: (&*run.r#type).into(),
            triggered_from: (&*run.triggered_from).into(),
            version: (&*run.version).into(),
            graph_hash: document.graph.map(AsText),
            inputs: payload(run.inputs.as_ref()),
            status: run.status.as_str().into(),
            outputs: payload(run.outputs.as_ref()),
            error: optional(run.error.as_deref()),
            elapsed_time: finite(run.elapsed_time),
            total_tokens: run.total_tokens,
            total_steps: run.total_steps,
            created_by_role: (&*run.created_by_role).into(),
            created_by: AsText(run.created_by),
            created_at: AsText(run.created_at),
            finished_at: run.finished_at.map(AsText),
            exceptions_count: run.exceptions_count,
            revision: document.revision.value(),
            payload_bytes: payload_bytes(&[run.inputs.as_ref(), run.outputs.as_ref(), document.extra.as_ref()]),
            truncated: super::truncation_rows(&document.truncated),
            origin: origin_row(document),
            extra: payload(document.extra.as_ref()),
        }
    }

    pub(super) fn into_document(self) -> serde_json::Result<Document> {
        let run = WorkflowRun {
            id: self.id.0,
            tenant_id: self.tenant_id.0,
            app_id: self.app_id.0,
            workflow_id: self.workflow_id.0,
            r#type: self.r#type.into(),
            triggered_from: self.triggered_from.into(),
            version: self.version.into(),
            graph: None,
            inputs: json_text(self.inputs),
            status: RunStatus::from(&*self.status),
            outputs: json_text(self.outputs),
            error: self.error.map(Into::into),
            elapsed_time: self.elapsed_time,
            total_tokens: self.total_tokens,
            total_steps: self.total_steps,
            created_by_role: self.created_by_role.into(),
            created_by: self.created_by.0,
            created_at: self.created_at.0,
            finished_at: self.finished_at.map(|at| at.0),
            exceptions_count: self.exceptions_count,
        };
        Ok(Document {
            record: Record::Run(Box::new(run)),
            revision: Revision::from_stored(self.revision),
            graph: self.graph_hash.map(|hash| hash.0),
            truncated: super::truncations(self.truncated)?,
            origin: self.origin.map(|origin| Origin::new(origin.0)),
            extra: json_text(self.extra),
        })
    }
}

/// The columns that [`SummaryRow`] reads.
pub(in super::super) const SUMMARY_COLUMNS: [&str; 16] = [
    "id",
    "app_id",
    "workflow_id",
    "type",
    "triggered_from",
    "version",
    "status",
    "elapsed_time",
    "total_tokens",
    "total_steps",
    "created_by_role",
    "created_by",
    "created_at",
    "finished_at",
    "exceptions_count",
    "revision",
];

/// A run as lists show it.
#[derive(Deserialize)]
pub(in super::super) struct SummaryRow {
    id: AsText<RecordId>,
    app_id: AsText<AppId>,
    workflow_id: AsText<RecordId>,
    r#type: Box<str>,
    triggered_from: Box<str>,
    version: Box<str>,
    status: Box<str>,
    elapsed_time: f64,
    total_tokens: i64,
    total_steps: i64,
    created_by_role: Box<str>,
    created_by: AsText<RecordId>,
    created_at: AsText<Timestamp>,
    finished_at: Option<AsText<Timestamp>>,
    exceptions_count: i64,
    revision: i64,
}

impl From<SummaryRow> for RunSummary {
    fn from(row: SummaryRow) -> Self {
        Self {
            id: row.id.0,
            app_id: row.app_id.0,
            workflow_id: row.workflow_id.0,
            r#type: row.r#type,
            triggered_from: row.triggered_from,
            version: row.version,
            status: RunStatus::from(&*row.status),
            elapsed_time: row.elapsed_time,
            total_tokens: row.total_tokens,
            total_steps: row.total_steps,
            created_by_role: row.created_by_role,
            created_by: row.created_by.0,
            created_at: row.created_at.0,
            finished_at: row.finished_at.map(|at| at.0),
            exceptions_count: row.exceptions_count,
            revision: Revision::from_stored(row.revision),
        }
    }
}
