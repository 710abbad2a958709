//! `workflow_node_executions`: one record per node execution.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::open_enum::open_enum;
use super::schema::Type::{Id, Instant, Integer, Json, Seconds, Text, Varchar};
use super::schema::{Column, column};
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
#[derive(Debug, Clone, PartialEq, Default)]
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

/// Returns a text member of execution metadata; what is no object has none. Of members with the same name the last counts,
/// as in Python.
#[must_use]
pub fn metadata_text(metadata: &str, member: &str) -> Option<Box<str>> {
    // Few nodes have such a member, and cleaned text spells its name as it is.
    if !metadata.contains(member) {
        return None;
    }
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(metadata).ok()?;
    serde_json::from_str(members.get(member)?.get()).ok()
}

impl NodeExecution {
    /// The members of the metadata that tell in which iteration or loop a node ran; stores keep them apart, for lists.
    pub const ENCLOSING: [&str; 2] = ["iteration_id", "loop_id"];

    /// Returns the texts of [`Self::ENCLOSING`], where the metadata have them.
    #[must_use]
    pub fn enclosing(&self) -> [Option<Box<str>>; 2] {
        let metadata = self.execution_metadata.as_ref().map(JsonText::as_str);
        Self::ENCLOSING.map(|member| metadata_text(metadata?, member))
    }

    pub(super) const COLUMNS: &[Column] = &[
        column!(Node, "id", id, Id).celery("id"),
        column!(Node, "tenant_id", tenant_id, Id).argument("tenant_id"),
        column!(Node, "app_id", app_id, Id).argument("app_id"),
        column!(Node, "workflow_id", workflow_id, Id).celery("workflow_id"),
        column!(Node, "triggered_from", triggered_from, Varchar(255)).argument("triggered_from"),
        column!(Node, "workflow_run_id", workflow_run_id, Id).nullable().celery("workflow_execution_id"),
        column!(Node, "index", index, Integer).celery("index"),
        column!(Node, "predecessor_node_id", predecessor_node_id, Varchar(255))
            .nullable()
            .celery("predecessor_node_id"),
        column!(Node, "node_execution_id", node_execution_id, Varchar(255)).nullable().celery("node_execution_id"),
        column!(Node, "node_id", node_id, Varchar(255)).celery("node_id"),
        column!(Node, "node_type", node_type, Varchar(255)).celery("node_type"),
        column!(Node, "title", title, Varchar(255)).celery("title"),
        column!(Node, "inputs", inputs, Json).nullable().celery("inputs"),
        column!(Node, "process_data", process_data, Json).nullable().celery("process_data"),
        column!(Node, "outputs", outputs, Json).nullable().celery("outputs"),
        column!(Node, "status", status, Varchar(255)).celery("status"),
        column!(Node, "error", error, Text).nullable().celery("error"),
        column!(Node, "elapsed_time", elapsed_time, Seconds).celery("elapsed_time"),
        column!(Node, "execution_metadata", execution_metadata, Json).nullable().celery("metadata"),
        column!(Node, "created_at", created_at, Instant).celery("created_at"),
        column!(Node, "created_by_role", created_by_role, Varchar(255)).argument("creator_user_role"),
        column!(Node, "created_by", created_by, Id).argument("creator_user_id"),
        column!(Node, "finished_at", finished_at, Instant).nullable().celery("finished_at"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_the_outermost_object_enclose_a_node() {
        let text = |metadata| metadata_text(metadata, "loop_id");
        assert_eq!(text(r#"{"total_tokens": 3, "loop_id": "17\n", "n": 1e999}"#).as_deref(), Some("17\n"));
        assert_eq!(text(r#"{"loop_id": "1", "x": {"loop_id": "no"}, "loop_id": "2"}"#).as_deref(), Some("2"));
        for other in [r#"{"loop_id": 3}"#, r#"{"a": {"loop_id": "x"}}"#, r#"["loop_id"]"#, "null", "", r#""loop_id""#] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
