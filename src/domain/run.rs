//! `workflow_runs`: one record per workflow execution.

use super::open_enum::open_enum;
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
#[derive(Debug, Clone, PartialEq)]
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
}
