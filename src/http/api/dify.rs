//! Runs in the shapes of Dify's own endpoints.

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Ids, Params, Reading};
use super::params::{id, limit, list};
use super::problem::{Problem, Problems};
use crate::domain::query::RunSummary;
use crate::domain::{JsonText, Record, Timestamp, WorkflowRun};
use crate::query::columns::payload;
use crate::query::{After, Creator, Creators, RunCounts, RunList, TenantLogs, last};

/// An account, as far as names are known.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct AccountView {
    id: String,
    name: Option<Box<str>>,
    email: Option<Box<str>>,
}

/// An end user, as far as names are known.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EndUserView {
    id: String,
    r#type: Option<Box<str>>,
    is_anonymous: bool,
    session_id: Option<Box<str>>,
}

/// Returns the creator of a record in Dify's two fields, of which at most one is set.
pub(super) fn creator(creators: &Creators, id: crate::domain::RecordId) -> (Option<AccountView>, Option<EndUserView>) {
    match creators.get(id) {
        Some(Creator::Account(account)) => {
            let view = AccountView { id: id.to_string(), name: account.name.clone(), email: account.email.clone() };
            (Some(view), None)
        }
        Some(Creator::EndUser(user)) => {
            let view = EndUserView {
                id: id.to_string(),
                r#type: user.r#type.clone(),
                is_anonymous: false,
                session_id: user.session_id.clone(),
            };
            (None, Some(view))
        }
        None => (None, None),
    }
}

/// Whole seconds since the epoch, as Dify answers instants.
pub(in crate::http) fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RunItem {
    id: String,
    version: Box<str>,
    status: String,
    elapsed_time: f64,
    total_tokens: i64,
    total_steps: i64,
    created_by_account: Option<AccountView>,
    /// Seconds since the epoch
    created_at: i64,
    finished_at: Option<i64>,
    exceptions_count: i64,
    /// Always null
    retry_index: Option<i64>,
}

