//! Node executions in the shape of Dify's own endpoint.

use std::future::ready;

use axum::extract::Extension;
use axum::response::Response;
use futures::{Stream, TryStreamExt as _};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::dify::{AccountView, EndUserView, creator, names, object, seconds};
use super::extract::{Ids, Reading};
use super::limits::Permit;
use super::problem::{Problem, Problems};
use super::stream::{data, unwritable};
use crate::domain::document::PayloadField;
use crate::domain::{Document, NodeExecution, Record};
use crate::query::columns::payload;
use crate::query::{Creators, QueryError, TenantLogs};

#[derive(Serialize, ToSchema)]
pub(super) struct NodeView {
    id: String,
    index: i64,
    predecessor_node_id: Option<Box<str>>,
    node_id: Box<str>,
    node_type: Box<str>,
    title: Box<str>,
    #[schema(value_type = Value)]
    inputs: Option<Box<RawValue>>,
    #[schema(value_type = Value)]
    process_data: Option<Box<RawValue>>,
    #[schema(value_type = Value)]
    outputs: Option<Box<RawValue>>,
    status: String,
    error: Option<Box<str>>,
    elapsed_time: f64,
    /// `{}` if there is none
    #[schema(value_type = Value)]
    execution_metadata: Box<RawValue>,
    /// Always empty: icons of tools are Dify's
    #[schema(value_type = Object)]
    extras: serde_json::Map<String, serde_json::Value>,
    created_at: i64,
    created_by_role: Box<str>,
    created_by_account: Option<AccountView>,
    created_by_end_user: Option<EndUserView>,
    finished_at: Option<i64>,
    inputs_truncated: bool,
    outputs_truncated: bool,
    process_data_truncated: bool,
    /// Only present, as "unavailable", if names could not be looked up
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
}

impl NodeView {
    fn new(node: NodeExecution, cut: &[PayloadField], creators: &Creators) -> Self {
        let (created_by_account, created_by_end_user) = creator(creators, node.created_by);
        Self {
            id: node.id.to_string(),
            index: node.index,
            inputs: payload(node.inputs.as_ref()),
            process_data: payload(node.process_data.as_ref()),
            outputs: payload(node.outputs.as_ref()),
            status: node.status.as_str().to_owned(),
            elapsed_time: node.elapsed_time,
            execution_metadata: object(node.execution_metadata.as_ref()),
            extras: serde_json::Map::new(),
            created_at: seconds(node.created_at),
            created_by_account,
            created_by_end_user,
            finished_at: node.finished_at.map(seconds),
            inputs_truncated: cut.contains(&PayloadField::Inputs),
            outputs_truncated: cut.contains(&PayloadField::Outputs),
            process_data_truncated: cut.contains(&PayloadField::ProcessData),
            predecessor_node_id: node.predecessor_node_id,
            node_id: node.node_id,
            node_type: node.node_type,
            title: node.title,
            error: node.error,
            created_by_role: node.created_by_role,
            names: names(creators),
        }
    }
}

/// Returns a node with its creator's name; `None` for what is no node.
async fn node_view(logs: &TenantLogs, document: Document) -> Result<Option<NodeView>, QueryError> {
    let cut: Vec<_> = document.truncated.iter().map(|mark| mark.field).collect();
    let Record::Node(node) = document.record else { return Ok(None) };
    let creators = logs.creators([(&*node.created_by_role, node.created_by)]).await;
    Ok(Some(NodeView::new(*node, &cut, &creators)))
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a stream")]
pub(super) struct NodeViews {
    data: Vec<NodeView>,
}

/// Every node execution of a run, in the order in which they started
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow-runs/{run_id}/node-executions", tag = "Dify",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = NodeViews), Problems)
)]
pub(super) async fn run_nodes(
    Reading(logs): Reading,
    ids: Ids,
    Extension(permit): Extension<Permit>,
) -> Result<Response, Problem> {
    let nodes = logs.run_nodes(Some(ids.get("app_id")?), ids.get("run_id")?);
    data(permit, node_items(logs, nodes)).await
}

/// Returns each node of a stream as JSON in Dify's shape, in the stream's order.
pub(in crate::http) fn node_items(
    logs: TenantLogs,
    nodes: impl Stream<Item = Result<Document, QueryError>> + Send + 'static,
) -> impl Stream<Item = Result<String, QueryError>> + Send + 'static {
    nodes
        .and_then(move |document| {
            let logs = logs.clone();
            async move { node_view(&logs, document).await }
        })
        .try_filter_map(|view| {
            let text = view.map(|view| serde_json::to_string(&view).map_err(|error| unwritable(&error)));
            ready(text.transpose())
        })
}
