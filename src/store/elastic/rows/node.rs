//! The columns of a node execution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{AsText, Text, TruncationRow, finite, json_text, optional, origin_row, payload, payload_bytes};
use crate::domain::query::NodeSummary;
use crate::domain::{
    AppId, Document, JsonText, NodeExecution, NodeStatus, Origin, Record, RecordId, Revision, TenantId, Timestamp,
};

#[derive(Serialize, Deserialize)]
pub(super) struct NodeRow<'a> {
    id: AsText<RecordId>,
    tenant_id: AsText<TenantId>,
    app_id: AsText<AppId>,
    workflow_id: AsText<RecordId>,
    triggered_from: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_run_id: Option<AsText<RecordId>>,
    index: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    predecessor_node_id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_execution_id: Option<Text<'a>>,
    node_id: Text<'a>,
    node_type: Text<'a>,
    title: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_data: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Text<'a>>,
    status: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Text<'a>>,
    elapsed_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_metadata: Option<Text<'a>>,
    /// Out of the metadata, for lists, which do not read it. So `loop_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    iteration_id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loop_id: Option<Text<'a>>,
    created_at: AsText<Timestamp>,
    created_by_role: Text<'a>,
    created_by: AsText<RecordId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<AsText<Timestamp>>,
    revision: i64,
    payload_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<TruncationRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<AsText<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Text<'a>>,
}

impl<'a> NodeRow<'a> {
    pub(super) fn new(node: &'a NodeExecution, document: &'a Document) -> Self {
        let payloads = [&node.inputs, &node.process_data, &node.outputs, &node.execution_metadata];
        let owner = node.execution_metadata.as_ref().map(Owner::of).unwrap_or_default();
        Self {
            id: AsText(node.id),
            tenant_id: AsText(node.tenant_id),
            app_id: AsText(node.app_id),
            workflow_id: AsText(node.workflow_id),
            triggered_from: (&*node.triggered_from).into(),
            workflow_run_id: node.workflow_run_id.map(AsText),
            index: node.index,
            predecessor_node_id: optional(node.predecessor_node_id.as_deref()),
            node_execution_id: optional(node.node_execution_id.as_deref()),
            node_id: (&*node.node_id).into(),
            node_type: (&*node.node_type).into(),
            title: (&*node.title).into(),
            inputs: payload(node.inputs.as_ref()),
            process_data: payload(node.process_data.as_ref()),
            outputs: payload(node.outputs.as_ref()),
            status: node.status.as_str().into(),
            error: optional(node.error.as_deref()),
            elapsed_time: finite(node.elapsed_time),
            execution_metadata: payload(node.execution_metadata.as_ref()),
            iteration_id: owner.iteration_id.map(Text::Owned),
            loop_id: owner.loop_id.map(Text::Owned),
            created_at: AsText(node.created_at),
            created_by_role: (&*node.created_by_role).into(),
            created_by: AsText(node.created_by),
            finished_at: node.finished_at.map(AsText),
            revision: document.revision.value(),
            payload_bytes: payload_bytes(&payloads.map(Option::as_ref)) + payload_bytes(&[document.extra.as_ref()]),
            truncated: super::truncation_rows(&document.truncated),
            origin: origin_row(document),
            extra: payload(document.extra.as_ref()),
        }
    }

    pub(super) fn into_document(self) -> serde_json::Result<Document> {
        let node = NodeExecution {
            id: self.id.0,
            tenant_id: self.tenant_id.0,
            app_id: self.app_id.0,
            workflow_id: self.workflow_id.0,
            triggered_from: self.triggered_from.into(),
            workflow_run_id: self.workflow_run_id.map(|id| id.0),
            index: self.index,
            predecessor_node_id: self.predecessor_node_id.map(Into::into),
            node_execution_id: self.node_execution_id.map(Into::into),
            node_id: self.node_id.into(),
            node_type: self.node_type.into(),
            title: self.title.into(),
            inputs: json_text(self.inputs),
            process_data: json_text(self.process_data),
            outputs: json_text(self.outputs),
            status: NodeStatus::from(&*self.status),
            error: self.error.map(Into::into),
            elapsed_time: self.elapsed_time,
            execution_metadata: json_text(self.execution_metadata),
            created_at: self.created_at.0,
            created_by_role: self.created_by_role.into(),
            created_by: self.created_by.0,
            finished_at: self.finished_at.map(|at| at.0),
        };
        Ok(Document {
            record: Record::Node(Box::new(node)),
            revision: Revision::from_stored(self.revision),
            graph: None,
            truncated: super::truncations(self.truncated)?,
            origin: self.origin.map(|origin| Origin::new(origin.0)),
            extra: json_text(self.extra),
        })
    }
}