impl RunItem {
    pub(in crate::http) fn new(run: RunSummary, creators: &Creators) -> Self {
        Self {
            id: run.id.to_string(),
            status: run.status.as_str().to_owned(),
            elapsed_time: run.elapsed_time,
            total_tokens: run.total_tokens,
            total_steps: run.total_steps,
            created_by_account: creator(creators, run.created_by).0,
            created_at: seconds(run.created_at),
            finished_at: run.finished_at.map(seconds),
            exceptions_count: run.exceptions_count,
            retry_index: None,
            version: run.run.version,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct RunItems {
    limit: usize,
    has_more: bool,
    /// For the next page, as `cursor`; null at the end
    next: Option<String>,
    data: Vec<RunItem>,
    /// Only present, as "unavailable", if names could not be looked up: creators have ids only
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
}

/// Returns what answers say of names.
pub(super) fn names(creators: &Creators) -> Option<&'static str> {
    creators.are_names_missing().then_some("unavailable")
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RunListParams {
    /// The last run of the page before; it must be in this list
    #[param(format = Uuid)]
    last_id: Option<String>,
    /// What the page before answered under `next`; instead of last_id
    cursor: Option<String>,
    /// 1 to 100
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    status: Option<String>,
    /// Any of these, by commas: app-run, debugging, webhook, …; without it: all
    triggered_from: Option<String>,
}

/// The runs of an app, newest first
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow-runs", tag = "Dify",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,), RunListParams),
    responses((status = 200, body = RunItems), Problems)
)]
pub(super) async fn runs(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<RunListParams>,
) -> Result<Json<RunItems>, Problem> {
    let after = match (id("last_id", params.last_id.as_deref())?, params.cursor) {
        (Some(_), Some(_)) => return Err(Problem::param("cursor", "give it or last_id, not both")),
        (Some(id), None) => After::LastId(id),
        (None, Some(cursor)) => After::Cursor(cursor),
        (None, None) => After::Start,
    };
    let list = RunList {
        app_id: ids.get("app_id")?,
        triggered_from: list(params.triggered_from.as_deref()),
        status: params.status.filter(|status| !status.is_empty()).map(Into::into),
        after,
        limit: limit(params.limit)?,
    };
    let page = logs.run_page(&list).await?;
    let creators = logs.creators(page.runs.iter().map(|run| (&*run.created_by_role, run.created_by))).await;
    let names = names(&creators);
    let items = page.runs.into_iter().map(|run| RunItem::new(run, &creators));
    Ok(Json(RunItems { limit: list.limit, has_more: page.has_more, next: page.next, data: items.collect(), names }))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CountsView {
    /// Every status, paused ones too
    total: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    stopped: u64,
    partial_succeeded: u64,
}

impl From<RunCounts> for CountsView {
    fn from(counts: RunCounts) -> Self {
        let RunCounts { total, running, succeeded, failed, stopped, partial_succeeded } = counts;
        Self { total, running, succeeded, failed, stopped, partial_succeeded }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CountParams {
    status: Option<String>,
    /// Only runs of the last such as 7d, 12h, 30m, 90s
    #[param(pattern = "^[0-9]+[dhmsDHMS]$")]
    time_range: Option<String>,
    /// Any of these, by commas; without it: all
    triggered_from: Option<String>,
}

/// How many runs an app has, by status
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow-runs/count", tag = "Dify",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,), CountParams),
    responses((status = 200, body = CountsView), Problems)
)]
pub(super) async fn run_counts(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<CountParams>,
) -> Result<Json<CountsView>, Problem> {
    let range = params.time_range.as_deref();
    if range.is_some_and(|range| last(range).is_none()) {
        return Err(Problem::param("time_range", "expected a number and d, h, m or s, such as 7d"));
    }
    let status = params.status.filter(|status| !status.is_empty()).map(Into::into);
    let counted = logs.run_counts(ids.get("app_id")?, list(params.triggered_from.as_deref()), status, range).await?;
    Ok(Json(counted.into()))
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RunDetail {
    id: String,
    version: Box<str>,
    /// `{}` if there is none
    #[schema(value_type = Value)]
    graph: Box<RawValue>,
    #[schema(value_type = Value)]
    inputs: Box<RawValue>,
    status: String,
    #[schema(value_type = Value)]
    outputs: Box<RawValue>,
    error: Option<Box<str>>,
    elapsed_time: f64,
    total_tokens: i64,
    total_steps: i64,
    created_by_role: Box<str>,
    created_by_account: Option<AccountView>,
    created_by_end_user: Option<EndUserView>,
    created_at: i64,
    finished_at: Option<i64>,
    exceptions_count: i64,
    /// Only present, as "unavailable", if names could not be looked up
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
}

impl RunDetail {
    pub(in crate::http) fn new(run: WorkflowRun, creators: &Creators) -> Self {
        let (created_by_account, created_by_end_user) = creator(creators, run.created_by);
        Self {
            id: run.id.to_string(),
            graph: object(run.graph.as_ref()),
            inputs: object(run.inputs.as_ref()),
            status: run.status.as_str().to_owned(),
            outputs: object(run.outputs.as_ref()),
            elapsed_time: run.elapsed_time,
            total_tokens: run.total_tokens,
            total_steps: run.total_steps,
            created_by_account,
            created_by_end_user,
            names: names(creators),
            created_at: seconds(run.created_at),
            finished_at: run.finished_at.map(seconds),
            exceptions_count: run.exceptions_count,
            version: run.version,
            error: run.error,
            created_by_role: run.created_by_role,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct FullParams {
    /// true: the full texts of truncated payloads
    #[serde(default)]
    pub(super) full: bool,
}

/// One run with its payloads and its graph
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow-runs/{run_id}", tag = "Dify",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,), FullParams),
    responses((status = 200, body = RunDetail), Problems)
)]
pub(super) async fn run(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<FullParams>,
) -> Result<Json<RunDetail>, Problem> {
    let run = run_of(&logs, Some(ids.get("app_id")?), &ids, params.full).await?;
    let creators = logs.creators([(&*run.created_by_role, run.created_by)]).await;
    Ok(Json(RunDetail::new(run, &creators)))
}

async fn run_of(
    logs: &TenantLogs,
    app_id: Option<crate::domain::AppId>,
    ids: &Ids,
    full: bool,
) -> Result<WorkflowRun, Problem> {
    let found = logs.run(app_id, ids.get("run_id")?).await?;
    let found = found.ok_or_else(|| Problem::not_found("no such run"))?;
    let found = if full { logs.full(found).await? } else { found };
    match found.record {
        Record::Run(run) => Ok(*run),
        _ => Err(Problem::not_found("no such run")),
    }
}

/// Returns a payload, or `{}`.
pub(in crate::http) fn object(text: Option<&JsonText>) -> Box<RawValue> {
    payload(text).unwrap_or_else(|| RawValue::from_string("{}".to_owned()).unwrap_or_default())
}

#[derive(Serialize, ToSchema)]
pub(super) struct ServiceRun {
    id: String,
    workflow_id: String,
    status: String,
    /// JSON as a text, as Dify's service API answers it
    inputs: Option<String>,
    outputs: Option<String>,
    error: Option<Box<str>>,
    total_steps: i64,
    total_tokens: i64,
    created_at: i64,
    finished_at: Option<i64>,
    elapsed_time: f64,
}

/// One run as Dify's service API shows it
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/workflows/run/{run_id}", tag = "Dify",
    params(("tenant_id" = uuid::Uuid, Path,), ("run_id" = uuid::Uuid, Path,), FullParams),
    responses((status = 200, body = ServiceRun), Problems)
)]
pub(super) async fn service_run(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<FullParams>,
) -> Result<Json<ServiceRun>, Problem> {
    let run = run_of(&logs, None, &ids, params.full).await?;
    let text = |text: Option<JsonText>| text.map(|text| text.as_str().to_owned());
    Ok(Json(ServiceRun {
        id: run.id.to_string(),
        workflow_id: run.workflow_id.to_string(),
        status: run.status.as_str().to_owned(),
        inputs: text(run.inputs),
        outputs: text(run.outputs),
        error: run.error,
        total_steps: run.total_steps,
        total_tokens: run.total_tokens,
        created_at: seconds(run.created_at),
        finished_at: run.finished_at.map(seconds),
        elapsed_time: run.elapsed_time,
    }))
}
