//! Two runs beside each other.

use axum::Json;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::extract::{Ids, Reading};
use super::problem::{Problem, Problems};
use crate::domain::query::NodeSummary;
use crate::domain::{Record, WorkflowRun};
use crate::query::columns::RecordRow;
use crate::query::{Change, Comparison, NodePair, TenantLogs};

/// A place of a payload that differs.
#[derive(Serialize, ToSchema)]
struct ChangeView {
    /// Names and places from the outside in, joined by dots; empty: the payload itself
    path: String,
    /// As JSON, at most 300 characters; null: not there
    left: Option<String>,
    right: Option<String>,
}

impl From<Change> for ChangeView {
    fn from(Change { path, left, right }: Change) -> Self {
        Self { path, left, right }
    }
}

#[derive(Serialize, ToSchema)]
struct ExecutionView {
    #[schema(value_type = uuid::Uuid)]
    id: String,
    status: String,
    /// Seconds
    elapsed_time: f64,
}

/// The executions of one node that stand beside each other.
#[derive(Serialize, ToSchema)]
struct PairView {
    node_id: Box<str>,
    node_type: Box<str>,
    title: Box<str>,
    left: Option<ExecutionView>,
    right: Option<ExecutionView>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ComparisonView {
    /// Its columns without payloads
    #[schema(value_type = Object)]
    left: Option<Box<RawValue>>,
    #[schema(value_type = Object)]
    right: Option<Box<RawValue>>,
    /// At most 200
    inputs: Vec<ChangeView>,
    outputs: Vec<ChangeView>,
    /// In the order of the left run, at most 2000
    nodes: Vec<PairView>,
    /// There is more than is told of
    cut: bool,
}

fn execution(node: &NodeSummary) -> ExecutionView {
    ExecutionView { id: node.id.to_string(), status: node.status.as_str().to_owned(), elapsed_time: node.elapsed_time }
}

fn pair(pair: &NodePair) -> Option<PairView> {
    let node = pair.left.as_ref().or(pair.right.as_ref())?;
    Some(PairView {
        node_id: node.node_id.clone(),
        node_type: node.node_type.clone(),
        title: node.title.clone(),
        left: pair.left.as_ref().map(execution),
        right: pair.right.as_ref().map(execution),
    })
}

fn columns(run: Box<WorkflowRun>) -> Option<Box<RawValue>> {
    to_raw_value(&RecordRow::of(&Record::Run(run))).ok()
}

/// Two runs of one app.
pub(in crate::http) async fn compared(logs: &TenantLogs, ids: &Ids, with: &str) -> Result<Comparison, Problem> {
    let other = with.parse().map_err(|_| Problem::param("with", "expected the uuid of a run"))?;
    let found = logs.compare(ids.get("run_id")?, other).await?;
    let found = found.ok_or_else(|| Problem::not_found("no such run"))?;
    if found.left.app_id != found.right.app_id {
        return Err(Problem::param("with", "expected a run of the same app"));
    }
    Ok(found)
}

/// What differs between two runs of one app: inputs, outputs, and node by node
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/runs/{run_id}/compare/{with}", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,), ("with" = uuid::Uuid, Path,)),
    responses((status = 200, body = ComparisonView), Problems)
)]
pub(super) async fn compare(Reading(logs): Reading, ids: Ids) -> Result<Json<ComparisonView>, Problem> {
    let Comparison { left, right, inputs, outputs, nodes, is_cut } = compared(&logs, &ids, ids.text("with")).await?;
    Ok(Json(ComparisonView {
        left: columns(left),
        right: columns(right),
        inputs: inputs.into_iter().map(Into::into).collect(),
        outputs: outputs.into_iter().map(Into::into).collect(),
        nodes: nodes.iter().filter_map(pair).collect(),
        cut: is_cut,
    }))
}
