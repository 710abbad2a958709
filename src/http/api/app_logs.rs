//! The app-log list in the shape of Dify's log page.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::dify::{AccountView, EndUserView, creator, names, seconds};
use super::extract::{Ids, Params, Reading};
use super::params::{instant, limit};
use super::problem::{Problem, Problems};
use crate::domain::query::{AppLogRow, RunSummary};
use crate::query::{AppLogQuery, Creators};

const TOO_MANY_ERRORS: &str =
    "the error texts of these rows are larger than 16 MiB together; ask for fewer rows, or without errors=true";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AppLogParams {
    /// Found in the run's inputs or outputs or in the session id of an end user, or the id of a run; 30 characters count
    keyword: Option<String>,
    /// Status of the run
    status: Option<String>,
    /// Inclusive, ISO 8601; without an offset: UTC
    #[serde(rename = "created_at__before")]
    #[param(rename = "created_at__before", example = "2025-12-31T23:59:59Z")]
    created_at_before: Option<String>,
    /// Inclusive
    #[serde(rename = "created_at__after")]
    #[param(rename = "created_at__after", example = "2025-12-01T00:00:00Z")]
    created_at_after: Option<String>,
    /// Exact
    created_by_end_user_session_id: Option<String>,
    /// Exact e-mail
    created_by_account: Option<String>,
    /// 1 to 99999
    #[param(minimum = 1, maximum = 99999, default = 1)]
    page: Option<u32>,
    /// 1 to 100
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    /// Whether rows show the error texts of their runs; more than 16 MiB of them are refused
    #[param(default = false)]
    errors: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LogRun {
    id: String,
    version: Box<str>,
    status: String,
    triggered_from: Box<str>,
    /// Only with errors=true
    error: Option<Box<str>>,
    elapsed_time: f64,
    total_tokens: i64,
    total_steps: i64,
    created_at: i64,
    finished_at: Option<i64>,
    exceptions_count: i64,
}

impl From<RunSummary> for LogRun {
    fn from(run: RunSummary) -> Self {
        Self {
            id: run.id.to_string(),
            status: run.status.as_str().to_owned(),
            error: None,
            elapsed_time: run.elapsed_time,
            total_tokens: run.total_tokens,
            total_steps: run.total_steps,
            created_at: seconds(run.created_at),
            finished_at: run.finished_at.map(seconds),
            exceptions_count: run.exceptions_count,
            version: run.run.version,
            triggered_from: run.run.triggered_from,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LogView {
    id: String,
    workflow_run: Option<LogRun>,
    /// Always null: triggers are Dify's
    #[schema(value_type = Value)]
    details: Option<()>,
    created_from: Box<str>,
    created_by_role: Box<str>,
    created_by_account: Option<AccountView>,
    created_by_end_user: Option<EndUserView>,
    created_at: i64,
}

impl LogView {
    /// Returns the row with its creator's names; `error` is of its run.
    pub(in crate::http) fn new(row: AppLogRow, creators: &Creators, error: Option<Box<str>>) -> Self {
        let (created_by_account, created_by_end_user) = creator(creators, row.log.created_by);
        Self {
            id: row.log.id.to_string(),
            workflow_run: row.run.map(|run| LogRun { error, ..LogRun::from(run) }),
            details: None,
            created_from: row.log.created_from,
            created_by_role: row.log.created_by_role,
            created_by_account,
            created_by_end_user,
            created_at: seconds(row.log.created_at),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct LogViews {
    page: u64,
    limit: usize,
    /// Exact
    total: u64,
    has_more: bool,
    data: Vec<LogView>,
    /// Only present if logs may be missing: session ids could not be searched for the keyword, the keyword finds more end users than are looked at, or a session id or e-mail
    /// is asked for that only logs which carry it are found by (no `postgres.url`)
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// Only present, as "unavailable", if names could not be looked up: creators have ids, and what logs carry along
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
}

/// The logs of an app, newest first
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/apps/{app_id}/workflow-app-logs", tag = "Dify",
    params(("tenant_id" = uuid::Uuid, Path,), ("app_id" = uuid::Uuid, Path,), AppLogParams),
    responses((status = 200, body = LogViews), Problems)
)]
pub(super) async fn app_logs(
    Reading(logs): Reading,
    ids: Ids,
    Params(params, _): Params<AppLogParams>,
) -> Result<Json<LogViews>, Problem> {
    let page = params.page.unwrap_or(1);
    if !(1..=99_999).contains(&page) {
        return Err(Problem::param("page", "expected 1 to 99999"));
    }
    let query = AppLogQuery {
        app_id: ids.get("app_id")?,
        keyword: params.keyword,
        status: params.status.map(Into::into),
        created_at_after: instant("created_at__after", params.created_at_after.as_deref())?,
        created_at_before: instant("created_at__before", params.created_at_before.as_deref())?,
        session_id: params.created_by_end_user_session_id,
        account: params.created_by_account,
        page: page.into(),
        limit: limit(params.limit)?,
    };
    let list = logs.app_logs(&query).await?;
    let creators = list.creators;
    let names = names(&creators);
    let with_errors = params.errors.unwrap_or_default();
    let runs = list.rows.iter().filter(|_| with_errors).filter_map(|row| row.run.as_ref());
    let errors = logs.run_errors(runs).await?;
    let errors = errors.ok_or_else(|| Problem::param("limit", TOO_MANY_ERRORS))?;
    let rows = list.rows.into_iter().map(|row| {
        // Logs may be of one run.
        let error = row.run.as_ref().and_then(|run| errors.get(&run.id).cloned());
        LogView::new(row, &creators, error)
    });
    Ok(Json(LogViews {
        page: query.page,
        limit: query.limit,
        total: list.total,
        has_more: list.has_more,
        data: rows.collect(),
        incomplete: list.incomplete,
        names,
    }))
}
