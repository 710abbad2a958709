//! Deletes within a tenant. They take a key with the right to delete.

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Deleting, Ids, JsonBody, Params};
use super::limits::Permit;
use super::problem::{Problem, Problems};
use crate::domain::RecordId;
use crate::query::Related;

/// Ids of one request at most.
const MAX_IDS: usize = 10_000;

/// How many records went, or belong together.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    runs: u64,
    node_executions: u64,
    offloads: u64,
    app_logs: u64,
}

impl From<Related> for Deleted {
    fn from(related: Related) -> Self {
        let Related { runs, node_executions, offloads, app_logs } = related;
        Self { runs, node_executions, offloads, app_logs }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteParams {
    /// true: its node executions, offloads and app logs too
    #[serde(default)]
    related: bool,
}

/// Does a deletion to its end and tells of it, whatever becomes of the request. Cut short between records and their full texts,
/// nobody would know these any more; cut short before its line in the log, nobody would know who deleted.
/// The server waits for it when it stops, as long as it waits for requests.
async fn to_the_end<T: Send + 'static>(
    api: &Api,
    permit: Permit,
    deletion: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let deleting = async move {
        let outcome = deletion.await;
        // Its share of the requests is taken until then.
        drop(permit);
        outcome
    };
    tokio::spawn(api.deletions.track_future(deleting)).await.unwrap_or_else(|_| Err(Problem::internal()))
}

/// Delete one run
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/runs/{run_id}", tag = "Delete",
    params(("tenant_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,), DeleteParams),
    responses((status = 200, body = Deleted), Problems)
)]
pub(super) async fn run(
    State(api): State<Api>,
    Deleting(logs, actor): Deleting,
    ids: Ids,
    Extension(permit): Extension<Permit>,
    Params(params, _): Params<DeleteParams>,
) -> Result<Json<Deleted>, Problem> {
    let run_ids = [ids.get("run_id")?];
    let deletion = async move {
        let outcome = logs.delete_runs(&run_ids, params.related).await;
        actor.deleted_runs(&run_ids, &outcome);
        Ok(outcome?)
    };
    let related = to_the_end(&api, permit, deletion).await?;
    if related == Related::default() {
        return Err(Problem::not_found("no such run"));
    }
    Ok(Json(related.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deletion {
    /// At most 10,000
    #[schema(value_type = Vec<uuid::Uuid>, max_items = 10000)]
    run_ids: Vec<String>,
    /// true: their node executions, offloads and app logs too
    #[serde(default)]
    related: bool,
    /// true: only count
    #[serde(default)]
    dry_run: bool,
}

/// Delete many runs, or count what belongs to them
#[utoipa::path(
    post, path = "/v1/tenants/{tenant_id}/deletions", tag = "Delete",
    params(("tenant_id" = uuid::Uuid, Path,)), request_body = Deletion,
    responses(
        (status = 200, body = Deleted),
        (status = 408, description = "The body did not come within serve.body_seconds",
         body = super::problem::ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is larger than serve.max_body_bytes", body = super::problem::ProblemBody,
         content_type = "application/problem+json"),
        (status = 415, description = "Not application/json, or compressed", body = super::problem::ProblemBody,
         content_type = "application/problem+json"),
        (status = 422, description = "JSON of another shape", body = super::problem::ProblemBody,
         content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn runs(
    State(api): State<Api>,
    Deleting(logs, actor): Deleting,
    Extension(permit): Extension<Permit>,
    JsonBody(deletion): JsonBody<Deletion>,
) -> Result<Json<Deleted>, Problem> {
    if deletion.run_ids.len() > MAX_IDS {
        return Err(Problem::param("run_ids", "expected at most 10000"));
    }
    let parse = |text: &String| text.parse::<RecordId>().map_err(|_| Problem::param("run_ids", "expected uuids"));
    let run_ids = deletion.run_ids.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let related = if deletion.dry_run {
        logs.count_related(&run_ids).await?
    } else {
        let whole = async move {
            let outcome = logs.delete_runs(&run_ids, deletion.related).await;
            actor.deleted_runs(&run_ids, &outcome);
            Ok(outcome?)
        };
        to_the_end(&api, permit, whole).await?
    };
    Ok(Json(related.into()))
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeletedCount {
    deleted: u64,
}

/// Delete every run of an app; node executions and app logs stay
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow-runs", tag = "Delete",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = DeletedCount), Problems)
)]
pub(super) async fn runs_of_app(
    State(api): State<Api>,
    Deleting(logs, actor): Deleting,
    Extension(permit): Extension<Permit>,
    ids: Ids,
) -> Result<Json<DeletedCount>, Problem> {
    let app_id = ids.get("app_id")?;
    let deletion = async move {
        let outcome = logs.delete_runs_of_app(app_id).await;
        actor.deleted_of_app("runs", app_id, &outcome);
        Ok(outcome?)
    };
    Ok(Json(DeletedCount { deleted: to_the_end(&api, permit, deletion).await? }))
}

/// Delete every node execution of an app
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant_id}/apps/{app_id}/node-executions", tag = "Delete",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,)),
    responses((status = 200, body = DeletedCount), Problems)
)]
pub(super) async fn nodes_of_app(
    State(api): State<Api>,
    Deleting(logs, actor): Deleting,
    Extension(permit): Extension<Permit>,
    ids: Ids,
) -> Result<Json<DeletedCount>, Problem> {
    let app_id = ids.get("app_id")?;
    let deletion = async move {
        let outcome = logs.delete_nodes_of_app(app_id).await;
        actor.deleted_of_app("node executions", app_id, &outcome);
        Ok(outcome?)
    };
    Ok(Json(DeletedCount { deleted: to_the_end(&api, permit, deletion).await? }))
}
