//! `workflow_node_executions`: one record per node execution.

use super::open_enum::open_enum;
use super::{AppId, JsonText, RecordId, TenantId, Timestamp};

open_enum!(
    /// State of a node execution.
    NodeStatus {
        Pending = "pending",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        /// Failed, but the failure was handled.
        Exception = "exception",
        Stopped = "stopped",
        Paused = "paused",
        /// Written by newer versions of Dify only; older ones write a second `running` with a later index.
        Retry = "retry",
    }
);

impl NodeStatus {
    /// Statuses in which a node execution has ended.
    pub const ENDED: [&str; 4] = ["succeeded", "failed", "exception", "stopped"];
    /// Statuses in which it has not, a finish time or not. One that is in neither list counts as ended once the node says
    /// when it finished.
    pub const OPEN: [&str; 4] = ["pending", "running", "paused", "retry"];
}

/// A row of `workflow_node_executions`, with the column names of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeExecution {
    pub id: RecordId,
    pub tenant_id: TenantId,
    pub app_id: AppId,
    pub workflow_id: RecordId,
    /// `single-step`, `workflow-run` or `rag-pipeline-run`.
    pub triggered_from: Box<str>,
    /// `None` for single-step debugging.
    pub workflow_run_id: Option<RecordId>,
    /// 1-based order of node starts within the run; a retry takes a new one.
    pub index: i64,
    pub predecessor_node_id: Option<Box<str>>,
    /// Free text: not always a UUID.
    pub node_execution_id: Option<Box<str>>,
    /// Id within the graph.
    pub node_id: Box<str>,
    pub node_type: Box<str>,
    pub title: Box<str>,
    pub inputs: Option<JsonText>,
    pub process_data: Option<JsonText>,
    pub outputs: Option<JsonText>,
    pub status: NodeStatus,
    pub error: Option<Box<str>>,
    /// Seconds.
    pub elapsed_time: f64,
    pub execution_metadata: Option<JsonText>,
    /// Start of the node.
    pub created_at: Timestamp,
    pub created_by_role: Box<str>,
    pub created_by: RecordId,
    pub finished_at: Option<Timestamp>,
}
