//! The calls that cross tenants: records by id alone. They take an admin key.

use axum::response::Response;

use super::extract::{Everything, Ids};
use super::problem::{Problem, Problems};
use super::search::columns;
use crate::domain::Kind;
use crate::query::AdminLogs;

async fn by_id(logs: &AdminLogs, kind: Kind, ids: &Ids) -> Result<Response, Problem> {
    let found = logs.records(kind, ids.get("id")?).await?;
    match found.as_slice() {
        [] => Err(Problem::not_found("no such record")),
        [one] => columns(one),
        _ => Err(Problem::bad_request("id: two tenants have a record of this id; ask for it under /v1/tenants")),
    }
}

/// One run, whichever tenant it belongs to
#[utoipa::path(
    get, path = "/v1/admin/runs/{id}", tag = "Admin", params(("id" = uuid::Uuid, Path,)),
    responses((status = 200, body = Object), Problems)
)]
pub(super) async fn run(Everything(logs): Everything, ids: Ids) -> Result<Response, Problem> {
    by_id(&logs, Kind::WorkflowRun, &ids).await
}

/// One node execution, whichever tenant it belongs to
#[utoipa::path(
    get, path = "/v1/admin/nodes/{id}", tag = "Admin", params(("id" = uuid::Uuid, Path,)),
    responses((status = 200, body = Object), Problems)
)]
pub(super) async fn node(Everything(logs): Everything, ids: Ids) -> Result<Response, Problem> {
    by_id(&logs, Kind::NodeExecution, &ids).await
}
