//! `workflow_runs`: one record per workflow execution.

use super::open_enum::open_enum;
use super::schema::Type::{Count, Id, Instant, Json, Seconds, Text, Varchar};
use super::schema::{Column, Role, column};
use super::{AppId, JsonText, RecordId, TenantId, Timestamp};

open_enum!(
    /// State of a run.
    RunStatus {
        /// Never seen in practice.
        Scheduled = "scheduled",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        /// Stopped by the user.
        Stopped = "stopped",
        /// Ended with handled node failures.
        PartialSucceeded = "partial-succeeded",
        /// Neither running nor ended: waits to be resumed.
        Paused = "paused",
    }
);

impl RunStatus {
    /// Statuses in which a run has ended, as Dify's own queries list them.
    pub const ENDED: [&str; 4] = ["succeeded", "failed", "partial-succeeded", "stopped"];
    /// Statuses in which it has not. One that is in neither list counts as ended once the run says when it finished.
    pub const OPEN: [&str; 3] = ["scheduled", "running", "paused"];
}

/// A row of `workflow_runs`, with the column names of the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkflowRun {
    pub id: RecordId,
    pub tenant_id: TenantId,
    pub app_id: AppId,
    /// The workflow version that ran.
    pub workflow_id: RecordId,
    /// `workflow`, `chat` or `rag-pipeline`.
    pub r#type: Box<str>,
    /// `debugging`, `app-run`, `webhook`, `schedule`, `plugin`, …
    pub triggered_from: Box<str>,
    /// `draft`, or the publish time as text.
    pub version: Box<str>,
    /// The whole canvas; taken out and stored once per content before the run is stored.
    pub graph: Option<JsonText>,
    pub inputs: Option<JsonText>,
    pub status: RunStatus,
    pub outputs: Option<JsonText>,
    pub error: Option<Box<str>>,
    /// Seconds; 0 while the run has not ended.
    pub elapsed_time: f64,
    pub total_tokens: i64,
    /// Node starts, retries counted.
    pub total_steps: i64,
    /// `account` or `end_user`.
    pub created_by_role: Box<str>,
    pub created_by: RecordId,
    /// Start of the run, or of its latest resumption.
    pub created_at: Timestamp,
    /// `None` while running or paused.
    pub finished_at: Option<Timestamp>,
    /// Node failures that were handled.
    pub exceptions_count: i64,
    /// When its stop was asked for.
    pub stop_requested_at: Option<Timestamp>,
}

impl WorkflowRun {
    pub(super) const COLUMNS: &[Column] = &[
        column!(Run, "id", id, Id).celery("id_"),
        column!(Run, "tenant_id", tenant_id, Id).argument("tenant_id"),
        column!(Run, "app_id", app_id, Id).argument("app_id"),
        column!(Run, "workflow_id", workflow_id, Id).celery("workflow_id"),
        column!(Run, "type", r#type, Varchar(255)).celery("workflow_type"),
        column!(Run, "triggered_from", triggered_from, Varchar(255)).argument("triggered_from"),
        column!(Run, "version", version, Varchar(255)).celery("workflow_version"),
        column!(Run, "graph", graph, Json).nullable().role(Role::Graph).celery("graph"),
        column!(Run, "inputs", inputs, Json).nullable().celery("inputs"),
        column!(Run, "status", status, Varchar(255)).celery("status"),
        column!(Run, "outputs", outputs, Json).nullable().celery("outputs"),
        column!(Run, "error", error, Text).nullable().celery("error_message"),
        column!(Run, "elapsed_time", elapsed_time, Seconds),
        column!(Run, "total_tokens", total_tokens, Count).celery("total_tokens"),
        column!(Run, "total_steps", total_steps, Count).celery("total_steps"),
        column!(Run, "created_by_role", created_by_role, Varchar(255)).argument("creator_user_role"),
        column!(Run, "created_by", created_by, Id).argument("creator_user_id"),
        column!(Run, "created_at", created_at, Instant).celery("started_at"),
        column!(Run, "finished_at", finished_at, Instant).nullable().celery("finished_at"),
        column!(Run, "exceptions_count", exceptions_count, Count).celery("exceptions_count"),
        column!(Run, "stop_requested_at", stop_requested_at, Instant).newer(),
    ];
}
