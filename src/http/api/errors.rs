//! What fails, grouped by what the error texts have in common.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Params, Reading};
use super::params::{RunConditions, most_values};
use super::problem::{Problem, Problems};
use super::search::ValueCount;
use crate::query::ErrorGroup;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ErrorParams {
    /// Groups at most, 1 to 1000
    #[param(minimum = 1, maximum = 1000, default = 100)]
    values: Option<u16>,
}

#[derive(Serialize, ToSchema)]
struct ErrorView {
    /// What the texts have in common: numbers, ids and quoted parts are left out
    fingerprint: String,
    /// The newest text, at most 600 characters
    example: String,
    runs: u64,
    first_seen: String,
    last_seen: String,
    #[schema(value_type = uuid::Uuid)]
    latest_run_id: String,
    /// Runs per app, most first
    apps: Vec<ValueCount>,
}

impl From<ErrorGroup> for ErrorView {
    fn from(group: ErrorGroup) -> Self {
        let mut apps: Vec<_> = group.apps.iter().collect();
        apps.sort_by_key(|(id, runs)| (std::cmp::Reverse(**runs), **id));
        Self {
            runs: group.times.len() as u64,
            first_seen: group.oldest.to_string(),
            last_seen: group.newest.0.to_string(),
            latest_run_id: group.newest.1.to_string(),
            apps: apps.into_iter().map(|(id, runs)| ValueCount::new(&id.to_string(), *runs)).collect(),
            fingerprint: group.fingerprint,
            example: group.example,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ErrorViews {
    /// Failed runs that were looked at: the newest 1,000 of the query, or 64 MB of them
    looked_at: usize,
    /// true: there are older ones
    cut: bool,
    /// Most runs first
    data: Vec<ErrorView>,
}

/// Failed runs grouped by a fingerprint of their errors; `status` does not count
#[utoipa::path(
    get, path = "/v1/tenants/{tenant_id}/errors", tag = "Search",
    params(("tenant_id" = uuid::Uuid, Path,), RunConditions, ErrorParams),
    responses((status = 200, body = ErrorViews), Problems)
)]
pub(in crate::http) async fn errors(
    Reading(logs): Reading,
    Params(conditions, params): Params<RunConditions, ErrorParams>,
) -> Result<Json<ErrorViews>, Problem> {
    let values = most_values(params.values, 100)?;
    let found = logs.error_groups(&conditions.query()?).await?;
    let data = found.groups.into_iter().take(values).map(Into::into).collect();
    Ok(Json(ErrorViews { looked_at: found.looked_at, cut: found.is_cut, data }))
}