/// The iteration or loop that a node ran in, as its metadata tell.
#[derive(Default)]
struct Owner {
    iteration_id: Option<String>,
    loop_id: Option<String>,
}

impl Owner {
    /// Metadata that are no object tell nothing. Of members with the same name the last counts, as in Python.
    fn of(metadata: &JsonText) -> Self {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(metadata.as_str()).unwrap_or_default();
        let text = |name| members.get(name).and_then(|value| serde_json::from_str(value.get()).ok());
        Self { iteration_id: text("iteration_id"), loop_id: text("loop_id") }
    }
}

/// The columns that [`NodeSummaryRow`] reads.
pub(in super::super) const NODE_SUMMARY_COLUMNS: [&str; 20] = [
    "id",
    "app_id",
    "workflow_id",
    "workflow_run_id",
    "triggered_from",
    "index",
    "predecessor_node_id",
    "node_execution_id",
    "node_id",
    "node_type",
    "title",
    "status",
    "elapsed_time",
    "created_by_role",
    "created_by",
    "created_at",
    "finished_at",
    "iteration_id",
    "loop_id",
    "revision",
];

/// A node execution as lists show it.
#[derive(Deserialize)]
pub(in super::super) struct NodeSummaryRow {
    id: AsText<RecordId>,
    app_id: AsText<AppId>,
    workflow_id: AsText<RecordId>,
    workflow_run_id: Option<AsText<RecordId>>,
    triggered_from: Box<str>,
    index: i64,
    predecessor_node_id: Option<Box<str>>,
    node_execution_id: Option<Box<str>>,
    node_id: Box<str>,
    node_type: Box<str>,
    title: Box<str>,
    status: Box<str>,
    elapsed_time: f64,
    created_by_role: Box<str>,
    created_by: AsText<RecordId>,
    created_at: AsText<Timestamp>,
    finished_at: Option<AsText<Timestamp>>,
    iteration_id: Option<Box<str>>,
    loop_id: Option<Box<str>>,
    revision: i64,
}

impl From<NodeSummaryRow> for NodeSummary {
    fn from(row: NodeSummaryRow) -> Self {
        Self {
            id: row.id.0,
            app_id: row.app_id.0,
            workflow_id: row.workflow_id.0,
            workflow_run_id: row.workflow_run_id.map(|id| id.0),
            triggered_from: row.triggered_from,
            index: row.index,
            predecessor_node_id: row.predecessor_node_id,
            node_execution_id: row.node_execution_id,
            node_id: row.node_id,
            node_type: row.node_type,
            title: row.title,
            status: NodeStatus::from(&*row.status),
            elapsed_time: row.elapsed_time,
            created_by_role: row.created_by_role,
            created_by: row.created_by.0,
            created_at: row.created_at.0,
            finished_at: row.finished_at.map(|at| at.0),
            iteration_id: row.iteration_id,
            loop_id: row.loop_id,
            revision: Revision::from_stored(row.revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_by_texts_of_an_object_only() {
        let owner = |metadata: &str| {
            let Owner { iteration_id, loop_id } = Owner::of(&JsonText::from_clean(metadata));
            (iteration_id.unwrap_or_default(), loop_id.unwrap_or_default())
        };
        let told = |iteration: &str, of_loop: &str| (iteration.to_owned(), of_loop.to_owned());
        assert_eq!(owner(r#"{"iteration_id": "i\n", "x": {"loop_id": "no"}, "n": 1e999}"#), told("i\n", ""));
        assert_eq!(owner(r#"{"iteration_id": "1", "loop_id": "l", "iteration_id": "2"}"#), told("2", "l"));
        for metadata in [r#"["i", "l"]"#, r#"{"iteration_id": 7, "loop_id": null}"#, "null", r#""iteration_id""#] {
            assert_eq!(owner(metadata), told("", ""), "{metadata}");
        }
    }
}
